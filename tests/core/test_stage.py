from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.stage import Place, Tally, apply, count_rows, describe_lost, find_losses, share_lost


def even(numbers: Iterable[int], tally: Tally) -> Iterator[int]:
    for number in numbers:
        if number % 2:
            tally.drop(str(number), "odd", f"{number} leaves a rest")
        else:
            yield number


@given(st.lists(st.integers()))
def test_what_goes_in_comes_out_or_is_dropped_with_its_reason(numbers):
    tally = Tally("even")
    kept = list(apply(even, numbers, tally))
    assert kept == [n for n in numbers if n % 2 == 0]
    assert tally.taken == len(numbers) == tally.given + len(tally.dropped)
    odd = len(numbers) - len(kept)
    assert tally.summary()["dropped"] == ({"odd": odd} if odd else {})
    assert {item.reason for item in tally.dropped} <= {"odd"}


def test_a_stage_takes_no_more_than_it_is_asked_for():
    tally = Tally("even")
    assert next(apply(even, iter(range(2, 100)), tally)) == 2
    assert tally.taken == 1


def read_tally(taken, bad=0, joined=0):
    tally = Tally("read", "rows", taken=taken, given=taken - bad - joined)
    for line in range(1, bad + 1):
        tally.drop("", "broken-json", at=Place("f.jsonl", line))
    tally.count("row-joined", joined)
    return tally


def test_rows_are_kept_joined_quarantined_or_dropped():
    """Of 100 rows 10 are bad, 30 joined; of 60 records 5 lack a score and 20 are under the margin: 35 are left."""
    pairs = Tally("binarize", taken=60, given=70)
    for number in range(25):
        reason, asked_by = ("unscored", "") if number < 5 else ("under-margin", "margin")
        pairs.drop(str(number), reason, asked_by=asked_by)
    answers = Tally("answers", "parts", taken=500, given=1)
    answers.drop("x", "truncated")
    assert count_rows([read_tally(100, 10, 30), pairs, answers]) == {
        "in": 100,
        "expanded": 0,
        "kept": 35,
        "joined": 30,
        "quarantined": {"broken-json": 10},
        "dropped": {"under-margin": 20, "unscored": 5},
        "asked_by": {"under-margin": "margin"},
    }
    assert count_rows([pairs, answers]) is None


@pytest.mark.parametrize(
    ("bad", "lost", "asked", "share"),
    [(0, 0, 0, 0.0), (50, 0, 0, 0.5), (40, 30, 0, 0.7), (0, 0, 90, 0.0), (10, 9, 81, 0.19)],
)
def test_what_a_setting_asks_for_is_no_loss(bad, lost, asked, share):
    stage = Tally("stage", taken=100 - bad)
    for number in range(lost + asked):
        stage.drop(str(number), "r", asked_by="" if number < lost else "filters")
    assert share_lost([read_tally(100, bad), stage]) == pytest.approx(share)
    assert len(find_losses([read_tally(100, bad), stage])) == bad + lost


@pytest.mark.parametrize(
    ("bad", "joined", "lost", "said"),
    [
        (60, 0, 0, "60 of 100 rows"),
        (10, 0, 45, "55 of 100 rows"),
        (0, 80, 11, "11 of 20 records made of 100 rows"),
        # 25 of 100 are no more than half, 5 of the 10 records that the other 80 rows became are a further 40 rows.
        (20, 70, 5, "20 of 100 rows and 5 of 10 records made of the others"),
    ],
)
def test_what_is_lost_is_told_in_the_units_that_it_is_counted_in(bad, joined, lost, said):
    read, stage = read_tally(100, bad, joined), Tally("binarize", taken=100 - bad - joined)
    for number in range(lost):
        stage.drop(str(number), "all-tied")
    assert describe_lost([read, stage]) == said
    assert share_lost([read, stage]) > 0.5
    assert describe_lost([stage]) == str(lost)
