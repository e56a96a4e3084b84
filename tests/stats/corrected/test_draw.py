"""Draws for labelling: as many as asked for, each with the chance that is told."""

import numpy as np
import pytest

from notus.core.errors import ConfigError
from notus.stats.corrected.draw import chances_of, draw, uncertainty_of


def test_chances_add_up_and_are_the_mixture():
    """n · (½ u/Σu + ½/N): with u = 0, 1, 3 and n = 1 it is ⅙, ⅙ + ⅛, ⅙ + ⅜."""
    assert chances_of([0, 1, 3], 1).tolist() == pytest.approx([1 / 6, 1 / 6 + 1 / 8, 1 / 6 + 3 / 8])
    assert chances_of([1.0] * 8, 2).tolist() == [0.25] * 8


def test_what_would_have_a_chance_above_one_is_sure():
    """Two of three: 2 · (½ · 98/100 + ⅙) is above 1, so the first is sure, and the others share one draw."""
    assert chances_of([98, 1, 1], 2).tolist() == pytest.approx([1.0, 0.5, 0.5])


def test_each_is_drawn_as_often_as_its_chance_says():
    chances = chances_of(np.linspace(0, 1, 20).tolist(), 5)
    counts = np.zeros(20)
    for seed in range(4000):
        drawn = draw(chances.tolist(), seed)
        assert len(set(drawn.tolist())) == 5
        counts[drawn] += 1
    # Four standard errors of a share of 4,000.
    assert np.abs(counts / 4000 - chances).max() < 4 * np.sqrt(0.25 / 4000)
    assert draw(chances.tolist(), 3).tolist() == draw(chances.tolist(), 3).tolist()


def test_the_middle_of_the_scale_is_uncertain():
    """√(x (1 − x)) at 1, 3 and 5 on a scale of 1 to 5: 0, ½, 0."""
    assert uncertainty_of([1, 3, 5]).tolist() == [0, 0.5, 0]
    assert uncertainty_of([0, 1, 1]).tolist() == [1, 1, 1] == uncertainty_of([2, 2, 2]).tolist()


def test_more_labels_than_answers_are_refused():
    with pytest.raises(ConfigError, match="5 were asked for, and there are 3"):
        chances_of([1, 1, 1], 5)
