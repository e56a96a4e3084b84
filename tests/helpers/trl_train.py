"""Trains on files by trainers of TRL's, each for two updates, and prints for each one line of JSON.

    python trl_train.py MODEL FOLDER sft=rows.jsonl dpo=pairs.jsonl kto=… reward=…

Runs in a Python that has TRL, and need not have Notus. A file is read as everybody reads one: by ``load_dataset``.
"""

import json
import sys
from pathlib import Path

from datasets import disable_progress_bars, load_dataset
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

TRAINERS = {
    "sft": (SFTTrainer, SFTConfig),
    "dpo": (DPOTrainer, DPOConfig),
    "kto": (KTOTrainer, KTOConfig),
    "reward": (RewardTrainer, RewardConfig),
}


def train(kind: str, model: str, rows: str, folder: str) -> dict[str, object]:
    """What two updates on a file gave, and the first batch as text."""
    reader = {".jsonl": "json", ".parquet": "parquet"}[Path(rows).suffix]
    data = load_dataset(reader, data_files=rows, cache_dir=f"{folder}/cache")
    trainer_of, config_of = TRAINERS[kind]
    config = config_of(
        output_dir=f"{folder}/{kind}",
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        max_length=512,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = trainer_of(model=model, args=config, train_dataset=data["train"])
    texts = [
        text
        for batch in trainer.get_train_dataloader()
        for name, ids in sorted(batch.items())
        if name.endswith("input_ids")
        for text in trainer.processing_class.batch_decode(ids)
    ]
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"updates": trainer.state.global_step, "losses": losses, "rows": len(data["train"]), "texts": texts}


def main(model: str, folder: str, *jobs: str) -> None:
    disable_progress_bars()
    for job in jobs:
        kind, _, rows = job.partition("=")
        try:
            found = train(kind, model, rows, folder)
        except Exception as error:  # noqa: BLE001  one refused file must not hide the others
            found = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"{json.dumps(found | {'job': job})}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
