"""Sources: open a file, a folder or a set on the hub, name its layout, and read its rows as records.

    source = open_source("ultrafeedback.jsonl")
    with Quarantine(run.path / "quarantine.jsonl") as quarantine:
        for feedback in source.records(run.tally("read"), quarantine):
            ...

Owns which files are read, how the layout is found, and what becomes of bad rows: each goes to the quarantine with file,
line, field and rule, and nothing is passed over in silence. The layouts themselves are in ``data.layouts``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from notus.core.errors import ConfigError, DataError
from notus.core.hub_id import DATA_SUFFIXES, HubId
from notus.core.run import atomic, hash_file
from notus.core.stage import Tally
from notus.core.tables import record_kind
from notus.data.hub import fetch, fetch_head
from notus.data.layouts import LAYOUTS, Data, Layout, detect, layout_named
from notus.data.quarantine import Entry, Quarantine, RowError
from notus.data.rows import Part, Payload, cut, excerpt, parsed, read_rows

__all__ = ["SHARD", "Source", "open_source", "write_jsonl"]

SHARD = 32 << 20
"""Bytes of a shard: some two thousand rows of UltraFeedback."""
_LOOKED_AT = 100
"""Rows in which the layout is looked for."""
_OUR_RECORDS = {"Feedback", "Preference"}
_FURTHER_RECORDS = {"Unpaired", "Dialogue"}
"""They are read where nothing else lies in a folder: a run directory has dialogues beside its feedback."""
_NO_DATA = frozenset(
    ["config", "dataset_dict", "dataset_infos", "dropped", "inputs", "manifest", "metrics", "quarantine", "tally"]
)
"""Stems of files that stand beside data and hold none."""
_OWN = "notus-"
"""What the names of the layouts of our own records begin with."""
_OWN_LAYOUTS = {layout.record.__name__: name for name, layout in LAYOUTS.items() if name.startswith(_OWN)}
_UNSURE = (ValueError, RecursionError, RowError)


@dataclass(frozen=True)
class Source:
    """Files of one layout, opened and not yet read. See ``open_source``."""

    name: str
    """The path or the hub id, as it was given."""
    layout: str
    """Name of the layout: see ``data.layouts``."""
    paths: tuple[Path, ...]
    strict: bool = False
    limit: int | None = None
    part: Part | None = None
    """What is read of the file, where it is one; None reads all."""

    @cached_property
    def files(self) -> list[tuple[Path, str]]:
        """Each file with the SHA-256 of its bytes; they are computed when first asked for."""
        return [(path, hash_file(path)) for path in self.paths]

    @property
    def record(self) -> type[Data]:
        """What the rows become."""
        return layout_named(self.layout).record

    def records(self, tally: Tally, quarantine: Quarantine) -> Iterator[Data]:
        """Read the rows one after another. The tally counts rows in, records out, and each bad row by its rule.

        Where a record stands on several rows, in = out + dropped + the count ``row-joined``.

        Raises:
            DataError: if a file cannot be read, or, in strict mode, at the first bad row.
        """
        layout = layout_named(self.layout)
        records = self._decoded(layout, tally, quarantine)
        for record in records if layout.joined is None else layout.joined(records, tally):
            tally.given += 1
            yield record

    def shards(self, size: int | None = None) -> list["Source"]:
        """The same rows as several sources of about ``size`` bytes (``SHARD``), in order, to be read side by side.

        What they are depends on the files alone, as they are when it is first asked for: that reads them once. A source
        with a limit, or of a layout that puts rows together, is one.
        """
        size = size or SHARD
        if size not in self._shards:
            self._shards[size] = self._cut(size)
        return list(self._shards[size])

    @cached_property
    def _shards(self) -> dict[int, list["Source"]]:
        return {}

    def _cut(self, size: int) -> list["Source"]:
        if self.limit is not None or self.part is not None or layout_named(self.layout).joined is not None:
            return [self]
        shards: list[Source] = []
        small: list[Path] = []
        for path in self.paths:
            parts = cut(path, size)
            if len(parts) == 1:
                small.append(path)
            if small and (len(parts) > 1 or sum(file.stat().st_size for file in small) >= size):
                shards.append(replace(self, paths=tuple(small)))
                small = []
            if len(parts) > 1:
                shards += [replace(self, paths=(path,), part=part) for part in parts]
        return shards + ([replace(self, paths=tuple(small))] if small else [])

    def _decoded(self, layout: Layout, tally: Tally, quarantine: Quarantine) -> Iterator[Data]:
        for path, line, payload in islice(self._rows(), self.limit):
            tally.taken += 1
            try:
                record = _decoded(layout, payload)
            except RowError as error:
                if self.strict:
                    raise DataError(f"{path}:{line}: {error}") from None
                quarantine.add(_entry(path, line, payload, error))
                tally.drop(f"{path}:{line}", error.rule, f"{error.field or 'row'}: {error.value}")
                continue
            yield record

    def _rows(self) -> Iterator[tuple[Path, int, Payload]]:
        own = self.record if self.layout.startswith(_OWN) else None
        for path in self.paths:
            try:
                for line, payload in read_rows(path, self.part, own):
                    yield path, line, payload
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def open_source(source: str, *, layout: str | None = None, strict: bool = False, limit: int | None = None) -> Source:
    """Open a file, a folder of files, or a data set on the hub (``owner/name[@revision]``).

    Args:
        source: a path is tried first; what has the suffix of a data file is never taken for a hub id.
        layout: name of the layout; without it, it is found in the first rows.
        strict: make the first bad row an error, instead of putting it into the quarantine.
        limit: read at most so many rows.

    Raises:
        DataError: if there is nothing to read, or no known layout in it.
        ConfigError: if the layout or the limit is impossible.
        MissingExtraError: if a hub id is given and huggingface_hub is not installed.
    """
    if layout is not None:
        layout_named(layout)
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit is {limit}; at least one row must be read")
    paths = _paths(source, limit)
    names = {path: layout or _layout_of(path) for path in paths}
    first, *others = names.items()
    if different := next((item for item in others if item[1] != first[1]), None):
        raise DataError(
            f"{source} mixes layouts: {first[0].name} is {first[1]}, {different[0].name} is {different[1]}; "
            "give one file, or files of one layout"
        )
    return Source(source, first[1], tuple(paths), strict, limit)


def write_jsonl(path: Path, rows: Iterable[object]) -> int:
    """Write records or plain rows as JSON lines, atomically; the number of rows is returned.

    Raises:
        DataError: if the file cannot be written.
    """
    count = 0
    encoder = msgspec.json.Encoder()
    try:
        with atomic(path, "wb") as file:
            for row in rows:
                file.write(encoder.encode(row) + b"\n")
                count += 1
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None
    return count


def _decoded(layout: Layout, payload: Payload) -> Data:
    if isinstance(payload, layout.record):
        return payload
    if layout.decode_json is not None and isinstance(payload, bytes):
        try:
            return layout.decode_json(payload)
        except _UNSURE:
            pass  # an unusual row: the complete reader below says whether it is a bad one, and why
    return layout.decode(parsed(payload))


def _entry(path: Path, line: int, payload: Payload, error: RowError) -> Entry:
    return Entry(
        file=str(path),
        line=line,
        field=error.field,
        rule=error.rule,
        value=error.value,
        detail=error.detail,
        row=excerpt(payload),
    )


def _paths(source: str, limit: int | None) -> list[Path]:
    path = Path(source).expanduser()
    try:
        if source and path.is_dir():
            return _data_files(path, source)
        if path.is_file():
            return [path]
        if source and path.exists():
            raise DataError(f"{source} is neither a file nor a folder; save it to a file first")
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}") from None
    hub_id = HubId.parse(source)
    if hub_id is None:
        raise DataError(
            f"'{source}' does not exist as a file or folder, and it is no hub id (owner/name or owner/name@revision, "
            "without the suffix of a file); check the path"
        )
    return _data_files(fetch(hub_id) if limit is None else fetch_head(hub_id, limit), source)


def _data_files(folder: Path, source: str) -> list[Path]:
    """The data files of a folder. In a run directory they are the records, not the tables beside them."""
    found = [path for path in sorted(folder.rglob("*")) if _is_data(path.relative_to(folder)) and path.is_file()]
    kinds = {path: record_kind(path) if path.suffix.lower() == ".parquet" else None for path in found}
    ours = [path for path, kind in kinds.items() if kind in _OUR_RECORDS]
    plain = [path for path, kind in kinds.items() if kind is None]
    files = ours or plain or [path for path, kind in kinds.items() if kind in _FURTHER_RECORDS]
    if not files:
        raise DataError(f"{source} holds no data file; files ending in {', '.join(DATA_SUFFIXES)} are read")
    return files


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    return not hidden and path.name.lower().endswith(DATA_SUFFIXES) and stem not in _NO_DATA


def _layout_of(path: Path) -> str:
    """Name of the layout, by the first row that has one; what is wrong with the first rows, where none has."""
    if path.suffix.lower() == ".parquet" and (own := _OWN_LAYOUTS.get(record_kind(path) or "")):
        return own
    first: dict[str, Any] | None = None
    fault: RowError | None = None
    for _, payload in islice(read_rows(path), _LOOKED_AT):
        try:
            row = parsed(payload)
        except RowError as error:
            fault = fault or error
            continue
        if name := detect(row):
            return name
        first = row if first is None else first
    if first is None:
        raise DataError(f"{path} holds no row that can be read: {fault or 'only empty lines'}")
    fields = ", ".join(list(first)[:12]) or "no field"
    raise DataError(f"{path} has no known layout: its first row holds {fields}; known are {', '.join(LAYOUTS)}")
