"""What the machine refuses: one line, exit code 1, nothing damaged; and what is said at Ctrl-C."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from notus.cli.advice import stopped_line
from notus.cli.main import COMMANDS
from notus.core.errors import (
    ConfigError,
    DataError,
    InputError,
    RunError,
    as_told,
    cannot_write,
    check_space,
    system_error,
)
from tests.helpers.full_disk import COMMANDS as WRITERS
from tests.helpers.full_disk import NoMountError, Point, make_inputs, small_disk


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, ("no space", "are free", "make room", "same command")),
        (errno.EDQUOT, ("quota", "are free")),
        (errno.EROFS, ("read-only", "--out")),
        (errno.EMFILE, ("too many files", "ulimit -n")),
        (errno.ENOMEM, ("memory", "smaller model")),
    ],
)
def test_each_refusal_says_what_was_done_and_the_way_out(tmp_path, number, words):
    told = cannot_write(tmp_path / "table.parquet", OSError(number, "what the system says"))
    assert isinstance(told, RunError)
    assert told.exit_code == 1
    assert str(told).startswith(f"cannot write {tmp_path / 'table.parquet'}: ")
    assert all(word in str(told) for word in words)
    assert "\n" not in str(told)


def test_what_the_user_gave_stays_exit_code_2(tmp_path):
    for number in (errno.ENOENT, errno.EACCES, errno.EISDIR):
        assert isinstance(cannot_write(tmp_path / "a", OSError(number, "x")), DataError)
        assert system_error(OSError(number, "x")) is None
    assert as_told(KeyError("a bug")) is None
    assert as_told(ValueError("disk is full")) is None


def test_an_error_that_was_made_of_a_refusal_is_one(tmp_path):
    def made(cause):
        try:
            try:
                raise cause
            except OSError:
                raise ConfigError(f"cannot write {tmp_path}") from None
        except ConfigError as error:
            return as_told(error)

    assert isinstance(made(OSError(errno.ENOSPC, "x")), RunError)
    assert isinstance(made(OSError(errno.ENOENT, "x")), InputError)


@pytest.mark.parametrize(
    "said",
    ["I/O error: No space left on device (os error 28)", "file write failed", "database or disk is full"],
)
def test_libraries_that_keep_no_number_are_understood(said):
    assert "no space" in str(as_told(RuntimeError(f"library: {said}")))


def test_memory_that_is_used_up_is_no_bug():
    assert as_told(MemoryError()).exit_code == 1
    assert "memory" in str(
        as_told(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"))
    )


def test_room_is_asked_for_before_the_work(tmp_path):
    check_space(tmp_path / "not" / "there" / "yet", 1, "a little")
    with pytest.raises(RunError, match=r"no space for much: about 1,000,000,000\.0 GB .*are free; make room"):
        check_space(tmp_path / "not" / "there" / "yet", 1e18, "much")


@pytest.fixture
def scratch(tmp_path):
    """A folder of inputs, on a machine where a disk can be mounted."""
    try:
        with small_disk(tmp_path / "disk", 1 << 20):
            pass
    except NoMountError as why:
        pytest.skip(str(why))
    make_inputs(tmp_path / "given")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "share"), [("audit", 0.3), ("clean", 0.8), ("binarize", 0.4), ("export", 0.7), ("train sft", 0.9)]
)
def test_a_disk_that_becomes_full(scratch, name, share):
    assert name in WRITERS
    point = Point(name, scratch / "given", scratch)
    whole, size = point.whole()
    assert point.try_at(int(share * size), whole)[0] == "said"


@pytest.mark.slow
def test_a_read_only_place_is_said_before_the_work(scratch):
    with small_disk(scratch / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        words = ["audit", str(scratch / "given" / "feedback.jsonl"), "--out", str(disk / "out")]
        done = subprocess.run([sys.executable, "-m", "notus", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "read-only" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_command_says_how_to_go_on():
    for command in COMMANDS:
        assert stopped_line(command).startswith("stopped; ")
        assert "the same command" in stopped_line(command)
    assert "checkpoint" in stopped_line("train")
    assert "not asked again" in stopped_line("collect")


def test_ctrl_c_in_a_step_of_data_says_how_to_go_on(tmp_path):
    row = {"messages": [{"role": "user", "content": "hot?"}, {"role": "assistant", "content": "cold. " * 50}]}
    with (tmp_path / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(row | {"id": str(number)}) + "\n" for number in range(60_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "notus", "clean", "rows.jsonl", "--out", "out"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "out" / "log.txt").is_file() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    told = [line for line in said.splitlines() if line.startswith("notus: ")]
    assert process.returncode == 130, said
    assert told == ["notus: stopped; the same command begins this step again, in the same directory"]
    assert "Traceback" not in said
