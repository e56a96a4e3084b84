"""What is shown of votes that were made one: what the raters say together, and how each of them errs.

Owns how it is put. The figures are those of ``preferences.annotators``.
"""

from notus.core.text import counted
from notus.preferences.annotators import Annotators
from notus.report.section import ReportSection
from notus.report.table import Cell, Table

__all__ = ["annotator_sections"]

_SHOWN = 12
_NAMES = {"dawid-skene": "Dawid–Skene", "mace": "MACE"}
_MEANING = {
    "dawid-skene": "how often it votes for what is true",
    "mace": "how often it knows, and does not vote by habit",
}


def annotator_sections(found: Annotators) -> list[ReportSection]:
    """What raters say together, and those with the most votes."""
    told = found.as_json()
    name = _NAMES[found.method]
    sentences = (
        f"{counted(told['votes'], 'vote')} of {counted(told['raters'], 'rater')} on "
        f"{counted(told['pairs_of_answers'], 'pair')} of answers, made one by {name}. The mean posterior of what is "
        f"likeliest is {told['mean_posterior']:.3f}; it is no measure of how often that is right.",
        f"In {counted(told['against_the_majority'], 'pair')} of them another label has more votes than the likeliest.",
        *_left_out(found),
    )
    errors = list(dict.fromkeys(key for rater in found.raters for key in rater.errors))
    rows: list[tuple[Cell, ...]] = [
        (each.rater, each.n, each.competence, each.agrees, *(each.errors.get(key) for key in errors))
        for each in found.raters[:_SHOWN]
    ]
    note = (
        f"Competence: {_MEANING[found.method]}. Agrees: share of its votes that are the likeliest. The other columns: "
    )
    note += "chance of a vote where another one is true. All as the other raters show it; nobody knows the truth."
    if len(found.raters) > _SHOWN:
        note += f" {len(found.raters) - _SHOWN:,} further raters stand in the table of the run."
    columns = ("Rater", "Votes", "Competence", "Agrees", *(key.replace("-", " ") for key in errors))
    return [
        ReportSection(f"Votes made one by {name}", sentences),
        ReportSection("Raters by their errors", table=Table(columns, tuple(rows), note)),
    ]


def _left_out(found: Annotators) -> tuple[str, ...]:
    said = []
    if found.nameless:
        said.append(f"{counted(found.nameless, 'vote')} without a rater's name took no part.")
    if found.repeated:
        said.append(f"{counted(found.repeated, 'vote')} given anew by the same rater: the last counts.")
    return tuple(said)
