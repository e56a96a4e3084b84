"""Arms by what people would say: each arm's mean and each pair's difference, corrected by a labelled sample.

The judge has scored all answers, people a few. A cell is a prompt under a seed, as in ``evaluate.compare``; of a cell
with a label, the label stands beside the judge's scores of the very answers that are labelled. A difference is
corrected as a difference, on the cells in which both arms have a label, so that what a prompt has in common goes out.
Prompts are clusters, seeds replicates; the widest interval decides.

Owns what is corrected and the words for it. The arithmetic is that of ``stats.corrected``, the labels are those of
``evaluate.people.labels``.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notus.core.errors import DataError
from notus.core.text import counted
from notus.evaluate.compare import Score, differs_from, format_estimate, p_against
from notus.evaluate.people.labels import Label, Labels, match_labels
from notus.stats.corrected.mean import Corrected, Sample, corrected_mean, over_replicates, slope_within
from notus.stats.corrected.misclassification import TrueShare, true_share
from notus.stats.corrected.plan import outlook
from notus.stats.intervals import Estimate, estimates_as_json, holm, wider

__all__ = [
    "ByPeople",
    "CorrectedArm",
    "CorrectedPair",
    "by_people_as_json",
    "correct",
    "correct_all",
    "correct_sides",
    "sentences_of",
    "sides_of_all",
]

Cell = tuple[int, str]
"""Seed and prompt."""
_WIDER = 1.02
_LIMIT = 0.05


@dataclass(frozen=True)
class CorrectedArm:
    """One arm, or a part of it."""

    name: str
    found: Corrected
    by_seeds: Estimate | None = None
    errors: TrueShare | None = None
    """By the judge's error rates on other answers, where labels of such are given."""
    category: str = ""

    @property
    def interval(self) -> Estimate | None:
        """The deciding one."""
        return wider(self.found.estimate, self.by_seeds)


@dataclass(frozen=True)
class CorrectedPair:
    """The difference of two arms, ``a − b``."""

    a: str
    b: str
    found: Corrected
    by_seeds: Estimate | None = None

    @property
    def interval(self) -> Estimate | None:
        """The deciding one."""
        return wider(self.found.estimate, self.by_seeds)

    @property
    def better(self) -> str | None:
        """The better arm; None where they are not distinguishable."""
        interval = self.interval
        if interval is None or not differs_from(interval, 0.0):
            return None
        return self.a if interval.mean > 0 else self.b


@dataclass(frozen=True)
class ByPeople:
    """An evaluation, corrected."""

    arms: tuple[CorrectedArm, ...]
    pairs: tuple[CorrectedPair, ...]
    labels: Labels
    categories: tuple[CorrectedArm, ...] = ()
    uncategorised: int = 0
    """Prompts with a score and no category."""


@dataclass(frozen=True)
class _Cells:
    """One arm: the judge on all cells, and on those with a label the label and the judge on the same answers."""

    judged: Mapping[Cell, float]
    labelled: Mapping[Cell, tuple[float, float]]
    difference: bool = False
    """Whether it is one arm less another."""


def correct(
    scores: Iterable[Score],
    labels: Labels,
    baseline: str | None = None,
    categories: Mapping[str, str] | None = None,
) -> ByPeople:
    """Correct the arms of an evaluation.

    Args:
        scores: of the judge.
        labels: of people.
        baseline: the arm that the others are compared with; None compares each with each.
        categories: prompt → its category; then each arm is corrected within each category too.
    """
    cells = _cells_of(scores, labels)
    arms = [_arm(name, of, labels) for name, of in cells.items()]
    names = (
        [(later, earlier) for earlier, later in itertools.combinations(cells, 2)]
        if baseline is None
        else [(arm, baseline) for arm in cells if arm != baseline]
    )
    pairs = [CorrectedPair(a, b, *_corrected(_difference(cells[a], cells[b]), labels)) for a, b in names]
    parts: list[CorrectedArm] = []
    without = 0
    if categories is not None:
        prompts = {prompt for of in cells.values() for _, prompt in of.judged}
        without = sum(prompt not in categories for prompt in prompts)
        for name, of in cells.items():
            parts += _by_category(name, of, labels, categories)
    return ByPeople(tuple(arms), tuple(pairs), labels, tuple(parts), without)


def correct_all(
    scores: Mapping[str, Sequence[Score]],
    labels: Sequence[Label],
    baseline: str | None = None,
    categories: Mapping[str, str] | None = None,
) -> dict[str, ByPeople]:
    """Correct each evaluation that has labels.

    Raises:
        DataError: if no label is on an answer of any.
    """
    return {name: correct(scores[name], of, baseline, categories) for name, of in _matched(scores, labels).items()}


def sides_of_all(
    scores: Mapping[str, Sequence[Score]], labels: Sequence[Label]
) -> dict[str, dict[tuple[str, str | None], list[Estimate]]]:
    """Evaluation → what its requirements are held against; see ``correct_sides``.

    Raises:
        DataError: if no label is on an answer of any.
    """
    return {name: correct_sides(scores[name], of) for name, of in _matched(scores, labels).items()}


def _matched(scores: Mapping[str, Sequence[Score]], labels: Sequence[Label]) -> dict[str, Labels]:
    found = {name: match_labels(name, of, labels) for name, of in scores.items()}
    whole = {name: of for name, of in found.items() if of.values or of.elsewhere is not None}
    if whole and (strangers := sum(label.evaluation not in ("", *scores) for label in labels)):
        first = next(iter(whole))  # of other evaluations: said once, and where it is seen
        whole[first] = replace(whole[first], unmatched=whole[first].unmatched + strangers)
    if not whole:
        raise DataError(
            f"none of {counted(len(labels), 'label')} is on an answer of these runs ({', '.join(scores)}); draw a "
            "sheet of these very runs (notus labels RUN …)"
        )
    return whole


def correct_sides(scores: Iterable[Score], labels: Labels) -> dict[tuple[str, str | None], list[Estimate]]:
    """Each arm, and each pair either way round, with its corrected intervals: what requirements are held against."""
    cells = _cells_of(scores, labels)
    found: dict[tuple[str, str | None], list[Estimate]] = {}
    for name, of in cells.items():
        found[name, None] = _estimates(*_corrected(of, labels))
    for a, b in itertools.permutations(cells, 2):
        found[a, b] = _estimates(*_corrected(_difference(cells[a], cells[b]), labels))
    return found


def by_people_as_json(found: ByPeople) -> dict[str, Any]:
    """The figures as plain JSON."""

    def put(arm: CorrectedArm | CorrectedPair) -> dict[str, Any]:
        each = arm.found
        told: dict[str, Any] = {
            "corrected": arm.interval,
            "labels_alone": each.alone,
            "judge": each.judge,
            "offset": each.offset,
        }
        told |= {"labels": each.labels, "judged": each.judged, "power": each.power, "width_ratio": each.ratio}
        more = outlook(each)
        told |= {"more_labels": None if more is None else {"labels": more.more, "half_width": more.half_width}}
        names = {
            key: getattr(arm, key) for key in ("name", "category", "a", "b", "better", "errors") if hasattr(arm, key)
        }
        plain: dict[str, Any] = estimates_as_json(names | told | {"note": each.note}, "score")
        return plain

    labels = found.labels
    counts = {"unmatched": labels.unmatched, "repeated": labels.repeated, "unscored": labels.unscored}
    return {
        "arms": [put(arm) for arm in found.arms],
        "pairs": [put(pair) for pair in found.pairs],
        "categories": [put(arm) for arm in found.categories],
        "labels": counts | {"uncategorised": found.uncategorised, "weighted": labels.chances is not None},
    }


def sentences_of(found: ByPeople) -> list[str]:
    """What is to be said: pairs, what is wider than labels alone, what more labels would bring, what was left out."""
    adjusted = holm([1.0 if pair.interval is None else p_against(pair.interval, 0.0) for pair in found.pairs])
    said = [_format_pair(pair, p, len(found.pairs)) for pair, p in zip(found.pairs, adjusted, strict=True)]
    said += [f"{name}: {each.note}" for name, each in _named(found) if each.estimate is None and each.note]
    for name, each in _named(found):
        if each.ratio is not None and each.ratio > _WIDER:
            said.append(f"{name}: wider than the labels alone, by {each.ratio - 1:.0%}: the judge adds nothing here")
    for name, each in _named(found)[:1]:
        if (more := outlook(each)) is not None:
            said.append(f"{name}: {more}, by a rough estimate")
        if each.worth is not None and each.ratio is not None and each.ratio < 1:
            said.append(f"{name}: {each.labels:,} labels beside the judge are worth about {each.worth:,} without it")
    return [*said, *_left_out(found)]


def _named(found: ByPeople) -> list[tuple[str, Corrected]]:
    parts = [(f"{arm.name}, {arm.category}", arm.found) for arm in found.categories]
    arms = [(arm.name, arm.found) for arm in found.arms]
    return [*((f"{pair.a} − {pair.b}", pair.found) for pair in found.pairs), *arms, *parts]


def _left_out(found: ByPeople) -> list[str]:
    labels, said = found.labels, []
    for count, what in (
        (labels.unmatched, "labels are on answers that are none of these runs', and were left out"),
        (labels.unscored, "labels are on answers that the judge gave no score, and were left out"),
        (labels.repeated, "further labels of the same answers went into their means"),
        (found.uncategorised, "prompts have no category"),
    ):
        if count:
            said.append(f"{count:,} {what}")
    if labels.others and not any(arm.errors for arm in found.arms):
        said.append(
            f"{labels.others:,} labels of other answers were left out: error rates need answers that people call good, "
            "such that they call bad, and a judge whose every score is 0 or 1"
        )
    if labels.chances is not None:
        said.append("Labels count by one over the chance with which they were drawn")
    return said


def _format_pair(pair: CorrectedPair, p: float, pairs: int) -> str:
    interval = pair.interval
    if interval is None:
        return f"{pair.a} and {pair.b} cannot be compared by people's labels: {pair.found.note or 'none are shared'}"
    told = f"{format_estimate(interval, sign=True)}, {pair.found.labels:,} labels of both"
    if pair.better is not None and p >= _LIMIT:
        told += f"; does not survive Holm's correction for {pairs} pairs (p = {p:.2f})"
    if pair.better is None:
        return f"{pair.a} and {pair.b} are not distinguishable by what people would say: {told}"
    if pair.better == pair.a:
        return f"{pair.a} is better than {pair.b} by what people would say: {told}"
    return f"{pair.a} is worse than {pair.b} by what people would say: {told}"


def _cells_of(scores: Iterable[Score], labels: Labels) -> dict[str, _Cells]:
    judged: dict[str, dict[Cell, list[float]]] = defaultdict(lambda: defaultdict(list))
    told: dict[str, dict[Cell, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        judged[score.arm]  # an arm without a score is one too
        if score.value is None:
            continue
        cell = score.seed, score.prompt_id
        judged[score.arm][cell].append(score.value)
        key = score.arm, score.seed, score.prompt_id, score.sample
        if key in labels.values:
            told[score.arm][cell].append((labels.values[key], score.value))
    return {
        arm: _Cells(
            {cell: math.fsum(values) / len(values) for cell, values in of.items()},
            {cell: (_mean(p for p, _ in both), _mean(j for _, j in both)) for cell, both in told[arm].items()},
        )
        for arm, of in judged.items()
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


def _difference(a: _Cells, b: _Cells) -> _Cells:
    """a − b on the cells that both have, and labels on those in which both have one."""
    judged = {cell: a.judged[cell] - b.judged[cell] for cell in a.judged if cell in b.judged}
    both = [cell for cell in a.labelled if cell in b.labelled and cell in judged]
    minus = {
        cell: (a.labelled[cell][0] - b.labelled[cell][0], a.labelled[cell][1] - b.labelled[cell][1]) for cell in both
    }
    return _Cells(judged, minus, difference=True)


def _sample(cells: _Cells, labels: Labels) -> Sample:
    prompts = [prompt for _, prompt in cells.judged]
    alone = len(set(prompts)) == len(prompts)
    return Sample(
        labels=[people for people, _ in cells.labelled.values()],
        beside=[judge for _, judge in cells.labelled.values()],
        judged=list(cells.judged.values()),
        chances=None if labels.chances is None else [labels.chances[prompt] for _, prompt in cells.labelled],
        clusters=None if alone else [prompt for _, prompt in cells.labelled],
        judged_clusters=None if alone else prompts,
        difference=cells.difference,
    )


def _corrected(cells: _Cells, labels: Labels) -> tuple[Corrected, Estimate | None]:
    """The mean over the cells; and the interval for other trainings, where there are several."""
    found = corrected_mean(_sample(cells, labels))
    seeds = [seed for seed, _ in cells.judged]
    if len(set(seeds)) < 2:
        return found, None
    return found, over_replicates(found, [seed for seed, _ in cells.labelled], seeds)


def _estimates(found: Corrected, by_seeds: Estimate | None) -> list[Estimate]:
    return [side for side in (found.estimate, by_seeds) if side is not None]


def _arm(name: str, cells: _Cells, labels: Labels) -> CorrectedArm:
    found, by_seeds = _corrected(cells, labels)
    errors = None
    if labels.elsewhere is not None and all(value in (0, 1) for value in cells.judged.values()):
        positive = sum(value == 1 for value in cells.judged.values())
        errors = true_share(positive, len(cells.judged), labels.elsewhere.right_yes, labels.elsewhere.right_no)
    return CorrectedArm(name, found, by_seeds, errors)


def _by_category(name: str, cells: _Cells, labels: Labels, categories: Mapping[str, str]) -> Iterable[CorrectedArm]:
    """The arm in each category: one slope for all of them, an offset for each."""
    own = [cell for cell in cells.labelled if cell[1] in categories]
    power = None
    if own:
        people, judge = zip(*(cells.labelled[cell] for cell in own), strict=True)
        power = slope_within(people, judge, [categories[prompt] for _, prompt in own])
    for category in sorted({categories[prompt] for _, prompt in cells.judged if prompt in categories}):
        part = _Cells(
            {cell: value for cell, value in cells.judged.items() if categories.get(cell[1]) == category},
            {cell: value for cell, value in cells.labelled.items() if categories.get(cell[1]) == category},
        )
        sample = _sample(part, labels)
        tuned = _says_yes_or_no(sample)
        yield CorrectedArm(name, corrected_mean(sample, power=None if tuned else power), category=category)


def _says_yes_or_no(sample: Sample) -> bool:
    """Whether both people and judge say 0 or 1: then the strata of the category itself tell more than a slope."""
    return {*sample.labels, *sample.judged} <= {0.0, 1.0}
