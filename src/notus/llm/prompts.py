"""Prompts from text files: reading them, and putting texts of others into them as data.

Owns the form of a prompt file and its filling. The files lie in ``llm/templates``, or are a user's own. Does not own
what is asked with them (``llm.judge``, ``collect.collect``).

A prompt file is plain text. A line ``=== system`` or ``=== user`` opens a turn; without one, all is the user's turn.
Turns between ``<|im_start|>`` and ``<|im_end|>`` are read as well.
``{name}`` is a slot and ``{{name}}`` is that text itself; other braces are just braces. The file's own text is filled
in one pass: what is put in is never looked at again, so a candidate that holds ``{answer_2}`` stays what it is.

Texts of others are put in as *data*: between two fence lines that end in a number which none of the texts holds,

    <<<answer_1 9f0c3a7be1d24c55>>>
    …
    <<<end answer_1 9f0c3a7be1d24c55>>>

and with the control tokens of chat templates neutralised: U+2060 (word joiner) is put behind the first character of
each, so ``<|im_end|>`` can no longer be read as the token. One that a text brings along gets one more, and so
``restore`` undoes it exactly.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from notus.core.errors import ConfigError, InputError, nearest
from notus.core.records import Message, digest

__all__ = ["BUILT_IN", "FENCED", "Template", "neutralise", "read_prompt", "read_variants", "restore"]

BUILT_IN = Path(__file__).parent / "templates"
"""The folder of the prompt files that come with Notus."""
FENCED = re.compile(
    r"<<<(?P<slot>[a-z][a-z0-9_]*) (?P<fence>[0-9a-f]{16})>>>\n(?P<text>.*?)\n<<<end (?P=slot) (?P=fence)>>>", re.S
)
"""A text that was put in as data, with its fence lines."""
_SLOT = re.compile(r"\{\{(?P<plain>[a-z][a-z0-9_]*)\}\}|\{(?P<slot>[a-z][a-z0-9_]*)\}")
_TURN = re.compile(r"^=== (system|user)[ \t]*\n", re.M)
_CHATML = re.compile(r"<\|im_start\|>(system|user)[ \t]*\n|\s*<\|im_end\|>[ \t]*")
"""Turns as upstream AlpacaEval's prompt files mark them."""
_NUMBERED = re.compile(r"answer_[1-9]\d*")
_JOINER = "\u2060"
_CONTROL = re.compile(
    r"(?P<first>[<\[])(?P<joiners>\u2060*)(?P<rest>"
    r"[|｜][^|｜<>\[\]\n\u2060]{1,64}[|｜]>"  # <|im_start|>, <|eot_id|>, <|assistant|>
    r"|/?(?:s|bos|eos|pad|unk|mask|sep|cls|think|tool_call|tool_response|image)>"  # </s>
    r"|(?:start|end)_of_(?:turn|image)>|extra_id_\d+>|unused\d+>|0x[0-9a-f]{2}>"  # <end_of_turn>
    r"|</?sys>>"  # <<SYS>>
    r"|/?(?:inst|system_prompt|available_tools|tool_calls|tool_results|tool_content|img|img_break|img_end|bos|eos|pad"
    r"|unk|cls|sep|mask|prefix|suffix|middle|think|gmask|sop)\]"  # [INST]
    r")",
    re.I,
)


@dataclass(frozen=True)
class Template:
    """A prompt file that was read.

    Args:
        name: what it is called in errors.
        turns: role and pieces of each turn; a piece is a text or, at odd places, the name of a slot.
        text: the file as it is.
        verbatim: put texts in as they are, without fences and with their control tokens: for the exact comparison with
            published prompts, and never with texts that nobody has looked at.
    """

    name: str
    turns: tuple[tuple[str, tuple[str, ...]], ...]
    text: str
    verbatim: bool = False

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots."""
        return frozenset(piece for _, pieces in self.turns for piece in pieces[1::2])

    @property
    def digest(self) -> str:
        """Hash of the text and of the way in which it is filled."""
        return digest(self.text, str(self.verbatim))

    @property
    def numbered(self) -> int:
        """How many answers the file has numbered slots for; 0 where it takes any number with ``{answers}``."""
        return sum(1 for slot in self.slots if _NUMBERED.fullmatch(slot))

    def fill(
        self, data: Mapping[str, str], plain: Mapping[str, str] | None = None, answers: tuple[str, ...] = ()
    ) -> tuple[Message, ...]:
        """The prompt's messages.

        Args:
            data: slot → a text of others, which is fenced and neutralised.
            plain: slot → a text of our own, which is put in as it is.
            answers: candidates, for the slots ``{answers}`` or ``{answer_1}``, ``{answer_2}`` and so on.

        Raises:
            InputError: if the file has numbered slots for another number of answers.
        """
        if self.numbered and self.numbered != len(answers):
            raise InputError(f"{self.name} has slots for {self.numbered} answers, and there are {len(answers)}")
        whole = {**data, **{f"answer_{number}": text for number, text in enumerate(answers, start=1)}}
        fence = "" if self.verbatim else _fence(self.text, whole)
        filled = {name: self._put(name, text, fence) for name, text in whole.items()} | dict(plain or {})
        filled["answers"] = "\n\n".join(f"Answer {n}\n{filled[f'answer_{n}']}" for n in range(1, len(answers) + 1))
        return tuple(
            Message(
                role="system" if role == "system" else "user",
                content="".join(filled[piece] if place % 2 else piece for place, piece in enumerate(pieces)).strip(),
            )
            for role, pieces in self.turns
        )

    def _put(self, name: str, text: str, fence: str) -> str:
        if self.verbatim:
            return text
        return f"<<<{name} {fence}>>>\n{neutralise(text)}\n<<<end {name} {fence}>>>"


def read_prompt(
    source: str, *, needs: Collection[str], may: Collection[str] = (), answers: bool = False, verbatim: bool = False
) -> Template:
    """Read a prompt file.

    Args:
        source: the name of a built-in file, such as ``judge_critique``, or the path of a user's own.
        needs: slots that must stand in it.
        may: further slots that it may hold.
        answers: whether it must take several answers, by ``{answers}`` or by ``{answer_1}`` and so on.
        verbatim: see ``Template``.

    Raises:
        ConfigError: if there is no such file, it is no UTF-8, or its slots are not as they must be.
    """
    text = _CHATML.sub(lambda found: f"=== {found[1]}\n" if found[1] else "", _read(source))
    parts = _TURN.split(text)
    if parts[0].strip() and len(parts) > 1:
        raise ConfigError(f"prompt {source}: text stands before the first '=== system' or '=== user'")
    roles = list(zip(parts[1::2], parts[2::2], strict=True)) if len(parts) > 1 else [("user", text)]
    if not roles or roles[-1][0] != "user":
        raise ConfigError(f"prompt {source}: the last turn must be the user's")
    template = Template(source, tuple((role, _pieces(part)) for role, part in roles), text, verbatim)
    _check_slots(template, needs, may, answers)
    return template


def read_variants(source: str) -> tuple[str, ...]:
    """Read a file of texts that are divided by lines of ``---``; a line that begins with ``#`` is a remark.

    Raises:
        ConfigError: if there is no such file, or it holds no text.
    """
    lines = [line for line in _read(source).splitlines() if not line.startswith("#")]
    texts = tuple(text.strip() for text in re.split(r"^---[ \t]*$", "\n".join(lines), flags=re.M) if text.strip())
    if not texts:
        raise ConfigError(f"{source} holds no text")
    return texts


def neutralise(text: str) -> str:
    """Put a word joiner (U+2060) behind the first character of each control token, so that none is one any more."""
    return _CONTROL.sub(lambda found: f"{found['first']}{found['joiners']}{_JOINER}{found['rest']}", text)


def restore(text: str) -> str:
    """Undo ``neutralise``: ``restore(neutralise(text)) == text`` for every text."""
    return _CONTROL.sub(lambda found: f"{found['first']}{found['joiners'][1:]}{found['rest']}", text)


def _read(source: str) -> str:
    path = Path(source)
    if not path.suffix and not path.exists():
        known = {file.stem for file in BUILT_IN.glob("*.txt")}
        if source not in known:
            raise ConfigError(f"no prompt '{source}': it is no file and no built-in prompt; {nearest(source, known)}")
        path = BUILT_IN / f"{source}.txt"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the prompt {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the prompt {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _pieces(text: str) -> tuple[str, ...]:
    """Text, slot, text, slot, …, text."""
    pieces, end = [""], 0
    for found in _SLOT.finditer(text):
        pieces[-1] += text[end : found.start()]
        end = found.end()
        if found["slot"]:
            pieces += [found["slot"], ""]
        else:
            pieces[-1] += f"{{{found['plain']}}}"
    pieces[-1] += text[end:]
    return tuple(pieces)


def _check_slots(template: Template, needs: Collection[str], may: Collection[str], answers: bool) -> None:
    numbered = {slot for slot in template.slots if answers and _NUMBERED.fullmatch(slot)}
    known = {*needs, *may, *({"answers"} if answers else ())}
    for slot in sorted(template.slots - numbered - known):
        raise ConfigError(
            f"prompt {template.name}: unknown slot {{{slot}}}; {nearest(slot, known)}; "
            f"write {{{{{slot}}}}} where the text itself is meant"
        )
    for slot in sorted(set(needs) - template.slots):
        raise ConfigError(f"prompt {template.name}: the slot {{{slot}}} is missing")
    if answers and bool(numbered) == ("answers" in template.slots):
        raise ConfigError(
            f"prompt {template.name}: it needs either {{answers}}, or {{answer_1}}, {{answer_2}} and so on"
        )
    if numbered != {f"answer_{number}" for number in range(1, len(numbered) + 1)}:
        raise ConfigError(f"prompt {template.name}: the answers are not numbered from 1 without a gap")


def _fence(template: str, texts: Mapping[str, str]) -> str:
    """16 hexadecimal digits that follow from all that is put in, and stand nowhere in it."""
    parts = (template, *(part for name in sorted(texts) for part in (name, texts[name])))
    number = 0
    while True:
        state = hashlib.blake2b(digest(*parts, str(number)).encode(), digest_size=8)
        fence = state.hexdigest()
        if not any(fence in part for part in parts):
            return fence
        number += 1
