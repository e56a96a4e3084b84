"""Binarizing: from feedback to preferences by a selection, as a stage; and the split by prompt.

Owns the records that are made, what is counted, and the reasons for which a prompt gives no pair. The scores are in
``data.scores``, the choice of chosen and rejected in ``data.selection``, the published sets in ``data.presets``.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeVar

from notus.core.errors import ConfigError
from notus.core.records import Feedback, Message, Preference, digest
from notus.core.stage import Stage, Tally
from notus.data.scores import STRATEGIES, strategy_named
from notus.data.selection import Choice, Selection, choose

__all__ = ["STRATEGIES", "binarize", "is_held_out", "split", "strategy_named"]

R = TypeVar("R", Feedback, Preference)


def binarize(selection: Selection | str, seed: int) -> Stage[Feedback, Preference]:
    """A stage that makes preferences of prompts; it can be sent to another process.

    Args:
        selection: the settings, or the name of a strategy with all else as usual: the best completion against a random
            lower one of another text.
        seed: with the prompt, it seeds the draw of the rejected completion.

    Counted are ``unscored-completion`` (takes no part), ``tie-for-best`` (the first is chosen), and, where the
    selection allows them, ``tied-pair`` and ``same-text-pair``.

    Dropped with a reason: ``one-completion``, ``unscored`` (no completion has a score), ``one-scored`` (only one has),
    ``all-tied``, ``under-margin``, ``same-text`` (each lower one reads like the chosen one).

    Raises:
        ConfigError: at once, if there is no such strategy.
    """
    if isinstance(selection, str):
        strategy_named(selection)
        selection = Selection.parse({"strategy": selection}, where="binarize")
    return partial(_stage, selection, seed)


def is_held_out(prompt_id: str, share: float, seed: int) -> bool:
    """Whether a prompt is held out: a hash of prompt and seed, read as a number from 0 to 1, is under the share."""
    return int(digest("held-out", str(seed), prompt_id), 16) < share * 2**64


def split(records: Iterable[R], held_out: float, seed: int) -> tuple[list[R], list[R]]:
    """Divide records into train and test by prompt, so that the same prompt is never in both.

    ``held_out`` is the expected share of prompts in the test part. Whether a prompt is held out depends on the prompt
    and the seed alone, not on the other rows; the number that comes out varies therefore like a binomial one.

    Raises:
        ConfigError: if the share is not between 0 and 1.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"the held-out share is {held_out}; it must be at least 0 and below 1, for example 0.1")
    train: list[R] = []
    test: list[R] = []
    for record in records:
        (test if is_held_out(record.prompt_id, held_out, seed) else train).append(record)
    return train, test


def _stage(selection: Selection, seed: int, records: Iterable[Feedback], tally: Tally) -> Iterator[Preference]:
    score = selection.score()
    checked = not selection.weights
    for feedback in records:
        checked = checked or selection.check_aspects(feedback)
        choice = choose(feedback, selection, score, seed)
        _count(feedback, selection, choice, tally)
        if choice.problem:
            tally.drop(feedback.id, *choice.problem)
        for chosen, rejected in choice.pairs:
            yield _preference(feedback, selection, choice, chosen, rejected)


def _count(feedback: Feedback, selection: Selection, choice: Choice, tally: Tally) -> None:
    if without := choice.scores.count(None):
        tally.count("unscored-completion", without)
    if len(choice.best) > 1 and selection.rejected != "all-pairs":
        tally.count("tie-for-best")
    for chosen, rejected in choice.pairs:
        if choice.scores[chosen] == choice.scores[rejected]:
            tally.count("tied-pair")
        if selection.same_text and feedback.completions[chosen].text == feedback.completions[rejected].text:
            tally.count("same-text-pair")


def _preference(feedback: Feedback, selection: Selection, choice: Choice, chosen: int, rejected: int) -> Preference:
    answer, other = feedback.completions[chosen], feedback.completions[rejected]
    return Preference(
        prompt=feedback.prompt,
        chosen=(Message(role="assistant", content=answer.text),),
        rejected=(Message(role="assistant", content=other.text),),
        score_chosen=choice.scores[chosen],
        score_rejected=choice.scores[rejected],
        source=feedback.source,
        model_chosen=answer.model,
        model_rejected=other.model,
        feedback_id=feedback.id,
        extra={
            "strategy": selection.strategy,
            "chosen_index": chosen,
            "rejected_index": rejected,
            "completions": len(feedback.completions),
        },
    )
