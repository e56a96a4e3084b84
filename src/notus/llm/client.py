"""Asks one endpoint: sends requests as its rate limiter and its replicas allow, and handles each error by its rule.

Owns the waiting requests of an endpoint, the life of each one from the queue to an outcome, and the choice of a
replica: of those that work, the one with the fewest tokens to do. A replica that refuses connections is paused, and
from time to time one request tries it again. Runs on an event loop, one thread. Several endpoints, the ledger and the
caller's thread are owned by ``llm.pool``.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from notus.core.errors import RunError, require
from notus.llm.endpoint import Endpoint
from notus.llm.errors import RequestError
from notus.llm.openai import Answer, api_headers, api_path, encode, estimate_input, estimate_output, read_answer
from notus.llm.protocol import Failure, Outcome, Reply, Request
from notus.llm.rate_limit import RateLimiter

__all__ = ["Client", "Hooks", "Job", "Replica", "Replicas"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_MAX_FAILURES = 3
"""Failures in a row, without an answer between, after which a replica that takes connections is paused too."""
_TEMPLATE_TOKENS = 16
_LONGEST_BACKOFF_S = 60.0
_HOPELESS = 20
"""Requests that an endpoint refuses one after another, without one answer, before the run is stopped."""
_REFUSES_ALL = ("bad_request", "logprobs_missing")
"""Refusals that probably meet every request; a content filter or a length limit meets some."""
_NOT_CONNECTED = ("refused", "connect_timeout")
_NO_RESPONSE = (*_NOT_CONNECTED, "timeout", "connection_reset", "truncated_body", "protocol_error")
"""Errors that count against the replica."""


@dataclass
class Replica:
    """One server of an endpoint."""

    url: str
    outstanding: int = 0
    """Tokens, estimated, of the requests that it is at work on."""
    failures: int = 0
    """Failures since its last answer."""
    pauses: int = 0
    """How often it was paused since its last answer."""
    paused_until: float = -math.inf
    trying: bool = False
    """Whether a request is finding out if it is back."""


class Replicas:
    """The replicas of one endpoint."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.all = [Replica(url) for url in urls]

    def choose(self, now: float, avoid: Replica | None = None) -> Replica | None:
        """The replica with the least to do, or None when all are paused.

        Args:
            now: seconds.
            avoid: the one that has just failed the request; it is taken only when no other can be.
        """
        ready = [r for r in self.all if r.paused_until <= now and not r.trying]
        return min(ready, key=lambda r: (r is avoid, r.outstanding), default=None)

    def ready_at(self) -> float:
        """When the next paused replica may be tried; infinite when each is being tried."""
        return min((r.paused_until for r in self.all if not r.trying), default=math.inf)

    def sent(self, replica: Replica, tokens: int) -> None:
        """A request went to a replica."""
        replica.outstanding += tokens
        replica.trying = replica.pauses > 0

    def ended(self, replica: Replica, tokens: int) -> None:
        """A request to a replica has come to its end."""
        replica.outstanding -= tokens
        replica.trying = False

    def answered(self, replica: Replica) -> None:
        """It has responded, if only to refuse: it works."""
        replica.failures = replica.pauses = 0
        replica.paused_until = -math.inf

    def failed(self, replica: Replica, now: float, *, refused: bool) -> None:
        """It refused the connection, or broke it, or sent nothing."""
        replica.failures += 1
        if (refused or replica.failures >= _MAX_FAILURES) and replica.paused_until <= now:
            replica.paused_until = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(replica.pauses, 16))
            replica.pauses += 1


@dataclass(eq=False)
class Job:
    """A request on its way."""

    request: Request
    key: str
    tokens: int
    """Tokens in and out, estimated, for the load and the rate limiter."""
    max_cost: float
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
    error: RequestError | None = None
    """What went wrong with the last attempt."""

    @property
    def got(self) -> int:
        """Texts that have come."""
        return sum(len(part.texts) for part in self.parts)


@dataclass(frozen=True)
class Hooks:
    """What a client needs of whoever drives it; all are called on the event loop."""

    affordable: Callable[[Job], bool]
    """Whether a job may be sent now, for what it may cost; if so its cost is reserved."""
    finished: Callable[[Job, Outcome], "asyncio.Future[None]"]
    """Takes an outcome; the future is done when the ledger holds it."""
    count_error: Callable[[str], None]
    """Counts an error by its kind."""
    stop: Callable[[BaseException, Job | None], None]
    """Ends the run; a job that is named has no outcome and will have none."""


@cache
def _certificates() -> Any:
    """The trusted certificates, read once for all endpoints."""
    return require("httpx2", extra="collect").create_ssl_context()


class Client:
    """The client of one endpoint.

    Args:
        endpoint: the settings.
        secret: the key, or an empty text.
        hooks: where outcomes and errors go.
    """

    def __init__(self, endpoint: Endpoint, secret: str, hooks: Hooks) -> None:
        self.endpoint = endpoint
        self.limiter = RateLimiter(
            endpoint.concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute, endpoint.backoff
        )
        self.replicas = Replicas(endpoint.urls)
        self.waiting: deque[Job] = deque()
        self._secret = secret
        self._hooks = hooks
        self._httpx = require("httpx2", extra="collect")
        limits = self._httpx.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency)
        timeout = self._httpx.Timeout(endpoint.timeout, connect=endpoint.connect_timeout, pool=None)
        headers = {"content-type": "application/json", "user-agent": "notus"} | api_headers(endpoint, secret)
        self._http = self._httpx.AsyncClient(
            verify=_certificates(), limits=limits, timeout=timeout, headers=headers, follow_redirects=False
        )
        self._urls = {url: self._httpx.URL(url + api_path(endpoint)) for url in endpoint.urls}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._retrying: dict[Job, asyncio.TimerHandle] = {}
        self._silent_since: float | None = None
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
        tokens_in, tokens_out = estimate_input(request), estimate_output(request)
        # What is reserved must not be too little: chat templates add tokens, and some texts have short ones.
        max_cost = self.endpoint.price(2 * tokens_in + _TEMPLATE_TOKENS, tokens_out) or 0.0
        content = encode(request, self.endpoint, n=request.decoding.n)
        return Job(request, key, tokens_in + tokens_out, max_cost, content)

    def put(self, job: Job) -> None:
        """Let a job wait for its turn; ``pump`` sends it."""
        self.waiting.append(job)

    def stop(self) -> list[Job]:
        """Send nothing more; what is under way goes on. Gives back what was never sent."""
        self._stopped = True
        for timer in self._retrying.values():
            timer.cancel()
        left = [*self.waiting, *self._retrying]
        self.waiting.clear()
        self._retrying.clear()
        for job in left:
            if job.error is not None:
                self._hooks.finished(job, self._failure(job, job.error))
        return [job for job in left if job.error is None]

    def withdraw(self, jobs: Container[Job]) -> list[Job]:
        """Take back those of some jobs that were never sent."""
        gone = [job for job in self.waiting if job.error is None and job in jobs]
        self.waiting = deque(job for job in self.waiting if job.error is not None or job not in jobs)
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
        """Send as much as may be sent now, and schedule the next call for when more may be."""
        loop = asyncio.get_running_loop()
        while self.waiting and not self._stopped:
            now = loop.time()
            wait = self.limiter.wait(now)
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
        self.limiter.take(job.tokens, now)
        self.replicas.sent(replica, job.tokens)
        task = asyncio.create_task(self._ask(job, replica, now))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._hooks.stop(error, job)  # a bug of this module: nobody may wait for the request

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
            if isinstance(came, RequestError):
                outcome = self._on_error(job, came, replica, sent_at, loop.time())
            else:
                outcome = self._on_answer(job, came, replica, loop.time())
            if outcome is not None:
                # The place stays taken until the outcome is kept: a kill loses no more than ``concurrency`` replies.
                await self._hooks.finished(job, outcome)
        finally:
            self.limiter.release()
            loop.call_soon(self.pump)

    async def _exchange(self, job: Job, replica: Replica) -> Answer | RequestError:
        """Send the request and read the answer, or say what kept it from coming."""
        httpx = self._httpx
        n, got = job.request.decoding.n, job.got
        body = encode(job.request, self.endpoint, n=n - got, got=got) if got else job.content
        begun, received = False, bytearray()
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout),
                self._http.stream("POST", self._urls[replica.url], content=body) as response,
            ):
                begun = True
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > self.endpoint.max_bytes:
                        return RequestError(kind="body_too_large", detail=f"more than {self.endpoint.max_bytes} bytes")
        except httpx.ConnectTimeout:
            return RequestError(kind="connect_timeout", detail=f"no connection in {self.endpoint.connect_timeout:g} s")
        except (TimeoutError, httpx.TimeoutException):
            return RequestError(kind="timeout", detail=f"no whole answer in {self.endpoint.timeout:g} s")
        except httpx.ConnectError as error:
            return RequestError(kind="refused", detail=f"{replica.url}: {str(error) or 'no connection'}")
        except httpx.DecodingError as error:
            return RequestError(kind="wrong_encoding", detail=str(error))
        except httpx.ProtocolError as error:
            if begun:
                return RequestError(kind="truncated_body", detail=str(error), raw=self._decode(received))
            silent = "disconnected" in str(error)
            return RequestError(kind="connection_reset" if silent else "protocol_error", detail=str(error))
        except httpx.TransportError as error:
            return RequestError(kind="connection_reset", detail=str(error) or "the connection broke")
        content, api = bytes(received), self.endpoint.api
        return read_answer(response.status_code, response.headers, content, job.request, self._secret, api)

    def _decode(self, content: bytearray) -> str:
        """The text that came, without the key."""
        text = content.decode("utf-8", "replace")
        return text.replace(self._secret, "[key]") if self._secret else text

    def _on_answer(self, job: Job, answer: Answer, replica: Replica, now: float) -> Outcome | None:
        self.replicas.answered(replica)
        self._reached = True
        self.limiter.answered(job.tokens, answer.tokens_in + answer.tokens_out, now)
        self._silent_since, self._refusals = None, 0
        job.avoid = None
        job.parts.append(answer)
        job.tokens_in += answer.tokens_in
        job.tokens_out += answer.tokens_out
        wanted = job.request.decoding.n
        if job.got >= wanted:
            return self._reply(job)
        error = RequestError(kind="too_few_choices", detail=f"{job.got} of {wanted} answers came", raw=answer.raw)
        if self.endpoint.api == "messages" and not self._stopped:
            job.error = error  # it gives one text at a time: the others are asked for one by one
            self.waiting.appendleft(job)
            return None
        self._hooks.count_error("too_few_choices")
        return self._retry(job, error, now)

    def _on_error(self, job: Job, error: RequestError, replica: Replica, sent_at: float, now: float) -> Outcome | None:
        self._hooks.count_error(error.kind)
        job.error = error
        job.tokens_in += error.tokens_in
        job.tokens_out += error.tokens_out
        rule = error.rule
        if error.kind in _NO_RESPONSE:
            self.replicas.failed(replica, now, refused=error.kind in _NOT_CONNECTED)
            job.avoid = replica
        else:
            self.replicas.answered(replica)
        self._reached |= error.kind not in _NOT_CONNECTED
        if error.kind != "refused" and (rule.then == "wait" or error.wait_s is not None):
            self.limiter.refused(sent_at, error.wait_s, now)
        elif rule.slower:
            self.limiter.failed(sent_at, now)
        if rule.then == "wait":
            return self._wait(job, error, now)
        if rule.then == "retry":
            return self._retry(job, error, now)
        failure = self._failure(job, error)
        self._refusals += error.kind in _REFUSES_ALL
        if rule.then == "stop":
            self._stop_run(f"{error.kind}: {error.detail}")
        elif self._refusals >= _HOPELESS:
            count = self._refusals
            self._stop_run(f"{count} requests one after another refused, the last as {error.kind}: {error.detail}")
        return failure

    def _wait(self, job: Job, error: RequestError, now: float) -> Outcome | None:
        """Put a job back to the front: it waits with the whole endpoint, until the endpoint's patience ends."""
        patience, name = self.endpoint.patience, "patience"
        if not self._reached and self.endpoint.connect_patience < patience:
            patience, name = self.endpoint.connect_patience, "connect_patience"
        self._silent_since = now if self._silent_since is None else self._silent_since
        silent = now - self._silent_since
        if self._stopped:
            return self._failure(job, error)
        if silent > patience or (error.wait_s or 0.0) > patience:
            more = f"; it asks for {error.wait_s:g} s more" if error.wait_s else ""
            why = f"no answer for {silent:.0f} s: {error.kind}: {error.detail}{more} ({name} is {patience:g} s)"
            self._stop_run(why)
            return self._failure(job, error)
        self.waiting.appendleft(job)
        return None

    def _retry(self, job: Job, error: RequestError, now: float) -> Outcome | None:
        """Ask once more after a while, or give up."""
        if job.tries >= self.endpoint.retries or self._stopped:
            return self._failure(job, error)
        job.tries += 1
        wait = min(_LONGEST_BACKOFF_S, self.endpoint.backoff * 2 ** (job.tries - 1)) * random.uniform(0.5, 1)
        job.error = error
        self._retrying[job] = asyncio.get_running_loop().call_at(now + wait, self._requeue, job)
        return None

    def _requeue(self, job: Job) -> None:
        del self._retrying[job]
        self.waiting.appendleft(job)
        self.pump()

    def _stop_run(self, why: str) -> None:
        self._hooks.stop(RunError(f"endpoint '{self.endpoint.name}': {why}"), None)

    def _failure(self, job: Job, error: RequestError) -> Failure:
        return Failure(
            key=job.key,
            kind=error.kind,
            detail=error.detail,
            raw=error.raw,
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
