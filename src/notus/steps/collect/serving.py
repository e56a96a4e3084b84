"""Servers that a step starts for itself on the loopback interface, and ends: a local model, the judge of the toy world.

Owns the processes. What is asked of them is the business of ``steps.collect.asking``.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notus.core.disk.hashes import hash_model
from notus.core.errors import RunError, require
from notus.core.run import read_json
from notus.llm.endpoint import Endpoint
from notus.toy.server import MODEL as JUDGE_MODEL
from notus.toy.server import JudgeServer

__all__ = ["served_model", "toy_judge"]

_START_S = 180.0


_CHILD = """
import os, sys, threading, time
parent = int(sys.argv.pop(1))
def watch():
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
from transformers.cli.transformers import main
main()
"""
"""The server's process. It ends with the one that started it, however that one ended."""


@contextmanager
def served_model(folder: Path, name: str, log: Path) -> Iterator[Endpoint]:
    """Serve a model folder with ``transformers serve``, and give the endpoint that asks it.

    That server samples only if the generation config of a request says so (a temperature alone leaves it greedy,
    without a word), takes neither ``top_k`` nor ``repetition_penalty`` nor ``n``, and sets its seed for all requests at
    once: so the endpoint sends a generation config, and one request at a time.

    Args:
        folder: the model.
        name: of the endpoint.
        log: where the server's output goes.

    Raises:
        MissingExtraError: if the server's libraries are not installed.
        RunError: if it ends or does not answer.
    """
    for library in ("torch", "transformers", "fastapi", "uvicorn", "openai"):
        require(library, extra="serve")
    port, model = _free_port(), f"local-{hash_model(str(folder))}"
    with tempfile.TemporaryDirectory(prefix="notus-serve-") as place:
        # The server knows a model by its path, and requests by the name of the model: so the name is made of the
        # model's content, and the ledger finds its answers again wherever it lies.
        (Path(place) / model).symlink_to(folder.resolve(), target_is_directory=True)
        with _server_process(model, port, Path(place), log) as process:
            _wait_for(process, port, log)
            yield Endpoint(
                name=name,
                model=model,
                urls=(f"http://127.0.0.1:{port}/v1",),
                concurrency=1,
                retries=2,
                price_in=0.0,
                price_out=0.0,
                body={"generation_config": _generation_config(folder)},
            )


@contextmanager
def toy_judge(name: str, *, noise: float, malformed: float) -> Iterator[Endpoint]:
    """The toy world's judge behind an endpoint."""
    with JudgeServer() as server:
        yield Endpoint(
            name=name,
            model=JUDGE_MODEL,
            urls=(server.url,),
            concurrency=8,
            price_in=0.0,
            price_out=0.0,
            # The key is stored in ledgers, where it is part of a request: it stays.
            body={"miniature": {"noise": noise, "malformed": malformed}},
        )


@contextmanager
def _server_process(model: str, port: int, place: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--log-level", "error"]
    command = [sys.executable, "-c", _CHILD, str(os.getpid()), "serve", model, *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  our own interpreter, and a folder
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=place,
            start_new_session=True,  # Ctrl-C is for the step, which still has answers to fetch
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RunError(f"transformers serve ended with code {process.returncode} while starting; see {log}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise RunError(f"transformers serve did not answer within {_START_S:.0f} s; see {log}")


def _generation_config(folder: Path) -> str:
    """The model's generation config as JSON, with sampling on: a temperature of 0 still takes the likeliest token."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.is_file() else {}
    kept = {key: value for key, value in config.items() if key.endswith("token_id")}
    from notus.engine.load import load_tokenizer
    from notus.engine.text.stops import all_stops

    named, stops = kept.get("eos_token_id"), all_stops(kept.get("eos_token_id"), load_tokenizer(str(folder)))
    if set(stops) != set(named if isinstance(named, list) else [named]):
        kept["eos_token_id"] = stops
    return json.dumps({**kept, "do_sample": True, "top_k": 0}, sort_keys=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
