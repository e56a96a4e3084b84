"""Reward checks in an audit of pairs: their margins, the texts to show, and the measure where the truth is known."""

from collections.abc import Mapping
from pathlib import Path

from notus.app.contradictions import contradiction_findings
from notus.app.health import Finding
from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import Run, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.data.audit_pairs import Pair, PairAudit
from notus.data.audit_rewards import AGAINST, Contradictions, Judged, contradicted
from notus.data.quarantine import Quarantine
from notus.data.sources import Source
from notus.evaluate.labels import LabelDetection, LabelTrial, try_labels
from notus.evaluate.rewards import PairScore
from notus.flow.trainedon import trained_prompts
from notus.miniature.world import Truth

__all__ = ["TRIALS", "audit_by_rewards"]

TRIALS = "label_trials.parquet"
"""Table of the pairs with their truth, which a recipe measures over all its seeds."""
_SHOWN = 12


def audit_by_rewards(
    run: Run, source: Source, audit: PairAudit, inputs: Mapping[str, str]
) -> tuple[PairAudit, list[Finding]]:
    """Lay the margins of reward checks beside an audit of pairs.

    Args:
        run: receives the figures, and the table of trials where the truth is given.
        source: of the pairs, which is read again for the texts of the most suspicious ones.
        audit: without margins.
        inputs: ``rewards.0`` … name the reward checks, ``truth`` the miniature world.
    """
    names = sorted((name for name in inputs if name.startswith("rewards.")), key=lambda name: int(name[8:]))
    audit, found = contradicted(audit, [_judged(Path(inputs[name])) for name in names])
    run.note(judged=found.scored, label_contradicted=found.against.count, **_told(found))
    measured = _measured(run, audit.rows, Path(inputs["truth"])) if "truth" in inputs else None
    return audit, contradiction_findings(audit, found, _texts(source, audit), measured)


def _judged(check: Path) -> Judged:
    stage = read_manifest(check)["stage"]
    if stage != "reward-check":
        raise DataError(
            f"{check} is a run of '{stage}', and margins come from a reward check: notus eval rewards "
            "implicit:POLICY@REFERENCE PAIRS"
        )
    scores = read_records(check / "pairs.parquet", PairScore)
    margins = {score.id: score.margin for score in scores}
    known = {pair: margin for pair, margin in margins.items() if margin is not None}
    return Judged(check.resolve().name, known, trained_prompts(check))


def _told(found: Contradictions) -> dict[str, int]:
    """Figures that are worth a line where they are not 0."""
    figures = {
        "without_margin": found.pairs - found.scored,
        "judge_saw_prompt": found.seen,
        "judge_of_unknown_training": found.unknown,
        "margins_of_other_pairs": found.strangers,
    }
    return {name: count for name, count in figures.items() if count}


def _texts(source: Source, audit: PairAudit) -> dict[int, Preference]:
    """The most suspicious pairs, read a second time: an audit holds no text."""
    judged = [(row.suspicion, number) for number, row in enumerate(audit.rows) if row.suspicion is not None]
    wanted = {number for _, number in sorted(judged)[:_SHOWN]}
    number, found = 0, {}
    for shard in source.shards():
        for record in shard.records(Tally("again"), Quarantine()):
            if number in wanted:
                assert isinstance(record, Preference)
                found[number] = record
            number += 1
    return found


def _measured(run: Run, rows: tuple[Pair, ...], world: Path) -> LabelDetection:
    """Where the truth is known, how well wrong labels were found; the trials are kept for all seeds together."""
    quality = {
        (truth.feedback_id, truth.index): truth.quality for truth in read_records(world / "truth.parquet", Truth)
    }
    trials = []
    for row in rows:
        if row.suspicion is None:
            continue
        sides = [
            quality.get((row.feedback_id, -1 if at is None else at)) for at in (row.place_chosen, row.place_rejected)
        ]
        if sides[0] is None or sides[1] is None:
            raise DataError(
                f"{world} does not know the answers of pair {row.id}; name the world that the pairs are from"
            )
        trials.append(
            LabelTrial(
                id=row.id,
                prompt_id=row.prompt_id,
                suspicion=row.suspicion,
                flagged=AGAINST in row.flags,
                worse=sides[0] < sides[1],
            )
        )
    write_records(run.path / TRIALS, trials, LabelTrial)
    measured = try_labels({"this set": trials})
    if measured.area is not None:
        run.note(auroc={"mean": measured.area.mean, "low": measured.area.low, "high": measured.area.high})
    return measured
