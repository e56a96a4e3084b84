"""How odd is too odd, and how many of those that are called odd are sound: tails, and false-discovery estimates.

* ``tail_p``: of signed differences, most of them sound, the chance that a sound one is at least so large. Their sizes
  are taken for those of Student's t with scale s and degrees of freedom ν, fitted by maximum likelihood to the sizes
  below a border alone, given that they lie below it (truncated likelihood). What lies above, faults or not, has no part
  in the fit. Values with equal sizes are one cell, so that scores on few points need no model of ties; where too few
  differ, p is the share of those at least so large, which flags nothing. There are two p: the likely one has the best ν
  from 4 to 20, and is about right where p is about .01; the cautious one is for far tails, of which the bulk of a set
  tells little: of all ν whose log-likelihood is within ½ of the best the smallest, and never more than ten.
* ``empirical_p``: the same under a normal distribution with the scale of the middle half (Efron 2004, J. American
  Statistical Association 99, pages 96–104). Half of the set may be faulty before it tells of the faults. The tails of
  honest disagreement are heavier: this p puts rows in an order, and is no promise of a rate of error.
* ``decoy_p``: the chance that one of m sound values is at least so large, told by n others (decoys) that are sound and
  no smaller: (1 + number of decoys at least so large) / (n + 1), the conformal p (Bates et al. 2023, Annals of
  Statistics 51, pages 149–178). Above the largest decoy it falls as a Pareto tail with index 4, which is exact for
  such a tail, and too large for a lighter one.
* ``benjamini_hochberg``: q of each p, the least false-discovery rate at which it is flagged (Benjamini and Hochberg
  1995, J. Royal Statistical Society B 57, pages 289–300). It holds where the p of sound values are independent, or
  depend positively (Benjamini and Yekutieli 2001, Annals of Statistics 29, pages 1165–1188).

Owns the arithmetic. What is compared, and what is called a fault, is the business of ``audit.signals``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from notus.stats.ranks import blocks

__all__ = ["Tail", "benjamini_hochberg", "decoy_p", "empirical_p", "fit_tails", "robust_scale", "robust_z", "tail_p"]

Floats = NDArray[np.float64]

_BORDER = 0.92
"""Share of the sizes that the tail is fitted to: up to a twelfth may be faulty and leave no mark on it."""
_DROP = 0.5
_INVERSE = (0.001, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""1/ν that are tried: from all but the normal distribution to Student's t with two degrees, which has no variance."""
_LIKELY, _CAUTIOUS = (1, 5), (2, 9)
"""Places of the lightest and the heaviest tail of a likely and of a cautious p in ``_INVERSE``."""
_CELLS = 40
_FEWEST_CELLS = 3
_TIED = 0.5
"""Share of exact agreement from which the tail is fitted to what differs alone."""
_SCALES = 61
_PARETO = 4.0
_LEAST = 1e-300
_GRID = 2048
_FARTHEST = 1e12
"""Largest z: far beyond what has a p of its own."""
_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal."""


@dataclass(frozen=True)
class Tail:
    """The tail of sizes of differences: Student's t."""

    degrees: float
    scale: float
    differing: float = 1.0
    """Share of the differences that have a part in the tail: all, or those that are not 0."""
    least: float = 0.0
    """Size from which on the tail is that of t."""
    step: float = 0.0
    """Half the distance of neighbouring sizes, where they stand on few points: a size stands for all from there on."""

    def p(self, sizes: Floats) -> Floats:
        """Chance of a size at least so large; NaN stays.

        Computed on a grid and interpolated between its points, log p over asinh(size / s): right to five digits, and
        the larger size never has the larger p.
        """
        from scipy.special import stdtr  # late, as in ``stats.distributions``

        grid = np.linspace(0, 40, _GRID)
        whole = self.differing / float(2 * stdtr(self.degrees, -self.least / self.scale))
        logs = np.log(np.maximum(2 * stdtr(self.degrees, -np.sinh(grid)) * whole, _LEAST))
        found = np.empty(len(sizes))
        for block in blocks(len(sizes)):
            here = sizes[block]
            with np.errstate(over="ignore"):
                p = np.exp(np.interp(np.arcsinh((here - self.step) / self.scale), grid, logs))
            p[here == 0] = 1.0
            found[block] = np.minimum(p, 1.0)
        return found


def tail_p(differences: Floats) -> tuple[Floats, Floats]:
    """Two-sided p of each difference, the likely and the cautious one; NaN stays. See the module's text."""
    # Rounded, so that equal differences stay equal whatever the last bit of their sums is.
    sizes = np.abs(differences)
    np.round(sizes, 9, out=sizes)
    ordered = np.sort(sizes)  # NaN at the end
    ordered = ordered[: len(ordered) - int(np.isnan(ordered).sum())]
    tails = fit_tails(ordered)
    if tails is not None:
        return tails[0].p(sizes), tails[1].p(sizes)
    found = (len(ordered) - np.searchsorted(ordered, sizes, "left")) / max(len(ordered), 1)
    found[np.isnan(sizes)] = np.nan
    return found, found.copy()


def fit_tails(ordered: Floats) -> tuple[Tail, Tail] | None:
    """The likely and the cautious tail of sizes of differences; None where too few of them differ.

    Args:
        ordered: the sizes, ascending, none of them NaN.
    """
    from scipy.special import stdtr

    edges, counts, step = _cells(ordered)
    differing = 1.0
    if len(counts) and not ordered[int(_TIED * len(ordered))]:
        differing = 1 - float(counts[0]) / len(ordered)
        edges, counts = edges[1:], counts[1:]
    if len(counts) < _FEWEST_CELLS:
        return None
    cumulative = np.cumsum(counts)
    middle = float(edges[1 + np.searchsorted(cumulative, cumulative[-1] * 0.6)])
    scales = middle * np.exp(np.linspace(-1.5, 1.5, _SCALES))
    degrees = 1 / np.array(_INVERSE)
    inside = 2 * stdtr(degrees[:, None, None], edges[None, None, :] / scales[None, :, None]) - 1
    shares = np.diff(inside, axis=2) / np.maximum(inside[:, :, -1:] - inside[:, :, :1], _LEAST)
    likelihood = (counts * np.log(np.maximum(shares, _LEAST))).sum(axis=2)
    best = likelihood.max(axis=1)
    places = int(best.argmax()), int(np.flatnonzero(best >= best.max() - _DROP)[-1])
    rows = [int(np.clip(place, *ends)) for place, ends in zip(places, (_LIKELY, _CAUTIOUS), strict=True)]
    likely, cautious = (
        Tail(float(degrees[row]), float(scales[int(likelihood[row].argmax())]), differing, float(edges[0]), step)
        for row in rows
    )
    return likely, cautious


def decoy_p(values: Floats, decoys: Floats) -> Floats:
    """p of values, the larger the odder, by decoys. See the module's text."""
    ordered = np.sort(decoys)
    count, middle = len(ordered), float(np.median(decoys))
    found = (1 + count - np.searchsorted(ordered, values, "left")) / (count + 1)
    beyond = values > ordered[-1]
    reach = max(float(ordered[-1]) - middle, 1e-9)
    found[beyond] = (reach / (values[beyond] - middle)) ** _PARETO / (count + 1)
    return np.asarray(found)


def benjamini_hochberg(p: Floats) -> Floats:
    """q of each p; NaN is not among them, and stays."""
    found = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    q = p[order] * len(order) / np.arange(1, len(order) + 1)
    found[order] = np.minimum(np.minimum.accumulate(q[::-1])[::-1], 1.0)
    return found


def empirical_p(difference: Floats) -> Floats:
    """p of each difference under a normal null with that scale; NaN stays, and p is 1 where nothing differs at all."""
    scale = robust_scale(difference)
    found = np.empty(len(difference))
    for block in blocks(len(difference)):
        # The C function over a list: some sixty nanoseconds a value, and to the last bit what it gives for one. A list
        # of all values would take five times what they take.
        z = (np.abs(robust_z(difference[block], scale)) / math.sqrt(2)).tolist()
        found[block] = np.fromiter(map(math.erfc, z), np.float64, len(z))
    return np.maximum(found, _LEAST, out=found)


def robust_scale(difference: Floats) -> float:
    """Median size over 0.6745; 0 where nothing differs."""
    sizes = difference[~np.isnan(difference)]
    np.abs(sizes, out=sizes)
    scale = float(np.median(sizes, overwrite_input=True)) / _MEDIAN if len(sizes) else 0.0
    if scale == 0 and len(sizes):  # more than half are equal to the last digit: what differs sets the scale
        scale = math.sqrt(float((sizes**2).mean()))
    return scale


def robust_z(difference: Floats, scale: float) -> Floats:
    """Differences by a scale; 0 without one. Equal differences stay equal whatever the last bit of their sums is."""
    if not scale:
        return difference * 0.0
    with np.errstate(over="ignore"):  # where all but one are equal to hundreds of digits
        found = np.clip(difference / scale, -_FARTHEST, _FARTHEST)
    # Rounded, so that equal differences stay equal whatever the last bit of their sums is.
    return np.round(found, 9, out=found)


def _cells(ordered: Floats) -> tuple[Floats, Floats, float]:
    """Edges of cells from 0 to the border, how many sizes lie in each, and half the step of sizes on few points."""
    count, step = len(ordered), 0.0
    starts = np.flatnonzero(np.append(True, ordered[1:] > ordered[:-1])) if count else np.empty(0, np.intp)
    # More than half are 0: what differs is a small part of the set, and needs its own cells.
    zeros = int(starts[1]) if len(starts) > 1 and ordered[0] == 0 and starts[1] > _TIED * count else 0
    if len(starts) > 2 * _CELLS:
        places = zeros + (np.linspace(0, _BORDER, _CELLS + 1)[1:] * (count - zeros)).astype(np.intp)
        edges = np.unique(np.append([0.0, ordered[zeros] / 2 if zeros else 0.0], ordered[places]))
    else:
        values = ordered[starts]
        below = (starts[1:] - zeros) / max(count - zeros, 1)
        kept = int(np.searchsorted(below, _BORDER, "left")) + 1
        edges = np.append(0.0, (values[1:] + values[:-1])[:kept] / 2)
        step = float(np.median(np.diff(values))) / 2 if len(values) > 1 else 0.0
    counts = np.diff(np.searchsorted(ordered, edges[1:], "right"), prepend=0).astype(np.float64)
    return edges, counts, step
