"""Trains by TRL's GRPO for two updates with our checks as the reward, and prints one line of JSON.

    python trl_grpo.py MODEL FOLDER rows.jsonl

Runs in a Python that has TRL and Notus.
"""

import json
import sys

from datasets import disable_progress_bars, load_dataset
from trl import GRPOConfig, GRPOTrainer

from notus.checks.grpo import all_followed, share_followed


def main(model: str, folder: str, rows: str) -> None:
    disable_progress_bars()
    data = load_dataset("json", data_files=rows, cache_dir=f"{folder}/cache", split="train")
    config = GRPOConfig(
        output_dir=f"{folder}/grpo",
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(model=model, args=config, reward_funcs=[share_followed, all_followed], train_dataset=data)
    trainer.train()
    rewards = [
        {name: entry[name] for name in entry if name.startswith("rewards/") and name.endswith("mean")}
        for entry in trainer.state.log_history
        if "reward" in entry
    ]
    sys.stdout.write(json.dumps({"updates": trainer.state.global_step, "rows": len(data), "rewards": rewards}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
