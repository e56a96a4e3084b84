"""Which row of a generated set is what: its source, its kind, and what it is made from.

Owns the plan of a whole set: a few bytes per prompt, the same in every process, so that any block of rows can be made
by itself. All counts are exact: shares of the asked size, rounded, at places drawn by the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ultrafeedback_benchmarks import Item, alike, read_items
from benchmarks.ultrafeedback_quality import SOURCES, Faults
from notus.core.errors import ConfigError

__all__ = ["FULL", "KINDS", "SAME_WORDS", "Plan", "Settings", "completion_count"]

FULL = 63_967
"""Prompts of the real set."""
KINDS = ("plain", "exact-duplicate", "near-duplicate", "near-miss", "look-alike", "contaminated", "control")
SAME_WORDS = 0.8
"""Jaccard of the words from which on two prompts are called duplicates."""
_PLAIN, _LOOKALIKE, _CONTAMINATED, _CONTROL = 0, 4, 5, 6
_LARGEST_GROUP = 60


@dataclass(frozen=True)
class Settings:
    """What is asked for. Shares are of all prompts, those in ``faults`` of all completions."""

    prompts: int
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    exact: float = 0.01
    near: float = 0.01
    near_miss: float = 0.01
    lookalikes: float = 0.01
    contaminated: float = 0.01
    controls: float = 0.01
    benchmarks: Path | None = None
    """Folder with the benchmarks; without one nothing is contaminated."""

    def __post_init__(self) -> None:
        """Check the shares.

        Raises:
            ConfigError: if a number is out of its range.
        """
        if self.prompts < 1 or self.seed < 0:
            raise ConfigError(
                f"prompts = {self.prompts}, seed = {self.seed}: at least one prompt, and no negative seed"
            )
        shares = {name: getattr(self, name) for name in _SHARES} | {
            f"faults.{name}": value for name, value in vars(self.faults).items() if value is not None
        }
        for name, value in shares.items():
            if not 0 <= value <= 0.5:
                raise ConfigError(f"{name} = {value}: a share from 0 to 0.5 is needed")
        if sum(getattr(self, name) for name in _SHARES) > 0.5:
            raise ConfigError("more than half of the prompts would be special; lower the shares to 0.5 together")


_SHARES = ("exact", "near", "near_miss", "lookalikes", "contaminated", "controls")


def completion_count(prompts: int) -> int:
    """Completions of a set: four for each prompt, but for one row in 63,967 (at least one) that has a single one."""
    return 4 * prompts - 3 * _singles(prompts)


@dataclass
class Plan:
    """The plan of a set. Rows are numbered from 0."""

    settings: Settings
    sources: np.ndarray[Any, Any] = field(init=False)
    """Per row, position of its source in ``SOURCES``."""
    kinds: np.ndarray[Any, Any] = field(init=False)
    """Per row, position of its kind in ``KINDS``."""
    origins: np.ndarray[Any, Any] = field(init=False)
    """Per row: the row that it is made from, its group of look-alikes, or its item; −1 for a plain row."""
    singles: list[int] = field(init=False)
    legacy: set[int] = field(init=False)
    """Rows of which one completion has a rating of 0, as three of the real set have."""
    items: list[Item] = field(init=False)
    first_of_group: dict[int, int] = field(init=False)
    rows_of_item: dict[int, list[int]] = field(init=False)
    """Per item the rows that hold it, ascending; more than one where it is a prompt of the source ``truthful_qa`` too,
    or where more prompts are to be contaminated than there are items."""
    alike: dict[int, list[int]] = field(init=False)
    """Items that share at least ``SAME_WORDS`` of their words, for each the others."""

    def __post_init__(self) -> None:
        """Draw it."""
        count = self.settings.prompts
        rng = np.random.default_rng([self.settings.seed, 1])
        self.items = read_items(self.settings.benchmarks) if self.settings.benchmarks else []
        self.sources = rng.permutation(np.repeat(np.arange(len(SOURCES), dtype=np.uint8), _shares_of(count)))
        self.kinds = np.zeros(count, dtype=np.uint8)
        self.origins = np.full(count, -1, dtype=np.int32)
        chosen = rng.permutation(count)
        self.singles = sorted(chosen[: _singles(count)].tolist())
        self.legacy = set(chosen[_singles(count) :][: max(1, round(3 * count / FULL))].tolist())
        self._draw_truthful(rng)
        self._draw_kinds(rng)

    def start(self, row: int) -> int:
        """Number of completions before a row."""
        return 4 * row - 3 * sum([single < row for single in self.singles])

    def source(self, row: int) -> str:
        """Name of a row's source."""
        return _SOURCE_NAMES[int(self.sources[row])]

    def next_plain(self, row: int) -> int:
        """The next plain row, from the front again behind the last; a row's own fallback where it suits no edit."""
        for offset in range(1, len(self.kinds) + 1):
            other = (row + offset) % len(self.kinds)
            if self._is_origin(other):
                return other
        return row

    def earlier(self, row: int, item: int) -> Iterator[int]:
        """Rows before this one that hold its question, or another of nearly the same words."""
        for number in (item, *self.alike.get(item, ())):
            yield from (other for other in self.rows_of_item.get(number, ()) if other < row)

    def _is_origin(self, row: int) -> bool:
        return bool(self.kinds[row] == _PLAIN and self.origins[row] < 0 and self.source(row) != "truthful_qa")

    def _draw_truthful(self, rng: np.random.Generator) -> None:
        """The source ``truthful_qa`` is TruthfulQA itself: each of its prompts is a question of its own."""
        items = rng.permutation([number for number, item in enumerate(self.items) if item.benchmark == "truthfulqa"])
        rows = np.flatnonzero(self.sources == _SOURCE_NAMES.index("truthful_qa"))
        for item, row in zip(items.tolist(), rows.tolist(), strict=False):
            self.kinds[row], self.origins[row] = _CONTAMINATED, item

    def _draw_kinds(self, rng: np.random.Generator) -> None:
        settings, count = self.settings, self.settings.prompts
        shares = [getattr(settings, name) for name in _SHARES]
        if not self.items:
            shares[4:] = [0.0, 0.0]
        free = rng.permutation(np.flatnonzero(self.sources != _SOURCE_NAMES.index("truthful_qa")))
        start, rows = 0, {}
        for kind, share in enumerate(shares, start=1):
            rows[kind] = free[start : start + round(share * count)]
            self.kinds[rows[kind]] = kind
            start += len(rows[kind])
        plain = free[start:]
        for kind in (1, 2, 3):
            self.origins[rows[kind]] = rng.choice(plain, size=len(rows[kind])) if len(plain) else -1
        groups = _groups(len(rows[_LOOKALIKE]), rng)
        self.origins[rows[_LOOKALIKE]] = groups
        self.first_of_group = {}
        for row, group in sorted(zip(rows[_LOOKALIKE].tolist(), groups.tolist(), strict=True)):
            self.first_of_group.setdefault(group, row)
        for kind in (_CONTAMINATED, _CONTROL):
            self.origins[rows[kind]] = np.resize(rng.permutation(len(self.items)), len(rows[kind]))
        self.rows_of_item = {}
        for row in np.flatnonzero(self.kinds == _CONTAMINATED).tolist():
            self.rows_of_item.setdefault(int(self.origins[row]), []).append(row)
        self.alike = alike(self.items, SAME_WORDS)


_SOURCE_NAMES = list(SOURCES)


def _singles(prompts: int) -> int:
    return max(1, round(prompts / FULL))


def _shares_of(count: int) -> list[int]:
    """Prompts of each source, by largest remainders; at the full size the real counts."""
    exact = [count * weight / FULL for weight, _ in SOURCES.values()]
    whole = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    for index in order[: count - sum(whole)]:
        whole[index] += 1
    return whole


def _groups(count: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Numbers of groups: many small ones, from two members on, and a few large ones."""
    found: list[int] = []
    group = 0
    while len(found) < count:
        size = min(2 + int(rng.pareto(1.2) * 4), _LARGEST_GROUP)
        found += [group] * size
        group += 1
    if len(found[:count]) > 1 and found[count - 1] != found[count - 2]:
        found[count - 1] = found[count - 2]  # a group of one would resemble nothing
    return np.array(found[:count], dtype=np.int32)
