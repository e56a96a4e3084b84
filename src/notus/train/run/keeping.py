"""When a training is saved and measured on its way, and from which checkpoint it goes on.

Owns the moments (``save_every``, ``evaluate_every``, a signal), what a checkpoint says of itself, the best evaluation
and the early stop. The files are owned by ``checkpoints``, what is in them by ``resumable``.
"""

import errno
import multiprocessing
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notus.core.config import difference, digest_of
from notus.core.errors import ConfigError, InterruptedRunError, RunError
from notus.core.run import CHECKPOINTS, Run
from notus.train.moments import Every
from notus.train.run.checkpoints import BYTES, Checkpoint, Checkpoints, DamagedError, check
from notus.train.run.trial import count_trained
from notus.train.settings import Updates
from notus.train.trainer import UpdateTrainer

__all__ = ["Keeping", "say"]

_METRICS = "metrics.jsonl"
_SHARE = 50
"""``auto`` saves so seldom that this many times the time that a checkpoint takes lies between two …"""
_SOONEST, _LATEST = 2.0, 1800.0
"""… and within these seconds. Whether there is room for one is looked at in the trial, before the first update."""
_A_SECOND = 4e8
"""Bytes of the first checkpoint that are taken to be hashed and on the disk in a second."""
_EQUAL = ("stage", "weights", "optimizer", "rows", "order", "batch_size", "seed")
"""Where another run's checkpoint says otherwise than this run, it cannot be gone on from."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Keeping(TrainerCallback):
    """Saves and measures a trainer while it trains.

    Args:
        run: whose folder holds the checkpoints.
        trainer: that trains.
        config: says when.
        held_out: items to measure on.

    Raises:
        ConfigError: if there is nothing to measure on, or no accuracy to choose by.
    """

    def __init__(self, run: Run, trainer: UpdateTrainer, config: Updates, held_out: Sequence[Any]) -> None:
        self.run, self.trainer, self.config, self.held_out = run, trainer, config, held_out
        self.checkpoints = Checkpoints(run.path / CHECKPOINTS)
        self.save_every = Every.read(config.save_every)
        self.evaluate_every = Every.read(config.evaluate_every or "never")
        self.best: tuple[int, float] | None = None
        """Update and value of the best evaluation."""
        self.waited = 0
        """Evaluations since then."""
        self.measured: tuple[int, dict[str, float]] | None = None
        """Update and metrics of the last evaluation."""
        self.ended = False
        """Whether this run was stopped behind its last update: nothing is left to train."""
        self._signal: int | None = None
        self._saved_at, self._took = time.monotonic(), BYTES * count_trained(trainer.model) / _A_SECOND
        self._check_evaluation()
        trainer.on_save, trainer.on_evaluate, trainer.last_good = self._save_on_the_way, self._evaluate, self._last_good
        trainer.add_callback(self)

    # Where training goes on from

    def find(self, resume_from: Path | None) -> Checkpoint | None:
        """The checkpoint that this run goes on from, its own before another's; None where it begins.

        Raises:
            ConfigError: if another run's does not fit.
        """
        own = self.checkpoints.newest(self._say)
        begun = bool(self.checkpoints.steps())
        if own is not None:
            self._check_same(own)
            self._say(f"goes on behind update {own.step} of {self.trainer.updates}{_otherwise(own)}")
            self._take(own)
            self.ended = bool(own.about["done"])
            return own
        if begun:
            self._say("no checkpoint is whole: begins anew")
        if resume_from is None:
            return None
        other = Checkpoints.found_at(resume_from, self._say)
        self._check_same(other)
        if other.step >= self.trainer.updates:
            raise ConfigError(
                f"resume_from: {other.path} has {other.step} updates done, and this training has {self.trainer.updates}"
                "; raise epochs"
            )
        changed = _describe_changes(other.about, self._about())
        self._say(f"goes on from {other.path}, behind update {other.step} of {self.trainer.updates}{changed}")
        self.run.note(resumed_from={"checkpoint": str(other.path), "update": other.step})
        self._take(other, own=False)
        return other

    def _take(self, checkpoint: Checkpoint, *, own: bool = True) -> None:
        about = checkpoint.about
        self.run.restore_metrics((checkpoint.path / _METRICS).read_text(encoding="utf-8"))
        self.run.note(**{key: value for key, value in about["notes"].items() if key not in self.run.summary})
        if own:
            self.best = None if about["best"] is None else (int(about["best"][0]), float(about["best"][1]))
            self.waited = int(about["waited"])
            if about["measured"] is not None:
                self.measured = int(about["measured"][0]), about["measured"][1]

    def _check_same(self, checkpoint: Checkpoint) -> None:
        mine = self._about()
        for key in _EQUAL:
            there, here = checkpoint.about[key], mine[key]
            if there != here:
                shown = f"'{there}' there, '{here}' here" if isinstance(there, str | int) else "another model"
                raise ConfigError(
                    f"{checkpoint.path} does not fit: {key} differs ({shown}), and with another the place in the data "
                    "and the state mean nothing; to train on from weights alone, name the run's model as the start"
                )

    # When

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take back what the loop has set to 0."""
        del args, state, control, kwargs
        self.trainer.restore_sums()
        self._saved_at = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for an evaluation and a checkpoint where they are due."""
        del args, kwargs
        in_epoch = self.trainer.updates_of_an_epoch
        if self.evaluate_every.falls_on(state.global_step, in_epoch):
            control.should_evaluate = True
        if self._signal is not None or self.save_every.falls_on(state.global_step, in_epoch) or self._is_time():
            control.should_save = True

    def _is_time(self) -> bool:
        since = time.monotonic() - self._saved_at
        if self.save_every.unit == "seconds":
            return since >= self.save_every.number
        return self.save_every.unit == "auto" and since >= min(max(_SHARE * self._took, _SOONEST), _LATEST)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let a signal end the training behind the update under way, which is saved; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            del frame
            if self._signal is not None:  # a worker, whose end is decided by who started it
                return
            self._signal = number
            if multiprocessing.parent_process() is None:
                _restore(before)
            self._say("stops behind the update under way, and saves it; once more ends it at once")

        before: dict[int, Any] = {
            number: handler
            for number in _SIGNALS
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN  # a worker leaves Ctrl-C to who started it
        }
        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            _restore(before)

    # What is done then

    def _evaluate(self) -> dict[str, float]:
        step = self.trainer.state.global_step
        found = {f"eval_{name}": value for name, value in self.trainer.measured(self.held_out).items()}
        self.measured = step, found
        self.trainer.log_apart(found)
        value = found[self._key]
        if self._is_better(value):
            self.best, self.waited = (step, value), 0
            if self.config.load_best or self.config.keep:
                self.trainer.control.should_save = True
        else:
            self.waited += 1
        if self.config.patience is not None and self.waited >= self.config.patience:
            self.trainer.control.should_training_stop = True
        return found

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value < self.best[1] if self.config.best_by == "loss" else value > self.best[1]

    @property
    def _key(self) -> str:
        """The metric that the best is chosen by."""
        if self.config.best_by == "loss":
            return "eval_loss"
        return f"eval_{self.trainer.accuracy}"

    def _save_on_the_way(self) -> None:
        """Save, unless this is the end, whose checkpoint is written by ``finish``."""
        if self.trainer.control.should_training_stop:
            return
        self.save()
        if self._signal is not None:
            self._leave()

    def save(self, *, done: bool = False) -> None:
        """Write a checkpoint, and remove those that are too many.

        Raises:
            RunError: if there is no room, or the weights are no finite numbers; those before it stay.
        """
        begun = time.monotonic()
        step = self.trainer.state.global_step
        try:
            self.checkpoints.write(self._about() | {"step": step, "done": done}, self._write_files)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise self._no_room(error) from None
        best = () if self.best is None or not (self.config.load_best or self.config.keep) else (self.best[0],)
        self.checkpoints.prune(self.config.keep, of=step, spared=best)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - begun

    def _write_files(self, folder: Path) -> None:
        self.trainer.write_state(folder)
        lines = self.run.path / _METRICS
        (folder / _METRICS).write_bytes(lines.read_bytes() if lines.is_file() else b"")

    def _leave(self) -> None:
        assert self._signal is not None, "there was a signal"
        step, of = self.trainer.state.global_step, self.trainer.state.max_steps
        raise InterruptedRunError(
            f"stopped behind update {step} of {of}, which is saved; the same command goes on from there", self._signal
        )

    # The end

    def finish(self) -> None:
        """Behind the last update: the last checkpoint, the best weights where they are asked for, what stays."""
        step = self.trainer.state.global_step
        stopped = step < self.trainer.updates
        if self.best is not None:
            self.run.note(best_update=self.best[0], **{f"best_{self._key}": self.best[1]})
        if stopped:
            self.run.note(
                stopped_early=f"behind update {step} of {self.trainer.updates}: {self.waited} evaluations, one after "
                f"the other, were no better by {self.config.best_by} than that of update {self.best and self.best[0]}"
            )
        if self.config.keep or self._signal is not None or self._is_time():
            self.save(done=True)
        if self._signal is not None:
            self._leave()
        if self.config.load_best:
            self._load_best()
        self._tidy(step)

    def measure_at_end(self) -> dict[str, float]:
        """Loss and metrics of the result on the items that are held out; the curve ends with them."""
        step = self.trainer.state.global_step
        result = self.best[0] if self.best is not None and self.config.load_best else step
        if self.measured is not None and self.measured[0] == result:
            return self.measured[1]
        found = {f"eval_{name}": value for name, value in self.trainer.measured(self.held_out).items()}
        if self.evaluate_every.unit != "never" and result == step:
            self.trainer.log_apart(found)
        return found

    def _tidy(self, step: int) -> None:
        if not self.config.keep:
            self.run.of_no_use.append(self.checkpoints.folder)
            return
        best = () if self.best is None else (self.best[0],)
        self.checkpoints.prune(self.config.keep, of=step, spared=best, at_least=0)
        self.run.note(checkpoints=[self.checkpoints.at(each).name for each in self.checkpoints.steps()])

    def _load_best(self) -> None:
        assert self.best is not None, "an evaluation comes before the end"
        step, _ = self.best
        if step == self.trainer.state.global_step:
            return
        try:
            self.trainer.restore_weights(check(self.checkpoints.at(step)).path)
        except DamagedError as error:
            text = f"the weights are those of the last update, and not the best: {error}"
            self.run.note(load_best=text)
            self._say(text)

    # What is said

    def _about(self) -> dict[str, Any]:
        """What a checkpoint says of itself: what it fits, and how far the training is."""
        data, args = self.trainer.train_dataset, self.trainer.args
        return {
            **self.trainer.describe_state(),
            "stage": self.run.stage,
            "config": self.run.config,
            "inputs": self.run.inputs,
            "rows": len(data),
            "order": digest_of([data.lengths, data.prompts, data.kept, data.stages]),
            "batch_size": args.train_batch_size,
            "seed": args.seed,
            "steps": self.trainer.updates,
            "best": self.best,
            "waited": self.waited,
            "measured": self.measured,
            "notes": self.run.summary,
            "made_with": _made_with(args.device.type),
        }

    def _check_evaluation(self) -> None:
        if self.evaluate_every.unit == "never":
            return
        if not self.held_out:
            raise ConfigError(
                f"evaluate_every is {self.config.evaluate_every}, and no row is held out to measure; hold some out "
                "(held_out), or leave it out"
            )
        if self.config.best_by == "accuracy" and self.trainer.accuracy not in self.trainer.measured(self.held_out[:1]):
            raise ConfigError("best_by is accuracy, which this training does not measure; set best_by: loss")

    def _last_good(self) -> str:
        steps = self.checkpoints.steps()
        if not steps:
            return ""
        return f"; the last checkpoint before it is {self.checkpoints.at(steps[-1])} (--resume-from)"

    def _no_room(self, error: Exception) -> Exception:
        """An error of the system's as one line; what is none of these is given back."""
        number = error.errno if isinstance(error, OSError) else None
        text = str(error)
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "os error 28" in text or "os error 27" in text
        written = number is not None or full or "PytorchStreamWriter" in text or isinstance(error, SafetensorError)
        if not written:
            return error
        free = shutil.disk_usage(self.run.path).free
        why = f"no room ({free / 1e6:,.0f} MB are free)" if full or free < 1 << 20 else text.partition("\n")[0]
        steps = self.checkpoints.steps()
        kept = f"that of update {steps[-1]} is whole" if steps else "there is none before it"
        return RunError(
            f"the checkpoint of update {self.trainer.state.global_step} cannot be written, in "
            f"{self.checkpoints.folder}: {why}; {kept}: make room and give the same command again; with "
            "save_every: never none is written"
        )

    def _say(self, text: str) -> None:
        say(self.run, text)


def say(run: Run, text: str) -> None:
    """A line in the run's log, and on the terminal where this is no worker process, whose terminal is another's."""
    run.log(text)
    if multiprocessing.parent_process() is None:
        sys.stderr.write(f"notus: {run.path}: {text}\n")
        sys.stderr.flush()


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _made_with(device: str) -> dict[str, str]:
    """What the last bits depend on beside settings and data."""
    threads = str(torch.get_num_threads()) if device == "cpu" else "any"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {**versions, "transformers": transformers.__version__, "device": device, "threads": threads}


def _otherwise(checkpoint: Checkpoint) -> str:
    """What is not as it was when a checkpoint was written, so that the last bits may differ."""
    there = checkpoint.about["made_with"]
    here = _made_with("cuda" if torch.cuda.is_available() else "cpu")
    changed = [f"{key} {there.get(key)} there, {value} here" for key, value in here.items() if there.get(key) != value]
    return f"; the last bits may differ: {', '.join(changed)}" if changed else ""


def _describe_changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The settings and the inputs in which two runs differ."""
    changed = difference(there["config"], here["config"])
    inputs = {key: value for key, value in here["inputs"].items() if key != "resume_from"}
    changed |= difference(
        {k: v[:12] for k, v in there["inputs"].items() if k != "resume_from"},
        {k: v[:12] for k, v in inputs.items()},
        "input",
    )
    told = [f"{key} ({old!r} there, {new!r} here)" for key, (old, new) in changed.items()]
    return f"; otherwise than there: {', '.join(told)}" if told else ""
