"""The step that looks for scores that are wrong: a table of all rows, sections for the report, a page to pass on."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from notus import __version__
from notus.audit.context.answers import SecondScores
from notus.audit.feedback import Accumulator, StoredRows, Suspicion, write_audit
from notus.audit.feedback import Audit as FeedbackAudit
from notus.audit.labels import LabelTexts, learn_labels
from notus.audit.pairs import Pair, PairAudit, audit_pairs, without_kept
from notus.audit.raters import RaterRow
from notus.audit.wording import TextModels, learn_models, sample_prompts, sample_records
from notus.clean.private.guard import Found, Guard, Privacy, masked
from notus.core.artifacts import FINDINGS, LABEL_TRIALS, TRIALS, TRUTH, Artifact
from notus.core.errors import DataError
from notus.core.records import Feedback, Preference
from notus.core.run import atomic
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.core.text import counted
from notus.evaluate.finders import AuditedCompletion
from notus.formats.format import Data
from notus.formats.quarantine import Quarantine
from notus.formats.source import Shard, Source
from notus.report.audits.context import context_sections
from notus.report.audits.labels import label_sections, places_by_text
from notus.report.cleaning import NOT_LOOKED_FOR, few_of_each, private_sections
from notus.report.health import feedback_sections, flagged_numbers, health_card, pair_sections
from notus.report.section import ReportSection
from notus.stats.intervals import estimates_as_json
from notus.steps.base import (
    HELD,
    Context,
    OptionalFeedbackRef,
    OptionalRef,
    Reads,
    Refs,
    SourceRef,
    held_out_beside,
    require_feedback,
)
from notus.steps.data.read import pairs_beside
from notus.steps.data.reward_audit import audit_by_rewards, texts_of
from notus.steps.data.since import HELD as HELD_FOR_THE_NEXT
from notus.steps.data.since import audit_since, drift_section, write_held
from notus.toy import world

__all__ = ["COMPLETIONS", "PAIRS", "RATERS", "Audit"]

COMPLETIONS = Artifact("completions", "completions.parquet", Suspicion)
"""Each completion with its suspicion and the reasons."""
PAIRS = Artifact("pairs", "pairs.parquet", Pair)
"""Each pair with its flags."""
RATERS = Artifact("raters", "raters.parquet", RaterRow)
"""Each rater on each aspect or question, with how it agrees, and what changes without it."""
_SHOWN = 12
_PRIVACY = Privacy(personal="count", secrets="count", languages=(), toxicity=0.9)
_NOTHING_NEW = ReportSection("Health of the set")
_NOT_LOOKED = ReportSection("Private data", (f"{NOT_LOOKED_FOR}; --private does.",))


class Audit(Reads):
    """Look for scores that are wrong, and at the health of the set."""

    step_type: ClassVar[str] = "audit"
    leaves: ClassVar[tuple[Artifact, ...]] = (
        *(COMPLETIONS, PAIRS, RATERS, FINDINGS, TRIALS, LABEL_TRIALS),
        HELD_FOR_THE_NEXT,
    )
    draws: ClassVar[bool] = False
    results: ClassVar[int] = 3
    data: SourceRef = "data"
    """A file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    since: OptionalRef = None
    """An audit of the same place: only what has come since is read, and placed among what was audited then."""
    private: bool = False
    """Whether personal data, secrets, languages and toxicity are counted too; needs the extra ``privacy``."""
    second: OptionalFeedbackRef = None
    """Feedback with scores of some of the same answers by another judge, or by the same one a second time: what it
    teaches about the first scores is used, and measured."""
    rewards: Refs = pydantic.Field(default=(), exclude=True)
    """Reward checks of these pairs, each of other prompts: what their rewards contradict is looked for too."""
    truth: OptionalRef = None
    """The toy world that the pairs were made of: what the rewards contradict is measured against its truth."""

    @pydantic.model_validator(mode="after")
    def _something_to_measure(self) -> Self:
        if self.since and (self.rewards or self.private or self.second):
            raise ValueError(
                "'since' reads what is new alone, and 'rewards', 'private' and 'second' are of the whole; leave it or "
                "them out"
            )
        if self.truth and not self.rewards:
            raise ValueError(
                "'truth' measures what rewards contradict, and there are none; name reward checks under "
                "'rewards', or leave it out"
            )
        return self

    def run(self, context: Context) -> None:
        """Audit feedback or preference pairs: a table of all rows, findings as JSON, pictures as SVG."""
        source = context.source("data")
        if source.record is Feedback:
            if self.rewards:
                raise DataError(f"{source.name} holds feedback, and rewards judge pairs; make some with notus binarize")
            if self.since:
                result, findings, rows = _audit_what_is_new(context, source)
            else:
                result, findings, rows = _audit_feedback(context, source, self)
                _write_trials(context, TRUTH.at(context.place("data")), result)
            if rows:
                context.write(RATERS, rows)
            context.note(layout=source.format, prompts=result.health.prompts, completions=result.health.completions)
            context.note(with_a_reason=len(result.suspects), flagged=result.sure()[0])
            if result.unread:
                context.note(not_looked_at=list(result.unread))
            if result.votes.prompts:
                context.note(votes=result.votes.as_json())
            if result.raters.groups:
                context.note(raters=result.raters.as_json())
            context.note(figures=estimates_as_json(result.health, "share"))
        elif self.second:
            raise DataError(f"{source.name} holds {HELD[source.record]}, and 'second' is of feedback; leave it out")
        else:
            if self.since:
                raise DataError(f"{source.name} holds {HELD[source.record]}; 'since' goes on from an audit of feedback")
            findings = _audited_pairs(context, source, self)
        findings += _private(context, source, self.workers) if self.private else [_NOT_LOOKED]
        context.write_findings(findings)
        facts = {name: value for name, value in context.run.summary.items() if isinstance(value, int | str)}
        with atomic(context.path / "health.html") as file:
            file.write(health_card(_name(source), findings, facts, __version__))


def _name(source: Source) -> str:
    """A page to pass on tells no one where its maker keeps files; a hub id is told whole."""
    return Path(source.name).name if Path(source.name).exists() else source.name


def _run(context: Context) -> str:
    """The run directory as it was named, which ``notus explain`` reads with the data it was made from; empty for one
    that is temporary, or of which only the place on this machine is known."""
    return "" if context.path.is_absolute() else context.path.as_posix()


_Audited = tuple[FeedbackAudit, list[ReportSection], list[RaterRow]]
"""An audit, the sections of its report, and its table of raters."""


def _audit_feedback(context: Context, source: Source, config: Audit) -> _Audited:
    """Audit feedback in two passes. The texts of the most suspicious completions are read again: by their ids, and
    those that are suspicious by their context by the numbers of their rows."""
    second = _read_second(context, config)
    if second is not None:
        _check_shared(source, second, config)
    drafts = context.path / ".drafts"
    drafts.mkdir(exist_ok=True)
    models = learn_models(sample_prompts(source), config.workers if source.fills_processes else 1)
    accumulator = Accumulator(second=second)
    for part in context.shards(source, partial(_audit_shard, drafts, models, second), config.workers):
        accumulator.merge(part)
    result = write_audit(COMPLETIONS.at(context.path), sorted(drafts.iterdir()), accumulator)
    shutil.rmtree(drafts)
    write_held(context, source, models)
    order = result.by_context.order(_SHOWN)
    by_context = result.rows.at(order) if isinstance(result.rows, StoredRows) else [result.rows[each] for each in order]
    flagged = _flagged(result)
    records = _records_of(source, [*flagged, *by_context], private=config.private)
    texts = {number: records[row.id].completions[row.index] for number, row in zip(order, by_context, strict=True)}
    whole = {row.id: records[row.id] for row in flagged}
    findings = feedback_sections(result, whole, _name(source), context_sections(result, texts), _run(context))
    if (learned := result.by_context.second) is not None:
        if not learned.matched:  # answers are shared, and none of these has a score
            raise _shares_nothing(source, learned.given, config)
        context.note(second=learned.as_json())
    return result, findings, result.raters.rows()


def _audit_what_is_new(context: Context, source: Source) -> _Audited:
    """Audit what has come since another audit."""
    found = audit_since(context, source)
    result, folder = found.result, context.place("since")
    context.note(since=str(folder), prompts_before=found.prompts_before, completions_before=found.completions_before)
    context.note(yardstick=found.yardstick, drift=estimates_as_json(found.drifted, "difference"))
    before = counted(found.prompts_before, "prompt")
    told = (
        f"{counted(result.health.prompts, 'prompt')} with {counted(result.health.completions, 'completion')} came "
        f"since {folder.name}, which audited {before} with {counted(found.completions_before, 'completion')}: those "
        "are not audited again, and their places by suspicion are those of that run.",
        f"New completions were placed among {found.yardstick:,} of the old ones; their place is the one that they "
        "would have had then.",
    )
    shown = _flagged(result)
    parts = (_records_of(each, shown, private=False) for each in found.sources)
    records = {id_: record for part in parts for id_, record in part.items()}
    sections = (
        feedback_sections(result, records, _name(source), run=_run(context))
        if result.health.prompts
        else [_NOTHING_NEW]
    )
    first, *others = sections
    first = replace(first, sentences=(*told, *(f"Of the new ones: {said}" for said in first.sentences)))
    return result, [first, drift_section(found), *others], found.raters


def _read_second(context: Context, config: Audit) -> SecondScores | None:
    """The second scores that a setting names. How the first are to be read, and what was decided on them, says nothing
    of them."""
    if not config.second:
        return None
    if context.run.inputs["second"] == context.run.inputs["data"]:
        raise DataError(
            f"'second' ({context.inputs['second']}) holds the very scores that are audited; name those of another "
            "judge, or of the same one a second time"
        )
    nothing: dict[str, Any] = dict.fromkeys(("layout", "map", "limit", "split", "config", "encoding", "decisions"))
    how = config.model_copy(update=nothing | {"keep": (), "drop": ()})
    source = context.open(how, context.inputs["second"])
    require_feedback(source)
    records = context.records(source, "read-second")
    context.run.tallies[-1].beside = True
    return SecondScores(records)


def _check_shared(source: Source, second: SecondScores, config: Audit) -> None:
    """Refuse second scores of other answers before the audit and not behind it: mostly the first record tells.

    Raises:
        DataError: if no answer of the source has a second score.
    """
    for record in source.records(Tally("look"), Quarantine()):
        assert isinstance(record, Feedback)
        if any(second.find(record, item) for item in record.completions):
            return
    raise _shares_nothing(source, len(second), config)


def _shares_nothing(source: Source, answers: int, config: Audit) -> DataError:
    return DataError(
        f"none of the {answers:,} answers with a second score in {config.second} is one of {source.name}; they are "
        "matched by prompt, model and text: name a file that scores the same answers"
    )


def _audited_pairs(context: Context, source: Source, config: Audit) -> list[ReportSection]:
    texts = LabelTexts(*learn_labels(pair for pair in sample_records(source) if isinstance(pair, Preference)))
    pairs, said = texts.lay_beside(audit_pairs(texts.watch(_preferences(_records(context, source), source))))
    pairs = without_kept(pairs)
    contradictions: list[ReportSection] = []
    context.note(layout=source.format, pairs=pairs.health.pairs)
    context.note(figures=estimates_as_json(pairs.health, "share"))
    if config.rewards:
        pairs, contradictions = audit_by_rewards(context, source, pairs, private=config.private)
    context.write(PAIRS, pairs.rows)
    shown = _shown_pairs(source, pairs, private=config.private)
    first, *others = pair_sections(pairs, shown, _name(source), _run(context))
    by_text = label_sections(pairs, said, texts_of(source, places_by_text(pairs), private=config.private))
    return [first, *contradictions, *by_text, *others]


def _private(context: Context, source: Source, workers: int | None) -> list[ReportSection]:
    """What is private, foreign or insulting is counted in a further reading; nothing goes, nothing raw is kept."""
    Guard(_PRIVACY)  # a library that is missing is told at once
    found: list[Found] = []
    for few in context.shards(source, _look_at_shard, workers, again=True):
        found = few_of_each(found + few)
    tally = context.run.tallies[-1]
    return private_sections(tally.counts, tally.taken, _PRIVACY, found)


def _look_at_shard(records: Iterator[Data], shard: Shard) -> list[Found]:
    guard, tally, found = Guard(_PRIVACY), shard.tally("private"), list[Found]()
    for record in records:
        tally.taken += 1
        tally.given += 1
        found = few_of_each([*found, *guard.look(record, tally).found])
    return found


def _audit_shard(
    folder: Path, models: TextModels, second: SecondScores | None, records: Iterator[Feedback], shard: Shard
) -> Accumulator:
    accumulator = Accumulator(models, second)
    rows = (row for feedback in records for row in accumulator.add(feedback))
    write_records(folder / f"{shard.number:05d}.parquet", rows, Suspicion)
    accumulator.finish()
    return accumulator


def _records(context: Context, source: Source) -> Iterator[Data]:
    """Read a source here, record by record, for what looks at the set as a whole."""
    yield from context.records(source)
    if kept := held_out_beside(source):
        context.note(not_read=f"{pairs_beside(kept)} beside them")


def _preferences(records: Iterable[Data], source: Source) -> Iterator[Preference]:
    for record in records:
        if not isinstance(record, Preference):
            held = HELD[source.record]
            raise DataError(f"{source.name} holds {held} (layout {source.format}); this needs feedback or pairs")
        yield record


def _flagged(result: FeedbackAudit) -> list[Suspicion]:
    """The rows that are shown whole: the most suspicious, and the first of each flag."""
    return [*result.suspected(_SHOWN), *result.first.values()]


def _records_of(source: Source, rows: Sequence[Suspicion], *, private: bool) -> dict[str, Feedback]:
    """The records of some rows by the ids of their completions, read a second time where they stand: the audit holds
    no text. Where private data are looked for, they are shown behind masks: the page is there to be passed on."""
    shown = {(row.feedback_id, row.index): row.id for row in rows}
    found: dict[str, Feedback] = {}
    for feedback in source.standing_at({(row.file, row.line) for row in rows}) if rows else ():
        assert isinstance(feedback, Feedback)
        own = feedback.id
        for index in range(len(feedback.completions)):
            if (own, index) in shown:
                found[shown[own, index]] = masked(feedback) if private else feedback
    return found


def _shown_pairs(source: Source, pairs: PairAudit, *, private: bool) -> dict[int, Preference]:
    """The pairs to be shown, by the numbers of their rows; behind masks where private data are looked for."""
    numbers = flagged_numbers(pairs, _SHOWN)
    wanted = {(pairs.rows[number].id, pairs.rows[number].file, pairs.rows[number].line): number for number in numbers}
    found: dict[int, Preference] = {}
    for record in source.standing_at({key[1:] for key in wanted}) if wanted else ():
        if isinstance(record, Preference) and (number := wanted.get((record.id, record.file, record.line))) is not None:
            found[number] = masked(record) if private else record
    return found


def _write_trials(context: Context, path: Path, result: FeedbackAudit) -> None:
    """Where the truth is known, keep what is needed to try the fault finders against it."""
    if not path.is_file():
        return
    truths = list(read_records(path, world.Truth))
    trials = [
        AuditedCompletion(feedback_id=row.feedback_id, repair=row.repair, suspicion=row.suspicion, planted=truth.faulty)
        for row, truth in zip(result.rows, truths, strict=False)
        if row.id == truth.completion_id
    ]
    # With a limit, only the first rows are audited; what is missing at the end is no fault.
    if len(trials) != len(result.rows):
        raise DataError(f"{path} does not belong to the feedback beside it; make the data again")
    context.write(TRIALS, trials, AuditedCompletion)
