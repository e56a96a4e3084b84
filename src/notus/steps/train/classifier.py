"""How ``train-ranker`` trains a classifier: accepted and rejected rows, or pairs taken apart, and its figures."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from notus.clean.leaks import compare_sides
from notus.core.artifacts import SCORES
from notus.core.errors import DataError
from notus.core.records import Preference, Unpaired
from notus.core.splits import PROMPT, Division
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.formats.source import Source
from notus.report.sets.classifier import classifier_sections
from notus.report.training.page import write_training_page
from notus.steps.base import HELD, Context, held_out_beside
from notus.steps.data.division import BEFORE, plan_division, say_leaks, say_sides
from notus.train.classifier.quality import Classified, ClassifierQuality, classifier_quality
from notus.train.ranker_settings import RankerTraining

__all__ = ["answers_of", "require_answers", "train_on_answers"]


def train_on_answers(context: Context, config: RankerTraining, asked: Division, workers: int | None) -> None:
    """Train a classifier; leaves ``model/``, ``scores.parquet`` of the held-out rows, findings and pictures.

    Args:
        context: of the step, whose setting ``pairs`` names the rows.
        config: how it is trained.
        asked: what is to be held out, where nothing was before.
        workers: number of processes that look for what is held out.
    """
    from notus.train.classifier.fit import classify_rows, train_classifier

    source = context.source("pairs")
    rows, held_out = _read(context, source, asked, workers)
    context.check_decided()
    path = train_classifier(
        context.run,
        config,
        start=context.model("start") if context.has("start") else None,
        rows=rows,
        held_out=held_out,
        seed=context.seed,
        resume_from=context.place("resume_from") if context.has("resume_from") else None,
    )
    context.note(layout=source.format)
    write_training_page(context.run)
    context.log(f"read it as classifier:{path.parent}#accepted")
    if not held_out:
        context.log("no row is held out, so that nothing is known of the classifier; set held_out above 0")
        return
    classified = classify_rows(config, path, held_out, context.tally("rank", "parts"))
    if not classified:
        context.log(f"none of the {len(held_out):,} held-out rows could be read by the classifier")
        return
    accepted = sum(row.desirable for row in rows)
    quality = classifier_quality(classified, commoner=2 * accepted >= len(rows))
    _write_scores(context, classified)
    _note(context, quality)
    context.write_findings(classifier_sections(quality, trained=len(rows), accepted=accepted))


def require_answers(source: Source) -> None:
    """Refuse a source that says of no answer whether it is accepted.

    Raises:
        DataError: if it holds neither single answers with a label nor pairs.
    """
    if source.record not in (Unpaired, Preference):
        held = HELD[source.record] if source.record else "rows of unknown kind"
        raise DataError(
            f"{source.name} holds {held} (layout {source.format}); a classifier is trained on answers with a label "
            "(prompt, completion, label), or on pairs"
        )


def answers_of(records: Iterable[Unpaired | Preference], tally: Tally) -> Iterator[Unpaired]:
    """Single answers with their labels: rows as they are, a pair as its chosen one, accepted, and its rejected one.

    Dropped is ``several-turns``, an answer that is not one turn of the assistant's without tools. Counted are
    ``pair-taken-apart`` and ``reasoning-dropped``.
    """
    for record in records:
        tally.taken += 1
        sides = _sides(record)
        if any(len(row.answer) != 1 or row.answer[0].role != "assistant" or row.answer[0].tool_calls for row in sides):
            told = " and ".join(str(len(row.answer)) for row in sides)
            tally.drop(
                record.id, "several-turns", f"{told} turns; each must be one answer that calls no tool", at=record
            )
            continue
        tally.given += 1
        if len(sides) == 2:
            tally.count("pair-taken-apart")
        if thoughts := sum(bool(row.answer[0].reasoning) for row in sides):
            tally.count("reasoning-dropped", thoughts)
        yield from sides


def _sides(record: Unpaired | Preference) -> list[Unpaired]:
    if isinstance(record, Unpaired):
        return [record]
    return [
        Unpaired(
            prompt=record.prompt,
            answer=answer,
            desirable=desirable,
            source=record.source,
            extra=record.extra,
            file=record.file,
            line=record.line,
        )
        for answer, desirable in ((record.chosen, True), (record.rejected, False))
    ]


def _read(
    context: Context, source: Source, asked: Division, workers: int | None
) -> tuple[list[Unpaired], list[Unpaired]]:
    """Rows to train on and to measure on.

    Raises:
        DataError: if the source holds none, or all of them are held out.
    """
    require_answers(source)
    found = cast("Iterable[Unpaired | Preference]", context.records(source))
    tally = context.tally("answers")
    rows = list(answers_of(found, tally))
    if kept := held_out_beside(source):
        read = context.decided_records(read_records(kept, Preference), context.tally("read-held-out", "rows"))
        aside = list(answers_of(read, tally))
        say_leaks(context, compare_sides(rows, aside, Division(0.0, 0)), PROMPT, BEFORE)
        return rows, aside
    division = plan_division(context, source, asked, workers)
    sides: tuple[list[Unpaired], list[Unpaired]] = ([], [])
    for row in rows:
        sides[division.holds(row)].append(row)
    if rows and not sides[0]:
        raise DataError(f"all {len(rows):,} rows are held out; lower held_out ({asked.share})")
    if sides[1]:
        say_sides(context, division, compare_sides(*sides, division))
    return sides


def _write_scores(context: Context, classified: Sequence[Classified]) -> None:
    """The table that arms are compared by: one row for each held-out answer."""
    seen: dict[str, int] = {}
    rows = []
    for item in classified:
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        reason = {1.0: "right", 0.5: "tie", 0.0: "wrong"}[item.right]
        row = {"id": item.id, "prompt_id": item.prompt_id, "sample": number, "value": item.right, "reason": reason}
        rows.append(row | {"file": item.file, "line": item.line})
    context.write_rows(SCORES, rows)


def _note(context: Context, quality: ClassifierQuality) -> None:
    for name in ("accuracy", "constant", "above_constant", "brier", "calibration_error", "order"):
        estimate = getattr(quality, name)
        if estimate is not None:
            context.note(**{name: estimate.as_json("share")})
