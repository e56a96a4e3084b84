"""Values with the labels of their clusters: checked, and numbered. Owns nothing that is estimated from them."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import DataError

__all__ = ["checked", "numbered"]


def checked(values: Sequence[float], labels: Sequence[Hashable], what: str) -> NDArray[np.float64]:
    """The values as an array, each finite and with its label.

    Raises:
        DataError: if the two sequences differ in length or a value is not finite; ``what`` names the labels in it.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) != len(labels):
        raise DataError(f"{len(data)} values came with {len(labels)} {what} labels; each value needs its {what}")
    if not np.isfinite(data).all():
        raise DataError("a value is not a finite number; leave unscored items out and count them")
    return data


def numbered(labels: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The number of each label, in order of appearance, and how many different ones there are."""
    if isinstance(labels, np.ndarray):  # the same numbers without an object for each label
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        places = np.empty(len(first), dtype=np.intp)
        places[np.argsort(first)] = np.arange(len(first))
        return places[inverse], len(first)
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.asarray(index, dtype=np.intp), len(numbers)
