"""Packed SFT on 500 real dialogues of several turns, ours against TRL 1.16's SFTTrainer at its fastest correct setting.

A Mistral shape of 8.5 million parameters, fp32, one epoch, at most 1,024 tokens, loss on the assistant's turns alone;
an update is 16 dialogues, or for TRL's packed rows, which hold about four dialogues each, four rows.

What is correct on a CPU: TRL's ``packing`` gives no attention mask and position ids that begin anew in each dialogue.
Its warnings speak of FlashAttention alone, but transformers reads the borders off the position ids
and makes SDPA a block-diagonal mask. That is not taken on trust: each kind of setting is checked here by its loss over
the first dialogues against ours, to 1e-4, and one that differs is left out. ``padding_free`` without packing refuses a
maximum length. TRL cannot group by length itself; sorting the file stands in for it, as in ``dpo``.

The search runs each setting on 60 dialogues, every eighth or so of the 500 in the order of length.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import (
    PLAIN_TEMPLATE,
    in_turn,
    matmul_gflops,
    peer,
    ratio,
    read_rows,
    real_data,
    side,
    spread,
    write_rows,
)
from benchmarks.dpo import SHAPE, TINY, make_model

__all__ = ["SETTINGS", "measure"]

SETTINGS = [
    *(f"padded {order} {micro}" for order in ("sorted", "shuffled") for micro in (1, 2, 4, 8)),
    *(f"packed shuffled {micro}" for micro in (1, 2, 4)),
]
AGREES = 1e-4
"""Largest relative difference of losses that count as the same."""


def measure(*, small: bool = False) -> dict[str, Any]:
    """Dialogues and tokens per second of both sides, peak memory, their ratios, and the losses that were compared."""
    peer()
    rows = [{"messages": row["messages"]} for row in read_rows(real_data("chat/dialogues_4000.jsonl.gz"))[:500]]
    rows, rounds, shape = (rows[:48], 1, TINY) if small else (rows, 3, SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        texts = [turn["content"] for row in rows for turn in row["messages"]]
        model, encoder = make_model(work / "model", shape, texts, PLAIN_TEMPLATE)
        ordered = sorted(rows, key=lambda row: sum(len(turn["content"]) for turn in row["messages"]))
        few = [ordered[i * 7 % len(ordered)] for i in range(0, len(ordered), max(1, len(ordered) // 60))]
        common = ("--model", model, "--dialogues")
        losses = _losses(common, str(write_rows(work / "first.jsonl", rows[:24])))
        correct = [name for name in SETTINGS if losses[name.split()[0]]["agrees"]]
        if small:
            correct = correct[::3]
        tried = side("trl_sft", *common, str(write_rows(work / "few.jsonl", few)), "--search", *correct)
        best = max(tried, key=lambda name: float(tried[name]["dialogues_per_s"]))
        file = str(write_rows(work / "dialogues.jsonl", rows))
        runs = in_turn(
            rounds,
            {
                "ours": lambda: side("ours_sft", *common, file),
                "trl": lambda: side("trl_sft", *common, file, "--setting", best),
            },
        )
        whole = encoder.tokenizer.apply_chat_template([row["messages"] for row in rows], return_dict=False)
        tokens = sum(min(len(ids), encoder.limits.max_length) for ids in whole)
    for run in [*runs["ours"], *runs["trl"]]:
        run["tokens_per_s"] = run["dialogues_per_s"] * tokens / len(rows)
    return {
        "dialogues": len(rows),
        "tokens": tokens,
        "matmul_gflops": matmul_gflops(),
        "step_0_losses": losses,
        "search": tried,
        "trl_best": best,
        "runs": runs,
        "tokens_per_s": {name: spread(of, "tokens_per_s") for name, of in runs.items()},
        **ratio("speed_to_trl_best", runs["ours"], runs["trl"], "tokens_per_s"),
        **ratio("memory_to_trl_best", runs["ours"], runs["trl"], "peak_gib"),
    }


def _losses(common: tuple[str, ...], file: str) -> dict[str, dict[str, Any]]:
    """Loss of the model as it is on the same dialogues: ours, and TRL's padded and packed."""
    ours = side("ours_sft", *common, file, "--check")["loss"]
    found: dict[str, dict[str, Any]] = {"ours": {"loss": ours}}
    for kind, setting in (("padded", "padded shuffled 4"), ("packed", "packed shuffled 1")):
        checked = side("trl_sft", *common, file, "--check", "--setting", setting)
        off = abs(checked["loss"] / ours - 1)
        found[kind] = {**checked, "relative_difference": off, "agrees": off <= AGREES}
    if not found["padded"]["agrees"]:
        raise RuntimeError(f"the two sides do not compute the same loss: {found}")
    return found
