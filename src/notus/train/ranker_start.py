"""What a ranker is trained from: a language model or an encoder from a folder or the hub, or small random weights.

Owns the fresh head and what is refused. Models that are trained already are loaded by ``models.ranker_models`` and
``models.pairrm``.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from notus.core.errors import ConfigError
from notus.core.hub_id import HubId
from notus.models.local import build_model, train_tokenizer
from notus.models.pairrm import budget_of, build_pairrm, load_pairrm, start_pairrm, train_pair_tokenizer
from notus.models.pretrained import check_source, is_adapter, no_bars, read_tokenizer
from notus.models.ranker_settings import EncoderShape
from notus.models.settings import Shape
from notus.train.ranker_settings import RankerTraining

__all__ = ["start_ranker"]

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
_VOCABULARY = 2_000
_HEADS = ("score.", "classifier.", "pooler.")
"""Where transformers puts what a language model lacks that is to become a scalar reward model."""


def start_ranker(config: RankerTraining, start: str | None, texts: Iterable[str], seed: int) -> Loaded:
    """A ranker to be trained, in fp32 on the CPU, with its tokenizer.

    Args:
        config: says which form, and of what size where there is nothing to start from.
        start: folder or hub id of a language model, of an encoder, or of a ranker of the same form; None makes a
            small one with random weights.
        texts: corpus of the tokenizer of one that is made.
        seed: draws the weights that are new.

    Raises:
        ConfigError: if there is no such model, or it cannot become such a ranker.
    """
    if start is None:
        return _made(config, texts, seed)
    if is_adapter(start):
        raise ConfigError(f"{start!r} is an adapter, and a ranker needs a plain model; merge it first: notus merge")
    if config.form == "reward-model":
        return _reward_model(start, seed)
    if _is_pairrm(start):
        model, tokenizer = load_pairrm(start)
        return model.cpu(), tokenizer
    return start_pairrm(start, seed)


def _made(config: RankerTraining, texts: Iterable[str], seed: int) -> Loaded:
    if config.form == "pairrm":
        tokenizer = train_pair_tokenizer(texts, config.vocabulary or _VOCABULARY)
        return build_pairrm(config.encoder or EncoderShape(), tokenizer, seed), tokenizer
    shape = config.shape or Shape(vocabulary=_VOCABULARY, positions=max(1024, config.limits.max_length))
    if shape.positions < config.limits.max_length:
        raise ConfigError(f"limits.max_length {config.limits.max_length} is above shape.positions {shape.positions}")
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    made = build_model(shape, tokenizer, seed).config
    made.num_labels = 1
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(made), tokenizer


@contextmanager
def _no_report() -> Iterator[None]:
    """Keep transformers from listing what is missing: a language model has no head, and what else lacks is an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _is_pairrm(start: str) -> bool:
    """Whether a folder or a hub id holds a PairRM of either layout, and not a plain encoder."""
    path = Path(start) / "config.json"
    named = path.is_file() and '"PairRM"' in path.read_text(encoding="utf-8")
    return named or budget_of(start) is not None


def _reward_model(start: str, seed: int) -> Loaded:
    check_source(start)
    on_hub = None if Path(start).exists() else HubId.parse(start)
    name, revision = (on_hub.name, on_hub.revision) if on_hub else (start, None)
    torch.manual_seed(seed)  # the head is drawn while the model is loaded
    try:
        with no_bars(), _no_report():
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                name,
                num_labels=1,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **({"revision": revision} if revision else {}),
            )
    except RuntimeError:  # transformers points to a report that is not shown
        raise ConfigError(
            f"the weights in {start!r} do not fit a reward model, which has one label; take a language model, or a "
            "reward model"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"cannot make a reward model of {start!r}: {reason}") from None
    lost = sorted(key for key in loaded["missing_keys"] if not key.startswith(_HEADS))
    if lost:
        raise ConfigError(f"the model in {start!r} lacks {len(lost)} weights, the first is {lost[0]}; get it anew")
    tokenizer = read_tokenizer(start)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
