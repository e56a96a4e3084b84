"""Argilla: a folder that ``rg.Dataset.from_disk`` reads, and the records that people have answered there.

    FOLDER/.argilla/dataset.json    name, guidelines
    FOLDER/.argilla/settings.json   fields (the texts), questions (decision, score, why, new_…), metadata
    FOLDER/records.json             a record each: id, fields, metadata; nothing is suggested

Read back are ``Dataset.to_disk`` (the same folder), ``records.to_json``, and ``records.to_list(flatten=True)``, also as
Parquet by ``to_datasets``: each response is a decision of its user. The first two do not say whether a response was
submitted, or is a draft or discarded; so of records that are not ``completed`` nothing is taken, and counted. The flat
form says it of each. Users are known by their ids.

The shapes are those of argilla 2.8.0, its last release (https://docs.argilla.io/latest/how_to_guides/import_export/).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from notus.core.errors import DataError
from notus.core.run import write_json
from notus.decisions.forms.answers import Answer
from notus.decisions.forms.item import ALL_TEXTS, Item, encode_key, target_text
from notus.decisions.forms.rows import NEW, asked_of, row_of, shown_of, verdicts_of

__all__ = ["RECORDS", "is_flat", "is_nested", "read_flat", "read_nested", "write_argilla"]

RECORDS = "records.json"
_ASIDE = {"draft": "drafts", "discarded": "discarded"}
_PENDING = "responses of records that are not completed (a flat export says which were submitted)"
_GUIDE = (
    "Decide on each record: keep it, drop it, or say that you cannot tell; of a pair, swap it where the rejected "
    "answer is the better one. Where the score is wrong, write the one that the answer should have, or none. Where a "
    "text is wrong, write another under new_…; leave it empty otherwise."
)


def write_argilla(items: Sequence[Item], folder: Path) -> None:
    """Write items as a data set that Argilla reads.

    Raises:
        DataError: if the folder is not a new or an empty one, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"{folder} is not empty; name another folder for --out")
        (folder / ".argilla").mkdir()
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}; name another folder for --out") from None
    distribution = {"strategy": "overlap", "min_submitted": 1}
    about = {"name": "decisions", "guidelines": _GUIDE, "allow_extra_metadata": True, "distribution": distribution}
    write_json(folder / ".argilla" / "dataset.json", about | {"status": "draft"})
    settings = {name: value for name, value in about.items() if name != "name"}
    settings |= {"fields": _fields(items), "questions": _questions(items), "metadata": _metadata(), "vectors": []}
    write_json(folder / ".argilla" / "settings.json", settings)
    write_json(folder / RECORDS, [_record(item, shown_of(items)) for item in items])


def _fields(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "title": name.replace("_", " "),
            "required": name == "prompt",
            "settings": {"type": "text", "use_markdown": False},
        }
        for name in shown_of(items)
    ]


def _questions(items: Sequence[Item]) -> list[dict[str, Any]]:
    options = [{"value": name, "text": name, "description": None} for name in verdicts_of(items)]
    found = [
        {
            "name": "decision",
            "title": "Decision",
            "required": True,
            "settings": {"type": "label_selection", "options": options, "visible_options": len(options)},
        }
    ]
    return found + [
        {
            "name": name,
            "title": name.replace("_", " ").capitalize(),
            "required": False,
            "settings": {"type": "text", "use_markdown": False},
        }
        for name in asked_of(items)
    ]


def _metadata() -> list[dict[str, Any]]:
    settings = {"type": "terms", "values": None, "visible_for_annotators": True}
    return [
        {"name": name, "title": name, "visible_for_annotators": True, "settings": settings}
        for name in ("reason", "source")
    ]


def _record(item: Item, shown: Sequence[str]) -> dict[str, Any]:
    fields = row_of(item, shown)
    metadata: dict[str, Any] = {"key": encode_key(item), "file": item.file, "line": item.line}
    metadata |= {"reason": list(item.reasons)} if item.reasons else {}
    metadata |= {"source": item.source} if item.source else {}
    return {
        "id": target_text(item),
        "fields": {name: text or "" for name, text in fields.items() if text or name == "prompt"},
        "metadata": metadata,
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def is_nested(row: Mapping[str, Any]) -> bool:
    """Whether a row is a record with fields and responses."""
    return isinstance(row.get("fields"), dict) and "responses" in row


def is_flat(row: Mapping[str, Any]) -> bool:
    """Whether a row is a record whose questions are columns."""
    return "_server_id" in row or any(name.endswith(".responses") for name in row)


def read_nested(row: Mapping[str, Any], where: str, aside: Counter[str]) -> Iterator[Answer | str]:
    """What people decided on a record; where nobody did, one answer that is empty.

    Args:
        row: the record.
        where: it stands, for messages.
        aside: counts what was not handed in.
    """
    responses = row.get("responses") or {}
    said: dict[str, dict[str, Any]] = {}
    for question, given in responses.items():
        for each in given if isinstance(given, list) else ():
            if isinstance(each, dict):
                user = said.setdefault(str(each.get("user_id") or ""), {"status": each.get("status")})
                user[question] = each.get("value")
    if row.get("status") == "pending" and any(of["status"] is None for of in said.values()):
        aside[_PENDING] += len(said)
        said = {}
    metadata = row.get("metadata")
    key = (metadata if isinstance(metadata, dict) else {}).get("key")
    yield from _answers(row.get("id"), key, row["fields"], said, where, aside)


def read_flat(row: Mapping[str, Any], where: str, aside: Counter[str]) -> Iterator[Answer | str]:
    """The same of a record whose questions are columns."""
    said: dict[str, dict[str, Any]] = {}
    for name, values in row.items():
        question, _, end = name.rpartition(".")
        if end != "responses" or not values:
            continue
        users, statuses = (row.get(f"{name}.{what}") for what in ("users", "status"))
        users = [""] * len(values) if users is None else users
        statuses = [None] * len(values) if statuses is None else statuses
        if not len(values) == len(users) == len(statuses):
            yield f"{where}: {name} has {len(values)} values of {len(users)} users; export the records again"
            return
        for value, user, status in zip(values, users, statuses, strict=True):
            said.setdefault(str(user or ""), {"status": status})[question] = value
    yield from _answers(row.get("id"), row.get("key"), row, said, where, aside)


def _answers(
    target: object, key: object, fields: Mapping[str, Any], said: dict[str, Any], where: str, aside: Counter[str]
) -> Iterator[Answer | str]:
    """One answer for each user who handed one in, or an empty one."""
    handed_in = 0
    reasons = fields.get("reasons")
    shown = Answer(
        where=where,
        target=target if isinstance(target, str) else "",
        key=key if isinstance(key, str) else "",
        texts={name: fields[name] for name in ALL_TEXTS if isinstance(fields.get(name), str)},
        reasons=tuple(reasons.split(", ")) if isinstance(reasons, str) and reasons else (),
    )
    for user, values in said.items():
        if (status := values["status"]) in _ASIDE:
            aside[_ASIDE[status]] += 1
            continue
        handed_in += 1
        texts = {name: value for name, value in values.items() if name != "status" and value is not None}
        if other := next((name for name, value in texts.items() if not isinstance(value, str | int | float)), None):
            yield f"{where}: the response to '{other}' is no text and no number"
            continue
        yield replace(
            shown,
            who=user,
            decision=str(texts.get("decision", "")),
            score=texts.get("score"),
            why=str(texts.get("why", "")),
            edits={name.removeprefix(NEW): str(text) for name, text in texts.items() if name.startswith(NEW)},
        )
    if not handed_in:
        yield shown
