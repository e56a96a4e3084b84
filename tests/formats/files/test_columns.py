"""Arrow, Feather and Parquet of any writer give the rows that Arrow gives."""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from notus.core.errors import DataError
from notus.formats.rows import kind_of, parse_row, read_rows

DAY = datetime(2026, 1, 2, tzinfo=UTC)
TABLES = {
    "texts": pa.table({"prompt": ["a", None, ""], "chosen": ["😀", "b\n", "c"]}),
    "messages": pa.table({"chosen": [[{"role": "user", "content": "a"}], [], None]}),
    "dictionary": pa.table({"model": pa.array(["a", "b", "a"]).dictionary_encode(), "n": [1, 2, 3]}),
    "large": pa.table(
        {"text": pa.array(["a", "b"], pa.large_string()), "list": pa.array([[1], []], pa.large_list(pa.int8()))}
    ),
    "numbers": pa.table({"i": pa.array([2**63 - 1, None], pa.int64()), "f": [0.1, -1e300], "b": [True, None]}),
    "decimal": pa.table({"d": pa.array([Decimal("1.10"), None])}),
    "time": pa.table({"t": pa.array([DAY, None])}),
    "bytes": pa.table({"b": [b"\xff", b""]}),
    "map": pa.table({"m": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64()))}),
    "many": pa.table({"n": list(range(3000)), "s": [{"x": str(n)} for n in range(3000)]}),
}


def write(table: pa.Table, path: Path, form: str) -> None:
    if form == "parquet":
        pq.write_table(table, path, row_group_size=1000)
    elif form == "stream":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    elif form == "file":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    else:
        pyarrow.feather.write_feather(table, str(path), compression="lz4" if form == "feather" else "zstd")


@pytest.mark.parametrize("form", ["parquet", "stream", "file", "feather", "feather-zstd"])
@pytest.mark.parametrize("name", list(TABLES))
def test_rows_are_those_of_arrow(tmp_path: Path, name: str, form: str) -> None:
    table, path = TABLES[name], tmp_path / "rows.data"
    write(table, path, form)
    assert kind_of(path) == ("parquet" if form == "parquet" else "arrow")
    found = list(read_rows(path))
    assert [number for number, _ in found] == list(range(1, len(table) + 1))
    assert [parse_row(payload) for _, payload in found] == table.to_pylist()


@pytest.mark.parametrize("form", ["stream", "file"])
def test_a_damaged_or_empty_file_is_told_in_one_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / "rows.arrow"
    write(TABLES["many"], path, form)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="is damaged") as caught:
        list(read_rows(path))
    assert "\n" not in str(caught.value)
    write(TABLES["texts"].slice(0, 0), path, form)
    with pytest.raises(DataError, match="is empty"):
        list(read_rows(path))


DAMAGED_FOOTERS = """
import sys
from pathlib import Path
from notus.core.errors import DataError
from notus.formats.source import open_source
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine

whole, place = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
footer = int.from_bytes(whole[-8:-4], "little") + 8
ends = {"read": 0, "damaged": 0}
for at in range(len(whole) - footer, len(whole)):
    for bit in (1, 2):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1:])
        try:
            list(open_source(str(place)).records(Tally("read", "rows"), Quarantine()))
            ends["read"] += 1
        except DataError:
            ends["damaged"] += 1
print(footer, ends["read"], ends["damaged"])
"""


def test_no_bit_of_a_footer_ends_the_process(tmp_path):
    """pyarrow calls ``std::terminate`` where damaged figures of a column are asked for; nothing in Python sees that."""
    whole = tmp_path / "whole.parquet"
    rows = {"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"], "score_chosen": [1, 2]}
    pq.write_table(pa.table(rows), whole)
    command = [sys.executable, "-c", DAMAGED_FOOTERS, str(whole), str(tmp_path / "m.parquet")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    footer, read, damaged = map(int, done.stdout.split())
    assert read + damaged == 2 * footer
    assert damaged > footer / 2
