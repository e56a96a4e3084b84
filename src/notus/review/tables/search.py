"""Looking through all texts: DuckDB over the packed texts of the tables.

A text is looked for as it stands, in whatever case, anywhere in a text; no word of a query is more than a text to it,
for it goes to DuckDB as a parameter. DuckDB loads no extension, fetches nothing and sees no file outside the folder of
the tables. What was found is kept for the last few questions, so that turning a page looks through nothing.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.core.errors import InputError, require
from notus.review.tables.build import Built
from notus.review.tables.columns import Columns, Mask
from notus.review.tables.parts import CRITIQUE, PROMPT, fold, part_file

__all__ = ["Search"]

_KEPT = 32
_MEMORY = "384MB"


class Search:
    """The texts of one set of tables."""

    def __init__(self, built: Built, columns: Columns, threads: int) -> None:
        self._columns, self._folder = columns, built.folder
        self._connection = _connect(built.folder, threads)
        files = [str(part_file(built.folder, "texts", part.number)) for part in built.parts]
        self._files = files
        self._found: OrderedDict[str, tuple[Mask, Mask]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def rows_with(self, text: str) -> tuple[Mask, Mask]:
        """The rows in whose prompt or answers a text stands, and those in whose critique it does.

        Raises:
            InputError: if the tables were removed.
        """
        wanted = fold(text)
        with self._lock:  # one at a time: each takes all threads
            if wanted in self._found:
                self._found.move_to_end(wanted)
            else:
                self._found[wanted] = self._look(wanted)
                while len(self._found) > _KEPT:
                    self._found.popitem(last=False)
            return self._found[wanted]

    def _look(self, wanted: str) -> tuple[Mask, Mask]:
        columns = self._columns
        in_texts, in_critiques = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
        records = np.zeros(len(columns.title), bool)
        kinds, parts, of = self._ask(wanted)
        row_starts, record_starts = np.array(columns.row_starts), np.array(columns.record_starts)
        prompts, critiques = kinds == PROMPT, kinds == CRITIQUE
        records[of[prompts] + record_starts[parts[prompts]]] = True
        in_critiques[of[critiques] + row_starts[parts[critiques]]] = True
        answers = ~(prompts | critiques)
        in_texts[of[answers] + row_starts[parts[answers]]] = True
        return in_texts | records[columns.group], in_critiques

    def _ask(self, wanted: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        import duckdb

        statement = 'SELECT kind, part, "of" FROM read_parquet(?) WHERE contains(text, ?)'
        try:
            with self._connection.cursor() as cursor:
                found = cursor.execute(statement, [self._files, wanted]).fetchnumpy()
        except duckdb.Error as error:
            if not Path(self._files[0]).exists():
                raise InputError(f"the tables in {self._folder} are gone; start the review again") from None
            raise InputError(f"cannot look through the texts in {self._folder}: {_first_line(error)}") from None
        return tuple(np.asarray(found[name]).astype(np.int64) for name in ("kind", "part", "of"))  # type: ignore[return-value]


def _connect(folder: Path, threads: int) -> Any:
    duckdb: Any = require("duckdb", extra="review")
    connection = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": _MEMORY,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    connection.execute("SET allowed_directories = ?", [[f"{folder}/"]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
