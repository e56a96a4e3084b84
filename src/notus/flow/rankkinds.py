"""The settings of the step that ranks answers. What it does is in ``flow.ranksteps``. No torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import pydantic

from notus.core.errors import ConfigError
from notus.data.collect_settings import Asking
from notus.flow.stepconfig import OptionalRef, Reads, Ref, Serving
from notus.models.ranker_settings import RANKERS, RankerSpec, Ranking

__all__ = ["Rank"]


class Rank(Reads, Serving, Asking):
    """Score the answers to each prompt by a ranker: feedback with scores, which ``binarize`` makes pairs of."""

    draws: ClassVar[bool] = False
    do: Literal["rank"] = "rank"
    outputs: Ref = "sample"
    """The answers: a run that has drawn some, or any source of feedback."""
    ranker: str = "length"
    """Which ranker. What stands behind the colon of ``pairrm:MODEL`` may be a step, a folder or a hub id."""
    model: OptionalRef = None
    """The ranker's model, policy or file with a function; taken from ``ranker`` where that names it."""
    reference: OptionalRef = None
    """The reference of ``implicit``; taken from ``ranker`` where that names it."""
    ranking: Ranking = Ranking()
    shard: int = pydantic.Field(default=500, ge=1)
    """Prompts that are ranked together. What was ranked is kept when a run is stopped."""
    drop_truncated: bool = False
    """Whether answers that were cut at the token limit take no part."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str, typed: Mapping[str, str] | None = None) -> Self:
        """Validate a mapping, as ``Config`` does. The text form of a ranker is divided first, so that what it refers
        to is known to the recipe and counts by its content."""
        try:
            divided = {**data, **_divided(data.get("ranker"), data.get("model"))}
        except ConfigError as error:
            raise ConfigError(f"{where}: 'ranker': {error}") from None
        return super().parse(divided, where=where, typed=typed)

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.spec()
        except ConfigError as error:
            raise ValueError(f"'ranker': {error}") from None
        return self

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a model computes in this process."""
        return self.ranker in ("pairrm", "reward-model", "implicit")

    def spec(self, model: str | None = None, reference: str | None = None) -> RankerSpec:
        """The ranker, its model and reference where they lie."""
        model, reference = model or self.model, reference or self.reference
        if self.ranker.startswith("python:") and model is not None:
            return RankerSpec.read(f"python:{model}:{self.ranker.removeprefix('python:')}")
        if model is None:
            return RankerSpec.read(self.ranker)
        fields = {"kind": self.ranker, "model": model, "reference": reference}
        return RankerSpec.parse(fields, where=f"ranker '{self.ranker}'")


def _divided(text: Any, model: Any) -> dict[str, str | None]:
    """The settings that a text form stands for; none where it refers to nothing, or is divided already."""
    if not isinstance(text, str) or text in RANKERS or model is not None:
        return {}
    spec = RankerSpec.read(text)
    if spec.kind == "judge":
        return {}
    if spec.kind != "python":
        return {"ranker": spec.kind, "model": spec.model, "reference": spec.reference}
    place, _, name = str(spec.model).rpartition(":")
    # Of file.py:function the file is what is read; a module is not a path.
    return {"ranker": f"python:{name}", "model": place} if place.endswith(".py") else {}
