"""What the benchmarks share: their inputs, running both sides in turn, memory, and the peak that time is held against.

Imports neither Notus nor PyTorch at its top, because the other side runs in a Python of its own that has TRL and not
Notus. Two things do not come with the project, and a benchmark that needs them says so: real data in a folder,
``NOTUS_BENCH_DATA`` (``../shared/data`` where nothing is set), and a Python with ``pip install torch trl==1.16.0
datasets peft``, ``NOTUS_BENCH_TRL``.
"""

import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "KEEP_MEMORY",
    "PLAIN_TEMPLATE",
    "THREADS",
    "Interrupted",
    "in_turn",
    "matmul_gflops",
    "peak_gib",
    "peer",
    "ratio",
    "read_rows",
    "real_data",
    "side",
    "spread",
    "train_flops",
    "write_rows",
]

ROOT = Path(__file__).parent.parent
THREADS = int(os.environ.get("NOTUS_BENCH_THREADS", "2"))
"""Threads of either side on the CPU; more than there are free cores slow both sides down, and not alike."""
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
"""glibc asks the system anew for every large block, and gives it back; with this it keeps what it has. On the CPU that
is worth a quarter to TRL, so TRL at its fastest has it."""
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Zephyr's template without the line break behind each turn, which TRL counts as a token of the answer and Notus does
not: where numbers must be equal, both sides use this one."""


class Interrupted(SystemExit):
    """A benchmark cannot run here; its text says what is missing."""


def real_data(name: str) -> Path:
    """A file of the folder of real data.

    Raises:
        Interrupted: if it is not there.
    """
    folder = Path(os.environ.get("NOTUS_BENCH_DATA", ROOT / ".." / "shared" / "data"))
    if not (folder / name).is_file():
        raise Interrupted(f"there is no {name} in {folder}; set NOTUS_BENCH_DATA to a folder that has it")
    return folder / name


def peer() -> str:
    """The Python that has TRL.

    Raises:
        Interrupted: if none is named.
    """
    found = os.environ.get("NOTUS_BENCH_TRL")
    if not found:
        raise Interrupted("set NOTUS_BENCH_TRL to a Python with 'torch trl==1.16.0 datasets peft'")
    return found


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file, which may be compressed."""
    data = Path(path).read_bytes()
    text = (gzip.decompress(data) if str(path).endswith(".gz") else data).decode("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def side(
    name: str,
    *arguments: str | float,
    threads: int = THREADS,
    parallel: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run one side in a process of its own and read the JSON line that it ends with.

    Args:
        name: module of ``benchmarks``; one whose name begins with ``trl_`` runs in TRL's Python.
        arguments: its command line.
        threads: of PyTorch.
        parallel: whether tokenizers may use threads too.
        environment: further variables, for example ``KEEP_MEMORY``.

    Raises:
        RuntimeError: if it fails, with the end of what it said.
    """
    python = peer() if name.startswith("trl_") else sys.executable
    variables = {
        **os.environ,
        **(environment or {}),
        "OMP_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": str(parallel).lower(),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [python, "-m", f"benchmarks.{name}", *map(str, arguments)]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join([name, *command[3:]])} failed: {done.stderr[-900:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name} {_without_folders(command[3:])} {_short(result)}", file=sys.stderr, flush=True)
    return result


def in_turn(rounds: int, sides: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Run all sides once a round, so that what slows the machine for a while slows all of them."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            found[name].append(work())
    return found


def spread(runs: Sequence[dict[str, Any]], key: str) -> dict[str, float]:
    """Median, least and greatest of a figure, and of how many runs."""
    values = [run[key] for run in runs]
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def ratio(name: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """Our figure over theirs: of the medians, with its range from the ends of both and the least number of runs.

    Returns:
        ``NAME_ratio``, ``NAME_range`` (least over greatest, greatest over least) and ``NAME_n``.
    """
    mine, other = spread(ours, key), spread(theirs, key)
    return {
        f"{name}_ratio": mine["median"] / other["median"],
        f"{name}_range": [mine["min"] / other["max"], mine["max"] / other["min"]],
        f"{name}_n": min(mine["n"], other["n"]),
    }


def peak_gib() -> float:
    """The most memory that this process ever held, in GiB; before its program began is not counted where known."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def matmul_gflops(*, size: int = 2048, dtype: str = "float32", device: str = "cpu", rounds: int = 8) -> float:
    """GFLOP/s of the fastest of several square matrix products, by the fastest library that PyTorch has for them."""
    import torch

    from notus.engine.cpu.layers import product

    torch.set_num_threads(THREADS)
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))

    def timed(multiply: Callable[[Any, Any], Any]) -> float:
        started = time.perf_counter()
        for _ in range(4):
            multiply(a, a)
        if device != "cpu":
            torch.accelerator.synchronize()
        return (time.perf_counter() - started) / 4

    ways = (torch.matmul, product)
    for multiply in ways:
        timed(multiply)
    return 2 * size**3 / min(timed(multiply) for _ in range(rounds) for multiply in ways) / 1e9


def train_flops(
    shape: dict[str, int], groups: Iterable[tuple[int, Sequence[int]]], *, forward_only: bool, frozen: bool = False
) -> float:
    """Floating-point operations that groups of a prompt and its answers need at least, each token computed once.

    A matrix of n weights takes 2n a token forward; backward as much again for the inputs, and again for the weights
    where they are trained. The head works on answer tokens alone. What is computed a second time is not counted.

    Args:
        shape: vocabulary, width, layers, heads, kv_heads, ffn.
        groups: tokens of each prompt and of its answers.
        forward_only: for a reference.
        frozen: whether the weights are not trained, as under LoRA, whose own few weights are left out.
    """
    width, heads = shape["width"], shape["heads"]
    body = shape["layers"] * width * (2 * width + 2 * width * shape["kv_heads"] // heads + 3 * shape["ffn"])
    head = shape["vocabulary"] * width
    tokens = answered = seen = 0
    for prompt, answers in groups:
        tokens += prompt + sum(answers)
        answered += sum(answers)
        seen += prompt * (prompt + 1) // 2 + sum(answer * prompt + answer * (answer + 1) // 2 for answer in answers)
    attention = 4 * width * shape["layers"] * seen
    passes = 1 if forward_only else (2 if frozen else 3)
    # Attention has no weights: its backward pass takes twice its forward pass in either case.
    return passes * 2 * (body * tokens + head * answered) + (1 if forward_only else 3) * attention


def _without_folders(words: Sequence[str]) -> str:
    return " ".join(word for word in words if "/" not in word and len(word) < 40)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) for key, value in result.items() if isinstance(value, int | float)}
