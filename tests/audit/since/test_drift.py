"""The comparison of two sides, against the formulas written out, and against what chance alone does."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from notus.audit.raters import RaterRow
from notus.audit.since.drift import Figure, commonest, compare_sides, figures_of, rater_figures, sums_of
from notus.stats.intervals import clustered_mean


def sides(rng, apart=0.0, prompts=(300, 30)):
    """Values of two sides, each with prompts of one to four values that share a part."""
    found = []
    for place, count in enumerate(prompts):
        clusters = np.repeat(np.arange(count), rng.integers(1, 5, count))
        shared = rng.normal(0, 1, count)[clusters]
        found.append((6 + shared + rng.normal(0, 1, len(clusters)) + apart * place, clusters))
    return found


def compared(a, b, unit="points"):
    (drifted,) = compare_sides(*({"x": Figure("x", unit, sums_of(*side))} for side in (a, b)))
    return drifted


def test_the_sums_give_the_clustered_mean():
    for values, clusters in sides(np.random.default_rng(0)):
        sums = sums_of(values, clusters)
        known = clustered_mean(values.tolist(), clusters.tolist())
        half = stats.t.ppf(0.975, sums.groups - 1) * math.sqrt(sums.variance)
        assert (sums.mean, sums.mean - half) == (pytest.approx(known.mean), pytest.approx(known.low))
        assert (sums.n, sums.groups) == (known.n, known.groups)


def test_sums_with_weights_are_those_of_the_values_one_by_one():
    """N/A of ratings: two of four, none of three, in prompts 0 and 1; an answer without ratings is none."""
    sums = sums_of(np.array([2.0, 0.0, 0.0]), np.array([0, 1, 1]), np.array([4.0, 3.0, 0.0]))
    plain = clustered_mean([1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1])
    assert (sums.mean, sums.n, sums.groups) == (pytest.approx(plain.mean), 7, 2)
    assert math.sqrt(sums.variance) == pytest.approx(plain.width / 2 / stats.t.ppf(0.975, 1))


def test_the_difference_is_welchs_where_that_is_the_wider():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 500), rng.normal(0.3, 3, 40)
    found = compared((a, np.arange(500)), (b, np.arange(40)))
    known = stats.ttest_ind(b, a, equal_var=False)
    low, high = known.confidence_interval(0.95)
    assert found.difference.mean == pytest.approx(b.mean() - a.mean())
    assert (found.difference.low, found.difference.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p == pytest.approx(known.pvalue)
    # The other way round, with the small side calm, both sides are pooled, and the interval is the wider.
    calm = compared((b, np.arange(40)), (a[:10] / 10, np.arange(10)))
    assert calm.difference.width > 2 * stats.t.ppf(0.975, 48) * math.sqrt(b.var(ddof=1) / 40)


def test_a_rare_share_goes_by_fishers_exact_test():
    before = np.zeros(400)
    before[:6] = 1
    since = np.zeros(40)
    since[:2] = 1
    found = compared((before, np.arange(400)), (since, np.arange(40)), "share")
    assert found.p == pytest.approx(stats.fisher_exact([[6, 394], [2, 38]]).pvalue)
    nothing = compared((before, np.arange(400)), (np.zeros(40), np.arange(40)), "share")
    assert nothing.p == pytest.approx(stats.fisher_exact([[6, 394], [0, 40]]).pvalue)
    assert not nothing.distinguishable


def test_chance_alone_is_called_drift_in_at_most_a_twentieth():
    """Of 400 sets of twelve figures without drift, Holm lets a twentieth through; 4 % more would be 3.7 sd."""
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(400):
        before, since = {}, {}
        for number in range(12):
            (a, of_a), (b, of_b) = sides(rng, prompts=(200, 25))
            unit = "points"
            if number % 3 == 0:
                a, b, unit = (a > 8.5).astype(float), (b > 8.5).astype(float), "share"
            name = str(number)
            before[name] = Figure(name, unit, sums_of(a, of_a))
            since[name] = Figure(name, unit, sums_of(b, of_b))
        claims += any(each.distinguishable for each in compare_sides(before, since))
    assert claims <= 0.09 * 400


def test_what_has_moved_by_far_is_told():
    rng = np.random.default_rng(3)
    a, b = sides(rng, apart=1.5)
    found = compared(a, b)
    assert found.distinguishable
    assert found.difference.low < 1.5 < found.difference.high


def test_equal_figures_that_do_not_vary_are_left_out():
    ones = (np.ones(5), np.arange(5))
    same = {"x": Figure("x", "points", sums_of(*ones))}
    assert compare_sides(same, same) == []
    single = {"x": Figure("x", "points", sums_of(np.array([1.0, 2.0]), np.array([0, 0])))}
    assert compare_sides(same, single) == []
    assert sums_of(np.array([np.nan]), np.array([0])) is None


def table(rows):
    names = ("prompt_id", "mean_rating", "overall_score", "model", "ratings", "not_applicable", "length", "flags")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["mean_rating"] = pa.array(columns["mean_rating"], pa.float64())
    columns["flags"] = pa.array(columns["flags"], pa.list_(pa.string()))
    return pa.table(columns)


def test_the_figures_of_a_table_are_those_counted_by_hand():
    rows = [
        ("p", 3.0, 10.0, "a", 3, 1, 100, ["one-completion"]),
        ("p", 4.0, 6.0, "b", 4, 0, 200, []),
        ("q", None, 2.0, "a", 0, 0, 300, ["unscored", "one-completion"]),
        ("q", 1.0, None, "b", 4, 0, 400, []),
    ]
    made = table(rows)
    models, flags = commonest(made, made)
    assert (models, flags) == (["a", "b"], ["one-completion", "unscored"])
    found = figures_of(made, models, flags, tens=True)
    means = {name: (each.sums.mean, each.sums.n) for name, each in found.items()}
    assert means == {
        "overall score": (6.0, 3),
        "mean rating": (pytest.approx(8 / 3), 3),
        "share of 10s among the overall scores": (pytest.approx(1 / 3), 3),
        "share of N/A among the ratings": (pytest.approx(1 / 12), 12),
        "length of the answers": (250.0, 4),
        "share of the model a": (0.5, 4),
        "overall score of a": (6.0, 2),
        "share of the model b": (0.5, 4),
        "overall score of b": (6.0, 1),
        "share flagged one-completion": (0.5, 4),
        "share flagged unscored": (0.25, 4),
    }


def test_a_raters_mean_comes_back_out_of_its_interval():
    values, clusters = sides(np.random.default_rng(4))[0]
    known = clustered_mean(values.tolist(), clusters.tolist())
    row = RaterRow(
        rater="ann",
        what="ratings",
        of="honesty",
        n=known.n,
        shared=0,
        prompts=known.groups,
        mean=known.mean,
        mean_low=known.low,
        mean_high=known.high,
    )
    (figure,) = rater_figures([row]).values()
    assert figure.what == "honesty by ann"
    assert (figure.sums.mean, figure.sums.n) == (pytest.approx(known.mean), known.n)
    assert figure.sums.variance == pytest.approx(sums_of(values, clusters).variance)
