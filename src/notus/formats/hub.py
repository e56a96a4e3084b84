"""Data sets on the Hugging Face hub: bring the data files to this machine, or only their first rows.

Owns the download and its errors in one line. Which files are read is said by who asks, from their names; reading what
came is the business of ``formats.source``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError, MissingExtraError, require
from notus.core.records import digest
from notus.core.run import atomic
from notus.core.text import DATA_SUFFIXES, HubId
from notus.formats.splits import DESCRIPTIONS, Choice, is_data

__all__ = ["Choose", "fetch", "fetch_head"]

_BLOCK = 1 << 20
"""Bytes that are asked for at once while the beginning of a file is read."""
_LINES = (".jsonl", ".ndjson")
_COMPLETE = ".complete"


Choose = Callable[[Sequence[str], Callable[[str], bytes]], Choice | None]
"""Says of the names of all files, and a reader of small ones, what is read; None where the files are needed to tell."""


def fetch(hub_id: HubId, choose: Choose) -> tuple[Path, Choice | None]:
    """Download the data files of a set that are read, or find them in the hub's cache: the folder of that revision.

    Where the hub cannot be asked for the names, what the cache holds is all that there is. The choice is None where it
    must be made in the folder.

    Raises:
        MissingExtraError: if huggingface_hub is not installed.
        DataError: if the set or the revision is unknown, closed, or the hub cannot be reached.
        NotusError: what ``choose`` raises.
    """
    hub = _library(hub_id)
    listing = _ask(hub, hub_id)
    choice = None
    if listing is not None:
        with _hub_errors(hub_id):
            choice = choose(listing.names, listing.read)
    return _download(hub, hub_id, choice), choice


def fetch_head(hub_id: HubId, rows: int, choose: Choose) -> tuple[Path, Choice | None]:
    """Copy the first rows of a set, file by file in the order of their names: the folder that holds them.

    Of JSON lines so many lines are read from the beginning, of Parquet so many rows, which costs whole row groups; the
    rest is never downloaded. The copy is kept by commit and number of rows; its hash is that of the copy. A set with
    data files of another form (a JSON list must be read whole) is downloaded as by ``fetch``, and so is one of which
    the hub cannot be asked, because the cache may hold it.

    Raises:
        MissingExtraError, DataError, NotusError: as ``fetch``.
    """
    hub = _library(hub_id)
    listing = _ask(hub, hub_id)
    if listing is None:
        return _download(hub, hub_id, None), None  # it finds the set in the cache, or says what is amiss
    with _hub_errors(hub_id):
        choice = choose(listing.names, listing.read)
        data = [] if choice is None else [table.file for table in choice.tables]
        if choice is None or not all(name.lower().endswith((*_LINES, ".parquet")) for name in data):
            return _download(hub, hub_id, choice), choice
        which = digest(*data) if len(data) < sum(map(is_data, listing.names)) else ""
        label = "--".join(part for part in (hub_id.name.replace("/", "--"), listing.commit, str(rows), which) if part)
        folder = Path(hub.cached_assets_path("notus", namespace="heads", subfolder=label))
        if not (folder / _COMPLETE).exists():
            if not _copy_rows(listing.system, listing.root, data, folder, rows):
                return _download(hub, hub_id, choice), choice
            (folder / _COMPLETE).touch()
    there = tuple(table for table in choice.tables if (folder / table.file).exists())  # a limit may need no more
    return folder, replace(choice, tables=there)


@dataclass(frozen=True)
class _Listing:
    """The names of all files of a set at one commit, and how they are read."""

    system: Any
    root: str
    commit: str
    names: list[str]

    def read(self, name: str) -> bytes:
        with self.system.open(f"{self.root}/{name}", "rb") as file:
            return bytes(file.read())


def _ask(hub: Any, hub_id: HubId) -> _Listing | None:
    """The names of the files of a set; None where the hub cannot be asked."""
    errors = require("huggingface_hub.errors", extra="hub")
    try:
        info = hub.HfApi().dataset_info(hub_id.name, revision=hub_id.revision)
        system = hub.HfFileSystem()
        root = f"datasets/{hub_id.name}@{info.sha}"
        names = [path.removeprefix(f"{root}/") for path in sorted(system.find(root))]
    except (errors.HTTPError, errors.HFValidationError, OSError):
        return None
    return _Listing(system, root, info.sha, names)


def _download(hub: Any, hub_id: HubId, choice: Choice | None) -> Path:
    names = [f"*{suffix}" for suffix in DATA_SUFFIXES] if choice is None else [each.file for each in choice.tables]
    with _hub_errors(hub_id):
        folder = hub.snapshot_download(
            hub_id.name,
            repo_type="dataset",
            revision=hub_id.revision,
            allow_patterns=[*names, *DESCRIPTIONS, *(f"*/{name}" for name in DESCRIPTIONS)],
        )
    return Path(folder)


def _copy_rows(system: Any, root: str, names: list[str], folder: Path, rows: int) -> bool:
    """Copy the first rows of the files; False if a file that is named as lines holds a list."""
    left = rows
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with system.open(f"{root}/{name}", "rb", block_size=_BLOCK) as file:
            head_of = _head_of_table if target.suffix.lower() == ".parquet" else _head_of_lines
            count = head_of(file, target, left)
        if count < 0:
            return False
        left -= count
        if left <= 0:
            break
    return True


def _head_of_lines(file: Any, target: Path, rows: int) -> int:
    count = 0
    with atomic(target, "wb") as copy:
        for line in file:
            if not count and line.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                return -1
            copy.write(line)
            count += not line.isspace()
            if count == rows:
                break
    return count


def _head_of_table(file: Any, target: Path, rows: int) -> int:
    count = 0
    try:
        source = pq.ParquetFile(file, page_checksum_verification=True)
        with atomic(target, "wb") as copy, pq.ParquetWriter(copy, source.schema_arrow) as writer:
            for group in range(source.num_row_groups):  # one at a time: all at once would be asked for ahead
                for batch in source.iter_batches(batch_size=1024, row_groups=[group]):
                    part = batch.slice(0, rows - count)
                    writer.write_batch(part)
                    count += part.num_rows
                if count == rows:
                    break
    except pa.ArrowException as error:
        raise OSError(f"{target.name}: {error}") from None
    return count


def _library(hub_id: HubId) -> Any:
    try:
        return require("huggingface_hub", extra="hub")
    except MissingExtraError as error:
        raise MissingExtraError(f"'{hub_id}' is no path here, and to read it as an id on the hub: {error}") from None


@contextmanager
def _hub_errors(hub_id: HubId) -> Iterator[None]:
    """Say in one line what the hub's errors mean."""
    errors = require("huggingface_hub.errors", extra="hub")
    reading = f"'{hub_id}' is no path here, and as a data set on the hub"
    try:
        yield
    except errors.GatedRepoError:
        raise DataError(f"{reading} it is gated: accept its terms on its page, then run 'hf auth login'") from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{reading} it has no revision '{hub_id.revision}'") from None
    except errors.RepositoryNotFoundError:
        raise DataError(f"{reading} it is unknown or private: check the spelling, or run 'hf auth login'") from None
    except errors.LocalEntryNotFoundError:
        raise DataError(f"{reading} it is not in the cache and the hub cannot be reached: check the network") from None
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise DataError(f"{reading} it cannot be read: {str(error).strip().partition(chr(10))[0]}") from None
