"""WildBench v2's stored judgements: scores of single answers (WB-Score) and verdicts on two (WB-Reward), rescored.

    score     session_id, model_test, model_output, parsed_result{strengths, weaknesses, score}, score: 1 to 10
    pairwise  session_id, model_A, model_B, winner, extent 0|1|2, model_outputs{…}, parsed_result{choice "A++"}

**WB-Score**: a score s counts (s − 5)·2, so that 5 is 0. Of each task category the mean over its tasks, and of the
categories the mean by their weights (``WEIGHTS``); a task belongs to the categories of its primary and its secondary
tags, to each once. Answers that are empty, or cut by the judge's prompt, take no part in the categories, as published;
the plain mean is over all. The board shows ten times these numbers.

**WB-Reward**: a clear win counts 1, a slight one ½, a tie 0, losses the same below 0, over all judged tasks; those with
an empty or a cut answer count 0 there, and take no part in the categories. With a length margin K, a slight win by an
answer that is more than K characters longer than the other is a tie.

Sources: Lin et al. 2024, https://arxiv.org/abs/2406.04770, and https://github.com/allenai/WildBench
(``leaderboard/data_dir/_create_tables.py``, ``src/openai_batch_eval/batch_results_format.py``). Tags are those of
https://huggingface.co/datasets/allenai/WildBench, ``primary_tag`` and ``secondary_tags``. Intervals are over sessions.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from notus.core.errors import ConfigError, DataError
from notus.core.records import Record
from notus.evaluate.score_files.files import files_of, read_each
from notus.formats.fields import read_as, read_score, required
from notus.formats.quarantine import RowError, RowReader
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, clustered_mean

__all__ = [
    "CATEGORIES",
    "WEIGHTS",
    "CategoryScore",
    "Judged",
    "WildScore",
    "read_judgements",
    "read_tasks",
    "reward_of",
    "wildbench_scores",
]

Row = dict[str, Any]
Kind = Literal["score", "pairwise"]
CATEGORIES = {
    "Information seeking": "Information/Advice seeking",
    "Advice seeking": "Information/Advice seeking",
    "Creative Writing": "Creative Tasks",
    "Editing": "Creative Tasks",
    "Brainstorming": "Creative Tasks",
    "Role playing": "Creative Tasks",
    "Others": "Creative Tasks",
    "Coding & Debugging": "Coding & Debugging",
    "Reasoning": "Planning & Reasoning",
    "Planning": "Planning & Reasoning",
    "Math": "Math & Data Analysis",
    "Data Analysis": "Math & Data Analysis",
}
"""Tag of a task → its category."""
WEIGHTS = {
    "Creative Tasks": 0.5,
    "Planning & Reasoning": 1.25,
    "Math & Data Analysis": 1.0,
    "Information/Advice seeking": 0.75,
    "Coding & Debugging": 1.25,
}
"""Weight of each category in the published mean."""
_CUT = "... (truncated)"
_EMPTY = "[This model response is empty.]"
_LOW, _HIGH = 1, 10
_EXTENTS = {"A=B": ("tie", 0), "A+": ("A", 1), "A++": ("A", 2), "B+": ("B", 1), "B++": ("B", 2)}


class Judged(Record, frozen=True):
    """One judgement of a model's answer to one task."""

    kind: str
    task: str
    """The ``session_id``."""
    model: str
    value: float
    """A score from 1 to 10; of a verdict 1, ½, 0, −½ or −1 for the model."""
    reference: str = ""
    """Of a verdict on two: the other model."""
    whole: bool = True
    """Whether the answer, or both, are neither empty nor cut."""
    length: int = 0
    """Characters of the answer."""
    longer_by: int = 0
    """Of a verdict: characters of the model's answer less those of the other."""
    judge: str = ""
    tags: tuple[str, ...] = ()
    """Where the row has them itself."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class CategoryScore:
    """The mean of one category, as (s − 5)·2 or as a reward."""

    name: str
    tasks: int
    weight: float
    mean: Estimate | None
    """None with fewer than two tasks."""


@dataclass(frozen=True)
class WildScore:
    """What the judgements of one model say."""

    kind: str
    model: str
    reference: str
    judges: tuple[str, ...]
    judged: int
    apart: int
    """Judgements of an empty or a cut answer, which take no part in the categories."""
    untagged: int
    """Judgements of tasks without a tag."""
    raw: Estimate | None
    """Of scores: their plain mean, 1 to 10."""
    mean: Estimate | None
    """The plain mean as (s − 5)·2, or the reward over all."""
    weighted: Estimate | None
    """The mean of the categories by their weights; None where one of them has no task, or with very few tasks."""
    categories: tuple[CategoryScore, ...]
    missing: tuple[str, ...]
    """Categories without a task."""
    length: float
    """Mean characters of the model's answers, empty and cut ones left out."""


def read_judgements(
    places: Sequence[Path], reader: RowReader, *, model: str | None = None, length_margin: int = -1
) -> list[Judged]:
    """Read stored judgements out of files, or of folders of such files.

    A later judgement of the same model, judge and task is dropped as ``judged-again``.

    Args:
        places: files or folders.
        reader: counts the rows and puts bad ones aside.
        model: of verdicts on two: the one that is scored. None takes the one that is in all rows of a file where the
            other is too, by the name of the file.
        length_margin: of verdicts on two, K; below 0 there is none.

    Raises:
        DataError: if one cannot be read.
        ConfigError: if scores and verdicts are among them, or it is not known which of two models is scored.
    """
    found: list[Judged] = []
    for path in files_of(places):
        named = model or _model_of(path)
        for line, judged in read_each(path, reader, partial(_judged, named=named, margin=length_margin)):
            found.append(structs.replace(judged, file=path.name, line=line))
    if len({each.kind for each in found}) > 1:
        raise ConfigError("scores of single answers and verdicts on two are among the files; score one kind at a time")
    seen: set[tuple[str, ...]] = set()
    kept = []
    for each in found:
        key = (each.model, each.reference, each.judge, each.task)
        if key in seen:
            reader.tally.given -= 1
            reader.tally.drop("", "judged-again", f"{each.model} on {each.task}", at=each)
            continue
        seen.add(key)
        kept.append(each)
    return kept


def read_tasks(place: Path, reader: RowReader) -> dict[str, tuple[str, ...]]:
    """Read the tags of tasks: ``session_id`` or ``id`` → categories. An unknown tag is a bad row.

    Raises:
        DataError: if the file cannot be read, or holds no task.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in files_of([place]):
        for _, (task, categories) in read_each(path, reader, _task):
            found[task] = categories
    if not found:
        raise DataError(f"{place} holds no task; a row needs id, primary_tag and secondary_tags")
    return found


def wildbench_scores(
    judgements: Sequence[Judged], tasks: Mapping[str, tuple[str, ...]] | None = None
) -> list[WildScore]:
    """The scores of all models, the best first.

    Args:
        judgements: stored ones, of one kind.
        tasks: categories of tasks; those that a row has itself count where a task is not among them.
    """
    of: dict[tuple[str, str], list[Judged]] = {}
    for each in judgements:
        of.setdefault((each.model, each.reference), []).append(each)
    found = [_score(own, tasks or {}) for own in of.values()]

    def rank(score: WildScore) -> tuple[float, str]:
        best = score.weighted or score.mean
        return (-(best.mean if best else 0.0), score.model)

    return sorted(found, key=rank)


def _score(own: Sequence[Judged], tasks: Mapping[str, tuple[str, ...]]) -> WildScore:
    kind = own[0].kind
    names = [each.task for each in own]
    values = [_scaled(each) for each in own]
    inside = [(each, tasks.get(each.task) or _categories(each.tags)) for each in own if each.whole]
    tagged = [(each, categories) for each, categories in inside if categories]
    counts = {name: sum(name in categories for _, categories in tagged) for name in WEIGHTS}
    missing = tuple(name for name, count in counts.items() if not count)
    lengths = [each.length for each in own if each.whole]
    return WildScore(
        kind=kind,
        model=own[0].model,
        reference=own[0].reference,
        judges=tuple(sorted({each.judge for each in own if each.judge})),
        judged=len(own),
        apart=len(own) - len(inside),
        untagged=len(inside) - len(tagged),
        raw=clustered_mean([each.value for each in own], names) if kind == "score" else None,
        mean=clustered_mean(values, names),
        weighted=None if missing else _weighted(tagged, counts),
        categories=tuple(_category(name, tagged) for name in WEIGHTS if name not in missing),
        missing=missing,
        length=sum(lengths) / len(lengths) if lengths else 0.0,
    )


def reward_of(each: Judged) -> float:
    """A score as it is, from 1 to 10; of a verdict the reward, which is 0 where an answer is empty or cut."""
    return each.value if each.kind == "score" or each.whole else 0.0


def _scaled(each: Judged) -> float:
    """(s − 5)·2 of a score; of a verdict the reward."""
    return (each.value - 5) * 2 if each.kind == "score" else reward_of(each)


def _category(name: str, tagged: Sequence[tuple[Judged, tuple[str, ...]]]) -> CategoryScore:
    own = [(_scaled(each), each.task) for each, categories in tagged if name in categories]
    mean = clustered_mean([value for value, _ in own], [task for _, task in own])
    return CategoryScore(name, len(own), WEIGHTS[name], mean)


def _weighted(tagged: Sequence[tuple[Judged, tuple[str, ...]]], counts: Mapping[str, int]) -> Estimate | None:
    """Σ w_c · mean_c / Σ w_c over the categories, with an interval over tasks, each of which may be in several.

    With n_c tasks in category c, G tasks in S categories::

        u_g = Σ_{c of g} w_c / (n_c Σ w) · (value_g − mean_c)        se² = G/(G − S) · Σ_g u_g²

    and the interval ± t(.975, G − S) · se, as for the sections of RewardBench (``evaluate.rewards``).

    Returns:
        None where there are no more tasks than categories.
    """
    whole = sum(WEIGHTS.values())
    sums = dict.fromkeys(WEIGHTS, 0.0)
    for each, categories in tagged:
        for name in categories:
            sums[name] += _scaled(each)
    means = {name: sums[name] / counts[name] for name in WEIGHTS}
    influence: dict[str, float] = defaultdict(float)
    for each, categories in tagged:
        for name in categories:
            influence[each.task] += WEIGHTS[name] / (counts[name] * whole) * (_scaled(each) - means[name])
    free = len(influence) - len(WEIGHTS)
    if free < 1:
        return None
    mean = math.fsum(WEIGHTS[name] * means[name] for name in WEIGHTS) / whole
    error = math.sqrt(len(influence) / free * math.fsum(value**2 for value in influence.values()))
    half = t_quantile(0.975, free) * error
    return Estimate(mean, mean - half, mean + half, len(tagged), len(influence), "clustered t over categories")


def _categories(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(CATEGORIES[tag] for tag in tags))


def _model_of(path: Path) -> str:
    """The model that a file is called after."""
    name = path.name
    for suffix in (".gz", ".zst", ".jsonl", ".json", ".parquet"):
        name = name.removesuffix(suffix)
    return name


def _judged(row: Row, *, named: str, margin: int) -> Judged:
    pairwise = "winner" in row or ("model_A" in row and "model_B" in row)
    return _verdict(row, named, margin) if pairwise else _single(row, named)


def _single(row: Row, named: str) -> Judged:
    parsed = read_as(row.get("parsed_result") or {}, Row, "parsed_result")
    at, given = (
        ("score", row["score"]) if row.get("score") is not None else ("parsed_result.score", parsed.get("score"))
    )
    score = read_score(given, at)
    if score is None:
        raise RowError(at, "missing-field", None, "a judgement needs a score from 1 to 10")
    if not _LOW <= score <= _HIGH:
        raise RowError(at, "out-of-range", score, f"a score lies between {_LOW} and {_HIGH}")
    text = row.get("model_output")
    text = text[0] if isinstance(text, list) and len(text) == 1 else text
    output = read_as("" if text is None else text, str, "model_output")
    return Judged(
        kind="score",
        task=read_as(required(row, "session_id"), str, "session_id"),
        model=read_as(row.get("model_test") or row.get("generator") or named, str, "model_test"),
        value=float(score),
        whole=_is_whole(output),
        length=len(output),
        judge=_judge(row),
        tags=_tags(row),
    )


def _verdict(row: Row, named: str, margin: int) -> Judged:
    first, second = (read_as(required(row, name), str, name) for name in ("model_A", "model_B"))
    parsed = read_as(row.get("parsed_result") or {}, Row, "parsed_result")
    winner, extent = _winner(row, parsed, (first, second))
    short = {name.rpartition("/")[2]: name for name in (first, second)}
    scored = next((name for name in (named, short.get(named)) if name in (first, second)), None)
    if scored is None:
        raise RowError("model_A", "unknown-value", [first, second], f"'{named}' is neither; name the model (--model)")
    other = second if scored == first else first
    outputs = read_as(required(row, "model_outputs"), Row, "model_outputs")
    own, theirs = (read_as(required(outputs, name), str, f"model_outputs.{name}") for name in (scored, other))
    longer = len(own) - len(theirs)
    ahead = 0 if winner == "tie" else 1 if winner == scored else -1
    slight = extent == 1 and margin >= 0 and ahead * longer > margin
    return Judged(
        kind="pairwise",
        task=read_as(required(row, "session_id"), str, "session_id"),
        model=scored,
        reference=other,
        value=0.0 if slight else ahead * extent / 2,
        whole=_is_whole(own) and _is_whole(theirs),
        length=len(own),
        longer_by=longer,
        judge=_judge(row),
        tags=_tags(row),
    )


def _winner(row: Row, parsed: Row, models: tuple[str, str]) -> tuple[str, int]:
    """Who wins, or ``tie``, and how clearly: 1 slightly, 2 clearly."""
    if "winner" in row:
        winner, extent = read_as(row["winner"], str, "winner"), read_as(row.get("extent"), int, "extent")
    else:
        choice = parsed.get("choice")
        if not isinstance(choice, str) or choice not in _EXTENTS:
            raise RowError("parsed_result.choice", "unknown-vote", choice, f"one of {', '.join(_EXTENTS)}")
        side, extent = _EXTENTS[choice]
        winner = {"A": models[0], "B": models[1]}.get(side, side)
    if winner not in (*models, "tie") or extent not in (0, 1, 2) or (winner == "tie") != (extent == 0):
        raise RowError("winner", "unknown-vote", [winner, extent], "a model with extent 1 or 2, or tie with 0")
    return winner, extent


def _is_whole(text: str) -> bool:
    return bool(text) and text != _EMPTY and not text.endswith(_CUT)


def _judge(row: Row) -> str:
    config = row.get("eval_config")
    return str(config.get("gpt") or "") if isinstance(config, dict) else ""


def _tags(row: Row) -> tuple[str, ...]:
    if row.get("primary_tag") is None:
        return ()
    further = read_as(row.get("secondary_tags") or [], list[str], "secondary_tags")
    tags = (read_as(row["primary_tag"], str, "primary_tag"), *further)
    if odd := next((tag for tag in tags if tag not in CATEGORIES), None):
        raise RowError("primary_tag", "unknown-value", odd, f"known: {', '.join(CATEGORIES)}")
    return tags


def _task(row: Row) -> tuple[str, tuple[str, ...]]:
    name = "session_id" if "session_id" in row else "id"
    task = read_as(required(row, name), str, name)
    required(row, "primary_tag")
    return task, _categories(_tags(row))
