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

from notus.app.mtbench import mtbench_findings
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.run import Run
from notus.core.tables import write_records, write_table
from notus.evaluate.distinct import Distinct, few_distinct
from notus.evaluate.mtbench import Figure, Repeated, Sheet, score_sheet
from notus.evaluate.mtbench_ask import Judge, answer_questions, grade, judge_pairs
from notus.evaluate.mtbench_files import (
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
from notus.evaluate.mtbench_pairs import Outcome
from notus.evaluate.mtbench_readers import Difference
from notus.flow.collectsteps import LOCAL, Opened, opened
from notus.flow.datasteps import write_findings
from notus.flow.mtbenchkinds import MtBench, MtBenchJudge
from notus.models.protocols import Decoding

__all__ = ["mtbench"]

Inputs = Mapping[str, str]
Answers = dict[str, dict[int, Answer]]


def mtbench(run: Run, config: MtBench, inputs: Inputs, seed: int | None) -> None:
    """Score what is stored, and what is asked for now."""
    assert seed is not None
    questions = read_questions(Path(inputs["questions"])) if config.questions else {}
    gradings: list[Grading] = []
    matches: list[Match] = []
    for path in _files(inputs, "judgments", "model_judgment"):
        single, pairs = read_judgments(path)
        gradings += single
        matches += pairs
    answers = _answers(inputs)
    if config.asks:
        with opened(run, config, inputs) as asked:
            asked.progress.total = _requests(config, questions, len(answers))
            if config.model is not None or config.serve is not None:
                _answer(run, config, questions, answers, asked, seed)
            if config.judge is not None:
                references = _references(inputs)
                gradings += _grade(run, config, config.judge, questions, answers, references, asked)
                matches += _match(run, config, config.judge, questions, answers, references, asked)
    if not config.judgments and config.judge is None:
        run.note(answers=sum(map(len, answers.values())), about="Answers alone: name a judge to have them graded.")
        return
    gradings, matches = _only(config.only, gradings, matches)
    sheet = score_sheet(gradings, matches, config.mode, questions, config.baseline)
    _write(run, sheet)
    write_findings(run, mtbench_findings(sheet, _alike(answers, questions)))


def _answer(run: Run, config: MtBench, questions: dict[int, Question], to: Answers, asked: Opened, seed: int) -> None:
    """Have the model answer, and put its answers beside the others."""
    endpoint = config.model or LOCAL
    name = config.name or endpoint
    if name in to:
        raise ConfigError(f"there are stored answers of '{name}' already; call the new ones otherwise ('name')")
    rows = answer_questions(
        asked.answerer if endpoint in asked.answerer.models else asked.judge,
        endpoint,
        questions,
        run.tally("answer"),
        name=name,
        max_tokens=config.max_tokens,
        seed=seed,
    )
    write_rows(run.path / "model_answer" / f"{file_name(name)}.jsonl", rows)
    to[name] = {row.question_id: row for row in rows}


def _grade(
    run: Run,
    config: MtBench,
    settings: MtBenchJudge,
    questions: dict[int, Question],
    answers: Answers,
    references: dict[int, Answer],
    asked: Opened,
) -> list[Grading]:
    if "single" not in settings.kinds:
        return []
    rows = grade(_judge(config, settings, asked), questions, answers, references, run.tally("grade"))
    write_rows(run.path / "model_judgment" / f"{file_name(settings.endpoint)}_single.jsonl", rows)
    return rows


def _match(
    run: Run,
    config: MtBench,
    settings: MtBenchJudge,
    questions: dict[int, Question],
    answers: Answers,
    references: dict[int, Answer],
    asked: Opened,
) -> list[Match]:
    if "pair" not in settings.kinds or config.baseline is None:
        return []
    judge = _judge(config, settings, asked)
    rows = judge_pairs(judge, questions, answers, config.baseline, references, run.tally("pairs"))
    write_rows(run.path / "model_judgment" / f"{file_name(settings.endpoint)}_pair.jsonl", rows)
    return rows


def _judge(config: MtBench, settings: MtBenchJudge, asked: Opened) -> Judge:
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


def _files(inputs: Inputs, setting: str, folder: str) -> Iterable[Path]:
    """The files that a setting of several names: each as it is, of a run directory those of its folder."""
    for key, given in inputs.items():
        if key.partition(".")[0] != setting:
            continue
        path = Path(given)
        if not path.is_dir():
            yield path
            continue
        inside = path / folder if (path / folder).is_dir() else path
        files = sorted(file for file in inside.iterdir() if ".jsonl" in file.suffixes)
        if not files:
            raise DataError(f"{path} holds no JSON lines in {folder}; name the file")
        yield from files


def _answers(inputs: Inputs) -> Answers:
    found: Answers = {}
    for path in _files(inputs, "answers", "model_answer"):
        for model, rows in read_answers(path).items():
            if model in found:
                raise DataError(f"{path} holds answers of '{model}', and so does a file before it; give one of them")
            found[model] = rows
    return found


def _references(inputs: Inputs) -> dict[int, Answer]:
    if "references" not in inputs:
        return {}
    models = read_answers(Path(inputs["references"]))
    if len(models) != 1:
        raise DataError(f"{inputs['references']} holds the answers of {len(models)} models; references are of one")
    return next(iter(models.values()))


def _alike(answers: Answers, questions: Mapping[int, Question]) -> list[Distinct]:
    """How many different answers each model gave."""
    found = []
    for model, rows in answers.items():
        said = [
            (asked, text)
            for number, row in rows.items()
            if number in questions
            for asked, text in zip(questions[number].turns, row.turns, strict=False)  # a later turn may not have come
        ]
        counted = few_distinct(said, model)
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


def _write(run: Run, sheet: Sheet) -> None:
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
        for cell in sheet.cells
    ]
    if rows:
        write_table(run.path / "gradings.parquet", rows)
        write_table(run.path / "figures.parquet", [_figure_row(figure) for figure in sheet.figures])
    if sheet.outcomes:
        write_records(run.path / "pairs.parquet", sheet.outcomes, Outcome)
    write_records(run.path / "differences.parquet", sheet.differences, Difference)
    write_records(run.path / "repeated.parquet", sheet.repeated, Repeated)
    if len({(cell.model, cell.judge) for cell in sheet.cells}) == 1:
        write_table(
            run.path / "scores.parquet",
            [
                {"prompt_id": str(c.question_id), "sample": c.turn, "value": c.score, "reason": c.reason}
                for c in sheet.cells
            ],
        )
    whole = [figure for figure in sheet.figures if figure.part == "all"]
    run.note(
        mode=sheet.mode,
        judges=sorted({cell.judge for cell in sheet.cells}),
        models=len({cell.model for cell in sheet.cells}),
        asked=sum(figure.asked for figure in whole),
        scored=sum(figure.scored for figure in whole),
        unscored=sum(figure.unscored for figure in whole),
        pairs=sheet.matches,
        reproduced=f"{sheet.reproduced[0]} of {sheet.reproduced[1]}",
        read_otherwise=len(sheet.differences),
        judged_again=len(sheet.repeated) + len(sheet.repeated_matches),
    )


def _figure_row(figure: Figure) -> dict[str, object]:
    interval = figure.interval
    ends = {"low": interval.low if interval else None, "high": interval.high if interval else None}
    return {key: value for key, value in vars(figure).items() if key != "interval"} | ends
