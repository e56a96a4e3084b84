"""What each kind of step does: read its inputs, call the floor that owns the work, leave the result in a run directory.

| step | leaves |
|---|---|
| miniature | feedback.jsonl (raw UltraFeedback), dialogues.parquet, prompts.parquet, truth.parquet |
| read | feedback.parquet or preferences.parquet (and held_out.parquet), quarantine.jsonl |
| audit | completions.parquet or pairs.parquet, health.json, health.html, pictures; label_trials.parquet with `truth` |
| repair | feedback.parquet, decisions.parquet, queue.parquet |
| clean | the records that stay, duplicates.parquet, contamination.parquet, decisions.parquet, health.json, pictures |
| binarize | preferences.parquet, held_out.parquet, decisions.parquet |
| diff | differences.parquet, health.json, pictures, report.html |
| export | rows.jsonl or rows.parquet, quarantine.jsonl |
| collect | feedback.parquet, feedback.jsonl (raw UltraFeedback) |
| converse, refine | dialogues.parquet |
| create, sft, dpo | model/ |
| success | outputs.parquet, verdicts.parquet, scores.parquet |
| rewards | scores.parquet |
| reward-check | pairs.parquet, scores.parquet, health.json, pictures |
| judges | rulings.parquet, health.json, pictures; scores.parquet where one judge alone is on trial |
| train-ranker | model/, scores.parquet of the held-out pairs, health.json, pictures |
| harness | answers.parquet, scores.parquet, health.json |
| sample | outputs.parquet |
| best-of-n | best-of-n.json, outputs.parquet (the picks), health.json, pictures |
| round | rounds.json, health.json, pictures |
| rank | feedback.parquet with scores, ranks.parquet, health.json |
| mtbench | model_answer/, model_judgment/, gradings.parquet, differences.parquet, scores.parquet, health.json |
| alpaca, alpaca-judge | leaderboard.csv, scores.parquet, health.json; model_outputs.json, annotations.json |

A large table is a folder of parts under the name of the file: see ``core.tables``.
Heavy libraries are imported by the step that needs them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from notus.core.errors import DataError, require
from notus.core.records import Dialogue, Message, Preference, Unpaired, Verdict
from notus.core.run import Run, locked
from notus.core.tables import read_records, table_exists, write_records, write_table
from notus.flow import kinds
from notus.flow.alpacakinds import Alpaca, AlpacaJudge
from notus.flow.alpacasteps import alpaca, alpaca_judge
from notus.flow.cleansteps import clean
from notus.flow.collectsteps import collect, converse, refine
from notus.flow.datasteps import audit, read, repair, write_miniature
from notus.flow.exportsteps import export
from notus.flow.given import find_model
from notus.flow.harnesskinds import Harness
from notus.flow.harnesssteps import harness
from notus.flow.mtbenchkinds import MtBench
from notus.flow.mtbenchsteps import mtbench
from notus.flow.preferencesteps import binarize, diff
from notus.flow.rankertrainkinds import TrainRanker
from notus.flow.rankertrainsteps import train_ranker_step
from notus.flow.rankkinds import Rank
from notus.flow.ranksteps import rank
from notus.flow.recipe import PlannedStep
from notus.flow.roundskinds import BestOfN, Round
from notus.flow.roundssteps import best_of_n, measure_round
from notus.flow.samplekinds import Sample
from notus.flow.samplesteps import sample
from notus.flow.stepconfig import StepConfig, refs_of
from notus.flow.trialkinds import JudgeTrial, RewardCheck
from notus.flow.trialsteps import reward_check, try_judges
from notus.train.loss_settings import BcoUnpaired, Kto

__all__ = ["do_step", "find_model"]

Inputs = Mapping[str, str]


def do_step(step: PlannedStep, path: Path, inputs: Inputs) -> Run:
    """Do a step in its run directory, unless it is done there already.

    Args:
        step: what to do.
        path: the run directory.
        inputs: setting → run directory of the step that it refers to, or path or hub id.
    """
    # What a setting refers to counts by its hash, among the inputs, and not by its name or place.
    named = refs_of(step.config)
    config = {key: value for key, value in step.config.resolved().items() if key not in named} | {"seed": step.seed}
    with locked(path):
        run = Run(path, stage=config.pop("do"), config=config, inputs=step.inputs, sources=dict(inputs))
        if not run.finished:
            if step.config.computes:
                adapter = ("peft",) if getattr(step.config, "lora", None) else ()
                for library in ("torch", "transformers", "accelerate", *adapter):
                    require(library, extra="train")
            with run:
                _WORK[type(step.config)](run, step.config, inputs, step.seed)
    return run


def _create(run: Run, config: kinds.Create, inputs: Inputs, seed: int | None) -> None:
    from notus.models.local import build_model, save_model, train_tokenizer

    texts = [message.content for dialogue in _dialogues(Path(inputs["data"])) for message in dialogue]
    if not texts:
        raise DataError(f"{inputs['data']} holds no text to train a tokenizer on")
    tokenizer = train_tokenizer(texts, config.shape.vocabulary)
    model = build_model(config.shape, tokenizer, _drawn(seed))
    save_model(model, tokenizer, run.path / "model")
    run.note(parameters=model.num_parameters(), vocabulary=len(tokenizer))


def _sft(run: Run, config: kinds.Sft, inputs: Inputs, seed: int | None) -> None:
    from notus.train.runs import train_sft

    train_sft(
        run,
        config,
        start=find_model(inputs["start"]),
        dialogues=_dialogues(Path(inputs["data"])),
        held_out=_chosen(Path(inputs["data"]) / "held_out.parquet"),
        seed=_drawn(seed),
    )


def _dpo(run: Run, config: kinds.Dpo, inputs: Inputs, seed: int | None) -> None:
    from notus.train.runs import train_dpo, train_unpaired

    folder = Path(inputs["pairs"])
    start, held_out, drawn = find_model(inputs["start"]), _held_out(folder), _drawn(seed)
    rows = _pairs_or_rows(folder)
    reference = find_model(inputs["reference"]) if "reference" in inputs else None
    common: dict[str, Any] = {"start": start, "reference": reference, "held_out": held_out, "seed": drawn}
    if isinstance(config.loss, BcoUnpaired | Kto):
        train_unpaired(run, config, objective=config.loss, rows=rows, **common)
    else:
        train_dpo(run, config, objective=config.loss, preferences=rows, **common)


def _success(run: Run, config: kinds.Success, inputs: Inputs, seed: int | None) -> None:
    from notus.core.records import Output
    from notus.miniature.checker import verdict
    from notus.models.generate import sample as draw
    from notus.models.local import load_model, load_tokenizer
    from notus.models.tokens import Encoder

    prompts = [dialogue.messages for dialogue in read_records(Path(inputs["data"]) / "prompts.parquet", Dialogue)]
    source = find_model(inputs["model"])
    encoder = Encoder(load_tokenizer(source), config.limits, run.tally("encode"))
    outputs = draw(load_model(source), encoder, prompts, config.sampling, name=run.path.name, seed=_drawn(seed))
    verdicts = [verdict(output) for output in outputs]
    write_records(run.path / "outputs.parquet", outputs, Output)
    write_records(run.path / "verdicts.parquet", verdicts, Verdict)
    _write_scores(run, verdicts)


def _rewards(run: Run, config: kinds.Rewards, inputs: Inputs, seed: int | None) -> None:
    from notus.evaluate.rewards import implicit_accuracy

    del seed
    preferences = _held_out(Path(inputs["pairs"]))
    if not preferences:
        raise DataError(f"{inputs['pairs']} holds no pair for evaluation; set 'held_out' of that step above 0")
    verdicts = implicit_accuracy(
        run,
        preferences,
        name=run.path.name,
        policy=find_model(inputs["policy"]),
        reference=find_model(inputs["reference"]),
        limits=config.limits,
        max_tokens=config.max_tokens,
    )
    write_records(run.path / "verdicts.parquet", verdicts, Verdict)
    _write_scores(run, verdicts)


def _write_scores(run: Run, verdicts: list[Verdict]) -> None:
    """The table that arms are compared by: one row for each answer or pair."""
    write_table(
        run.path / "scores.parquet",
        [{"prompt_id": v.prompt_id, "sample": v.sample, "value": v.score, "reason": v.reason} for v in verdicts],
    )
    scored = [verdict.score for verdict in verdicts if verdict.score is not None]
    run.note(asked=len(verdicts), scored=len(scored), mean=sum(scored) / len(scored) if scored else None)


def _dialogues(folder: Path) -> list[tuple[Message, ...]]:
    """What SFT trains on: dialogues where there are some, and otherwise the chosen answers of preferences."""
    if table_exists(folder / "dialogues.parquet"):
        return [dialogue.messages for dialogue in read_records(folder / "dialogues.parquet", Dialogue)]
    return _chosen(folder / "preferences.parquet", needed=True)


def _chosen(path: Path, *, needed: bool = False) -> list[tuple[Message, ...]]:
    if not table_exists(path) and not needed:
        return []
    return [(*item.prompt, *item.chosen) for item in _records(path)]


def _pairs_or_rows(folder: Path) -> list[Preference] | list[Unpaired]:
    """What preferences are learnt from: pairs where there are some, and otherwise unpaired rows."""
    single = folder / "unpaired.parquet"
    if table_exists(single) and not table_exists(folder / "preferences.parquet"):
        return list(read_records(single, Unpaired))
    return _records(folder / "preferences.parquet")


def _held_out(folder: Path) -> list[Preference]:
    path = folder / "held_out.parquet"
    return _records(path) if table_exists(path) else []


def _records(path: Path) -> list[Preference]:
    if not table_exists(path):
        raise DataError(f"{path} is not there; this needs a step that leaves preferences, such as 'binarize' or 'read'")
    return list(read_records(path, Preference))


def _drawn(seed: int | None) -> int:
    assert seed is not None, "the kinds that draw are given a seed by the plan"
    return seed


_WORK: dict[type[StepConfig], Callable[[Run, Any, Inputs, int | None], None]] = {
    kinds.Miniature: write_miniature,
    kinds.Read: read,
    kinds.Audit: audit,
    kinds.Repair: repair,
    kinds.Clean: clean,
    kinds.Binarize: binarize,
    kinds.Diff: diff,
    kinds.Export: export,
    kinds.Collect: collect,
    kinds.Converse: converse,
    kinds.Refine: refine,
    kinds.Create: _create,
    kinds.Sft: _sft,
    kinds.Dpo: _dpo,
    kinds.Success: _success,
    kinds.Rewards: _rewards,
    RewardCheck: reward_check,
    JudgeTrial: try_judges,
    TrainRanker: train_ranker_step,
    Harness: harness,
    Sample: sample,
    BestOfN: best_of_n,
    Round: measure_round,
    Rank: rank,
    MtBench: mtbench,
    Alpaca: alpaca,
    AlpacaJudge: alpaca_judge,
}
