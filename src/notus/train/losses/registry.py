"""Losses by name: those of the families, those of installed packages (entry point ``notus.losses``), the user's own.

    Sigmoid                         class of "sigmoid", found in its family without a list of names
    python:mine.py:MyLoss           a subclass of PairLoss or UnpairedLoss
    python:mine.py:my_loss          a function of PairLogps that gives [n]; its other parameters are the loss's options

A new loss is a class in the module of its family, and nothing else; a new family is one more module in ``FAMILIES``.
"""

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from notus.core.errors import ConfigError
from notus.core.plugins import Registry, is_python, reference_to
from notus.train.losses import answers, lengths, margin, reference_free, transport, unpaired
from notus.train.losses.base import Loss, PairLoss
from notus.train.losses.inputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALIASES", "FAMILIES", "LOSSES", "class_of", "is_foreign", "losses_of", "name_loss"]

FAMILIES: tuple[ModuleType, ...] = (margin, lengths, answers, reference_free, transport, unpaired)
"""The modules that hold losses: every class of a loss that one exports is found by its name."""

_CLASSES: dict[str, type[Loss]] = {
    found.model_fields["name"].default: found
    for family in FAMILIES
    for found in (getattr(family, name) for name in family.__all__)
    if isinstance(found, type) and issubclass(found, Loss)
}

ALIASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    alias: (name, options) for name, cls in _CLASSES.items() for alias, options in cls.also_called.items()
}
"""Name that others have → ours, and the options that they mean by it."""

_ONLINE = (
    "samples while it trains, which Notus does in rounds instead: sample, rank, binarize, DPO ('rounds' in a recipe)"
)
_MEANINGS = {
    "dpo": "sigmoid",
    "logistic": "sigmoid",
    "slic": "hinge",
    "slic_hf": "hinge",
    "ipo_pair": "ipo_mean",
    "exo_pref": "exo",
    "conservative_dpo": "cdpo",
    "label_smoothing": "cdpo",
    "rdpo": "r_dpo",
    "robust_dpo": "robust",
    "sppo": "sppo_hard",
    "apo": "apo_zero",
    "bco_pairs": "bco",
    "kto_pair": "kto",
    "dpo_norm": "sigmoid_norm",
    "length_normalized_dpo": "sigmoid_norm",
    "lddpo": "ld_dpo",
    "dpo_positive": "dpop",
    "odpo": "margin",
    "likelihood": "nll",
    "cross_entropy": "nll",
    "cpo": "simpo and orpo are the losses without a reference; CPO itself is not among them",
    "mpo": "MPO is a weighted sum: [{weight: 0.8, loss: sigmoid}, {weight: 0.2, loss: bco}, {weight: 1.0, loss: nll}]",
    "wpo": "WPO weighs the pairs of any loss: set 'weighting: wpo' beside the loss",
    **{name: f"{name.upper()} {_ONLINE}" for name in ("ppo", "grpo", "rloo", "reinforce")},
    "online_dpo": f"online DPO {_ONLINE}",
}

LOSSES = Registry(
    "loss",
    {name: f"{cls.__module__}:{cls.__name__}" for name, cls in _CLASSES.items()},
    group="notus.losses",
    aliases={alias: name for alias, (name, _) in ALIASES.items()},
    meanings=_MEANINGS,
)
"""All losses that have a name."""


def losses_of(kind: type[Loss]) -> list[str]:
    """Names of our losses of one kind, in order."""
    return sorted(name for name, cls in _CLASSES.items() if issubclass(cls, kind))


def class_of(name: str) -> type[Loss]:
    """The class of a loss by its name.

    Raises:
        ConfigError: for an unknown name, with the nearest by meaning; for one of the user's that is no loss.
    """
    name = LOSSES.resolve(name)
    return _as_class(LOSSES.load(name), name)


def is_foreign(loss: Loss) -> bool:
    """Whether a loss is none of ours."""
    return type(loss) not in _CLASSES.values()


def name_loss(found: Any) -> Loss | type[Loss]:
    """A loss, a class of losses or a function of the user's, under the ``python:`` name that it is recorded by.

    Raises:
        ConfigError: if it is none of these.
    """
    if not isinstance(found, Loss):
        return _as_class(found, reference_to(found))
    known = not is_foreign(found) or is_python(found.name)
    return found if known else found.model_copy(update={"name": reference_to(type(found))})


class _FunctionLoss(PairLoss):
    """A loss that is a function of the user's; its options are fields that are made of the function's parameters."""

    function: ClassVar[Callable[..., Any]]

    def losses(self, pairs: PairLogps) -> "Tensor":
        """What the function gives."""
        return type(self).function(pairs, **self.options())


def _as_class(found: Any, name: str) -> type[Loss]:
    if not isinstance(found, type):
        return _of_function(found, name)
    if not issubclass(found, Loss):
        raise ConfigError(f"'{name}' is no loss; it must be a subclass of PairLoss or UnpairedLoss, or a function")
    if found.model_fields["name"].default == name:
        return found
    return _make_class(found, name)


def _of_function(function: Callable[..., Any], name: str) -> type[Loss]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [each for each in parameters[1:] if each.kind in (each.VAR_POSITIONAL, each.POSITIONAL_ONLY)]
    if not parameters or positional:
        raise ConfigError(f"'{name}' must take pairs, and its options by name: def my_loss(pairs, *, beta=0.1)")
    options = {each.name: _field(each) for each in parameters[1:] if each.kind is not each.VAR_KEYWORD}
    cls = _make_class(_FunctionLoss, name, **options)
    cls.function = function  # type: ignore[attr-defined]
    return cls


def _field(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """An option of a function: its type and its default, as pydantic takes them."""
    missing = parameter.default is parameter.empty
    if isinstance(parameter.annotation, type) and parameter.annotation is not parameter.empty:
        kind: Any = parameter.annotation
    else:
        kind = float if missing else type(parameter.default)
    return kind, ... if missing else parameter.default


def _make_class(base: type[Loss], name: str, **fields: Any) -> type[Loss]:
    """A class of losses under the name that the user wrote for it."""
    title = name.rpartition(":")[2]
    found: type[Loss] = pydantic.create_model(
        title, __base__=base, __module__=base.__module__, __doc__=base.__doc__, name=(str, name), **fields
    )
    return found
