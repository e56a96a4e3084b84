"""The layouts that can be read: how each is recognised, and how its rows become records.

    ultrafeedback      instruction, completions[{model, response, annotations, critique, overall_score …}]
    feedback           instruction, completions[{model, response, gpt4_scores[], gpt4_feedback[]}]
    pairs              prompt, chosen, rejected: texts or lists of messages; the lists may repeat the prompt
    notus-feedback     our own ``Feedback`` records
    notus-preferences  our own ``Preference`` records

Owns the decoders but for raw UltraFeedback, which has a module of its own. Where rows come from and what becomes of bad
ones is owned by ``data.sources``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from notus.core import tables
from notus.core.errors import ConfigError, nearest
from notus.core.records import Completion, Feedback, Message, Preference, Rating
from notus.data import ultrafeedback
from notus.data.fields import divided, grade, items, needed, number, turns, typed
from notus.data.quarantine import RowError, explained

__all__ = ["LAYOUTS", "Layout", "detect", "layout_named"]

Row = dict[str, Any]
T = TypeVar("T", Feedback, Preference)


@dataclass(frozen=True)
class Layout:
    """One known layout of rows."""

    name: str
    record: type[Feedback] | type[Preference]
    """What its rows become."""
    matches: Callable[[Row], bool]
    decode: Callable[[Row], Feedback | Preference]
    """Reads a row that has been parsed; raises ``RowError``."""
    decode_json: Callable[[bytes], Feedback | Preference] | None = None
    """A faster reader of the usual row. Whatever it raises, ``decode`` has the last word."""


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


_OWN_FEEDBACK = frozenset(Feedback.__struct_fields__)
_OWN_PREFERENCE = frozenset(Preference.__struct_fields__)
_PAIR = ("prompt", "chosen", "rejected")
_SCORES = ("score_chosen", "score_rejected")
_PAIR_TEXTS = ("source", "model_chosen", "model_rejected", "feedback_id")
_FEEDBACK = ("instruction", "completions", "source")
_ANSWER = ("model", "response", "gpt4_scores", "gpt4_feedback")
_JUDGED = frozenset({"annotations", "critique", "overall_score", "fine-grained_score"})


def _is_own_feedback(row: Row) -> bool:
    return row.keys() >= {"prompt", "completions"} and row.keys() <= _OWN_FEEDBACK


def _is_own_preference(row: Row) -> bool:
    return row.keys() == _OWN_PREFERENCE


def _first_answer(row: Row) -> Row:
    """The first completion of a row that has an instruction, or an empty object."""
    answers = row.get("completions")
    if not isinstance(row.get("instruction"), str) or not isinstance(answers, list):
        return {}
    return answers[0] if answers and isinstance(answers[0], dict) else {}


def _is_feedback(row: Row) -> bool:
    return "gpt4_scores" in _first_answer(row)


def _is_ultrafeedback(row: Row) -> bool:
    return bool(_JUDGED & _first_answer(row).keys())


def _is_pairs(row: Row) -> bool:
    answers = (row.get("chosen"), row.get("rejected"))
    implicit = all(isinstance(answer, list) for answer in answers)
    return all(isinstance(answer, (str, list)) for answer in answers) and ("prompt" in row or implicit)


def _own_feedback(row: Row) -> Feedback:
    return _own(row, Feedback)


def _own_preference(row: Row) -> Preference:
    return _own(row, Preference)


def _own(row: Row, kind: type[T]) -> T:
    try:
        return tables.from_row(row, kind)
    except msgspec.ValidationError as error:
        raise explained(error, "", row) from None


def _feedback(row: Row) -> Feedback:
    known, extra = divided(row, _FEEDBACK)
    answers = items(needed(known, "completions"), "completions")
    instruction = typed(needed(known, "instruction"), str, "instruction")
    return Feedback(
        prompt=(Message(role="user", content=instruction),),
        completions=tuple(_answer(item, f"completions[{index}]") for index, item in enumerate(answers)),
        source=typed(known.get("source", ""), str, "source"),
        extra=extra,
    )


def _answer(item: object, at: str) -> Completion:
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, "an object with model, response and gpt4_scores is needed")
    known, extra = divided(item, _ANSWER)
    scores = typed(needed(known, "gpt4_scores", f"{at}."), list[Any], f"{at}.gpt4_scores")
    texts = typed(known.get("gpt4_feedback", [""] * len(scores)), list[str], f"{at}.gpt4_feedback")
    if len(scores) != len(texts):
        raise RowError(f"{at}.gpt4_feedback", "length-mismatch", texts, f"{len(scores)} scores, {len(texts)} texts")
    return Completion(
        text=typed(needed(known, "response", f"{at}."), str, f"{at}.response"),
        model=typed(needed(known, "model", f"{at}."), str, f"{at}.model"),
        ratings=tuple(
            Rating(aspect="rubric", value=grade(score, f"{at}.gpt4_scores[{index}]"), rationale=text)
            for index, (score, text) in enumerate(zip(scores, texts, strict=True))
        ),
        extra=extra,
    )


def _pair(row: Row) -> Preference:
    extra = {name: value for name, value in row.items() if name not in _PAIR}
    prompt, more = turns(row["prompt"], "prompt", "user") if row.get("prompt") is not None else (None, False)
    chosen, more_chosen = turns(needed(row, "chosen"), "chosen", "assistant")
    rejected, more_rejected = turns(needed(row, "rejected"), "rejected", "assistant")
    # What a message holds beside role and content has no place in a record: the list is kept as it came.
    if more or more_chosen or more_rejected:
        held_more = zip(_PAIR, (more, more_chosen, more_rejected), strict=True)
        extra |= {f"{name}_as_read": row[name] for name, held in held_more if held}
    prompt, chosen, rejected = _without_prompt(prompt, chosen, rejected)
    score_chosen, score_rejected = (_pair_score(extra, name) for name in _SCORES)
    # Text columns of our own names are taken up; under another type such a column is someone else's, and stays.
    texts = {name: extra.pop(name) for name in _PAIR_TEXTS if isinstance(extra.get(name), str)}
    return Preference(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        score_chosen=score_chosen,
        score_rejected=score_rejected,
        extra=extra,
        **texts,
    )


def _pair_score(extra: Row, name: str) -> float | None:
    """Take a score out of the further columns, or out of ``metadata`` among them, if it is there."""
    if name in extra:
        value, at = extra.pop(name), name
    elif isinstance(extra.get("metadata"), dict) and name in extra["metadata"]:
        rest = dict(extra["metadata"])
        value, at = rest.pop(name), f"metadata.{name}"
        extra["metadata"] = rest
        if not rest:
            del extra["metadata"]
    else:
        return None
    return None if value is None else number(value, at)


Turns = tuple[Message, ...]


def _without_prompt(prompt: Turns | None, chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """Take the turns that both answers share off them, where the answers repeat the prompt as in H4's files."""
    if chosen[0].role == "assistant" and rejected[0].role == "assistant":
        if prompt is None:
            raise RowError("prompt", "missing-field")
        return prompt, chosen, rejected
    length = 0
    # At least one turn is left on each side, also where both answers are the same.
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    shared, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
    if not shared or {chosen[0].role, rejected[0].role} != {"assistant"}:
        raise RowError(
            "rejected", "prompt-mismatch", rejected[0].content, "chosen and rejected differ before an answer"
        )
    if prompt is not None and not all(turn in shared for turn in prompt):
        raise RowError("prompt", "prompt-mismatch", prompt[-1].content, "chosen and rejected follow another prompt")
    return shared, chosen, rejected


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("notus-feedback", Feedback, _is_own_feedback, _own_feedback),
        Layout("notus-preferences", Preference, _is_own_preference, _own_preference),
        Layout("feedback", Feedback, _is_feedback, _feedback),
        Layout("ultrafeedback", Feedback, _is_ultrafeedback, ultrafeedback.decode, ultrafeedback.decode_json),
        Layout("pairs", Preference, _is_pairs, _pair),
    )
}
"""Name → layout, in the order in which they are tried."""
