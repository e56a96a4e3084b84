"""The step that trains a ranker: pairs in, a folder with the ranker and what it is worth on held-out prompts out."""

from collections.abc import Iterator, Mapping

from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import Run
from notus.core.tables import read_records, write_table
from notus.data.binarize import split
from notus.data.layouts import Data
from notus.data.sharded import Shard, sharded
from notus.data.sources import Source
from notus.flow.datasteps import HELD, held_out_beside, open_given, write_findings
from notus.flow.given import find_model
from notus.flow.rankerfindings import ranker_findings
from notus.flow.rankertrainkinds import TrainRanker
from notus.train.ranker_quality import Judged, Quality, quality_of, scored

__all__ = ["train_ranker_step"]


def train_ranker_step(run: Run, config: TrainRanker, inputs: Mapping[str, str], seed: int | None) -> None:
    """Train a ranker; leaves ``model/``, ``scores.parquet`` of the held-out pairs, findings and pictures."""
    from notus.train.ranker import judge_pairs, train_ranker

    assert seed is not None, "a step that draws is given a seed by the plan"
    source = open_given(config, inputs["pairs"])
    preferences, held_out = _divided(run, config, source)
    start = find_model(inputs["start"]) if "start" in inputs else None
    path = train_ranker(run, config, start=start, preferences=preferences, held_out=held_out, seed=seed)
    run.note(layout=source.layout)
    if not held_out:
        run.log("no pair is held out, so that nothing is known of the ranker; set held_out above 0")
        return
    judged = judge_pairs(config, path, held_out, run.tally("rank"))
    quality = quality_of(judged)
    _write_scores(run, judged)
    _note(run, quality)
    write_findings(run, ranker_findings(quality, trained=len(preferences), form=config.form))


def _divided(run: Run, config: TrainRanker, source: Source) -> tuple[list[Preference], list[Preference]]:
    """Pairs to train on and to measure on, divided by prompt.

    Raises:
        DataError: if the source holds no pairs, or all of them are held out.
    """
    if source.record is not Preference:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.layout}); a ranker is trained on pairs: "
            "make some with notus binarize"
        )
    found = [record for part in sharded(run, source, _listed, config.workers) for record in part]
    records = [record for record in found if isinstance(record, Preference)]
    if kept := held_out_beside(source):
        return records, list(read_records(kept, Preference))
    train, test = split(records, config.held_out, 0)
    if records and not train:
        raise DataError(f"all {len(records):,} pairs are held out; lower held_out ({config.held_out})")
    return train, test


def _listed(records: Iterator[Data], shard: Shard) -> list[Data]:
    del shard
    return list(records)


def _write_scores(run: Run, judged: list[Judged]) -> None:
    """The table that arms are compared by: one row for each held-out pair."""
    seen: dict[str, int] = {}
    rows = []
    for item in judged:
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        value = scored(item)
        reason = "tie" if value == 0.5 else "chosen" if value else "rejected"
        rows.append({"prompt_id": item.prompt_id, "sample": number, "value": value, "reason": reason})
    write_table(run.path / "scores.parquet", rows)


def _note(run: Run, quality: Quality) -> None:
    found = {
        "accuracy": quality.accuracy,
        "calibration_error": quality.calibration_error,
        "longer_preferred": quality.longer_preferred,
    }
    for name, estimate in found.items():
        if estimate is not None:
            run.note(**{name: [estimate.mean, estimate.low, estimate.high]})
