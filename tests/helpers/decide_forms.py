"""Filling in the forms of decisions as their tools do it, and what must come back: worked out from the texts alone.

Who decides reads the texts that the form shows, and nothing else; so a decision that lands on another row is known.
"""

import csv
import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from notus.core.records import Feedback, Preference
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.paths import SHARED

FEEDBACK = SHARED / "data" / "feedback" / "four_models_80.jsonl"
PAIRS = SHARED / "data" / "ultrafeedback" / "binarized_1000.jsonl"
USER = "5b0f3a52-0f7a-4a62-9d6c-0f5c3c8f3a10"
"""As Argilla names a person."""
Filler = Callable[[Path, Path], Path]
"""Fills in a form; the second is a folder for what is exported; where that lies."""


def lot(texts: dict[str, str]) -> int:
    """A number from 0 to 6 that the texts of a record decide; line ends are those of no system."""
    plain = "\0".join(f"{name}={' '.join(text.split())}" for name, text in sorted(texts.items()))
    return hashlib.md5(plain.encode("utf-8", "replace")).digest()[0] % 7


def decide(texts: dict[str, str]) -> dict[str, str]:
    """What somebody fills in who sees these texts; nothing for a seventh of them."""
    number, last = lot(texts), "rejected" if "rejected" in texts else "answer"
    scored = "chosen" not in texts
    return (
        {},
        {"decision": "keep"},
        {"decision": "drop", "why": '=HYPERLINK("x") says it; row 007'},
        {"decision": "cannot-tell"},
        {"score": "7.5"} if scored else {"decision": "swap"},
        {f"new_{last}": f"-1 is\nbetter: 1e5 {number} ü"},
        {"why": "@look again"},
    )[number]


@cache
def expected(path: Path) -> dict[str, tuple[str, ...]]:
    """Id → what must be decided on it, from the records themselves."""
    found = {}
    for id_, of, texts in _shown(path):
        filled = decide(texts)
        if filled:
            found[id_] = tuple(sorted(_meant(of, filled)))
    return found


def _meant(of: str, filled: dict[str, str]) -> Iterator[str]:
    why = filled.get("why", "")
    if "decision" in filled:
        yield f"{of} {filled['decision']} None {why!r}"
    if "score" in filled:
        yield f"{of} set-score {float(filled['score'])!r} {why!r}"
    for name, text in filled.items():
        if name.startswith("new_"):
            yield f"{of} edit {text!r} {why!r}"
    if filled.keys() == {"why"}:
        yield f"{of} note None {why!r}"


def made(rulings) -> dict[str, tuple[str, ...]]:
    """The same of rulings."""
    found: dict[str, list[str]] = {}
    for each in rulings:
        found.setdefault(each.target, []).append(f"{each.of} {each.what} {each.value!r} {each.why!r}")
    return {id_: tuple(sorted(said)) for id_, said in found.items()}


def _shown(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    for record in open_source(str(path)).records(Tally("read"), Quarantine()):
        if isinstance(record, Feedback):
            for index, item in enumerate(record.completions):
                texts = {"prompt": record.prompt[-1].content, "answer": item.text}
                yield record.completion_id(index), "completion", texts
        elif isinstance(record, Preference):
            turns = {"prompt": record.prompt, "chosen": record.chosen, "rejected": record.rejected}
            yield record.id, "pair", {name: of[-1].content for name, of in turns.items()}


def texts_in(row: dict[str, Any]) -> dict[str, str]:
    """The texts that a row shows."""
    return {name: row.get(name) or "" for name in ("prompt", "answer", "chosen", "rejected") if name in row}


def fill_xlsx(path: Path, folder: Path) -> Path:
    """In a workbook, its rows sorted by a text, as with Excel or LibreOffice."""
    import openpyxl

    book = openpyxl.load_workbook(path)
    sheet = book["decisions"]
    names, *rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    random.Random(1).shuffle(rows)
    for at, cells in enumerate(rows, 2):
        row = dict(zip(names, cells, strict=True))
        filled = decide(texts_in(row))
        for number, name in enumerate(names, 1):
            cell = sheet.cell(at, number)
            cell.value = filled.get(name, row[name])
            if isinstance(cell.value, str):
                cell.data_type = "s"  # a cell of the format of texts: what is typed there is one
        if "score" in filled:
            sheet.cell(at, names.index("score") + 1).value = float(filled["score"])
    book.save(folder / "filled.xlsx")
    return folder / "filled.xlsx"


def fill_csv(path: Path, folder: Path) -> Path:
    """In a CSV, saved with semicolons as Excel does in much of Europe; what is typed has no apostrophe."""
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    with (folder / "filled.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        for row in rows[::-1]:
            bare = {
                name: text[1:] if text[:1] == "'" and text[1:2] in "=+-@\t\r" else text for name, text in row.items()
            }
            writer.writerow(row | decide(texts_in(bare)))
    return folder / "filled.csv"


def fill_jsonl(path: Path, folder: Path) -> Path:
    """In JSON lines."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    filled = [json.dumps(row | decide(texts_in(row))) for row in lines[::-1]]
    (folder / "filled.jsonl").write_text("\n".join(filled) + "\n")
    return folder / "filled.jsonl"


def fill_argilla(path: Path, folder: Path) -> Path:
    """As ``Dataset.to_disk`` writes it: no status of a response, one of the record."""
    shutil.copytree(path, folder / "disk")
    records = json.loads((path / "records.json").read_text())
    for record in records:
        filled = decide(texts_in(record["fields"]))
        record["responses"] = {name: [{"value": text, "user_id": USER}] for name, text in filled.items()}
        record |= {"status": "completed" if filled else "pending", "_server_id": hashlib.md5(b"").hexdigest()}
    (folder / "disk" / "records.json").write_text(json.dumps(records))
    return folder / "disk"


def fill_argilla_flat(path: Path, folder: Path) -> Path:
    """As ``records.to_list(flatten=True)`` gives it: a column a question, a status a response, nulls for the others."""
    rows = []
    for record in json.loads((path / "records.json").read_text()):
        filled = decide(texts_in(record["fields"]))
        row = {"id": record["id"], "status": "pending", "_server_id": "1", **record["fields"], **record["metadata"]}
        for name, text in filled.items():
            row |= {f"{name}.responses": [text], f"{name}.responses.users": [USER]}
            row |= {f"{name}.responses.status": ["submitted"]}
        rows.append(row)
    names = {name for row in rows for name in row}
    filled_rows = [row | dict.fromkeys(names - row.keys()) for row in rows]
    (folder / "flat.json").write_text(json.dumps(filled_rows))
    return folder / "flat.json"


def fill_label_studio(path: Path, folder: Path) -> Path:
    """As Label Studio exports JSON: a task with its annotations."""
    tasks = json.loads(path.read_text())
    random.Random(2).shuffle(tasks)
    for number, task in enumerate(tasks, 1):
        filled = decide(texts_in(task["data"]))
        result = [_result(name, text) for name, text in filled.items()]
        about = {"completed_by": 4, "was_cancelled": False, "created_at": "2026-11-30T10:00:00.5Z", "lead_time": 3.2}
        annotations = [{"id": 70 + number, "result": result, **about}] if filled else []
        task |= {"id": number, "annotations": annotations, "drafts": [], "predictions": [], "project": 1}
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder / "export.json"


def _result(name: str, text: str) -> dict[str, Any]:
    if name == "decision":
        return {"from_name": name, "to_name": "prompt", "type": "choices", "value": {"choices": [text]}}
    return {"from_name": name, "to_name": "prompt", "type": "textarea", "value": {"text": [text]}, "id": "x1"}


def fill_label_studio_min(path: Path, folder: Path) -> Path:
    """As Label Studio exports JSON_MIN: a row an annotation, ``id`` the number of the task."""
    rows = []
    for number, task in enumerate(json.loads(path.read_text()), 1):
        filled = decide(texts_in(task["data"]))
        if filled:
            row = {**task["data"], "id": number, **filled, "annotator": 4, "annotation_id": 70 + number}
            rows.append(row | {"created_at": "2026-11-30T10:00:00.5Z", "lead_time": 3.2})
    (folder / "min.json").write_text(json.dumps(rows))
    return folder / "min.json"


FILLERS: dict[str, tuple[str, str, Filler, str]] = {
    "xlsx": ("xlsx", "queue.xlsx", fill_xlsx, "ana"),
    "csv": ("csv", "queue.csv", fill_csv, "ana"),
    "jsonl": ("jsonl", "queue.jsonl", fill_jsonl, "ana"),
    "argilla": ("argilla", "argilla", fill_argilla, USER),
    "argilla, flat": ("argilla", "argilla", fill_argilla_flat, USER),
    "label-studio": ("label-studio", "tasks.json", fill_label_studio, "4"),
    "label-studio, min": ("label-studio", "tasks.json", fill_label_studio_min, "4"),
}
"""Name → the form, its file, how it is filled in, and who has then decided; the page is filled in by a browser."""
