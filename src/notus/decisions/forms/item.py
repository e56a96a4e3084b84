"""What a form shows of one record, and the key that goes out with it and tells, when it comes back, what it was of.

A form is filled in elsewhere: in a spreadsheet that takes ``1234e567`` for a number, by somebody who sorts, deletes and
types over cells. So what a record is known by goes out in a shape that nobody takes for a number or a formula
(``pair:1234e567…``), and beside it a key:

    p=249fdabc3a0e0672 a=… t=0d1f2a3b.77aa01ce q=suspicion s=1:10 e=answer c=5f02

the prompt, the answer, a digest of each text as it was shown, how the record came into the queue, the scale of the
score, which texts may be edited, and a check over all of it and the id. An id that was changed is known by that, a text
that was changed where it is only shown by its digest. Without its key a row is read all the same, and is not checked.

Owns the item and the key. Of which records items are made is owned by ``records`` and by who orders the queue.
"""

import re
from collections.abc import Mapping
from typing import get_args

import msgspec

from notus.core.records import Name, Record, Scale, digest
from notus.decisions.ruling import Of

__all__ = [
    "ALL_TEXTS",
    "TEXTS",
    "Item",
    "Key",
    "changed_texts",
    "encode_key",
    "is_shown",
    "read_key",
    "read_target",
    "target_text",
]

TEXTS: dict[Of, tuple[str, ...]] = {
    "feedback": ("prompt",),
    "completion": ("prompt", "answer"),
    "pair": ("prompt", "chosen", "rejected"),
    "row": ("prompt", "answer"),
    "dialogue": ("prompt", "answer"),
}
"""The texts that are shown of each kind, in their order."""
ALL_TEXTS = tuple(dict.fromkeys(name for names in TEXTS.values() for name in names))
_TARGET = re.compile(rf"({'|'.join(get_args(Of))}):(\S+)")
_PART = re.compile(r"([a-z])=(\S*)")
_SHORT = 8


class Item(Record, frozen=True, omit_defaults=True):
    """What a form shows of one record."""

    id: Name
    """Of the target: see ``Ruling.target``."""
    of: Of
    prompt: str = ""
    """Id of the prompt."""
    answer: str = ""
    """``answer_digest``, where it is an answer."""
    texts: dict[str, str] = msgspec.field(default_factory=dict)
    """Each of ``TEXTS``, as it is read; several turns with their roles."""
    editable: tuple[str, ...] = ()
    """Those that are one plain turn, so that another text can take their place."""
    scores: dict[str, float | None] = msgspec.field(default_factory=dict)
    """``overall_score``, ``mean_rating``, aspects; of a pair with ``chosen`` or ``rejected`` before them."""
    scale: Scale | None = None
    """Of the overall score, where it is known."""
    critiques: dict[str, str] = msgspec.field(default_factory=dict)
    """Text → what a judge wrote of it."""
    models: dict[str, str] = msgspec.field(default_factory=dict)
    """Text → the model that it is of."""
    reasons: tuple[str, ...] = ()
    """Flags that an audit raised."""
    evidence: str = ""
    place: int | None = None
    """Place by suspicion."""
    q: float | None = None
    source: str = ""
    queue: str = ""
    """See ``Ruling.queue``."""
    file: str = ""
    line: int = 0
    feedback_id: str = ""


class Key(msgspec.Struct, frozen=True):
    """What goes out with an item beside its id."""

    prompt: str = ""
    answer: str = ""
    texts: tuple[str, ...] = ()
    """A short digest of each text that was shown, in the order of ``TEXTS``."""
    queue: str = ""
    scale: Scale | None = None
    editable: tuple[str, ...] = ()


def target_text(item: Item) -> str:
    """The id with its kind before it: ``pair:1234e567…``, which no spreadsheet takes for a number."""
    return f"{item.of}:{item.id}"


def read_target(text: str) -> tuple[Of, str] | None:
    """Kind and id of what ``target_text`` made; None where it is no such text."""
    found = _TARGET.fullmatch(text.strip())
    return None if found is None else (found[1], found[2])  # type: ignore[return-value]


def encode_key(item: Item, shown: Mapping[str, str] | None = None) -> str:
    """The key of an item.

    Args:
        item: it goes out with.
        shown: its texts as the form shows them, where it cannot show them whole.
    """
    texts = item.texts if shown is None else shown
    scale = item.scale
    parts = {
        "p": item.prompt,
        "a": item.answer,
        "t": ".".join(_short(texts.get(name, "")) for name in TEXTS[item.of]),
        "q": item.queue,
        "s": "" if scale is None else f"{scale.low:g}:{scale.high:g}",
        "e": ",".join(item.editable),
    }
    said = " ".join(f"{name}={value}" for name, value in parts.items() if value)
    return f"{said} c={_check(target_text(item), said)}"


def read_key(text: str, target: str) -> Key | None:
    """What ``encode_key`` made; None where it is not that of the target: one of the two was changed.

    Args:
        text: the key.
        target: as ``target_text`` writes it.
    """
    said, _, check = text.strip().rpartition(" c=")
    if check != _check(target.strip(), said):
        return None
    parts = dict(_PART.findall(said))
    low, _, high = parts.get("s", "").partition(":")
    return Key(
        prompt=parts.get("p", ""),
        answer=parts.get("a", ""),
        texts=tuple(parts.get("t", "").split(".")),
        queue=parts.get("q", ""),
        scale=Scale(low=float(low), high=float(high)) if high else None,
        editable=tuple(filter(None, parts.get("e", "").split(","))),
    )


def changed_texts(key: Key | None, of: Of, texts: Mapping[str, str | None]) -> list[str]:
    """Names of the texts that came back otherwise than they went out; without a key, or the text, nothing is said.

    Line ends do not count: a spreadsheet writes them in its own way.
    """
    went = dict(zip(TEXTS[of], key.texts, strict=False)) if key else {}
    return [name for name, text in texts.items() if name in went and _short(text or "") != went[name]]


def is_shown(key: Key, of: Of, name: str, text: str) -> bool:
    """Whether a text is the one that was shown under a name."""
    return (name, _short(text)) in zip(TEXTS[of], key.texts, strict=False)


def _short(text: str) -> str:
    return digest(text.replace("\r\n", "\n").replace("\r", "\n"))[:_SHORT]


def _check(target: str, said: str) -> str:
    return digest(target, said)[:_SHORT]
