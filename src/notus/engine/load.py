"""Models of this machine: read one with its tokenizer, or make a small one; save and merge it.

Owns what can be read and how a failure is told, the device, the type of the weights, and that whatever was trained can
be saved. Whoever takes a model takes an adapter folder; what an adapter is, is in ``adapters``. Does not own training
(``train``) or sampling (``engine.generate``).
"""

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from notus.core.errors import ConfigError, check_space
from notus.core.text import HubId, format_list
from notus.engine.adapters import (
    attach_adapter,
    base_model,
    embedding_rows,
    fast_layers,
    merged,
    save_adapter,
)
from notus.engine.bases import base_of, is_adapter, read_adapter_settings
from notus.engine.files.folder import read_headers, weight_paths
from notus.engine.files.pretrained import no_bars, read_config, read_tokenizer_files, read_weights
from notus.engine.files.sound import check_mismatched, check_sound
from notus.engine.settings import Shape
from notus.engine.text.named import ZEPHYR_TEMPLATE
from notus.engine.text.stops import name_stops

__all__ = [
    "DTYPES",
    "Precision",
    "adapter_tokenizer",
    "base_model",
    "build_model",
    "device",
    "fit_vocabulary",
    "is_adapter",
    "load_adapter",
    "load_model",
    "load_tokenizer",
    "merge",
    "read_model",
    "read_tokenizer",
    "save_model",
    "stored_type",
    "train_tokenizer",
    "weight_files",
]

Precision = Literal["float32", "bfloat16", "float16", "4bit", "auto"]
"""Type that weights are kept in. ``auto`` is the one that they are stored in, and ``4bit`` is NF4 (Dettmers et al.
2023, section 3, https://arxiv.org/abs/2305.14314)."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CONTROL = ("<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>")


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE with the control tokens and the template of Zephyr.

    Args:
        texts: the corpus. Byte-level: every text can be encoded and comes back as it was.
        size: entries, control tokens included.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, **dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), _CONTROL, strict=False))
    )
    tokenizer.chat_template = ZEPHYR_TEMPLATE
    return tokenizer


def build_model(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Mistral model of the given size with seeded random weights, in fp32 on the CPU."""
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return fast_layers(MistralForCausalLM(config))


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model as safetensors with its tokenizer, so that ``load_model`` and transformers can read it.

    Of a model with an adapter, the adapter alone is written; it names its base. Settings for generating that
    transformers would refuse to write are written as they are: published models have some.

    Args:
        model: with an adapter or without.
        tokenizer: of the model.
        path: a folder; made where there is none.
        dtype: of the weights in the file; None takes the one that they have. An adapter is written in its own.
    """
    with no_bars():
        if isinstance(model, PreTrainedModel):
            # A plain model that an adapter was injected into would be written under names that nothing can read.
            assert not hasattr(model, "peft_config"), "save the model that holds the adapter, not the one below it"
            _save_plain(model, path, dtype)
        else:
            save_adapter(model, path)
        tokenizer.save_pretrained(path)


def _save_plain(model: PreTrainedModel, path: Path, dtype: torch.dtype | None) -> None:
    generation = getattr(model, "generation_config", None)
    refused = generation is not None and not _can_be_written(generation)
    weights = None
    if dtype is not None and dtype != model.dtype:
        weights = _rounded(model.state_dict(), dtype)
    try:
        if refused:
            model.generation_config = GenerationConfig()
        model.save_pretrained(path, **({} if weights is None else {"state_dict": weights}))
    finally:
        if refused:
            model.generation_config = generation
    if refused and generation is not None:
        generation.to_json_file(path / "generation_config.json", use_diff=True, keys_to_pop=["compile_config"])
    if weights is not None:
        config = model.config.to_dict() | {"dtype": str(dtype).removeprefix("torch.")}
        type(model.config).from_dict(config).save_pretrained(path)


def _rounded(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights in another type; those that share their numbers still do."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    found = {}
    for name, weight in weights.items():
        key = (weight.data_ptr(), weight.shape)
        if key not in made:
            made[key] = weight.to(dtype) if weight.is_floating_point() else weight
        found[name] = made[key]
    return found


def _can_be_written(generation: GenerationConfig) -> bool:
    try:
        generation.validate(strict=True)
    except ValueError:
        return False
    return True


def load_model(source: str, *, precision: Precision = "float32") -> PreTrainedModel:
    """Load a causal language model in evaluation mode, onto the accelerator where there is one.

    Args:
        source: a folder, an adapter folder, or a hub id. An adapter comes on its base, its own weights trainable.
        precision: of the weights; those of an adapter are fp32 in either.

    Raises:
        ConfigError: if there is no such model, it cannot be read, or the device has no such type. Only safetensors are
            read.
    """
    if is_adapter(source):
        return load_adapter(Path(source), trainable=True, precision=precision)
    return read_model(source, precision=precision).to(device())


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model from a folder, an adapter folder or a hub id. Without a pad token, EOS pads.

    Raises:
        ConfigError: if there is no such model, or it cannot be read.
    """
    if is_adapter(source):
        return adapter_tokenizer(Path(source))
    return read_tokenizer(source)


def device() -> torch.device:
    """The accelerator that PyTorch sees, and otherwise the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def read_model(source: str, *, precision: Precision = "float32", revision: str | None = None) -> PreTrainedModel:
    """Read a plain causal language model, in evaluation mode on the CPU. Only safetensors are read.

    Its attention is PyTorch's fused one where transformers has that for the architecture, and otherwise the plain one.

    Args:
        source: a folder, or a hub id of the form owner/name.
        precision: of the weights. In 4 bits it comes onto the accelerator at once.
        revision: of a hub id; None takes its default.

    Raises:
        ConfigError: if there is no such model, it cannot be read, or the device has no such type.
    """
    options = _types(precision) | ({"revision": revision} if revision else {})
    model, loaded = read_weights(AutoModelForCausalLM, source, "a model", **options)
    stored = read_headers(Path(source)) if Path(source).exists() else {}
    check_mismatched(loaded, source, stored)
    # transformers fills what is missing at random and goes on.
    if missing := sorted(loaded["missing_keys"]):
        raise ConfigError(
            f"the model in {source!r} lacks {len(missing)} weights, the first is {missing[0]}, which is not in "
            f"{format_list(sorted({weight.file.name for weight in stored.values()}), 3) or 'its files'}; get it anew"
        )
    check_sound(model, loaded, source, stored)
    pinned = HubId.parse(source) if not Path(source).exists() else None
    if pinned is not None:  # an adapter on it names the commit too
        model.name_or_path = str(HubId(pinned.name, revision or pinned.revision))
    return fast_layers(model)


def _types(precision: Precision) -> dict[str, Any]:
    """How transformers is told the type of the weights.

    Raises:
        ConfigError: if the device has none such.
    """
    where = device()
    if precision == "float16" and where.type == "cpu":
        raise ConfigError("weights in float16 are for accelerators, and there is none; the CPU has bfloat16")
    if precision != "4bit":
        return {"dtype": DTYPES.get(precision, "auto")}
    if where.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        lacking = "no CUDA device" if where.type != "cuda" else "no bitsandbytes (pip install bitsandbytes)"
        raise ConfigError(f"weights in 4bit need CUDA and bitsandbytes, and there is {lacking}; bfloat16 runs anywhere")
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantised, "device_map": {"": where}, "dtype": torch.bfloat16}


def fit_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Give every token of a tokenizer an embedding, in place. A new row is the mean of those before it.

    Returns:
        Rows that are new.
    """
    rows: int = model.get_input_embeddings().weight.shape[0]
    needed = max(tokenizer.get_vocab().values(), default=-1) + 1
    if needed <= rows:
        return 0
    model.resize_token_embeddings(needed, mean_resizing=False)
    layers = {id(layer): layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer}
    with torch.no_grad():
        for weight in {id(layer.weight): layer.weight for layer in layers.values()}.values():
            weight[rows:] = weight[:rows].mean(0, dtype=torch.float32).to(weight.dtype)
        for layer in layers.values():
            if getattr(layer, "bias", None) is not None:
                layer.bias[rows:] = 0
    fast_layers(model)  # transformers has made a new head
    return needed - rows


def read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Read a tokenizer. Without a pad token, EOS pads.

    Raises:
        ConfigError: if there is no such tokenizer, or it cannot be read.
    """
    # The folder of an adapter holds a tokenizer and no config.json.
    tokenizer = read_tokenizer_files(AutoTokenizer, source, "config.json", "tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def stored_type(source: str) -> torch.dtype | None:
    """The type that a model's weights are stored in, as its configuration says; None where that says nothing.

    Of an adapter it is that of its base.
    """
    if is_adapter(source):
        return stored_type(str(HubId(base_of(Path(source)), read_adapter_settings(Path(source)).get("revision"))))
    found = read_config(source).dtype
    return found if isinstance(found, torch.dtype) else None


def weight_files(source: str) -> list[Path]:
    """The files with the weights of a model that has been loaded; of an adapter also those of its base.

    Those of a hub id lie in the cache, and there are none where that has no such commit.
    """
    if is_adapter(source):
        revision = read_adapter_settings(Path(source)).get("revision")
        return [*_safetensors(Path(source)), *weight_files(str(HubId(base_of(Path(source)), revision)))]
    if Path(source).is_dir():
        return weight_paths(Path(source))
    on_hub = HubId.parse(source)
    found = on_hub and try_to_load_from_cache(on_hub.name, "config.json", revision=on_hub.revision)
    return _safetensors(Path(found).parent) if isinstance(found, str) else []


def _safetensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def load_adapter(folder: Path, *, trainable: bool, precision: Precision = "float32") -> PeftModel:
    """Load an adapter with its base, in evaluation mode on the accelerator where there is one. The base is frozen.

    Args:
        folder: what ``save_model`` or peft wrote, with safetensors.
        trainable: whether the adapter can be trained on.
        precision: of the base; the adapter is in fp32 at least.

    Raises:
        ConfigError: if the adapter cannot be read, its base is not there, or the two do not belong together.
    """
    settings = read_adapter_settings(folder)
    base = read_model(base_of(folder), precision=precision, revision=settings.get("revision"))
    rows = embedding_rows(base, folder)
    if rows is not None and rows != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(rows, mean_resizing=False)
    if precision != "4bit":
        base = base.to(device())
    return attach_adapter(base, folder, trainable=trainable)


def adapter_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies with an adapter, and otherwise that of its base.

    Raises:
        ConfigError: if it cannot be read.
    """
    own = (folder / "tokenizer_config.json").is_file()
    return read_tokenizer(str(folder) if own else base_of(folder))


def merge(folder: Path, out: Path) -> Path:
    """Merge an adapter into its base and write the plain model with the adapter's tokenizer, as safetensors.

    The weights keep the precision in which the base is stored: of a base in bf16 the sum is rounded to bf16.

    Returns:
        ``out``.

    Raises:
        ConfigError: if ``folder`` is no adapter, it cannot be read or is not finite, or ``out`` holds something.
        RunError: if there is no room for it.
    """
    if not is_adapter(folder):
        raise ConfigError(f"{folder} is no adapter folder: it has no adapter_config.json")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and not empty; name another --out")
    tokenizer = adapter_tokenizer(folder)
    try:
        plain = merged(load_adapter(folder, trainable=False, precision="auto"))
    except ConfigError as error:
        raise ConfigError(f"cannot merge {folder}: {error}") from None
    name_stops(plain, tokenizer)
    check_space(out.parent, sum(weight.nbytes for weight in plain.parameters()), f"the model {out}")
    # Under another name until it is whole: the same command can be given again, whatever happens.
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        save_model(plain, tokenizer, part)
        part.replace(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return out
