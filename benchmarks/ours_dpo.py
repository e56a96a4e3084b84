"""Our side of the DPO comparison: from the loaded file to the trained model, imports left out; prints one JSON line."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.common import peak_gib, read_rows
from notus.core.records import Message, Preference
from notus.core.run import Run
from notus.engine.settings import Limits, Lora
from notus.train.losses.margin import Sigmoid
from notus.train.run.policy import train_dpo
from notus.train.settings import Training

# The other side cuts nothing off the prompt, so neither does this one.
LIMITS = Limits(max_length=1024, max_prompt_length=1023, system=None)


def main() -> None:
    """Train once and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=2048)
    parser.add_argument("--lora", action="store_true")
    options = parser.parse_args()
    rows = read_rows(options.pairs)
    started = time.perf_counter()
    settings = Training(
        batch_size=options.batch,
        max_tokens=options.max_tokens,
        epochs=options.epochs,
        learning_rate=5e-7,
        schedule="linear",
        warmup=0.0,
        limits=LIMITS,
        lora=Lora(rank=64, alpha=16, dropout=0.0) if options.lora else None,
        log_every=10_000,
    )
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", stage="dpo", config={}, inputs={}) as run:
        train_dpo(
            run,
            settings,
            objective=Sigmoid(beta=0.1),
            start=options.model,
            preferences=[preference(row) for row in rows],
            held_out=[],
            seed=0,
        )
        seconds = time.perf_counter() - started
        start_loss = run.summary["start_loss"]
    done = len(rows) * options.epochs
    print(
        json.dumps(
            {"pairs_per_s": done / seconds, "peak_gib": peak_gib(), "seconds": seconds, "start_loss": start_loss}
        )
    )


def preference(row: dict[str, str]) -> Preference:
    """The record of a row of texts."""
    return Preference(
        prompt=(Message(role="user", content=row["prompt"]),),
        chosen=(Message(role="assistant", content=row["chosen"]),),
        rejected=(Message(role="assistant", content=row["rejected"]),),
    )


if __name__ == "__main__":
    main()
