"""Which side of a division a prompt or a row is on: held out, a fold, a part, and the published test splits.

Owns every rule by which data are divided. Does not own what is done with the parts, the drawing of examples, nor the
search for near duplicates (``clean.leaks``).

| rule | decides by | sides |
|---|---|---|
| ``is_held_out``, ``split`` | hash of prompt and seed | a test part of about a share of the prompts |
| ``Division`` | hash of a group and seed, or the time | the same, of users, conversations, sources, … |
| ``fold_of``, ``Fold`` | hash of the prompt | so many folds of about equal size, the same under every seed |
| ``part_of`` | hash of prompt and seed | so many disjoint parts, to be answered or trained on one by one |
| ``published_split`` | a permutation of the rows | exactly so many rows, as the publishers drew them |

By a hash, all rows of a prompt are on one side, in whatever file they stand and whatever other rows there are; so the
sizes vary a little, and more where groups are large. The hashes differ from rule to rule: who is held out says nothing
of the fold.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, Self, TypeVar

import msgspec
import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Feedback, Preference, Unpaired, digest
from notus.core.text import counted

__all__ = [
    "FOLDS",
    "LONG",
    "NEAR",
    "PROMPT",
    "PUBLISHED_SEED",
    "Division",
    "Fold",
    "HeldOutBy",
    "Row",
    "Time",
    "answers_of",
    "carried_groups",
    "column_value",
    "fold_of",
    "group_columns",
    "is_held_out",
    "join_groups",
    "latest_prompts",
    "part_of",
    "published_split",
    "split",
    "time_of",
]

FOLDS = 5
"""Folds where no number is given."""
PUBLISHED_SEED = 42
"""Of the published test splits."""
NEAR = "near-duplicates"
PROMPT = "prompt"
"""How data are divided where nothing else is said."""
_SHORT = 200
"""Characters of a value that is carried on."""
LONG = 40
"""Characters from which on two equal answers are no chance: "Yes." may well stand on both sides."""
_BY = (PROMPT, "source", NEAR, "answer")
_COLUMN, _TIME = "column:", "time:"
_GROUPS = re.compile(
    r"(?:user|author|account|customer|speaker|session|thread|conversation|conv|dialog|dialogue|chat|document|doc|article|"
    r"story|post|passage|problem|repo|repository)(?:[_ -]?(?:id|name|hash|key|uuid))?|(?:user|author)[_ -]?name|url",
    re.IGNORECASE,
)
"""Names of columns whose values look like groups of rows that belong together."""

Row = Feedback | Preference | Unpaired
"""What can be divided."""
Time = float | datetime


def _check_by(by: str) -> str:
    parts = by.split("+")
    for part in parts:
        prefix, between, path = part.partition(":")
        named = f"{prefix}{between}" in (_COLUMN, _TIME) and path
        if part not in _BY and not named:
            known = [*_BY, f"{_COLUMN}user", f"{_TIME}created_at"]
            raise ValueError(f"there is no division by '{part}'; {nearest(part, known)}")
    if len(parts) > 1 and any(part.startswith(_TIME) for part in parts):
        raise ValueError(f"a division by time stands alone, and this is {by}: leave out the others, or the time")
    return "+".join(dict.fromkeys(parts))


HeldOutBy = Annotated[str, pydantic.AfterValidator(_check_by)]
"""What is wholly on one side: ``prompt``, ``source``, ``answer``, ``near-duplicates``, ``column:PATH``, several of them
with ``+`` between, or ``time:PATH``."""


class _OfPrompt(Protocol):
    @property
    def prompt_id(self) -> str: ...


R = TypeVar("R", bound=_OfPrompt)
T = TypeVar("T")


def is_held_out(prompt_id: str, share: float, seed: int) -> bool:
    """Whether a prompt is held out: a hash of prompt and seed, read as a number from 0 to 1, is under the share."""
    return int(digest("held-out", str(seed), prompt_id), 16) < share * 2**64


def split(records: Iterable[R], held_out: float, seed: int) -> tuple[list[R], list[R]]:
    """Divide records into train and test by prompt, so that the same prompt is never in both.

    Args:
        records: with the id of their prompt.
        held_out: the expected share of the prompts in the test part; the share that comes out varies like a binomial.
        seed: of the hash.

    Raises:
        ConfigError: if the share is not between 0 and 1.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"the held-out share is {held_out}; it must be at least 0 and below 1, for example 0.1")
    train: list[R] = []
    test: list[R] = []
    for record in records:
        (test if is_held_out(record.prompt_id, held_out, seed) else train).append(record)
    return train, test


@dataclass(frozen=True)
class Division:
    """Which rows are held out: those of about a share of the groups, or the latest.

    A group is named by 16 hexadecimal digits. A row without any of the columns that are asked for goes by its prompt.
    """

    share: float
    seed: int
    by: str = PROMPT
    """Of ``HeldOutBy``."""
    joined: Mapping[str, str] = field(default_factory=dict)
    """Group → name of all that hangs together with it, where that is more than itself: see ``join_groups``."""
    late: Mapping[str, bool] | None = None
    """Prompt → whether it is held out, where the time decides."""

    def groups_of(self, row: Row) -> tuple[str, ...]:
        """All groups that the row is in; the first decides, for those of one row hang together."""
        found: list[str] = []
        for part in self.by.split("+"):
            if part == "source":
                found += [digest("source", row.source)] if row.source else []
            elif part.startswith(_COLUMN):
                path = part.removeprefix(_COLUMN)
                value = column_value(row.extra, path)
                found += [digest("column", path, value)] if value is not None else []
            else:  # near duplicates are prompts that ``joined`` puts together
                found.insert(0, row.prompt_id)
                found += [digest("answer", text) for text in answers_of(row) if part == "answer" and len(text) >= LONG]
        return tuple(dict.fromkeys(found)) or (row.prompt_id,)

    def group_of(self, row: Row) -> str:
        """Name of all that hangs together with the row."""
        if self.by == PROMPT:
            return row.prompt_id
        first = self.groups_of(row)[0]
        return self.joined.get(first, first)

    def has_group(self, row: Row) -> bool:
        """Whether the row has what the division asks for, and does not go by its prompt for want of it."""
        if self.by == PROMPT:
            return True
        for part in self.by.split("+"):
            kind, _, path = part.partition(":")
            if (kind == "source" and not row.source) or (path and column_value(row.extra, path) is None):
                return False
        return True

    def holds(self, row: Row) -> bool:
        """Whether the row is held out."""
        if self.late is not None and row.prompt_id in self.late:
            return self.late[row.prompt_id]
        return is_held_out(self.group_of(row), self.share, self.seed)


def answers_of(row: Row) -> tuple[str, ...]:
    """The texts of a row's answers, without white space around them."""
    if isinstance(row, Feedback):
        return tuple(item.text.strip() for item in row.completions)
    sides = (row.chosen, row.rejected) if isinstance(row, Preference) else (row.answer,)
    return tuple("\n".join(turn.content for turn in side).strip() for side in sides)


def column_value(extra: Mapping[str, Any], path: str) -> str | None:
    """The value at a dotted path of a row's further columns as text; None where it is missing, null or empty."""
    value: Any = extra
    if path in extra:
        value = extra[path]
    else:
        for name in path.split("."):
            value = _item(value, name)
    if value is None or value == "" or value == [] or value == {}:
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()


def _item(value: Any, name: str) -> Any:
    if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return value.get(name) if isinstance(value, Mapping) else None


def group_columns(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Paths and values of the columns that look like groups of rows: user, conversation_id, metadata.author, …"""
    for name, value in extra.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", text) for key, text in group_columns(value))
        elif _GROUPS.fullmatch(name) and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield name, str(value)


def carried_groups(extra: Mapping[str, Any], by: str = PROMPT) -> dict[str, Any]:
    """The columns that look like groups, with short values, and those that a division goes by; nested as they were."""
    asked = (part.partition(":")[2] for part in by.split("+"))
    short = (path for path, value in group_columns(extra) if len(value) <= _SHORT)
    found: dict[str, Any] = {}
    for path in dict.fromkeys([*short, *asked]):
        if column_value(extra, path) is None:
            continue
        names = [path] if path in extra else path.split(".")
        if len(names) > 1 and not isinstance(extra[names[0]], Mapping):
            found[names[0]] = extra[names[0]]  # a list, whose places count
            continue
        into, value = found, extra
        for name in names[:-1]:
            into, value = into.setdefault(name, {}), value[name]
        into[names[-1]] = value[names[-1]]
    return found


def join_groups(rows: Iterable[Sequence[str]]) -> dict[str, str]:
    """What hangs together: group → least name of all that it is joined with, over one row or over several.

    Args:
        rows: the groups that each row is in. A group that stands alone is not in the result.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        trail = []
        while (higher := above.get(name, name)) != name:
            trail.append(name)
            name = higher
        above.update(dict.fromkeys(trail, name))
        return name

    for row in rows:
        tops = sorted({top(name) for name in row})
        above.update({name: tops[0] for name in (*row, *tops) if name != tops[0]} if len(row) > 1 else {})
    return {name: top(name) for name in [*above, *above.values()]}


def time_of(row: Row, path: str) -> Time | None:
    """The time of a row, at a dotted path of its further columns: a number, or an ISO date; None without one.

    A date without a zone is read as UTC.

    Raises:
        DataError: if it is something else.
    """
    text = column_value(row.extra, path)
    if text is None:
        return None
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    with suppress(ValueError):
        read = datetime.fromisoformat(text)
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    raise DataError(
        f"{row.file}:{row.line}: {path} is {text[:60]!r}, which is neither a number nor an ISO date; name another "
        "column (held_out_by, --held-out-by time:PATH)"
    )


def latest_prompts(times: Mapping[str, Time], share: float) -> tuple[dict[str, bool], Time]:
    """Which prompts are the latest, as near to a share of them as equal times allow, and from which time on they are.

    Args:
        times: prompt → the latest time of its rows.
        share: of the prompts.

    Raises:
        DataError: if there are numbers and dates, or all times are equal: nothing is later.
    """
    if len({type(time) for time in times.values()}) > 1:
        raise DataError("some times are numbers and others are dates, which have no order; divide by something else")
    ordered: list[Any] = sorted(times.values(), reverse=True)
    borders = [number for number in range(1, len(ordered)) if ordered[number] != ordered[number - 1]]
    if not borders:
        raise DataError(
            f"{counted(len(ordered), 'prompt has', 'prompts have')} one and the same time, and none is later; divide "
            "by something else"
        )
    first = ordered[min(borders, key=lambda number: abs(number - share * len(ordered))) - 1]
    return {prompt: time >= first for prompt, time in times.items()}, first


def fold_of(prompt_id: str, folds: int = FOLDS) -> int:
    """The fold of a prompt, from 0: its hash alone decides, so a model of the other folds has never seen it."""
    return int(prompt_id, 16) % folds


class Fold(Config):
    """One fold of the prompts. All rows of a prompt are in the same one, whatever file they stand in."""

    of: int = pydantic.Field(ge=2, le=100)
    """Number of folds."""
    number: int = pydantic.Field(ge=0)
    """Which of them, counted from 0."""

    @pydantic.model_validator(mode="after")
    def _number_below_of(self) -> Self:
        if self.number >= self.of:
            raise ValueError(f"there is no fold {self.number} of {self.of}; they are counted from 0 to {self.of - 1}")
        return self

    def holds(self, prompt_id: str) -> bool:
        """Whether a prompt is in this fold."""
        return fold_of(prompt_id, self.of) == self.number


def part_of(prompt_id: str, parts: int, seed: int) -> int:
    """Which of so many disjoint parts a prompt belongs to, from 1: a hash of prompt and seed decides."""
    return int(digest("part", str(seed), prompt_id), 16) * parts // 2**64 + 1


def published_split(records: Sequence[T], test_size: int, seed: int = PUBLISHED_SEED) -> tuple[list[T], list[T]]:
    """Train and test as ``train_test_split(test_size=…, seed=…, shuffle=True)`` of the library ``datasets`` gives them.

    The same rows in the same order: a permutation by NumPy's default generator, of which the first part is the test.
    A prompt that stands in several rows may come to lie on both sides, as there.

    Raises:
        ConfigError: if the test part would not leave a row to train on.
    """
    if not 0 <= test_size < len(records):
        raise ConfigError(
            f"the published split takes {test_size:,} pairs for the test part, and there are {len(records):,}; choose "
            "a smaller test size (test_size, --test-size), or 0 for none"
        )
    if not test_size:
        return list(records), []
    import numpy as np  # late: a split by prompt needs no NumPy

    order = np.random.default_rng(seed).permutation(len(records))
    return [records[i] for i in order[test_size:]], [records[i] for i in order[:test_size]]
