"""A review page that is really served on the loopback interface, over data written by hand, and a real browser."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from notus.decisions.ruling import Ruling, in_force
from notus.decisions.store import Store, open_store

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def feedback_row(
    prompt: str, answers: Sequence[tuple[str, float, float, str]], source: str = "plain"
) -> dict[str, Any]:
    """A row in UltraFeedback's layout.

    Args:
        prompt: its text.
        answers: of each its text, its overall score, the rating that all aspects have, and the critique.
        source: of the prompt.
    """
    models = [f"model-{place}" for place in range(len(answers))]
    completions = [
        {
            "annotations": {aspect: {"Rating": f"{rating:g}", "Rationale": f"On {aspect}."} for aspect in ASPECTS},
            "critique": critique,
            "custom_system_prompt": "Answer kindly.",
            "fine-grained_score": rating,
            "model": model,
            "overall_score": score,
            "principle": "helpfulness",
            "response": text,
        }
        for model, (text, score, rating, critique) in zip(models, answers, strict=True)
    ]
    return {"source": source, "instruction": prompt, "models": models, "completions": completions} | {
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair_row(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    def turns(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]

    return {"prompt": prompt, "chosen": turns(chosen), "rejected": turns(rejected), **more}


@dataclass
class Served:
    """A page that is served, and the store that its decisions go to."""

    port: int
    store: Store
    access: Any
    desk: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def force(self) -> list[Ruling]:
        return in_force(self.store.rulings())

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers, by a client that sends exactly what it is told."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = {"Host": f"127.0.0.1:{self.port}"} | (headers or {})
            for name, value in given.items():
                if value:
                    connection.putheader(name, value)
            if body is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return (
                answer.status,
                answer.read().decode("utf-8", "replace"),
                {k.lower(): v for k, v in answer.getheaders()},
            )
        finally:
            connection.close()

    def own_headers(self) -> dict[str, str]:
        """What our page's own script sends with a decision."""
        return {
            "Origin": self.url,
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
            "x-notus-page": self.access.csrf,
        }


@contextmanager
def served(source: Path, decisions: Path, *, who: str = "ana", blind: bool = False, **access: Any) -> Iterator[Served]:
    """Serve a source until the block ends."""
    pytest.importorskip("fastapi")
    pytest.importorskip("duckdb")
    import uvicorn

    from notus.review.app import make_app
    from notus.review.deciding import Desk
    from notus.review.open import open_review
    from notus.review.pages import Person
    from notus.review.security import Access

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    allowed = Access.make(access.get("host", "127.0.0.1"), port, access.get("token"))
    with (
        open_store(decisions, create=True) as store,
        open_review(source, decisions=store, cache=decisions.parent / "cache", workers=1) as review,
    ):
        desk = Desk(review, store)
        app = make_app(desk, allowed, Person(who, blind))
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none", proxy_headers=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield Served(port, store, allowed, desk)
        finally:
            server.should_exit = True
            thread.join(10)
