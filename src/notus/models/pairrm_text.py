"""From a prompt and two answers to the tokens of a pair, as PairRM reads them.

    [CLS] <|source|> PROMPT [SEP]  [CLS] <|candidate1|> A [SEP]  [CLS] <|candidate2|> B [SEP]

Owns the form of the input, its budget of tokens, and that no text can change the form: a pair knows where its own
markers stand, and a marker that somebody typed is encoded as text. What is cut of a pair depends on this pair alone.
The order in which pairs are computed is the business of ``pairs_queue``.

A conversation is written as in the data that PairRM was trained on: the source has the user's turns, each with a place
for its reply, and an answer comes with the replies that stood before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.ranker_settings import PairBudget

__all__ = ["MARKERS", "EncodedPair", "PairEncoder", "collate"]

MARKERS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
"""PairRM's additional tokens, in the order of their ids. The last one is in the vocabulary and in no input."""
_SOURCE, _FIRST, _SECOND = range(3)
_CONVERSATION = "Finish the conversation: in each turn i, <Response i> stands for what the assistant replies.\n"
_AROUND = 3
"""Tokens around a text: [CLS], the marker, [SEP]."""
_KEPT = 50_000
"""Texts whose tokens are kept from one call to the next."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt with two answers as token ids, each part with its own special tokens. Pairs share equal parts."""

    source: list[int]
    first: list[int]
    second: list[int]

    @property
    def ids(self) -> list[int]:
        """All token ids."""
        return [*self.source, *self.first, *self.second]

    @property
    def marks(self) -> tuple[int, int, int]:
        """Where the markers of source, first and second answer stand."""
        return 1, len(self.source) + 1, len(self.source) + len(self.first) + 1

    def __len__(self) -> int:
        return len(self.source) + len(self.first) + len(self.second)


class PairEncoder:
    """Encodes pairs with one tokenizer under one budget; each text is tokenised once for all the pairs it is in.

    The tokens of the last texts are kept, because selection asks again for the same ones with every step.

    Args:
        tokenizer: has [CLS], [SEP], a pad token and ``MARKERS``.
        budget: lengths in tokens.
        tally: receives the counts ``source-cut``, ``answer-cut``, ``history-cut`` and ``typed-marker``.

    Raises:
        ConfigError: if the tokenizer lacks one of the tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, budget: PairBudget | None = None, tally: Tally | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.budget = budget or PairBudget()
        self.tally = tally or Tally("encode")
        known = tokenizer.get_added_vocab()
        missing = [marker for marker in MARKERS[:3] if marker not in known]
        missing += [name for name in ("cls_token", "sep_token", "pad_token") if getattr(tokenizer, name) is None]
        if missing:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no {missing[0]}, which a pair is marked with; take "
                "the tokenizer of a PairRM, or make one with 'start_pairrm'"
            )
        self._markers = [known[marker] for marker in MARKERS[:3]]
        self._typed = sorted({*known, *tokenizer.all_special_tokens})
        self._control = {*known.values(), *tokenizer.all_special_ids}
        self._ids: dict[str, list[int]] = {}

    def encode(self, triples: Sequence[tuple[str | tuple[Message, ...], str, str]]) -> list[EncodedPair]:
        """Encode (prompt, first answer, second answer); the prompt is a conversation, or the text of a single turn.

        Raises:
            DataError: if a conversation does not alternate between the user and the assistant, or does not end with
                the user.
        """
        forms = {prompt: _form(prompt) for prompt in dict.fromkeys(prompt for prompt, _, _ in triples)}
        answers = dict.fromkeys(text for _, *pair in triples for text in pair)
        self._read([*(text for form in forms.values() for text in (form.source, form.history, form.mark)), *answers])
        sources = {prompt: self._source(form) for prompt, form in forms.items()}
        parts: dict[tuple[str | tuple[Message, ...], str, int], list[int]] = {}

        def part(prompt: str | tuple[Message, ...], text: str, marker: int) -> list[int]:
            key = prompt, text, marker
            if key not in parts:
                room = (self.budget.total - len(sources[prompt])) // 2
                parts[key] = self._answer(forms[prompt], text, marker, room)
            return parts[key]

        return [
            EncodedPair(sources[prompt], part(prompt, first, _FIRST), part(prompt, second, _SECOND))
            for prompt, first, second in triples
        ]

    def _source(self, form: "_Form") -> list[int]:
        text = self._ids[form.source]
        if len(text) > (room := self.budget.source - _AROUND):
            self.tally.count("source-cut")
        return self._framed(text[:room], _SOURCE)

    def _answer(self, form: "_Form", text: str, marker: int, room: int) -> list[int]:
        """An answer behind the replies before it. What is too long is cut from those first, and then at its end."""
        own, room = [*self._ids[form.mark], *self._ids[text]], room - _AROUND
        history = self._ids[form.history]
        if len(own) > room:
            self.tally.count("answer-cut")
        if history and len(history) + len(own) > room:
            self.tally.count("history-cut")
            history = history[len(history) - max(0, room - len(own)) :]
        return self._framed([*history, *own[:room]], marker)

    def _framed(self, ids: Iterable[int], marker: int) -> list[int]:
        cls, sep = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [cls, self._markers[marker], *ids, sep]

    def _read(self, texts: Iterable[str]) -> None:
        """Tokenise the texts that are new, in at most two batches."""
        wanted = dict.fromkeys(texts)
        if len(self._ids) > _KEPT:
            self._ids = {text: ids for text, ids in self._ids.items() if text in wanted}
        new = [text for text in wanted if text not in self._ids]
        typed = {text: any(token in text for token in self._typed) for text in new}
        self.tally.count("typed-marker", sum(typed.values()))
        # Behind a marker, as it will stand: a tokenizer may read the beginning of an input in another way.
        plain = [text for text in new if not typed[text]]
        self._keep(plain, self._batch([MARKERS[_SOURCE] + text for text in plain]), skip=1)
        odd = [text for text in new if typed[text]]
        self._keep(odd, self._batch(odd, split_special_tokens=True), skip=0)

    def _batch(self, texts: list[str], **options: Any) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False, **options)["input_ids"] if texts else []

    def _keep(self, texts: list[str], ids: list[list[int]], skip: int) -> None:
        for text, own in zip(texts, ids, strict=True):
            # A tokenizer that knows a marker as an ordinary token still finds it in what was typed.
            self._ids[text] = [token for token in own[skip:] if token not in self._control or self._is_unknown(token)]

    def _is_unknown(self, token: int) -> bool:
        return bool(token == self.tokenizer.unk_token_id)


def collate(pairs: Sequence[EncodedPair], pad_id: int) -> dict[str, torch.Tensor]:
    """Lay pairs out as a batch that is padded at the end to the longest.

    Returns:
        ``input_ids`` and ``attention_mask`` [B, T], ``marks`` [B, 3]: what ``PairRM.forward`` takes.
    """
    rows = [pair.ids for pair in pairs]
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        "marks": torch.tensor([pair.marks for pair in pairs]),
    }


@dataclass(frozen=True, slots=True)
class _Form:
    """What a prompt becomes."""

    source: str
    history: str = ""
    """The replies before the answer."""
    mark: str = ""
    """What stands before the answer itself."""


def _form(prompt: str | tuple[Message, ...]) -> _Form:
    if isinstance(prompt, str):
        return _Form(prompt)
    system = "".join(f"{turn.content}\n" for turn in prompt if turn.role == "system" and turn.content)
    turns = [turn for turn in prompt if turn.role != "system"]
    expected = ["user", "assistant"] * len(turns)
    if not turns or len(turns) % 2 == 0 or [turn.role for turn in turns] != expected[: len(turns)]:
        roles = ", ".join(turn.role for turn in prompt)
        raise DataError(f"a prompt must alternate between user and assistant and end with the user; it has: {roles}")
    if len(turns) == 1:
        return _Form(system + turns[0].content)
    asked = [f"USER: {turn.content}\nAssistant: <Response {number}>" for number, turn in enumerate(turns[::2], start=1)]
    replies = [f"<Response {number}>: {turn.content}\n" for number, turn in enumerate(turns[1::2], start=1)]
    return _Form(system + _CONVERSATION + "\n".join(asked), "".join(replies), f"<Response {len(asked)}>: ")
