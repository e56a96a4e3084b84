"""The benchmark of the review's tables runs, and writes a ratio to each bar."""

import pytest

from benchmarks import review


@pytest.mark.slow
def test_the_tables_are_measured_against_their_bars():
    found = review.measure(small=True)
    assert found["rows"] > 1_000
    ratios = {key for key in found if key.endswith("_ratio")}
    assert len(ratios) == 5
    assert all(found[key] > 0 for key in ratios)
    assert found["peak_to_bar_of_1_gib_ratio"] < 1
    assert found["list_of_ten_s"]["n"] > 0
    assert found["decide_of_ten_s"]["n"] > 0
