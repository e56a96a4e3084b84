"""DPO, ours against TRL 1.16, in turn on the same machine, model and pairs.

A Mistral shape of 8.5 million parameters, vocabulary 8,192, 64 pairs, batches of 8, fp32, 3 epochs. Needs two things
that do not come with the project, and says so when they are missing: a JSON-lines file of pairs (prompt, chosen,
rejected) in ``NOTUS_BENCH_PAIRS``, and a Python with ``trl==1.16.0 datasets peft`` in ``NOTUS_BENCH_TRL``.
``NOTUS_BENCH_TRL_SETTINGS=all`` tries every setting of TRL; without it the one that was fastest in a full search (the
reference precomputed, pairs sorted, micro-batch 1) and the one as it comes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from notus.models.local import build_model, save_model, train_tokenizer
from notus.models.settings import Shape

__all__ = ["measure"]

HERE = Path(__file__).parent
SHAPE = Shape(vocabulary=8192, width=320, layers=5, heads=8, kv_heads=4, ffn=896, positions=1024)
PAIRS = 64
THREADS = "2"
BEST: list[tuple[str, ...]] = [("--precompute", "--sorted", "--micro", "1")]
AS_IT_COMES = ("--micro", "8")


def measure() -> dict[str, Any]:
    """Pairs per second and peak memory of both sides, full and LoRA, and their ratios."""
    source, peer = os.environ.get("NOTUS_BENCH_PAIRS"), os.environ.get("NOTUS_BENCH_TRL")
    if not source or not peer:
        sys.exit("dpo: set NOTUS_BENCH_PAIRS to a file of pairs and NOTUS_BENCH_TRL to a Python with TRL 1.16")
    with tempfile.TemporaryDirectory() as folder:
        pairs, model = Path(folder) / "pairs.jsonl", Path(folder) / "model"
        rows = [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row["chosen"] != row["rejected"]]
        pairs.write_text("".join(json.dumps(row) + "\n" for row in rows[:PAIRS]), encoding="utf-8")
        tokenizer = train_tokenizer((row[key] for row in rows for key in ("prompt", "chosen", "rejected")), 8192)
        save_model(build_model(SHAPE, tokenizer, 0), tokenizer, model)
        found: dict[str, Any] = {"matmul_peak_gflops": _peak()}
        for kind, flags in (("full", ()), ("lora", ("--lora",))):
            found |= _compare(kind, flags, str(model), str(pairs), peer)
    return found


def _compare(kind: str, flags: tuple[str, ...], model: str, pairs: str, peer: str) -> dict[str, Any]:
    common = ("--model", model, "--pairs", pairs, *flags)
    ours = [_run(sys.executable, "ours_dpo.py", common)]
    settings = list(BEST)
    if os.environ.get("NOTUS_BENCH_TRL_SETTINGS") == "all":
        switches = [(), ("--precompute",), ("--sorted",), ("--precompute", "--sorted")]
        settings = [(*switch, "--micro", str(micro)) for switch in switches for micro in (1, 2, 4, 8)]
    theirs = {" ".join(setting): _run(peer, "trl_dpo.py", (*common, *setting)) for setting in settings}
    ours.append(_run(sys.executable, "ours_dpo.py", common))
    name, best = max(theirs.items(), key=lambda item: item[1]["pairs_per_s"])
    lean = min(t["peak_gib"] for t in theirs.values() if t["pairs_per_s"] >= 0.9 * best["pairs_per_s"])
    speed = sum(run["pairs_per_s"] for run in ours) / len(ours)
    memory = max(run["peak_gib"] for run in ours)
    found = {
        f"{kind}_ours": ours,
        f"{kind}_trl": theirs,
        f"{kind}_trl_best": name,
        f"{kind}_speed_to_trl_best_ratio": speed / best["pairs_per_s"],
        f"{kind}_memory_to_trl_best_ratio": memory / lean,
    }
    if kind == "full":
        plain = _run(peer, "trl_dpo.py", (*common, *AS_IT_COMES))
        found |= {
            "full_trl_as_it_comes": plain,
            "full_speed_to_trl_as_it_comes_ratio": speed / plain["pairs_per_s"],
            "full_memory_to_trl_as_it_comes_ratio": memory / plain["peak_gib"],
        }
    return found


def _run(python: str, script: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": THREADS, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(HERE / script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed: {done.stderr[-600:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"dpo: {script} {' '.join(arguments[4:])} {result}", flush=True)
    return result


def _peak() -> float:
    """GFLOP/s of a large fp32 matrix product."""
    torch.set_num_threads(int(THREADS))
    a = torch.randn(2048, 2048)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started) / 1e9)
    return best
