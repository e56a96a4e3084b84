"""From feedback or pairs to what KTO and SFT train on: unpaired rows and dialogues.

    unpaired    each answer on its own, wanted or not
    dialogues   the top-ranked answers, as Zephyr's second SFT run takes them

Ranks come from the strategies of ``data.scores``. Which record becomes which row of whose layout is owned by
``data.writers``.
"""

from collections.abc import Iterable, Iterator

from notus.core.errors import ConfigError
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired, digest
from notus.core.stage import Stage, Tally
from notus.data.scores import Score, strategy_named

__all__ = ["dialogues", "unpaired"]


def unpaired(strategy: str = "mean-rating", threshold: float | None = None) -> Stage[Feedback | Preference, Unpaired]:
    """A stage that makes unpaired rows.

    Of a pair both answers are taken, chosen first. Of feedback each answer is taken whose score by ``strategy`` is
    above the threshold (wanted) or below it (not); without a threshold it is measured against the mean of the scores
    under its own prompt. An answer exactly at that border is neither (counted as ``at-the-border``), nor is one without
    a score (``unscored-completion``).

    Dropped with a reason: ``same-text`` (a pair whose answers are equal would be wanted and not wanted), ``unscored``
    (no completion has a score), ``all-at-the-border``.

    Raises:
        ConfigError: at once, if there is no such strategy.
    """
    score = strategy_named(strategy)

    def of_feedback(record: Feedback, tally: Tally) -> Iterator[Unpaired]:
        scored = _scored(record, score, tally)
        if not scored:
            return
        border = sum(value for value, _ in scored) / len(scored) if threshold is None else threshold
        sided = [(value, item) for value, item in scored if value != border]
        if len(sided) < len(scored):
            tally.count("at-the-border", len(scored) - len(sided))
        if not sided:
            tally.drop(record.id, "all-at-the-border", f"all {len(scored)} scores are {border:g}")
        for value, item in sided:
            yield Unpaired(
                prompt=record.prompt,
                answer=(Message(role="assistant", content=item.text),),
                desirable=value > border,
                score=value,
                source=record.source,
                model=item.model,
                feedback_id=record.id,
                extra={"strategy": strategy, "border": border},
            )

    def stage(records: Iterable[Feedback | Preference], tally: Tally) -> Iterator[Unpaired]:
        for record in records:
            yield from _sides(record, tally) if isinstance(record, Preference) else of_feedback(record, tally)

    return stage


def _sides(pair: Preference, tally: Tally) -> Iterator[Unpaired]:
    if pair.chosen == pair.rejected:
        tally.drop(pair.id, "same-text", "chosen and rejected are equal")
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
        )


def dialogues(strategy: str = "mean-rating", top: int = 1) -> Stage[Feedback | Preference, Dialogue]:
    """A stage that makes dialogues: a prompt with each of its ``top`` best answers, the best first.

    Of feedback the answers are ranked by ``strategy``; of equal scores the first goes first (counted as
    ``tie-at-the-cut`` where the next one would have been as good). Of a pair the chosen answer is taken. The same
    answer to the same prompt is given once; ``extra`` tells model, score, strategy and the id of the feedback.

    Dropped with a reason: ``unscored``, ``duplicate`` (prompt and answer came before). Memory: a hash of 8 bytes, in a
    set, for each dialogue.

    Raises:
        ConfigError: at once, if there is no such strategy or ``top`` is below 1.
    """
    score = strategy_named(strategy)
    if top < 1:
        raise ConfigError(f"'top' is {top}; at least one answer of each prompt must be taken")

    def best_of(record: Feedback, tally: Tally) -> Iterator[Dialogue]:
        for value, item in _top(record, score, top, tally):
            extra = {"model": item.model, "score": value, "strategy": strategy, "feedback_id": record.id}
            answer = Message(role="assistant", content=item.text)
            yield Dialogue(messages=(*record.prompt, answer), source=record.source, extra=extra)

    def stage(records: Iterable[Feedback | Preference], tally: Tally) -> Iterator[Dialogue]:
        seen: set[int] = set()
        for record in records:
            found = [_chosen(record)] if isinstance(record, Preference) else best_of(record, tally)
            for dialogue in found:
                key = int(digest(*(part for turn in dialogue.messages for part in (turn.role, turn.content))), 16)
                if key in seen:
                    tally.drop(record.id, "duplicate", "the same answer to the same prompt came before")
                    continue
                seen.add(key)
                yield dialogue

    return stage


def _top(record: Feedback, score: Score, top: int, tally: Tally) -> list[tuple[float, Completion]]:
    """The best completions with their scores; none, and a drop, where no completion has a score."""
    scored = _scored(record, score, tally)
    scored.sort(key=lambda pair: -pair[0])  # stable: of equal scores the first stays first
    if len(scored) > top and scored[top][0] == scored[top - 1][0]:
        tally.count("tie-at-the-cut")
    return scored[:top]


def _scored(record: Feedback, score: Score, tally: Tally) -> list[tuple[float, Completion]]:
    scored = [(value, item) for item in record.completions if (value := score(item)) is not None]
    if len(scored) < len(record.completions):
        tally.count("unscored-completion", len(record.completions) - len(scored))
    if not scored:
        tally.drop(record.id, "unscored", f"none of {len(record.completions)} completions has a score")
    return scored


def _chosen(pair: Preference) -> Dialogue:
    extra = {"model": pair.model_chosen, "score": pair.score_chosen, "feedback_id": pair.feedback_id}
    return Dialogue(messages=(*pair.prompt, *pair.chosen), source=pair.source, extra=extra)
