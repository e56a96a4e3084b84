"""A server with the chat API that answers at once: a process of its own, so that its work is not the client's.

``python -m benchmarks.loopback [REQUESTS_PER_MINUTE]`` prints its port, and ends with its standard input. With a limit
it answers 429 above it, from a bucket of five requests.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_VALUE = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "It is right, and says why. " * 6 + "\n\n[[4]]"}}
    ],
    "usage": {"prompt_tokens": 600, "completion_tokens": 40, "total_tokens": 640},
}
_VALUE["choices"][0]["finish_reason"] = "stop"  # type: ignore[index]
_BURST = 5.0


def _http(status: str, value: object, extra: str = "") -> bytes:
    content = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n{extra}\r\n"
    return head.encode() + content


class _Bucket:
    def __init__(self, per_minute: float | None) -> None:
        self.rate = per_minute and per_minute / 60
        self.level, self.filled_at = _BURST, time.monotonic()

    def passes(self) -> bool:
        if not self.rate:
            return True
        now = time.monotonic()
        self.level = min(_BURST, self.level + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class _Connection(asyncio.Protocol):
    good, refusal = _http("200 OK", _VALUE), _http("429 Slow", {"error": {"message": "slow"}}, "retry-after: 1\r\n")

    def __init__(self, bucket: _Bucket) -> None:
        self.bucket, self.received = bucket, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            self.transport.write(self.good if self.bucket.passes() else self.refusal)  # type: ignore[attr-defined]


@contextmanager
def running(per_minute: float | None = None) -> Iterator[str]:
    """Base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loopback", *([str(per_minute)] if per_minute else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


async def _serve() -> None:
    bucket = _Bucket(float(sys.argv[1]) if len(sys.argv) > 1 else None)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(bucket), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
