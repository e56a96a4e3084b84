"""The HelpSteer sets: answers rated on five attributes, and votes between two answers by several people.

    helpsteer             prompt, response, helpfulness, correctness, coherence, complexity, verbosity; one answer a row
    helpsteer-preference  prompt, response_1, response_2, preference_strength, preference_statement, …
    helpsteer3            context[], response1, response2, overall_preference, individual_preference[{score, reasoning}]
    helpsteer3-feedback   context[], response, feedback[]

**HelpSteer 1 and 2** (https://huggingface.co/datasets/nvidia/HelpSteer2): attributes are 0 to 4; in ``disagreements``
each is a list, a number for each annotator. The rows of one prompt are one ``Feedback``, wherever they stand.
Complexity and verbosity say what an answer is like and not how good it is, so that they are in
no mean rating. A prompt of several turns is one text with ``<extra_id_1>`` before each
further turn; it is taken apart.

**Preferences** go from -3 (the first answer is much better) over 0 (a tie) to 3: the sign is the vote, its size the
strength on a scale of 0 to 3. **HelpSteer 3** (https://huggingface.co/datasets/nvidia/HelpSteer3): each individual
preference is a vote with its reasoning; ``overall_preference`` is made of them, and a vote only where there are none.
What annotators wrote of one answer alone stands in its ``extra`` as ``feedback``; of the set ``feedback``, the first
text is the critique and the others stand in ``extra`` as ``critiques``. The set does not say who the annotators are.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from notus.core.records import Completion, Critique, Feedback, Message, Ranking, Rating, Scale
from notus.core.stage import Tally
from notus.formats.families.votes import by_prompt_and_answers, make_vote, read_answer
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

_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_HELPSTEER = ("prompt", "response", "model", "source", *_ATTRIBUTES)
_GRADES = Scale(low=0, high=4)
_PREFERENCES = Scale(low=-3, high=3)
_STRENGTHS = Scale(low=0, high=3)
_INDIVIDUAL = ("score", "reasoning", "feedback1", "feedback2")
_MARK = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")


def _is_helpsteer(row: Row) -> bool:
    """Whether the row is an answer with its helpfulness and at least one further attribute."""
    texts = all(isinstance(row.get(name), str) for name in ("prompt", "response"))
    return texts and "helpfulness" in row and any(name in row for name in _ATTRIBUTES[1:])


def _read_helpsteer(row: Row) -> Feedback:
    """Read one answer with its attributes, as feedback with one completion; the rows of a prompt are then joined."""
    known, extra = split_fields(row, _HELPSTEER)
    answer = Completion(
        text=read_text(required(known, "response"), "response"),
        model=read_as(known.get("model", ""), str, "model"),
        ratings=tuple(rating for name in _ATTRIBUTES if name in known for rating in _read_ratings(known[name], name)),
        extra=extra,
    )
    return Feedback(
        prompt=_read_marked_turns(read_text(required(known, "prompt"), "prompt")),
        completions=(answer,),
        source=read_as(known.get("source", ""), str, "source"),
    )


def _merge_answers(rows: Sequence[Feedback], tally: Tally) -> Feedback:
    """The answers of all rows side by side: each row is an answer of its own, also where two have the same text."""
    del tally  # the source counts the rows that are joined
    return msgspec.structs.replace(rows[0], completions=tuple(item for row in rows for item in row.completions))


def _read_ratings(value: object, name: str) -> list[Rating]:
    """The ratings of an attribute: one, or that of each annotator."""
    if isinstance(value, list):
        values = [(item, f"{name}[{index}]") for index, item in enumerate(value)]
    else:
        values = [(value, name)]
    found = [read_score(item, at, _GRADES) for item, at in values]
    return [Rating(aspect=name, value=score, scale=_GRADES) for score in found if score is not None]


def _read_marked_turns(text: str) -> tuple[Message, ...]:
    first, *further = _MARK.split(text)
    turn = Message(role="user", content=first)
    roles = ("assistant" if mark == "Assistant" else "user" for mark in further[::2])
    pairs = zip(roles, further[1::2], strict=True)
    return (turn, *(read_as({"role": role, "content": content}, Message, "prompt") for role, content in pairs))


def _read_preference(value: object, at: str, rationale: str = "") -> Ranking | None:
    """A preference from -3 to 3 as a vote with its strength; None where there is none."""
    score = read_score(value, at, _PREFERENCES)
    if score is None:  # what was written beside it stays where it is
        return None
    vote = make_vote(None if score == 0 else int(score > 0), rationale=rationale)
    return msgspec.structs.replace(vote, strength=abs(score), scale=_STRENGTHS)


def _is_helpsteer_preference(row: Row) -> bool:
    """Whether the strength of a preference stands beside two responses."""
    return "preference_strength" in row and all(isinstance(row.get(f"response_{side}"), str) for side in (1, 2))


def _read_helpsteer_preference(row: Row) -> Feedback:
    texts = ("preference_statement", "preference_elaboration")
    known, extra = split_fields(row, ("prompt", "response_1", "response_2", "preference_strength", *texts))
    said = {name: read_name(known.get(name), name) for name in texts}
    vote = _read_preference(
        required(known, "preference_strength"), "preference_strength", "\n".join(filter(None, said.values()))
    )
    if vote is None:
        extra |= {name: text for name, text in said.items() if text}
    return Feedback(
        prompt=_read_marked_turns(read_text(required(known, "prompt"), "prompt")),
        completions=tuple(read_answer(known, f"response_{side}") for side in (1, 2)),
        source=read_source(extra),
        rankings=(vote,) if vote else (),
        extra=extra,
    )


def _is_helpsteer3(row: Row) -> bool:
    """Whether preferences of individuals, or the overall one, stand beside a context and two responses."""
    answers = all(isinstance(row.get(name), str) for name in ("response1", "response2"))
    return answers and "context" in row and ("individual_preference" in row or "overall_preference" in row)


def _read_helpsteer3(row: Row) -> Feedback:
    known, extra = split_fields(row, ("context", "response1", "response2", "individual_preference"))
    rankings: list[Ranking] = []
    feedback: tuple[list[str], list[str]] = ([], [])
    further: list[Row] = []
    for index, item in enumerate(read_as(known.get("individual_preference", []), list[Row], "individual_preference")):
        at = f"individual_preference[{index}]"
        reason = read_name(item.get("reasoning"), f"{at}.reasoning")
        vote = _read_preference(item.get("score"), f"{at}.score", reason)
        rankings += [] if vote is None else [vote]
        for side, texts in zip((1, 2), feedback, strict=True):
            texts.append(read_name(item.get(f"feedback{side}"), f"{at}.feedback{side}"))
        rest = {name: value for name, value in item.items() if name not in _INDIVIDUAL}
        further.append(rest | ({"reasoning": reason} if vote is None and reason else {}))
    if any(further):
        extra["individual_preference"] = further
    if not rankings and (overall := _read_preference(row.get("overall_preference"), "overall_preference")):
        rankings = [overall]
        del extra["overall_preference"]
    return Feedback(
        prompt=_read_context(known, extra),
        completions=tuple(
            read_answer(known, f"response{side}", extra={"feedback": texts} if any(texts) else {})
            for side, texts in zip((1, 2), feedback, strict=True)
        ),
        source=read_source(extra),
        rankings=tuple(rankings),
        extra=extra,
    )


def _is_helpsteer3_feedback(row: Row) -> bool:
    """Whether texts of several annotators stand beside a context and one response."""
    return isinstance(row.get("context"), list) and isinstance(row.get("response"), str) and "feedback" in row


def _read_helpsteer3_feedback(row: Row) -> Feedback:
    known, extra = split_fields(row, ("context", "response", "feedback"))
    value = required(known, "feedback")
    texts = read_as([value] if isinstance(value, str) else value, list[str], "feedback")
    critiques = [Critique(text=text, score=None) for text in texts]
    further: dict[str, Any] = {}
    if len(critiques) > 1:
        further["critiques"] = [msgspec.to_builtins(critique) for critique in critiques[1:]]
    answer = read_answer(known, "response", critique=critiques[0] if critiques else None, extra=further)
    prompt = _read_context(known, extra)
    return Feedback(prompt=prompt, completions=(answer,), source=read_source(extra), extra=extra)


def _read_context(known: Row, extra: Row) -> tuple[Message, ...]:
    turns, more = read_turns(read_list(required(known, "context"), "context"), "context", "user")
    if turns[-1].role == "assistant":
        raise RowError("context", "prompt-mismatch", turns[-1].content, "the context ends with the assistant's turn")
    if more:
        keep_raw(extra, "context", known["context"])
    return turns


_ASKED = [{"role": "user", "content": "Name a river."}]

FORMATS = (
    # An attribute of its own says more of an answer than a place in a list.
    Format(
        name="helpsteer",
        record=Feedback,
        decode=_read_helpsteer,
        matches=_is_helpsteer,
        key=by_prompt,
        merge=_merge_answers,
        before=("snorkel",),
        sample={
            "prompt": "Name a river.",
            "response": "The Oder.",
            "helpfulness": 4,
            "correctness": 4,
            "coherence": 4,
            "complexity": 0,
            "verbosity": 1,
        },
    ),
    Format(
        name="helpsteer-preference",
        record=Feedback,
        decode=_read_helpsteer_preference,
        matches=_is_helpsteer_preference,
        key=by_prompt_and_answers,
        before=("votes",),
        sample={
            "prompt": "Name a river.",
            "response_1": "The Oder.",
            "response_2": "No.",
            "preference_strength": -2,
            "preference_statement": "Response 1 names one.",
        },
    ),
    Format(
        name="helpsteer3",
        record=Feedback,
        decode=_read_helpsteer3,
        matches=_is_helpsteer3,
        key=by_prompt_and_answers,
        before=("trl-implicit", "votes"),
        sample={
            "domain": "general",
            "language": "english",
            "context": _ASKED,
            "response1": "The Oder.",
            "response2": "No.",
            "overall_preference": -2,
            "individual_preference": [{"score": -2, "reasoning": "Response 1 names one."}],
        },
    ),
    Format(
        name="helpsteer3-feedback",
        record=Feedback,
        decode=_read_helpsteer3_feedback,
        matches=_is_helpsteer3_feedback,
        key=by_prompt,
        sample={
            "domain": "general",
            "language": "english",
            "context": _ASKED,
            "response": "The Oder.",
            "feedback": ["It names one.", "Short and right."],
        },
    ),
)
