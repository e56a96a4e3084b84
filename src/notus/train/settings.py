"""What can be set of a training run, under our names and under those of transformers and TRL. No torch: a recipe is
checked without it.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic

from notus.core.config import Alias, Config
from notus.engine.settings import Limits, Lora
from notus.train.losses.base import UnpairedLoss
from notus.train.losses.margin import Sigmoid
from notus.train.losses.objective import AnyObjective, needs, read_loss
from notus.train.losses.weighting import Weighting
from notus.train.moments import read_every

__all__ = ["PreferenceTraining", "Training", "Updates"]

_ONE = "per_device_train_batch_size"
_TIMES = "gradient_accumulation_steps"


def _bf16(value: Any) -> dict[str, Any]:
    return {"precision": "bfloat16" if _switch("bf16", value) else "float32"}


def _fp16(value: Any) -> dict[str, Any]:
    return {"precision": "float16"} if _switch("fp16", value) else {}


def _load_in_4bit(value: Any) -> dict[str, Any]:
    return {"dtype": "4bit"} if _switch("load_in_4bit", value) else {}


def _warmup_steps(value: Any) -> dict[str, Any]:
    if isinstance(value, int | float) and value >= 1:
        raise ValueError(f"'warmup_steps' is {value}, a number of updates; Notus takes their share: set 'warmup'")
    return {"warmup": value}


def _use_weighting(value: Any) -> dict[str, Any]:
    return {"weighting": {"name": "wpo", "limit": None} if _switch("use_weighting", value) else None}


def _best_by(value: Any) -> dict[str, Any]:
    plain = str(value).removeprefix("eval_").removeprefix("rewards/")
    if plain not in ("loss", "accuracy", "accuracies"):
        raise ValueError(f"'metric_for_best_model' is {value!r}; Notus takes the best by loss or by accuracy")
    return {"best_by": "loss" if plain == "loss" else "accuracy"}


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"'{name}' is {value!r}; it is true or false")
    return value


class Updates(Config):
    """What every training can set. The names of transformers' ``TrainingArguments`` are read too."""

    aliases: ClassVar[Mapping[str, Alias]] = {
        "num_train_epochs": "epochs",
        "lr_scheduler_type": "schedule",
        "warmup_ratio": "warmup",
        "warmup_steps": _warmup_steps,
        "optim": "optimizer",
        "gradient_checkpointing": "activation_checkpointing",
        "bf16": _bf16,
        "fp16": _fp16,
        "logging_steps": "log_every",
        "save_steps": "save_every",
        "save_total_limit": "keep",
        "eval_steps": "evaluate_every",
        "early_stopping_patience": "patience",
        "load_best_model_at_end": "load_best",
        "metric_for_best_model": _best_by,
        "max_length": "limits.max_length",
        "max_prompt_length": "limits.max_prompt_length",
        "chat_template": "limits.chat_template",
        "chat_template_path": "limits.chat_template",
    }
    meanings: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "num_epochs": "epochs",
        "n_epochs": "epochs",
        "max_steps": "'epochs' says how long, and may be below 1",
        "batch": "batch_size",
        "train_batch_size": "batch_size",
        "effective_batch_size": "batch_size",
        "scheduler": "schedule",
        "lr_scheduler": "schedule",
        "optimiser": "optimizer",
        "clip_grad_norm": "max_grad_norm",
        "gradient_clipping": "max_grad_norm",
        "mixed_precision": "precision",
        "peft_config": "lora",
        "use_peft": "lora",
        "max_seq_length": "limits.max_length",
        "max_seq_len": "limits.max_length",
        "max_completion_length": "'limits.max_length' is the length of prompt and answer together",
        "save_strategy": "'save_every' says how often: a number of updates, '1 epoch', '10 min', auto, never",
        "eval_strategy": "'evaluate_every' says how often: a number of updates, or '1 epoch'",
        "evaluation_strategy": "'evaluate_every' says how often: a number of updates, or '1 epoch'",
        "early_stopping": "'patience' says after how many evaluations that are no better training stops",
        "resume_from_checkpoint": "a run that was stopped goes on with the same command; 'resume_from' takes another's",
        "per_device_eval_batch_size": "what is held out is measured in batches of 'batch_size'",
    }
    epochs: float = pydantic.Field(default=1.0, gt=0)
    """How often each row is trained on; may be below 1."""
    batch_size: int = pydantic.Field(default=32, ge=1)
    """Dialogues (SFT), pairs or unpaired rows of one update."""
    learning_rate: float | None = pydantic.Field(default=None, gt=0)
    """The highest one; the schedule goes up to it and down again. Null takes what usually trains: 2e-5 for SFT and 5e-7
    for preferences, ten times that for an adapter, and 1e-5 for a ranker."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """How the learning rate falls behind the warm-up."""
    warmup: float = pydantic.Field(default=0.1, ge=0, lt=1)
    """Share of the updates in which the learning rate rises from 0."""
    optimizer: Literal["adamw_torch_fused", "adamw_torch", "rmsprop"] = "adamw_torch_fused"
    """``adamw_torch_fused`` is AdamW in one pass over the weights, ``adamw_torch`` the same in several. Of weights that
    are kept and trained in bfloat16 both round at random, so that small updates are not lost; see ``dtype``."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    """AdamW's, of all weights but biases and norms."""
    max_grad_norm: float = pydantic.Field(default=1.0, gt=0)
    """A longer gradient is shortened to this."""
    activation_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: less memory, about a third more time."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What forward and backward passes compute in; weights that are kept in float32 stay so (mixed precision, as
    ``bf16`` and ``fp16`` of transformers). ``auto`` is the type that the weights are kept in; float16 is for CUDA."""
    log_every: int = pydantic.Field(default=10, ge=1)
    """Updates between two lines of metrics."""
    limits: Limits = Limits()
    report_to: tuple[str, ...] = pydantic.Field(default=(), exclude=True)
    """Trackers that are told the run's numbers: ``tensorboard``, ``wandb``, ``trackio``, ``mlflow`` and others of
    accelerate's; ``pip install 'notus[trackers]'`` has the first three. It changes no result, and is no part of what a
    run is named and compared by."""
    save_every: Annotated[str, pydantic.BeforeValidator(read_every)] = pydantic.Field(default="auto", exclude=True)
    """How often a checkpoint is written, from which the same command goes on: a number of updates, ``1 epoch``, a time
    as ``10 min``, ``never``; ``auto`` takes about a fiftieth of the time for it, and half an hour at the most between
    two. It changes no result, and is no part of what a run is named and compared by."""
    keep: int = pydantic.Field(default=0, ge=0, exclude=True)
    """Checkpoints that are left when the training is done: so many of the newest, and the best. While it goes on, two
    at the least. It is no part of what a run is named and compared by either."""
    evaluate_every: Annotated[str | None, pydantic.BeforeValidator(partial(read_every, times=False))] = None
    """How often the rows that are held out are measured: a number of updates, or ``1 epoch``; null: at the end."""
    best_by: Literal["loss", "accuracy"] = "loss"
    """What makes an evaluation the best so far: the lowest loss, or the highest accuracy."""
    patience: int | None = pydantic.Field(default=None, ge=1)
    """Stop early: after so many evaluations, one after the other, that are no better than the best before them."""
    load_best: bool = False
    """Whether the weights of the best evaluation are the result, and not those of the last update."""

    @pydantic.model_validator(mode="after")
    def _measured_on_the_way(self) -> "Updates":
        for name in ("patience", "load_best", "best_by"):
            if self.evaluate_every is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} takes evaluations on the way, and there are none; set evaluate_every")
        if self.load_best and self.save_every in ("never", "0"):
            raise ValueError("load_best takes a checkpoint, and save_every is never; leave one of them out")
        return self

    @property
    def usual_rate(self) -> float:
        """The learning rate where none is set."""
        return 1e-5

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.usual_rate if self.learning_rate is None else self.learning_rate

    @property
    def computing(self) -> str:
        """What passes compute in: ``precision``, with ``auto`` decided as far as the settings alone decide it."""
        return "float32" if self.precision == "auto" else self.precision

    @pydantic.model_validator(mode="after")
    def _say_the_rate(self) -> Self:
        # So that the plan and the run directory say a number.
        object.__setattr__(self, "learning_rate", self.rate)
        return self

    @classmethod
    def translate(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings under our names. A batch is what one update takes, however it is split: transformers' rows
        of a forward pass, times how many of these make an update.

        Raises:
            ValueError: if two names of one setting are there, or a value has no meaning here.
        """
        ours = dict(data)
        size, times = ours.pop(_ONE, None), ours.pop(_TIMES, 1)
        if size is None and times != 1:
            rule = f"'{_TIMES}' is {times!r} and multiplies '{_ONE}', which is not given"
            raise ValueError(f"{rule}; leave it out, 'batch_size' alone is what one update takes")
        if size is not None:
            if "batch_size" in ours:
                raise ValueError(f"'batch_size' and '{_ONE}' are two names of one setting; leave one of them out")
            whole = isinstance(size, int) and isinstance(times, int)
            ours["batch_size"] = size * times if whole else size if times == 1 else times
        if isinstance(tracker := ours.get("report_to"), str):
            ours["report_to"] = () if tracker == "none" else (tracker,)
        return super().translate(ours)


class Training(Updates):
    """How a language model is trained: by SFT, by pairs or by single rows."""

    aliases: ClassVar[Mapping[str, Alias]] = {
        **Updates.aliases,
        "torch_dtype": "dtype",
        "load_in_4bit": _load_in_4bit,
    }
    share_prompts: bool = True
    """Whether pairs of one prompt come one after the other, and its answers are computed once for all of them."""
    engine: Literal["auto", "packed", "padded"] = "auto"
    """``packed`` computes a prompt once for all its answers and pads nothing; ``padded`` is the plain way, for every
    model that transformers runs. Both give the same numbers. ``auto`` takes the packed one where it is right for the
    model."""
    max_tokens: int | None = pydantic.Field(default=None, ge=16)
    """Tokens of one forward pass; null: 2,048, and with ``engine: padded`` the whole batch. Pairs of one prompt that
    take more are split; a pair that takes more alone makes a longer one."""
    micro_batch_size: int | None = pydantic.Field(default=None, ge=1)
    """Rows or pairs of one forward pass with ``engine: padded``, instead of ``max_tokens``."""
    self_check: bool = False
    """Whether the packed engine is compared with the padded one on the first batch, and a difference is an error."""
    lora: Lora | None = None
    """An adapter to train instead of all weights; null trains all of them."""
    dtype: Literal["float32", "bfloat16", "float16", "4bit", "auto"] = "float32"
    """What weights are kept in; ``auto`` is the type that the start is stored in. Bfloat16 takes
    half of float32. Trained as a whole in bfloat16 they are rounded at random, which keeps small updates on average;
    float32 with ``precision: bfloat16`` keeps each. Under an adapter they stay as they are, so float16 (accelerators)
    and 4bit (CUDA) are for adapters."""
    save_precision: Literal["start", "float32", "bfloat16", "float16"] = "start"
    """Type of the weights in the trained model's file; ``start`` is the one that the start is stored in."""
    resize_embeddings: bool = False
    """Whether a model with fewer embeddings than its tokenizer has tokens is given the missing ones."""

    @property
    def tokens(self) -> int:
        """Tokens of one forward pass where they are what splits a batch."""
        return self.max_tokens or 2048

    @property
    def usual_rate(self) -> float:
        """The learning rate where none is set: what TRL's and the Zephyr recipes' SFT takes, and tenfold for LoRA."""
        return 2e-5 if self.lora is None else 2e-4

    @property
    def computing(self) -> str:
        """What passes compute in."""
        kept = {"bfloat16": "bfloat16", "4bit": "bfloat16", "float16": "float16"}.get(self.dtype, "float32")
        return kept if self.precision == "auto" else self.precision

    @pydantic.model_validator(mode="after")
    def _every_setting_does_something(self) -> Self:
        if self.engine != "padded" and self.micro_batch_size:
            raise ValueError("micro_batch_size belongs to 'engine: padded'; max_tokens splits in every engine")
        if self.engine == "padded" and self.self_check:
            raise ValueError("self_check belongs to 'engine: packed', which it compares with the padded one")
        if self.micro_batch_size and self.max_tokens:
            raise ValueError("micro_batch_size and max_tokens both say how a batch is split; leave one of them out")
        return self

    @pydantic.model_validator(mode="after")
    def _types_fit(self) -> Self:
        fitting = {"bfloat16": ("bfloat16",), "4bit": ("bfloat16", "float16"), "float16": ("float16",)}
        if self.precision != "auto" and self.precision not in fitting.get(self.dtype, (self.precision,)):
            raise ValueError(
                f"weights that are kept in {self.dtype} are not computed with in {self.precision}; leave 'precision' "
                "out, or set dtype: float32"
            )
        return self


_LOSS_OPTIONS = {
    "beta": "beta",
    "label_smoothing": "label_smoothing",
    "discopop_tau": "tau",
    "desirable_weight": "desirable_weight",
    "undesirable_weight": "undesirable_weight",
}
"""Options of losses that TRL's ``DPOConfig`` and ``KTOConfig`` have beside the other settings → ours."""


class PreferenceTraining(Training):
    """How a policy is trained on preferences, by pairs or by single rows.

    The names of TRL's ``DPOConfig`` are read too: ``loss_type``, ``loss_weights``, ``use_weighting``, and the losses'
    options beside them.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {**Training.aliases, "use_weighting": _use_weighting}
    meanings: ClassVar[Mapping[str, str]] = {
        **Training.meanings,
        "losses": "loss",
        "objective": "loss",
        "rpo_alpha": "'loss: {name: rpo, nll_weight: …}' adds the likelihood",
        "ld_alpha": "'loss: {name: ld_dpo, tail_weight: …}' is the loss of that option",
        "simpo_gamma": "'loss: {name: simpo, gamma: …}' is the loss of that option",
        "reference_free": "simpo, orpo and nll are the losses without a reference",
        "precompute_ref_log_probs": "the reference is always computed once, before training: leave it out",
        "sync_ref_model": "the reference stays what it is; 'reference' names another model",
    }
    loss: AnyObjective = Sigmoid()
    """A loss by its name, or with its options, or a list of ``{weight, loss}`` that is summed."""
    weighting: Weighting | None = None
    """What each pair counts: ``wpo`` weighs it by how likely the policy is to write it; null counts all the same."""

    @classmethod
    def translate(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings under our names, the loss as one setting. Options without a loss are those of DPO's own.

        Raises:
            ValueError: if two names of one setting are there, or a value has no meaning here.
        """
        ours, options = _without_options(data)
        if options:
            ours["loss"] = _with_options(ours.get("loss", "sigmoid"), options)
        elif isinstance(ours.get("loss"), str):
            ours["loss"] = {"name": ours["loss"]}  # so that options may be laid over it
        return super().translate(ours)

    @classmethod
    def lay(cls, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
        """One mapping laid over another, as ``Config.lay``; options without a loss are those of the loss below."""
        below, (above, options) = cls.translate(base), _without_options(over)
        if not options or "loss" in above:
            return super().lay(below, over)
        loss = _with_options(below.get("loss", "sigmoid"), options, over=True)
        return super().lay(below, above) | {"loss": loss}

    @property
    def usual_rate(self) -> float:
        """The learning rate where none is set: that of Zephyr 7B beta, and tenfold for LoRA."""
        return 5e-7 if self.lora is None else 5e-6

    @pydantic.model_validator(mode="after")
    def _weighting_fits(self) -> "PreferenceTraining":
        if self.weighting is None:
            return self
        if isinstance(self.loss, UnpairedLoss):
            raise ValueError(f"'weighting: wpo' weighs pairs, and '{self.loss.name}' is a loss of single rows")
        if "update" in needs(self.loss):
            raise ValueError(
                "'weighting: wpo' weighs pair by pair, and AOT sets answers of different pairs against each other; "
                "leave the weighting out, or take another loss"
            )
        return self


def _without_options(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings with TRL's ``loss_type`` as our ``loss``, and the options that stand beside it; our name → value."""
    ours = dict(data)
    options = {name: ours.pop(key) for key, name in _LOSS_OPTIONS.items() if key in ours}
    kinds, weights = ours.pop("loss_type", None), ours.pop("loss_weights", None)
    if kinds is None:
        if weights is not None:
            raise ValueError("'loss_weights' belongs to 'loss_type', which is not given")
        return ours, options
    if "loss" in ours:
        raise ValueError("'loss' and 'loss_type' are two names of one setting; leave one of them out")
    names = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"'loss_type' is {kinds!r}; it is the name of a loss, or a list of names")
    if len(names) == 1 and weights is None:
        return ours | {"loss": names[0]}, options
    counts = [1.0] * len(names) if weights is None else weights
    if not isinstance(counts, list | tuple) or len(counts) != len(names):
        raise ValueError(f"'loss_weights' is {weights!r}; it is a list of {len(names)} weights, one for each loss")
    ours["loss"] = [
        {"weight": weight, "loss": {"name": name, **_options_of(name, options)}}
        for name, weight in zip(names, counts, strict=True)
    ]
    # An option that none of them has is left over, and refused as one of a sum.
    used = {key for name in names for key in _options_of(name, options)}
    return ours, {key: value for key, value in options.items() if key not in used}


def _options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a loss has."""
    fields = type(read_loss(name)).model_fields
    return {key: value for key, value in options.items() if key in fields}


def _with_options(loss: Any, options: Mapping[str, Any], *, over: bool = False) -> Any:
    """A loss with options that stood beside it."""
    first = next(iter(options))
    if isinstance(loss, str):
        loss = {"name": loss}
    if not isinstance(loss, Mapping):
        raise ValueError(f"'{first}' stands beside a weighted sum of losses; set it in the terms that it is for")
    both = next((key for key in options if key in loss and not over), None)
    if both is not None:
        raise ValueError(f"'loss.{both}' and '{both}' are two names of one setting; leave one of them out")
    return {**loss, **options}
