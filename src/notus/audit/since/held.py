"""What an audit leaves for the next one: which bytes it read, how, and the models of wording that it learned.

Owns the record and its way from and to the models. What is done with it is the business of ``steps.data.since``.
"""

from typing import Any

import msgspec
import numpy as np

from notus.audit.wording import TextModel, TextModels
from notus.core.records import Record
from notus.core.splits import FOLDS

__all__ = ["FileMark", "Held", "HeldModel", "held_models", "restored_models"]

_FLOAT, _INT = np.dtype("<f8"), np.dtype("<i4")


class FileMark(Record, frozen=True):
    """A file as it was when it was audited."""

    name: str
    """As records call it."""
    bytes: int
    sha256: str
    lines: int = 0
    """Lines that it had, of a plain file of JSON lines; 0 for all others, which cannot be read from a byte on."""


class HeldModel(Record, frozen=True):
    """A model of wording as it is stored; numbers stand as little-endian bytes."""

    aspect: str
    """Empty for that of the critiques."""
    buckets: bytes
    """32-bit integers."""
    weights: bytes
    """64-bit floats, of shape (folds, features)."""
    intercepts: bytes
    penalty: float
    texts: int


class Held(Record, frozen=True):
    """What an audit of feedback leaves for the next."""

    format: str
    """Name of the format."""
    reading: dict[str, Any]
    """How the source was read: mapping, split and so on."""
    files: tuple[FileMark, ...]
    models: tuple[HeldModel, ...]


def held_models(models: TextModels) -> tuple[HeldModel, ...]:
    """Models as they are stored."""
    found = {"": models.critique, **models.aspects}
    return tuple(
        HeldModel(
            aspect=aspect,
            buckets=each.buckets.astype(_INT).tobytes(),
            weights=each.weights.astype(_FLOAT).tobytes(),
            intercepts=each.intercepts.astype(_FLOAT).tobytes(),
            penalty=each.penalty,
            texts=each.texts,
        )
        for aspect, each in found.items()
        if each is not None
    )


def restored_models(held: tuple[HeldModel, ...]) -> TextModels:
    """The models that were stored.

    Raises:
        msgspec.ValidationError: if a model does not have as many numbers as its features and the folds take.
    """
    found: dict[str, TextModel] = {}
    for each in held:
        buckets = np.frombuffer(each.buckets, _INT).astype(np.int32)
        weights = np.frombuffer(each.weights, _FLOAT).astype(np.float64)
        intercepts = np.frombuffer(each.intercepts, _FLOAT).astype(np.float64)
        if len(weights) != FOLDS * len(buckets) or len(intercepts) != FOLDS:
            raise msgspec.ValidationError(f"the model of '{each.aspect}' has {len(weights)} weights")
        shaped = weights.reshape(FOLDS, len(buckets))
        found[each.aspect] = TextModel(buckets, shaped, intercepts, each.penalty, each.texts)
    return TextModels(found.pop("", None), found)
