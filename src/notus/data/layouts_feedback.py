"""Layouts whose rows become ``Feedback``, but for raw UltraFeedback, which has a module of its own.

    feedback   instruction, completions[{model, response, gpt4_scores[], gpt4_feedback[]}]
    helpsteer  prompt, response, helpfulness, correctness, coherence, complexity, verbosity; one answer to a row
    snorkel    prompt, all_generated_responses[], all_rm_scores[]; chosen and rejected are the best and the worst

**HelpSteer** (https://huggingface.co/datasets/nvidia/HelpSteer2): attributes are 0 to 4. Adjacent rows of one prompt
are one ``Feedback``: ``joined`` puts them together as they pass. Complexity and verbosity say what an answer is like
and not how good it is, so that the mean of these ratings is no quality: binarize them by weighted aspects. A prompt of
several turns is one text with ``<extra_id_1>`` before each further turn; it is taken apart.

**Snorkel** (https://huggingface.co/datasets/snorkelai/Snorkel-Mistral-PairRM-DPO-Dataset): a ranker's score is a logit,
without a scale, often negative, and comparable within one prompt only. It is no ``Rating``: among the ratings it would
need a wider ``Grade`` for all judges, and would be averaged into ``mean_rating``. It stands in ``Completion.extra``
under ``RANKER_SCORE``; ``ranker_score`` reads it there, whoever wrote it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from notus.core.records import Completion, Feedback, Message, Rating
from notus.core.stage import Tally
from notus.data.fields import divided, grade, items, needed, number, turns, typed
from notus.data.quarantine import RowError

__all__ = [
    "ATTRIBUTES",
    "RANKER_SCORE",
    "feedback",
    "helpsteer",
    "is_feedback",
    "is_helpsteer",
    "is_snorkel",
    "is_ultrafeedback",
    "joined",
    "ranker_score",
    "snorkel",
]

Row = dict[str, Any]

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""HelpSteer's attributes, each 0 to 4."""
RANKER_SCORE = "ranker_score"
"""Key in ``Completion.extra`` of the score that a ranker gave: any finite number, higher is better."""

_FEEDBACK = ("instruction", "completions", "source")
_ANSWER = ("model", "response", "gpt4_scores", "gpt4_feedback")
_JUDGED = frozenset({"annotations", "critique", "overall_score", "fine-grained_score"})
_HELPSTEER = ("prompt", "response", "model", "source", *ATTRIBUTES)
_SNORKEL = ("prompt", "source", "all_generated_responses", "all_rm_scores")
_MARK = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")


def is_feedback(row: Row) -> bool:
    """Whether the first completion has repeated scores."""
    return "gpt4_scores" in _first_answer(row)


def is_ultrafeedback(row: Row) -> bool:
    """Whether the first completion was judged as in raw UltraFeedback."""
    return bool(_JUDGED & _first_answer(row).keys())


def is_helpsteer(row: Row) -> bool:
    """Whether the row is an answer with its helpfulness and at least one further attribute."""
    texts = all(isinstance(row.get(name), str) for name in ("prompt", "response"))
    return texts and "helpfulness" in row and any(name in row for name in ATTRIBUTES[1:])


def is_snorkel(row: Row) -> bool:
    """Whether the row has answers beside a ranker's scores."""
    return all(isinstance(row.get(name), list) for name in _SNORKEL[2:]) and "prompt" in row


def _first_answer(row: Row) -> Row:
    """The first completion of a row that has an instruction, or an empty object."""
    answers = row.get("completions")
    if not isinstance(row.get("instruction"), str) or not isinstance(answers, list):
        return {}
    return answers[0] if answers and isinstance(answers[0], dict) else {}


def feedback(row: Row) -> Feedback:
    """Read a row with repeated scores, each of which becomes a rating of the aspect ``rubric``."""
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


def helpsteer(row: Row) -> Feedback:
    """Read one answer with its attributes, as feedback with one completion; see ``joined``."""
    known, extra = divided(row, _HELPSTEER)
    ratings = tuple(Rating(aspect=name, value=grade(known[name], name)) for name in ATTRIBUTES if name in known)
    if not ratings:
        raise RowError(ATTRIBUTES[0], "missing-field")
    answer = Completion(
        text=typed(needed(known, "response"), str, "response"),
        model=typed(known.get("model", ""), str, "model"),
        ratings=ratings,
        extra=extra,
    )
    return Feedback(
        prompt=_marked_turns(typed(needed(known, "prompt"), str, "prompt")),
        completions=(answer,),
        source=typed(known.get("source", ""), str, "source"),
    )


def joined(records: Iterable[Feedback], tally: Tally) -> Iterator[Feedback]:
    """Adjacent records of one prompt and source as one record; the tally counts those that joined another.

    Holds the completions of one prompt at a time. Rows of one prompt that do not lie side by side stay apart.
    """
    held: list[Feedback] = []
    for record in records:
        if held and (record.prompt, record.source) != (held[0].prompt, held[0].source):
            yield _merged(held)
            held = []
        if held:
            tally.count("row-joined")
        held.append(record)
    if held:
        yield _merged(held)


def _merged(held: list[Feedback]) -> Feedback:
    return msgspec.structs.replace(held[0], completions=tuple(item for one in held for item in one.completions))


def _marked_turns(text: str) -> tuple[Message, ...]:
    first, *further = _MARK.split(text)
    turn = Message(role="user", content=first)
    roles = ("assistant" if mark == "Assistant" else "user" for mark in further[::2])
    pairs = zip(roles, further[1::2], strict=True)
    return (turn, *(typed({"role": role, "content": content}, Message, "prompt") for role, content in pairs))


def snorkel(row: Row) -> Feedback:
    """Read a prompt with its ranked answers.

    ``extra`` holds ``chosen_index`` and ``rejected_index`` where the row's own pair is found among its answers, and the
    pair as it came where it is not.
    """
    known, extra = divided(row, _SNORKEL)
    prompt, more = turns(needed(known, "prompt"), "prompt", "user")
    texts = items(needed(known, "all_generated_responses"), "all_generated_responses")
    scores = items(needed(known, "all_rm_scores"), "all_rm_scores")
    if len(texts) != len(scores):
        raise RowError("all_rm_scores", "length-mismatch", scores, f"{len(texts)} answers, {len(scores)} scores")
    for side in ("chosen", "rejected"):
        index = _place(extra.get(side), texts)
        if index is not None and f"{side}_index" not in extra:
            extra[f"{side}_index"] = index
            del extra[side]
    completions = (
        Completion(
            text=typed(text, str, f"all_generated_responses[{index}]"),
            extra={RANKER_SCORE: number(score, f"all_rm_scores[{index}]")},
        )
        for index, (text, score) in enumerate(zip(texts, scores, strict=True))
    )
    if more:
        extra["prompt_as_read"] = row["prompt"]
    source = typed(known.get("source", ""), str, "source")
    return Feedback(prompt=prompt, completions=tuple(completions), source=source, extra=extra)


def _place(answer: object, texts: list[Any]) -> int | None:
    """Where the last message of an answer stands among the texts, or None."""
    last = answer[-1] if isinstance(answer, list) and answer else None
    text = last.get("content") if isinstance(last, dict) else None
    return texts.index(text) if isinstance(text, str) and text in texts else None


def ranker_score(completion: Completion) -> float | None:
    """The score that a ranker gave the completion, or None where it has none."""
    value = completion.extra.get(RANKER_SCORE)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
