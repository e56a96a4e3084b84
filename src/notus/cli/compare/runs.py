"""The command that compares runs: arms with intervals, what people's labels make of them, and what is required."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from notus.cli.options import AsJson

if TYPE_CHECKING:  # imported when it is called, so that the help is quick
    from collections.abc import Mapping, Sequence

    from notus.evaluate.compare import Comparison
    from notus.evaluate.gate.requirement import Outcome
    from notus.evaluate.people.correct import ByPeople

__all__ = ["compare"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Directories of recipes that were run, or of single evaluations.")],
    baseline: Annotated[str | None, typer.Option(help="Arm that the others are placed beside.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="People's labels of some answers (notus labels), or an arena: the judge is corrected."
        ),
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Category of each prompt (prompt_id, category); goes with --labels."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE",
            help="What must be shown: 'dpo - sft > 0', 'dpo >= .5'. May be repeated; exit code 1 if one is not held.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was required as JUnit XML, for a CI job.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a summary as Markdown, for a CI job.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files of --junit and --markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare arms, of one run or of several: means with intervals, and what can be told apart."""
    from notus.core.disk.named import check_named_file
    from notus.core.errors import ConfigError
    from notus.evaluate.people.correct import correct_all
    from notus.evaluate.people.labels import read_categories
    from notus.recipes.experiment import gather_runs
    from notus.recipes.votes import labels_beside

    if categories is not None and labels is None:
        raise ConfigError("--categories goes with --labels: without labels nothing is corrected by category")
    for place in filter(None, (junit, markdown)):
        check_named_file(place, force=force)
    gathered = gather_runs(runs)
    lines = [*gathered.require, *(require or [])]
    if junit is not None and not lines:
        raise ConfigError("--junit writes what is required, and nothing is; add --require LINE, or to the recipe")
    told = None
    if labels is not None:
        gathered, told = labels_beside(gathered, labels)
    outcomes = gathered.outcomes(lines, None if told is None else told.labels)
    by: dict[str, ByPeople] = {}
    if told is not None:
        parts = None if categories is None else read_categories(categories)
        by = correct_all(gathered.scores, told.labels, baseline or gathered.baseline, parts)
    found = _Found(gathered.compare(baseline), by, outcomes, told.empty if told else 0)
    _write(found, junit, markdown, force=force)
    _tell(found, as_json=as_json)
    if any(each.outcome != "held" for each in outcomes):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Found:
    comparisons: "Mapping[str, Comparison]"
    by: "Mapping[str, ByPeople]"
    outcomes: "Sequence[Outcome]"
    empty: int
    """Rows of the labels that nobody has filled in."""


def _write(found: _Found, junit: Path | None, markdown: Path | None, *, force: bool) -> None:
    """Write the files for a CI job."""
    from notus.evaluate.gate.forms import junit_of, markdown_of, write_form
    from notus.report.people.corrected import corrected_sections

    if junit is not None:
        write_form(junit, junit_of(found.outcomes), force=force)
    if markdown is not None:
        said = [f"{part.heading}: {line}" for part in corrected_sections(found.by) for line in part.sentences]
        write_form(markdown, markdown_of(found.outcomes, found.comparisons, said), force=force)


def _tell(found: _Found, *, as_json: bool) -> None:
    """Print what was found."""
    from notus.cli import experiments, terminal
    from notus.evaluate.people.correct import by_people_as_json
    from notus.report.people.corrected import corrected_sections
    from notus.report.people.gate import required_section
    from notus.stats.intervals import estimates_as_json

    if not as_json:
        experiments.show_comparisons(found.comparisons, as_json=False)
        if found.empty:
            print(f"{found.empty:,} rows of the labels are not filled in.")
        sections = [*corrected_sections(found.by), *([required_section(found.outcomes)] if found.outcomes else [])]
        terminal.show_findings(sections, as_json=False)
        return
    told = estimates_as_json(found.comparisons, "score")
    if found.by or found.outcomes:  # the plain shape stays as it was
        told = {"comparisons": told, "requirements": estimates_as_json(found.outcomes, "score")}
        told["corrected"] = {name: by_people_as_json(by) for name, by in found.by.items()}
        told["labels_not_filled_in"] = found.empty
    terminal.print_json(told)
