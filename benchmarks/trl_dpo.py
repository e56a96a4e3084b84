"""TRL's side of the DPO comparison, run by a Python that has TRL 1.16 and not Notus; prints one JSON line."""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer


def main() -> None:
    """Train once and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--precompute", action="store_true")
    parser.add_argument("--sorted", action="store_true")
    parser.add_argument("--lora", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for line in Path(options.pairs).read_text(encoding="utf-8").splitlines()]
    if options.sorted:
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
            per_device_train_batch_size=options.micro,
            gradient_accumulation_steps=8 // options.micro,
            num_train_epochs=options.epochs,
            max_length=1024,
            learning_rate=5e-7,
            beta=0.1,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            precompute_ref_log_probs=options.precompute,
            train_sampling_strategy="sequential" if options.sorted else "random",
            report_to=[],
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
        ),
        train_dataset=pairs,
        peft_config=adapter if options.lora else None,
    )
    trainer.train()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"pairs_per_s": len(rows) * options.epochs / seconds, "peak_gib": peak, "seconds": seconds}))


if __name__ == "__main__":
    main()
