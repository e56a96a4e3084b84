"""Judges: a prompt file and a strict parser. A reply that cannot be read is asked for again, and then stays unscored.

Owns the questions that are put to a judge (four aspects over all answers of a prompt, a critique with an overall score,
a single grade, a pair in both orders, or any of the last three by a rubric), the shuffled order and its way back, and
the asking again. Does not own the form of a prompt file (``llm.prompts``) or of a rubric (``llm.judges``), nor the
reading of a reply (``llm.parse``).
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, Critique, Message, Rating, Record
from notus.core.text import spoken
from notus.llm.judges.reading import ReadingWatch
from notus.llm.judges.rubric_judge import Assessment, RubricJudge
from notus.llm.judges.thoughts import is_refusal
from notus.llm.parse import (
    PARSERS,
    Parser,
    Scale,
    UnreadableError,
    read_critique,
    read_ratings,
    read_score,
    read_verdict,
    without_thoughts,
)
from notus.llm.prompts import Template, read_prompt
from notus.llm.protocol import Decoding, Generator, Model, Reply, Request

__all__ = [
    "ASPECT_SCALE",
    "JUDGES",
    "SCORE_SCALE",
    "Judged",
    "Judges",
    "Preferred",
    "Question",
    "Unscored",
    "ask",
    "format_instruction",
    "preferred",
    "request_for",
    "shuffled",
]

T = TypeVar("T")

JUDGES = {aspect: f"judge_{aspect}" for aspect in ASPECTS} | {
    "critique": "judge_critique",
    "grade": "judge_grade",
    "pair": "judge_pair",
}
"""What is judged → its built-in prompt file."""
_PARSERS = dict.fromkeys(ASPECTS, ("ratings",)) | {
    "critique": ("critique", "score"),
    "grade": ("score", "critique"),
    "pair": ("verdict",),
}
"""What is judged → the built-in parsers that fit; the first is taken where none is named."""
_TYPED = ("helpfulness", "truthfulness")
ASPECT_SCALE, SCORE_SCALE = Scale(1, 5), Scale(1, 10, whole=False)
"""The grades of an aspect, and of a critique's overall score."""
_RETRY_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Question(Generic[T]):
    """A question to a judge, and how its reply is read."""

    messages: tuple[Message, ...]
    read: Callable[[str], T]
    """Raises ``UnreadableError``."""
    step: str
    """For the usage table, such as ``judge/honesty``."""
    schema: dict[str, Any] | None = None
    """For servers that hold an answer to a schema."""
    about: Any = None
    """For the caller: what was asked about."""
    top_logprobs: int | None = None
    """For judges that answer by the probabilities of a token: how many alternatives of it are wanted."""
    read_reply: Callable[[Reply], T] | None = None
    """Reads the reply whole, a cut one too, in place of ``read``. Raises ``UnreadableError``."""
    structured: tuple[Message, ...] = ()
    """What is asked in place of ``messages`` where the server holds an answer to ``schema``; empty: the same."""


class Unscored(Record, frozen=True):
    """A question that has no value after all tries."""

    kind: str
    """``unanswered``: no reply came; ``unreadable``: none of the replies could be read; ``unasked``: there was nothing
    to ask with."""
    reason: str
    """Slug: the kind of the request error, or why the last reply was not read: ``cut-off`` at the token limit,
    ``refusal`` of the judge, or what its parser found."""
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
    """The judges by name, each with its prompt file and its parser.

    Args:
        prompts: name → prompt file in place of the built-in one.
        verbatim: put candidates in as they are, see ``llm.prompts.Template``.
        parsers: name → parser in place of the built-in one, see ``llm.parse.Parser``. A server that holds answers to a
            JSON schema is then sent none: the schema is the one that the built-in parser reads.
        rubric: a rubric file, by which critiques, grades and pairs are asked for; see ``llm.judges.rubric``.

    Raises:
        ConfigError: for an unknown judge, a prompt file that does not fit, a parser that is not there or reads
            something else, or a file that is no rubric.
    """

    def __init__(
        self,
        prompts: Mapping[str, str] | None = None,
        *,
        verbatim: bool = False,
        parsers: Mapping[str, str] | None = None,
        rubric: str | None = None,
    ) -> None:
        prompts, parsers = dict(prompts or {}), dict(parsers or {})
        if unknown := sorted((prompts.keys() | parsers.keys()) - JUDGES.keys()):
            raise ConfigError(f"there is no judge '{unknown[0]}'; {nearest(unknown[0], JUDGES)}")
        self.rubric = None if rubric is None else RubricJudge(rubric, verbatim=verbatim)
        if rubric is not None and (own := sorted((prompts.keys() | parsers.keys()) - set(ASPECTS))):
            raise ConfigError(
                f"the rubric {rubric} asks and reads in the place of '{own[0]}'; leave that prompt or parser out"
            )
        self.templates = {name: _template(name, prompts.get(name, JUDGES[name]), verbatim) for name in JUDGES}
        found = {judge: _parser(judge, name) for judge, name in parsers.items()}
        self._parsers = {judge: parser for judge, parser in found.items() if parser is not None}

    def prompt_digests(self) -> dict[str, str]:
        """What the prompts of a config count as: judge → hash of the text. A changed file is another judge."""
        return {name: template.digest for name, template in self.templates.items()}

    def parser_digests(self) -> dict[str, str]:
        """What the parsers of a config count as: judge → hash of the code, for those that are not the judge's own."""
        return {name: self._parsers[name].digest for name in JUDGES if name in self._parsers}

    def takes(self, aspect: str, answers: int) -> bool:
        """Whether the prompt file of an aspect has slots for so many answers."""
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
        scale = replace(ASPECT_SCALE, not_applicable=aspect == "honesty")
        parser = self._parsers.get(aspect)
        read = partial(read_ratings, typed=typed) if parser is None else parser.ratings
        return Question(
            template.fill(data, plain, tuple(answers[place] for place in order)),
            partial(_read_unshuffled, read=read, order=order, aspect=aspect, scale=scale),
            f"judge/{aspect}",
            _ratings_schema(len(answers), scale, typed) if parser is None else None,
        )

    def assess(
        self, instruction: str, answer: str, *, principle: str = ""
    ) -> Question[Critique] | Question[Assessment]:
        """Ask what an answer is worth as a whole: by the rubric where there is one, otherwise for a critique."""
        if self.rubric is None:
            return self.critique(instruction, answer, principle=principle)
        return _by_rubric(self.rubric, self.rubric.read, "judge/rubric", instruction, (answer,), principle)

    def critique(self, instruction: str, answer: str, *, principle: str = "") -> Question[Critique]:
        """Ask for a critique that ends in an overall score, whether there is a rubric or not."""
        named = f"The answer was to follow the principle of {principle.replace('_', ' ')}." if principle else ""
        messages = self.templates["critique"].fill({"instruction": instruction, "answer": answer}, {"principle": named})
        parser = self._parsers.get("critique")
        if parser is not None:
            return Question(messages, partial(parser.critique, scale=SCORE_SCALE), "judge/critique")
        return Question(messages, partial(read_critique, scale=SCORE_SCALE), "judge/critique", _CRITIQUE_SCHEMA)

    def grade(self, instruction: str, answer: str) -> Question[float]:
        """Ask for one grade from 1 to 10; by a rubric, for the overall score that follows from its grades."""
        if self.rubric is not None:
            return _by_rubric(self.rubric, self.rubric.read_score, "judge/rubric", instruction, (answer,))
        messages = self.templates["grade"].fill({"instruction": instruction, "answer": answer})
        parser = self._parsers.get("grade")
        return Question(messages, partial(parser.score if parser else read_score, scale=SCORE_SCALE), "judge/grade")

    def pair(self, instruction: str, first: str, second: str) -> Question[str]:
        """Ask which of two answers is better, in this order alone; ``preferred`` combines both orders."""
        if self.rubric is not None:
            return _by_rubric(self.rubric, self.rubric.read_verdict, "judge/rubric-pair", instruction, (first, second))
        messages = self.templates["pair"].fill({"instruction": instruction}, answers=(first, second))
        parser = self._parsers.get("pair")
        return Question(messages, parser.verdict if parser else read_verdict, "judge/pair")


def format_instruction(prompt: Sequence[Message]) -> str:
    """A prompt as a judge sees it: the text of a single turn, or the whole conversation with its roles."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"[{message.role}]\n{spoken(message)}" for message in prompt)


def preferred(forward: str, backward: str) -> Preferred:
    """Combine two verdicts on a pair, the second of which was given with the answers exchanged, into a preference."""
    turned = {"A": "B", "B": "A", "C": "C"}[backward]
    score = {"A": 1.0, "B": 0.0, "C": 0.5}
    same = forward == turned
    return Preferred(score=score[forward] if same else 0.5, consistent=same)


def ask(
    generator: Generator,
    model: Model,
    questions: Iterable[Question[T]],
    decoding: Decoding,
    *,
    tries: int = 3,
    first: int = 0,
    watch: ReadingWatch | None = None,
) -> Iterator[Judged[T]]:
    """Put questions to a judge; each comes back once, with a value or unscored. In order of completion.

    A reply that cannot be read is asked for again, ``tries`` times in all: as another sample, with another seed and at
    a temperature of at least 0.7, because a judge at 0 would write the same again.

    Args:
        generator: asks.
        model: the judge.
        questions: what is asked.
        decoding: how a reply is drawn.
        tries: how often a question is asked until its reply can be read.
        first: number of the first sample; another one asks anew what was answered before.
        watch: is told of each reply whether it was read, and may stop the run.

    Raises:
        RunError: when the generator cannot go on, or ``watch`` stops the run.
    """
    waiting: Iterable[tuple[Question[T], tuple[str, ...]]] = ((question, ()) for question in questions)
    for sample in range(tries):
        unread: list[tuple[Question[T], tuple[str, ...]]] = []
        for entry in _round(generator, model, waiting, decoding, sample, first):
            value = entry.value
            if watch is not None and not (isinstance(value, Unscored) and value.kind == "unanswered"):
                _tell(watch, value)
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
    first: int,
) -> Iterator[Judged[T]]:
    asked: dict[str, tuple[Question[T], tuple[str, ...]]] = {}

    def requests() -> Iterator[Request]:
        for number, entry in enumerate(waiting):
            asked[str(number)] = entry
            yield request_for(entry[0], model, decoding, sample=sample, tag=str(number), first=first)

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
        if reply.finish[0] == "refusal":
            raise UnreadableError("refusal", reply.text)
        return question.read(reply.text)
    except UnreadableError as error:
        return Unscored(
            kind="unreadable",
            reason="refusal" if _refuses(error, reply) else error.reason,
            detail=error.detail,
            raw=reply.text,
            key=reply.key,
            tries=sample + 1,
        )


def _refuses(error: UnreadableError, reply: Reply) -> bool:
    """Whether a reply that was not read says no: as its server says, or in its first words."""
    if error.reason in ("cut-off", "only-thoughts"):
        return False
    if error.reason == "refusal":
        return True
    try:
        return is_refusal(without_thoughts(reply.text))
    except UnreadableError:  # only thoughts, to a parser that reads them too
        return False


def _tell(watch: ReadingWatch, value: Any) -> None:
    if isinstance(value, Unscored):
        watch.unread(value.reason, value.raw)
    else:
        watch.read()


def request_for(
    question: Question[Any], model: Model, decoding: Decoding, *, sample: int = 0, tag: str = "", first: int = 0
) -> Request:
    """The request that puts a question to a model.

    Args:
        question: what is asked.
        model: a judge.
        decoding: how the first reply is drawn; a later one has another seed and at least the temperature 0.7.
        sample: number of the try.
        tag: for the caller, see ``Request``.
        first: number of the first try, see ``ask``.
    """
    if sample and question.top_logprobs is None:
        warmer = max(decoding.temperature or 0.0, _RETRY_TEMPERATURE)
        decoding = msgspec.structs.replace(decoding, temperature=warmer, seed=(decoding.seed or 0) + sample)
    schema = question.schema if model.schema else None
    return Request(
        model=model,
        messages=question.structured if schema is not None and question.structured else question.messages,
        decoding=decoding,
        schema=schema,
        top_logprobs=question.top_logprobs,
        sample=first + sample,
        step=question.step,
        tag=tag,
    )


def _by_rubric(
    rubric: RubricJudge,
    read: Callable[[str], T],
    step: str,
    instruction: str,
    answers: tuple[str, ...],
    principle: str = "",
) -> Question[T]:
    plain, structured = (
        rubric.messages(instruction, answers, structured=structured, principle=principle)
        for structured in (False, True)
    )
    return Question(plain, read, step, rubric.schema(pair=len(answers) == 2), structured=structured)


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


def _parser(judge: str, name: str) -> Parser | None:
    """The parser that a config names; None for the built-in one of this judge."""
    name, fitting = PARSERS.resolve(name), _PARSERS[judge]
    if name in PARSERS.names and name not in fitting:
        raise ConfigError(
            f"the judge '{judge}' cannot be read by the parser '{name}'; take {' or '.join(fitting)}, or a function of "
            "your own: python:FILE.py:NAME"
        )
    return None if name == fitting[0] else Parser(name)


def _read_unshuffled(
    text: str,
    read: Callable[[str, str, int, Scale], tuple[Rating, ...]],
    order: tuple[int, ...],
    aspect: str,
    scale: Scale,
) -> tuple[Rating, ...]:
    """Read the ratings in the order in which the answers were shown, and give them in the order of the answers."""
    shown = read(text, aspect, len(order), scale)
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
