"""The step that evaluates judges: agreement with people, the order, the length, and adversarial probes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pydantic

from notus.collect.settings import PromptsAndParsers, Sampling
from notus.core.artifacts import FINDINGS, HELD_OUT, SCORES, Artifact
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Feedback
from notus.evaluate.compare import Comparison, Score, compare
from notus.evaluate.degenerate import DistinctAnswers, count_distinct, read_answers
from notus.evaluate.judges.crowd import AnnotatorRow, annotator_rows, by_question, crowd_judge, crowd_people
from notus.evaluate.judges.figures import JudgeEvaluation, JudgeFigures, evaluate_judge, judge_figures, people_figures
from notus.evaluate.judges.human import HumanPair, from_feedback, from_preferences, read_human_pairs, vote_format
from notus.evaluate.judges.judgebench import JudgeBench, judgebench
from notus.evaluate.judges.present import AskedJudge, PairJudge, RankerJudge, label_of
from notus.evaluate.judges.probes import Probe, make_probes
from notus.evaluate.judges.stored import RULINGS_TABLE, evaluate_stored, read_stored
from notus.formats.quarantine import Quarantine
from notus.llm.judges.rubric import read_rubric
from notus.llm.protocol import Generator
from notus.rankers.ref import RankerRef, RankerText
from notus.report.evaluations.judges import judge_sections
from notus.report.section import ReportSection
from notus.report.sets.crowd import crowd_sections
from notus.report.sets.judgebench import judgebench_section
from notus.stats.intervals import estimates_as_json
from notus.steps.base import (
    Context,
    Reads,
    Refs,
    Seed,
    SourceRef,
)
from notus.steps.evaluate.checked import hold_checked_trial
from notus.steps.evaluate.ranked import (
    Ranked,
    ScoreRow,
    by_kind,
    models_named,
    open_asking_if,
    pairs_of,
    rankers_of,
    write_pair_scores,
)
from notus.steps.evaluate.scores import note_estimate

__all__ = ["AskedSettings", "JudgeTrial"]


class AskedSettings(PromptsAndParsers):
    """One judge that is asked."""

    endpoint: str = pydantic.Field(min_length=1)
    """Name of the endpoint that is asked."""
    form: Literal["pair", "grade"] = "pair"
    """``pair`` asks which of two answers is better, ``grade`` for a grade of each alone: usual with a rubric."""
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=1024)
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    prompts: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge (``pair``, ``grade``) → a prompt file of your own."""
    parsers: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge (``pair``, ``grade``) → what reads its reply: a function of your own, ``python:FILE.py:NAME``, that takes
    the text and returns the verdict or grade, or None where there is none to be read."""
    verbatim: bool = False
    """Put answers into the prompt as they are, without fences: for published prompts. An answer can then speak to the
    judge, and the canaries will show it."""
    rubric: str | None = None
    """A rubric file of your own, by which the judge judges: docs/own-judge.md."""

    @pydantic.model_validator(mode="after")
    def _rubrics_grade(self) -> Self:
        if self.rubric is not None and "form" not in self.model_fields_set:
            object.__setattr__(self, "form", "grade")
        return self

    @property
    def name(self) -> str:
        """What it is called in the results: its endpoint, and its rubric where it has one."""
        if self.rubric is None:
            return self.endpoint
        return f"{self.endpoint} by {read_rubric(self.rubric).name}{', in pairs' if self.form == 'pair' else ''}"


class JudgeTrial(Ranked):
    """Judges on trial: agreement with people, the order, the length, and canaries."""

    step_type: ClassVar[str] = "judges"
    results: ClassVar[int] = 2
    leaves: ClassVar[tuple[Artifact, ...]] = (SCORES, FINDINGS)
    data: SourceRef = "data"
    """Pairs that people have judged (rows of PandaLM, LLMBar, CrowdRAG-25, JudgeBench, or votes in any format that is
    read), or preference pairs."""
    rankers: tuple[RankerText, ...] = ()
    """In their text form; a judge that is asked stands under ``judges``."""
    judges: tuple[AskedSettings, ...] = ()
    stored: Refs = pydantic.Field(default=(), exclude=True)
    """Files with verdicts that are stored already (JudgeBench's outputs, CrowdRAG-25's judge), or runs of this step."""
    question: str | None = None
    """Of several questions on which people voted the one for order, length, canaries and scores; null takes the only
    one, or the one that asks for the whole (``overall``), or the first. The agreements are told of all."""
    canaries: int = pydantic.Field(default=100, ge=0)
    """Pairs on which each kind of trap is set; 0 sets none."""
    labels: Literal["votes", "checks"] = "votes"
    """Who knows the better answer: ``votes`` of people (or the chosen one), or ``checks`` of the prompts by program,
    where judgements that the source holds (scores of answers, the chosen one) are on trial too."""
    own_checks: tuple[str, ...] = ()
    """Checks of your own that the rows may name, ``python:FILE.py:NAME``; a row alone runs no code."""
    outputs: Refs = pydantic.Field(default=(), exclude=True)
    """Files of outputs of models, whose distinct answers are counted."""
    seed: Seed | None = None
    """Draws the pairs for the traps."""

    settings_if_given: ClassVar[frozenset[str]] = Ranked.settings_if_given | {"question"}

    models: Refs = pydantic.Field(default_factory=lambda given: models_named(given.get("rankers", ())), exclude=True)
    """What the rankers name; it is filled in."""

    @pydantic.model_validator(mode="after")
    def _each_on_trial_once(self) -> Self:
        if not self.rankers and not self.judges and not self.stored and self.labels == "votes":
            raise ValueError("nobody is on trial: name rankers (--ranker length), judges, or verdicts (--stored)")
        if self.stored and self.labels == "checks":
            raise ValueError("'stored' verdicts are on pairs with votes; with labels: checks those of the source count")
        if self.own_checks and self.labels == "votes":
            raise ValueError("'own_checks' are for labels: checks; leave them out")
        if asked := next((text for text in self.rankers if RankerRef.read(text).about.asks), None):
            raise ValueError(f"'{asked}' is a judge that is asked: name its endpoint under 'judges', not in 'rankers'")
        names = [*self.rankers, *(each.name for each in self.judges)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"'{twice}' is on trial twice; once is enough")
        return self

    @pydantic.field_serializer("rankers")
    def _by_kind(self, rankers: tuple[str, ...]) -> list[str]:
        return [by_kind(text) for text in rankers]

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a ranker is a model of ours, whose last bits depend on the number of threads."""
        return any(RankerRef.read(text).about.computes for text in self.rankers)

    def run(self, context: Context) -> None:
        """Hold a trial of each judge on the same pairs and the same canaries."""
        if self.labels == "checks":
            hold_checked_trial(context, self, [partial(_asked_judge, each) for each in self.judges])
            return
        layout, pairs = _human_pairs(context, self, context.inputs["data"])
        voted = _order_questions(context, self, pairs)
        canaries = make_probes(voted.main, self.canaries, context.seed) if self._presents(context, voted) else []
        trials = _trials(context, self, voted, canaries)
        mains = [_on_question(trial, voted.question) for trial in trials]
        figures = [judge_figures(trial.evaluation, trial.pairs, canaries) for trial in mains]
        outputs = [
            found
            for number in range(len(self.outputs))
            for found in _distinct(Path(context.inputs[f"outputs.{number}"]))
        ]
        rulings = [tried for trial in trials for tried in (*trial.evaluation.pairs, *trial.evaluation.probes)]
        context.write(RULINGS_TABLE, rulings)
        if len(mains) == 1:
            scored = _agreements(mains[0])
            write_pair_scores(context, [pair for pair, _ in scored], [row for _, row in scored])
        people = people_figures(voted.main)
        sections = judge_sections(people, figures, _compare_judges(mains), outputs)
        if layout == "judgebench":
            sections.insert(1, _judgebench(context, mains))
        if any(pair.raters for pair in pairs) and layout != "judgebench":
            sections[1:1] = _crowd(context, voted, trials)
        context.write_findings(sections)
        context.note(
            pairs=len(voted.main),
            annotators=people.annotators if voted.main[0].raters else len(voted.main[0].votes),
            canaries=len(canaries),
            judges=_summary(figures),
        )
        context.note(few_distinct=[found.name for found in outputs if found.flagged])

    def _presents(self, context: Context, voted: "_Voted") -> bool:
        """Whether pairs are shown to judges here, and traps with them.

        Raises:
            DataError: if they are to be, and the source does not hold the texts.
        """
        if not self.rankers and not self.judges:
            return False
        if not voted.main[0].texts:
            raise DataError(
                f"{context.inputs['data']} names the answers and does not hold them, so that nobody can be shown them; "
                "name stored verdicts alone (--stored)"
            )
        return self.canaries > 0


@dataclass(frozen=True)
class _Voted:
    """The pairs that people voted on, those of the main question first."""

    question: str
    main: list[HumanPair]
    pairs: list[HumanPair]


@dataclass(frozen=True)
class _Trial:
    """An evaluated judge with the pairs that it was evaluated on."""

    evaluation: JudgeEvaluation
    pairs: list[HumanPair]


def _order_questions(context: Context, config: JudgeTrial, pairs: list[HumanPair]) -> _Voted:
    """Put the pairs of the main question first.

    Raises:
        ConfigError: if there is no such question.
    """
    asked = list(by_question(pairs))
    question = config.question
    if question is None:
        question = next((name for name in asked if "overall" in name), asked[0])
    if question not in asked:
        raise ConfigError(f"question: nobody voted on '{question}'; {nearest(question, asked)}")
    if len(asked) > 1:
        context.note(question=question, questions=asked)
        context.log(f"people voted on {len(asked)} questions; order, length, canaries and scores are of '{question}'")
    main = [pair for pair in pairs if pair.question == question]
    return _Voted(question, main, [*main, *(pair for pair in pairs if pair.question != question)])


def _trials(context: Context, config: JudgeTrial, voted: _Voted, canaries: Sequence[Probe]) -> list[_Trial]:
    """All judges evaluated: those that are shown the pairs here, and those whose verdicts are stored."""
    pairs = voted.pairs
    shown = 2 * (len(voted.main) + len(canaries))  # the same pair under another question is shown once
    with open_asking_if(context, config, needed=bool(config.judges), total=shown * len(config.judges)) as generator:
        rankers = rankers_of(context, config.rankers, config.ranking, None)
        judges: list[PairJudge] = [
            RankerJudge(name, ranker, RankerRef.read(text).about.pointwise)
            for text, (name, ranker) in zip(config.rankers, rankers, strict=True)
        ]
        judges += [_asked_judge(each, generator) for each in config.judges if generator]
        trials = [_Trial(evaluate_judge(judge, pairs, canaries), pairs) for judge in judges]
    taken = {trial.evaluation.judge for trial in trials}
    for place in context.places("stored"):
        with context.row_reader("read-stored") as reader:
            stored = read_stored(place, reader)
        tally = context.tally("stored", "parts")
        for judge in stored:
            if judge.name in taken:
                raise ConfigError(f"'{judge.name}' is on trial twice, in {place} the second time; leave one out")
            taken.add(judge.name)
            evaluation, own, beside = evaluate_stored(judge, pairs)
            tally.count("stored", len(own))
            tally.count("pairs-without-a-stored-verdict", beside["pairs"])
            tally.count("verdicts-on-no-pair", beside["verdicts"])
            if own:
                trials.append(_Trial(evaluation, own))
            else:
                context.log(f"'{judge.name}' of {place} has no verdict on any of the {len(pairs):,} pairs")
    if not trials:
        raise DataError(f"{context.inputs['data']}: no stored verdict is on any of its pairs; name their own set")
    return trials


def _on_question(trial: _Trial, question: str) -> _Trial:
    """A trial on the pairs of one question; the probes stay."""
    both = [
        (judged, pair)
        for judged, pair in zip(trial.evaluation.pairs, trial.pairs, strict=True)
        if pair.question == question
    ]
    judged = tuple(each for each, _ in both)
    return _Trial(replace(trial.evaluation, pairs=judged), [pair for _, pair in both])


def _judgebench(context: Context, trials: Sequence[_Trial]) -> ReportSection:
    found = [judgebench(trial.evaluation, trial.pairs) for trial in trials]
    context.note(judgebench={each.judge: _bench_summary(each) for each in found})
    return judgebench_section(found)


def _bench_summary(bench: JudgeBench) -> dict[str, Any]:
    parts = {part.part: note_estimate(part.accuracy) for part in bench.parts}
    whole = {"accuracy": note_estimate(bench.total.accuracy), "parts": parts}
    return whole | {"consistent": None if bench.one_order else note_estimate(bench.consistent)}


def _crowd(context: Context, voted: _Voted, trials: Sequence[_Trial]) -> list[ReportSection]:
    """What many annotators say, by question; leaves each annotator's row."""
    questions = by_question(voted.pairs)
    people = [crowd_people(question, own) for question, own in questions.items()]
    judges = [
        crowd_judge(question, trial.evaluation, trial.pairs)
        for trial in trials
        for question in by_question(trial.pairs)
    ]
    rows = annotator_rows(voted.pairs, [(trial.evaluation, trial.pairs) for trial in trials])
    context.write(Artifact("annotators", "annotators.parquet"), rows, AnnotatorRow)
    context.note(people=estimates_as_json(people, "share"), by_question=estimates_as_json(judges, "share"))
    return crowd_sections(people, judges, voted.question)


def _asked_judge(settings: AskedSettings, generator: Generator) -> AskedJudge:
    decoding = settings.sampling.decoding()
    return AskedJudge(
        settings.name, generator, settings.judges(), decoding, settings.tries, settings.form, settings.endpoint
    )


def _human_pairs(context: Context, config: Reads, given: str) -> tuple[str, list[HumanPair]]:
    """The pairs with the votes of people, or preference pairs with the chosen answer for a vote; and their format."""
    path = Path(given)
    layout = vote_format(path) if path.is_file() else None
    if layout is None:
        layout, pairs = _from_records(context, config, given)
    else:
        tally = context.tally("votes", "rows")
        with Quarantine(context.path / "quarantine.jsonl") as quarantine:
            found = read_human_pairs(path, layout, tally, quarantine, strict=config.strict, limit=config.limit)
            pairs = list(found)
        context.note(layout=layout)
        if quarantine.total:
            context.note(quarantined=quarantine.total, quarantine=quarantine.summary())
    if not pairs:
        raise context.run.refuse_losses(f"{given} holds no pair that can be judged")
    context.run.check_losses(given)
    return layout, pairs


def _from_records(context: Context, config: Reads, given: str) -> tuple[str, list[HumanPair]]:
    """The pairs out of records: votes on feedback, or preference pairs."""
    source = None if HELD_OUT.is_in(Path(given)) else context.open(config, given)
    if source is None or source.record is not Feedback:
        pairs = list(from_preferences(pairs_of(context, config, given), context.tally("votes")))
        return "", pairs
    context.note(layout=source.format)
    records = list(context.records(source))
    if not any(record.rankings for record in records):
        raise DataError(
            f"{source.name} holds feedback (layout {source.format}) on which nobody voted; pairs are needed that "
            "people judged, or preference pairs: make some with notus binarize"
        )
    return source.format, list(from_feedback(records, context.tally("votes")))


def _distinct(path: Path) -> Iterator[DistinctAnswers]:
    for name, answers in read_answers(path).items():
        if found := count_distinct(answers, name):
            yield found


def _agreements(trial: _Trial) -> list[tuple[HumanPair, ScoreRow]]:
    """Each pair with a majority, with 1 where the judge gives its label, else 0."""
    rows: list[tuple[HumanPair, ScoreRow]] = []
    for tried, pair in zip(trial.evaluation.pairs, trial.pairs, strict=True):
        if pair.majority is not None:
            value = None if tried.score is None else float(label_of(tried.score) == pair.majority)
            reason = tried.reason if value is None else "agrees" if value else "differs"
            rows.append((pair, (tried.prompt_id, tried.pair, value, reason)))
    return rows


def _compare_judges(trials: Sequence[_Trial]) -> Comparison | None:
    """The judges side by side, by their agreement with the majority."""
    if len(trials) < 2:
        return None
    rows = [(trial.evaluation.judge, row) for trial in trials for _, row in _agreements(trial)]
    return compare(Score(judge, 0, prompt, number, value) for judge, (prompt, number, value, _) in rows)


def _summary(figures: Sequence[JudgeFigures]) -> dict[str, Any]:
    return {
        judge.name: {
            "asked": judge.asked,
            "scored": judge.scored,
            "majority": note_estimate(judge.majority.raw),
            "falls_for": [fall.kind for fall in judge.probes if fall.flagged],
        }
        for judge in figures
    }
