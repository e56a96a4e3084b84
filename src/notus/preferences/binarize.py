"""Binarizing: from feedback to preferences by a selection, as a stage.

Owns the records that are made, what is counted, and the reasons for which a prompt gives no pair. The scores are in
``preferences.scores``, the choice of chosen and rejected in ``preferences.selection``, the published sets in
``preferences.presets``, what is held out in ``core.splits``.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from notus.core.errors import ConfigError, DataError
from notus.core.records import DESCRIPTIVE, VERIFIED, Completion, Feedback, Preference, Scale
from notus.core.stage import Stage, Tally
from notus.preferences.faults import is_empty
from notus.preferences.scores import applied, check_scales, strategy_named
from notus.preferences.selection import Choice, Selection, choose
from notus.preferences.votes import CONSENSUS, Votes, ask_for, majority

__all__ = ["binarize"]


def binarize(selection: Selection | str, seed: int) -> Stage[Feedback, Preference]:
    """A stage that makes preferences of prompts; it can be sent to another process.

    Args:
        selection: the settings, or the name of a strategy with all else as usual: the best completion against a random
            lower one of another text.
        seed: with the prompt, it seeds the draw of the rejected completion.

    Counted are ``unscored-completion`` (takes no part), ``tie-for-best`` (the first is chosen), and, where the
    selection allows them, ``tied-pair`` and ``same-text-pair``; ``by-votes``, the prompts that have rankings,
    under the strategy ``auto``; ``other-ranking``, of another question or of fewer than two answers;
    ``mean-of-ASPECT``, the prompts in which the mean rating takes an aspect, where there are several, and
    ``left-out-ASPECT``, those in which it does not, because the aspect measures no quality; ``other-scale``, the
    prompts that are scored on another scale than the first one; ``against-votes``, the pairs that are made by scores
    although most rankings prefer the rejected answer; ``by-MODEL``, the prompts that each model of an order answered;
    ``empty-answer`` and ``empty-prompt``, the pairs of which an answer, or the last turn of the prompt, shows nothing.

    Dropped with a reason: ``one-completion``, ``unscored`` (no completion has a score), ``one-scored`` (only one has),
    ``few-answers`` (for ``mean-2sd``), ``all-tied``, ``under-margin``, ``same-text`` (each lower one reads like the
    chosen one); by votes ``no-ranking``, ``vote-tie`` (all votes are ties), ``vote-split`` (as many for the one as for
    the other), ``no-majority`` (no answer beats a lower one in most of the rankings that hold both).

    Raises:
        ConfigError: at once, if there is no such strategy; later, if the answers are ranked on several questions and
            none is named.
        DataError: if answers to a prompt, or prompts under one margin, are rated on different scales.
    """
    if isinstance(selection, str):
        strategy_named(selection)
        selection = Selection.parse({"strategy": selection}, where="binarize")
    return partial(_binarize, selection, seed)


def _binarize(selection: Selection, seed: int, records: Iterable[Feedback], tally: Tally) -> Iterator[Preference]:
    score = selection.score()
    checked = not selection.weights
    asked: set[str] = set()
    first: list[Scale] = []
    for feedback in records:
        checked = checked or selection.check_aspects(feedback)
        _check_scale(feedback, selection, first, tally)
        choice = choose(feedback, selection, score, seed)
        if choice.votes:
            _check_question(choice.votes, asked)
        _count(feedback, selection, choice, tally)
        if choice.problem:
            asked_by = "margin" if choice.problem[0] == "under-margin" else ""
            tally.drop(feedback.id, *choice.problem, at=feedback, asked_by=asked_by)
        for chosen, rejected in choice.pairs:
            yield _preference(feedback, choice, chosen, rejected)


def _check_scale(feedback: Feedback, selection: Selection, first: list[Scale], tally: Tally) -> None:
    """Refuse scores on different scales where they would be compared, and count the prompts on another than the first.

    ``first`` takes that scale.
    """
    if selection.rescale:
        return
    scale = check_scales(feedback, applied(feedback, selection.strategy), selection.weights)
    if scale is None:
        return
    if not first:
        first.append(scale)
    if scale == first[0]:
        return
    if selection.margin:
        raise DataError(
            f"feedback {feedback.id} is rated from {scale.low:g} to {scale.high:g}, and prompts before it from "
            f"{first[0].low:g} to {first[0].high:g}: one margin, {selection.margin:g}, means something else on each; "
            "leave the margin out, or put each score on 0 to 1 by its own scale (--rescale)"
        )
    tally.count("other-scale")


def _check_question(votes: Votes, asked: set[str]) -> None:
    asked.update(each.question for each in votes.rankings)
    if len(asked) > 1:
        raise ConfigError(ask_for(sorted(asked)))


def _count(feedback: Feedback, selection: Selection, choice: Choice, tally: Tally) -> None:
    if without := choice.scores.count(None):
        tally.count("unscored-completion", without)
    if choice.votes is not None:
        if selection.strategy == "auto":
            tally.count("by-votes")
        if choice.votes.other:
            tally.count("other-ranking", choice.votes.other)
    elif choice.strategy == "models":
        for name in set(selection.model_order).intersection(item.model for item in feedback.completions):
            tally.count(f"by-{name}")
    elif choice.strategy == "mean-rating":
        _count_aspects(feedback, tally)
    if len(choice.best) > 1 and selection.rejected != "all-pairs":
        tally.count("tie-for-best")
    for pair in choice.pairs:
        _count_pair(feedback, selection, choice, *pair, tally)


def _count_pair(
    feedback: Feedback, selection: Selection, choice: Choice, chosen: int, rejected: int, tally: Tally
) -> None:
    if choice.scores[chosen] == choice.scores[rejected]:
        tally.count("tied-pair")
    if selection.same_text and feedback.completions[chosen].answer == feedback.completions[rejected].answer:
        tally.count("same-text-pair")
    if is_empty(feedback.completions[chosen].answer) or is_empty(feedback.completions[rejected].answer):
        tally.count("empty-answer")
    if is_empty(feedback.prompt[-1:]):
        tally.count("empty-prompt")
    one_question = len({each.question for each in feedback.rankings}) == 1
    if choice.votes is None and one_question and majority(feedback.rankings, rejected, chosen).wins:
        tally.count("against-votes")


def _count_aspects(feedback: Feedback, tally: Tally) -> None:
    """Say which aspects the mean rating takes, where that is not plain."""
    aspects = {rating.aspect for item in feedback.completions for rating in item.ratings}
    if len(aspects) < 2:
        return
    apart = DESCRIPTIVE | VERIFIED
    ratings = (rating for item in feedback.completions for rating in item.ratings if rating.aspect in apart)
    without = {rating.aspect for rating in ratings if not rating.measures_quality}
    for aspect in aspects:
        tally.count(f"left-out-{aspect}" if aspect in without else f"mean-of-{aspect}")


def _preference(feedback: Feedback, choice: Choice, chosen: int, rejected: int) -> Preference:
    answer, other = feedback.completions[chosen], feedback.completions[rejected]
    extra = {
        "strategy": choice.strategy,
        "chosen_index": chosen,
        "rejected_index": rejected,
        "completions": len(feedback.completions),
    }
    extra |= {"tools": feedback.extra["tools"]} if "tools" in feedback.extra else {}
    margin = None
    if choice.votes is not None:
        found = majority(choice.votes.rankings, chosen, rejected)
        extra["votes"] = {"chosen": found.won, "rejected": found.lost, "tied": found.tied}
        extra |= {"raters": found.raters} if found.raters else {}
        extra |= {"question": question} if (question := choice.votes.rankings[0].question) else {}
        extra |= _consensus(feedback, chosen, rejected)
        margin = found.strength
    elif raters := _raters(choice.strategy, answer, other):
        extra["raters"] = raters
    return Preference(
        prompt=feedback.prompt,
        chosen=answer.answer,
        rejected=other.answer,
        score_chosen=choice.scores[chosen],
        score_rejected=choice.scores[rejected],
        margin=margin,
        source=feedback.source,
        model_chosen=answer.model,
        model_rejected=other.model,
        feedback_id=feedback.id,
        extra=extra,
        file=feedback.file,
        line=feedback.line,
    )


def _consensus(feedback: Feedback, chosen: int, rejected: int) -> dict[str, object]:
    """What raters say together of two answers, and how they voted, where their votes were made one before."""
    note: dict[str, Any] = feedback.extra.get(CONSENSUS) or {"said": ()}
    for each in note["said"]:
        places = [each["first"], each["second"]]
        if {chosen, rejected} == set(places):
            one = places.index(chosen)
            votes = [*each["votes"], 0]
            counts = {"chosen": votes[one], "rejected": votes[1 - one], "tied": votes[2]}
            told = {"by": note["by"], "posterior": each["posterior"][one]}
            return {"votes": counts, "raters": sum(counts.values()), CONSENSUS: told}
    return {}


def _raters(strategy: str, *answers: Completion) -> int:
    """How many raters with a name are behind the scores of the answers."""
    if strategy in ("mean-rating", "weighted"):
        return len({rating.rater for item in answers for rating in item.ratings if rating.rater})
    if strategy in ("critique", "repaired-critique"):
        return len({item.critique.rater for item in answers if item.critique and item.critique.rater})
    return 0
