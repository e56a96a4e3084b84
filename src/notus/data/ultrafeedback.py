"""The raw UltraFeedback layout, both ways: a row as JSON → ``Feedback``, and ``Feedback`` → a row.

Owns what the fields of that layout mean. Source: https://huggingface.co/datasets/openbmb/UltraFeedback and Cui et al.
2023, https://arxiv.org/abs/2310.01377.

There are two readers with one meaning. ``decode_json`` decodes a row of exactly the published fields straight into
typed structs, at about the speed of a bare parse. ``decode`` takes any row: it keeps further fields, forgives what the
set is known to hold (numbers for texts, nulls, an aspect left as an empty list) and says of a bad row which field broke
which rule. The first hands over to the second whenever it is not sure.

What follows from the rest is not kept twice: ``models``, ``fine-grained_score`` and the answer lists ``["None"]`` go
into ``extra`` only where they say something else.
"""

from decimal import Decimal
from typing import Annotated, Any

import msgspec

from notus.core.errors import DataError
from notus.core.records import Completion, Critique, Feedback, Message, Rating
from notus.data.fields import divided, grade, items, needed, typed
from notus.data.quarantine import RowError

__all__ = ["decode", "decode_json", "to_ultrafeedback"]

Grade = Annotated[float, msgspec.Meta(ge=0, le=100)]
Name = Annotated[str, msgspec.Meta(min_length=1)]

_NO_ANSWERS = ["None"]
_WITH_TYPES = ("helpfulness", "truthfulness")
_STATED = "fine-grained_score"


class _Annotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    rating: str = msgspec.field(name="Rating")
    rationale: str = msgspec.field(name="Rationale", default="")
    types: tuple[str, ...] = msgspec.field(name="Type", default=())
    rating_rationale: str | None = msgspec.field(name="Rationale For Rating", default=None)


class _Completion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str
    response: str
    annotations: dict[Name, _Annotation]
    critique: str | None = None
    overall_score: Grade | None = None
    stated: Grade | None = msgspec.field(name=_STATED, default=None)
    principle: str = ""
    custom_system_prompt: str = ""


class _Head(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    instruction: str
    source: str = ""
    models: list[str] | None = None
    correct_answers: list[str] | None = None
    incorrect_answers: list[str] | None = None


class _Row(_Head, forbid_unknown_fields=True, kw_only=True):
    completions: Annotated[list[_Completion], msgspec.Meta(min_length=1)]


_DECODER = msgspec.json.Decoder(_Row)
_GRADES: dict[str, float | None] = {**{str(value): float(value) for value in range(11)}, "N/A": None}
_ROW_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(_Row))
_COMPLETION_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(_Completion))
_ANNOTATION_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(_Annotation))


def decode_json(row: bytes) -> Feedback:
    """Read a row of exactly the published fields.

    Raises:
        ValueError, RowError, RecursionError: whatever is unusual about the row; ``decode`` then says what.
    """
    raw = _DECODER.decode(row)
    return _feedback(raw, tuple([_completion(item, {}, "") for item in raw.completions]), {})


def decode(row: dict[str, Any]) -> Feedback:
    """Read any raw row.

    Raises:
        RowError: with the field and the rule that it broke.
    """
    known, extra = divided(row, _ROW_FIELDS)
    completions = items(needed(known, "completions"), "completions")
    del known["completions"]
    head = typed(known, _Head, "")
    parts = tuple(_any_completion(item, f"completions[{index}]") for index, item in enumerate(completions))
    return _feedback(head, parts, extra)


def to_ultrafeedback(feedback: Feedback) -> dict[str, Any]:
    """The record as a raw row; reading that row gives the same record again.

    Raises:
        DataError: if the layout has no place for something: a prompt that is not one user turn, an aspect rated
            twice, or a further column with the name of a field.
    """
    if len(feedback.prompt) != 1 or feedback.prompt[0].role != "user":
        raise DataError(f"feedback {feedback.id}: a raw UltraFeedback row holds one user turn as its prompt, no more")
    extra = dict(feedback.extra)
    row = {
        "source": feedback.source,
        "instruction": feedback.prompt[0].content,
        "models": extra.pop("models", [item.model for item in feedback.completions]),
        "completions": [_raw_completion(item) for item in feedback.completions],
        "correct_answers": extra.pop("correct_answers", _NO_ANSWERS),
        "incorrect_answers": extra.pop("incorrect_answers", _NO_ANSWERS),
    }
    return _joined(row, extra)


def _feedback(head: _Head, completions: tuple[Completion, ...], extra: dict[str, Any]) -> Feedback:
    if head.models is not None and head.models != [item.model for item in completions]:
        extra["models"] = head.models
    if head.correct_answers is not None and head.correct_answers != _NO_ANSWERS:
        extra["correct_answers"] = head.correct_answers
    if head.incorrect_answers is not None and head.incorrect_answers != _NO_ANSWERS:
        extra["incorrect_answers"] = head.incorrect_answers
    prompt = (Message(role="user", content=head.instruction),)
    return Feedback(prompt=prompt, completions=completions, source=head.source, extra=extra)


def _completion(raw: _Completion, extra: dict[str, Any], at: str) -> Completion:
    ratings = tuple([_rating(aspect, item, at) for aspect, item in raw.annotations.items()])
    critique = None
    if raw.critique is not None or raw.overall_score is not None:
        critique = Critique(text=raw.critique or "", score=raw.overall_score)
    completion = Completion(
        text=raw.response,
        model=raw.model,
        ratings=ratings,
        critique=critique,
        principle=raw.principle,
        system_prompt=raw.custom_system_prompt,
        extra=extra,
    )
    if raw.stated is not None and raw.stated != completion.mean_rating:
        extra[_STATED] = raw.stated
    return completion


def _rating(aspect: str, raw: _Annotation, at: str) -> Rating:
    value = _GRADES[raw.rating] if raw.rating in _GRADES else grade(raw.rating, f"{at}.annotations.{aspect}.Rating")
    if raw.rating_rationale is None:
        return Rating(aspect=aspect, value=value, rationale=raw.rationale, types=raw.types)
    # With types there are two rationales, and "Rationale" is the one for the types.
    return Rating(
        aspect=aspect,
        value=value,
        rationale=raw.rating_rationale,
        types=raw.types,
        types_rationale=raw.rationale,
    )


def _any_completion(item: object, at: str) -> Completion:
    try:
        return _completion(msgspec.convert(item, _Completion), {}, at)
    except (msgspec.ValidationError, OverflowError, RecursionError):
        pass  # not of exactly the published fields: read with care
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, "an object with model, response and annotations is needed")
    known, extra = divided(item, _COMPLETION_FIELDS)
    for name in ("overall_score", _STATED):
        if name in known:
            known[name] = grade(known[name], f"{at}.{name}")
    annotations = needed(known, "annotations", f"{at}.")
    if not isinstance(annotations, dict):
        raise RowError(f"{at}.annotations", "wrong-type", annotations, "an object with one entry per aspect is needed")
    raw = typed({**known, "annotations": {}}, _Completion, at)
    further: dict[str, dict[str, Any]] = {}
    for aspect, annotation in annotations.items():
        if annotation is None or annotation in ([], {}):
            continue  # the set's own collector left an empty list after ten replies that it could not parse
        raw.annotations[aspect], more = _any_annotation(aspect, annotation, f"{at}.annotations.{aspect}")
        further |= {aspect: more} if more else {}
    return _completion(raw, extra | ({"annotations": further} if further else {}), at)


def _any_annotation(aspect: str, annotation: object, at: str) -> tuple[_Annotation, dict[str, Any]]:
    if not aspect:
        raise RowError(at, "empty-name", aspect)
    if not isinstance(annotation, dict):
        raise RowError(at, "wrong-type", annotation, "an object with Rating and Rationale is needed")
    known, extra = divided(annotation, _ANNOTATION_FIELDS)
    known["Rating"] = _decimal(grade(needed(known, "Rating", f"{at}."), f"{at}.Rating"))
    types = known.get("Type", [])
    listed = types if isinstance(types, list) else [types]
    known["Type"] = [str(part) if isinstance(part, int) and not isinstance(part, bool) else part for part in listed]
    return typed(known, _Annotation, at), extra


def _raw_completion(item: Completion) -> dict[str, Any]:
    extra = dict(item.extra)
    annotations: dict[str, dict[str, Any]] = {}
    for rating in item.ratings:
        if rating.aspect in annotations:
            raise DataError(f"'{rating.aspect}' is rated twice; a raw UltraFeedback row holds one rating per aspect")
        annotations[rating.aspect] = _raw_annotation(rating)
    for aspect, more in extra.pop("annotations", {}).items():
        annotations[aspect] = _joined(annotations.get(aspect, {}), more)
    row: dict[str, Any] = {"annotations": annotations}
    if item.critique is not None:
        row |= {"critique": item.critique.text, "overall_score": item.critique.score}
    row |= {"custom_system_prompt": item.system_prompt, _STATED: extra.pop(_STATED, item.mean_rating)}
    row |= {"model": item.model, "principle": item.principle, "response": item.text}
    return _joined(row, extra)


def _raw_annotation(rating: Rating) -> dict[str, Any]:
    row: dict[str, Any] = {"Rating": _decimal(rating.value)}
    if rating.aspect in _WITH_TYPES or rating.types or rating.types_rationale:
        both = {"Rationale": rating.types_rationale, "Rationale For Rating": rating.rationale}
        return row | both | {"Type": list(rating.types)}
    return row | {"Rationale": rating.rationale}


def _decimal(value: float | None) -> str:
    """A grade in the set's own spelling: "4", "7.5", "N/A"; never with an exponent."""
    if value is None:
        return "N/A"
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def _joined(row: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(row.keys() & extra.keys()):
        raise DataError(f"the further column '{taken[0]}' has the name of a field of the layout; rename it")
    return row | extra
