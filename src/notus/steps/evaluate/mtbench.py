"""The step that scores MT-Bench: reads or asks for answers and judgements, and leaves files, tables and findings.

| file | what |
|---|---|
| model_answer/*.jsonl, model_judgment/*.jsonl | what was asked for, as FastChat reads it |
| gradings.parquet, figures.parquet | each graded turn; the means with intervals |
| pairs.parquet | what came of each pair |
| differences.parquet | each judgement that FastChat and the strict reading take otherwise |
| repeated.parquet | what was judged more than once |
| scores.parquet | for ``notus compare``, where one model was graded by one judge |
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

import pydantic

from notus.collect.settings import EndpointSettings
from notus.core.artifacts import (
    FINDINGS,
    SCORES,
    Artifact,
)
from notus.core.config import Config
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.tables import write_table
from notus.evaluate.degenerate import DistinctAnswers, count_distinct
from notus.evaluate.mtbench.ask import Judge, JudgePrompts, answer_questions, grade_answers, judge_against
from notus.evaluate.mtbench.files import (
    Answer,
    Grading,
    Match,
    Question,
    file_name,
    read_answers,
    read_judgments,
    read_questions,
    write_rows,
)
from notus.evaluate.mtbench.parse import ReadingDifference
from notus.evaluate.mtbench.score import ModelScore, MtBenchScores, PairOutcome, RepeatedGrading, score_judgements
from notus.llm.protocol import Decoding
from notus.report.evaluations.mtbench import mtbench_sections
from notus.steps.base import (
    Context,
    MayLose,
    OptionalRef,
    Refs,
    Seed,
    Serving,
    Step,
)
from notus.steps.collect.asking import LOCAL, Asking, open_asking

__all__ = ["MtBench", "MtBenchJudge"]

Answers = dict[str, dict[int, Answer]]


class MtBenchJudge(Config):
    """Who judges answers, and how."""

    endpoint: str = pydantic.Field(min_length=1)
    """Name of the endpoint, and of the judge in the judgements."""
    kinds: tuple[Literal["single", "pair"], ...] = pydantic.Field(default=("single",), min_length=1)
    """``single`` grades each answer, ``pair`` holds each model against the baseline in both orders."""
    prompts: str | None = None
    """FastChat's ``judge_prompts.jsonl`` by its path; null takes our own."""
    verbatim: bool = False
    """Put answers into the prompts as they are, without fences: only to compare with published judgements. An answer
    can then speak to the judge."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a judgement is asked for until it can be read; in the mode ``fastchat`` once."""
    max_tokens: int = pydantic.Field(default=2048, ge=1)
    """Of a judgement."""

    @pydantic.model_validator(mode="after")
    def _prompts_are_readable(self) -> Self:
        self.read()
        return self

    @pydantic.field_serializer("prompts")
    def _by_content(self, prompts: str | None) -> str:
        """Prompts count by their text: a changed file is another judge."""
        del prompts
        return self.read().digest

    def read(self) -> JudgePrompts:
        """The prompts."""
        return JudgePrompts.read(self.prompts, verbatim=self.verbatim)


class MtBench(Step, MayLose, Serving, EndpointSettings):
    """Score judgements of MT-Bench; where a judge is named, ask for them; where a model is named, have it answer."""

    step_type: ClassVar[str] = "mtbench"
    results: ClassVar[int] = 2
    leaves: ClassVar[tuple[Artifact, ...]] = (SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("judges", "mode")
    judgments: Refs = ()
    """Stored judgements, single or pairwise: files, or run directories of this step."""
    answers: Refs = ()
    """Stored answers that are to be judged: files of ``model_answer``, or run directories of this step."""
    questions: OptionalRef = None
    """``question.jsonl``; needed to ask anything. Judgements on the published questions are scored without it."""
    references: OptionalRef = None
    """Reference answers for math, reasoning and coding."""
    model: str | None = None
    """Endpoint that is to answer the questions; ``local`` is the model of ``serve``."""
    name: str | None = None
    """What that model is called in the files; null takes the endpoint's name."""
    max_tokens: int = pydantic.Field(default=1024, ge=1)
    """Of an answer."""
    judge: MtBenchJudge | None = None
    mode: Literal["strict", "fastchat"] = "strict"
    """How judgements are read: strictly, or as FastChat does, mistakes included."""
    only: tuple[str, ...] = ()
    """Score these models alone."""
    baseline: str | None = None
    """The model that the others are compared with; needed for pairs."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _something_to_score(self) -> Self:
        answering = self.model is not None or self.serve is not None
        if not (self.judgments or answering or (self.answers and self.judge)):
            raise ValueError("nothing to score: give 'judgments', or 'answers' with a 'judge', or a 'model' to answer")
        if (answering or self.judge) and self.questions is None:
            raise ValueError("to ask, the questions are needed: give FastChat's question.jsonl ('questions')")
        if self.judge and not (answering or self.answers):
            raise ValueError("the judge has nothing to judge: give 'answers', or a 'model' to answer")
        if self.judge and "pair" in self.judge.kinds and self.baseline is None:
            raise ValueError("pairs are judged against a model: name it ('baseline')")
        return self

    @property
    def asks(self) -> bool:
        """Whether anybody is asked."""
        return self.judge is not None or self.model is not None or self.serve is not None

    def run(self, context: Context) -> None:
        """Score what is stored, and what is asked for now."""
        questions = _questions(context) if self.questions else {}
        gradings: list[Grading] = []
        matches: list[Match] = []
        if self.judgments:
            with context.row_reader() as reader:
                for path in _files(context, "judgments", "model_judgment"):
                    single, pairs = read_judgments(path, reader)
                    gradings += single
                    matches += pairs
        answers = _answers(context)
        if any(tally.stage == "read-questions" for tally in context.run.tallies):
            gradings, matches, answers = _without_lost(context, questions, gradings, matches, answers)
        if self.asks:
            with open_asking(context, self) as asked:
                asked.progress.total = _requests(self, questions, len(answers))
                if self.model is not None or self.serve is not None:
                    _answer(context, self, questions, answers, asked, context.seed)
                if self.judge is not None:
                    references = _references(context)
                    gradings += _grade(context, self, self.judge, questions, answers, references, asked)
                    matches += _match(context, self, self.judge, questions, answers, references, asked)
        if not self.judgments and self.judge is None:
            context.note(
                answers=sum(map(len, answers.values())), about="Answers alone: name a judge to have them graded."
            )
            return
        gradings, matches = _only(self.only, gradings, matches)
        sheet = score_judgements(gradings, matches, self.mode, questions, self.baseline)
        _write(context, sheet)
        context.write_findings(mtbench_sections(sheet, _alike(answers, questions)))


def _answer(
    context: Context, config: MtBench, questions: dict[int, Question], to: Answers, asked: Asking, seed: int
) -> None:
    """Have the model answer, and put its answers beside the others."""
    endpoint = config.model or LOCAL
    name = config.name or endpoint
    if name in to:
        raise ConfigError(f"there are stored answers of '{name}' already; call the new ones otherwise ('name')")
    rows = answer_questions(
        asked.answerer if endpoint in asked.answerer.models else asked.judge,
        endpoint,
        questions,
        context.tally("answer", "parts"),
        name=name,
        max_tokens=config.max_tokens,
        seed=seed,
    )
    write_rows(context.path / "model_answer" / f"{file_name(name)}.jsonl", rows)
    to[name] = {row.question_id: row for row in rows}


def _grade(
    context: Context,
    config: MtBench,
    settings: MtBenchJudge,
    questions: dict[int, Question],
    answers: Answers,
    references: dict[int, Answer],
    asked: Asking,
) -> list[Grading]:
    if "single" not in settings.kinds:
        return []
    rows = grade_answers(
        _judge(config, settings, asked), questions, answers, references, context.tally("grade", "parts")
    )
    write_rows(context.path / "model_judgment" / f"{file_name(settings.endpoint)}_single.jsonl", rows)
    return rows


def _match(
    context: Context,
    config: MtBench,
    settings: MtBenchJudge,
    questions: dict[int, Question],
    answers: Answers,
    references: dict[int, Answer],
    asked: Asking,
) -> list[Match]:
    if "pair" not in settings.kinds or config.baseline is None:
        return []
    judge = _judge(config, settings, asked)
    rows = judge_against(judge, questions, answers, config.baseline, references, context.tally("pairs", "parts"))
    write_rows(context.path / "model_judgment" / f"{file_name(settings.endpoint)}_pair.jsonl", rows)
    return rows


def _judge(config: MtBench, settings: MtBenchJudge, asked: Asking) -> Judge:
    decoding = Decoding(temperature=0.0, max_tokens=settings.max_tokens)
    generator = asked.judge if settings.endpoint in asked.judge.models else asked.answerer
    return Judge(generator, settings.endpoint, settings.read(), config.mode, decoding, settings.tries)


def _requests(config: MtBench, questions: Mapping[int, Question], stored: int) -> int:
    """Requests if each is answered at once."""
    turns = sum(len(question.turns) for question in questions.values())
    answering = int(config.model is not None or config.serve is not None)
    total = answering * turns
    if config.judge is not None:
        models = stored + answering
        total += turns * models * ("single" in config.judge.kinds)
        total += 2 * turns * (models - 1) * ("pair" in config.judge.kinds)
    return total


def _files(context: Context, setting: str, folder: str) -> Iterable[Path]:
    """The files that a setting of several names: each as it is, of a run directory those of its folder."""
    for path in context.places(setting):
        if not path.is_dir():
            yield path
            continue
        inside = path / folder if (path / folder).is_dir() else path
        files = sorted(file for file in inside.iterdir() if ".jsonl" in file.suffixes)
        if not files:
            raise DataError(f"{path} holds no JSON lines in {folder}; name the file")
        yield from files


def _questions(context: Context) -> dict[int, Question]:
    with context.row_reader("read-questions") as reader:
        return read_questions(context.place("questions"), reader)


def _without_lost(
    context: Context, questions: Mapping[int, Question], gradings: list[Grading], matches: list[Match], answers: Answers
) -> tuple[list[Grading], list[Match], Answers]:
    """What was stored, without that on questions whose row was put aside: nobody knows their category."""
    tally = context.tally("without-question", "parts")

    def known(question: int, what: str) -> bool:
        tally.taken += 1
        if question in questions:
            tally.given += 1
            return True
        tally.drop(f"{what}, question {question}", "no-question", "the row of its question was put aside")
        return False

    return (
        [each for each in gradings if known(each.question_id, f"grading of {each.model}")],
        [each for each in matches if known(each.question_id, f"match of {each.model_1} and {each.model_2}")],
        {
            model: {number: row for number, row in rows.items() if known(number, f"answer of {model}")}
            for model, rows in answers.items()
        },
    )


def _answers(context: Context) -> Answers:
    found: Answers = {}
    with context.row_reader("read-answers") as reader:
        for path in _files(context, "answers", "model_answer"):
            for model, rows in read_answers(path, reader).items():
                if model in found:
                    raise DataError(
                        f"{path} holds answers of '{model}', and so does a file before it; give one of them"
                    )
                found[model] = rows
    return found


def _references(context: Context) -> dict[int, Answer]:
    if not context.has("references"):
        return {}
    with context.row_reader("read-references") as reader:
        models = read_answers(context.place("references"), reader)
    if len(models) != 1:
        raise DataError(
            f"{context.inputs['references']} holds the answers of {len(models)} models; references are of one"
        )
    return next(iter(models.values()))


def _alike(answers: Answers, questions: Mapping[int, Question]) -> list[DistinctAnswers]:
    """How many different answers each model gave."""
    found = []
    for model, rows in answers.items():
        said = [
            (asked, text)
            for number, row in rows.items()
            if number in questions
            for asked, text in zip(questions[number].turns, row.turns, strict=False)  # a later turn may not have come
        ]
        counted = count_distinct(said, model)
        if counted is not None:
            found.append(counted)
    return found


def _only(names: tuple[str, ...], gradings: list[Grading], matches: list[Match]) -> tuple[list[Grading], list[Match]]:
    if not names:
        return gradings, matches
    known = {row.model for row in gradings} | {name for row in matches for name in (row.model_1, row.model_2)}
    for name in names:
        if name not in known:
            raise ConfigError(f"nothing was judged of a model '{name}'; {nearest(name, known)}")
    kept = [row for row in gradings if row.model in names]
    return kept, [row for row in matches if row.model_1 in names or row.model_2 in names]


def _write(context: Context, sheet: MtBenchScores) -> None:
    rows = [
        {
            "model": cell.model,
            "judge": cell.judge,
            "question_id": cell.question_id,
            "turn": cell.turn,
            "category": cell.category,
            "score": cell.score,
            "reason": cell.reason,
            "judged": len(cell.reads),
        }
        for cell in sheet.turns
    ]
    if rows:
        write_table(context.path / "gradings.parquet", rows)
        write_table(context.path / "figures.parquet", [_figure_row(figure) for figure in sheet.scores])
    if sheet.outcomes:
        context.write(Artifact("pairs", "pairs.parquet"), sheet.outcomes, PairOutcome)
    context.write(Artifact("differences", "differences.parquet"), sheet.differences, ReadingDifference)
    context.write(Artifact("repeated", "repeated.parquet"), sheet.repeated, RepeatedGrading)
    if len({(cell.model, cell.judge) for cell in sheet.turns}) == 1:
        context.write_rows(
            SCORES,
            [
                {
                    "id": f"{cell.model}, question {cell.question_id}, turn {cell.turn}",
                    "prompt_id": str(cell.question_id),
                    "sample": cell.turn,
                    "value": cell.score,
                    "reason": cell.reason,
                }
                for cell in sheet.turns
            ],
        )
    whole = [figure for figure in sheet.scores if figure.part == "all"]
    context.note(
        mode=sheet.mode,
        judges=sorted({cell.judge for cell in sheet.turns}),
        models=len({cell.model for cell in sheet.turns}),
        asked=sum(figure.asked for figure in whole),
        scored=sum(figure.scored for figure in whole),
        unscored=sum(figure.unscored for figure in whole),
        pairs=sheet.matches,
        reproduced=f"{sheet.reproduced[0]} of {sheet.reproduced[1]}",
        read_otherwise=len(sheet.differences),
        judged_again=len(sheet.repeated) + len(sheet.repeated_matches),
    )


def _figure_row(figure: ModelScore) -> dict[str, object]:
    interval = figure.interval
    ends = {"low": interval.low if interval else None, "high": interval.high if interval else None}
    return {key: value for key, value in vars(figure).items() if key != "interval"} | ends
