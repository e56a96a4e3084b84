"""The other side of ``data``: the same pairs made with ``datasets.map``: mean rating, best against a random lower one.

Runs in the Python that has ``datasets``: ``python -m benchmarks.trl_data FILE FOLDER WORKERS``.
"""

import json
import random
import sys
import time
from pathlib import Path
from typing import Any


def pair(row: dict[str, Any]) -> dict[str, Any]:
    """Chosen and rejected of one raw UltraFeedback row; both None where no two answers can be told apart."""
    scored = [(score, item["response"]) for item in row["completions"] if (score := mean(item)) is not None]
    best = max(scored, key=lambda item: item[0], default=(0.0, ""))
    lower = [text for score, text in scored if score < best[0] and text != best[1]]
    if not lower:
        return {"prompt": row["instruction"], "chosen": None, "rejected": None}
    return {
        "prompt": row["instruction"],
        "chosen": best[1],
        "rejected": random.Random(row["instruction"]).choice(lower),
    }


def mean(item: dict[str, Any]) -> float | None:
    """Mean of the ratings that are numbers."""
    ratings = [annotation["Rating"] for annotation in item["annotations"].values() if annotation]
    values = [float(rating) for rating in ratings if rating not in (None, "N/A")]
    return sum(values) / len(values) if values else None


def main(file: str, folder: str, workers: int) -> None:
    """Load, select, write; print the seconds and the number of pairs."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    started = time.perf_counter()
    rows = load_dataset("json", data_files=file, split="train", cache_dir=f"{folder}/cache")
    loaded = time.perf_counter()
    pairs = rows.map(pair, remove_columns=rows.column_names, num_proc=workers if workers > 1 else None)
    pairs = pairs.filter(lambda row: row["chosen"] is not None)
    pairs.to_parquet(Path(folder) / "pairs.parquet")
    ended = time.perf_counter()
    print(json.dumps({"seconds": ended - started, "load_s": loaded - started, "pairs": len(pairs)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
