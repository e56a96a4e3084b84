"""Our side of the comparison on an accelerator: reference and one epoch of given ids; prints one JSON line.

Put together from the parts of ``train``, because a recipe trains fp32 weights under autocast, not bf16 weights.
"""

import gc
import json
import tempfile
import time
from argparse import Namespace
from dataclasses import replace
from typing import Any

import torch
from transformers import TrainingArguments

from benchmarks.common import read_rows
from benchmarks.gpu import PAD, build, device, peak, sides_parser
from notus.engine.attention import use_packed
from notus.engine.load import base_model
from notus.engine.pack import PromptGroup
from notus.engine.settings import Lora
from notus.train.batches import Collator, Item, Items, all_sums
from notus.train.losses.margin import Sigmoid
from notus.train.settings import Training
from notus.train.trainer import DpoTrainer


def main() -> None:
    """Warm up, then train once and print what it took."""
    parser = sides_parser()
    parser.add_argument("--max-tokens", type=int, required=True)
    options = parser.parse_args()
    rows = read_rows(options.pairs)
    model, tokenizer = build(options.shape, options.longest)
    base = model
    if options.lora:
        from notus.engine.adapters import add_adapter

        model = add_adapter(model, Lora(rank=64, alpha=16, dropout=0.0), 0)
    train(options, base, model, tokenizer, rows[: options.batch])
    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    found = train(options, base, model, tokenizer, rows)
    seconds = time.perf_counter() - started
    print(json.dumps({"pairs_per_s": len(rows) / seconds, "peak_gib": peak(), "seconds": seconds, **found}))


def train(
    options: Namespace, base: Any, model: Any, tokenizer: Any, rows: list[dict[str, list[int]]]
) -> dict[str, float]:
    """The reference, then one epoch; the seconds of both."""
    settings = Training(batch_size=options.batch, max_tokens=options.max_tokens)
    groups = [PromptGroup(row["prompt_ids"], (row["chosen_ids"], row["rejected_ids"])) for row in rows]
    started = time.perf_counter()
    with model.disable_adapter() if options.lora else torch.no_grad():
        sums = all_sums(base, groups, settings, PAD)
    referred = time.perf_counter() - started
    use_packed(base_model(model))
    checkpointing = next(
        name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
    )
    trainer = DpoTrainer(
        objective=Sigmoid(beta=0.1),
        model=model,
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=options.batch,
            num_train_epochs=1,
            learning_rate=5e-7,
            optim="adamw_torch_fused",
            use_cpu=device() == "cpu",
            report_to="none",
            save_strategy="no",
            logging_steps=10_000,
            remove_unused_columns=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **{checkpointing: options.checkpointing},
        ),
        train_dataset=Items(
            [replace(Item(group), reference=tuple(of)) for group, of in zip(groups, sums, strict=True)]
        ),
        data_collator=Collator(settings, PAD),
        processing_class=tokenizer,
    )
    loss = trainer.train().training_loss
    return {"reference_s": referred, "train_loss": loss}


if __name__ == "__main__":
    main()
