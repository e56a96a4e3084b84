"""Decoding and validating records, against a bare orjson parse of the same file.

Two files: raw UltraFeedback rows (texts of the lengths that the published set has, about 13 KB a row), read by
``formats.source`` into ``Feedback``, and our own records as JSON lines. The bar is 3 × the time of the bare parse.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from notus.core.records import (
    ASPECTS,
    Completion,
    Critique,
    Feedback,
    Message,
    Rating,
)
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import to_ultrafeedback
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source, write_jsonl

__all__ = ["measure"]

ROWS = 2_000
ROUNDS = 7
WORDS = ("the", "a", "model", "answers", "with", "care", "because", "“quoted”", "facts", "are", "naïve", "and", "not")


def measure(*, small: bool = False) -> dict[str, Any]:
    """Seconds of both sides, medians over rounds in turn, and their ratios."""
    rng = random.Random(0)
    rows = [_feedback(rng) for _ in range(100 if small else ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        raw, own = Path(folder) / "raw.jsonl", Path(folder) / "own.jsonl"
        write_jsonl(raw, map(to_ultrafeedback, rows))
        write_jsonl(own, rows)
        read, parse_raw = _in_turn(lambda: _read(raw), lambda: _parse(raw), len(rows))
        decode, parse_own = _in_turn(lambda: _decode(own), lambda: _parse(own), len(rows))
        return {
            "rows": len(rows),
            "rounds": ROUNDS,
            "raw_bytes": raw.stat().st_size,
            "own_bytes": own.stat().st_size,
            "raw_read_s": read,
            "raw_orjson_parse_s": parse_raw,
            "raw_read_to_orjson_parse_ratio": read / parse_raw,
            "own_decode_s": decode,
            "own_orjson_parse_s": parse_own,
            "own_decode_to_orjson_parse_ratio": decode / parse_own,
        }


def _in_turn(ours: Callable[[], int], theirs: Callable[[], int], rows: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for side, work in zip(times, (ours, theirs), strict=True):
            started = time.perf_counter()
            if work() != rows:
                raise RuntimeError("not all rows were read")
            side.append(time.perf_counter() - started)
    # The first round warms up.
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def _read(path: Path) -> int:
    return sum(1 for _ in open_source(str(path)).records(Tally("read"), Quarantine()))


def _decode(path: Path) -> int:
    decoder = msgspec.json.Decoder(Feedback)
    with path.open("rb") as lines:
        return sum(1 for line in lines if decoder.decode(line))


def _parse(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for line in lines if orjson.loads(line))


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def _feedback(rng: random.Random) -> Feedback:
    completions = tuple(
        Completion(
            text=_text(rng, rng.randint(40, 500)),
            model=f"model-{index}",
            ratings=tuple(
                Rating(aspect=aspect, value=float(rng.randint(1, 5)), rationale=_text(rng, 30)) for aspect in ASPECTS
            ),
            critique=Critique(text=_text(rng, 120), score=float(rng.randint(1, 10))),
            principle="helpfulness",
            system_prompt=_text(rng, 20),
        )
        for index in range(4)
    )
    prompt = (Message(role="user", content=_text(rng, rng.randint(10, 200))),)
    return Feedback(prompt=prompt, completions=completions, source="evol_instruct")
