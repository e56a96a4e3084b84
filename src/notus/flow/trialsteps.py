"""The steps that put rewards and judges on trial.

| step | leaves |
|---|---|
| reward-check | pairs.parquet, scores.parquet, health.json, pictures |
| judges | rulings.parquet, health.json, pictures; scores.parquet where one judge alone is on trial |
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from notus.app.trials import judge_findings, reward_findings
from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import Run
from notus.core.statistics import Estimate
from notus.core.tables import read_records, table_exists, write_records, write_table
from notus.data.quarantine import Quarantine
from notus.data.sharded import Shard, sharded
from notus.evaluate.canaries import make_canaries
from notus.evaluate.compare import Comparison, Score, compare
from notus.evaluate.distinct import Distinct, few_distinct, read_answers
from notus.evaluate.rewardbench import reward_report
from notus.evaluate.rewards import PairScore, score_pairs
from notus.evaluate.trial import PairJudge, Tried, label_of
from notus.evaluate.trial_judges import AskedJudge, RankerJudge
from notus.evaluate.trial_report import JudgeFigures, Trial, hold_trial, judge_figures, people_figures
from notus.evaluate.trial_sources import HumanPair, from_preferences, human_layout, read_human_pairs
from notus.flow.collectsteps import opened
from notus.flow.datasteps import HELD, open_given, write_findings
from notus.flow.given import find_model
from notus.flow.stepconfig import Reads
from notus.flow.trialkinds import AskedSettings, JudgeTrial, RewardCheck, models_of, with_models
from notus.models.protocols import Generator, Ranker
from notus.models.ranker import make_ranker
from notus.models.ranker_settings import RankerSpec, Ranking

__all__ = ["reward_check", "try_judges"]

Inputs = Mapping[str, str]
_POINTWISE = ("length", "reward-model", "implicit")
"""Rankers that score each answer alone."""


def reward_check(run: Run, config: RewardCheck, inputs: Inputs, seed: int | None) -> None:
    """Score preference pairs by a ranker, and sum up how often the chosen answer wins."""
    del seed
    preferences = _pairs(run, config, inputs["data"])
    asks = RankerSpec.read(config.ranker).kind == "judge"
    with _opened(run, config, inputs, needed=asks, total=2 * len(preferences)) as generator:
        ((name, ranker),) = _rankers(run, (config.ranker,), config.ranking, inputs, generator)
        tally = run.tally("reward-check")
        scores = score_pairs(ranker, preferences, tally, tie=config.tie, subset=config.subset)
    if not scores:
        raise DataError(f"{inputs['data']} holds no pair that can be scored: {tally.summary()['dropped'] or 'no rows'}")
    report = reward_report(name, scores, scale=config.scale)
    write_records(run.path / "pairs.parquet", scores, PairScore)
    _write_scores(run, [(s.prompt_id, s.sample, s.value, s.reason) for s in scores])
    write_findings(run, reward_findings(report, tie=config.tie))
    run.note(ranker=name, asked=report.asked, scored=report.scored, ties=report.ties, tie_counts=config.tie)
    run.note(accuracy=_noted(report.accuracy), total=_noted(report.total))


def try_judges(run: Run, config: JudgeTrial, inputs: Inputs, seed: int | None) -> None:
    """Hold a trial of each judge on the same pairs and the same canaries."""
    assert seed is not None
    pairs = _human_pairs(run, config, inputs["data"])
    canaries = make_canaries(pairs, config.canaries, seed) if config.canaries else []
    shown = 2 * (len(pairs) + len(canaries))
    with _opened(run, config, inputs, needed=bool(config.judges), total=shown * len(config.judges)) as generator:
        rankers = _rankers(run, config.rankers, config.ranking, inputs, None)
        judges: list[PairJudge] = [
            RankerJudge(name, ranker, RankerSpec.read(text).kind in _POINTWISE)
            for text, (name, ranker) in zip(config.rankers, rankers, strict=True)
        ]
        judges += [_asked(each, generator) for each in config.judges if generator]
        trials = [hold_trial(judge, pairs, canaries) for judge in judges]
    figures = [judge_figures(trial, pairs, canaries) for trial in trials]
    outputs = [found for number in range(len(config.outputs)) for found in _distinct(Path(inputs[f"outputs.{number}"]))]
    rulings = [tried for trial in trials for tried in (*trial.pairs, *trial.canaries)]
    write_records(run.path / "rulings.parquet", rulings, Tried)
    if len(trials) == 1:
        _write_scores(run, _agreements(trials[0], pairs))
    write_findings(run, judge_findings(people_figures(pairs), figures, _compared(trials, pairs), outputs))
    run.note(pairs=len(pairs), annotators=len(pairs[0].votes), canaries=len(canaries), judges=_summary(figures))
    run.note(few_distinct=[found.name for found in outputs if found.flagged])


@contextmanager
def _opened(run: Run, config: Any, inputs: Inputs, *, needed: bool, total: int) -> Iterator[Generator | None]:
    """Who can be asked, where somebody is to be, and about how often."""
    if not needed:
        yield None
        return
    with opened(run, config, inputs) as asked:
        asked.progress.total = total
        yield asked.judge


def _rankers(
    run: Run, texts: Sequence[str], ranking: Ranking, inputs: Inputs, generator: Generator | None
) -> list[tuple[str, Ranker]]:
    """The rankers, of the models that the inputs name, each with what it is called here."""
    made: list[tuple[str, Ranker]] = []
    given = iter([inputs[name] for name in sorted(inputs, key=_number) if name.startswith("models.")])
    for text in texts:
        places = [next(given) for _ in models_of(text)]
        spec = with_models(text, [find_model(place) for place in places])
        counted = bool(places) or spec.kind == "judge"  # the others cut nothing and ask nobody
        ranker = make_ranker(spec, ranking, generator=generator, tally=run.tally("rank") if counted else None)
        # A ranker calls itself by its folder, which in a run directory is "model" and tells nothing.
        inside = bool(places) and find_model(places[0]) != places[0]
        made.append((f"{spec.kind}:{Path(places[0]).name}" if inside else ranker.name, ranker))
    names = [name for name, _ in made]
    return [
        (name if names.count(name) == 1 else f"{name} ({number})", ranker)
        for number, (name, ranker) in enumerate(made, start=1)
    ]


def _number(name: str) -> int:
    """Of a reference that is one of several."""
    number = name.rpartition(".")[2]
    return int(number) if number.isdigit() else -1


def _asked(settings: AskedSettings, generator: Generator) -> AskedJudge:
    decoding = settings.sampling.decoding()
    return AskedJudge(settings.endpoint, generator, settings.judges(), decoding, settings.tries, settings.form)


def _pairs(run: Run, config: Reads, given: str) -> list[Preference]:
    """The pairs of a source; of a run directory those held out, where there are some."""
    aside = Path(given) / "held_out.parquet"
    if table_exists(aside) and (held_out := list(read_records(aside, Preference))):
        run.note(read="the held-out pairs")
        return held_out[: config.limit]
    source = open_given(config, given)
    if source.record is not Preference:
        raise DataError(f"{source.name} holds {HELD[source.record]} (layout {source.layout}); this needs pairs")
    run.note(layout=source.layout)
    return [record for records in sharded(run, source, _listed, 1) for record in records]


def _human_pairs(run: Run, config: Reads, given: str) -> list[HumanPair]:
    """The pairs with the votes of people, or preference pairs with the chosen answer for a vote."""
    path = Path(given)
    layout = human_layout(path) if path.is_file() else None
    tally = run.tally("votes")
    if layout is None:
        pairs = list(from_preferences(_pairs(run, config, given), tally))
    else:
        with Quarantine(run.path / "quarantine.jsonl") as quarantine:
            found = read_human_pairs(path, layout, tally, quarantine, strict=config.strict, limit=config.limit)
            pairs = list(found)
        run.note(layout=layout)
        if quarantine.total:
            run.note(quarantined=quarantine.total, quarantine=quarantine.summary())
    if not pairs:
        raise DataError(f"{given} holds no pair that can be judged: {tally.summary()['dropped'] or 'no rows'}")
    return pairs


def _listed(records: Iterator[Preference], shard: Shard) -> list[Preference]:
    del shard
    return list(records)


def _distinct(path: Path) -> Iterator[Distinct]:
    for name, answers in read_answers(path).items():
        if found := few_distinct(answers, name):
            yield found


def _agreements(trial: Trial, pairs: Sequence[HumanPair]) -> list[tuple[str, int, float | None, str]]:
    """For each pair with a majority: 1 where the judge gives its label, else 0."""
    rows: list[tuple[str, int, float | None, str]] = []
    for tried, pair in zip(trial.pairs, pairs, strict=True):
        if pair.majority is not None:
            value = None if tried.score is None else float(label_of(tried.score) == pair.majority)
            reason = tried.reason if value is None else "agrees" if value else "differs"
            rows.append((tried.prompt_id, tried.pair, value, reason))
    return rows


def _compared(trials: Sequence[Trial], pairs: Sequence[HumanPair]) -> Comparison | None:
    """The judges side by side, by their agreement with the majority."""
    if len(trials) < 2:
        return None
    rows = [(trial.judge, row) for trial in trials for row in _agreements(trial, pairs)]
    return compare(Score(judge, 0, prompt, number, value) for judge, (prompt, number, value, _) in rows)


def _write_scores(run: Run, rows: Sequence[tuple[str, int, float | None, str]]) -> None:
    names = ("prompt_id", "sample", "value", "reason")
    write_table(run.path / "scores.parquet", [dict(zip(names, row, strict=True)) for row in rows])


def _summary(figures: Sequence[JudgeFigures]) -> dict[str, Any]:
    return {
        judge.name: {
            "asked": judge.asked,
            "scored": judge.scored,
            "majority": _noted(judge.majority.raw),
            "falls_for": [fall.kind for fall in judge.falls if fall.flagged],
        }
        for judge in figures
    }


def _noted(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
