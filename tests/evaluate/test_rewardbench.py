"""RewardBench's arithmetic written out: subsets, sections, total, the interval, length, calibration."""

import math
import random

import numpy as np
import pytest

from notus.evaluate.rewards import COUNTS, SECTIONS, PairScore, reward_report, weighted_accuracy
from notus.stats.distributions import t_quantile
from notus.stats.intervals import clustered_mean, proportion


def scored(value, prompt="p", subset="", section="", lengths=(5, 4), margin=None):
    margin = {1.0: 1.0, 0.0: -1.0, 0.5: 0.0, None: 1.0}[value] if margin is None else margin
    reason = "unscored" if value is None else "tie" if margin == 0 else "chosen" if margin > 0 else "rejected"
    return PairScore(
        id="x",
        prompt_id=prompt,
        sample=0,
        subset=subset,
        section=section,
        score_chosen=None if value is None else margin,
        score_rejected=None if value is None else 0.0,
        value=value,
        reason=reason,
        length_chosen=lengths[0],
        length_rejected=lengths[1],
    )


def benchmark(rng, size=12):
    """Rows of every subset of RewardBench, some of whose prompts come twice."""
    places = [(subset, f"{subset}-{n // 2}") for subset in sorted(COUNTS) for n in range(size)]
    return [scored(float(rng.random() < 0.7), prompt, subset) for subset, prompt in places]


def test_sections_and_total_are_rewardbenchs():
    rows = benchmark(random.Random(0))
    report = reward_report("r", rows)
    accuracy = {s: np.mean([row.value for row in rows if row.subset == s]) for s in COUNTS}
    sections = {
        name: sum(accuracy[s] * COUNTS[s] for s in subsets) / sum(COUNTS[s] for s in subsets)
        for name, subsets in SECTIONS.items()
    }
    assert {group.name: group.accuracy.mean for group in report.sections} == pytest.approx(sections)
    assert report.total.mean == pytest.approx(sum(sections.values()) / 4)
    assert report.accuracy.mean == pytest.approx(np.mean([row.value for row in rows]))
    assert len(report.subsets) == 23


def test_all_subsets_have_a_section_and_a_weight():
    named = [subset for subsets in SECTIONS.values() for subset in subsets]
    assert sorted(named) == sorted(COUNTS)
    assert sum(COUNTS[subset] for subset in SECTIONS["Reasoning"] if subset != "math-prm") == COUNTS["math-prm"]


def test_a_tie_that_counts_nothing_lowers_the_accuracy():
    rows = [scored(1.0, "a"), scored(0.0, "b", margin=0.0), scored(1.0, "c")]
    report = reward_report("r", rows)
    assert report.accuracy.mean == pytest.approx(2 / 3)
    assert (report.ties, report.scored, report.asked) == (1, 3, 3)


def test_what_is_not_scored_bounds_the_accuracy():
    report = reward_report("r", [scored(1.0, "a"), scored(0.0, "b"), scored(None, "c"), scored(None, "d")])
    assert (report.asked, report.scored, report.unscored) == (4, 2, 2)
    assert report.bounds == (0.25, 0.75)


def test_rows_that_name_sections_of_their_own_weigh_alike_inside():
    rows = [scored(float(n < 6), f"x{n}", "x", "S") for n in range(8)]
    rows += [scored(float(n < 1), f"y{n}", "y", "S") for n in range(2)]
    rows += [scored(float(n < 1), f"z{n}", "z", "T") for n in range(4)]
    report = reward_report("r", rows)
    assert {group.name: group.accuracy.mean for group in report.sections} == pytest.approx({"S": 7 / 10, "T": 1 / 4})
    assert report.total.mean == pytest.approx((7 / 10 + 1 / 4) / 2)


def test_rows_without_a_subset_have_neither_sections_nor_a_total():
    report = reward_report("r", [scored(1.0, "a"), scored(0.0, "b")])
    assert (report.subsets, report.sections, report.total) == ((), (), None)


def test_the_interval_of_a_weighted_sum_is_as_written():
    rows = [scored(v, p, s) for v, p, s in [(1.0, "a", "x"), (0.0, "b", "x"), (1.0, "c", "x"), (1.0, "d", "y")]]
    rows += [scored(0.0, "a", "y"), scored(0.0, "e", "y")]
    means = {"x": 2 / 3, "y": 1 / 3}
    weights = {"x": 0.3, "y": 0.7}
    sums = {}
    for row in rows:
        part = weights[row.subset] / 3 * (row.value - means[row.subset])
        sums[row.prompt_id] = sums.get(row.prompt_id, 0.0) + part
    error = math.sqrt(5 / 3 * sum(value**2 for value in sums.values()))
    found = weighted_accuracy(rows, weights)
    total = 0.3 * 2 / 3 + 0.7 / 3
    assert found.mean == pytest.approx(total)
    assert found.high == pytest.approx(min(1, total + t_quantile(0.975, 3) * error))
    assert (found.n, found.groups) == (6, 5)


def test_one_subset_is_the_clustered_mean():
    rng = random.Random(1)
    rows = [scored(float(rng.random() < 0.6), str(n // 3), "x") for n in range(90)]
    plain = clustered_mean([row.value for row in rows], [row.prompt_id for row in rows])
    found = weighted_accuracy(rows, {"x": 1.0})
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """1,000 sets of two subsets with clusters of two, true total .66: 95 % within four standard errors of that."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        rows = []
        for subset, truth in (("x", 0.5), ("y", 0.7)):
            for prompt in range(40):
                shift = rng.choice([-0.2, 0.2])
                values = [float(rng.random() < truth + shift) for _ in range(2)]
                rows += [scored(value, f"{subset}{prompt}", subset) for value in values]
        found = weighted_accuracy(rows, {"x": 0.2, "y": 0.8})
        hits += found.low <= 0.2 * 0.5 + 0.8 * 0.7 <= found.high
    assert abs(hits / 1000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 1000)


def test_where_nothing_varies_the_interval_still_has_a_width():
    rows = [scored(1.0, f"x{n}", "x") for n in range(10)] + [scored(0.0, f"y{n}", "y") for n in range(10)]
    found = weighted_accuracy(rows, {"x": 0.5, "y": 0.5})
    side = 0.5 * (1 - proportion(10, 10).low)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5 - side, 0.5 + side))


def test_a_subset_of_one_prompt_alone_says_nothing():
    assert weighted_accuracy([scored(1.0, "a", "x"), scored(1.0, "b", "y")], {"x": 0.5, "y": 0.5}) is None


def test_length_is_told_apart_from_what_wins():
    rows = [scored(1.0, "a", lengths=(9, 2)), scored(1.0, "b", lengths=(9, 2)), scored(0.0, "c", lengths=(2, 9))]
    rows += [scored(1.0, "d", lengths=(2, 9)), scored(0.5, "e", margin=0.0), scored(1.0, "f", lengths=(4, 4))]
    length = reward_report("r", rows).length
    assert (length.longer_wins.mean, length.longer_wins.n) == (0.75, 4)
    assert length.longer_chosen.mean == 0.5
    assert (length.when_longer.mean, length.when_longer.n) == (pytest.approx(2.5 / 3), 3)
    assert (length.when_shorter.mean, length.when_shorter.n) == (0.5, 2)


def test_calibration_states_the_probability_of_what_was_preferred():
    rows = [scored(1.0, "a", margin=2.0), scored(0.0, "b", margin=-1.0), scored(0.0, "c", margin=0.0)]
    found = reward_report("r", rows, scale=0.5).calibration
    stated = [1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(-0.5))]
    assert found.probabilities == pytest.approx(stated)
    assert found.correct == (1.0, 0.0)
    assert found.overconfidence.mean == pytest.approx((stated[0] - 1 + stated[1]) / 2)
    assert reward_report("r", rows).calibration is None


def test_a_margin_that_is_worth_what_it_says_is_neither_over_nor_under():
    rng = np.random.default_rng(3)
    rows = []
    for n in range(3000):
        logit = rng.normal(0, 2)
        right = rng.random() < 1 / (1 + math.exp(-abs(logit)))
        rows.append(scored(float(right), str(n), margin=abs(logit) if right else -abs(logit)))
    good = reward_report("r", rows, scale=1.0).calibration.overconfidence
    loud = reward_report("r", rows, scale=3.0).calibration.overconfidence
    assert good.low < 0 < good.high
    assert loud.low > 0
