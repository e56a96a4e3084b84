"""The base of all kinds of steps, and how a setting refers to another step. The kinds themselves are in ``flow.kinds``.

No torch and nothing heavy.
"""

from typing import Annotated, ClassVar, Literal

import pydantic

from notus.core.config import Config

__all__ = ["OptionalRef", "Reads", "Ref", "Refs", "Seed", "Serving", "StepConfig", "refs_of"]


class _Refers:
    """Marks a setting that names a step of the recipe, a path or a hub id."""


Ref = Annotated[str, _Refers(), pydantic.Field(min_length=1)]
OptionalRef = Annotated[str | None, _Refers()]
Refs = Annotated[tuple[str, ...], _Refers()]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**32)]
"""What PyTorch and NumPy both take."""


class StepConfig(Config):
    """Base of all kinds of steps."""

    draws: ClassVar[bool] = True
    """Whether the result depends on a seed."""
    computes: ClassVar[bool] = False
    """Whether the result depends, in its last bits, on the number of threads."""

    do: str

    def pinned_seed(self, seed: int) -> int | None:
        """The seed of this step: its own where it names one, otherwise the replicate's; None if it draws nothing."""
        if not self.draws:
            return None
        own: int | None = getattr(self, "seed", None)
        return seed if own is None else own


class Reads(StepConfig):
    """What all steps that read a source share."""

    layout: str | None = None
    """Name of the layout; null detects it."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many rows."""
    strict: bool = False
    """Whether a bad row is an error, instead of going to the quarantine."""
    workers: int | None = pydantic.Field(default=None, ge=1, exclude=True)
    """Number of processes for a large source; null takes the cores that may be used. The result does not depend on it,
    and it is no part of what a run is named and compared by."""


class Serving(Config):
    """What a step that asks models may start for itself."""

    serve: OptionalRef = None
    """A model on this machine, asked under the endpoint name ``local``."""
    engine: Literal["server", "inprocess"] = "server"
    """``server`` starts ``transformers serve`` on loopback, ``inprocess`` samples in the step's own process."""


def refs_of(config: StepConfig) -> dict[str, str]:
    """The settings of a step that name something else: setting → name; one that names several is numbered."""
    fields = type(config).model_fields
    named = {
        key: getattr(config, key) for key, info in fields.items() if any(isinstance(m, _Refers) for m in info.metadata)
    }
    lists = {key: many for key, many in named.items() if isinstance(many, tuple)}
    several = {f"{key}.{number}": one for key, many in lists.items() for number, one in enumerate(many)}
    return {key: target for key, target in named.items() if isinstance(target, str)} | several
