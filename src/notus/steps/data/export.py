"""The step that writes a source in somebody else's format."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import pydantic

from notus.core.artifacts import QUARANTINE, ROWS, ROWS_TABLE, Artifact
from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.stage import Stage, apply
from notus.formats.format import Data
from notus.formats.source import Source, write_jsonl
from notus.formats.write import NO_PLACE, encode_rows, write_parquet, writer_named
from notus.preferences.convert import dialogues, unpaired
from notus.steps.base import HELD, Context, Reads, SourceRef, held_out_beside

__all__ = ["Export"]


class Export(Reads):
    """Write feedback, pairs or dialogues in somebody else's layout."""

    step_type: ClassVar[str] = "export"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (ROWS, ROWS_TABLE, QUARANTINE)
    draws: ClassVar[bool] = False
    data: SourceRef = "data"
    """A file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    to: str = "trl"
    """Format of the rows: argilla, argilla-cleaned, h4, trl, trl-implicit, trl-unpaired, trl-sft,
    trl-prompt-completion, trl-grpo, ultrachat or ultrafeedback. What it cannot hold is dropped, with the reason."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """JSON lines, or Parquet."""
    strategy: Literal["auto", "mean-rating", "critique", "repaired-critique", "ranker", "votes"] = "auto"
    """What ranks the completions where feedback becomes unpaired rows or dialogues; auto is the mean rating, and votes
    for a prompt that has rankings and no rating."""
    question: str | None = None
    """Of votes or ranked lists on several questions, the one that is meant."""
    top: int = pydantic.Field(default=1, ge=1)
    """How many of the best answers of a prompt become dialogues."""
    threshold: float | None = None
    """Score above which an answer is wanted, for unpaired rows; null takes the mean of the scores of its prompt."""

    @pydantic.field_validator("to")
    @classmethod
    def _can_be_written(cls, to: str) -> str:
        try:
            writer_named(to)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return to

    def run(self, context: Context) -> None:
        """Write a source as rows of a format: ``rows.jsonl`` or ``rows.parquet``.

        Feedback and pairs become unpaired rows or dialogues where the format holds those; feedback becomes pairs only
        by ``binarize``, which decides more than a format.
        """
        source = context.source("data")
        conversion = _conversion(source, self)
        path = context.path / f"rows.{self.format}"
        records: Iterable[Any] = context.records(source)
        if conversion is not None:
            records = apply(conversion, records, context.tally("convert"))
        # One record can become several rows, which are then no longer what was read.
        written = context.tally("write", "records" if conversion is None else "parts")
        rows = apply(encode_rows(self.to), records, written)
        count = write_parquet(path, rows) if self.format == "parquet" else write_jsonl(path, rows)
        if not count:
            path.unlink(missing_ok=True)
            raise context.run.refuse_losses(f"{source.name} gives no row of the layout {self.to}")
        context.note(layout=source.format, to=self.to, rows=count, no_place=len(written.dropped), file=path.name)
        lost = {name.removeprefix(NO_PLACE): n for name, n in written.counts.items() if name.startswith(NO_PLACE)}
        if lost:
            context.note(without_place=", ".join(f"{field} ({count:,})" for field, count in sorted(lost.items())))
        if kept := held_out_beside(source):
            context.note(not_read=f"the held-out pairs beside them; export {kept} for those")


def _conversion(source: Source, config: Export) -> Stage[Any, Any] | None:
    """What makes the records of the layout out of those of the source; None where they are the same.

    Raises:
        DataError: if the layout holds something that the source does not.
    """
    given, wanted = source.record, writer_named(config.to).record
    if given is wanted:
        return None
    convertible: tuple[type[Data], ...] = (Feedback, Preference)
    if given in convertible and wanted is Unpaired:
        return unpaired(config.strategy, config.threshold, config.question)
    if given in (*convertible, Unpaired) and wanted is Dialogue:
        return dialogues(config.strategy, config.top, config.question)
    way_out = "binarize it first" if given is Feedback and wanted is Preference else "choose another layout"
    raise DataError(
        f"{source.name} holds {HELD[given]} (layout {source.format}), and the layout '{config.to}' is written from "
        f"{HELD[wanted]}; {way_out}"
    )
