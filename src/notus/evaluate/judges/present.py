"""Who judges pairs of answers, and the presenting of pairs: each in both orders.

Owns the two kinds of judges (a ranker, whose higher score is its verdict, and a judge that is asked), and what comes of
a pair in both orders. Which pairs are presented is the business of ``human`` (people's) and ``probes`` (adversarial
ones); what follows from the verdicts, of ``figures``. Rankers are made by ``rankers.make``, questions and their reading
by ``llm.judge``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from notus.core.errors import ConfigError, RunError, nearest
from notus.core.records import Message, Record, prompt_id
from notus.evaluate.rewards import check_scores
from notus.llm.judge import Judges, Question, Unscored, ask, format_instruction, preferred
from notus.llm.protocol import Decoding, Generator, Ranker

__all__ = [
    "AskedJudge",
    "JudgedPair",
    "Label",
    "PairJudge",
    "PairVerdict",
    "PresentedPair",
    "RankerJudge",
    "judge_both_orders",
    "label_of",
]

Label = Literal["A", "B", "C"]


@dataclass(frozen=True)
class PresentedPair:
    """Two answers as they are put before a judge, in this order."""

    prompt: tuple[Message, ...]
    first: str
    second: str

    @property
    def prompt_id(self) -> str:
        """The prompt's id, as in every record."""
        return prompt_id(self.prompt)

    def swapped(self) -> "PresentedPair":
        """The same pair in the other order."""
        return PresentedPair(self.prompt, self.second, self.first)


@dataclass(frozen=True)
class PairVerdict:
    """What a judge made of two answers in the order in which they were presented."""

    label: Label | None
    """A: the first is better, B: the second, C: neither. None: there is no verdict."""
    reason: str = ""
    """Slug, where there is none."""


class PairJudge(Protocol):
    """Whoever compares two answers."""

    @property
    def name(self) -> str:
        """What its verdicts are recorded under."""
        ...

    @property
    def pointwise(self) -> bool:
        """Whether each answer is scored alone, so that the order cannot count."""
        ...

    def judge(self, pairs: Sequence[PresentedPair]) -> list[PairVerdict]:
        """A verdict on each pair as it is presented, in their order."""
        ...


class JudgedPair(Record, frozen=True):
    """One pair under one judge, presented in both orders: a row of ``rulings.parquet``."""

    STORED_AS: ClassVar[str] = "Tried"

    judge: str
    prompt_id: str
    pair: int
    """Number of the pair in the source."""
    probe: str = msgspec.field(default="", name="canary")
    """Kind of the adversarial probe; empty for a pair of the source as it is."""
    variant: int = 0
    """Which text of that kind."""
    forward: str | None = None
    """Verdict in the order given, and, ``backward``, with the answers exchanged."""
    backward: str | None = None
    score: float | None = None
    """1: the first answer is preferred, 0: the second, ½: neither, or a verdict that turned with the order. None where
    a verdict is missing."""
    reason: str = ""
    """Why there is no score."""
    id: str = ""
    """Of the pair, see ``core.records.Preference``; for a probe that of the pair that it is set on."""
    file: str = ""
    """Where the pair stood, as records have it."""
    line: int = 0
    prompt: str = ""
    first: str = ""
    second: str = ""

    @property
    def consistent(self) -> bool | None:
        """Whether both orders gave the same verdict; None where one is missing."""
        if self.forward is None or self.backward is None:
            return None
        return preferred(self.forward, self.backward).consistent


def judge_both_orders(judge: PairJudge, pairs: Sequence[PresentedPair]) -> Iterator[tuple[PairVerdict, PairVerdict]]:
    """Present each pair in both orders, equal ones once, and give both verdicts in the order of the pairs.

    Raises:
        RunError: if the judge does not give one verdict on each, or cannot go on.
    """
    presented: dict[PresentedPair, int] = {}
    places = [
        [presented.setdefault(each, len(presented)) for each in (pair, pair.swapped())] for pair in pairs
    ]  # each presentation once, however many pairs hold it
    verdicts = judge.judge(list(presented))
    if len(verdicts) != len(presented):
        raise RunError(f"the judge '{judge.name}' gave {len(verdicts)} verdicts on {len(presented)} pairs; one each")
    for forward, backward in places:
        yield verdicts[forward], verdicts[backward]


def label_of(score: float) -> Label:
    """The verdict that a preference amounts to: 1 is A, 0 is B, ½ is C."""
    return "A" if score > 0.5 else "B" if score < 0.5 else "C"


@dataclass(frozen=True)
class RankerJudge:
    """A ranker as a judge: the answer with the higher score is better, equal scores are a tie.

    A ranker is presented both orders too: one that reads two answers together, such as PairRM, may depend on them.
    """

    name: str
    """What its verdicts are recorded under: the ranker's own name, where no other has it."""
    ranker: Ranker
    pointwise: bool = False

    def judge(self, pairs: Sequence[PresentedPair]) -> list[PairVerdict]:
        """Rank each pair as it is presented.

        Raises:
            RunError: if the ranker gives too few scores, or one that is no finite number.
        """
        candidates = [(pair.first, pair.second) for pair in pairs]
        scores = check_scores(self.name, self.ranker.rank([pair.prompt for pair in pairs], candidates), candidates)
        return [_by_score(first, second) for first, second in scores]


@dataclass(frozen=True)
class AskedJudge:
    """A judge that is asked through a generator, with the strict parser of ``llm.parse``."""

    name: str
    """What its verdicts are recorded under."""
    generator: Generator
    judges: Judges
    """With the prompt files."""
    decoding: Decoding
    tries: int = 3
    form: Literal["pair", "grade"] = "pair"
    """``pair`` asks for a verdict on two answers, ``grade`` for a grade of each alone."""
    model: str = ""
    """As the generator calls it; empty: as ``name`` says."""

    @property
    def pointwise(self) -> bool:
        """Whether answers are graded alone."""
        return self.form == "grade"

    def judge(self, pairs: Sequence[PresentedPair]) -> list[PairVerdict]:
        """Ask about each pair as it is presented; what stays unreadable after all tries has no verdict.

        Raises:
            ConfigError: if the generator has no model of that name.
            RunError: when the generator cannot go on.
        """
        if self.form == "pair":
            texts = [(format_instruction(pair.prompt), pair.first, pair.second) for pair in pairs]
            found = self._ask(self.judges.pair(*text) for text in texts)
            return [_verdict(found[number]) for number in range(len(pairs))]
        answers = {(format_instruction(p.prompt), text): 0 for p in pairs for text in (p.first, p.second)}
        grades = self._ask(self.judges.grade(*key) for key in answers)
        of = {key: grades[number] for number, key in enumerate(answers)}
        return [_by_grades(*(of[format_instruction(p.prompt), text] for text in (p.first, p.second))) for p in pairs]

    def _ask(self, questions: Iterable[Question[Any]]) -> dict[int, Any]:
        models, model = self.generator.models, self.model or self.name
        if model not in models:
            raise ConfigError(f"there is no model '{model}' to judge; {nearest(model, models)}")
        listed = list(questions)
        numbers = {id(question): number for number, question in enumerate(listed)}
        judged = ask(self.generator, models[model], listed, self.decoding, tries=self.tries)
        return {numbers[id(item.question)]: item.value for item in judged}


def _verdict(value: Any) -> PairVerdict:
    return PairVerdict(None, value.reason) if isinstance(value, Unscored) else PairVerdict(value)


def _by_grades(first: Any, second: Any) -> PairVerdict:
    missing = next((value for value in (first, second) if isinstance(value, Unscored)), None)
    return _by_score(first, second) if missing is None else PairVerdict(None, missing.reason)


def _by_score(first: float | None, second: float | None) -> PairVerdict:
    if first is None or second is None:
        return PairVerdict(None, "no-score")
    return PairVerdict("A" if first > second else "B" if second > first else "C")
