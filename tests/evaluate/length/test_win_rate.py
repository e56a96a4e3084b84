"""The win rate at equal length, against a plain optimiser, on separated samples, and by coverage."""

import math
import random

import numpy as np
import pytest

from notus.evaluate.length.win_rate import controlled_win_rate


def plain_fit(wins, longer, prompts):
    """Maximum of the penalised likelihood by a fine grid that closes in."""
    weight = np.array([1 / prompts.count(prompt) for prompt in prompts])
    d, y = np.array(longer), np.array(wins)
    x = np.tanh(d / math.sqrt((weight * d * d).sum() / weight.sum()))
    centre, width = np.zeros(2), 8.0
    for _ in range(60):
        grid = [centre + width * np.array([a, b]) for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, -0.5, 0, 0.5, 1)]

        def value(beta):
            z = beta[0] + beta[1] * x
            return (weight * (y * z - np.log1p(np.exp(z)))).sum() - 0.005 * (beta**2).sum()

        best = max(grid, key=value)
        width = width * 0.6 if np.allclose(best, centre) else width
        centre = best
    return 1 / (1 + math.exp(-centre[0]))


def test_the_controlled_win_rate_is_the_maximum_of_the_likelihood_at_equal_length():
    rng = random.Random(3)
    prompts = [f"p{number}" for number in range(40) for _ in range(3)]
    longer = [rng.gauss(20, 30) for _ in prompts]
    wins = [float(rng.random() < 1 / (1 + math.exp(-(0.3 + d / 40)))) for d in longer]
    found = controlled_win_rate(wins, longer, prompts)
    assert found.mean == pytest.approx(plain_fit(wins, longer, prompts), abs=1e-6)
    assert found.low < found.mean < found.high
    assert (found.n, found.groups) == (120, 40)


def test_swapping_the_models_mirrors_the_controlled_win_rate():
    rng = random.Random(5)
    prompts = [f"p{number}" for number in range(60)]
    longer = [rng.gauss(5, 30) for _ in prompts]
    wins = [float(rng.random() < 0.6) for _ in prompts]
    one = controlled_win_rate(wins, longer, prompts)
    other = controlled_win_rate([1 - win for win in wins], [-d for d in longer], prompts)
    assert (other.mean, other.low, other.high) == pytest.approx((1 - one.mean, 1 - one.high, 1 - one.low))


def test_where_length_decides_all_nothing_is_left_at_equal_length():
    rng = random.Random(7)
    prompts = [f"p{number}" for number in range(200)]
    longer = [rng.gauss(30, 30) for _ in prompts]
    found = controlled_win_rate([float(d > 0) for d in longer], longer, prompts)
    assert found.low < 0.5 < found.high
    assert controlled_win_rate([1.0] * 200, longer, prompts).low > 0.9


def fallen(wins, longer, prompts, theta):
    """How far the penalised profile likelihood at θ lies below its maximum, by fine grids that close in."""
    weight = np.array([1 / prompts.count(prompt) for prompt in prompts])
    d, y = np.array(longer), np.array(wins)
    x = np.tanh(d / (math.sqrt((weight * d * d).sum() / weight.sum()) or 1.0))

    def best(thetas, phis):
        z = thetas[:, None, None] + phis[None, :, None] * x
        value = (weight * (y * z - np.logaddexp(0, z))).sum(-1)
        value -= 0.005 * (thetas[:, None] ** 2 + phis[None, :] ** 2)
        return value.max()

    flat = np.linspace(-40, 40, 1601)
    return best(np.linspace(-10, 10, 401), flat) - best(np.array([theta]), flat)


SEPARATED = {
    "all won": ([1.0] * 20, [float(n) for n in range(-5, 15)]),
    "all lost": ([0.0] * 20, [float(n) for n in range(-10, 10)]),
    "all won and longer": ([1.0] * 20, [float(n) for n in range(1, 21)]),
    "the longer won": ([float(n > 0) for n in range(-9, 11)], [float(n) for n in range(-9, 11)]),
    "the longer won, a tie between": ([0.0] * 9 + [0.5] + [1.0] * 10, [float(n) for n in range(-9, 11)]),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_without_a_maximum_the_interval_is_that_of_the_profile_likelihood(name):
    wins, longer = SEPARATED[name]
    prompts = [f"p{number}" for number in range(20)]
    found = controlled_win_rate(wins, longer, prompts)
    assert found.method == "penalised profile likelihood"
    allowed = 2.10092**2 / 2  # t(.975, 18)
    wilson = 20 / (20 + 1.95996**2)
    for end in (found.low, found.high):
        if 1e-4 < end < 1 - 1e-4:  # within the grid
            fall = fallen(wins, longer, prompts, math.log(end / (1 - end)))
            if min(abs(end - wilson), abs(end - 1 + wilson)) < 1e-5:
                assert fall >= allowed  # Wilson's is the wider
            else:
                assert fall == pytest.approx(allowed, abs=0.02)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    if len(set(wins)) == 1:
        assert found.high - found.low >= 1 - wilson
    if "longer" in name:
        assert found.high - found.low > 0.7  # of equal length nothing is known


def test_equal_lengths_throughout_are_no_separation():
    prompts = [f"p{number}" for number in range(30)]
    found = controlled_win_rate([float(n % 3 > 0) for n in range(30)], [0.0] * 30, prompts)
    assert found.method == "logistic, clustered"
    assert found.mean == pytest.approx(2 / 3, abs=0.001)
    assert controlled_win_rate([1.0] * 30, [0.0] * 30, prompts).low == pytest.approx(30 / (30 + 1.95996**2), abs=0.001)


def test_a_model_that_won_all_it_drew_is_still_told_from_one_that_always_wins():
    """Samples in which all is won, of a model that wins 95 in 100 at equal length: the interval must hold that."""
    rng, held, met = np.random.default_rng(2), 0, 0
    prompts = [f"p{number}" for number in range(20)]
    for _ in range(200):
        d = rng.normal(5, 30, 20)
        wins = (rng.random(20) < 0.95).astype(float)
        if wins.all():
            met += 1
            held += controlled_win_rate(wins.tolist(), d.tolist(), prompts).low <= 0.95
    assert met > 40
    assert held == met


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """400 simulated rounds with prompts as clusters; the binomial error of the coverage is about one percent."""
    rng = np.random.default_rng(11)
    hits, n = 0, 400
    names = [f"p{number}" for number in range(60) for _ in range(4)]
    for _ in range(n):
        d = rng.normal(10, 30, len(names))
        # The clusters share the noise of the length, not of the truth, so that σ(θ) is .5 at equal length exactly.
        wins = (rng.random(len(names)) < 1 / (1 + np.exp(-np.tanh(d / 31.6)))).astype(float)
        found = controlled_win_rate(wins.tolist(), d.tolist(), names)
        hits += found.low <= 0.5 <= found.high
    assert 0.92 <= hits / n <= 0.98


@pytest.mark.parametrize("won", [0.0, 1.0])
def test_where_all_is_won_or_lost_the_interval_holds_wilsons(won):
    """Of 20 prompts, none or all: Wilson's ends are z²/(20 + z²) = .1611 from the border, with z = 1.95996."""
    found = controlled_win_rate([won] * 20, [float(n) for n in range(20)], [f"p{n}" for n in range(20)])
    near, far = (found.low, found.high) if not won else (1 - found.high, 1 - found.low)
    assert near == pytest.approx(0.0, abs=1e-3)
    assert far >= 3.84146 / 23.84146 - 1e-4
