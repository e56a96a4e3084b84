"""What can be set of a model, its input and its sampling. No torch: a recipe is checked without it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from notus.core.config import Alias, Config
from notus.core.errors import nearest
from notus.engine.text.named import TEMPLATES, is_template_name

__all__ = ["Limits", "Lora", "Sampling", "Shape", "Templating"]


class Templating(Config):
    """What is asked of a model's chat template."""

    system: str | None = None
    """System turn that is put before a prompt without one. Null puts none and leaves it to the model's chat template,
    which may write one of its own; Zephyr and Notus use an empty one (``""``)."""
    chat_template: str | None = None
    """A chat template in place of the model's own, for models that have none: by name (``zephyr``, ``chatml``,
    ``llama3``, ``gemma``, ``mistral``, ``phi3``, ``tulu``) or a file of Jinja. It is saved with what is trained."""
    template_options: dict[str, bool | int | float | str] = pydantic.Field(default_factory=dict)
    """Variables that are given to the chat template, such as ``{enable_thinking: false}``."""

    @pydantic.field_validator("chat_template")
    @classmethod
    def _known_template(cls, name: str | None) -> str | None:
        if name is not None and not is_template_name(name):
            raise ValueError(f"it is neither the name of a template nor a file; {nearest(name, TEMPLATES)}")
        return name


class Limits(Templating):
    """How long an example may be, and how the model's chat template writes it."""

    max_length: int = pydantic.Field(default=1024, ge=8)
    """Tokens of prompt and answer together. An answer that is too long is cut on the right and loses its EOS."""
    max_prompt_length: int = pydantic.Field(default=512, ge=4)
    """Tokens of the prompt. A prompt that is too long is cut on the left: its end is nearest to the answer."""
    reasoning: Literal["drop", "template", "block"] = "drop"
    """What becomes of the thoughts before an answer: they are left out, are written by the model's own chat template,
    or stand before the answer between ``<think>`` and ``</think>``, for templates that know none. Where the template
    itself opens a thought before each answer, ``block`` gives an empty one to an answer without."""
    tools: bool = False
    """Whether tools and their calls are written by the model's own chat template. Otherwise a row in which one is
    called is put aside."""

    @pydantic.model_validator(mode="after")
    def _room_for_an_answer(self) -> "Limits":
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} must be below max_length {self.max_length}, "
                "or no answer fits"
            )
        return self


def _init_lora_weights(value: Any) -> dict[str, Any]:
    if value not in (True, "pissa"):
        raise ValueError(f"'init_lora_weights' is {value!r}; it is true or pissa: set 'init'")
    return {"init": "pissa" if value == "pissa" else "kaiming"}


class Lora(Config):
    """A low-rank adapter: W′ = W + (α/r)·B·A (Hu et al. 2021, section 4.1, https://arxiv.org/abs/2106.09685).

    The defaults are those of Notus 7B v1 LoRA. The names of peft's ``LoraConfig`` are read too.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        "r": "rank",
        "lora_alpha": "alpha",
        "lora_dropout": "dropout",
        "target_modules": "targets",
        "use_dora": "dora",
        "use_rslora": "rslora",
        "init_lora_weights": _init_lora_weights,
    }

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
    """Names of the layers that are adapted (linear ones, embeddings), or ``all-linear`` for all linear ones but the
    language-model head. Embeddings and head that share their weights no longer do after a merge."""
    dora: bool = False
    """Whether magnitude and direction of a weight are trained apart (Liu et al. 2024, equation 5,
    https://arxiv.org/abs/2402.09353)."""
    rslora: bool = False
    """Whether the update is scaled by α/√r instead of α/r (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732)."""
    init: Literal["kaiming", "pissa"] = "kaiming"
    """How A and B begin: A is drawn and B is 0, or ``pissa`` takes the r largest singular values out of the weight
    (Meng et al. 2024, https://arxiv.org/abs/2404.02948); what is saved is an adapter of rank 2r on the weight as it
    was."""
    modules_to_save: tuple[str, ...] = ()
    """Names of modules that are trained as a whole and saved with the adapter, for example ``embed_tokens`` and
    ``lm_head`` where tokens were added."""
    target_parameters: tuple[str, ...] = ()
    """Names of parameters that are adapted and belong to no linear layer, for example the experts of a mixture
    (``mlp.experts.gate_up_proj``); they need ``dropout: 0``."""


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
    """Above 1, tokens that were there already are less likely (Keskar et al. 2019, section 4.1,
    https://arxiv.org/abs/1909.05858)."""
    max_new_tokens: int = pydantic.Field(default=256, ge=1)
    """Tokens of an answer; one that is longer is cut there, and marked."""
    batch_size: int = pydantic.Field(default=64, ge=1)
    """Rows of a batch."""


class Shape(Config):
    """Size of a model of the Mistral architecture (Jiang et al. 2023, https://arxiv.org/abs/2310.06825)."""

    vocabulary: int = pydantic.Field(default=512, ge=300)
    """Entries of the byte-level BPE; 256 bytes and the control tokens are always among them."""
    width: int = pydantic.Field(default=192, ge=8)
    """Size of the hidden state."""
    layers: int = pydantic.Field(default=3, ge=1)
    """Blocks of attention and feed-forward."""
    heads: int = pydantic.Field(default=4, ge=1)
    """Of the queries."""
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
