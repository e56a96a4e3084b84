"""Sources: open a file, a folder or a set on the hub, name its format, and read its rows as records.

    source = open_source("ultrafeedback.jsonl")
    with Quarantine(run.path / "quarantine.jsonl") as quarantine:
        for feedback in source.records(run.tally("read"), quarantine):
            …

A step of a run works on a source shard by shard, in processes, and gets what each shard gave, in order:

    for pairs in sharded(run, source, partial(_pairs, run.path / "preferences.parquet"), workers):
        …

    def _pairs(path: Path, records: Iterator[Feedback], shard: Shard) -> int:      # in a worker
        kept = apply(stage, records, shard.tally("binarize"))
        return shard.write(path, kept, Preference)

Owns which files are read, how the format is found, what becomes of bad rows (each goes to the quarantine with file,
line, field and rule, and nothing is passed over in silence), and how shards are read and put together again: their bad
rows into the run's quarantine, their tallies into the run's. A shard is a matter of the files alone, so that the bytes
of a result do not depend on the number of workers; and so many bytes, that memory does not grow with the file. The
formats themselves are in ``formats.families``.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec
import pyarrow as pa

from notus.core.disk.outputs import check_written
from notus.core.disk.withdrawn import Sieve
from notus.core.errors import ConfigError, DataError
from notus.core.parallel import map_shards
from notus.core.run import MANIFEST, Run, atomic
from notus.core.stage import Place, Tally
from notus.core.tables import part_path, record_kind, write_columns, write_records
from notus.core.text import DATA_SUFFIXES, HubId
from notus.formats.files.columns import own_batches, own_rows
from notus.formats.files.encoding import check_encoding, refuse_not_utf8
from notus.formats.format import Data, Format, NoFormatError, Row, Sifts
from notus.formats.join import join_rows
from notus.formats.lookup import format_named
from notus.formats.quarantine import Entry, Quarantine, RowError, entry_of
from notus.formats.registry import OWN, detect
from notus.formats.rows import (
    Part,
    Payload,
    count_oddities,
    cut_file,
    excerpt,
    find_json_cells,
    kind_of,
    members_of,
    parse_cells,
    parse_row,
    read_rows,
)
from notus.formats.splits import (
    ALL,
    Choice,
    Table,
    choose_tables,
    is_data,
    is_description,
    list_tables,
    split_of,
    with_members,
)

__all__ = ["SHARD", "Shard", "Source", "Work", "open_source", "read_counted", "sharded", "tables_of", "write_jsonl"]

R = TypeVar("R")
T = TypeVar("T")

SHARD = 32 << 20
"""Bytes of a shard: some two thousand rows of UltraFeedback."""
_WORTH_A_PROCESS = 4
"""Shards from which on processes are started: for fewer, their start would take longer than the work."""
_LOOKED_AT = 100
"""Rows in which the format is looked for."""
_OUR_RECORDS = {"Feedback", "Preference"}
_FURTHER_RECORDS = {"Unpaired", "Dialogue"}
"""They are read where nothing else lies in a folder: a run directory has dialogues beside its feedback."""
_HOLD_SEVERAL = (".json", ".json.gz", ".json.zst", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
"""Suffixes of files that may hold several tables."""
_TEXT_TABLES = ("delimited", "workbook")
_TEXTS = ("delimited", "json")
_UNSURE = (ValueError, RecursionError, RowError)


@dataclass(frozen=True)
class Source:
    """Files of one format, opened and not yet read. See ``open_source``."""

    name: str
    """The path or the hub id, as it was given."""
    format: str
    """Name of the format: see ``formats.lookup``."""
    paths: tuple[Path, ...]
    strict: bool = False
    limit: int | None = None
    part: Part | None = None
    """What is read of the file, where it is one; None reads all."""
    first: type[Data] | None = None
    """What the first row became, where the format does not say what its rows become."""
    root: Path | None = None
    """The folder that the paths are in, where a folder was given: records name their files from there."""
    members: tuple[str, ...] = ()
    """To each path the sheet or list that is read of it, empty where the file is one table; none: all are."""
    json_cells: frozenset[str] = frozenset()
    """Columns of tables of text that hold JSON, without which the rows have no format."""
    split: str | None = None
    """As it was asked for."""
    config: str | None = None
    """As it was asked for."""
    encoding: str | None = None
    """Of files of text that are not in UTF-8."""
    written: Mapping[Path, str] = field(default_factory=dict)
    """The files among these that a finished run of ours has written, and the hashes of what it wrote."""
    without: frozenset[str] = frozenset()
    """Fields of records that are not read: see ``lean``."""
    not_read: str = ""
    """Which splits and configurations are not read, in words; empty where all is read."""
    withdrawn: Sieve | None = None
    """What must not be read, and is dropped."""
    decided: Sifts | None = None
    """What is done to the records that are left, by decisions of persons."""

    @property
    def record(self) -> type[Data]:
        """What the rows become."""
        record = format_named(self.format).record or self.first
        assert record is not None
        return record

    def lean(self, without: Set[str]) -> "Source":
        """The same, for who has no use for some fields of the records: they take their defaults, texts are empty.

        Only of files that a run of ours has written; others are read whole, so that what is wrong with a row is found.
        What is not read is not checked while it is read: such a file is compared with its hash before.

        Args:
            without: dotted names of fields, for example ``completions.ratings.rationale``.
        """
        ours = (
            not self._is_sifted
            and self.part is None
            and self.format in OWN
            and all(path in self.written for path in self.paths)
        )
        return replace(self, without=frozenset(without)) if ours else self

    def records(self, tally: Tally, quarantine: Quarantine) -> Iterator[Data]:
        """Read the rows one after another. The tally counts rows in, records out, and each bad row by its rule.

        Where a record stands on several rows, in = out + dropped + the count ``row-joined``; where a row holds several
        records, all but the first are counted as ``row-expanded``, on the side of what came in.

        Raises:
            DataError: if a file cannot be read, or, in strict mode, at the first bad row.
        """
        own = format_named(self.format)
        records = (record for _, _, record in self._decode_rows(own, tally, quarantine))
        for record in self._sifted(
            records if own.key is None else join_rows(records, own.key, own.merge, tally), tally
        ):
            tally.given += 1
            yield record

    def _sifted(self, records: Iterable[Data], tally: Tally) -> Iterator[Data]:
        """The records without what is withdrawn, and as persons have decided on them."""
        for sieve in filter(None, (self.withdrawn, self.decided)):
            records = _sift(sieve, records, tally)
        return iter(records)

    @property
    def _is_sifted(self) -> bool:
        """Whether records are taken out or changed as they are read: they are known by their texts, among others."""
        return self.withdrawn is not None or self.decided is not None

    def located(self) -> Iterator[tuple[Path, int, Data]]:
        """The records once more, each with its file and its line (of Parquet its number); bad rows are passed over.

        Of a record that stands on several rows, those of the first.
        """
        own = format_named(self.format)
        found = self._decode_rows(own, Tally("again"), Quarantine())
        if own.key is None:
            for path, line, row in found:
                yield from ((path, line, record) for record in self._sifted([row], Tally("again")))
        else:
            places = {self._name_of(path, member): path for path, member in self._tables()}
            joined = join_rows((record for _, _, record in found), own.key, own.merge, Tally("again"))
            for record in self._sifted(joined, Tally("again")):
                yield places.get(record.file, self.paths[0]), record.line, record

    def standing_at(self, places: Set[tuple[str, int]]) -> Iterator[Data]:
        """The records whose file and line are among these, in their order; other rows are passed over undecoded."""
        own = format_named(self.format)
        if own.key is not None or self.format in OWN:  # these hold the place of another row, or of one of several
            found: Iterator[Data] = (record for _, _, record in self.located())
        else:
            every = (row for shard in self._shards_with(places) for row in islice(shard._rows(), shard.limit))
            rows = (row for row in every if row[1:3] in places)
            decoded = self._decode(rows, own, Tally("again"), Quarantine())
            found = self._sifted((record for *_, record in decoded), Tally("again"))
        yield from (record for record in found if (record.file, record.line) in places)

    def _shards_with(self, places: Set[tuple[str, int]]) -> Iterator["Source"]:
        """The shards that hold one of the places, and those of which that is not known."""
        shards = self.shards()
        for shard, following in zip_longest(shards, shards[1:]):
            if shard.part is not None:
                name, first, stop = self._name_of(shard.paths[0], ""), shard.part.first, math.inf
                if following is not None and following.part is not None and following.paths == shard.paths:
                    stop = following.part.first
                if not any(file == name and first <= line < stop for file, line in places):
                    continue
            yield shard

    def batches(self, rows: int) -> Iterator[pa.RecordBatch] | None:
        """The records as columns, batch by batch; None where the files are not what ``core.tables`` writes today.

        Args:
            rows: records that there are; None is given where the files hold another number, for some rows are bad.
        """
        if self.limit is not None or self._is_sifted or self.format not in OWN or any(self.members):
            return None
        found = [own_rows(path, self.part, self.record) for path in self.paths]
        if sum(count or 0 for count in found) != rows or None in found:
            return None
        return (batch for path in self.paths for batch in own_batches(path, self.part, self._name_of(path, "")))

    def tables(self) -> Iterator[tuple[str, "Source"]]:
        """Each file, or sheet or list of one, by the name that records have, as a source of its own."""
        for path, member in self._tables():
            yield self._name_of(path, member), replace(self, paths=(path,), members=(member,) if member else ())

    @property
    def fills_processes(self) -> int:
        """How many processes it can likely keep busy, so that they can be started early; 0: it is read here."""
        shards = 0 if self.limit is not None else sum(path.stat().st_size for path in self.paths) // SHARD
        return shards if shards >= _WORTH_A_PROCESS else 0

    def shards(self, size: int | None = None) -> list["Source"]:
        """The same rows as several sources of about ``size`` bytes (``SHARD``), in order, to be read side by side.

        What they are depends on the files alone, as they are when it is first asked for: that reads them once. A source
        with a limit, or of a format that puts rows together, is one.
        """
        size = size or SHARD
        if size not in self._shards:
            self._shards[size] = self._cut(size)
        return list(self._shards[size])

    @cached_property
    def _shards(self) -> dict[int, list["Source"]]:
        return {}

    def _cut(self, size: int) -> list["Source"]:
        if self.limit is not None or self.part is not None or format_named(self.format).key is not None:
            return [self]
        shards: list[Source] = []
        small: list[tuple[Path, str]] = []
        for path, member in self._tables():
            parts = [None] if member else cut_file(path, size, self.encoding)
            if len(parts) == 1:
                small.append((path, member))
            if small and (len(parts) > 1 or sum(file.stat().st_size for file, _ in small) >= size):
                shards.append(self._of(small))
                small = []
            if len(parts) > 1:
                shards += [replace(self, paths=(path,), members=(), part=part) for part in parts]
        return shards + ([self._of(small)] if small else [])

    def _of(self, tables: Sequence[tuple[Path, str]]) -> "Source":
        """The source of some of the tables."""
        paths, members = zip(*tables, strict=True)
        return replace(self, paths=paths, members=members)

    def _tables(self) -> Iterator[tuple[Path, str]]:
        return zip(self.paths, self.members or ("",) * len(self.paths), strict=True)

    def _decode_rows(self, own: Format, tally: Tally, quarantine: Quarantine) -> Iterator[tuple[Path, int, Data]]:
        return self._decode(islice(self._rows(), self.limit), own, tally, quarantine)

    def _decode(
        self, rows: Iterable[tuple[Path, str, int, Payload]], own: Format, tally: Tally, quarantine: Quarantine
    ) -> Iterator[tuple[Path, int, Data]]:
        kind, cells = self.record, self.json_cells
        for path, name, line, row in rows:
            tally.taken += 1
            try:
                payload = parse_cells(row, cells) if cells and isinstance(row, dict) else row
                records = _decode_records(own, payload, tally)
                if other := next((record for record in records if type(record) is not kind), None):
                    raise RowError("", "other-record", type(other).__name__, f"{kind.__name__} is expected")
            except RowError as error:
                if self.strict:
                    raise DataError(f"{path}:{line}: {error}") from None
                place = Place(name, line)
                quarantine.add(entry_of(place, error, excerpt(row)))
                tally.drop("", error.rule, _evidence(error), at=place)
                continue
            if len(records) > 1:
                tally.count("row-expanded", len(records) - 1)
            count_oddities(row, tally)
            for record in records:
                if not record.file:  # set in place: nobody else has the record yet, and a copy of each would be slow
                    msgspec.structs.force_setattr(record, "file", name)
                    msgspec.structs.force_setattr(record, "line", line)
                yield path, line, record

    def _name_of(self, path: Path, member: str) -> str:
        name = path.relative_to(self.root).as_posix() if self.root else path.name
        return f"{name}#{member}" if member else name

    def _rows(self) -> Iterator[tuple[Path, str, int, Payload]]:
        """Each row with its file, what records call it, and its line."""
        own = self.record if self.format in OWN else None
        for path, member in self._tables():
            name = self._name_of(path, member)
            # Of a file that is read in parts each of them would be compared with all of its bytes.
            without = self.without if self.part is None else frozenset()
            if without:
                check_written(path, self.written[path])
            try:
                for line, payload in read_rows(path, self.part, own, member, self.encoding, without):
                    yield path, name, line, payload
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def open_source(
    source: str,
    *,
    format: str | None = None,  # noqa: A002
    strict: bool = False,
    limit: int | None = None,
    split: str | None = None,
    config: str | None = None,
    encoding: str | None = None,
) -> Source:
    """Open a file, a folder of files, or a data set on the hub (``owner/name[@revision]``).

    Args:
        source: a path is tried first; what has the suffix of a data file is never taken for a hub id.
        format: name of the format, or a reader of the user's (``python:FILE.py:NAME``); without it, it is found in the
            first rows.
        strict: make the first bad row an error, instead of putting it into the quarantine.
        limit: read at most so many rows.
        split: of several splits, sheets or lists the one that is read, several with ``+`` between them, or ``all``;
            None reads the only one, or ``train``. See ``formats.splits``.
        config: of several configurations, the one that is read; None reads the only one, or the default.
        encoding: of files of text, such as ``cp1252``; None reads UTF-8, and what a byte-order mark names.

    Raises:
        DataError: if there is nothing to read, no known format in it, a text is not in UTF-8, or one of several splits
            or configurations must be named.
        ConfigError: if the format, the limit or the encoding is impossible, or there is no such split or configuration.
        MissingExtraError: if a hub id is given and huggingface_hub is not installed, or a workbook and calamine is not.
    """
    forced = None if format is None else format_named(format)
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit is {limit}; at least one row must be read")
    encoding = None if encoding is None else check_encoding(encoding)
    root, choice, tables = _find_tables(source, limit, split, config, encoding)
    found = {table: _format_of(*table, forced, encoding) for table in tables}
    first = _same_format(source, found)
    name = format or first
    if forced is not None and forced.check is not None:
        forced.check(_plain_rows(tables, encoding))
    told = _first_record(tables, forced, encoding) if forced is not None and forced.record is None else None
    return Source(
        source,
        name,
        tuple(path for path, _ in tables),
        strict,
        limit,
        first=told,
        root=root,
        members=tuple(member for _, member in tables) if any(member for _, member in tables) else (),
        json_cells=frozenset().union(*(cells for _, cells in found.values())),
        split=split,
        config=config,
        encoding=encoding,
        not_read=choice.not_read,
    )


def _same_format(source: str, found: Mapping[tuple[Path, str], tuple[str, frozenset[str]]]) -> str:
    """The one format of all tables.

    Raises:
        DataError: if there are several.
    """
    (first, (name, _)), *others = found.items()
    if different := next(((table, other) for table, (other, _) in others if other != name), None):
        raise DataError(
            f"{source} mixes formats: {first[0].name} is {name}, {different[0][0].name} is {different[1]}; give one "
            "file, or files of one format"
        )
    return name


def tables_of(
    source: str, *, split: str | None = None, config: str | None = None, encoding: str | None = None
) -> list[tuple[Path, str]]:
    """The files of a path or a hub id, each with its sheet or list, as ``open_source`` chooses them for a look.

    Raises:
        DataError: if there are none, a text is not in UTF-8, or one of several splits must be named.
        ConfigError: if there is no such split, configuration or encoding.
        MissingExtraError: as ``open_source`` does.
    """
    return _find_tables(source, _LOOKED_AT, split, config, encoding and check_encoding(encoding))[2]


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


def _sift(sieve: Sifts, records: Iterable[Data], tally: Tally) -> Iterator[Data]:
    return (kept for record in records if (kept := sieve.sift(record, tally)) is not None)


def _decode_row(own: Format, payload: Payload) -> Data:
    if own.record is not None and isinstance(payload, own.record):
        return payload
    if own.decode_json is not None and isinstance(payload, bytes):
        try:
            return own.decode_json(payload)
        except _UNSURE:
            pass  # an unusual row: the complete reader below says whether it is a bad one, and why
    return own.decode(parse_row(payload))


def _decode_records(own: Format, payload: Payload, tally: Tally) -> Sequence[Data]:
    """What a row holds: mostly one record."""
    if own.expand is not None:
        return own.expand(parse_row(payload), tally)
    record = _decode_row(own, payload)
    if own.count is not None:
        own.count(record, tally)
    return (record,)


def _evidence(error: RowError) -> str:
    """What was found and what to do, for the list of what was dropped; of a user's reader, what it said."""
    if error.rule.startswith("reader-"):
        return error.detail
    return f"{error.field or 'row'}: {error.value}" + (f" ({error.detail})" if error.detail else "")


def _find_tables(
    source: str, limit: int | None, split: str | None, config: str | None, encoding: str | None
) -> tuple[Path | None, Choice, list[tuple[Path, str]]]:
    """The folder, what is chosen of it, and each file that is read with its sheet or list."""
    root, choice = _find(source, limit, split, config, encoding)
    folder = root if root is not None else Path(source).expanduser().parent
    for file in dict.fromkeys(table.file for table in choice.tables):
        _check_encoding_of(folder / file, encoding)
    return root, choice, [(folder / table.file, table.member) for table in choice.tables]


def _check_encoding_of(path: Path, encoding: str | None) -> None:
    """Refuse a text that is not in the encoding in which it would be read, and an encoding for what is no text."""
    kind = kind_of(path, encoding)
    if kind in _TEXTS:
        refuse_not_utf8(path, encoding)
    elif encoding is not None:
        raise ConfigError(f"{path} is a file of {kind.capitalize()}, which has no encoding; leave --encoding out")


def _find(
    source: str, limit: int | None, split: str | None, config: str | None, encoding: str | None
) -> tuple[Path | None, Choice]:
    """The folder that was given or fetched, None for a single file; and which tables are read."""
    path = Path(source).expanduser()
    _check_name(source)
    try:
        if source and path.is_dir():
            return path, _choose_in_folder(path, source, split, config, encoding)
        if path.is_file():
            return None, _choose_in_file(path, source, split, config, encoding)
        if source and path.exists():
            raise DataError(f"{source} is neither a file nor a folder; save it to a file first")
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}") from None
    hub_id = HubId.parse(source)
    if source in ("-", "/dev/stdin"):
        raise DataError("standard input is read once, and what is read here is looked at more often: save it to a file")
    no_id = "it is no hub id (owner/name or owner/name@revision, without the suffix of a file); check the path"
    if (fault := hub_id.path_fault() if hub_id else no_id) or hub_id is None:
        raise DataError(f"'{source}' does not exist as a file or folder, and {fault}")
    from notus.formats.hub import fetch, fetch_head  # most sources are files

    choose = partial(_choose_names, source=source, split=split, config=config)
    folder, choice = fetch(hub_id, choose) if limit is None else fetch_head(hub_id, limit, choose)
    return folder, choice or _choose_in_folder(folder, source, split, config, encoding)


def _check_name(name: str) -> None:
    """Refuse the name of a file that is no text: a record that says where it stood could not be written."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"the name of the file {os.fsencode(name)!r} is not UTF-8; rename it") from None


def _choose_in_file(path: Path, source: str, split: str | None, config: str | None, encoding: str | None) -> Choice:
    _check_encoding_of(path, encoding)
    members = members_of(path, encoding)
    if split not in (None, ALL) and not set(split.split("+")) <= members.keys():
        # Lists under any other name are rows where somebody says so; otherwise they may be those of a single row.
        members = members_of(path, encoding, every=True) or members
        if not members:
            raise ConfigError(f"{source} is a single table and has no splits; leave --split out")
    return choose_tables(with_members(Table(path.name), members), source, split, config)


def _choose_names(
    names: Sequence[str], read: Callable[[str], bytes], *, source: str, split: str | None, config: str | None
) -> Choice | None:
    """What is read of a set of which only the names are at hand; None where its files must be opened to tell."""
    tables = list_tables(names, read)
    if not tables or any(table.file.lower().endswith(_HOLD_SEVERAL) for table in tables):
        return None
    return choose_tables(tables, source, split, config)


def _choose_in_folder(folder: Path, source: str, split: str | None, config: str | None, encoding: str | None) -> Choice:
    """The tables of a folder that are read. In a run directory they are the records, not the tables beside them."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    data = [name for name in names if is_data(name)]
    for name in data:
        _check_name(name)
    kinds = {name: record_kind(folder / name) if name.lower().endswith(".parquet") else None for name in data}
    ours = [name for name, kind in kinds.items() if kind in _OUR_RECORDS]
    plain = [name for name, kind in kinds.items() if kind is None]
    further = [name for name, kind in kinds.items() if kind in _FURTHER_RECORDS]
    if not data or not (ours or plain or further):
        if "config.json" in names and MANIFEST not in names:
            raise DataError(f"{source} is a run that did not come to its end; its log.txt says why")
        raise DataError(f"{source} holds no data file; files ending in {', '.join(DATA_SUFFIXES)} are read")
    if ours or not plain:
        tables = [Table(name, split_of(name)) for name in ours or further]
        return choose_tables(tables, source, split or ALL, config)
    described = [name for name in names if is_description(name)]
    tables = list_tables(plain + described, lambda name: (folder / name).read_bytes())
    several = {
        table.file: members_of(folder / table.file, encoding)
        for table in tables
        if table.file.lower().endswith(_HOLD_SEVERAL)
    }
    every = [each for table in tables for each in with_members(table, several.get(table.file, ()))]
    choice = choose_tables(every, source, split, config)
    _refuse_twins(choice.tables, source)
    return choice


def _refuse_twins(tables: Iterable[Table], source: str) -> None:
    """Refuse one name in two kinds of file, which is likely the same data twice."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys(table.file for table in tables):
        suffix = next(each for each in sorted(DATA_SUFFIXES, key=len, reverse=True) if name.lower().endswith(each))
        twin = seen.setdefault(name[: -len(suffix)], name)
        if twin != name:
            raise DataError(f"{source} holds {twin} and {name}, which may be the same rows twice; name one of them")


def _format_of(path: Path, member: str, forced: Format | None, encoding: str | None) -> tuple[str, frozenset[str]]:
    """Name of the format, by the first row that has one, and the columns of text that it needs parsed as JSON.

    Raises:
        DataError: that says what is wrong with the first rows, where none has a format.
    """
    if forced is None and path.suffix.lower() == ".parquet" and (kind := record_kind(path)) is not None:
        own = next((name for name, each in OWN.items() if each.record and each.record.__name__ == kind), None)
        if own is not None:
            return own, frozenset()
    if forced is not None and (forced.matches is None or kind_of(path, encoding) not in _TEXT_TABLES):
        return forced.name, frozenset()
    named = detect if forced is None else (lambda row: forced.name if forced.matches and forced.matches(row) else None)
    rows, fault = _first_rows(path, member, encoding)
    name = next((name for row in rows if (name := named(row))), None)
    if name is None and kind_of(path, encoding) in _TEXT_TABLES and (cells := find_json_cells(rows)):
        name = next((name for row in rows if (name := named(parse_cells(row, cells)))), None)
        if name is not None:
            return name, cells
    if name is not None or forced is not None:
        return name or (forced.name if forced else ""), frozenset()
    if not rows:
        raise DataError(f"{path} holds no row that can be read: {fault or 'only empty lines'}")
    from notus.formats.mapping.look import no_format  # most files have a format

    raise NoFormatError(no_format(path, member, encoding), dict.fromkeys(name for row in rows for name in row))


def _first_rows(path: Path, member: str, encoding: str | None) -> tuple[list[Row], RowError | None]:
    """The first rows that can be parsed, and what is wrong with the first that cannot."""
    rows: list[Row] = []
    fault: RowError | None = None
    for _, payload in islice(read_rows(path, member=member, encoding=encoding), _LOOKED_AT):
        try:
            rows.append(parse_row(payload))
        except RowError as error:
            fault = fault or error
    return rows, fault


def _plain_rows(tables: Iterable[tuple[Path, str]], encoding: str | None) -> Iterator[Row]:
    """The rows that can be parsed; the others are told of when they are read."""
    for path, member in tables:
        for _, payload in read_rows(path, member=member, encoding=encoding):
            try:
                yield parse_row(payload)
            except RowError:
                continue


def _first_record(tables: Iterable[tuple[Path, str]], own: Format, encoding: str | None) -> type[Data]:
    """What a format that does not say it makes of the first row that it reads."""
    fault: RowError | None = None
    paths = list(tables)
    rows = (row for path, member in paths for _, row in read_rows(path, member=member, encoding=encoding))
    for payload in islice(rows, _LOOKED_AT):
        try:
            return type(_decode_row(own, payload))
        except RowError as error:
            fault = fault or error
    raise DataError(
        f"{paths[0][0]}: none of the first rows is read by {own.name}: {fault or 'there are only empty lines'}"
    )


@dataclass
class Shard:
    """Which shard it is, of how many; what is tallied on it goes to the run."""

    number: int
    of: int
    source: Source
    """What it reads."""
    tallies: list[Tally] = field(default_factory=list)

    def tally(self, stage: str, of: Literal["rows", "records", "parts"] = "records") -> Tally:
        """A new tally, that is put together with those of the other shards and written with the run."""
        tally = Tally(stage, of)
        self.tallies.append(tally)
        return tally

    def write(self, path: Path, records: Iterable[T], type: type[T]) -> int:  # noqa: A002
        """Write this shard's part of a table; the number of records is returned.

        With a single shard the table is one file, and otherwise a folder of parts; there is no part without a record.

        Raises:
            DataError: if it cannot be written.
        """
        part = part_path(path, self.number, self.of)
        return self._written(part, write_records(part, records, type))

    def write_columns(self, path: Path, tables: Iterable[pa.Table], type: type[Any]) -> int:  # noqa: A002
        """Write this shard's part of a table, of which the columns are given; see ``write``."""
        part = part_path(path, self.number, self.of)
        return self._written(part, write_columns(part, tables, type))

    def _written(self, part: Path, count: int) -> int:
        if not count and self.of > 1:
            part.unlink()
        return count


Work = Callable[[Iterator[Any], Shard], R]
"""What is done to the records of a shard: a function of a module, or a ``partial`` of one, for it is sent to processes.
Its result comes back whole, and should be small: records are written by the worker."""


def sharded(run: Run, source: Source, work: Work[R], workers: int | None = None, *, again: bool = False) -> Iterator[R]:
    """Do work on each shard of a source, and give the results in order.

    Args:
        run: its quarantine and tallies take what the shards leave.
        source: opened and not yet read.
        work: reads all records that it is given.
        workers: number of processes; None takes the cores that may be used. A small source is worked on here.
        again: whether the source is read a second time: its rows, the bad ones too, were counted before.

    Raises:
        DataError: if a file cannot be read, a row is bad in strict mode, or no row fits the format.
        NotusError: what the work raises.
    """
    shards = source.shards()
    tasks = [_Task(shard, number, len(shards)) for number, shard in enumerate(shards)]
    read = Tally("read", "rows") if again else run.tally("read", "rows")
    tallies = {"read": read}
    with Quarantine(None if again else run.path / "quarantine.jsonl") as quarantine:
        for done in map_shards(partial(_work_on, work), tasks, workers if len(tasks) >= _WORTH_A_PROCESS else 1):
            for entry in done.entries:
                quarantine.add(entry)
            for tally in done.tallies:
                if tally.stage not in tallies:
                    tallies[tally.stage] = run.tally(tally.stage, tally.of)
                tallies[tally.stage].merge(tally)
            yield done.result
        if not again:
            _report_bad_rows(run, source, read, quarantine)


def read_counted(
    run: Run, source: Source | Sequence[Source], stage: str = "read", *, name: str | None = None
) -> Iterator[Data]:
    """Read a source here, record by record, on the account of a run: its tally counts, its quarantine takes bad rows.

    Args:
        run: takes both.
        source: opened and not yet read; several, of one format, are read one after another on one account.
        stage: name of the tally. Of several sources each needs one: ``read-a`` has ``quarantine_a.jsonl``.
        name: what was read, for errors; None takes the name of the first source.

    Raises:
        DataError: as ``sharded``.
    """
    sources = [source] if isinstance(source, Source) else list(source)
    # Noted before the stages behind it, although nothing is read until the first record is asked for.
    return _read_counted(run, sources, run.tally(stage, "rows"), name)


def _read_counted(run: Run, sources: Sequence[Source], read: Tally, name: str | None) -> Iterator[Data]:
    file = f"quarantine{read.stage.removeprefix('read').replace('-', '_')}.jsonl"
    with Quarantine(run.path / file) as quarantine:
        for source in sources:
            yield from source.records(read, quarantine)
    if sources:
        _report_bad_rows(run, sources[0] if name is None else replace(sources[0], name=name), read, quarantine)


def _report_bad_rows(run: Run, source: Source, read: Tally, quarantine: Quarantine) -> None:
    bad = quarantine.total
    if bad and not read.given:
        raise run.refuse_losses(f"none of the {bad:,} rows of {source.name} fits the format {source.format}")
    if bad:
        run.note(quarantined=run.summary.get("quarantined", 0) + bad, quarantine=quarantine.summary())
    run.check_losses(source.name, [read])


@dataclass(frozen=True)
class _Task:
    source: Source
    number: int
    of: int


@dataclass(frozen=True)
class _Done(Generic[R]):
    result: R
    entries: list[Entry]
    tallies: list[Tally]


class _Sent(Quarantine):
    """Bad rows that are to be sent to the process that writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        super().add(entry)
        self.entries.append(entry)


def _work_on(work: Work[R], task: _Task) -> _Done[R]:
    shard, quarantine = Shard(task.number, task.of, task.source), _Sent()
    read = Tally("read", "rows")
    result = work(task.source.records(read, quarantine), shard)
    return _Done(result, quarantine.entries, [read, *shard.tallies])
