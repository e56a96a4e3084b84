"""The line that says how far a step is: redrawn on a terminal, now and then elsewhere, never in the way of results."""

from io import StringIO

import pytest
from rich.console import Console

from notus.cli.live import LiveLine
from notus.core.run import Run
from notus.train.run.progress import Moment


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        yield run


def told(run, *, terminal, quiet=False, width=80):
    clock, screen = Clock(), StringIO()
    console = Console(file=screen, force_terminal=terminal, width=width, highlight=False, color_system=None)
    with LiveLine(quiet=quiet, console=console, clock=clock):
        for update in range(1, 10):
            clock.now += 25.0
            run.tell(Moment(update, 9, "pairs", loss=0.5))
    run.tell(Moment(9, 9, "pairs"))  # nobody looks any more
    return screen.getvalue()


def test_without_a_terminal_there_is_a_line_a_minute(run):
    assert told(run, terminal=False).splitlines() == [f"{n} of 9 updates · loss 0.5" for n in (3, 6, 9)]


def test_on_a_terminal_the_line_is_redrawn_and_taken_away(run):
    screen = told(run, terminal=True)
    assert all(f"{n} of 9 updates · loss 0.5" in screen for n in range(1, 10))
    assert screen.count("\n") <= 2
    assert screen.rstrip().endswith("\x1b[2K")  # the line is cleared


def test_quiet_is_quiet(run):
    assert told(run, terminal=True, quiet=True) == ""
