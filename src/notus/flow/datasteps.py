"""The steps that make and turn over data: miniature, read, audit, repair."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from notus import __version__
from notus.app.card import health_card
from notus.app.health import Finding, feedback_findings, pair_findings
from notus.core.errors import DataError
from notus.core.records import Completion, Decision, Dialogue, Feedback, Preference, Unpaired
from notus.core.run import Run, atomic, read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_records, table_exists, write_records
from notus.core.wording import counted
from notus.data.audit import Audit, Drafter, Suspicion, write_audit
from notus.data.audit_pairs import Pair, audit_pairs
from notus.data.binarize import is_held_out
from notus.data.layouts import Data
from notus.data.quarantine import Quarantine
from notus.data.reading import Reader, learn_reader, sample_of
from notus.data.repair import RULE, Doubt, doubts
from notus.data.repair import repair as repairing
from notus.data.sharded import Shard, sharded
from notus.data.sources import Source, open_source, write_jsonl
from notus.data.ultrafeedback import to_ultrafeedback
from notus.evaluate.faults import Trial
from notus.flow import kinds
from notus.flow.rewardaudit import audit_by_rewards
from notus.flow.stepconfig import Reads
from notus.miniature import world

__all__ = [
    "HELD",
    "TABLES",
    "audit",
    "held_out_beside",
    "open_given",
    "read",
    "read_findings",
    "repair",
    "require_feedback",
    "write_findings",
    "write_miniature",
]

Inputs = Mapping[str, str]
_SHOWN = 12
HELD: dict[type[Data], str] = {
    Feedback: "feedback",
    Preference: "preference pairs",
    Unpaired: "unpaired answers",
    Dialogue: "dialogues",
}
"""Kind of record → what it is called in messages."""
TABLES: dict[type[Data], str] = {
    Feedback: "feedback",
    Preference: "preferences",
    Unpaired: "unpaired",
    Dialogue: "dialogues",
}
"""Kind of record → name of the table that a step leaves of it."""


def write_miniature(run: Run, config: kinds.Miniature, inputs: Inputs, seed: int | None) -> None:
    """Write the miniature world, its feedback in the raw layout of UltraFeedback."""
    del inputs
    assert seed is not None
    truths: list[world.Truth] = []

    def rows() -> Iterator[dict[str, object]]:
        for feedback, of_feedback in world.feedback(config.world, seed):
            truths.extend(of_feedback)
            yield to_ultrafeedback(feedback)

    prompts = write_jsonl(run.path / "feedback.jsonl", rows())
    write_records(run.path / "truth.parquet", truths, world.Truth)
    dialogues = [Dialogue(messages=turns, source="miniature") for turns in world.dialogues(config.world, seed)]
    write_records(run.path / "dialogues.parquet", dialogues, Dialogue)
    held_out = [Dialogue(messages=turns, source="miniature") for turns in world.held_out(config.world)]
    write_records(run.path / "prompts.parquet", held_out, Dialogue)
    faulty = sum(truth.faulty for truth in truths)
    struck = len({truth.feedback_id for truth in truths if truth.faulty})
    run.note(feedback=prompts, completions=len(truths), faulty=faulty, prompts_struck=struck, dialogues=len(dialogues))


def read(run: Run, config: kinds.Read, inputs: Inputs, seed: int | None) -> None:
    """Read a source into our own records; preference pairs are divided into train and held-out by prompt."""
    del seed
    source = open_given(config, inputs["path"])
    table = run.path / f"{TABLES[source.record]}.parquet"
    if source.record is not Preference:
        if config.fold:
            raise DataError(f"{source.name} holds {HELD[source.record]}; a fold is held out of preference pairs")
        rows = sum(sharded(run, source, partial(_copied, table, source.record), config.workers))
        run.note(layout=source.layout, rows=rows)
        return
    # What an earlier run has held out stays held out; otherwise it is drawn here.
    aside, kept = run.path / "held_out.parquet", held_out_beside(source)
    is_aside = (
        config.fold.holds if config.fold else partial(is_held_out, share=0.0 if kept else config.held_out, seed=0)
    )
    sizes = list(sharded(run, source, partial(_divided, table, aside, is_aside), config.workers))
    train, held_out = (sum(numbers) for numbers in zip(*sizes, strict=True))
    if config.fold and not (train and held_out):
        raise DataError(
            f"fold {config.fold.number} of {config.fold.of} holds {held_out:,} of the {train + held_out:,} pairs of "
            f"{source.name}; both it and the others need some: take fewer folds, or more pairs"
        )
    if kept and config.fold:
        run.note(not_read=f"{_pairs_beside(kept)} beside them, which are in no fold")
    elif kept:
        held_out = write_records(aside, read_records(kept, Preference), Preference)
        run.note(not_read=f"{counted(held_out, 'held-out pair')} beside them")
    elif not held_out:
        write_records(aside, (), Preference)
    run.note(layout=source.layout, rows=train + held_out, train=train, held_out=held_out)


def audit(run: Run, config: kinds.Audit, inputs: Inputs, seed: int | None) -> None:
    """Audit feedback or preference pairs: a table of all rows, findings as JSON, pictures as SVG."""
    del seed
    source = open_given(config, inputs["data"])
    if source.record is Feedback:
        if config.rewards:
            raise DataError(f"{source.name} holds feedback, and rewards judge pairs; make some with notus binarize")
        result, texts = _audited(run, source, config.workers)
        findings = feedback_findings(result, texts)
        _write_trials(run, Path(inputs["data"]) / "truth.parquet", result)
        run.note(layout=source.layout, prompts=result.health.prompts, completions=result.health.completions)
    else:
        findings = _audited_pairs(run, source, config, inputs)
    write_findings(run, findings)
    facts = {name: value for name, value in run.summary.items() if isinstance(value, int | str)}
    # A page to pass on tells no one where its maker keeps files; a hub id is told whole.
    name = Path(source.name).name if Path(source.name).exists() else source.name
    with atomic(run.path / "health.html") as file:
        file.write(health_card(name, findings, facts, __version__))


def repair(run: Run, config: kinds.Repair, inputs: Inputs, seed: int | None) -> None:
    """Apply the published rule to feedback: the repaired records, each change, and the doubtful middle as a queue."""
    del seed
    source = open_given(config, inputs["data"])
    require_feedback(source)
    decisions: list[Decision] = []
    queue: list[Doubt] = []
    prompts = scored = 0
    for count, with_score, made, doubtful in sharded(run, source, partial(_repaired, run.path), config.workers):
        prompts, scored = prompts + count, scored + with_score
        decisions += made
        queue += doubtful
    write_records(run.path / "decisions.parquet", decisions, Decision)
    write_records(run.path / "queue.parquet", queue, Doubt)
    run.note(layout=source.layout, rule=RULE, prompts=prompts, overall_scores=scored)
    run.note(changed=len(decisions), queued=len(queue))


def write_findings(run: Run, findings: list[Finding]) -> None:
    """Leave findings in a run directory: as JSON, and their pictures as SVG."""
    with atomic(run.path / "health.json", "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(findings)))
    for finding in findings:
        if finding.picture:
            with atomic(run.path / f"{finding.slug}.svg") as file:
                file.write(finding.picture)


def read_findings(path: Path) -> list[Finding]:
    """The findings that an audit left in its run directory."""
    return msgspec.json.decode((path / "health.json").read_bytes(), type=list[Finding])


def open_given(config: Reads, given: str) -> Source:
    """Open what a setting means: a run directory's records, or a file, a folder, a hub id."""
    found = _in_run(Path(given)) or given
    return open_source(str(found), layout=config.layout, strict=config.strict, limit=config.limit)


def _in_run(folder: Path) -> Path | None:
    """The records that a run directory was made for, or None if this is no run directory.

    Raises:
        DataError: if it is one that holds no records, or the directory of a whole recipe.
    """
    if (folder / "experiment.json").is_file() or (folder / "steps").is_dir():
        raise DataError(
            f"{folder} holds the runs of a whole recipe; name one of them, for example {folder}/steps/data-…"
        )
    if not (folder / "manifest.json").is_file():
        return None
    stems = ("feedback.jsonl", "feedback", "preferences", "unpaired", "dialogues", "rows.jsonl", "rows")
    names = [name if "." in name else f"{name}.parquet" for name in stems]
    found = next((folder / name for name in names if table_exists(folder / name)), None)
    if found is None:
        stage = read_manifest(folder)["stage"]
        raise DataError(f"{folder} is a run of '{stage}', which leaves no feedback and no preferences; name its source")
    return found


def require_feedback(source: Source) -> None:
    """Refuse a source of anything but feedback.

    Raises:
        DataError: that says what it holds.
    """
    if source.record is not Feedback:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.layout}); this needs feedback, that is "
            "several answers to a prompt with ratings"
        )


def held_out_beside(source: Source) -> Path | None:
    """The pairs that were held out of those that are read, where an earlier step left them beside."""
    path = source.paths[0]
    table = path.parent if path.parent.suffix == ".parquet" else path
    aside = table.with_name("held_out.parquet")
    return aside if table.name == "preferences.parquet" and table_exists(aside) else None


def _copied(path: Path, kind: type[Data], records: Iterator[Data], shard: Shard) -> int:
    return shard.write(path, records, kind)


def _divided(
    train: Path, aside: Path, is_aside: Callable[[str], bool], records: Iterator[Preference], shard: Shard
) -> tuple[int, int]:
    """Write the pairs of a shard, those of held-out prompts aside; the numbers of both."""
    kept: list[Preference] = []

    def others() -> Iterator[Preference]:
        for record in records:
            if is_aside(record.prompt_id):
                kept.append(record)
            else:
                yield record

    count = shard.write(train, others(), Preference)
    return count, shard.write(aside, kept, Preference) if kept else 0


def _repaired(folder: Path, records: Iterator[Feedback], shard: Shard) -> tuple[int, int, list[Decision], list[Doubt]]:
    """Repair a shard: the numbers of its prompts and of its overall scores, the changes, and what is in doubt."""
    scored = 0
    decisions: list[Decision] = []
    queue: list[Doubt] = []

    def repaired() -> Iterator[Feedback]:
        nonlocal scored
        for feedback in apply(partial(repairing, decisions=decisions), records, shard.tally("repair")):
            queue.extend(doubts(feedback))
            scored += sum(item.overall_score is not None for item in feedback.completions)
            yield feedback

    count = shard.write(folder / "feedback.parquet", repaired(), Feedback)
    return count, scored, decisions, queue


def _audited(run: Run, source: Source, workers: int | None) -> tuple[Audit, dict[str, Completion]]:
    """Audit feedback in two passes; the texts of the most suspicious completions come with it."""
    drafts = run.path / ".drafts"
    drafts.mkdir(exist_ok=True)
    reader = learn_reader(sample_of(source))
    drafter, ends = Drafter(), [0]
    for part in sharded(run, source, partial(_drafted, drafts, reader), workers):
        drafter.merge(part)
        ends.append(len(drafter))
    result = write_audit(run.path / "completions.parquet", sorted(drafts.iterdir()), drafter)
    shutil.rmtree(drafts)
    return result, _texts(source, result, ends)


def _audited_pairs(run: Run, source: Source, config: kinds.Audit, inputs: Inputs) -> list[Finding]:
    pairs = audit_pairs(_preferences(_records(run, source), source))
    contradictions: list[Finding] = []
    run.note(layout=source.layout, pairs=pairs.health.pairs)
    if config.rewards:
        pairs, contradictions = audit_by_rewards(run, source, pairs, inputs)
    write_records(run.path / "pairs.parquet", pairs.rows, Pair)
    first, *others = pair_findings(pairs)
    return [first, *contradictions, *others]


def _drafted(folder: Path, reader: Reader, records: Iterator[Feedback], shard: Shard) -> Drafter:
    drafter = Drafter(reader)
    rows = (row for feedback in records for row in drafter.draft(feedback))
    write_records(folder / f"{shard.number:05d}.parquet", rows, Suspicion)
    drafter.finish()
    return drafter


def _records(run: Run, source: Source) -> Iterator[Data]:
    """Read a source here, record by record, for what looks at the set as a whole."""
    for records in sharded(run, source, _listed, 1):
        yield from records
    if kept := held_out_beside(source):
        run.note(not_read=f"{_pairs_beside(kept)} beside them")


def _pairs_beside(kept: Path) -> str:
    return counted(sum(1 for _ in read_records(kept, Preference)), "held-out pair")


def _listed(records: Iterator[Data], shard: Shard) -> list[Data]:
    del shard
    return list(records)


def _preferences(records: Iterable[Data], source: Source) -> Iterator[Preference]:
    for record in records:
        if not isinstance(record, Preference):
            held = HELD[source.record]
            raise DataError(f"{source.name} holds {held} (layout {source.layout}); this needs feedback or pairs")
        yield record


def _texts(source: Source, result: Audit, ends: list[int]) -> dict[str, Completion]:
    """The most suspicious completions, read a second time from the shards that hold them: the audit holds no text.

    Args:
        ends: for each shard, the number of completions before it.
    """
    numbered = zip(result.order(_SHOWN), result.ranked(_SHOWN), strict=True)
    places = {number: row.id for number, row in numbered if row.strength or row.disagreement}
    found: dict[str, Completion] = {}
    for number, shard in enumerate(source.shards()) if places else ():
        here = {place - ends[number]: of for place, of in places.items() if ends[number] <= place < ends[number + 1]}
        before = 0
        for feedback in shard.records(Tally("again"), Quarantine()) if here else ():
            assert isinstance(feedback, Feedback)
            size = len(feedback.completions)
            found |= {here[i]: feedback.completions[i - before] for i in range(before, before + size) if i in here}
            before += size
            if before > max(here):
                break
    return found


def _write_trials(run: Run, path: Path, result: Audit) -> None:
    """Where the truth is known, keep what is needed to try the fault finders against it."""
    if not path.is_file():
        return
    truths = list(read_records(path, world.Truth))
    trials = [
        Trial(feedback_id=row.feedback_id, repair=row.repair, suspicion=row.suspicion, planted=truth.faulty)
        for row, truth in zip(result.rows, truths, strict=False)
        if row.id == truth.completion_id
    ]
    # With a limit, only the first rows are audited; what is missing at the end is no fault.
    if len(trials) != len(result.rows):
        raise DataError(f"{path} does not belong to the feedback beside it; make the data again")
    write_records(run.path / "trials.parquet", trials, Trial)
