"""Arrow, Feather and Parquet of any writer give the rows that Arrow gives."""

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
