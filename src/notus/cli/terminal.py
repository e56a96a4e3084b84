"""How results look on a terminal: tables, sections, counts; plain text where there is no terminal."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any, Literal

from msgspec import to_builtins
from msgspec.structs import astuple
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from notus.cli.advice import describe_rows, find_places
from notus.cli.streams import SafeConsole
from notus.core.run import Run, read_json
from notus.core.text import visible
from notus.report.evaluations.sources import sources_table
from notus.report.table import Cell, Table, cell_text, numeric_columns
from notus.steps.base import read_findings

if TYPE_CHECKING:  # what is printed is made elsewhere; most commands need none of it
    from notus.collect.batch import Written
    from notus.llm.ledger import Pruned, Usage
    from notus.report.section import ReportSection
    from notus.steps.collect.batch import Batched

__all__ = [
    "ERR",
    "OUT",
    "print_json",
    "print_table",
    "show_batches",
    "show_findings",
    "show_reading",
    "show_step",
    "show_usage",
]

_WIDEST = 60
"""Characters of a text that are shown; all of it is in the run directory."""
_ID = re.compile(r"[0-9a-f]{12,32}")
_NARROWEST = 12
"""Characters to which a column of words may be folded."""
_LABEL = 12
"""Characters of the names that stand before places."""
_SAID_BELOW = (
    "about",
    "decisions",
    "decisions_elsewhere",
    "figures",
    "health",
    "hint",
    "judge_read",
    "leaks",
    "losses",
    "not_read",
    "on_both_sides",
    "prompts_from",
    "quarantine",
    "quarantined",
    "sources",
)
"""Notes that are printed as sentences, not among the figures."""
_WARNED = {
    "leaks": "",
    "hint": "",
    "not_read": "Not read: ",
    "prompts_from": "Guessed: ",
    "losses": "Gone on as --allow-losses says: ",
    "decisions_elsewhere": "Decisions: ",
}
"""Notes that are told in yellow, with what stands before them."""
_INTERVAL = re.compile(r"([+\-−]?[\d.]+) \[([+\-−]?[\d.]+), ([+\-−]?[\d.]+)\]")
_JOINTS = (re.compile(r" (?=\[)"), re.compile(r"(?<=,) (?=[^\[\]]*\])"))
"""Where a number with its interval is broken, in a table that is too wide otherwise: before it, and then within."""
OUT = SafeConsole(highlight=False)
ERR = SafeConsole(stderr=True, highlight=False)


def show_usage(usage: "Usage", pruned: "Pruned | None", exported: int | None, *, as_json: bool) -> None:
    """Print the usage of a ledger, after what was removed or written."""
    from notus.llm.ledger import ModelUsage

    if as_json:
        print_json({"accounts": to_builtins(usage), "pruned": to_builtins(pruned), "exported": exported})
        return
    if pruned is not None:
        cost = "" if pruned.price is None else f", which cost {pruned.price:,.4f}"
        what = f"{pruned.entries:,} entries with {pruned.replies:,} replies{cost}"
        OUT.print(f"Removed {what}." if pruned.done else f"Would remove {what}. Nothing was removed; add --yes.")
    if exported is not None:
        OUT.print(f"Exported {exported:,} entries.")
    columns = tuple(name.replace("_", " ").capitalize() for name in ModelUsage.__struct_fields__)
    note = f"{usage.unpriced:,} entries have no price." if usage.unpriced else ""
    print_table("Ledger", Table(columns, tuple(astuple(row) for row in usage.rows), note))
    if usage.failures:
        print_table("Without a reply", Table(("Kind", "Entries"), tuple(usage.failures.items())))
    if usage.price is not None:
        OUT.print(f"Paid in all: {usage.price:,.4f}")


def show_findings(findings: "Sequence[ReportSection]", *, as_json: bool) -> None:
    """Print findings: sentences and tables; as JSON without their pictures."""
    if as_json:
        parts = (asdict(finding) for finding in findings)
        told = [{key: part[key] for key in part if key not in ("picture", "slug")} for part in parts]
        print_json([part | {"table": _plain_table(part["table"])} for part in told])
        return
    _print_findings(findings)


def show_step(run: Run, before: Sequence[Run] = (), *, as_json: bool) -> None:
    """Print what a single step found, what became of the rows, where its files lie, and what to try next.

    Args:
        run: of the step.
        before: the runs in which its data were read, where that was done for it.
        as_json: print numbers for machines, and no sentences.
    """
    manifest = read_json(run.path / "manifest.json")
    tallies = read_json(run.path / "tally.json")
    places = find_places(run)
    has_findings = (run.path / "health.json").is_file()
    if as_json:
        found = {"run": str(run.path), "summary": manifest["summary"], "tally": tallies, **places}
        if before:
            read = [{"run": str(each.path), **find_places(each)} for each in before]
            found["read"] = read[0] if len(read) == 1 else read
        if has_findings:
            parts = read_json(run.path / "health.json")
            found["findings"] = [{"heading": part["heading"], "table": _plain_table(part["table"])} for part in parts]
        print_json(found)
        return
    if has_findings:
        _print_findings(read_findings(run.path))
    else:
        _print_result(manifest["summary"])
    if sources := manifest["summary"].get("sources"):
        print_table("Sources", sources_table(sources))
    _print_tallies(tallies)
    if manifest["summary"].get("dry_run"):
        OUT.print("A dry run: the evidence was written, the cleaned data were not.")
    _print_decisions(manifest["summary"])
    _print_warnings(manifest["summary"])
    OUT.print()
    _print_places(places)
    OUT.print(f"Run directory: [bold]{escape(str(run.path))}[/]", soft_wrap=True)
    if places["next"]:
        first = f"  (to look first: {places['look']})" if places["look"] else ""
        OUT.print(f"Next: {escape(places['next'] + first)}", soft_wrap=True)
    if run.reused:
        ERR.print("[dim]Done before, with the same settings and data; nothing was done again.[/]")


def show_batches(found: "Sequence[tuple[str, Batched]]", *, written: bool, as_json: bool) -> None:
    """Print what became of results of batches, and what is still to be asked.

    Args:
        found: name of each collection → what became of it.
        written: whether what is still to be asked was written down; otherwise it was only counted.
        as_json: print it for machines.
    """
    if as_json:
        print_json([{"step": name, **each.as_json()} for name, each in found])
        return
    for name, each in found:
        OUT.print(
            f"[bold]{escape(name)}[/]: {each.prompts:,} prompts; ledger: {escape(str(each.ledger))}", soft_wrap=True
        )
        for line in each.entered.lines() if each.entered else ():
            OUT.print(f"Results: {escape(line)}", soft_wrap=True)
        for line in _still_to_ask(each.written, written=written) if each.written else ():
            OUT.print(escape(line), soft_wrap=True)


def _still_to_ask(found: "Written", *, written: bool) -> list[str]:
    """What is still to be asked, in sentences."""
    lines = [f"Written: {file}, {count:,} requests" for file, count in found.files.items()]
    asked = found.steps.total()
    if found.left_out:
        lines.append(f"Not written: {found.left_out:,} requests beyond max_cost; raise it to have them written too")
    if not asked:
        nothing = f"Nothing is left to ask: the ledger has all {found.known:,} answers. The same recipe collects now:"
        return lines if found.left_out else [f"{nothing} notus collect RECIPE"]
    of = ", ".join(f"{count:,} {step}" for step, count in found.steps.most_common())
    cost = f"; at most {found.cost:.4f} by the endpoints' prices" if found.priced else "; some endpoint has no prices"
    lines.append(f"To ask: {asked:,} requests ({of}){cost}; {found.known:,} are answered already")
    then = "give the results with --batch-in" if written else "write them with --batch-out FOLDER, or collect without"
    return [*lines, f"Next: {then}; what depends on these answers is asked in a later batch"]


def show_reading(run: Run) -> None:
    """Print what became of the rows of data that were read for another command, before that one begins."""
    places = find_places(run)
    summary = read_json(run.path / "manifest.json")["summary"]
    _print_decisions(summary)
    _print_warnings({key: summary[key] for key in ("leaks", "decisions_elsewhere") if key in summary})
    _print_places({"rows": places["rows"], "quarantine": places["quarantine"], "dropped": None})
    OUT.print(f"Data, read into a run directory of its own: {escape(str(run.path))}", soft_wrap=True)


def _plain_table(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A table whose numbers with an interval are numbers: value, low, high."""
    if table is None:
        return None
    return {**table, "rows": [[_plain_cell(cell) for cell in row] for row in table["rows"]]}


def _plain_cell(cell: Cell) -> Any:
    found = _INTERVAL.fullmatch(cell) if isinstance(cell, str) else None
    if found is None:
        return cell
    value, low, high = (float(part.replace("−", "-").replace(",", "")) for part in found.groups())
    return {"value": value, "low": low, "high": high}


def _print_decisions(summary: Mapping[str, Any]) -> None:
    """What became of the decisions of persons, and of what a judge replied, whatever else a step has to show."""
    if "decisions" in summary:
        OUT.print(f"Decisions: {escape(summary['decisions'])}.", soft_wrap=True)
    if "judge_read" in summary:
        OUT.print(f"Judge: {escape(summary['judge_read'])}.", soft_wrap=True)


def _print_warnings(summary: Mapping[str, Any]) -> None:
    for key, before in _WARNED.items():
        if key in summary:
            OUT.print(f"[yellow]{before}{escape(summary[key])}[/]")
    for found in summary.get("health", ()):
        OUT.print(
            f"[yellow]Health: {escape(found['said'])}.[/] {escape(found['means'])}. Try: {escape(found['tried'])}."
        )


def _print_places(places: Mapping[str, Any]) -> None:
    """What became of the rows, and where things lie: a name and its value on each line, paths unbroken."""
    if rows := places["rows"]:
        text = f"{'Rows:':<{_LABEL}}{describe_rows(rows)}"
        lost = rows["quarantined"] or rows["dropped"]
        for line in TextWrapper(OUT.width, subsequent_indent=" " * _LABEL, break_on_hyphens=False).wrap(text):
            OUT.print(f"[yellow]{escape(line)}[/]" if lost else escape(line), soft_wrap=True)
    named = [("Quarantine:", path) for path in places["quarantine"]]
    named += [("Dropped:", places["dropped"])] if places["dropped"] else []
    named += [("Page:", places["page"])] if places.get("page") else []
    for name, path in named:
        OUT.print(f"{name:<{_LABEL}}{escape(path)}", soft_wrap=True)
    if tables := places.get("tables"):
        text = f"{'Tables:':<{_LABEL}}{', '.join(tables)}"
        for line in TextWrapper(OUT.width, subsequent_indent=" " * _LABEL, break_on_hyphens=False).wrap(text):
            OUT.print(escape(line), soft_wrap=True)


def _print_result(summary: Mapping[str, Any]) -> None:
    """The figures that a run noted; what holds nothing is left out, and ``about`` stands below as a sentence."""
    shown = {key: value for key, value in summary.items() if value not in (None, [], {}) and key not in _SAID_BELOW}
    rows = tuple((key.replace("_", " "), _value(value)) for key, value in shown.items())
    print_table("Result", Table(("What", "Value"), rows), cut=False)
    if "about" in summary:
        OUT.print(escape(summary["about"]))


def _print_findings(findings: "Sequence[ReportSection]") -> None:
    for finding in findings:
        if finding.table is not None:
            print_table(finding.heading, finding.table)
        elif finding.sentences:
            OUT.print(f"\n[bold]{escape(finding.heading)}[/]")
        for sentence in finding.sentences:
            OUT.print(escape(sentence))


def _print_tallies(tallies: Sequence[Mapping[str, Any]]) -> None:
    rows = tuple(
        (tally["stage"], tally["in"], tally["out"], _counts(tally["dropped"]), _counts(tally["counts"]))
        for tally in tallies
    )
    if rows:
        print_table("What went in and out", Table(("Stage", "In", "Out", "Dropped", "Counted"), rows), cut=False)


def print_table(title: str, table: Table, *, cut: bool = True) -> None:
    """Print a table; a long text is cut, as all of it is in the run directory."""
    table = _without_empty(table)
    shown = RichTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    texts = [[_cut(text) if cut else text for text in map(_cell, row)] for row in table.rows]
    numbers = numeric_columns(table)
    widths = _widths(table.columns, texts, numbers)
    for joint in _JOINTS:
        if _whole(widths) > OUT.width:
            texts = [
                [joint.sub("\n", text) if is_number else text for text, is_number in zip(row, numbers, strict=True)]
                for row in texts
            ]
            widths = _widths(table.columns, texts, numbers)
    # Where there is no room for all names, columns of words give way, and those of numbers keep what they need.
    tight = (
        _whole([max(map(len, (name, *column))) for name, *column in zip(table.columns, *texts, strict=True)])
        > OUT.width
    )
    for name, is_number, width in zip(table.columns, numbers, widths, strict=True):
        justify: Literal["left", "right"] = "right" if is_number else "left"
        fixed = width if tight and is_number else None
        shown.add_column(name, justify=justify, overflow="fold", min_width=width, width=fixed)
    for row in texts:
        shown.add_row(*map(_Words, row))
    OUT.print()
    OUT.print(shown, width=max(OUT.width, _whole(widths)), crop=False, soft_wrap=True)
    if table.note:
        OUT.print(f"[dim]{escape(table.note)}[/]")


def _cell(value: Cell) -> str:
    return visible(cell_text(value))


def _whole(widths: Sequence[int]) -> int:
    """The width of a table with such columns."""
    return sum(widths) + 2 * len(widths) + 1


def _widths(columns: Sequence[str], texts: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[int]:
    """The least widths of columns: a number, or an id or a path, which somebody copies, is never broken, a name seldom;
    a table that is too wide runs over."""
    found = []
    for index, (name, is_number) in enumerate(zip(columns, numbers, strict=True)):
        parts = (len(part) for row in texts for part in row[index].split("\n"))
        longest = max([*map(len, name.split()), *parts], default=1)
        whole = (
            is_number or all(_ID.fullmatch(row[index]) for row in texts) or _are_paths([row[index] for row in texts])
        )
        found.append(longest if whole else min(longest, _NARROWEST))
    return found


def _are_paths(texts: Sequence[str]) -> bool:
    """Whether they are paths into rows, some of them through a list: ``answers.*.text``."""
    return any(".*." in text for text in texts) and not any(" " in text for text in texts)


class _Wrapper(TextWrapper):
    """Breaks slugs and names too long for a line behind a hyphen or an underscore, and other words anywhere."""

    wordsep_re = re.compile(r"(\s+|[^\s_-]*[^\W\d_][_-](?=[^\W\d_]))")


class _Words:
    """The text of a cell; rich alone folds a slug in the middle of a word."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wrapper = _Wrapper(options.max_width, replace_whitespace=False)
        lines = [part for line in self._text.split("\n") for part in wrapper.wrap(line) or [""]]
        yield Text("\n".join(lines), overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self._text))


def _without_empty(table: Table) -> Table:
    """Without columns that hold no value, or tell that nothing is unscored: there is little room in a terminal."""

    def has_news(index: int) -> bool:
        nothing = (None, 0) if table.columns[index] == "Unscored" else (None,)
        return not table.rows or any(row[index] not in nothing for row in table.rows)

    kept = [index for index in range(len(table.columns)) if has_news(index)]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    return Table(tuple(table.columns[index] for index in kept), rows, table.note)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _counts(counts: Mapping[str, int]) -> str | None:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or None


def _value(value: Any) -> Cell:
    """A noted figure as a cell; of settings that were noted whole, those that say something."""
    if isinstance(value, Mapping):
        parts = {
            key.replace("_", " "): _value(item) for key, item in value.items() if item not in (None, False, {}, [])
        }
        return ", ".join(key if item == "yes" else f"{key} {_plain(item)}" for key, item in parts.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _plain(value: Cell) -> str:
    return f"{value:g}" if isinstance(value, float) else cell_text(value)


def print_json(value: object) -> None:
    """Print a value for machines; what would steer a terminal is escaped as JSON has it."""
    plain = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not plain, default=str)
    print(visible(text, "\\u{:04x}"))
