"""Upstream AlpacaEval's files, both ways: model_outputs.json, annotations.json, leaderboard, difficulties, weights.

Owns their form. JSON files may be packed (``.gz``). What a field means is the business of ``score`` and
``evaluate.length.alpaca``. Formats: https://github.com/tatsu-lab/alpaca_eval.
"""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from notus.core.errors import DataError, nearest
from notus.core.records import Record, digest
from notus.core.run import atomic
from notus.core.text import guard_formula, read_guarded
from notus.evaluate.alpaca.score import Judgement, read_preference
from notus.formats.files.packed import read_unpacked
from notus.formats.quarantine import REPEATED, RowReader, load_json

__all__ = [
    "CANONICAL",
    "Answer",
    "read_annotations",
    "read_difficulties",
    "read_instructions",
    "read_leaderboard",
    "read_outputs",
    "read_weights",
    "write_annotations",
    "write_leaderboard",
    "write_outputs",
]

CANONICAL = "78773ef34096f5d4"
"""Hash of the 805 instructions of AlpacaEval in upstream's order, which the rows of its difficulties follow."""
_WEIGHTS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")
_RATES = (
    "win_rate",
    "standard_error",
    "n_wins",
    "n_wins_base",
    "n_draws",
    "n_total",
    "discrete_win_rate",
    "length_controlled_winrate",
    "lc_standard_error",
    "avg_length",
)
"""Columns of a leaderboard that are numbers."""


class Answer(Record, frozen=True):
    """What a model answered to one instruction: a row of model_outputs.json."""

    instruction: str
    output: str | None
    """None where it gave none."""
    generator: str
    dataset: str = ""


def read_outputs(path: Path, reader: RowReader | None = None) -> list[Answer]:
    """Read model_outputs.json: a list of ``{instruction, output, generator}``; other fields are left aside.

    Args:
        path: the file, packed or not.
        reader: counts the rows and puts bad ones aside, one whose instruction stands there already among them; without
            it a bad row is an error.

    Raises:
        DataError: if the file cannot be read; or if a row lacks a field, or an instruction stands twice, and nothing
            takes it.
    """
    seen: set[str] = set()

    def read(row: Mapping[str, Any]) -> Answer:
        output, asked = row.get("output"), row.get("instruction")
        if not isinstance(asked, str) or not (output is None or isinstance(output, str)):
            raise DataError("a row of outputs needs the texts 'instruction' and 'output'")
        if asked in seen:
            raise DataError("the instruction stands twice; each is answered once")
        seen.add(asked)
        generator, dataset = str(row.get("generator") or path.stem), str(row.get("dataset") or "")
        return Answer(instruction=asked, output=output, generator=generator, dataset=dataset)

    rows = enumerate(_rows(path, salvage=False, reader=reader), start=1)
    return [answer for _, answer in (reader or RowReader()).read(path, rows, read)]


def read_instructions(path: Path) -> list[str]:
    """The instructions of any of upstream's JSON files, in their order.

    Raises:
        DataError: if the file cannot be read, or a row has no instruction.
    """
    found = [row.get("instruction") for row in _rows(path, salvage=False)]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(found):
        raise DataError(f"{path}: {len(found) - len(texts):,} rows have no text 'instruction'")
    return texts


def write_outputs(path: Path, answers: Iterable[Answer]) -> None:
    """Write model_outputs.json. An answer that is not there is null."""
    rows = [
        {"dataset": a.dataset, "instruction": a.instruction, "output": a.output, "generator": a.generator}
        for a in answers
    ]
    _write_json(path, rows)


def read_annotations(
    path: Path, *, model: str | None = None, salvage: bool = False, reader: RowReader | None = None
) -> list[Judgement]:
    """Read annotations.json.

    Args:
        path: the file, packed or not.
        model: takes only the judgements of this one, where the file holds several.
        salvage: of a file that is cut off, take the rows that are whole; otherwise it is an error.
        reader: counts the rows and puts bad ones aside; without it a bad row is an error.

    Raises:
        DataError: if the file cannot be read, a row lacks a field, or there is no such model.
    """
    rows = enumerate(_rows(path, salvage=salvage, reader=reader), start=1)
    read = (reader or RowReader()).read(path, rows, _judgement)
    found = [structs.replace(item, file=path.name, line=number) for number, item in read]
    if model is None:
        return found
    kept = [item for item in found if item.model == model]
    if not kept:
        raise DataError(f"{path} holds no judgement of '{model}'; {nearest(model, {item.model for item in found})}")
    return kept


def write_annotations(path: Path, judgements: Iterable[Judgement]) -> None:
    """Write annotations.json as upstream reads it; ``unscored`` and ``reason`` stand beside a null preference."""
    rows = []
    for item in judgements:
        row: dict[str, Any] = {
            "instruction": item.instruction,
            "output_1": item.reference_output,
            "generator_1": item.reference,
            "dataset": item.dataset,
            "output_2": item.output,
            "generator_2": item.model,
            "annotator": item.annotator,
            "preference": item.preference,
            "raw_completion": item.raw,
            "price_per_example": item.price,
            "time_per_example": item.seconds,
        }
        rows.append(row if item.preference is not None else row | {"unscored": item.unscored, "reason": item.reason})
    _write_json(path, rows)


def read_leaderboard(path: Path) -> dict[str, dict[str, str]]:
    """Read a leaderboard: model → its row, as text. Columns of other versions are kept.

    Raises:
        DataError: if it is no such table, or a rate in it is no number.
    """
    rows = _table(path)
    for column, what in (
        ("win_rate", "column 'win_rate'"),
        ("", "first column without a name, which holds the models"),
    ):
        if rows and column not in rows[0]:
            raise DataError(f"{path} is no leaderboard: it has no {what}")
    for row in rows:
        for column in _RATES:
            if row.get(column):  # a model that was never scored has an empty place
                _number(path, row[column])
    rows = [{read_guarded(name): read_guarded(cell) for name, cell in row.items()} for row in rows]
    return {row[""]: row for row in rows}


def write_leaderboard(path: Path, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Write a leaderboard, the highest win rate first; columns are those of all rows, in order of appearance.

    A text that a spreadsheet would take for a formula, such as a model's name that begins with =, stands behind an
    apostrophe.
    """
    columns = list(dict.fromkeys(key for row in rows.values() for key in row if key))

    def rate(name: str) -> float:
        value = rows[name].get("win_rate")
        return float(str(value)) if value not in (None, "") else -math.inf

    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *map(guard_formula, columns)])
        for name in sorted(rows, key=rate, reverse=True):
            values = (rows[name].get(key) for key in columns)
            cells = (guard_formula(value) if isinstance(value, str) else value for value in (name, *values))
            writer.writerow("" if cell is None else cell for cell in cells)


def read_difficulties(path: Path, instructions: Sequence[str] | None) -> dict[str, float]:
    """Read the difficulties of instructions, by the text of each.

    A file with a column ``instruction`` says itself what each belongs to. Upstream's has only an index; then the order
    comes from ``instructions``, which must be AlpacaEval's 805 in upstream's order, since a difficulty by the position
    in some other list would be another instruction's.

    Raises:
        DataError: if the file is no such table, or the instructions are others or in another order.
    """
    rows = _table(path)
    if not rows or "instruction_difficulty" not in rows[0]:
        raise DataError(f"{path} holds no difficulties: it has no column 'instruction_difficulty'")
    values = [_number(path, row["instruction_difficulty"]) for row in rows]
    if "instruction" in rows[0]:
        return {row["instruction"]: value for row, value in zip(rows, values, strict=True)}
    if instructions is None or digest(*instructions) != CANONICAL:
        what = "none is named" if instructions is None else f"the {len(instructions):,} given are not these"
        raise DataError(
            f"{path} numbers the instructions of AlpacaEval and does not name them, so their texts are needed in "
            f"upstream's order, and {what}; name a complete model_outputs.json of upstream (--instructions)"
        )
    places = [int(_number(path, row.get("index") or row.get("") or str(place))) for place, row in enumerate(rows)]
    if sorted(places) != list(range(len(instructions))):
        raise DataError(f"{path} has {len(rows):,} difficulties, which do not number 0 to {len(instructions) - 1}")
    return {instructions[place]: value for place, value in zip(places, values, strict=True)}


def read_weights(path: Path) -> dict[str, tuple[float, float, float]]:
    """Read the published weights of upstream's length model: model → those of length, difficulty and constant.

    Raises:
        DataError: if the file is no such table.
    """
    rows = _table(path)
    if missing := [name for name in ("", *_WEIGHTS) if rows and name not in rows[0]]:
        raise DataError(f"{path} holds no weights of the length model: it has no column '{missing[0]}'")
    found = {}
    for row in rows:
        length, difficulty, constant = (_number(path, row[name]) for name in _WEIGHTS)
        found[row[""]] = (length, difficulty, constant)
    return found


def _judgement(row: Mapping[str, Any]) -> Judgement:
    texts = [row.get(name) for name in ("instruction", "generator_1", "generator_2")]
    outputs = [row.get(name) for name in ("output_1", "output_2")]
    if not all(isinstance(text, str) for text in texts) or "preference" not in row:
        raise DataError("an annotation needs instruction, generator_1, generator_2, preference")
    if not all(text is None or isinstance(text, str) for text in outputs):
        raise DataError("output_1 and output_2 are texts, and one is not")
    preference, reason = read_preference(row["preference"])
    kind = "" if preference is not None else "refused" if row.get("unscored") == "refused" else "failed"
    raw = row.get("raw_completion")
    return Judgement(
        instruction=row["instruction"],
        output=outputs[1],
        reference_output=outputs[0],
        model=row["generator_2"],
        reference=row["generator_1"],
        preference=preference,
        unscored=kind,
        reason=str(row.get("reason") or reason) if kind else "",
        annotator=str(row.get("annotator") or ""),
        dataset=str(row.get("dataset") or ""),
        price=_optional(row.get("price_per_example")),
        seconds=_optional(row.get("time_per_example")),
        raw=raw if isinstance(raw, str) else "" if raw is None else json.dumps(raw, ensure_ascii=False),
    )


def _optional(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{path}: {text!r} is no number") from None
    if not math.isfinite(value):
        raise DataError(f"{path}: {text!r} is no finite number")
    return value


def _read_text(path: Path) -> str:
    try:
        return read_unpacked(path).decode("utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _rows(path: Path, *, salvage: bool, reader: RowReader | None = None) -> list[dict[str, Any]]:
    text = _read_text(path)
    try:
        value, repeated = load_json(text)
        if repeated and reader is not None:
            reader.tally.count(REPEATED, repeated)
    except (ValueError, RecursionError) as error:
        whole = _whole_rows(text)
        if salvage and whole:
            return whole
        rows = (
            "row is whole, --salvage takes it"
            if len(whole) == 1
            else (f"{len(whole):,} rows are whole, --salvage takes these")
        )
        way = f"; its first {rows}" if whole else ""
        raise DataError(f"{path} is no JSON, or is cut off: {error}{way}") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path} is no list of rows")
    return value


def _whole_rows(text: str) -> list[dict[str, Any]]:
    """The rows at the head of a list that breaks off."""
    decoder, found = json.JSONDecoder(), []
    start = text.find("[") + 1
    while start:
        while start < len(text) and text[start] in " \t\r\n,":
            start += 1
        try:
            row, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            break
        found.append(row)
    return found


def _table(path: Path) -> list[dict[str, str]]:
    try:
        lines = list(csv.reader(io.StringIO(_read_text(path))))
    except csv.Error as error:
        raise DataError(f"{path} is no table of comma-separated values: {error}") from None
    if not lines:
        raise DataError(f"{path} is empty")
    head, *rows = lines
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise DataError(f"{path}, line {number}: {len(row)} values for {len(head)} columns")
    return [dict(zip(head, row, strict=True)) for row in rows]


def _write_json(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    content = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    with atomic(path, "wb") as file:
        # The time of packing would make two files of the same rows differ.
        file.write(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
