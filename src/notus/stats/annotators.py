"""What several annotators say together, each taken for as good as the others show it to be: Dawid–Skene and MACE.

    found = mace(Labels(items, raters, labels, sizes))
    found.posterior[item]        # chance of each label
    found.errors[rater, true]    # what a rater says where a label is true

Both are computed from what raters say of the same items alone; nobody needs to know the truth. A rater is told from
another by what the others say of its items, so few items a rater, or few raters an item, say little: then several
answers are nearly as likely, and the posterior is surer than it should be. Owns the two estimates. Which votes are
labels, and what becomes of the posterior, is owned by ``preferences.annotators``.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from notus.core.errors import DataError

__all__ = ["Consensus", "Labels", "Sizes", "dawid_skene", "mace"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
_LEAST = 1e-10
"""Least expected count: what nobody ever said has a chance, so that its logarithm is finite."""
_ROUNDS = 500
_STILL = 1e-5
"""No posterior moves by as much any more: then it is done."""


class Sizes(NamedTuple):
    """How many there are."""

    items: int
    raters: int
    labels: int


@dataclass(frozen=True)
class Labels:
    """What was said, a row for each label that a rater gave to an item: each of shape (said,)."""

    items: Indices
    raters: Indices
    labels: Indices
    sizes: Sizes

    def __post_init__(self) -> None:
        columns = (self.items, self.raters, self.labels)
        if len({len(column) for column in columns}) > 1 or not len(self.items):
            raise DataError(f"labels come as {len(self.items)} items, {len(self.raters)} raters, {len(self.labels)}")
        for column, size in zip(columns, self.sizes, strict=True):
            if column.min() < 0 or column.max() >= size:
                raise DataError(f"labels are numbered up to {column.max()}, and there are {size}")

    @property
    def shares(self) -> Array:
        """Of each item, the share of its raters that gave each label, shape (items, labels); where none did, even."""
        size = self.sizes
        counts = np.bincount(self.items * size.labels + self.labels, minlength=size.items * size.labels)
        counts = counts.reshape(size.items, size.labels).astype(np.float64)
        counts[counts.sum(axis=1) == 0] = 1
        found: Array = counts / counts.sum(axis=1, keepdims=True)
        return found

    def log_products(self, chances: Array) -> Array:
        """Σ log of what each said label adds to its item, shape (items, labels), of (said, labels)."""
        logs = np.log(chances)
        return np.stack([np.bincount(self.items, column, self.sizes.items) for column in logs.T], axis=1)


@dataclass(frozen=True)
class Consensus:
    """What annotators say together."""

    posterior: Array
    """Chance of each label, shape (items, labels)."""
    errors: Array
    """Chance of what is said where a label is true, shape (raters, true, said)."""
    competence: Array
    """Shape (raters,). MACE: how often it knows; Dawid–Skene: how often it says what is true."""
    rounds: int
    """Of the iteration."""
    settled: bool
    """Whether it had come to rest."""


def dawid_skene(
    said: Labels, *, right: float = 2.0, wrong: float = 0.5, rounds: int = _ROUNDS, still: float = _STILL
) -> Consensus:
    """Dawid and Skene: each rater has an error rate for each true label, and for each false one it says instead.

    From the majority as a start, in turns, with q the posterior, p the share of each label, e the error rates::

        p_t = mean_i q_it       e_jtl ∝ a_tl + Σ_{i: j said l} q_it       q_it ∝ p_t Π_{j said l of i} e_jtl

    with a = ``right`` for t = l and ``wrong`` otherwise: a rater with few labels is taken for a fairly good one until
    it shows otherwise. Both 0 is the estimate as it was published, which overfits raters with few labels.

    Source: Dawid and Skene (1979), Applied Statistics 28, pages 20–28.

    Args:
        said: the labels.
        right: so many true labels are believed to have been seen of each rater, before the first.
        wrong: likewise for each false one.
        rounds: at most.
        still: until no posterior moves by as much.
    """
    size = said.sizes
    before = wrong + (right - wrong) * np.eye(size.labels)
    posterior, number, moved = said.shares, 0, np.inf
    while number < rounds and moved >= still:
        errors = _errors(said, posterior, before)
        prior = np.maximum(posterior.mean(axis=0), _LEAST)
        fresh = _normalised(said.log_products(errors[said.raters, :, said.labels]) + np.log(prior))
        moved, posterior, number = float(np.abs(fresh - posterior).max()), fresh, number + 1
    competence = np.einsum("jtt,t->j", errors, posterior.mean(axis=0))
    return Consensus(posterior, errors, competence, number, moved < still)


def mace(
    said: Labels,
    *,
    spam: tuple[float, float] = (0.5, 0.5),
    habit: float = 10.0,
    rounds: int = 50,
    still: float = _STILL,
) -> Consensus:
    """MACE: each rater knows the label, or spams: then it says what it is in the habit of saying, whatever is true.

    Variational Bayes, as published. With s_j the weight of spamming, k_j of knowing, h_jl of the habit, each
    exp ψ(its expected count with its prior) / exp ψ(their sum), ψ the digamma function::

        q_it ∝ Π_{j said l of i} (s_j h_jl + k_j [l = t])          how likely each label is
        c_ij = q_il k_j / (s_j h_jl + k_j)                         expected: j knew when it said l of i

    and the expected counts are Σ c for knowing, Σ (1 − c) for spamming, and of the latter those of each label for the
    habit. The published code does 50 rounds from ten random starts and takes the likeliest; here each rater starts as
    one who knows as often as not, so that equal votes give equal results.

    Source: Hovy, Berg-Kirkpatrick, Vaswani and Hovy (2013), https://aclanthology.org/N13-1132.

    Args:
        said: the labels.
        spam: prior counts of spamming and of knowing.
        habit: prior count of each label of a habit.
        rounds: at most.
        still: until no posterior moves by as much.
    """
    size = said.sizes
    cells = said.raters * size.labels + said.labels
    same = said.labels[:, None] == np.arange(size.labels)
    knew = np.full(len(said.items), 0.5)
    posterior, number, moved = said.shares, 0, np.inf
    while number < rounds and moved >= still:
        spammed = np.bincount(cells, 1 - knew, size.raters * size.labels).reshape(size.raters, size.labels)
        known = np.bincount(said.raters, knew, size.raters)
        counts = np.stack([spammed.sum(axis=1) + spam[0], known + spam[1]], axis=1)
        weights, habits = _weights(counts), _weights(spammed + habit)
        by_habit = weights[said.raters, 0] * habits[said.raters, said.labels]
        by_knowing = weights[said.raters, 1]
        fresh = _normalised(said.log_products(by_habit[:, None] + by_knowing[:, None] * same))
        knew = fresh[said.items, said.labels] * by_knowing / (by_habit + by_knowing)
        moved, posterior, number = float(np.abs(fresh - posterior).max()), fresh, number + 1
    competence = counts[:, 1] / counts.sum(axis=1)
    means = (spammed + habit) / (spammed + habit).sum(axis=1, keepdims=True)
    errors = (1 - competence)[:, None, None] * means[:, None, :] + competence[:, None, None] * np.eye(size.labels)
    return Consensus(posterior, errors, competence, number, moved < still)


def _errors(said: Labels, posterior: Array, before: Array) -> Array:
    """The error rates of each rater by a posterior, shape (raters, true, said)."""
    size = said.sizes
    cells = said.raters * size.labels + said.labels
    seen = [np.bincount(cells, column[said.items], size.raters * size.labels) for column in posterior.T]
    counts = np.stack([each.reshape(size.raters, size.labels) for each in seen], axis=1)
    counts = np.maximum(counts + before, _LEAST)
    found: Array = counts / counts.sum(axis=2, keepdims=True)
    return found


def _weights(counts: NDArray[Any]) -> Array:
    found: Array = np.exp(digamma(counts) - digamma(counts.sum(axis=1, keepdims=True)))
    return found


def _normalised(logs: Array) -> Array:
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    found: Array = chances / chances.sum(axis=1, keepdims=True)
    return found
