"""The step that compares two preference sets."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from notus.clean.leaks import compare_sides
from notus.core.artifacts import FINDINGS, Artifact
from notus.core.errors import DataError
from notus.core.records import Feedback, Preference
from notus.core.run import atomic
from notus.core.splits import PROMPT, Division
from notus.core.stage import Tally
from notus.core.tables import read_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source
from notus.preferences.diff import PromptDifference, compare_sets
from notus.report.difference import difference_report, difference_sections
from notus.report.page import render
from notus.stats.intervals import estimates_as_json
from notus.steps.base import HELD, Context, PairsRef, Reads, held_out_beside
from notus.steps.data.division import say_leaks

__all__ = ["DIFFERENCES", "Diff"]

DIFFERENCES = Artifact("differences", "differences.parquet", PromptDifference)
"""Each prompt, with what the two sets make of it."""


class Diff(Reads):
    """Compare two preference sets, made of the same feedback or not."""

    step_type: ClassVar[str] = "diff"
    leaves: ClassVar[tuple[Artifact, ...]] = (DIFFERENCES, FINDINGS)
    draws: ClassVar[bool] = False
    a: PairsRef
    """Preference pairs."""
    b: PairsRef
    """The pairs to compare them with."""

    def run(self, context: Context) -> None:
        """Compare two preference sets: a table of all prompts, findings as JSON, pictures as SVG, a page."""
        sources = (context.source("a"), context.source("b"))
        reads = tuple(_pairs_of(context, source, name) for source, name in zip(sources, ("a", "b"), strict=True))
        found = compare_sets(reads[0], reads[1], (context.inputs["a"], context.inputs["b"]))
        context.write(DIFFERENCES, found.rows)
        context.write_findings(difference_sections(found))
        with atomic(context.path / "report.html") as file:
            file.write(render(difference_report(found)))
        context.note(pairs_a=found.pairs[0], pairs_b=found.pairs[1], **dict(sorted(found.counts.items())))
        length = None if found.length is None else found.length.as_json("characters")
        shares = {"longer": found.longer, "models": found.models}
        context.note(figures={**estimates_as_json(shares, "share"), "length": length})
        both = compare_sides(reads[0](), reads[1](), Division(0.0, 0))
        say_leaks(context, both, PROMPT, "to train on the one and measure on the other, divide them together")


def _pairs_of(context: Context, source: Source, name: str) -> Callable[[], Iterator[Preference]]:
    """What reads a set from its beginning, the part that was held out included; only the first time counts rows."""
    if source.record is not Preference:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.format}); a comparison needs preference "
            f"pairs{', binarize it first' if source.record is Feedback else ''}"
        )
    counted = iter((context.records(source, f"read-{name}"),))

    def read() -> Iterator[Preference]:
        for record in next(counted, None) or source.records(Tally("again"), Quarantine()):
            assert isinstance(record, Preference)
            yield record
        if aside := held_out_beside(source):
            yield from read_records(aside, Preference)

    return read
