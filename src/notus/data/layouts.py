"""The layouts that can be read: how each is recognised, and what its rows become. The list is ``LAYOUTS``.

    Feedback    ultrafeedback, feedback, helpsteer, snorkel, notus-feedback
    Preference  h4, argilla, argilla-cleaned, trl, trl-implicit, sharegpt-pairs, hh, pairs, snorkel-pairs,
                notus-preferences
    Unpaired    trl-unpaired, notus-unpaired
    Dialogue    ultrachat, sharegpt, notus-dialogues

A row may fit several; the first in the list wins, and the list goes from the most particular names to the most general:

- our own records first: they carry exactly our fields, and nobody else's rows do;
- ``snorkel`` before ``h4``: its rows are H4's and hold all answers beside the pair, which says more (the pair alone is
  read by forcing ``snorkel-pairs``);
- ``argilla-cleaned`` before ``h4`` and ``trl``, for the names of its scores; ``h4`` before ``trl-implicit`` and
  ``pairs``, for its ``prompt_id``;
- ``hh`` before ``trl`` and ``trl-implicit``: a text that begins with "Human:" is a transcript, not a plain text;
- a row with both answers is a pair, also where it holds ``messages`` or ``conversations``;
- ``trl`` before ``pairs``: ``pairs`` is what is left.

Owns the list, and the decoders of our own records. The others are in ``ultrafeedback``, ``layouts_feedback``,
``layouts_pairs`` and ``layouts_chats``; where rows come from and what becomes of bad ones is owned by ``data.sources``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from notus.core import tables
from notus.core.errors import ConfigError, nearest
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.stage import Stage
from notus.data import layouts_chats as chats
from notus.data import layouts_feedback as judged
from notus.data import layouts_pairs as pairs
from notus.data import ultrafeedback
from notus.data.quarantine import explained

__all__ = ["LAYOUTS", "Data", "Layout", "detect", "layout_named"]

Row = dict[str, Any]
Data = Feedback | Preference | Unpaired | Dialogue
"""What a row of a source can become."""
T = TypeVar("T", Feedback, Preference, Unpaired, Dialogue)


@dataclass(frozen=True)
class Layout:
    """One known layout of rows."""

    name: str
    record: type[Data]
    """What its rows become."""
    matches: Callable[[Row], bool]
    decode: Callable[[Row], Data]
    """Reads a row that has been parsed; raises ``RowError``."""
    decode_json: Callable[[bytes], Data] | None = None
    """A faster reader of the usual row. Whatever it raises, ``decode`` has the last word."""
    joined: Stage[Any, Any] | None = None
    """Puts records together that stand on several adjacent rows; None where each row is a record."""


def detect(row: Row) -> str | None:
    """Name of the layout that the row has, or None."""
    return next((name for name, layout in LAYOUTS.items() if layout.matches(row)), None)


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        ConfigError: if there is none, with the nearest.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"there is no layout '{name}'; {nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def _own(name: str, kind: type[T]) -> Layout:
    """The layout of our own records of one kind."""
    fields = frozenset(kind.__struct_fields__)
    # Rows of feedback may come without the fields that have a default; the names are enough to know them by.
    first = frozenset({"prompt", "completions"} if kind is Feedback else fields)

    def matches(row: Row) -> bool:
        return first <= row.keys() <= fields

    def decode(row: Row) -> T:
        try:
            return tables.from_row(row, kind)
        except msgspec.ValidationError as error:
            raise explained(error, "", row) from None

    return Layout(name, kind, matches, decode)


def _never(row: Row) -> bool:
    del row
    return False


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        _own("notus-feedback", Feedback),
        _own("notus-preferences", Preference),
        _own("notus-unpaired", Unpaired),
        _own("notus-dialogues", Dialogue),
        Layout("feedback", Feedback, judged.is_feedback, judged.feedback),
        Layout("ultrafeedback", Feedback, judged.is_ultrafeedback, ultrafeedback.decode, ultrafeedback.decode_json),
        Layout("helpsteer", Feedback, judged.is_helpsteer, judged.helpsteer, joined=judged.joined),
        Layout("snorkel", Feedback, judged.is_snorkel, judged.snorkel),
        Layout("snorkel-pairs", Preference, _never, pairs.snorkel_pairs),
        Layout("argilla", Preference, pairs.is_argilla, pairs.argilla),
        Layout("argilla-cleaned", Preference, pairs.is_argilla_cleaned, pairs.argilla_cleaned),
        Layout("h4", Preference, pairs.is_h4, pairs.h4),
        Layout("hh", Preference, chats.is_hh, chats.hh),
        Layout("sharegpt-pairs", Preference, chats.is_sharegpt_pairs, chats.sharegpt_pairs),
        Layout("trl", Preference, pairs.is_trl, pairs.trl),
        Layout("trl-implicit", Preference, pairs.is_trl_implicit, pairs.trl),
        Layout("pairs", Preference, pairs.is_pairs, pairs.pairs),
        Layout("trl-unpaired", Unpaired, pairs.is_unpaired, pairs.unpaired),
        Layout("ultrachat", Dialogue, chats.is_ultrachat, chats.ultrachat),
        Layout("sharegpt", Dialogue, chats.is_sharegpt, chats.sharegpt),
    )
}
"""Name → layout, in the order in which they are tried."""
