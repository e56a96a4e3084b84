import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from notus.audit.context.expected import FAR, FLOOR, LEAST, OWN, Setting, chance_far, expect_scores
from notus.core.records import Scale


def some_set(prompts: int = 60, answers: int = 4, seed: int = 0, noise: float = 0.5) -> Setting:
    """Scores of a prompt's level, a model's strength, a bit of length and noise, from 1 to 10."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(prompts), answers)
    models = np.tile(np.arange(answers), prompts)
    length = rng.normal(size=prompts * answers)
    quality = 5.5 + rng.normal(size=prompts)[of] + 0.8 * models + 0.5 * length + noise * rng.normal(size=len(of))
    scores = np.clip(np.round(quality), 1, 10)
    return Setting(scores, length[:, None], models, of, of % 5, Scale(low=1, high=10))


def test_the_expectation_is_what_its_equations_say() -> None:
    """Written out for each answer: dense one-hot ridge on the other folds, moments, and the mean of the siblings."""
    of = some_set(prompts=40)
    y, prompts = of.scores, of.prompts
    x = of.features[:, 0] - np.array([of.features[prompts == p, 0].mean() for p in prompts])
    x = np.clip(x / x.std(), -3, 3)
    dense = np.column_stack((x, np.eye(5)[of.models]))  # a fifth group, of all other models, has no member here
    base = np.empty(len(y))
    for fold in range(5):
        seen, here = of.folds != fold, of.folds == fold
        middle, mean = dense[seen].mean(axis=0), y[seen].mean()
        a = dense[seen] - middle
        weights = np.linalg.solve(a.T @ a + 10 * np.eye(6), a.T @ (y[seen] - mean))
        base[here] = mean + (dense[here] - middle) @ weights
    rest = y - base
    within = sum(float(((rest[prompts == p] - rest[prompts == p].mean()) ** 2).sum()) for p in range(40)) / (40 * 3)
    between = float((rest**2).mean()) - within
    found = expect_scores(of, "overall score")
    for index in range(len(y)):
        others = [other for other in range(len(y)) if prompts[other] == prompts[index] and other != index]
        mean = np.mean([rest[other] for other in others]) * 3 * between / (3 * between + within)
        assert math.isclose(found.expected[index], base[index] + mean, rel_tol=1e-9)
    assert list(found.siblings) == [3] * len(y)
    assert found.applied == len(y)


def test_the_spread_fits_the_distances_and_follows_the_siblings() -> None:
    of = some_set(prompts=400)
    # Every second prompt is one whose answers differ widely.
    wide = of.prompts % 2 == 0
    rng = np.random.default_rng(1)
    of = replace(of, scores=np.clip(np.round(of.scores + wide * rng.normal(scale=2.0, size=len(wide))), 1, 10))
    found = expect_scores(of, "overall score")
    distance = of.scores - found.expected
    assert math.isclose(float(((distance / found.spread) ** 2).mean()), 1.0, rel_tol=1e-9)
    assert np.allclose(found.odd, distance / found.spread)
    assert np.median(found.spread[wide]) > 1.2 * np.median(found.spread[~wide])


def test_the_chance_is_that_of_a_normal_fresh_score() -> None:
    of = some_set()
    found = expect_scores(of, "overall score")
    for index in range(0, 240, 13):
        middle = found.expected[index] + OWN * (of.scores[index] - found.expected[index])
        fresh = NormalDist(middle, found.spread[index] * math.sqrt(1 - OWN**2))
        score = of.scores[index]
        assert math.isclose(found.far[index], fresh.cdf(score - FAR) + 1 - fresh.cdf(score + FAR), rel_tol=1e-6)
    assert FLOOR > 0
    assert np.isclose(chance_far(np.array([0.0]), np.array([1.0]), 1.959963984540054), 0.05).all()


def test_a_scale_of_other_points_gives_the_same_chances() -> None:
    of = some_set()
    tenth = replace(of, scores=(of.scores - 1) / 9, scale=Scale(low=0, high=1))
    ours, theirs = expect_scores(of, "overall score"), expect_scores(tenth, "overall score")
    assert np.allclose(ours.far, theirs.far, atol=1e-9)
    assert np.allclose(ours.spread, theirs.spread * 9)


def test_displaced_scores_come_first() -> None:
    of = some_set(prompts=200)
    moved = np.zeros(800, bool)
    moved[::40] = True
    scores = np.where(moved, np.where(of.scores > 5.5, 1, 10), of.scores)
    found = expect_scores(replace(of, scores=scores), "overall score")
    first = np.argsort(-found.far)[: moved.sum()]
    assert moved[first].mean() >= 0.9


def test_what_it_is_not_applied_to_is_counted_and_said() -> None:
    of = some_set(prompts=100)
    scores = of.scores.copy()
    scores[:6] = np.nan  # the first prompt has none, the second one of four: three left … and one prompt below is alone
    scores[8:11] = np.nan
    found = expect_scores(replace(of, scores=scores), "overall score")
    assert (found.unscored, found.alone, found.applied) == (9, 1, 400 - 9 - 1)
    assert np.isnan(found.far[11])
    assert not np.isnan(found.far[6:8]).any()
    said = " ".join(found.sentences())
    assert "10 answers" in said
    assert "9 without a score" in said
    assert "1 whose prompt has no other scored answer" in said
    assert f"n = {found.applied} answers to 98 prompts" in said


def test_too_few_equal_or_unpredictable_scores_are_refused_with_the_reason() -> None:
    few = expect_scores(some_set(prompts=LEAST // 4 - 1), "overall score")
    assert f"it needs {LEAST}" in few.why_not
    assert np.isnan(few.far).all()
    of = some_set()
    equal = expect_scores(replace(of, scores=np.full(240, 7.0)), "overall score")
    assert "all 240 scores are 7" in equal.why_not
    noise = np.random.default_rng(3).integers(1, 11, 240).astype(float)
    unknown = expect_scores(replace(of, scores=noise), "overall score")
    assert "knows nothing" in unknown.why_not
    assert unknown.applied == 0
    assert "applied to none of 240 answers" in unknown.sentences()[0]


def test_no_answer_at_all_is_no_error() -> None:
    nothing = Setting(np.empty(0), np.empty((0, 1)), *(np.empty(0, np.uint32) for _ in range(3)))
    assert expect_scores(nothing, "overall score").applied == 0


def test_scores_that_siblings_foretell_exactly_are_no_division_by_nothing() -> None:
    of = some_set(prompts=100)
    one = np.zeros_like(of.models)
    # All answers to a prompt have one score, and nothing else tells them apart.
    of = replace(of, features=np.zeros((400, 1)), models=one, scores=1.0 + of.prompts % 8)
    found = expect_scores(of, "overall score")
    assert np.isfinite(found.odd).all()
    assert np.allclose(found.far, 0.0)
