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

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a rendered prompt, cut on the left to ``max_prompt_length``. Equal prompts are encoded once."""
        ids = self._seen.get(messages)
        if ids is None:
            ids = self._seen[messages] = self._render(messages)
        if len(ids) > self.limits.max_prompt_length:
            self.tally.count("prompt-cut")
            return ids[-self.limits.max_prompt_length :]
        return ids

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, each with one end-of-sequence token, not yet cut."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        return [[*ids, self.tokenizer.eos_token_id] for ids in encoded["input_ids"]]

    def fit(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Cut an answer on the right so that it fits behind its prompt, and count the cut."""
        room = self.limits.max_length - len(prompt)
        if len(answer) > room:
            self.tally.count("answer-cut")
        return list(answer[:room])

    def examples(self, pairs: Iterable[tuple[tuple[Message, ...], str]]) -> list[tuple[list[int], list[int]]]:
        """Encode (prompt, answer text) pairs as (prompt ids, answer ids)."""
        rows = list(pairs)
        prompts = [self.prompt(prompt) for prompt, _ in rows]
        answers = self.answers([text for _, text in rows])
        return [(prompt, self.fit(prompt, answer)) for prompt, answer in zip(prompts, answers, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's token ids, without control tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render(self, messages: tuple[Message, ...]) -> list[int]:
        turns: list[dict[str, str]] = [{"role": message.role, "content": message.content} for message in messages]
        if self.limits.system is not None and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self.limits.system})
        ids: Any = self.tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            return_dict=False,
            # Marking typed control tokens makes encoding several times slower, and hardly any text holds one.
            sanitize_control_tokens=any(token in turn["content"] for turn in turns for token in self._control),
        )
        return list(ids)


def answer_text(messages: tuple[Message, ...]) -> str:
    """Text of an answer that is a single assistant turn.

    Raises:
        DataError: if it is more than one turn, or the turn of another role.
    """
    if len(messages) != 1 or messages[0].role != "assistant":
        roles = ", ".join(message.role for message in messages)
        raise DataError(f"an answer must be one assistant turn; this one has the turns: {roles}")
    return messages[0].content
