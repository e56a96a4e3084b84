import json
import math
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import torch

from notus.core.errors import ConfigError, InterruptedRunError, RunError
from notus.engine.load import load_model
from notus.train.run.checkpoints import Checkpoints
from notus.train.run.keeping import Keeping
from notus.train.trainer import UpdateTrainer
from tests.helpers import going_on
from tests.helpers.going_on import assert_equal, make_start, pairs, result, train


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """An SFT run that nobody stopped, with all its checkpoints."""
    path = tmp_path_factory.mktemp("whole") / "run"
    train("sft", path, start, save_every="5", keep=9)
    return path


def summary(path):
    return json.loads((path / "manifest.json").read_text())["summary"]


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def at_update(monkeypatch, number, do):
    """Do something in an update of the training."""
    step = UpdateTrainer.training_step

    def counted(self, *args, **kwargs):
        if self.state.global_step + 1 == number:
            do(self)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(UpdateTrainer, "training_step", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number, start, whole, tmp_path, monkeypatch, capfd):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_update(patch, 7, lambda _: os.kill(os.getpid(), number))
        with pytest.raises(InterruptedRunError, match="update 7 of 15, which is saved; the same command") as stopped:
            train("sft", tmp_path / "run", start, save_every="never")
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [7]
    train("sft", tmp_path / "run", start)
    assert "goes on behind update 7 of 15" in capfd.readouterr().err
    assert "stopped by InterruptedRunError" in (tmp_path / "run" / "log.txt").read_text()
    compare_weights(tmp_path / "run", whole)


def compare_weights(one, other):
    (ours, our_lines, *_), (theirs, their_lines, *_) = result(one), result(other)
    assert our_lines == their_lines
    for name, of in ours.items():
        assert all(value.equal(theirs[name][key]) for key, value in of.items())


def test_a_signal_in_the_last_update_loses_nothing(start, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_update(patch, 15, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(InterruptedRunError, match="update 15 of 15"):
            train("sft", tmp_path / "run", start)
    with monkeypatch.context() as patch:
        patch.setattr(UpdateTrainer, "training_step", pytest.fail)  # nothing is left to train
        train("sft", tmp_path / "run", start)
    compare_weights(tmp_path / "run", whole)
    assert summary(tmp_path / "run")["train_loss"] == summary(whole)["train_loss"]


def test_kept_checkpoints_stay_and_are_named(whole):
    assert summary(whole)["checkpoints"] == ["step-00000005", "step-00000010", "step-00000015"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(start, whole, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        at_update(patch, 11, lambda _: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(RunError, match=r"stopped in .*/run: there is not enough memory"):
            train("sft", tmp_path / "run", start, save_every="5")
    folder = tmp_path / "run" / "checkpoints"
    for step, behind in ((10, "goes on behind update 5 of 15"), (5, "no checkpoint is whole: begins anew")):
        file = folder / f"step-{step:08d}" / "training.pt"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with monkeypatch.context() as patch:
            at_update(patch, 7, lambda _: (_ for _ in ()).throw(MemoryError))
            with pytest.raises(RunError, match="not enough memory"):
                train("sft", tmp_path / "run", start, save_every="never")
        said = capfd.readouterr().err
        assert f"{file} is damaged" in said
        assert behind in said
    train("sft", tmp_path / "run", start, save_every="never")
    compare_weights(tmp_path / "run", whole)


def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on_later(start, whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run = disk / "run"
        with pytest.raises(RunError) as full:
            train("sft", run, start, save_every="3", keep=9)
        assert "no room" in str(full.value)
        assert "\n" not in str(full.value)
        kept = Checkpoints(run / "checkpoints").steps()
        assert kept
        assert f"that of update {kept[-1]} is whole" in str(full.value)
        assert not list((run / "checkpoints").glob(".*"))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        train("sft", run, start, save_every="3")
        compare_weights(run, whole)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_broke_ends_training_before_the_update(what, start, tmp_path, monkeypatch):
    def spoil(trainer):
        weight = next(iter(trainer.model.parameters()))
        if what == "loss":
            with torch.no_grad():
                weight.fill_(math.nan)
        else:
            weight.register_hook(lambda gradient: gradient * math.inf)

    at_update(monkeypatch, 5, spoil)
    with pytest.raises(RunError, match=rf"the {what} became (nan|inf) in update 5 of 15; lower learning_rate") as broke:
        train("dpo", tmp_path / "run", start, save_every="2")
    assert f"the last checkpoint before it is {tmp_path}/run/checkpoints/step-00000004" in str(broke.value)
    assert Checkpoints(tmp_path / "run" / "checkpoints").newest(pytest.fail).step == 4


def test_weights_that_are_no_numbers_are_never_saved(start, tmp_path, monkeypatch):
    after = UpdateTrainer.after_update

    def spoil(self):
        after(self)
        if self.state.global_step == 3:
            self.optimizer.param_groups[0]["lr"] = math.inf

    monkeypatch.setattr(UpdateTrainer, "after_update", spoil)
    with pytest.raises(RunError, match="no finite number behind update 4"):
        train("sft", tmp_path / "run", start, save_every="2")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [2]


@pytest.mark.parametrize("kind", ["sft", "dpo", *(pytest.param(k, marks=pytest.mark.slow) for k in ("kto", "pairrm"))])
def test_what_is_held_out_is_measured_on_the_way(kind, start, tmp_path):
    train(kind, tmp_path / "plain", start)
    train(kind, tmp_path / "run", start, evaluate_every="1 epoch")
    found = [line for line in lines(tmp_path / "run") if "eval_loss" in line]
    ends = found[-1]["step"]
    assert [line["step"] for line in found] == [ends * 2 // 5, ends * 4 // 5, ends]
    plain = summary(tmp_path / "plain")
    assert {key: value for key, value in plain.items() if key.startswith("eval_")} == {
        key: value for key, value in found[-1].items() if key.startswith("eval_")
    }
    logged = [[line for line in result(tmp_path / name)[1] if "loss" in line] for name in ("run", "plain")]
    assert logged[0] == logged[1]
    if kind == "dpo":
        assert {f"eval_rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")} <= found[0].keys()
        assert {"eval_logps/chosen", "eval_logps/rejected"} <= found[0].keys()


def test_training_stops_when_evaluations_get_no_better_and_the_best_is_the_result(start, tmp_path, monkeypatch):
    values = iter([3.0, 2.0, 2.5, 2.0, 1.0, 1.0])
    measured = UpdateTrainer.measured
    kept = {}

    def told(self, items):
        found = measured(self, items)
        if self.is_in_train:
            kept[self.state.global_step] = {
                name: value.detach().clone() for name, value in self.model.named_parameters()
            }
            found["loss"] = next(values)
        return found

    monkeypatch.setattr(UpdateTrainer, "measured", told)
    train("sft", tmp_path / "run", start, evaluate_every="2", patience=2, load_best=True)
    noted = summary(tmp_path / "run")
    assert noted["updates"] == 8
    assert (noted["best_update"], noted["best_eval_loss"]) == (4, 2.0)
    assert "behind update 8 of 15" in noted["stopped_early"]
    weights = result(tmp_path / "run")[0]["model.safetensors"]
    assert all(value.equal(kept[4][name]) for name, value in weights.items())


def test_an_early_stop_and_the_best_survive_a_stop(start, tmp_path, monkeypatch):
    given = {"evaluate_every": "2", "patience": 1, "load_best": True, "learning_rate": 3.0, "save_every": "3"}
    train("sft", tmp_path / "whole", start, **given)
    assert "stopped_early" in summary(tmp_path / "whole")
    ends = summary(tmp_path / "whole")["updates"]
    at_update(monkeypatch, ends, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(InterruptedRunError):
        train("sft", tmp_path / "run", start, **given)
    monkeypatch.undo()
    train("sft", tmp_path / "run", start, **given)
    assert_equal(tmp_path / "whole", tmp_path / "run")


def test_evaluation_without_anything_to_measure_is_refused(start, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="best_by"):
        train("sft", tmp_path / "a", start, evaluate_every="5", best_by="accuracy")
    monkeypatch.setattr(going_on, "pairs", lambda n: pairs(n)[:24])
    with pytest.raises(ConfigError, match="held out"):
        train("sft", tmp_path / "b", start, evaluate_every="5")


def test_another_runs_checkpoint_is_gone_on_from(start, whole, tmp_path, capfd):
    train("sft", tmp_path / "longer", start, resume_from=whole, epochs=4.0, learning_rate=1e-3)
    said = capfd.readouterr().err
    assert f"goes on from {whole}/checkpoints/step-00000015, behind update 15 of 24" in said
    noted = summary(tmp_path / "longer")
    assert (noted["updates"], noted["resumed_from"]["update"]) == (24, 15)
    rates = [line["learning_rate"] for line in lines(tmp_path / "longer") if line["step"] > 15 and "loss" in line]
    assert 0 < max(rates) < 1e-3
    at_ten = whole / "checkpoints" / "step-00000010"
    train("sft", tmp_path / "again", start, resume_from=at_ten)
    compare_weights(tmp_path / "again", whole)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("sft", {"batch_size": 6}, "batch_size"),
        ("sft", {"optimizer": "rmsprop"}, "optimizer"),
        ("sft", {"epochs": 1.0}, "raise epochs"),
        ("dpo", {}, "stage"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(kind, changes, named, start, whole, tmp_path):
    with pytest.raises(ConfigError, match=named):
        train(kind, tmp_path / "run", start, resume_from=whole, **changes)


def test_auto_saves_in_proportion_to_what_saving_takes(start, tmp_path, monkeypatch):
    clock = iter(range(10_000))  # every look at the clock is a second later
    monkeypatch.setattr("notus.train.run.keeping.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    saved = []
    monkeypatch.setattr(Keeping, "save", lambda self, **_: saved.append(self.trainer.state.global_step))
    train("sft", tmp_path / "run", start)
    assert saved[0] == 2
    # Were a checkpoint so large that it takes a tenth of a second, fifty of those would have to pass before the first.
    trained = sum(weight.numel() for weight in load_model(str(start)).parameters())
    monkeypatch.setattr("notus.train.run.keeping._A_SECOND", 12 * trained / 0.1)
    saved.clear()
    train("sft", tmp_path / "larger", start)
    assert saved[0] == 5


@pytest.mark.parametrize(("by", "better", "equal", "worse"), [("loss", 0.4, 0.5, 0.6), ("accuracy", 0.6, 0.5, 0.4)])
def test_an_equal_evaluation_is_no_better(by, better, equal, worse):
    keeping = SimpleNamespace(best=(5, 0.5), config=SimpleNamespace(best_by=by))
    assert [Keeping._is_better(keeping, value) for value in (better, equal, worse)] == [True, False, False]
    assert Keeping._is_better(SimpleNamespace(best=None), worse)
