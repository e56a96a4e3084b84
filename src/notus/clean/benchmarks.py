"""Items of benchmarks, read from the files in which they are published, and from plain files of one's own.

Known by their fields are TruthfulQA (both forms), GSM8K, MMLU, ARC, AlpacaEval (outputs and annotations) and MT-Bench
(both turns are items); any other JSON, JSON lines or CSV file needs a column ``question``, ``instruction``, ``prompt``,
``query``, ``text`` or ``turns``, and a text file holds one item in each line. Files may be packed with gzip.

Owns the reading of items. What is compared with them is the business of ``clean.contamination``.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.clean.words import words_of
from notus.core.errors import DataError
from notus.formats.files.packed import read_unpacked
from notus.formats.quarantine import load_json

__all__ = ["BenchmarkItem", "read_benchmarks", "read_item_texts", "read_plain_rows"]

Row = dict[str, Any]

_TEXTS = ("question", "Question", "instruction", "prompt", "query", "text", "turns")
_SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".txt")
_KNOWN = (
    ("truthfulqa", {"question", "mc1_targets"}),
    ("truthfulqa", {"Question", "Best Answer", "Category"}),
    ("mt_bench", {"question_id", "category", "turns"}),
    ("mmlu", {"question", "subject", "choices"}),
    ("arc", {"query", "choices", "gold"}),
    ("alpaca_eval", {"instruction", "output", "dataset"}),
    ("alpaca_eval", {"instruction", "output_1", "output_2"}),
)
_LEAD = "Question:"
_GZIP = b"\x1f\x8b"
"""What ARC's questions begin with, and no prompt that holds one must."""


@dataclass(frozen=True)
class BenchmarkItem:
    """One item of a benchmark: mostly a question."""

    benchmark: str
    """Its name where the file is known, otherwise the name of the file."""
    name: str
    """Number of its row, from 0; with the turn behind it where it has several."""
    text: str


class _NoItemsError(DataError):
    """A file that can be read, and holds no questions."""


def read_benchmarks(paths: Iterable[Path], skipped: dict[Path, str] | None = None) -> list[BenchmarkItem]:
    """The items of files and of folders of such files; what stands in two of them counts once.

    A file that is named must hold questions. In a folder, files that hold none are skipped, if some others do.

    Args:
        paths: of the files and folders.
        skipped: takes the files that were skipped, each with the reason.

    Raises:
        DataError: if a file cannot be read; if one that is named, or all of a folder, hold no question.
    """
    items: dict[tuple[bytes, ...], BenchmarkItem] = {}
    for path in paths:
        for item in _read_items(path) if not path.is_dir() else _read_folder(path, {} if skipped is None else skipped):
            items.setdefault(tuple(words_of(item.text)), item)
    return list(items.values())


def read_item_texts(path: Path) -> list[str]:
    """The texts of the items of a file, or a folder of files, as they stand there, repeated ones too.

    Raises:
        DataError: if a file cannot be read or holds no question; in a folder too, where each data file must hold some.
    """
    return [item.text for file in _list_files(path) for item in _read_items(file)]


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.name.removesuffix(".gz").endswith(_SUFFIXES))
    if not found:
        raise DataError(f"{path} holds no file of questions; files ending in {', '.join(_SUFFIXES)} are read")
    return found


def _read_folder(folder: Path, skipped: dict[Path, str]) -> list[BenchmarkItem]:
    found: list[BenchmarkItem] = []
    reasons: dict[Path, str] = {}
    for file in _list_files(folder):
        try:
            found += _read_items(file)
        except _NoItemsError as error:
            reasons[file] = str(error)
    if not found:
        raise DataError(f"no file in {folder} holds questions; the first says: {next(iter(reasons.values()))}")
    skipped |= reasons
    return found


def _read_items(path: Path) -> list[BenchmarkItem]:
    found: list[BenchmarkItem] = []
    for number, row in enumerate(read_plain_rows(path)):
        name = next((name for name, fields in _KNOWN if fields <= row.keys()), None) or _name_of(path, row)
        texts = [text for key in _TEXTS if key in row for text in _read_texts(row[key])]
        for turn, text in enumerate(texts if "turns" in row else texts[:1]):
            place = f"{number}/{turn + 1}" if "turns" in row else str(number)
            if words_of(text):
                found.append(BenchmarkItem(name, place, text.strip().removeprefix(_LEAD).strip()))
    if not found:
        raise _NoItemsError(f"{path} holds no question; a column of {', '.join(_TEXTS)}, or lines of text, are needed")
    return found


def _name_of(path: Path, row: Row) -> str:
    if set(row) == {"question", "answer"} and "####" in str(row["answer"]):
        return "gsm8k"
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def _read_texts(value: object) -> list[str]:
    """The texts of a cell: one, or those of the user's turns."""
    if isinstance(value, str):
        return [value]
    turns = value if isinstance(value, list) else []
    said = [turn["content"] for turn in turns if isinstance(turn, dict) and turn.get("role", "user") == "user"]
    return [text for text in (*said, *turns) if isinstance(text, str)]


def read_plain_rows(path: Path) -> Iterator[Row]:
    """The rows of a file as they are, lines of a text file as rows with one column ``text``.

    Raises:
        DataError: if the file cannot be read, or holds no table.
    """
    name = path.name.removesuffix(".gz")
    try:
        text = _unpacked(path).decode("utf-8-sig")
        if name.endswith(".csv"):
            yield from csv.DictReader(io.StringIO(text, newline=""))
        elif name.endswith((".json", ".jsonl", ".ndjson")):
            yield from _read_objects(text, path)
        else:
            yield from ({"text": line} for line in text.split("\n") if line.strip())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise _NoItemsError(f"{path} holds no table of questions: {error}") from None


def _unpacked(path: Path) -> bytes:
    """The bytes of a file. What is damaged is no file without questions, which a folder may hold."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    if path.name.endswith(".gz") and not packed:
        raise DataError(
            f"cannot read {path}: it is not packed with gzip, as its name says; rename it, or pack it again"
        )
    return read_unpacked(path)


def _read_objects(text: str, path: Path) -> Iterator[Row]:
    """The rows of a JSON list, or of JSON lines."""
    whole = text.lstrip().startswith("[")
    if text.lstrip().partition("\n")[0].strip() == "{":
        raise _NoItemsError(
            f"{path} holds one JSON object, and no table of questions; name the files that hold questions"
        )
    read = [load_json(text)] if whole else (load_json(line) for line in text.split("\n") if line.strip())
    rows = ((row, repeated) for found, repeated in read for row in (found if whole else [found]))
    for number, (row, repeated) in enumerate(rows, 1):
        if repeated:
            where = "an object of it" if whole else f"row {number}"
            raise DataError(
                f"{path}: {where} names a key twice, and a question may be lost by it; remove one of the two"
            )
        if not isinstance(row, dict):
            raise _NoItemsError(f"{path} holds no table of questions: row {number} is no object with named fields")
        yield row
