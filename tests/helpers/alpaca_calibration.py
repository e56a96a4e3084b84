"""How the stand-in for the gamed baselines' lengths was set: so that published weights are optimal under it.

At the optimum the slopes vanish. With the judgements of a model its own part of them is known, and so is the part of
the gamed rows: for t and d each, 10 · (own slope ± 1/C) + Σ x·y = Σ x·σ(a·t + b·d). Of the right side only the t of
the gamed rows is unknown. Their distribution, on a grid and by halves of the difficulties, is fitted to these equations
by non-negative least squares (Lawson and Hanson 1974, chapter 23), which leaves few values of t.
"""

import numpy as np

from notus.evaluate.alpaca.files import read_weights
from notus.evaluate.length.alpaca import C_GRID, GamedBaselines, length_rows
from tests.helpers.alpaca_examples import SHARED, SHIFTED, difficulties, judgements_of, stored

SUMS = np.array([-182.692, 412.922])
GRID = np.linspace(-1, 1, 9)
APART = (*SHIFTED, "gpt4_1106_preview", "NullModel")
"""Whose published weights are not those of the published fit, or not of the right rows."""


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def published_equations():
    """Model → its published weights of t and d, and Σ x·σ over the gamed rows."""
    weights, found = read_weights(SHARED / "glm_weights.csv"), {}
    for model in stored(2):
        if model not in weights or model in APART:
            continue
        rows, w = length_rows(judgements_of(2, model), difficulties()), np.array(weights[model])
        t = np.tanh(rows.gap / rows.gap.std(ddof=1))
        features = np.column_stack([t, rows.difficulty, np.ones(len(t))])
        slope = features.T @ (rows.value - sigmoid(features @ w))
        # The constant has no part in the gamed rows, so its slope is 1/C.
        strength = min(C_GRID, key=lambda c, at=slope[2]: abs(np.log(abs(at) * c)))
        found[model] = w[:2], SUMS + 10 * (slope[:2] - np.sign(w[:2]) / strength)
    return found


def calibrate(equations):
    """The gamed baselines with the lengths that fit the equations best."""
    values = np.array(list(difficulties().values()))
    lower = values < np.median(values)
    halves = (values[lower], values[~lower])
    left, right = [], []
    for w, sums in equations.values():
        shares = [sigmoid(w[0] * GRID[:, None] + w[1] * half) for half in halves]
        left.append(np.concatenate([share.sum(1) * GRID for share in shares]))
        left.append(np.concatenate([share @ half for share, half in zip(shares, halves, strict=True)]))
        right += list(sums)
    # Each instruction has two gamed rows.
    left += [300.0 * row for row in np.kron(np.eye(2), np.ones(len(GRID)))]
    counts = non_negative(np.array(left), np.array([*right, 600.0, 600.0])).reshape(2, -1)
    rows, weights = [], []
    for half, row in zip(halves, counts, strict=True):
        for t, count in zip(GRID, row, strict=True):
            rows.append(np.column_stack([np.full_like(half, t), half, np.zeros_like(half)]))
            weights.append(np.full_like(half, 0.1 * count))
    return GamedBaselines(np.concatenate(rows), np.concatenate(weights), 0.1 * np.array([*SUMS, 0.0]), exact=False)


def non_negative(a, b):
    """min |a·x − b| with x ≥ 0."""
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], dtype=bool)
    slope = a.T @ b
    limit = 1e-7 * np.abs(slope).max()
    for _ in range(200):
        if free.all() or slope[~free].max() <= limit:
            break
        free[np.argmax(np.where(free, -np.inf, slope))] = True
        while True:
            new = np.zeros_like(x)
            new[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            if new[free].min() > 0:
                break
            gone = free & (new <= 0)
            x += (x[gone] / (x[gone] - new[gone])).min() * (new - x)
            free &= x > 1e-12
            x[~free] = 0
        x, slope = new, a.T @ (b - a @ new)
    return x
