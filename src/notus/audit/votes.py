"""The audit of rankings: votes between two answers and ordered lists, with what decides beside the answers.

    ties        share of the votes that prefer neither
    first       share of those that do for the answer that stands first: position
    longer      share of those for the longer answer, of answers whose lengths differ
    against     share of those for the answer with the lower mean rating, of answers whose mean ratings differ
    models      how often each wins against the others, and its Bradley–Terry score

A list of many answers is taken as a vote on each two of them. All intervals take prompts as clusters. Owns what is held
of rankings and these figures; who voted is the business of ``audit.raters``.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from notus.audit.pairs import Game, ModelBias, model_bias
from notus.audit.raters import Columns
from notus.core.records import Feedback, Ranking
from notus.core.text import counted
from notus.stats.intervals import Estimate, clustered_mean, wilson_if_unanimous

__all__ = ["Question", "Rankings", "VoteAudit"]

_CODES = {"question": "H", "item": "Q", "prompt": "Q", "rater": "I", "value": "d", "longer": "b", "better": "b"}
_MODELS = {"first": "I", "second": "I"}


@dataclass(frozen=True)
class Question:
    """The votes on one question; an estimate is None where there is too little for an interval."""

    name: str
    rankings: int
    prompts: int
    votes: int
    """Between two answers: a list of many is as many votes as it has pairs."""
    ties: Estimate | None
    """Share of all votes."""
    first: Estimate | None
    """Share of the votes that are no ties."""
    longer: Estimate | None
    """… of those between answers of different lengths."""
    against: Estimate | None
    """… of those between answers with different mean ratings, for the lower one."""
    models: tuple[ModelBias, ...]


@dataclass(frozen=True)
class VoteAudit:
    """The figures of the rankings of a feedback set."""

    prompts: int
    """Prompts with a ranking."""
    unscored: int
    """… without any rating or overall score: the rules on scores were not applied to them."""
    answers_unscored: int
    questions: tuple[Question, ...]

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        if not self.prompts:
            return []
        total = sum(each.rankings for each in self.questions)
        said = [f"{counted(total, 'ranking')} of the answers to {counted(self.prompts, 'prompt')}."]
        if self.unscored:
            have = counted(self.unscored, "prompt has", "prompts have")
            said.append(
                f"{have} rankings and no score: the rules on scores (score against ratings, wording, tens) were not "
                f"applied to their {counted(self.answers_unscored, 'answer')}."
            )
        for each in self.questions:
            on = f"On '{each.name}', " if each.name else ""
            for estimate, what in ((each.first, "the answer that stands first"), (each.longer, "the longer answer")):
                if estimate is not None:
                    said.append(_sentence(on, what, wilson_if_unanimous(estimate)))
            if each.against is not None and each.against.mean:
                share = each.against
                told = f"{share.mean:.1%}, 95 % {share.low:.1%} to {share.high:.1%}, n = {share.n:,}"
                said.append(f"{on}{'votes' if on else 'Votes'} contradict the mean ratings in {told}.")
        return said

    def as_json(self) -> dict[str, Any]:
        """The figures, for the manifest and ``--json``."""
        return {
            "prompts": self.prompts,
            "unscored": self.unscored,
            "answers_unscored": self.answers_unscored,
            "questions": [_question_json(each) for each in self.questions],
        }


class Rankings:
    """Takes feedback, and holds of each vote between two answers nine numbers.

    Those of the parts of a set are put together with ``merge``, in the order of the set.
    """

    def __init__(self) -> None:
        self._questions: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._model_names: dict[str, int] = {}
        self._columns: dict[str, Any] = {name: array(code) for name, code in (_CODES | _MODELS).items()}
        self._rankings: dict[str, list[int]] = {}
        self._rows = self._prompts = self._unscored = self._answers = 0

    def add(self, feedback: Feedback) -> None:
        """Take one prompt in."""
        if feedback.rankings:
            self._prompts += 1
            if all(item.mean_rating is None and item.overall_score is None for item in feedback.completions):
                self._unscored += 1
                self._answers += len(feedback.completions)
            for question in dict.fromkeys(each.question for each in feedback.rankings):
                counts = self._rankings.setdefault(question, [0, 0])
                counts[0] += sum(each.question == question for each in feedback.rankings)
                counts[1] += 1
            for each in feedback.rankings:
                self._add(feedback, each)
        self._rows += 1

    def merge(self, other: "Rankings") -> None:
        """Take in what another holds of the prompts that follow."""

        def places(mine: dict[str, int], others: dict[str, int]) -> list[int]:
            return [mine.setdefault(name, len(mine)) for name in others]

        models = places(self._model_names, other._model_names)
        moved: dict[str, Sequence[int]] = {
            "question": places(self._questions, other._questions),
            "rater": places(self._names, other._names),
            "first": models,
            "second": models,
        }
        for name, column in other._columns.items():
            if name == "item":
                self._columns[name].extend(value + (self._rows << 32) for value in column)
            else:
                numbers = moved.get(name)
                self._columns[name].extend(column if numbers is None else [numbers[value] for value in column])
        for question, counts in other._rankings.items():
            mine = self._rankings.setdefault(question, [0, 0])
            mine[0] += counts[0]
            mine[1] += counts[1]
        self._rows += other._rows
        self._prompts += other._prompts
        self._unscored += other._unscored
        self._answers += other._answers

    def columns(self) -> list[Columns]:
        """The votes on each question, for who voted."""
        held = {name: np.asarray(self._columns[name]) for name in _CODES}
        found = []
        for question, number in self._questions.items():
            rows = held["question"] == number
            items, prompts = (np.unique(held[name][rows], return_inverse=True)[1] for name in ("item", "prompt"))
            raters = held["rater"][rows].astype(np.int64)
            values = held["value"][rows]
            found.append(Columns("votes", question, None, tuple(self._names), items, prompts, raters, values))
        return found

    def report(self) -> VoteAudit:
        """The figures of all that was taken in."""
        questions = tuple(self._question(name) for name in self._rankings)
        return VoteAudit(self._prompts, self._unscored, self._answers, questions)

    def _add(self, feedback: Feedback, ranking: Ranking) -> None:
        ranked = [(place, rank) for place, rank in enumerate(ranking.ranks) if rank is not None]
        question = self._questions.setdefault(ranking.question, len(self._questions))
        rater = self._names.setdefault(ranking.rater, len(self._names))
        prompt = int(feedback.prompt_id, 16)
        items = feedback.completions
        means = [item.mean_rating for item in items]
        for number, (a, rank) in enumerate(ranked):
            for b, other in ranked[number + 1 :]:
                value = 0.5 if rank == other else float(rank < other)
                length = len(items[a].text) - len(items[b].text)
                x, y = means[a], means[b]
                better = 0 if x is None or y is None else (x > y) - (x < y)
                longer = (length > 0) - (length < 0)
                row = (question, self._rows << 32 | a << 16 | b, prompt, rater, value, longer, better)
                models = (self._model_names.setdefault(items[x].model, len(self._model_names)) for x in (a, b))
                for column, entry in zip(self._columns.values(), (*row, *models), strict=True):
                    column.append(entry)

    def _question(self, name: str) -> Question:
        held = {key: np.asarray(column) for key, column in self._columns.items()}
        rows = held["question"] == self._questions[name]
        value, prompt, longer, better = (held[key][rows] for key in ("value", "prompt", "longer", "better"))
        strict = value != 0.5
        apart, rated = strict & (longer != 0), strict & (better != 0)
        rankings, prompts = self._rankings[name]
        return Question(
            name=name,
            rankings=rankings,
            prompts=prompts,
            votes=int(rows.sum()),
            ties=_share(value == 0.5, prompt),
            first=_share(value[strict] == 1, prompt[strict]),
            longer=_share((value == 1)[apart] == (longer > 0)[apart], prompt[apart]),
            against=_share((value == 1)[rated] != (better > 0)[rated], prompt[rated]),
            models=model_bias(self._games(held["first"][rows], held["second"][rows], value, prompt)),
        )

    def _games(self, first: Any, second: Any, value: Any, prompt: Any) -> list[Game]:
        names = list(self._model_names)
        columns = (column.tolist() for column in (first, second, value, prompt))
        return [
            (names[a], names[b], outcome, str(of))
            for a, b, outcome, of in zip(*columns, strict=True)
            if a != b and names[a] and names[b]
        ]


def _share(cases: Any, prompts: Any) -> Estimate | None:
    return clustered_mean(cases.astype(float).tolist(), prompts.tolist()) if len(cases) else None


def _sentence(on: str, what: str, share: Estimate) -> str:
    told = f"{share.mean:.1%}, 95 % {share.low:.1%} to {share.high:.1%}, n = {share.n:,} votes"
    even = " not distinguishable from half" if share.low <= 0.5 <= share.high else ""
    start = f"{on}{what}" if on else f"{what[0].upper()}{what[1:]}"
    return f"{start} is preferred in {told}{':' + even if even else ''}."


def _question_json(each: Question) -> dict[str, Any]:
    shares = {name: getattr(each, name) for name in ("ties", "first", "longer", "against")}
    return {
        "question": each.name,
        "rankings": each.rankings,
        "prompts": each.prompts,
        "votes": each.votes,
        **{name: estimate and estimate.as_json("share") for name, estimate in shares.items()},
        "models": [
            {
                "model": model.name,
                "won": model.chosen,
                "lost": model.rejected,
                "tied": model.tied,
                "share": model.share and model.share.as_json("share"),
                "score": model.score and model.score.as_json("logits"),
            }
            for model in each.models
        ],
    }
