"""Sampling answers from a model of this machine in batches, seeded, the prompt computed once for all answers to it.

The one way to ask a local model: ``LocalModel`` loads it by its name and keeps it, ``sample_model`` does both at once,
and ``engine.generator`` puts the interface of endpoints over it. The prompts of a batch go through the model once;
their keys and values are then laid out once for each answer, and only the answers are computed row by row. Owns the
loading for sampling and the batching; what is asked and what is made of the answers is the caller's.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from transformers import Cache, DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from notus.core.artifacts import find_model
from notus.core.errors import ConfigError
from notus.core.records import Message, Output, prompt_id
from notus.core.stage import Tally, by_halves
from notus.engine.files.sound import check_ids
from notus.engine.load import Precision, base_model, load_model, load_tokenizer
from notus.engine.settings import Limits, Sampling
from notus.engine.text.encoder import Encoder
from notus.engine.text.stops import stop_ids
from notus.engine.text.template import UnfitError

__all__ = ["LocalModel", "Progress", "sample", "sample_model"]

Progress = Callable[[int, int], None]
"""Told after each batch how many answers there are, and of how many."""
_POSITIONS = 4096
"""Longest sequence of a model that names none."""
_FEWEST = 16
"""Tokens of the shortest conversation."""


@dataclass(frozen=True)
class LocalModel:
    """A model of this machine with its tokenizer, loaded once and asked as often as wanted."""

    model: PreTrainedModel
    encoder: Encoder

    @classmethod
    def load(
        cls,
        source: str,
        limits: Limits | None = None,
        *,
        precision: Precision = "float32",
        tally: Tally | None = None,
    ) -> Self:
        """Load a model by its name.

        Args:
            source: a run directory, a folder of a model or of an adapter, or a hub id.
            limits: lengths of prompts, and what is asked of the chat template. None takes the model's own length and
                template.
            precision: of the weights.
            tally: receives the counts of what is cut.

        Raises:
            ConfigError: if there is no such model, or it cannot be read.
            DataError: if it is a run directory without a model.
        """
        source = find_model(source)
        tokenizer, model = load_tokenizer(source), load_model(source, precision=precision)
        if limits is None:
            positions = getattr(model.config, "max_position_embeddings", None) or _POSITIONS
            if positions < _FEWEST:
                raise ConfigError(
                    f"the model {source!r} has max_position_embeddings: {positions} in its config.json, where nothing "
                    "can be said; get the model anew"
                )
            limits = Limits(max_length=positions, max_prompt_length=positions - 1)
        return cls(model, Encoder(tokenizer, limits, tally))

    def sample(
        self,
        prompts: Sequence[tuple[Message, ...]],
        settings: Sampling,
        *,
        name: str,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Output]:
        """Draw answers to prompts, as ``sample`` does."""
        return sample(self.model, self.encoder, prompts, settings, name=name, seed=seed, progress=progress)


def sample_model(
    source: str,
    prompts: Sequence[tuple[Message, ...]],
    settings: Sampling,
    *,
    name: str,
    seed: int,
    limits: Limits | None = None,
    precision: Precision = "float32",
    tally: Tally | None = None,
    progress: Progress | None = None,
) -> list[Output]:
    """Load a model by its name and draw answers to prompts.

    Arguments, results and errors are those of ``LocalModel.load`` and ``sample``.
    """
    found = LocalModel.load(source, limits, precision=precision, tally=tally)
    return found.sample(prompts, settings, name=name, seed=seed, progress=progress)


def sample(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[tuple[Message, ...]],
    settings: Sampling,
    *,
    name: str,
    seed: int,
    progress: Progress | None = None,
) -> list[Output]:
    """Draw answers to prompts from a model that is loaded.

    Prompts of like length go through together, so that little is computed on padding. The result depends on the seed
    and the batch size, not on what else is sampled in the process.

    Args:
        name: what the model is called in the outputs.
        progress: told after each batch how many answers there are, and of how many.

    Returns:
        One record for each prompt and sample, in the order of the prompts. A prompt that the template refuses, such as
        one with a system turn where it takes none, is dropped with its reason in the encoder's tally.

    Raises:
        ConfigError: if a prompt with its answer may be longer than the model's positions.
    """
    _count_left_out(encoder.tally, prompts)
    prompts, ids = _encode_fitting(encoder, prompts)
    if not prompts:
        return []
    _check_ids(model, encoder.tokenizer, ids, settings)
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
    stops = set(stop_ids(model, encoder.template))
    return [
        Output(
            prompt=prompt,
            text=encoder.decode(answer),
            model=name,
            sample=number,
            seed=seed,
            truncated=stops.isdisjoint(answer),
        )
        for prompt, of_prompt in zip(prompts, answers, strict=True)
        for number, answer in enumerate(of_prompt)
    ]


def _count_left_out(tally: Tally, prompts: Sequence[tuple[Message, ...]]) -> None:
    for what, left_out in (
        ("tools-dropped", [any(turn.tool_calls for turn in prompt) for prompt in prompts]),
        ("reasoning-dropped", [any(turn.reasoning for turn in prompt) for prompt in prompts]),
    ):
        if any(left_out):
            tally.count(what, sum(left_out))


def _encode_fitting(
    encoder: Encoder, prompts: Sequence[tuple[Message, ...]]
) -> tuple[list[tuple[Message, ...]], list[list[int]]]:
    """The prompts that the template takes, and their token ids."""

    def encode(some: Sequence[tuple[Message, ...]]) -> list[tuple[tuple[Message, ...], list[int]]]:
        return list(zip(some, encoder.prompts(some), strict=True))

    def put_aside(prompt: tuple[Message, ...], error: UnfitError) -> list[tuple[tuple[Message, ...], list[int]]]:
        encoder.tally.drop(prompt_id(prompt), error.reason, str(error))
        return []

    found = by_halves(prompts, encode, UnfitError, put_aside, encoder.tally)
    encoder.tally.taken += len(prompts)
    encoder.tally.given += len(found)
    return [prompt for prompt, _ in found], [ids for _, ids in found]


def _answers(
    model: PreTrainedModel, encoder: Encoder, prompts: Sequence[Sequence[int]], settings: Sampling
) -> list[list[list[int]]]:
    """For each prompt its answers. Prompts are padded on the left, so that all answers begin in the same column."""
    pad_id, stops = encoder.pad_id, stop_ids(model, encoder.template)
    longest = max(map(len, prompts))
    input_ids = torch.tensor([[pad_id] * (longest - len(ids)) + list(ids) for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    found: list[list[list[int]]] = [[] for _ in prompts]
    with torch.inference_mode():
        for computed, many in _caches(model, input_ids, mask, settings):
            with _finite(model):
                output = model.generate(
                    input_ids=input_ids.repeat_interleave(many, dim=0),
                    attention_mask=mask.repeat_interleave(many, dim=0),
                    generation_config=_config(pad_id, stops, settings),
                    **({} if computed is None else _as_cache(model, computed)),
                )
            rows = [_until_end(row, stops) for row in output[:, longest:].tolist()]
            for number in range(len(found)):
                found[number] += rows[number * many : (number + 1) * many]
    return found


@contextmanager
def _finite(model: PreTrainedModel) -> Iterator[None]:
    """Tell that a model gives no numbers to draw by, which short texts need not show."""
    try:
        yield
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise ConfigError(
            f"{base_model(model).name_or_path!r} gives what is no finite number (NaN or infinity): its config.json or "
            "weights are damaged, or the precision is too narrow for it; get the model anew"
        ) from None


def _check_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]], settings: Sampling
) -> None:
    """Refuse prompts with tokens that have no embedding, and those that leave no positions for their answers."""
    own = str(tokenizer.name_or_path)
    check_ids(base_model(model), tokenizer, ids, own, "take the tokenizer that belongs to it")
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
    computed = DynamicCache(config=model.config.get_text_config(decoder=True))
    # The head is wanted for no position here: the last token of the prompt is left to the sampling.
    model.get_decoder()(
        input_ids=input_ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=positions[:, :-1],
        use_cache=True,
        **_as_cache(model, computed),
    )
    portions = _portions(settings)
    for left, many in zip(reversed(range(len(portions))), portions, strict=True):
        laid_out = copy.deepcopy(computed) if left else computed
        laid_out.batch_repeat_interleave(many)
        yield laid_out, many


def _as_cache(model: PreTrainedModel, computed: Cache) -> dict[str, Cache]:
    """Keys and values of earlier tokens, as a keyword: transformers 5.24 has another name, and warns of the old one."""
    known = inspect.signature(model.get_decoder().forward).parameters
    return {"cache" if "cache" in known else "past_key_values": computed}


def _portions(settings: Sampling) -> list[int]:
    """Answers of a prompt that are drawn at once: all, or as many as a batch has rows, and then the rest."""
    whole, rest = divmod(settings.samples, min(settings.samples, settings.batch_size))
    return [min(settings.samples, settings.batch_size)] * whole + [rest] * (rest > 0)


def _config(pad_id: int, stops: list[int], settings: Sampling) -> GenerationConfig:
    drawn = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
    return GenerationConfig(
        do_sample=settings.temperature > 0,
        **(drawn if settings.temperature > 0 else {}),
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=stops,
        pad_token_id=pad_id,
    )


def _until_end(ids: list[int], stops: Sequence[int]) -> list[int]:
    ends = (place + 1 for place, token in enumerate(ids) if token in stops)
    return ids[: next(ends, len(ids))]
