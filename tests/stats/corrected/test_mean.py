"""A mean corrected by labels: against PPI++ as it is published, and against the equations in plain Python."""

import math

import numpy as np
import pytest
from scipy import stats

from notus.core.errors import DataError
from notus.stats.corrected.mean import Sample, corrected_mean, mean_of_labels, over_replicates, slope_within
from notus.stats.corrected.plan import labels_for, outlook, width_with
from notus.stats.intervals import proportion

random = np.random.default_rng(7)
JUDGED = (6 + 2 * random.normal(size=90)).tolist()
BESIDE = JUDGED[:12]
LABELS = [1 + 0.7 * f + e for f, e in zip(BESIDE, random.normal(size=12).tolist(), strict=True)]


def test_it_is_ppi_plus_plus():
    """θ = λ f̄(unlabelled) + mean(y − λ f), λ = cov(y, f) / ((1 + n/N) var(f)): Angelopoulos et al. 2023, section 6."""
    y, f, rest = np.array(LABELS), np.array(BESIDE), np.array(JUDGED[12:])
    cov = np.cov(y, f)
    power = cov[0, 1] / ((1 + len(y) / len(rest)) * cov[1, 1])
    published = power * rest.mean() + (y - power * f).mean()
    assert corrected_mean(Sample(LABELS, BESIDE, JUDGED)).estimate.mean == pytest.approx(published, abs=1e-12)


def test_its_interval_written_out():
    found = corrected_mean(Sample(LABELS, BESIDE, JUDGED))
    n, count = 12, 90
    mean_y, mean_f, mean_all = sum(LABELS) / n, sum(BESIDE) / n, sum(JUDGED) / count
    spread = sum((f - mean_f) ** 2 for f in BESIDE) / n
    power = sum((f - mean_f) * (y - mean_y) for y, f in zip(LABELS, BESIDE, strict=True)) / n / spread
    point = mean_y + power * (mean_all - mean_f)
    square = 0.0
    for y, f in zip(LABELS, BESIDE, strict=True):
        pull = (1 + (mean_all - mean_f) * (f - mean_f) / spread) / n
        square += n / (n - 2) * (pull * (y - mean_y - power * (f - mean_f))) ** 2
    square += sum((power * (f - mean_all) / count) ** 2 for f in JUDGED)
    half = stats.t.ppf(0.975, n - 2) * math.sqrt(square)
    assert (found.power, found.estimate.mean) == pytest.approx((power, point))
    assert (found.estimate.low, found.estimate.high) == pytest.approx((point - half, point + half))
    assert found.ratio == pytest.approx(found.estimate.width / found.alone.width)
    assert found.offset.mean == pytest.approx(mean_f - mean_y)


def test_labels_alone_are_students_t_or_wilson():
    t = stats.ttest_1samp(LABELS, 0).confidence_interval()
    alone = mean_of_labels(Sample(LABELS, BESIDE, JUDGED))
    assert (alone.low, alone.high) == pytest.approx((t.low, t.high))
    yes = [1.0] * 9 + [0.0] * 3
    assert mean_of_labels(Sample(yes, BESIDE, JUDGED)) == proportion(9, 12)


def test_chances_weigh_labels():
    """Labels with a chance of a half stand for two answers, those with ¼ for four: Hájek's mean by hand."""
    chances = [0.5] * 6 + [0.25] * 6
    found = corrected_mean(Sample(LABELS, BESIDE, JUDGED, chances))
    assert found.alone.mean == pytest.approx((2 * sum(LABELS[:6]) + 4 * sum(LABELS[6:])) / 36)
    alike = corrected_mean(Sample(LABELS, BESIDE, JUDGED, [0.3] * 12))
    plain = corrected_mean(Sample(LABELS, BESIDE, JUDGED))
    assert alike.estimate.low == pytest.approx(plain.estimate.low)


def test_clusters_count_once():
    """Each answer twice in its prompt says nothing new; as if they stood alone it would."""
    twice = [value for value in LABELS for _ in "ab"], [value for value in BESIDE for _ in "ab"]
    judged = [value for value in JUDGED for _ in "ab"]
    prompts, all_prompts = [i // 2 for i in range(24)], [i // 2 for i in range(180)]
    once = corrected_mean(Sample(LABELS, BESIDE, JUDGED)).estimate
    clustered = corrected_mean(Sample(*twice, judged, None, prompts, all_prompts)).estimate
    naive = corrected_mean(Sample(*twice, judged)).estimate
    assert clustered.mean == pytest.approx(once.mean)
    assert clustered.width == pytest.approx(once.width, rel=0.06)
    assert naive.width < 0.75 * once.width


def test_these_answers_are_known_where_all_have_a_label():
    every = corrected_mean(Sample(LABELS, BESIDE, BESIDE), "these")
    assert every.estimate.mean == pytest.approx(sum(LABELS) / 12)
    assert every.estimate.width == pytest.approx(0)
    some = corrected_mean(Sample(LABELS, BESIDE, JUDGED), "these").estimate
    assert some.width < corrected_mean(Sample(LABELS, BESIDE, JUDGED), "like").estimate.width


def test_a_judge_that_says_nothing_costs_little():
    """Over 300 samples of fifty labels, whatever the judge says: the widths are those of the labels."""
    source = np.random.default_rng(3)
    ratios = []
    for _ in range(300):
        labels, judged = source.normal(size=50), source.normal(size=1000)
        ratios.append(corrected_mean(Sample(labels.tolist(), judged[:50].tolist(), judged.tolist())).ratio)
    assert 0.98 < np.mean(ratios) < 1.02


def test_what_cannot_be_corrected_says_why():
    few = corrected_mean(Sample(LABELS[:9], BESIDE[:9], JUDGED))
    assert few.estimate is None
    assert "9 prompts" in few.note
    assert few.alone is not None
    same = corrected_mean(Sample(LABELS, [4.0] * 12, [4.0] * 90))
    assert same.estimate is None
    assert "the same" in same.note
    assert same.ratio is None


def test_wrong_samples_are_refused():
    with pytest.raises(DataError, match="12 labels came with 11"):
        Sample(LABELS, BESIDE[:11], JUDGED)
    with pytest.raises(DataError, match="12 labels came with 3 judged"):
        Sample(LABELS, BESIDE, JUDGED[:3])
    with pytest.raises(DataError, match="chance"):
        Sample(LABELS, BESIDE, JUDGED, [0.0] * 12)
    with pytest.raises(DataError, match="both are needed"):
        Sample(LABELS, BESIDE, JUDGED, None, list(range(12)))


def test_the_slope_within_groups_knows_no_offset():
    """Two groups whose judge is off by 1 and by 5: the slope is 2 in both."""
    f = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    y = [1 + 2 * value for value in f[:3]] + [5 + 2 * value for value in f[3:]]
    assert slope_within(y, f, ["a"] * 3 + ["b"] * 3) == pytest.approx(2)
    assert slope_within([1.0, 2.0], [3.0, 3.0], ["a", "a"]) == 0


def test_replicates_widen_where_trainings_differ():
    labels = [float(i % 2) + 3 * (i >= 10) for i in range(20)]
    beside = [value + 0.3 * (-1) ** (i // 2) for i, value in enumerate(labels)]
    seeds = [0] * 10 + [1] * 10
    found = corrected_mean(Sample(labels, beside, beside, None, list(range(20)), list(range(20))))
    wide = over_replicates(found, seeds, seeds)
    assert wide.mean == found.estimate.mean
    assert wide.width > 3 * found.estimate.width
    assert wide.groups == 2
    assert over_replicates(found, [0] * 20, [0] * 20) is None


def test_more_labels_narrow_by_their_root():
    judged = random.normal(size=100_000)
    labels = (judged[:100] + random.normal(size=100)).tolist()
    found = corrected_mean(Sample(labels, judged[:100].tolist(), judged.tolist()))
    assert width_with(found, 0) == pytest.approx(found.estimate.width)
    four_times = width_with(found, 300) / found.estimate.width
    assert four_times == pytest.approx(0.5 * stats.t.ppf(0.975, 391) / stats.t.ppf(0.975, 98), rel=0.02)
    assert outlook(found).more == 50
    assert "50 more labels" in str(outlook(found))
    needed = labels_for(found, width_with(found, 300))
    assert abs(needed - 400) <= 1
    assert labels_for(found, 1e-6) is None


def test_labels_that_all_agree_are_not_certain():
    """Twelve of twelve said yes, and the judge grades: Wilson's n/(n + z²), and not a share of 1 without a doubt."""
    judged = random.random(200).tolist()
    found = corrected_mean(Sample([1.0] * 12, judged[:12], judged))
    z2 = stats.norm.ppf(0.975) ** 2
    assert (found.estimate.mean, found.estimate.high) == (1.0, 1.0)
    assert found.estimate.low == pytest.approx(12 / (12 + z2))
    none = corrected_mean(Sample([0.0] * 12, judged[:12], judged))
    assert (none.estimate.mean, none.estimate.high) == (0.0, pytest.approx(z2 / (12 + z2)))
    chances = [0.5] * 6 + [0.25] * 6  # weights 2 and 4: (12 + 24)² / (6·4 + 6·16) = 10.8 cases, so ten
    drawn = corrected_mean(Sample([1.0] * 12, judged[:12], judged, chances))
    assert drawn.estimate.low == pytest.approx(10 / (10 + z2))
    assert drawn.alone.low == pytest.approx(10 / (10 + z2))


def test_a_difference_is_no_share_although_none_lies_below_zero():
    """Two of twenty labels prefer the one: as a share it is above 0 for sure, as a difference McNemar has p = .5."""
    judged = random.normal(size=200).tolist()
    labels = [1.0] * 2 + [0.0] * 18
    share = corrected_mean(Sample(labels, judged[:20], judged))
    assert share.estimate.low > 0
    found = corrected_mean(Sample(labels, judged[:20], judged, difference=True))
    assert found.estimate.low < 0 < found.estimate.mean
    t = stats.ttest_1samp(labels, 0).confidence_interval()
    assert (found.alone.low, found.alone.high) == pytest.approx((t.low, t.high))


def test_differences_that_are_all_alike_are_not_certain():
    """Of twelve none differs: another one may be w = z²/(12 + z²) of all, and lie at −1 or at 1."""
    judged = random.normal(size=200).tolist()
    z2 = stats.norm.ppf(0.975) ** 2
    others = z2 / (12 + z2)
    for value, low, high in ((0.0, -others, others), (1.0, 1 - 2 * others, 1.0), (-1.0, -1.0, 2 * others - 1)):
        found = corrected_mean(Sample([value] * 12, judged[:12], judged, difference=True))
        for each in (found.estimate, found.alone):
            assert (each.mean, each.low, each.high) == pytest.approx((value, low, high))
        assert outlook(found) is None
