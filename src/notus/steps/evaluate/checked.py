"""Judges on trial before checks: the part of ``judges`` whose truth is told by program."""

from collections.abc import Callable, Sequence
from typing import Any

from notus.core.artifacts import Artifact
from notus.core.errors import DataError
from notus.core.records import Feedback, Preference
from notus.evaluate.compare import Comparison, Score, compare
from notus.evaluate.judges.checked import CheckedFigures, CheckedPairs, checked_figures, pairs_by_checks
from notus.evaluate.judges.figures import JudgeEvaluation, evaluate_judge, judge_figures
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import JudgedPair, PairJudge, RankerJudge
from notus.llm.protocol import Generator
from notus.rankers.ref import RankerRef
from notus.report.verified.judges import checked_judge_sections
from notus.steps.base import HELD, Context
from notus.steps.evaluate.ranked import ScoreRow, open_asking_if, rankers_of, write_pair_scores
from notus.steps.evaluate.scores import note_estimate

__all__ = ["hold_checked_trial"]


def hold_checked_trial(context: Context, config: Any, asked: Sequence[Callable[[Generator], PairJudge]]) -> None:
    """Hold a trial of each judge, and of what the source itself says, on the pairs that the checks tell apart.

    Args:
        context: of the step.
        config: its settings, see ``steps.evaluate.judges``.
        asked: makes each judge that is asked of what it is asked through.

    Raises:
        DataError: if the source holds neither feedback nor pairs, or nobody is on trial.
    """
    found = _checked_pairs(context, config)
    with open_asking_if(context, config, needed=bool(asked), total=2 * len(found.pairs) * len(asked)) as generator:
        rankers = rankers_of(context, config.rankers, config.ranking, None)
        judges: list[PairJudge] = [
            RankerJudge(name, ranker, RankerRef.read(text).about.pointwise)
            for text, (name, ranker) in zip(config.rankers, rankers, strict=True)
        ]
        judges += [make(generator) for make in asked if generator]
        judges += found.stored
        if not judges:
            raise DataError(
                f"{context.inputs['data']} holds no judgement of its answers, and nobody is on trial; name rankers "
                "(--ranker length) or judges"
            )
        trials = [evaluate_judge(judge, found.pairs, ()) for judge in judges]
    against = [checked_figures(each, found.pairs) for each in trials]
    figures = [judge_figures(each, found.pairs, ()) for each in trials]
    context.write(Artifact("rulings", "rulings.parquet"), [row for each in trials for row in each.pairs], JudgedPair)
    if len(trials) == 1:
        rows = _rows(trials[0], found.pairs)
        write_pair_scores(context, found.pairs, rows)
    context.write_findings(checked_judge_sections(against, figures, _compare(trials, found.pairs)))
    context.note(labels="checks", pairs=len(found.pairs), judges={each.name: _noted(each) for each in against})


def _checked_pairs(context: Context, config: Any) -> CheckedPairs:
    given = context.inputs["data"]
    source = context.open(config, given)
    if source.record not in (Feedback, Preference):
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.format}); this needs answers side by side: "
            "feedback or pairs"
        )
    tally = context.tally("checks", "rows")
    rows = (row for row in context.records(source) if isinstance(row, Feedback | Preference))
    found = pairs_by_checks(rows, tally, config.own_checks)
    if not found.pairs:
        raise context.run.refuse_losses(
            f"{given} holds no pair of which one answer follows its checks and one does not"
        )
    return found


def _rows(trial: JudgeEvaluation, pairs: Sequence[HumanPair]) -> list[ScoreRow]:
    """1 where a judge prefers what follows the checks, ½ where it prefers neither, 0 where it prefers the other."""
    rows: list[ScoreRow] = []
    for judged, pair in zip(trial.pairs, pairs, strict=True):
        value = judged.score if judged.score is None or pair.majority == "A" else 1 - judged.score
        reason = judged.reason if value is None else {1.0: "follows", 0.5: "neither", 0.0: "refuted"}[value]
        rows.append((judged.prompt_id, judged.pair, value, reason))
    return rows


def _compare(trials: Sequence[JudgeEvaluation], pairs: Sequence[HumanPair]) -> Comparison | None:
    if len(trials) < 2:
        return None
    rows = [(trial.judge, row) for trial in trials for row in _rows(trial, pairs)]
    return compare(Score(judge, 0, prompt, number, value) for judge, (prompt, number, value, _) in rows)


def _noted(figures: CheckedFigures) -> dict[str, Any]:
    return {
        "asked": figures.asked,
        "scored": figures.scored,
        "prefers_refuted": None if figures.refuted is None else note_estimate(figures.refuted),
        "prefers_neither": None if figures.neither is None else note_estimate(figures.neither),
    }
