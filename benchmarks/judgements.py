"""How well the audit finds mistakes that nobody planted: scores that a second judge would not give.

    python -m benchmarks.judgements two_judges.jsonl.gz [--part building] [--twice 500] [--siblings 4]

The file has tasks with the answers of several models, each scored by one or both of two judges. An answer is wrong
where the two are three points and more apart. Each judge in turn is the first, whose scores are audited; the other is
used for the truth, and for second scores. Tasks whose id has an even first byte (SHA-256) are ``building``, on which
everything was chosen; the others are ``held-out``. What is learned from second scores is learned on building tasks, on
as many as give so many answers scored twice, and is tried on the part that is asked for, without them.

Prints for each judge the area under the ROC curve, with tasks as clusters, and how many of the first 50 are wrong,
beside what chance gives. The known offset of the judges is that of the building tasks. Then what becomes of planted
faults: scores of at most 2 that are recorded as 10.
"""

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from notus.audit.context.answers import SecondScores
from notus.audit.context.expected import FAR, OWN, chance_far
from notus.audit.feedback import Accumulator, Placement
from notus.audit.wording import learn_models
from notus.core.records import Completion, Critique, Feedback, Message, Scale
from notus.stats.detection import auroc
from notus.stats.intervals import Estimate, clustered_mean, proportion

_APART, _FIRST, _PLANTED = 3.0, 50, 2.0
_SCALE = Scale(low=1, high=10)


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """All tasks, in the order of the file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def is_for_building(task: str) -> bool:
    """Whether a task is for building, and not held out."""
    return hashlib.sha256(task.encode()).digest()[0] % 2 == 0


def judged_by(tasks: Sequence[dict[str, Any]], judge: str, most: int | None = None) -> list[Feedback]:
    """The answers that a judge scored, as feedback; the task's id stands for its prompt, which is not there.

    Args:
        tasks: as they are read.
        judge: its name.
        most: answers of a task; those that both judges scored come first, and then in the order of the file.
    """
    found = []
    for task in tasks:
        items = [item for item in task["completions"] if judge in item["judges"]]
        items = sorted(items, key=lambda item: -len(item["judges"]))[:most]
        if items:
            prompt = (Message(role="user", content=task["task"]),)
            found.append(Feedback(prompt=prompt, completions=tuple(_completion(item, judge) for item in items)))
    return found


def _completion(item: dict[str, Any], judge: str) -> Completion:
    said = item["judges"][judge]
    critique = Critique(text=said["text"], score=said["score"], scale=_SCALE)
    return Completion(text=item["response"], model=item["model"], critique=critique)


def natural(tasks: Sequence[dict[str, Any]], part: str, judge: str, other: str, twice: int, most: int | None) -> Any:
    """The figures for one judge as the first."""
    building = [task for task in tasks if is_for_building(task["task"])]
    audited = building if part == "building" else [task for task in tasks if not is_for_building(task["task"])]
    scores = {
        (task["task"], item["model"]): item["judges"][other]["score"]
        for task in audited
        for item in task["completions"]
        if other in item["judges"]
    }
    sample = _sample(building, judge, other, twice) if twice else []
    left_out = {row.prompt[0].content for row in sample}
    # Building tasks stand in the set beside the held-out ones, as their first scores would for a user.
    rows = judged_by(building if part == "building" else tasks, judge, most)
    plain, learned = _audited(rows, None), _audited(rows, SecondScores(sample)) if sample else None
    keys = [(row.prompt[0].content, item.model) for row in rows for item in row.completions]
    truth = np.array([scores.get(key, np.nan) if key[0] not in left_out else np.nan for key in keys])
    context = plain.by_context.context
    own = np.array([item.overall_score for row in rows for item in row.completions], dtype=float)
    known = np.flatnonzero(~np.isnan(truth) & ~np.isnan(context.far))
    bad = np.abs(truth - own)[known] >= _APART
    prompts = [keys[index][0] for index in known]
    offset = _offset(building, judge, other)
    gap = context.expected - own + OWN * (own - context.expected)
    rankings = {
        "combined, as before": np.nan_to_num(plain.reasons.combined.minus_log_p),
        "context alone": context.far,
        "context and the known offset": chance_far(gap + offset, context.spread * np.sqrt(1 - OWN**2), FAR),
    }
    if learned is not None:
        rankings[f"learned from {sum(len(row.completions) for row in sample)} scored twice"] = (
            learned.by_context.context.far
        )
    found = {name: _figures(values[known], bad, prompts) for name, values in rankings.items()}
    return {
        "answers": len(known),
        "tasks": len(set(prompts)),
        "wrong": int(bad.sum()),
        "offset": round(offset, 3),
    } | found


def _offset(tasks: Sequence[dict[str, Any]], judge: str, other: str) -> float:
    """How much higher the other judge scores, on the mean of the answers that both scored."""
    both = [item["judges"] for task in tasks for item in task["completions"] if {judge, other} <= set(item["judges"])]
    return float(np.mean([of[other]["score"] - of[judge]["score"] for of in both]))


def planted(feedback: Sequence[Feedback]) -> dict[str, Any]:
    """Low scores recorded as 10: the cut at even odds, from wording, with the context beside it."""
    rows = [
        msgspec.structs.replace(row, completions=tuple(_plant(item) for item in row.completions)) for row in feedback
    ]
    bad = np.array([(item.overall_score or 0) <= _PLANTED for row in feedback for item in row.completions])
    prompts = np.array([row.prompt_id for row in rows for _ in row.completions])
    placed = _audited(rows, None)
    hit = np.nan_to_num(placed.reasons.false_ten) > 0.5
    order = np.argsort(placed.suspicion + (placed.suspicion == 0) * len(bad), kind="stable")[: int(bad.sum())]
    return {
        "completions": len(bad),
        "planted": int(bad.sum()),
        "found": int(hit.sum()),
        "precision": _share(bad[hit], prompts[hit]),
        "recall": _share(hit[bad], prompts[bad]),
        "planted among as many of the most suspicious": round(float(bad[order].mean()), 4),
        "by context: planted among as many": round(
            float(
                bad[np.argsort(-np.nan_to_num(placed.by_context.context.far), kind="stable")[: int(bad.sum())]].mean()
            ),
            4,
        ),
    }


def _plant(item: Completion) -> Completion:
    assert item.critique is not None
    if (item.critique.score or 0) > _PLANTED:
        return item
    return msgspec.structs.replace(item, critique=msgspec.structs.replace(item.critique, score=10.0))


def _sample(tasks: Sequence[dict[str, Any]], judge: str, other: str, twice: int) -> list[Feedback]:
    """Whole tasks, in the order of their hashes, until so many answers have both scores; the second judge's."""
    found: list[Feedback] = []
    for task in sorted(tasks, key=lambda task: hashlib.sha256(b"sample" + task["task"].encode()).digest()):
        both = [item for item in task["completions"] if {judge, other} <= set(item["judges"])]
        if sum(len(row.completions) for row in found) >= twice:
            break
        found += judged_by([task | {"completions": both}], other)
    return found


def _audited(rows: Sequence[Feedback], second: SecondScores | None) -> Placement:
    accumulator = Accumulator(learn_models(rows), second)
    for row in rows:
        accumulator.add(row)
    return accumulator.place()


def _figures(ranking: Any, bad: Any, prompts: list[str]) -> dict[str, Any]:
    first = np.argsort(-ranking, kind="stable")[:_FIRST]
    area = auroc(ranking.tolist(), bad.tolist(), prompts)
    assert area is not None
    return {
        "AUROC": [round(value, 3) for value in (area.mean, area.low, area.high)],
        f"wrong among the first {_FIRST}": int(bad[first].sum()),
        "by chance": round(float(bad.mean()) * len(first), 1),
    }


def _share(hits: Any, prompts: Any) -> list[float]:
    """With prompts as clusters; where all hit, by Wilson over the prompts."""
    count = len(set(prompts.tolist()))
    alike = hits.all() or not hits.any()
    estimate: Estimate | None = (
        proportion(round(float(hits[0]) * count), count) if alike else clustered_mean(hits, prompts)
    )
    assert estimate is not None
    return [round(value, 4) for value in (estimate.mean, estimate.low, estimate.high)]


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judgements")
    parser.add_argument("path", type=Path)
    parser.add_argument("--part", choices=("building", "held-out"), default="building")
    parser.add_argument("--twice", type=int, default=500)
    parser.add_argument("--siblings", type=int, help="answers of a task at most")
    given = parser.parse_args(arguments)
    tasks = read_tasks(given.path)
    judges = sorted({name for task in tasks for item in task["completions"] for name in item["judges"]})
    part = [task for task in tasks if is_for_building(task["task"]) == (given.part == "building")]
    found = {
        judge: {
            "natural": natural(tasks, given.part, judge, other, given.twice, given.siblings),
            "planted": planted(judged_by(part, judge)),
        }
        for judge, other in zip(judges, reversed(judges), strict=True)
    }
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
