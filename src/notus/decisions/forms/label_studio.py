"""Label Studio: tasks to import with the labelling interface beside them, and what was annotated there.

    FILE.json   a task each: ``data`` with the texts, the id and the key; nothing is predicted
    FILE.xml    the interface, for Settings → Labeling Interface → Code

Read back are the exports JSON (a task with its ``annotations``) and JSON_MIN (a row an annotation). Each annotation is
the decision of who completed it: a number, or an address where the export has one. What was skipped
(``was_cancelled``) is counted and not taken; drafts are not exported.

https://labelstud.io/guide/task_format, https://labelstud.io/tags/choices, https://labelstud.io/guide/export
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from notus.core.run import atomic, write_json
from notus.decisions.forms.answers import Answer
from notus.decisions.forms.item import ALL_TEXTS, Item, encode_key, target_text
from notus.decisions.forms.rows import NEW, asked_of, row_of, shown_of, texts_of, verdicts_of
from notus.formats.format import Row

__all__ = ["is_annotation", "is_task", "read_annotation", "read_task", "write_label_studio"]

_HOTKEYS = {"keep": "k", "drop": "d", "swap": "s", "cannot-tell": "c"}
_ASIDE = "skipped"
_RECORD = "record"
"""Where the id goes: JSON_MIN has the number of the task under ``id``."""


def write_label_studio(items: Sequence[Item], path: Path) -> Path:
    """Write items as tasks, and the interface beside them; where that lies.

    Raises:
        DataError: if one of the two cannot be written.
    """
    write_json(path, [{"data": _data(item, items)} for item in items])
    beside = path.with_suffix(".xml")
    with atomic(beside) as file:
        file.write(_interface(items))
    return beside


def _data(item: Item, items: Sequence[Item]) -> dict[str, Any]:
    """The data of a task; each column is there, since the interface names it."""
    shown = {name: text or "" for name, text in row_of(item, shown_of(items)).items()}
    place = {"source": item.source, "file": item.file, "line": item.line}
    return {_RECORD: target_text(item), **shown, **place, "key": encode_key(item)}


def _interface(items: Sequence[Item]) -> str:
    """The labelling interface; it holds names of columns, and no text of the data."""
    lines = ["<View>"]
    for name in shown_of(items):
        lines.append(f'  <Header value={quoteattr(name.replace("_", " "))} size="5"/>')
        lines.append(f'  <Text name="{name}" value="${name}" valueType="text"/>')
    of = texts_of(items)[0]
    lines.append(f'  <Choices name="decision" toName="{of}" choice="single-radio" showInline="true">')
    lines += [f'    <Choice value="{name}" hotkey="{_HOTKEYS[name]}"/>' for name in verdicts_of(items)]
    lines.append("  </Choices>")
    for name in asked_of(items):
        to = name.removeprefix(NEW) if name.startswith(NEW) else of
        lines.append(f'  <Header value={quoteattr(name.replace("_", " "))} size="5"/>')
        lines.append(f'  <TextArea name="{name}" toName="{to}" rows="2" maxSubmissions="1" editable="true"/>')
    return "\n".join([*lines, "</View>", ""])


def is_task(row: Row) -> bool:
    """Whether a row is a task."""
    return isinstance(row.get("data"), dict)


def is_annotation(row: Row) -> bool:
    """Whether a row is an annotation of JSON_MIN."""
    return {"annotator", "annotation_id"} <= row.keys()


def read_task(row: Row, where: str, aside: Counter[str]) -> Iterator[Answer | str]:
    """What people decided on a task; where nobody did, one answer that is empty.

    Args:
        row: the task.
        where: it stands, for messages.
        aside: counts what was skipped.
    """
    annotations = row.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        yield f"{where}: 'annotations' is no list of objects; export the tasks as JSON"
        return
    handed_in = 0
    for each in annotations:
        if each.get("was_cancelled"):
            aside[_ASIDE] += 1
            continue
        handed_in += 1
        values: dict[str, Any] = {}
        for result in each.get("result") or []:
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                values[str(result.get("from_name"))] = _value(result["value"])
        when = each.get("updated_at") or each.get("created_at")
        yield _answer(row["data"], values, where, _person(each.get("completed_by")), when)
    if not handed_in:
        yield _answer(row["data"], {}, where)


def read_annotation(row: Row, where: str) -> Iterator[Answer | str]:
    """What one person decided, in a row of JSON_MIN."""
    values = {name: _value(value) for name, value in row.items()}
    yield _answer(row, values, where, _person(row.get("annotator")), row.get("updated_at") or row.get("created_at"))


def _answer(data: Row, values: Row, where: str, who: str = "", when: object = None) -> Answer | str:
    """One person's annotation, with the data that it is on."""
    asked = {name: value for name, value in values.items() if name in ("decision", "score", "why") or _is_new(name)}
    given = {name: value for name, value in asked.items() if value is not None}
    if other := next((name for name, value in given.items() if not isinstance(value, str | int | float)), None):
        return f"{where}: the annotation of '{other}' is no text and no number"
    target, key, reasons = (_text(data.get(name)) for name in (_RECORD, "key", "reasons"))
    return Answer(
        where=where,
        target=target,
        key=key,
        who=who,
        when=_text(when),
        decision=str(given.get("decision", "")),
        score=given.get("score"),
        why=str(given.get("why", "")),
        edits={name.removeprefix(NEW): str(text) for name, text in given.items() if _is_new(name)},
        texts={name: data[name] for name in ALL_TEXTS if isinstance(data.get(name), str)},
        reasons=tuple(reasons.split(", ")) if reasons else (),
    )


def _is_new(name: str) -> bool:
    return name.startswith(NEW)


def _value(value: Any) -> Any:
    """What a control holds: the one choice, the number, the text; several texts as lines of one."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("choices", "number", "rating", "text") if name in value), None)
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return "\n".join(value)
    return value


def _person(value: Any) -> str:
    """Who annotated: a number, or an object with an address."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
