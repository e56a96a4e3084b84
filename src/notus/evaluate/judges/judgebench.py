"""JudgeBench: judges on pairs of which one answer is objectively right, both orders together.

A pair counts as right where, of the verdicts in both orders, more name the right answer than the wrong one; so one
right verdict and one tie are right, and two that contradict each other are not (Tan et al. 2024,
https://arxiv.org/abs/2410.12784, section 4, and ``utils/metrics.py`` of https://github.com/ScalerLab/JudgeBench). A
verdict that could not be read names neither. Owns this accuracy, and the order consistency; prompts are clusters.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from notus.evaluate.judges.figures import JudgeEvaluation, mean_by_prompt
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import JudgedPair
from notus.stats.intervals import Estimate

__all__ = ["PARTS", "BenchAccuracy", "JudgeBench", "is_right", "judgebench", "part_of"]

PARTS = {"mmlu-pro": "knowledge", "livebench-reasoning": "reasoning", "livebench-math": "math"} | {
    "livecodebench": "coding"
}
"""What the source of a pair begins with → its part of JudgeBench."""


@dataclass(frozen=True)
class BenchAccuracy:
    """The accuracy of a judge on one part, or on all pairs."""

    part: str
    pairs: int
    right: int
    wrong: int
    """More verdicts name the wrong answer."""
    neither: int
    accuracy: Estimate | None
    """None with fewer than two prompts."""


@dataclass(frozen=True)
class JudgeBench:
    """What JudgeBench says of one judge."""

    judge: str
    one_order: bool
    """Whether each answer was scored for itself, or one order alone is there: then the order cannot count."""
    total: BenchAccuracy
    parts: tuple[BenchAccuracy, ...]
    read: int
    """Pairs of which both verdicts could be read."""
    consistent: Estimate | None
    """Share of these with the same verdict in both orders."""


def part_of(source: str) -> str:
    """The part of JudgeBench that a source belongs to; an unknown source is its own part."""
    return next((part for begin, part in PARTS.items() if source.startswith(begin)), source)


def is_right(judged: JudgedPair, label: str) -> float | None:
    """1 where more verdicts name the right answer than the wrong one, 0 where more name the wrong one, None otherwise.

    Args:
        judged: both verdicts.
        label: the right answer, ``A`` or ``B``, as the pair stands.
    """
    other = "B" if label == "A" else "A"
    verdicts = [(judged.forward, label, other), (judged.backward, other, label)]
    counter = sum((said == right) - (said == wrong) for said, right, wrong in verdicts)
    return None if counter == 0 else float(counter > 0)


def judgebench(evaluation: JudgeEvaluation, pairs: Sequence[HumanPair]) -> JudgeBench:
    """The figures of an evaluated judge on pairs of which one answer is right.

    Args:
        evaluation: of the judge.
        pairs: those of the evaluation, in its order; the one vote on each is its label. Pairs whose label is a tie are
            left out.
    """
    rows = [
        (part_of(pair.part), judged, is_right(judged, pair.majority))
        for judged, pair in zip(evaluation.pairs, pairs, strict=True)
        if pair.majority in ("A", "B")
    ]
    both = [judged for _, judged, _ in rows if judged.consistent is not None]
    names = list(dict.fromkeys([*PARTS.values(), *(part for part, _, _ in rows)]))
    parts = [_accuracy(name, [row for row in rows if row[0] == name]) for name in names]
    return JudgeBench(
        judge=evaluation.judge,
        one_order=evaluation.pointwise,
        total=_accuracy("all", rows),
        parts=tuple(part for part in parts if part.pairs),
        read=len(both),
        consistent=mean_by_prompt([(float(bool(judged.consistent)), judged.prompt_id) for judged in both]),
    )


def _accuracy(part: str, rows: Sequence[tuple[str, JudgedPair, float | None]]) -> BenchAccuracy:
    counts = Counter(value for _, _, value in rows)
    cases = [(value or 0.0, judged.prompt_id) for _, judged, value in rows]
    return BenchAccuracy(part, len(rows), counts[1.0], counts[0.0], counts[None], mean_by_prompt(cases))
