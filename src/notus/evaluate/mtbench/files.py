"""The files of FastChat's MT-Bench: questions, answers, reference answers, single gradings and pairwise ones.

Owns their rows, reading them and writing them (https://github.com/lm-sys/FastChat, ``fastchat/llm_judge``). The
benchmark is that of Zheng et al. 2023, https://arxiv.org/abs/2306.05685. Fields that are not named here are passed
over. Files may be packed with gzip. What a judgement says is the business of ``parse``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from notus.core.errors import DataError
from notus.core.records import Name, Number, Record
from notus.core.run import atomic
from notus.formats.quarantine import RowReader
from notus.formats.rows import Payload, parse_row, read_rows

__all__ = [
    "CATEGORIES",
    "NO_REPLY",
    "REFERENCED",
    "Answer",
    "Choice",
    "Grading",
    "Match",
    "Question",
    "category_of",
    "file_name",
    "read_answers",
    "read_judgments",
    "read_questions",
    "write_rows",
]

CATEGORIES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "reasoning": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "extraction": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
"""The eight categories, ten questions each from number 81 on, and the temperature at which a model answers them."""
REFERENCED = ("math", "reasoning", "coding")
"""The categories that are judged beside a reference answer."""
NO_REPLY = "$ERROR$"
"""What stands in place of a judgement that never came."""
_FIRST, _OF_EACH = 81, 10

Turn = Annotated[int, msgspec.Meta(ge=1)]
T = TypeVar("T", bound=Record)


class Question(Record, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """One line of ``question.jsonl``."""

    question_id: int
    category: Name
    turns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    reference: tuple[str, ...] | None = None
    """Reference answers by turn, where they stand beside the question."""
    required_temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """At which the question is answered, in place of its category's temperature."""


class Choice(Record, frozen=True, forbid_unknown_fields=False):
    """One answer to a question: what the model said, turn by turn."""

    index: int = 0
    turns: tuple[str, ...] = ()


class Answer(Record, frozen=True, forbid_unknown_fields=False):
    """One line of ``model_answer/*.jsonl``, and of a file of reference answers. The first choice is the one judged."""

    question_id: int
    model_id: Name
    choices: Annotated[tuple[Choice, ...], msgspec.Meta(min_length=1)]
    answer_id: str = ""
    tstamp: float = 0.0
    """Seconds since 1970. What Notus writes has 0: the same run leaves the same bytes."""

    @property
    def turns(self) -> tuple[str, ...]:
        """The answers by turn."""
        return self.choices[0].turns


class Grading(Record, frozen=True, forbid_unknown_fields=False):
    """One line of ``model_judgment/*_single.jsonl``: what a judge made of one turn."""

    question_id: int
    model: Name
    judge: tuple[str, str]
    """The judge's name, and that of its prompt."""
    judgment: str
    score: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | Number
    """As it was read by who wrote the file; −1 where nothing was found."""
    turn: Turn
    user_prompt: str = ""
    tstamp: float = 0.0


class Match(Record, frozen=True, forbid_unknown_fields=False):
    """One line of ``model_judgment/*_pair.jsonl``: a judge's two verdicts on a pair, the second in the other order."""

    question_id: int
    model_1: Name
    model_2: Name
    g1_winner: str
    """``model_1``, ``model_2``, ``tie`` or ``error``."""
    g2_winner: str
    judge: tuple[str, str]
    g1_judgment: str
    g2_judgment: str
    turn: Turn
    g1_user_prompt: str = ""
    g2_user_prompt: str = ""
    tstamp: float = 0.0


def category_of(question_id: int, questions: dict[int, Question]) -> str:
    """The category of a question: as its file says, or without a file by its number in the published set.

    Raises:
        DataError: if the number is none of the published ones and there is no file, or the file does not have it.
    """
    if questions:
        if question_id not in questions:
            raise DataError(f"question {question_id} is not in the file of questions; give the file it belongs to")
        return questions[question_id].category
    place = question_id - _FIRST
    if not 0 <= place < _OF_EACH * len(CATEGORIES):
        raise DataError(f"question {question_id} is none of MT-Bench's 81 to 160; give the file of questions")
    return list(CATEGORIES)[place // _OF_EACH]


def read_questions(path: Path, reader: RowReader | None = None) -> dict[int, Question]:
    """Read questions: number → question, in the order of the file.

    Args:
        path: the file.
        reader: counts the rows and puts bad ones aside, one whose number stands there already among them; without it a
            bad row is an error.

    Raises:
        DataError: if the file cannot be read; or if a row is no question, or a number stands twice, and nothing takes
            it.
    """
    found: dict[int, Question] = {}

    def read(payload: Payload) -> Question:
        question = _row(payload, Question)
        if question.question_id in found:
            raise DataError(f"question {question.question_id} stands there twice; remove one")
        return found.setdefault(question.question_id, question)

    for _ in (reader or RowReader()).read(path, read_rows(path), read):
        pass
    return found


def read_answers(path: Path, reader: RowReader | None = None) -> dict[str, dict[int, Answer]]:
    """Read answers, or reference answers: model → number of the question → answer.

    Args:
        path: the file.
        reader: counts the rows and puts bad ones aside, a second answer of a model to a question among them; without it
            a bad row is an error.

    Raises:
        DataError: if the file cannot be read; or if a row is no answer, or a model answers a question twice, and
            nothing takes it.
    """
    found: dict[str, dict[int, Answer]] = {}

    def read(payload: Payload) -> Answer:
        answer = _row(payload, Answer)
        of_model = found.setdefault(answer.model_id, {})
        if answer.question_id in of_model:
            raise DataError(f"{answer.model_id} answers question {answer.question_id} twice; remove one")
        return of_model.setdefault(answer.question_id, answer)

    for _ in (reader or RowReader()).read(path, read_rows(path), read):
        pass
    return found


def read_judgments(path: Path, reader: RowReader | None = None) -> tuple[list[Grading], list[Match]]:
    """Read judgements of either kind, as many times as they stand there: the single gradings and the pairwise ones.

    Args:
        path: the file.
        reader: counts the rows and puts bad ones aside; without it a bad row is an error.

    Raises:
        DataError: if the file cannot be read, or a row is neither and nothing takes it.
    """
    gradings: list[Grading] = []
    matches: list[Match] = []
    for _, row in (reader or RowReader()).read(path, read_rows(path), _judgment):
        if isinstance(row, Match):
            matches.append(row)
        else:
            gradings.append(row)
    return gradings, matches


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write rows as JSON lines, as FastChat reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path, "wb") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def file_name(model: str) -> str:
    """A model's name as that of a file; the characters that a file system may refuse become underscores."""
    return re.sub(r"[^\w.()+ -]", "_", model)


def _judgment(payload: Payload) -> Grading | Match:
    row = parse_row(payload)
    return _row(row, Match) if "g1_judgment" in row or "model_1" in row else _row(row, Grading)


def _row(payload: Payload, kind: type[T]) -> T:
    try:
        return msgspec.convert(parse_row(payload), kind)
    except msgspec.ValidationError as error:
        raise DataError(f"no {kind.__name__.lower()} in the form of FastChat: {error}") from None
