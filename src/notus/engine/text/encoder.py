"""From messages to tokens: the border between prompt and answer, and what is cut.

An example is ``prompt + answer``: the prompt is the rendered conversation up to and with the mark that opens the
assistant's turn, the answer is what the template writes behind it, up to and with the control token that ends the turn.
The prompt is encoded for itself, as it is when the model is asked; the answer as it stands behind that mark, because
tokenizers treat the start of a text as something else. So the border is where it is by construction, and the ids are
those of the whole conversation wherever no token of that reaches over the border. Control tokens that a user typed are
encoded as ordinary text, never as the token.

Thoughts and calls of tools are written by the model's own chat template where the limits ask for it: see
``engine.text.lessons``. A row that the template cannot write is refused by ``UnfitError``, which says why in a slug,
and never ends a run by itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from transformers import PreTrainedTokenizerBase

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.core.text import THOUGHTS, chat_turn
from notus.engine.settings import Limits
from notus.engine.text.ids import TokenIds
from notus.engine.text.template import ChatTemplate, UnfitError, with_template

__all__ = ["Encoder", "answer_text"]

Messages = tuple[Message, ...]


class Encoder:
    """Encodes prompts and answers with one tokenizer under one set of limits.

    Args:
        tokenizer: needs a chat template, or limits that name one.
        limits: lengths in tokens, and what is asked of the template.
        tally: receives the counts ``prompt-cut`` and ``answer-cut``.

    Raises:
        ConfigError: if there is no chat template, nothing ends an answer, or the template takes no system turn and the
            limits ask for one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: Limits, tally: Tally | None = None) -> None:
        self.tokenizer = with_template(tokenizer, limits)
        """With the chat template that the limits name: what is saved with a model."""
        self.template = ChatTemplate(self.tokenizer, limits)
        self.end = self.template.end
        """What an answer ends with."""
        self.limits = limits
        self.tally = tally or Tally("encode")
        self._seen: dict[Messages, list[int]] = {}
        self._ids = TokenIds(self.tokenizer)
        self._opening: list[int] = self._ids([self.template.opening])[0]
        if limits.system and self.template.no_system:
            self._refuse_system()
        elif limits.system is not None and self.template.no_system:
            try:
                self.template.render([self.turns((Message(role="user", content="a"),))], opened=True)
            except UnfitError:
                self._refuse_system()

    def _refuse_system(self) -> None:
        raise ConfigError(
            f"limits.system is {self.limits.system!r}, but {self.template.name} takes no system turn "
            f"({self.template.no_system}); leave limits.system out"
        )

    @property
    def pad_id(self) -> int:
        """What fills a row: the tokenizer's own padding token, or the end of a turn where it has none."""
        return self.end.id if self.tokenizer.pad_token_id is None else int(self.tokenizer.pad_token_id)

    def prompt(self, messages: Messages) -> list[int]:
        """Token ids of a rendered prompt, cut on the left to ``max_prompt_length``. Equal prompts are encoded once."""
        ids = self._seen.get(messages)
        if ids is None:
            self._encode_prompts([messages])
            ids = self._seen[messages]
        return self.cut_prompt(ids)

    def cut_prompt(self, ids: list[int]) -> list[int]:
        """Cut a prompt on the left to ``max_prompt_length``, and count the cut."""
        if len(ids) > self.limits.max_prompt_length:
            self.tally.count("prompt-cut")
            return ids[-self.limits.max_prompt_length :]
        return ids

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of what a template wrote: control tokens are read as such."""
        return self._ids(texts)

    def prompts(self, several: Sequence[Messages]) -> list[list[int]]:
        """Token ids of prompts, as ``prompt`` gives them, encoded together."""
        self._encode_prompts(dict.fromkeys(several))
        return [self.prompt(messages) for messages in several]

    def conversations(self, several: Sequence[Messages], *, opened: bool = False) -> list[list[int]]:
        """Token ids of conversations as the template writes them, not cut, in at most two batches.

        Args:
            several: the conversations.
            opened: whether the mark that opens the assistant's turn is put behind.

        Raises:
            UnfitError: if the template refuses one.
        """
        turns = [self.turns(messages) for messages in several]
        if self.template.no_system and (lost := sum(of[0]["role"] == "system" for of in turns)):
            self.tally.count("system-left-out", lost)
        # Marking typed control tokens makes encoding several times slower, and hardly any text holds one.
        typed = [self.typed(of) for of in turns]
        plain = [of for of, holds in zip(turns, typed, strict=True) if not holds]
        odd = [of for of, holds in zip(turns, typed, strict=True) if holds]
        usual = iter(self._ids(self.template.render(plain, opened=opened)) if plain else ())
        safe = iter(self.template.safe_ids(odd, opened=opened) if odd else ())
        return [next(safe if holds else usual) for holds in typed]

    def answers(self, texts: Sequence[str], ended: Sequence[bool] | None = None) -> list[list[int]]:
        """Token ids of answers as they stand behind a prompt, not yet cut.

        Args:
            texts: of the answers.
            ended: for each whether the end of its turn is put behind; None: for all.

        Raises:
            UnfitError: if the template cannot write one of them, or opens a thought that it does not have.
        """
        ends = [True] * len(texts) if ended is None else list(ended)
        written = [
            text if whole else text.removesuffix(self.end.text)
            for text, whole in zip(self.template.answers(texts), ends, strict=True)
        ]
        typed = [self._types(text) and not self._thinks(text) for text in texts]
        plain = [(text, whole) for text, whole, holds in zip(written, ends, typed, strict=True) if not holds]
        usual = iter(self.behind_opening([text for text, _ in plain], [whole for _, whole in plain]))
        return [
            self._as_text(text, whole) if holds else next(usual)
            for text, whole, holds in zip(texts, ends, typed, strict=True)
        ]

    def behind_opening(self, written: Sequence[str], ended: Sequence[bool] | None = None) -> list[list[int]]:
        """Token ids of answers that the template wrote, behind the mark that opens the assistant's turn.

        Args:
            written: the answers with their ends, as the template writes them.
            ended: see ``answers``.
        """
        before = len(self._opening)
        found = [
            ids[before:] if ids[:before] == self._opening else None
            for ids in self._ids([self.template.opening + text for text in written])
        ]
        # A token would reach over the border, as of line breaks on either side: when the model is asked, none does.
        apart = iter(self._ids([text for text, ids in zip(written, found, strict=True) if ids is None]))
        whole = [next(apart) if ids is None else ids for ids in found]
        if self.end.written:
            return whole
        ends = ended or [True] * len(whole)
        return [[*ids, self.end.id] if closes else ids for ids, closes in zip(whole, ends, strict=True)]

    def said(self, message: Message) -> str:
        """Text of an answer: its content, behind its thoughts where the limits put those into a block.

        Thoughts that are left out are counted as ``reasoning-dropped``.

        Raises:
            UnfitError: if the thoughts or the answer hold a control token, which a block could not be told from.
        """
        if not message.reasoning:
            return message.content
        if self.limits.reasoning != "block":
            self.tally.count("reasoning-dropped")
            return message.content
        if self._types(f"{message.reasoning}{message.content}"):
            raise UnfitError("typed-control-token", "a control token is typed in the thoughts or the answer")
        return f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"

    def fit(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Cut an answer on the right so that it fits behind its prompt, and count the cut."""
        room = self.limits.max_length - len(prompt)
        if len(answer) > room:
            self.tally.count("answer-cut")
        return list(answer[:room])

    def examples(self, pairs: Iterable[tuple[Messages, str]]) -> list[tuple[list[int], list[int]]]:
        """Encode (prompt, answer text) pairs as (prompt ids, answer ids)."""
        rows = list(pairs)
        prompts = self.prompts([prompt for prompt, _ in rows])
        answers = self.answers([text for _, text in rows])
        return [(prompt, self.fit(prompt, answer)) for prompt, answer in zip(prompts, answers, strict=True)]

    def turns(self, messages: Messages) -> list[dict[str, str]]:
        """Turns as a chat template takes them, with the system turn that the limits ask for."""
        turns: list[dict[str, str]] = [
            {"role": self._role(message), "content": message.content} for message in messages
        ]
        if self.limits.system is not None and messages[0].role not in ("system", "developer"):
            turns.insert(0, {"role": "system", "content": self.limits.system})
        return turns

    def _role(self, message: Message) -> str:
        """The role as the template knows it: where it knows no developer, what one says is the system's."""
        if message.role == "developer" and "developer" not in self.template.source:
            self.tally.count("developer-as-system")
            return "system"
        return message.role

    def written_turns(self, messages: Messages) -> list[dict[str, Any]]:
        """Turns as ``turns`` gives them, with the thoughts and the calls that the limits ask for.

        Raises:
            UnfitError: if somebody typed a control token, which the template's could not be told from.
        """
        turns: list[dict[str, Any]] = [dict(turn) for turn in self.turns(messages)]
        for turn, message in zip(turns[len(turns) - len(messages) :], messages, strict=True):
            thoughts = message.reasoning if self.limits.reasoning == "template" else ""
            if self._types("".join((message.content, thoughts, *(call.arguments for call in message.tool_calls)))):
                raise UnfitError("typed-control-token", "a control token is typed in a turn beside thoughts or tools")
            whole = chat_turn(message, THOUGHTS if thoughts else None)
            turn |= {name: value for name, value in whole.items() if name not in turn}
            if thoughts:
                turn["thinking"] = thoughts  # as gpt-oss's template calls it
            for call in turn.get("tool_calls", ()):
                call["function"]["arguments"] = _as_object(call["function"]["arguments"])
        return turns

    def typed(self, turns: Iterable[dict[str, str]]) -> bool:
        """Whether the text of a turn holds what would be read as a control token."""
        return any(self._types(turn["content"]) for turn in turns)

    def _types(self, text: str) -> bool:
        """Whether a text holds what would be read as a control token."""
        return any(token in text for token in self.template.control)

    def _thinks(self, text: str) -> bool:
        """Whether the only control tokens of an answer are the marks around its thoughts, which are the template's."""
        mark = self.template.mark
        before, close, after = text.partition(mark.replace("<", "</"))
        opens = before.lstrip().startswith(mark)
        return (bool(close) or opens) and not self._types(before.lstrip().removeprefix(mark) + after)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's token ids, without control tokens and without what the template puts around the text.

        Where the template opens a thought, the answer stands inside it, and its text begins with the mark.
        """
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        if ids and ids[-1] == self.end.id:
            text = text.removesuffix(self.end.text.removesuffix(self._end_token) if self.end.written else self.end.text)
        return self.template.thought + text.removeprefix(self.template.lead)

    @property
    def _end_token(self) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(self.end.id))

    def _encode_prompts(self, prompts: Iterable[Messages]) -> None:
        """Render and encode the prompts that are new, in at most two batches."""
        new = [messages for messages in prompts if messages not in self._seen]
        self._seen.update(zip(new, self.conversations(new, opened=True), strict=True))

    def _as_text(self, text: str, ended: bool) -> list[int]:
        """Ids of an answer in which control tokens are nothing but text."""
        asked = [{"role": "user", "content": "a"}]
        head = self.template.safe_ids([asked], opened=True)[0]
        whole = self.template.safe_ids([[*asked, {"role": "assistant", "content": text}]])[0]
        after = len(self._ids([self._end_token + self.template.after_end])[0]) - 1
        ids = whole[len(head) : len(whole) - after]
        if not self.end.written or whole[: len(head)] != head or ids[-1:] != [self.end.id]:
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            ids = [*ids, *self.behind_opening([self.end.text])[0]]
        return ids if ended else ids[:-1]


def _as_object(arguments: Any) -> Any:
    """The arguments of a call as templates take them; JSON text of an object is that object."""
    if isinstance(arguments, str):
        try:
            found = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            return arguments
        return found if isinstance(found, dict) else arguments
    return arguments


def answer_text(messages: Messages) -> str:
    """Text of an answer that is a single assistant turn.

    Raises:
        DataError: if it is more than one turn, or the turn of another role.
    """
    if len(messages) != 1 or messages[0].role != "assistant":
        roles = ", ".join(message.role for message in messages)
        raise DataError(f"an answer must be one assistant turn; this one has the turns: {roles}")
    return messages[0].content
