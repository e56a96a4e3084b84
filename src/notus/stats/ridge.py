"""Ridge regression that is cross-fitted over folds, from sums that the folds are put together of.

    parts = [moments(rows[folds == fold], target[folds == fold]) for fold in range(FOLDS)]
    weights, intercepts = cross_fit(parts, penalty)         # those of a fold have not seen its rows

With x̄ and ȳ the means of the rows of the other folds, the weights of a fold solve

    (Σ (x − x̄)(x − x̄)ᵀ + λI) w = Σ (x − x̄)(y − ȳ)             intercept = ȳ − x̄ᵀw

so that neither the mean of a column nor that of the target is penalised. Owns the arithmetic; what is learned against
what is the business of the callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "cross_fit", "moments", "total"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, Σx, Σxxᵀ, Σxy and Σy of some rows."""

    count: int
    sums: Floats
    gram: Floats
    cross: Floats
    total: float

    def minus(self, other: "Moments") -> "Moments":
        """Those of the rows without some of them."""
        return Moments(
            self.count - other.count,
            self.sums - other.sums,
            self.gram - other.gram,
            self.cross - other.cross,
            self.total - other.total,
        )

    def solve(self, penalty: float) -> tuple[Floats, float]:
        """Weights and intercept; 0 and 0 of no rows."""
        if not self.count:
            return np.zeros(len(self.sums)), 0.0
        mean: Floats = self.sums / self.count
        middle = self.total / self.count
        centred = self.gram - self.count * np.outer(mean, mean) + penalty * np.eye(len(mean))
        weights = np.linalg.solve(centred, self.cross - self.sums * middle).astype(np.float64, copy=False)
        return weights, middle - float(mean @ weights)


def moments(rows: NDArray[np.floating], target: Floats) -> Moments:
    """The moments of some rows, in the precision of the rows."""
    gram = (rows.T @ rows).astype(np.float64)
    cross: Floats = rows.T @ target
    return Moments(len(rows), rows.sum(axis=0, dtype=np.float64), gram, cross, float(target.sum()))


def total(parts: Sequence[Moments]) -> Moments:
    """The moments of all rows."""
    return Moments(*[sum(getattr(part, name) for part in parts) for name in Moments.__dataclass_fields__])


def cross_fit(parts: Sequence[Moments], penalty: float) -> tuple[Floats, Floats]:
    """Weights of shape (folds, columns) and intercepts for each fold, from the rows of the others."""
    everything = total(parts)
    weights, intercepts = np.zeros((len(parts), len(everything.sums))), np.zeros(len(parts))
    for fold, part in enumerate(parts):
        weights[fold], intercepts[fold] = everything.minus(part).solve(penalty)
    return weights, intercepts
