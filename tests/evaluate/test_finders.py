"""Finding wrong labels: the area, precision and recall written out, and which interval decides."""

import random

import pytest

from notus.evaluate.finders import AuditedPair, measure_label_finder
from notus.stats.intervals import mean_over_seeds


def trial(place: int, worse: bool, *, flagged: bool = False, prompt: str = "") -> AuditedPair:
    name = prompt or str(place)
    return AuditedPair(id=name, prompt_id=name, suspicion=place, flagged=flagged, worse=worse)


def drawn(seed: int, size: int, skill: float) -> list[AuditedPair]:
    rng = random.Random(seed)
    worse = [rng.random() < 0.3 for _ in range(size)]
    order = sorted(range(size), key=lambda n: -rng.gauss(skill * worse[n], 1))
    places = {n: place for place, n in enumerate(order, 1)}
    return [trial(places[n], worse[n], flagged=places[n] <= 10, prompt=f"{seed}-{n}") for n in range(size)]


def plain_area(rows: list[AuditedPair]) -> float:
    pairs = [(a.suspicion, b.suspicion) for a in rows if a.worse for b in rows if not b.worse]
    return sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def test_one_set() -> None:
    rows = drawn(0, 60, 1.5)
    found = measure_label_finder({"a": rows})
    assert (found.sets, found.pairs, found.flagged) == (1, 60, 10)
    assert found.worse == sum(row.worse for row in rows)
    assert found.hits == sum(row.worse and row.flagged for row in rows)
    assert found.area is not None
    assert found.area.mean == pytest.approx(plain_area(rows))
    assert found.first is not None
    hits = sum(row.worse for row in rows if row.suspicion <= found.worse)
    assert (found.first.mean, found.first.n) == (pytest.approx(hits / found.worse), found.worse)
    assert found.precision is not None
    assert found.precision.mean == pytest.approx(found.hits / 10)
    assert found.recall is not None
    assert found.recall.mean == pytest.approx(found.hits / found.worse)


def test_seeds_that_differ_decide() -> None:
    sets = {"a": drawn(1, 200, 3.0), "b": drawn(2, 200, -3.0)}
    areas = [plain_area(rows) for rows in sets.values()]
    expected = mean_over_seeds(areas, list(sets))
    assert expected is not None
    assert expected.width > 1
    found = measure_label_finder(sets).area
    assert found is not None
    assert found.mean == pytest.approx(expected.mean)
    assert (found.low, found.high) == (0.0, 1.0)


def test_places_of_sets_of_different_size_are_shares() -> None:
    # Place 10 of 20 is as suspicious as place 100 of 200.
    small = [trial(place, place <= 10, prompt=f"s{place}") for place in range(1, 21)]
    large = [trial(place, place <= 100, prompt=f"l{place}") for place in range(1, 201)]
    found = measure_label_finder({"small": small, "large": large}).area
    assert found is not None
    assert found.mean == 1.0


def test_with_one_kind_there_is_no_area() -> None:
    found = measure_label_finder({"a": [trial(1, worse=False), trial(2, worse=False)]})
    assert (found.worse, found.area, found.precision, found.recall) == (0, None, None, None)


def test_all_hit_is_not_sure() -> None:
    rows = [trial(1, worse=True, flagged=True), trial(2, worse=True, flagged=True), trial(3, worse=False)]
    found = measure_label_finder({"a": rows})
    assert found.precision is not None
    assert found.precision.mean == 1.0
    assert 0.3 < found.precision.low < 0.4  # Wilson, 2 of 2
