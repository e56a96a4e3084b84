"""UltraFeedback as it was published, both ways: a row as JSON → ``Feedback``, and ``Feedback`` → a row.

    ultrafeedback  instruction, completions[{model, response, annotations{}, critique, overall_score, …}]

Owns what the fields of that format mean. Source: https://huggingface.co/datasets/openbmb/UltraFeedback and Cui et al.
2023, https://arxiv.org/abs/2310.01377.

There are two readers with one meaning. ``decode_json`` decodes a row of exactly the published fields straight into
typed structs, at about the speed of a bare parse. ``decode`` takes any row: it keeps further fields, forgives what the
set is known to hold (numbers for texts, nulls, an aspect left as an empty list) and says of a bad row which field broke
which rule. The first hands over to the second whenever it is not sure.

What follows from the rest is not kept twice: ``models``, ``fine-grained_score`` and the answer lists ``["None"]`` go
into ``extra`` only where they say something else. The format promises that the four aspects are rated from 1 to 5 and
the overall score from 1 to 10. Who rated it does not say; what we write of that beside its own fields (``rater``, and
``scale`` where it is another) is read again.
"""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from notus.core.errors import DataError
from notus.core.records import ASPECTS, Completion, Critique, Feedback, Message, Rating, Scale
from notus.formats.fields import read_as, read_grade, read_list, required, split_fields, with_extra
from notus.formats.format import Format, Row
from notus.formats.quarantine import RowError

__all__ = ["FORMATS", "RATED", "SCORED", "STATED_MEAN", "decode", "decode_json", "first_completion", "to_ultrafeedback"]

STATED_MEAN = "fine-grained_score"
"""Field of a completion, in the rows and in ``extra``: the mean of the ratings that the set itself states."""

RATED, SCORED = Scale(low=1, high=5), Scale(low=1, high=10)
"""The scales of the four aspects and of the overall score."""

Grade = Annotated[float, msgspec.Meta(ge=0, le=100)]
Name = Annotated[str, msgspec.Meta(min_length=1)]

_NO_ANSWERS = ["None"]
_WITH_TYPES = ("helpfulness", "truthfulness")
_JUDGED = frozenset({"annotations", "critique", "overall_score", STATED_MEAN})


class _Annotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    rating: str = msgspec.field(name="Rating")
    rationale: str = msgspec.field(name="Rationale", default="")
    types: tuple[str, ...] = msgspec.field(name="Type", default=())
    rating_rationale: str | None = msgspec.field(name="Rationale For Rating", default=None)
    rater: str = ""
    scale: Scale | Literal["not said"] | None = None
    """As we write it beside the published fields, where it is not the format's own."""


class _Completion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str
    response: str
    annotations: dict[Name, _Annotation]
    critique: str | None = None
    overall_score: Grade | None = None
    stated: Grade | None = msgspec.field(name=STATED_MEAN, default=None)
    principle: str = ""
    custom_system_prompt: str = ""
    critique_rater: str = ""
    critique_scale: Scale | Literal["not said"] | None = None


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


def first_completion(row: Row) -> Row:
    """The first completion of a row that has an instruction, or an empty object."""
    answers = row.get("completions")
    if not isinstance(row.get("instruction"), str) or not isinstance(answers, list):
        return {}
    return answers[0] if answers and isinstance(answers[0], dict) else {}


def _matches(row: Row) -> bool:
    """Whether the first completion was judged as in UltraFeedback."""
    return bool(_JUDGED & first_completion(row).keys())


def decode_json(row: bytes) -> Feedback:
    """Read a row of exactly the published fields.

    Raises:
        ValueError, RowError, RecursionError: whatever is unusual about the row; ``decode`` then says what.
    """
    raw = _DECODER.decode(row)
    return _make_feedback(raw, tuple([_read_completion(item, {}, "") for item in raw.completions]), {})


def decode(row: Row) -> Feedback:
    """Read any raw row.

    Raises:
        RowError: with the field and the rule that it broke.
    """
    known, extra = split_fields(row, _ROW_FIELDS)
    completions = read_list(required(known, "completions"), "completions")
    del known["completions"]
    head = read_as(known, _Head, "")
    parts = tuple(_read_any_completion(item, f"completions[{index}]") for index, item in enumerate(completions))
    return _make_feedback(head, parts, extra)


def to_ultrafeedback(feedback: Feedback) -> Row:
    """The record as a raw row; reading that row gives the same record again.

    Raises:
        DataError: if the format has no place for something: a prompt that is not one user turn, an aspect rated
            twice, or a further column with the name of a field.
    """
    if len(feedback.prompt) != 1 or feedback.prompt[0].role != "user":
        raise DataError(f"feedback {feedback.id}: a raw UltraFeedback row holds one user turn as its prompt, no more")
    extra = dict(feedback.extra)
    row = {
        "source": feedback.source,
        "instruction": feedback.prompt[0].content,
        "models": extra.pop("models", [item.model for item in feedback.completions]),
        "completions": [_write_completion(item) for item in feedback.completions],
        "correct_answers": extra.pop("correct_answers", _NO_ANSWERS),
        "incorrect_answers": extra.pop("incorrect_answers", _NO_ANSWERS),
    }
    return with_extra(row, extra)


def _make_feedback(head: _Head, completions: tuple[Completion, ...], extra: Row) -> Feedback:
    if head.models is not None and head.models != [item.model for item in completions]:
        extra["models"] = head.models
    if head.correct_answers is not None and head.correct_answers != _NO_ANSWERS:
        extra["correct_answers"] = head.correct_answers
    if head.incorrect_answers is not None and head.incorrect_answers != _NO_ANSWERS:
        extra["incorrect_answers"] = head.incorrect_answers
    prompt = (Message(role="user", content=head.instruction),)
    return Feedback(prompt=prompt, completions=completions, source=head.source, extra=extra)


def _read_completion(raw: _Completion, extra: Row, at: str) -> Completion:
    ratings = tuple([_read_rating(aspect, item, at) for aspect, item in raw.annotations.items()])
    critique = None
    if raw.critique is not None or raw.overall_score is not None:
        scale = _read_scale(raw.critique_scale, SCORED)
        critique = Critique(text=raw.critique or "", score=raw.overall_score, rater=raw.critique_rater, scale=scale)
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
        extra[STATED_MEAN] = raw.stated
    return completion


def _read_rating(aspect: str, raw: _Annotation, at: str) -> Rating:
    value = (
        _GRADES[raw.rating] if raw.rating in _GRADES else read_grade(raw.rating, f"{at}.annotations.{aspect}.Rating")
    )
    scale = _read_scale(raw.scale, RATED if aspect in ASPECTS else None)
    if raw.rating_rationale is None:
        return Rating(
            aspect=aspect, value=value, rationale=raw.rationale, types=raw.types, rater=raw.rater, scale=scale
        )
    # With types there are two rationales, and "Rationale" is the one for the types.
    return Rating(
        aspect=aspect,
        value=value,
        rationale=raw.rating_rationale,
        types=raw.types,
        types_rationale=raw.rationale,
        rater=raw.rater,
        scale=scale,
    )


def _read_any_completion(item: object, at: str) -> Completion:
    try:
        return _read_completion(msgspec.convert(item, _Completion), {}, at)
    except (msgspec.ValidationError, OverflowError, RecursionError):
        pass  # not of exactly the published fields: read with care
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, "an object with model, response and annotations is needed")
    known, extra = split_fields(item, _COMPLETION_FIELDS)
    for name in ("overall_score", STATED_MEAN):
        if name in known:
            known[name] = read_grade(known[name], f"{at}.{name}")
    annotations = required(known, "annotations", f"{at}.")
    if not isinstance(annotations, dict):
        raise RowError(f"{at}.annotations", "wrong-type", annotations, "an object with one entry per aspect is needed")
    raw = read_as({**known, "annotations": {}}, _Completion, at)
    further: dict[str, Row] = {}
    for aspect, annotation in annotations.items():
        if annotation is None or annotation in ([], {}):
            continue  # the set's own collector left an empty list after ten replies that it could not parse
        raw.annotations[aspect], more = _read_any_annotation(aspect, annotation, f"{at}.annotations.{aspect}")
        further |= {aspect: more} if more else {}
    return _read_completion(raw, extra | ({"annotations": further} if further else {}), at)


def _read_any_annotation(aspect: str, annotation: object, at: str) -> tuple[_Annotation, Row]:
    if not aspect:
        raise RowError(at, "empty-name", aspect)
    if not isinstance(annotation, dict):
        raise RowError(at, "wrong-type", annotation, "an object with Rating and Rationale is needed")
    known, extra = split_fields(annotation, _ANNOTATION_FIELDS)
    if annotation.get("Rating", "") is None:
        known["Rating"] = "N/A"  # a null costs the grade, not the row
    known["Rating"] = _write_grade(read_grade(required(known, "Rating", f"{at}."), f"{at}.Rating"))
    types = known.get("Type", [])
    listed = types if isinstance(types, list) else [types]
    known["Type"] = [str(part) if isinstance(part, int) and not isinstance(part, bool) else part for part in listed]
    return read_as(known, _Annotation, at), extra


def _write_completion(item: Completion) -> Row:
    extra = dict(item.extra)
    annotations: dict[str, Row] = {}
    for rating in item.ratings:
        if rating.aspect in annotations:
            raise DataError(f"'{rating.aspect}' is rated twice; a raw UltraFeedback row holds one rating per aspect")
        annotations[rating.aspect] = _write_annotation(rating)
    for aspect, more in extra.pop("annotations", {}).items():
        annotations[aspect] = with_extra(annotations.get(aspect, {}), more)
    row: Row = {"annotations": annotations}
    if item.critique is not None:
        row |= {"critique": item.critique.text, "overall_score": item.critique.score}
        row |= {"critique_rater": item.critique.rater} if item.critique.rater else {}
        row |= {} if item.critique.scale == SCORED else {"critique_scale": _write_scale(item.critique.scale)}
    row |= {"custom_system_prompt": item.system_prompt, STATED_MEAN: extra.pop(STATED_MEAN, item.mean_rating)}
    row |= {"model": item.model, "principle": item.principle, "response": item.text}
    return with_extra(row, extra)


def _write_annotation(rating: Rating) -> Row:
    row: Row = {"Rating": _write_grade(rating.value)} | ({"rater": rating.rater} if rating.rater else {})
    if rating.scale != (RATED if rating.aspect in ASPECTS else None):
        row["scale"] = _write_scale(rating.scale)
    if rating.aspect in _WITH_TYPES or rating.types or rating.types_rationale:
        both = {"Rationale": rating.types_rationale, "Rationale For Rating": rating.rationale}
        return row | both | {"Type": list(rating.types)}
    return row | {"Rationale": rating.rationale}


def _read_scale(stated: Scale | str | None, promised: Scale | None) -> Scale | None:
    return stated if isinstance(stated, Scale) else promised if stated is None else None


def _write_scale(scale: Scale | None) -> Row | str:
    return "not said" if scale is None else {"low": scale.low, "high": scale.high}


def _write_grade(value: float | None) -> str:
    """A grade in the set's own spelling: "4", "7.5", "N/A"; never with an exponent."""
    if value is None:
        return "N/A"
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


FORMATS = (
    # Several judged answers say more than one, or than their order.
    Format(
        name="ultrafeedback",
        record=Feedback,
        decode=decode,
        matches=_matches,
        decode_json=decode_json,
        encode=to_ultrafeedback,
        before=("helpsteer",),
        sample={
            "source": "evol_instruct",
            "instruction": "Name a river.",
            "models": ["alder"],
            "completions": [
                {
                    "model": "alder",
                    "response": "The Oder.",
                    "annotations": {"honesty": {"Rating": "5", "Rationale": "It is sure and right."}},
                    "critique": "Right and short.",
                    "overall_score": 8.0,
                }
            ],
        },
    ),
)
