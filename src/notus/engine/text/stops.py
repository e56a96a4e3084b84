"""What sampling stops at: the end that the template writes, and every stop token that the model names.

Owns that set, and that a saved model names all of it, so that transformers stops where Notus does.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.engine.settings import Limits
from notus.engine.text.template import ChatTemplate

__all__ = ["all_stops", "name_stops", "stop_ids"]


def stop_ids(model: PreTrainedModel, template: ChatTemplate) -> list[int]:
    """Ids that end an answer, the template's first.

    Those of the generation config count as they are, because transformers stops at them; that of ``config.json`` only
    where it is a special token, because a config that names none has its family's default, which may be any word.
    """
    tokenizer = template.tokenizer
    special = {tokenizer.eos_token_id, *tokenizer.added_tokens_decoder}
    named = _ids(getattr(model, "generation_config", None))
    config = [id_ for id_ in _ids(model.config.get_text_config(decoder=True)) if id_ in special]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return list(dict.fromkeys([template.end.id, *named, *config, *eos]))


def all_stops(named: int | Sequence[int] | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The end that the tokenizer's template writes, and what a generation config names."""
    ends = [ChatTemplate(tokenizer, Limits()).end.id] if tokenizer.chat_template is not None else []
    return list(dict.fromkeys([*ends, *_as_list(named)]))


def name_stops(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Name the end that the tokenizer's template writes in the model's generation config, where it is not there."""
    if tokenizer.chat_template is None or model.generation_config is None:
        return
    stops = stop_ids(model, ChatTemplate(tokenizer, Limits()))
    if stops[0] not in _ids(model.generation_config):
        model.generation_config.eos_token_id = stops


def _ids(config: Any) -> list[int]:
    return _as_list(getattr(config, "eos_token_id", None))


def _as_list(found: int | Sequence[int] | None) -> list[int]:
    return [] if found is None else [found] if isinstance(found, int) else list(found)
