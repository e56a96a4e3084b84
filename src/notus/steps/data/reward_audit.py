"""Reward checks in an audit of pairs: their margins, the texts to show, and the measure where the truth is known."""

from collections.abc import Iterable
from pathlib import Path

from notus.audit.pairs import Pair, PairAudit, without_kept
from notus.audit.rewards import AGAINST, Contradictions, RewardCheck, contradicted
from notus.clean.private.guard import masked
from notus.core.artifacts import (
    LABEL_TRIALS,
    PAIR_SCORES,
    TRUTH,
)
from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.evaluate.finders import AuditedPair, LabelDetection, measure_label_finder
from notus.evaluate.rewards import PairScore
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.provenance.training import trained_prompts
from notus.report.finders import contradiction_sections
from notus.report.section import ReportSection
from notus.steps.base import (
    Context,
)
from notus.toy.world import Truth

__all__ = ["audit_by_rewards", "texts_of"]

_SHOWN = 12


def audit_by_rewards(
    context: Context, source: Source, audit: PairAudit, *, private: bool
) -> tuple[PairAudit, list[ReportSection]]:
    """Lay the margins of reward checks beside an audit of pairs.

    Args:
        context: receives the figures, and the table of trials where the truth is given.
        source: of the pairs, which is read again for the texts of the most suspicious ones.
        audit: without margins.
        private: whether texts are shown with what is private behind masks.
    """
    audit, found = contradicted(audit, [_read_check(place) for place in context.places("rewards")])
    audit = without_kept(audit)
    context.note(judged=found.scored, label_contradicted=found.against.count, **_worth_a_line(found))
    places = ((row.suspicion, number) for number, row in enumerate(audit.rows) if row.suspicion is not None)
    measured = _measure_detection(context, audit.rows, context.place("truth")) if context.has("truth") else None
    return audit, contradiction_sections(audit, found, texts_of(source, places, private=private), measured)


def _read_check(check: Path) -> RewardCheck:
    stage = read_manifest(check)["stage"]
    if stage != "reward-check":
        raise DataError(
            f"{check} is a run of '{stage}', and margins come from a reward check: notus eval rewards "
            "implicit:POLICY@REFERENCE PAIRS"
        )
    scores = read_records(PAIR_SCORES.at(check), PairScore)
    margins = {score.id: score.margin for score in scores}
    known = {pair: margin for pair, margin in margins.items() if margin is not None}
    return RewardCheck(check.resolve().name, known, trained_prompts(check))


def _worth_a_line(found: Contradictions) -> dict[str, int]:
    """Figures that are worth a line where they are not 0."""
    figures = {
        "without_margin": found.pairs - found.scored,
        "judge_saw_prompt": found.seen,
        "judge_of_unknown_training": found.unknown,
        "margins_of_other_pairs": found.strangers,
    }
    return {name: count for name, count in figures.items() if count}


def texts_of(source: Source, places: Iterable[tuple[int, int]], *, private: bool) -> dict[int, Preference]:
    """The pairs of the first places by the numbers of their rows, read a second time: an audit holds no text.

    Args:
        source: of the pairs.
        places: place and number of the row, of all that have one.
        private: whether what is private stands behind masks.
    """
    wanted = {number for _, number in sorted(places)[:_SHOWN]}
    if not wanted:
        return {}
    number, found = 0, {}
    for shard in source.shards():
        for record in shard.records(Tally("again"), Quarantine()):
            if number in wanted:
                assert isinstance(record, Preference)
                found[number] = masked(record) if private else record
            number += 1
    return found


def _measure_detection(context: Context, rows: tuple[Pair, ...], folder: Path) -> LabelDetection:
    """Where the truth is known, how well wrong labels were found; the trials are kept for all seeds together."""
    quality = {(truth.feedback_id, truth.index): truth.quality for truth in read_records(TRUTH.at(folder), Truth)}
    trials = []
    for row in rows:
        if row.suspicion is None:
            continue
        sides = [
            quality.get((row.feedback_id, -1 if at is None else at)) for at in (row.place_chosen, row.place_rejected)
        ]
        if sides[0] is None or sides[1] is None:
            raise DataError(
                f"{folder} does not know the answers of pair {row.id}; name the world that the pairs are from"
            )
        trials.append(
            AuditedPair(
                id=row.id,
                prompt_id=row.prompt_id,
                suspicion=row.suspicion,
                flagged=AGAINST in row.flags,
                worse=sides[0] < sides[1],
            )
        )
    context.write(LABEL_TRIALS, trials, AuditedPair)
    measured = measure_label_finder({"this set": trials})
    if measured.area is not None:
        context.note(auroc=measured.area.as_json("auroc"))
    return measured
