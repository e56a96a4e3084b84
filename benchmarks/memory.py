"""Peak memory of a training on the CPU, by what the weights are kept in, each in a process of its own.

    python -m benchmarks.memory [--model FOLDER] [--tokens 512 1536]

The model is a folder (SmolLM2-135M-Instruct where none is named). Told is what the process takes above what it took
when everything was imported: ``loaded`` once the model is there, ``peak`` at most while it trained. ``slope`` is the
growth of the peak with the tokens of a pass, which is what activations take. Two updates on pairs of random tokens;
resident memory of Linux (/proc/self/status), weights that are mapped from a file included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.real_model import real_model

CASES: dict[str, dict[str, object]] = {
    "fp32, LoRA": {"lora": {"dropout": 0.0}},
    "bf16 weights, LoRA": {"dtype": "bfloat16", "lora": {"dropout": 0.0}},
    "fp32, full": {},
    "bf16 weights, full": {"dtype": "bfloat16"},
    "fp32 weights computed in bf16, full": {"precision": "bfloat16"},
}


def resident(name: str) -> int:
    """Bytes: ``VmRSS`` is what is resident now, ``VmHWM`` was at most since it was last asked to forget."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def one(model: str, settings: dict[str, object], tokens: int) -> dict[str, int]:
    """Train one update in this process; bytes above what it took before."""
    import torch

    import notus.train.run.policy as policy
    from notus.core.run import Run
    from notus.engine.pack import PromptGroup
    from notus.train.batches import Item
    from notus.train.losses.margin import Sigmoid
    from notus.train.settings import PreferenceTraining

    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(100, 40_000, (count,), generator=generator).tolist()

    # A pass is one pair that fills it: a quarter is the prompt, and the rest is halved.
    part = 3 * tokens // 8
    items = [Item(PromptGroup(ids(tokens - 2 * part), (ids(part), ids(part)))) for _ in range(2)]
    policy.encode_pairs = lambda _, records: [items[number] for number in records]  # type: ignore[assignment,index]
    config = PreferenceTraining.parse(
        {"batch_size": 1, "warmup": 0.0, "max_tokens": tokens, "limits": {"max_length": 8192}, **settings}, where="case"
    )
    loaded: list[int] = []
    load = policy.load_model

    def watched(*arguments: object, **options: object) -> object:
        found = load(*arguments, **options)  # type: ignore[arg-type]
        loaded.append(resident("VmRSS"))
        return found

    policy.load_model = watched  # type: ignore[assignment]
    policy.save_model = policy.try_policy = lambda *_, **__: None  # type: ignore[assignment]
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", stage="x", config={}, inputs={}) as run:
        policy.train_dpo(
            run,
            config,
            objective=Sigmoid(),
            start=model,
            preferences=[0, 1],
            held_out=[],
            seed=0,  # type: ignore[list-item]
        )
    return {"loaded": loaded[0] - before, "peak": resident("VmHWM") - before, "before": before}


def main() -> None:
    """Measure each case at each size of a pass, and print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1536])
    parser.add_argument("--case")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(one(given.model, CASES[given.case], given.tokens[0])))
        return
    model, base = given.model or real_model(), dict[str, float]()
    for case in CASES:
        found = []
        for tokens in given.tokens:
            command = [sys.executable, "-m", "benchmarks.memory", "--model", model, "--case", case]
            done = subprocess.run([*command, "--tokens", str(tokens)], capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        peaks = [each["peak"] for each in found]
        slope = (peaks[-1] - peaks[0]) / (given.tokens[-1] - given.tokens[0]) if len(peaks) > 1 else float("nan")
        kind = case.rpartition(", ")[2]
        base.setdefault(kind, peaks[-1])
        shown = " ".join(f"{peak / 2**20:8.0f}" for peak in peaks)
        print(
            f"{case:38s} loaded {found[-1]['loaded'] / 2**20:6.0f} MiB   peak {shown} MiB   slope {slope / 1024:6.0f} "
            f"KiB a token   {peaks[-1] / base[kind]:.2f} of fp32   (imports {found[-1]['before'] / 2**20:.0f} MiB)",
            flush=True,
        )


if __name__ == "__main__":
    main()
