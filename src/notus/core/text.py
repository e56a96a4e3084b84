"""Short pieces that many modules write or read: counts with a noun, lists, cut lines, ids on the hub, chat turns.

Owns no sentence, and no download: who needs a thing of the hub fetches it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import msgspec

from notus.core.records import Message

__all__ = [
    "DATA_SUFFIXES",
    "THOUGHTS",
    "HubId",
    "chat_turn",
    "counted",
    "format_list",
    "guard_formula",
    "one_line",
    "read_guarded",
    "spoken",
    "visible",
]


def counted(count: int, noun: str, several: str | None = None) -> str:
    """A count with its noun; ``several`` is the plural where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def format_list(items: Sequence[str], most: int, between: str = ", ") -> str:
    """The first ``most`` items, and how many more there are: ``a, b, and 3 more``."""
    more = f"{between}and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def one_line(text: str, width: int) -> str:
    """The text with its white space as single spaces, in at most ``width`` characters; an ellipsis where it is cut."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", re.ASCII
)
"""Controls of a terminal (C0 but the tab and the line's end, DEL, C1), marks that turn the direction of writing, ends
of lines that no reader sees, and halves of a character."""


def visible(text: str, mark: str = "") -> str:
    """The text with each character that would steer a terminal, or turn what a reader sees, as its number.

    Args:
        text: of data. Its tabs and line ends are layout and stay.
        mark: how the number is written, such as ``[U+{:04X}]``; by default as in Python, ``\\x1b`` and ``\\u202e``.
    """

    def shown(found: re.Match[str]) -> str:
        number = ord(found[0])
        return (mark or ("\\x{:02x}" if number < 0x100 else "\\u{:04x}")).format(number)

    return text if text.isascii() and text.isprintable() else _STEERING.sub(shown, text)


def guard_formula(text: str) -> str:
    """A text for a cell of CSV: behind an apostrophe where a spreadsheet would take it for a formula, but no number.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def read_guarded(text: str) -> str:
    """The text of a cell that ``guard_formula`` made."""
    return text[1:] if text[:1] == "'" and guard_formula(text[1:]) == text else text


_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?%?")
_TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
DATA_SUFFIXES = (
    *(suffix + packed for packed in ("", ".gz", ".zst") for suffix in _TEXT_SUFFIXES),
    *(".parquet", ".arrow", ".feather", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
)
"""Suffixes of the files that are read as data."""
_OTHER_SUFFIXES = (".txt", ".gz", ".zst", ".zip", ".yaml", ".yml", ".safetensors")
_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True)
class HubId:
    """``owner/name`` on the hub, with a revision: a branch, a tag or a commit."""

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``owner/name[@revision]``; None if the text is no such id or has the suffix of a file."""
        match = _ID.fullmatch(text)
        if match is None or match["name"].lower().endswith((*DATA_SUFFIXES, *_OTHER_SUFFIXES)):
            return None
        return cls(match["name"], match["revision"])

    def path_fault(self) -> str:
        """What is wrong with it as a path, where one was meant: its owner is a folder here that has no such name in it.

        Empty where it can only be of the hub. With a revision it always is.
        """
        owner, _, name = self.name.partition("/")
        if self.revision or not Path(owner).is_dir():
            return ""
        beside = sorted(each.name for each in Path(owner).iterdir())
        near = next(iter(get_close_matches(name, beside, n=1)), None)
        there = f"did you mean '{owner}/{near}'" if near else f"it holds {format_list(beside, 8) or 'nothing'}"
        return f"the folder '{owner}' is here and has no '{name}' ({there}); one on the hub is written {self.name}@main"

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


THOUGHTS = "reasoning_content"
"""The field in which chat APIs and templates take the thoughts of a turn, where nothing else is asked for."""


def chat_turn(message: Message, thoughts: str | None = THOUGHTS) -> dict[str, Any]:
    """A turn as chat APIs and chat templates take it; a plain one is its role and its content.

    Args:
        message: the turn.
        thoughts: the field of its thoughts, or a block before the answer with ``{}`` in their place; None leaves them
            out.
    """
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if not (message.reasoning or message.tool_calls or message.tool_call_id or message.name):
        return turn
    if message.tool_calls:
        turn["tool_calls"] = [_call(call.name, call.arguments, call.id) for call in message.tool_calls]
        if not message.content:
            del turn["content"]
    if message.reasoning and thoughts is not None:
        before, block, after = thoughts.partition("{}")
        if block:
            turn["content"] = f"{before}{message.reasoning}{after}{message.content}"
        else:
            turn[thoughts] = message.reasoning
    further = {"tool_call_id": message.tool_call_id, "name": message.name}
    return turn | {name: value for name, value in further.items() if value}


def spoken(message: Message) -> str:
    """What a turn says to the other side: its content, and the calls that it makes; its thoughts are its own."""
    calls = (f"{call.name}({call.arguments})" for call in message.tool_calls)
    return "\n".join(part for part in (message.content, *calls) if part)


def _call(name: str, arguments: str, id: str) -> dict[str, Any]:  # noqa: A002
    call = {"type": "function", "function": {"name": name, "arguments": msgspec.json.decode(arguments)}}
    return call | {"id": id} if id else call
