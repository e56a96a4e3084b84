"""Judges: a prompt file and a strict parser. What cannot be read is asked again, and then stays unscored.

Owns the questions that are put to a judge (four aspects over all answers of a prompt, a critique with an overall score,
a single grade, a pair in both orders), the shuffled order and its way back, and the asking again. The form of a prompt
file is the business of ``prompts``, the reading of a reply that of ``judge_text``.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, Critique, Message, Rating, Record
from notus.models.judge_text import (
    Scale,
    UnreadableError,
    read_critique,
    read_ratings,
    read_score,
    read_verdict,
)
from notus.models.prompts import Template, read_prompt
from notus.models.protocols import Decoding, Generator, Model, Reply, Request

__all__ = [
    "JUDGES",
    "Judged",
    "Judges",
    "Preferred",
    "Question",
    "Unscored",
    "ask",
    "both_orders",
    "preferred",
    "shuffled",
]

T = TypeVar("T")

JUDGES = {aspect: f"judge_{aspect}" for aspect in ASPECTS} | {
    "critique": "judge_critique",
    "grade": "judge_grade",
    "pair": "judge_pair",
}
"""What is judged → its built-in prompt file."""
_TYPED = ("helpfulness", "truthfulness")
_SCORES = Scale(1, 10, whole=False)
_RETRY_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Question(Generic[T]):
    """A question to a judge, and how its reply is read."""

    messages: tuple[Message, ...]
    read: Callable[[str], T]
    """Raises ``UnreadableError``."""
    step: str
    """For the accounts, such as ``judge/honesty``."""
    schema: dict[str, Any] | None = None
    """For servers that hold an answer to a schema."""
    about: Any = None
    """For the caller: what was asked about."""
    top_logprobs: int | None = None
    """For judges that answer by the probabilities of a token: how many alternatives of it are wanted."""
    read_reply: Callable[[Reply], T] | None = None
    """Reads the reply whole, a cut one too, in place of ``read``. Raises ``UnreadableError``."""


class Unscored(Record, frozen=True):
    """A question that has no value after all tries."""

    kind: str
    """``unanswered``: no reply came; ``unreadable``: none of the replies could be read; ``unasked``: there was nothing
    to ask with."""
    reason: str
    """Slug: the kind of the fault, or why the last reply was refused."""
    detail: str
    raw: str
    """The text of the last reply."""
    key: str
    """The last request, under which the ledger holds what came."""
    tries: int


@dataclass(frozen=True)
class Judged(Generic[T]):
    """A question with what the judge made of it."""

    question: Question[T]
    value: T | Unscored
    key: str
    """Key of the request whose reply was read, for the ledger."""
    tries: int
    refused: tuple[str, ...] = field(default=())
    """Why earlier replies were refused, as slugs."""


class Preferred(Record, frozen=True):
    """Which of two answers a judge prefers, asked in both orders."""

    score: float
    """1: the first answer, 0: the second, ½: neither, or a verdict that turned with the order."""
    consistent: bool
    """Whether both orders gave the same verdict."""


class Judges:
    """The judges by name, each with its prompt file.

    Args:
        prompts: name → prompt file in place of the built-in one.
        verbatim: put candidates in as they are, see ``prompts.Template``.

    Raises:
        ConfigError: for an unknown judge, or a prompt file that does not fit.
    """

    def __init__(self, prompts: Mapping[str, str] | None = None, *, verbatim: bool = False) -> None:
        prompts = dict(prompts or {})
        if unknown := sorted(prompts.keys() - JUDGES.keys()):
            raise ConfigError(f"there is no judge '{unknown[0]}'; {nearest(unknown[0], JUDGES)}")
        self.verbatim = verbatim
        self.templates = {name: _template(name, prompts.get(name, JUDGES[name]), verbatim) for name in JUDGES}

    def takes(self, aspect: str, answers: int) -> bool:
        """Whether the prompt file of an aspect has a place for so many answers."""
        return answers > 0 and self.templates[aspect].numbered in (0, answers)

    def aspect(
        self, aspect: str, instruction: str, answers: Sequence[str], *, seed: str, knowledge: str = ""
    ) -> Question[tuple[Rating, ...]]:
        """Ask for a rating of each answer; the value has them in the order of ``answers``.

        Args:
            aspect: one of ``ASPECTS``.
            instruction: the prompt that was answered.
            answers: all answers to it. They are shown in a shuffled order.
            seed: decides the order.
            knowledge: what is known of right and wrong answers.
        """
        order = shuffled(len(answers), seed)
        template = self.templates[aspect]
        data = {"instruction": instruction} | ({"knowledge": knowledge} if knowledge else {})
        plain = {"count": str(len(answers))} | ({} if knowledge else {"knowledge": ""})
        typed = aspect in _TYPED
        scale = Scale(1, 5, not_applicable=aspect == "honesty")
        return Question(
            template.fill(data, plain, tuple(answers[place] for place in order)),
            partial(_mapped, order=order, aspect=aspect, scale=scale, typed=typed),
            f"judge/{aspect}",
            _ratings_schema(len(answers), scale, typed),
        )

    def critique(self, instruction: str, answer: str, *, principle: str = "") -> Question[Critique]:
        """Ask for a critique that ends in an overall score."""
        named = f"The answer was to follow the principle of {principle.replace('_', ' ')}." if principle else ""
        messages = self.templates["critique"].fill({"instruction": instruction, "answer": answer}, {"principle": named})
        return Question(messages, partial(read_critique, scale=_SCORES), "judge/critique", _CRITIQUE_SCHEMA)

    def grade(self, instruction: str, answer: str) -> Question[float]:
        """Ask for one grade from 1 to 10."""
        messages = self.templates["grade"].fill({"instruction": instruction, "answer": answer})
        return Question(messages, partial(read_score, scale=_SCORES), "judge/grade")

    def pair(self, instruction: str, first: str, second: str) -> Question[str]:
        """Ask which of two answers is better, in this order alone; see ``both_orders``."""
        messages = self.templates["pair"].fill({"instruction": instruction}, answers=(first, second))
        return Question(messages, read_verdict, "judge/pair")


def both_orders(judges: Judges, instruction: str, first: str, second: str) -> tuple[Question[str], Question[str]]:
    """The question for a pair in both orders; ``preferred`` makes one of the two verdicts."""
    return judges.pair(instruction, first, second), judges.pair(instruction, second, first)


def preferred(forward: str, backward: str) -> Preferred:
    """One preference of two verdicts, the second of which was given with the answers exchanged."""
    turned = {"A": "B", "B": "A", "C": "C"}[backward]
    score = {"A": 1.0, "B": 0.0, "C": 0.5}
    same = forward == turned
    return Preferred(score=score[forward] if same else 0.5, consistent=same)


def ask(
    generator: Generator, model: Model, questions: Iterable[Question[T]], decoding: Decoding, *, tries: int = 3
) -> Iterator[Judged[T]]:
    """Put questions to a judge; each comes back once, with a value or unscored. In order of completion.

    A reply that cannot be read is asked for again, ``tries`` times in all: as another sample, with another seed and at
    a temperature of at least 0.7, because a judge at 0 would write the same again.

    Raises:
        RunError: when the generator cannot go on.
    """
    waiting: Iterable[tuple[Question[T], tuple[str, ...]]] = ((question, ()) for question in questions)
    for sample in range(tries):
        unread: list[tuple[Question[T], tuple[str, ...]]] = []
        for entry in _round(generator, model, waiting, decoding, sample):
            value = entry.value
            if isinstance(value, Unscored) and value.kind == "unreadable" and sample + 1 < tries:
                unread.append((entry.question, (*entry.refused, value.reason)))
            else:
                yield entry
        if not unread:
            return
        waiting = unread


def shuffled(count: int, seed: str) -> tuple[int, ...]:
    """A seeded order of so many answers: place in the prompt → the answer that stands there."""
    order = list(range(count))
    random.Random(f"order:{seed}").shuffle(order)
    return tuple(order)


def _round(
    generator: Generator,
    model: Model,
    waiting: Iterable[tuple[Question[T], tuple[str, ...]]],
    decoding: Decoding,
    sample: int,
) -> Iterator[Judged[T]]:
    asked: dict[str, tuple[Question[T], tuple[str, ...]]] = {}

    def requests() -> Iterator[Request]:
        for number, entry in enumerate(waiting):
            asked[str(number)] = entry
            yield _request(entry[0], model, decoding, sample, str(number))

    for request, outcome in generator.answer(requests()):
        question, refused = asked.pop(request.tag)
        if not isinstance(outcome, Reply):
            value: T | Unscored = Unscored(
                # A server that has log-probabilities may fail to send them once: another sample may bring them.
                kind="unreadable" if outcome.kind == "logprobs_missing" else "unanswered",
                reason=outcome.kind,
                detail=outcome.detail,
                raw=outcome.raw,
                key=outcome.key,
                tries=sample + 1,
            )
        else:
            value = _value(question, outcome, sample)
        yield Judged(question, value, outcome.key, sample + 1, refused)


def _value(question: Question[T], reply: Reply, sample: int) -> T | Unscored:
    try:
        if question.read_reply is not None:
            return question.read_reply(reply)
        # A rating at the end of a cut reply may be the half of one.
        if reply.truncated:
            raise UnreadableError("cut-off", "the reply stopped at the token limit")
        return question.read(reply.text)
    except UnreadableError as error:
        return Unscored(
            kind="unreadable",
            reason=error.reason,
            detail=error.detail,
            raw=reply.text,
            key=reply.key,
            tries=sample + 1,
        )


def _request(question: Question[Any], model: Model, decoding: Decoding, sample: int, tag: str) -> Request:
    if sample and question.top_logprobs is None:
        warmer = max(decoding.temperature or 0.0, _RETRY_TEMPERATURE)
        decoding = msgspec.structs.replace(decoding, temperature=warmer, seed=(decoding.seed or 0) + sample)
    return Request(
        model=model,
        messages=question.messages,
        decoding=decoding,
        schema=question.schema if model.schema else None,
        top_logprobs=question.top_logprobs,
        sample=sample,
        step=question.step,
        tag=tag,
    )


def _template(name: str, source: str, verbatim: bool) -> Template:
    if name in ASPECTS:
        return read_prompt(source, needs=("instruction",), may=("count", "knowledge"), answers=True, verbatim=verbatim)
    if name == "pair":
        template = read_prompt(source, needs=("instruction",), answers=True, verbatim=verbatim)
        if template.numbered not in (0, 2):
            raise ConfigError(f"prompt {source}: a pair has two answers, and this has {template.numbered}")
        return template
    may = ("principle",) if name == "critique" else ()
    return read_prompt(source, needs=("instruction", "answer"), may=may, verbatim=verbatim)


def _mapped(text: str, order: tuple[int, ...], aspect: str, scale: Scale, typed: bool) -> tuple[Rating, ...]:
    """Read the ratings in the order in which the answers were shown, and give them in the order of the answers."""
    shown = read_ratings(text, aspect, len(order), scale, typed=typed)
    back = dict(zip(order, shown, strict=True))
    return tuple(back[place] for place in range(len(order)))


def _ratings_schema(count: int, scale: Scale, typed: bool) -> dict[str, Any]:
    grades = [str(grade) for grade in range(int(scale.low), int(scale.high) + 1)]
    fields: dict[str, Any] = {"answer": {"type": "integer", "minimum": 1, "maximum": count}}
    if typed:
        fields |= {
            "types": {"type": "array", "items": {"type": "string", "enum": ["0", "1", "2", "3"]}},
            "types_rationale": {"type": "string"},
        }
    fields |= {
        "rationale": {"type": "string"},
        "rating": {"type": "string", "enum": [*grades, "N/A"] if scale.not_applicable else grades},
    }
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    answers = {"type": "array", "items": item, "minItems": count, "maxItems": count}
    return _object({"answers": answers})


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


_CRITIQUE_SCHEMA = _object(
    {"critique": {"type": "string"}, "overall_score": {"type": "number", "minimum": 1, "maximum": 10}}
)
