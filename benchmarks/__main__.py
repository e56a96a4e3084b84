"""Run the benchmarks, or those named: ``python -m benchmarks [records] …``; results go to ``benchmarks/results``."""

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import dpo, records

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {"records": records.measure, "dpo": dpo.measure}
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("notus", "msgspec", "orjson", "numpy", "pyarrow", "torch", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(names: list[str]) -> int:
    """Run the benchmarks and print their ratios."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    ready = [name for name in BENCHMARKS if name != "dpo" or os.environ.get("NOTUS_BENCH_TRL")]
    if not names and "dpo" not in ready:
        print("dpo: left out; it needs TRL in an environment of its own, see benchmarks/dpo.py")
    for name in names or ready:
        result = {
            **BENCHMARKS[name](),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "versions": versions(),
            "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for key, value in result.items():
            if key.endswith("_ratio"):
                print(f"{name}: {key} = {value:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
