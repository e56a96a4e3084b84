"""Who rated: how raters agree, how far each is from the others, and what changes without each of them.

Ratings of one aspect on one scale are compared, and votes on one question: scales are never mixed. The agreement is
that of ``stats.agreement``; of grades, α takes their order, and beside it their distances. For each rater with a name:

    bias      mean of its rating minus the mean of the others' on the same answer
    spread    standard deviation of its ratings: how much of the scale it uses
    agrees    share of the other raters' votes on the same two answers that say what it says
    without   α of the others, and the prompts whose best answer, or whose majority, is then another one

All intervals take prompts as clusters. Owns what is held of ratings and the figures. Votes are taken in by
``audit.votes``; what is shown is owned by ``report.raters``, leaving raters out by ``preferences.raters``.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from notus.core.records import Feedback, Scale
from notus.stats.agreement import Agreement, Metric, agreement, alpha, fleiss
from notus.stats.bootstrap import Array, bootstrap_totals, totals_of
from notus.stats.intervals import Estimate, Share, clustered_mean, share

__all__ = ["OVERALL", "Columns", "Group", "Pairing", "Rater", "RaterRow", "Raters", "Ratings", "compare_raters"]

OVERALL = "overall score"
"""What the score of a critique is called among the aspects."""
_DRAWS = 1_999
_MOST = 40
"""Raters of a group whose absence is computed; those with the most ratings."""
_PAIRED = 6
"""Raters of a group that are compared two by two; those with the most ratings."""


@dataclass(frozen=True)
class Columns:
    """The ratings of one aspect, or the votes on one question, as columns of one row for each."""

    what: str
    """``ratings`` or ``votes``."""
    of: str
    """The aspect, or the question."""
    scale: Scale | None
    names: tuple[str, ...]
    """Of the raters; empty for those without a name."""
    items: NDArray[np.int64]
    """What was rated: an answer, or two of them."""
    prompts: NDArray[np.int64]
    raters: NDArray[np.int64]
    """Number in ``names``."""
    values: NDArray[np.float64]
    """The rating; of a vote 1 for the first answer, 0 for the second, ½ for a tie."""

    def where(self, rows: NDArray[np.bool_]) -> "Columns":
        """Some of the rows."""
        parts = {name: getattr(self, name)[rows] for name in ("items", "prompts", "raters", "values")}
        return replace(self, **parts)


@dataclass(frozen=True)
class Rater:
    """What is known of one rater; an estimate is None where there is too little for an interval."""

    name: str
    n: int
    """Ratings or votes that it gave."""
    shared: int
    """… on what others rated too."""
    prompts: int
    mean: Estimate | None = None
    """Of its ratings; of its votes, the share for the answer that stands first, ties as half."""
    bias: Estimate | None = None
    spread: Estimate | None = None
    agrees: Estimate | None = None
    alpha_without: Estimate | None = None
    changed: Share | None = None
    """Of the prompts that it rated, those whose best answer is another one without it; of votes, pairs of answers whose
    majority is."""


@dataclass(frozen=True)
class Pairing:
    """Two raters on what both rated."""

    a: str
    b: str
    agreement: Agreement


@dataclass(frozen=True)
class Group:
    """The raters of one aspect on one scale, or of one question."""

    what: str
    of: str
    scale: Scale | None
    n: int
    """Ratings or votes."""
    items: int
    """Answers, or pairs of answers."""
    shared: int
    """… that have several."""
    prompts: int
    alpha: Mapping[str, Estimate | None]
    """Metric → α."""
    fleiss: Estimate | None
    agreed: Estimate | None
    """Share of two votes on the same answers, of different raters, that say the same."""
    raters: tuple[Rater, ...]
    """Those with a name, the one with the most ratings first."""
    pairings: tuple[Pairing, ...]

    @property
    def main(self) -> Estimate | None:
        """The α that fits: of the order of grades, or of votes."""
        return self.alpha.get("ordinal") or self.alpha.get("nominal") or self.alpha.get("interval")


@dataclass(frozen=True)
class Raters:
    """All that is known of who rated."""

    groups: tuple[Group, ...]

    def rows(self) -> list["RaterRow"]:
        """The table ``raters``."""
        return [_row(group, rater) for group in self.groups for rater in group.raters]

    def as_json(self) -> list[dict[str, Any]]:
        """The figures of the groups, for the manifest and ``--json``."""
        return [_group_json(group) for group in self.groups]


class RaterRow(msgspec.Struct, frozen=True, kw_only=True):
    """One rater on one aspect or question; ``…_low`` and ``…_high`` are the ends of 95 % intervals."""

    rater: str
    what: str
    """``ratings`` or ``votes``."""
    of: str
    """The aspect, or the question."""
    scale_low: float | None = None
    scale_high: float | None = None
    n: int
    shared: int
    """Those on what others rated too."""
    prompts: int
    mean: float | None = None
    """Of votes, the share for the answer that stands first."""
    mean_low: float | None = None
    mean_high: float | None = None
    bias: float | None = None
    """Mean difference from the others on the same answers."""
    bias_low: float | None = None
    bias_high: float | None = None
    spread: float | None = None
    """Standard deviation of its ratings."""
    spread_low: float | None = None
    spread_high: float | None = None
    agrees: float | None = None
    """Share of the others' votes on the same answers that say the same."""
    agrees_low: float | None = None
    agrees_high: float | None = None
    alpha: float | None = None
    """Of all raters, with this one."""
    alpha_without: float | None = None
    alpha_without_low: float | None = None
    alpha_without_high: float | None = None
    changed: int | None = None
    """Prompts whose best answer is another one without it; of votes, pairs of answers whose majority is."""
    changed_of: int | None = None


class Ratings:
    """Takes feedback, and holds of each rating with a rater's name, or beside another of its aspect, five numbers.

    Those of the parts of a set are put together with ``merge``, in the order of the set.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Scale | None], int] = {}
        self._names: dict[str, int] = {}
        self._columns: dict[str, Any] = {name: array(code) for name, code in _CODES.items()}
        self._answers = 0

    def add(self, feedback: Feedback) -> None:
        """Take one prompt in."""
        prompt = int(feedback.prompt_id, 16)
        for place, item in enumerate(feedback.completions, self._answers):
            ratings = item.ratings
            if any(each.rater for each in ratings) or len({each.aspect for each in ratings}) < len(ratings):
                for each in ratings:
                    if each.value is not None:
                        self._add(each.aspect, each.scale, place, prompt, each.rater, each.value)
            if item.critique is not None and item.critique.rater and item.critique.score is not None:
                said = item.critique
                self._add(OVERALL, said.scale, place, prompt, said.rater, said.score or 0.0)
        self._answers += len(feedback.completions)

    def merge(self, other: "Ratings") -> None:
        """Take in what another holds of the prompts that follow."""
        moved: dict[str, Sequence[int]] = {
            "group": [self._groups.setdefault(key, len(self._groups)) for key in other._groups],
            "rater": [self._names.setdefault(name, len(self._names)) for name in other._names],
            "item": range(self._answers, self._answers + other._answers),
        }
        for name, column in other._columns.items():
            places = moved.get(name)
            self._columns[name].extend(column if places is None else [places[value] for value in column])
        self._answers += other._answers

    def columns(self) -> list[Columns]:
        """The ratings of each aspect on each scale, those of the most ratings first."""
        group, item, prompt, rater, value = (np.asarray(self._columns[name]) for name in _CODES)
        found = []
        for (aspect, scale), number in self._groups.items():
            rows = group == number
            items, raters = (column[rows].astype(np.int64) for column in (item, rater))
            prompts = np.unique(prompt[rows], return_inverse=True)[1]
            found.append(Columns("ratings", aspect, scale, tuple(self._names), items, prompts, raters, value[rows]))
        return sorted(found, key=lambda each: (each.of == OVERALL, -len(each.items), each.of))

    def _add(self, aspect: str, scale: Scale | None, item: int, prompt: int, rater: str, value: float) -> None:
        row = (
            self._groups.setdefault((aspect, scale), len(self._groups)),
            item,
            prompt,
            self._names.setdefault(rater, len(self._names)),
            value,
        )
        for column, number in zip(self._columns.values(), row, strict=True):
            column.append(number)


_CODES = {"group": "H", "item": "I", "prompt": "Q", "rater": "I", "value": "d"}


def compare_raters(columns: Iterable[Columns]) -> Raters:
    """The figures of all groups that have a rater with a name, or several ratings of something."""
    groups = (_compare(each) for each in columns if len(each.items))
    return Raters(tuple(group for group in groups if group.raters or group.shared))


def _compare(columns: Columns) -> Group:
    columns = _one_each(columns)
    votes = columns.what == "votes"
    sizes = np.unique(columns.items, return_counts=True)[1]
    metrics: tuple[Metric, ...] = ("nominal",) if votes else ("ordinal", "interval")
    parts = (columns.items, columns.values, columns.prompts)
    found: dict[str, Estimate | None] = {name: alpha(*parts, metric=name, draws=_DRAWS) for name in metrics}
    ordered = _raters_by_number(columns)
    best = _winners(columns)
    metric: Metric = "nominal" if votes else "ordinal" if found["ordinal"] else "interval"
    return Group(
        what=columns.what,
        of=columns.of,
        scale=columns.scale,
        n=len(columns.items),
        items=len(sizes),
        shared=int((sizes > 1).sum()),
        prompts=len(np.unique(columns.prompts)),
        alpha=found,
        fleiss=fleiss(*parts, draws=_DRAWS),
        agreed=_agreed(columns) if votes else None,
        raters=(*(_rater(columns, *each, best, metric) for each in ordered[:_MOST]), *(r for _, r in ordered[_MOST:])),
        pairings=tuple(
            _pairing(columns, a, b) for a, b in combinations(sorted([number for number, _ in ordered[:_PAIRED]]), 2)
        ),
    )


def _one_each(columns: Columns) -> Columns:
    """Of several ratings of one thing by one rater with a name, their mean; of votes, the last one."""
    nameless = np.array([not name for name in columns.names])[columns.raters]
    # Ratings without a name are a rater each.
    raters = np.where(nameless, len(columns.names) + np.arange(len(columns.raters)), columns.raters)
    _, first, inverse = np.unique(
        np.column_stack([columns.items, raters]), axis=0, return_index=True, return_inverse=True
    )
    if len(first) == len(raters):
        return columns
    inverse = inverse.ravel()
    if columns.what == "votes":
        last = np.zeros(len(first), np.intp)
        last[inverse] = np.arange(len(inverse))
        kept = np.sort(last)
        return columns.where(np.isin(np.arange(len(inverse)), kept))
    means = np.bincount(inverse, weights=columns.values) / np.bincount(inverse)
    order = np.argsort(first)
    found = columns.where(np.isin(np.arange(len(inverse)), first))
    return replace(found, values=means[order])


def _raters_by_number(columns: Columns) -> list[tuple[int, Rater]]:
    """The raters with a name and how much each rated, the one with the most ratings first."""
    _, items, sizes = np.unique(columns.items, return_inverse=True, return_counts=True)
    counts, size = np.bincount(columns.raters, minlength=len(columns.names)), len(columns.names)
    shared = np.bincount(columns.raters[sizes[items] > 1], minlength=size)
    pairs = np.unique(np.column_stack([columns.raters, columns.prompts]), axis=0)
    prompts = np.bincount(pairs[:, 0], minlength=size)
    found = [
        (number, Rater(name, int(counts[number]), int(shared[number]), int(prompts[number])))
        for number, name in enumerate(columns.names)
        if name and counts[number]
    ]
    return sorted(found, key=lambda each: (-each[1].n, each[1].name))


def _rater(columns: Columns, number: int, known: Rater, best: Mapping[int, int], metric: Metric) -> Rater:
    own = columns.raters == number
    mine, left, votes = columns.where(own), columns.where(~own), columns.what == "votes"
    others = _others(columns, mine, number)
    shared = np.isfinite(others)
    differences = (mine.values - others)[shared].tolist()
    found = replace(
        known,
        mean=(share if votes else clustered_mean)(mine.values.tolist(), mine.prompts.tolist()),
        bias=clustered_mean(differences, mine.prompts[shared].tolist()) if differences and not votes else None,
        spread=None if votes else _spread(mine),
        agrees=_agrees(columns, mine, number) if votes else None,
    )
    if not len(left.items):
        return found
    without = alpha(left.items, left.values, left.prompts, metric=metric, draws=_DRAWS)
    keys = mine.items if votes else mine.prompts
    return replace(found, alpha_without=without, changed=_changed(best, _winners(left), keys))


def _others(columns: Columns, mine: Columns, number: int) -> Array:
    """The mean of the others' ratings of each thing that a rater rated; NaN where there is none."""
    size = int(columns.items.max()) + 1
    left = columns.raters != number
    sums = np.bincount(columns.items[left], weights=columns.values[left], minlength=size)
    counts = np.bincount(columns.items[left], minlength=size)
    with np.errstate(invalid="ignore"):
        means: Array = (sums / counts)[mine.items]
    return means


def _spread(mine: Columns) -> Estimate | None:
    if len(mine.items) < 2:
        return None
    centred = mine.values - mine.values.mean()
    totals = totals_of(np.column_stack([np.ones(len(centred)), centred, centred**2]), mine.prompts.tolist())
    return bootstrap_totals(totals, _deviation, n=len(centred), draws=_DRAWS)


def _deviation(sums: Array) -> Array:
    n, first, second = np.moveaxis(sums, -1, 0)
    found: Array = np.sqrt(np.maximum(second - first**2 / n, 0) / (n - 1))
    return found


def _table(columns: Columns) -> tuple[NDArray[Any], Array, NDArray[Any]]:
    """Items × what was voted: how often; with the number of each row's item, and the prompt of each item."""
    _, first, items = np.unique(columns.items, return_index=True, return_inverse=True)
    codes = (columns.values * 2).astype(np.intp)
    counts = np.bincount(items * 3 + codes, minlength=len(first) * 3).reshape(-1, 3).astype(float)
    return items, counts, columns.prompts[first]


def _agreed(columns: Columns) -> Estimate | None:
    """Share of ordered pairs of votes on one item that say the same."""
    _, counts, prompts = _table(columns)
    sizes = counts.sum(axis=1)
    same, pairs = (counts * (counts - 1)).sum(axis=1), sizes * (sizes - 1)
    shared = pairs > 0
    if not shared.any():
        return None
    totals = totals_of(np.column_stack([same, pairs])[shared], prompts[shared].tolist())
    return bootstrap_totals(totals, _ratio, n=int(sizes[shared].sum()), draws=_DRAWS)


def _agrees(columns: Columns, mine: Columns, number: int) -> Estimate | None:
    """Share of the others' votes on the same two answers that say what one rater says."""
    size = int(columns.items.max()) + 1
    left = columns.where(columns.raters != number)
    codes = (left.values * 2).astype(np.intp)
    counts = np.bincount(left.items * 3 + codes, minlength=size * 3).reshape(-1, 3)
    same = counts[mine.items, (mine.values * 2).astype(np.intp)]
    of = counts.sum(axis=1)[mine.items]
    shared = of > 0
    if not shared.any():
        return None
    totals = totals_of(np.column_stack([same, of])[shared].astype(float), mine.prompts[shared].tolist())
    return bootstrap_totals(totals, _ratio, n=int(of.sum()), draws=_DRAWS)


def _ratio(sums: Array) -> Array:
    share: Array = sums[..., 0] / sums[..., 1]
    return share


def _winners(columns: Columns) -> dict[int, int]:
    """Prompt → its best answer by the mean of the raters, the first of equals; or item → the side of most votes."""
    if not len(columns.items):
        return {}
    items, first, inverse = np.unique(columns.items, return_index=True, return_inverse=True)
    means = np.bincount(inverse, weights=columns.values) / np.bincount(inverse)
    if columns.what == "votes":
        sides = np.sign(np.round(means - 0.5, 9)).astype(int)
        return dict(zip(items.tolist(), sides.tolist(), strict=True))
    prompts = columns.prompts[first]
    order = np.lexsort((items, -np.round(means, 9), prompts))
    _, top = np.unique(prompts[order], return_index=True)
    return dict(zip(prompts[order][top].tolist(), items[order][top].tolist(), strict=True))


def _changed(best: Mapping[int, int], without: Mapping[int, int], keys: NDArray[Any]) -> Share:
    """Of the prompts, or pairs of answers, that are decided with a rater and without it: those decided otherwise."""
    of = [key for key in np.unique(keys).tolist() if key in best and key in without]
    return Share.make(sum(best[key] != without[key] for key in of), len(of))


def _pairing(columns: Columns, a: int, b: int) -> Pairing:
    sides = []
    for number in (a, b):
        rows = columns.where(columns.raters == number)
        sides.append(
            dict(zip(rows.items.tolist(), zip(rows.values.tolist(), rows.prompts.tolist(), strict=True), strict=True))
        )
    both = [item for item in sides[0] if item in sides[1]]
    found = agreement(
        [sides[0][item][0] for item in both],
        [sides[1][item][0] for item in both],
        [sides[0][item][1] for item in both],
        draws=_DRAWS,
    )
    return Pairing(columns.names[a], columns.names[b], found)


def _row(group: Group, rater: Rater) -> RaterRow:
    ends: dict[str, Any] = {}
    for name in ("mean", "bias", "spread", "agrees", "alpha_without"):
        estimate: Estimate | None = getattr(rater, name)
        if estimate is not None:
            ends |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return RaterRow(
        rater=rater.name,
        what=group.what,
        of=group.of,
        scale_low=group.scale.low if group.scale else None,
        scale_high=group.scale.high if group.scale else None,
        n=rater.n,
        shared=rater.shared,
        prompts=rater.prompts,
        alpha=group.main.mean if group.main else None,
        changed=rater.changed.count if rater.changed else None,
        changed_of=rater.changed.of if rater.changed else None,
        **ends,
    )


def _group_json(group: Group) -> dict[str, Any]:
    def put(estimate: Estimate | None, unit: str) -> dict[str, Any] | None:
        return estimate.as_json(unit) if estimate else None

    points = "share" if group.what == "votes" else "points"
    return {
        "what": group.what,
        "of": group.of,
        "scale": [group.scale.low, group.scale.high] if group.scale else None,
        "n": group.n,
        "items": group.items,
        "shared": group.shared,
        "prompts": group.prompts,
        "alpha": {name: put(estimate, "alpha") for name, estimate in group.alpha.items()},
        "fleiss": put(group.fleiss, "kappa"),
        "agreed": put(group.agreed, "share"),
        "raters": [
            {
                "rater": rater.name,
                "n": rater.n,
                "shared": rater.shared,
                "mean": put(rater.mean, points),
                "bias": put(rater.bias, "points"),
                "spread": put(rater.spread, "points"),
                "agrees": put(rater.agrees, "share"),
                "alpha_without": put(rater.alpha_without, "alpha"),
                "changed": [rater.changed.count, rater.changed.of] if rater.changed else None,
            }
            for rater in group.raters[:_MOST]
        ],
    }
