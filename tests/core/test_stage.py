from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from notus.core.stage import Tally, apply


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
