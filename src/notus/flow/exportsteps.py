"""The step that writes a source in somebody else's layout."""

from collections.abc import Iterable, Mapping
from typing import Any

from notus.core.errors import DataError
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.run import Run
from notus.core.stage import Stage, apply
from notus.data.conversions import dialogues, unpaired
from notus.data.layouts import Data
from notus.data.quarantine import Quarantine
from notus.data.sources import Source, write_jsonl
from notus.data.writers import write_layout, write_parquet, writer_named
from notus.flow import kinds
from notus.flow.datasteps import HELD, held_out_beside, open_given

__all__ = ["export"]


def export(run: Run, config: kinds.Export, inputs: Mapping[str, str], seed: int | None) -> None:
    """Write a source as rows of a layout: ``rows.jsonl`` or ``rows.parquet``.

    Feedback and pairs become unpaired rows or dialogues where the layout holds those; feedback becomes pairs only by
    ``binarize``, which decides more than a layout.
    """
    del seed
    source = open_given(config, inputs["data"])
    conversion = _conversion(source, config)
    path = run.path / f"rows.{config.format}"
    with Quarantine(run.path / "quarantine.jsonl") as quarantine:
        read = run.tally("read")
        records: Iterable[Any] = source.records(read, quarantine)
        if conversion is not None:
            records = apply(conversion, records, run.tally("convert"))
        written = run.tally("write")
        rows = apply(write_layout(config.to), records, written)
        count = write_parquet(path, rows) if config.format == "parquet" else write_jsonl(path, rows)
    if not count:
        reasons = f"{quarantine.total:,} of {read.taken:,} rows are bad, {len(written.dropped):,} have no place"
        raise DataError(f"{source.name} gives no row of the layout {config.to}: {reasons}")
    if quarantine.total:
        run.note(quarantined=quarantine.total, quarantine=quarantine.summary())
    run.note(layout=source.layout, to=config.to, rows=count, no_place=len(written.dropped), file=path.name)
    if kept := held_out_beside(source):
        run.note(not_read=f"the held-out pairs beside them; export {kept} for those")


def _conversion(source: Source, config: kinds.Export) -> Stage[Any, Any] | None:
    """What makes the records of the layout out of those of the source; None where they are the same.

    Raises:
        DataError: if the layout holds something that the source does not.
    """
    given, wanted = source.record, writer_named(config.to).record
    if given is wanted:
        return None
    convertible: tuple[type[Data], ...] = (Feedback, Preference)
    if given in convertible and wanted is Unpaired:
        return unpaired(config.strategy, config.threshold)
    if given in convertible and wanted is Dialogue:
        return dialogues(config.strategy, config.top)
    way_out = "binarize it first" if given is Feedback and wanted is Preference else "choose another layout"
    raise DataError(
        f"{source.name} holds {HELD[given]} (layout {source.layout}), and the layout '{config.to}' is written from "
        f"{HELD[wanted]}; {way_out}"
    )
