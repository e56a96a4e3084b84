"""The step that reads a source into our own records, and keeps pairs for evaluation."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from notus.core.artifacts import DIALOGUES, FEEDBACK, HELD_OUT, PREFERENCES, UNPAIRED, Artifact
from notus.core.errors import DataError, NotusError
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.splits import PROMPT, Division, Fold, HeldOutBy
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.core.text import counted, format_list
from notus.formats.format import Data
from notus.formats.mapping.look import other_readings
from notus.formats.quarantine import Quarantine
from notus.formats.registry import OWN
from notus.formats.source import Shard, Source
from notus.steps.base import HELD, TABLES, Context, Reads, Ref, held_out_beside, open_records
from notus.steps.data.division import BEFORE, plan_division, say_leaks, say_sides

__all__ = ["Read", "pairs_beside"]

_HELD_OUT_SPLIT = re.compile(r"test|val|eval|dev")
"""In the name of a split that is there to measure on."""


class Read(Reads):
    """Read feedback or preference pairs from files or the hub."""

    step_type: ClassVar[str] = "read"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, PREFERENCES, UNPAIRED, DIALOGUES, HELD_OUT)
    draws: ClassVar[bool] = False
    path: Ref
    """A file, a folder or a hub id, with ``@revision`` behind it if wanted."""
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation; for preference pairs."""
    held_out_by: HeldOutBy = PROMPT
    """What is wholly on one side: prompt, source, near-duplicates, answer, column:PATH (column:user), several of them
    with + between, or time:PATH, by which the latest are held out."""
    fold: Fold | None = None
    """A fold of the prompts that is kept for evaluation instead, so that the model which is trained on the others can
    judge it; for preference pairs."""

    @pydantic.model_validator(mode="after")
    def _held_out_or_fold(self) -> Self:
        if self.held_out and self.fold:
            raise ValueError("'held_out' and 'fold' both say what is kept for evaluation; leave one out")
        return self

    def run(self, context: Context) -> None:
        """Read a source into our own records; preference pairs are divided into train and held-out."""
        source = context.source("path")
        told = self.layout is None and self.map is None and source.format not in OWN
        if told and (others := other_readings(source.paths[0], "".join(source.members[:1]), source.encoding)):
            context.note(fits_too=", ".join(others))
        table = TABLES[source.record].at(context.path)
        if source.record is not Preference:
            if self.fold or self.held_out:
                raise DataError(
                    f"{source.name} holds {HELD[source.record]}, and only preference pairs are held out; leave "
                    f"{'fold' if self.fold else 'held_out (--held-out)'} out"
                )
            rows = sum(context.shards(source, partial(_copy_shard, table, source.record), self.workers))
            context.note(layout=source.format, rows=rows)
            _say_other_splits(context, self, source, table)
            return
        # What an earlier run has held out stays held out; otherwise it is drawn here.
        aside, kept = HELD_OUT.at(context.path), held_out_beside(source)
        asked = Division(self.held_out, 0, self.held_out_by)
        division = Division(0.0, 0) if kept or self.fold else plan_division(context, source, asked, self.workers)
        is_aside = partial(_in_fold, self.fold) if self.fold else division.holds
        sizes = list(context.shards(source, partial(_write_split, table, aside, is_aside), self.workers))
        train, held_out = (sum(numbers) for numbers in zip(*sizes, strict=True))
        if self.fold and not (train and held_out):
            raise DataError(
                f"fold {self.fold.number} of {self.fold.of} holds {held_out:,} of the {train + held_out:,} pairs of "
                f"{source.name}; both it and the others need some: take fewer folds, or more pairs"
            )
        if kept and self.fold:
            context.note(not_read=f"{pairs_beside(kept)} beside them, which are in no fold")
        elif kept:
            beside = context.decided_records(read_records(kept, Preference), context.tally("read-held-out", "rows"))
            held_out = write_records(aside, beside, Preference)
            context.note(not_read=f"{counted(held_out, 'held-out pair')} beside them")
        elif not held_out:
            write_records(aside, (), Preference)
        context.note(layout=source.format, rows=train + held_out, train=train, held_out=held_out)
        if held_out:
            _say(context, self, division, table, aside, bool(kept))
        else:
            _say_other_splits(context, self, source, table)


def _say(context: Context, config: Read, division: Division, table: Path, aside: Path, kept: bool) -> None:
    """Note how the division came out, whoever made it."""
    sides = read_records(table, Preference), read_records(aside, Preference)
    from notus.clean.leaks import compare_sides  # heavy, and most sources are not divided

    if not kept and not config.fold:
        say_sides(context, division, compare_sides(*sides, division))
        return
    how = BEFORE if kept else "a fold goes by prompts: take a share, divided"
    say_leaks(context, compare_sides(*sides, division), PROMPT, how)


def _say_other_splits(context: Context, config: Read, source: Source, table: Path) -> None:
    """Note what the rows have in common with a split that lies beside them, is not read, and is for the other use.

    What is for evaluation has a name such as test or validation. On the hub such a split is fetched, as a small one;
    the train split of what is read for evaluation is not.
    """
    read_held = _HELD_OUT_SPLIT.search(config.split or "train") is not None
    for name in re.findall(r"\bsplit (\S+) \(", source.not_read):
        if (_HELD_OUT_SPLIT.search(name) is not None) == read_held:
            continue
        if read_held and not Path(source.name).exists():
            context.log(f"the split {name}, which would have to be fetched, is not compared with what is read")
            continue
        try:
            other = open_records(config.model_copy(update={"split": name}), source.name, context.decided)
        except NotusError as error:
            context.log(f"the split {name} is not compared with what is read: {error}")
            continue
        if other.record is source.record:
            _say_leaks_between(context, source.record, table, other, name, read_held=read_held)


def _say_leaks_between(
    context: Context, record: type[Data], table: Path, other: Source, name: str, *, read_held: bool
) -> None:
    from notus.clean.leaks import compare_sides

    mine = map(_as_row, read_records(table, record))
    theirs = map(_as_row, other.records(Tally(name), Quarantine()))
    train, held = (theirs, mine) if read_held else (mine, theirs)
    sides = compare_sides(train, held, Division(0.0, 0))
    of = f"of what is read and the split {name}"
    if record in (Preference, Feedback):
        how = "to divide both anew" if record is Preference else "to divide both anew when pairs are made of them"
        say_leaks(context, sides, PROMPT, f"{of}; {how} (--split all --held-out 0.1)")
    elif sides.leaks:
        context.note(on_both_sides={leak.by: leak.groups for leak in sides.leaks})
        told = format_list([str(leak) for leak in sides.leaks], len(sides.leaks))
        context.note(leaks=f"{told} on both sides {of}: what is measured on them is not unseen")


def _as_row(record: Any) -> Any:
    """What is compared: of a dialogue all turns before its first answer as the prompt, and the others as the answer."""
    if not isinstance(record, Dialogue):
        return record
    turns = record.messages
    first = next((at for at, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    answer = turns[first:] or (Message(role="assistant", content=""),)
    return Unpaired(prompt=turns[:first] or turns, answer=answer, desirable=True, extra=record.extra)


def _in_fold(fold: Fold, row: Preference) -> bool:
    return fold.holds(row.prompt_id)


def _copy_shard(path: Path, kind: type[Data], records: Iterator[Data], shard: Shard) -> int:
    return shard.write(path, records, kind)


def _write_split(
    train: Path, aside: Path, is_aside: Callable[[Preference], bool], records: Iterator[Preference], shard: Shard
) -> tuple[int, int]:
    """Write the pairs of a shard, those of held-out prompts aside; the numbers of both."""
    kept: list[Preference] = []

    def others() -> Iterator[Preference]:
        for record in records:
            if is_aside(record):
                kept.append(record)
            else:
                yield record

    count = shard.write(train, others(), Preference)
    return count, shard.write(aside, kept, Preference) if kept else 0


def pairs_beside(kept: Path) -> str:
    """The number of pairs that were held out, in words."""
    return counted(sum(1 for _ in read_records(kept, Preference)), "held-out pair")
