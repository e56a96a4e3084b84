"""Work on a source shard by shard, in processes, as a step of a run: what each shard gave, in order.

    for pairs in sharded(run, source, partial(_pairs, run.path / "preferences.parquet"), workers):
        …

    def _pairs(path: Path, records: Iterator[Feedback], shard: Shard) -> int:      # in a worker
        kept = apply(stage, records, shard.tally("binarize"))
        return shard.write(path, kept, Preference)

Owns how shards are read and put together again: bad rows into the run's quarantine with their line in the file, tallies
into the run's. A shard is a matter of the files alone, so that the bytes of a result do not depend on the number of
workers; and so many bytes, that memory does not grow with the file.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from notus.core.errors import DataError
from notus.core.run import Run
from notus.core.shards import map_shards
from notus.core.stage import Tally
from notus.core.tables import part_path, write_records
from notus.data.quarantine import Entry, Quarantine
from notus.data.sources import Source

__all__ = ["Shard", "Work", "sharded"]

R = TypeVar("R")
T = TypeVar("T")

_WORTH_A_PROCESS = 4
"""Shards from which on processes are started: for fewer, their start would take longer than the work."""


@dataclass
class Shard:
    """Which shard it is, of how many; what is tallied on it goes to the run."""

    number: int
    of: int
    tallies: list[Tally] = field(default_factory=list)

    def tally(self, stage: str) -> Tally:
        """A new tally, that is put together with those of the other shards and written with the run."""
        tally = Tally(stage)
        self.tallies.append(tally)
        return tally

    def write(self, path: Path, records: Iterable[T], type: type[T]) -> int:  # noqa: A002
        """Write this shard's part of a table; the number of records is returned.

        With a single shard the table is one file, and otherwise a folder of parts; there is no part without a record.

        Raises:
            DataError: if it cannot be written.
        """
        part = part_path(path, self.number, self.of)
        count = write_records(part, records, type)
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
        DataError: if a file cannot be read, a row is bad in strict mode, or no row fits the layout.
        NotusError: what the work raises.
    """
    shards = source.shards()
    tasks = [_Task(shard, number, len(shards)) for number, shard in enumerate(shards)]
    read = Tally("read") if again else run.tally("read")
    tallies = {"read": read}
    with Quarantine(None if again else run.path / "quarantine.jsonl") as quarantine:
        for done in map_shards(partial(_do, work), tasks, workers if len(tasks) >= _WORTH_A_PROCESS else 1):
            for entry in done.entries:
                quarantine.add(entry)
            for tally in done.tallies:
                if tally.stage not in tallies:
                    tallies[tally.stage] = run.tally(tally.stage)
                tallies[tally.stage].merge(tally)
            yield done.result
        if not again:
            _report(run, source, read, quarantine)


def _report(run: Run, source: Source, read: Tally, quarantine: Quarantine) -> None:
    bad = quarantine.total
    if bad and not read.given:
        raise DataError(
            f"none of the {bad:,} rows of {source.name} fits the layout {source.layout}: {quarantine.summary()}"
        )
    if bad:
        run.note(quarantined=bad, quarantine=quarantine.summary())


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


class _Kept(Quarantine):
    """Bad rows that are to be sent to the process that writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        super().add(entry)
        self.entries.append(entry)


def _do(work: Work[R], task: _Task) -> _Done[R]:
    shard, quarantine = Shard(task.number, task.of), _Kept()
    read = Tally("read")
    result = work(task.source.records(read, quarantine), shard)
    return _Done(result, quarantine.entries, [read, *shard.tallies])
