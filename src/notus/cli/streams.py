"""What all output goes through: characters of data that would steer a terminal are shown, and never sent.

    with guarded_streams():          # print, warnings, logs of libraries
        OUT.print(…)                 # rich, whose own colours are sent

Owns standard output and error of the command line: which characters are shown (``core.text.visible``), that a text that
the terminal's encoding does not have is escaped, and that a reader who has seen enough (``| head``) is no failure: what
is printed from there on goes nowhere, and the work is done to its end.
"""

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich.console import Console
from rich.segment import Segment

from notus.core.text import visible

__all__ = ["SafeConsole", "guarded_streams"]

_REDRAWN = re.compile(r"(\r(?!\n)|\x1b\[A)")
"""What libraries redraw the line of a progress bar with; on standard error it is sent."""


class SafeConsole(Console):
    """rich's console; what steers a terminal is sent where rich itself says so, and shown where a text holds it."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does. Texts are made visible before they are measured, so that tables keep their columns."""
        super().print(*(visible(each) if isinstance(each, str) else each for each in objects), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            each if each.control else Segment(visible(each.text), each.style) for each in buffer
        )


@contextmanager
def guarded_streams() -> Iterator[list[OSError]]:
    """Let all that is written to standard output and error in a block go through a guard.

    Yields:
        What stopped either from being written, but for a reader who left; complete when the block has ended.
    """
    before = sys.stdout, sys.stderr
    failures: list[OSError] = []
    sys.stdout, sys.stderr = (cast("TextIO", _Guard(stream, failures)) for stream in before)
    try:
        yield failures
    finally:
        for guard in (sys.stdout, sys.stderr):
            guard.flush()
        sys.stdout, sys.stderr = before


class _Guard(io.TextIOBase):
    """A stream of text that shows what would steer a terminal. rich knows what it does, and writes behind it."""

    def __init__(self, stream: TextIO, failures: list[OSError]) -> None:
        self.rich_proxied_file = _lasting(stream, failures)
        self._sent = _REDRAWN if stream is sys.stderr else None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the stream has it."""
        return self.rich_proxied_file.encoding

    @property
    def buffer(self) -> Any:
        """Of bytes, which nobody writes but what takes over the stream as a whole."""
        return self.rich_proxied_file.buffer

    def write(self, text: str) -> int:
        """Write a text with its control characters visible."""
        parts = self._sent.split(text) if self._sent else [text]
        self.rich_proxied_file.write("".join(part if n % 2 else visible(part) for n, part in enumerate(parts)))
        return len(text)

    def flush(self) -> None:
        """Send what was written."""
        self.rich_proxied_file.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """As the stream says."""
        return self.rich_proxied_file.isatty()

    def fileno(self) -> int:
        """As the stream says."""
        return self.rich_proxied_file.fileno()


class _Pipe(io.FileIO):
    """A file descriptor; once it cannot be written, what is written goes nowhere: the work is worth more."""

    def __init__(self, descriptor: int, failures: list[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._failures = failures

    def write(self, data: Any, /) -> int:
        """Write what can be written; the number of bytes is given back."""
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self._failures.append(error)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())  # libraries that write past us are to meet no closed pipe either
            os.close(null)
            return len(data)


def _lasting(stream: TextIO, failures: list[OSError]) -> TextIO:
    """The same stream: without an end when its reader leaves, and without a character that it cannot write."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # a test's, or a notebook's
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(descriptor, failures)),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors in ("strict", "surrogateescape", None) else stream.errors,
        line_buffering=stream.isatty() or stream is sys.stderr,
    )
