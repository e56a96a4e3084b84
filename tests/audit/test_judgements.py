import numpy as np
import pytest

from notus.audit.feedback import audit
from notus.audit.ratings.judgements import AspectRatings, compare_aspects
from notus.core.records import Completion, Feedback, Rating, Scale
from tests.helpers.data_examples import feedback

NAMES = ("helpfulness", "correctness", "coherence", "verbosity")


def rated(values: np.ndarray) -> Completion:
    return Completion(
        text=f"{values}",
        ratings=tuple(
            Rating(aspect=name, value=None if np.isnan(value) else float(value), scale=Scale(low=0, high=4))
            for name, value in zip(NAMES, values, strict=True)
        ),
    )


def aspects_world(count: int = 600) -> np.ndarray:
    """Three aspects that go together, and one that goes its own way."""
    rng = np.random.default_rng(5)
    quality = rng.normal(2, 1, count)
    columns = [quality + rng.normal(0, 0.35, count) for _ in range(3)] + [rng.normal(2, 1, count)]
    return np.clip(np.round(np.stack(columns, axis=1)), 0, 4)


def rows_of(values: np.ndarray) -> list[Feedback]:
    return [
        feedback(rated(a), rated(b), prompt=str(n))
        for n, (a, b) in enumerate(zip(values[::2], values[1::2], strict=True))
    ]


def test_an_aspect_against_the_others_is_flagged_and_named() -> None:
    values = aspects_world(3000)
    odd = np.flatnonzero((values[:, :3] == 0).all(axis=1))[:40]
    values[odd, 0] = 4
    found = audit(rows_of(values))
    lead = [row.id for row in found.ranked(len(odd))]
    assert {*lead} == {found.rows[number].id for number in odd.tolist()}
    row = found.rows[int(odd[0])]
    assert row.reasons == ("rating-against-ratings",)
    assert "helpfulness 4 is +" in row.evidence
    assert any("verbosity" in sentence for sentence in found.unread)


def test_what_no_aspect_tells_of_is_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    alone = rng.integers(0, 5, (300, 4)).astype(float)
    columns = AspectRatings()
    for row in rows_of(alone):
        columns.add(row)
    assert compare_aspects(*columns.matrix()) is None
    assert compare_aspects((), np.empty((5, 0), np.float32)) is None


def test_parts_hold_what_the_whole_holds() -> None:
    rows = rows_of(aspects_world(200))
    whole, parts = AspectRatings(), [AspectRatings(), AspectRatings()]
    for number, row in enumerate(rows):
        whole.add(row)
        parts[number >= 30].add(row)
    parts[0].merge(parts[1])
    names, matrix = whole.matrix()
    again, other = parts[0].matrix()
    assert (names, matrix.tolist()) == (again, other.tolist())
    assert names == tuple(sorted(NAMES))
    assert matrix.shape == (200, 4)


def repeated(scores: np.ndarray, low: float = 1, high: float = 10) -> list[Feedback]:
    rows = []
    for number in range(0, len(scores), 4):
        items = [
            Completion(
                text=f"{number}-{place}",
                ratings=tuple(
                    Rating(aspect="rubric", value=float(value), rater=name, scale=Scale(low=low, high=high))
                    for name, value in zip("abc", scores[number + place], strict=True)
                ),
            )
            for place in range(4)
        ]
        rows.append(feedback(*items, prompt=str(number)))
    return rows


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_a_ten_among_repeated_scores_of_a_bad_answer_is_flagged_whatever_a_raters_habit(shift: float) -> None:
    rng = np.random.default_rng(7)
    scores = np.clip(np.round(5.5 + rng.normal(0, 2.2, 600)[:, None] + rng.normal(0, 0.8, (600, 3))), 1, 10)
    scores[:, 1] = np.clip(scores[:, 1] + shift, 1, 10)
    false = np.flatnonzero(scores.max(axis=1) <= 3)[:6]
    scores[false, 0] = 10
    found = audit(repeated(scores))
    hit = {number for number, row in enumerate(found.rows) if row.q is not None and row.q <= 0.1}
    assert hit == set(false.tolist())
    assert all("ten-for-one" in found.rows[number].reasons for number in hit)
    assert "a rating of 10 is +" in found.rows[int(false[0])].evidence
