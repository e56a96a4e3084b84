"""Several answers in a row with their ratings, but for UltraFeedback, which has a module of its own.

    feedback             instruction, completions[{model, response, gpt4_scores[], gpt4_feedback[], annotators[]}]
    distilabel           instruction, generations[], generation_models[], ratings[], rationales[], model_name
    scored-answers       a prompt, a list of answers as objects, each with its text, model and score
    prometheus-feedback  orig_instruction, orig_response, orig_score, orig_feedback, orig_criteria; one answer a row

A score that is null, empty or "N/A" costs that score: what was written beside it is kept with no value, and no column
of a like name takes its place. Owns what these rows mean; a row for each answer or rating is owned by
``formats.families.tables``.

**distilabel** (https://distilabel.argilla.io/latest/components-gallery/tasks/ultrafeedback/): ``model_name`` is the
last task's model, that of the judge. With ``rationales-for-ratings``, ``rationales`` are of the ``types``. An answer
that is null was not generated: it goes, the list stays in ``extra`` as read. ``chosen`` and ``rejected`` beside the
answers are two of them, and stay in ``extra``. The pipeline does not say on which scale its task rates.
**Prometheus** (https://huggingface.co/datasets/prometheus-eval/Feedback-Collection): one score from 1 to 5 against a
rubric; answers to one instruction are joined.
"""

from collections.abc import Sequence
from typing import Any

from notus.core.records import Completion, Feedback, Message, Rating, Scale
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import first_completion
from notus.formats.families.votes import make_completion, read_answer, read_prompt
from notus.formats.fields import (
    keep_raw,
    read_as,
    read_list,
    read_name,
    read_score,
    read_source,
    read_text,
    read_turns,
    required,
    split_fields,
)
from notus.formats.format import Format, Row
from notus.formats.join import by_prompt
from notus.formats.quarantine import RowError

__all__ = ["FORMATS"]

_FEEDBACK = ("instruction", "completions", "source")
_ANSWER = ("model", "response", "gpt4_scores", "gpt4_feedback")
_GRADES = Scale(low=1, high=5)

_ASKED = ("instruction", "prompt", "input", "question", "messages", "conversation")
_RATED = ("ratings", "rating")
_MODELS = ("generation_models", "generation_model", "model_names")
_JUDGES = ("ultrafeedback_model", "labelling_model", "model_name")

_ANSWERS = ("completions", "answers", "responses", "candidates", "outputs", "generations")
_TEXT = ("response", "text", "answer", "completion", "output", "content")
_SCORE = ("score", "rating", "grade", "scores", "ratings")
_MODEL = ("model", "model_name", "llm")
_RATER = ("judge", "annotator", "rater")
_REASON = ("rationale", "reason", "explanation", "critique", "feedback")


def _is_feedback(row: Row) -> bool:
    """Whether the first completion has repeated scores."""
    return "gpt4_scores" in first_completion(row)


def _read_feedback(row: Row) -> Feedback:
    """Read a row with repeated scores, each of which becomes a rating of the aspect ``rubric``."""
    known, extra = split_fields(row, _FEEDBACK)
    answers = read_list(required(known, "completions"), "completions")
    instruction = read_text(required(known, "instruction"), "instruction")
    return Feedback(
        prompt=(Message(role="user", content=instruction),),
        completions=tuple(_read_rated(item, f"completions[{index}]") for index, item in enumerate(answers)),
        source=read_as(known.get("source", ""), str, "source"),
        extra=extra,
    )


def _read_rated(item: object, at: str) -> Completion:
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, "an object with model, response and gpt4_scores is needed")
    known, extra = split_fields(item, _ANSWER)
    scores = read_as(required(known, "gpt4_scores", f"{at}."), list[Any], f"{at}.gpt4_scores")
    texts = read_as(known.get("gpt4_feedback", [""] * len(scores)), list[str], f"{at}.gpt4_feedback")
    if len(scores) != len(texts):
        raise RowError(f"{at}.gpt4_feedback", "length-mismatch", texts, f"{len(scores)} scores, {len(texts)} texts")
    raters = extra.get("annotators")
    if isinstance(raters, list) and len(raters) == len(scores):
        del extra["annotators"]
    else:  # none, or another column that only has the name
        raters = [None] * len(scores)
    return Completion(
        text=read_text(required(known, "response", f"{at}."), f"{at}.response"),
        model=read_as(required(known, "model", f"{at}."), str, f"{at}.model"),
        ratings=tuple(
            Rating(
                aspect="rubric",
                value=read_score(score, f"{at}.gpt4_scores[{index}]"),
                rationale=text,
                rater=read_name(rater, f"{at}.annotators[{index}]"),
            )
            for index, (score, text, rater) in enumerate(zip(scores, texts, raters, strict=True))
        ),
        extra=extra,
    )


def _is_distilabel(row: Row) -> bool:
    """Whether generations stand beside ratings, or beside one rating each where there is no pair."""
    answers = row.get("generations")
    if not isinstance(answers, list) or not answers or not isinstance(answers[0], (str, type(None))):
        return False
    rated = "ratings" in row or (isinstance(row.get("rating"), list) and "chosen" not in row)
    return rated and any(isinstance(row.get(name), (str, list)) for name in _ASKED)


def _read_distilabel(row: Row) -> Feedback:
    asked = _first(row, _ASKED) or "instruction"
    # A column that is called a rating and holds no list is another's: no row without ratings takes it in their place.
    rated = next((name for name in _RATED if isinstance(row.get(name), list)), "ratings")
    models = _first(row, _MODELS)
    judge = next((name for name in _JUDGES if isinstance(row.get(name), str)), None)
    named = [name for name in (judge, models) if name]
    reasons = "rationale" if row.get("rationales") is None else "rationales"
    said = (reasons, "rationales-for-ratings", "types")
    known, extra = split_fields(row, (asked, "generations", rated, *said, *named))
    texts = [
        None if text is None else read_text(text, f"generations[{index}]")
        for index, text in enumerate(read_as(required(known, "generations"), list[Any], "generations"))
    ]
    if None in texts:  # what was said of it goes with it
        for name in ("generations", rated, *said, *((models,) if models else ())):
            if row.get(name) is not None:
                keep_raw(extra, name, row[name])
    if isinstance(known.get(rated), str):
        raise RowError(rated, "wrong-type", known[rated], "a list with a rating for each answer is needed")
    lists = {name: _list_of(known.get(name), name, len(texts)) for name in (rated, *said)}
    made_by = _list_of(known.get(models) if models else None, models or "", len(texts))
    rater = read_name(known.get(judge), judge) if judge else ""
    completions = [
        Completion(
            text=text,
            model=read_name(made_by[index], f"{models}[{index}]"),
            ratings=_read_list_rating(lists, index, rater),
        )
        for index, text in enumerate(texts)
        if text is not None
    ]
    if not completions:
        raise RowError("generations", "no-completion", row["generations"])
    return Feedback(
        prompt=read_prompt(known, asked, extra),
        completions=tuple(completions),
        source=read_source(extra),
        extra=extra,
    )


def _list_of(value: object, at: str, count: int) -> Sequence[Any]:
    """The values for each answer; nulls where there is no list, and the one text for all where it is one."""
    if value is None or isinstance(value, str):
        return [value] * count
    found = read_as(value, list[Any], at)
    if len(found) != count:
        raise RowError(at, "length-mismatch", found, f"{count} answers, {len(found)} values")
    return found


def _read_list_rating(lists: dict[str, Sequence[Any]], index: int, rater: str) -> tuple[Rating, ...]:
    """The rating of one answer, with what was written on it; none where neither is there.

    Args:
        lists: name → a value for each answer, of the ratings, the rationales, those for ratings, and the types.
        index: of the answer.
        rater: the judge's name.
    """
    (rated, value), (reasons, first), (_, second), (_, types) = ((name, each[index]) for name, each in lists.items())
    of_rating, of_types = (first, None) if second is None else (second, first)
    kinds = [types] if isinstance(types, (str, int)) else types or []
    rating = Rating(
        aspect="rating",
        value=read_score(value, f"{rated}[{index}]"),
        rationale=read_name(of_rating, f"{reasons}[{index}]"),
        types=tuple(read_name(kind, f"types[{index}]") for kind in kinds),
        types_rationale=read_name(of_types, f"{reasons}[{index}]"),
        rater=rater,
    )
    said = rating.rationale or rating.types or rating.types_rationale
    return (rating,) if value is not None or said else ()


def _is_scored_answers(row: Row) -> bool:
    """Whether a list of answers as objects, each with a text and a score, stands beside one prompt."""
    name = _first(row, _ANSWERS)
    answers = row.get(name) if name else None
    first = answers[0] if isinstance(answers, list) and answers else None
    if not isinstance(first, dict) or sum(isinstance(row.get(each), str) for each in _ASKED) != 1:
        return False
    return _first(first, _SCORE) is not None and isinstance(first.get(_first(first, _TEXT) or ""), str)


def _read_scored_answers(row: Row) -> Feedback:
    asked = _first(row, _ASKED) or "prompt"
    name = _first(row, _ANSWERS) or "completions"
    known, extra = split_fields(row, (asked, name))
    answers = read_list(required(known, name), name)
    # One for all answers of a row: an empty score is none, and not what stands under another name on another scale.
    held = [item for item in answers if isinstance(item, dict)]
    score = next((each for each in _SCORE if any(item.get(each) is not None for item in held)), _SCORE[0])
    completions = tuple(_read_scored(item, f"{name}[{index}]", score) for index, item in enumerate(answers))
    prompt = read_prompt(known, asked, extra)
    return Feedback(prompt=prompt, completions=completions, source=read_source(extra), extra=extra)


def _count_missing(record: Feedback, tally: Tally) -> None:
    """Count the answers that were not generated; what was read of such a row is kept beside it."""
    if without := sum(text is None for text in record.extra.get("generations_as_read", ())):
        tally.count("null-generation", without)


def _read_scored(item: object, at: str, score: str) -> Completion:
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, "an object with a text and a score is needed")
    text, model, rater, reason = (_first(item, names) or names[0] for names in (_TEXT, _MODEL, _RATER, _REASON))
    known, extra = split_fields(item, (text, score, model, rater, reason))
    values = known.get(score)
    said = read_name(known.get(reason), f"{at}.{reason}")
    by = read_name(known.get(rater), f"{at}.{rater}")
    scores = values if isinstance(values, dict) else {score: values}
    turns, more = read_turns(required(known, text, f"{at}."), f"{at}.{text}", "assistant")
    if more:
        keep_raw(extra, text, item[text])
    ratings = tuple(
        Rating(aspect=aspect, value=read_score(value, f"{at}.{score}"), rationale=said, rater=by)
        for aspect, value in scores.items()
        if value is not None or said
    )
    if not ratings:  # who would have rated, and why
        extra |= {name: item[name] for name in (rater, reason) if item.get(name) is not None}
    by_model = read_name(known.get(model), f"{at}.{model}")
    return make_completion(turns, f"{at}.{text}", model=by_model, ratings=ratings, extra=extra)


def _is_prometheus(row: Row) -> bool:
    """Whether one original response stands beside its score."""
    return "orig_response" in row and "orig_score" in row


def _read_prometheus(row: Row) -> Feedback:
    asked = "instruction" if row.get("orig_instruction") is None and "instruction" in row else "orig_instruction"
    known, extra = split_fields(row, (asked, "orig_response", "orig_score", "orig_feedback"))
    value = read_score(known.get("orig_score"), "orig_score", _GRADES)
    said = read_name(known.get("orig_feedback"), "orig_feedback")
    stated = value is not None or bool(said)
    ratings = (Rating(aspect="rubric", value=value, rationale=said, scale=_GRADES),) if stated else ()
    prompt: Row = {}
    answer = read_answer(known, "orig_response", ratings=ratings, extra=extra)
    return Feedback(prompt=read_prompt(known, asked, prompt), completions=(answer,), extra=prompt)


def _first(row: Row, names: Sequence[str]) -> str | None:
    """The first of the names that the row has a value for."""
    return next((name for name in names if row.get(name) is not None), None)


FORMATS = (
    Format(
        name="feedback",
        record=Feedback,
        decode=_read_feedback,
        matches=_is_feedback,
        before=("ultrafeedback",),
        sample={
            "instruction": "Name a river.",
            "completions": [
                {
                    "model": "alder",
                    "response": "The Oder.",
                    "gpt4_scores": [5, 4],
                    "gpt4_feedback": ["Right.", "Short."],
                }
            ],
        },
    ),
    # All answers say more than a pair of them.
    Format(
        name="distilabel",
        record=Feedback,
        decode=_read_distilabel,
        count=_count_missing,
        matches=_is_distilabel,
        before=("argilla",),
        sample={
            "instruction": "Name a river.",
            "generations": ["The Oder.", "No."],
            "generation_models": ["alder", "birch"],
            "ratings": [5, 1],
            "rationales": ["It names one.", "It refuses."],
            "model_name": "cedar",
        },
    ),
    Format(
        name="scored-answers",
        record=Feedback,
        decode=_read_scored_answers,
        matches=_is_scored_answers,
        sample={
            "prompt": "Name a river.",
            "completions": [
                {"response": "The Oder.", "model": "alder", "score": 4.5},
                {"response": "No.", "model": "birch", "score": 1.0},
            ],
        },
    ),
    Format(
        name="prometheus-feedback",
        record=Feedback,
        decode=_read_prometheus,
        matches=_is_prometheus,
        key=by_prompt,
        sample={
            "orig_instruction": "Name a river.",
            "orig_response": "The Oder.",
            "orig_score": 5,
            "orig_feedback": "It names one.",
            "orig_criteria": "Does it name a river?",
        },
    ),
)
