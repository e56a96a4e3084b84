"""Student's t and chi-square on SciPy's special functions.

Owns the choice of function that keeps the digits, and the late import: ``scipy.special`` costs 0.2 s, ``scipy.stats``
1.2 s, and a command that estimates nothing should not wait for either. Does not own the normal distribution, which is
``statistics.NormalDist``, nor what the probabilities are used for.
"""

from functools import lru_cache

__all__ = ["chi_square_tail", "t_cdf", "t_quantile"]


def t_cdf(t: float, df: float) -> float:
    """Probability that Student's t with ``df`` degrees of freedom is at most ``t``.

    For t ≤ 0 it is ½ · I_x(df/2, ½) with x = df/(df + t²): Abramowitz and Stegun, 26.7.1. Where x is near 1 it is
    taken as ½ · (1 − I_{1−x}(½, df/2)), because SciPy's ``stdtr`` is wrong in the ninth digit near t = 0.
    """
    from scipy.special import betainc, betaincc

    square = t * t
    whole = df + square
    tail = betaincc(0.5, df / 2, square / whole) if square < df else betainc(df / 2, 0.5, df / whole)
    return float(tail / 2 if t <= 0 else 1 - tail / 2)


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The value that Student's t with ``df`` degrees of freedom stays under with probability ``p``.

    Raises:
        ValueError: if p is not inside 0 and 1, or df is not positive.
    """
    from scipy.special import stdtrit

    if not 0 < p < 1 or not df > 0:
        raise ValueError(f"t_quantile needs 0 < p < 1 and df > 0, not p={p} and df={df}")
    return float(stdtrit(df, p))


def chi_square_tail(x: float, df: int) -> float:
    """Probability that chi-square with ``df`` degrees of freedom exceeds ``x``: Q(df/2, x/2).

    Raises:
        ValueError: if df is not positive or x is negative.
    """
    from scipy.special import gammaincc

    if df < 1 or not x >= 0:
        raise ValueError(f"chi_square_tail needs df >= 1 and x >= 0, not df={df} and x={x}")
    return float(gammaincc(df / 2, x / 2))
