"""Sampling answers from a model in batches, seeded, the prompt computed once for all answers to it.

The prompts of a batch go through the model once; their keys and values are then laid out once for each answer, and only
the answers are computed row by row. Owns the batching and the sampling settings; what is asked and what is made of the
answers is the caller's.
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import Cache, DynamicCache, GenerationConfig, PreTrainedModel

from notus.core.errors import ConfigError
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
    progress: Callable[[int, int], None] | None = None,
) -> list[Output]:
    """Draw answers to prompts.

    Prompts of like length go through together, so that little is computed on padding. The result depends on the seed
    and the batch size, not on what else is sampled in the process.

    Args:
        name: what the model is called in the outputs.
        progress: told after each batch how many answers there are, and of how many.

    Returns:
        One record for each prompt and sample, in the order of the prompts.

    Raises:
        ConfigError: if a prompt with its answer may be longer than the model's positions.
    """
    ids = encoder.prompts(prompts)
    _check_positions(model, ids, settings)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    answers: list[list[list[int]]] = [[] for _ in ids]
    together = max(1, settings.batch_size // settings.samples)
    model.eval()
    devices = [model.device.index or 0] if model.device.type != "cpu" else []
    with torch.random.fork_rng(devices=devices, device_type=model.device.type if devices else "cuda"):
        torch.manual_seed(seed)
        for start in range(0, len(order), together):
            batch = order[start : start + together]
            drawn = _answers(model, encoder, [ids[index] for index in batch], settings)
            for index, of_prompt in zip(batch, drawn, strict=True):
                answers[index] = of_prompt
            if progress is not None:
                progress((start + len(batch)) * settings.samples, len(order) * settings.samples)
    eos = encoder.tokenizer.eos_token_id
    return [
        Output(
            prompt=prompt,
            text=encoder.decode(answer),
            model=name,
            sample=number,
            seed=seed,
            truncated=eos not in answer,
        )
        for prompt, of_prompt in zip(prompts, answers, strict=True)
        for number, answer in enumerate(of_prompt)
    ]


def _answers(
    model: PreTrainedModel, encoder: Encoder, prompts: Sequence[Sequence[int]], settings: Sampling
) -> list[list[list[int]]]:
    """For each prompt its answers. Prompts are padded on the left, so that all answers begin in the same column."""
    pad_id = encoder.tokenizer.pad_token_id
    longest = max(map(len, prompts))
    input_ids = torch.tensor([[pad_id] * (longest - len(ids)) + list(ids) for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    found: list[list[list[int]]] = [[] for _ in prompts]
    with torch.inference_mode():
        for cache, many in _caches(model, input_ids, mask, settings):
            output = model.generate(
                input_ids=input_ids.repeat_interleave(many, dim=0),
                attention_mask=mask.repeat_interleave(many, dim=0),
                past_key_values=cache,
                generation_config=_config(encoder, settings),
            )
            rows = [_until_end(row, encoder.tokenizer.eos_token_id) for row in output[:, longest:].tolist()]
            for number in range(len(found)):
                found[number] += rows[number * many : (number + 1) * many]
    return found


def _check_positions(model: PreTrainedModel, ids: Sequence[Sequence[int]], settings: Sampling) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, ids), default=0)
    if positions is not None and longest + settings.max_new_tokens > positions:
        raise ConfigError(
            f"'max_new_tokens' is {settings.max_new_tokens} after a prompt of {longest} tokens, but the model has "
            f"{positions} positions; take at most {max(positions - longest, 0)}, or cut prompts shorter"
        )


def _caches(
    model: PreTrainedModel, input_ids: torch.Tensor, mask: torch.Tensor, settings: Sampling
) -> Iterator[tuple[Cache | None, int]]:
    """Keys and values of all but the last token of each prompt, laid out for so many answers each, until all have come.

    More answers than rows of a batch come in several such layouts of the one computation.
    """
    if settings.samples == 1 or input_ids.shape[1] < 2:
        yield from ((None, many) for many in _portions(settings))
        return
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    # The head is wanted for no position here: the last token of the prompt is left to the sampling.
    model.get_decoder()(
        input_ids=input_ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=positions[:, :-1],
        past_key_values=cache,
        use_cache=True,
    )
    portions = _portions(settings)
    for left, many in zip(reversed(range(len(portions))), portions, strict=True):
        laid_out = copy.deepcopy(cache) if left else cache
        laid_out.batch_repeat_interleave(many)
        yield laid_out, many


def _portions(settings: Sampling) -> list[int]:
    """Answers of a prompt that are drawn at once: all, or as many as a batch has rows, and then the rest."""
    whole, rest = divmod(settings.samples, min(settings.samples, settings.batch_size))
    return [min(settings.samples, settings.batch_size)] * whole + [rest] * (rest > 0)


def _config(encoder: Encoder, settings: Sampling) -> GenerationConfig:
    drawn = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
    return GenerationConfig(
        do_sample=settings.temperature > 0,
        **(drawn if settings.temperature > 0 else {}),
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=encoder.tokenizer.eos_token_id,
        pad_token_id=encoder.tokenizer.pad_token_id,
    )


def _until_end(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids
