"""Asking for MT-Bench: a model's answers over two turns, and a judge's gradings and verdicts on them.

Owns the judge's prompts, the conversation (a turn sees the model's own answers before it), the temperature of each
category, and who is asked what in which order. Whatever was asked for comes back as a row: where no answer or no
judgement came, the row holds ``$ERROR$`` and −1, as FastChat has it, and the tally the reason. Rows come in the order
of models and questions.

The prompts are our own text files, or FastChat's ``judge_prompts.jsonl`` by its path. All texts of others are put in by
``llm.prompts``, in one pass: an answer that holds ``{answer_b}`` or ``[[10]]`` stays what it is, and stands between
fence lines unless the prompts are filled ``verbatim``, which gives published prompts byte for byte. Turn 1 is judged by
the first question and answer alone, turn 2 by the whole conversation. The categories math, reasoning and coding come
with reference answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Literal

import msgspec

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Message, Record, digest
from notus.core.stage import Tally
from notus.evaluate.mtbench.files import (
    CATEGORIES,
    NO_REPLY,
    REFERENCED,
    Answer,
    Choice,
    Grading,
    Match,
    Question,
)
from notus.evaluate.mtbench.parse import NOT_FOUND, Mode, read_grade, read_winner
from notus.formats.quarantine import RowError
from notus.formats.rows import parse_row, read_rows
from notus.llm.judge import Judged, Unscored, ask
from notus.llm.judge import Question as JudgeQuestion
from notus.llm.parse import UnreadableError
from notus.llm.prompts import Template, read_prompt
from notus.llm.protocol import (
    Decoding,
    Generator,
    Model,
    Reply,
    Request,
    ordered,
)

__all__ = [
    "JUDGING",
    "Judge",
    "JudgePrompts",
    "Kind",
    "answer_questions",
    "grade_answers",
    "judge_against",
]

Kind = Literal["single", "pair"]

_NAMES: dict[tuple[Kind, int, bool], tuple[str, str]] = {
    ("single", 1, False): ("mtbench_grade", "single-v1"),
    ("single", 1, True): ("mtbench_grade_reference", "single-math-v1"),
    ("single", 2, False): ("mtbench_grade_turns", "single-v1-multi-turn"),
    ("single", 2, True): ("mtbench_grade_turns_reference", "single-math-v1-multi-turn"),
    ("pair", 1, False): ("mtbench_pair", "pair-v2"),
    ("pair", 1, True): ("mtbench_pair_reference", "pair-math-v1"),
    ("pair", 2, False): ("mtbench_pair_turns", "pair-v2-multi-turn"),
    ("pair", 2, True): ("mtbench_pair_turns_reference", "pair-math-v1-multi-turn"),
}
"""What is judged, the turn, and whether there is a reference → our prompt file, and FastChat's name for its own."""
JUDGING = Decoding(temperature=0.0, max_tokens=2048)
"""How a judge is asked."""
_OTHER = 0.7
"""The temperature for questions of none of the eight categories."""
_CUT = "[the reply was cut at the token limit]"
"""Stands behind a judgement that was cut: it is then refused when it is read again, too."""

Answers = Mapping[int, Answer]


class _Row(Record, frozen=True, forbid_unknown_fields=False):
    """One line of ``judge_prompts.jsonl``."""

    name: str
    system_prompt: str
    prompt_template: str


@dataclass(frozen=True)
class JudgePrompts:
    """The eight prompts, each with the name that stands in the judgements."""

    templates: Mapping[tuple[Kind, int, bool], Template]

    @classmethod
    def read(cls, source: str | None = None, *, verbatim: bool = False) -> "JudgePrompts":
        """Read the prompts.

        Args:
            source: path of FastChat's ``judge_prompts.jsonl``; None takes our own.
            verbatim: put texts in as they are, without fences: only to compare with published judgements.

        Raises:
            ConfigError: if the file cannot be read, a prompt is missing in it, or its slots are not as they must be.
        """
        if source is None:
            return cls({k: read_prompt(name, needs=_slots(*k), verbatim=verbatim) for k, (name, _) in _NAMES.items()})
        rows = {row.name: row for row in _upstream_rows(Path(source))}
        return cls({key: _upstream(source, rows, key, name, verbatim) for key, (_, name) in _NAMES.items()})

    @property
    def digest(self) -> str:
        """Hash of all of them."""
        return digest(*(template.digest for template in self.templates.values()))

    def name(self, kind: Kind, turn: int, *, referenced: bool) -> str:
        """What the prompt is called."""
        return self.templates[kind, turn, referenced].name

    def single(
        self, question: Question, turn: int, answers: Sequence[str], reference: Sequence[str] | None
    ) -> tuple[Message, ...]:
        """The prompt that asks for a grade of turn 1 or 2.

        Args:
            question: with its turns.
            turn: 1 or 2.
            answers: the model's, by turn.
            reference: the right answers by turn, where there are some.
        """
        template = self.templates["single", turn, reference is not None]
        if turn == 1:
            return template.fill({**_question_fields(question, 1, reference), "answer": answers[0]})
        return template.fill(_question_fields(question, 2, reference), answers=(answers[0], answers[1]))

    def pair(
        self, question: Question, turn: int, a: Sequence[str], b: Sequence[str], reference: Sequence[str] | None
    ) -> tuple[Message, ...]:
        """The prompt that asks which of two is better in turn 1 or 2, shown in this order."""
        template = self.templates["pair", turn, reference is not None]
        if turn == 1:
            return template.fill({**_question_fields(question, 1, reference), "answer_a": a[0], "answer_b": b[0]})
        answers = {"answer_a_1": a[0], "answer_a_2": a[1], "answer_b_1": b[0], "answer_b_2": b[1]}
        return template.fill({**_question_fields(question, 2, reference), **answers})


def _question_fields(question: Question, turn: int, reference: Sequence[str] | None) -> dict[str, str]:
    named = {"question": question.turns[0]}
    if turn == 2:
        named = {"question_1": question.turns[0], "question_2": question.turns[1]}
    return named | {f"ref_answer_{place}": text for place, text in enumerate((reference or ())[:turn], start=1)}


def _slots(kind: Kind, turn: int, referenced: bool) -> tuple[str, ...]:
    """Slots that a prompt must hold: what is judged."""
    own = {
        ("single", 1): ("answer",),
        ("single", 2): ("answer_1", "answer_2"),
        ("pair", 1): ("answer_a", "answer_b"),
        ("pair", 2): ("answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"),
    }[kind, turn]
    asked = ("question",) if turn == 1 else ("question_1", "question_2")
    references = tuple(f"ref_answer_{place}" for place in range(1, turn + 1)) if referenced else ()
    return (*asked, *own, *references)


def _upstream_rows(path: Path) -> list[_Row]:
    rows = []
    for line, payload in read_rows(path):
        try:
            rows.append(msgspec.convert(parse_row(payload), _Row))
        except (RowError, msgspec.ValidationError) as error:
            raise ConfigError(f"{path}, line {line}: no prompt in the form of FastChat: {error}") from None
    return rows


def _upstream(
    source: str, rows: Mapping[str, _Row], key: tuple[Kind, int, bool], name: str, verbatim: bool
) -> Template:
    if name not in rows:
        raise ConfigError(f"{source} holds no prompt '{name}'; give FastChat's judge_prompts.jsonl as it is")
    row = rows[name]
    pieces = [""]
    try:
        for text, slot, _, _ in Formatter().parse(row.prompt_template):
            pieces[-1] += text
            if slot is not None:
                pieces += [slot, ""]
    except ValueError as error:
        raise ConfigError(f"{source}, prompt {name}: {error}") from None
    if set(pieces[1::2]) != set(_slots(*key)):
        raise ConfigError(
            f"{source}, prompt {name}: its slots are {sorted(set(pieces[1::2]))}, and must be {sorted(_slots(*key))}"
        )
    turns = (("system", (row.system_prompt,)), ("user", tuple(pieces)))
    return Template(name, turns, row.system_prompt + "\n" + row.prompt_template, verbatim)


@dataclass(frozen=True)
class Judge:
    """Who judges, and how."""

    generator: Generator
    endpoint: str
    """Name of the judge, among the models of the generator."""
    prompts: JudgePrompts
    mode: Mode = "strict"
    decoding: Decoding = JUDGING
    tries: int = 3
    """How often a judgement that cannot be read is asked for, in the strict mode; FastChat asks once."""


@dataclass(frozen=True)
class _Place:
    """What a question to the judge is about."""

    model: str
    question_id: int
    turn: int
    game: int
    """1, or 2 for the exchanged order of a pair."""
    prompt: str


def answer_questions(
    generator: Generator,
    endpoint: str,
    questions: Mapping[int, Question],
    tally: Tally,
    *,
    name: str,
    max_tokens: int,
    seed: int,
) -> list[Answer]:
    """Have a model answer questions, turn by turn.

    Args:
        generator: whatever answers.
        endpoint: name of the model there.
        questions: number → question.
        tally: receives what could not be answered, and the number of answers that were cut.
        name: what the model is called in the answers.
        max_tokens: of an answer; FastChat takes 1,024.
        seed: of what is drawn; answers at temperature 0 do not depend on it.

    Returns:
        A row for each question with its first answer; the turns end before the first one that did not come.

    Raises:
        ConfigError: if the generator does not know the model.
        RunError: when the generator cannot go on.
    """
    model = _find_model(generator, endpoint)
    given: dict[int, list[str]] = {number: [] for number in questions}
    for turn in range(max((len(question.turns) for question in questions.values()), default=0)):
        going = [q for q in questions.values() if len(q.turns) > turn]
        tally.taken += len(going)
        for question in going:
            if len(given[question.question_id]) < turn:
                tally.drop(_id(name, question.question_id, turn + 1), "no-earlier-turn")
        going = [question for question in going if len(given[question.question_id]) == turn]
        requests = [
            Request(
                model=model,
                messages=_conversation(question, given[question.question_id]),
                decoding=_decoding(question, max_tokens, seed),
                step="answer",
                tag=str(question.question_id),
            )
            for question in going
        ]
        for request, outcome in ordered(generator, requests):
            number = int(request.tag)
            if isinstance(outcome, Reply):
                given[number].append(outcome.text)
                tally.given += 1
                tally.count("truncated", int(outcome.truncated))
            else:
                tally.drop(_id(name, number, turn + 1), outcome.kind, outcome.detail)
    return [_answer(name, number, turns) for number, turns in given.items() if turns]


def grade_answers(
    judge: Judge,
    questions: Mapping[int, Question],
    answers: Mapping[str, Answers],
    references: Answers,
    tally: Tally,
) -> list[Grading]:
    """Have a judge grade each turn of each model.

    Args:
        judge: who is asked.
        questions: number → question.
        answers: model → number of the question → its answer.
        references: right answers, for the categories that need them.
        tally: receives what has no grade.

    Raises:
        ConfigError: if the judge is not known.
        DataError: if a reference answer is missing.
    """
    right = {number: _reference(question, references) for number, question in questions.items()}
    rows: dict[tuple[str, int, int], Grading] = {}
    places = [(model, number, turn) for model in answers for number in questions for turn in _turns(questions[number])]

    def single_questions() -> Iterator[JudgeQuestion[str]]:
        for model, number, turn in places:
            turns = _turns_of(answers[model], number)
            if len(turns) >= turn:
                messages = judge.prompts.single(questions[number], turn, turns, right[number])
                name = judge.prompts.name("single", turn, referenced=right[number] is not None)
                yield _question(judge, messages, "single", _Place(model, number, turn, 1, name))

    for one in _judgements(judge, single_questions()):
        place: _Place = one.question.about
        rows[place.model, place.question_id, place.turn] = _grading(judge, place, one, tally)
    for model, number, turn in places:
        if (model, number, turn) not in rows:
            name = judge.prompts.name("single", turn, referenced=right[number] is not None)
            rows[model, number, turn] = _grading(judge, _Place(model, number, turn, 1, name), None, tally)
    return [rows[place] for place in places]


def judge_against(
    judge: Judge,
    questions: Mapping[int, Question],
    answers: Mapping[str, Answers],
    baseline: str,
    references: Answers,
    tally: Tally,
) -> list[Match]:
    """Have a judge compare each model with the baseline, turn by turn, in both orders.

    Raises:
        ConfigError: if the judge or the baseline is not known.
        DataError: if a reference answer is missing.
    """
    if baseline not in answers:
        raise ConfigError(f"there are no answers of the baseline '{baseline}'; {nearest(baseline, answers)}")
    right = {number: _reference(question, references) for number, question in questions.items()}
    others = [model for model in answers if model != baseline]
    places = [(model, number, turn) for model in others for number in questions for turn in _turns(questions[number])]
    found: dict[tuple[str, int, int], dict[int, tuple[str, str]]] = {place: {} for place in places}

    def pair_questions() -> Iterator[JudgeQuestion[str]]:
        for model, number, turn in places:
            own, rival = _turns_of(answers[model], number), _turns_of(answers[baseline], number)
            if min(len(own), len(rival)) >= turn:
                name = judge.prompts.name("pair", turn, referenced=right[number] is not None)
                for game, (a, b) in enumerate(((own, rival), (rival, own)), start=1):
                    messages = judge.prompts.pair(questions[number], turn, a, b, right[number])
                    yield _question(judge, messages, "pair", _Place(model, number, turn, game, name))

    for one in _judgements(judge, pair_questions()):
        place: _Place = one.question.about
        found[place.model, place.question_id, place.turn][place.game] = _text(one), _user_prompt(one)
    matches = []
    for (model, number, turn), games in found.items():
        name = judge.prompts.name("pair", turn, referenced=right[number] is not None)
        matches.append(_match(judge, (model, baseline), number, turn, name, games, tally))
    return matches


def _find_model(generator: Generator, endpoint: str) -> Model:
    if endpoint not in generator.models:
        raise ConfigError(f"there is no endpoint '{endpoint}'; {nearest(endpoint, generator.models)}")
    return generator.models[endpoint]


def _conversation(question: Question, given: Sequence[str]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn, asked in enumerate(question.turns[: len(given) + 1]):
        messages.append(Message(role="user", content=asked))
        if turn < len(given):
            messages.append(Message(role="assistant", content=given[turn]))
    return tuple(messages)


def _decoding(question: Question, max_tokens: int, seed: int) -> Decoding:
    temperature = question.required_temperature
    if temperature is None:
        temperature = CATEGORIES.get(question.category, _OTHER)
    return Decoding(temperature=temperature, max_tokens=max_tokens, seed=seed if temperature else None)


def _answer(name: str, number: int, turns: Sequence[str]) -> Answer:
    return Answer(
        question_id=number,
        answer_id=digest(name, str(number), *turns),
        model_id=name,
        choices=(Choice(turns=tuple(turns)),),
    )


def _turns(question: Question) -> range:
    """The turns that are judged: MT-Bench knows two."""
    return range(1, min(len(question.turns), 2) + 1)


def _turns_of(answers: Answers, number: int) -> tuple[str, ...]:
    return answers[number].turns if number in answers else ()


def _reference(question: Question, references: Answers) -> tuple[str, ...] | None:
    if question.category not in REFERENCED:
        return None
    known = references[question.question_id].turns if question.question_id in references else question.reference
    if known is None or len(known) < len(_turns(question)):
        raise DataError(
            f"question {question.question_id} ({question.category}) is judged beside a reference answer, and there is "
            "none for each of its turns; give FastChat's reference_answer/gpt-4.jsonl"
        )
    return tuple(known)


def _question(judge: Judge, messages: tuple[Message, ...], kind: Kind, place: _Place) -> JudgeQuestion[str]:
    return JudgeQuestion(messages, partial(_readable, kind=kind, mode=judge.mode), f"judge/mtbench-{kind}", about=place)


def _readable(text: str, kind: Kind, mode: Mode) -> str:
    if kind == "single":
        read = read_grade(text, mode)
        if read.score is None:
            raise UnreadableError(read.reason, read.detail)
    else:
        winner, reason = read_winner(text, 1, mode)
        if winner is None:
            raise UnreadableError(reason)
    return text


def _judgements(judge: Judge, questions: Iterable[JudgeQuestion[str]]) -> Iterator[Judged[str]]:
    model = _find_model(judge.generator, judge.endpoint)
    tries = 1 if judge.mode == "fastchat" else judge.tries
    return ask(judge.generator, model, questions, judge.decoding, tries=tries)


def _text(one: Judged[str] | None) -> str:
    """The judgement as it is kept."""
    if one is None:
        return NO_REPLY
    if not isinstance(one.value, Unscored):
        return one.value
    if one.value.kind != "unreadable":
        return NO_REPLY
    return f"{one.value.raw}\n{_CUT}" if one.value.reason == "cut-off" else one.value.raw


def _user_prompt(one: Judged[str] | None) -> str:
    """The prompt of the user's turn, as FastChat keeps it."""
    return one.question.messages[-1].content if one is not None else ""


def _grading(judge: Judge, place: _Place, one: Judged[str] | None, tally: Tally) -> Grading:
    text = _text(one)
    score = read_grade(text, judge.mode).score
    tally.taken += 1
    if score is None:
        _drop(tally, _id(place.model, place.question_id, place.turn), one)
    else:
        tally.given += 1
    return Grading(
        question_id=place.question_id,
        model=place.model,
        judge=(judge.endpoint, place.prompt),
        judgment=text,
        score=NOT_FOUND if score is None else score,
        turn=place.turn,
        user_prompt=_user_prompt(one),
    )


def _match(
    judge: Judge,
    models: tuple[str, str],
    number: int,
    turn: int,
    prompt: str,
    games: Mapping[int, tuple[str, str]],
    tally: Tally,
) -> Match:
    (first, first_prompt), (second, second_prompt) = (games.get(game, (NO_REPLY, "")) for game in (1, 2))
    winners = [read_winner(text, game, judge.mode) for game, text in ((1, first), (2, second))]
    tally.taken += 1
    if lost := [reason for winner, reason in winners if winner is None]:
        tally.drop(_id(models[0], number, turn), lost[0] if games else "no-answer")
    else:
        tally.given += 1
    return Match(
        question_id=number,
        model_1=models[0],
        model_2=models[1],
        g1_winner=winners[0][0] or "error",
        g2_winner=winners[1][0] or "error",
        judge=(judge.endpoint, prompt),
        g1_judgment=first,
        g2_judgment=second,
        turn=turn,
        g1_user_prompt=first_prompt,
        g2_user_prompt=second_prompt,
    )


def _drop(tally: Tally, record: str, one: Judged[str] | None) -> None:
    if one is None or not isinstance(one.value, Unscored):
        tally.drop(record, "no-answer", "the model gave no answer to judge")
    else:
        tally.drop(record, one.value.reason, one.value.detail)


def _id(model: str, number: int, turn: int) -> str:
    return f"{model}, question {number}, turn {turn}"
