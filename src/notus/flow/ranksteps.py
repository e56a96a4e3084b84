"""The step that ranks: answers in, answers with a ranker's scores out.

Leaves ``feedback.parquet``, each answer with its score where ``binarize --strategy ranker`` looks for it, and
``ranks.parquet`` with one row for each answer. A ranker's scores compare answers to one prompt only, so there is no
``scores.parquet``, which would be averaged over prompts. What was ranked is kept shard by shard in ``.ranked``, and a
run that was stopped goes on behind it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgspec

from notus.app.ranking import Ranked, ranking_findings
from notus.core.errors import DataError
from notus.core.records import Completion, Feedback, Output
from notus.core.run import Run, atomic
from notus.core.stage import Tally
from notus.core.tables import read_records, record_kind, table_exists, write_records
from notus.data.layouts_feedback import RANKER_SCORE
from notus.data.sharded import Shard, sharded
from notus.flow.collectsteps import opened
from notus.flow.datasteps import open_given, require_feedback, write_findings
from notus.flow.rankkinds import Rank
from notus.models.protocols import Generator, Ranker
from notus.models.ranker import best_of, make_ranker
from notus.models.ranker_safety import looks_safety_relevant

__all__ = ["answers_of", "forget", "rank", "scores_of"]

Inputs = Mapping[str, str]
_KEPT = ".ranked"
"""Folder of what is kept of a run that is stopped."""
_EVERY_S = 2.0
"""Seconds between two lines of progress."""


class _Shard(msgspec.Struct, frozen=True):
    """What is kept of a shard that was ranked."""

    scores: list[list[float | None]]
    counts: dict[str, int]


def rank(run: Run, config: Rank, inputs: Inputs, seed: int | None) -> None:
    """Rank the answers to each prompt of a source."""
    del seed
    feedback = list(answers_of(run, config, inputs["outputs"]))
    if not any(item.completions for item in feedback):
        raise DataError(f"{inputs['outputs']} holds no answer to rank")
    tally = run.tally("rank")
    name, scores = scores_of(run, config, inputs, feedback, tally)
    found = [_scored(item, own) for item, own in zip(feedback, scores, strict=True)]
    write_records(run.path / "feedback.parquet", found, Feedback)
    rows = [row for item, own in zip(feedback, scores, strict=True) for row in _rows(item, own)]
    write_records(run.path / "ranks.parquet", rows, Ranked)
    write_findings(run, ranking_findings(rows, name, config.ranking.selection if config.ranker == "pairrm" else ""))
    flagged = len({row.prompt_id for row in rows if row.safety})
    run.note(ranker=name, prompts=len(feedback), answers=tally.taken, scored=tally.given, safety_prompts=flagged)
    forget(run)


def scores_of(
    run: Run, config: Rank, inputs: Inputs, feedback: list[Feedback], tally: Tally, kept: str = _KEPT
) -> tuple[str, list[list[float | None]]]:
    """The ranker's name, and the scores of all answers; what is ranked is kept until ``forget`` is called.

    Args:
        kept: folder of what is kept; a step that asks two rankers needs two.
    """
    with ExitStack() as stack:
        asked = config.ranker.startswith("judge")
        generator = stack.enter_context(opened(run, config, inputs)).judge if asked else None
        name, scores = _ranked(run, config, inputs, feedback, generator, tally, kept)
    tally.taken = sum(len(item.completions) for item in feedback)
    tally.given = sum(score is not None for own in scores for score in own)
    return name, scores


def forget(run: Run, kept: str = _KEPT) -> None:
    """Remove what was kept of a ranking, once its result is written."""
    for path in sorted((run.path / kept).iterdir()):
        path.unlink()
    (run.path / kept).rmdir()


def answers_of(run: Run, config: Rank, given: str) -> Iterator[Feedback]:
    """The prompts with their answers, as feedback: of a run that has drawn answers, or of a source of feedback."""
    place = _outputs_in(Path(given))
    if place is None:
        source = open_given(config, given)
        require_feedback(source)
        for records in sharded(run, source, _listed, 1):
            yield from records
        return
    tally = run.tally("read")
    together: dict[str, list[Output]] = {}
    for output in islice(read_records(place, Output), config.limit):
        tally.taken += 1
        if output.truncated and config.drop_truncated:
            tally.drop(output.prompt_id, "truncated", f"sample {output.sample} of {output.model} was cut")
            continue
        tally.given += 1
        together.setdefault(output.prompt_id, []).append(output)
    for outputs in together.values():
        yield Feedback(prompt=outputs[0].prompt, completions=tuple(map(_completion, outputs)))


def _listed(records: Iterator[Feedback], shard: Shard) -> list[Feedback]:
    del shard
    return list(records)


def _outputs_in(given: Path) -> Path | None:
    """The table of answers that a run has drawn, or that is named itself."""
    inside = given / "outputs.parquet"
    if given.is_dir() and table_exists(inside):
        return inside
    named = given.suffix == ".parquet" and table_exists(given) and record_kind(given) == Output.__name__
    return given if named else None


def _completion(output: Output) -> Completion:
    extra = {"sample": output.sample} | ({"truncated": True} if output.truncated else {})
    return Completion(text=output.text, model=output.model, extra=extra)


def _ranked(
    run: Run,
    config: Rank,
    inputs: Inputs,
    feedback: list[Feedback],
    generator: Generator | None,
    tally: Tally,
    kept_in: str,
) -> tuple[str, list[list[float | None]]]:
    """The ranker's name and the scores of all answers, shard by shard; what a stopped run has left is taken."""
    folder = run.path / kept_in
    folder.mkdir(exist_ok=True)
    progress = _Telling(run, len(feedback))
    own = Tally("shard")
    ranker: Ranker = make_ranker(
        config.spec(_model(inputs, "model"), _model(inputs, "reference")),
        config.ranking,
        generator=generator,
        progress=progress.within,
        tally=own,
    )
    scores: list[list[float | None]] = []
    for number, start in enumerate(range(0, len(feedback), config.shard)):
        # By what it was made with: a directory in which nothing is finished may be taken over by another ranker.
        path, part = folder / f"{run.digest}-{number:06d}.json", feedback[start : start + config.shard]
        progress.begin(start, len(part))
        if not path.is_file():
            own.counts.clear()
            texts = [[item.text for item in record.completions] for record in part]
            kept = _Shard(ranker.rank([record.prompt for record in part], texts), dict(own.counts))
            with atomic(path, "wb") as file:
                file.write(msgspec.json.encode(kept))
        shard = msgspec.json.decode(path.read_bytes(), type=_Shard)
        scores += shard.scores
        tally.counts.update(shard.counts)
        progress.ended()
    return _told(ranker.name, config, inputs), scores


def _told(name: str, config: Rank, inputs: Inputs) -> str:
    """What a ranker is called. One in a run directory calls itself by the folder ``model``, which tells nothing."""
    inside = "model" in inputs and _model(inputs, "model") != inputs["model"]
    return f"{config.ranker}:{Path(inputs['model']).name}" if inside else name


class _Telling:
    """Writes down how the ranking goes on: prompts done, of how many."""

    def __init__(self, run: Run, prompts: int) -> None:
        self._run, self._prompts = run, prompts
        self._start = self._size = self._told = 0
        self._last = time.monotonic()

    def begin(self, start: int, size: int) -> None:
        """A shard begins."""
        self._start, self._size = start, size

    def within(self, done: int, of: int) -> None:
        """So much of the shard's computing is done. Selection counts each of its steps anew: it never goes back."""
        step = self._start + self._size * done // max(1, of)
        if time.monotonic() - self._last >= _EVERY_S and self._told < step:
            self._tell(step)

    def ended(self) -> None:
        """The shard is done."""
        self._tell(self._start + self._size)

    def _tell(self, step: int) -> None:
        self._told, self._last = step, time.monotonic()
        self._run.metric(step=step, steps=self._prompts)


def _model(inputs: Inputs, name: str) -> str | None:
    """What a setting means: the model of a run directory, or the path or hub id as it is."""
    if name not in inputs:
        return None
    inside = Path(inputs[name]) / "model"
    return str(inside) if inside.is_dir() else inputs[name]


def _scored(item: Feedback, scores: list[float | None]) -> Feedback:
    completions = [
        msgspec.structs.replace(
            answer,
            extra={key: value for key, value in answer.extra.items() if key != RANKER_SCORE}
            | ({} if score is None else {RANKER_SCORE: score}),
        )
        for answer, score in zip(item.completions, scores, strict=True)
    ]
    return msgspec.structs.replace(item, completions=tuple(completions))


def _rows(item: Feedback, scores: list[float | None]) -> Iterator[Ranked]:
    known = [score for score in scores if score is not None]
    safety, best = looks_safety_relevant(item.prompt), best_of(scores)
    for place, (answer, score) in enumerate(zip(item.completions, scores, strict=True)):
        yield Ranked(
            prompt_id=item.prompt_id,
            sample=place,
            model=answer.model,
            score=score,
            rank=None if score is None else 1 + sum(other > score for other in known),
            best=place == best,
            characters=len(answer.text),
            safety=safety,
        )
