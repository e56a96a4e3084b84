"""Our side of the SFT comparison: from the loaded file to the trained model, imports left out; prints one JSON line."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.common import peak_gib, read_rows
from notus.core.records import Dialogue, Message
from notus.core.run import Run
from notus.engine.settings import Limits
from notus.train.run.policy import train_sft
from notus.train.settings import Training

LIMITS = Limits(max_length=1024, max_prompt_length=1023, system=None)


def main() -> None:
    """Train once and print what it took; with ``--check``, the loss of the model as it is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dialogues", required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = read_rows(options.dialogues)
    started = time.perf_counter()
    dialogues = [Dialogue(messages=tuple(Message(**turn) for turn in row["messages"])) for row in rows]
    settings = Training(
        batch_size=options.batch,
        epochs=1,
        # Too small to move a weight by what the loss shows, where the loss of the model as it is is asked for.
        learning_rate=1e-30 if options.check else 2e-5,
        schedule="linear",
        warmup=0.0,
        limits=LIMITS,
        log_every=10_000,
    )
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", stage="sft", config={}, inputs={}) as run:
        held_out = dialogues if options.check else []
        train_sft(run, settings, start=options.model, dialogues=dialogues, held_out=held_out, seed=0)
        seconds = time.perf_counter() - started
        loss = run.summary.get("eval_loss")
    print(
        json.dumps(
            {
                "dialogues_per_s": len(rows) / seconds,
                "peak_gib": peak_gib(),
                "seconds": seconds,
                **({"loss": loss} if options.check else {}),
            }
        )
    )


if __name__ == "__main__":
    main()
