"""Data sets on the Hugging Face hub: bring the data files to this machine, or only their first rows.

Owns the download and its errors in one line. Reading what came is the business of ``data.sources``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from notus.core.errors import DataError, MissingExtraError, require
from notus.core.hub_id import DATA_SUFFIXES, HubId
from notus.core.run import atomic

__all__ = ["fetch", "fetch_head"]

_BLOCK = 1 << 20
"""Bytes that are asked for at once while the beginning of a file is read."""
_LINES = (".jsonl", ".ndjson")
_COMPLETE = ".complete"


def fetch(hub_id: HubId) -> Path:
    """Download the data files of a set, or find them in the hub's cache, and return the folder of that revision.

    Raises:
        MissingExtraError: if huggingface_hub is not installed.
        DataError: if the set or the revision is unknown, closed, or the hub cannot be reached.
    """
    hub = _library(hub_id)
    with _explained(hub_id):
        folder = hub.snapshot_download(
            hub_id.name,
            repo_type="dataset",
            revision=hub_id.revision,
            allow_patterns=[f"*{suffix}" for suffix in DATA_SUFFIXES],
        )
    return Path(folder)


def fetch_head(hub_id: HubId, rows: int) -> Path:
    """Copy the first rows of a set, file by file in the order of their names, and return the folder that holds them.

    Of JSON lines so many lines are read from the beginning, of Parquet so many rows, which costs whole row groups; the
    rest is never downloaded. The copy is kept by commit and number of rows; its hash is that of the copy. A set with
    data files of another form (a JSON list must be read whole) is downloaded as by ``fetch``, and so is one of which
    the hub cannot be asked, because the cache may hold it.

    Raises:
        MissingExtraError, DataError: as ``fetch``.
    """
    hub = _library(hub_id)
    errors = require("huggingface_hub.errors", extra="hub")
    try:
        info = hub.HfApi().dataset_info(hub_id.name, revision=hub_id.revision)
    except (errors.HTTPError, errors.HFValidationError, OSError):
        return fetch(hub_id)  # it finds the set in the cache, or says what is amiss
    with _explained(hub_id):
        system = hub.HfFileSystem()
        root = f"datasets/{hub_id.name}@{info.sha}"
        names = [path.removeprefix(f"{root}/") for path in sorted(system.find(root))]
        data = [name for name in names if name.lower().endswith(DATA_SUFFIXES) and not _hidden(name)]
        label = f"{hub_id.name.replace('/', '--')}--{info.sha}--{rows}"
        folder = Path(hub.cached_assets_path("notus", namespace="heads", subfolder=label))
        if not data or not all(name.lower().endswith((*_LINES, ".parquet")) for name in data):
            return fetch(hub_id)
        if not (folder / _COMPLETE).exists():
            if not _copied(system, root, data, folder, rows):
                return fetch(hub_id)
            (folder / _COMPLETE).touch()
    return folder


def _copied(system: Any, root: str, names: list[str], folder: Path, rows: int) -> bool:
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
        source = pq.ParquetFile(file)
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


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _library(hub_id: HubId) -> Any:
    try:
        return require("huggingface_hub", extra="hub")
    except MissingExtraError as error:
        raise MissingExtraError(f"'{hub_id}' is no path here, and to read it as an id on the hub: {error}") from None


@contextmanager
def _explained(hub_id: HubId) -> Iterator[None]:
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
