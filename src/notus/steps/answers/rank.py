"""The step that ranks: answers in, answers with a ranker's scores out.

Leaves ``feedback.parquet``, each answer with its score where ``binarize --strategy ranker`` looks for it, and
``ranks.parquet`` with one row for each answer. A ranker's scores compare answers to one prompt only, so there is no
``scores.parquet``, which would be averaged over prompts. What was ranked is kept shard by shard in ``.ranked``, and a
run that was stopped goes on behind it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import pydantic

from notus.collect.settings import EndpointSettings
from notus.core.artifacts import (
    FEEDBACK,
    FINDINGS,
    OUTPUTS,
    Artifact,
)
from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Output, format_turns
from notus.core.run import Run, atomic
from notus.core.stage import Tally
from notus.core.tables import read_records, record_kind, table_exists
from notus.formats.families.ranked import RANKER_SCORE
from notus.llm.protocol import Generator, Ranker
from notus.rankers.make import best_of, make_ranker
from notus.rankers.ref import RankerRef
from notus.rankers.safety import looks_safety_relevant
from notus.rankers.settings import Ranking
from notus.report.evaluations.rankers import RankedAnswer, ranking_sections
from notus.steps.base import (
    Context,
    OptionalRef,
    OutputsRef,
    Reads,
    Serving,
    require_feedback,
)
from notus.steps.collect.asking import open_asking

__all__ = ["Rank", "answers_of", "forget", "scores_of"]

_KEPT = ".ranked"
"""Folder of what is kept of a run that is stopped."""


_EVERY_S = 2.0
"""Seconds between two lines of progress."""


class _Shard(msgspec.Struct, frozen=True):
    """What is kept of a shard that was ranked."""

    scores: list[list[float | None]]
    counts: dict[str, int]
    dropped: list[tuple[str, str, str]] = []
    """Prompts that the ranker cannot read: id, reason, detail."""


class Rank(Reads, Serving, EndpointSettings):
    """Score the answers to each prompt by a ranker: feedback with scores, which ``binarize`` makes pairs of."""

    step_type: ClassVar[str] = "rank"
    results: ClassVar[int] = 2
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, FINDINGS)
    draws: ClassVar[bool] = False
    outputs: OutputsRef = "sample"
    """The answers: a run that has drawn some, or any source of feedback."""
    ranker: str = "length"
    """Which ranker; ``python:FILE.py:NAME`` is code, which runs. What stands behind the colon of ``pairrm:MODEL`` may
    be a step, a folder or a hub id. In a recipe it may be a mapping too: ``{kind: pairrm, model: PATH}``."""
    model: OptionalRef = None
    """The ranker's model, policy or file with a function; taken from ``ranker`` where that names it."""
    reference: OptionalRef = None
    """The reference of ``implicit``; taken from ``ranker`` where that names it."""
    ranking: Ranking = Ranking()
    shard: int = pydantic.Field(default=500, ge=1)
    """Prompts that are ranked together. What was ranked is kept when a run is stopped."""
    drop_truncated: bool = False
    """Whether answers that were cut at the token limit take no part."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str, typed: Mapping[str, str] | None = None) -> Self:
        """Validate a mapping, as ``Config`` does. The text form of a ranker is divided first, so that what it refers
        to is known to the recipe and counts by its content."""
        given = data.get("ranker")
        if isinstance(given, str | Mapping) and data.get("model") is None:
            try:
                ref = RankerRef.read(given)
            except ConfigError as error:
                raise ConfigError(f"{where}: 'ranker': {error}") from None
            data = {**data, "ranker": ref.bare, **dict(zip(("model", "reference"), ref.references, strict=False))}
        return super().parse(data, where=where, typed=typed)

    @pydantic.model_validator(mode="after")
    def _ranker_exists(self) -> Self:
        try:
            self.ranker_ref()
        except ConfigError as error:
            raise ValueError(f"'ranker': {error}") from None
        return self

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model computes in this process."""
        return self.ranker_ref().about.computes

    def ranker_ref(self, model: str | None = None, reference: str | None = None) -> RankerRef:
        """The ranker, its model and reference where they lie."""
        return RankerRef.read(self.ranker, model or self.model, reference or self.reference)

    def run(self, context: Context) -> None:
        """Rank the answers to each prompt of a source."""
        feedback = list(answers_of(context, self, context.inputs["outputs"]))
        if not any(item.completions for item in feedback):
            raise DataError(f"{context.inputs['outputs']} holds no answer to rank")
        tally = context.tally("rank", "parts")
        name, scores = scores_of(context, self, feedback, tally)
        found = [_with_scores(item, own) for item, own in zip(feedback, scores, strict=True)]
        context.write(FEEDBACK, found, Feedback)
        rows = [row for item, own in zip(feedback, scores, strict=True) for row in _rows(item, own)]
        context.write(Artifact("ranks", "ranks.parquet"), rows, RankedAnswer)
        context.write_findings(ranking_sections(rows, name, self.ranking.selection if self.ranker == "pairrm" else ""))
        flagged = len({row.prompt_id for row in rows if row.safety})
        context.note(
            ranker=name, prompts=len(feedback), answers=tally.taken, scored=tally.given, safety_prompts=flagged
        )
        forget(context)


def scores_of(
    context: Context, config: Rank, feedback: list[Feedback], tally: Tally, kept: str = _KEPT
) -> tuple[str, list[list[float | None]]]:
    """The ranker's name, and the scores of all answers; what is ranked is kept until ``forget`` is called.

    Args:
        kept: folder of what is kept; a step that asks two rankers needs two.
    """
    with ExitStack() as stack:
        asked = config.ranker_ref().about.asks
        generator = stack.enter_context(open_asking(context, config)).judge if asked else None
        name, scores = _rank_shards(context, config, feedback, generator, tally, kept)
    tally.taken = sum(len(item.completions) for item in feedback)
    tally.given = sum(score is not None for own in scores for score in own)
    return name, scores


def forget(context: Context, kept: str = _KEPT) -> None:
    """Remove what was kept of a ranking, once its result is written."""
    for path in sorted((context.path / kept).iterdir()):
        path.unlink()
    (context.path / kept).rmdir()


def answers_of(context: Context, config: Rank, given: str) -> Iterator[Feedback]:
    """The prompts with their answers, as feedback: of a run that has drawn answers, or of a source of feedback."""
    place = _outputs_in(Path(given))
    if place is None:
        source = context.open(config, given)
        require_feedback(source)
        yield from context.records(source)
        return
    tally = context.tally("read", "rows")
    together: dict[str, list[Output]] = {}
    for output in islice(read_records(place, Output), config.limit):
        tally.taken += 1
        if output.truncated and config.drop_truncated:
            what = f"sample {output.sample} of {output.model} was cut"
            tally.drop(output.id, "truncated", what, at=output, asked_by="drop_truncated")
            continue
        tally.given += 1
        together.setdefault(output.prompt_id, []).append(output)
    for outputs in together.values():
        first = outputs[0]
        completions = tuple(map(_completion, outputs))
        yield Feedback(prompt=first.prompt, completions=completions, file=first.file, line=first.line)


def _outputs_in(given: Path) -> Path | None:
    """The table of answers that a run has drawn, or that is named itself."""
    inside = OUTPUTS.at(given)
    if given.is_dir() and table_exists(inside):
        return inside
    named = given.suffix == ".parquet" and table_exists(given) and record_kind(given) == Output.__name__
    return given if named else None


def _completion(output: Output) -> Completion:
    extra = {"sample": output.sample} | ({"truncated": True} if output.truncated else {})
    return Completion(text=output.text, model=output.model, extra=extra)


def _rank_shards(
    context: Context,
    config: Rank,
    feedback: list[Feedback],
    generator: Generator | None,
    tally: Tally,
    kept_in: str,
) -> tuple[str, list[list[float | None]]]:
    """The ranker's name and the scores of all answers, shard by shard; what a stopped run has left is taken."""
    folder = context.path / kept_in
    folder.mkdir(exist_ok=True)
    progress = _Progress(context.run, len(feedback))
    own = Tally("shard")
    ranker: Ranker = make_ranker(
        config.ranker_ref(_model(context, "model"), _model(context, "reference")),
        config.ranking,
        generator=generator,
        progress=progress.within,
        tally=own,
    )
    scores: list[list[float | None]] = []
    for number, start in enumerate(range(0, len(feedback), config.shard)):
        # By what it was made with: a directory in which nothing is finished may be taken over by another ranker.
        path, part = folder / f"{context.run.digest}-{number:06d}.json", feedback[start : start + config.shard]
        progress.begin(start, len(part))
        if not path.is_file():
            own.counts.clear()
            own.dropped.clear()
            texts = [[item.text for item in record.completions if _is_one_answer(item)] for record in part]
            found = ranker.rank([record.prompt for record in part], texts)
            aside = [(each.id, each.reason, each.detail) for each in own.dropped]
            kept = _Shard(found, dict(own.counts), aside)
            with atomic(path, "wb") as file:
                file.write(msgspec.json.encode(kept))
        shard = msgspec.json.decode(path.read_bytes(), type=_Shard)
        scores += [_spread(record, found, tally) for record, found in zip(part, shard.scores, strict=True)]
        tally.counts.update(shard.counts)
        places = {record.prompt_id: record for record in part}
        for prompt, reason, detail in shard.dropped:
            for place in range(len(places[prompt].completions)):
                tally.drop(places[prompt].completion_id(place), reason, detail, at=places[prompt])
        progress.ended()
    return _format_name(ranker.name, config, context), scores


def _is_one_answer(answer: Completion) -> bool:
    """Whether an answer is one turn that calls no tool, which is all that a ranker reads behind a prompt."""
    return len(answer.answer) == 1 and not answer.answer[0].tool_calls


def _spread(record: Feedback, scores: list[float | None], tally: Tally) -> list[float | None]:
    """The scores of all answers; one that was not ranked has none, and is told."""
    given = iter(scores)
    found: list[float | None] = []
    for place, answer in enumerate(record.completions):
        if _is_one_answer(answer):
            found.append(next(given))
            continue
        what = f"{len(answer.answer)} turns; a ranker reads one answer that calls no tool"
        tally.drop(record.completion_id(place), "several-turns", what, at=record)
        found.append(None)
    return found


def _format_name(name: str, config: Rank, context: Context) -> str:
    """What a ranker is called. One in a run directory calls itself by the folder ``model``, which tells nothing."""
    if not context.has("model") or _model(context, "model") == context.inputs["model"]:
        return name
    ref = config.ranker_ref(context.inputs["model"])
    return f"{ref.kind}:{context.place('model').name}{f'#{ref.label}' if ref.label else ''}"


class _Progress:
    """Writes down how the ranking goes on: prompts done, of how many."""

    def __init__(self, run: Run, prompts: int) -> None:
        self._run, self._prompts = run, prompts
        self._start = self._size = self._done = 0
        self._last = time.monotonic()

    def begin(self, start: int, size: int) -> None:
        """A shard begins."""
        self._start, self._size = start, size

    def within(self, done: int, of: int) -> None:
        """So much of the shard's computing is done. Selection counts each of its steps anew: it never goes back."""
        step = self._start + self._size * done // max(1, of)
        if time.monotonic() - self._last >= _EVERY_S and self._done < step:
            self._write(step)

    def ended(self) -> None:
        """The shard is done."""
        self._write(self._start + self._size)

    def _write(self, step: int) -> None:
        self._done, self._last = step, time.monotonic()
        self._run.metric(step=step, steps=self._prompts)


def _model(context: Context, name: str) -> str | None:
    """What a setting means: the model of a run directory, or the path or hub id as it is."""
    return context.model(name) if context.has(name) else None


def _with_scores(item: Feedback, scores: list[float | None]) -> Feedback:
    completions = [
        msgspec.structs.replace(
            answer,
            extra={key: value for key, value in answer.extra.items() if key != RANKER_SCORE}
            | ({} if score is None else {RANKER_SCORE: score}),
        )
        for answer, score in zip(item.completions, scores, strict=True)
    ]
    return msgspec.structs.replace(item, completions=tuple(completions))


def _rows(item: Feedback, scores: list[float | None]) -> Iterator[RankedAnswer]:
    known = [score for score in scores if score is not None]
    safety, best, prompt = looks_safety_relevant(item.prompt), best_of(scores), format_turns(item.prompt)
    for place, (answer, score) in enumerate(zip(item.completions, scores, strict=True)):
        yield RankedAnswer(
            prompt_id=item.prompt_id,
            sample=place,
            model=answer.model,
            score=score,
            rank=None if score is None else 1 + sum(other > score for other in known),
            best=place == best,
            characters=len(answer.text),
            safety=safety,
            id=item.completion_id(place),
            feedback_id=item.id,
            file=item.file,
            line=item.line,
            prompt=prompt,
            answer=answer.text,
        )
