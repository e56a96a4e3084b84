"""Rows by a mapping: a row becomes the record that the mapping says, or a ``RowError`` with its path and the rule.

    read = mapped_format('{"prompt": "question", "chosen": "good", "rejected": "bad"}')
    read.decode({"question": "Name a river.", "good": "The Oder.", "bad": "No.", "day": 3})

A row that lacks what makes it a record (its prompt, an answer, the vote, the label) is a bad row. A score or a text
beside it that is missing, null or "N/A" costs that value alone: the rating stays, without a value. Nothing is guessed:
a number must be one, a value that the mapping does not rename is ``unknown-value``, lists that belong together are as
long as one another. All that no target names stays in ``extra``: of an item of ``answers`` in its completion's, else in
the record's.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path as File
from typing import Any

import msgspec

from notus.core.errors import ConfigError, nearest
from notus.core.records import (
    Completion,
    Critique,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Ranking,
    Rating,
    Unpaired,
)
from notus.core.stage import Tally
from notus.formats.families.pairs import without_prompt
from notus.formats.fields import read_number, read_turns
from notus.formats.format import MAPPED, Data, Format, Row
from notus.formats.join import by_prompt, merge_feedback
from notus.formats.mapping.paths import Label, Missing, Path, Place, leaf_paths, opened, without
from notus.formats.mapping.targets import ColumnMap, Entry, parse_mapping
from notus.formats.quarantine import RowError

__all__ = ["check_paths", "mapped_format", "mapping_name"]

Turns = tuple[Message, ...]
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "prompter": "user",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
}
_NO_NUMBER = ("", "n/a", "na", "nan", "none", "null")
_UNKNOWN = {"winner": "unknown-vote"}


def mapping_name(given: Mapping[str, Any] | str | File) -> str:
    """The name under which a mapping is a format: the same for the same mapping.

    Raises:
        ConfigError: if it is none; see ``parse_mapping``.
    """
    return MAPPED + msgspec.json.encode(parse_mapping(given).given).decode()


@lru_cache(maxsize=32)
def mapped_format(text: str) -> Format:
    """The format of a mapping, given as JSON.

    Raises:
        ConfigError: if it is none; see ``parse_mapping``.
    """
    columns = parse_mapping(msgspec.json.decode(text, type=dict[str, Any]))
    read: dict[type[Data], Callable[[_Values], Data]] = {
        Preference: _pair,
        Feedback: _feedback,
        Unpaired: _unpaired,
        Dialogue: _dialogue,
    }
    make = read[columns.record]

    def decode(row: Row) -> Data:
        return make(_read_values(columns, row))

    def count(record: Data, tally: Tally) -> None:
        if without := _missing_scores(record, columns):
            tally.count("score-missing", without)

    return Format(
        name=MAPPED + text,
        record=columns.record,
        decode=decode,
        count=count,
        key=by_prompt if columns.joins else None,
        merge=_merge,
        check=lambda rows: check_paths(columns, rows),
    )


def _missing_scores(record: Data, columns: ColumnMap) -> int:
    """How many scores that the mapping names are not there in a record: null, an empty cell, "N/A"."""
    if isinstance(record, Feedback):
        ratings = sum(rating.value is None for answer in record.completions for rating in answer.ratings)
        if not any(f"{head}.critique.score" in columns.entries for head in columns.heads):
            return ratings
        return ratings + sum(answer.critique is None or answer.critique.score is None for answer in record.completions)
    if isinstance(record, Preference):
        sides = {"chosen": record.score_chosen, "rejected": record.score_rejected}
        return sum(f"{side}.score" in columns.entries and score is None for side, score in sides.items())
    return int(isinstance(record, Unpaired) and "answer.score" in columns.entries and record.score is None)


def check_paths(columns: ColumnMap, rows: Iterable[Row]) -> None:
    """See that each path of a mapping stands in some row; as a rule the first row will do.

    Raises:
        ConfigError: if no row has one of them, with the nearest names; or if it is a list where one value is needed.
    """
    waiting = list(columns.paths())
    known: dict[str, None] = {}
    seen = 0
    for row in rows:
        seen += 1
        if seen <= _NAMES_FROM:
            known |= dict.fromkeys(leaf_paths(row))
        waiting = [(entry, path) for entry, path in waiting if not path.is_in(row)]
        if seen == 1 and columns.joins and columns.heads == ("answers",):
            _check_single(columns.entries["answers"], row)
        if not waiting:
            return
    if waiting and seen:
        entry, path = waiting[0]
        names = [name for name in known if name.count("*") == path.depth] or list(known)
        raise ConfigError(
            f"map {entry.target}: none of the {seen:,} rows has '{path}'; {nearest(path.text, names)}"
            + (f" (and {len(waiting) - 1} more paths that no row has)" if len(waiting) > 1 else "")
        )


_NAMES_FROM = 100
"""Rows out of which the names are taken that an error offers."""


def _check_single(entry: Entry, row: Row) -> None:
    for found in entry.paths[0].find(row).values() if entry.paths else ():
        held = opened(found.value)
        if isinstance(held, list) and held and not isinstance(held[0], dict):
            raise ConfigError(
                f"map answers: '{entry.where}' is a list; write '{entry.where}.*' for an answer of each of its items"
            )


@dataclass
class _Values:
    """What the targets of a mapping found in a row."""

    columns: ColumnMap
    found: dict[str, dict[Label, Any]] = field(default_factory=dict)
    """Target → label → value, renamed where the mapping renames."""
    items: dict[Label, Place] = field(default_factory=dict)
    """Label of an answer → where its item stands."""
    extra: Row = field(default_factory=dict)
    """What no target took."""
    grouped: dict[str, dict[Label, dict[Label, Any]]] = field(default_factory=dict)
    """Target → answer → what the target says of it, where that was asked for."""

    def has(self, target: str) -> bool:
        """Whether the mapping names a target."""
        return target in self.columns.entries

    def where(self, target: str) -> str:
        """The path of a target, for errors."""
        entry = self.columns.entries.get(target)
        return entry.where if entry else target

    def one(self, target: str) -> Any:
        """The only value of a target; None where there is none."""
        return next(iter(self.found.get(target, {}).values()), None)

    def required(self, target: str) -> Any:
        """The only value of a target that must be there."""
        value = self.one(target)
        if value is None:
            raise RowError(self.where(target), "missing-field", None, f"it is the {target}")
        return value

    def text(self, target: str) -> str:
        """The only value of a target as a text; empty where there is none."""
        value = self.one(target)
        return "" if value is None else _text(value, self.where(target))

    def number(self, target: str) -> float | None:
        """The only value of a target as a number on its scale."""
        return _number(self.one(target), self.columns.entries[target]) if self.has(target) else None

    def turns(self, target: str, role: str) -> Turns | None:
        """The messages of a target; None where the mapping does not name it."""
        if self.has(f"{target}.content"):
            return self._told_turns(target)
        return _turns(self.required(target), self.where(target), role, self) if self.has(target) else None

    def _told_turns(self, target: str) -> Turns:
        contents, roles = self.found[f"{target}.content"], self.found[f"{target}.role"]
        if contents.keys() != roles.keys() and len(roles) != 1:
            raise RowError(
                self.where(f"{target}.role"), "length-mismatch", len(roles), f"{len(contents)} contents stand beside"
            )
        turns = [
            {"role": roles[label] if label in roles else next(iter(roles.values())), "content": content}
            for label, content in contents.items()
        ]
        return _turns(turns, self.where(f"{target}.content"), "user", self)


def _read_values(columns: ColumnMap, row: Row) -> _Values:
    values = _Values(columns)
    taken: list[Place] = []
    for target, entry in columns.entries.items():
        found: dict[Label, list[Any]] = {}
        for number, path in enumerate(entry.paths):
            for place, one in path.find(row).items():
                label = (*place, entry.raters[number]) if entry.raters else place
                if entry.by_raters and label and isinstance(label[-1], int):
                    detail = "raters are the names of an object's fields, and these are items of a list"
                    raise RowError(entry.where, "wrong-type", one.value, detail)
                missing = isinstance(one.value, Missing)
                if missing and (entry.by_raters or ("" in label and target != "answers")):
                    continue  # there is no list at all: nothing is said of any answer
                found.setdefault(label, []).append(None if missing else one.value)
                if not missing and not entry.names and _is_kept_whole(entry):
                    taken.append(one.place)
                if target == "answers" and entry.depth:
                    values.items[label] = one.item
        if entry.named is not None:
            found = _with_names(found, entry.named, row, taken)
        values.found[target] = (
            {label: _value(entry, label, parts) for label, parts in found.items()}
            if entry.paths
            else {(): entry.constant}
        )
    values.extra = without(row, taken)
    return values


def _with_names(found: dict[Label, list[Any]], named: Path, row: Row, taken: list[Place]) -> dict[Label, list[Any]]:
    """Ratings of a list with the names that stand beside them, as the last part of their labels."""
    names = {label: one for label, one in named.find(row).items() if isinstance(one.value, str) and one.value}
    if lacking := [label for label in found if label not in names]:
        raise RowError(named.text, "missing-field", None, f"rating {lacking[0][-1]} has no name")
    taken += [names[label].place for label in found]
    return {(*label, names[label].value): parts for label, parts in found.items()}


def _is_kept_whole(entry: Entry) -> bool:
    """Whether the record holds all that a value says: two values that are renamed to one stay in ``extra`` as well."""
    return entry.values is None or len({str(value) for value in entry.values.values()}) == len(entry.values)


def _value(entry: Entry, label: Label, parts: list[Any]) -> Any:
    """A target's value out of those of its paths."""
    if entry.names:
        return label[-1]
    if len(entry.paths) > 1 and not entry.by_raters:
        texts = [_text(part, entry.where) for part in parts if part is not None]
        value: Any = entry.between.join(text for text in texts if text) if texts else None
    else:
        value = parts[0]
    if entry.values is None or value is None:
        return value
    key = str(value).lower() if isinstance(value, bool) else _text(value, entry.where)
    if key not in entry.values:
        rule = _UNKNOWN.get(entry.target, "unknown-role" if entry.field == "role" else "unknown-value")
        raise RowError(entry.where, rule, value, f"the mapping knows {', '.join(entry.values)}")
    return entry.values[key]


def _text(value: object, at: str) -> str:
    """A text, or a number as one: a table gives "4" as 4."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if float(value).is_integer() else repr(value)
    raise RowError(
        at, "missing-field" if value is None else "wrong-type", value, "" if value is None else "a text is needed"
    )


def _number(value: object, entry: Entry) -> float | None:
    """A score, or None where there is none: null, an empty cell, "N/A"."""
    empty = isinstance(value, str) and value.strip().lower() in _NO_NUMBER
    if value is None or empty or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and entry.decimal != ".":
        if "." in value:
            raise RowError(entry.where, "not-a-number", value, "the mapping says that decimals stand behind a comma")
        value = value.replace(entry.decimal, ".")
    number = read_number(value, entry.where)
    if entry.scale and not entry.scale.low <= number <= entry.scale.high:
        raise RowError(
            entry.where, "out-of-range", value, f"the mapping's scale is {entry.scale.low:g} to {entry.scale.high:g}"
        )
    return number


def _turns(value: object, at: str, role: str, values: _Values) -> Turns:
    """Messages out of a text, a message, or a list of them, also as JSON text or with ShareGPT's names."""
    held = opened(value)
    listed = [held] if isinstance(held, dict) else held
    if not isinstance(listed, list) or not _are_turns(listed, strictly=isinstance(value, str)):
        if not role:
            raise RowError(at, "wrong-type", value, "a list of messages is needed")
        turns, more = read_turns(_text(value, at), at, role)  # type: ignore[arg-type]
    else:
        turns, more = read_turns([_renamed_turn(item) for item in listed], at, "user")
    if more:
        values.extra[f"{at}_as_read"] = held
    return turns


def _are_turns(items: list[Any], *, strictly: bool) -> bool:
    """Whether a list holds messages. A text may be JSON and no messages: there their names are asked for."""
    if not items or not all(isinstance(item, dict) for item in items):
        return False
    return not strictly or all("role" in item or {"from", "value"} <= item.keys() for item in items)


def _renamed_turn(item: Row) -> Row:
    """A turn with role and content, where it has ShareGPT's names or roles."""
    turn = {{"from": "role", "value": "content"}.get(name, name): part for name, part in item.items()}
    role = turn.get("role")
    return turn | {"role": _ROLES.get(role.lower(), role.lower())} if isinstance(role, str) else turn


def _with_system(prompt: Turns, values: _Values) -> Turns:
    system = values.text("system")
    return (Message(role="system", content=system), *prompt) if system else prompt


def _divided(values: _Values, prompt: Turns | None, answer: Turns, at: str) -> tuple[Turns, Turns]:
    """Prompt and answer of a single answer, which may be the whole conversation."""
    if answer[0].role != "assistant":
        start = 1 + max(at for at, turn in enumerate(answer) if turn.role not in ("assistant", "tool"))
        before, answer = answer[:start], answer[start:]
        if not answer:
            raise RowError(at, "no-answer", before[-1].content)
        if prompt is not None and before[-len(prompt) :] != prompt:
            raise RowError(values.where("prompt"), "prompt-mismatch", prompt[-1].content, f"{at} follows another")
        prompt = before
    if prompt is None:
        raise RowError("prompt", "missing-field", None, "the mapping names none, and the answer holds none")
    return _with_system(prompt, values), answer


def _divided_sides(values: _Values, sides: Mapping[str, Turns]) -> tuple[Turns, list[Turns]]:
    """The prompt of two or more answers beside one another, and the answers without it."""
    prompt = values.turns("prompt", "user")
    first, *others = sides.items()
    found: list[Turns] = []
    answers: list[Turns] = []
    for name, turns in others:
        names = {"prompt": values.where("prompt"), "chosen": values.where(first[0]), "rejected": values.where(name)}
        shared, one, two = without_prompt(prompt, first[1], turns, names)
        found.append(shared)
        answers = [*(answers or [one]), two]
        if shared != found[0]:
            raise RowError(values.where(name), "prompt-mismatch", two[-1].content, "the answers follow one prompt")
    return _with_system(found[0], values), answers


def _rest(values: _Values) -> dict[str, Any]:
    """The fields that every record has, whatever it is: where it is from, and what is left of the row."""
    extra = values.extra
    for name in ("id", "group"):
        if (value := values.one(name)) is not None:
            extra = _with_column(extra, name, value)
    return {"source": values.text("source"), "extra": extra}


def _with_column(extra: Row, name: str, value: object) -> Row:
    """Further columns and one more; a column of the row that has its name is kept beside it."""
    taken = {f"{name}_as_read": extra[name]} if name in extra else {}
    return extra | taken | {name: value}


def _pair(values: _Values) -> Preference:
    sides = {name: values.turns(name, "assistant") or () for name in ("chosen", "rejected")}
    prompt, (chosen, rejected) = _divided_sides(values, sides)
    return Preference(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        score_chosen=values.number("chosen.score"),
        score_rejected=values.number("rejected.score"),
        margin=values.number("margin"),
        model_chosen=values.text("chosen.model"),
        model_rejected=values.text("rejected.model"),
        **_rest(values),
    )


def _unpaired(values: _Values) -> Unpaired:
    target = "answer" if values.has("answer") or values.has("answer.content") else "messages"
    answer = values.turns(target, "assistant" if target == "answer" else "") or ()
    prompt, answer = _divided(values, values.turns("prompt", "user"), answer, values.where(target))
    return Unpaired(
        prompt=prompt,
        answer=answer,
        desirable=_flag(values.required("label"), values.where("label")),
        score=values.number("answer.score"),
        model=values.text("answer.model"),
        **_rest(values),
    )


def _flag(value: object, at: str) -> bool:
    word = str(value).strip().lower()
    if word not in ("true", "false", "1", "0", "1.0", "0.0"):
        raise RowError(at, "unknown-value", value, "a label is true or false; say by 'values' what else means them")
    return word[0] in "t1"


def _dialogue(values: _Values) -> Dialogue:
    if values.has("messages") or values.has("messages.content"):
        messages = values.turns("messages", "") or ()
    else:
        messages = (values.turns("prompt", "user") or ()) + (values.turns("answer", "assistant") or ())
    rest = _rest(values)
    if model := values.text("answer.model"):
        rest["extra"] = _with_column(rest["extra"], "model", model)
    return Dialogue(messages=_with_system(messages, values), **rest)


def _feedback(values: _Values) -> Feedback:
    single = values.columns.heads == ("answers",)
    prompt, answers = _listed_answers(values) if single else _lettered_answers(values)
    completions = []
    for answer in answers:
        _check_labels(values, answer, answers)
        completions.append(_completion(values, answer))
    rest = _rest(values)
    if single and not values.columns.entries["answers"].depth:
        # A row is one answer: what else stands there is said of it, not of all answers to its prompt.
        own, rest["extra"] = rest["extra"], {}
        if "group" in own and values.has("group"):
            rest["extra"] = {"group": own.pop("group")}
        completions = [msgspec.structs.replace(one, extra=one.extra | own) for one in completions]
    rankings = (*_votes(values, answers), *_ranked(values, answers))
    rest["extra"] = _with_idle_raters(rest["extra"], values, completions, rankings)
    return Feedback(prompt=prompt, completions=tuple(completions), rankings=rankings, **rest)


def _with_idle_raters(extra: Row, values: _Values, answers: Sequence[Completion], rankings: Sequence[Ranking]) -> Row:
    """Further columns, with the raters of whom the row holds no rating and no vote: they have no other place."""
    heard = {ranking.rater for ranking in rankings}
    heard |= {rating.rater for answer in answers for rating in answer.ratings}
    heard |= {answer.critique.rater for answer in answers if answer.critique is not None}
    for target in ("rater", *(f"{head}.rater" for head in values.columns.heads)):
        idle = [value for value in values.found.get(target, {}).values() if value is not None]
        idle = [value for value in idle if _text(value, values.where(target)) not in heard]
        if idle and values.columns.entries[target].paths:
            extra = _with_column(extra, target, idle if values.columns.entries[target].depth else idle[0])
    return extra


@dataclass
class _Answer:
    """One of the answers of a row."""

    head: str
    """Of its targets: ``answers``, ``answer_a``."""
    label: Label
    """The item that it is of a list; empty for one in a column of its own."""
    turns: Turns
    extra: Row = field(default_factory=dict)


def _listed_answers(values: _Values) -> tuple[Turns, list[_Answer]]:
    """The answers of a list, or the one of a row; the rest of each item is its own."""
    at = values.where("answers")
    found = values.found["answers"]
    if not found:
        raise RowError(at, "no-completion", None)
    named = values.turns("prompt", "user")
    answers, prompts = [], []
    for label, value in found.items():
        if value is None:
            raise RowError(at, "missing-field", None, f"answer {label[0]}" if label else "it is the answer")
        prompt, turns = _divided(values, named, _turns(value, at, "assistant", values), at)
        prompts.append(prompt)
        answers.append(_Answer("answers", label, turns))
    if any(prompt != prompts[0] for prompt in prompts):
        raise RowError(at, "prompt-mismatch", None, "the answers of a row follow one prompt")
    _take_items(values, answers)
    return prompts[0], answers


def _take_items(values: _Values, answers: Sequence[_Answer]) -> None:
    """Move what is left of each item from the row's further columns to its answer's."""
    rests: list[Place] = []
    for answer in answers:
        held: Any = values.extra
        place = values.items.get(answer.label, ())
        for name in place:
            inside = isinstance(held, list) and isinstance(name, int) and name < len(held)
            held = held[name] if inside or (isinstance(held, dict) and name in held) else None
        if place and isinstance(held, dict):
            answer.extra = held
            rests.append(place)
    if rests:
        values.extra = without(values.extra, rests)


def _lettered_answers(values: _Values) -> tuple[Turns, list[_Answer]]:
    """Answers in columns of their own. From the third on one may be missing, where nothing is said of it."""
    sides: dict[str, Turns] = {}
    for number, head in enumerate(values.columns.heads):
        if number > 1 and values.one(head) is None:
            if told := next((name for name in values.found if name.startswith(f"{head}.") and values.one(name)), None):
                raise RowError(values.where(head), "missing-field", None, f"{values.where(told)} is said of it")
            continue
        sides[head] = _turns(values.required(head), values.where(head), "assistant", values)
    prompt, turns = _divided_sides(values, sides)
    return prompt, [_Answer(head, (), one) for head, one in zip(sides, turns, strict=True)]


def _check_labels(values: _Values, answer: _Answer, answers: Sequence[_Answer]) -> None:
    """Lists that belong to the answers must be as long as they; of objects, each name must be an answer's."""
    if answer is not answers[0] or not answer.label:
        return
    known = {each.label for each in answers}
    for target, found in values.found.items():
        entry = values.columns.entries[target]
        if entry.head != answer.head or entry.depth < len(answer.label) or target == "answers":
            continue
        given = {label[: len(answer.label)] for label in found}
        listed = all(isinstance(part, int) for label in known for part in label)
        if given - known or (given and listed and entry.depth == len(answer.label) and known - given):
            detail = f"{len(known)} answers, {len(given)} values"
            raise RowError(entry.where, "length-mismatch", len(given), detail)


def _of_answer(values: _Values, answer: _Answer, target: str) -> dict[Label, Any]:
    """What a target says of an answer: the label below the answer's → value."""
    name = f"{answer.head}.{target}"
    found = values.found.get(name)
    if not found:
        return {}
    deep = len(answer.label)
    if not deep:
        return found
    if values.columns.entries[name].depth < deep:  # one value for all answers
        return dict.fromkeys([()], next(iter(found.values())))
    if name not in values.grouped:
        groups = values.grouped[name] = {}
        for label, value in found.items():
            groups.setdefault(label[:deep], {})[label[deep:]] = value
    return values.grouped[name].get(answer.label, {})


def _completion(values: _Values, answer: _Answer) -> Completion:
    def text(target: str) -> str:
        value = next(iter(_of_answer(values, answer, target).values()), None)
        return "" if value is None else _text(value, values.where(f"{answer.head}.{target}"))

    own = values.columns.entries.get(f"{answer.head}.critique.score")
    score = next(iter(_of_answer(values, answer, "critique.score").values()), None)
    said, number = text("critique"), None if own is None else _number(score, own)
    critique = None
    if said or number is not None:
        rater = _rater(values, answer, ())
        critique = Critique(text=said, score=number, rater=rater, scale=own.scale if own else None)
    last = next(turn.content for turn in reversed(answer.turns) if turn.role == "assistant")
    plain = answer.turns == (Message(role="assistant", content=last),)
    return Completion(
        text=last,
        model=text("model"),
        ratings=tuple(_ratings(values, answer)),
        critique=critique,
        extra=answer.extra,
        turns=() if plain else answer.turns,
    )


def _ratings(values: _Values, answer: _Answer) -> Iterator[Rating]:
    for field_, entry, aspect, why in values.columns.graded[answer.head]:
        rationales = _of_answer(values, answer, why)
        grades = _of_answer(values, answer, field_)
        # A reason without a grade is a rating without a value: it was given.
        alone = (label for label, said in rationales.items() if said is not None and (label or not grades))
        for label in dict.fromkeys([*grades, *alone]):
            value, rationale = grades.get(label), rationales.get(label, rationales.get(()))
            if entry.by_raters and value is None and rationale is None:
                continue  # an empty cell of a rater who did not rate
            yield Rating(
                aspect=str(label[-1]) if aspect == "*" else aspect,
                value=_number(value, entry),
                rationale="" if rationale is None else _text(rationale, values.where(f"{answer.head}.{why}")),
                rater=_rater(values, answer, label[:-1] if aspect == "*" else label, entry),
                scale=entry.scale,
            )


def _rater(values: _Values, answer: _Answer, label: Label, entry: Entry | None = None) -> str:
    """Who gave a rating: of an answer's raters the one of its place, of the row's the one of the same number."""
    if entry is not None and entry.by_raters and label:
        return str(label[-1])
    own = f"{answer.head}.rater"
    if values.has(own):
        raters = _of_answer(values, answer, "rater")
        value = raters.get(label, raters.get(()))
        at = values.where(own)
    elif values.has("rater"):
        raters, at = values.found["rater"], values.where("rater")
        depth = values.columns.entries["rater"].depth
        value = raters.get(label[-depth:] if depth else ())
        if depth and value is None and label:
            raise RowError(at, "length-mismatch", len(raters), f"there is no rater for rating {label[-1]}")
    else:
        return ""
    return "" if value is None else _text(value, at)


def _votes(values: _Values, answers: Sequence[_Answer]) -> Iterator[Ranking]:
    """The votes of a row: 1 for the answer that won, 2 for the others, 1 for all in a tie."""
    if not values.has("winner"):
        return
    at = values.where("winner")
    by_raters = values.columns.entries["winner"].by_raters
    votes = values.found["winner"]
    if by_raters:  # an empty cell of a rater who did not vote
        votes = {label: value for label, value in votes.items() if value is not None}
    for label, value in (votes or {(): None}).items():
        if value is None:
            raise RowError(at, "missing-field", None, "it is the vote")
        best = _voted_for(value, answers, values, at)
        ranks = tuple(1 if best is None or number == best else 2 for number in range(len(answers)))
        said = {name: values.found.get(f"winner.{name}", {}) for name in ("strength", "question", "rationale")}
        beside = {name: found.get(label, found.get(())) for name, found in said.items()}
        clear = values.columns.entries.get("winner.strength")
        yield Ranking(
            ranks=ranks,
            rater=str(label[-1]) if by_raters else _voter(values, label),
            strength=_number(beside["strength"], clear) if clear else None,
            scale=clear.scale if clear else None,
            question="" if beside["question"] is None else _text(beside["question"], values.where("winner.question")),
            rationale=""
            if beside["rationale"] is None
            else _text(beside["rationale"], values.where("winner.rationale")),
        )


def _voted_for(value: object, answers: Sequence[_Answer], values: _Values, at: str) -> int | None:
    """Which answer a vote is for: its letter, its model or its own text; None for a tie."""
    word = str(value).strip().lower()
    if word == "tie":
        return None
    letters = [
        answer.head[-1] if answer.head != "answers" else "abcdefghijklmnopqrstuvwxyz"[n : n + 1]
        for n, answer in enumerate(answers)
    ]
    found = {n for n, letter in enumerate(letters) if word == letter}
    if isinstance(value, str):
        for number, answer in enumerate(answers):
            models = _of_answer(values, answer, "model").values()
            if value in models or value == answer.turns[-1].content:
                found.add(number)
    if len(found) != 1:
        known = f"{', '.join(filter(None, letters))} and tie are known; say by 'values' what else means them"
        raise RowError(at, "unknown-vote", value, f"it fits {len(found)} answers" if found else known)
    return found.pop()


def _voter(values: _Values, label: Label) -> str:
    raters = values.found.get("rater", {})
    value = raters.get(label, raters.get(()))
    if raters and value is None and () not in raters:
        raise RowError(values.where("rater"), "length-mismatch", len(raters), "there is no rater for a vote")
    return "" if value is None else _text(value, values.where("rater"))


def _ranked(values: _Values, answers: Sequence[_Answer]) -> Iterator[Ranking]:
    """Orders of the answers, one of each rater: the least rank is the best."""
    entries = {answer.head: values.columns.entries.get(f"{answer.head}.rank") for answer in answers}
    if not any(entries.values()):
        return
    orders: dict[Label, dict[int, float | None]] = {}
    for number, answer in enumerate(answers):
        entry = entries[answer.head]
        for label, value in _of_answer(values, answer, "rank").items() if entry else ():
            assert entry is not None
            rank = _number(value, entry)
            if rank is not None and not rank.is_integer():
                raise RowError(entry.where, "not-a-number", value, "a rank is a whole number")
            orders.setdefault(label, {})[number] = rank
    for label, order in orders.items():
        ranks = [order.get(number) for number in range(len(answers))]
        if any(rank is not None for rank in ranks):
            rater = _rater(values, answers[0], label, entries[answers[0].head])
            yield Ranking(ranks=_places(ranks, one=len(answers) == 1), rater=rater)


def _places(ranks: Sequence[float | None], *, one: bool = False) -> tuple[int | None, ...]:
    """Ranks as places: 1 for the least, the same for equal ones. Of an answer alone the rank itself, to be joined."""
    known = [rank for rank in ranks if rank is not None]
    if one:
        return tuple(None if rank is None else round(rank) for rank in ranks)  # a whole number: see _ranked
    return tuple(None if rank is None else 1 + sum(other < rank for other in known) for rank in ranks)


def _merge(rows: Sequence[Feedback], tally: Tally) -> Feedback:
    """Rows of one prompt as one record; ranks that stood on rows of their own are one order for each rater."""
    found = merge_feedback(rows, tally)
    alone = [ranking for ranking in found.rankings if sum(rank is not None for rank in ranking.ranks) == 1]
    if not alone:
        return found
    orders: dict[str, list[float | None]] = {}
    for ranking in alone:
        order = orders.setdefault(ranking.rater, [None] * len(found.completions))
        for number, rank in enumerate(ranking.ranks):
            order[number] = rank if rank is not None else order[number]
    rankings = [ranking for ranking in found.rankings if ranking not in alone]
    rankings += [Ranking(ranks=_places(order), rater=rater) for rater, order in orders.items()]
    return msgspec.structs.replace(found, rankings=tuple(rankings))
