"""The steps that make and turn over data: miniature, read, audit, binarize."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec

from notus.app.health import Finding, feedback_findings, pair_findings
from notus.core.errors import DataError
from notus.core.records import Completion, Decision, Dialogue, Feedback, Preference
from notus.core.run import Run, atomic, read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_records, write_records
from notus.data.audit import Audit, Suspicion
from notus.data.audit import audit as audit_feedback
from notus.data.audit_pairs import Pair, audit_pairs
from notus.data.binarize import binarize as binarizing
from notus.data.binarize import split
from notus.data.quarantine import Quarantine
from notus.data.repair import repair
from notus.data.sources import Source, open_source, write_jsonl
from notus.data.ultrafeedback import to_ultrafeedback
from notus.evaluate.faults import Trial
from notus.flow import kinds
from notus.miniature import world

__all__ = ["audit", "binarize", "read", "read_findings", "write_miniature"]

Inputs = Mapping[str, str]
_SHOWN = 12


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
    source = _open(config, inputs["path"])
    records = list(_records(run, source))
    aside = source.paths[0].with_name("held_out.parquet")
    kept = source.paths[0].name == "preferences.parquet" and aside.is_file()
    if source.record is Feedback:
        write_records(run.path / "feedback.parquet", _feedback(records, source), Feedback)
        run.note(layout=source.layout, rows=len(records))
        return
    # What an earlier run has held out stays held out; otherwise it is drawn here.
    train, held_out = split(_preferences(records), 0.0 if kept else config.held_out, 0)
    held_out += read_records(aside, Preference) if kept else ()
    write_records(run.path / "preferences.parquet", train, Preference)
    write_records(run.path / "held_out.parquet", held_out, Preference)
    run.note(layout=source.layout, rows=len(records), train=len(train), held_out=len(held_out))


def audit(run: Run, config: kinds.Audit, inputs: Inputs, seed: int | None) -> None:
    """Audit feedback or preference pairs: a table of all rows, findings as JSON, pictures as SVG."""
    del seed
    source = _open(config, inputs["data"])
    if source.record is Feedback:
        result = audit_feedback(_feedback(_records(run, source), source))
        write_records(run.path / "completions.parquet", result.rows, Suspicion)
        findings = feedback_findings(result, _texts(source, result))
        _write_trials(run, Path(inputs["data"]) / "truth.parquet", result)
        run.note(layout=source.layout, prompts=result.health.prompts, completions=result.health.completions)
    else:
        pairs = audit_pairs(_preferences(_records(run, source)))
        write_records(run.path / "pairs.parquet", pairs.rows, Pair)
        findings = pair_findings(pairs)
        run.note(layout=source.layout, pairs=pairs.health.pairs)
    with atomic(run.path / "health.json", "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(findings)))
    for finding in findings:
        if finding.picture:
            with atomic(run.path / f"{finding.slug}.svg") as file:
                file.write(finding.picture)


def binarize(run: Run, config: kinds.Binarize, inputs: Inputs, seed: int | None) -> None:
    """Make preferences of feedback, in TRL's conversational layout."""
    assert seed is not None
    source = _open(config, inputs["data"])
    records: Iterable[Feedback] = _feedback(_records(run, source), source)
    decisions: list[Decision] = []
    if config.strategy == "repaired-critique":
        tally = run.tally("repair")
        records = apply(lambda rows, of: repair(rows, of, decisions), records, tally)
    stage, tally = binarizing(config.strategy, seed), Tally("binarize")
    train, held_out = split(apply(stage, records, tally), config.held_out, seed)
    run.tallies.append(tally)  # after the tallies of what came before it
    if not train and not held_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.summary()["dropped"].items())
        raise DataError(f"no prompt of {source.name} gives a pair by {config.strategy}: {reasons or 'there is none'}")
    write_records(run.path / "preferences.parquet", train, Preference)
    if held_out:
        write_records(run.path / "held_out.parquet", held_out, Preference)
    if decisions:
        write_records(run.path / "decisions.parquet", decisions, Decision)
    run.note(layout=source.layout, strategy=config.strategy, pairs=len(train), held_out=len(held_out))


def read_findings(path: Path) -> list[Finding]:
    """The findings that an audit left in its run directory."""
    return msgspec.json.decode((path / "health.json").read_bytes(), type=list[Finding])


def _open(config: kinds.Reads, given: str) -> Source:
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
    names = ("feedback.jsonl", "feedback.parquet", "preferences.parquet")
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        stage = read_manifest(folder)["stage"]
        raise DataError(f"{folder} is a run of '{stage}', which leaves no feedback and no preferences; name its source")
    return found


def _records(run: Run, source: Source) -> Iterator[Feedback | Preference]:
    """Read a source; bad rows go into the run's quarantine, and their number into its manifest."""
    with Quarantine(run.path / "quarantine.jsonl") as quarantine:
        tally = run.tally("read")
        yield from source.records(tally, quarantine)
        bad = quarantine.counts.total()
        if bad and not tally.given:
            raise DataError(
                f"none of the {bad:,} rows of {source.name} fits the layout {source.layout}: {quarantine.summary()}"
            )
        if bad:
            run.note(quarantined=bad, quarantine=quarantine.summary())
    aside = source.paths[0].with_name("held_out.parquet")
    if source.paths[0].name == "preferences.parquet" and aside.is_file():
        run.note(not_read=f"{sum(1 for _ in read_records(aside, Preference)):,} held-out pairs beside them")


def _feedback(records: Iterable[Feedback | Preference], source: Source) -> Iterator[Feedback]:
    for record in records:
        if not isinstance(record, Feedback):
            raise DataError(
                f"{source.name} holds preference pairs (layout {source.layout}); this needs feedback, that is several "
                "answers to a prompt with ratings"
            )
        yield record


def _preferences(records: Iterable[Feedback | Preference]) -> Iterator[Preference]:
    for record in records:
        assert isinstance(record, Preference)
        yield record


def _texts(source: Source, result: Audit) -> dict[str, Completion]:
    """The most suspicious completions, read a second time: the audit holds no text."""
    wanted = {row.id for row in result.ranked(_SHOWN) if row.disagreement}
    found: dict[str, Completion] = {}
    if wanted:
        again = source.records(Tally("again"), Quarantine())
        for feedback in _feedback(again, source):
            for index, completion in enumerate(feedback.completions):
                if (of := feedback.completion_id(index)) in wanted:
                    found[of] = completion
            if len(found) == len(wanted):
                break
    return dict(islice(found.items(), _SHOWN))


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
