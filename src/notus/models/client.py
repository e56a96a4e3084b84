"""Asks one endpoint: sends requests as its pace and its replicas allow, and does with each fault what its rule says.

Owns the waiting requests of an endpoint and the life of each one, from the queue to an outcome. Runs on an event loop,
one thread. Several endpoints, the ledger and the caller's thread are the business of ``fleet``.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from notus.core.errors import RunError, require
from notus.models.endpoint import Endpoint
from notus.models.faults import Fault
from notus.models.limits import Pace
from notus.models.protocols import Failure, Outcome, Reply, Request
from notus.models.replicas import Replica, Replicas
from notus.models.wire import Answer, encode, estimate_input, path_of, read_answer

__all__ = ["Client", "Hooks", "Job", "likely_output"]

_USUAL_OUTPUT = 512
"""Tokens of an answer that has no limit, as an estimate."""
_TEMPLATE_TOKENS = 16
_LONGEST_BACKOFF_S = 60.0
_HOPELESS = 20
"""Requests that an endpoint refuses one after another, without one answer, before the run is stopped."""
_OF_ALL = ("bad_request", "logprobs_missing")
"""Refusals that probably meet every request; a filter or a length meets some."""
_UNREACHED = ("refused", "connect_timeout")
_UNHEARD = (*_UNREACHED, "timeout", "connection_reset", "truncated_body", "protocol_error")
"""Faults that speak against the replica."""


@dataclass(eq=False)
class Job:
    """A request on its way."""

    request: Request
    key: str
    tokens: int
    """Tokens in and out, estimated, for the load and the pace."""
    worst: float
    """The most that it can cost, estimated."""
    content: bytes
    """The body of the first attempt."""
    parts: list[Answer] = field(default_factory=list)
    tokens_in: int = 0
    tokens_out: int = 0
    attempts: int = 0
    tries: int = 0
    latency_s: float = 0.0
    avoid: Replica | None = None
    fault: Fault | None = None
    """What went wrong with the last attempt."""

    @property
    def got(self) -> int:
        """Texts that have come."""
        return sum(len(part.texts) for part in self.parts)


@dataclass(frozen=True)
class Hooks:
    """What a client needs of whoever drives it; all are called on the event loop."""

    affordable: Callable[[Job], bool]
    """Whether a job may be sent now, for what it may cost; if so its cost is set aside."""
    finished: Callable[[Job, Outcome], "asyncio.Future[None]"]
    """Takes an outcome; the future is done when it is kept."""
    faulty: Callable[[str], None]
    """Counts a fault."""
    stop: Callable[[BaseException, Job | None], None]
    """Ends the run; a job that is named has no outcome and will have none."""


@cache
def _certificates() -> Any:
    """The trusted certificates, read once for all endpoints."""
    return require("httpx2", extra="collect").create_ssl_context()


def likely_output(request: Request) -> int:
    """Tokens of the answers to a request at most, or a guess where it sets no limit."""
    decoding = request.decoding
    return (_USUAL_OUTPUT if decoding.max_tokens is None else decoding.max_tokens) * decoding.n


class Client:
    """The client of one endpoint.

    Args:
        endpoint: the settings.
        secret: the key, or an empty text.
        hooks: where outcomes and faults go.
    """

    def __init__(self, endpoint: Endpoint, secret: str, hooks: Hooks) -> None:
        self.endpoint = endpoint
        self.pace = Pace(
            endpoint.concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute, endpoint.backoff
        )
        self.replicas = Replicas(endpoint.urls)
        self.waiting: deque[Job] = deque()
        self._secret = secret
        self._hooks = hooks
        self._httpx = require("httpx2", extra="collect")
        limits = self._httpx.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency)
        timeout = self._httpx.Timeout(endpoint.timeout, connect=endpoint.connect_timeout, pool=None)
        headers = {"content-type": "application/json", "user-agent": "notus"}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        self._http = self._httpx.AsyncClient(
            verify=_certificates(), limits=limits, timeout=timeout, headers=headers, follow_redirects=False
        )
        self._urls = {url: self._httpx.URL(url + path_of(endpoint)) for url in endpoint.urls}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._resting: dict[Job, asyncio.TimerHandle] = {}
        self._troubled_at: float | None = None
        self._reached = False
        self._refusals = 0

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""
        return bool(self._tasks)

    def job(self, request: Request, key: str) -> Job:
        """A request made ready to be put in.

        Raises:
            InputError: if the API cannot take it.
        """
        tokens_in, tokens_out = estimate_input(request), likely_output(request)
        # What is set aside must not be too little: chat templates add tokens, and some texts have short ones.
        worst = self.endpoint.price(2 * tokens_in + _TEMPLATE_TOKENS, tokens_out) or 0.0
        content = encode(request, self.endpoint, n=request.decoding.n)
        return Job(request, key, tokens_in + tokens_out, worst, content)

    def put(self, job: Job) -> None:
        """Let a job wait for its turn; ``pump`` sends it."""
        self.waiting.append(job)

    def stop(self) -> list[Job]:
        """Send nothing more; what is under way goes on. Gives back what was never sent."""
        self._stopped = True
        for timer in self._resting.values():
            timer.cancel()
        left = [*self.waiting, *self._resting]
        self.waiting.clear()
        self._resting.clear()
        for job in left:
            if job.fault is not None:
                self._hooks.finished(job, self._failure(job, job.fault))
        return [job for job in left if job.fault is None]

    def withdraw(self, jobs: Container[Job]) -> list[Job]:
        """Take back those of some jobs that were never sent."""
        gone = [job for job in self.waiting if job.fault is None and job in jobs]
        self.waiting = deque(job for job in self.waiting if job.fault is not None or job not in jobs)
        return gone

    async def close(self) -> None:
        """Break off what is under way, and close all connections."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    def pump(self) -> None:
        """Send as much as may be sent now, and see to it that this is called again when more may be."""
        loop = asyncio.get_running_loop()
        while self.waiting and not self._stopped:
            now = loop.time()
            wait = self.pace.wait(now)
            replica = self.replicas.choose(now, self.waiting[0].avoid) if wait <= 0 else None
            if wait <= 0 and replica is None:
                wait = self.replicas.ready_at() - now
            if replica is None:
                self._pump_after(loop, max(wait, 0.001))
                return
            if not self._hooks.affordable(self.waiting[0]):
                return
            self._send(self.waiting.popleft(), replica, now)

    def _pump_after(self, loop: asyncio.AbstractEventLoop, wait: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait < math.inf:  # otherwise the end of a request calls
            self._timer = loop.call_later(wait, self.pump)

    def _send(self, job: Job, replica: Replica, now: float) -> None:
        self.pace.take(job.tokens, now)
        self.replicas.sent(replica, job.tokens)
        task = asyncio.create_task(self._ask(job, replica, now))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._hooks.stop(error, job)  # a fault of this module: nobody may wait for the request

    async def _ask(self, job: Job, replica: Replica, sent_at: float) -> None:
        """One attempt, and what follows from it."""
        loop = asyncio.get_running_loop()
        job.attempts += 1
        outcome: Outcome | None
        try:
            try:
                came = await self._exchange(job, replica)
            finally:
                self.replicas.ended(replica, job.tokens)
            job.latency_s = loop.time() - sent_at
            if isinstance(came, Fault):
                outcome = self._on_fault(job, came, replica, sent_at, loop.time())
            else:
                outcome = self._on_answer(job, came, replica, loop.time())
            if outcome is not None:
                # The place stays taken until the outcome is kept: a kill loses no more than ``concurrency`` replies.
                await self._hooks.finished(job, outcome)
        finally:
            self.pace.release()
            loop.call_soon(self.pump)

    async def _exchange(self, job: Job, replica: Replica) -> Answer | Fault:
        """Send the request and read the answer, or say what kept it from coming."""
        httpx = self._httpx
        n, got = job.request.decoding.n, job.got
        content = encode(job.request, self.endpoint, n=n - got, got=got) if got else job.content
        begun, received = False, bytearray()
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout),
                self._http.stream("POST", self._urls[replica.url], content=content) as response,
            ):
                begun = True
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > self.endpoint.max_bytes:
                        return Fault(kind="body_too_large", detail=f"more than {self.endpoint.max_bytes} bytes")
        except httpx.ConnectTimeout:
            return Fault(kind="connect_timeout", detail=f"no connection in {self.endpoint.connect_timeout:g} s")
        except (TimeoutError, httpx.TimeoutException):
            return Fault(kind="timeout", detail=f"no whole answer in {self.endpoint.timeout:g} s")
        except httpx.ConnectError as error:
            return Fault(kind="refused", detail=f"{replica.url}: {str(error) or 'no connection'}")
        except httpx.DecodingError as error:
            return Fault(kind="wrong_encoding", detail=str(error))
        except httpx.ProtocolError as error:
            if begun:
                return Fault(kind="truncated_body", detail=str(error), raw=self._shown(received))
            silent = "disconnected" in str(error)
            return Fault(kind="connection_reset" if silent else "protocol_error", detail=str(error))
        except httpx.TransportError as error:
            return Fault(kind="connection_reset", detail=str(error) or "the connection broke")
        return read_answer(response.status_code, response.headers, bytes(received), job.request, self._secret)

    def _shown(self, content: bytearray) -> str:
        text = content.decode("utf-8", "replace")
        return text.replace(self._secret, "[key]") if self._secret else text

    def _on_answer(self, job: Job, answer: Answer, replica: Replica, now: float) -> Outcome | None:
        self.replicas.answered(replica)
        self._reached = True
        self.pace.answered(job.tokens, answer.tokens_in + answer.tokens_out, now)
        self._troubled_at, self._refusals = None, 0
        job.avoid = None
        job.parts.append(answer)
        job.tokens_in += answer.tokens_in
        job.tokens_out += answer.tokens_out
        wanted = job.request.decoding.n
        if job.got >= wanted:
            return self._reply(job)
        self._hooks.faulty("too_few_choices")
        fault = Fault(kind="too_few_choices", detail=f"{job.got} of {wanted} answers came", raw=answer.raw)
        return self._again(job, fault, now)

    def _on_fault(self, job: Job, fault: Fault, replica: Replica, sent_at: float, now: float) -> Outcome | None:
        self._hooks.faulty(fault.kind)
        job.fault = fault
        job.tokens_in += fault.tokens_in
        job.tokens_out += fault.tokens_out
        rule = fault.rule
        if fault.kind in _UNHEARD:
            self.replicas.failed(replica, now, refused=fault.kind in _UNREACHED)
            job.avoid = replica
        else:
            self.replicas.answered(replica)
        self._reached |= fault.kind not in _UNREACHED
        if fault.kind != "refused" and (rule.then == "wait" or fault.wait_s is not None):
            self.pace.refused(sent_at, fault.wait_s, now)
        elif rule.slower:
            self.pace.failed(sent_at, now)
        if rule.then == "wait":
            return self._wait(job, fault, now)
        if rule.then == "retry":
            return self._again(job, fault, now)
        failure = self._failure(job, fault)
        self._refusals += fault.kind in _OF_ALL
        if rule.then == "stop":
            self._halt(f"{fault.kind}: {fault.detail}")
        elif self._refusals >= _HOPELESS:
            self._halt(f"{self._refusals} requests one after another refused, the last as {fault.kind}: {fault.detail}")
        return failure

    def _wait(self, job: Job, fault: Fault, now: float) -> Outcome | None:
        """Put a job back to the front: it waits with the whole endpoint, unless that is of no use any more."""
        patience, name = self.endpoint.patience, "patience"
        if not self._reached and self.endpoint.connect_patience < patience:
            patience, name = self.endpoint.connect_patience, "connect_patience"
        self._troubled_at = now if self._troubled_at is None else self._troubled_at
        silent = now - self._troubled_at
        if self._stopped:
            return self._failure(job, fault)
        if silent > patience or (fault.wait_s or 0.0) > patience:
            asks = f"; it asks for {fault.wait_s:g} s more" if fault.wait_s else ""
            self._halt(f"no answer for {silent:.0f} s: {fault.kind}: {fault.detail}{asks} ({name} is {patience:g} s)")
            return self._failure(job, fault)
        self.waiting.appendleft(job)
        return None

    def _again(self, job: Job, fault: Fault, now: float) -> Outcome | None:
        """Ask once more after a while, or give up."""
        if job.tries >= self.endpoint.retries or self._stopped:
            return self._failure(job, fault)
        job.tries += 1
        wait = min(_LONGEST_BACKOFF_S, self.endpoint.backoff * 2 ** (job.tries - 1)) * random.uniform(0.5, 1)
        job.fault = fault
        self._resting[job] = asyncio.get_running_loop().call_at(now + wait, self._back, job)
        return None

    def _back(self, job: Job) -> None:
        del self._resting[job]
        self.waiting.appendleft(job)
        self.pump()

    def _halt(self, why: str) -> None:
        self._hooks.stop(RunError(f"endpoint '{self.endpoint.name}': {why}"), None)

    def _failure(self, job: Job, fault: Fault) -> Failure:
        return Failure(
            key=job.key,
            kind=fault.kind,
            detail=fault.detail,
            raw=fault.raw,
            tokens_in=job.tokens_in,
            tokens_out=job.tokens_out,
            price=self.endpoint.price(job.tokens_in, job.tokens_out),
            attempts=job.attempts,
        )

    def _reply(self, job: Job) -> Reply:
        parts, n = job.parts, job.request.decoding.n
        logprobs = tuple(item for part in parts for item in part.logprobs or ())
        return Reply(
            key=job.key,
            texts=tuple(text for part in parts for text in part.texts)[:n],
            finish=tuple(reason for part in parts for reason in part.finish)[:n],
            tokens_in=job.tokens_in,
            tokens_out=job.tokens_out,
            estimated=any(part.estimated for part in parts),
            logprobs=logprobs[:n] if job.request.top_logprobs is not None else None,
            raw=parts[0].raw if len(parts) == 1 else f"[{','.join(part.raw for part in parts)}]",
            price=self.endpoint.price(job.tokens_in, job.tokens_out),
            latency_s=job.latency_s,
            attempts=job.attempts,
        )
