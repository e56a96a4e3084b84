"""How results look on a terminal: tables, verdicts, the progress of a run; plain text where there is no terminal."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import TextWrapper, indent
from types import TracebackType
from typing import Any, Literal, Self

import yaml
from msgspec import to_builtins
from msgspec.structs import astuple
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table as RichTable
from rich.text import Text

from notus.app.contradictions import label_table
from notus.app.health import Finding, detection_table
from notus.app.report import Cell, Table, arms_table, cell_text, numeric_columns
from notus.core.run import Run, read_json
from notus.evaluate.compare import Comparison
from notus.flow.datasteps import read_findings
from notus.flow.experiment import Experiment
from notus.flow.recipe import PlannedStep
from notus.models.accounts import Account, Accounts, Pruned

__all__ = [
    "Progress",
    "show_accounts",
    "show_comparisons",
    "show_experiment",
    "show_findings",
    "show_plan",
    "show_step",
    "show_stop",
]

_WIDEST = 60
"""Characters of a text that are shown; all of it is in the run directory."""
_NARROWEST = 12
"""Characters to which a column of words may be folded."""
_SAID_BELOW = ("about", "not_read", "quarantine", "quarantined")
"""Notes that are printed as sentences, not among the figures."""
_OUT = Console(highlight=False)
_ERR = Console(stderr=True, highlight=False)


class Progress:
    """Tells how the steps of a run go on: a line for each that has ended, a bar for what is left."""

    def __init__(self, *, quiet: bool = False) -> None:
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[now]}"),
        )
        self._bars = RichProgress(*columns, console=_ERR, transient=True, disable=quiet or not _ERR.is_terminal)
        self._quiet = quiet
        self._task: TaskID | None = None
        self._at_work: dict[str, tuple[PlannedStep, Path]] = {}
        self._reused = 0

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)
        if self._reused and not self._quiet:
            _ERR.print(f"[dim]{self._reused} steps had been done before and were kept[/]")

    def planned(self, steps: int) -> None:
        """So many steps are there in all."""
        self._task = self._bars.add_task("steps", total=steps, now="")

    def begun(self, step: PlannedStep, path: Path) -> None:
        """A step has been given to a process."""
        self._at_work[step.digest] = step, path

    def ended(self, step: PlannedStep, seconds: float, *, reused: bool) -> None:
        """A step is done."""
        self._at_work.pop(step.digest, None)
        if self._task is not None:
            self._bars.advance(self._task)
        if reused:
            self._reused += 1
        elif not self._quiet:
            _ERR.print(f"[green]✓[/] {escape(_named(step)):<28} [dim]{seconds:6.1f} s[/]")

    def waiting(self) -> None:
        """Show what is at work, a training step with the share of its updates that are done."""
        if self._task is not None:
            now = ", ".join(f"{_named(step)}{_share(path)}" for step, path in self._at_work.values())
            self._bars.update(self._task, now=escape(now))


def show_plan(plan: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print what a recipe would do."""
    if as_json:
        _json(plan)
        return
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in plan:
        groups.setdefault(json.dumps([entry["step"], entry["config"]]), []).append(entry)
    shown: dict[str, Any] = {}
    whole = _arms(plan)
    for group in groups.values():
        first, arms = group[0], _arms(group)
        seeds = list(dict.fromkeys(str(entry["seed"]) for entry in group if entry["seed"] is not None))
        _OUT.print(f"[bold]{escape(first['step'])}[/]  [dim]{escape(_told(len(group), seeds, arms, len(whole)))}[/]")
        known = shown.get(first["step"], {})
        changed = {key: (known.get(key), value) for key, value in first["config"].items() if known.get(key) != value}
        settings = {key: new for key, (_, new) in changed.items() if key != "do"}
        shown[first["step"]] = first["config"]
        text = yaml.safe_dump(settings, allow_unicode=True, default_flow_style=None, sort_keys=False, width=110)
        _OUT.print(escape(indent(text, "    ")), soft_wrap=True)
    _OUT.print(f"{len(plan)} steps to do once each; nothing was done. What a step has shown is not repeated.")


def show_experiment(experiment: Experiment, *, as_json: bool) -> None:
    """Print the outcome of a recipe: arms, verdicts, fault finders, and where the report lies."""
    comparisons, detections = experiment.comparisons(), experiment.detections()
    labels = experiment.label_detections()
    report = experiment.path / "report.html"
    if as_json:
        found = {name: asdict(comparison) for name, comparison in comparisons.items()}
        finders = {"fault_finders": [asdict(d) for d in detections]}
        finders |= {"label_finders": [{"audit": name, **asdict(item)} for name, item in labels.items()]}
        _json({"comparisons": found, **finders, "report": str(report)})
        return
    _print_comparisons(comparisons)
    for remark in experiment.remarks(comparisons):
        _OUT.print(escape(remark))
    if labels:
        _print_table("Wrong labels against the truth", label_table(labels))
    if detections:
        _print_table("Fault finders against the planted truth", detection_table(detections))
    _OUT.print(f"\nReport: [bold]{escape(str(report))}[/]", soft_wrap=True)


def show_stop(folder: Path, until: str, *, as_json: bool) -> None:
    """Say where a run that was to stop before its end has left its steps."""
    steps = sorted(str(path.parent) for path in (folder / "steps").glob("*/manifest.json"))
    if as_json:
        _json({"run": str(folder), "until": until, "steps": steps})
        return
    _OUT.print(f"Stopped after '{escape(until)}', as asked; the same command without --until goes on from there.")
    _OUT.print(f"Steps: [bold]{escape(str(folder / 'steps'))}[/]", soft_wrap=True)


def show_accounts(accounts: Accounts, pruned: Pruned | None, exported: int | None, *, as_json: bool) -> None:
    """Print the accounts of a ledger, after what was removed or written."""
    if as_json:
        _json({"accounts": to_builtins(accounts), "pruned": to_builtins(pruned), "exported": exported})
        return
    if pruned is not None:
        cost = "" if pruned.price is None else f", which cost {pruned.price:,.4f}"
        what = f"{pruned.entries:,} entries with {pruned.replies:,} replies{cost}"
        _OUT.print(f"Removed {what}." if pruned.done else f"Would remove {what}. Nothing was removed; add --yes.")
    if exported is not None:
        _OUT.print(f"Exported {exported:,} entries.")
    columns = tuple(name.replace("_", " ").capitalize() for name in Account.__struct_fields__)
    note = f"{accounts.unpriced:,} entries have no price." if accounts.unpriced else ""
    _print_table("Ledger", Table(columns, tuple(astuple(account) for account in accounts.accounts), note))
    if accounts.failures:
        _print_table("Without a reply", Table(("Kind", "Entries"), tuple(accounts.failures.items())))
    if accounts.price is not None:
        _OUT.print(f"Paid in all: {accounts.price:,.4f}")


def show_comparisons(comparisons: Mapping[str, Comparison], *, as_json: bool) -> None:
    """Print comparisons of arms."""
    if as_json:
        _json({name: asdict(comparison) for name, comparison in comparisons.items()})
    else:
        _print_comparisons(comparisons)


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings: sentences and tables; as JSON without their pictures."""
    if as_json:
        parts = (asdict(finding) for finding in findings)
        _json([{key: part[key] for key in part if key not in ("picture", "slug")} for part in parts])
        return
    _print_findings(findings)


def show_step(run: Run, *, as_json: bool) -> None:
    """Print what a single step found, and where its files lie."""
    manifest = read_json(run.path / "manifest.json")
    tallies = read_json(run.path / "tally.json")
    if as_json:
        found = {"run": str(run.path), "summary": manifest["summary"], "tally": tallies}
        if (run.path / "health.json").is_file():
            drawn = ("picture", "slug")
            parts = read_json(run.path / "health.json")
            found["findings"] = [{key: part[key] for key in part if key not in drawn} for part in parts]
        _json(found)
        return
    if (run.path / "health.json").is_file():
        _print_findings(read_findings(run.path))
    else:
        _print_result(manifest["summary"])
    _print_tallies(tallies)
    if manifest["summary"].get("dry_run"):
        _OUT.print("A dry run: the evidence was written, the cleaned data were not.")
    if "not_read" in manifest["summary"]:
        _OUT.print(f"[yellow]Not read: {escape(manifest['summary']['not_read'])}[/]")
    if "quarantined" in manifest["summary"]:
        _OUT.print(
            f"[yellow]{escape(manifest['summary']['quarantine'])}[/] → {escape(str(run.path / 'quarantine.jsonl'))}"
        )
    _OUT.print(f"\nRun directory: [bold]{escape(str(run.path))}[/]", soft_wrap=True)
    if run.reused:
        _ERR.print("[dim]Done before, with the same settings and data; nothing was done again.[/]")


def _print_result(summary: Mapping[str, Any]) -> None:
    """The figures that a run noted; what holds nothing is left out, and ``about`` stands below as a sentence."""
    shown = {key: value for key, value in summary.items() if value not in (None, [], {}) and key not in _SAID_BELOW}
    rows = tuple((key.replace("_", " "), _value(value)) for key, value in shown.items())
    _print_table("Result", Table(("What", "Value"), rows), cut=False)
    if "about" in summary:
        _OUT.print(escape(summary["about"]))


def _print_comparisons(comparisons: Mapping[str, Comparison]) -> None:
    for name, comparison in comparisons.items():
        _print_table(name.capitalize(), arms_table(comparison.arms))
        for pair in comparison.pairs:
            sign = "[dim]○[/]"
            if pair.better:
                sign = "[green]●[/]" if pair.survives_holm else "[yellow]◐[/]"
            _OUT.print(f"{sign} {escape(pair.verdict)}")
            for remark in pair.remarks:
                _OUT.print(f"  [dim]{escape(remark)}[/]")
        for sentence in comparison.summary:
            _OUT.print(escape(f"{sentence}."))


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.table is not None:
            _print_table(finding.heading, finding.table)
        elif finding.sentences:
            _OUT.print(f"\n[bold]{escape(finding.heading)}[/]")
        for sentence in finding.sentences:
            _OUT.print(escape(sentence))


def _print_tallies(tallies: Sequence[Mapping[str, Any]]) -> None:
    rows = tuple(
        (tally["stage"], tally["in"], tally["out"], _counts(tally["dropped"]), _counts(tally["counts"]))
        for tally in tallies
    )
    if rows:
        _print_table("What went in and out", Table(("Stage", "In", "Out", "Dropped", "Counted"), rows))


def _print_table(title: str, table: Table, *, cut: bool = True) -> None:
    table = _without_empty(table)
    shown = RichTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    texts = [[_cut(cell_text(cell)) if cut else cell_text(cell) for cell in row] for row in table.rows]
    widths = []
    for index, (name, is_number) in enumerate(zip(table.columns, numeric_columns(table), strict=True)):
        justify: Literal["left", "right"] = "right" if is_number else "left"
        # A number is never broken, a name seldom; where the terminal is too narrow even so, the lines run over.
        longest = max([*map(len, name.split()), *(len(row[index]) for row in texts)], default=1)
        widths.append(longest if is_number else min(longest, _NARROWEST))
        shown.add_column(name, justify=justify, overflow="fold", min_width=widths[-1])
    for row in texts:
        shown.add_row(*map(_Words, row))
    _OUT.print()
    _OUT.print(shown, width=max(_OUT.width, sum(widths) + 2 * len(widths)), crop=False, soft_wrap=True)
    if table.note:
        _OUT.print(f"[dim]{escape(table.note)}[/]")


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

    def told(index: int) -> bool:
        nothing = (None, 0) if table.columns[index] == "Unscored" else (None,)
        return not table.rows or any(row[index] not in nothing for row in table.rows)

    kept = [index for index in range(len(table.columns)) if told(index)]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    return Table(tuple(table.columns[index] for index in kept), rows, table.note)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _counts(counts: Mapping[str, int]) -> str | None:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or None


def _value(value: Any) -> Cell:
    """A noted figure as a cell; of settings that were noted whole, those that say something."""
    if isinstance(value, Mapping):
        told = {key.replace("_", " "): _value(item) for key, item in value.items() if item not in (None, False, {}, [])}
        return ", ".join(key if item == "yes" else f"{key} {_plain(item)}" for key, item in told.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _plain(value: Cell) -> str:
    return f"{value:g}" if isinstance(value, float) else cell_text(value)


def _arms(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(user.rpartition("/")[0] for entry in entries for user in entry["for"]))


def _told(count: int, seeds: Sequence[str], arms: Sequence[str], of: int) -> str:
    under = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if seeds else f"{count} ×"
    # The name of an arm may hold a comma.
    which = f"all {of} arms" if len(arms) == of > 1 else ", ".join(f"'{arm}'" for arm in arms)
    return f"{under} · {which}"


def _named(step: PlannedStep) -> str:
    return step.name if step.seed is None else f"{step.name} · seed {step.seed}"


def _share(path: Path) -> str:
    """Share of a training step's updates that are done, as its metrics tell."""
    try:
        last = (path / "metrics.jsonl").read_bytes().rsplit(b"\n", 2)[-2]
        values = json.loads(last)
    except (OSError, IndexError, ValueError):
        return ""
    if not values.get("steps"):
        return ""
    share = f" {values['step'] / values['steps']:.0%}"
    return share if "rate" not in values else f"{share} {_asking(values)}"


def _asking(values: Mapping[str, Any]) -> str:
    """How the asking of a step that collects goes on."""
    to_come = "" if values["to_come"] is None else f" + {values['to_come']:,.2f} to come"
    failed = f" · failed: {values['failed']}" if values["failed"] else ""
    count = f"{values['step']:,}/{values['steps']:,} requests · {values['rate']:,.1f}/s"
    return f"{count} · cost {values['cost']:,.2f}{to_come}{failed}"


def _json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))
