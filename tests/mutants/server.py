"""A process that has the large libraries in memory, and runs pytest in children of its own: each starts at once.

It reads lines of JSON from standard input, each the arguments of a run and its seconds, and answers with a line, the
exit code of that run, or "hung". ``__main__`` starts it.
"""

import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

LIBRARIES = (
    *("numpy", "pyarrow.parquet", "pydantic", "scipy.stats", "hypothesis.strategies", "msgspec", "typer", "rich.table"),
    *("yaml", "jinja2", "torch", "safetensors.torch", "tokenizers", "peft", "accelerate", "transformers.trainer"),
    *("transformers.models.mistral.modeling_mistral", "transformers.models.auto.modeling_auto"),
)
"""What most tests import."""


def run(arguments: list[str], seconds: float) -> int | str:
    """Run pytest in a child, with a process group of its own, and end all of it when the time is over."""
    arguments = ["-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments]  # its plugins are there already
    child = os.fork()
    if child == 0:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        code = pytest.ExitCode.INTERNAL_ERROR
        try:
            code = pytest.main(arguments)
        finally:
            os._exit(int(code))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    for library in LIBRARIES:
        import_module(library)
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(run(*json.loads(line)))}\n")
        sys.stdout.flush()
