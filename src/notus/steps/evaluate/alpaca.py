"""The steps of AlpacaEval: score stored judgements; have outputs written and judged, and score these.

Owns the way of files and endpoints to the figures, and how the figures are told. The figures are those of
``evaluate.alpaca.score`` and ``evaluate.length.alpaca``; the files are those of ``evaluate.alpaca.files``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from notus.collect.settings import EndpointSettings, Sampling
from notus.core.artifacts import (
    FINDINGS,
    SCORES,
    Artifact,
)
from notus.core.config import Config
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Message
from notus.evaluate.alpaca import files
from notus.evaluate.alpaca.files import Answer
from notus.evaluate.alpaca.judge import PROMPTS, AskedJudgement, Pairing, Protocol, add_costs, judge_pairs
from notus.evaluate.alpaca.score import Judgement, WinRate, win_rate
from notus.evaluate.length import alpaca as length
from notus.formats.quarantine import RowReader
from notus.llm.prompts import Template, read_prompt
from notus.llm.protocol import Generator, Model, Reply, Request, ordered
from notus.report.evaluations.alpaca import ControlledFigures, board_section, difference_section, rates_section
from notus.stats.intervals import estimates_as_json
from notus.steps.base import (
    Context,
    MayLose,
    OptionalRef,
    Ref,
    Seed,
    Serving,
    Step,
)
from notus.steps.collect.asking import Asking, open_asking

__all__ = ["ANNOTATIONS", "LEADERBOARD", "MODEL_OUTPUTS", "Alpaca", "AlpacaJudge"]

MODEL_OUTPUTS = Artifact("model-outputs", "model_outputs.json")
"""A model's outputs, as upstream has them."""
ANNOTATIONS = Artifact("annotations", "annotations.json")
"""Judgements, as upstream has them."""
LEADERBOARD = Artifact("leaderboard", "leaderboard.csv")


_FAR = 1.0
"""Points between published weights and a fit, beyond what the choice of C can do."""


_SEED = 0
"""Of the bootstrap: the draws of two models are the same, so that they are paired."""


@dataclass(frozen=True)
class _ScoringData:
    """What the judgements are placed beside; empty where it was not given."""

    difficulties: Mapping[str, float]
    gamed: length.GamedBaselines | None
    counts: NDArray[np.int64] | None
    """Draws of the bootstrap."""
    weights: Mapping[str, tuple[float, float, float]]
    board: Mapping[str, Mapping[str, object]]
    other: Sequence[Judgement]
    """Those of another model."""


class _Scoring(Config):
    """What the figures are made with."""

    difficulty: OptionalRef = None
    """Upstream's ``instruction_difficulty.csv``, or a table with a column ``instruction``; without it there is no
    length-controlled win rate."""
    instructions: OptionalRef = None
    """A complete file of upstream's, whose order the difficulties follow; null takes the judgements' own, if it is."""
    weights: OptionalRef = None
    """Upstream's table of published weights, for the published length-controlled win rate beside our own."""
    gamed: OptionalRef = None
    """Upstream's ``df_gamed.csv``; null takes the stand-in for it."""
    leaderboard: OptionalRef = None
    """A leaderboard to be placed in."""
    against: OptionalRef = None
    """Judgements of another model, for the paired difference."""
    replicates: int = pydantic.Field(default=1000, ge=0)
    """Draws of the bootstrap that refits the length model; 0 leaves it out."""


class Alpaca(Step, MayLose, _Scoring):
    """Score stored judgements of AlpacaEval: win rates, length-controlled too, with honest errors."""

    step_type: ClassVar[str] = "alpaca"
    leaves: ClassVar[tuple[Artifact, ...]] = (LEADERBOARD, SCORES, FINDINGS)
    compared_by: ClassVar[tuple[str, ...]] = ("reference", "annotator")
    draws: ClassVar[bool] = False
    annotations: Ref
    """annotations.json, packed or not, or the run directory of ``alpaca-judge``."""
    model: str | None = None
    """Which model's judgements, where the file holds several."""
    salvage: bool = False
    """Whether the whole rows of a file that is cut off are taken, instead of an error."""

    def run(self, context: Context) -> None:
        """Score stored judgements."""
        path = _find_file(context.inputs["annotations"], ANNOTATIONS.file)
        with context.row_reader() as reader:
            judgements = files.read_annotations(path, model=self.model, salvage=self.salvage, reader=reader)
        if not judgements:
            raise DataError(f"{path} holds no judgement; a list with at least one row is needed")
        if self.salvage:
            context.log(f"{len(judgements):,} whole rows were taken of {path}")
        _report(context, judgements, _read_scoring_data(context, self, [item.instruction for item in judgements]))


class AlpacaJudge(Step, MayLose, Serving, EndpointSettings, _Scoring):
    """Have outputs judged as AlpacaEval does, after having them written where there are none, and score them."""

    step_type: ClassVar[str] = "alpaca-judge"
    results: ClassVar[int] = 2
    leaves: ClassVar[tuple[Artifact, ...]] = (MODEL_OUTPUTS, ANNOTATIONS, LEADERBOARD, SCORES, FINDINGS)
    compared_as: ClassVar[str | None] = "alpaca"
    compared_by: ClassVar[tuple[str, ...]] = ("reference", "annotator")
    reference: Ref
    """model_outputs.json of the reference: its instructions are what is asked."""
    outputs: OptionalRef = None
    """model_outputs.json of the model, or a run directory that holds one; null has ``answers`` write them."""
    answers: str | None = None
    """Endpoint that answers the instructions, ``local`` for the model of ``serve``."""
    name: str | None = None
    """What the model is called; null takes what its outputs say, or the name of the endpoint."""
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=2048)
    """Of the answers. 0.7 and 2,048 tokens are usual on the board; a judge's own are set by the protocol."""
    judge: str = pydantic.Field(min_length=1)
    """Endpoint of the judge."""
    protocol: Protocol = "logprobs"
    """``logprobs`` as AlpacaEval 2, ``rank`` as AlpacaEval 1."""
    prompt: str | None = None
    """A prompt file of your own or upstream's, with {instruction}, {output_1} and {output_2}."""
    verbatim: bool = False
    """Put outputs into the prompt as they are, without fences: for the comparison with published judgements. An output
    can then speak to the judge."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many instructions."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.outputs is None) == (self.answers is None):
            raise ValueError("give either 'outputs', a file, or 'answers', the endpoint that writes them")
        self._template()
        return self

    @pydantic.field_serializer("prompt")
    def _by_content(self, prompt: str | None) -> str:
        """A prompt counts by its text: a changed file is another judge."""
        del prompt
        return self._template().digest

    def _template(self) -> Template:
        needs = ("instruction", "output_1", "output_2")
        return read_prompt(self.prompt or PROMPTS[self.protocol], needs=needs, verbatim=self.verbatim)

    def run(self, context: Context) -> None:
        """Have outputs written where none are given, have them judged, and score the judgements."""
        with context.row_reader() as reader:
            reference = files.read_outputs(_find_file(context.inputs["reference"], MODEL_OUTPUTS.file), reader)
        # A mistake in these files is told before anything is paid for.
        data = _read_scoring_data(context, self, [answer.instruction for answer in reference])
        reference = reference[: self.limit]
        with open_asking(context, self) as asked:
            asked.progress.total = len(reference) * (1 if self.outputs else 2)
            if self.outputs is None:
                answers = _answers(self, reference, asked, context.seed)
            else:
                given = _find_file(context.inputs["outputs"], MODEL_OUTPUTS.file)
                with context.row_reader("read-outputs") as reader:
                    answers = _read_answers(given, reference, self.name, reader)
            files.write_outputs(MODEL_OUTPUTS.at(context.path), answers)
            judgements = _judge_answers(self, reference, answers, asked)
        files.write_annotations(ANNOTATIONS.at(context.path), judgements)
        _report(context, judgements, data)


def _find_file(given: str, name: str) -> Path:
    """A file, or that of its name in a run directory.

    Raises:
        DataError: if there is no such file.
    """
    path = Path(given)
    found = path / name if path.is_dir() else path
    if not found.is_file():
        raise DataError(f"{found} is not there; name a file such as {name}, or a run directory that holds one")
    return found


def _answers(config: AlpacaJudge, reference: Sequence[Answer], asked: Asking, seed: int) -> list[Answer]:
    """Have each instruction answered once; where none came the output is missing, and counts as such."""
    model = _model_named(asked.answerer, config.answers or "")
    name = config.name or model.name
    decoding = config.sampling.decoding(seed=seed)
    requests = [
        Request(
            model=model,
            messages=(Message(role="user", content=item.instruction),),
            decoding=decoding,
            step="answer/alpaca",
        )
        for item in reference
    ]
    outcomes = [outcome for _, outcome in ordered(asked.answerer, requests)]
    return [
        Answer(
            instruction=item.instruction,
            output=outcome.text if isinstance(outcome, Reply) else None,
            generator=name,
            dataset=item.dataset,
        )
        for item, outcome in zip(reference, outcomes, strict=True)
    ]


def _read_answers(path: Path, reference: Sequence[Answer], name: str | None, reader: RowReader) -> list[Answer]:
    """The outputs of a file in the order of the instructions, by text; those that are missing count as missing."""
    given = {item.instruction: item for item in files.read_outputs(path, reader)}
    names = {item.generator for item in given.values()}
    if len(names) != 1 and name is None:
        raise DataError(f"{path} holds outputs of {len(names)} models; say what the model is called (name)")
    own = name or names.pop()
    outputs = [given[item.instruction].output if item.instruction in given else None for item in reference]
    if not any(output is not None for output in outputs):
        raise DataError(f"{path} answers none of the reference's instructions; give outputs for the same instructions")
    return [
        Answer(instruction=item.instruction, output=output, generator=own, dataset=item.dataset)
        for item, output in zip(reference, outputs, strict=True)
    ]


def _judge_answers(
    config: AlpacaJudge, reference: Sequence[Answer], answers: Sequence[Answer], asked: Asking
) -> list[Judgement]:
    model = _model_named(asked.judge, config.judge)
    found: list[AskedJudgement] = judge_pairs(
        [Pairing(one, other) for one, other in zip(reference, answers, strict=True)],
        protocol=config.protocol,
        generator=asked.judge,
        model=model,
        annotator=f"{config.protocol}_{model.name}",
        prompt=config.prompt,
        verbatim=config.verbatim,
        tries=config.tries,
    )
    return add_costs(found, asked.ledger.find(item.key for item in found if item.key))


def _model_named(generator: Generator, name: str) -> Model:
    if name not in generator.models:
        raise ConfigError(f"there is no endpoint '{name}'; {nearest(name, generator.models)}")
    return generator.models[name]


def _read_scoring_data(context: Context, config: Alpaca | AlpacaJudge, order: list[str]) -> _ScoringData:
    """Read what is given beside the judgements.

    Args:
        context: of the step.
        config: its settings.
        order: the instructions that difficulties by number follow, where no file of them is given.
    """
    difficulties: dict[str, float] = {}
    gamed = counts = None
    if context.has("difficulty"):
        if context.has("instructions"):
            order = files.read_instructions(_find_file(context.inputs["instructions"], MODEL_OUTPUTS.file))
        difficulties = files.read_difficulties(context.place("difficulty"), order)
        counts = length.draw_instructions(len(difficulties), config.replicates, _SEED)
        own = context.has("gamed")
        gamed = length.read_gamed(context.place("gamed")) if own else length.gamed_stand_in(difficulties)
    return _ScoringData(
        difficulties,
        gamed,
        counts,
        weights=files.read_weights(context.place("weights")) if context.has("weights") else {},
        board=files.read_leaderboard(context.place("leaderboard")) if context.has("leaderboard") else {},
        other=files.read_annotations(_find_file(context.inputs["against"], ANNOTATIONS.file))
        if context.has("against")
        else (),
    )


def _report(context: Context, judgements: Sequence[Judgement], data: _ScoringData) -> None:
    """Write the figures: a row of a leaderboard, the scores that runs are compared by, findings."""
    rates = win_rate(judgements)
    controlled = _control_length(rates, judgements, data)
    findings = [rates_section(rates, controlled)]
    if data.other:
        second = _control_length(win_rate(data.other), data.other, data)
        findings.append(difference_section(judgements, data.other, controlled, second))
    row = _write_leaderboard(context, rates, controlled, data.board)
    if place := board_section(rates, row, data.board):
        findings.append(place)
    _write_scores(context, judgements)
    context.write_findings(findings)
    of = controlled.of
    context.note(
        model=rates.model,
        reference=rates.reference,
        annotator=rates.annotator,
        n_asked=rates.asked,
        n_scored=rates.scored,
        n_refused=rates.refused,
        n_failed=rates.failed,
        unscored=dict(rates.reasons),
        win_rate=rates.mean,
        figures=estimates_as_json({"win_rate": rates.interval}, "points"),
        standard_error=rates.error,
        worst=rates.worst,
        best=rates.best,
        discrete_win_rate=rates.discrete,
        avg_length=rates.length,
        length_controlled_winrate=of.value if of else None,
        lc_standard_error=of.error if of else None,
        lc_published_weights=controlled.published,
    )


def _control_length(rates: WinRate, judgements: Sequence[Judgement], data: _ScoringData) -> ControlledFigures:
    if data.gamed is None:
        needs = "the difficulties of the instructions are needed (--difficulty)"
        return ControlledFigures(None, None, (f"The length-controlled win rate is not computed: {needs}.",))
    if rates.model == rates.reference:
        return ControlledFigures(
            None, None, ("The model is the reference: controlled for length it has 50 by construction.",)
        )
    of = length.length_controlled(length.length_rows(judgements, data.difficulties), data.gamed, data.counts)
    told = []
    if of.left_out:
        told.append(f"{of.left_out:,} judgements have no difficulty or no output, and no part in the length model.")
    if rates.reference != length.REFERENCE and not of.exact:
        told.append(
            "The length-controlled win rate is approximate: the stand-in for the gamed baselines belongs to judgements "
            f"against {length.REFERENCE}, and these are against {rates.reference}; give upstream's own (--gamed)."
        )
    published, weights = None, data.weights.get(rates.model)
    if weights is not None and data.weights.get(rates.reference) == (0.0, 0.0, 0.0):
        published = length.win_rate_from_weights(weights, data.difficulties)
        if abs(published - of.value) > _FAR:
            told.append(
                f"The published weights give {published:.2f}, far from the fit to these judgements: by the name "
                f"{rates.model} the table may mean another model."
            )
    elif data.weights:
        told.append(f"The table of weights has none of {rates.model} against {rates.reference}.")
    return ControlledFigures(of, published, tuple(told))


def _write_leaderboard(
    context: Context, rates: WinRate, controlled: ControlledFigures, board: Mapping[str, Mapping[str, object]]
) -> dict[str, float | int | str | None]:
    """Write the leaderboard with the model's row; a row of the same name is kept beside."""
    of = controlled.of
    row = rates.row() | ({"length_controlled_winrate": of.value, "lc_standard_error": of.error} if of else {})
    name = rates.model if rates.model not in board else f"{rates.model} (this run)"
    files.write_leaderboard(LEADERBOARD.at(context.path), {**board, name: row})
    return row


def _write_scores(context: Context, judgements: Sequence[Judgement]) -> None:
    """The table that runs are compared by: p − 1 of each instruction."""
    samples: dict[str, int] = {}
    rows = []
    for item in judgements:
        number = samples[item.instruction] = samples.get(item.instruction, -1) + 1
        row = {"id": item.id, "prompt_id": item.prompt_id, "sample": number, "value": item.value}
        rows.append(row | {"reason": item.reason, "file": item.file, "line": item.line})
    context.write_rows(SCORES, rows)
