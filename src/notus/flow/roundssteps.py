"""The steps that measure: a round beside the start, and best of n.

Owns how answers come from run directories to the measures, the ranking of several models' answers together, and the
divergence from the start. The figures are owned by ``evaluate.roundmeasures`` and ``evaluate.bestof``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import msgspec

from notus.app.rounds import best_of_findings, round_findings
from notus.core.errors import DataError
from notus.core.records import Completion, Feedback, Message, Output
from notus.core.run import Run, atomic
from notus.core.tables import read_records, table_exists, write_records
from notus.evaluate.bestof import Scored, curve
from notus.evaluate.compare import spoken
from notus.evaluate.overoptimised import warnings
from notus.evaluate.roundmeasures import Answers, Measures, measure
from notus.evaluate.shares import certain
from notus.flow.datasteps import write_findings
from notus.flow.given import find_model
from notus.flow.ranksteps import answers_of, forget, scores_of
from notus.flow.roundskinds import BestOfN, Round
from notus.flow.roundsreport import ROUNDS_FILE
from notus.models.ranker import best_of

__all__ = ["best_of_n", "measure_round"]

Inputs = Mapping[str, str]
Drawn = dict[tuple[Message, ...], list[Output]]
Scores = list[list[float | None]]
_CHECKED = ".checked"
"""Folder of what is kept of the check when a run is stopped."""


@dataclass(frozen=True)
class _Judged:
    """Scores by prompt and answer, with the names of who gave them."""

    ranker: str
    ranked: Scores
    check: str | None = None
    checked: Scores | None = None


def measure_round(run: Run, config: Round, inputs: Inputs, seed: int | None) -> None:
    """Measure a round: ``rounds.json`` holds it and those before, with findings and pictures."""
    del seed
    names = [name for name in ("outputs", "start_outputs", "before_outputs") if name in inputs]
    drawn = [_outputs(inputs[name]) for name in names]
    # Where cut answers were dropped, a prompt may have lost all of one model's: it cannot be compared.
    prompts = [prompt for prompt in drawn[0] if all(prompt in of for of in drawn)]
    if not prompts:
        raise DataError(f"{inputs['outputs']} and {inputs['start_outputs']} answer no prompt in common")
    # Ranked as one list for each prompt: only then can the scores of several models be compared.
    joined = [_feedback(prompt, [output for of in drawn for output in of[prompt]]) for prompt in prompts]
    ends = [list(accumulate((len(of[prompt]) for of in drawn), initial=0)) for prompt in prompts]
    judged = _judged(run, config, inputs, joined)
    kl = _divergence(run, config, inputs, prompts, drawn[0]) if config.policy and config.start else None
    models = []
    for model, of in enumerate(drawn):
        parts = [slice(*at[model : model + 2]) for at in ends]
        models.append(
            [
                Answers(
                    prompt_id=item.prompt_id,
                    texts=tuple(output.text for output in of[prompt]),
                    ranked=tuple(judged.ranked[place][part]),
                    checked=None if judged.checked is None else tuple(judged.checked[place][part]),
                    truncated=sum(output.truncated for output in of[prompt]),
                    kl=tuple(kl[place]) if kl is not None and model == 0 else None,
                )
                for place, (prompt, item, part) in enumerate(zip(prompts, joined, parts, strict=True))
            ]
        )
    before = models[2] if len(models) > 2 else None
    found = measure(config.number, models[0], models[1], before, ranker=judged.ranker, check=judged.check)
    _leave(run, inputs, msgspec.structs.replace(found, warnings=warnings(found)))
    _forget(run, config)


def best_of_n(run: Run, config: BestOfN, inputs: Inputs, seed: int | None) -> None:
    """Best of k for all k: ``best-of-n.json``, ``outputs.parquet`` with the ranker's pick for each prompt, pictures."""
    del seed
    feedback = list(answers_of(run, config, inputs["outputs"]))
    if not feedback:
        raise DataError(f"{inputs['outputs']} holds no answer to rank")
    judged = _judged(run, config, inputs, feedback)
    scored, picks = [], []
    for place, item in enumerate(feedback):
        kept = [(index, score) for index, score in enumerate(judged.ranked[place]) if score is not None]
        if kept:
            checks = None if judged.checked is None else tuple(judged.checked[place][index] for index, _ in kept)
            scored.append(Scored(item.prompt_id, tuple(score for _, score in kept), checks))
        best = best_of(judged.ranked[place])
        if best is not None:
            picks.append(_pick(item, best))
    found = curve(scored, config.n)
    with atomic(run.path / "best-of-n.json", "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(found)))
    write_records(run.path / "outputs.parquet", picks, Output)
    write_findings(run, best_of_findings(found, judged.ranker, judged.check))
    run.note(prompts=found.prompts, left_out=found.fewer, checked=found.checked, n=len(found.points))
    _forget(run, config)


def _judged(run: Run, config: Round | BestOfN, inputs: Inputs, feedback: list[Feedback]) -> _Judged:
    """The scores of the ranker, and those of the check."""
    ranker, ranked = scores_of(run, config, inputs, feedback, run.tally("rank"))
    checking = config.checking()
    if checking is None:
        return _Judged(ranker, ranked)
    places = {key: inputs[f"check_{key}"] for key in ("model", "reference") if f"check_{key}" in inputs}
    own = {key: value for key, value in inputs.items() if key not in ("model", "reference")} | places
    return _Judged(ranker, ranked, *scores_of(run, checking, own, feedback, run.tally("check"), _CHECKED))


def _forget(run: Run, config: Round | BestOfN) -> None:
    forget(run)
    if config.check is not None:
        forget(run, _CHECKED)


def _feedback(prompt: tuple[Message, ...], outputs: Sequence[Output]) -> Feedback:
    return Feedback(prompt=prompt, completions=tuple(Completion(text=item.text, model=item.model) for item in outputs))


def _pick(item: Feedback, place: int) -> Output:
    answer = item.completions[place]
    return Output(
        prompt=item.prompt,
        text=answer.text,
        model=answer.model,
        sample=answer.extra.get("sample", place),
        truncated=bool(answer.extra.get("truncated")),
    )


def _outputs(given: str) -> Drawn:
    """Prompt → its answers, of a run directory or a file."""
    table = Path(given) / "outputs.parquet" if Path(given).is_dir() else Path(given)
    if not table_exists(table):
        raise DataError(f"{given} holds no outputs.parquet; name a run of 'sample' (notus generate), or its file")
    found: Drawn = {}
    for output in read_records(table, Output):
        found.setdefault(output.prompt, []).append(output)
    return found


def _divergence(
    run: Run, config: Round, inputs: Inputs, prompts: Sequence[tuple[Message, ...]], drawn: Drawn
) -> list[list[float]]:
    """log π(y|x) − log π_start(y|x) of each answer y that π drew: their mean estimates KL(π ‖ π_start).

    An answer that was cut has no end-of-sequence token, and none is put behind it.
    """
    from notus.models.local import load_model, load_tokenizer
    from notus.models.logps import all_branch_logps
    from notus.models.pack import Group
    from notus.models.tokens import Encoder

    encoder = Encoder(load_tokenizer(find_model(inputs["policy"])), config.limits, run.tally("encode"))
    groups = []
    for prompt, ids in zip(prompts, encoder.prompts(prompts), strict=True):
        answers = encoder.answers([output.text for output in drawn[prompt]])
        ended = [of[:-1] if output.truncated else of for of, output in zip(answers, drawn[prompt], strict=True)]
        groups.append(Group(ids, tuple(encoder.fit(ids, of) for of in ended)))
    sums = []
    for name in ("policy", "start"):
        model = load_model(find_model(inputs[name]))
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        sums.append(all_branch_logps(plain, groups, config.max_tokens))
    return [[a - b for a, b in zip(ours, starts, strict=True)] for ours, starts in zip(*sums, strict=True)]


def _leave(run: Run, inputs: Inputs, found: Measures) -> None:
    rounds = [*_before(inputs), found]
    with atomic(run.path / ROUNDS_FILE, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(rounds)))
    write_findings(run, round_findings(rounds))
    for warning in found.warnings:
        run.log(f"warning: {warning}")
    won = found.deciding.win_rate
    run.note(round=found.round, prompts=found.prompts, answers=found.answers, judged_by=found.check or found.ranker)
    run.note(win_rate=None if won is None else spoken(certain(won)), warnings=list(found.warnings))


def _before(inputs: Inputs) -> list[Measures]:
    if "before" not in inputs:
        return []
    return msgspec.json.decode((Path(inputs["before"]) / ROUNDS_FILE).read_bytes(), type=list[Measures])
