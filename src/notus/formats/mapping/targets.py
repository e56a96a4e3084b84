"""A mapping: which path of a row is the prompt, which the answer, and so on; what may be mapped, and what it means.

    prompt: question                                     a column
    system: =You are a clerk.                            a constant
    answers.text: answers.*.text                         every item of a list
    answers.score: {column: answers.*.stars, scale: [1, 5]}
    rater: judge

    prompt: [title, info.post]                           texts joined by an empty line
    answer_a: response_a
    answer_b: response_b
    winner: {column: winner, values: {model_a: a, model_b: b, "tie (bothbad)": tie}}      or  values: A/B/tie

    answers.score: {raters: rating_*, scale: [1, 5]}        a column for each rater: rating_anna is anna's
    winner: {raters: {anna: vote1, ben: vote2}, values: A/B/tie}
    answers.score: {raters: answers.*.scores.*}             {anna: 4, ben: 5}: an object with a field for each rater
    answers.score: {column: Note, decimal: ","}             4,5 is 4.5
    answers.rating.*: {column: scores.*.value, named: scores.*.name}        [{name: tone, value: 4}, …]

What a mapping names decides what its rows become: ``chosen`` and ``rejected`` a ``Preference``; ``answers`` or
``answer_a``, ``answer_b``, … a ``Feedback``; ``answer`` with a ``label`` an ``Unpaired``; ``messages``, or ``prompt``
with ``answer``, a ``Dialogue``. What it does not name is kept in ``extra``. Where a row is one answer or one vote, rows
of one prompt are joined.

Owns the names of what can be mapped, and the reading and checking of a mapping. Rows are read in
``formats.mapping.decode``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path as File
from typing import Any

import msgspec

from notus.core.config import load_yaml, parse_override
from notus.core.errors import ConfigError, nearest
from notus.core.records import Dialogue, Feedback, Preference, Scale, Unpaired
from notus.formats.format import Data
from notus.formats.mapping.paths import MISSING, STAR, Path

__all__ = ["OVERALL", "TARGETS", "ColumnMap", "Entry", "parse_mapping", "read_options"]

_TURNS = {
    "role": "who speaks, of turns under other names than role and content",
    "content": "what is said, of such turns",
}
_SIDE = {"model": "who wrote it", "score": "its score"} | _TURNS
_JUDGED = {
    "text": "the text of the answer; the same as the name alone",
    "model": "who wrote it",
    "score": "its score: a rating of the aspect 'overall'",
    "rationale": "why that score",
    "rating.ASPECT": "its rating for an aspect; rating.* takes the names of an object as aspects",
    "rationale.ASPECT": "why that rating",
    "rater": "who rated it, of each answer or rating",
    "critique": "a judge's text on it",
    "critique.score": "the score that such a text ends in",
    "rank": "its place among the answers, the least is the best",
}
_HEADS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "prompt": ("the question: a text, or messages", _TURNS),
    "system": ("the system prompt before it", {}),
    "messages": ("a whole conversation", _TURNS),
    "answer": ("the one answer of a row, for SFT, and for KTO with a label", _SIDE),
    "label": ("whether that answer is wanted: true or false", {}),
    "chosen": ("the better answer of a pair", _SIDE),
    "rejected": ("the worse answer of a pair", _SIDE),
    "margin": ("by how much it is better", {}),
    "answers": ("answers that were rated: all of a row (answers.*.text), or one a row", _JUDGED),
    "answer_a": ("the first of answers that stand in columns of their own; answer_b, answer_c, … the next", _JUDGED),
    "winner": (
        "the vote between such answers: a, b, … or tie",
        {"strength": "how clear it is", "rationale": "why", "question": "what was asked"},
    ),
    "rater": ("who rated or voted, of the whole row", {}),
    "source": ("where the prompt is from", {}),
    "id": ("an id, kept in extra", {}),
    "group": ("what belongs together, kept in extra", {}),
}
TARGETS: Mapping[str, str] = {
    name: what
    for head, (of_head, fields) in _HEADS.items()
    for name, what in {head: of_head, **{f"{head}.{field}": of_field for field, of_field in fields.items()}}.items()
}
"""Every name that can be mapped → what it means. ``answer_a`` stands for ``answer_b``, ``answer_c``, … too."""
_MEANINGS = {
    "question": "prompt",
    "instruction": "prompt",
    "input": "prompt",
    "system_prompt": "system",
    "conversations": "messages",
    "conversation": "messages",
    "turns": "messages",
    "completion": "answer",
    "response": "answer",
    "output": "answer",
    "completions": "answers",
    "responses": "answers",
    "generations": "answers",
    "response_a": "answer_a",
    "completion_a": "answer_a",
    "desirable": "label",
    "preference": "winner",
    "vote": "winner",
    "score_chosen": "chosen.score",
    "score_rejected": "rejected.score",
    "model_chosen": "chosen.model",
    "model_rejected": "rejected.model",
    "score": "one answer's is 'answers.score', in a pair 'chosen.score' and 'rejected.score'",
    "rating": "one answer's is 'answers.rating.ASPECT'",
    "model": "one answer's is 'answers.model', in a pair 'chosen.model' and 'rejected.model'",
    "critique": "one answer's is 'answers.critique'",
    "rank": "one answer's is 'answers.rank'",
    "annotator": "rater",
    "judge": "rater",
    "model_a": "answer_a.model",
    "model_b": "answer_b.model",
    "score_a": "answer_a.score",
    "score_b": "answer_b.score",
}
OVERALL = "overall"
"""The aspect of ``answers.score``."""
_LETTERED = re.compile(r"answer_([a-z])")
_ORIGINS = ("column", "columns", "names", "value", "raters")
_KEYS = (*_ORIGINS, "values", "scale", "between", "decimal", "named")
_OF_RATERS = ("score", "rating", "rationale", "rank", "winner", "strength")
"""What several raters can say in columns of their own."""
_NUMBERS = ("score", "critique.score", "rating", "margin", "strength", "rank")
_VALUES = {"winner": ("a", "b", "tie"), "label": (True, False)}
"""What ``values: A/B/tie`` stands for, in order."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a target is made of: one path, several that are joined as texts, or a constant."""

    target: str
    paths: tuple[Path, ...] = ()
    constant: Any = MISSING
    names: bool = False
    """Whether the names of the fields of an object are wanted, not what stands there."""
    values: Mapping[str, Any] | None = None
    """Value as text → what it means."""
    scale: Scale | None = None
    between: str = "\n\n"
    """What stands between texts that are joined."""
    decimal: str = "."
    """The sign before the decimals of a number that is written as a text."""
    by_raters: bool = False
    """Whether each column, or each field of an object, is another rater's, who is the last part of its label."""
    raters: tuple[str, ...] = ()
    """Who they are, in the order of the paths; empty where the star of the only path says it."""
    named: Path | None = None
    """Where the aspect of each rating stands, of ratings in a list."""

    @cached_property
    def depth(self) -> int:
        """How many stars its paths have; a rater's column counts as one, and so does a name that stands beside."""
        return self.paths[0].depth + bool(self.raters) + (self.named is not None) if self.paths else 0

    @cached_property
    def where(self) -> str:
        """Its paths as text, as an error names them."""
        return " + ".join(path.text for path in self.paths) or self.target

    @cached_property
    def head(self) -> str:
        """The target up to its first dot."""
        return self.target.partition(".")[0]

    @cached_property
    def field(self) -> str:
        """The target behind its first dot."""
        return self.target.partition(".")[2]


class ColumnMap:
    """A mapping that has been read and checked. Make it with ``parse_mapping``."""

    def __init__(self, given: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
        self.given = dict(given)
        """The mapping as plain values, target → path or object."""
        self.entries = entries

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The answers of a row: ``answers``, or ``answer_a``, ``answer_b``, … in their order; empty without any."""
        found = dict.fromkeys(entry.head for entry in self.entries.values())
        return tuple(sorted(head for head in found if head == "answers" or _LETTERED.fullmatch(head)))

    @cached_property
    def record(self) -> type[Data]:
        """What the rows become."""
        if "chosen" in self.entries:
            return Preference
        if self.heads:
            return Feedback
        return Unpaired if "label" in self.entries else Dialogue

    @cached_property
    def joins(self) -> bool:
        """Whether several rows may be one record: a row is one answer, one rating or one vote."""
        single = self.heads == ("answers",) and not self.entries["answers"].depth
        return self.record is Feedback and (single or "winner" in self.entries)

    @cached_property
    def graded(self) -> dict[str, tuple[tuple[str, Entry, str, str], ...]]:
        """Head of answers → its scores and ratings: what stands behind the head, the entry, aspect, and its reason."""
        found: dict[str, tuple[tuple[str, Entry, str, str], ...]] = {}
        for head in self.heads:
            own = [entry for entry in self.entries.values() if entry.head == head]
            scores = [(entry.field, entry, OVERALL, "rationale") for entry in own if entry.field == "score"]
            ratings = [(entry, entry.field.removeprefix("rating.")) for entry in own if entry.field[:7] == "rating."]
            found[head] = (*scores, *((each.field, each, aspect, f"rationale.{aspect}") for each, aspect in ratings))
        return found

    def paths(self) -> Iterator[tuple[Entry, Path]]:
        """Each path, with the entry that it is of."""
        for entry in self.entries.values():
            for path in (*entry.paths, *((entry.named,) if entry.named else ())):
                yield entry, path


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """What ``--map`` was given, in its order: ``target=path`` each, or YAML files of a mapping.

    Raises:
        ConfigError: if one is neither, or a file cannot be read.
    """
    found: dict[str, Any] = {}
    for text in texts:
        if "=" not in text and text.lower().endswith((".yaml", ".yml")):
            found |= load_yaml(File(text))
        else:
            target, value = parse_override(text, "--map", "prompt=question")
            # YAML takes a lone "=text" as it is, but not what has a colon or a hash in it.
            raw = text.partition("=")[2]
            found[target] = raw if raw.startswith("=") else value
    return found


def parse_mapping(given: Mapping[str, Any] | str | File) -> ColumnMap:
    """Read a mapping: target → path, or the path of a YAML file that holds one.

    Raises:
        ConfigError: if a target is unknown, a value is none that a target can have, or the targets together are no
            record: what is missing, or which two exclude one another.
    """
    if isinstance(given, str | File):
        given = load_yaml(File(given))
    if not given:
        raise ConfigError("the mapping is empty; name at least one target, for example prompt=question")
    flat = dict(_flatten(given, ""))
    entries: dict[str, Entry] = {}
    for target, value in flat.items():
        name = target.removesuffix(".text") if target.endswith(".text") else target
        _check_target(target)
        if name in entries:
            raise ConfigError(f"the mapping names '{name}' twice, once with '.text' behind it; leave one out")
        entries[name] = _entry(name, value)
    _check_together(entries)
    return ColumnMap(flat, {name: _with_aspects(entry, entries) for name, entry in entries.items()})


def _flatten(given: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    """Targets with dots, also where the mapping nests them."""
    for name, value in given.items():
        target = f"{at}{name}"
        if isinstance(value, Mapping) and not set(value) & set(_ORIGINS):
            yield from _flatten(value, f"{target}.")
        else:
            yield target, value


def _check_target(target: str) -> None:
    head, _, field = target.partition(".")
    known = _HEADS["answer_a"] if _LETTERED.fullmatch(head) else _HEADS.get(head)
    if known is None:
        raise ConfigError(f"the mapping has no target '{target}'; {nearest(target, TARGETS, _MEANINGS)}")
    plain = re.sub(r"^(rating|rationale)\..+", r"\1.ASPECT", field)
    if field and plain not in known[1] and field != "text":
        behind = ", ".join(f"{head}.{each}" for each in known[1]) or f"nothing stands behind '{head}'"
        raise ConfigError(f"the mapping has no target '{target}'; there is {behind}")


def _entry(target: str, value: Any) -> Entry:
    """What a target is given, read."""
    spec = value if isinstance(value, Mapping) else _short_form(target, value)
    if unknown := next((key for key in spec if key not in _KEYS), None):
        raise ConfigError(f"map {target}: unknown key '{unknown}'; {nearest(unknown, _KEYS)}")
    origins = [key for key in _ORIGINS if key in spec]
    if len(origins) != 1:
        raise ConfigError(f"map {target}: exactly one of column, columns, names and value is needed")
    if "value" in spec:
        return Entry(target=target, constant=spec["value"], scale=_scale(target, spec))
    paths = spec[origins[0]]
    raters: tuple[str, ...] = ()
    if origins[0] == "raters" and isinstance(paths, Mapping):
        raters, paths = tuple(map(_plain_key, paths)), list(paths.values())
    listed = paths if isinstance(paths, list | tuple) else [paths]
    texts = [str(path) if isinstance(path, int) and not isinstance(path, bool) else path for path in listed]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"map {target}: {paths!r} is no path; a path is a name such as question or answers.*.text")
    by_raters = origins[0] == "raters"
    if by_raters:
        _check_raters(target, texts, raters)
    elif origins[0] != "columns" and len(texts) != 1:
        raise ConfigError(f"map {target}: {origins[0]} is one path; several texts are joined by columns: [a, b]")
    wild = by_raters and not raters
    found = tuple(Path(f"{text}.{STAR}" if origins[0] == "names" else text, wild) for text in texts)
    if len({path.depth for path in found}) > 1:
        raise ConfigError(f"map {target}: {', '.join(texts)} cannot be joined: they differ in their stars")
    return Entry(
        target=target,
        paths=found,
        names=origins[0] == "names",
        values=_values(target, spec["values"]) if "values" in spec else None,
        scale=_scale(target, spec),
        between=str(spec.get("between", "\n\n")),
        decimal=_decimal(target, spec),
        by_raters=by_raters,
        raters=raters,
        named=_named(target, spec, found),
    )


def _with_aspects(entry: Entry, entries: Mapping[str, Entry]) -> Entry:
    """Of ``rating.*``, with a star for the names of the object: where the path ends at the object, it is added.

    Raises:
        ConfigError: if the path has fewer stars than the answers, so that it is of no answer.
    """
    if entry.field not in (f"rating.{STAR}", f"rationale.{STAR}") or entry.named is not None or not entry.paths:
        return entry
    of = entries.get(entry.head)
    stars = of.depth if of is not None else 0
    if entry.depth < stars:
        raise ConfigError(
            f"map {entry.target}: {entry.where} must have the stars of the answers, that is {stars} of them, and may "
            "have one more behind it, for the names of the aspects"
        )
    if entry.depth > stars:
        return entry
    return replace(entry, paths=tuple(Path(f"{path.text}.{STAR}", path.wild) for path in entry.paths))


def _named(target: str, spec: Mapping[str, Any], paths: Sequence[Path]) -> Path | None:
    if "named" not in spec:
        return None
    if not target.endswith(f"rating.{STAR}"):
        raise ConfigError(f"map {target}: ratings whose aspects are named beside them are 'answers.rating.{STAR}'")
    named = Path(str(spec["named"]))
    if not named.depth or named.depth != paths[0].depth:
        raise ConfigError(f"map {target}: {named} must have the stars of {paths[0]}: each rating has a name")
    return named


def _check_raters(target: str, texts: Sequence[str], raters: Sequence[str]) -> None:
    head, _, field = target.partition(".")
    said = field.partition(".")[0] or head
    if said not in _OF_RATERS or target.endswith(f".{STAR}"):
        raise ConfigError(f"map {target}: raters have columns of their own for {', '.join(_OF_RATERS)} alone")
    last = texts[0].rpartition(".")[2]
    if not raters and (len(texts) != 1 or texts[0] == STAR or last.count(STAR) != 1):
        raise ConfigError(
            f"map {target}: raters are written {{raters: rating_*}}, where the star is the rater, "
            "{raters: scores.*}, where it is the name of a field of an object, or "
            "{raters: {anna: rating_1, ben: rating_2}}"
        )


def _decimal(target: str, spec: Mapping[str, Any]) -> str:
    if "decimal" not in spec:
        return "."
    if _number_of(target) not in _NUMBERS:
        raise ConfigError(f"map {target}: only a number has a decimal sign")
    if spec["decimal"] not in (".", ","):
        raise ConfigError(f'map {target}: decimal is {spec["decimal"]!r}; it is a point or a comma: {{decimal: ","}}')
    return str(spec["decimal"])


def _number_of(target: str) -> str:
    """The last name of a target, of a rating's aspect ``rating``."""
    return target.rpartition(".")[2] if ".rating." not in target else "rating"


def _short_form(target: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and value.startswith("="):
        return {"value": value[1:]}
    if isinstance(value, list | tuple):
        return {"columns": value}
    if value is None or isinstance(value, bool | float):
        raise ConfigError(
            f"map {target}: {value!r} is no path; a path is a name such as question, and a constant is written "
            "{value: …}"
        )
    return {"column": value}


def _values(target: str, given: Any) -> dict[str, Any]:
    meant = _VALUES.get(target)
    if isinstance(given, str) and "/" in given and meant:
        names = given.split("/")
        if not 2 <= len(names) <= len(meant):
            raise ConfigError(f"map {target}: values {given} are {len(names)}; they stand for {_words(meant)} in order")
        return dict(zip(names, meant, strict=False))
    if isinstance(given, list | tuple) and meant:
        return _values(target, "/".join(map(_plain_key, given)))
    if not isinstance(given, Mapping) or not given:
        form = f" or {'/'.join('XYZ'[: len(meant)])} for {_words(meant)}" if meant else ""
        raise ConfigError(f"map {target}: values are given as {{value of yours: value of ours}}{form}")
    return {_plain_key(key): value for key, value in given.items()}


def _plain_key(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(values: Sequence[object]) -> str:
    return ", ".join(map(_plain_key, values))


def _scale(target: str, spec: Mapping[str, Any]) -> Scale | None:
    if "scale" not in spec:
        return None
    if _number_of(target) not in _NUMBERS:
        raise ConfigError(f"map {target}: only a number has a scale")
    try:
        low, high = msgspec.convert(spec["scale"], tuple[float, float])
    except msgspec.ValidationError:
        low = high = 0.0
    if not low < high:
        raise ConfigError(f"map {target}: scale is {spec['scale']!r}; it is written [low, high], for example [1, 10]")
    return Scale(low=low, high=high)


def _check_together(entries: Mapping[str, Entry]) -> None:
    """Whether the targets are one record."""
    heads = {entry.head for entry in entries.values()}
    lettered = sorted(head for head in heads if _LETTERED.fullmatch(head))
    kinds = {
        "chosen and rejected (a pair)": heads & {"chosen", "rejected", "margin"},
        "answers (feedback)": heads & {"answers"},
        "answer_a, answer_b (feedback)": set(lettered),
        "answer (one answer)": heads & {"answer", "label"},
    }
    named = [kind for kind, found in kinds.items() if found]
    if len(named) > 1:
        raise ConfigError(f"the mapping names {' and '.join(named)}; a row is one of them: leave the others out")
    both = sorted(heads & {"prompt", "answer", "chosen", "rejected", "answers", *lettered})
    if "messages" in heads and both:
        raise ConfigError(f"the mapping names messages and {both[0]}; a conversation holds both: leave one of them out")
    for need, of in _needs(entries, heads, lettered):
        if need not in entries and f"{need}.content" not in entries:
            other = "; answers that are rated, not labelled, are 'answers'" if need == "label" else ""
            raise ConfigError(f"the mapping names '{of}' but no '{need}'; name the path of '{need}' too{other}")
    if not named and not heads & {"messages", "prompt"}:
        known = "chosen and rejected, answers, answer_a and answer_b, answer, messages or prompt"
        raise ConfigError(f"the mapping names {', '.join(entries)}, which is no record; it needs {known}")
    _check_raters_together(entries)
    for name, entry in entries.items():
        field = entry.field.partition(".")[0]
        if entry.depth > 1 and not (entry.head in ("answers", "rater") or _LETTERED.fullmatch(entry.head)):
            raise ConfigError(f"map {name}: {entry.where} has {entry.depth} stars; one at most is read here")
        if field in ("", "model", "critique") and entry.head == "answers" and entry.depth > 1:
            more = "; several raters' texts are 'answers.rationale'" if field == "critique" else ""
            raise ConfigError(f"map {name}: {entry.where} has two stars; an answer has one {field or 'text'}{more}")


def _check_raters_together(entries: Mapping[str, Entry]) -> None:
    """Raters in columns of their own are named there, and stand where their answers do."""
    for name, entry in entries.items():
        if not entry.by_raters:
            continue
        told = next((each for each in ("rater", f"{entry.head}.rater") if each in entries), None)
        if told is not None:
            raise ConfigError(f"map {name}: its columns say who the raters are; leave '{told}' out")
        stars = entries["answers"].depth if "answers" in entries and entry.head == "answers" else 0
        if entry.depth - 1 != stars:
            raise ConfigError(f"map {name}: {entry.where} must have the stars of the answers, that is {stars} of them")


def _needs(entries: Mapping[str, Entry], heads: set[str], lettered: list[str]) -> Iterator[tuple[str, str]]:
    """Target that must be there → the one because of which."""
    firsts = {name.partition(".")[0]: name for name in reversed(list(entries))}
    for of in ("chosen", "rejected", "margin"):
        if of in heads:
            yield from (("chosen", firsts[of]), ("rejected", firsts[of]))
    if lettered:
        yield from ((f"answer_{letter}", firsts[lettered[-1]]) for letter in "ab")
    for need in ("answers", "winner", "answer"):
        if need in heads:
            yield need, firsts[need]
    if "winner" in heads and "answers" not in heads:
        yield "answer_a", "winner"
    if "label" in heads and "messages" not in heads:
        yield "answer", "label"
    if "answer.score" in entries:
        yield "label", "answer.score"
    for entry in entries.values():
        yield from _needs_of_field(entry)


def _needs_of_field(entry: Entry) -> Iterator[tuple[str, str]]:
    kind, _, aspect = entry.field.partition(".")
    if kind == "rationale" and entry.head != "winner":
        yield (f"{entry.head}.rating.{aspect}" if aspect else f"{entry.head}.score"), entry.target
    if kind in ("role", "content"):
        yield f"{entry.head}.{'content' if kind == 'role' else 'role'}", entry.target
