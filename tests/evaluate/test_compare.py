"""Comparisons of arms: counts, intervals, pairs, and the words."""

import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.statistics import clustered_mean, mean_over_seeds, wider
from notus.evaluate import compare as module
from notus.evaluate.compare import Score, compare, signed, spoken


def rows(arm: str, value: Callable[[int, int], float | None], seeds: int = 3, prompts: int = 40) -> Iterator[Score]:
    for seed in range(seeds):
        for prompt in range(prompts):
            yield Score(arm, seed, f"p{prompt}", 0, value(seed, prompt))


def noisy(mean: float, spread: float, key: str) -> Callable[[int, int], float]:
    return lambda seed, prompt: mean + random.Random(f"{key}{seed}{prompt}").gauss(0, spread)


def test_public_names() -> None:
    assert set(module.__all__) == {"Arm", "Comparison", "Pair", "Score", "compare", "signed", "spoken"}


def test_no_torch() -> None:
    code = "import sys, notus.evaluate.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


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
    assert "prompts would be needed" in found.pairs[0].remarks[-1]


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
    assert spoken(estimate) == "0.200 [-0.048, 0.448]"
    assert spoken(estimate, sign=True, digits=2) == "+0.20 [-0.05, 0.45]"
    assert (signed(-0.0001), signed(-0.25, 1), signed(1)) == ("+0.000", "-0.2", "+1.000")


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
