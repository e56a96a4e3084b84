"""The changes that a decision makes to one record or answer, and their trace: pure functions.

Owns what a swap, a score and an edit are on each kind of record. Which decision is on which record is owned by
``apply``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from notus.core.errors import DataError
from notus.core.records import (
    Completion,
    Critique,
    Decision,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Rating,
    Scale,
    Unpaired,
)
from notus.decisions.settle import Word

__all__ = [
    "OVERALL",
    "RATED",
    "RULE",
    "SCORED",
    "Change",
    "edit_answer",
    "edit_text",
    "set_score",
    "swap",
    "trace",
]

OVERALL = "overall_score"
SCORED, RATED = Scale(low=1, high=10), Scale(low=1, high=5)
"""The scales of an overall score and of an aspect where nothing says another: UltraFeedback's."""
RULE = "decided"
"""The rule of what is traced."""


class Change(NamedTuple):
    """What was changed: a field as decisions name it, and its values."""

    field: str
    before: Any
    after: Any


def trace(record: Feedback | Preference | Unpaired | Dialogue, target: str, change: Change, word: Word) -> Decision:
    """A change as it is traced."""
    return Decision(
        target=target,
        field=change.field,
        before=change.before,
        after=change.after,
        rule=RULE,
        by=word.by,
        file=record.file,
        line=record.line,
        evidence=word.why,
    )


def swap(pair: Preference) -> Preference:
    """The pair with its sides exchanged: texts, scores, models, the margin, and further columns of a side."""
    return msgspec.structs.replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        score_chosen=pair.score_rejected,
        score_rejected=pair.score_chosen,
        model_chosen=pair.model_rejected,
        model_rejected=pair.model_chosen,
        margin=None if pair.margin is None else 0.0 - pair.margin,
        extra=dict(_exchanged(pair.extra)),
    )


def _exchanged(extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Columns such as ``chosen_index`` under the name of the other side."""
    for name, value in extra.items():
        sides = name.replace("rejected", "\0").replace("chosen", "rejected").replace("\0", "chosen")
        yield sides, value


def set_score(completion: Completion, name: str, word: Word, about: str) -> tuple[Completion, Change | None]:
    """The answer with a score set; no change where it has it.

    An aspect that several have rated has one grade then, that of who decided.

    Args:
        completion: the answer.
        name: ``overall_score`` or an aspect.
        word: the score, and who set it.
        about: names the answer, for errors.

    Raises:
        DataError: if the score is not on the scale that the answer's is on: the one that it says, and otherwise the
            usual one, unless what stands there is off that itself.
    """
    value = None if word.value is None else float(word.value)
    if name == OVERALL:
        critique = completion.critique or Critique(text="", score=None, rater=word.by)
        _check_scale(value, critique.scale or _usual(SCORED, [critique.score]), name, about)
        if critique.score == value:
            return completion, None
        changed = msgspec.structs.replace(critique, score=value)
        return msgspec.structs.replace(completion, critique=changed), Change("critique.score", critique.score, value)
    own = [each for each in completion.ratings if each.aspect == name]
    scale = own[0].scale if own else None
    _check_scale(value, scale or _scale_of(own or completion.ratings), name, about)
    if len(own) == 1 and own[0].value == value:
        return completion, None
    before = own[0].value if len(own) == 1 else [each.value for each in own] or None
    one = (
        msgspec.structs.replace(own[0], value=value)
        if len(own) == 1
        else Rating(aspect=name, value=value, rater=word.by, scale=scale)
    )
    place = completion.ratings.index(own[0]) if own else len(completion.ratings)
    others = [each for each in completion.ratings if each.aspect != name]
    place -= sum(each.aspect == name for each in completion.ratings[:place])
    ratings = (*others[:place], one, *others[place:])
    return msgspec.structs.replace(completion, ratings=ratings), Change(f"ratings.{name}", before, value)


def _scale_of(ratings: Sequence[Rating]) -> Scale | None:
    """The scale that ratings say they are on, all the same one, and otherwise the usual one."""
    said = {each.scale for each in ratings if each.scale is not None}
    if not said:
        return _usual(RATED, [each.value for each in ratings])
    return next(iter(said)) if len(said) == 1 else None


def _usual(scale: Scale, values: Iterable[float | None]) -> Scale | None:
    """The usual scale; None where a value that stands in the data lies off it, for then it is on another."""
    return scale if all(scale.low <= each <= scale.high for each in values if each is not None) else None


def _check_scale(value: float | None, scale: Scale | None, name: str, about: str) -> None:
    if value is not None and scale is not None and not scale.low <= value <= scale.high:
        raise DataError(
            f"{about}: {name} is set to {value:g}, and its scale is {scale.low:g} to {scale.high:g}; take the decision "
            "back (notus decide undo)"
        )


def edit_answer(completion: Completion, text: str) -> Completion:
    """The answer with another text: of several turns that of the assistant's last."""
    places = [place for place, turn in enumerate(completion.turns) if turn.role == "assistant"]
    turns = _with_text(completion.turns, places[-1], text) if places else completion.turns
    return msgspec.structs.replace(completion, text=text, turns=turns)


def edit_text(record: Any, name: str, text: str) -> tuple[Any, Change | None] | None:
    """A record with one of its texts replaced, its last turn of that side; None where it has no such text.

    Args:
        record: feedback, a pair, a row or a dialogue.
        name: ``prompt``, ``answer``, ``chosen`` or ``rejected``.
        text: the new one.
    """
    field, place = name, -1
    if isinstance(record, Dialogue):
        field, role = "messages", "assistant" if name == "answer" else "user"
        last = len(record.messages) - 1
        places = [at for at, turn in enumerate(record.messages) if turn.role == role]
        if name == "answer":
            places = [at for at in places if at == last]
        if not places:
            return None
        place = places[-1]
    turns: tuple[Message, ...] = getattr(record, field, ())
    if not turns:
        return None
    before = turns[place].content
    if before == text:
        return record, None
    changed = msgspec.structs.replace(record, **{field: _with_text(turns, place, text)})
    return changed, Change(name, before, text)


def _with_text(turns: tuple[Message, ...], place: int, text: str) -> tuple[Message, ...]:
    place %= len(turns)
    return (*turns[:place], msgspec.structs.replace(turns[place], content=text), *turns[place + 1 :])
