"""TRL's side of the DPO comparison, run by a Python that has TRL 1.16 and not Notus; prints one JSON line.

``--search`` tries several settings for one epoch, each in a process of its own that is forked after the imports.
"""

import argparse
import json
import multiprocessing
import tempfile
import time

from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from benchmarks.common import peak_gib, read_rows


def main() -> None:
    """Train once, or once for each setting, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--setting", default="plain 8", help="words: precompute, sorted, a micro-batch")
    parser.add_argument("--search", nargs="*")
    options = parser.parse_args()
    disable_progress_bars()
    if options.search is None:
        print(json.dumps(train(options, options.setting)))
        return
    jobs = [(options, setting) for setting in options.search]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        print(json.dumps(dict(zip(options.search, pool.starmap(train, jobs, chunksize=1), strict=True))))


def train(options: argparse.Namespace, setting: str) -> dict[str, float]:
    """Seconds to set up and to train, pairs per second over both, and peak memory."""
    words = setting.split()
    micro = int(words[-1])
    rows = read_rows(options.pairs)
    if "sorted" in words:
        # TRL cannot group pairs by length; a sorted file pads as little as grouping could.
        rows.sort(key=lambda row: len(row["prompt"]) + max(len(row["chosen"]), len(row["rejected"])))
    started = time.perf_counter()
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    pairs = Dataset.from_list(
        [{key: [{"role": role, "content": row[key]}] for key, role in roles.items()} for row in rows]
    )
    adapter = LoraConfig(r=64, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    trainer = DPOTrainer(
        model=options.model,
        args=DPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=options.batch // micro,
            num_train_epochs=options.epochs,
            max_length=1024,
            learning_rate=5e-7,
            beta=0.1,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            precompute_ref_log_probs="precompute" in words,
            train_sampling_strategy="sequential" if "sorted" in words else "random",
            report_to=[],
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
        ),
        train_dataset=pairs,
        peft_config=adapter if options.lora else None,
    )
    ready = time.perf_counter()
    trainer.train()
    done = time.perf_counter()
    return {
        "pairs_per_s": len(rows) * options.epochs / (done - started),
        "peak_gib": peak_gib(),
        "setup_s": ready - started,
        "train_s": done - ready,
    }


if __name__ == "__main__":
    main()
