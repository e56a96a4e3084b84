"""A ranker trained on real pairs, tried on real answers: ``python -m benchmarks.real_ranker DATA [--small]``.

DATA is a folder with ``ultrafeedback/binarized_1000.jsonl`` and ``alpaca_eval``. A small scalar reward model is trained
from random weights, once for each seed; it scores the answers of several models to the 805 instructions of AlpacaEval.
Measured are its order of four models, and its agreement with stored judgements of GPT-4 on models that have some.
Length is the control. Nothing of the texts is written: only figures, to ``benchmarks/results/real_ranker.json``.
"""

import argparse
import gzip
import itertools
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS, versions
from notus.core.records import Message
from notus.core.run import read_manifest
from notus.stats.agreement import agreement
from notus.stats.intervals import Estimate, clustered_mean, mean_over_seeds, paired_difference, wider

FOUR = ("Snorkel-Mistral-PairRM-DPO", "Mistral-7B-Instruct-v0.2", "zephyr-7b-beta", "zephyr-7b-alpha")
"""In the order of AlpacaEval 2, which is the same with and without its control of length."""
SETTINGS: dict[str, Any] = {
    "held_out": 0.2,
    "epochs": 1.0,
    "batch_size": 16,
    "learning_rate": 5e-4,
    "weight_decay": 0.01,
    "schedule": "linear",
    "limits": {"max_length": 512, "max_prompt_length": 256, "system": ""},
    "shape": {"vocabulary": 4000, "width": 32, "layers": 1, "heads": 4, "kv_heads": 2, "ffn": 64, "positions": 512},
}
_EARLIER = "text_davinci_003 of AlpacaEval 1"
Answers = dict[str, dict[str, str]]
"""Instruction → model → answer."""
Scores = dict[str, dict[str, float]]
"""Instruction → model → score."""
Judgement = tuple[str, str, str, float]
"""Instruction, first and second model, preference: above 1.5 the second one is better."""


def measure(data: Path, *, small: bool) -> dict[str, Any]:
    """Train, score and compare; figures only."""
    answers, judgements = _answers(data / "alpaca_eval"), _judgements(data / "alpaca_eval")
    if small:
        answers = dict(list(answers.items())[:20])
        judgements = {name: [row for row in rows if row[0] in answers] for name, rows in judgements.items()}
    settings = SETTINGS | ({"limit": 60} if small else {})
    trained, scores = {}, {}
    for seed in range(2 if small else 3):
        with tempfile.TemporaryDirectory() as folder:
            trained[seed] = _train(data / "ultrafeedback" / "binarized_1000.jsonl", settings, Path(folder), seed)
            scores[seed] = _score_answers(f"reward-model:{folder}/run/model", answers)
            print(f"seed {seed}: {trained[seed]}", file=sys.stderr, flush=True)
    length = dict.fromkeys(scores, _score_answers("length", answers))
    judgements["all of these"] = [row for rows in judgements.values() for row in rows]
    return {
        "settings": settings,
        "prompts": len(answers),
        "mean_length": {
            m: sum(len(of[m]) for of in answers.values()) / len(answers) for m in next(iter(answers.values()))
        },
        "held_out": trained,
        "order": {"ranker": _order(scores), "length": _order(length)},
        "duels": {"ranker": _duels(scores), "length": _duels(length)},
        "agreement": {name: _agreement(scores, length, rows) for name, rows in judgements.items()},
        "longer_of_the_four_preferred": _longer(scores, length),
    }


def main(arguments: list[str]) -> int:
    """Measure, print the tables, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_ranker")
    parser.add_argument("data", type=Path)
    parser.add_argument("--small", action="store_true", help="a few prompts, to see that it runs; nothing is written")
    options = parser.parse_args(arguments)
    found = measure(options.data, small=options.small)
    if not options.small:
        written = json.dumps(found | {"versions": versions()}, indent=2)
        (RESULTS / "real_ranker.json").write_text(written + "\n", encoding="utf-8")
    print(tables(found))
    return 0


def tables(found: Mapping[str, Any]) -> str:
    """The figures as the tables of ``docs/rankers.md``."""
    lines = ["| model | ranker: duels won | length: duels won | mean characters |", "|---|---|---|---|"]
    ours, control = found["order"]["ranker"], found["order"]["length"]
    lines += [
        f"| {m} | {_format_interval(ours[m])} | {_format_interval(control[m])} | {found['mean_length'][m]:,.0f} |"
        for m in ours
    ]
    lines += ["", "| duel | ranker prefers the first | length prefers the first |", "|---|---|---|"]
    ours, control = found["duels"]["ranker"], found["duels"]["length"]
    lines += [f"| {duel} | {_format_interval(ours[duel])} | {_format_interval(control[duel])} |" for duel in ours]
    lines += [
        "",
        "| judgements of GPT-4 | n | ranker | length | ranker less length | a constant |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["agreement"].items():
        said = " | ".join(_format_interval(row[key]) for key in ("ranker", "length", "ranker less length"))
        lines.append(f"| {name} | {row['judgements']:,} | {said} | {row['always the more frequent winner']:.3f} |")
    lines += ["", f"Longer answer preferred: {_format_interval(found['longer_of_the_four_preferred'])}"]
    return "\n".join(lines)


def _format_interval(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]" if estimate else "no interval"


def _train(pairs: Path, settings: Mapping[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    import torch

    from notus.steps.perform import run_step
    from notus.steps.train.ranker import TrainRanker

    torch.set_num_threads(1)
    config = TrainRanker.parse({**settings, "pairs": str(pairs)}, where="real_ranker")
    run = run_step("train-ranker", config, folder / "run", seed)
    summary = read_manifest(run.path)["summary"]
    kept = ("rows", "held_out_rows", "accuracy", "calibration_error", "longer_preferred", "train_loss", "parameters")
    return {name: summary[name] for name in kept} | {"seconds": read_manifest(run.path)["duration_s"]}


def _score_answers(spec: str, answers: Answers) -> Scores:
    from notus.engine.settings import Limits
    from notus.rankers.make import make_ranker
    from notus.rankers.settings import Ranking

    ranker = make_ranker(spec, Ranking(limits=Limits(**SETTINGS["limits"])))
    prompts = [(Message(role="user", content=instruction),) for instruction in answers]
    found = ranker.rank(prompts, [list(of.values()) for of in answers.values()])
    return {
        instruction: {model: float(score) for model, score in zip(of, row, strict=True) if score is not None}
        for (instruction, of), row in zip(answers.items(), found, strict=True)
    }


def _order(scores: Mapping[int, Scores]) -> dict[str, Any]:
    """For each of the four: the share of duels with the other three that it wins, a tie ½."""
    shares = {
        model: {
            (seed, prompt): sum(_won(of[model], of[other]) for other in FOUR if other != model) / 3
            for seed, rows in scores.items()
            for prompt, of in rows.items()
        }
        for model in FOUR
    }
    means = {model: _estimate(cells) for model, cells in shares.items()}
    return {model: means[model] for model in sorted(FOUR, key=lambda name: -means[name]["mean"])}


def _duels(scores: Mapping[int, Scores]) -> dict[str, Any]:
    """For each two of the four, the better one of AlpacaEval first: the share of prompts in which it wins."""
    return {
        f"{better} against {worse}": _estimate(
            {(s, p): _won(of[better], of[worse]) for s, rows in scores.items() for p, of in rows.items()}
        )
        for better, worse in itertools.combinations(FOUR, 2)
    }


def _agreement(scores: Mapping[int, Scores], length: Mapping[int, Scores], rows: Sequence[Judgement]) -> dict[str, Any]:
    """Raw agreement with a judge, a tie ½, beside that of length and of a constant; the judge's draws are left out."""
    decided = [row for row in rows if row[3] != 1.5]
    ours, control = _matches(scores, decided), _matches(length, decided)
    second = sum(row[3] > 1.5 for row in decided) / len(decided)
    return {
        "judgements": len(decided),
        "draws_left_out": len(rows) - len(decided),
        "ranker": _estimate(ours),
        "length": _estimate(control),
        "ranker less length": _as_dict(paired_difference(ours, control).deciding),
        "kappa of each seed": [_kappa(of, decided) for of in scores.values()],
        "kappa of length": _kappa(length[0], decided),
        "always the more frequent winner": max(second, 1 - second),
    }


def _kappa(scores: Scores, rows: Sequence[Judgement]) -> dict[str, Any]:
    ours = [scores[prompt][b] > scores[prompt][a] for prompt, a, b, _ in rows]
    return _as_dict(agreement(ours, [row[3] > 1.5 for row in rows], [row[0] for row in rows]).kappa)


def _matches(scores: Mapping[int, Scores], rows: Sequence[Judgement]) -> dict[tuple[int, str], float]:
    """(seed, prompt) → mean agreement of its judgements."""
    cells: dict[tuple[int, str], list[float]] = {}
    for seed, of_seed in scores.items():
        for prompt, a, b, preference in rows:
            won = _won(of_seed[prompt][b], of_seed[prompt][a])
            cells.setdefault((seed, prompt), []).append(won if preference > 1.5 else 1 - won)
    return {cell: sum(values) / len(values) for cell, values in cells.items()}


def _longer(scores: Mapping[int, Scores], length: Mapping[int, Scores]) -> dict[str, Any]:
    """Share of the duels among the four in which the ranker prefers the longer answer; equal lengths are left out."""
    cells = {}
    for seed, rows in scores.items():
        for prompt, of in rows.items():
            sizes = length[seed][prompt]
            duels = [(a, b) for a, b in itertools.combinations(FOUR, 2) if sizes[a] != sizes[b]]
            won = [_won(of[a], of[b]) if sizes[a] > sizes[b] else _won(of[b], of[a]) for a, b in duels]
            if won:
                cells[seed, prompt] = sum(won) / len(won)
    return _estimate(cells)


def _won(a: float, b: float) -> float:
    return 1.0 if a > b else 0.5 if a == b else 0.0


def _estimate(cells: Mapping[tuple[int, str], float]) -> dict[str, Any]:
    """Mean over (seed, prompt) with the wider of the intervals over prompts and over seeds."""
    values = list(cells.values())
    by_prompts = clustered_mean(values, [prompt for _, prompt in cells])
    return _as_dict(wider(by_prompts, mean_over_seeds(values, [seed for seed, _ in cells])))


def _as_dict(estimate: Estimate | None) -> dict[str, Any]:
    return {} if estimate is None else asdict(estimate)


def _answers(folder: Path) -> Answers:
    """Answers of all models to each instruction that all of them were asked."""
    names = [*FOUR, "gpt4_1106_preview", "text_davinci_003"]
    found = {
        name: {row["instruction"]: row["output"] for row in _read(folder / f"outputs_{name}.json.gz")} for name in names
    }
    rows = _read(folder / "annotations_gemma-2b-it_weighted_alpaca_eval_gpt4_turbo.json.gz")
    found["gemma-2b-it"] = {row["instruction"]: row["output_2"] for row in rows}
    # AlpacaEval 1 judged other answers of this model than those that AlpacaEval 2 did.
    rows = _read(folder / "annotations_zephyr-7b-alpha_alpaca_eval_gpt4.json.gz")
    found[_EARLIER] = {row["instruction"]: row["output_1"] for row in rows}
    shared = [key for key in found[FOUR[0]] if all(key in of for of in found.values())]
    return {key: {name: of[key] for name, of in found.items()} for key in shared}


def _judgements(folder: Path) -> dict[str, list[Judgement]]:
    """Judgements of GPT-4 between models whose answers are there, without unscored ones and draws written as 0."""
    alpha = _read(folder / "annotations_zephyr-7b-alpha_alpaca_eval_gpt4.json.gz")
    gemma = _read(folder / "annotations_gemma-2b-it_weighted_alpaca_eval_gpt4_turbo.json.gz")
    named = {
        (_EARLIER, "zephyr-7b-alpha"): [(row["instruction"], row["preference"]) for row in alpha],
        ("gpt4_1106_preview", "gemma-2b-it"): [(row["instruction"], row["preference"]) for row in gemma],
        ("gpt4_1106_preview", "text_davinci_003"): _by_place(folder),
    }
    return {
        f"{b} against {a}": [(asked, a, b, float(p)) for asked, p in rows if p is not None and 1 <= p <= 2]
        for (a, b), rows in named.items()
    }


def _by_place(folder: Path) -> list[tuple[str, float | None]]:
    """Judgements that name their instruction by its place; the lengths beside them say whether it is the right one."""
    ours, theirs = (_read(folder / f"outputs_{name}.json.gz") for name in ("text_davinci_003", "gpt4_1106_preview"))
    lengths = {row["instruction"]: len(row["output"]) for row in ours}
    found: list[tuple[str, float | None]] = []
    with gzip.open(folder / "judgements_ae2.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["model"] == "text_davinci_003":
                asked, output = theirs[row["idx"]]["instruction"], theirs[row["idx"]]["output"]
                if (row["len_1"], row["len_2"]) == (len(output), lengths[asked]):
                    found.append((asked, row["preference"]))
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
