"""What differs between two preference sets, as tables, a picture and examples.

Owns what is shown and how it is put. The figures are those of ``preferences.diff``.
"""

from collections.abc import Mapping

from notus.core.records import Message, Preference
from notus.core.text import counted
from notus.preferences.diff import KINDS, Difference, Example
from notus.report.charts import BarRow, bars
from notus.report.page import Block, Note, PageSection, PairExample, Report
from notus.report.section import ReportSection, excerpt
from notus.report.table import Cell, Table
from notus.stats.intervals import proportion

__all__ = ["difference_report", "difference_sections"]

_EXAMPLES = "Examples"
_MEANING = {
    "same": "both sets have the same pairs of the prompt",
    "swapped": "chosen and rejected are exchanged",
    "other-rejected": "the same is chosen, another rejected",
    "other-chosen": "another is chosen, the same rejected",
    "other-both": "both differ",
}


def difference_sections(difference: Difference) -> list[ReportSection]:
    """What a comparison shows, the most important first."""
    sections = [ReportSection("What differs", tuple(difference.sentences()))]
    shared = {kind: difference.counts[kind] for kind in KINDS}
    if not sum(shared.values()):
        return sections
    sections.append(ReportSection("Prompts in both sets", table=_kinds(shared)))
    if len(difference.by_source) > 1:
        sections.append(_sources(difference))
    if difference.models:
        sections.append(_models(difference))
    if difference.examples:
        sections.append(ReportSection(_EXAMPLES, table=_examples(difference)))
    return sections


def difference_report(difference: Difference) -> Report:
    """The comparison as a page, with the texts of the examples."""
    sections = []
    for section in difference_sections(difference)[1:]:
        blocks = section.blocks()
        if section.heading == _EXAMPLES:
            blocks = [block for example in difference.examples for block in _pairs(example)]
        sections.append(PageSection(section.heading, "", tuple(blocks)))
    a, b = difference.names
    return Report(
        title="Two preference sets compared",
        subtitle=f"A: {a} · B: {b}",
        summary=tuple(difference.sentences()),
        sections=tuple(sections),
    )


def _kinds(shared: Mapping[str, int]) -> Table:
    total = sum(shared.values())
    rows = []
    for kind, count in shared.items():
        share = proportion(count, total)
        rows.append((kind, count, f"{share.mean:.1%}", f"{share.low:.1%} to {share.high:.1%}", _MEANING[kind]))
    note = f"n = {counted(total, 'prompt')}; Wilson's 95 % intervals."
    return Table(("Kind", "Prompts", "Share", "95 %", "Meaning"), tuple(rows), note)


def _sources(difference: Difference) -> ReportSection:
    rows: list[tuple[Cell, ...]] = []
    marks = []
    for source, counts in difference.by_source.items():
        total, apart = counts.total(), counts.total() - counts["same"]
        share = proportion(apart, total)
        name = source or "(none)"
        rows.append((name, total, *(counts[kind] for kind in KINDS), f"{share.mean:.1%}"))
        marks.append(BarRow(name, share.mean, "", share, f"n = {total:,}"))
    picture = bars(
        marks,
        title="Where the two sets differ",
        subtitle="share of shared prompts whose pairs are not the same, with Wilson's 95 % intervals",
        x_label="share of prompts",
    )
    table = Table(("Source", "Prompts", *KINDS, "Not the same"), tuple(rows))
    return ReportSection("By source", table=table, picture=picture, slug="by-source")


def _models(difference: Difference) -> ReportSection:
    rows = tuple(
        (
            model.name,
            _count(model.chosen_a),
            _count(model.chosen_b),
            f"{model.shift.mean:+.1%} [{model.shift.low:+.1%}, {model.shift.high:+.1%}]" if model.shift else None,
        )
        for model in difference.models
    )
    groups = [(f"A: {difference.names[0]}", 0), (f"B: {difference.names[1]}", 1)]
    picture = bars(
        [
            BarRow(model.name, (model.chosen_a, model.chosen_b)[side], group)
            for model in difference.models
            for group, side in groups
        ],
        title="Whose answers are chosen",
        x_label="prompts in both sets",
        decimals=0,
    )
    n = max((model.shift.n for model in difference.models if model.shift), default=0)
    note = f"Shift: share of the prompts in B minus share in A, paired by prompt, n = {n:,}; 95 % intervals."
    table = Table(("Model", "Chosen in A", "Chosen in B", "Shift"), rows, note)
    return ReportSection("By model", table=table, picture=picture, slug="by-model")


def _count(prompts: float) -> Cell:
    """Whole prompts as such; a prompt with several pairs counts in parts."""
    whole = round(prompts)
    return whole if abs(prompts - whole) < 1e-9 else prompts


def _examples(difference: Difference) -> Table:
    rows = tuple(
        (
            example.kind,
            excerpt(example.a.prompt[-1].content),
            *(f"{excerpt(answer[-1].content)}{_in_brackets(model)}" for answer, model in _answers(example)),
        )
        for example in difference.examples
    )
    return Table(("Kind", "Prompt", "A chosen", "A rejected", "B chosen", "B rejected"), rows)


def _answers(example: Example) -> list[tuple[tuple[Message, ...], str]]:
    return [
        answer
        for pair in (example.a, example.b)
        for answer in ((pair.chosen, pair.model_chosen), (pair.rejected, pair.model_rejected))
    ]


def _pairs(example: Example) -> list[Block]:
    return [
        Note(f"{example.kind}: {_MEANING[example.kind]}"),
        *(_pair_example(pair, f"set {name}") for name, pair in (("A", example.a), ("B", example.b))),
    ]


def _pair_example(item: Preference, name: str) -> PairExample:
    models = f" · {item.model_chosen} over {item.model_rejected}" if item.model_chosen or item.model_rejected else ""
    prompt, chosen, rejected = (
        "\n".join(turn.content for turn in turns) for turns in (item.prompt, item.chosen, item.rejected)
    )
    return PairExample(prompt, chosen, rejected, item.score_chosen, item.score_rejected, f"{name}{models}")


def _in_brackets(model: str) -> str:
    return f" ({model})" if model else ""
