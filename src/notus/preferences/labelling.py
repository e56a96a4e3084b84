"""Votes by program: labelling functions that say of two answers which is better, or nothing; how they cover and differ.

A labelling function is a ranker, most often a function of the user's: it gives each answer a number, or None where it
cannot tell. Of two answers it votes for the one with the higher number; where the numbers are equal, or one is None, it
does not vote. What several of them say together is made one as the votes of people are: ``preferences.annotators``.

Coverage, overlaps and conflicts are those of Ratner et al. (2017), "Snorkel", https://arxiv.org/abs/1711.10160: the
shares of what is to be labelled on which a function votes, on which another one votes too, and on which another one
votes otherwise. Owns the votes and these figures. Not the rankers, nor what becomes of the votes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from notus.core.records import Completion, Feedback, Message, Preference, Ranking, digest, format_turns
from notus.stats.intervals import Estimate, share

if TYPE_CHECKING:
    from notus.preferences.annotators import Annotators

__all__ = ["GIVEN", "Accuracy", "FunctionFigures", "KnownLabels", "VoteTable", "as_feedback", "likeliest", "with_votes"]

GIVEN = "given"
"""As which rater the label of a pair that was read votes beside the functions."""
Item = tuple[str, int, int]
"""Two answers: id of the feedback, and their places, the lower one first."""


def as_feedback(pair: Preference) -> Feedback:
    """A pair as feedback of two answers, in an order that says nothing of its label, which becomes a vote."""
    sides = [(pair.chosen, pair.model_chosen, 1), (pair.rejected, pair.model_rejected, 2)]
    sides.sort(key=lambda side: digest("label", format_turns(side[0])))
    return Feedback(
        prompt=pair.prompt,
        completions=tuple([_completion(turns, model) for turns, model, _ in sides]),
        source=pair.source,
        extra=pair.extra,
        rankings=(Ranking(ranks=tuple([rank for *_, rank in sides]), rater=GIVEN),),
        file=pair.file,
        line=pair.line,
    )


def with_votes(
    feedback: Feedback, scores: Mapping[str, Sequence[float | None]], question: str | None = None
) -> Feedback:
    """The same with what labelling functions say of its answers, beside the votes that it has.

    A function that tells all answers apart that it scores becomes one order; otherwise each two answers that it tells
    apart are a vote of their own, so that equal numbers are no tie but no vote.

    Args:
        feedback: a prompt with its answers.
        scores: name of a function → a number for each answer, None where it cannot tell.
        question: on which the functions vote; None takes that of the first vote that is there.
    """
    if question is None:
        question = feedback.rankings[0].question if feedback.rankings else ""
    added = [
        Ranking(ranks=ranks, rater=name, question=question) for name, own in scores.items() for ranks in _ranks(own)
    ]
    return msgspec.structs.replace(feedback, rankings=(*feedback.rankings, *added))


@dataclass
class KnownLabels:
    """A labelled sample: which of two answers to a prompt is the better one."""

    labels: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Prompt and both texts, in the order of the texts → which of them is better, 0 for the first and 1."""
    contrary: int = 0
    """Pairs that say the contrary of an earlier one; neither counts."""

    @classmethod
    def of(cls, pairs: Iterable[Preference]) -> "KnownLabels":
        """Of pairs whose chosen answer is the better one."""
        found = cls()
        refused: set[tuple[str, str, str]] = set()
        for pair in pairs:
            chosen, rejected = format_turns(pair.chosen), format_turns(pair.rejected)
            better = int(chosen > rejected)
            key = (pair.prompt_id, min(chosen, rejected), max(chosen, rejected))
            if key in refused or found.labels.get(key, better) != better:
                found.contrary += 1
                refused.add(key)
                found.labels.pop(key, None)
            else:
                found.labels[key] = better
        return found

    def better(self, feedback: Feedback, one: int, other: int) -> int | None:
        """Which of two answers is better, 0 for ``one`` and 1 for ``other``; None where the sample has no label."""
        first, second = (format_turns(feedback.completions[place].answer) for place in (one, other))
        found = self.labels.get((feedback.prompt_id, min(first, second), max(first, second)))
        return None if found is None else found if first <= second else 1 - found


@dataclass(frozen=True)
class Accuracy:
    """How often somebody is right where a label is known."""

    labelled: int
    """Pairs of answers with a known label."""
    voted: int
    """Those of them on which it votes."""
    right: Estimate | None
    """Share of these on which it is right, with prompts as clusters; None with fewer than two prompts."""


@dataclass(frozen=True)
class FunctionFigures:
    """What is known of one labelling function."""

    name: str
    votes: int
    coverage: Estimate | None
    """Share of all pairs of answers on which it votes, as are the next two; None with fewer than two prompts."""
    overlaps: Estimate | None
    """… on which another votes too."""
    conflicts: Estimate | None
    """… on which another votes otherwise."""
    accuracy: Accuracy | None = None
    """Against a labelled sample, where one is given."""


@dataclass
class VoteTable:
    """Takes feedback with votes, and holds of each two answers who votes for which, and what is known."""

    known: KnownLabels | None = None
    items: dict[Item, str] = field(default_factory=dict)
    """Two answers → their prompt."""
    votes: dict[str, dict[Item, int]] = field(default_factory=dict)
    """Rater → two answers → which of them it votes for, 0 or 1."""
    truth: dict[Item, int] = field(default_factory=dict)

    def add(self, feedback: Feedback, names: Sequence[str]) -> None:
        """Take one prompt in, with the votes of those that are named."""
        own = feedback.id
        for name in names:
            self.votes.setdefault(name, {})
        for one, other in combinations(range(len(feedback.completions)), 2):
            item = own, one, other
            self.items[item] = feedback.prompt_id
            if self.known is not None and (better := self.known.better(feedback, one, other)) is not None:
                self.truth[item] = better
            for each in feedback.rankings:
                ranks = each.ranks[one], each.ranks[other]
                if each.rater in self.votes and None not in ranks and ranks[0] != ranks[1]:
                    self.votes[each.rater][item] = int(ranks[0] > ranks[1])  # type: ignore[operator]

    def figures(self) -> list[FunctionFigures]:
        """Coverage, overlaps, conflicts and accuracy of each, in the order of their names' coming."""
        return [self._figures_of(name) for name in self.votes]

    def accuracy(self, votes: Mapping[Item, int]) -> Accuracy:
        """How often votes are right where a label is known."""
        voted = [item for item in self.truth if item in votes]
        right = [float(votes[item] == self.truth[item]) for item in voted]
        return Accuracy(len(self.truth), len(voted), share(right, [self.items[item] for item in voted]))

    def majority(self) -> dict[Item, int]:
        """What most of those that vote say; nothing where as many say the one as the other."""
        found: dict[Item, int] = {}
        for item in self.items:
            said = [own[item] for own in self.votes.values() if item in own]
            if 2 * sum(said) != len(said):
                found[item] = int(2 * sum(said) > len(said))
        return found

    def _figures_of(self, name: str) -> FunctionFigures:
        own = self.votes[name]
        others = [votes for other, votes in self.votes.items() if other != name]
        covers, overlaps, conflicts = [], [], []
        for item in self.items:
            said = [votes[item] for votes in others if item in votes] if item in own else []
            covers.append(float(item in own))
            overlaps.append(float(bool(said)))
            conflicts.append(float(any(other != own[item] for other in said)))
        prompts = list(self.items.values())
        return FunctionFigures(
            name,
            votes=len(own),
            coverage=share(covers, prompts),
            overlaps=share(overlaps, prompts),
            conflicts=share(conflicts, prompts),
            accuracy=None if self.known is None else self.accuracy(own),
        )


def likeliest(found: "Annotators") -> dict[Item, int]:
    """What raters say together of each two answers, where one of them is likelier than the other and than a tie."""
    return {(id_, each.a, each.b): each.best for id_, parts in found.said.items() for each in parts if each.best < 2}


def _completion(turns: tuple[Message, ...], model: str) -> Completion:
    plain = turns == (Message(role="assistant", content=turns[-1].content),)
    texts = [turn.content for turn in turns if turn.role == "assistant"]
    return Completion(text=texts[-1] if texts else "", model=model, turns=() if plain else turns)


def _ranks(scores: Sequence[float | None]) -> list[tuple[int | None, ...]]:
    known = [score for score in scores if score is not None]
    if len(known) < 2:
        return []
    if len(set(known)) == len(known):
        return [tuple([None if own is None else 1 + sum(score > own for score in known) for own in scores])]
    found = []
    for one, other in combinations(range(len(scores)), 2):
        first, second = scores[one], scores[other]
        if first is not None and second is not None and first != second:
            ranks: list[int | None] = [None] * len(scores)
            ranks[one], ranks[other] = (1, 2) if first > second else (2, 1)
            found.append(tuple(ranks))
    return found
