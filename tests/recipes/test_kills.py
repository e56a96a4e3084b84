"""A run that is killed goes on with the same command, and ends with the same bits."""

import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.recipes.test_experiment import notus, results


def begin(recipe, out):
    command = [sys.executable, "-m", "notus", "run", str(recipe), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed_runs(recipe, out, kills, seed):
    """Start the run and kill it after a random time, again and again; then let it end."""
    rng = random.Random(seed)
    for _ in range(kills):
        process = begin(recipe, out)
        time.sleep(rng.uniform(0.5, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)  # the workers see within a fifth of a second that their parent is gone
    done = notus("run", recipe, "--out", out)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_four_kills(tiny_recipe, tiny_run, tmp_path):
    killed_runs(tiny_recipe, tmp_path / "demo", kills=4, seed=1)
    assert results(tmp_path / "demo") == results(tiny_run)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_kills(tiny_recipe, tiny_run, tmp_path, seed):
    killed_runs(tiny_recipe, tmp_path / "demo", kills=10, seed=seed)
    assert results(tmp_path / "demo") == results(tiny_run)


def test_workers_end_with_their_parent(tiny_recipe, tmp_path):
    """Otherwise a step would go on writing behind the back of the next run."""
    process = begin(tiny_recipe, tmp_path / "run")
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while not children and time.monotonic() < deadline:
        time.sleep(0.1)
        children = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in "".join(child.cmdline())
        ]
    process.kill()
    process.wait()
    assert children, "no worker was seen"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_two_runs_never_work_in_one_directory(tiny_recipe, tmp_path):
    process = begin(tiny_recipe, tmp_path / "run")
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "steps").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = notus("run", tiny_recipe, "--out", tmp_path / "run")
        assert second.returncode == 1
        assert "another process is at work" in second.stderr
    finally:
        process.kill()
        process.wait()
