"""The toy world's judge behind a loopback endpoint: an OpenAI-compatible server that knows the truth.

It finds the task in the prompt by the fenced texts that Notus' own judge prompts hold (``llm.prompts``), marks each
answer exactly, and writes its ratings with noise in the text form that the prompts ask for. A share of its replies is
malformed in ways that real judges have. What it answers follows from the request's body alone, which also holds the
noise and that share, under ``miniature`` (the toy world's old name, which ledgers store): so they count for the key of
a request, as with any other judge.
"""

import hashlib
import json
import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from notus.core.records import ASPECTS, Rating
from notus.llm.prompts import FENCED, restore
from notus.toy import judge
from notus.toy.rankers import classify
from notus.toy.tasks import Task, find

__all__ = ["MODEL", "JudgeServer", "reply_to"]

MODEL = "miniature-judge"
"""The name under which the server knows its one model. Ledgers store it, so the toy world's old name stays."""
_LARGEST = 2**22
_RECOGNISED_BY = {
    "instruction_following": "does what the instruction asks",
    "honesty": "honestly each answer speaks",
    "truthfulness": "free of things that are made up",
    "helpfulness": "helps the one who asked",
    "critique": "Overall score:",
    "requirement": "meet one requirement",
}
"""What is asked → words of the prompt by which it is recognised."""


class JudgeServer:
    """The server, on a free port of the loopback interface. Use it as a context manager."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="notus-toy-judge", daemon=True)

    @property
    def url(self) -> str:
        """Base of the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def reply_to(body: Any) -> str:
    """The judge's reply to the body of a chat request.

    ``body["miniature"]`` may hold ``noise``, the standard deviation of each rating's noise in points (0.8), and
    ``malformed``, the probability that a reply is malformed (0.1).

    Raises:
        ValueError: if the prompt is none of Notus' own judge prompts, or asks nothing of this world.
    """
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    options = body.get("miniature") or {}
    noise, malformed = float(options.get("noise", 0.8)), float(options.get("malformed", 0.1))
    text = "\n".join(str(message["content"]) for message in body["messages"])
    fenced = [(found["slot"], restore(found["text"])) for found in FENCED.finditer(text)]
    data = dict(fenced)
    asked = FENCED.sub("", text)
    what = next((name for name, words in _RECOGNISED_BY.items() if words in asked), None)
    task = find(data.get("instruction", ""))
    if what is None or task is None:
        raise ValueError("the prompt asks nothing of the toy world in the form of Notus' own judge prompts")
    rng = random.Random(hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=8).hexdigest())
    if what == "critique":
        reply = _critique(task, data["answer"], rng, noise)
    elif what == "requirement":
        reply = _requirement(task, data["answer"], data["requirement"], rng, noise)
    else:
        answers = [answer for slot, answer in fenced if slot.startswith("answer_")]
        reply = "\n\n".join(
            f"Answer {number}\n{_block(what, _rate_answer(task, answer, rng, noise)[what])}"
            for number, answer in enumerate(answers, start=1)
        )
    return rng.choice(_MALFORMED)(reply) if rng.random() < malformed else reply


def _rate_answer(task: Task, text: str, rng: random.Random, noise: float) -> dict[str, Rating]:
    ratings = judge.rate(classify(task, text), rng, noise=noise, shared_noise=noise / 2, not_applicable=0.05)
    return dict(zip(ASPECTS, ratings, strict=True))


def _block(aspect: str, rating: Rating) -> str:
    grade = "N/A" if rating.value is None else f"{rating.value:.0f}"
    types = f"Type: {', '.join(rating.types)}\nRationale: {rating.types_rationale}\n" if rating.types else ""
    return f"{types if aspect in ('helpfulness', 'truthfulness') else ''}Rating: {grade}\nRationale: {rating.rationale}"


def _critique(task: Task, text: str, rng: random.Random, noise: float) -> str:
    answer = classify(task, text)
    words = judge.critique(task, answer, rng)
    return f"{words}\n\nOverall score: {judge.score(judge.impress(answer, rng, noise=noise)):.0f}"


def _requirement(task: Task, text: str, requirement: str, rng: random.Random, noise: float) -> str:
    """Whether an answer meets a requirement: one that speaks of what is right by the fact, any other by the tone. A
    point of noise turns one verdict in ten."""
    answer = classify(task, text)
    met = answer.correct if "right" in requirement else answer.style not in ("rude", "junk")
    turned = rng.random() < noise / 10
    return f"This is what I see in the answer.\n\n[[{int(met != turned)}]]"


_MALFORMED: tuple[Callable[[str], str], ...] = (
    lambda reply: reply.replace("Rating: ", "Rating: quite ").replace("score: ", "score: about "),
    lambda reply: reply.rpartition("\n\n")[0],
    lambda reply: f"{reply}\n\n{reply}\nOverall score: 11",
    lambda _: "I would rather talk about the weather.",
    lambda reply: '{"answers": [' + json.dumps(reply),
    lambda reply: reply.replace("Rating: 4", "Rating: 3-4").replace("Rating: 5", "Rating: high").replace("score: ", ""),
)
"""Words in place of a number, a lost part, everything twice, chatter, broken JSON, ranges."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # head and body in one packet

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= _LARGEST or not self.path.endswith("/chat/completions"):
            self._send(404, {"error": {"message": "POST /v1/chat/completions is all there is"}})
            return
        try:
            text = reply_to(json.loads(self.rfile.read(length)))
        except (ValueError, KeyError, TypeError) as error:
            self._send(400, {"error": {"message": str(error)}})
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(200, {"object": "chat.completion", "model": MODEL, "choices": [choice]})

    def _send(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: stderr belongs to the command line."""
