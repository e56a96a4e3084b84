"""The steps of AlpacaEval: score stored judgements; have outputs written and judged, and score these.

Owns the way of files and endpoints to the figures, and how the figures are told. The figures are those of
``evaluate.alpaca`` and ``evaluate.alpaca_length``; the files are ``alpaca_files``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from notus.app.health import Finding
from notus.app.report import Cell, Table
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.records import Message
from notus.core.run import Run
from notus.core.tables import write_table
from notus.evaluate import alpaca_files as files
from notus.evaluate import alpaca_length as length
from notus.evaluate.alpaca import Judgement, WinRate, compare_pairs, distinguished, win_rate
from notus.evaluate.alpaca_files import Answer
from notus.evaluate.alpaca_judge import Found, Pairing, judge_pairs, with_costs
from notus.flow.alpacakinds import Alpaca, AlpacaJudge
from notus.flow.collectsteps import Opened, opened
from notus.flow.datasteps import write_findings
from notus.models.protocols import Generator, Model, Reply, Request, ordered

__all__ = ["alpaca", "alpaca_judge"]

Inputs = Mapping[str, str]
OUTPUTS, ANNOTATIONS, LEADERBOARD = "model_outputs.json", "annotations.json", "leaderboard.csv"
_FEW = 0.5
"""Share of different outputs below which a model is said to answer alike."""
_FAR = 1.0
"""Points between published weights and a fit, beyond what the choice of C can do."""
_SEED = 0
"""Of the bootstrap: the draws of two models are the same, so that they are paired."""


@dataclass(frozen=True)
class _Controlled:
    """The length-controlled figures of a model, or why there are none."""

    of: length.LengthControlled | None
    published: float | None = None
    """From published weights."""
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Beside:
    """What the judgements are placed beside; empty where it was not given."""

    difficulties: Mapping[str, float]
    gamed: length.Gamed | None
    counts: NDArray[np.int64] | None
    """Draws of the bootstrap."""
    weights: Mapping[str, tuple[float, float, float]]
    board: Mapping[str, Mapping[str, object]]
    other: Sequence[Judgement]
    """Those of another model."""


def alpaca(run: Run, config: Alpaca, inputs: Inputs, seed: int | None) -> None:
    """Score stored judgements."""
    del seed
    path = _inside(inputs["annotations"], ANNOTATIONS)
    judgements = files.read_annotations(path, model=config.model, salvage=config.salvage)
    if not judgements:
        raise DataError(f"{path} holds no judgement; a list with at least one row is needed")
    if config.salvage:
        run.log(f"{len(judgements):,} whole rows were taken of {path}")
    _report(run, judgements, _beside(config, inputs, [item.instruction for item in judgements]))


def alpaca_judge(run: Run, config: AlpacaJudge, inputs: Inputs, seed: int | None) -> None:
    """Have the instructions answered where no outputs are given, have the outputs judged, and score the judgements."""
    assert seed is not None
    reference = files.read_outputs(_inside(inputs["reference"], OUTPUTS))
    # A mistake in these files is told before anything is paid for.
    beside = _beside(config, inputs, [answer.instruction for answer in reference])
    reference = reference[: config.limit]
    with opened(run, config, inputs) as asked:
        asked.progress.total = len(reference) * (1 if config.outputs else 2)
        if config.outputs is None:
            answers = _answers(config, reference, asked, seed)
        else:
            answers = _matched(_inside(inputs["outputs"], OUTPUTS), reference, config.name)
        files.write_outputs(run.path / OUTPUTS, answers)
        judgements = _judged(config, reference, answers, asked)
    files.write_annotations(run.path / ANNOTATIONS, judgements)
    _report(run, judgements, beside)


def _inside(given: str, name: str) -> Path:
    """A file, or that of its name in a run directory.

    Raises:
        DataError: if there is no such file.
    """
    path = Path(given)
    found = path / name if path.is_dir() else path
    if not found.is_file():
        raise DataError(f"{found} is not there; name a file such as {name}, or a run directory that holds one")
    return found


def _answers(config: AlpacaJudge, reference: Sequence[Answer], asked: Opened, seed: int) -> list[Answer]:
    """Have each instruction answered once; where none came the output is missing, and counts as such."""
    model = _named(asked.answerer, config.answers or "")
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


def _matched(path: Path, reference: Sequence[Answer], name: str | None) -> list[Answer]:
    """The outputs of a file in the order of the instructions, by text; those that are missing count as missing."""
    given = {item.instruction: item for item in files.read_outputs(path)}
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


def _judged(
    config: AlpacaJudge, reference: Sequence[Answer], answers: Sequence[Answer], asked: Opened
) -> list[Judgement]:
    model = _named(asked.judge, config.judge)
    found: list[Found] = judge_pairs(
        [Pairing(one, other) for one, other in zip(reference, answers, strict=True)],
        protocol=config.protocol,
        generator=asked.judge,
        model=model,
        annotator=f"{config.protocol}_{model.name}",
        prompt=config.prompt,
        verbatim=config.verbatim,
        tries=config.tries,
    )
    return with_costs(found, asked.ledger.find(item.key for item in found if item.key))


def _named(generator: Generator, name: str) -> Model:
    if name not in generator.models:
        raise ConfigError(f"there is no endpoint '{name}'; {nearest(name, generator.models)}")
    return generator.models[name]


def _beside(config: Alpaca | AlpacaJudge, inputs: Inputs, order: list[str]) -> _Beside:
    """Read what is given beside the judgements.

    Args:
        config: of the step.
        inputs: of the step.
        order: the instructions that difficulties by number follow, where no file of them is given.
    """
    difficulties: dict[str, float] = {}
    gamed = counts = None
    if "difficulty" in inputs:
        if "instructions" in inputs:
            order = files.read_instructions(_inside(inputs["instructions"], OUTPUTS))
        difficulties = files.read_difficulties(Path(inputs["difficulty"]), order)
        counts = length.draw_instructions(len(difficulties), config.replicates, _SEED)
        own = "gamed" in inputs
        gamed = length.read_gamed(Path(inputs["gamed"])) if own else length.gamed_stand_in(difficulties)
    return _Beside(
        difficulties,
        gamed,
        counts,
        weights=files.read_weights(Path(inputs["weights"])) if "weights" in inputs else {},
        board=files.read_leaderboard(Path(inputs["leaderboard"])) if "leaderboard" in inputs else {},
        other=files.read_annotations(_inside(inputs["against"], ANNOTATIONS)) if "against" in inputs else (),
    )


def _report(run: Run, judgements: Sequence[Judgement], beside: _Beside) -> None:
    """Write the figures: a row of a leaderboard, the scores that runs are compared by, findings."""
    rates = win_rate(judgements)
    controlled = _controlled(rates, judgements, beside)
    findings = [_figures(rates, controlled)]
    if beside.other:
        second = _controlled(win_rate(beside.other), beside.other, beside)
        findings.append(_difference(judgements, beside.other, controlled, second))
    findings += _placed(run, rates, controlled, beside.board)
    _write_scores(run, judgements)
    write_findings(run, findings)
    of = controlled.of
    run.note(
        model=rates.model,
        reference=rates.reference,
        annotator=rates.annotator,
        n_asked=rates.asked,
        n_scored=rates.scored,
        n_refused=rates.refused,
        n_failed=rates.failed,
        unscored=dict(rates.reasons),
        win_rate=rates.mean,
        standard_error=rates.error,
        worst=rates.worst,
        best=rates.best,
        discrete_win_rate=rates.discrete,
        avg_length=rates.length,
        length_controlled_winrate=of.value if of else None,
        lc_standard_error=of.error if of else None,
        lc_published_weights=controlled.published,
    )


def _controlled(rates: WinRate, judgements: Sequence[Judgement], beside: _Beside) -> _Controlled:
    if beside.gamed is None:
        needs = "the difficulties of the instructions are needed (--difficulty)"
        return _Controlled(None, None, (f"The length-controlled win rate is not computed: {needs}.",))
    if rates.model == rates.reference:
        return _Controlled(
            None, None, ("The model is the reference: controlled for length it has 50 by construction.",)
        )
    of = length.length_controlled(length.length_rows(judgements, beside.difficulties), beside.gamed, beside.counts)
    told = []
    if of.left_out:
        told.append(f"{of.left_out:,} judgements have no difficulty or no output, and no part in the length model.")
    if rates.reference != length.REFERENCE and not of.exact:
        told.append(
            "The length-controlled win rate is approximate: the stand-in for the gamed baselines belongs to judgements "
            f"against {length.REFERENCE}, and these are against {rates.reference}; give upstream's own (--gamed)."
        )
    published, weights = None, beside.weights.get(rates.model)
    if weights is not None and beside.weights.get(rates.reference) == (0.0, 0.0, 0.0):
        published = length.from_weights(weights, beside.difficulties)
        if abs(published - of.value) > _FAR:
            told.append(
                f"The published weights give {published:.2f}, far from the fit to these judgements: by the name "
                f"{rates.model} the table may mean another model."
            )
    elif beside.weights:
        told.append(f"The table of weights has none of {rates.model} against {rates.reference}.")
    return _Controlled(of, published, tuple(told))


def _figures(rates: WinRate, controlled: _Controlled) -> Finding:
    interval = rates.interval
    span = None if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"
    rows: list[tuple[Cell, ...]] = [
        ("win rate", rates.mean, rates.error, span, rates.scored),
        ("discrete win rate", rates.discrete, None, None, rates.scored),
    ]
    of, told = controlled.of, rates.sentences()
    if rates.asked > 1 and rates.distinct < _FEW * rates.asked:
        told.append(
            f"Only {rates.distinct:,} of the {rates.asked:,} outputs of {rates.model} are distinct: look at them "
            "before believing its figures."
        )
    if of is not None:
        low, high = of.bounds or (None, None)
        span = None if low is None else f"[{low:.2f}, {high:.2f}]"
        rows.append(("length-controlled win rate", of.value, of.error, span, of.n))
        if of.error is not None:
            lost = len(of.replicates) - len(of.fitted)
            told.append(
                f"The error of the length-controlled win rate is that of {len(of.fitted):,} draws of the "
                f"{of.instructions:,} instructions, each fitted anew; upstream's way gives {of.naive_error:.2f}."
                + (f" {lost:,} further draws held too little to be fitted and are left out." if lost else "")
            )
    if controlled.published is not None:
        rows.append(("length-controlled, published weights", controlled.published, None, None, None))
    rows.append(("mean characters of the outputs", rates.length, None, None, rates.asked))
    table = Table(("What", "Value", "Standard error", "95 % interval", "n"), tuple(rows), "Rates in points.")
    heading = f"AlpacaEval: {rates.model} against {rates.reference}"
    return Finding(heading, (*told, *controlled.sentences), table)


def _difference(a: Sequence[Judgement], b: Sequence[Judgement], one: _Controlled, other: _Controlled) -> Finding:
    """Two models on the instructions that both have a score for."""
    paired = compare_pairs(a, b)
    first, second = a[0].model, b[0].model
    told = [f"Win rate: {distinguished(paired.by_prompts, first, second)}"]
    if paired.only_a or paired.only_b:
        told.append(
            f"Only {first} has a score for {paired.only_a:,} instructions, only {second} for {paired.only_b:,}."
        )
    drawn = one.of.replicates - other.of.replicates if one.of and other.of else np.empty(0)
    both = drawn[~np.isnan(drawn)]
    if one.of and other.of and len(both) > 1:
        low, high = np.quantile(both, [0.025, 0.975])
        clear = "" if low > 0 or high < 0 else ": not distinguishable"
        told.append(
            f"Length-controlled: {first} − {second} = {one.of.value - other.of.value:+.2f} points "
            f"[{low:.2f}, {high:.2f}], from the same {len(both):,} draws for both{clear} "
            f"(n = {one.of.instructions:,} and {other.of.instructions:,} instructions)."
        )
    return Finding(f"{first} and {second}", tuple(told))


def _placed(
    run: Run, rates: WinRate, controlled: _Controlled, board: Mapping[str, Mapping[str, object]]
) -> list[Finding]:
    """Write the leaderboard with the model's row, and say where it stands; a row of the same name is kept beside."""
    of = controlled.of
    row = rates.row() | ({"length_controlled_winrate": of.value, "lc_standard_error": of.error} if of else {})
    stored = board.get(rates.model)
    name = rates.model if stored is None else f"{rates.model} (this run)"
    files.write_leaderboard(run.path / LEADERBOARD, {**board, name: row})
    if not board or rates.mean is None:
        return []
    others = [float(str(other["win_rate"])) for key, other in board.items() if key != rates.model and other["win_rate"]]
    higher = sum(other > rates.mean for other in others)
    told = [f"By win rate it would stand at place {higher + 1:,} of {len(others) + 1:,}."]
    if stored is not None:
        keys = [key for key in row if stored.get(key) not in (None, "") and row[key] is not None]
        pairs = {key: (float(str(stored[key])), float(str(row[key]))) for key in keys}
        apart = [f"{key} {old:.4f} there, {new:.4f} here" for key, (old, new) in pairs.items() if abs(old - new) > 1e-6]
        same = f"{len(pairs) - len(apart)} of {len(pairs)} columns of its row on the board come out to 1e-6"
        told.append(f"{same}; {', '.join(apart)}." if apart else f"{same}.")
    return [Finding("On the board", tuple(told))]


def _write_scores(run: Run, judgements: Sequence[Judgement]) -> None:
    """The table that runs are compared by: p − 1 of each instruction."""
    samples: dict[str, int] = {}
    rows = []
    for item in judgements:
        number = samples[item.instruction] = samples.get(item.instruction, -1) + 1
        rows.append({"prompt_id": item.prompt_id, "sample": number, "value": item.value, "reason": item.reason})
    write_table(run.path / "scores.parquet", rows)
