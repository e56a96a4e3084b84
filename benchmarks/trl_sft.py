"""TRL's side of the SFT comparison, run by a Python that has TRL 1.16 and not Notus; prints one JSON line.

``--check`` trains nothing: it prints the mean loss of the answer tokens under the setting, batch by batch as the
trainer would take them.
"""

import argparse
import json
import multiprocessing
import tempfile
import time

import torch
from datasets import Dataset, disable_progress_bars
from trl import SFTConfig, SFTTrainer

from benchmarks.common import peak_gib, read_rows


def main() -> None:
    """Train once for each setting, or check the loss, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dialogues", required=True)
    parser.add_argument("--batch", type=int, default=16, help="dialogues of an update")
    parser.add_argument("--setting", default="padded sorted 1")
    parser.add_argument("--search", nargs="*")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    disable_progress_bars()
    if options.search is None:
        print(json.dumps((check if options.check else train)(options, options.setting)))
        return
    jobs = [(options, setting) for setting in options.search]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        print(json.dumps(dict(zip(options.search, pool.starmap(train, jobs, chunksize=1), strict=True))))


def train(options: argparse.Namespace, setting: str) -> dict[str, float]:
    """Seconds from the loaded file to the trained model, dialogues per second, and peak memory."""
    rows = read_rows(options.dialogues)
    started = time.perf_counter()
    trainer = make(options, rows, setting)
    trainer.train()
    seconds = time.perf_counter() - started
    return {"dialogues_per_s": len(rows) / seconds, "peak_gib": peak_gib(), "seconds": seconds}


def check(options: argparse.Namespace, setting: str) -> dict[str, float]:
    """Mean loss of all tokens that count, and how many there are."""
    trainer = make(options, read_rows(options.dialogues), setting)
    total = 0.0
    tokens = 0
    with torch.no_grad():
        for batch in trainer.get_train_dataloader():
            tokens += int((batch["labels"][:, 1:] != -100).sum())
            total += float(trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=1))
    return {"loss": total / tokens, "tokens": tokens}


def make(options: argparse.Namespace, rows: list[dict[str, list[dict[str, str]]]], setting: str) -> SFTTrainer:
    """The trainer of a setting: ``packed`` or ``padded``, ``sorted`` or ``shuffled``, and its micro-batch."""
    kind, order, micro = setting.split()
    if order == "sorted":
        rows = sorted(rows, key=lambda row: sum(len(turn["content"]) for turn in row["messages"]))
    # A packed row of 1,024 tokens holds about as many dialogues as four rows of one dialogue each.
    updates = max(1, options.batch // (4 if kind == "packed" else 1) // int(micro))
    return SFTTrainer(
        model=options.model,
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=int(micro),
            gradient_accumulation_steps=updates,
            num_train_epochs=1,
            max_length=1024,
            packing=kind == "packed",
            assistant_only_loss=True,
            learning_rate=2e-5,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential" if order == "sorted" else "random",
            report_to=[],
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
    )


if __name__ == "__main__":
    main()
