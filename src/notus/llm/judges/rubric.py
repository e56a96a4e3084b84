"""A rubric of the user's, in a YAML file: criteria with scales, a checklist, principles, and examples.

Owns the form of such a file and what an answer's overall score is. How a judge is asked by it, and what is read of its
reply, is owned by ``llm.judges.rubric_judge``; docs/own-judge.md shows a file whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic

from notus.core.config import Config, load_yaml
from notus.core.errors import ConfigError, nearest
from notus.core.records import digest
from notus.llm.parse import Scale

__all__ = ["OVERALL", "Criterion", "Example", "Item", "Point", "Rubric", "read_rubric", "same_name"]

OVERALL = Scale(1, 10, whole=False)
"""The scale of the overall score, that of every critique here."""
_YES_NO = Scale(0, 1)
_MOST_LISTED = 21
"""Grades of a scale that are listed one by one in a schema."""


def _one_paragraph(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("it is empty")
    return text


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the level '{text}' is no number") from None


Text = Annotated[str, pydantic.AfterValidator(_one_paragraph)]
NameOf = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9 _-]{0,59}$")]
Weight = Annotated[float, pydantic.Field(ge=0, le=1e6)]


class Criterion(Config):
    """What an answer gets a grade for."""

    name: NameOf
    """Stands before its grade in the judge's reply, and is the aspect under which the grade is stored."""
    text: Text
    """What is asked, in your words."""
    scale: tuple[float, float] = (1.0, 5.0)
    """The lowest and the highest grade."""
    whole: bool = True
    """Whether only whole points are grades."""
    levels: dict[str, Text] = pydantic.Field(default_factory=dict)
    """Grade → what it stands for; not every grade needs one."""
    not_applicable: bool = False
    """Whether the judge may answer N/A."""
    weight: Weight = 1.0
    """Share in the overall score; 0 is stored and counts for nothing."""

    @pydantic.model_validator(mode="after")
    def _levels_are_grades(self) -> Self:
        low, high = self.scale
        if not low < high:
            raise ValueError(f"the scale [{low:g}, {high:g}] must run from a lower to a higher grade")
        if self.whole and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"the scale [{low:g}, {high:g}] has no whole ends; set whole: false")
        for level in self.levels:
            if not low <= _as_number(level) <= high:
                raise ValueError(f"the level {level} is off the scale [{low:g}, {high:g}]")
        return self


class Item(Config):
    """An item of a checklist, or a principle: what an answer fulfils or does not."""

    text: Text
    """What is asked, in your words."""
    name: NameOf | None = None
    """Null numbers it: ``check-1``, ``principle-1``."""
    weight: Weight = 1.0
    """Share in the overall score."""


class Example(Config):
    """An answer with the scores that it should get; the judge is shown it."""

    instruction: Text
    answer: str
    scores: dict[str, float | bool | str]
    """Criterion, item or principle → its grade, yes or no, or N/A: each of them once."""
    critique: str = ""
    """Why. Needed where the judge writes a critique."""


class Rubric(Config):
    """A rubric: at least one criterion, item or principle."""

    name: str | None = pydantic.Field(default=None, min_length=1)
    """What its scores are recorded under; null takes the file's name."""
    task: str = ""
    """What the answers are for, in your words."""
    criteria: tuple[Criterion, ...] = ()
    """What is graded."""
    checklist: tuple[Text | Item, ...] = ()
    """What is answered by yes or no."""
    principles: tuple[Text | Item, ...] = ()
    """What an answer holds to: yes, no, or N/A where the principle has nothing to say of it."""
    critique: bool = True
    """Whether the judge writes a critique before its scores."""
    examples: tuple[Example, ...] = ()
    """Answers with the scores that they should get."""

    @pydantic.model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.points():
            raise ValueError("it has no criteria, no checklist and no principles: there is nothing to judge by")
        seen: dict[str, str] = {}
        for point in self.points():
            if other := seen.get(same_name(point.name)):
                raise ValueError(f"the names '{other}' and '{point.name}' are one name to a reader; each needs its own")
            seen[same_name(point.name)] = point.name
        if not any(point.weight for point in self.points()):
            raise ValueError("all weights are 0, so there is no overall score")
        return self

    def points(self) -> "tuple[Point, ...]":
        """All that is judged, in the order of the file: criteria, checklist, principles."""
        graded = [
            Point(c.name, c.text, Scale(*c.scale, whole=c.whole, not_applicable=c.not_applicable), c.weight, c.levels)
            for c in self.criteria
        ]
        listed = [
            Point(name, text, _YES_NO, weight, {}, yes_or_no=True)
            for name, text, weight in _named(self.checklist, "check")
        ]
        may_not_apply = Scale(0, 1, not_applicable=True)
        held = [
            Point(name, text, may_not_apply, weight, {}, yes_or_no=True)
            for name, text, weight in _named(self.principles, "principle")
        ]
        return (*graded, *listed, *held)

    def overall(self, values: Mapping[str, float | None]) -> float | None:
        """The overall score from 1 to 10 of a value for each point: the weighted mean of where each stands on its own
        scale, 0 at its lowest and 1 at its highest, carried to that scale. None where nothing that counts applies."""
        rows = [(p.weight, (v - p.scale.low) / (p.scale.high - p.scale.low)) for p, v in _both(self.points(), values)]
        total = sum(weight for weight, _ in rows)
        if not total:
            return None
        mean = sum(weight * share for weight, share in rows) / total
        return round(OVERALL.low + (OVERALL.high - OVERALL.low) * mean, 6)

    @property
    def digest(self) -> str:
        """Hash of all that the file says; its name and place do not count."""
        return digest(*(f"{key}={value!r}" for key, value in sorted(self.resolved().items()) if key != "name"))


@dataclass(frozen=True)
class Point:
    """One thing that is judged, whatever part of the file it stands in."""

    name: str
    text: str
    scale: Scale
    weight: float
    levels: Mapping[str, str]
    yes_or_no: bool = False
    """Whether the grades are the words yes (1) and no (0)."""

    @property
    def grades(self) -> tuple[str, ...]:
        """The grades one by one as they are written, N/A apart; empty where there are too many to list."""
        if self.yes_or_no:
            return ("yes", "no")
        low, high = self.scale.low, self.scale.high
        if not self.scale.whole or high - low >= _MOST_LISTED:
            return ()
        return tuple(str(grade) for grade in range(int(low), int(high) + 1))


def same_name(name: str) -> str:
    """A name as it is compared: case, spaces, ``_`` and ``-`` tell no two names apart."""
    return re.sub(r"[\s_-]+", " ", name.strip()).lower()


def read_rubric(source: str) -> Rubric:
    """Read a rubric from its YAML file.

    Raises:
        ConfigError: if there is no such file, or it is no rubric; with the key, its value and the rule.
    """
    path = Path(source)
    given = load_yaml(path)
    rubric = Rubric.parse(given, where=f"rubric {path}")
    if rubric.name is None:
        rubric = Rubric.parse(given | {"name": path.stem}, where=f"rubric {path}")
    names = [point.name for point in rubric.points()]
    for number, example in enumerate(rubric.examples, 1):
        where = f"rubric {path}: example {number}"
        known = {same_name(name) for name in example.scores}
        if unknown := [name for name in example.scores if same_name(name) not in map(same_name, names)]:
            raise ConfigError(f"{where} scores '{unknown[0]}', which it does not judge; {nearest(unknown[0], names)}")
        if left := [name for name in names if same_name(name) not in known]:
            raise ConfigError(f"{where} has no score for '{left[0]}'; it needs one for each")
        if rubric.critique and not example.critique.strip():
            raise ConfigError(f"{where} has no critique, and the judge writes one; give it, or set critique: false")
    return rubric


def _named(items: tuple[Any, ...], kind: str) -> list[tuple[str, str, float]]:
    """Name, text and weight of each item; a bare text has the weight 1."""
    whole = [item if isinstance(item, Item) else Item(text=item) for item in items]
    return [(item.name or f"{kind}-{number}", item.text, item.weight) for number, item in enumerate(whole, 1)]


def _both(points: tuple[Point, ...], values: Mapping[str, float | None]) -> list[tuple[Point, float]]:
    """The points that apply, each with its value."""
    return [(point, value) for point in points if (value := values[point.name]) is not None]
