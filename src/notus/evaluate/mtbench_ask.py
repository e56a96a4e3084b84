"""Asking for MT-Bench: a model's answers over two turns, and a judge's gradings and verdicts on them.

Owns the conversation (a turn sees the model's own answers before it), the temperature of each category, and who is
asked what in which order. Whatever was asked for comes back as a row: where no answer or no judgement came, the row
holds ``$ERROR$`` and −1, as FastChat has it, and the tally the reason. Rows come in the order of models and questions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Message, digest
from notus.core.stage import Tally
from notus.evaluate.mtbench_files import (
    CATEGORIES,
    NO_REPLY,
    REFERENCED,
    Answer,
    Choice,
    Grading,
    Match,
    Question,
)
from notus.evaluate.mtbench_prompts import JudgePrompts, Kind
from notus.evaluate.mtbench_readers import NOT_FOUND, Mode, read_as, winner_as
from notus.models.judge import Judged, Unscored, ask
from notus.models.judge import Question as Put
from notus.models.judge_text import UnreadableError
from notus.models.protocols import Decoding, Generator, Model, Reply, Request, ordered

__all__ = ["JUDGING", "Judge", "answer_questions", "grade", "judge_pairs"]

JUDGING = Decoding(temperature=0.0, max_tokens=2048)
"""How a judge is asked."""
_OTHER = 0.7
"""The temperature for questions of none of the eight categories."""
_CUT = "[the reply was cut at the token limit]"
"""Stands behind a judgement that was cut: it is then refused when it is read again, too."""

Answers = Mapping[int, Answer]


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
    model = _known(generator, endpoint)
    said: dict[int, list[str]] = {number: [] for number in questions}
    for turn in range(max((len(question.turns) for question in questions.values()), default=0)):
        going = [q for q in questions.values() if len(q.turns) > turn]
        tally.taken += len(going)
        for question in going:
            if len(said[question.question_id]) < turn:
                tally.drop(_id(name, question.question_id, turn + 1), "no-earlier-turn")
        going = [question for question in going if len(said[question.question_id]) == turn]
        requests = [
            Request(
                model=model,
                messages=_conversation(question, said[question.question_id]),
                decoding=_decoding(question, max_tokens, seed),
                step="answer",
                tag=str(question.question_id),
            )
            for question in going
        ]
        for request, outcome in ordered(generator, requests):
            number = int(request.tag)
            if isinstance(outcome, Reply):
                said[number].append(outcome.text)
                tally.given += 1
                tally.count("truncated", int(outcome.truncated))
            else:
                tally.drop(_id(name, number, turn + 1), outcome.kind, outcome.detail)
    return [_answer(name, number, turns) for number, turns in said.items() if turns]


def grade(
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

    def put() -> Iterator[Put[str]]:
        for model, number, turn in places:
            turns = _said(answers[model], number)
            if len(turns) >= turn:
                messages = judge.prompts.single(questions[number], turn, turns, right[number])
                name = judge.prompts.name("single", turn, referenced=right[number] is not None)
                yield _put(judge, messages, "single", _Place(model, number, turn, 1, name))

    for one in _asked(judge, put()):
        place: _Place = one.question.about
        rows[place.model, place.question_id, place.turn] = _grading(judge, place, one, tally)
    for model, number, turn in places:
        if (model, number, turn) not in rows:
            name = judge.prompts.name("single", turn, referenced=right[number] is not None)
            rows[model, number, turn] = _grading(judge, _Place(model, number, turn, 1, name), None, tally)
    return [rows[place] for place in places]


def judge_pairs(
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

    def put() -> Iterator[Put[str]]:
        for model, number, turn in places:
            own, rival = _said(answers[model], number), _said(answers[baseline], number)
            if min(len(own), len(rival)) >= turn:
                name = judge.prompts.name("pair", turn, referenced=right[number] is not None)
                for game, (a, b) in enumerate(((own, rival), (rival, own)), start=1):
                    messages = judge.prompts.pair(questions[number], turn, a, b, right[number])
                    yield _put(judge, messages, "pair", _Place(model, number, turn, game, name))

    for one in _asked(judge, put()):
        place: _Place = one.question.about
        found[place.model, place.question_id, place.turn][place.game] = _text(one), _shown(one)
    matches = []
    for (model, number, turn), games in found.items():
        name = judge.prompts.name("pair", turn, referenced=right[number] is not None)
        matches.append(_match(judge, (model, baseline), number, turn, name, games, tally))
    return matches


def _known(generator: Generator, endpoint: str) -> Model:
    if endpoint not in generator.models:
        raise ConfigError(f"there is no endpoint '{endpoint}'; {nearest(endpoint, generator.models)}")
    return generator.models[endpoint]


def _conversation(question: Question, said: Sequence[str]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn, asked in enumerate(question.turns[: len(said) + 1]):
        messages.append(Message(role="user", content=asked))
        if turn < len(said):
            messages.append(Message(role="assistant", content=said[turn]))
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


def _said(answers: Answers, number: int) -> tuple[str, ...]:
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


def _put(judge: Judge, messages: tuple[Message, ...], kind: Kind, place: _Place) -> Put[str]:
    return Put(messages, partial(_readable, kind=kind, mode=judge.mode), f"judge/mtbench-{kind}", about=place)


def _readable(text: str, kind: Kind, mode: Mode) -> str:
    if kind == "single":
        read = read_as(text, mode)
        if read.score is None:
            raise UnreadableError(read.reason, read.detail)
    else:
        winner, reason = winner_as(text, 1, mode)
        if winner is None:
            raise UnreadableError(reason)
    return text


def _asked(judge: Judge, questions: Iterable[Put[str]]) -> Iterator[Judged[str]]:
    model = _known(judge.generator, judge.endpoint)
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


def _shown(one: Judged[str] | None) -> str:
    """The prompt of the user's turn, as FastChat keeps it."""
    return one.question.messages[-1].content if one is not None else ""


def _grading(judge: Judge, place: _Place, one: Judged[str] | None, tally: Tally) -> Grading:
    text = _text(one)
    score = read_as(text, judge.mode).score
    tally.taken += 1
    if score is None:
        _lost(tally, _id(place.model, place.question_id, place.turn), one)
    else:
        tally.given += 1
    return Grading(
        question_id=place.question_id,
        model=place.model,
        judge=(judge.endpoint, place.prompt),
        judgment=text,
        score=NOT_FOUND if score is None else score,
        turn=place.turn,
        user_prompt=_shown(one),
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
    winners = [winner_as(text, game, judge.mode) for game, text in ((1, first), (2, second))]
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


def _lost(tally: Tally, record: str, one: Judged[str] | None) -> None:
    if one is None or not isinstance(one.value, Unscored):
        tally.drop(record, "no-answer", "the model gave no answer to judge")
    else:
        tally.drop(record, one.value.reason, one.value.detail)


def _id(model: str, number: int, turn: int) -> str:
    return f"{model}, question {number}, turn {turn}"
