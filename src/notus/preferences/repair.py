"""The published repair of UltraFeedback's overall score, as a rule and as a stage.

The set's first annotation code read a critique's score by ``score if score > 1 else 10 * score``, so that every
deserved 1 was recorded as 10; real 10s exist too. The published rule goes by the mean of the aspect ratings, which a
separate judgement gave: a 10 beside a mean of at most 2 is set to 1, one beside a mean above 4 is kept, and for one in
between the judge must be asked again. Source: https://huggingface.co/datasets/openbmb/UltraFeedback (section "Update").

Owns the rule, what it changes, and what it leaves to a judge or a person. What a doubtful score means for
preferences is owned by ``preferences.scores``.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from notus.core.records import Completion, Decision, Feedback, Record, format_turns
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import RATED, SCORED

__all__ = [
    "ASK_AGAIN",
    "KEEP",
    "RULE",
    "SET_TO_1",
    "Doubt",
    "RepairVerdict",
    "doubts",
    "on_its_scales",
    "repair",
    "verdict",
]

SET_TO_1: Literal["set-to-1"] = "set-to-1"
KEEP: Literal["keep"] = "keep"
ASK_AGAIN: Literal["ask-again"] = "ask-again"
RepairVerdict = Literal["set-to-1", "keep", "ask-again", ""]

RULE = "overall-score-10"
"""Slug of the rule, as it stands in decisions."""
_FAULTY, _DESERVED = 10.0, 1.0
_BAD, _GOOD = 2.0, 4.0


class Doubt(Record, frozen=True):
    """A completion whose score the rule can neither trust nor set: it waits for a judge or a person."""

    id: str
    """Id of the completion; ``Feedback.completion_id``."""
    feedback_id: str
    prompt_id: str
    index: int
    """Position among the completions of the prompt."""
    source: str
    model: str
    overall_score: float
    mean_rating: float | None
    rule: str = RULE
    file: str = ""
    """Where the record stood, as records have it."""
    line: int = 0
    prompt: str = ""
    answer: str = ""


def verdict(completion: Completion) -> RepairVerdict:
    """What the rule says of a completion: empty unless its overall score is exactly 10.

    Without any rating there is nothing to tell a real 10 from a false one, and the judge must be asked again. It knows
    UltraFeedback's scales alone: a 10 that is said to stand on another one, or beside ratings on another, is none of
    its business.
    """
    if completion.overall_score != _FAULTY or not on_its_scales(completion):
        return ""
    mean = completion.mean_rating
    if mean is None or _BAD < mean <= _GOOD:
        return ASK_AGAIN
    return SET_TO_1 if mean <= _BAD else KEEP


def on_its_scales(completion: Completion) -> bool:
    """Whether nothing says that the ratings are not from 1 to 5, or the overall score not from 1 to 10."""
    critique = completion.critique
    if critique is not None and critique.scale is not None and critique.scale != SCORED:
        return False
    return all(each.scale is None or each.scale == RATED for each in completion.ratings)


def repair(records: Iterable[Feedback], tally: Tally, decisions: list[Decision] | None = None) -> Iterator[Feedback]:
    """A stage that applies the rule, and drops nothing.

    A score that is set to 1 gets a ``Decision``, which is added to ``decisions``, and a note in the completion's
    ``extra["repair"]``: rule, verdict, and the score that stood there. A doubtful 10 stays as it is, with such a note.
    Each verdict is counted, and ``other-scale``, the 10s that are not on the rule's scales. A second time the stage
    changes nothing.
    """
    made = decisions if decisions is not None else []
    for feedback in records:
        if all(item.overall_score != _FAULTY for item in feedback.completions):
            yield feedback
            continue
        completions = []
        for index, completion in enumerate(feedback.completions):
            what = verdict(completion)
            if what or completion.overall_score == _FAULTY:
                tally.count(what or "other-scale")
            if what == SET_TO_1:
                made.append(_decision(feedback, index))
            completions.append(_apply(completion, what))
        yield msgspec.structs.replace(feedback, completions=tuple(completions))


def doubts(feedback: Feedback) -> list[Doubt]:
    """The completions of a prompt for which the judge must be asked again, by the rule."""
    return [
        Doubt(
            id=feedback.completion_id(index),
            feedback_id=feedback.id,
            prompt_id=feedback.prompt_id,
            index=index,
            source=feedback.source,
            model=item.model,
            overall_score=_FAULTY,
            mean_rating=item.mean_rating,
            file=feedback.file,
            line=feedback.line,
            prompt=format_turns(feedback.prompt),
            answer=item.text,
        )
        for index, item in enumerate(feedback.completions)
        if verdict(item) == ASK_AGAIN
    ]


def _apply(completion: Completion, what: RepairVerdict) -> Completion:
    if what not in (SET_TO_1, ASK_AGAIN) or completion.critique is None:
        return completion
    note = {"rule": RULE, "verdict": what, "from": completion.critique.score}
    score = _DESERVED if what == SET_TO_1 else completion.critique.score
    critique = msgspec.structs.replace(completion.critique, score=score)
    return msgspec.structs.replace(completion, critique=critique, extra=completion.extra | {"repair": note})


def _decision(feedback: Feedback, index: int) -> Decision:
    return Decision(
        target=feedback.completion_id(index),
        field="critique.score",
        before=_FAULTY,
        after=_DESERVED,
        rule=f"{RULE}:{SET_TO_1}",
        by="rule",
        file=feedback.file,
        line=feedback.line,
    )
