"""Student's t and chi-square against closed forms, printed tables and digits that do not depend on SciPy."""

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.stats.distributions import chi_square_tail, t_cdf, t_quantile


# Closed forms exist for df 1, 2 and 4; the rest are printed in every table (here to seven digits or more).
@pytest.mark.parametrize(
    ("p", "df", "value"),
    [
        (0.975, 1, math.tan(math.pi * 0.475)),
        (0.975, 2, 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))),
        (0.975, 3, 3.182446305),
        (0.975, 4, 2.776445105),
        (0.975, 5, 2.570581836),
        (0.975, 10, 2.228138852),
        (0.975, 30, 2.042272456),
        (0.95, 7, 1.894578605),
        (0.995, 9, 3.249835542),
        (0.80, 4, 0.940964577),
        (0.975, 1e6, 1.959966357),
    ],
)
def test_t_quantile_textbook(p: float, df: float, value: float) -> None:
    assert t_quantile(p, df) == pytest.approx(value, abs=1e-6)
    assert t_quantile(1 - p, df) == pytest.approx(-value, abs=1e-6)


def test_t_cdf_closed_forms() -> None:
    for t in (-30.0, -2.5, -0.3, 0.0, 0.7, 4.0):
        assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
        assert t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.999), st.integers(1, 5000))
def test_t_quantile_inverts_the_cdf(p: float, df: int) -> None:
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize(("p", "df"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_t_quantile_refuses(p: float, df: float) -> None:
    with pytest.raises(ValueError, match="t_quantile needs"):
        t_quantile(p, df)


# By the hypergeometric series with 60 digits (mpmath 1.3): far out, near 0, and with many degrees of freedom.
@pytest.mark.parametrize(
    ("t", "df", "value"),
    [
        (-1e-08, 2, 0.49999999646446609),
        (-0.001, 7, 0.49961500862249942),
        (-0.5, 4, 0.32166498159093164),
        (-1.96, 49, 0.02784780392313003),
        (-1.5, 9999, 0.066822987490400553),
        (-1.5, 1000000.0, 0.066807359118396385),
        (-4.3, 2, 0.025028577058545796),
        (-12.0, 19, 1.2954473186110997e-10),
        (-40.0, 5, 9.2059810858864772e-8),
    ],
)
def test_t_cdf_keeps_its_digits(t: float, df: float, value: float) -> None:
    assert t_cdf(t, df) == pytest.approx(value, rel=1e-11)


@given(st.floats(0, 200), st.integers(1, 8))
def test_the_tail_for_even_df_is_the_finite_sum(x, half):
    # Q(m, x/2) = exp(−x/2) Σ_{j<m} (x/2)^j / j!, for 2m degrees of freedom.
    expected = math.exp(-x / 2) * sum((x / 2) ** j / math.factorial(j) for j in range(half))
    assert chi_square_tail(x, 2 * half) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@given(st.floats(1e-6, 60))
def test_the_tail_for_one_df_is_that_of_a_squared_normal(x):
    assert chi_square_tail(x, 1) == pytest.approx(math.erfc(math.sqrt(x / 2)), rel=1e-8)


def test_the_tabled_critical_values():
    for df, value in ((1, 3.841), (3, 7.815), (4, 9.488), (9, 16.919)):
        assert chi_square_tail(value, df) == pytest.approx(0.05, abs=5e-5)
    assert chi_square_tail(0, 3) == 1
    with pytest.raises(ValueError, match="df >= 1"):
        chi_square_tail(1, 0)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """``scipy.stats`` costs more than a second and is never needed; ``scipy.special`` waits for the first figure."""
    code = (
        "import sys\nfrom notus.stats import agreement, bradley_terry, calibration, detection, intervals, tests\n"
        "assert not any(name.startswith('scipy') for name in sys.modules)\n"
        "intervals.clustered_mean([0.0, 1.0, 1.0], 'abc'), tests.mcnemar(1, 2)\n"
        "assert 'scipy.special' in sys.modules and 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
