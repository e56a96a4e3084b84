"""What a tokenizer's chat template writes, where it ends a turn, and what it opens: the one place that asks it.

Everything is found by rendering, so that a template says itself what it does: its own system turn is there where no
other is asked for, an answer is what stands behind its prompt, and it ends where the template ends the assistant's turn
(``<end_of_turn>``, ``<|eot_id|>``, ``</s>``), whatever the tokenizer calls its end-of-sequence token.

A template may open a thought before each answer (``<think>`` in its generation prompt). The mark is then the prompt's:
an answer's thoughts stand behind it and close it, and an answer without any is refused, or has an empty thought where
``limits.reasoning`` is ``block``. Texts become token ids in ``engine.text.encoder``.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from notus.core.errors import ConfigError, DataError
from notus.engine.settings import Limits
from notus.engine.text.named import TEMPLATES, template_text
from notus.engine.text.sandbox import BoundedEnvironment

__all__ = ["ChatTemplate", "TurnEnd", "UnfitError", "adds_bos", "with_template"]

# transformers has no setting for it: templates are compiled in what stands under this name.
chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment

Turn = Mapping[str, Any]
Turns = Sequence[Turn]
_ASKED, _SAID = "Xq7Zv", "Vk3Wj"
"""A question and an answer that stand in no template."""
_QUESTION: list[Turn] = [{"role": "user", "content": _ASKED}]
_OPENED = re.compile(r"<(think|thinking|thought|reasoning)>\s*\Z")


class UnfitError(DataError):
    """A row that cannot be encoded under these limits with this template.

    Args:
        reason: a slug, under which the row is put aside.
        text: what is amiss, and the way out.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class TurnEnd:
    """What an answer ends with."""

    text: str
    """What the template writes behind the text of an answer, up to and with the control token that ends the turn."""
    id: int
    """That token; what a model stops at."""
    written: bool = True
    """False where the template ends a turn with no control token of this tokenizer: the end-of-sequence token is put
    behind an answer, and ``text`` is what stands before it."""


class ChatTemplate:
    """The chat template of a tokenizer under one set of options.

    Args:
        tokenizer: has a chat template.
        limits: the options of the template, and what becomes of thoughts.

    Raises:
        ConfigError: if the template cannot write a question and its answer, or its end is nowhere.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> None:
        self.tokenizer = tokenizer
        self.options = dict(limits.template_options)
        self.source = str(tokenizer.chat_template)
        self._empty_thoughts = limits.reasoning == "block"
        added = tokenizer.added_tokens_decoder.values()
        # As transformers has it: other added tokens, such as runs of blanks, are parts of ordinary text.
        self.control = tuple(
            token.content
            for token in added
            if token.content and (token.special or (token.content in self.source and not token.content.isspace()))
        )
        """What nobody but the template may write: typed by a user, it is text."""
        try:
            self.head = self._render([_QUESTION], opened=True)[0]
            self._whole = self._render([[*_QUESTION, _answer_turn(_SAID)]])[0]
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.name}{self._file()} cannot write a question and its answer: {_line(error)}; set "
                "limits.chat_template to another"
            ) from None
        if _ASKED not in self.head or _SAID not in self._whole:
            raise ConfigError(
                f"{self.name}{self._file()} does not write what is said; set limits.chat_template to another"
            )

    @property
    def name(self) -> str:
        """The template in words, for errors."""
        return f"the chat template of {self.tokenizer.name_or_path!r}"

    def _file(self) -> str:
        """Where the template stands, for errors; nothing where it is not the folder's own."""
        folder = Path(self.tokenizer.name_or_path)
        places = [name for name in ("chat_template.jinja", "tokenizer_config.json") if (folder / name).is_file()]
        return f" ({folder / places[0]})" if places else ""

    @cached_property
    def opening(self) -> str:
        """What the template writes between a question and the answer to it."""
        return self.head.rpartition(_ASKED)[2]

    @cached_property
    def thought(self) -> str:
        """The mark of a thought that the template opens before each answer, with the blanks behind it; or nothing."""
        found = _OPENED.search(self.opening)
        return found.group() if found else ""

    @property
    def mark(self) -> str:
        """The mark that opens thoughts."""
        return self.thought.strip() or "<think>"

    @cached_property
    def lead(self) -> str:
        """Blanks that the template puts before the text of an answer."""
        before = self._whole[len(self.head) :].partition(_SAID)[0] if self._whole.startswith(self.head) else ""
        return before if before.isspace() else ""

    @cached_property
    def _tail(self) -> str:
        """All that the template writes behind an answer that is the last turn."""
        return self._whole.rpartition(_SAID)[2]

    @cached_property
    def end(self) -> TurnEnd:
        """What an answer ends with.

        Raises:
            ConfigError: if there is neither a control token behind an answer nor an end-of-sequence token.
        """
        behind = self._tail if self._tail.strip() else self._next_turn()
        found = min(
            ((behind.find(token), -len(token), token) for token in self.control if token in behind), default=None
        )
        if found is not None:
            place, _, token = found
            return TurnEnd(behind[: place + len(token)], self.tokenizer.convert_tokens_to_ids(token))
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"{self.name} ends an answer with no control token, and the tokenizer has no end-of-sequence token; "
                "set limits.chat_template to a template that ends with one of its tokens"
            )
        return TurnEnd(self._tail.rstrip(), self.tokenizer.eos_token_id, written=False)

    def _next_turn(self) -> str:
        """The control token that opens the next question, right behind an answer that nothing else ends (GLM 4)."""
        try:
            whole = self._render([[*_QUESTION, _answer_turn(_SAID), *_QUESTION]], opened=True)[0]
        except (jinja2.TemplateError, TypeError, ValueError):
            return ""
        between = whole.rpartition(_SAID)[2].partition(_ASKED)[0]
        opens = [token for token in self.control if between.lstrip().startswith(token)]
        token = max(opens, key=len, default="")
        return between[: between.index(token) + len(token)] if token not in ("", self.tokenizer.bos_token) else ""

    @cached_property
    def after_end(self) -> str:
        """What the template writes behind the end of an answer that is the last turn."""
        return self._tail[len(self.end.text) :] if self._tail.startswith(self.end.text) else ""

    @cached_property
    def no_system(self) -> str:
        """Why the template takes no system turn; empty where it takes one."""
        try:
            text = self._render([[{"role": "system", "content": _SAID}, *_QUESTION]], opened=True)[0]
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            return _line(error)
        return "" if _SAID in text else "it leaves the turn out"

    def notes(self) -> list[str]:
        """What a user should know of how this template and this tokenizer go together, a line each."""
        found = []
        if not self.end.written:
            text = f"{self.end.text!r}, which is no token of this tokenizer" if self.end.text else "nothing"
            found.append(
                f"{self.name} ends an answer with {text}: {self.tokenizer.eos_token!r} is put behind it, and is what "
                "sampling stops at"
            )
        bos = self.tokenizer.bos_token
        if bos and adds_bos(self.tokenizer) and not self.head.startswith(bos):
            found.append(
                f"{self.name} does not write {bos!r}, which the tokenizer puts before other texts: there is none, as "
                "with transformers' apply_chat_template"
            )
        if "strftime_now" in self.source and "date_string" not in self.options:
            found.append(f"{self.name} may write today's date; limits.template_options={{date_string: …}} fixes it")
        return found

    def render(self, conversations: Sequence[Turns], *, opened: bool = False, tools: Any = None) -> list[str]:
        """Conversations as the template writes them.

        Args:
            conversations: turns as templates take them.
            opened: whether the mark that opens the assistant's turn is put behind.
            tools: that the assistant may call, as JSON schemas.

        Raises:
            UnfitError: if the template refuses one, or cannot write it.
        """
        try:
            return self._render(conversations, opened=opened, tools=tools)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise self._refusal(conversations, error) from None

    def safe_ids(self, conversations: Sequence[Turns], *, opened: bool = False) -> list[list[int]]:
        """Token ids of conversations in which somebody typed a control token: it is encoded as text.

        Raises:
            UnfitError: if the template refuses one, or cannot write it.
        """
        try:
            ids: list[list[int]] = self.tokenizer.apply_chat_template(
                [[dict(turn) for turn in turns] for turns in conversations],
                add_generation_prompt=opened,
                return_dict=False,
                sanitize_control_tokens=True,
                **self.options,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise self._refusal(conversations, error) from None
        return ids

    def answers(self, texts: Sequence[str]) -> list[str]:
        """What the template writes of answers behind their prompt, each up to and with the end of its turn.

        Raises:
            UnfitError: see ``behind``.
        """
        turns = [_answer_turn(text) for text in texts]
        wholes = self.render([[*_QUESTION, turn] for turn in turns]) if turns else []
        return [self.behind(self.head, whole, turn) for whole, turn in zip(wholes, turns, strict=True)]

    def behind(self, opened: str, closed: str, turn: Turn) -> str:
        """What the template writes of an answer behind its prompt, up to and with the end of its turn.

        Args:
            opened: the rendered prompt, with the mark that opens the answer.
            closed: the rendered conversation with the answer.
            turn: the answer.

        Raises:
            UnfitError: if the template writes it elsewhere, without its end or not all of it; or if it opens a thought,
                and the answer has none.
        """
        bare = opened.removesuffix(self.thought)
        if closed.startswith(opened):
            found = self._without_tail(closed[len(opened) :])
        elif self.thought and closed.startswith(bare):
            found = self._closing_thought(self._without_tail(closed[len(bare) :]), turn)
        else:
            raise UnfitError("template-refuses", f"{self.name} does not write the answer behind its prompt")
        said = str(turn.get("content") or "")
        if said not in found and "".join(said.split()) not in "".join(f"{opened[-32:]}{found}".split()):
            raise UnfitError("template-refuses", f"{self.name} leaves out the answer, or a part of it")
        return found + self.end.text

    def _without_tail(self, text: str) -> str:
        if text.endswith(self._tail):
            return text.removesuffix(self._tail)
        end = self.end.text
        if not self.end.written or end not in text:
            raise UnfitError("template-refuses", f"{self.name} does not end the answer with {end!r}")
        return text[: text.rindex(end)]

    def _closing_thought(self, plain: str, turn: Turn) -> str:
        """An answer behind the mark of a thought that the template opens and does not write again."""
        mark, said = self.mark, str(turn.get("content") or "")
        close = mark.replace("<", "</")
        if said.lstrip().startswith(mark):
            return said.lstrip().removeprefix(mark).removeprefix("\n")
        if close in said:
            return said
        if plain.lstrip().startswith(mark):  # written in another form, such as an empty thought in one line
            return plain.lstrip().removeprefix(mark).removeprefix("\n")
        if thoughts := str(turn.get("reasoning_content") or ""):
            return f"{thoughts}\n{close}\n\n{plain.lstrip()}"
        if self._empty_thoughts:
            return f"\n{close}\n\n{plain.lstrip()}"
        raise UnfitError(
            "thought-open",
            f"{self.name} opens a thought before each answer ({mark}), and this answer has none; limits.reasoning: "
            "block gives it an empty one, limits.template_options or limits.chat_template may turn thoughts off",
        )

    def _refusal(self, conversations: Sequence[Turns], error: Exception) -> UnfitError:
        if self.no_system and any(turn["role"] == "system" for turns in conversations for turn in turns):
            why = f"{self.name} takes no system turn ({self.no_system}): put its text into the user's first turn"
            return UnfitError("template-refuses", why)
        return UnfitError("template-refuses", f"{self.name} cannot write it: {_line(error)}")

    def _render(self, conversations: Sequence[Turns], *, opened: bool = False, tools: Any = None) -> list[str]:
        found: list[str] = self.tokenizer.apply_chat_template(
            [list(turns) for turns in conversations],
            tools=tools,
            add_generation_prompt=opened,
            tokenize=False,
            **self.options,
        )
        return found


def with_template(tokenizer: PreTrainedTokenizerBase, limits: Limits) -> PreTrainedTokenizerBase:
    """The tokenizer with the template that the limits name, a copy of it where they name one.

    A template by name opens with the beginning-of-sequence token where the tokenizer puts one before texts, and the
    token that ends its turns becomes the end-of-sequence token, so that other programs stop there too.

    Raises:
        ConfigError: if there is no template, neither the tokenizer's own nor one that is named.
    """
    if limits.chat_template is None:
        if tokenizer.chat_template is None:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; name one in limits.chat_template: "
                f"{', '.join(TEMPLATES)}, or a file"
            )
        return tokenizer
    text = template_text(limits.chat_template)
    named = copy.deepcopy(tokenizer)
    opens = limits.chat_template in TEMPLATES and adds_bos(tokenizer)
    named.chat_template = "{{ bos_token }}" * opens + text
    end = ChatTemplate(named, limits).end
    if end.written and end.id != named.eos_token_id and "eos_token" not in text:
        pads = named.pad_token_id == named.eos_token_id
        eos = named.eos_token
        named.eos_token = named.convert_ids_to_tokens(end.id)
        if pads:
            named.pad_token = eos
    return named


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer puts a beginning-of-sequence token before texts by itself."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _answer_turn(text: str) -> Turn:
    return {"role": "assistant", "content": text}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
