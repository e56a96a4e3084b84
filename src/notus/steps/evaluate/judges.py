"""The step that evaluates judges: agreement with people, the order, the length, and adversarial probes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pydantic

from notus.collect.settings import PromptsAndParsers, Sampling
from notus.core.artifacts import (
    FINDINGS,
    SCORES,
    Artifact,
)
from notus.evaluate.compare import Comparison, Score, compare
from notus.evaluate.degenerate import DistinctAnswers, count_distinct, read_answers
from notus.evaluate.judges.figures import JudgeEvaluation, JudgeFigures, evaluate_judge, judge_figures, people_figures
from notus.evaluate.judges.human import HumanPair, from_preferences, read_human_pairs, vote_format
from notus.evaluate.judges.present import AskedJudge, JudgedPair, PairJudge, RankerJudge, label_of
from notus.evaluate.judges.probes import make_probes
from notus.formats.quarantine import Quarantine
from notus.llm.judges.rubric import read_rubric
from notus.llm.protocol import Generator
from notus.rankers.ref import RankerRef, RankerText
from notus.report.evaluations.judges import judge_sections
from notus.steps.base import (
    Context,
    Reads,
    Refs,
    Seed,
    SourceRef,
)
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
    """Pairs that people have judged (PandaLM's or LLMBar's rows), or preference pairs."""
    rankers: tuple[RankerText, ...] = ()
    """In their text form; a judge that is asked stands under ``judges``."""
    judges: tuple[AskedSettings, ...] = ()
    canaries: int = pydantic.Field(default=100, ge=0)
    """Pairs on which each kind of trap is set; 0 sets none."""
    outputs: Refs = pydantic.Field(default=(), exclude=True)
    """Files of outputs of models, whose distinct answers are counted."""
    seed: Seed | None = None
    """Draws the pairs for the traps."""

    models: Refs = pydantic.Field(default_factory=lambda given: models_named(given.get("rankers", ())), exclude=True)
    """What the rankers name; it is filled in."""

    @pydantic.model_validator(mode="after")
    def _each_on_trial_once(self) -> Self:
        if not self.rankers and not self.judges:
            raise ValueError("nobody is on trial: name rankers (--ranker length) or judges")
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
        pairs = _human_pairs(context, self, context.inputs["data"])
        canaries = make_probes(pairs, self.canaries, context.seed) if self.canaries else []
        shown = 2 * (len(pairs) + len(canaries))
        with open_asking_if(context, self, needed=bool(self.judges), total=shown * len(self.judges)) as generator:
            rankers = rankers_of(context, self.rankers, self.ranking, None)
            judges: list[PairJudge] = [
                RankerJudge(name, ranker, RankerRef.read(text).about.pointwise)
                for text, (name, ranker) in zip(self.rankers, rankers, strict=True)
            ]
            judges += [_asked_judge(each, generator) for each in self.judges if generator]
            trials = [evaluate_judge(judge, pairs, canaries) for judge in judges]
        figures = [judge_figures(trial, pairs, canaries) for trial in trials]
        outputs = [
            found
            for number in range(len(self.outputs))
            for found in _distinct(Path(context.inputs[f"outputs.{number}"]))
        ]
        rulings = [tried for trial in trials for tried in (*trial.pairs, *trial.probes)]
        context.write(Artifact("rulings", "rulings.parquet"), rulings, JudgedPair)
        if len(trials) == 1:
            scored = _agreements(trials[0], pairs)
            write_pair_scores(context, [pair for pair, _ in scored], [row for _, row in scored])
        context.write_findings(judge_sections(people_figures(pairs), figures, _compare_judges(trials, pairs), outputs))
        context.note(pairs=len(pairs), annotators=len(pairs[0].votes), canaries=len(canaries), judges=_summary(figures))
        context.note(few_distinct=[found.name for found in outputs if found.flagged])


def _asked_judge(settings: AskedSettings, generator: Generator) -> AskedJudge:
    decoding = settings.sampling.decoding()
    return AskedJudge(
        settings.name, generator, settings.judges(), decoding, settings.tries, settings.form, settings.endpoint
    )


def _human_pairs(context: Context, config: Reads, given: str) -> list[HumanPair]:
    """The pairs with the votes of people, or preference pairs with the chosen answer for a vote."""
    path = Path(given)
    layout = vote_format(path) if path.is_file() else None
    if layout is None:
        preferences = pairs_of(context, config, given)
        pairs = list(from_preferences(preferences, context.tally("votes")))
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
    return pairs


def _distinct(path: Path) -> Iterator[DistinctAnswers]:
    for name, answers in read_answers(path).items():
        if found := count_distinct(answers, name):
            yield found


def _agreements(trial: JudgeEvaluation, pairs: Sequence[HumanPair]) -> list[tuple[HumanPair, ScoreRow]]:
    """Each pair with a majority, with 1 where the judge gives its label, else 0."""
    rows: list[tuple[HumanPair, ScoreRow]] = []
    for tried, pair in zip(trial.pairs, pairs, strict=True):
        if pair.majority is not None:
            value = None if tried.score is None else float(label_of(tried.score) == pair.majority)
            reason = tried.reason if value is None else "agrees" if value else "differs"
            rows.append((pair, (tried.prompt_id, tried.pair, value, reason)))
    return rows


def _compare_judges(trials: Sequence[JudgeEvaluation], pairs: Sequence[HumanPair]) -> Comparison | None:
    """The judges side by side, by their agreement with the majority."""
    if len(trials) < 2:
        return None
    rows = [(trial.judge, row) for trial in trials for _, row in _agreements(trial, pairs)]
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
