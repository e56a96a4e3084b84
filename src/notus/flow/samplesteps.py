"""The step that draws answers: from a model in this process, the prompt computed once for all of them, or an endpoint.

Leaves ``outputs.parquet``, one row for each answer. What cannot be answered is dropped with the kind of the failure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Dialogue, Feedback, Message, Output, Preference, Unpaired, digest
from notus.core.run import Run
from notus.core.stage import Tally
from notus.core.tables import read_records, table_exists, write_records
from notus.data.layouts import Data
from notus.data.sharded import Shard, sharded
from notus.data.sources import Source
from notus.flow.collectsteps import opened
from notus.flow.datasteps import open_given
from notus.flow.given import find_model
from notus.flow.samplekinds import Sample
from notus.models.protocols import Decoding, Outcome, Reply, Request, ordered

__all__ = ["part_of", "sample"]

Prompt = tuple[Message, ...]
Inputs = Mapping[str, str]


def sample(run: Run, config: Sample, inputs: Inputs, seed: int | None) -> None:
    """Draw answers to the prompts of a source, or of a part of it."""
    assert seed is not None
    prompts = list(_chosen(run, config, inputs["data"], seed))
    if not prompts:
        raise DataError(f"{inputs['data']} gives no prompt to answer; check 'prompts', 'split' and 'parts'")
    drawn = (_by_model if config.model is not None else _by_endpoint)(run, config, inputs, prompts, seed)
    tally = run.tally("answers")
    kept = []
    for output in drawn:
        tally.taken += 1
        if output.truncated:
            tally.count("truncated")
        if output.truncated and config.drop_truncated:
            detail = f"sample {output.sample} has no end within {config.sampling.max_new_tokens} tokens"
            tally.drop(output.prompt_id, "truncated", detail)
        else:
            kept.append(output)
    tally.given = len(kept)
    if not kept:
        raise DataError("no answer is left; raise sampling.max_new_tokens, or keep what is cut (drop_truncated: false)")
    write_records(run.path / "outputs.parquet", kept, Output)
    answered = len({output.prompt_id for output in kept})
    characters = sum(len(output.text) for output in kept) / len(kept)
    run.note(prompts=len(prompts), answered=answered, answers=len(kept), truncated=tally.counts["truncated"])
    run.note(mean_characters=round(characters, 1))


def part_of(prompt_id: str, parts: int, seed: int) -> int:
    """Which of so many disjoint parts a prompt belongs to, from 1: a hash of prompt and seed decides."""
    return int(digest("part", str(seed), prompt_id), 16) * parts // 2**64 + 1


def _chosen(run: Run, config: Sample, given: str, seed: int) -> Iterator[Prompt]:
    """The prompts to be answered, each once, in the order of the source."""
    tally = run.tally("prompts")
    seen: set[Prompt] = set()
    for prompt in _prompts(run, config, given):
        tally.taken += 1
        name = _id(prompt)
        if prompt in seen:
            tally.drop(name, "repeated-prompt", "it is asked once")
        elif config.parts > 1 and (place := part_of(name, config.parts, seed)) != config.part:
            tally.drop(name, "other-part", f"it belongs to part {place} of {config.parts}")
        else:
            tally.given += 1
            yield prompt
        seen.add(prompt)


def _prompts(run: Run, config: Sample, given: str) -> Iterator[Prompt]:
    if config.prompts == "held-out":
        table = Path(given) / "prompts.parquet" if Path(given).is_dir() else Path(given)
        if not table_exists(table):
            raise DataError(f"{given} holds no prompts.parquet; set prompts: records, or name a step that leaves one")
        for dialogue in list(read_records(table, Dialogue))[: config.limit]:
            yield dialogue.messages
        return
    source = open_given(config, given)
    for of_shard in sharded(run, _of_split(source, config.split), _of_records, 1):
        yield from of_shard


def _of_split(source: Source, split: str | None) -> Source:
    """A source narrowed to the files whose names begin with the name of a split, as data sets on the hub have them."""
    if split is None:
        return source
    paths = tuple(path for path in source.paths if re.match(rf"{re.escape(split)}[.-]", path.name))
    if not paths:
        names = sorted({re.split(r"[.-]", path.name)[0] for path in source.paths})
        raise ConfigError(f"{source.name} has no split '{split}'; {nearest(split, names)}")
    return replace(source, paths=paths)


def _of_records(records: Iterator[Data], shard: Shard) -> list[Prompt]:
    del shard
    return [prompt for record in records if (prompt := _prompt(record))]


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


def _by_model(run: Run, config: Sample, inputs: Inputs, prompts: Sequence[Prompt], seed: int) -> list[Output]:
    from notus.models.generate import sample as draw
    from notus.models.local import load_model, load_tokenizer
    from notus.models.tokens import Encoder

    source = find_model(inputs["model"])
    encoder = Encoder(load_tokenizer(source), config.limits, run.tally("encode"))

    def progress(done: int, of: int) -> None:
        run.metric(step=done, steps=of)

    return draw(load_model(source), encoder, prompts, config.sampling, name=run.path.name, seed=seed, progress=progress)


def _by_endpoint(run: Run, config: Sample, inputs: Inputs, prompts: Sequence[Prompt], seed: int) -> list[Output]:
    tally, name = run.tally("asked"), config.endpoints[0].name
    with opened(run, config, inputs) as asked:
        asked.progress.total = len(prompts)
        model, decoding = asked.answerer.models[name], _decoding(config, seed)
        requests = (Request(model=model, messages=prompt, decoding=decoding, step="sample") for prompt in prompts)
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


def _decoding(config: Sample, seed: int) -> Decoding:
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
