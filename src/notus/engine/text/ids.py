"""Token ids of texts, by the fastest encoder that gives the tokenizer's own.

Texts are encoded by gigatoken (https://github.com/marcelroed/gigatoken) where it is installed, which reads the same
vocabulary and merges and is many times as fast as the tokenizer, if it gives the tokenizer's own ids for every probe
below and for the first texts that come. Either way the ids are the same.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

__all__ = ["TokenIds"]

_FIRST = 64
"""Texts that are encoded in both ways before the fast one is trusted."""
_FEW = 256
"""So few texts are not worth the making of a second encoder."""
_PROBES = (
    "",
    " ",
    "  two  spaces \t and\ttabs\n\n\n",
    "It's 3.14159 o'clock, isn't it?!\r\n",
    "naïve café ﬁne ½ Å e\u0301 İ ß",
    "日本語の文 עברית العربية हिन्दी 👩‍👩‍👧 🏳️‍🌈",
    "x = {'a': [1, 2], \"b\": None}\n\n    return x  # 100_000\n",
    "\u200b\u00a0\ufeff\u0000\u001b",
    "a" * 500 + " " * 500 + "!" * 100,
)


class TokenIds:
    """Encodes texts without special tokens around them; control tokens within a text are read as such.

    Args:
        tokenizer: whose ids are wanted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._fast: Any = None
        self._tried = False
        self._seen = 0

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        texts = list(texts)
        self._seen += len(texts)
        if not self._tried and self._seen > _FEW:
            self._tried = True
            self._fast = _fast(self.tokenizer, texts[:_FIRST])
        return _plain(self.tokenizer, texts) if self._fast is None else _quick(self._fast, texts)


def _fast(tokenizer: PreTrainedTokenizerBase, first: Sequence[str]) -> Any:
    """A gigatoken encoder that has given the tokenizer's own ids, or None."""
    try:
        import gigatoken
    except ImportError:
        return None
    try:
        fast = gigatoken.Tokenizer(tokenizer)
    except (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError):
        return None  # a kind of tokenizer that it does not know
    probes = [*_PROBES, *first]
    return fast if _quick(fast, probes) == _plain(tokenizer, probes) else None


def _quick(fast: Any, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = fast.encode_batch_list(texts)
    return ids


def _plain(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return ids
