"""Layouts of conversations, as lists of turns or as one text.

    ultrachat       messages[{role, content}], mostly with prompt and prompt_id
    sharegpt        conversations[{from, value}]
    sharegpt-pairs  conversations[] with chosen and rejected: a turn, a list of turns or a text
    hh              chosen and rejected as texts of "\\n\\nHuman: … \\n\\nAssistant: …", with or without a prompt apart

In **hh** (https://huggingface.co/datasets/Anthropic/hh-rlhf) a turn's text begins one blank after the colon and is
otherwise kept as it came. An answer may be empty, and two turns of one side may follow each other: that is how the set
is. A text that ends with the human's turn holds no answer to prefer and goes to the quarantine (``no-answer``).
"""

import re
from typing import Any

from notus.core.records import Dialogue, Message, Preference
from notus.data.fields import divided, items, needed, turns, typed
from notus.data.layouts_pairs import h4_prompt_id, without_prompt
from notus.data.quarantine import RowError

__all__ = [
    "hh",
    "is_hh",
    "is_sharegpt",
    "is_sharegpt_pairs",
    "is_ultrachat",
    "sharegpt",
    "sharegpt_pairs",
    "ultrachat",
]

Row = dict[str, Any]
Turns = tuple[Message, ...]

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "system": "system",
}
_TURN = ("from", "value", "role", "content")
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ ]?")
_START = re.compile(r"\s*Human:")
_ANSWERS = ("chosen", "rejected")


def is_ultrachat(row: Row) -> bool:
    """Whether the row is a list of messages, and no pair."""
    return _is_list(row.get("messages"), "role") and not any(name in row for name in _ANSWERS)


def is_sharegpt(row: Row) -> bool:
    """Whether the row is a conversation in ShareGPT's form, and no pair."""
    return _is_list(row.get("conversations"), "from") and not any(name in row for name in _ANSWERS)


def is_sharegpt_pairs(row: Row) -> bool:
    """Whether two answers follow a conversation in ShareGPT's form."""
    return _is_list(row.get("conversations"), "from") and all(
        isinstance(row.get(name), (str, list, dict)) for name in _ANSWERS
    )


def is_hh(row: Row) -> bool:
    """Whether both answers are texts that begin, with the prompt where there is one, with the human's turn."""
    prompt = row.get("prompt") or ""
    return all(isinstance(row.get(name), str) for name in _ANSWERS) and (
        isinstance(prompt, str) and all(_START.match(prompt + row[name]) for name in _ANSWERS)
    )


def _is_list(value: object, name: str) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and name in value[0]


def ultrachat(row: Row) -> Dialogue:
    """Read a list of messages. ``prompt`` and ``prompt_id`` are kept only where they say something else."""
    extra = {name: value for name, value in row.items() if name not in ("messages", "prompt", "prompt_id")}
    messages, more = turns(items(needed(row, "messages"), "messages"), "messages", "user")
    if more:
        extra["messages_as_read"] = row["messages"]
    first = next((turn.content for turn in messages if turn.role == "user"), None)
    prompt, prompt_id = row.get("prompt"), row.get("prompt_id")
    if prompt is not None and prompt != first:
        extra["prompt"] = prompt
    if prompt_id is not None and (first is None or prompt_id != h4_prompt_id(first)):
        extra["prompt_id"] = prompt_id
    return Dialogue(messages=messages, source=_source(extra), extra=extra)


def sharegpt(row: Row) -> Dialogue:
    """Read a conversation; a system prompt beside it is its first turn."""
    messages, extra = _conversation(row)
    return Dialogue(messages=messages, source=_source(extra), extra=extra)


def sharegpt_pairs(row: Row) -> Preference:
    """Read a conversation and the two answers that may follow it."""
    prompt, extra = _conversation(row)
    sides: list[Turns] = []
    for name in _ANSWERS:
        turns_of, more = _turns(needed(row, name), name)
        del extra[name]
        if more:
            extra[f"{name}_as_read"] = row[name]
        sides.append(turns_of)
    prompt, chosen, rejected = without_prompt(prompt, sides[0], sides[1])
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=_source(extra), extra=extra)


def hh(row: Row) -> Preference:
    """Read a pair of transcripts."""
    known, extra = divided(row, ("prompt", *_ANSWERS))
    before = typed(known.get("prompt", ""), str, "prompt")
    sides = []
    for name in _ANSWERS:
        transcript = _transcript(before + typed(needed(known, name), str, name), name)
        if transcript[-1].role != "assistant":
            raise RowError(name, "no-answer", transcript[-1].content)
        sides.append(transcript)
    prompt, chosen, rejected = without_prompt(None, sides[0], sides[1])
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=_source(extra), extra=extra)


def _transcript(text: str, at: str) -> Turns:
    before, *parts = _MARK.split(text)
    if before or not parts:
        raise RowError(at, "no-turns", text)
    return tuple(
        Message(role="user" if who == "Human" else "assistant", content=said)
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    )


def _conversation(row: Row) -> tuple[Turns, Row]:
    """The turns of a conversation, and the further columns."""
    extra = {name: value for name, value in row.items() if name != "conversations"}
    found, more = _turns(items(needed(row, "conversations"), "conversations"), "conversations")
    if more:
        extra["conversations_as_read"] = row["conversations"]
    system = row.get("system")
    if isinstance(system, str) and system and found[0].role != "system":
        del extra["system"]
        found = (Message(role="system", content=system), *found)
    return found, extra


def _turns(value: object, at: str) -> tuple[Turns, bool]:
    """Messages out of ShareGPT's turns, one turn, or the text of an answer; True when a turn held more."""
    if isinstance(value, str):
        return (Message(role="assistant", content=value),), False
    found, more = [], False
    for index, item in enumerate(items([value] if isinstance(value, dict) else value, at)):
        here = f"{at}[{index}]"
        if not isinstance(item, dict):
            raise RowError(here, "wrong-type", item, "a turn with from and value is needed")
        known, further = divided(item, _TURN)
        who, said = ("role", "content") if "role" in known and "from" not in known else ("from", "value")
        role = typed(needed(known, who, f"{here}."), str, f"{here}.{who}")
        if role not in _ROLES:
            raise RowError(f"{here}.{who}", "unknown-role", role)
        text = typed(needed(known, said, f"{here}."), str, f"{here}.{said}")
        found.append(typed({"role": _ROLES[role], "content": text}, Message, here))
        more = more or len(known) > 2 or any(part is not None for part in further.values())
    return tuple(found), more


def _source(extra: Row) -> str:
    """Take the column ``source`` out of the further ones, where it is a text or null."""
    if not isinstance(extra.get("source", 0), str | None):
        return ""
    return extra.pop("source") or ""
