"""TRL's side of the comparison on an accelerator, run by a Python that has TRL 1.16; prints one JSON line."""

import gc
import json
import tempfile
import time
from argparse import Namespace
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from benchmarks.common import read_rows
from benchmarks.gpu import build, device, peak, sides_parser


class GivenIds(DPOTrainer):
    """Takes prompts and answers as ids, so that both sides compute the same."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def main() -> None:
    """Warm up, then train once and print what it took."""
    parser = sides_parser()
    parser.add_argument("--micro", type=int, required=True)
    options = parser.parse_args()
    disable_progress_bars()
    rows = read_rows(options.pairs)
    rows.sort(key=lambda row: len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])))
    model, tokenizer = build(options.shape, options.longest)
    # The longest pairs first: what does not fit fails at once.
    model = train(options, model, tokenizer, rows[-options.batch :])[0]
    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    _, found = train(options, model, tokenizer, rows)
    seconds = time.perf_counter() - started
    print(json.dumps({"pairs_per_s": len(rows) / seconds, "peak_gib": peak(), "seconds": seconds, **found}))


def train(
    options: Namespace, model: Any, tokenizer: Any, rows: list[dict[str, list[int]]]
) -> tuple[Any, dict[str, float]]:
    """The reference, then one epoch; the model without its adapter, and seconds of the reference with all set-up."""
    started = time.perf_counter()
    trainer = GivenIds(
        model=model,
        args=DPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=options.micro,
            gradient_accumulation_steps=options.batch // options.micro,
            num_train_epochs=1,
            max_length=options.longest,
            learning_rate=5e-7,
            beta=0.1,
            bf16=False,
            optim="adamw_torch_fused",
            use_cpu=device() == "cpu",
            gradient_checkpointing=options.checkpointing,
            precompute_ref_log_probs=True,
            train_sampling_strategy="sequential",
            report_to=[],
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=64, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
        if options.lora
        else None,
    )
    referred = time.perf_counter() - started
    loss = trainer.train().training_loss
    plain = trainer.model.unload() if options.lora else trainer.model
    return plain, {"reference_s": referred, "train_loss": loss}


if __name__ == "__main__":
    main()
