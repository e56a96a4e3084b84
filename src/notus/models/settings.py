"""What can be set of a model, its input and its sampling. No torch: a recipe is checked without it."""

from typing import Annotated, Literal

import pydantic

from notus.core.config import Config

__all__ = ["Limits", "Lora", "Sampling", "Shape"]


class Limits(Config):
    """How long an example may be, and what the conversation opens with."""

    max_length: int = pydantic.Field(default=1024, ge=8)
    """Tokens of prompt and answer together. An answer that is too long is cut on the right and loses its EOS."""
    max_prompt_length: int = pydantic.Field(default=512, ge=4)
    """Tokens of the prompt. A prompt that is too long is cut on the left: its end is nearest to the answer."""
    system: str | None = ""
    """System turn that is put before a prompt without one. Zephyr and Notus use an empty one; null puts none."""

    @pydantic.model_validator(mode="after")
    def _room_for_an_answer(self) -> "Limits":
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} must be below max_length {self.max_length}, "
                "or no answer fits"
            )
        return self


class Lora(Config):
    """A low-rank adapter: W′ = W + (α/r)·B·A (Hu et al. 2021, section 4.1, https://arxiv.org/abs/2106.09685).

    The defaults are those of Notus 7B v1 LoRA.
    """

    rank: int = pydantic.Field(default=64, ge=1)
    """r, the inner size of B·A."""
    alpha: float = pydantic.Field(default=16.0, gt=0)
    """α; the update of a weight is scaled by α/r."""
    dropout: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of an adapter's inputs that is zeroed while the policy trains. The reference has none."""
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], pydantic.Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    """Names of the linear layers that are adapted, or ``all-linear`` for all but the language-model head."""
    dora: bool = False
    """Whether magnitude and direction of a weight are trained apart (Liu et al. 2024, equation 5,
    https://arxiv.org/abs/2402.09353)."""


class Sampling(Config):
    """How answers are drawn."""

    samples: int = pydantic.Field(default=1, ge=1)
    """Answers for each prompt."""
    temperature: float = pydantic.Field(default=1.0, ge=0)
    """0 takes the likeliest token at each step."""
    top_p: float = pydantic.Field(default=1.0, gt=0, le=1)
    """Smallest set of tokens that holds this probability."""
    top_k: int = pydantic.Field(default=0, ge=0)
    """Only so many likeliest tokens; 0 takes all."""
    repetition_penalty: float = pydantic.Field(default=1.0, gt=0)
    max_new_tokens: int = pydantic.Field(default=256, ge=1)
    batch_size: int = pydantic.Field(default=64, ge=1)
    """Rows of a batch."""


class Shape(Config):
    """Size of a model of the Mistral architecture (Jiang et al. 2023, https://arxiv.org/abs/2310.06825)."""

    vocabulary: int = pydantic.Field(default=512, ge=300)
    """Entries of the byte-level BPE; 256 bytes and the control tokens are always among them."""
    width: int = pydantic.Field(default=192, ge=8)
    """Size of the hidden state."""
    layers: int = pydantic.Field(default=3, ge=1)
    heads: int = pydantic.Field(default=4, ge=1)
    kv_heads: int = pydantic.Field(default=2, ge=1)
    """Heads of keys and values; the heads of queries share them in equal groups."""
    ffn: int = pydantic.Field(default=576, ge=8)
    """Size of the feed-forward layer."""
    positions: int = pydantic.Field(default=1024, ge=32)
    """Longest sequence in tokens."""

    @pydantic.model_validator(mode="after")
    def _divides(self) -> "Shape":
        if self.width % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                f"width {self.width} must be a multiple of 2 × heads ({self.heads}), and heads of kv_heads "
                f"({self.kv_heads})"
            )
        return self
