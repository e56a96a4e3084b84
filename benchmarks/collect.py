"""How fast feedback is collected: requests per second, the use of a server's limit, the look-up of a finished run.

Throughput is measured whole: the judge's prompts filled, keys, ledger, client, a server in another process that answers
at once, and the judge's own parser that reads the grade. The look-up is that of UltraFeedback's 511,736 judgements in a
ledger that holds them all, with one prompt more: keys, look-up, and the sending of the one that is new.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.loopback import running
from notus.core.records import Message
from notus.llm.endpoint import Endpoint
from notus.llm.judge import Judges, ask
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.protocol import Decoding, Model, Reply, Request

_PROMPT = "Judge the answers below and give a rating from 1 to 5 with a rationale. " * 28  # 2 KB, as aspects have
_JUDGEMENTS = 511_736
_ANSWER = "It is so because of this and that, and not because of what is often said. " * 24  # 2 KB


def measure(*, small: bool = False) -> dict[str, Any]:
    """All three, several runs of each where they are short."""
    count, runs = (300, 2) if small else (10_000, 5)
    rates = [_throughput(count) for _ in range(runs)]
    known, unknown = (
        _limited(s, seconds=3 if small else 60, warm_up=w) for s, w in ((600.0, 2), (None, 5 if small else 30))
    )
    return {
        "judged_per_s": {"runs": [round(rate, 1) for rate in rates], "mean": mean(rates), "sd": stdev(rates)},
        "requests_a_run": count,
        "target_500_ratio": mean(rates) / 500,
        "limit_set": known,
        "limit_learned": unknown,
        "look_up": _look_up(2000 if small else _JUDGEMENTS),
    }


def _requests(model: Model, count: int) -> Iterator[Request]:
    decoding = Decoding(temperature=0.0, top_p=0.6, max_tokens=500)
    for number in range(count):
        message = Message(role="user", content=f"{number} {_PROMPT}")
        yield Request(model=model, messages=(message,), decoding=decoding, step="judge/honesty")


def _endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint(name="judge", model="m", urls=(url,), concurrency=16, price_in=1.0, price_out=2.0, **settings)


@contextmanager
def _pool(endpoint: Endpoint) -> Iterator[EndpointPool]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(Path(folder) / "ledger") as ledger,
        EndpointPool([endpoint], ledger) as pool,
    ):
        yield pool


def _throughput(count: int) -> float:
    decoding = Decoding(temperature=0.0, top_p=0.6, max_tokens=500)
    with running() as url, _pool(_endpoint(url)) as pool:
        start = time.perf_counter()
        judges = Judges()
        questions = (judges.grade(f"Question {number}: why?", _ANSWER) for number in range(count))
        grades = [judged.value for judged in ask(pool, pool.models["judge"], questions, decoding)]
        seconds = time.perf_counter() - start
    assert grades == [4.0] * count
    return count / seconds


def _limited(per_minute: float | None, *, seconds: float, warm_up: float) -> dict[str, float]:
    """Use of a limit of 600 a minute, told to the client or not, after a warm-up."""
    with running(600) as url, _pool(_endpoint(url, requests_per_minute=per_minute)) as pool:
        answers = pool.answer(_requests(pool.models["judge"], 100_000))
        start = time.monotonic()
        for _ in answers:
            if time.monotonic() - start >= warm_up:
                break
        began, faults = pool.progress.answered, pool.progress.errors.total()
        for _ in answers:
            if time.monotonic() - start >= warm_up + seconds:
                break
        answered, refused = pool.progress.answered - began, pool.progress.errors.total() - faults
        answers.close()
        failed = pool.progress.failed.total()
    return {
        "seconds": seconds,
        "share_of_limit": answered / (10 * seconds),
        "share_refused": refused / (answered + refused),
        "failed": failed,
    }


def _look_up(count: int) -> dict[str, float]:
    """A finished run whose manifest is gone, and one prompt more."""
    with tempfile.TemporaryDirectory() as folder, running() as url:
        path = Path(folder) / "ledger"
        model = _endpoint(url).as_model()
        with Ledger(path) as ledger:
            entries = ((request, _reply(request)) for request in _requests(model, count))
            while batch := list(islice(entries, 5000)):
                ledger.put(batch)
        size = path.stat().st_size
        start = time.perf_counter()
        with Ledger(path) as ledger:
            new = sum(1 for _ in ledger.missing(request.key for request in _requests(model, count + 1)))
        missing_s = time.perf_counter() - start
        start = time.perf_counter()
        with Ledger(path) as ledger, EndpointPool([_endpoint(url)], ledger) as pool:
            stored = sum(outcome.stored for _, outcome in pool.answer(_requests(model, count + 1)))
            sent = pool.progress.asked
        whole_s = time.perf_counter() - start
    assert (new, sent, stored) == (1, 1, count)
    return {
        "requests": count + 1,
        "new": new,
        "sent": sent,
        "stored": stored,
        "ledger_bytes": size,
        "keys_and_missing_s": missing_s,
        "all_replies_s": whole_s,
    }


def _reply(request: Request) -> Reply:
    raw = '{"choices": [{"message": {"content": "Rating: 4"}}]}'
    return Reply(
        key=request.key, texts=("Rating: 4",), finish=("stop",), tokens_in=600, tokens_out=40, raw=raw, price=0.00068
    )
