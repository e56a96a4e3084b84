"""The table of an audit with texts and places: what the run directory holds, joined with the rows that were read.

Owns the joining. The audit itself holds no text, and is in ``audit.feedback`` and ``audit.pairs``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from notus.audit.feedback import Suspicion
from notus.audit.pairs import Pair
from notus.audit.signals import SURE
from notus.core.records import Feedback, Preference, format_turns
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.steps.data.audit import COMPLETIONS, PAIRS

__all__ = ["audit_table"]

_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("evidence", pa.string()),
        ("suspicion", pa.int64()),
        ("q", pa.float64()),
        ("file", pa.string()),
        ("line", pa.int64()),
    ]
)


def audit_table(folder: Path, source: Source) -> pa.Table:
    """A row for each completion or pair, the most suspicious first; equals in the order of the source.

    Args:
        folder: run directory of the audit.
        source: what was audited; it is read again for texts and places.

    Returns:
        row (number of the record, from 1), id, prompt, answer (of a pair: the chosen one), reasons, evidence,
        suspicion (place, from 1; None where nothing is suspicious), q (estimated share of sound ones among those at
        least so odd; None of facts), file and line (number of the row in Parquet).
    """
    rows = _completions(folder, source) if source.record is Feedback else _pairs(folder, source)
    last = float("inf")
    found = sorted(rows, key=lambda row: (not row["reasons"], _doubtful(row), row["suspicion"] or last))
    return pa.Table.from_pylist(found, schema=_SCHEMA)


def _doubtful(row: dict[str, Any]) -> bool:
    """Whether chance alone could well have given a row its reasons; facts are no matter of chance."""
    return row["q"] is None or row["q"] > SURE


def _completions(folder: Path, source: Source) -> Iterator[dict[str, Any]]:
    audited = iter(read_records(COMPLETIONS.at(folder), Suspicion))
    for number, record in enumerate(source.records(Tally("again"), Quarantine()), 1):
        assert isinstance(record, Feedback)
        for completion in record.completions:
            row = next(audited)
            yield {
                "row": number,
                "id": row.id,
                "prompt": format_turns(record.prompt),
                "answer": completion.text,
                "reasons": list(dict.fromkeys([*row.reasons, *row.flags, *_rule_verdict(row)])),
                "evidence": row.evidence,
                "suspicion": row.suspicion if row.reasons or row.flags else None,
                "q": row.q,
                "file": record.file,
                "line": record.line,
            }


def _rule_verdict(row: Suspicion) -> tuple[str, ...]:
    """What the published rule would do, where it would do something."""
    return (row.repair,) if row.repair in ("set-to-1", "ask-again") else ()


def _pairs(folder: Path, source: Source) -> Iterator[dict[str, Any]]:
    records = source.records(Tally("again"), Quarantine())
    audited = read_records(PAIRS.at(folder), Pair)
    for number, (row, record) in enumerate(zip(audited, records, strict=True), 1):
        assert isinstance(record, Preference)
        yield {
            "row": number,
            "id": row.id,
            "prompt": format_turns(record.prompt),
            "answer": format_turns(record.chosen),
            "reasons": list(row.flags),
            "evidence": row.evidence,
            "suspicion": row.suspicion,
            "q": row.q,
            "file": record.file,
            "line": record.line,
        }
