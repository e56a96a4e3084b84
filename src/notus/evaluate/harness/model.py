"""A model as lm-eval sees it, with log-probabilities by the engine of shared beginnings.

Owns ``Engine``, a subclass of lm-eval's own model for transformers. How texts become tokens, where a token opens a
text, what is cut from the left and how answers are generated are its parent's; only how log-probabilities are worked
out is ours. Importing this module imports lm-eval: ``evaluate.harness.run`` does it when it runs.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import DataError
from notus.core.records import Message
from notus.engine.text.encoder import Encoder
from notus.engine.text.ids import TokenIds
from notus.engine.text.stops import stop_ids
from notus.engine.tree import Choice, choices

__all__ = ["Engine"]

_FIRST = 32
"""Texts that are encoded by the tokenizer too, to see what it puts around them."""

Request = tuple[Any, list[int], list[int]]
"""What lm-eval keeps the answer under, the ids of the context, those of the continuation."""


class Engine(HFLM):
    """A model for lm-eval. One forward pass serves all requests that begin alike.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        max_tokens: tokens of a forward pass; None leaves log-probabilities to lm-eval's padded batches, for models
            that the packed form refuses.
        batch_size: rows of a padded batch, and of a batch that is generated.
        max_length: tokens of the longest sequence; None takes the model's own.
        progress: called with the number of requests that are scored, and of all.
        encoder: asks the questions as turns of the model's chat template, as all else here does; None: as plain texts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_tokens: int | None,
        batch_size: int = 8,
        max_length: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer if encoder is None else encoder.tokenizer,
            backend="causal",
            batch_size=batch_size,
            max_length=max_length,
            # What a template writes has its beginning-of-sequence token already, or none.
            add_bos_token=None if encoder is None else False,
        )
        self.encoder = encoder
        if encoder is not None:
            self.chat_template_args = encoder.template.options
            model.generation_config.eos_token_id = stop_ids(model, encoder.template)
        self._max_tokens = max_tokens
        self._progress = progress
        self._ids = TokenIds(tokenizer)
        self._encoded: dict[str, list[int]] = {}
        self.tokens_run = 0
        """Tokens that the decoder ran over."""
        self.tokens_apart = 0
        """Tokens that it would run over with each request by itself."""

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is what greedy decoding would give."""
        del disable_tqdm
        self._encoded = self._encode_all([request.args for request in requests])
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self._encoded = {}
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-probability of whole texts, in windows of the model's length."""
        del disable_tqdm
        found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Continue texts until one of the strings that end an answer."""
        del disable_tqdm
        found: list[str] = super().generate_until(requests, disable_tqdm=True)
        return found

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """What the model's chat template writes of turns; an answer that has begun is left open."""
        if self.encoder is None or not add_generation_prompt:
            return str(super().apply_chat_template(chat_history, add_generation_prompt))
        turns = self.encoder.turns(msgspec.convert(chat_history, tuple[Message, ...]))
        return self.encoder.template.render([turns], opened=True)[0]

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **options: Any,
    ) -> list[int]:
        """Encode a text as the parent does."""
        known = self._encoded.get(string) if add_special_tokens is None and not left_truncate_len else None
        if known is not None:
            return known
        return list(super().tok_encode(string, add_special_tokens, left_truncate_len, **options))

    def _encode_all(self, pairs: list[tuple[str, str]]) -> dict[str, list[int]]:
        """Encode the texts of many requests together, each once: context, and context with continuation.

        The fast encoder puts no special tokens around a text. It is used where the tokenizer puts the same ones in
        front of each of the first texts and none behind; otherwise each text is encoded when its turn comes.
        """
        texts = list(dict.fromkeys(text for one, two in pairs if one for text in (one.rstrip(), one + two)))
        opens = self.tokenizer.decode(self.prefix_token_id)
        texts = [text for text in texts if text and not text.startswith(opens)]
        if not texts:
            return {}
        plain = self._ids(texts)
        if self.encoder is not None:
            return dict(zip(texts, plain, strict=True))
        first = [self.tokenizer.encode(text) for text in texts[:_FIRST]]
        lead = first[0][: len(first[0]) - len(plain[0])]
        if any(whole != lead + bare for whole, bare in zip(first, plain, strict=False)):
            return {}
        return {text: lead + bare for text, bare in zip(texts, plain, strict=True)}

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        if self._max_tokens is None:
            found: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            return found
        examples = [self._cut(context, continuation) for _, context, continuation in requests]
        scored, computed = choices(self.model, examples, self._max_tokens, self._progress)
        self.tokens_run += computed
        self.tokens_apart += sum(len(prompt) + len(answer) - 1 for prompt, answer in examples)
        for (key, _, _), choice in zip(requests, scored, strict=True):
            # A window of a rolling log-probability has no key: its sum is kept where the windows are put together.
            if key is not None:
                self.cache_hook.add_partial("loglikelihood", key, tuple(choice))
        return [_pair(choice) for choice in scored]

    def _cut(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """Cut a context on the left, so that the model sees ``max_length`` tokens: its last is never put in.

        Raises:
            DataError: if the continuation is empty, or has more tokens than the model takes.
        """
        if not 0 < len(continuation) <= self.max_length:
            raise DataError(
                f"a continuation of {len(continuation)} tokens cannot be scored: from 1 to {self.max_length} tokens, "
                "the model's length, are possible"
            )
        return context[-(self.max_length + 1 - len(continuation)) :], continuation


def _pair(choice: Choice) -> tuple[float, bool]:
    return choice.logp, choice.greedy
