"""Run the benchmarks, or those named: ``python -m benchmarks [--small] [--out FOLDER] [NAME …]``.

Results go to ``benchmarks/results``, one file for each, and the README's table is made of them (``table``). What
``--small`` measures proves that a benchmark runs and is no result: it is written only where ``--out`` says.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

BENCHMARKS = ("collect", "records", "data", "tokens", "equality", "updates", "dpo", "real_dpo", "pairs", "sft")
BENCHMARKS += ("harness", "ranking", "review", "review_page", "gpu")
"""Modules with a function ``measure(small=…)``."""
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("notus", "httpx2", "msgspec", "orjson", "numpy", "pyarrow", "peft", "tokenizers", "torch", "transformers")
PACKAGES += ("duckdb", "lm_eval")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: list[str]) -> int:
    """Run the benchmarks and print their ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without one, all")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs; not a result")
    parser.add_argument("--out", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        print(f"no benchmark '{unknown[0]}'; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if not options.names and not os.environ.get("NOTUS_BENCH_TRL"):
        print("without NOTUS_BENCH_TRL only what needs no TRL is measured; see benchmarks/common.py", file=sys.stderr)
    names = options.names or (BENCHMARKS if os.environ.get("NOTUS_BENCH_TRL") else ("records", "data"))
    if "gpu" in names and not (options.names or _accelerator()):
        print("gpu: left out; there is no accelerator", file=sys.stderr)
        names = [name for name in names if name != "gpu"]
    for name in names:
        _run(name, small=options.small, folder=options.out or (None if options.small else RESULTS))
    return 0


def _run(name: str, *, small: bool, folder: Path | None) -> None:
    result: dict[str, Any] = {
        **importlib.import_module(f"benchmarks.{name}").measure(small=small),
        "small": small,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": versions(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()},
    }
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for key, value in result.items():
        if key.endswith("_ratio"):
            print(f"{name}: {key} = {value:.2f}")


def _accelerator() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
