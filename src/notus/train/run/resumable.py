"""transformers' Trainer, saved and loaded so that it goes on exactly where it was.

Its own checkpoints lose what stands between two lines of the log (loss sums, our metrics, running means), tell the mean
loss of the last start alone, and restore the settings of the optimiser with its state. Owns what is saved of a trainer
and how it comes back, and the stop at a loss or a gradient that is no finite number. Where it is saved and when is in
``checkpoints`` and ``keeping``.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerControl, TrainerState

from notus.core.errors import ConfigError, RunError

__all__ = ["ResumableTrainer"]

_WEIGHTS = "weights.safetensors"
_TRAINING = "training.pt"
_STATE = "trainer_state.json"
"""The name is transformers': its loop reads how far it is from there."""
_SKIPPED_AT_MOST = 10
"""Updates, one after the other, that fp16's loss scaling may pass over before they count as a loss that broke."""


class ResumableTrainer(Trainer):
    """A Trainer whose evaluation, saving and loading are left to whoever keeps its checkpoints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.on_save: Callable[[], None] | None = None
        """Called where the loop saves: behind the log and the evaluation of an update."""
        self.on_evaluate: Callable[[], dict[str, float]] | None = None
        """Called where the loop evaluates; gives the metrics."""
        self.last_good: Callable[[], str] = str
        """What to say of where training can go on from, when the loss breaks."""
        self._came_back: Mapping[str, Any] | None = None
        self._passed_over = 0

    def own_state(self) -> dict[str, Any]:
        """What else decides how training goes on: plain values and tensors."""
        return {}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take back what ``own_state`` gave."""
        del state

    @property
    def updates_of_an_epoch(self) -> int:
        """Updates of an epoch."""
        return -(-len(self.train_dataset) // int(self.args.train_batch_size))

    @property
    def updates(self) -> int:
        """Updates of the whole training."""
        return math.ceil(float(self.args.num_train_epochs) * self.updates_of_an_epoch)

    @property
    def mean_loss(self) -> float:
        """Mean loss of all updates, those of earlier starts included."""
        return float(self._total_loss_scalar) / max(int(self.state.global_step), 1)

    def write_state(self, folder: Path) -> None:
        """Write all that decides how training goes on.

        Raises:
            RunError: if a weight is no finite number.
        """
        weights = {name: tensor.detach() for name, tensor in self._trained()}
        if odd := next((name for name, tensor in weights.items() if not _is_finite(tensor)), None):
            raise RunError(f"the weight {odd} is no finite number behind update {self.state.global_step}{self._way()}")
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": _random_state(),
            "loss": self._tr_loss.cpu(),
            "losses": self._total_loss_scalar,
            "summed_up": not self.is_in_train,
            "logged": self._globalstep_last_logged,
            "own": self.own_state(),
        }
        torch.save(state, folder / _TRAINING)
        history, self.state.log_history = self.state.log_history, []  # it grows, and stands in the run's metrics
        self.state.save_to_json(str(folder / _STATE))
        self.state.log_history = history

    def describe_state(self) -> dict[str, Any]:
        """What must be equal for a state to be taken: names and shapes of what is trained, and the optimiser."""
        return {
            "weights": {name: list(tensor.shape) for name, tensor in self._trained()},
            "optimizer": str(self.args.optim),
        }

    def restore_weights(self, folder: Path) -> None:
        """Take the weights of a checkpoint.

        Raises:
            ConfigError: if they are those of another model.
        """
        found = load_file(folder / _WEIGHTS)
        mine = dict(self._trained())
        odd = sorted(found.keys() ^ mine.keys())
        odd += [name for name in found.keys() & mine.keys() if found[name].shape != mine[name].shape]
        if odd:
            raise ConfigError(f"{folder} is of another model: {len(odd)} weights differ, for example {odd[0]}")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(found[name])

    def restore_end(self, folder: Path) -> None:
        """Take the weights and the counts of a training that was done; nothing is left to train."""
        self._load_from_checkpoint(str(folder))
        self.state = TrainerState.load_from_json(str(folder / _STATE))
        self._total_loss_scalar = self._came_back["losses"] if self._came_back else 0.0

    def restore_sums(self) -> None:
        """Take back what the loop counts; to be called when it has set all of it to 0, at its begin."""
        if self._came_back is not None:
            self._tr_loss = self._came_back["loss"].to(self.args.device)
            self._total_loss_scalar = self._came_back["losses"]
            if self._came_back["summed_up"]:  # at the end the loop adds what was not logged
                self._total_loss_scalar -= float(self._tr_loss)
            self._globalstep_last_logged = self._came_back["logged"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; the mean loss at the end is that of all updates, and not of the last start's alone."""
        if "train_loss" in logs:
            logs["train_loss"] = self.mean_loss
        super().log(logs, start_time)

    def check_finite(self, loss: torch.Tensor, what: str = "loss") -> None:
        """Stop before the update if its loss or gradient is no finite number: the weights are still good.

        fp16 scales the loss, and finds the scale by gradients that are none: a few in a row are passed over.

        Raises:
            RunError: then.
        """
        if bool(torch.isfinite(loss)):
            if what == "gradient":
                self._passed_over = 0
            return
        if self.accelerator.scaler is not None and what == "gradient":
            self._passed_over += 1
            if self._passed_over < _SKIPPED_AT_MOST:
                return
        raise RunError(f"the {what} became {float(loss)} in update {self.state.global_step + 1}{self._way()}")

    def _way(self) -> str:
        return (
            f" of {self.state.max_steps}; lower learning_rate ({self.args.learning_rate}) or max_grad_norm "
            f"({self.args.max_grad_norm}){self.last_good()}"
        )

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What changes while the model trains: the parameters that have a gradient, and buffers that are saved."""
        yield from ((name, tensor) for name, tensor in self.model.named_parameters() if tensor.requires_grad)
        for name, module in self.model.named_modules():
            kept = module._buffers.keys() - module._non_persistent_buffers_set
            for key in sorted(kept):
                if (buffer := module._buffers[key]) is not None:
                    yield f"{name}.{key}".lstrip("."), buffer

    # What follows are the places of transformers' loop.

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        self.check_finite(torch.as_tensor(norm), "gradient")
        return norm

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        del args, kwargs
        assert self.on_evaluate is not None, "nobody evaluates"
        found = self.on_evaluate()
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        assert self.on_save is not None, "nobody saves"
        self.on_save()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        folder = Path(resume_from_checkpoint)
        self.restore_weights(folder)
        self._came_back = torch.load(folder / _TRAINING, map_location="cpu", weights_only=True)
        self.restore_own(self._came_back["own"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        assert self._came_back is not None, "the state is read with the weights"
        settings = [{key: value for key, value in group.items() if key != "params"} for group in self._groups()]
        bases = list(self.lr_scheduler.base_lrs)
        self.optimizer.load_state_dict(self._came_back["optimizer"])
        self.lr_scheduler.load_state_dict(self._came_back["scheduler"])
        # The settings are the run's own, which may be others where it goes on from another's checkpoint.
        self.lr_scheduler.base_lrs = bases
        shapes, done = self.lr_scheduler.lr_lambdas, self.lr_scheduler.last_epoch
        for group, own, base, shape in zip(self._groups(), settings, bases, shapes, strict=True):
            group.update(own, lr=base * shape(done))
        if self.accelerator.scaler is not None and self._came_back["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(self._came_back["scaler"])

    def _groups(self) -> Any:
        return self.optimizer.param_groups

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Done with the optimiser."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self._came_back is not None:
            _restore_random(self._came_back["random"])


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.tensor(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
