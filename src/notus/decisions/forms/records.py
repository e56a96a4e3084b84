"""Items out of records: what is shown of an answer, a pair, a single row, a dialogue, and of a pair's feedback.

Owns the reading of records. An audit's reasons are laid beside by who has them.
"""

from collections.abc import Iterator

import msgspec

from notus.core.disk.withdrawn import answer_digest, prompt_of
from notus.core.records import (
    Completion,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Unpaired,
    aspect_means,
    format_turns,
)
from notus.decisions.forms.item import Item
from notus.formats.format import Data

__all__ = ["completion_item", "ids_of", "items_of", "pair_item", "with_feedback"]


def items_of(record: Data) -> Iterator[Item]:
    """The items of a record: each answer of feedback, and otherwise one."""
    if isinstance(record, Feedback):
        yield from (completion_item(record, index) for index in range(len(record.completions)))
    elif isinstance(record, Preference):
        yield pair_item(record)
    elif isinstance(record, Unpaired):
        yield _row_item(record)
    else:
        yield _dialogue_item(record)


def ids_of(record: Data) -> Iterator[str]:
    """The ids of the items of a record."""
    if isinstance(record, Feedback):
        yield from (record.completion_id(index) for index in range(len(record.completions)))
    else:
        yield record.id


def completion_item(feedback: Feedback, index: int) -> Item:
    """One answer, with its scores and what was written of it."""
    completion = feedback.completions[index]
    critique = _critique(completion)
    return Item(
        id=feedback.completion_id(index),
        of="completion",
        prompt=feedback.prompt_id,
        answer=answer_digest(completion.text),
        texts={"prompt": format_turns(feedback.prompt), "answer": format_turns(completion.answer)},
        editable=() if completion.turns else ("answer",),
        scores=_scores(completion),
        scale=completion.critique.scale if completion.critique else None,
        critiques={"answer": critique} if critique else {},
        models={"answer": completion.model} if completion.model else {},
        source=feedback.source,
        file=feedback.file,
        line=feedback.line,
        feedback_id=feedback.id,
    )


def pair_item(pair: Preference) -> Item:
    """A pair, with what it says of its answers itself."""
    scores = {"chosen score": pair.score_chosen, "rejected score": pair.score_rejected, "margin": pair.margin}
    models = {"chosen": pair.model_chosen, "rejected": pair.model_rejected}
    turns = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    return Item(
        id=pair.id,
        of="pair",
        prompt=pair.prompt_id,
        texts={name: format_turns(of) for name, of in turns.items()},
        editable=_editable(turns),
        scores={name: value for name, value in scores.items() if value is not None},
        models={name: model for name, model in models.items() if model},
        source=pair.source,
        file=pair.file,
        line=pair.line,
        feedback_id=pair.feedback_id,
    )


def with_feedback(item: Item, feedback: Feedback) -> Item:
    """A pair with what was said of its answers in the feedback that it came from: scores, ratings, critiques."""
    scores, critiques = dict(item.scores), dict(item.critiques)
    for name in ("chosen", "rejected"):
        completion = _completion_of(feedback, item.texts[name], item.models.get(name, ""))
        if completion is not None:
            scores |= {f"{name} {of}": value for of, value in _scores(completion).items()}
            critiques |= {name: critique} if (critique := _critique(completion)) else {}
    return msgspec.structs.replace(item, scores=scores, critiques=critiques)


def _row_item(row: Unpaired) -> Item:
    turns = {"prompt": row.prompt, "answer": row.answer}
    said = {"score": row.score, "wanted": float(row.desirable)}
    return Item(
        id=row.id,
        of="row",
        prompt=row.prompt_id,
        answer=answer_digest(row.answer[-1].content),
        texts={name: format_turns(of) for name, of in turns.items()},
        editable=_editable(turns),
        scores={name: value for name, value in said.items() if value is not None},
        models={"answer": row.model} if row.model else {},
        source=row.source,
        file=row.file,
        line=row.line,
        feedback_id=row.feedback_id,
    )


def _dialogue_item(dialogue: Dialogue) -> Item:
    ends = dialogue.messages[-1].role == "assistant" and len(dialogue.messages) > 1
    before, last = (dialogue.messages[:-1], dialogue.messages[-1:]) if ends else (dialogue.messages, ())
    turns = {"prompt": before, "answer": last}
    return Item(
        id=dialogue.id,
        of="dialogue",
        prompt=prompt_of(dialogue),
        answer=answer_digest(last[0].content) if last else "",
        texts={name: format_turns(of) for name, of in turns.items()},
        editable=_editable(turns),
        source=dialogue.source,
        file=dialogue.file,
        line=dialogue.line,
    )


def _editable(turns: dict[str, tuple[Message, ...]]) -> tuple[str, ...]:
    """Texts that are the whole of one turn."""
    plain = {
        name for name, of in turns.items() if len(of) == 1 and of[0] == Message(role=of[0].role, content=_said(of))
    }
    return tuple(name for name in turns if name in plain)


def _said(turns: tuple[Message, ...]) -> str:
    return turns[0].content


def _completion_of(feedback: Feedback, text: str, model: str) -> Completion | None:
    """The answer of a pair among those of its feedback: by its text, and of equal texts that of its model."""
    same = [each for each in feedback.completions if text in (each.text, format_turns(each.answer))]
    return next((each for each in same if each.model == model), same[0] if same else None)


def _scores(completion: Completion) -> dict[str, float | None]:
    rated = aspect_means(completion.ratings)
    found = {"overall_score": completion.overall_score, "mean_rating": completion.mean_rating, **rated}
    return {name: value for name, value in found.items() if value is not None or name == "overall_score"}


def _critique(completion: Completion) -> str:
    """What was written of an answer: the critique, and the rationales of the ratings."""
    said = [completion.critique.text] if completion.critique and completion.critique.text else []
    for rating in completion.ratings:
        if rating.rationale:
            value = "N/A" if rating.value is None else f"{rating.value:g}"
            rater = f" ({rating.rater})" if rating.rater else ""
            said.append(f"{rating.aspect} {value}{rater}: {rating.rationale}")
    return "\n\n".join(said)
