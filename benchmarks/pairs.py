"""All six pairs of four answers: 16 prompts, 64 whole answers, 96 pairs; ours with each answer once, TRL pair by pair.

The same model, limits, learning rate and three epochs as in ``dpo``. An update is 24 pairs on both sides, so that a
prompt's six pairs are never divided; our rows hold 3,072 tokens, room for a prompt and its four answers. TRL takes the
fastest of micro-batches 1, 2, 4 and 8, sorted or not, with the reference precomputed, found as in ``dpo``; over three
epochs a reference in the step costs three passes instead of one.

The pairs are ordered by the mean of the judge's scores, and a tie by the order of the answers: time does not depend on
which answer is called better.
"""

import statistics
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.common import (
    KEEP_MEMORY,
    in_turn,
    matmul_gflops,
    ratio,
    read_rows,
    real_data,
    side,
    spread,
    train_flops,
    write_rows,
)
from benchmarks.dpo import SETTINGS, SHAPE, TINY, find_best, group_lengths, make_model, per_second

__all__ = ["all_pairs", "measure"]


def measure(*, small: bool = False) -> dict[str, Any]:
    """Pairs per second of both sides on the same pairs, peak memory, and their ratios."""
    prompts = read_rows(real_data("feedback/four_models_80.jsonl"))
    texts = [text for row in prompts for text in (row["instruction"], *(c["response"] for c in row["completions"]))]
    prompts, epochs, rounds, shape = (prompts[:4], 1, 1, TINY) if small else (prompts[:16], 3, 2, SHAPE)
    pairs = [pair for row in prompts for pair in all_pairs(row)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model, encoder = make_model(work / "model", shape, texts)
        groups = group_lengths(
            encoder, [(row["instruction"], [c["response"] for c in row["completions"]]) for row in prompts]
        )
        common = ("--model", model, "--pairs", str(write_rows(work / "pairs.jsonl", pairs)))
        settings = SETTINGS[:8:3] if small else SETTINGS[:8]
        searched = find_best(work, pairs, settings, common, epochs, batch=24)
        arguments = (*common, "--epochs", epochs, "--batch", 24)
        runs = in_turn(
            rounds,
            {
                "ours": lambda: side("ours_dpo", *arguments, "--max-tokens", 3072),
                "trl": lambda: side("trl_dpo", *arguments, "--setting", searched["best"], environment=KEEP_MEMORY),
            },
        )
    peak = matmul_gflops()
    flops = epochs * train_flops(shape.model_dump(), groups, forward_only=False)
    flops += train_flops(shape.model_dump(), groups, forward_only=True)
    return {
        "prompts": len(prompts),
        "pairs": len(pairs),
        "epochs": epochs,
        "matmul_gflops": peak,
        "search": searched,
        "runs": runs,
        "pairs_per_s": {name: spread(of, "pairs_per_s") for name, of in runs.items()},
        **ratio("speed_per_pair_to_trl_best", runs["ours"], runs["trl"], "pairs_per_s"),
        **ratio("memory_to_trl_best", runs["ours"], runs["trl"], "peak_gib"),
        "share_of_matmul_peak": flops * per_second(runs["ours"]) / (epochs * len(pairs)) / peak / 1e9,
    }


def all_pairs(row: dict[str, Any]) -> list[dict[str, str]]:
    """All pairs of a prompt's answers, the better one chosen; answers that are the same text make no pair."""
    ranked = sorted(row["completions"], key=lambda item: -statistics.fmean(item["gpt4_scores"]))
    return [
        {"prompt": row["instruction"], "chosen": better["response"], "rejected": worse["response"]}
        for better, worse in combinations(ranked, 2)
        if better["response"] != worse["response"]
    ]
