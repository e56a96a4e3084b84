"""Sampling answers from a model in batches, seeded.

Owns the batching and the sampling settings; what is asked and what is made of the answers is the caller's.
"""

from collections.abc import Sequence

import torch
from transformers import GenerationConfig, PreTrainedModel

from notus.core.records import Message, Output
from notus.models.settings import Sampling
from notus.models.tokens import Encoder

__all__ = ["sample"]


def sample(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[tuple[Message, ...]],
    settings: Sampling,
    *,
    name: str,
    seed: int,
) -> list[Output]:
    """Draw answers to prompts.

    Prompts of like length go through together, so that little is computed on padding. The result depends on the seed
    and the batch size, not on what else is sampled in the process.

    Args:
        name: what the model is called in the outputs.

    Returns:
        One record for each prompt and sample, in the order of the prompts.
    """
    rows = [(index, encoder.prompt(prompt)) for index, prompt in enumerate(prompts) for _ in range(settings.samples)]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row][1]))
    answers: list[list[int]] = [[] for _ in rows]
    model.eval()
    devices = [model.device.index or 0] if model.device.type != "cpu" else []
    with torch.random.fork_rng(devices=devices, device_type=model.device.type if devices else "cuda"):
        torch.manual_seed(seed)
        for start in range(0, len(order), settings.batch_size):
            batch = order[start : start + settings.batch_size]
            for row, answer in zip(
                batch, _continue(model, encoder, [rows[i][1] for i in batch], settings), strict=True
            ):
                answers[row] = answer
    eos = encoder.tokenizer.eos_token_id
    return [
        Output(
            prompt=prompts[index],
            text=encoder.decode(answer),
            model=name,
            sample=row % settings.samples,
            seed=seed,
            truncated=eos not in answer,
        )
        for row, ((index, _), answer) in enumerate(zip(rows, answers, strict=True))
    ]


def _continue(
    model: PreTrainedModel, encoder: Encoder, prompts: Sequence[Sequence[int]], settings: Sampling
) -> list[list[int]]:
    """Continue prompts, padded on the left so that all answers begin in the same column."""
    pad_id = encoder.tokenizer.pad_token_id
    longest = max(map(len, prompts))
    input_ids = torch.tensor([[pad_id] * (longest - len(ids)) + list(ids) for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    drawn = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
    config = GenerationConfig(
        do_sample=settings.temperature > 0,
        **(drawn if settings.temperature > 0 else {}),
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=encoder.tokenizer.eos_token_id,
        pad_token_id=pad_id,
    )
    with torch.inference_mode():
        output = model.generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    return [_until_end(row, encoder.tokenizer.eos_token_id) for row in output[:, longest:].tolist()]


def _until_end(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids
