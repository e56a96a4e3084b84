"""Labels become numbers in order of appearance, whatever holds them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core import clusters as module
from notus.core.clusters import checked, numbered
from notus.core.errors import DataError


def test_public_names() -> None:
    assert module.__all__ == ["checked", "numbered"]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_lists_and_arrays_are_numbered_alike(labels: list[int]) -> None:
    order = list(dict.fromkeys(labels))
    index, count = numbered(labels)
    assert index.tolist() == [order.index(label) for label in labels]
    assert count == len(order)
    again, number = numbered(np.array(labels))  # type: ignore[arg-type]
    assert (again.tolist(), number) == (index.tolist(), count)


def test_checked_names_what_is_wrong() -> None:
    assert checked([1, 2], "ab", "prompt").tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="2 values came with 1 prompt labels; each value needs its prompt"):
        checked([1, 2], ["a"], "prompt")
    with pytest.raises(DataError, match="not a finite number"):
        checked([1, math.inf], "ab", "prompt")
