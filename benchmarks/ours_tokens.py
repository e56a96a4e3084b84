"""Our side of the tokenisation comparison: from rows in memory to token ids; prints one JSON line."""

import argparse
import json
import time
from pathlib import Path

from benchmarks.common import read_rows
from benchmarks.ours_dpo import LIMITS, preference
from notus.engine.load import load_tokenizer
from notus.engine.text.encoder import Encoder
from notus.train.run.policy import encode_pairs


def main() -> None:
    """Encode the pairs several times, each time with a fresh encoder; print the seconds of each, and write the ids."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows = read_rows(options.pairs)
    tokenizer = load_tokenizer(options.model)
    encode_pairs(Encoder(tokenizer, LIMITS), [preference(row) for row in rows[:8]])
    seconds = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        items = encode_pairs(Encoder(tokenizer, LIMITS), [preference(row) for row in rows])
        seconds.append(time.perf_counter() - started)
    ids = [[item.group.prompt, *item.group.completions] for item in items]
    Path(options.ids).write_text(json.dumps(ids), encoding="utf-8")
    print(json.dumps({"pairs_per_s": len(rows) / min(seconds), "seconds": seconds}))


if __name__ == "__main__":
    main()
