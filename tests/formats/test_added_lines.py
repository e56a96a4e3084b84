"""Lines that were added to a file: how many there were, and where whole ones begin."""

import gzip

import pytest

from notus.formats.rows import count_lines, lines_from, read_rows

TEXT = '{"a": 1}\n\n{"a": 2}\n{"a": 3}\n'


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("rows.jsonl", TEXT.encode(), 4),
        ("rows.jsonl", TEXT.encode().rstrip(), 0),  # its last line may go on
        ("rows.jsonl", TEXT.replace("\n", "\r\n").encode(), 4),
        ("rows.jsonl.gz", gzip.compress(TEXT.encode(), mtime=0), 0),
        ("rows.json", b'[{"a": 1}]\n', 0),
        ("rows.csv", b"a,b\n1,2\n", 0),
    ],
)
def test_only_plain_lines_that_ended_are_counted(name, content, lines, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert count_lines(tmp_path / name) == lines


def test_lines_are_counted_from_a_byte_on(tmp_path):
    (tmp_path / "rows.jsonl").write_text(TEXT)
    assert count_lines(tmp_path / "rows.jsonl", start=9) == 3


@pytest.mark.parametrize(
    ("start", "stop", "count", "rows"),
    [
        (0, 28, 1, [1]),
        (0, 28, 9, [1, 2, 3]),
        (3, 28, 2, [2]),  # an empty line counts
        (10, 28, 1, [2]),  # a line begins right there
        (11, 28, 1, [3]),
        (11, 19, 9, []),  # it would begin behind the stop
        (0, 19, 9, [1, 2]),
        (28, 28, 1, []),
    ],
)
def test_whole_lines_from_a_byte_on(start, stop, count, rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(TEXT)
    part = lines_from(path, start, stop, count)
    found = [] if part is None else [int(row[6:7]) for _, row in read_rows(path, part)]
    assert found == rows
