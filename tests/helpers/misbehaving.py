"""A real server on loopback that speaks the chat API and, where a prompt asks for it, misbehaves in a named way.

The last message of a request is ``fault=NAME*TIMES …``: the first ``TIMES`` requests of that very text are treated as
``FAULTS[NAME]`` says, and later ones are answered. The answer follows from the request alone. The server counts what
came and what it answered in full, by text. It runs in a thread of the test, or alone: ``python -m
tests.helpers.misbehaving [REQUESTS_PER_MINUTE]`` prints its port.
"""

import asyncio
import gzip
import hashlib
import json
import re
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 429: "Too Many Requests", 500: "Server Error"}


def http(status, content, *headers, kind="application/json", length=None):
    """An HTTP answer as bytes; ``length`` may lie."""
    content = content if isinstance(content, bytes) else content.encode()
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *([f"content-type: {kind}"] if kind else [])]
    lines += [f"content-length: {len(content) if length is None else length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def error(status, message, code=None, *headers):
    return http(status, json.dumps({"error": {"message": message, "type": "test", "code": code}}), *headers)


def text_for(body, number=0):
    """The answer to a request: any change of what determines it changes the text."""
    asked = {key: value for key, value in body.items() if key not in ("n", "seed")}
    seed = body.get("seed")
    given = json.dumps([asked, None if seed is None else seed + number, number if seed is None else 0], sort_keys=True)
    return f"Answer {hashlib.sha256(given.encode()).hexdigest()[:12]}."


def choice(text="Fine.", finish="stop", **more):
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish} | more


def completion(*choices, usage=True, **more):
    value = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": list(choices)}
    value |= {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}} if usage else {}
    return json.dumps(value | more)


def regular(body):
    count = body.get("n", 1)
    choices = []
    for number in range(count):
        item = choice(text_for(body, number)) | {"index": number}
        if body.get("logprobs"):
            top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2.5}]
            item["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
        choices.append(item)
    return http(200, completion(*choices))


class CutError(Exception):
    """Break the connection off, by closing or by a reset."""


def reset(_):
    raise CutError("reset")


def close_unheard(_):
    raise CutError("close")


def date_in(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def fewer(body):
    """Of n answers only the first comes."""
    return regular(body | {"n": 1})


GOOD = completion(choice())
DEEP = "[" * 100_000
FAULTS = {
    "429": lambda _: error(429, "slow down"),
    "429-seconds": lambda _: error(429, "slow down", None, "retry-after: 0.05"),
    "429-date": lambda _: error(429, "slow down", None, f"retry-after: {date_in(-1)}"),
    "429-nonsense": lambda _: error(429, "slow down", None, "retry-after: soon"),
    "429-html": lambda _: http(429, "<html>Too many</html>", kind="text/html"),
    "429-quota": lambda _: error(429, "You exceeded your quota", "insufficient_quota"),
    "402": lambda _: error(402, "pay first"),
    "500": lambda _: error(500, "inner"),
    "500-empty": lambda _: http(500, b""),
    "502-html": lambda _: http(502, "<html>Bad Gateway</html>", kind="text/html"),
    "503": lambda _: error(503, "busy"),
    "503-wait": lambda _: error(503, "busy", None, "retry-after: 0"),
    "529": lambda _: error(529, "overloaded"),
    "408": lambda _: error(408, "too slow"),
    "silence": lambda _: "silence",
    "drip": lambda _: "drip",
    "drip-headers": lambda _: "drip-headers",
    "reset": reset,
    "close": close_unheard,
    "close-in-headers": lambda _: (b"HTTP/1.1 200 OK\r\ncontent-ty", CutError("close")),
    "truncated": lambda _: (http(200, GOOD)[:-40], CutError("close")),
    "truncated-chunks": lambda _: (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n20\r\n" + b" " * 32,
        CutError("close"),
    ),
    "no-http": lambda _: (b"220 smtp.example ready\r\n\r\n", CutError("close")),
    "bad-json": lambda _: http(200, '{"choices": [{'),
    "deep-json": lambda _: http(200, DEEP),
    "nan": lambda _: http(200, completion(choice(), score=float("nan"))),
    "empty-body": lambda _: http(200, b""),
    "json-list": lambda _: http(200, f"[{GOOD}]"),
    "json-null": lambda _: http(200, "null"),
    "duplicate-keys": lambda _: http(200, GOOD[:-1] + ', "choices": []}'),
    "html": lambda _: http(200, "<!DOCTYPE html><p>Log in", kind="text/html"),
    "html-as-json": lambda _: http(200, "<!DOCTYPE html><p>Log in"),
    "plain": lambda _: http(200, GOOD, kind="text/plain"),
    "events": lambda _: http(200, f"data: {GOOD}\n\n", kind="text/event-stream"),
    "latin-1": lambda _: http(200, completion(choice("café")).encode().replace(b"\\u00e9", b"\xe9")),
    "surrogate": lambda _: http(200, GOOD.replace("Fine.", "Fine \\ud83d")),
    "broken-gzip": lambda _: http(200, gzip.compress(GOOD.encode())[20:], "content-encoding: gzip"),
    "huge": lambda _: http(200, b" " * 300_000 + GOOD.encode()),
    "error-in-200": lambda _: http(200, json.dumps({"error": {"message": "upstream failed"}})),
    "error-429-in-200": lambda _: http(200, json.dumps({"error": {"message": "slow down", "code": 429}})),
    "no-choices": lambda _: http(200, completion()),
    "choices-null": lambda _: http(200, json.dumps({"choices": None})),
    "choice-null": lambda _: http(200, completion(None)),
    "null-content": lambda _: http(200, completion(choice(None))),
    "tool-call": lambda _: http(200, completion(choice(None, "tool_calls"))),
    "fewer": fewer,
    "no-logprobs": lambda _: http(200, GOOD),
    "odd-logprobs": lambda _: http(200, completion(choice(logprobs={"content": [{"token": "A", "logprob": None}]}))),
    "filter": lambda _: http(200, completion(choice(None, "content_filter"))),
    "filter-text": lambda _: http(200, completion(choice("I wi", "content_filter"))),
    "filter-400": lambda _: error(400, "The response was filtered", "content_filter"),
    "too-long": lambda _: error(400, "This model's maximum context length is 4096 tokens", "context_length_exceeded"),
    "too-long-text": lambda _: http(400, json.dumps({"message": "the prompt is too long for max_model_len 512"})),
    "400": lambda _: error(400, "temperature must be below 2"),
    "413": lambda _: error(413, "too big"),
    "422": lambda _: http(422, json.dumps({"detail": [{"msg": "field required"}]})),
    "401": lambda _: error(401, "Incorrect API key provided: KEY", "invalid_api_key"),
    "403": lambda _: error(403, "not in your country"),
    "404-model": lambda _: error(404, "The model `m` does not exist", "model_not_found"),
    "404": lambda _: http(404, "Not Found", kind="text/plain"),
    "405": lambda _: error(405, "Method Not Allowed"),
    "redirect": lambda _: http(302, b"", "location: http://elsewhere.invalid/v1?key=KEY"),
    # What is odd and yet an answer:
    "no-usage": lambda _: http(200, completion(choice("Four is the answer."), usage=False)),
    "odd-usage": lambda _: http(
        200, completion(choice("Four is the answer."), usage=False, usage_={}).replace("usage_", "usage")
    ),
    "length": lambda _: http(200, completion(choice("Cut of", "length"))),
    "empty-text": lambda _: http(200, completion(choice(""))),
    "same-id": lambda _: http(200, GOOD),
    "no-content-type": lambda _: http(200, GOOD, kind=None),
    "gzip": lambda _: http(200, gzip.compress(GOOD.encode()), "content-encoding: gzip"),
    "more": lambda _: http(200, completion(choice("One."), choice("Two.") | {"index": 1})),
    "closes-after": lambda _: (http(200, GOOD, "connection: close"), CutError("close")),
    "other-order": lambda _: http(200, completion(choice("Two.") | {"index": 1}, choice("One."))),
}


class Server:
    """The server; a context manager. ``url`` is the base of its API.

    Args:
        per_minute: how many requests it takes in a minute, 429 above; None takes all.
        burst: size of the bucket.
        latency: seconds before each answer.
        port: 0 takes any.
    """

    def __init__(self, per_minute=None, burst=1, latency=0.0, port=0):
        self.came, self.answered = Counter(), Counter()
        self.keys = Counter()
        self.at_once = self.most_at_once = 0
        self.limited = []
        """Time and whether it was let through, of each request, where there is a limit."""
        self._rate, self._burst, self._latency = per_minute and per_minute / 60, burst, latency
        self._level, self._filled_at = float(burst), time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**24, backlog=1024)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self):
        self._server.close()
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)[1])
                body = json.loads(await reader.readexactly(length))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await self._answer(body, head, writer)
                finally:
                    self.at_once -= 1
        except CutError as cut:
            if str(cut) == "reset":
                writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, body, head, writer):
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        key = re.search(rb"authorization: bearer (\S+)", head, re.IGNORECASE)
        self.keys[key[1].decode() if key else ""] += 1
        self.came[text] += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        if self._rate and not self._let_through():
            writer.write(error(429, "slow down", None, "retry-after: 1"))
            return
        asked = re.match(r"fault=([\w-]+)\*(\d+)", text)
        if not asked or self.came[text] > int(asked[2]):
            if not writer.is_closing():
                # Before it is written: whoever has read the answer may look at the count.
                self.answered[text] += 1
                writer.write(regular(body))
                await writer.drain()
            return
        given = FAULTS[asked[1]](body)
        await self._misbehave(given, writer, key[1] if key else b"KEY")

    async def _misbehave(self, given, writer, key):
        if given == "silence":
            await asyncio.sleep(60)
        elif given in ("drip", "drip-headers"):
            content = http(200, " " * 600 + GOOD)
            start = 10 if given == "drip-headers" else content.index(b"\r\n\r\n") + 4
            writer.write(content[:start])
            for place in range(start, len(content)):
                if writer.is_closing():
                    return
                await asyncio.sleep(0.1)
                writer.write(content[place : place + 1])
        else:
            content, end = given if isinstance(given, tuple) else (given, None)
            writer.write(content.replace(b"KEY", key))
            await writer.drain()
            if end is not None:
                raise end

    def _let_through(self):
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        passes = self._level >= 1
        self._level -= passes
        self.limited.append((now, passes))
        return passes


if __name__ == "__main__":
    with Server(float(sys.argv[1]) if len(sys.argv) > 1 else None) as alone:
        sys.stdout.write(f"{alone.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
