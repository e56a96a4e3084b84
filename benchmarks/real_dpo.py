"""DPO of a real model, ours against TRL 1.16 at its fastest: SmolLM2-135M, 32 real pairs, batches of 8, fp32, 2 epochs.

As ``dpo``, with all weights and with LoRA, in turn on the same machine: ``full_speed_to_trl_best``,
``lora_speed_to_trl_best``, ``full_memory_to_trl_best`` and ``lora_memory_to_trl_best``. The pairs are the first of at
most 256 tokens, so that a run takes minutes on two cores; for the same reason TRL's best is looked for among its micro-
batches of 1, 2 and 4 with the reference precomputed and the pairs sorted, which is where ``dpo`` finds it among all
sixteen settings. The vocabulary of 49,152 makes the head a fifth of the work.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import matmul_gflops, read_rows, real_data, write_rows
from benchmarks.dpo import SETTINGS, compare_kind, find_best, peak_flops
from benchmarks.real_model import real_model, short_pairs

__all__ = ["measure"]

_SHAPE = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "ffn": "intermediate_size",
}


def measure(*, small: bool = False) -> dict[str, Any]:
    """Pairs per second and peak memory of both sides, full and LoRA, their ratios, and our share of the peak."""
    model = real_model()
    pairs, longest, epochs, rounds = (16, 128, 1, 1) if small else (32, 256, 2, 2)
    rows, items = short_pairs(model, read_rows(real_data("ultrafeedback/binarized_1000.jsonl")), pairs, longest)
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    shape = {ours: config[theirs] for ours, theirs in _SHAPE.items()}
    groups = [(len(item.group.prompt), [len(answer) for answer in item.group.completions]) for item in items]
    found: dict[str, Any] = {"pairs": pairs, "epochs": epochs, "matmul_gflops": matmul_gflops()}
    settings = SETTINGS[::5] if small else SETTINGS[:3]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        common = ("--model", model, "--pairs", str(write_rows(work / "pairs.jsonl", rows)))
        for kind, flags in (("full", ()), ("lora", ("--lora",))):
            searched = find_best(work, rows, settings, (*common, *flags), epochs)
            seconds = peak_flops(kind, shape, groups, epochs) / found["matmul_gflops"] / 1e9
            found |= compare_kind(kind, common, searched, epochs, rounds, seconds, as_it_comes=False)
    return found
