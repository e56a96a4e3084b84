import numpy as np
import pytest

from notus.audit.weigh import weigh
from notus.preferences.repair import ASK_AGAIN, KEEP, SET_TO_1

NONE = np.zeros(0)


def scored(rng: np.random.Generator, tens: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 2 to 9 whose texts speak for them within half a point, and 10s whose texts speak for ``tens``."""
    scores = np.repeat(np.arange(2.0, 10.0), 60)
    expected = scores + rng.normal(0, 0.5, len(scores))
    return np.append(scores, np.full(len(tens), 10.0)), np.append(expected, tens)


def test_a_ten_is_set_kept_or_in_doubt_by_what_its_text_speaks_for() -> None:
    texts = [*np.linspace(1.0, 2.2, 20), *np.linspace(8.8, 10.0, 20), 5.5, np.nan]
    scores, expected = scored(np.random.default_rng(0), texts)
    found = weigh(scores, expected, np.zeros(len(scores), bool), 0.95)
    first = len(scores) - len(texts)
    verdicts = [found[first + place].verdict for place in range(len(texts))]
    assert verdicts[:40] == [SET_TO_1] * 20 + [KEEP] * 20
    # Without a text that can be read nothing is set and nothing confirmed.
    assert (verdicts[-1], found[first + len(texts) - 1].expected) == (ASK_AGAIN, None)
    assert all((found[first + place].false_ten or 0) >= 0.95 for place in range(20))


def test_another_score_is_never_set_and_one_far_from_its_text_is_in_doubt() -> None:
    scores, expected = scored(np.random.default_rng(1), [])
    expected[:3] = 9.0  # recorded as 2, and praised
    found = weigh(scores, expected, np.zeros(len(scores), bool), 0.95)
    assert {0, 1, 2} <= found.keys()
    assert {each.verdict for each in found.values()} == {ASK_AGAIN}
    assert len(found) < 10
    assert all(each.p is not None and each.p < 0.001 for each in (found[0], found[1], found[2]))


def test_what_was_confirmed_stays_confirmed() -> None:
    scores, expected = scored(np.random.default_rng(2), [1.5] * 20 + [9.5] * 20)
    settled = np.zeros(len(scores), bool)
    settled[-40] = True
    found = weigh(scores, expected, settled, 0.95)
    assert [found[len(scores) - 40 + place].verdict for place in (0, 1)] == [KEEP, SET_TO_1]


@pytest.mark.parametrize("scores", [NONE, np.array([10.0, 11.0, 3.0]), np.array([np.nan])])
def test_nothing_is_weighed_where_ten_is_not_the_best(scores: np.ndarray) -> None:
    assert weigh(scores, np.full(len(scores), 2.0), np.zeros(len(scores), bool), 0.9) == {}


def test_where_the_set_cannot_tell_every_ten_is_in_doubt() -> None:
    scores = np.array([10.0, 3.0, 10.0])
    found = weigh(scores, np.array([1.0, 3.0, 9.0]), np.zeros(3, bool), 0.95)
    assert {number: (each.verdict, each.false_ten) for number, each in found.items()} == {
        0: (ASK_AGAIN, None),
        2: (ASK_AGAIN, None),
    }
