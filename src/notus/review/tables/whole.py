"""Records whole, one at a time: out of the packed table, without unpacking more than its few neighbours."""

import threading
from bisect import bisect_right
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError
from notus.formats.format import Data
from notus.review.tables.build import Built
from notus.review.tables.parts import GROUP, OF, decode, part_file

__all__ = ["Records"]


class Records:
    """The records of one set of tables; may be asked from several threads."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._kind = next(kind for kind, of in OF.items() if of == built.of)
        self._starts: list[int] = []
        self._files: list[pq.ParquetFile] = []
        start = 0
        for part in built.parts:
            self._starts.append(start)
            self._files.append(pq.ParquetFile(part_file(built.folder, "records", part.number)))
            start += part.records
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __getitem__(self, number: int) -> Data:
        return self.at([number])[number]

    def at(self, numbers: Iterable[int]) -> dict[int, Data]:
        """The records of some numbers, counted through all parts."""
        found: dict[int, Data] = {}
        groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for number in numbers:
            part = bisect_right(self._starts, number) - 1
            group, place = divmod(number - self._starts[part], GROUP)
            groups.setdefault((part, group), []).append((number, place))
        for (part, group), wanted in groups.items():
            try:
                with self._lock:
                    column = self._files[part].read_row_group(group, use_threads=False)["record"]
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{self._built.folder} is damaged: {error}; remove it and start again") from None
            for number, place in wanted:
                found[number] = decode(column[place].as_py(), self._kind)
        return found
