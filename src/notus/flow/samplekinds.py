"""The settings of the step that draws answers. What it does is in ``flow.samplesteps``. No torch."""

from typing import ClassVar, Literal, Self

import pydantic

from notus.data.collect_settings import Asking
from notus.flow.stepconfig import OptionalRef, Reads, Ref, Seed
from notus.models.settings import Limits, Sampling

__all__ = ["Sample"]


class Sample(Reads, Asking):
    """Draw answers to prompts from a model, or from an endpoint through the ledger."""

    serve: ClassVar[None] = None  # what is asked over HTTP is a server that runs already
    do: Literal["sample"] = "sample"
    data: Ref = "data"
    """Where the prompts are from: feedback, pairs, dialogues; a prompt that stands there again is asked once."""
    prompts: Literal["records", "held-out"] = "records"
    """``records`` takes the prompts of the source's records, ``held-out`` those that a step left for evaluation
    (prompts.parquet)."""
    split: str | None = None
    """Of a source of several files, those whose name begins so: ``train_iteration_1``. Null reads all."""
    part: int = pydantic.Field(default=1, ge=1)
    """Which part of the prompts, from 1."""
    parts: int = pydantic.Field(default=1, ge=1)
    """Into how many disjoint parts the prompts are divided, by a hash of prompt and seed."""
    model: OptionalRef = None
    """The model: a step, a folder or a hub id; null asks the one endpoint that is given."""
    sampling: Sampling = Sampling()
    drop_truncated: bool = False
    """Whether answers that were cut at the token limit are left out; otherwise they are marked."""
    limits: Limits = Limits()
    """Lengths for a model; an endpoint has its own."""
    seed: Seed | None = None

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model answers in this process: what a server says does not depend on the threads here."""
        return self.model is not None

    @pydantic.model_validator(mode="after")
    def _one_who_answers(self) -> Self:
        if (self.model is None) is (not self.endpoints) or len(self.endpoints) > 1:
            raise ValueError("name who answers: a model, or one endpoint under 'endpoints'")
        if self.part > self.parts:
            raise ValueError(f"part {self.part} is above the {self.parts} parts that there are")
        if self.prompts == "held-out" and self.split is not None:
            raise ValueError("'split' chooses among files of records; held-out prompts are one table")
        return self
