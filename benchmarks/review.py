"""The tables of the review page at full size: built, opened again, and asked, within one process.

255,865 answers to 63,967 prompts are generated, or lie in the folder that ``NOTUS_BENCH_REVIEW`` names, and audited.
Measured are the first build with two processes, a later start of a fresh process (with its imports), what one list with
all that stands beside it takes (rows, every count, every picture, the grid, progress, one record), with one reader and
with eight threads and two that decide; texts that are looked for, none of them twice; and the largest memory. The bars:
60 s, 3 s, 200 ms (p95), 1 s, 1 GiB. Over the wire it is measured by ``review_page``.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from benchmarks.common import ROOT, peak_gib
from benchmarks.make_ultrafeedback import generate
from benchmarks.ultrafeedback_plan import FULL, Settings
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from notus.review.filter import Filter
from notus.review.open import open_review
from notus.review.query import Review

__all__ = ["measure"]

_READERS, _WRITERS = 8, 2
_TEXTS = (
    "the",
    "improve",
    "photosynthesis",
    "answer is correct",
    "zzzzzz",
    "NO REASON TO TRUST",
    "district",
    "1,0",
    "?!",
)
_BUILD_S, _START_S, _PAGE_S, _SEARCH_S, _BYTES = 60.0, 3.0, 0.2, 1.0, 2**30


def measure(*, small: bool = False) -> dict[str, Any]:
    """Seconds and bytes, and their ratios to the bars."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("NOTUS_BENCH_FOLDER")) as name:
        folder = Path(name)
        source = _source(folder, small=small)
        command = [sys.executable, "-m", "notus", "audit", str(source), "--out", str(folder / "audit")]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        first = _in_a_process(folder)
        starts = [_in_a_process(folder) for _ in range(1 if small else 5)]
        asked = _in_a_process(folder, "ask")
    start = statistics.median(each["start_s"] for each in starts)
    return {
        "rows": first["rows"],
        "first_start_s": first["start_s"],
        "first_start_cpu_s": first["cpu_s"],
        "later_start_s": start,
        "later_start_cpu_s": statistics.median(each["cpu_s"] for each in starts),
        "table_bytes": first["table_bytes"],
        **{key: value for key, value in asked.items() if key not in first},
        "peak_bytes": asked["peak_bytes"],
        "first_start_to_bar_of_60_s_ratio": first["start_s"] / _BUILD_S,
        "later_start_to_bar_of_3_s_ratio": start / _START_S,
        "list_p95_of_ten_to_bar_of_200_ms_ratio": asked["list_of_ten_s"]["p95"] / _PAGE_S,
        "slowest_search_to_bar_of_1_s_ratio": max(asked["search_s"].values()) / _SEARCH_S,
        "peak_to_bar_of_1_gib_ratio": asked["peak_bytes"] / _BYTES,
    }


def _source(folder: Path, *, small: bool) -> Path:
    if (given := os.environ.get("NOTUS_BENCH_REVIEW")) and not small:
        return Path(given) / "feedback.jsonl"
    generate(folder / "data", Settings(prompts=300 if small else FULL, seed=0), workers=2)
    return folder / "data" / "feedback.jsonl"


def _in_a_process(folder: Path, *more: str) -> dict[str, Any]:
    """Open the review in a process of its own; what that says of itself, with the time of its start."""
    command = [sys.executable, "-m", "benchmarks.review", str(folder), str(time.time()), *more]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    print(" ".join(more) or "start", found, file=sys.stderr)
    return found


def _open(folder: Path, begun: float, *, ask: bool) -> dict[str, Any]:
    cache = folder / "tables"
    with (
        open_store(folder / "decisions.sqlite", create=True) as store,
        open_review(folder / "audit", decisions=store, cache=cache, workers=2) as review,
    ):
        review.page(Filter(), 0, 25)
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        found: dict[str, Any] = {
            "rows": review.facts.rows,
            "start_s": time.time() - begun,
            "cpu_s": sum(each.ru_utime + each.ru_stime for each in usage),
            "table_bytes": sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()),
        }
        if ask:
            found |= _ask(review, store.add)
        return found | {"peak_bytes": round(peak_gib() * 2**30)}


def _ask(review: Review, add: Callable[[list[Ruling]], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"search_s": {text: _timed(lambda text=text: _list(review, text)) for text in _TEXTS}}
    alone = [_timed(lambda seed=seed: _look(review, Random(seed))) for seed in range(100)]
    found["list_of_one_s"] = _spread(alone)
    keys = [row.key for row in review.sample(Filter(), 40).rows]
    found["neighbours_s"] = _spread([_timed(lambda key=key: review.neighbours(key)) for key in keys])
    waits: dict[str, list[float]] = {"list": [], "decide": []}
    stop = threading.Event()
    readers = [threading.Thread(target=_read, args=(review, 1000 + n, waits["list"], stop)) for n in range(_READERS)]
    writers = [threading.Thread(target=_decide, args=(review, add, n, waits["decide"], stop)) for n in range(_WRITERS)]
    for each in (*readers, *writers):
        each.start()
    time.sleep(15 if review.facts.rows > 10_000 else 1)
    stop.set()
    for each in (*readers, *writers):
        each.join()
    return found | {"list_of_ten_s": _spread(waits["list"]), "decide_of_ten_s": _spread(waits["decide"])}


def _list(review: Review, text: str) -> None:
    review.page(Filter(text=text), 0, 25)


def _look(review: Review, chance: Random) -> None:
    """A list with all that stands beside it, and one record of it."""
    wanted = _filter(review, chance)
    page = review.page(wanted, 0, 25)
    review.facets(wanted)
    for key in review.facts.numbers:
        review.histogram(wanted, key)
    review.grid(wanted)
    review.progress(wanted)
    if page.rows:
        key = chance.choice(page.rows).key
        review.record(key)
        review.around(wanted, key)


def _filter(review: Review, chance: Random) -> Filter:
    """One of thousands, so that few are asked for twice."""
    params = [("sort", chance.choice(["suspicion", "-score", "rating", "-margin", "length", "random"]))]
    for key in ("source", "model", "reason"):
        (facet,) = review.facets(Filter(), [key])
        if facet.choices and chance.random() < 0.4:
            params.append((key, chance.choice(facet.choices).value))
    if chance.random() < 0.5:
        params.append(("score", f"{chance.randint(1, 5)}..{chance.randint(6, 10)}"))
    if chance.random() < 0.5:
        params.append(("rating", f"..<{chance.randint(2, 5)}"))
    if chance.random() < 0.3:
        params.append(("length", f"{chance.randint(1, 900)}.."))
    if chance.random() < 0.3:
        params.append(("decided", chance.choice(["no", "yes"])))
    return Filter.parse(params)


def _read(review: Review, seed: int, waits: list[float], stop: threading.Event) -> None:
    chance = Random(seed)
    while not stop.is_set():
        waits.append(_timed(lambda: _look(review, chance)))


def _decide(
    review: Review, add: Callable[[list[Ruling]], Any], seed: int, waits: list[float], stop: threading.Event
) -> None:
    """One decision after the other, each on the disk and in the state of the rows, with the pace of a fast person."""
    targets = iter(review.sample(Filter(), 5_000, seed=seed).rows)
    while not stop.is_set() and (row := next(targets, None)):
        ruling = Ruling(target=row.id, of=row.of, what="keep", who=f"person {seed}")
        waits.append(_timed(lambda ruling=ruling: (add([ruling]), review.refresh())))
        time.sleep(0.1)


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _spread(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {"p50": cuts[9], "p95": cuts[18], "n": len(values)}


if __name__ == "__main__":
    place, started, *rest = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(_open(Path(place), float(started), ask=bool(rest))))
