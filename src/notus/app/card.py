"""The health card of a set: the findings of an audit as one HTML file that can be passed on.

Owns what stands where on the card. The findings come from ``app.health``, page and look from ``app.report``.
"""

from collections.abc import Mapping, Sequence

from notus.app.health import Finding
from notus.app.report import Block, Fact, Facts, Picture, Points, Report, Section, Table, cell_text, render

__all__ = ["health_card"]

_FIRST = "Health of the set"


def health_card(name: str, findings: Sequence[Finding], facts: Mapping[str, int | str], version: str) -> str:
    """One self-contained HTML document; the same findings give the same text.

    Args:
        name: of the set: the path or the hub id.
        findings: of its audit, in the order in which they are read.
        facts: figures for the top of the card, for example rows and layout.
        version: of the program that audited.
    """
    first = next((finding for finding in findings if finding.heading == _FIRST), None)
    shown = tuple(Fact(label.replace("_", " ").capitalize(), cell_text(value)) for label, value in facts.items())
    sections = [Section("The set", blocks=(Facts(shown),))] if shown else []
    sections += [_section(finding) for finding in findings if finding is not first]
    return render(
        Report(
            title=f"Health card of {_short(name)}",
            subtitle=f"An audit of {name}: what speaks against its scores, and what the set does as a whole.",
            summary=first.sentences if first else (),
            sections=tuple(sections),
            footer=(("notus", version), ("source", name)),
        )
    )


def _section(finding: Finding) -> Section:
    blocks: list[Block] = []
    lead, points = (finding.sentences[0], finding.sentences[1:]) if finding.sentences else ("", ())
    if points:
        blocks.append(Points("", points))
    if finding.picture:
        blocks.append(Picture(finding.picture))
    if finding.table is not None:
        blocks.append(Table(finding.table.columns, finding.table.rows, finding.table.note))
    return Section(finding.heading, lead, tuple(blocks))


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
