import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.stats.bradley_terry import Comparisons, bradley_terry, controlled_bradley_terry, differences
from notus.stats.distributions import t_quantile


def drawn(rng, strengths, prompts, noise=0.0):
    """All pairs within each prompt; ``noise`` makes the pairs of one prompt alike."""
    rows = []
    for prompt in range(prompts):
        shift = {name: value + noise * rng.standard_normal() for name, value in strengths.items()}
        for a, b in combinations(strengths, 2):
            rows.append((a, b, float(rng.random() < 1 / (1 + math.exp(shift[b] - shift[a]))), prompt))
    return rows


def test_two_players_have_the_log_odds_and_the_binomial_error():
    rows = [("a", "b", float(k < 30), k) for k in range(40)]
    found = bradley_terry(Comparisons.make(rows))
    # θ_a − θ_b = ln(30/10), centred: ± half of it. Each prompt moves θ_a − θ_b by (y − p)/(n p (1 − p)).
    assert found.of["a"].mean == pytest.approx(math.log(3) / 2)
    p = 0.75
    residuals = [(y - p) / (40 * p * (1 - p)) / 2 for y in [1] * 30 + [0] * 10]
    error = math.sqrt(40 / 39 * sum(r * r for r in residuals))
    assert found.of["a"].high - found.of["a"].mean == pytest.approx(t_quantile(0.975, 39) * error)
    assert found.of["a"].groups == 40
    assert found.without == ()


def test_three_players_solve_the_likelihood_equations():
    rng = np.random.default_rng(3)
    rows = drawn(rng, {"a": 0.8, "b": 0.0, "c": -0.8}, 60)
    found = bradley_terry(Comparisons.make(rows)).of
    assert sum(item.mean for item in found.values()) == pytest.approx(0, abs=1e-9)
    for name in found:
        wins = sum(y if a == name else 1 - y for a, b, y, _ in rows if name in (a, b))
        expected = sum(
            1 / (1 + math.exp(found[b if a == name else a].mean - found[name].mean))
            for a, b, _, _ in rows
            if name in (a, b)
        )
        assert wins == pytest.approx(expected, abs=1e-6)


def test_the_sandwich_is_the_formula_written_out():
    rng = np.random.default_rng(5)
    rows = drawn(rng, {"a": 0.5, "b": 0.0, "c": -0.5}, 30, noise=1.0)
    found = bradley_terry(Comparisons.make(rows)).of
    names = sorted(found)
    theta = {name: found[name].mean for name in names}
    bread, meat = np.zeros((3, 3)), np.zeros((3, 3))
    for prompt in range(30):
        u = np.zeros(3)
        for a, b, y, _ in (row for row in rows if row[3] == prompt):
            e = np.zeros(3)
            e[names.index(a)], e[names.index(b)] = 1, -1
            p = 1 / (1 + math.exp(theta[b] - theta[a]))
            u += (y - p) * e
            bread += p * (1 - p) * np.outer(e, e)
        meat += np.outer(u, u)
    inverse = np.linalg.pinv(bread)
    variance = 30 / 29 * inverse @ meat @ inverse
    for k, name in enumerate(names):
        half = t_quantile(0.975, 29) * math.sqrt(variance[k, k])
        assert found[name].high - found[name].mean == pytest.approx(half)


def test_who_only_wins_has_no_finite_strength():
    rows = [("king", name, 1.0, k) for k in range(10) for name in ("a", "b")]
    rows += [("a", "b", float(k % 2), k) for k in range(10)]
    found = bradley_terry(Comparisons.make(rows))
    assert found.without == ("king",)
    assert found.of["a"].mean == pytest.approx(0, abs=1e-9)
    assert bradley_terry(Comparisons.make([("a", "b", 1.0, k) for k in range(9)])) is None
    assert bradley_terry(Comparisons.make([])) is None


def test_equal_scores_have_no_difference_and_a_changed_one_has():
    rng = np.random.default_rng(7)
    rows = drawn(rng, {"a": 0.4, "b": 0.0, "c": -0.4}, 200)
    same = differences(Comparisons.make(rows), Comparisons.make(rows))
    assert all(item.mean == 0 == item.width for item in same.values())
    turned = [(a, b, 1.0 if a == "a" else y, g) if g % 4 == 0 else (a, b, y, g) for a, b, y, g in rows]
    moved = differences(Comparisons.make(turned), Comparisons.make(rows))
    assert next(iter(moved)) == "a"
    assert moved["a"].low > 0
    # Paired by prompt: much narrower than two independent fits would be.
    fits = [bradley_terry(Comparisons.make(part)).of["a"].width for part in (turned, rows)]
    assert moved["a"].width < 0.8 * math.hypot(*fits)


def test_the_intervals_cover_the_truth_with_dependent_pairs():
    rng = np.random.default_rng(11)
    hits = total = 0
    for _ in range(120):
        found = bradley_terry(Comparisons.make(drawn(rng, {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}, 80, noise=1.5)))
        hits += sum(item.low <= 0 <= item.high for item in found.of.values())
        total += 4
    assert 0.91 < hits / total < 0.985


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0]))))
def test_whatever_is_compared_the_fit_is_finite_or_left_out(games):
    rows = [(a, b, y, index // 2) for index, (a, b, y) in enumerate(games) if a != b]
    found = bradley_terry(Comparisons.make(rows))
    if found is not None:
        assert all(math.isfinite(item.low) and math.isfinite(item.high) for item in found.of.values())
        assert set(found.of) | set(found.without) == {name for a, b, *_ in rows for name in (a, b)}


def test_a_game_against_oneself_is_refused():
    with pytest.raises(DataError, match="no comparison"):
        Comparisons.make([("a", "a", 1.0, 0)])


def test_beside_an_anchor_and_without_features_it_is_the_same_fit():
    rng = np.random.default_rng(3)
    rows = [
        (a, b, float(rng.choice([0, 0.5, 1])), int(rng.integers(40)))
        for _ in range(300)
        for a, b in [map(str, rng.choice(["alder", "birch", "cedar"], 2, replace=False))]
    ]
    comparisons = Comparisons.make(rows)
    plain = bradley_terry(comparisons)
    beside = controlled_bradley_terry(comparisons, np.zeros((300, 0)), "cedar")
    for name in ("alder", "birch"):
        assert beside.of[name].mean == pytest.approx(plain.of[name].mean - plain.of["cedar"].mean, abs=1e-8)
    two = Comparisons.make([row for row in rows if "cedar" not in row[:2]])
    half, whole = (
        bradley_terry(two).of["alder"],
        controlled_bradley_terry(two, np.zeros((len(two.outcome), 0)), "birch"),
    )
    # Of two players a score is half of their difference, and so is its error.
    assert whole.of["alder"].mean == pytest.approx(2 * half.mean, abs=1e-8)
    assert whole.of["alder"].width == pytest.approx(2 * half.width, rel=1e-6)


def test_who_has_only_won_has_no_score_beside_features():
    rows = [("alder", "base", 1.0, n) for n in range(5)] + [("birch", "base", n % 2, n) for n in range(6)]
    found = controlled_bradley_terry(Comparisons.make(rows), np.arange(11.0).reshape(-1, 1) % 3, "base")
    assert (set(found.of), found.without) == ({"birch"}, ("alder",))
    same = controlled_bradley_terry(Comparisons.make(rows), np.ones((11, 2)), "base")
    assert same is None  # two features that say the same
    with pytest.raises(DataError, match="no finite number"):
        controlled_bradley_terry(Comparisons.make(rows), np.full((11, 1), np.nan), "base")


def test_intervals_beside_features_cover_the_truth_over_clusters():
    """Games of a question share its length and its luck: in 300 samples the interval of the score holds the truth."""
    rng = np.random.default_rng(11)
    inside = 0
    for _ in range(300):
        length = rng.normal(size=60)
        chance = 1 / (1 + np.exp(-(0.4 + 0.8 * length)))
        wins = (rng.random(60) < chance).astype(float)
        rows = [("alder", "base", wins[n], n) for n in range(60) for _ in range(2)]  # the same verdict in both orders
        found = controlled_bradley_terry(Comparisons.make(rows), np.repeat(length, 2).reshape(-1, 1), "base")
        inside += found is not None and found.of["alder"].low <= 0.4 <= found.of["alder"].high
    assert 0.91 <= inside / 300 <= 0.985
