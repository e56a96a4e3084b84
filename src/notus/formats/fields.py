"""Values of rows: the small readers and writers that all formats share.

Each reader takes a value and its path in the row, and returns what a record takes or raises ``RowError``. Null counts
as absent, because Parquet gives every row every column. A writer makes plain values, or raises ``DataError`` where the
format has no place for one.

Messages are read in every form that teams have: a text, an object, a list of objects, or JSON text of these; ``role``
and ``content`` or ``from`` and ``value``; content as text or as parts; thoughts as a field or as a block of
``<think>`` before the answer; calls of tools. What stands in the record's own fields is not kept twice. The rest is
kept in the record's further columns, so that a writer gives back what was read: ``reasoning_as`` names the form that
the thoughts had, and ``<column>_as_read`` holds a list of messages that no record gives back by itself.
"""

import ast
import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from notus.core.records import Message, Scale, ToolCall
from notus.core.text import THOUGHTS, chat_turn
from notus.formats.format import NoPlaceError, Row
from notus.formats.quarantine import RowError, explain

__all__ = [
    "Said",
    "keep_as_read",
    "keep_raw",
    "looks_like_messages",
    "read_as",
    "read_flag",
    "read_grade",
    "read_list",
    "read_messages",
    "read_name",
    "read_number",
    "read_score",
    "read_source",
    "read_text",
    "read_turns",
    "refuse_media",
    "required",
    "speaker",
    "split_fields",
    "with_extra",
    "write_sides",
    "write_turns",
]

T = TypeVar("T")

Role = Literal["system", "user", "assistant"]

_LARGEST = 1e300
_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_COMMA = re.compile(r"-?\d+,\d+", re.ASCII)
_COMMA_SAID = 'a comma in a number is not guessed at; a mapping says what it is: {column: …, decimal: ","}'
_NO_SCORE = ("", "n/a", "na", "nan", "null", "none")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_Turns = Annotated[tuple[Message, ...], msgspec.Meta(min_length=1)]

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
    "system": "system",
    "developer": "developer",
}
"""Role in anybody's rows → ours."""
_STANDARD = ("role", "content")
_SHAREGPT = ("from", "value")
_SHAREGPT_ONLY = frozenset(_SHAREGPT)
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message that hold thoughts."""
_BLOCK = re.compile(r"(\s*<think>\n*)(.*?)(\n*(?:</think>\n*|\Z))", re.DOTALL)
_REASONING_AS = "reasoning_as"
_AS_READ = "_as_read"
_UNUSUAL = frozenset("[{< \n\t\r")
"""First characters of a text that may be more than a text: messages, or thoughts before an answer."""
_MESSAGES = re.compile(r"""\s*\[?\s*\{\s*(?P<quote>["'])\w+(?P=quote)\s*:""")
_ROLE_FIRST = re.compile(r"""\s*\[\s*\{\s*["'](?:role|from)["']\s*:\s*["']""")
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Type of a content part → the field of its text."""
_THOUGHT_PARTS = frozenset(("thinking", "reasoning"))
_MEDIA = ("image", "audio", "video")
_MEDIA_COLUMNS = frozenset(("image", "images", "audio", "audios", "video", "videos"))


def read_as(value: object, kind: type[T], at: str) -> T:
    """The value as the given type, strictly."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise explain(error, at, value) from None
    except (OverflowError, RecursionError) as error:
        raise RowError(at, "wrong-type", value, str(error)) from None


def read_text(value: object, at: str) -> str:
    """The value as a text that is no messages: JSON text of these is never taken for what somebody said."""
    text = read_as(value, str, at)
    if text[:1] in _UNUSUAL and looks_like_messages(text, at) is not None:
        raise RowError(at, "wrong-type", text, "a plain text is needed, and these are messages")
    return text


def split_fields(row: Row, names: Collection[str]) -> tuple[Row, Row]:
    """The fields that a format knows, nulls left out, and all further ones as they came."""
    known = {name: value for name, value in row.items() if name in names and value is not None}
    return known, {name: value for name, value in row.items() if name not in names}


def required(row: Row, name: str, at: str = "") -> Any:
    """The value of a field that must be there."""
    value = row.get(name)
    if value is None:
        raise RowError(at + name, "missing-field")
    return value


def read_list(value: object, at: str) -> list[Any]:
    """The value as a list that is not empty."""
    if not isinstance(value, (list, tuple)):
        raise RowError(at, "wrong-type", value, "a list is needed")
    if not value:
        raise RowError(at, "no-completion" if at == "completions" else "empty-list", value)
    return list(value)


def read_number(value: object, at: str) -> float:
    """A finite number, written as a number or as its decimal digits."""
    if type(value) is float and -_LARGEST <= value <= _LARGEST:
        return value
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value.strip()):
            raise RowError(at, "not-a-number", value, _COMMA_SAID if _COMMA.fullmatch(value.strip()) else "")
        value = float(value)
    not_a_number = isinstance(value, bool) or (isinstance(value, float) and math.isnan(value))
    if not isinstance(value, (int, float)) or not_a_number:
        raise RowError(at, "not-a-number", value)
    if abs(value) > _LARGEST:
        raise RowError(at, "out-of-range", value)
    return float(value)


def read_grade(value: object, at: str) -> float | None:
    """A rating or an overall score, 0 to 100, or None for the judge's "N/A". "7.5" stays 7.5."""
    if isinstance(value, str) and value.strip().upper() == "N/A":
        return None
    found = read_number(value, at)
    if not 0 <= found <= 100:
        raise RowError(at, "out-of-range", value)
    return found


def read_score(value: object, at: str, scale: Scale | None = None) -> float | None:
    """A score on the scale, where there is one; None where the source has no score: null, NaN, an empty text, "N/A".

    A text that names a number is that number.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value.strip().lower() in _NO_SCORE:
        return None
    found = read_number(value, at)
    if scale is not None and not scale.low <= found <= scale.high:
        raise RowError(at, "out-of-range", value, f"{scale.low:g} to {scale.high:g}")
    return found


def read_name(value: object, at: str) -> str:
    """A name as text: of a person, a judge, a model. A number is its digits, null no name."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # how a table writes whole numbers of a column that has gaps
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else read_as(value, str, at)


def read_flag(value: object, at: str) -> bool:
    """A label: true or false, or 1 or 0 for them; the same as a text."""
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and (found := _FLAGS.get(value.strip().lower())) is not None:
        return found
    raise RowError(at, "wrong-type", value, "true or false is needed")


class Said(msgspec.Struct, frozen=True):
    """Messages as they were read."""

    turns: tuple[Message, ...]
    raw: list[Row] | None = None
    """The messages as they came, with ``role`` and ``content`` for ``from`` and ``value``; None of plain ones, which
    hold no more than their record."""
    form: str = ""
    """How the thoughts stood, where there are some: the name of a field, or a block with ``{}`` in their place."""

    def items(self) -> list[Row]:
        """The messages as objects, as they came."""
        return write_turns(self.turns) if self.raw is None else _stated(self.raw)

    def part(self, start: int, stop: int | None) -> "Said":
        """The same of some of the messages."""
        raw = None if self.raw is None else self.raw[start:stop]
        return Said(self.turns[start:stop], raw, self.form)


def read_turns(value: object, at: str, role: Role) -> tuple[tuple[Message, ...], bool]:
    """Messages as ``read_messages`` gives them, and whether they held more than their records do."""
    said = read_messages(value, at, role)
    return said.turns, said.raw is not None and write_turns(said.turns) != _stated(said.raw)


def read_messages(value: object, at: str, role: Role) -> Said:
    """Messages out of a text (one turn of the given role), an object, a list of objects, or JSON text of one of these.

    Raises:
        RowError: that names the message and the rule that it broke.
    """
    if isinstance(value, str):
        found = looks_like_messages(value, at) if value[:1] in _UNUSUAL else None
        if found is None:
            thinks = role == "assistant" and _opens_with_thoughts(value)
            return (
                _read_all([{"role": role, "content": value}], at)
                if thinks
                else Said((Message(role=role, content=value),))
            )
        value = found
    if isinstance(value, dict):
        value = _from_columns(value) or [value]
    try:
        turns = msgspec.convert(value, _Turns)
    except (msgspec.ValidationError, OverflowError, RecursionError):
        turns = ()  # the usual list goes at once; any other is looked at below, and it is said what is amiss
    if turns and _are_plain(value, turns):
        return Said(turns)
    return _read_all(read_list(value, at), at)


def looks_like_messages(text: str, at: str = "") -> Any:
    """What a text holds that is no text but messages, as JSON or as Python prints them; None of any other text.

    Raises:
        RowError: if it begins and ends as messages do, and cannot be taken apart, or some of it is none.
    """
    if text[:1] not in _UNUSUAL or not _MESSAGES.match(text) or text.rstrip()[-1:] not in ("]", "}"):
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            if not _ROLE_FIRST.match(text):
                return None
            raise RowError(at, "broken-messages", text) from None
    items = found if isinstance(found, list) else [found]
    speaks = [speaker(item) is not None for item in items]
    if any(speaks) and not all(speaks):
        raise RowError(at, "broken-messages", text)
    return found if speaks and all(speaks) else None


def keep_raw(extra: Row, name: str, value: object) -> None:
    """Keep a column as it came, in the further columns, where its record does not hold all of it.

    Raises:
        RowError: if the row has another column of that name.
    """
    at = f"{name}{_AS_READ}"
    if extra.get(at, value) != value:
        raise RowError(at, "taken-name", extra[at])
    extra[at] = value


def keep_as_read(extra: Row, sides: Mapping[str, Said]) -> None:
    """Put into the further columns what messages held beyond their records: see the module's text.

    Args:
        extra: the record's further columns.
        sides: column → its messages.
    """
    if all(said.raw is None for said in sides.values()):
        return
    form = next((said.form for said in sides.values() if said.form), THOUGHTS)
    if form != THOUGHTS:
        extra[_REASONING_AS] = form
    for name, said in sides.items():
        if said.raw is not None and write_turns(said.turns, form) != _stated(said.raw):
            keep_raw(extra, name, said.raw)


def refuse_media(row: Row) -> None:
    """Refuse a row that comes with images, sound or video beside its messages.

    Raises:
        RowError: that names the column.
    """
    if row.keys().isdisjoint(_MEDIA_COLUMNS):
        return
    for name in _MEDIA_COLUMNS & row.keys():
        if row[name] not in (None, "", [], {}):
            raise RowError(name, "media", row[name])


def _are_plain(items: Any, turns: tuple[Message, ...]) -> bool:
    """Whether messages that have been read are their roles and their texts, and no more."""
    for item in items:
        if len(item) != 2:
            return False
    for turn in turns:
        text = turn.content
        if text[:1] in _UNUSUAL and _opens_with_thoughts(text):
            return False
    return True


def _opens_with_thoughts(text: str) -> bool:
    return text.lstrip().startswith("<think>")


def speaker(item: object) -> str | None:
    """The role, by its standard name, in which a message speaks; None of what is no message."""
    if not isinstance(item, dict):
        return None
    who = item.get("role", item.get("from"))
    if isinstance(who, list) and (rows := _from_columns(item)):
        return speaker(rows[0])
    told = item.keys() & {"content", "value", "tool_calls", "function_call", *_THOUGHT_FIELDS}
    return _ROLES.get(who.lower()) if told and isinstance(who, str) else None


def _from_columns(value: Row) -> list[Row] | None:
    """Messages of an object of lists, as some tools store a list of objects; None of any other object."""
    lists = {name: items for name, items in value.items() if isinstance(items, (list, tuple))}
    who = lists.get("role", lists.get("from"))
    if not who or any(len(items) != len(who) for items in lists.values()):
        return None
    return [{name: items[number] for name, items in lists.items()} for number in range(len(who))]


def _read_all(items: list[Any], at: str) -> Said:
    raw: list[Row] = []
    turns: list[Message] = []
    form = ""
    for index, item in enumerate(items):
        here = f"{at}[{index}]"
        if not isinstance(item, dict):
            raise RowError(here, "wrong-type", item, "a message with role and content is needed")
        names = _SHAREGPT if "role" not in item and not _SHAREGPT_ONLY.isdisjoint(item) else _STANDARD
        renamed = _with_standard_names(item, here, names)
        turn, own = _read_message(renamed, here, names[1])
        raw.append(renamed)
        turns.append(turn)
        form = form or own
    plain = all(len(item) == 2 for item in raw) and not form and _stated(raw) == write_turns(tuple(turns))
    return Said(tuple(turns), None if plain else raw, form)


def _with_standard_names(item: Row, at: str, names: tuple[str, str]) -> Row:
    """A message with ``role`` and ``content``, and the role's standard name.

    Args:
        names: of the columns that hold role and content.
    """
    who = required(item, names[0], f"{at}.")
    role = _ROLES.get(who.lower()) if isinstance(who, str) else None
    if role is None:
        raise RowError(f"{at}.{names[0]}", "unknown-role" if isinstance(who, str) else "wrong-type", who)
    if names != _STANDARD:
        item = {dict(zip(names, _STANDARD, strict=True)).get(name, name): value for name, value in item.items()}
    if who == "function_call" and isinstance(item.get("content"), str):
        calls = _parse(item["content"], f"{at}.{names[1]}", "JSON of a call is needed")
        rest = {name: value for name, value in item.items() if name != "content"}
        calls = calls if isinstance(calls, list) else [calls]
        return rest | {"role": role, "tool_calls": [{"type": "function", "function": call} for call in calls]}
    return item if who == role else item | {"role": role}


def _read_message(item: Row, at: str, said: str) -> tuple[Message, str]:
    """A message out of an object, and the form of its thoughts; ``said`` is the column that held its content."""
    role = item["role"]
    if item.get("audio") is not None:
        raise RowError(f"{at}.audio", "media", item["audio"])
    calls = _read_calls(item, at)
    content, thoughts = _read_content(item.get("content"), role, f"{at}.{said}", needed=not calls)
    form = ""
    for name in _THOUGHT_FIELDS:
        if isinstance(item.get(name), str) and item[name] and not thoughts:
            thoughts, form = item[name], name
    if role == "assistant" and not thoughts and (found := _BLOCK.match(content)):
        thoughts = found[2]
        form = f"{found[1]}{{}}{found[3]}" if thoughts else ""
        content = content[found.end() :]
    known = {name: item[name] for name in ("tool_call_id", "name") if item.get(name) is not None}
    made = {"role": role, "content": content, "reasoning": thoughts, **known}
    return msgspec.structs.replace(read_as(made, Message, at), tool_calls=calls), form


def _read_content(value: object, role: str, at: str, *, needed: bool) -> tuple[str, str]:
    """The text of a content and the thoughts among its parts."""
    if isinstance(value, str):
        return value, ""
    if value is None:
        if needed:
            raise RowError(at, "missing-field")
        return "", ""
    if isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value):
        parts = [_read_part(part, f"{at}[{index}]") for index, part in enumerate(value)]
        return "".join(text for text, _ in parts), "\n\n".join(thought for _, thought in parts if thought)
    if role == "tool" and isinstance(value, (dict, list)):
        return _json(value, at), ""
    raise RowError(at, "wrong-type", value, "a text or a list of parts is needed")


def _read_part(part: Row, at: str) -> tuple[str, str]:
    kind = part["type"]
    if kind in _TEXT_PARTS:
        return read_as(required(part, _TEXT_PARTS[kind], f"{at}."), str, f"{at}.{_TEXT_PARTS[kind]}"), ""
    if kind in _THOUGHT_PARTS:
        name = next((name for name in (kind, "text", "content") if isinstance(part.get(name), str)), kind)
        return "", read_as(required(part, name, f"{at}."), str, f"{at}.{name}")
    media = isinstance(kind, str) and any(word in kind for word in _MEDIA)
    raise RowError(f"{at}.type", "media" if media else "unknown-part", kind)


def _read_calls(item: Row, at: str) -> tuple[ToolCall, ...]:
    """The calls of tools in a message, as OpenAI and Hugging Face write them, or the older single one."""
    older = item.get("function_call")
    calls = [older] if isinstance(older, dict) else item.get("tool_calls") or ()
    if isinstance(calls, str):
        calls = _parse(calls, f"{at}.tool_calls", "a list of calls is needed")
    if not isinstance(calls, (list, tuple)):
        raise RowError(f"{at}.tool_calls", "wrong-type", calls, "a list of calls is needed")
    return tuple(_read_call(call, f"{at}.tool_calls[{index}]") for index, call in enumerate(calls))


def _read_call(call: object, at: str) -> ToolCall:
    if not isinstance(call, dict):
        raise RowError(at, "wrong-type", call, "a call with a name and arguments is needed")
    function = call.get("function")
    named = function if isinstance(function, dict) else call
    return ToolCall(
        name=read_as(required(named, "name", f"{at}."), str, f"{at}.name"),
        arguments=_json(named.get("arguments"), f"{at}.arguments"),
        id=read_as(call.get("id") or "", str, f"{at}.id"),
    )


def _parse(text: str, at: str, needed: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise RowError(at, "wrong-type", text, needed) from None


def _json(value: object, at: str) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RowError(at, "wrong-type", value, str(error)) from None


def _stated(raw: list[Row]) -> list[Row]:
    """Messages without what says nothing."""
    return [{name: value for name, value in item.items() if value is not None and value != []} for item in raw]


def read_source(extra: Row) -> str:
    """Take the column ``source`` out of the further ones, where it is a text or null."""
    if not isinstance(extra.get("source", 0), str | None):
        return ""
    return extra.pop("source") or ""


def write_turns(turns: tuple[Message, ...], reasoning_as: str = THOUGHTS) -> list[Row]:
    """Messages as plain objects, as chat APIs and templates take them.

    Args:
        turns: the messages.
        reasoning_as: how their thoughts are written: the name of a field, or a block with ``{}`` in their place.
    """
    return [chat_turn(turn, reasoning_as) for turn in turns]


def write_sides(sides: Mapping[str, tuple[Message, ...]], extra: Row) -> tuple[dict[str, list[Row]], Row]:
    """Messages of some columns as they were read, and the further columns that are left.

    What ``keep_as_read`` has kept is used where it still says what the messages say, and otherwise stays a further
    column.
    """
    names = [name for name in (_REASONING_AS, *(f"{side}{_AS_READ}" for side in sides)) if name in extra]
    if names:
        kept = {name: extra[name] for name in names}
        form = kept.get(_REASONING_AS, THOUGHTS)
        try:
            rows = {name: kept.get(f"{name}{_AS_READ}") or write_turns(turns, form) for name, turns in sides.items()}
            again = {name: read_messages(row, name, "assistant") for name, row in rows.items()}
        except (RowError, AttributeError, TypeError):
            again, rows = {}, {}
        found: Row = {}
        keep_as_read(found, again)
        same = all(isinstance(rows.get(name), list) and again[name].turns == turns for name, turns in sides.items())
        if same and found == kept:
            return rows, {name: value for name, value in extra.items() if name not in kept}
    return {name: write_turns(turns) for name, turns in sides.items()}, extra


def with_extra(row: Row, extra: Row, reserved: tuple[str, ...] = ()) -> Row:
    """A row with the further columns of its record behind it.

    Args:
        row: the columns of the format.
        extra: further columns.
        reserved: names that a further column must not have, because the format would read it.

    Raises:
        NoPlaceError: if a further column has the name of a column of the format.
    """
    if taken := sorted((row.keys() | set(reserved)) & extra.keys()):
        said = f"the further column '{taken[0]}' has the name of a column of the format; rename it"
        raise NoPlaceError(said, [f"extra.{name}" for name in taken])
    return row | extra
