"""From feedback or pairs to what KTO and SFT train on: unpaired rows and dialogues.

    unpaired    each answer on its own, desirable or not
    dialogues   the top-ranked answers, as Zephyr's second SFT run takes them

Ranks come from the strategies of ``preferences.scores``. Which record becomes which row of whose format is owned by
``formats.families``.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from notus.core.errors import ConfigError
from notus.core.records import (
    Completion,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Unpaired,
)
from notus.core.stage import Stage, Tally
from notus.formats.format import record_id
from notus.preferences.scores import Score, applied, check_scales, score_answers, strategy_named

__all__ = ["dialogues", "share_prompt", "unpaired"]


def unpaired(
    strategy: str = "auto", threshold: float | None = None, question: str | None = None
) -> Stage[Feedback | Preference, Unpaired]:
    """A stage that makes unpaired rows.

    Of a pair both answers are taken, chosen first. Of feedback each answer is taken whose score by ``strategy`` is
    above the threshold (desirable) or below it (not); without a threshold it is measured against the mean of the
    scores under its own prompt. An answer exactly at that border is neither (counted as ``at-the-border``), nor is one
    without a score (``unscored-completion``). Under ``auto``, prompts with rankings are counted as
    ``by-votes``; ``question`` is for rankings on several.

    Dropped with a reason: ``same-text`` (a pair whose answers are equal would be desirable and not), ``unscored``
    (no completion has a score), ``all-at-the-border``.

    Raises:
        ConfigError: at once, if there is no such strategy; later, if answers are ranked on several questions and none
            is named.
        DataError: if answers to a prompt are rated on different scales.
    """
    score = strategy_named(strategy)

    def of_feedback(record: Feedback, tally: Tally) -> Iterator[Unpaired]:
        by, scored = _score_completions(record, strategy, score, question, tally)
        if not scored:
            return
        border = sum(value for value, _ in scored) / len(scored) if threshold is None else threshold
        sided = [(value, item) for value, item in scored if value != border]
        if len(sided) < len(scored):
            tally.count("at-the-border", len(scored) - len(sided))
        if not sided:
            tally.drop(record.id, "all-at-the-border", f"all {len(scored)} scores are {border:g}", at=record)
        for value, item in sided:
            yield Unpaired(
                prompt=record.prompt,
                answer=item.answer,
                desirable=value > border,
                score=value,
                source=record.source,
                model=item.model,
                feedback_id=record.id,
                extra={"strategy": by, "border": border} | _tools(record),
                file=record.file,
                line=record.line,
            )

    def stage(records: Iterable[Feedback | Preference], tally: Tally) -> Iterator[Unpaired]:
        for record in records:
            yield from _split_pair(record, tally) if isinstance(record, Preference) else of_feedback(record, tally)

    return stage


def _split_pair(pair: Preference, tally: Tally) -> Iterator[Unpaired]:
    if pair.chosen == pair.rejected:
        tally.drop(pair.id, "same-text", "chosen and rejected are equal", at=pair)
        return
    sides = (
        (True, pair.chosen, pair.score_chosen, pair.model_chosen),
        (False, pair.rejected, pair.score_rejected, pair.model_rejected),
    )
    for desirable, answer, score, model in sides:
        yield Unpaired(
            prompt=pair.prompt,
            answer=answer,
            desirable=desirable,
            score=score,
            source=pair.source,
            model=model,
            feedback_id=pair.feedback_id,
            extra=pair.extra,
            file=pair.file,
            line=pair.line,
        )


def share_prompt(pair: Preference) -> Preference:
    """A pair whose answers part with their first turn: leading turns that both have are part of the prompt.

    Nothing was chosen between them, and what a policy makes of them says nothing of the pair. An answer of the
    assistant's is left on each side; a pair of two equal sides stays as it is. The result has other ids.
    """
    sides = (pair.chosen, pair.rejected)
    if pair.chosen == pair.rejected or pair.chosen[0] != pair.rejected[0]:
        return pair
    last = min(max((n for n, turn in enumerate(side) if turn.role == "assistant"), default=0) for side in sides)
    parts = zip(pair.chosen[:last], pair.rejected, strict=False)
    shared = next((n for n, (one, other) in enumerate(parts) if one != other), last)
    if not shared:
        return pair
    chosen, rejected = (side[shared:] for side in sides)
    return msgspec.structs.replace(pair, prompt=(*pair.prompt, *pair.chosen[:shared]), chosen=chosen, rejected=rejected)


def dialogues(
    strategy: str = "auto", top: int = 1, question: str | None = None
) -> Stage[Feedback | Preference | Unpaired, Dialogue]:
    """A stage that makes dialogues: a prompt with each of its ``top`` best answers, the best first.

    Of feedback the answers are ranked by ``strategy``; of equal scores the first goes first (counted as
    ``tie-at-the-cut`` where the next one would have been as good). Of a pair the chosen answer is taken (counted as
    ``reversed`` where its score is the lower one), of labelled answers those that are wanted. The same answer to the
    same prompt is given once; ``extra`` tells model, score, strategy and the id of the feedback.

    Dropped with a reason: ``unscored``, ``undesirable``, ``duplicate`` (prompt and answers came before; where
    another answer of the prompt is new, ``duplicate-answer`` is counted). Memory: a hash of 8 bytes, in a set, for each
    dialogue.

    Raises:
        ConfigError: at once, if there is no such strategy or ``top`` is below 1; later, if answers are ranked on
            several questions and none is named.
        DataError: if answers to a prompt are rated on different scales.
    """
    score = strategy_named(strategy)
    if top < 1:
        raise ConfigError(f"'top' is {top}; at least one answer of each prompt must be taken")

    def best_of(record: Feedback, tally: Tally) -> Iterator[Dialogue]:
        by, scored = _score_completions(record, strategy, score, question, tally)
        for value, item in _best(scored, top, tally):
            extra = {"model": item.model, "score_chosen": value, "strategy": by, "feedback_id": record.id}
            extra |= _tools(record)
            messages = (*record.prompt, *item.answer)
            yield Dialogue(messages=messages, source=record.source, extra=extra, file=record.file, line=record.line)

    def dialogues_of(record: Feedback | Preference | Unpaired, tally: Tally) -> Iterable[Dialogue]:
        if isinstance(record, Feedback):
            return best_of(record, tally)
        return [_dialogue_of_chosen(record, tally)] if isinstance(record, Preference) else _of_wanted(record, tally)

    def stage(records: Iterable[Feedback | Preference | Unpaired], tally: Tally) -> Iterator[Dialogue]:
        seen: set[int] = set()
        for record in records:
            found = list(dialogues_of(record, tally))
            made = {int(record_id(dialogue), 16): dialogue for dialogue in found}
            new = made.keys() - seen
            if made and not new:
                what = "the same answer to the same prompt came before"
                tally.drop(record.id, "duplicate", what, at=record, asked_by="to")
            elif len(new) < len(found):
                tally.count("duplicate-answer", len(found) - len(new))
            seen |= new
            yield from (dialogue for key, dialogue in made.items() if key in new)

    return stage


def _tools(record: Feedback) -> dict[str, Any]:
    """The tools that the answers may call: training needs them too."""
    return {"tools": record.extra["tools"]} if "tools" in record.extra else {}


_Scored = list[tuple[float, Completion]]


def _best(scored: _Scored, top: int, tally: Tally) -> _Scored:
    """The best completions with their scores."""
    ordered = sorted(scored, key=lambda pair: -pair[0])  # stable: of equal scores the first stays first
    if len(ordered) > top and ordered[top][0] == ordered[top - 1][0]:
        tally.count("tie-at-the-cut")
    return ordered[:top]


def _score_completions(
    record: Feedback, strategy: str, score: Score, question: str | None, tally: Tally
) -> tuple[str, _Scored]:
    """The strategy that was applied, and the completions with a score; a drop where none has one."""
    by = applied(record, strategy)
    check_scales(record, by)
    if by != strategy and by == "votes":
        tally.count("by-votes")
    values = score_answers(record, by, score, question)
    scored = [(value, item) for value, item in zip(values, record.completions, strict=True) if value is not None]
    if len(scored) < len(record.completions):
        tally.count("unscored-completion", len(record.completions) - len(scored))
    if not scored:
        tally.drop(record.id, "unscored", f"none of {len(record.completions)} completions has a score", at=record)
    return by, scored


def _dialogue_of_chosen(pair: Preference, tally: Tally) -> Dialogue:
    scores = (pair.score_chosen, pair.score_rejected)
    margin = pair.margin if scores[0] is None or scores[1] is None else scores[0] - scores[1]
    if margin is not None and margin < 0:
        tally.count("reversed")
    about = {"model": pair.model_chosen, "score_chosen": pair.score_chosen, "feedback_id": pair.feedback_id}
    return _dialogue(pair, (*pair.prompt, *pair.chosen), about)


def _of_wanted(row: Unpaired, tally: Tally) -> list[Dialogue]:
    if not row.desirable:
        what = "its label says that the answer is unwanted"
        tally.drop(row.id, "undesirable", what, at=row, asked_by="to")
        return []
    about = {"model": row.model, "score_chosen": row.score, "feedback_id": row.feedback_id}
    return [_dialogue(row, (*row.prompt, *row.answer), about)]


def _dialogue(record: Preference | Unpaired, messages: tuple[Message, ...], about: dict[str, Any]) -> Dialogue:
    tools = {"tools": record.extra["tools"]} if "tools" in record.extra else {}
    return Dialogue(messages=messages, source=record.source, extra=about | tools, file=record.file, line=record.line)
