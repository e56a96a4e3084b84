import random
import shutil
import signal
import time

import pytest

from notus.train.run.checkpoints import Checkpoints
from tests.helpers.going_on import KINDS, assert_equal, make_start, train
from tests.helpers.killing import POINTS, kill_behind, start_training


class Killed(BaseException):
    """Ends a training as a kill does: nothing of ours catches it."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("dropping") / "model", dropout=0.2)


@pytest.fixture
def stop_behind(monkeypatch):
    """Ends a training behind its n-th checkpoint."""

    def stop(number):
        written = []
        write = Checkpoints.write

        def counted(self, *args):
            place = write(self, *args)
            written.append(place)
            if len(written) == number:
                raise Killed
            return place

        monkeypatch.setattr(Checkpoints, "write", counted)

    return stop


def check(kind, every, number, begun, folder, stop_behind, monkeypatch):
    """Stop a training behind its n-th checkpoint, go on, and hold the end against that of one that nobody stopped."""
    train(kind, folder / "whole", begun, save_every="never")
    with monkeypatch.context():
        stop_behind(number)
        with pytest.raises(Killed):
            train(kind, folder / "stopped", begun, save_every=every)
    monkeypatch.undo()
    train(kind, folder / "stopped", begun, save_every=every)
    assert_equal(folder / "whole", folder / "stopped")
    assert f"goes on behind update {int(every) * number} of " in (folder / "stopped" / "log.txt").read_text()
    assert not (folder / "stopped" / "checkpoints").exists()


# Of 15 updates (30 where a pair is two rows), 6 (12) an epoch: behind the 3rd, between two lines of the log and with
# metrics summed up; behind the 6th, an epoch's end; behind the 14th, in the third epoch.
@pytest.mark.parametrize(
    ("kind", "every", "number"),
    [("sft-lora", "6", 1), ("dpo-dropout", "3", 1), ("bco", "7", 2)],
)
def test_the_end_is_that_of_a_run_that_nobody_stopped(
    kind, every, number, start, dropping, tmp_path, stop_behind, monkeypatch
):
    begun = dropping if kind == "dpo-dropout" else start
    check(kind, every, number, begun, tmp_path, stop_behind, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_training_goes_on(kind, start, dropping, tmp_path, stop_behind, monkeypatch):
    begun = dropping if kind == "dpo-dropout" else start
    check(kind, "7", 1, begun, tmp_path, stop_behind, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("every", ["1", "3", "6", "13"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_training_goes_on_from_anywhere(kind, every, start, dropping, tmp_path, stop_behind, monkeypatch):
    begun = dropping if kind == "dpo-dropout" else start
    check(kind, every, 1, begun, tmp_path, stop_behind, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_of_a_save_leaves_what_training_goes_on_from(point, start, tmp_path, capfd):
    train("bco", tmp_path / "whole", start, save_every="never")
    process = start_training("bco", tmp_path / "killed", start, save_every="3", point=point)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    train("bco", tmp_path / "killed", start, save_every="3")
    behind = 9 if point in ("renamed", "removing") else 6
    assert f"goes on behind update {behind} of 15" in capfd.readouterr().err
    assert_equal(tmp_path / "whole", tmp_path / "killed")


def killed_anywhere(kind, times, start, folder, seed):
    """A run that is killed at random moments until it has been so often, then goes on to its end."""
    drawn = random.Random(seed)
    began = time.monotonic()
    whole = start_training(kind, folder / "whole", start, save_every="never")
    whole.join()
    assert whole.exitcode == 0
    lasts = time.monotonic() - began
    kills = 0
    for _ in range(20 * times):
        run = folder / f"killed-{kills}"
        process = start_training(kind, run, start, save_every="1")
        killed = kill_behind(process, drawn.uniform(0.3, 1.2) * lasts) == -signal.SIGKILL
        kills += killed
        if killed:
            start_training(kind, run, start, save_every="1").join()
        assert_equal(folder / "whole", run)
        shutil.rmtree(run)
        if kills == times:
            return
    raise AssertionError(f"only {kills} kills came before the end")


@pytest.mark.slow
def test_a_kill_at_any_moment_changes_nothing(start, tmp_path):
    killed_anywhere("dpo-lora", 3, start, tmp_path, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sft", "dpo", "bco", "kto", "reward-model", "pairrm"])
def test_thirty_kills_change_nothing(kind, start, tmp_path):
    killed_anywhere(kind, 5, start, tmp_path, seed=len(kind))
