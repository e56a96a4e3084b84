"""The one line that says how far a single step is, on stderr while it works."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from notus.cli.terminal import ERR
from notus.core.run import Moment, observed_by
from notus.core.text import visible

__all__ = ["LiveLine"]

_PLAIN_EVERY = 60.0
"""Seconds between two lines where there is no terminal, and before the first."""


class LiveLine:
    """Shows where the work of a block stands: a line that is redrawn, or, where stderr is no terminal, a line a minute.

    Args:
        quiet: show nothing.
        console: where to.
        clock: seconds.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console = ERR, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._console = console
        self._clock = clock
        self._said = clock()
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._observed: AbstractContextManager[None] = observed_by(self._show)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._observed.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._quiet:
            return
        self._observed.__exit__(kind, error, trace)
        if self._live is not None and self._live.is_started:
            self._live.stop()

    def _show(self, moment: Moment) -> None:
        if self._live is not None:
            if not self._live.is_started:
                self._live.start()
            line = Text(
                visible(moment.describe(self._console.width - 1)), style="dim", no_wrap=True, overflow="ellipsis"
            )
            self._live.update(line, refresh=True)
        elif self._clock() - self._said >= _PLAIN_EVERY:
            self._said = self._clock()
            self._console.print(moment.describe(), soft_wrap=True, markup=False)
