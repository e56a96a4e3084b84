import numpy as np

from notus.stats.ridge import cross_fit, moments, total


def test_each_fold_has_the_ridge_of_the_others_with_a_free_intercept() -> None:
    """By least squares on rows that are centred and extended by √λ·I."""
    rng = np.random.default_rng(0)
    x, folds = rng.normal(size=(90, 4)) + 3, np.arange(90) % 3
    y = x @ np.array([1.0, -2.0, 0.0, 0.5]) + 7 + rng.normal(size=90)
    weights, intercepts = cross_fit([moments(x[folds == fold], y[folds == fold]) for fold in range(3)], 2.0)
    for fold in range(3):
        a, b = x[folds != fold], y[folds != fold]
        rows = np.vstack((a - a.mean(axis=0), np.sqrt(2.0) * np.eye(4)))
        wanted = np.linalg.lstsq(rows, np.concatenate((b - b.mean(), np.zeros(4))), rcond=None)[0]
        assert np.allclose(weights[fold], wanted)
        assert np.isclose(intercepts[fold], b.mean() - a.mean(axis=0) @ wanted)


def test_parts_add_up_and_nothing_gives_nothing() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    parts = [moments(x[:8], y[:8]), moments(x[8:], y[8:])]
    whole = moments(x, y)
    assert np.allclose(total(parts).gram, whole.gram)
    assert np.allclose(whole.minus(parts[0]).cross, parts[1].cross)
    weights, intercept = moments(x[:0], y[:0]).solve(1.0)
    assert (weights.tolist(), intercept) == ([0.0] * 3, 0.0)
