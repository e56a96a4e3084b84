"""What a policy is trained on: a loss by name, with options, or a weighted sum of several; read, and computed.

    loss: ipo                                              # a name, ours or TRL's
    loss: {name: robust, label_smoothing: 0.2}             # with options of its own; another's are an error
    loss: [{weight: 0.8, loss: sigmoid}, {loss: nll}]      # a sum
    loss: python:mine.py:my_loss                           # a class or a function of the user's

Owns the reading of these forms, sums and weights; the losses themselves are in their families. No torch is imported
until something is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, SerializeAsAny

from notus.core.config import Config
from notus.core.errors import DataError, InputError, nearest
from notus.core.plugins import foreign_code, source_of
from notus.train.losses import registry
from notus.train.losses.base import Loss, Need, PairLoss, UnpairedLoss
from notus.train.losses.inputs import PairLogps, UnpairedLogps
from notus.train.losses.weighting import Wpo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AnyObjective",
    "Objective",
    "PairObjective",
    "UnpairedObjective",
    "Weighted",
    "implicit_rewards",
    "needs",
    "pair_losses",
    "read_loss",
    "reward_beta",
    "row_losses",
    "terms",
]

_KINDS: dict[type[Loss], str] = {PairLoss: "pairs", UnpairedLoss: "single rows"}
_Inputs = TypeVar("_Inputs", PairLogps, UnpairedLogps)


def read_loss(value: Any, kind: type[Loss] = Loss, *, plain: bool = False) -> Loss:
    """A loss as a user gives it: a name, a mapping with a name and options, or the user's own class or function.

    Args:
        value: what was given; a loss stays what it is.
        kind: what it must be.
        plain: whether the options are values of JSON, which has lists where a loss may have tuples.

    Raises:
        ValueError: for an unknown name, with the nearest by meaning; an option that the loss does not have; a loss of
            another kind.
    """
    try:
        loss = _read(value, plain)
    except InputError as error:
        raise ValueError(str(error)) from None
    if not isinstance(loss, kind):
        known = ", ".join(registry.losses_of(kind))
        raise ValueError(f"'{loss.name}' is no loss of {_KINDS[kind]}; known: {known}")
    return loss


def _read(value: Any, plain: bool) -> Loss:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        if not isinstance(value, Loss) and not callable(value):
            raise ValueError("a loss is a name, or a mapping with a name, for example {name: sigmoid, beta: 0.1}")
        found = registry.name_loss(value)
        return found if isinstance(found, Loss) else found()
    if not isinstance(value.get("name"), str):
        raise ValueError("a loss is a name, or a mapping with a name, for example {name: sigmoid, beta: 0.1}")
    cls, (name, meant) = registry.class_of(value["name"]), registry.ALIASES.get(value["name"], (value["name"], {}))
    for key in value:
        if key not in cls.model_fields:
            raise ValueError(_unknown_option(cls, name, str(key)))
    options = {**meant, **value, "name": name}
    # As in ``Config.parse``: only JSON takes a list for a tuple.
    return cls.model_validate_json(json.dumps(options)) if plain else cls.model_validate(options)


def _unknown_option(cls: type[Loss], name: str, key: str) -> str:
    known = [field for field in cls.model_fields if field != "name"]
    others = sorted(other for other in registry.losses_of(Loss) if key in registry.class_of(other).model_fields)
    owners = f" (it is one of {', '.join(others)})" if 0 < len(others) <= 5 else ""
    hint = nearest(key, known) if known else "it has no option at all"
    return f"the loss '{name}' has no option '{key}'{owners}; {hint}"


def _as_loss(value: Any, info: pydantic.ValidationInfo, *, kind: type[Loss]) -> Loss:
    return read_loss(value, kind, plain=info.mode == "json")


class Weighted(Config):
    """A term of a weighted sum of losses."""

    weight: float = Field(default=1.0, gt=0)
    """What the loss is multiplied by."""
    loss: Annotated[SerializeAsAny[PairLoss], BeforeValidator(partial(_as_loss, kind=PairLoss))]
    """By its name, or with its options."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _keys_of_a_term(cls, data: object) -> object:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                raise ValueError(f"a weighted loss has no key '{key}'; {nearest(str(key), cls.model_fields)}")
        return data


_TERMS = pydantic.TypeAdapter(tuple[Weighted, ...])


def _read_objective(value: Any, info: pydantic.ValidationInfo, *, kind: type[Loss]) -> Loss | tuple[Weighted, ...]:
    if not isinstance(value, list | tuple):
        return _as_loss(value, info, kind=kind)
    if not value:
        raise ValueError("a weighted sum has at least one term, for example [{weight: 1.0, loss: sigmoid}]")
    return _TERMS.validate_json(json.dumps(value)) if info.mode == "json" else _TERMS.validate_python(tuple(value))


PairObjective = Annotated[
    SerializeAsAny[PairLoss] | tuple[Weighted, ...], BeforeValidator(partial(_read_objective, kind=PairLoss))
]
"""One loss of pairs, or a list of ``{weight, loss}`` that is summed."""

UnpairedObjective = Annotated[SerializeAsAny[UnpairedLoss], BeforeValidator(partial(_as_loss, kind=UnpairedLoss))]
"""One loss of single rows."""

AnyObjective = Annotated[
    SerializeAsAny[PairLoss] | SerializeAsAny[UnpairedLoss] | tuple[Weighted, ...],
    BeforeValidator(partial(_read_objective, kind=Loss)),
]
"""What ``PairObjective`` or ``UnpairedObjective`` takes; the loss decides."""

Objective: TypeAlias = Loss | tuple[Weighted, ...]


def terms(objective: Objective) -> list[tuple[float, Loss]]:
    """An objective as weights and losses; a single loss has the weight 1."""
    if isinstance(objective, Loss):
        return [(1.0, objective)]
    return [(term.weight, term.loss) for term in objective]


def needs(objective: Objective) -> frozenset[Need]:
    """What any of the losses reads beside the policy's log-probabilities."""
    return frozenset(need for _, loss in terms(objective) for need in loss.needs)


def reward_beta(objective: Objective) -> float:
    """The β by which implicit rewards are reported: that of the first loss that has one, and 1 where none has."""
    betas = (loss.options().get("beta") for _, loss in terms(objective))
    return next((float(beta) for beta in betas if beta is not None), 1.0)


def pair_losses(objective: Objective, pairs: PairLogps, weighting: Wpo | None = None) -> Tensor:
    """The loss of each pair: of one loss, or the weighted sum of several, times what the pair counts.

    Args:
        objective: which losses, with their options.
        pairs: n pairs, with all that ``needs`` names, and the weighting's probabilities.
        weighting: None: each pair counts 1.

    Returns:
        [n], in the precision of the pairs.

    Raises:
        ValueError: if the pairs lack something that a loss needs.
        DataError: if a loss of the user's fails, or gives something else.
    """
    import torch

    values = [weight * _compute_loss(loss, pairs, pairs.policy_chosen) for weight, loss in terms(objective)]
    total = torch.stack(values).sum(0)
    return total if weighting is None else weighting.weights(pairs) * total


def row_losses(objective: Objective, rows: UnpairedLogps) -> Tensor:
    """The loss of each row.

    Args:
        objective: which loss, with its options.
        rows: n rows, with all that this loss needs.

    Returns:
        [n], in the precision of the rows.

    Raises:
        ValueError: if the rows lack something that the loss needs.
        DataError: if a loss of the user's fails, or gives something else.
    """
    ((_, loss),) = terms(objective)
    return _compute_loss(loss, rows, rows.policy)


def implicit_rewards(policy_logps: Tensor, reference_logps: Tensor, beta: float) -> Tensor:
    """The reward that a policy implies, up to a term of the prompt: β (log π(y|x) − log π_ref(y|x)).

    Rafailov et al. 2023, equation 5 (https://arxiv.org/abs/2305.18290).

    Args:
        policy_logps: [n], summed over the tokens of each answer.
        reference_logps: [n], likewise.
        beta: weight of the KL penalty, > 0.

    Returns:
        [n], in nats times β.
    """
    return beta * (policy_logps - reference_logps)


def _compute_loss(loss: Any, inputs: _Inputs, policy: Tensor) -> Tensor:
    """The values of a loss; those of a user's are checked, as nothing else would say whose fault an error is."""
    if not registry.is_foreign(loss):
        return loss.losses(inputs)
    remedy = "it takes the log-probabilities of pairs, and gives one value for each: correct it"
    code = getattr(type(loss), "function", type(loss).losses)
    file = getattr(getattr(code, "__code__", None), "co_filename", None)
    with foreign_code(f"the loss '{loss.name}' failed", file, source_of(code), remedy, DataError):
        values = loss.losses(inputs)
    shape = getattr(values, "shape", None)
    if shape != policy.shape:
        what = f"a tensor of the shape {list(shape)}" if shape is not None else f"a {type(values).__name__}"
        raise DataError(f"the loss '{loss.name}' gave {what} for {len(policy)} of them; {remedy}")
    if policy.requires_grad and not values.requires_grad:
        raise DataError(f"the loss '{loss.name}' gave values without a gradient; use torch's operations alone")
    return values
