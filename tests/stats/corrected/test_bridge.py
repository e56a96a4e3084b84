"""A bridge between judges: by hand, and on real answers that two judges have scored."""

import gzip
import json
import math

import numpy as np
import pytest
from scipy import stats

from notus.core.errors import DataError
from notus.stats.corrected.bridge import Both, bridge
from tests.helpers.two_judges import CRITIQUES, JUDGES

NAN = math.nan


def model(offset, shared=12, new_only=8, seed=0):
    source = np.random.default_rng(seed)
    new = source.normal(size=shared + new_only)
    old = offset + 2 * new + 0.1 * source.normal(size=len(new))
    return Both([*old[:shared].tolist(), *[NAN] * new_only], new.tolist())


def test_each_model_keeps_its_own_offset():
    both = {"a": model(1, seed=1), "b": model(5, seed=2)}
    found, slope = bridge(both)
    assert slope == pytest.approx(2, abs=0.1)
    for name in "ab":
        old, new = (np.array(side) for side in (both[name].old, both[name].new))
        seen = ~np.isnan(old)
        by_hand = old[seen].mean() + slope * (new.mean() - new[seen].mean())
        assert found[name].estimate.mean == pytest.approx(by_hand)
        left = old[seen] - slope * new[seen]
        error = math.sqrt(left.var(ddof=1) / 12 * (1 - 12 / 20))  # eight of twenty are in doubt
        half = stats.t.ppf(0.975, 11) * error
        assert found[name].estimate.width / 2 == pytest.approx(half)
        assert (found[name].shared, found[name].new_only, found[name].unseen) == (12, 8, False)


def test_what_only_the_old_judge_has_scored_is_known():
    both = model(1)
    known = Both([*both.old, 100.0, 100.0], [*both.new, NAN, NAN])
    without, _ = bridge({"a": both})
    found, _ = bridge({"a": known})
    assert found["a"].old_only == 2
    assert found["a"].estimate.mean == pytest.approx((20 * without["a"].estimate.mean + 200) / 22)
    assert found["a"].estimate.width == pytest.approx(without["a"].estimate.width * 20 / 22)


def test_a_model_that_the_old_judge_never_saw_leans_on_the_others():
    seen = {name: model(offset, seed=offset) for offset, name in enumerate("abcd")}
    new = np.arange(6.0)
    found, slope = bridge({**seen, "e": Both([NAN] * 6, new.tolist())})
    offsets = [np.nanmean(each.old) - slope * np.mean(each.new[:12]) for each in seen.values()]
    middle = np.mean(offsets) + slope * new.mean()
    half = stats.t.ppf(0.975, 3) * math.sqrt(np.var(offsets, ddof=1) * (1 + 1 / 4))
    assert found["e"].unseen
    assert (found["e"].estimate.low, found["e"].estimate.high) == pytest.approx((middle - half, middle + half))
    few, _ = bridge({"a": seen["a"], "e": Both([NAN] * 6, new.tolist())})
    assert few["e"].estimate is None
    assert "1 other models" in few["e"].note


def test_too_few_shared_answers_are_refused():
    with pytest.raises(DataError, match="the most that one has is 4"):
        bridge({"a": model(1, shared=4)})


@pytest.mark.skipif(not CRITIQUES.is_file(), reason=f"{CRITIQUES} is not here")
def test_real_judges_two_hundred_times():
    """Fifty shared answers of each of six models: the old judge's mean lies inside, and the interval is narrower."""
    scores = {}
    with gzip.open(CRITIQUES, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            for item in row["completions"]:
                if len(item["judges"]) == 2:
                    both = tuple(item["judges"][judge]["score"] for judge in JUDGES)
                    scores.setdefault(item["model"], []).append(both)
    answers = {name: np.array(rows, dtype=float) for name, rows in scores.items()}
    assert (len(answers), sum(map(len, answers.values()))) == (6, 3139)
    held, ratios = [], []
    for seed in range(200):
        source = np.random.default_rng(seed)
        models = {}
        for name, both in answers.items():
            old = np.full(len(both), NAN)
            shared = source.permutation(len(both))[:50]
            old[shared] = both[shared, 0]
            models[name] = Both(old.tolist(), both[:, 1].tolist())
        for name, found in bridge(models)[0].items():
            held.append(found.estimate.low <= answers[name][:, 0].mean() <= found.estimate.high)
            ratios.append(found.estimate.width / found.shared_alone.width)
    assert np.mean(held) >= 0.93
    assert np.mean(ratios) < 0.65
    assert np.mean(np.array(ratios) < 1) > 0.995


def test_answers_to_one_prompt_are_one_case():
    """Each answer four times over, as four draws of one prompt: the interval is that of the prompts, by hand."""
    once = model(1, shared=12, new_only=8)
    four = Both(*[np.repeat(side, 4).tolist() for side in (once.old, once.new)], np.repeat(range(20), 4).tolist())
    found, slope = bridge({"a": four})
    old, new = np.array(once.old), np.array(once.new)
    left = old[:12] - slope * new[:12]
    left = left - left.mean()
    # The sums within prompts, each 4 of 48 labels, of which two in five are in doubt.
    square = sum((4 / 48 * each * math.sqrt(48 / 47 * (1 - 48 / 80))) ** 2 for each in left)
    error = math.sqrt(12 / 11 * (1 - 1 / 48) * square)
    assert found["a"].estimate.width / 2 == pytest.approx(stats.t.ppf(0.975, 11) * error)
    assert found["a"].estimate.groups == 12
    single, _ = bridge({"a": once})
    assert found["a"].estimate.width == pytest.approx(single["a"].estimate.width, rel=1e-9)
    with pytest.raises(DataError, match="each to another prompt; the most that one has is 3"):
        bridge({"a": Both([1.0, 2.0, 3.0] * 4, [2.0, 1.0, 3.0] * 4, [0, 1, 2] * 4)})
