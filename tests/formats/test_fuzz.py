"""Damaged rows, seeded: each is read or goes to the quarantine with a rule, and none ends a reading.

Every kind of damage is done at places drawn from the whole row: a field that is missing or null, a value of another
type, a number as text, an empty or a nested list, two values that changed places, a huge number, NaN, a lone surrogate,
and on the text of the row: cut short, a key twice, bytes that are no UTF-8, lists without end.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from notus.audit.feedback import audit
from notus.core.errors import DataError
from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import decode, decode_json, to_ultrafeedback
from notus.formats.quarantine import RULES, Quarantine, RowError
from notus.formats.registry import FORMATS
from notus.formats.rows import parse_row
from notus.formats.source import open_source
from tests.helpers.data_examples import argilla, helpsteer, raw_row, snorkel
from tests.helpers.places import unplaced

Row = dict[str, Any]
Place = tuple[Any, Any]

USER = {"role": "user", "content": "Name a river."}
GOOD = {"role": "assistant", "content": "The Oder."}
POOR = {"role": "assistant", "content": "No."}
SAID = [
    {"from": "human", "value": "Name a river."},
    {"from": "gpt", "value": "The Oder."},
    {"from": "human", "value": "?"},
]
PAIR = {"prompt": "Name a river.", "chosen": [USER, GOOD], "rejected": [USER, POOR]}
TEXTS = {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}
SCORES = {"score_chosen": 8.5, "score_rejected": 3, "source": "flan"}
TALK = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: A river?\n\nAssistant:"
JUDGED = {"model": "alder", "response": "a", "gpt4_scores": [4, "7.5", "N/A"], "gpt4_feedback": ["a", "b", "c"]}

ROWS: dict[str, Row] = {
    "feedback": {"instruction": "Name a river.", "completions": [JUDGED, JUDGED], "rubric": "Is it one?"},
    "helpsteer": helpsteer(),
    "snorkel": snorkel(),
    "snorkel-pairs": snorkel(),
    "argilla": argilla(),
    "argilla-cleaned": PAIR | {"chosen-rating": 4.5, "rejected-rating": 1, "chosen-model": "a", "rejected-model": "b"},
    "h4": PAIR | SCORES | {"prompt_id": "x", "messages": [USER, GOOD]},
    "hh": {"chosen": f"{TALK} The Oder.", "rejected": f"{TALK} No."},
    "sharegpt-pairs": {"conversations": SAID, "chosen": SAID[1], "rejected": {"from": "gpt", "value": "No."}},
    "trl": {"prompt": [USER], "chosen": [GOOD], "rejected": [POOR]} | SCORES,
    "trl-implicit": {"chosen": "A river?\nAssistant: The Oder.", "rejected": "A river?\nAssistant: No."},
    "pairs": TEXTS | {"metadata": SCORES},
    "trl-unpaired": {"prompt": [USER], "completion": [GOOD], "label": True, "score": 1.5},
    "ultrachat": {"prompt": "Name a river.", "prompt_id": "x", "messages": [USER, GOOD]},
    "sharegpt": {"conversations": SAID, "id": "x", "system": "Be brief."},
    "notus-feedback": json.loads(json.dumps({"prompt": [USER], "completions": [{"text": "a"}], "extra": {"n": 1}})),
    "notus-preferences": {"prompt": [USER], "chosen": [GOOD], "rejected": [POOR], "score_chosen": 1.5, "extra": {}},
    "notus-unpaired": {"prompt": [USER], "answer": [GOOD], "desirable": True, "score": None, "extra": {}},
    "notus-dialogues": {"messages": [USER, GOOD], "source": "x", "extra": {"n": 1}},
}
ROWS |= {name: each.sample for name, each in FORMATS.items() if each.sample is not None and name not in ROWS}
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 7, -1, 2.5, 101, "", " ", "x", "0", "7", "7.5", "N/A", "1e3", "\u00b2", "\x00"),
    *([], {}, [[]], [None], {"": None}, [{"a": [{}]}], ["x"], {"role": "user"}, {"Rating": "4"}, [USER, GOOD]),
    *(10**19, 10**400, -(10**30), 1e308, -1e-320, float("nan"), float("inf"), "\ud800", "a\udfffb", "9" * 400),
)


def places(value: Any) -> list[Place]:
    """Each container in a row with each of its keys or indexes."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in ((value, key), *places(part))]


def put(row: Row, rng: random.Random) -> None:
    container, key = rng.choice(places(row))
    container[key] = deepcopy(rng.choice(JUNK))


def remove(row: Row, rng: random.Random) -> None:
    container, key = rng.choice(places(row))
    del container[key]


def rename(row: Row, rng: random.Random) -> None:
    container, key = rng.choice([place for place in places(row) if isinstance(place[0], dict)])
    container[rng.choice([key.upper(), f"{key} ", "", "extra", "prompt"])] = container.pop(key)


def swap(row: Row, rng: random.Random) -> None:
    # The first level only: a value that came to lie inside itself could not be written.
    one, two = rng.choice(list(row)), rng.choice(list(row))
    row[one], row[two] = row[two], row[one]


def as_text(row: Row, rng: random.Random) -> None:
    container, key = rng.choice(places(row))
    container[key] = json.dumps(container[key])


def wrap(row: Row, rng: random.Random) -> None:
    container, key = rng.choice(places(row))
    container[key] = rng.choice([[container[key]], {"value": container[key]}, [container[key]] * 3])


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(1, len(text))]


def double_key(text: bytes, rng: random.Random) -> bytes:
    named = [part for part in text.split(b'"')[1::2] if part]
    if not named:  # the only key of a row was taken out before
        return text
    key = rng.choice(named)
    return b'{"' + key + b'": ' + rng.choice([b"null", b"[]", b'"x"', b"3", b"{}"]) + b", " + text[1:]


def no_utf8(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00"]) + text[at + 1 :]


def endless(text: bytes, rng: random.Random) -> bytes:
    return text[:-1] + b', "deep": ' + rng.choice([b"[", b'{"a":']) * 5000 + b"}"


IN_ROW: tuple[Callable[[Row, random.Random], None], ...] = (put, put, put, remove, rename, swap, as_text, wrap)
IN_TEXT: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, double_key, no_utf8, endless)


def damaged(row: Row, rng: random.Random) -> bytes:
    """A row with one to three kinds of damage, as a line of JSON."""
    row = deepcopy(row)
    for change in rng.choices(IN_ROW, k=rng.choice([0, 1, 1, 1, 2, 3])):
        if row and places(row):
            change(row, rng)
    text = json.dumps(row).encode()  # with NaN, Infinity and lone surrogates, as Python writes them
    if rng.random() < 0.15:
        text = rng.choice(IN_TEXT)(text, rng)
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def read_all(path: Path, layout: str, lines: list[bytes]) -> tuple[list[Any], Quarantine, Tally]:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    tally, quarantine = Tally("read"), Quarantine()
    records = list(open_source(str(path), format=layout).records(tally, quarantine))
    assert tally.taken == len(lines) == tally.given + quarantine.total + tally.counts["row-joined"]
    assert quarantine.counts.keys() <= RULES.keys()
    assert all(item.detail for item in tally.dropped)
    return records, quarantine, tally


def test_10000_damaged_raw_rows_are_each_read_or_explained(tmp_path: Path) -> None:
    rng = random.Random(0)
    lines = [damaged(raw_row(), rng) for _ in range(10_000)]
    records, quarantine, _ = read_all(tmp_path / "rows.jsonl", "ultrafeedback", lines)
    assert len(records) > 2000
    assert quarantine.total > 2000
    rules = {"broken-json", "wrong-encoding", "missing-field", "wrong-type", "not-a-number", "out-of-range"}
    assert rules <= quarantine.counts.keys()
    written = Counter(_comes_back(record) for record in records)
    assert written[False] < 0.1 * len(records)


def test_the_fast_reader_takes_no_row_that_the_careful_one_refuses_or_reads_otherwise() -> None:
    rng = random.Random(2)
    taken = 0
    for _ in range(3000):
        line = damaged(raw_row(), rng)
        try:
            fast = decode_json(line)
        except (ValueError, RowError, RecursionError):
            continue  # it may leave any unusual row to the careful one
        taken += 1
        assert decode(parse_row(line)) == fast
    assert taken > 500


def _comes_back(record: Feedback) -> bool:
    """Whether the record can be written as a raw row; if it can, that row must read as the same record."""
    try:
        row = to_ultrafeedback(record)
    except DataError:
        return False
    assert [decode(row)] == unplaced([record])
    return True


def test_legacy_zeros_in_damaged_rows_are_kept_and_flagged(tmp_path: Path) -> None:
    rng = random.Random(1)
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    rows = []
    for _ in range(500):
        row = raw_row()
        row["completions"][rng.randrange(4)]["annotations"][rng.choice(aspects)]["Rating"] = rng.choice(["0", 0, "0.0"])
        change: Callable[[Row, random.Random], None] = rng.choice((put, remove, rename))
        head = {name: value for name, value in row.items() if name != "completions"}
        change(head, rng)
        rows.append(json.dumps(head | {"completions": row["completions"]}).encode())
    records, _, _ = read_all(tmp_path / "rows.jsonl", "ultrafeedback", rows)
    assert len(records) > 200
    zeros = [sum(r.value == 0 for item in record.completions for r in item.ratings) for record in records]
    assert zeros == [1] * len(records)
    flagged = Counter(row.feedback_id for row in audit(records).rows if "legacy-zero" in row.flags)
    assert flagged == Counter(record.id for record in records)


@pytest.mark.parametrize("layout", sorted(ROWS))
def test_1000_damaged_rows_of_each_other_layout_are_each_read_or_explained(tmp_path: Path, layout: str) -> None:
    rng = random.Random(layout)
    whole = json.dumps(ROWS[layout]).encode()
    lines = [damaged(ROWS[layout], rng) for _ in range(1000)]
    records, quarantine, _ = read_all(tmp_path / "rows.jsonl", layout, [whole, *lines])
    assert records
    assert all(isinstance(record, FORMATS[layout].record) for record in records)
    assert quarantine.total > 100
    (first, *_), none, _ = read_all(tmp_path / "whole.jsonl", layout, [whole])
    assert not none.total
    assert isinstance(first, FORMATS[layout].record)


def test_every_layout_is_damaged_here() -> None:
    assert {*ROWS, "ultrafeedback"} == FORMATS.keys()
