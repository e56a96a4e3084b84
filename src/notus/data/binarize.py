"""Binarizing: from feedback to preferences, by a score that ranks the completions of a prompt; and the split by prompt.

    mean-rating        the mean of the aspect ratings                                     (Notus)
    critique           the overall score of the critique, as it was recorded              (Zephyr)
    repaired-critique  the overall score after the published rule; a doubtful 10 is none  (data.repair)

Owns the strategies, the choice of chosen and rejected, and the reasons for which a prompt gives no pair.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from notus.core.errors import ConfigError, nearest
from notus.core.records import Completion, Feedback, Message, Preference, digest
from notus.core.stage import Stage, Tally
from notus.data.repair import ASK_AGAIN, SET_TO_1, verdict

__all__ = ["STRATEGIES", "binarize", "is_held_out", "split", "strategy_named"]

Score = Callable[[Completion], float | None]
R = TypeVar("R", Feedback, Preference)


def _mean_rating(completion: Completion) -> float | None:
    return completion.mean_rating


def _critique(completion: Completion) -> float | None:
    return completion.overall_score


def _repaired_critique(completion: Completion) -> float | None:
    """The overall score that can be trusted: a false 10 is a 1, a doubtful 10 is no score until the judge is asked.

    It is the same before and after the stage ``data.repair``, which leaves a doubtful 10 in place.
    """
    what = verdict(completion)
    if what == ASK_AGAIN:
        return None
    return 1.0 if what == SET_TO_1 else completion.overall_score


STRATEGIES: dict[str, Score] = {
    "mean-rating": _mean_rating,
    "critique": _critique,
    "repaired-critique": _repaired_critique,
}
"""Name → the score of a completion, or None where it has none and takes no part."""


def strategy_named(name: str) -> Score:
    """The score of that strategy.

    Raises:
        ConfigError: if there is no such strategy, with the nearest.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"there is no strategy '{name}'; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name]


def binarize(strategy: str, seed: int) -> Stage[Feedback, Preference]:
    """A stage that makes at most one preference of each prompt.

    Chosen is the completion with the best score, the first of several equal ones (counted as ``tie-for-best``).
    Rejected is drawn among those with a strictly lower score and another text, by a generator seeded with ``seed`` and
    the prompt: the draw depends neither on the order of the rows nor on shards and processes. Completions without a
    score take no part (counted as ``unscored-completion``).

    Dropped with a reason: ``one-completion``, ``unscored`` (no completion has a score), ``one-scored`` (only one has),
    ``all-tied``, ``same-text`` (each lower one reads like the chosen one).

    Raises:
        ConfigError: at once, if there is no such strategy.
    """
    score = strategy_named(strategy)

    def stage(records: Iterable[Feedback], tally: Tally) -> Iterator[Preference]:
        for feedback in records:
            preference = _preference(feedback, [score(item) for item in feedback.completions], strategy, seed, tally)
            if preference is not None:
                yield preference

    return stage


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


def _preference(
    feedback: Feedback, scores: Sequence[float | None], strategy: str, seed: int, tally: Tally
) -> Preference | None:
    scored = {index: value for index, value in enumerate(scores) if value is not None}
    if len(scored) < len(scores):
        tally.count("unscored-completion", len(scores) - len(scored))
    if problem := _problem(scores, scored):
        tally.drop(feedback.id, *problem)
        return None
    best = max(scored.values())
    chosen = next(index for index, value in scored.items() if value == best)
    answer = feedback.completions[chosen]
    lower = [index for index, value in scored.items() if value < best]
    usable = [index for index in lower if feedback.completions[index].text != answer.text]
    if len(scored) - len(lower) > 1:
        tally.count("tie-for-best")
    if not usable:
        tally.drop(feedback.id, "same-text", f"{len(lower)} lower completions have the text of the chosen one")
        return None
    rejected = random.Random(f"{seed}:{feedback.prompt_id}").choice(usable)
    other = feedback.completions[rejected]
    return Preference(
        prompt=feedback.prompt,
        chosen=(Message(role="assistant", content=answer.text),),
        rejected=(Message(role="assistant", content=other.text),),
        score_chosen=best,
        score_rejected=scored[rejected],
        source=feedback.source,
        model_chosen=answer.model,
        model_rejected=other.model,
        feedback_id=feedback.id,
        extra={"strategy": strategy, "chosen_index": chosen, "rejected_index": rejected},
    )


def _problem(scores: Sequence[float | None], scored: dict[int, float]) -> tuple[str, str] | None:
    """Why the scores of a prompt give no pair: the reason as a slug, and the evidence; None if they do."""
    if len(scores) == 1:
        return "one-completion", "the prompt has a single completion"
    if not scored:
        return "unscored", f"none of {len(scores)} completions has a score"
    if len(scored) == 1:
        return "one-scored", f"1 of {len(scores)} completions has a score"
    if len(set(scored.values())) == 1:
        return "all-tied", f"all {len(scored)} scores are {next(iter(scored.values())):g}"
    return None
