"""Conversations, as lists of turns or as one text.

    ultrachat       messages[{role, content}], mostly with prompt and prompt_id
    sharegpt        conversations[{from, value}]
    sharegpt-pairs  conversations[] with chosen and rejected: a turn, a list of turns or a text
    checklists      prompt with a checklist[] of requirements: an answer is still to be drawn
    hh              chosen and rejected as texts of "\\n\\nHuman: … \\n\\nAssistant: …", with or without a prompt apart

In **hh** (https://huggingface.co/datasets/Anthropic/hh-rlhf) a turn's text begins one blank after the colon and is
otherwise kept as it came. An answer may be empty, and two turns of one side may follow each other: that is how the set
is. A text that ends with the human's turn holds no answer to prefer and goes to the quarantine (``no-answer``).
"""

import re

from notus.core.records import Dialogue, Message, Preference
from notus.formats.families.pairs import h4_prompt_id, with_system, without_prompt
from notus.formats.fields import (
    Said,
    keep_as_read,
    looks_like_messages,
    read_as,
    read_messages,
    read_source,
    read_text,
    refuse_media,
    required,
    split_fields,
    with_extra,
    write_sides,
)
from notus.formats.format import Format, Row
from notus.formats.quarantine import RowError
from notus.formats.verdicts import refuse_verdict

__all__ = ["FORMATS", "read_transcript"]

Turns = tuple[Message, ...]

_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ ]?")
_START = re.compile(r"\s*Human:")
_ANSWERS = ("chosen", "rejected")
_ANSWERED = (*_ANSWERS, "answers", "completion", "completions", "messages", "output", "response", "responses")
"""Columns of rows that are more than a prompt."""


def _is_ultrachat(row: Row) -> bool:
    """Whether the row is a list of messages, and no pair."""
    return _is_talk(row.get("messages")) and all(row.get(name) is None for name in _ANSWERS)


def _is_sharegpt(row: Row) -> bool:
    """Whether the row is a conversation in ShareGPT's form, and no pair."""
    return _is_talk(row.get("conversations")) and all(row.get(name) is None for name in _ANSWERS)


def _is_sharegpt_pairs(row: Row) -> bool:
    """Whether two answers follow a conversation in ShareGPT's form."""
    answers = all(isinstance(row.get(name), (str, list, dict)) for name in _ANSWERS)
    return answers and _is_talk(row.get("conversations"))


def _is_talk(value: object) -> bool:
    """Whether a value is a list of messages, or JSON text of one."""
    if isinstance(value, str):
        try:
            return looks_like_messages(value) is not None
        except RowError:
            return False
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and not {"role", "from"}.isdisjoint(first)


def _is_hh(row: Row) -> bool:
    """Whether both answers are texts that begin, with the prompt where there is one, with the human's turn."""
    prompt = row.get("prompt") or ""
    return all(isinstance(row.get(name), str) for name in _ANSWERS) and (
        isinstance(prompt, str) and all(_START.match(prompt + row[name]) for name in _ANSWERS)
    )


def _read_ultrachat(row: Row) -> Dialogue:
    """Read a list of messages. ``prompt`` and ``prompt_id`` are kept only where they say something else."""
    refuse_media(row)
    refuse_verdict(row)
    extra = {name: value for name, value in row.items() if name not in ("messages", "prompt", "prompt_id")}
    said = with_system(_read_talk(required(row, "messages"), "messages"), extra)
    keep_as_read(extra, {"messages": said})
    first = next((turn.content for turn in said.turns if turn.role == "user"), None)
    prompt, prompt_id = row.get("prompt"), row.get("prompt_id")
    if prompt is not None and prompt != first:
        extra["prompt"] = prompt
    if prompt_id is not None and (first is None or prompt_id != h4_prompt_id(first)):
        extra["prompt_id"] = prompt_id
    return Dialogue(messages=said.turns, source=read_source(extra), extra=extra)


def _is_checklist(row: Row) -> bool:
    """Whether the row is a prompt alone, with requirements for its answers."""
    alone = all(row.get(name) is None for name in _ANSWERED)
    return alone and isinstance(row.get("prompt"), str) and isinstance(row.get("checklist"), list)


def _read_checklist(row: Row) -> Dialogue:
    """Read a prompt that answers are still to be drawn for."""
    refuse_verdict(row)
    known, extra = split_fields(row, ("prompt",))
    prompt = Message(role="user", content=read_text(required(known, "prompt"), "prompt"))
    return Dialogue(messages=(prompt,), source=read_source(extra), extra=extra)


def _read_sharegpt(row: Row) -> Dialogue:
    """Read a conversation; a system prompt beside it is its first turn."""
    refuse_verdict(row)
    said, extra = _read_conversation(row)
    keep_as_read(extra, {"messages": said})
    return Dialogue(messages=said.turns, source=read_source(extra), extra=extra)


def _read_sharegpt_pair(row: Row) -> Preference:
    """Read a conversation and the two answers that may follow it."""
    asked, extra = _read_conversation(row)
    sides = [read_messages(required(row, name), name, "assistant") for name in _ANSWERS]
    for name in _ANSWERS:
        del extra[name]
    return _pair(asked, sides[0], sides[1], extra)


def _pair(asked: Said | None, better: Said, worse: Said, extra: Row) -> Preference:
    """A pair of messages that were read, with what they held beyond their records."""
    prompt, chosen, rejected = without_prompt(None if asked is None else asked.turns, better.turns, worse.turns)
    length = len(better.turns) - len(chosen)
    before = better.part(0, length) if asked is None or length else asked
    keep_as_read(extra, {"prompt": before, "chosen": better.part(length, None), "rejected": worse.part(length, None)})
    if length:  # the others may say more of the turns that they share
        for name, said in (("rejected_prompt", worse.part(0, length)), ("stated_prompt", asked)):
            if said is not None and any(item not in before.items() for item in said.items()):
                keep_as_read(extra, {name: said})
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=read_source(extra), extra=extra)


def _read_hh(row: Row) -> Preference:
    """Read a pair of transcripts."""
    known, extra = split_fields(row, ("prompt", *_ANSWERS))
    before = read_as(known.get("prompt", ""), str, "prompt")
    sides = []
    for name in _ANSWERS:
        transcript = _read_transcript(before + read_text(required(known, name), name), name)
        if transcript.turns[-1].role != "assistant":
            raise RowError(name, "no-answer", transcript.turns[-1].content)
        sides.append(transcript)
    return _pair(None, sides[0], sides[1], extra)


def read_transcript(text: str, at: str) -> Turns:
    """The turns of a text of "\\n\\nHuman: … \\n\\nAssistant: …"."""
    return _read_transcript(text, at).turns


def _read_transcript(text: str, at: str) -> Said:
    before, *parts = _MARK.split(text)
    if before or not parts:
        raise RowError(at, "no-turns", text)
    told = zip(parts[::2], parts[1::2], strict=True)
    items = [{"role": "user" if who == "Human" else "assistant", "content": said} for who, said in told]
    return read_messages(items, at, "assistant")


def _read_conversation(row: Row) -> tuple[Said, Row]:
    """The turns of a conversation, and the further columns."""
    refuse_media(row)
    extra = {name: value for name, value in row.items() if name != "conversations"}
    return with_system(_read_talk(required(row, "conversations"), "conversations"), extra), extra


def _read_talk(value: object, at: str) -> Said:
    """The turns of a conversation; a text is none, but for JSON text of one."""
    if isinstance(value, str) and looks_like_messages(value, at) is None:
        raise RowError(at, "wrong-type", value, "a list is needed")
    return read_messages(value, at, "user")


def _write_ultrachat(dialogue: Dialogue) -> Row:
    sides, extra = write_sides({"messages": dialogue.messages}, dialogue.extra)
    extra = dict(extra)
    row: Row = {}
    first = next((turn.content for turn in dialogue.messages if turn.role == "user"), None)
    if first is not None:
        row = {"prompt": extra.pop("prompt", first), "prompt_id": extra.pop("prompt_id", h4_prompt_id(first))}
    return with_extra(row | sides | {"source": dialogue.source}, extra)


FORMATS = (
    # A text that begins with "Human:" is a transcript, not a plain text.
    Format(
        name="hh",
        record=Preference,
        decode=_read_hh,
        matches=_is_hh,
        before=("sharegpt-pairs", "trl", "trl-implicit"),
        sample={
            "chosen": "\n\nHuman: Name a river.\n\nAssistant: The Oder.",
            "rejected": "\n\nHuman: Name a river.\n\nAssistant: No.",
        },
    ),
    Format(
        name="sharegpt-pairs",
        record=Preference,
        decode=_read_sharegpt_pair,
        matches=_is_sharegpt_pairs,
        before=("trl", "trl-implicit"),
        sample={
            "conversations": [{"from": "human", "value": "Name a river."}],
            "chosen": {"from": "gpt", "value": "The Oder."},
            "rejected": {"from": "gpt", "value": "No."},
        },
    ),
    Format(
        name="ultrachat",
        record=Dialogue,
        decode=_read_ultrachat,
        matches=_is_ultrachat,
        encode=_write_ultrachat,
        before=("sharegpt",),
        sample={
            "messages": [
                {"role": "user", "content": "Name a river."},
                {"role": "assistant", "content": "The Oder."},
            ]
        },
    ),
    Format(
        name="checklists",
        record=Dialogue,
        decode=_read_checklist,
        matches=_is_checklist,
        sample={"prompt": "Name a river.", "checklist": ["It names a river."]},
    ),
    Format(
        name="sharegpt",
        record=Dialogue,
        decode=_read_sharegpt,
        matches=_is_sharegpt,
        sample={
            "conversations": [
                {"from": "human", "value": "Name a river."},
                {"from": "gpt", "value": "The Oder."},
            ]
        },
    ),
)
