"""The step that draws answers: from a model in this process, the prompt computed once for all of them, or an endpoint.

Leaves one row for each answer. What cannot be answered is dropped with the kind of the failure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import msgspec
import pydantic

from notus.collect.settings import EndpointSettings
from notus.core.artifacts import (
    OUTPUTS,
    PROMPTS,
    Artifact,
)
from notus.core.errors import DataError
from notus.core.records import (
    Dialogue,
    Feedback,
    Message,
    Output,
    Preference,
    Unpaired,
)
from notus.core.splits import part_of
from notus.core.stage import Place, Tally
from notus.core.tables import read_records, table_exists
from notus.engine.settings import Limits, Sampling
from notus.formats.format import Data, record_id
from notus.llm.protocol import Decoding, Outcome, Reply, Request, ordered
from notus.steps.base import (
    Context,
    OptionalModelRef,
    PromptsRef,
    Reads,
    Seed,
)
from notus.steps.collect.asking import open_asking

__all__ = ["Sample", "draw_answers"]

Prompt = tuple[Message, ...]


class Sample(Reads, EndpointSettings):
    """Draw answers to prompts from a model, or from an endpoint through the ledger."""

    step_type: ClassVar[str] = "sample"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (OUTPUTS,)
    serve: ClassVar[None] = None  # what is asked over HTTP is a server that runs already
    data: PromptsRef = "data"
    """Where the prompts are from: feedback, pairs, dialogues; a prompt that stands there again is asked once."""
    prompts: Literal["records", "held-out"] = "records"
    """``records`` takes the prompts of the source's records, ``held-out`` those that a step left for evaluation
    (prompts.parquet)."""
    part: int = pydantic.Field(default=1, ge=1)
    """Which part of the prompts, from 1."""
    parts: int = pydantic.Field(default=1, ge=1)
    """Into how many disjoint parts the prompts are divided, by a hash of prompt and seed."""
    model: OptionalModelRef = None
    """The model: a step, a folder or a hub id; null asks the one endpoint that is given."""
    sampling: Sampling = Sampling()
    drop_truncated: bool = False
    """Whether answers that were cut at the token limit are left out; otherwise they are marked."""
    limits: Limits = Limits()
    """Lengths for a model; an endpoint has its own."""
    seed: Seed | None = None

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model answers in this process: what a server says does not depend on the threads here."""
        return self.model is not None

    @pydantic.model_validator(mode="after")
    def _one_who_answers(self) -> Self:
        if (self.model is None) is (not self.endpoints) or len(self.endpoints) > 1:
            raise ValueError("name who answers: a model, or one endpoint under 'endpoints'")
        if self.part > self.parts:
            raise ValueError(f"part {self.part} is above the {self.parts} parts that there are")
        if self.prompts == "held-out" and self.split is not None:
            raise ValueError("'split' chooses among files of records; held-out prompts are one table")
        return self

    def run(self, context: Context) -> None:
        """Draw answers to the prompts of a source, or of a part of it."""
        places = dict(_distinct_prompts(context, self, context.inputs["data"], context.seed))
        prompts = list(places)
        if not prompts:
            raise DataError(f"{context.inputs['data']} gives no prompt to answer; check 'prompts', 'split' and 'parts'")
        drawn = draw_answers(context, self, places, context.seed)
        tally = context.tally("answers", "parts")
        kept = []
        for drawn_output in drawn:
            place = places[drawn_output.prompt]
            output = msgspec.structs.replace(drawn_output, file=place.file, line=place.line)
            tally.taken += 1
            if output.truncated:
                tally.count("truncated")
            if output.truncated and self.drop_truncated:
                detail = f"sample {output.sample} has no end within {self.sampling.max_new_tokens} tokens"
                tally.drop(output.id, "truncated", detail, at=output, asked_by="drop_truncated")
            else:
                kept.append(output)
        tally.given = len(kept)
        if not drawn:
            raise context.run.refuse_losses("none of the prompts can be asked")
        if not kept:
            raise DataError(
                "no answer is left; raise sampling.max_new_tokens, or keep what is cut (drop_truncated: false)"
            )
        context.write(OUTPUTS, kept, Output)
        answered = len({output.prompt_id for output in kept})
        characters = sum(len(output.text) for output in kept) / len(kept)
        context.note(prompts=len(prompts), answered=answered, answers=len(kept), truncated=tally.counts["truncated"])
        context.note(mean_characters=round(characters, 1))


def _distinct_prompts(context: Context, config: Sample, given: str, seed: int) -> Iterator[tuple[Prompt, Place]]:
    """The prompts to be answered, each once, in the order of the source, with the place where each stood first."""
    tally = Tally("prompts")
    seen: set[Prompt] = set()
    for id_, prompt, place in _prompts(context, config, given):
        tally.taken += 1
        if prompt is None:
            tally.drop(id_, "no-prompt", "no user asks anything before the first answer", at=place)
            continue
        name = _id(prompt)
        if prompt in seen:
            tally.drop(name, "repeated-prompt", "it is asked once", at=place, asked_by="data")
        elif config.parts > 1 and (part := part_of(name, config.parts, seed)) != config.part:
            tally.drop(name, "other-part", f"it belongs to part {part} of {config.parts}", at=place, asked_by="part")
        else:
            tally.given += 1
            yield prompt, place
        seen.add(prompt)
    context.run.tallies.append(tally)  # behind that of the reading


def _prompts(context: Context, config: Sample, given: str) -> Iterator[tuple[str, Prompt | None, Place]]:
    if config.prompts == "held-out":
        table = PROMPTS.at(Path(given)) if Path(given).is_dir() else Path(given)
        if not table_exists(table):
            raise DataError(f"{given} holds no prompts.parquet; set prompts: records, or name a step that leaves one")
        dialogues = list(read_records(table, Dialogue))[: config.limit]
        context.tally("read", "rows").count_all(len(dialogues))
        for dialogue in dialogues:
            yield dialogue.id, dialogue.messages, Place(dialogue.file, dialogue.line)
        return
    for record in context.records(context.open_prompts(config, given)):
        yield record_id(record), _prompt(record), Place(record.file, record.line)


def _prompt(record: Data) -> Prompt | None:
    """Of a dialogue the turns before its first answer; None where nobody asks anything."""
    if isinstance(record, Feedback | Preference | Unpaired):
        return record.prompt
    turns: list[Message] = []
    for message in record.messages:
        if message.role == "assistant":
            break
        turns.append(message)
    return tuple(turns) if any(turn.role == "user" for turn in turns) else None


def draw_answers(context: Context, config: Sample, places: Mapping[Prompt, Place], seed: int) -> list[Output]:
    """Answers to prompts from whoever the settings name; what cannot be asked or answered is dropped with its reason.

    Args:
        context: of the step, whose setting ``model`` names the model where one answers.
        config: who answers, and how.
        places: each prompt with the place where it stood.
        seed: of the draws.
    """
    return (_by_model if config.model is not None else _by_endpoint)(context, config, places, seed)


def _by_model(context: Context, config: Sample, places: Mapping[Prompt, Place], seed: int) -> list[Output]:
    from notus.engine.generate import sample_model

    tally = context.tally("encode")
    drawn = sample_model(
        context.inputs["model"],
        list(places),
        config.sampling,
        limits=config.limits,
        name=context.path.name,
        seed=seed,
        tally=tally,
        progress=context.progress,
    )
    where = {_id(prompt): place for prompt, place in places.items()} if tally.dropped else {}
    tally.dropped = [replace(item, **where[item.id]._asdict()) for item in tally.dropped]
    return drawn


def _by_endpoint(context: Context, config: Sample, places: Mapping[Prompt, Place], seed: int) -> list[Output]:
    tally, name = context.tally("asked"), config.endpoints[0].name
    with open_asking(context, config) as asked:
        asked.progress.total = len(places)
        model, decoding = asked.answerer.models[name], _decoding_of(config, seed)
        requests = (Request(model=model, messages=prompt, decoding=decoding, step="sample") for prompt in places)
        return [
            Output(prompt=request.messages, text=text, model=name, sample=number, seed=seed, truncated=end == "length")
            for request, texts in _replies(ordered(asked.answerer, requests), tally)
            for number, (text, end) in enumerate(texts)
        ]


def _replies(
    outcomes: Iterator[tuple[Request, Outcome]], tally: Tally
) -> Iterator[tuple[Request, list[tuple[str, str]]]]:
    for request, outcome in outcomes:
        tally.taken += 1
        if isinstance(outcome, Reply):
            tally.given += 1
            yield request, list(zip(outcome.texts, outcome.finish, strict=True))
        else:
            tally.drop(_id(request.messages), outcome.kind, outcome.detail)


def _decoding_of(config: Sample, seed: int) -> Decoding:
    """The settings as a server takes them; what is off is not sent, as some servers refuse what they do not know."""
    settings = config.sampling
    return Decoding(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k or None,
        repetition_penalty=None if settings.repetition_penalty == 1 else settings.repetition_penalty,
        max_tokens=settings.max_new_tokens,
        n=settings.samples,
        seed=seed,
    )


def _id(prompt: Prompt) -> str:
    return Output(prompt=prompt, text="", model="").prompt_id
