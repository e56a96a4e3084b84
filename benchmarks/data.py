"""The data steps at full size: audit, repair, clean and binarize of raw UltraFeedback, each in a process of its own.

63,967 prompts with 255,865 completions are generated (``make_ultrafeedback``), or NOTUS_BENCH_FEEDBACK names a file.
Beside them: a bare orjson parse of the file, and the same pairs made with ``datasets.map``, where NOTUS_BENCH_TRL names
a Python with datasets. NOTUS_BENCH_WORKERS sets the processes (2). The bar: 60 s and 2 GiB for all steps together.

Seconds are of the wall, CPU seconds of the process and its workers. Memory is the largest sum over a process and its
workers, looked at twenty times a second, of what each holds by itself and its share of what they hold together (PSS).
"""

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.common import ROOT, Interrupted, peer
from notus.core.run import read_manifest

__all__ = ["measure"]

PROMPTS = 63_967
WORKERS = int(os.environ.get("NOTUS_BENCH_WORKERS", "2"))
COMMAND = (sys.executable, "-c", "from notus.cli.main import main; main()")
BAR_S, BAR_BYTES = 60.0, 2 * 2**30
DATA = Path(os.environ.get("NOTUS_BENCH_DATA", ROOT / ".." / "shared" / "data"))
QUESTIONS = ("benchmarks", "alpaca_eval/outputs_text_davinci_003.json.gz", "mt_bench/question.jsonl")


def measure(*, small: bool = False) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory of each step and of all, and their ratios to the bars and to the others."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("NOTUS_BENCH_FOLDER")) as name:
        folder = Path(name)
        source = _source(folder, 200 if small else PROMPTS)
        steps = _steps(source, folder)
        parse_s, rows = _parse(source)
        theirs = _datasets(source, folder)
        # The pairs made of the raw file, as the other side makes them, are no part of the whole.
        alone = steps.pop("binarize_raw")
        seconds = sum(step["seconds"] for step in steps.values())
        peak = max(step["peak_bytes"] for step in steps.values())
        result: dict[str, Any] = {
            "rows": rows,
            "bytes": source.stat().st_size,
            "workers": WORKERS,
            "steps": steps,
            "all_s": seconds,
            "all_cpu_s": sum(step["cpu_s"] for step in steps.values()),
            "peak_bytes": peak,
            "peak_bytes_per_prompt": peak / rows,
            "orjson_parse_s": parse_s,
            "all_to_bar_of_60_s_ratio": seconds / BAR_S,
            "peak_to_bar_of_2_gib_ratio": peak / BAR_BYTES,
            "all_to_orjson_parse_ratio": seconds / parse_s,
        }
        if theirs is not None:
            result |= {"datasets_map": theirs, "binarize_raw": alone}
            result["binarize_to_datasets_map_ratio"] = alone["seconds"] / theirs["seconds"]
        return result


def _source(folder: Path, prompts: int) -> Path:
    named = os.environ.get("NOTUS_BENCH_FEEDBACK")
    if named:
        return Path(named)
    made = folder / "made"
    settings = ["--prompts", str(prompts), "--seed", "0", "--workers", str(WORKERS)]
    command = [
        sys.executable,
        "-m",
        "benchmarks.make_ultrafeedback",
        str(made),
        *settings,
        *_benchmarks(),
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return made / "feedback.jsonl"


def _benchmarks() -> list[str]:
    """The folder whose benchmarks are planted, where there is one."""
    return ["--benchmarks", str(DATA)] if DATA.is_dir() else []


def _against() -> list[str]:
    """All benchmarks that prompts are checked against: those planted, by their files of questions."""
    found = (DATA / name for name in QUESTIONS)
    return [part for path in found if path.exists() for part in ("--against", str(path))]


def _steps(source: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Each step on what the step before it left, as a user would type them."""
    orders = {
        "audit": [str(source)],
        "repair": [str(source)],
        "clean": [str(folder / "repair"), *_against()],
        "binarize": [str(folder / "clean"), "--strategy", "repaired-critique", "--held-out", "0.03"],
        "binarize_raw": [str(source), "--strategy", "mean-rating"],
    }
    found = {}
    for name, arguments in orders.items():
        command = [name.partition("_")[0], *arguments, "--workers", str(WORKERS), "--out", str(folder / name), "--json"]
        found[name] = _watched([*COMMAND, *command]) | {"summary": read_manifest(folder / name)["summary"]}
        print(name, {key: round(value, 2) for key, value in found[name].items() if key != "summary"}, file=sys.stderr)
    return found


def _watched(command: list[str]) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory of a command with all its processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    peaks = [0]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        watch = threading.Thread(target=_watch, args=(process, peaks))
        watch.start()
        process.wait()
        seconds = time.perf_counter() - started
        watch.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[3:])} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_s": cpu, "peak_bytes": peaks[0]}


def _watch(process: "subprocess.Popen[bytes]", peaks: list[int]) -> None:
    while process.poll() is None:
        peaks[0] = max(peaks[0], sum(map(_held, _family(process.pid))))
        time.sleep(0.05)


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return []
    return [pid, *(member for child in below for member in _family(child))]


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _parse(source: Path) -> tuple[float, int]:
    """Seconds of a bare parse of all rows, in one process, and their number."""
    started = time.perf_counter()
    with source.open("rb") as lines:
        rows = sum(1 for line in lines if orjson.loads(line))
    return time.perf_counter() - started, rows


def _datasets(source: Path, folder: Path) -> dict[str, Any] | None:
    """The other side, where there is one."""
    try:
        python = peer()
    except Interrupted:
        print("datasets.map: left out; set NOTUS_BENCH_TRL to a Python with datasets", file=sys.stderr)
        return None
    work = folder / "datasets"
    work.mkdir()
    command = [python, "-m", "benchmarks.trl_data", str(source), str(work), str(WORKERS)]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(work / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"seconds": time.perf_counter() - started, "inside_s": found["seconds"], "cpu_s": cpu}
