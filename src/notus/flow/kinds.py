"""What a recipe can do: the kinds of steps with their settings. What each does is in ``flow.steps``.

No torch and nothing heavy: a recipe is read and checked with this alone.
"""

from typing import Annotated, ClassVar, Literal

import pydantic

from notus.core.config import Config
from notus.miniature.world import WorldConfig
from notus.models.settings import Limits, Sampling, Shape
from notus.train.loss_settings import PairObjective, Sigmoid
from notus.train.settings import Training

__all__ = [
    "KINDS",
    "Audit",
    "Binarize",
    "Create",
    "Dpo",
    "Miniature",
    "Read",
    "Reads",
    "Rewards",
    "Seed",
    "Sft",
    "StepConfig",
    "Success",
    "refs_of",
]


class _Refers:
    """Marks a setting that names a step of the recipe, a path or a hub id."""


Ref = Annotated[str, _Refers(), pydantic.Field(min_length=1)]
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


class Miniature(StepConfig):
    """Write the miniature world: feedback in the raw UltraFeedback layout, dialogues, held-out prompts, the truth."""

    do: Literal["miniature"] = "miniature"
    seed: Seed | None = None
    """null takes the replicate's seed."""
    world: WorldConfig = WorldConfig()


class Reads(StepConfig):
    """What all steps that read a source share."""

    layout: str | None = None
    """Name of the layout; null detects it."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many rows."""
    strict: bool = False
    """Whether a bad row is an error, instead of going to the quarantine."""


class Read(Reads):
    """Read feedback or preference pairs from files or the hub."""

    draws: ClassVar[bool] = False
    do: Literal["read"] = "read"
    path: Ref
    """A file, a folder or a hub id, with ``@revision`` behind it if wanted."""
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation; for preference pairs."""


class Audit(Reads):
    """Look for scores that are wrong, and at the health of the set."""

    draws: ClassVar[bool] = False
    do: Literal["audit"] = "audit"
    data: Ref = "data"


class Binarize(Reads):
    """Turn feedback into preferences."""

    do: Literal["binarize"] = "binarize"
    data: Ref = "data"
    strategy: Literal["mean-rating", "critique", "repaired-critique"] = "mean-rating"
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation."""
    seed: Seed | None = None


class Create(StepConfig):
    """Make a tokenizer from the texts of the data, and a small model with random weights."""

    computes: ClassVar[bool] = True
    do: Literal["create"] = "create"
    data: Ref = "data"
    shape: Shape = Shape()
    seed: Seed | None = None


class Sft(StepConfig, Training):
    """Supervised fine-tuning on dialogues, or on the chosen answers of preferences."""

    computes: ClassVar[bool] = True
    do: Literal["sft"] = "sft"
    start: Ref = "create"
    """Model to start from: a step, a folder or a hub id."""
    data: Ref = "data"
    seed: Seed | None = None


class Dpo(StepConfig, Training):
    """Direct preference optimisation; the model that it starts from is the reference."""

    computes: ClassVar[bool] = True
    do: Literal["dpo"] = "dpo"
    start: Ref = "sft"
    pairs: Ref = "binarize"
    loss: PairObjective = Sigmoid()
    """A loss with its options, or a list of ``{weight, loss}`` that is summed."""
    seed: Seed | None = None


class Success(StepConfig):
    """Sample answers to held-out prompts of the miniature, and check each exactly."""

    computes: ClassVar[bool] = True
    do: Literal["success"] = "success"
    model: Ref = "dpo"
    data: Ref = "data"
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    seed: Seed | None = None


class Rewards(StepConfig):
    """Accuracy of a policy's implicit reward on held-out preferences; a tie counts ½."""

    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    do: Literal["rewards"] = "rewards"
    policy: Ref = "dpo"
    reference: Ref = "sft"
    pairs: Ref = "data"
    max_tokens: int | None = pydantic.Field(default=2048, ge=16)
    """Tokens of one forward pass in the packed form; null computes padded, for models that the packed form refuses."""
    limits: Limits = Limits()


KINDS: dict[str, type[StepConfig]] = {
    "miniature": Miniature,
    "read": Read,
    "audit": Audit,
    "binarize": Binarize,
    "create": Create,
    "sft": Sft,
    "dpo": Dpo,
    "success": Success,
    "rewards": Rewards,
}
"""Name of each kind of step, as ``do`` has it."""


def refs_of(config: StepConfig) -> dict[str, str]:
    """The settings of a step that name something else: setting → name."""
    fields = type(config).model_fields
    return {
        key: getattr(config, key) for key, info in fields.items() if any(isinstance(m, _Refers) for m in info.metadata)
    }
