"""The page of all formats, out of the registry: run ``python -m tests.helpers.format_page`` to write it anew.

What becomes of a column is tried out on the sample of the format: each value of it is changed, and the fields of the
record that change with it are named.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from notus.core.stage import Tally
from notus.formats import families, registry
from notus.formats.format import Format
from notus.formats.quarantine import RowError

Row = dict[str, Any]
Place = tuple[Any, ...]

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
MARK = "another text"
WORDS = (
    *("model_b", "response_b", "B", "response2", "right", "a-is-slightly-better", "B-is-clearly-better", "A>B", "tie"),
    *("no", "yes", "assistant", "system", '["another text"]', "2", "N/A", "another: text2", "discarded"),
)
"""What else a text of a row may be, where any other text is refused."""
HEAD = """# Formats

Every format by name: what its rows become, a sample row, and what becomes of each of its values. This page is written
by `python -m tests.helpers.format_page` out of the formats themselves, and a test keeps it in step.

What `notus formats FILE` finds is the first format that fits, in the order of the families' wishes. A column that a
format does not know goes into `extra` of the record, or of the answer beside it, as it came: nothing is dropped. A
value that cannot be read puts its row aside, with the field and the rule, in `quarantine.jsonl`. A score that is
missing, null or "N/A" costs that score, not the row. Messages may stand as a text, a list, an object or JSON text of
these; `from` and `value` are read as `role` and `content`, and each role is that of its turn.

Not read by any format: images, audio and video (rule `media`); rows that hold a part of a conversation whose other
parts stand in other rows, such as OpenAssistant's flat messages; two texts that begin alike without a marker between
prompt and answer (rule `missing-field`: a [mapping](mapping.md) says which column is the prompt).
"""


def leaves(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The values of a row that are no containers, each with its path."""
    if isinstance(value, dict | list) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*at, key))
    else:
        yield at, value


def read(own: Format, row: Row) -> dict[str, Any] | None:
    """The values of the first record of a row by their paths, or None where it cannot be read."""
    row = json.loads(json.dumps(row))
    try:
        record = own.expand(row, Tally("read"))[0] if own.expand else own.decode(row)
    except RowError:
        return None
    return {named(at): value for at, value in leaves(msgspec.json.decode(msgspec.json.encode(record)))}


def named(at: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).removeprefix(".")


def others(value: Any) -> tuple[Any, ...]:
    """What else a value may be, of the same type."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, (int, float)):
        return (value + 1, value - 1, 1 - value, value + 0.5)
    return (MARK, f"{value} {MARK}", *WORDS) if isinstance(value, str) else (MARK, 1, {"text": MARK, "score": None})


def changed(row: Row, change: dict[Place, Any]) -> Row:
    """A row with other values at some places."""
    row = deepcopy(row)
    for (*path, last), value in change.items():
        place: Any = row
        for key in path:
            place = place[key]
        place[last] = value
    return row


def changes(own: Format, sample: Row, at: Place, value: Any) -> tuple[str, ...]:
    """What becomes of one value: the fields that change with it, there alone or wherever the row repeats it.

    Of several other values, the one that changes least; where none changes anything, what that means in words.
    """
    before = read(own, sample) or {}
    alike = [path for path, each in leaves(sample) if each == value and type(each) is type(value)]
    found: list[list[str]] = []
    swaps = [{path: value, at: each} for path, each in leaves(sample) if type(each) is type(value) and each != value]
    for tried in (
        [{at: other} for other in others(value)],
        [dict.fromkeys(alike, other) for other in others(value)],
        swaps if isinstance(value, int) else [],  # of several columns, one of which must be 1
    ):
        for change in tried:
            after = read(own, changed(sample, change))
            if after is not None:
                found.append(sorted(name for name in before.keys() | after if before.get(name) != after.get(name)))
        if least := min(filter(None, found), key=len, default=None):
            return tuple(f"`{field}`" for field in dict.fromkeys(map(shorten, least)))
    return ("says nothing that is kept",) if found else ("must be what it is: another value is refused",)


def table(own: Format) -> dict[str, list[str]]:
    """Value of a row → what becomes of it, with all entries of a list as one."""
    sample = json.loads(json.dumps(own.sample))
    found: dict[str, list[str]] = {}
    for at, value in leaves(sample):
        if value not in ([], {}) and at[-1] not in ("role", "from"):
            fields = found.setdefault(re.sub(r"\[\d+\]", "[]", named(at)), [])
            fields += [field for field in changes(own, sample, at, value) if field not in fields]
    return found


def shorten(field: str) -> str:
    """A field without the numbers of entries; of what is in ``extra``, the column; of a ranking, the ranking."""
    kept = re.match(r"(?:.*?\.)?extra\.[^.\[]+|rankings\[\d+\]\.ranks", field)
    return re.sub(r"\[\d+\]", "[]", kept[0] if kept else field)


def section(own: Format) -> str:
    kind = own.record.__name__ if own.record else ""
    about = [f"A `{kind}`."]
    about += ["A row may hold several of them."] if own.expand else []
    about += ["Rows of one prompt are one record, wherever they stand."] if own.key else []
    about += ["Never found by itself, only named."] if own.matches is None else []
    about += ["It can be written too."] if own.encode else []
    rows = [f"| `{column}` | {', '.join(fields)} |" for column, fields in table(own).items()]
    sample = json.dumps(own.sample, ensure_ascii=False)
    lines = [f"### {own.name}", "", " ".join(about), "", "```json", sample, "```", ""]
    return "\n".join([*lines, "| in the row | in the record |", "|---|---|", *rows, ""])


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    modules = [
        importlib.import_module(f"{families.__name__}.{each.name}") for each in pkgutil.iter_modules(families.__path__)
    ]
    for module in modules:
        title, *text = str(module.__doc__).strip().split("\n")
        parts.append(
            f"## {title.rstrip('.:').replace('``', '`')}\n" + "\n".join(text).replace("``", "`").rstrip() + "\n"
        )
        parts += [section(each) for each in module.FORMATS]
    parts.append("## Our own records\n\nAs every run writes them: exactly the fields of `notus.core.records`.\n")
    parts += [section(each) for each in registry.OWN.values()]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
