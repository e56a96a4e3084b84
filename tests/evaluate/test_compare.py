"""Comparisons of arms: counts, intervals, pairs, and the words."""

import math
import random
from collections.abc import Callable, Iterator
from statistics import fmean, stdev

import pytest

from notus.core.errors import ConfigError, DataError
from notus.evaluate.compare import Score, compare, format_estimate, format_signed
from notus.stats.intervals import clustered_mean, detectable, mean_over_seeds, wider


def rows(arm: str, value: Callable[[int, int], float | None], seeds: int = 3, prompts: int = 40) -> Iterator[Score]:
    for seed in range(seeds):
        for prompt in range(prompts):
            yield Score(arm, seed, f"p{prompt}", 0, value(seed, prompt))


def noisy(mean: float, spread: float, key: str) -> Callable[[int, int], float]:
    return lambda seed, prompt: mean + random.Random(f"{key}{seed}{prompt}").gauss(0, spread)


def test_an_arm_counts_what_was_asked_and_scored() -> None:
    arm = compare(
        [
            Score("A", 0, "p", 0, 1.0),
            Score("A", 0, "p", 1, 0.0),
            Score("A", 0, "q", 0, 1.0),
            Score("A", 1, "p", 0, None),
            Score("A", 1, "q", 0, 0.0),
            Score("A", 1, "r", 0, None),
        ]
    ).arms[0]
    assert (arm.asked, arm.scored, arm.unscored, arm.prompts, arm.seeds) == (6, 4, 2, 2, 2)
    # Cells: seed 0 p ½ (two samples), seed 0 q 1, seed 1 q 0. By prompts (½ + 1 + 0)/3; by seeds (¾ + 0)/2.
    assert arm.by_prompts == clustered_mean([0.5, 1.0, 0.0], ["p", "q", "q"])
    assert arm.by_seeds == mean_over_seeds([0.5, 1.0, 0.0], [0, 0, 1])
    assert arm.interval == wider(arm.by_prompts, arm.by_seeds)
    assert arm.interval is not None
    assert arm.mean == arm.interval.mean
    assert arm.seed_means == ((0, 0.75), (1, 0.0))


def test_one_seed_has_no_seed_interval_and_says_so() -> None:
    found = compare([*rows("A", noisy(0.2, 0.1, "a"), seeds=1), *rows("B", noisy(0.8, 0.1, "b"), seeds=1)])
    assert all(arm.by_seeds is None and arm.by_prompts is not None for arm in found.arms)
    assert found.pairs[0].by_seeds is None
    assert found.pairs[0].better == "B"
    assert "one seed" in found.pairs[0].remarks[0]


def test_nothing_scored_is_no_mean() -> None:
    found = compare([*rows("A", lambda *_: None), *rows("B", lambda *_: 1.0)])
    arm = found.arms[0]
    assert (arm.asked, arm.scored, arm.unscored, arm.mean, arm.interval) == (120, 0, 120, None, None)
    assert found.pairs[0].verdict == "B and A cannot be compared: they share no scored prompt"
    assert found.pairs[0].remarks == ()


def test_the_words_for_better() -> None:
    found = compare([*rows("A", lambda *_: 0.5), *rows("B", lambda seed, _: 0.5 + 0.1 + 0.01 * (seed - 1))])
    pair = found.pairs[0]
    half = 4.302652730 * 0.01 / math.sqrt(3)  # three seeds: standard deviation .01, t(.975, 2) = 4.3027
    assert (pair.a, pair.b, pair.better) == ("B", "A", "B")
    assert pair.verdict == f"B is better than A by +0.100 [{0.1 - half:.3f}, {0.1 + half:.3f}]"
    assert (pair.shared, pair.shared_prompts, pair.shared_seeds, pair.not_shared) == (120, 40, 3, 0)


def test_the_better_arm_is_named_first_whatever_the_order() -> None:
    low, high = list(rows("low", noisy(0.2, 0.05, "l"))), list(rows("high", noisy(0.8, 0.05, "h")))
    one, other = compare([*low, *high]).pairs[0], compare([*high, *low]).pairs[0]
    assert one.verdict == other.verdict
    assert one.verdict.startswith("high is better than low by +0.")
    assert (one.a, other.a) == ("high", "low")


def test_the_words_for_not_distinguishable_and_the_power() -> None:
    """The prototype: +.068, +.153, +.071 over three seeds; about five would be needed."""
    gains = (0.068, 0.153, 0.071)
    found = compare([*rows("faulty", lambda *_: 0.6), *rows("repaired", lambda seed, _: 0.6 + gains[seed])])
    pair = found.pairs[0]
    assert pair.better is None
    assert pair.verdict == "repaired and faulty are not distinguishable: +0.097 [-0.022, 0.217]"
    assert "rough estimate: about 5 seeds would be needed" in pair.remarks[0]


def test_power_names_the_prompts_when_they_are_what_is_short() -> None:
    found = compare([*rows("A", lambda *_: 0.5, seeds=1), *rows("B", noisy(0.52, 0.3, "b"), seeds=1)])
    assert found.pairs[0].better is None
    assert "prompts would be needed" in found.pairs[0].remarks[1]
    assert [what for what, _ in found.pairs[0].needed] == ["prompts"]
    assert found.pairs[0].remarks[-1].startswith("what was compared would show a true difference of about ±0.")


def test_a_difference_too_small_for_any_number_says_so() -> None:
    found = compare([*rows("A", lambda *_: 0.5), *rows("B", lambda _, prompt: 0.5 + (0.1 if prompt % 2 else -0.0999))])
    pair = found.pairs[0]
    assert pair.needed == (("prompts", None),)
    assert pair.remarks[0] == "rough estimate: not even 10,000 prompts would set so small a difference apart"


def test_prompts_and_seeds_that_only_both_together_leave_open() -> None:
    """Each interval alone excludes 0, the one for both does not: more of each is asked for, by one factor."""
    by_seed, by_prompt = (0.02, 0.1, 0.07, 0.12, 0.06), random.Random(3)
    own = [by_prompt.gauss(0, 1) for _ in range(20)]
    own = [0.15 * (value - fmean(own)) / stdev(own) for value in own]
    gains = rows("B", lambda seed, prompt: 0.5 + by_seed[seed] + own[prompt], seeds=5, prompts=20)
    pair = compare([*rows("A", lambda *_: 0.5, seeds=5, prompts=20), *gains]).pairs[0]
    assert pair.by_seeds is not None
    assert pair.by_prompts is not None
    assert pair.by_both is not None
    assert pair.by_seeds.low > 0
    assert pair.by_prompts.low > 0
    assert pair.by_both.low < 0
    assert pair.interval == pair.by_both
    assert pair.better is None
    factor = (detectable(pair.by_both) / pair.by_both.mean) ** 2
    assert factor > 1
    assert pair.needed == (("seeds", math.ceil(5 * factor)), ("prompts", math.ceil(20 * factor)))


def test_few_groups_are_also_tested_exactly() -> None:
    gains = (0.3, 0.1, 0.2, 0.25, 0.15, 0.22, -0.02)
    b = rows("B", lambda _, prompt: 0.5 + gains[prompt], seeds=1, prompts=7)
    pair = compare([*rows("A", lambda *_: 0.5, seeds=1, prompts=7), *b]).pairs[0]
    assert pair.exact is not None
    assert (pair.exact.method, pair.exact.n) == ("permutation", 7)
    # Only turning the −.02 or nothing gives a sum as far from 0: 2 of 64, and as many on the other side.
    assert pair.exact.p == pytest.approx(4 / 128)


def test_an_exact_test_that_disagrees_is_told() -> None:
    """Six prompts, one a little worse: t claims it, but of 64 assignments of signs 4 go as far, which is .06."""
    gains = (0.2, 0.21, 0.2, 0.19, 0.2, -0.01)
    b = rows("B", lambda _, prompt: 0.5 + gains[prompt], seeds=1, prompts=6)
    pair = compare([*rows("A", lambda *_: 0.5, seeds=1, prompts=6), *b]).pairs[0]
    assert pair.better == "B"
    assert pair.exact is not None
    assert pair.exact.p == pytest.approx(4 / 64)
    assert "an exact test does not go along (permutation, p = 0.06, n = 6): take it with care" in pair.remarks


def test_one_seed_of_passes_and_failures_is_mcnemars() -> None:
    wins = {0, 1, 2, 3, 4, 5, 6, 7}
    a = rows("A", lambda _, prompt: float(prompt == 8), seeds=1)
    pair = compare([*a, *rows("B", lambda _, prompt: float(prompt in wins), seeds=1)]).pairs[0]
    assert pair.exact is not None
    # Nine prompts differ, eight of them in favour of B: (1 + 9) / 2⁹, and as much on the other side.
    assert (pair.exact.method, pair.exact.n) == ("mcnemar", 9)
    assert pair.exact.p == pytest.approx(2 * 10 / 512)


def test_the_summary_says_what_is_apart_and_what_the_rest_would_need() -> None:
    scores = [
        *rows("base", noisy(0.5, 0.1, "b")),
        *rows("better", noisy(0.8, 0.1, "g")),
        *rows("same", noisy(0.51, 0.1, "s")),
    ]
    found = compare(scores)
    first, second, third = found.summary
    whole = sum(pair.survives_holm for pair in found.pairs)
    assert first == (
        f"2 of 3 pairs can be told apart, {whole} with all of them tested at once: better over base, better over same"
    )
    same = next(pair for pair in found.pairs if pair.better is None)
    assert second.startswith("not told apart, by a rough estimate: same and base would need ")
    assert all(f"{count:,} {what}" in second for what, count in same.needed if count)
    assert third.startswith("With 3 seeds a claim leans on Student's t")
    assert compare([*rows("A", noisy(0.5, 0.1, "a"))]).summary == ()


def test_a_mark_goes_with_its_arm() -> None:
    scores = [*rows("A", noisy(0.5, 0.1, "a")), *rows("B", noisy(0.5, 0.1, "b"))]
    found = compare(scores, marks={"B": "contaminated: so it is"})
    assert [arm.mark for arm in found.arms] == ["", "contaminated: so it is"]
    assert found.summary[0] == "B is contaminated: so it is"


def test_identical_arms() -> None:
    found = compare([*rows("A", lambda *_: 1.0), *rows("B", lambda *_: 1.0)])
    assert found.pairs[0].verdict == "B and A are not distinguishable: +0.000 [0.000, 0.000]"
    assert "do not vary" in found.pairs[0].remarks[0]


def test_two_equal_differences_prove_nothing() -> None:
    few = compare([*rows("A", lambda *_: 0.0, 1, 2), *rows("B", lambda *_: 1.0, 1, 2)]).pairs[0]
    many = compare([*rows("A", lambda *_: 0.0, 1, 6), *rows("B", lambda *_: 1.0, 1, 6)]).pairs[0]
    assert (few.better, many.better) == (None, "B")


def test_what_is_not_shared_is_counted_and_not_compared() -> None:
    a = [score for score in rows("A", noisy(0.5, 0.1, "a")) if score.prompt_id != "p0"]
    b = [score for score in rows("B", noisy(0.5, 0.1, "b")) if score.prompt_id != "p1"]
    pair = compare([*a, *b]).pairs[0]
    assert (pair.shared, pair.shared_prompts, pair.not_shared) == (114, 38, 6)
    assert pair.remarks[-1].startswith("6 (seed, prompt) cells")


def test_unscored_answers_are_left_out_of_the_pairs() -> None:
    a = rows("A", lambda _, prompt: None if prompt == 0 else 0.5)
    pair = compare([*a, *rows("B", noisy(0.5, 0.1, "b"))]).pairs[0]
    assert (pair.shared, pair.not_shared) == (117, 3)


def test_pairs_with_and_without_a_baseline() -> None:
    scores = [score for name in ("SFT", "faulty", "repaired") for score in rows(name, noisy(0.5, 0.1, name))]
    assert [(p.a, p.b) for p in compare(scores).pairs] == [
        ("faulty", "SFT"),
        ("repaired", "SFT"),
        ("repaired", "faulty"),
    ]
    assert [(p.a, p.b) for p in compare(scores, "faulty").pairs] == [("SFT", "faulty"), ("repaired", "faulty")]
    with pytest.raises(ConfigError, match="did you mean 'repaired'"):
        compare(scores, "repaird")


def test_one_arm_has_no_pairs() -> None:
    assert compare(rows("A", lambda *_: 0.5)).pairs == ()


def test_holm_takes_back_a_narrow_claim() -> None:
    """One difference with p between .05/6 and .05 among six pairs: better on its own, not among six."""
    gains = (0.055, 0.10, 0.145)  # three seeds: mean .1, sd .045, t = 3.85, p = .061 — scaled below to p near .03
    scale = 0.0325 / 0.045
    shifted = [0.1 + (gain - 0.1) * scale for gain in gains]
    base = list(rows("base", lambda *_: 0.5))
    better = list(rows("better", lambda seed, _: 0.5 + shifted[seed]))
    alone = compare([*base, *better]).pairs[0]
    assert alone.better == "better"
    assert alone.survives_holm
    others = [score for name in "CD" for score in rows(name, noisy(0.5, 0.3, name))]
    among = next(p for p in compare([*base, *better, *others]).pairs if (p.a, p.b) == ("better", "base"))
    assert among.verdict == alone.verdict
    assert not among.survives_holm
    assert "Holm" in among.remarks[0]


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([], "no scores"),
        ([Score("A", 0, "p", 0, 1.0)] * 2, "scored twice"),
        ([Score("A", 0, "p", 0, math.nan)], "the score is nan"),
    ],
)
def test_bad_input(scores: list[Score], words: str) -> None:
    with pytest.raises(DataError, match=words):
        compare(scores)


def test_numbers_as_text() -> None:
    estimate = mean_over_seeds([0.1, 0.2, 0.3], [0, 1, 2])
    assert estimate is not None
    assert format_estimate(estimate) == "0.200 [-0.048, 0.448]"
    assert format_estimate(estimate, sign=True, digits=2) == "+0.20 [-0.05, 0.45]"
    assert (format_signed(-0.0001), format_signed(-0.25, 1), format_signed(1)) == ("+0.000", "-0.2", "+1.000")


def test_false_claims_are_rare() -> None:
    """Two arms from the same world, seeds and prompts both noisy: the wider interval errs in at most about 5 %."""
    claims = 0
    for draw in range(400):
        source = random.Random(draw)
        scores = []
        for arm in "AB":
            for seed in range(3):
                shift = source.gauss(0, 0.05)
                scores += [Score(arm, seed, str(p), 0, source.random() + shift) for p in range(15)]
        claims += compare(scores).pairs[0].better is not None
    assert claims / 400 <= 0.075
