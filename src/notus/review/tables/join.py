"""What stands beside the rows of a review: an audit of them, and of pairs the feedback that they were made from.

An audit is joined by ids. A pair finds its answers by the id of its feedback and the text of each answer; where the
pair says no feedback, or it is another file's, by its prompt and both texts. All of it is worked out when a review is
opened, in whole columns, and nothing of it is stored. Owns what is joined to what, and the counts of what found
nothing.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from notus.audit.pairs import has_fact, order_by_flags
from notus.core.errors import DataError
from notus.core.tables import read_columns
from notus.core.text import counted
from notus.review.tables.columns import Columns, Numbers, Words
from notus.review.tables.parts import SEPARATOR

__all__ = ["Beside", "add_audit", "add_feedback"]

_READ = {
    "completions.parquet": ("id", "suspicion", "q", "reasons", "flags", "evidence"),
    "pairs.parquet": ("id", "suspicion", "place_by_text", "q", "flags", "evidence"),
}
"""Table of an audit → the columns of it that are joined."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Beside:
    """The feedback that stands beside pairs or unpaired rows."""

    columns: Columns
    chosen: Places
    """Row of the chosen (the only) answer in the feedback; -1 where it is not found."""
    rejected: Places
    said: tuple[str, ...] = ()
    record: Places = field(default_factory=lambda: np.zeros(0, np.int64))
    """Record of the feedback; -1."""


def add_audit(columns: Columns, table: Path) -> tuple[str, ...]:
    """Put suspicion, q, reasons and evidence of an audit beside the rows that it is of; what is to be said of it.

    Args:
        columns: of the rows, changed in place.
        table: ``completions.parquet`` or ``pairs.parquet`` of an audit.

    Raises:
        DataError: if none of the rows is in the audit.
    """
    audit = read_columns(table, _READ[table.name])
    places = _places_of(columns, _ids(audit["id"]))
    found = int((places >= 0).sum())
    if not found:
        raise DataError(f"{table} is an audit of other data: none of its {len(audit):,} ids is one of these rows")
    for name in ("suspicion", "q"):
        values = audit[name].cast(pa.float64()).to_numpy() if name in audit.column_names else np.zeros(0)
        columns.numbers.pop(name, None)
        if np.isfinite(values).any():
            columns.numbers[name] = _taken(values, places)
    columns.words["reason"] = _reasons(audit, places)
    columns.numbers.pop("flagged", None)
    if table.name == "pairs.parquet" and "suspicion" not in columns.numbers:
        _rank_by_flags(columns, audit, places)
    columns.evidence = audit["evidence"].combine_chunks().take(pa.array(places, mask=places < 0))
    said, name = [], table.parent.name
    if found < len(columns):
        said.append(f"{counted(len(columns) - found, 'row')} of {len(columns):,} are not in the audit {name}")
    if found < len(audit):
        said.append(f"{counted(len(audit) - found, 'row')} of the audit {name} are not here")
    return tuple(said)


def _rank_by_flags(columns: Columns, audit: pa.Table, places: Places) -> None:
    """Give pairs that nothing ranks by suspicion a place by their flags; what speaks against none has no place."""
    words = columns.words["reason"]
    facts = np.array([has_fact(pattern) for pattern in words.patterns], bool)[words.codes]
    nothing = np.full(len(columns), np.nan)
    text, q = nothing, columns.numbers.get("q", nothing)
    if "place_by_text" in audit.column_names:
        text = _taken(audit["place_by_text"].cast(pa.float64()).to_numpy(), places)
    ranked = facts | np.isfinite(text) | np.isfinite(q)
    if ranked.any():
        found = nothing.copy()
        found[order_by_flags(facts, text, q)] = np.arange(1, len(columns) + 1)
        columns.numbers["flagged"] = np.where(ranked, found, np.nan)


def add_feedback(rows: Columns, feedback: Columns, name: str) -> Beside:
    """Put feedback beside pairs or unpaired rows: their ratings, and of the chosen answer the overall score.

    Args:
        rows: of pairs or unpaired rows, changed in place.
        feedback: of the feedback, with its audit where there is one.
        name: of the feedback, for what is said.
    """
    chosen, rejected, loose = _find_answers(rows, feedback)
    known = chosen >= 0
    for key in ("score", "rating", "suspicion", "q"):
        if key in feedback.numbers and (key not in rows.numbers or key == "score"):
            beside = _taken(feedback.numbers[key], chosen)
            own = rows.numbers.get(key)
            values = beside if own is None else np.where(np.isnan(beside), own, beside)
            if np.isfinite(values).any():
                rows.numbers[key] = values
    for key in ("aspects", "raters"):
        rows.words[key] = _words_taken(feedback.words[key], chosen)
    if "reason" in feedback.words and rows.evidence is None:
        rows.words["reason"] = _both(rows.words["reason"], _words_taken(feedback.words["reason"], chosen))
        if feedback.evidence is not None:
            rows.evidence = feedback.evidence.take(pa.array(chosen, mask=~known))
    said = []
    if missing := int((~known).sum()):
        said.append(f"{counted(missing, 'row')} of {len(rows):,} are not found in the feedback {name}")
    if loose:
        said.append(f"{counted(loose, 'row')} found by prompt and answers: by id there is no such feedback in {name}")
    record = np.where(known, feedback.group[np.maximum(chosen, 0)], -1).astype(np.int64)
    return Beside(feedback, chosen, rejected, tuple(said), record)


def _find_answers(rows: Columns, feedback: Columns) -> tuple[Places, Places, int]:
    """The rows of the chosen and the rejected answers, and how many were found by their texts alone."""
    stretches = _stretches(feedback.feedback, feedback.by_feedback, rows.feedback)
    chosen = _with_text(feedback, stretches, rows.answer)
    rejected = _with_text(feedback, stretches, rows.answer_rejected, but=chosen)
    by_id = chosen >= 0
    keys = feedback.prompt ^ (feedback.answer * _MIX)
    order = np.argsort(keys, kind="stable")
    wanted = rows.prompt ^ (rows.answer * _MIX)
    first, last = (np.searchsorted(keys, wanted, side=side, sorter=order) for side in ("left", "right"))
    for place in np.flatnonzero(~by_id & (first < last)).tolist():
        for row in order[first[place] : last[place]].tolist():
            other = _beside(feedback, row, rows.answer_rejected[place])
            if other is not None:
                chosen[place], rejected[place] = row, other
                break
    return chosen, rejected, int(((chosen >= 0) & ~by_id).sum())


def _beside(feedback: Columns, row: int, text: np.uint64) -> int | None:
    """The row of another answer of the same feedback that has a text; -1 where no text is asked for."""
    if not text:
        return -1
    group = int(feedback.group[row])
    rows = range(int(feedback.first_rows[group]), int(feedback.first_rows[group + 1]))
    return next((each for each in rows if each != row and feedback.answer[each] == text), None)


def _stretches(values: NDArray[np.uint64], order: Places, wanted: NDArray[np.uint64]) -> tuple[Places, Places]:
    """Where each wanted value begins and ends in the order of the values; nothing for 0."""
    starts = np.searchsorted(values, wanted, side="left", sorter=order)
    stops = np.searchsorted(values, wanted, side="right", sorter=order)
    return starts, np.where(wanted == 0, starts, stops)


def _with_text(
    feedback: Columns, stretches: tuple[Places, Places], texts: NDArray[np.uint64], but: Places | None = None
) -> Places:
    """Of each stretch of rows, in the order of their feedback, the first whose answer has a text; -1 without one.

    Args:
        but: rows that are not taken, as long as there is another: of two equal answers each is one.
    """
    (starts, stops), order = stretches, feedback.by_feedback
    found = np.full(len(texts), -1, np.int64)
    spare = found.copy()
    longest = int((stops - starts).max(initial=0))
    for step in range(longest):
        inside = np.flatnonzero(starts + step < stops)
        rows = order[starts[inside] + step]
        same = (feedback.answer[rows] == texts[inside]) & (texts[inside] != 0)
        taken = same if but is None else same & (rows != but[inside])
        for target, hits in ((found, taken), (spare, same)):
            free = hits & (target[inside] < 0)
            target[inside[free]] = rows[free]
    return np.where(found >= 0, found, spare)


def _ids(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    try:
        data = bytes.fromhex("".join(column.to_pylist()))
    except (TypeError, ValueError):
        raise DataError("the audit has ids that are none of ours; audit the data again") from None
    return np.frombuffer(data, ">u8").astype(np.uint64)


def _places_of(columns: Columns, ids: NDArray[np.uint64]) -> Places:
    """The place of each row in an audit; -1 where it is not in it."""
    if len(ids) == len(columns) and bool((ids == columns.id).all()):
        return np.arange(len(ids))
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids, columns.id, sorter=order)
    places = order[np.minimum(places, len(ids) - 1)] if len(ids) else np.zeros(len(columns), np.int64)
    return np.where(ids[places] == columns.id, places, -1) if len(ids) else places - 1


def _taken(values: Numbers, places: Places) -> Numbers:
    return np.where(places >= 0, values[np.maximum(places, 0)], np.nan)


def _words_taken(words: Words, places: Places) -> Words:
    """The words at some places; where there is none, none."""
    codes = np.where(places >= 0, words.codes[np.maximum(places, 0)], len(words.patterns)).astype(np.int32)
    return Words(codes, (*words.patterns, ()))


def _both(one: Words, other: Words) -> Words:
    """Each row with the values of both, those of the second first."""
    size = len(other.patterns)
    pairs, codes = np.unique(one.codes.astype(np.int64) * size + other.codes, return_inverse=True)
    patterns = [
        tuple(dict.fromkeys((*other.patterns[pair % size], *one.patterns[pair // size]))) for pair in pairs.tolist()
    ]
    return Words(codes.astype(np.int32), tuple(patterns))


def _reasons(audit: pa.Table, places: Places) -> Words:
    """Reasons and flags of each row, reasons first."""
    cells = [
        pc.binary_join(audit[name].combine_chunks(), SEPARATOR).cast(pa.string())
        for name in ("reasons", "flags")
        if name in audit.column_names
    ]
    whole = cells[0] if len(cells) == 1 else pc.binary_join_element_wise(*cells, SEPARATOR)
    coded = whole.fill_null("").dictionary_encode()
    words = Words.of(coded.indices.to_numpy().astype(np.int32), coded.dictionary.to_pylist())
    return _words_taken(words, places)
