"""Who can be put on trial: a ranker, whose higher score is its verdict, and a judge that is asked.

Owns how each comes to a ruling. Rankers are made by ``models.ranker``, questions and their reading by ``models.judge``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from notus.core.errors import ConfigError, nearest
from notus.core.records import Message
from notus.evaluate.rewards import checked
from notus.evaluate.trial import Ruling, Shown
from notus.models.judge import Judges, Question, Unscored, ask
from notus.models.protocols import Decoding, Generator, Ranker

__all__ = ["AskedJudge", "RankerJudge"]


@dataclass(frozen=True)
class RankerJudge:
    """A ranker as a judge: the answer with the higher score is better, equal scores are a tie.

    A ranker is shown both orders too: one that reads two answers together, such as PairRM, may depend on them.
    """

    name: str
    """What its rulings are recorded under: the ranker's own name, where no other has it."""
    ranker: Ranker
    pointwise: bool = False

    def rule(self, shown: Sequence[Shown]) -> list[Ruling]:
        """Rank each pair as it is shown.

        Raises:
            RunError: if the ranker gives too few scores, or one that is no finite number.
        """
        candidates = [(pair.first, pair.second) for pair in shown]
        scores = checked(self.name, self.ranker.rank([pair.prompt for pair in shown], candidates), candidates)
        return [_compared(first, second) for first, second in scores]


@dataclass(frozen=True)
class AskedJudge:
    """A judge that is asked through a generator, with the strict parser of ``models.judge_text``."""

    name: str
    """Of the model, as the generator calls it."""
    generator: Generator
    judges: Judges
    """With the prompt files."""
    decoding: Decoding
    tries: int = 3
    form: Literal["pair", "grade"] = "pair"
    """``pair`` asks for a verdict on two answers, ``grade`` for a grade of each alone."""

    @property
    def pointwise(self) -> bool:
        """Whether answers are graded alone."""
        return self.form == "grade"

    def rule(self, shown: Sequence[Shown]) -> list[Ruling]:
        """Ask about each pair as it is shown; what stays unreadable after all tries has no verdict.

        Raises:
            ConfigError: if the generator has no model of that name.
            RunError: when the generator cannot go on.
        """
        if self.form == "pair":
            texts = [(_instruction(pair.prompt), pair.first, pair.second) for pair in shown]
            found = self._asked(self.judges.pair(*text) for text in texts)
            return [_verdict(found[number]) for number in range(len(shown))]
        answers = {(_instruction(p.prompt), text): 0 for p in shown for text in (p.first, p.second)}
        grades = self._asked(self.judges.grade(*key) for key in answers)
        of = {key: grades[number] for number, key in enumerate(answers)}
        return [_graded(*(of[_instruction(p.prompt), text] for text in (p.first, p.second))) for p in shown]

    def _asked(self, questions: Iterable[Question[Any]]) -> dict[int, Any]:
        models = self.generator.models
        if self.name not in models:
            raise ConfigError(f"there is no model '{self.name}' to judge; {nearest(self.name, models)}")
        listed = list(questions)
        numbers = {id(question): number for number, question in enumerate(listed)}
        judged = ask(self.generator, models[self.name], listed, self.decoding, tries=self.tries)
        return {numbers[id(item.question)]: item.value for item in judged}


def _instruction(prompt: tuple[Message, ...]) -> str:
    """The prompt as a judge sees it: the user's turn, or the whole conversation with its roles."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt)


def _verdict(value: Any) -> Ruling:
    return Ruling(None, value.reason) if isinstance(value, Unscored) else Ruling(value)


def _graded(first: Any, second: Any) -> Ruling:
    missing = next((value for value in (first, second) if isinstance(value, Unscored)), None)
    return _compared(first, second) if missing is None else Ruling(None, missing.reason)


def _compared(first: float | None, second: float | None) -> Ruling:
    if first is None or second is None:
        return Ruling(None, "no-score")
    return Ruling("A" if first > second else "B" if second > first else "C")
