"""PairRM: one encoder that reads a prompt with two answers and says which is better (Jiang et al. 2023,
https://arxiv.org/abs/2306.02561).

Owns the model, the reading of both published layouts, and the making of small or fresh ones. The input is owned by
``pairrm_text``, the computing of many pairs by ``pairs_queue``, the ranks by ``ranker``.

| layout | config.json | example |
|---|---|---|
| blender | the ranker's own settings; ``model_name`` names the encoder | llm-blender/PairRM |
| hf | that of the encoder, with ``source_prefix_id`` and others beside it | llm-blender/PairRM-hf |

Both hold the same weights: ``pretrained_model.*``, ``head_layer.1.*``, ``head_layer.4.*``. Only safetensors are read.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModel,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import cached_file

from notus.core.errors import ConfigError
from notus.core.hub_id import HubId
from notus.models.pairrm_text import MARKERS
from notus.models.pretrained import check_source, device, no_bars, read_tokenizer
from notus.models.ranker_settings import EncoderShape, PairBudget

__all__ = ["PairRM", "budget_of", "build_pairrm", "load_pairrm", "start_pairrm", "train_pair_tokenizer"]

_WEIGHTS = "model.safetensors"
_DROPOUT = 0.05
_V3: dict[str, tuple[int, int, int, int]] = {
    "microsoft/deberta-v3-xsmall": (384, 12, 6, 1536),
    "microsoft/deberta-v3-small": (768, 6, 12, 3072),
    "microsoft/deberta-v3-base": (768, 12, 12, 3072),
    "microsoft/deberta-v3-large": (1024, 24, 16, 4096),
}
"""DeBERTa-v3 by name: width, layers, heads, feed-forward. What else there is, they have in common."""


class PairRM(DebertaV2PreTrainedModel):
    """A DeBERTa-v2 encoder with PairRM's head.

    The head is Dropout → Linear(2w, w) → Tanh → Dropout → Linear(w, 1), on the states at two markers side by side::

        logit(x, a, b) = head([h_source ; h_candidate1]) − head([h_source ; h_candidate2])

    ``save_pretrained`` writes the layout ``hf``.
    """

    config_class = DebertaV2Config
    base_model_prefix = "pretrained_model"

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        width, dropout = config.hidden_size, getattr(config, "drop_out", _DROPOUT)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(width, getattr(config, "n_tasks", 1)),
        )
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Say how much better the first answer is.

        Args:
            input_ids: [B, T], padded at the end.
            attention_mask: [B, T].
            marks: [B, 3], where the markers of source, first and second answer stand.

        Returns:
            [B] logits in fp32, left − right; above 0 where the first answer is better.
        """
        states = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(marks), device=marks.device)
        source, first, second = (states[rows, marks[:, place]] for place in range(3))
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).float().mean(dim=-1)


def load_pairrm(source: str, *, precision: str = "float32") -> tuple[PairRM, PreTrainedTokenizerBase]:
    """Load a PairRM of either layout with its tokenizer, in evaluation mode, onto the accelerator where there is one.

    Args:
        source: a folder, or a hub id with ``@revision`` behind it if wanted.
        precision: of the weights, ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: if there is none, or it cannot be read; only safetensors are.
    """
    check_source(source)
    found = _config(source)
    weights = _weights(source)
    config = _encoder_config(source, found, weights)
    model = PairRM(config)
    known = {name: value for name, value in weights.items() if not name.endswith("position_ids")}
    try:
        lost = model.load_state_dict(known, strict=False)
    except RuntimeError as error:
        raise ConfigError(f"the weights in {source!r} do not fit its config: {_second_line(error)}") from None
    if odd := [*lost.missing_keys, *lost.unexpected_keys]:
        what = "lacks" if lost.missing_keys else "holds, which PairRM has not,"
        raise ConfigError(f"the model in {source!r} {what} {odd[0]} (and {len(odd) - 1} more); get it anew")
    tokenizer = _tokenizer(source, found)
    if len(tokenizer) > config.vocab_size:
        raise ConfigError(f"the tokenizer of {source!r} has {len(tokenizer)} tokens, its model {config.vocab_size}")
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    return model.to(dtype=dtype, device=device()).eval(), tokenizer


def budget_of(source: str) -> PairBudget | None:
    """The lengths that a checkpoint says it was trained with, or None if it names none.

    Raises:
        ConfigError: if there is no such checkpoint.
    """
    check_source(source)
    found = _config(source)
    if "source_maxlength" not in found:
        return None
    lengths = {"source": found["source_maxlength"], "candidate": found["candidate_maxlength"]}
    return PairBudget.parse(lengths, where=f"{source}/config.json")


def build_pairrm(shape: EncoderShape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PairRM:
    """A small PairRM with seeded random weights, in fp32 on the CPU."""
    torch.manual_seed(seed)
    return PairRM(
        DebertaV2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ffn,
            position_buckets=shape.buckets,
            max_position_embeddings=shape.positions,
            pad_token_id=tokenizer.pad_token_id,
            **_COMMON,
        )
    )


def start_pairrm(source: str, seed: int) -> tuple[PairRM, PreTrainedTokenizerBase]:
    """A PairRM to be trained, of a plain DeBERTa-v2 or -v3 encoder: its weights, new markers, a new head.

    Args:
        source: folder or hub id of the encoder.
        seed: draws the head and the markers' embeddings.

    Raises:
        ConfigError: if there is no such encoder, or it is of another architecture.
    """
    check_source(source)
    tokenizer = _with_markers(read_tokenizer(source))
    torch.manual_seed(seed)
    try:
        with no_bars():
            encoder = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"cannot load an encoder from {source!r}: {str(error).strip().splitlines()[0]}") from None
    if not isinstance(encoder, DebertaV2Model):
        raise ConfigError(f"{source!r} is a {type(encoder).__name__}; PairRM is built on a DeBERTa-v2 or -v3 encoder")
    if len(tokenizer) > encoder.config.vocab_size:
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model = PairRM(encoder.config)
    model.pretrained_model = encoder
    return model, tokenizer


def train_pair_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE with the tokens that a pair is marked with; every text can be encoded.

    Args:
        texts: the corpus.
        size: entries, special tokens included.
    """
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*special.values(), *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _with_markers(PreTrainedTokenizerFast(tokenizer_object=bpe, **special))


_COMMON: dict[str, Any] = {
    "relative_attention": True,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}


def _with_markers(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    known = tokenizer.get_added_vocab()
    new = [AddedToken(marker, special=True, normalized=False) for marker in MARKERS if marker not in known]
    tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def _file(source: str, name: str) -> Path | None:
    """A file of a folder or of a hub id; None if it has none."""
    if Path(source).exists():
        path = Path(source) / name
        return path if path.is_file() else None
    on_hub = HubId.parse(source)
    assert on_hub is not None
    try:
        with no_bars():
            found = cached_file(
                on_hub.name, name, revision=on_hub.revision, _raise_exceptions_for_missing_entries=False
            )
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot get {name} of {source!r}: {str(error).strip().splitlines()[0]}") from None
    return None if found is None else Path(found)


def _config(source: str) -> dict[str, Any]:
    path = _file(source, "config.json")
    if path is None:
        raise ConfigError(f"{source} holds no PairRM: it has no config.json")
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); get it anew") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no settings of a model; get it anew")
    return found


def _weights(source: str) -> dict[str, torch.Tensor]:
    path = _file(source, _WEIGHTS)
    if path is None:
        raise ConfigError(f"{source} has no {_WEIGHTS}; only safetensors are read, pickled weights are not")
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"{path} is damaged ({error}); get it anew") from None
    if not any(name.startswith("head_layer.1.") for name in weights):
        raise ConfigError(f"{source} holds no PairRM: {_WEIGHTS} has no head_layer.1; for a scalar model: reward-model")
    return weights


def _encoder_config(source: str, found: dict[str, Any], weights: dict[str, torch.Tensor]) -> DebertaV2Config:
    """The encoder's config, from either layout."""
    if "hidden_size" in found:
        return DebertaV2Config(**found)
    name = found.get("model_name")
    if not isinstance(name, str):
        raise ConfigError(f"{source}/config.json is of neither layout: it has no 'hidden_size' and no 'model_name'")
    own = {key: found[key] for key in ("n_tasks", "drop_out") if key in found}
    vocabulary = len(weights["pretrained_model.embeddings.word_embeddings.weight"])
    if name in _V3:
        width, layers, heads, ffn = _V3[name]
        size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        size |= {"intermediate_size": ffn, "position_buckets": 256, "max_position_embeddings": 512}
        return DebertaV2Config(**_COMMON, **size, **own, vocab_size=vocabulary, pad_token_id=0)
    return DebertaV2Config(**_config(_beside(source, name)) | own | {"vocab_size": vocabulary})


def _beside(source: str, name: str) -> str:
    """The encoder that a checkpoint names: a folder within its own, or as it is."""
    inside = Path(source) / name
    named = str(inside) if inside.is_dir() else name
    check_source(named)
    return named


def _tokenizer(source: str, found: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, or that of the encoder that it names, with the markers behind its vocabulary."""
    for place in (source, *([_beside(source, found["model_name"])] if "model_name" in found else [])):
        if _file(place, "tokenizer.json") is not None:
            on_hub = None if Path(place).exists() else HubId.parse(place)
            name, revision = (place, None) if on_hub is None else (on_hub.name, on_hub.revision)
            # The file itself, by the plain class: config.json of the layout 'blender' would lead to another one.
            with no_bars():
                return _with_markers(PreTrainedTokenizerFast.from_pretrained(name, revision=revision or "main"))
        if _file(place, "tokenizer_config.json") is not None:
            return _with_markers(read_tokenizer(place))
    raise ConfigError(f"{source} has no tokenizer; put the files of the encoder's tokenizer beside it")


def _second_line(error: RuntimeError) -> str:
    lines = str(error).strip().splitlines()
    return lines[min(1, len(lines) - 1)].strip()
