"""TRL's side of the comparison of numbers: loss and rewards of one batch under several losses; prints one JSON line."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from benchmarks.common import read_rows

METRICS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen")


def main() -> None:
    """Compute every loss asked for on the whole file as one batch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", required=True, help="folder of the reference, and of the tokenizer")
    parser.add_argument("--policy", required=True, help="folder of the policy, or with --lora of an adapter")
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--losses", required=True, help="JSON list of [TRL's name, its options]")
    options = parser.parse_args()
    disable_progress_bars()
    rows = read_rows(options.pairs)
    trainer = make(options, rows)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    found = {}
    for name, settings in json.loads(options.losses):
        loss, weighed, _ = name.partition(", use_weighting")
        trainer.loss_types, trainer.loss_weights, trainer.use_weighting = [loss], [1.0], bool(weighed)
        trainer.beta = settings.get("beta", 0.1)
        trainer.label_smoothing = settings.get("label_smoothing", 0.0)
        trainer.args.discopop_tau = settings.get("tau", 0.05)
        trainer._metrics["train"].clear()
        trainer.model.train()
        with torch.no_grad():
            loss = float(trainer._compute_loss(trainer.model, batch, return_outputs=False))
        told = trainer._metrics["train"]
        found[name] = {"loss": loss, **{metric: float(told[metric][0]) for metric in METRICS}}
    print(json.dumps(found))


def make(options: argparse.Namespace, rows: list[dict[str, str]]) -> DPOTrainer:
    """A trainer whose policy is not its reference."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    pairs = Dataset.from_list(
        [{key: [{"role": role, "content": row[key]}] for key, role in roles.items()} for row in rows]
    )
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(rows),
        max_length=1024,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        use_weighting=True,  # so that it is computed; each loss says whether it is used
        report_to=[],
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(options.reference)
    reference = AutoModelForCausalLM.from_pretrained(options.reference, dtype=torch.float32)
    common: dict[str, Any] = {"args": arguments, "train_dataset": pairs, "processing_class": tokenizer}
    if not options.lora:
        policy = AutoModelForCausalLM.from_pretrained(options.policy, dtype=torch.float32)
        return DPOTrainer(model=policy, ref_model=reference, **common)
    trainer = DPOTrainer(model=reference, peft_config=LoraConfig.from_pretrained(options.policy), **common)
    # Its adapter begins with B = 0; an adapter given at the start would be its own reference.
    set_peft_model_state_dict(trainer.model, load_file(Path(options.policy) / "adapter_model.safetensors"))
    return trainer


if __name__ == "__main__":
    main()
