"""The review page over the wire: what eight readers and two who decide wait for, all at once, without a pause.

    python -m benchmarks review_page

UltraFeedback's size (255,865 answers) is generated, or taken from the folder that ``NOTUS_BENCH_REVIEW`` names. Each
reader asks for one page after the other: lists under filters, sorts and a text, records, the people. Each who decides
settles one record after the other, on the disk. The asking process shares the cores with the server. Owns the load;
what is asked within the process is measured by ``review``.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.make_ultrafeedback import generate
from benchmarks.ultrafeedback_plan import FULL, Settings

__all__ = ["measure"]

_READERS, _WRITERS = 8, 2
_LISTS = {
    "list": ("/", "/?sort=-score", "/?start=50000", "/?sort=random"),
    "filter": ("/?score=10", "/?source=sharegpt&sort=-length", "/?model=gpt-4&rating=..%3C2", "/?decided=yes"),
    "text": ("/?text=curriculum", "/?text=district%20of", "/?text=kinds&score=10"),
    "people": ("/people",),
}


def measure(*, small: bool) -> dict[str, Any]:
    """Milliseconds of each kind of page, and of a decision, at the 50th and 95th percentile."""
    with tempfile.TemporaryDirectory() as folder:
        source = _source(Path(folder), small=small)
        begun = time.perf_counter()
        with _served(source, Path(folder)):
            first = time.perf_counter() - begun
        begun = time.perf_counter()
        with _served(source, Path(folder)) as (port, process):
            later = time.perf_counter() - begun
            times = _load(port, seconds=2.0 if small else 20.0)
            peak = _peak_mib(process)
    found: dict[str, Any] = {
        "first_start_s": round(first, 1),
        "later_start_s": round(later, 2),
        "server_peak_mib": peak,
    }
    for kind, waits in sorted(times.items()):
        found[f"{kind}_ms"] = {"p50": _at(waits, 50), "p95": _at(waits, 95), "n": len(waits)}
    return found


def _source(folder: Path, *, small: bool) -> Path:
    if (given := os.environ.get("NOTUS_BENCH_REVIEW")) and not small:
        return Path(given) / "feedback.jsonl"
    generate(folder / "data", Settings(prompts=300 if small else FULL, seed=0), workers=2)
    return folder / "data" / "feedback.jsonl"


@contextmanager
def _served(source: Path, folder: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "notus", "review", str(source), "--no-browser", "--who", "bench"]
    command += ["--decisions", str(folder / "decisions.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"^http://127\.0\.0\.1:(\d+)/$", process.stdout.readline(), re.MULTILINE)
            assert found, "the page does not start"
            yield int(found[1]), process
        finally:
            process.terminate()


def _load(port: int, seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    until = time.perf_counter() + seconds
    people = [threading.Thread(target=_read, args=(port, seed, until, times)) for seed in range(_READERS)]
    people += [threading.Thread(target=_decide, args=(port, seed, until, times)) for seed in range(_WRITERS)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    return times


def _read(port: int, seed: int, until: float, times: dict[str, list[float]]) -> None:
    chance, connection = Random(seed), HTTPConnection("127.0.0.1", port)
    records = re.findall(r'href="(/record/[^"]+)"', _ask(connection, f"/?sort=random&seed={seed}"))
    while time.perf_counter() < until:
        kind = chance.choices(("list", "filter", "text", "people", "record"), (3, 3, 1, 1, 8))[0]
        path = chance.choice(records if kind == "record" else _LISTS[kind])
        begun = time.perf_counter()
        text = _ask(connection, path.replace("&amp;", "&"))
        times[kind].append(time.perf_counter() - begun)
        if kind == "record" and (after := re.search(r'data-after="(/record/[^"]+)"', text)):
            records[chance.randrange(len(records))] = after[1]  # on to what was not asked for before


def _decide(port: int, seed: int, until: float, times: dict[str, list[float]]) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    page = _ask(connection, f"/?sort=random&seed={100 + seed}")
    secret = re.search(r'name="csrf" content="([^"]+)"', page)
    target = re.search(r"/record/([0-9a-f]+)\?", page)
    assert secret
    assert target
    headers = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin", "x-notus-page": secret[1]}
    headers["Content-Type"] = "application/json"
    query = f"?sort=random&seed={100 + seed}"
    here = target[1]
    while time.perf_counter() < until:
        begun = time.perf_counter()
        connection.request("POST", f"/decide{query}", f'{{"target":"{here}","what":"drop"}}', headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        times["decide"].append(time.perf_counter() - begun)
        found = re.search(r'data-after="/record/([0-9a-f]+)', _ask(connection, f"/record/{here}{query}&part=1"))
        here = found[1] if found else target[1]


def _ask(connection: HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, (answer.status, path)
    return text


def _peak_mib(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) // 1024 if found else 0


def _at(values: list[float], percent: int) -> float:
    return (
        round(1000 * statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)
        if len(values) > 1
        else 0.0
    )
