"""Votes of several raters made one: by Dawid–Skene or MACE, instead of by a majority in which all weigh the same.

Of each two answers to a prompt, votes are labels: the first, the second, neither. What the raters say together is put
in the place of their rankings as one ranking for each two answers, whose strength is its posterior; from there on it is
a vote as any other (``preferences.votes``). Owns the labels, what is counted and the table of raters; the estimates are
owned by ``stats.annotators``.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Ranking, Scale
from notus.core.stage import Stage, Tally
from notus.preferences.votes import CONSENSUS, Method, ask_for

if TYPE_CHECKING:
    from notus.stats.annotators import Consensus

__all__ = ["Annotators", "Posterior", "RaterErrors", "Said", "VoteLabels", "consensus", "said_of"]

_LABELS = ("first", "second", "tie")
_SURE = Scale(0.0, 1.0)


class Said(NamedTuple):
    """What raters say together of two answers."""

    a: int
    b: int
    """Places of the answers."""
    chances: tuple[float, ...]
    """That the first, the second, or neither is better."""
    votes: tuple[int, ...]
    """Likewise counted."""

    @property
    def best(self) -> int:
        """The likeliest label; of two equal ones none is."""
        top = max(self.chances)
        return self.chances.index(top) if self.chances.count(top) == 1 else _LABELS.index("tie")


class Posterior(msgspec.Struct, frozen=True, kw_only=True):
    """What raters say together of two answers, as a row of a table."""

    feedback_id: str
    first: int
    """Place of an answer."""
    second: int
    p_first: float
    """Chance that the first is better."""
    p_second: float
    p_tie: float
    votes_first: int
    votes_second: int
    votes_tie: int


class RaterErrors(msgspec.Struct, frozen=True, kw_only=True):
    """One rater, as the others show it."""

    rater: str
    n: int
    """Votes that it gave."""
    competence: float
    """MACE: how often it knows, and does not vote by habit. Dawid–Skene: how often it votes for what is true."""
    agrees: float
    """Share of its votes that are the likeliest label."""
    errors: dict[str, float]
    """``first-said-second``: how often it votes for the second where the first is better."""


@dataclass(frozen=True)
class Annotators:
    """What all raters say together."""

    method: Method
    question: str
    said: Mapping[str, tuple[Said, ...]]
    """Id of the feedback → what is said of each two of its answers."""
    raters: tuple[RaterErrors, ...]
    """The one with the most votes first."""
    rounds: int
    nameless: int
    """Votes without a rater's name, which take no part."""
    repeated: int
    """Votes that the same rater gave anew on the same answers: the last counts."""

    @property
    def posteriors(self) -> Iterator[Posterior]:
        """The table of what is said."""
        for id_, parts in self.said.items():
            for each in parts:
                chances, votes = (*each.chances, 0.0)[:3], (*each.votes, 0)[:3]
                yield Posterior(
                    feedback_id=id_,
                    first=each.a,
                    second=each.b,
                    **dict(zip(("p_first", "p_second", "p_tie"), chances, strict=True)),  # type: ignore[arg-type]
                    **dict(zip(("votes_first", "votes_second", "votes_tie"), votes, strict=True)),
                )

    def as_json(self) -> dict[str, Any]:
        """The figures, for the manifest."""
        parts = [each for found in self.said.values() for each in found]
        against = sum(each.votes[each.best] < max(each.votes) for each in parts if each.best < len(each.votes))
        weights = np.array([each.n for each in self.raters])
        return {
            "by": self.method,
            "raters": len(self.raters),
            "votes": int(weights.sum()),
            "pairs_of_answers": len(parts),
            "against_the_majority": against,
            "mean_posterior": float(np.mean([max(each.chances) for each in parts])),
            "mean_competence": float(np.average([each.competence for each in self.raters], weights=weights)),
            "rounds": self.rounds,
        }


@dataclass
class VoteLabels:
    """Takes feedback, and holds of each vote between two answers three numbers.

    Those of the parts of a set are put together with ``merge``, in the order of the set.
    """

    question: str | None = None
    """Which votes are meant; None takes all, where all are on one question."""
    _items: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _raters: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, None] = field(default_factory=dict)
    _rows: tuple[Any, Any, Any] = field(default_factory=lambda: (array("Q"), array("I"), array("B")))
    nameless: int = 0

    def add(self, feedback: Feedback) -> None:
        """Take one prompt in."""
        for each in feedback.rankings:
            if self.question is not None and each.question != self.question:
                continue
            ranked = [(place, rank) for place, rank in enumerate(each.ranks) if rank is not None]
            if len(ranked) < 2:
                continue
            self._asked[each.question] = None
            if not each.rater:
                self.nameless += len(ranked) * (len(ranked) - 1) // 2
                continue
            for (a, rank), (b, other) in combinations(ranked, 2):
                label = 2 if rank == other else int(other < rank)
                item = self._items.setdefault((feedback.id, a, b), len(self._items))
                self._append(item, self._raters.setdefault(each.rater, len(self._raters)), label)

    def merge(self, other: "VoteLabels") -> None:
        """Take in what another holds of the prompts that follow."""
        items = [self._items.setdefault(key, len(self._items)) for key in other._items]
        raters = [self._raters.setdefault(name, len(self._raters)) for name in other._raters]
        for item, rater, label in zip(*other._rows, strict=True):
            self._append(items[item], raters[rater], label)
        self._asked |= other._asked
        self.nameless += other.nameless

    def fit(self, method: Method) -> Annotators:
        """What all raters say together.

        Raises:
            ConfigError: if there are several questions, and none is named.
            DataError: if fewer than two raters have a name, or none votes on what another votes on.
        """
        if self.question is None and len(self._asked) > 1:
            raise ConfigError(ask_for(sorted(self._asked)))
        names = list(self._raters)
        if len(names) < 2:
            raise DataError(
                f"{len(names)} raters have a name, and '{method}' tells raters from one another by their names; leave "
                "it out (consensus, --consensus), or read the file with the column that names them"
            )
        rows, repeated = self._last_of_each()
        items, raters, labels = rows
        if (np.bincount(items) < 2).all():
            raise DataError(
                f"no two answers have the votes of two raters, and '{method}' needs them; leave it out (consensus, "
                "--consensus)"
            )
        size = 3 if (labels == 2).any() else 2
        from notus.stats.annotators import Labels, Sizes, dawid_skene, mace  # few binarize by it

        fit = dawid_skene if method == "dawid-skene" else mace
        found = fit(Labels(items, raters, labels, Sizes(len(self._items), len(names), size)))
        return Annotators(
            method=method,
            question=next(iter(self._asked)),
            said=self._said(found, items, labels, size),
            raters=_rater_rows(names, found, items, raters, labels),
            rounds=found.rounds,
            nameless=self.nameless,
            repeated=repeated,
        )

    def _append(self, item: int, rater: int, label: int) -> None:
        for column, value in zip(self._rows, (item, rater, label), strict=True):
            column.append(value)

    def _last_of_each(self) -> tuple[tuple[Any, Any, Any], int]:
        """The last vote of each rater on each two answers, as columns; and how many there were before it."""
        items, raters, labels = (np.asarray(column).astype(np.intp) for column in self._rows)
        cells = items * len(self._raters) + raters
        _, last = np.unique(cells[::-1], return_index=True)
        kept = np.sort(len(cells) - 1 - last)
        return (items[kept], raters[kept], labels[kept]), len(cells) - len(kept)

    def _said(self, found: "Consensus", items: Any, labels: Any, size: int) -> dict[str, tuple[Said, ...]]:
        counts = np.bincount(items * size + labels, minlength=len(self._items) * size).reshape(-1, size)
        said: dict[str, list[Said]] = {}
        for (id_, a, b), chances, votes in zip(self._items, found.posterior.tolist(), counts.tolist(), strict=True):
            said.setdefault(id_, []).append(Said(a, b, tuple(chances), tuple(votes)))
        return {id_: tuple(parts) for id_, parts in said.items()}


def said_of(row: Mapping[str, Any]) -> Said:
    """What raters say together, out of a row of the table."""
    chances, votes = (tuple(row[f"{kind}_{name}"] for name in _LABELS) for kind in ("p", "votes"))
    return Said(row["first"], row["second"], chances, votes)


def consensus(said: Mapping[str, tuple[Said, ...]], method: str, sure: float) -> Stage[Feedback, Feedback]:
    """A stage that puts what raters say together in the place of their rankings.

    Args:
        said: as ``Annotators`` has it.
        method: as which rater it is written.
        sure: least posterior; what is less sure is taken out.

    Counted are ``unsure``, two answers of which nothing is sure enough, and ``no-named-vote``, prompts whose votes all
    lack a rater's name and are left out. Dropped is a prompt under ``unsure`` where that is so of all of its answers.
    """
    return partial(_put_together, said, method, sure)


def _put_together(
    said: Mapping[str, tuple[Said, ...]], method: str, sure: float, records: Iterable[Feedback], tally: Tally
) -> Iterator[Feedback]:
    for feedback in records:
        parts = said.get(feedback.id)
        if parts is None:
            if feedback.rankings:
                tally.count("no-named-vote")
            yield msgspec.structs.replace(feedback, rankings=())
            continue
        kept = [each for each in parts if max(each.chances) >= sure]
        if len(kept) < len(parts):
            tally.count("unsure", len(parts) - len(kept))
        if not kept:
            found = f"the posterior is {max(max(each.chances) for each in parts):.2f}, and {sure:g} is asked for"
            tally.drop(feedback.id, "unsure", found, at=feedback, asked_by="sure")
            continue
        note = {
            "by": method,
            "said": [
                {"first": each.a, "second": each.b, "posterior": list(each.chances), "votes": list(each.votes)}
                for each in kept
            ],
        }
        question = feedback.rankings[0].question if feedback.rankings else ""
        yield msgspec.structs.replace(
            feedback,
            rankings=tuple(_ranking(feedback, each, method, question) for each in kept),
            extra={**feedback.extra, CONSENSUS: note},
        )


def _ranking(feedback: Feedback, said: Said, method: str, question: str) -> Ranking:
    ranks: list[int | None] = [None] * len(feedback.completions)
    ranks[said.a], ranks[said.b] = ((1, 2), (2, 1), (1, 1))[said.best]
    return Ranking(tuple(ranks), rater=method, question=question, strength=max(said.chances), scale=_SURE)


def _rater_rows(names: list[str], found: "Consensus", items: Any, raters: Any, labels: Any) -> tuple[RaterErrors, ...]:
    best = found.posterior.argmax(axis=1)
    counts = np.bincount(raters, minlength=len(names))
    agreed = np.bincount(raters, labels == best[items], minlength=len(names))
    size = found.posterior.shape[1]
    rows = [
        RaterErrors(
            rater=name,
            n=int(counts[number]),
            competence=float(found.competence[number]),
            agrees=float(agreed[number] / counts[number]),
            errors={
                f"{_LABELS[true]}-said-{_LABELS[said]}": float(found.errors[number, true, said])
                for true in range(size)
                for said in range(size)
                if true != said
            },
        )
        for number, name in enumerate(names)
        if counts[number]
    ]
    return tuple(sorted(rows, key=lambda row: (-row.n, row.rater)))
