"""How well the audit finds faults whose place is known.

    python -m benchmarks.suspicion displaced FEEDBACK.jsonl [--seeds 20]      scores displaced by us, from text alone
    python -m benchmarks.suspicion planted FOLDER … [--picture FILE.svg]      1 → 10 faults of ``make_ultrafeedback``

Owns the two trials and the picture of the second. The finder is ``notus.audit``, the area under the
curve is ``notus.stats.detection``. Prints JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from notus.audit.ratings.tens import false_tens
from notus.audit.wording import PROMPTS, TextScores, learn, learn_models
from notus.core.records import Feedback
from notus.core.splits import fold_of
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.report.curves import Line, lines
from notus.stats.detection import auroc
from notus.stats.intervals import Estimate, clustered_mean, mean_over_seeds, proportion, wider

_SHARE, _FAR = 0.05, 2
_CURVE = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def displaced(path: str, seeds: int) -> dict[str, Any]:
    """Displace 5 % of the scores by two or more points, and rank all by the distance to what their text speaks for."""
    rows = [
        (rating.rationale, rating.value, feedback.prompt_id)
        for feedback in _read(path)
        for item in feedback.completions
        for rating in item.ratings
        if rating.value is not None and rating.rationale
    ]
    texts, prompts = [row[0] for row in rows], [row[2] for row in rows]
    true, folds = np.array([row[1] for row in rows]), [fold_of(prompt) for prompt in prompts]
    values: dict[str, list[float]] = {"text": [], "no text": []}
    areas: dict[str, list[float]] = {"text": [], "no text": []}
    bad: list[bool] = []
    for seed in range(seeds):
        scores, moved = _displaced(true, np.random.default_rng(seed))
        model = learn(texts, scores.tolist(), folds)
        assert model is not None
        bad += moved.tolist()
        for name, expected in (("text", model.predict(texts, folds)), ("no text", scores.mean())):
            distance = np.abs(scores - expected)
            values[name] += distance.tolist()
            area = auroc(distance.tolist(), moved.tolist(), prompts)
            assert area is not None
            areas[name].append(area.mean)
    found: dict[str, Any] = {"texts": len(texts), "prompts": len(set(prompts)), "seeds": seeds, "share": _SHARE}
    for name in values:
        by_prompts = auroc(values[name], bad, prompts * seeds)
        by_seeds = mean_over_seeds(areas[name], range(seeds))
        found[f"AUROC, {name}"] = {"prompts": _rounded_interval(by_prompts), "seeds": _rounded_interval(by_seeds)}
        found[f"AUROC, {name}"]["deciding"] = _rounded_interval(wider(by_prompts, by_seeds))
    return found


def planted(folder: Path) -> tuple[dict[str, Any], Line]:
    """The 1 → 10 faults of a generated set: the cut at even odds, and the curve from critique text alone."""
    feedback = _read(str(folder / "feedback.jsonl"))
    truth = [json.loads(line) for line in (folder / "truth.jsonl").open()]
    bad = np.array([row["fault"] == "one-to-ten" for row in truth])
    text_scores = TextScores(learn_models(feedback[:: max(1, len(feedback) // PROMPTS)]))
    for record in feedback:
        text_scores.add(record)
    text_scores.finish()
    items = [(record.prompt_id, item) for record in feedback for item in record.completions]
    scores = np.array([item.overall_score for _, item in items], dtype=float)
    means = np.array([item.mean_rating for _, item in items], dtype=float)
    expected, prompts = np.array(text_scores.expected), [prompt for prompt, _ in items]
    found: dict[str, Any] = {"completions": len(items), "planted": int(bad.sum()), "tens": int((scores == 10).sum())}
    for name, views in {"ratings": [means], "text": [expected], "both": [means, expected]}.items():
        hit = np.nan_to_num(false_tens(scores, views)) > 0.5
        found[name] = {
            "found": int(hit.sum()),
            "precision": _rounded_interval(_share(bad[hit], _of(prompts, hit))),
            "recall": _rounded_interval(_share(hit[bad], _of(prompts, bad))),
        }
    curve = precision_recall((scores - expected).tolist(), bad.tolist())
    found["text alone, score minus expected score: recall → precision"] = {
        at: round(max(precision for recall, precision in curve if recall >= at), 4) for at in _CURVE
    }
    return found, Line(f"{bad.mean():.1%} faulty", tuple(curve))


def precision_recall(ranking: Sequence[float], faulty: Sequence[bool]) -> list[tuple[float, float]]:
    """Recall and precision at each distinct value, from the most suspicious on; equal values come in together."""
    values, bad = np.asarray(ranking, dtype=np.float64), np.asarray(faulty, dtype=bool)
    order = np.argsort(-values, kind="stable")
    hits, places = np.cumsum(bad[order]), np.arange(1, len(bad) + 1)
    last = np.append(values[order][1:] != values[order][:-1], True)
    return list(zip((hits[last] / bad.sum()).tolist(), (hits[last] / places[last]).tolist(), strict=True))


def _displaced(true: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    scores, moved = true.copy(), np.zeros(len(true), dtype=bool)
    for index in rng.choice(len(true), round(_SHARE * len(true)), replace=False):
        scores[index] = rng.choice([value for value in range(1, 6) if abs(value - true[index]) >= _FAR])
        moved[index] = True
    return scores, moved


def _read(path: str) -> list[Feedback]:
    return list(open_source(path).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]


def _share(hits: Any, prompts: list[str]) -> Estimate | None:
    """With prompts as clusters; where all hit, by Wilson over the prompts, for the spread then says nothing."""
    if not len(hits):
        return None
    count = len(set(prompts))
    return proportion(round(float(hits[0]) * count), count) if hits.all() else clustered_mean(hits.tolist(), prompts)


def _of(prompts: list[str], mask: Any) -> list[str]:
    return [prompts[index] for index in np.flatnonzero(mask)]


def _rounded_interval(estimate: Estimate | None) -> list[float] | None:
    return [round(value, 4) for value in (estimate.mean, estimate.low, estimate.high)] if estimate else None


def _picture(curves: Sequence[Line]) -> str:
    return lines(
        curves,
        title="False 10s found by the critique's wording alone",
        x_label="recall: share of the planted faults found",
        y_label="precision: share of the found that were planted",
    )


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suspicion")
    parser.add_argument("trial", choices=("displaced", "planted"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    if given.trial == "displaced":
        found: Any = [displaced(str(path), given.seeds) for path in given.paths]
    else:
        found, curves = zip(*map(planted, given.paths), strict=True)
        if given.picture:
            given.picture.write_text(_picture(curves), encoding="utf-8")
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
