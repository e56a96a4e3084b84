"""TRL's side of the tokenisation comparison: what its DPOTrainer does to a data set; prints one JSON line."""

import argparse
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

from benchmarks.common import read_rows


def main() -> None:
    """Prepare the data set several times; print the seconds of each, and write the ids."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    disable_progress_bars()
    disable_caching()
    rows = read_rows(options.pairs)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    # Without a length it does not go on to drop the pairs whose prompt alone is too long.
    settings = DPOConfig(output_dir=tempfile.mkdtemp(), max_length=None, use_cpu=True, bf16=False)
    prepare(rows[:8], tokenizer, settings)
    seconds = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        prepared = prepare(rows, tokenizer, settings)
        seconds.append(time.perf_counter() - started)
    ids = [[row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] for row in prepared]
    Path(options.ids).write_text(json.dumps(ids), encoding="utf-8")
    print(json.dumps({"pairs_per_s": len(rows) / min(seconds), "seconds": seconds}))


def prepare(rows: list[dict[str, Any]], tokenizer: Any, settings: DPOConfig) -> Dataset:
    """From rows in memory to token ids, by TRL's own method; of its trainer it uses the tokenizer alone."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    pairs = Dataset.from_list(
        [{key: [{"role": role, "content": row[key]}] for key, role in roles.items()} for row in rows]
    )
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    return DPOTrainer._prepare_dataset(trainer, pairs, tokenizer, settings, "train")


if __name__ == "__main__":
    main()
