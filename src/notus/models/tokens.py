"""From messages to tokens: the template, the border between prompt and answer, and what is cut.

An example is ``prompt + answer``: the prompt is the rendered conversation up to and with the mark that opens the
assistant's turn, the answer is its text and one end-of-sequence token. Both are encoded for themselves, so the border
is where it is by construction. Control tokens that a user typed are encoded as ordinary text, never as the token.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.settings import Limits
from notus.models.token_ids import TokenIds

__all__ = ["ZEPHYR_TEMPLATE", "Encoder", "answer_text"]

ZEPHYR_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""The prompt format of Zephyr and Notus: ``<|role|>``, a line break, the text, ``</s>``, a line break."""


class Encoder:
    """Encodes prompts and answers with one tokenizer under one set of limits.

    Args:
        tokenizer: needs a chat template and an end-of-sequence token.
        limits: lengths in tokens.
        tally: receives the counts ``prompt-cut`` and ``answer-cut``.

    Raises:
        ConfigError: if the tokenizer has no chat template or no end-of-sequence token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: Limits, tally: Tally | None = None) -> None:
        if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
            missing = "chat template" if tokenizer.chat_template is None else "end-of-sequence token"
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no {missing}; start from a model that has one, "
                "for example one made by the step 'create'"
            )
        self.tokenizer = tokenizer
        self.limits = limits
        self.tally = tally or Tally("encode")
        self._seen: dict[tuple[Message, ...], list[int]] = {}
        self._control = [token for token in tokenizer.get_added_vocab() if token]
        self._ids = TokenIds(tokenizer)

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a rendered prompt, cut on the left to ``max_prompt_length``. Equal prompts are encoded once."""
        ids = self._seen.get(messages)
        if ids is None:
            self._encode_prompts([messages])
            ids = self._seen[messages]
        if len(ids) > self.limits.max_prompt_length:
            self.tally.count("prompt-cut")
            return ids[-self.limits.max_prompt_length :]
        return ids

    def prompts(self, several: Sequence[tuple[Message, ...]]) -> list[list[int]]:
        """Token ids of prompts, as ``prompt`` gives them, encoded together."""
        self._encode_prompts(dict.fromkeys(several))
        return [self.prompt(messages) for messages in several]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, each with one end-of-sequence token, not yet cut."""
        typed = [any(token in text for token in self._control) for text in texts]
        usual = iter(self._ids([text for text, holds in zip(texts, typed, strict=True) if not holds]))
        end = self.tokenizer.eos_token_id
        return [
            [*(self._as_text(text) if holds else next(usual)), end] for text, holds in zip(texts, typed, strict=True)
        ]

    def fit(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Cut an answer on the right so that it fits behind its prompt, and count the cut."""
        room = self.limits.max_length - len(prompt)
        if len(answer) > room:
            self.tally.count("answer-cut")
        return list(answer[:room])

    def examples(self, pairs: Iterable[tuple[tuple[Message, ...], str]]) -> list[tuple[list[int], list[int]]]:
        """Encode (prompt, answer text) pairs as (prompt ids, answer ids)."""
        rows = list(pairs)
        prompts = self.prompts([prompt for prompt, _ in rows])
        answers = self.answers([text for _, text in rows])
        return [(prompt, self.fit(prompt, answer)) for prompt, answer in zip(prompts, answers, strict=True)]

    def turns(self, messages: tuple[Message, ...]) -> list[dict[str, str]]:
        """Turns as a chat template takes them, with the system turn that the limits ask for."""
        turns: list[dict[str, str]] = [{"role": message.role, "content": message.content} for message in messages]
        if self.limits.system is not None and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self.limits.system})
        return turns

    def typed(self, turns: Iterable[dict[str, str]]) -> bool:
        """Whether the text of a turn holds what would be read as a control token."""
        return any(token in turn["content"] for turn in turns for token in self._control)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's token ids, without control tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _encode_prompts(self, prompts: Iterable[tuple[Message, ...]]) -> None:
        """Render and encode the prompts that are new, in at most two batches."""
        turns = {messages: self.turns(messages) for messages in prompts if messages not in self._seen}
        # Marking typed control tokens makes encoding several times slower, and hardly any text holds one.
        typed = {messages: self.typed(of) for messages, of in turns.items()}
        for sanitize in (False, True):
            batch = [messages for messages in turns if typed[messages] is sanitize]
            if not batch:
                continue
            rendered: Any = self.tokenizer.apply_chat_template(
                [turns[messages] for messages in batch],
                add_generation_prompt=True,
                tokenize=sanitize,
                return_dict=False,
                sanitize_control_tokens=sanitize,
            )
            self._seen.update(zip(batch, rendered if sanitize else self._ids(rendered), strict=True))

    def _as_text(self, text: str) -> list[int]:
        """Ids of a text in which control tokens are nothing but text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids


def answer_text(messages: tuple[Message, ...]) -> str:
    """Text of an answer that is a single assistant turn.

    Raises:
        DataError: if it is more than one turn, or the turn of another role.
    """
    if len(messages) != 1 or messages[0].role != "assistant":
        roles = ", ".join(message.role for message in messages)
        raise DataError(f"an answer must be one assistant turn; this one has the turns: {roles}")
    return messages[0].content
