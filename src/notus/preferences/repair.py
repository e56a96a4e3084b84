"""The repair of UltraFeedback's overall score, as rules and as stages: by its ratings, or by its critique's wording.

The set's first annotation code read a critique's score by ``score if score > 1 else 10 * score``, so that every
deserved 1 was recorded as 10; real 10s exist too. The published rule goes by the mean of the aspect ratings, which a
separate judgement gave: a 10 beside a mean of at most 2 is set to 1, one beside a mean above 4 is kept, and for one in
between the judge must be asked again. Source: https://huggingface.co/datasets/openbmb/UltraFeedback (section "Update").

Without ratings the text of the critique decides: what it says of a 10 is *weighed* elsewhere (``audit.weigh``), and
applied here.

Owns the rules, what they change, and what they leave to a judge or a person. What a doubtful score means for
preferences is owned by ``preferences.scores``, who is asked again by ``collect.again``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from notus.core.records import VERIFIED, Completion, Decision, Feedback, Record, format_turns
from notus.core.stage import Tally
from notus.decisions.note import decided_score
from notus.formats.families.ultrafeedback import RATED, SCORED

__all__ = [
    "ASK_AGAIN",
    "BY_JUDGE",
    "BY_WORDING",
    "KEEP",
    "RULE",
    "SET_TO_1",
    "Doubt",
    "RepairVerdict",
    "Weighed",
    "doubts",
    "is_settled",
    "on_its_scales",
    "repair",
    "repair_by_wording",
    "verdict",
]

SET_TO_1: Literal["set-to-1"] = "set-to-1"
KEEP: Literal["keep"] = "keep"
ASK_AGAIN: Literal["ask-again"] = "ask-again"
RepairVerdict = Literal["set-to-1", "keep", "ask-again", ""]

RULE = "overall-score-10"
"""Slug of the published rule, as it stands in decisions."""
BY_WORDING = "score-by-wording"
"""Slug of the rule that goes by the critique's text."""
BY_JUDGE = "judge-asked-again"
"""Slug where a judge was asked again, and what it said replaces or confirms a score."""
_FAULTY, _DESERVED = 10.0, 1.0
_BAD, _GOOD = 2.0, 4.0


class Weighed(NamedTuple):
    """What wording says of an overall score."""

    verdict: RepairVerdict
    expected: float | None
    """The score that the critique's text speaks for; None without a text that can be read."""
    false_ten: float | None
    """Of a 10: the chance that it is a 1 misread; None where the set cannot tell."""
    p: float | None = None
    """Of another score: the chance that a sound one is as far from its text."""


class Doubt(Record, frozen=True):
    """A completion whose score the rule can neither trust nor set: it waits for a judge or a person.

    Prompt and critique stand in full in the feedback that lies beside the queue, under ``feedback_id`` and ``index``.
    """

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
    critique: str = ""
    """What the judge wrote when it gave the score."""
    expected_score: float | None = None
    """The score that its wording speaks for, where wording decided."""
    false_ten: float | None = None
    """Of a 10: the chance that it is a 1 misread, where wording decided."""
    evidence: str = ""
    """Why it is in doubt, in figures."""


def verdict(completion: Completion) -> RepairVerdict:
    """What the rule says of a completion: empty unless its overall score is exactly 10.

    Without any rating there is nothing to tell a real 10 from a false one, and the judge must be asked again; a 10
    that wording or a judge has confirmed since is kept. It knows UltraFeedback's scales alone: a 10 that is said to
    stand on another one, or beside ratings on another, is none of its business.
    """
    if completion.overall_score != _FAULTY or not on_its_scales(completion):
        return ""
    if is_settled(completion):
        return KEEP
    mean = completion.mean_rating
    if mean is None or _BAD < mean <= _GOOD:
        return ASK_AGAIN
    return SET_TO_1 if mean <= _BAD else KEEP


def is_settled(completion: Completion) -> bool:
    """Whether wording, a judge or a person has confirmed the overall score, or given it: they leave a note."""
    if decided_score(completion):
        return True
    note = completion.extra.get("repair") if completion.extra else None
    if not isinstance(note, dict) or note.get("verdict") != KEEP:
        return False
    said = {BY_WORDING: note.get("from"), BY_JUDGE: note.get("to")}.get(str(note.get("rule")))
    return said is not None and said == completion.overall_score


def on_its_scales(completion: Completion) -> bool:
    """Whether nothing says that the ratings are not from 1 to 5, or the overall score not from 1 to 10."""
    critique = completion.critique
    if critique is not None and critique.scale is not None and critique.scale != SCORED:
        return False
    return all(each.scale in (None, RATED) for each in completion.ratings if each.aspect not in VERIFIED)


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


def repair_by_wording(
    records: Iterable[Feedback],
    tally: Tally,
    weighed: Mapping[int, Weighed],
    decisions: list[Decision],
    queue: list[Doubt],
) -> Iterator[Feedback]:
    """A stage that applies what was weighed, and drops nothing.

    A score that is set to 1 gets a ``Decision`` and a note in ``extra["repair"]``: rule, verdict, the score that stood
    there, the score that the wording speaks for and the chance that the 10 is a misread 1. A 10 that wording confirms
    gets such a note, one in doubt too, and it is queued. Each verdict is counted; ``ask-again-other`` are the scores
    in doubt that are no 10s.

    Args:
        weighed: number of the completion among all that come, counted from 0 → what was weighed; all others pass.
        decisions: receives each change.
        queue: receives what is in doubt.
    """
    number = 0
    for feedback in records:
        found = {
            index: weighed[number + index] for index in range(len(feedback.completions)) if number + index in weighed
        }
        number += len(feedback.completions)
        if not found:
            yield feedback
            continue
        completions = list(feedback.completions)
        for index, each in found.items():
            item = completions[index]
            score = item.overall_score
            tally.count(f"{each.verdict}-other" if each.verdict == ASK_AGAIN and score != _FAULTY else each.verdict)
            if each.verdict == SET_TO_1:
                decisions.append(_decision(feedback, index, BY_WORDING, _weighed_words(score, each)))
            elif each.verdict == ASK_AGAIN:
                queue.append(_doubt(feedback, index, BY_WORDING, each))
            more = {"expected_score": _rounded(each.expected), "false_ten": _rounded(each.false_ten)}
            completions[index] = _noted(item, each.verdict, {"rule": BY_WORDING}, more)
        yield msgspec.structs.replace(feedback, completions=tuple(completions))


def doubts(feedback: Feedback) -> list[Doubt]:
    """The completions of a prompt for which the judge must be asked again, by the published rule."""
    return [
        _doubt(feedback, index, RULE) for index, item in enumerate(feedback.completions) if verdict(item) == ASK_AGAIN
    ]


def _doubt(feedback: Feedback, index: int, rule: str, weighed: Weighed | None = None) -> Doubt:
    item = feedback.completions[index]
    assert item.critique is not None
    assert item.critique.score is not None
    return Doubt(
        id=feedback.completion_id(index),
        feedback_id=feedback.id,
        prompt_id=feedback.prompt_id,
        index=index,
        source=feedback.source,
        model=item.model,
        overall_score=item.critique.score,
        mean_rating=item.mean_rating,
        rule=rule,
        file=feedback.file,
        line=feedback.line,
        prompt=format_turns(feedback.prompt),
        answer=item.text,
        critique=item.critique.text,
        expected_score=weighed and weighed.expected,
        false_ten=weighed and weighed.false_ten,
        evidence=_weighed_words(item.critique.score, weighed) if weighed else "",
    )


def _weighed_words(score: float | None, weighed: Weighed) -> str:
    """What was weighed as one line."""
    said = [f"overall score {score:g}"]
    expected = weighed.expected
    said.append("no text that can be read" if expected is None else f"the wording speaks for {expected:.1f}")
    if weighed.false_ten is not None:
        said.append(f"a misread 1 with probability {weighed.false_ten:.3f}")
    elif weighed.p is None:
        said.append("the set is too small, or its wording says too little, to tell a misread 1")
    if weighed.p is not None:
        said.append(f"a sound score is as far from its text with probability {weighed.p:.2g}")
    return "; ".join(said)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _apply(completion: Completion, what: RepairVerdict) -> Completion:
    return completion if what not in (SET_TO_1, ASK_AGAIN) else _noted(completion, what, {"rule": RULE}, {})


def _noted(completion: Completion, what: RepairVerdict, head: Mapping[str, Any], more: Mapping[str, Any]) -> Completion:
    """The completion with the score of a verdict, and the note of it."""
    if completion.critique is None:
        return completion
    note = {**head, "verdict": what, "from": completion.critique.score, **more}
    score = _DESERVED if what == SET_TO_1 else completion.critique.score
    critique = msgspec.structs.replace(completion.critique, score=score)
    return msgspec.structs.replace(completion, critique=critique, extra=completion.extra | {"repair": note})


def _decision(feedback: Feedback, index: int, rule: str = RULE, evidence: str = "") -> Decision:
    return Decision(
        target=feedback.completion_id(index),
        field="critique.score",
        before=_FAULTY,
        after=_DESERVED,
        rule=f"{rule}:{SET_TO_1}",
        by="rule",
        file=feedback.file,
        line=feedback.line,
        evidence=evidence,
    )
