"""The same training as TRL 1.16 on a real model, update by update: SmolLM2-135M, 64 pairs, ten updates of eight pairs.

Losses, rewards, margins and log-probabilities of each update, all weights and LoRA (rank 64, α 16, no dropout), in fp32
and under bf16. TRL reads the rows in the order in which ours takes them, from the same adapter, and pads; ours computes
packed, a prompt once for both answers. The pairs are short, so that two cores do it in minutes.

In fp32 the figures of an update agree when they differ by no more than 1e-4: absolute where they are below 1, relative
where they are above. Under bf16 two right computations differ by what they round, in another order; how far that is
each side shows by its own distance from its fp32 figures. Ours must be no farther from TRL's than the sum of the two.
"""

import itertools
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import KEEP_MEMORY, THREADS, peer, read_rows, real_data, side, write_rows
from benchmarks.ours_dpo import LIMITS, preference
from benchmarks.real_model import real_model, short_pairs
from notus.core.run import Run
from notus.engine.adapters import add_adapter
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.settings import Lora
from notus.train.batches import Item, Items, LengthSampler
from notus.train.losses.margin import Sigmoid
from notus.train.run.policy import train_dpo
from notus.train.settings import Training

__all__ = ["FIGURES", "distance", "measure"]

FIGURES = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected")
AGREES = 1e-4
BATCH = 8
LONGEST = 96
"""Tokens of the longest prompt and answer that are taken."""
LORA = Lora(rank=64, alpha=16, dropout=0.0)
RATES = {"full": 2e-6, "lora": 1e-4}
"""Learning rates at which ten updates move the rewards by tenths."""

Figures = list[dict[str, float]]


def measure(*, small: bool = False) -> dict[str, Any]:
    """Figures of each update on both sides, and how far apart they are.

    Raises:
        RuntimeError: if the two train on other tokens, or a figure differs by more than is allowed.
    """
    peer()
    torch.set_num_threads(THREADS)
    model = real_model()
    rows, items = short_pairs(model, _short_rows(), 16 if small else 64, LONGEST)
    updates = 3 if small else 10
    found: dict[str, Any] = {"pairs": len(rows), "updates": updates, "agrees_to": AGREES}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        order = _order(items, updates)
        file = write_rows(work / "pairs.jsonl", [rows[n] for n in order])
        adapted = add_adapter(load_model(model), LORA, 0)
        save_model(adapted, load_tokenizer(model), work / "adapter")
        for kind, precision in itertools.product(RATES, ("float32",) if small else ("float32", "bfloat16")):
            flags = ["--adapter", str(work / "adapter")] * (kind == "lora") + ["--bf16"] * (precision == "bfloat16")
            theirs = side(
                *("trl_updates", "--model", model, "--pairs", str(file), "--batch", BATCH),
                *("--learning-rate", RATES[kind], *flags),
                environment=KEEP_MEMORY,
            )
            _check_tokens([items[n] for n in order], theirs["tokens"])
            ours = _ours(model, rows, kind, precision, updates, work / f"{kind}-{precision}")
            found[f"{kind}_{precision}"] = {"ours": ours, "trl": _only_figures(theirs["updates"])}
    for kind in RATES:
        _judge(found, kind)
    return found


def _short_rows() -> list[dict[str, str]]:
    """Pairs of a polite and a less polite answer, which are short enough for many updates."""
    rows = read_rows(real_data("preferences/polite_pairs_1100.jsonl"))
    asked = ("\n\n".join(filter(None, (row["instruction"], row["input"]))) for row in rows)
    return [
        {"prompt": prompt, "chosen": row["chosen"], "rejected": row["rejected"]}
        for prompt, row in zip(asked, rows, strict=True)
    ]


def distance(one: Figures, other: Figures) -> dict[str, float]:
    """Largest difference of each figure over the updates; relative to ``other`` where that is above 1."""
    return {
        name: max(
            abs(mine[name] - theirs[name]) / max(1.0, abs(theirs[name]))
            for mine, theirs in zip(one, other, strict=True)
        )
        for name in FIGURES
    }


def _order(items: Sequence[Item], updates: int) -> list[int]:
    """Places of the pairs as our sampler gives them out, over as many epochs as the updates take."""
    data = Items(items, shared=True)
    sampler = LengthSampler(data.lengths, BATCH, 0, prompts=data.prompts)
    order: list[int] = []
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        order += sampler
        if len(order) >= updates * BATCH:
            return order[: updates * BATCH]
    raise AssertionError


def _check_tokens(items: Sequence[Item], theirs: Sequence[Sequence[Sequence[int]]]) -> None:
    for number, (item, other) in enumerate(zip(items, theirs, strict=True)):
        if [list(item.group.prompt), *map(list, item.group.completions)] != list(other):
            raise RuntimeError(f"row {number}: TRL trains on other tokens than ours")


def _ours(model: str, rows: Sequence[dict[str, Any]], kind: str, precision: str, updates: int, folder: Path) -> Figures:
    settings = Training.model_validate(
        {
            "batch_size": BATCH,
            "epochs": updates * BATCH / len(rows),
            "learning_rate": RATES[kind],
            "schedule": "linear",
            "warmup": 0.0,
            "precision": precision,
            "limits": LIMITS,
            "lora": LORA if kind == "lora" else None,
            "log_every": 1,
        }
    )
    with Run(folder, stage="dpo", config={}, inputs={}) as run:
        train_dpo(
            run,
            settings,
            objective=Sigmoid(beta=0.1),
            start=model,
            preferences=[preference(row) for row in rows],
            held_out=[],
            seed=0,
        )
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return _only_figures([each for each in logged if each.get("step", 0) >= 1 and "loss" in each])


def _only_figures(updates: Sequence[Mapping[str, float]]) -> Figures:
    return [{name: float(of[name]) for name in FIGURES} for of in updates]


def _judge(found: dict[str, Any], kind: str) -> None:
    """Add the distances, and refuse what is not equal."""
    whole = found[f"{kind}_float32"]
    found[f"{kind}_difference"] = distance(whole["ours"], whole["trl"])
    starts = [whole["ours"][0]["loss"]]
    allowed = dict.fromkeys(FIGURES, AGREES)
    failed = [name for name in FIGURES if found[f"{kind}_difference"][name] > allowed[name]]
    if half := found.get(f"{kind}_bfloat16"):
        own = {who: distance(half[who], whole[who]) for who in ("ours", "trl")}
        between = distance(half["ours"], half["trl"])
        found[f"{kind}_bfloat16_difference"] = {
            "to_trl": between,
            "ours_to_fp32": own["ours"],
            "trl_to_fp32": own["trl"],
        }
        failed += [name for name in FIGURES if between[name] > own["ours"][name] + own["trl"][name] + AGREES]
        starts.append(half["ours"][0]["loss"])
    for start, bound in zip(starts, (1e-6, 2e-3), strict=False):
        if abs(start - math.log(2)) > bound:
            failed.append(f"first loss {start}")
    if failed:
        raise RuntimeError(f"{kind}: the two sides differ in {', '.join(failed)}: {json.dumps(found)}")
