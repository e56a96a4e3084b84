"""How well the audit finds labels that we flipped.

    python -m benchmarks.flips NAME=FILE[,FILE…] … [--by scores text reward] [--json FILE]

Of each set 10, 20 and 30 % of the pairs are flipped, under five seeds: chosen and rejected change places. They are
looked for

* with scores, that go with their answers (a flipped pair is then reversed, and equal scores say nothing);
* without scores, by the texts alone (``audit.labels``), which learn from the flipped labels too;
* with a trained reward: the margins of a reward model that Notus trained on the flipped pairs of one half of the
  prompts, for the other half. ``notus train ranker``, ``notus eval rewards`` and ``notus audit --rewards`` do the same
  by hand.

Printed are the area under the ROC curve, and how many of as many of the most suspicious pairs as are flipped are so,
with the wider of the intervals over prompts and over seeds. The share of flipped pairs is what chance gives.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from notus.audit.labels import LabelTexts, learn_labels
from notus.audit.pairs import audit_pairs
from notus.audit.wording import PROMPTS
from notus.core.records import Preference
from notus.core.splits import fold_of
from notus.core.stage import Tally
from notus.core.tables import write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.preferences.faults import margin_of
from notus.stats.detection import auroc
from notus.stats.intervals import Estimate, clustered_mean, mean_over_seeds, wider

SHARES, SEEDS, FOLDS = (0.1, 0.2, 0.3), 5, 2
REWARD: dict[str, Any] = {
    "held_out": 0.0,
    "epochs": 2.0,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "schedule": "linear",
    "limits": {"max_length": 256, "max_prompt_length": 64, "system": ""},
    "shape": {"vocabulary": 2000, "width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "ffn": 64, "positions": 256},
}
Suspicion = NDArray[np.float64]


def read_pairs(files: str) -> list[Preference]:
    """The pairs of some files, with commas between."""
    return list(_read(files.split(",")))


def _read(files: Sequence[str]) -> Iterator[Preference]:
    for file in files:
        for record in open_source(file).records(Tally("read"), Quarantine()):
            assert isinstance(record, Preference), f"{file} holds no pairs"
            yield record


def flip(pairs: Sequence[Preference], share: float, seed: int) -> tuple[list[Preference], NDArray[np.bool_]]:
    """The pairs with about a share of the labels flipped, scores with their answers; and which."""
    flipped = np.random.default_rng(seed).random(len(pairs)) < share
    return [_swap(pair) if swap else pair for pair, swap in zip(pairs, flipped.tolist(), strict=True)], flipped


def _swap(pair: Preference) -> Preference:
    return msgspec.structs.replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        score_chosen=pair.score_rejected,
        score_rejected=pair.score_chosen,
        margin=None if pair.margin is None else -pair.margin,
        model_chosen=pair.model_rejected,
        model_rejected=pair.model_chosen,
    )


def without_scores(pairs: Sequence[Preference]) -> list[Preference]:
    """The pairs as somebody has them who only ever saw which answer is better."""
    return [msgspec.structs.replace(pair, score_chosen=None, score_rejected=None, margin=None) for pair in pairs]


def by_scores(pairs: Sequence[Preference]) -> Suspicion:
    """Suspicion by the margin of the scores; pairs without scores are in the middle."""
    return np.array([-(margin_of(pair) or 0.0) for pair in pairs])


def by_text(pairs: Sequence[Preference]) -> Suspicion:
    """Suspicion by the texts alone; ½ where they say nothing."""
    bare = without_scores(pairs)
    texts = LabelTexts(*learn_labels(bare[:: max(1, len(bare) // PROMPTS)]))
    audit, _ = texts.lay_beside(audit_pairs(texts.watch(bare)))
    return np.array([1 - (0.5 if row.text_chance is None else row.text_chance) for row in audit.rows])


def by_reward(pairs: Sequence[Preference], seed: int) -> Suspicion:
    """Suspicion by reward models from random weights, each trained on the pairs of the other folds of prompts."""
    from notus.engine.settings import Limits
    from notus.rankers.make import make_ranker
    from notus.rankers.settings import Ranking
    from notus.steps.perform import run_step
    from notus.steps.train.ranker import TrainRanker

    folds = np.array([fold_of(pair.prompt_id, FOLDS) for pair in pairs])
    found = np.zeros(len(pairs))
    for fold in range(FOLDS):
        here = np.flatnonzero(folds == fold)
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "preferences.parquet"
            write_records(table, [pair for pair, of in zip(pairs, folds, strict=True) if of != fold], Preference)
            config = TrainRanker.parse({**REWARD, "pairs": str(table)}, where="flips")
            run_step("train-ranker", config, Path(folder) / "run", seed)
            ranking = Ranking(limits=Limits(**REWARD["limits"]))
            ranker = make_ranker(f"reward-model:{folder}/run/model", ranking)
            answers = [[_text(pairs[at].chosen), _text(pairs[at].rejected)] for at in here]
            for at, (chosen, rejected) in zip(
                here, ranker.rank([pairs[at].prompt for at in here], answers), strict=True
            ):
                found[at] = 0.0 if chosen is None or rejected is None else rejected - chosen
    return found


def _text(turns: Sequence[Any]) -> str:
    return "\n".join(turn.content for turn in turns)


def measure(pairs: Sequence[Preference], find: Callable[[Sequence[Preference], int], Suspicion]) -> dict[str, Any]:
    """The figures of one finder for each share of flipped labels."""
    prompts = [pair.prompt_id for pair in pairs]
    found: dict[str, Any] = {}
    for share in SHARES:
        print(f"{share:.0%} of {len(pairs)} pairs", file=sys.stderr, flush=True)
        values, bad, areas, first = [], [], [], []
        for seed in range(SEEDS):
            given, flipped = flip(pairs, share, seed)
            suspicion = find(given, seed)
            area = auroc(suspicion.tolist(), flipped.tolist(), prompts)
            assert area is not None
            areas.append(area.mean)
            order = np.argsort(-suspicion, kind="stable")[: int(flipped.sum())]
            first += [(seed, prompts[at], float(flipped[at])) for at in order]
            values += suspicion.tolist()
            bad += flipped.tolist()
        hits = [hit for _, _, hit in first]
        of_seeds = [float(np.mean([hit for at, _, hit in first if at == seed])) for seed in range(SEEDS)]
        found[f"{share:.0%}"] = {
            "AUROC": _rounded(wider(auroc(values, bad, prompts * SEEDS), mean_over_seeds(areas, range(SEEDS)))),
            "flipped among as many of the first": _rounded(
                wider(clustered_mean(hits, [prompt for _, prompt, _ in first]), mean_over_seeds(of_seeds, range(SEEDS)))
            ),
        }
    return found


def _rounded(estimate: Estimate | None) -> list[float]:
    assert estimate is not None
    return [round(value, 3) for value in (estimate.mean, estimate.low, estimate.high)]


def table(found: dict[str, Any]) -> str:
    """The figures as the table of ``docs/audit-flips.md``."""
    lines = ["| set | looked for | flipped | AUROC | flipped among as many of the first |", "|---|---|---|---|---|"]
    for name, finders in found.items():
        for finder, shares in finders.items():
            for share, figures in shares.items():
                area, first = ("{:.3f} [{:.3f}, {:.3f}]".format(*values) for values in figures.values())
                lines.append(f"| {name} | {finder} | {share} | {area} | {first} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flips")
    parser.add_argument("sets", nargs="+", help="NAME=FILE, or several files with commas between")
    parser.add_argument("--by", nargs="+", choices=("scores", "text", "reward"), default=["scores", "text"])
    parser.add_argument("--json", type=Path, help="where the figures are written")
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for each in given.sets:
        name, _, files = each.partition("=")
        pairs = read_pairs(files)
        of_set = found.setdefault(f"{name} ({len(pairs):,} pairs)", {})
        if "scores" in given.by and all(margin_of(pair) is not None for pair in pairs):
            of_set["with scores"] = measure(pairs, lambda pairs, _: by_scores(pairs))
        if "text" in given.by:
            of_set["without scores"] = measure(pairs, lambda pairs, _: by_text(pairs))
        if "reward" in given.by:
            of_set["with a trained reward"] = measure(pairs, by_reward)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
