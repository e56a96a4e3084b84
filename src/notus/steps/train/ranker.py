"""The step that trains a ranker: pairs in, a folder with the ranker and what it is worth on held-out prompts out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

import pydantic

from notus.clean.leaks import compare_sides
from notus.core.artifacts import FINDINGS, MODEL, SCORES, Artifact, find_model
from notus.core.errors import DataError
from notus.core.records import Message, Preference, Unpaired
from notus.core.splits import PROMPT, Division, HeldOutBy
from notus.core.stage import Stage, Tally, apply
from notus.core.tables import read_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.rankers.roles import roles_fault
from notus.report.evaluations.rankers import ranker_sections
from notus.report.training.page import write_training_page
from notus.steps.base import (
    HELD,
    Context,
    OptionalModelRef,
    OptionalRef,
    PairsRef,
    Reads,
    Seed,
    decided_for,
    held_out_beside,
    open_records,
)
from notus.steps.data.division import BEFORE, plan_division, say_leaks, say_sides
from notus.steps.train.classifier import answers_of, require_answers, train_on_answers
from notus.train.ranker_quality import Judged, Quality, quality_of, scored
from notus.train.ranker_settings import RankerTraining

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Preview

__all__ = ["TrainRanker"]


class TrainRanker(Reads, RankerTraining):
    """Train a ranker on preferences, or a classifier on single answers, and measure it on prompts that are held out."""

    step_type: ClassVar[str] = "train-ranker"
    leaves: ClassVar[tuple[Artifact, ...]] = (MODEL, SCORES, FINDINGS)
    computes: ClassVar[bool] = True
    pairs: PairsRef = "binarize"
    """Preference pairs: a step, a file, a folder or a hub id. For a ``classifier`` also single answers with a label."""
    start: OptionalModelRef = None
    """Language model, encoder or ranker to start from: a step, a folder or a hub id. Without one, a small model with
    random weights and a tokenizer of the pairs' texts is made."""
    held_out: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of the prompts to measure on; where an earlier step has held pairs out, those are taken."""
    held_out_by: HeldOutBy = PROMPT
    """What is wholly on one side: prompt, source, near-duplicates, answer, column:PATH (column:user), several of them
    with + between, or time:PATH, by which the latest are held out."""
    resume_from: OptionalRef = None
    """Another training's run directory, or one of its checkpoints, to go on from: with the same rows, batch size and
    seed; epochs, learning rate and the like may be others. What was stopped itself goes on without it."""
    seed: Seed | None = None
    keep: int = pydantic.Field(default=0, ge=0, exclude=True)  # type: ignore[assignment]  # a training's, and no ids
    """Checkpoints that are left when the training is done: so many of the newest, and the best. While it goes on, two
    at the least. It is no part of what a run is named and compared by either."""

    @pydantic.model_validator(mode="after")
    def _size_of_what_is_made(self) -> Self:
        if self.start is not None:
            for name in ("shape", "encoder", "vocabulary"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is the size of a model that is made, and 'start' names one; leave it out")
        return self

    def run(self, context: Context) -> None:
        """Train a ranker; leaves ``model/``, ``scores.parquet`` of the held-out pairs, findings and pictures."""
        if self.form == "classifier":
            train_on_answers(context, self, Division(self.held_out, 0, self.held_out_by), self.workers)
            return
        from notus.train.ranker import judge_pairs, train_ranker

        source = context.source("pairs")
        preferences, held_out = _read_pairs(context, self, source)
        context.check_decided()
        start = context.model("start") if context.has("start") else None
        path = train_ranker(
            context.run,
            self,
            start=start,
            preferences=preferences,
            held_out=held_out,
            seed=context.seed,
            resume_from=context.place("resume_from") if context.has("resume_from") else None,
        )
        context.note(layout=source.format)
        write_training_page(context.run)
        if not held_out:
            context.log("no pair is held out, so that nothing is known of the ranker; set held_out above 0")
            return
        judged = judge_pairs(self, path, held_out, context.tally("rank", "parts"))
        quality = quality_of(judged)
        _write_scores(context, judged)
        _note(context, quality)
        context.write_findings(ranker_sections(quality, trained=len(preferences), form=self.form))

    def preview(self, inputs: Mapping[str, str], count: int, seed: int) -> "Preview":
        """The first pairs as the ranker will read them; only its tokenizer is loaded, or made where none is named."""
        from notus.train.preview import preview_classifier, preview_ranker
        from notus.train.ranker import pair_texts, ranker_tokenizer

        source = open_records(self, inputs["pairs"], decided_for(self, inputs))
        start = find_model(inputs["start"]) if "start" in inputs else None
        read = source.records(Tally("read"), Quarantine())
        if self.form == "classifier":
            from notus.train.classifier.fit import answer_texts

            require_answers(source)
            rows = list(
                answers_of((each for each in read if isinstance(each, Unpaired | Preference)), Tally("answers"))
            )
            return preview_classifier(ranker_tokenizer(self, start, answer_texts(rows)), self, rows, count)
        _require_pairs(source)
        pairs = list(_readable(self.form)((pair for pair in read if isinstance(pair, Preference)), Tally("answers")))
        return preview_ranker(ranker_tokenizer(self, start, pair_texts(pairs)), self, pairs, count, seed)


def _read_pairs(context: Context, config: TrainRanker, source: Source) -> tuple[list[Preference], list[Preference]]:
    """Pairs to train on and to measure on.

    Raises:
        DataError: if the source holds no pairs, or all of them are held out.
    """
    _require_pairs(source)
    found = (record for record in context.records(source) if isinstance(record, Preference))
    tally = context.tally("answers")
    readable = _readable(config.form)
    records = list(apply(readable, found, tally))
    if kept := held_out_beside(source):
        read = context.decided_records(read_records(kept, Preference), context.tally("read-held-out", "rows"))
        aside = list(apply(readable, read, tally))
        say_leaks(context, compare_sides(records, aside, Division(0.0, 0)), PROMPT, BEFORE)
        return records, aside
    asked = Division(config.held_out, 0, config.held_out_by)
    division = plan_division(context, source, asked, config.workers)
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for record in records:
        sides[division.holds(record)].append(record)
    if records and not sides[0]:
        raise DataError(f"all {len(records):,} pairs are held out; lower held_out ({config.held_out})")
    if sides[1]:
        say_sides(context, division, compare_sides(*sides, division))
    return sides


def _require_pairs(source: Source) -> None:
    if source.record is not Preference:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.format}); a ranker is trained on pairs: "
            "make some with notus binarize, or train a classifier on single answers (form: classifier)"
        )


def _readable(form: str) -> Stage[Preference, Preference]:
    """The stage that keeps the pairs which a ranker of that form can read."""
    return partial(_of_one_turn, fault=roles_fault if form == "pairrm" else None)


def _of_one_turn(
    pairs: Iterable[Preference], tally: Tally, *, fault: Callable[[Sequence[Message]], str] | None
) -> Iterator[Preference]:
    """The pairs that a ranker can read, which scores a text behind a prompt; thoughts and tools are counted.

    ``fault`` says why a prompt cannot be read, in words; None where all can.
    """
    for pair in pairs:
        if fault is not None and (told := fault(pair.prompt)):
            tally.drop(pair.id, "unfit-prompt", told, at=pair)
            continue
        sides = (pair.chosen, pair.rejected)
        if any(len(side) != 1 or side[0].role != "assistant" or side[0].tool_calls for side in sides):
            told = " and ".join(str(len(side)) for side in sides)
            what = f"{told} turns; each side must be one answer that calls no tool"
            tally.drop(pair.id, "several-turns", what, at=pair)
            continue
        if thoughts := sum(bool(side[0].reasoning) for side in sides):
            tally.count("reasoning-dropped", thoughts)
        if pair.extra.get("tools"):
            tally.count("tools-dropped")
        yield pair


def _write_scores(context: Context, judged: list[Judged]) -> None:
    """The table that arms are compared by: one row for each held-out pair."""
    seen: dict[str, int] = {}
    rows = []
    for item in judged:
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        value = scored(item)
        reason = "tie" if value == 0.5 else "chosen" if value else "rejected"
        row = {"id": item.id, "prompt_id": item.prompt_id, "sample": number, "value": value, "reason": reason}
        rows.append(row | {"file": item.file, "line": item.line})
    context.write_rows(SCORES, rows)


def _note(context: Context, quality: Quality) -> None:
    found = {
        "accuracy": quality.accuracy,
        "calibration_error": quality.calibration_error,
        "longer_preferred": quality.longer_preferred,
    }
    for name, estimate in found.items():
        if estimate is not None:
            context.note(**{name: estimate.as_json("share")})
