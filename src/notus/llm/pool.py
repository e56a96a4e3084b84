"""The pool of endpoints: asks what the ledger does not know, and stores each answer before the caller sees it.

Owns the thread on which the endpoints' clients run, the budget of a run (``max_cost``), and the way of a request from
the caller's iterable to its outcome. How one endpoint is asked is owned by ``llm.client``.

    with Ledger(path) as ledger, EndpointPool(endpoints, ledger, max_cost=20) as pool:
        for request, outcome in pool.answer(requests):
            …
"""

import asyncio
import queue
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec

from notus.core.errors import ConfigError, InputError, NotusError, RunError, nearest
from notus.core.records import Record
from notus.llm.client import Client, Hooks, Job
from notus.llm.endpoint import Endpoint
from notus.llm.ledger import Entry, Ledger, Writer
from notus.llm.openai import estimate_input, estimate_output
from notus.llm.progress import Progress
from notus.llm.protocol import Model, Outcome, Request

__all__ = ["CostEstimate", "EndpointPool"]

_CHUNK = 256
"""Requests that are taken from the caller and looked up together."""
_CHUNK_S = 0.05
"""Seconds after which a chunk is sent on, though the caller has not filled it."""
_ELSEWHERE_S = 0.2
"""Seconds between two looks at what another process is asking."""
_ROOM = 2048
"""Requests of one call that may wait or be under way, more where the endpoints take more at once."""


class CostEstimate(Record, frozen=True):
    """What a run will ask and cost, before it starts. Tokens are estimated from the lengths of texts."""

    requests: int
    stored: int
    """Requests that the ledger answers."""
    to_ask: int
    tokens_in: int
    """Of the requests to ask."""
    tokens_out: int
    """Of their answers, if each is as long as it may be."""
    cost: float | None
    """If each answer is as long as it may be; None where a price is not known."""
    cost_before: float
    """What the stored answers had cost."""


@dataclass(eq=False)
class _Call:
    """One call of ``answer``: how many outcomes it waits for, and the queue that they arrive in."""

    owed: int = 0
    came: "queue.SimpleQueue[list[tuple[Request, Outcome | None]]]" = field(default_factory=queue.SimpleQueue)
    """Requests with outcomes, or with None where the request was taken back."""


@dataclass(eq=False)
class _Pending:
    """A key that has no outcome yet, and who waits for it."""

    wanted: list[tuple[_Call, Request]]
    job: Job | None = None
    kept: "asyncio.Future[None] | None" = None


class EndpointPool:
    """Endpoints and a ledger, as a ``Generator``. Use it as a context manager.

    Args:
        endpoints: the endpoints; each name once.
        ledger: an open ledger.
        max_cost: the most that all requests of this run may cost together, those paid for earlier included. A request
            is sent only if it can be paid for at its longest answer.
        progress: where to count.
        drain_s: seconds that requests under way are given when the run is broken off.

    Raises:
        ConfigError: if a name stands twice, a key is not set, or ``max_cost`` meets a model without prices.
        MissingExtraError: if httpx2 is not installed.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        ledger: Ledger,
        *,
        max_cost: float | None = None,
        progress: Progress | None = None,
        drain_s: float = 15.0,
    ) -> None:
        _check(endpoints, max_cost)
        self.progress = progress or Progress()
        self._ledger = ledger
        self._max_cost = max_cost
        self._drain_s = drain_s
        hooks = Hooks(self._affordable, self._store, self._count_error, self._stop)
        self._clients = {e.name: Client(e, e.read_key(), hooks) for e in endpoints}
        self._models = {e.name: e.as_model() for e in endpoints}
        self._room = max(_ROOM, 4 * sum(e.concurrency for e in endpoints))
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._reserved: dict[Job, float] = {}
        self._elsewhere: dict[str, Request] = {}
        """What another process is asking through the same ledger: its answers are waited for."""
        self._looking: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._writer = Writer(ledger, self._on_commit)
        self._thread = threading.Thread(target=self._loop.run_forever, name="notus-endpoints", daemon=True)
        self._thread.start()

    @property
    def models(self) -> dict[str, Model]:
        """The models that can be asked, by the user's name."""
        return dict(self._models)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send nothing more, give what is under way a while to end, keep it, and close."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._writer.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def estimate(self, requests: Iterable[Request]) -> CostEstimate:
        """What the requests will ask and cost; nothing is sent."""
        count = stored = tokens_in = tokens_out = 0
        cost, cost_before = 0.0, 0.0
        seen: set[str] = set()
        requests = iter(requests)
        while chunk := _take(requests, _CHUNK)[0]:
            keys = [request.key for request in chunk]
            known = self._ledger.find(keys)
            for request, key in zip(chunk, keys, strict=True):
                count += 1
                if key in known or key in seen:
                    stored += 1
                    cost_before += (known[key].price or 0.0) if key not in seen else 0.0
                else:
                    endpoint = self._client(request).endpoint
                    new_in, new_out = estimate_input(request), estimate_output(request)
                    cost += endpoint.price(new_in, new_out) or 0.0
                    tokens_in += new_in
                    tokens_out += new_out
                seen.add(key)
        priced = all(client.endpoint.price_in is not None for client in self._clients.values())
        return CostEstimate(
            requests=count,
            stored=stored,
            to_ask=count - stored,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=cost if priced else None,
            cost_before=cost_before,
        )

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Answer requests as ``Generator`` says. A request that stands twice is sent once.

        Raises:
            RunError: when the run was stopped: by ``max_cost``, by an endpoint that takes no request of anyone, by a
                ledger that cannot be written.
            InputError: if a request names a model that is not there, or cannot be sent.
        """
        call, source, more = _Call(), iter(requests), True
        try:
            while more or call.owed:
                while more and self._error is None and call.owed <= self._room - _CHUNK:
                    chunk, more = _take(source, _CHUNK)
                    self._enter(call, chunk)
                    yield from self._receive_all(call)
                if call.owed:
                    yield from self._receive(call)
                elif self._error is not None:
                    break
            if self._error is not None:
                raise self._error
        finally:
            if call.owed and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._withdraw, call)

    def _receive(self, call: _Call) -> Iterator[tuple[Request, Outcome]]:
        came = call.came.get()
        call.owed -= len(came)
        for request, outcome in came:
            if outcome is not None:
                yield request, outcome

    def _enter(self, call: _Call, requests: Sequence[Request]) -> None:
        """Take what the ledger knows, and hand over the rest."""
        new: dict[str, Request] = {}
        keys = [(request.key, request, self._client(request)) for request in requests]
        with self._lock:
            # A key is pending before it is looked up, and until its reply is stored; so it is never asked twice.
            for key, request, _ in keys:
                if entry := self._pending.get(key):
                    entry.wanted.append((call, request))
                else:
                    self._pending[key] = _Pending([(call, request)])
                    new[key] = request
        call.owed += len(requests)
        try:
            known, elsewhere = self._ledger.claim(list(new))
            jobs = {
                key: client.job(request, key)
                for key, request, client in keys
                if new.get(key) is request and key not in known
            }
        except NotusError:
            self._release(new)
            self._deliver(dict.fromkeys(new))
            raise
        self._deliver(dict(known), stored=True)
        if jobs:
            own = [job for key, job in jobs.items() if key not in elsewhere]
            self._loop.call_soon_threadsafe(self._put, own, {key: new[key] for key in elsewhere})

    def _receive_all(self, call: _Call) -> Iterator[tuple[Request, Outcome]]:
        while not call.came.empty():
            yield from self._receive(call)

    def _client(self, request: Request) -> Client:
        name = request.model.name
        if name not in self._clients:
            raise InputError(f"there is no endpoint '{name}'; {nearest(name, self._clients)}")
        if request.model != self._models[name]:
            raise InputError(f"the request's model '{name}' is not the endpoint's; take it from EndpointPool.models")
        return self._clients[name]

    def _deliver(self, outcomes: dict[str, Outcome | None], *, stored: bool = False) -> None:
        """Hand outcomes to all who wait for them; any thread may call it."""
        batches: dict[_Call, list[tuple[Request, Outcome | None]]] = {}
        with self._lock:
            for key, outcome in outcomes.items():
                entry = self._pending.pop(key)
                for number, (call, request) in enumerate(entry.wanted):
                    again = outcome is not None and number > 0 and not stored
                    shown = msgspec.structs.replace(outcome, stored=True) if again and outcome else outcome
                    batches.setdefault(call, []).append((request, shown))
                    if outcome is not None and (stored or number > 0):
                        self.progress.known(outcome if number == 0 else msgspec.structs.replace(outcome, price=None))
        for call, batch in batches.items():
            call.came.put(batch)

    # What follows runs on the event loop, except _on_commit.

    def _put(self, jobs: Sequence[Job], elsewhere: Mapping[str, Request]) -> None:
        if self._error is not None:
            self._deliver(dict.fromkeys([*(job.key for job in jobs), *elsewhere]))
            return
        for job in jobs:
            self._pending[job.key].job = job
            self._clients[job.request.model.name].put(job)
        self._elsewhere |= elsewhere
        self.progress.elsewhere = len(self._elsewhere)
        if self._elsewhere and self._looking is None:
            self._looking = self._loop.create_task(self._look_elsewhere())
        self._pump()

    async def _look_elsewhere(self) -> None:
        """Wait for what another process is asking; what it gives up, or dies without, is asked here."""
        while self._elsewhere and self._error is None:
            await asyncio.sleep(_ELSEWHERE_S)
            looked = dict(self._elsewhere)
            try:
                known, still = await asyncio.to_thread(self._ledger.claim, list(looked))
            except NotusError as error:
                self._stop(error)
                break
            # Meanwhile the caller may have gone, or the run been stopped: then nobody waits for these any more.
            here = {key for key in looked.keys() - still if self._elsewhere.pop(key, None) is not None}
            self._release(looked.keys() - still - known.keys() - here)
            self._deliver({key: known[key] for key in here if key in known}, stored=True)
            self._put([self._client(looked[k]).job(looked[k], k) for k in looked if k in here and k not in known], {})
        self._looking = None

    def _pump(self) -> None:
        for client in self._clients.values():
            client.pump()

    def _affordable(self, job: Job) -> bool:
        if job in self._reserved:
            return True
        spent = self.progress.cost + self.progress.cost_before
        if self._max_cost is not None and spent + sum(self._reserved.values()) + job.max_cost > self._max_cost:
            if not self._reserved:
                self._stop(RunError(f"max_cost {self._max_cost:g} is reached: {spent:.4f} is spent"))
            return False
        self._reserved[job] = job.max_cost
        self.progress.asked += 1
        return True

    def _store(self, job: Job, outcome: Outcome) -> "asyncio.Future[None]":
        future = self._loop.create_future()
        self._pending[job.key].kept = future
        self._writer.put((job.request, outcome))
        return future

    def _on_commit(self, entries: list[Entry], error: NotusError | None) -> None:
        """A commit is done; the ledger's thread calls this."""
        pending = [self._pending[outcome.key] for _, outcome in entries]
        for _, outcome in entries:
            self.progress.ended(outcome)
        self._deliver({outcome.key: outcome for _, outcome in entries})
        self._loop.call_soon_threadsafe(self._settle, pending, error)

    def _settle(self, pending: Sequence[_Pending], error: NotusError | None) -> None:
        for entry in pending:
            if entry.job is not None:
                self._reserved.pop(entry.job, None)
            if entry.kept is not None and not entry.kept.done():
                entry.kept.set_result(None)
        if error is not None:
            self._stop(error)
        self._pump()

    def _count_error(self, kind: str) -> None:
        self.progress.errors[kind] += 1

    def _stop(self, error: BaseException, lost: Job | None = None) -> None:
        if lost is not None:
            self._deliver({lost.key: None})
        if self._error is not None:
            return
        self._error = error
        left = [job.key for client in self._clients.values() for job in client.stop()]
        if isinstance(error, RunError):
            self._error = RunError(f"{error}; what was answered is in {self._ledger.path}, the same command goes on")
        self._deliver(dict.fromkeys([*left, *self._elsewhere]))
        self._elsewhere.clear()

    def _release(self, keys: Collection[str]) -> None:
        """Let other processes ask what is not asked here after all."""
        if keys:
            with suppress(NotusError):  # they may once this process has ended
                self._ledger.release(keys)

    def _withdraw(self, call: _Call) -> None:
        """The caller has gone: what only it waited for, and was not sent, is not sent."""
        with self._lock:  # nobody may join a key that is being given up
            own = {
                entry.job
                for entry in self._pending.values()
                if entry.job is not None and all(waiting is call for waiting, _ in entry.wanted)
            }
            gone = [job.key for client in self._clients.values() for job in client.withdraw(own)]
            gone += [k for k in self._elsewhere if all(waiting is call for waiting, _ in self._pending[k].wanted)]
            for key in gone:
                del self._pending[key]
                self._elsewhere.pop(key, None)
        self._release(gone)

    async def _shut(self) -> None:
        if self._error is None:
            self._stop(RunError("the endpoint pool is closed"))
        deadline = time.monotonic() + self._drain_s
        while any(client.busy for client in self._clients.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._looking is not None:
            await self._looking  # it holds the ledger
        for client in self._clients.values():
            await client.close()


def _check(endpoints: Sequence[Endpoint], max_cost: float | None) -> None:
    if not endpoints:
        raise ConfigError("there is no endpoint to ask")
    names = [endpoint.name for endpoint in endpoints]
    for endpoint in endpoints:
        if names.count(endpoint.name) > 1:
            raise ConfigError(f"the endpoint '{endpoint.name}' stands twice; each needs a name of its own")
        if max_cost is not None and endpoint.price_in is None:
            raise ConfigError(
                f"endpoint '{endpoint.name}' has no prices, so max_cost {max_cost:g} cannot be held; "
                "give price_in and price_out (0 if it is free)"
            )


def _take(source: Iterator[Request], most: int) -> tuple[list[Request], bool]:
    """Up to so many items, fewer where the source is slow; and whether there may be more."""
    taken: list[Request] = []
    until = time.monotonic() + _CHUNK_S
    for item in source:
        taken.append(item)
        if len(taken) >= most or time.monotonic() > until:
            return taken, True
    return taken, False
