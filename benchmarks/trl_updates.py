"""TRL's side of the comparison of trainings: what it logs of each update, and the tokens it trains on; prints JSON."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from benchmarks.common import read_rows


def main() -> None:
    """Train on the rows in the order of the file, once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--adapter", help="folder of the adapter to start from; without one, all weights are trained")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    disable_progress_bars()
    trainer = make(options)
    trainer.train()
    updates = [each for each in trainer.state.log_history if "loss" in each]
    rows = trainer.train_dataset
    tokens = [[row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] for row in rows]
    print(json.dumps({"updates": updates, "tokens": tokens}))


def make(options: argparse.Namespace) -> DPOTrainer:
    """A trainer with the optimiser's settings of our side."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    rows = read_rows(options.pairs)
    pairs = Dataset.from_list(
        [{key: [{"role": role, "content": row[key]}] for key, role in roles.items()} for row in rows]
    )
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=options.micro,
        gradient_accumulation_steps=options.batch // options.micro,
        num_train_epochs=1,
        max_length=1024,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        beta=0.1,
        bf16=options.bf16,
        use_cpu=True,
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        seed=0,
    )
    model, reference = (AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32) for _ in range(2))
    common: dict[str, Any] = {"args": arguments, "train_dataset": pairs, "processing_class": tokenizer(options.model)}
    if not options.adapter:
        return DPOTrainer(model=model, ref_model=reference, **common)
    adapter = LoraConfig.from_pretrained(options.adapter)
    adapter.inference_mode = False  # as saved, it is not to be trained
    trainer = DPOTrainer(model=model, peft_config=adapter, **common)
    # Its own adapter is drawn otherwise; an adapter given at the start would be its own reference.
    set_peft_model_state_dict(trainer.model, load_file(Path(options.adapter) / "adapter_model.safetensors"))
    return trainer


def tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer, whose template puts no line break behind the last turn of a whole conversation.

    TRL counts what stands there as a token of the answer.
    """
    found = AutoTokenizer.from_pretrained(model)
    found.chat_template = (
        "{% set whole %}" + found.chat_template + "{% endset %}"
        "{{ whole if add_generation_prompt else whole.rstrip('\n') }}"
    )
    return found


if __name__ == "__main__":
    main()
