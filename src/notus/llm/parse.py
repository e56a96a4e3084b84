"""Reading what a judge wrote, strictly: what is not clearly a grade of this very answer is refused, never guessed.

Owns the reading of grades, of blocks with a rating each, of critiques with an overall score, of ``[[…]]`` verdicts, and
of the same as JSON; and the parsers by name, which may be the user's own (``python:mine.py:read_reply``).
``docs/parsing.md`` is the table of what is read and what is refused. A reply about several answers is read whole or
refused whole, so that no rating can end up at the wrong answer. Does not own which prompt is read by which parser
(``llm.judge``).
"""

import inspect
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from notus.core.errors import DataError, InputError
from notus.core.plugins import Registry, foreign_code, hash_code, python_file, source_of
from notus.core.records import Critique, Rating, digest
from notus.llm.judges.thoughts import OnlyThoughtsError, behind_thoughts

__all__ = [
    "PARSERS",
    "Parser",
    "Scale",
    "UnreadableError",
    "as_json",
    "read_critique",
    "read_grade",
    "read_ratings",
    "read_score",
    "read_verdict",
    "strip_fence",
    "without_thoughts",
]

PARSERS = Registry(
    "parser",
    {
        "ratings": "notus.llm.parse:read_ratings",
        "critique": "notus.llm.parse:read_critique",
        "score": "notus.llm.parse:read_score",
        "verdict": "notus.llm.parse:read_verdict",
    },
    group="notus.parsers",
    aliases={"rating": "ratings", "feedback": "critique", "grade": "score", "mt-bench": "score", "pair": "verdict"},
)
"""How a reply is read, by name: ``ratings``, a block with ``Rating: n`` for each answer; ``critique``, a text with a
line ``Overall score: n``; ``score``, one ``[[n]]``; ``verdict``, one ``[[A]]``. Or the user's own, see ``Parser``."""

_DECORATION = r"[\s#>*_`~•·\-–—]*"
_HEADING = re.compile(
    rf"{_DECORATION}(?:\d{{1,2}}[.)]\s*)?(?:(?:output|rating|grade|evaluation)s?\s+(?:for|of)\s+)?"
    rf"[<\[(]?(?:answer|text|output|response|completion)\s*(?:no\.?|number|#)?\s*(?P<number>\d{{1,3}})[>\])]?"
    rf"[\s:：.*_#`\-–—]*",
    re.I,
)
"""A line that is nothing but the heading of an answer's block."""
_KEYS = {
    "rating": "rating",
    "grade": "rating",
    "score": "rating",
    "type": "types",
    "types": "types",
    "rationale": "rationale",
    "rationale for rating": "rationale",
    "reason": "rationale",
    "explanation": "rationale",
}
_KEY = re.compile(
    rf"{_DECORATION}(?P<key>{'|'.join(sorted(_KEYS, key=len, reverse=True))})[\s*_`]*[:：][\s*_`]*(?P<value>.*)", re.I
)
_SCORE_LINE = re.compile(
    rf"{_DECORATION}(?:overall|final|total)\s+(?:score|rating|grade)[\s*_`]*[:：][\s*_`]*(?P<value>.*)", re.I
)
_NUMBER = re.compile(
    r"[\[(]?\s*(?P<number>[+-]?\d+(?:\.\d+)?)\s*[\])]?(?:\s*(?:/|out of)\s*(?P<of>\d+(?:\.0+)?)\s*[\])]?)?(?P<rest>.*)",
    re.I | re.S,
)
_REST = re.compile(r"\s*(?:$|[.,;:–—\-(](?P<words>.*)$)", re.S)
_COUNTS = re.compile(r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|half)\b", re.I)
_NOT_APPLICABLE = re.compile(r"[\[(]?(?:n/a|not applicable)[\])]?[.\s]*(?:$|[,;:–—\-(].*)", re.I | re.S)
_VERDICT = re.compile(r"\[\[([^\[\]]*)\]\]")
_FENCE = re.compile(r"\A[^`]*?```[\w-]*\n(?P<body>.*?)\n?```\s*\Z", re.S)


class UnreadableError(ValueError):
    """A reply that is refused: ``reason`` is a slug, ``detail`` the evidence."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail[:200]


@dataclass(frozen=True)
class Scale:
    """Which grades there are."""

    low: float
    high: float
    whole: bool = True
    """Whether only whole points are grades."""
    not_applicable: bool = False
    """Whether "N/A" is one."""


def read_grade(text: str, scale: Scale) -> float | None:
    """Read one grade, such as ``4``, ``**4**``, ``4/5``, ``4 out of 5`` or ``N/A`` (None).

    Behind the number may stand words without a number in them, after a mark. Decimal digits of any script count.

    Raises:
        UnreadableError: for everything else: words, ranges, a number off the scale, N/A where it is no grade.
    """
    shown = text.strip()
    bare = _ascii_digits(shown.strip("*_`~ \t"))
    if _NOT_APPLICABLE.fullmatch(bare):
        if scale.not_applicable:
            return None
        raise UnreadableError("not-applicable", shown)
    found = _NUMBER.fullmatch(bare)
    if found is None:
        raise UnreadableError("no-number", shown)
    if found["of"] is not None and float(found["of"]) != scale.high:
        raise UnreadableError("other-scale", shown)
    rest = _REST.fullmatch(found["rest"].strip("*_`~ \t"))
    if rest is None or _holds_number(rest["words"] or ""):
        raise UnreadableError("more-than-a-number", shown)
    return _on_scale(float(found["number"]), scale, shown)


def read_ratings(text: str, aspect: str, count: int, scale: Scale, *, typed: bool = False) -> tuple[Rating, ...]:
    """Read a rating for each of ``count`` answers, in the order in which they were shown.

    Args:
        text: blocks, each under a heading ``Answer N`` with a line ``Rating: …``; or JSON.
        aspect: which aspect the ratings are of.
        count: answers that were shown.
        scale: which grades there are.
        typed: whether each block has types with a rationale of their own, before the rating.

    Raises:
        UnreadableError: if anything is missing, twice, in another order or off the scale.
    """
    text = without_thoughts(text)
    value = as_json(text)
    if value is not None:
        return tuple(_json_rating(item, aspect, scale) for item in _json_items(value, count))
    return tuple(_block_rating(block, aspect, scale, typed) for block in _blocks(strip_fence(text), count))


def read_critique(text: str, scale: Scale) -> Critique:
    """Read a critique with one line ``Overall score: …``; or JSON with ``critique`` and ``overall_score``.

    Raises:
        UnreadableError: if there is no such line, several that differ, no critique, or no grade.
    """
    text = without_thoughts(text)
    value = as_json(text)
    if value is not None:
        return _json_critique(value, scale)
    lines = strip_fence(text).splitlines()
    found = [(place, match) for place, line in enumerate(lines) if (match := _SCORE_LINE.fullmatch(line))]
    if not found:
        raise UnreadableError("no-score")
    scores = {read_grade(match["value"], scale) for _, match in found}
    if len(scores) > 1:
        raise UnreadableError("several-scores", ", ".join(match["value"] for _, match in found))
    places = {place for place, _ in found}
    critique = "\n".join(line for place, line in enumerate(lines) if place not in places).strip()
    if not re.search(r"\w", critique):
        raise UnreadableError("no-critique")
    return Critique(text=critique, score=scores.pop())


def read_score(text: str, scale: Scale) -> float:
    """Read the one ``[[n]]`` that a reply ends in; or JSON with ``score``.

    Raises:
        UnreadableError: if there is none, several, text behind it, or no grade in it.
    """
    text = without_thoughts(text)
    value = as_json(text)
    if value is not None:
        grade = _json_grade(_member(value, ("score", "grade", "rating")), scale)
    else:
        grade = read_grade(_read_brackets(text), scale)
    if grade is None:
        raise UnreadableError("not-applicable", text[-40:])
    return grade


def read_verdict(text: str) -> str:
    """Read which of two answers is better: ``A``, ``B``, or ``C`` for neither; as ``[[A]]`` or JSON with ``verdict``.

    Raises:
        UnreadableError: if there is no verdict, several, text behind it, or another word in it.
    """
    text = without_thoughts(text)
    value = as_json(text)
    verdict = str(_member(value, ("verdict",)) if value is not None else _read_brackets(text)).strip().upper()
    verdict = "C" if verdict == "TIE" else verdict
    if verdict not in ("A", "B", "C"):
        raise UnreadableError("no-verdict", verdict)
    return verdict


class Parser:
    """A parser that a judge's settings name, in place of the one that belongs to the question.

    It is a function of the text of a reply, and returns what the reply says: for a grade a number, for a critique the
    overall score or ``(critique, score)``, for a pair ``"A"``, ``"B"`` or ``"C"`` (neither), for an aspect a list with
    a number or ``"N/A"`` for each answer, in the order in which the prompt shows them. None says that the reply cannot
    be read, and so does an ``UnreadableError``, with its reason: the reply is asked for again, and in the end unscored.
    A number off the scale is such a reply too. There is no default. What else the function raises or returns is a bug
    in it, and stops the run with one line. It may be called from several threads, and never sees a reply that was cut
    at the token limit, nor the thoughts that stand before one.

    Args:
        name: of ``PARSERS``: ``python:FILE.py:NAME``, ``python:MODULE:NAME``, an entry point ``notus.parsers``, or one
            of the built-in parsers.

    Raises:
        ConfigError: for an unknown name, or a file that cannot be read.
    """

    def __init__(self, name: str) -> None:
        self.name = PARSERS.resolve(name)
        self._function = PARSERS.load(name)
        self._file = _source_file(self._function)

    @property
    def digest(self) -> str:
        """Hash of the function's name and of the file that it is written in, with what of the user's it imports."""
        if self.name in PARSERS.names:
            return self.name
        files = dict.fromkeys(str(file) for file in (python_file(self.name), self._file) if file)
        contents = dict.fromkeys(hash_code(Path(file)) for file in files)
        return digest(self.name.rpartition(":")[2], *contents)

    def score(self, text: str, scale: Scale) -> float:
        """The grade that a reply gives.

        Raises:
            UnreadableError: if the parser returned None, or a number off the scale.
            InputError: if the function failed.
            DataError: if it returned what is no grade.
        """
        value = self._read(text, scale)
        if isinstance(value, Critique):
            value = value.score
        return self._grade(value, scale, text, "a number")

    def critique(self, text: str, scale: Scale) -> Critique:
        """The critique of a reply; a parser that returns the score alone leaves the whole reply as the critique.

        Raises:
            UnreadableError, InputError, DataError: as ``score``.
        """
        text = without_thoughts(text)
        value = self._read(text, scale)
        if isinstance(value, Critique):
            return value
        words, score = value if _is_list(value) and len(value) == 2 and isinstance(value[0], str) else (text, value)
        return Critique(text=words, score=self._grade(score, scale, text, "a number, or (critique, number)"))

    def verdict(self, text: str) -> str:
        """Which of two answers is better: ``A``, ``B``, or ``C`` for neither.

        Raises:
            UnreadableError, InputError, DataError: as ``score``.
        """
        value = self._read(text)
        if not isinstance(value, str) or value not in ("A", "B", "C"):
            raise self._wrong(value, text, "'A', 'B' or 'C'")
        return value

    def ratings(self, text: str, aspect: str, count: int, scale: Scale) -> tuple[Rating, ...]:
        """A rating for each of ``count`` answers, in the order in which they were shown.

        Raises:
            UnreadableError, InputError, DataError: as ``score``.
        """
        value, returns = self._read(text), f"a list of {count} numbers (or 'N/A')"
        if not _is_list(value) or len(value) != count:
            raise self._wrong(value, text, returns)
        skips = scale.not_applicable
        grades = [None if skips and item == "N/A" else self._grade(item, scale, text, returns) for item in value]
        return tuple(Rating(aspect=aspect, value=grade) for grade in grades)

    def _read(self, text: str, *scale: Scale) -> Any:
        if self.name in PARSERS.names:
            return self._function(text, *scale)
        text = without_thoughts(text)
        failed, refusal, value = f"parser {self.name} failed on the reply {text!r:.60}", None, None
        remedy = "correct the function: it returns None where a reply cannot be read"
        with foreign_code(failed, self._file, source_of(self._function), remedy, InputError):
            try:
                value = self._function(text)
            except UnreadableError as error:
                refusal = error
        if refusal is not None or value is None:
            raise refusal or UnreadableError("no-value", text[-40:])
        return value

    def _grade(self, value: Any, scale: Scale, text: str, returns: str) -> float:
        if value is None or value == "N/A":
            raise UnreadableError("no-value" if value is None else "not-applicable", text[-40:])
        if isinstance(value, bool) or not isinstance(value, Real):
            raise self._wrong(value, text, returns)
        return _on_scale(float(value), scale, str(value))

    def _wrong(self, value: Any, text: str, returns: str) -> DataError:
        return DataError(
            f"parser {self.name} ({source_of(self._function)}) returned {value!r:.80} for the reply {text!r:.60}; "
            f"it must return {returns}, or None where the reply cannot be read"
        )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _source_file(function: Any) -> str | None:
    """The file that a function is written in; None for what is not written in Python."""
    try:
        return inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None


def without_thoughts(text: str) -> str:
    """The text of a reply without the thoughts that stand before it.

    Raises:
        UnreadableError: if it holds nothing else.
    """
    try:
        return behind_thoughts(text)
    except OnlyThoughtsError:
        raise UnreadableError("only-thoughts", text[-40:]) from None


def _ascii_digits(text: str) -> str:
    """The text with the decimal digits of all scripts as 0–9; superscripts and fractions are none."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)


def _holds_number(words: str) -> bool:
    return any(char.isnumeric() for char in words) or _COUNTS.search(words) is not None


def _on_scale(number: float, scale: Scale, shown: str) -> float:
    if not scale.low <= number <= scale.high:
        raise UnreadableError("off-the-scale", shown)
    if scale.whole and not number.is_integer():
        raise UnreadableError("between-grades", shown)
    return number


def strip_fence(text: str) -> str:
    """The text inside a code fence that holds all of a reply; the reply itself where there is none."""
    found = _FENCE.fullmatch(text)
    return found["body"] if found else text


def _read_brackets(text: str) -> str:
    found = list(_VERDICT.finditer(text))
    if len(found) != 1:
        raise UnreadableError("no-verdict" if not found else "several-verdicts", ", ".join(m[0] for m in found))
    if re.search(r"\w", text[found[0].end() :]):
        raise UnreadableError("text-behind-verdict", text[found[0].end() :].strip())
    return found[0][1]


def _blocks(text: str, count: int) -> list[list[str]]:
    """The lines below each heading. What stands before the first heading may be talk, but no rating."""
    blocks: list[list[str]] = [[]]
    numbers = []
    for line in text.splitlines():
        heading = _HEADING.fullmatch(_ascii_digits(line))
        if heading:
            numbers.append(int(heading["number"]))
            blocks.append([])
        else:
            blocks[-1].append(line)
    if any((key := _KEY.fullmatch(line)) and _KEYS[key["key"].lower()] == "rating" for line in blocks[0]):
        raise UnreadableError("no-heading", "a rating stands before the first heading")
    _check_numbers(numbers, count)
    return blocks[1:]


def _check_numbers(numbers: Sequence[int], count: int) -> None:
    if list(numbers) != list(range(1, count + 1)):
        reason = "wrong-count" if len(numbers) != count else "headings-mixed"
        raise UnreadableError(reason, f"{count} answers were shown, the reply has {numbers}")


def _block_rating(lines: Sequence[str], aspect: str, scale: Scale, typed: bool) -> Rating:
    """Read one block. A rationale belongs to the key before it, types or rating; its blank lines are part of it."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        key = _KEY.fullmatch(line)
        if key:
            parts.append((_KEYS[key["key"].lower()], [key["value"]]))
        else:
            parts[-1][1].append(line)
    texts = [(name, "\n".join(own).strip()) for name, own in parts]
    ratings = [text for name, text in texts if name == "rating"]
    types = [text for name, text in texts if name == "types"]
    if len(ratings) != 1 or len(types) > 1:
        raise UnreadableError("no-rating" if not ratings else "several-ratings", " | ".join(ratings or types))
    if typed and not types:
        raise UnreadableError("no-types")
    grade, _, further = ratings[0].partition("\n")
    order = [name for name, text in texts if name]
    reasons = [text for name, text in texts if name == "rationale"]
    of_types = ""
    if typed and "rationale" in order and order.index("rationale") < order.index("rating"):
        of_types = reasons.pop(0)
    if len(reasons) > 1:
        raise UnreadableError("several-rationales")
    rationale = "\n".join(part for part in (further.strip(), *reasons) if part)
    value = read_grade(grade, scale)
    kinds = _types(types[0]) if types else ()
    return Rating(aspect=aspect, value=value, rationale=rationale, types=kinds, types_rationale=of_types.strip())


def _types(text: str) -> tuple[str, ...]:
    """Types as numbers; "none" is "0", as in the published rubric. What is outside the rubric is kept."""
    bare = _ascii_digits(text).strip().strip("[]()*_`. ")
    if re.fullmatch(r"none|n/a|", bare, re.I):
        return ("0",) if bare else ()
    found = re.fullmatch(r"[\"']?\d{1,2}[\"']?(?:\s*(?:,|;|and|&)\s*[\"']?\d{1,2}[\"']?)*", bare, re.I)
    if found is None:
        raise UnreadableError("unknown-types", text)
    return tuple(re.findall(r"\d{1,2}", bare))


def as_json(text: str) -> Any | None:
    """The reply as JSON, or None where it is none; a reply that begins as an object must be whole.

    Raises:
        UnreadableError: for broken JSON, and for a key that stands twice.
    """
    body = strip_fence(text).strip()
    if not body.startswith(("{", "[{")):
        return None
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError("broken-json", str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise UnreadableError("broken-json", "a key stands twice")
    return value


def _no_number(text: str) -> float:
    raise UnreadableError("broken-json", f"{text} is no JSON")


def _json_items(value: Any, count: int) -> list[Mapping[str, Any]]:
    """The items for the answers: a list, a list under one key, or an object whose keys are the answers' numbers."""
    items = value
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        items = lists[0] if len(value) == 1 and lists else [_with_number(key, part) for key, part in value.items()]
    if not all(isinstance(item, dict) for item in items):
        raise UnreadableError("wrong-shape", "the items are no objects")
    _check_numbers([_number_of(item, place) for place, item in enumerate(items, start=1)], count)
    return list(items)


def _with_number(key: str, part: Any) -> Any:
    heading = _HEADING.fullmatch(key) or re.fullmatch(r"(?P<number>\d{1,3})", key)
    if heading is None or not isinstance(part, dict) or "answer" in part:
        raise UnreadableError("wrong-shape", f"the key {key!r} names no answer")
    return {**part, "answer": int(heading["number"])}


def _number_of(item: Mapping[str, Any], place: int) -> int:
    """The number that an item carries, or its place where it carries none."""
    number = item.get("answer", place)
    if isinstance(number, str) and (heading := _HEADING.fullmatch(number) or re.fullmatch(r"(?P<number>\d+)", number)):
        number = int(heading["number"])
    if isinstance(number, bool) or not isinstance(number, int):
        raise UnreadableError("wrong-shape", f"answer {number!r} is no number")
    return number


def _json_rating(item: Mapping[str, Any], aspect: str, scale: Scale) -> Rating:
    named = {key.lower(): part for key, part in item.items()}
    types = named.get("types", named.get("type", []))
    listed = types if isinstance(types, list) else [types]
    kinds = tuple(kind for part in listed for kind in _types(str(part)))
    return Rating(
        aspect=aspect,
        value=_json_grade(_member(named, ("rating", "grade", "score")), scale),
        rationale=_json_text(named, "rationale"),
        types=kinds,
        types_rationale=_json_text(named, "types_rationale"),
    )


def _json_critique(value: Any, scale: Scale) -> Critique:
    score = _json_grade(_member(value, ("overall_score", "score")), scale)
    text = _json_text(value, "critique")
    if not text.strip():
        raise UnreadableError("no-critique")
    return Critique(text=text, score=score)


def _json_text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise UnreadableError("wrong-shape", f"{name} is no text")
    return text


def _json_grade(value: Any, scale: Scale) -> float | None:
    if isinstance(value, str):
        return read_grade(value, scale)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableError("no-number", repr(value))
    if abs(value) > 1e6:
        raise UnreadableError("off-the-scale", "a number beyond all scales")
    return _on_scale(float(value), scale, str(value))


def _member(value: Any, names: tuple[str, ...]) -> Any:
    """The one of the names that an object holds.

    Raises:
        UnreadableError: if it holds none of them, or several.
    """
    if not isinstance(value, Mapping):
        raise UnreadableError("wrong-shape", "no JSON object")
    there = [name for name in names if name in value]
    if len(there) != 1:
        raise UnreadableError("no-number" if not there else "several-ratings", ", ".join(names))
    return value[there[0]]
