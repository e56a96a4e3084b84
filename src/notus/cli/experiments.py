"""How recipes and their outcomes look on a terminal: the plan, the progress, arms and verdicts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from types import TracebackType
from typing import Any, Self

import yaml
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from notus.cli.advice import describe_rows
from notus.cli.terminal import ERR, OUT, print_json, print_table, show_findings
from notus.core.run import MANIFEST, read_json
from notus.evaluate.compare import Comparison
from notus.recipes.experiment import Experiment
from notus.report.finders import detection_table, label_table
from notus.report.page import arms_table
from notus.report.people.gate import required_section
from notus.stats.intervals import estimates_as_json
from notus.steps.perform import PlannedStep

__all__ = ["Progress", "show_comparisons", "show_experiment", "show_plan", "show_stop"]


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
        self._bars = RichProgress(*columns, console=ERR, transient=True, disable=quiet or not ERR.is_terminal)
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
            ERR.print(f"[dim]{self._reused} steps had been done before and were kept[/]")

    def planned(self, steps: int) -> None:
        """So many steps are there in all."""
        self._task = self._bars.add_task("steps", total=steps, now="")

    def begun(self, step: PlannedStep, path: Path) -> None:
        """A step has been given to a process."""
        self._at_work[step.digest] = step, path

    def ended(self, step: PlannedStep, seconds: float, *, reused: bool) -> None:
        """A step is done."""
        _, path = self._at_work.pop(step.digest, (step, None))
        if self._task is not None:
            self._bars.advance(self._task)
        if reused:
            self._reused += 1
        elif not self._quiet:
            ERR.print(f"[green]✓[/] {escape(_name_of(step)):<28} [dim]{seconds:6.1f} s[/]")
            manifest = read_json(path / MANIFEST) if path else {}
            if told := manifest.get("summary", {}).get("judge_read"):
                ERR.print(f"  {escape(told)}", soft_wrap=True)
            rows = path and manifest.get("rows")
            if rows and (rows["quarantined"] or rows["dropped"]):
                ERR.print(f"  [yellow]{escape(describe_rows(rows))}[/] → {escape(str(path))}", soft_wrap=True)

    def waiting(self) -> None:
        """Show what is at work, a training step with the share of its updates that are done."""
        if self._task is not None:
            now = ", ".join(f"{_name_of(step)}{_share(path)}" for step, path in self._at_work.values())
            self._bars.update(self._task, now=escape(now))

    def saving(self) -> None:
        """Say what is waited for."""
        ERR.print("Training is saved behind the update under way; once more ends it at once.")


def show_plan(plan: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print what a recipe would do."""
    if as_json:
        print_json(plan)
        return
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in plan:
        groups.setdefault(json.dumps([entry["step"], entry["config"]]), []).append(entry)
    shown: dict[str, Any] = {}
    whole = _arms(plan)
    for group in groups.values():
        first, arms = group[0], _arms(group)
        seeds = list(dict.fromkeys(str(entry["seed"]) for entry in group if entry["seed"] is not None))
        OUT.print(
            f"[bold]{escape(first['step'])}[/]  [dim]{escape(_format_group(len(group), seeds, arms, len(whole)))}[/]"
        )
        known = shown.get(first["step"], {})
        changed = {key: (known.get(key), value) for key, value in first["config"].items() if known.get(key) != value}
        settings = {key: new for key, (_, new) in changed.items()}
        shown[first["step"]] = first["config"]
        text = yaml.safe_dump(settings, allow_unicode=True, default_flow_style=None, sort_keys=False, width=110)
        OUT.print(escape(indent(text, "    ")), soft_wrap=True)
    OUT.print(f"{len(plan)} steps to do once each; nothing was done. What a step has shown is not repeated.")


def show_experiment(experiment: Experiment, *, as_json: bool) -> None:
    """Print the outcome of a recipe: arms, verdicts, fault finders, and where the report lies."""
    comparisons, detections = experiment.comparisons(), experiment.detections()
    labels = experiment.label_detections()
    report = experiment.path / "report.html"
    if as_json:
        finders = {"fault_finders": estimates_as_json(detections, "share")}
        finders["label_finders"] = [{"audit": name, **estimates_as_json(of, "share")} for name, of in labels.items()]
        rows = _rows_of_steps(experiment.path)
        found = {"comparisons": estimates_as_json(comparisons, "score"), **finders, "rows": rows}
        if outcomes := experiment.outcomes():
            found["requirements"] = estimates_as_json(outcomes, "score")
        print_json(found | {"report": str(report)})
        return
    _print_comparisons(comparisons)
    for remark in experiment.remarks(comparisons):
        OUT.print(escape(remark))
    if labels:
        print_table("Wrong labels against the truth", label_table(labels))
    if detections:
        print_table("Fault finders against the planted truth", detection_table(detections))
    if outcomes := experiment.outcomes():
        show_findings([required_section(outcomes)], as_json=False)
    for name, rows in _rows_of_steps(experiment.path).items():
        if rows["quarantined"] or rows["dropped"]:
            OUT.print(f"{escape(name)}: {escape(describe_rows(rows))}", soft_wrap=True)
    OUT.print(f"\nReport: [bold]{escape(str(report))}[/]", soft_wrap=True)


def show_stop(folder: Path, until: str, *, as_json: bool) -> None:
    """Say where a run that was to stop before its end has left its steps."""
    steps = sorted(str(path.parent) for path in (folder / "steps").glob("*/manifest.json"))
    if as_json:
        print_json({"run": str(folder), "until": until, "steps": steps})
        return
    OUT.print(f"Stopped after '{escape(until)}', as asked; the same command without --until goes on from there.")
    OUT.print(f"Steps: [bold]{escape(str(folder / 'steps'))}[/]", soft_wrap=True)


def show_comparisons(comparisons: Mapping[str, Comparison], *, as_json: bool) -> None:
    """Print comparisons of arms."""
    if as_json:
        print_json(estimates_as_json(comparisons, "score"))
    else:
        _print_comparisons(comparisons)


def _print_comparisons(comparisons: Mapping[str, Comparison]) -> None:
    for name, comparison in comparisons.items():
        print_table(name.capitalize(), arms_table(comparison.arms))
        for pair in comparison.pairs:
            sign = "[dim]○[/]"
            if pair.better:
                sign = "[green]●[/]" if pair.survives_holm else "[yellow]◐[/]"
            OUT.print(f"{sign} {escape(pair.verdict)}")
            for remark in pair.remarks:
                OUT.print(f"  [dim]{escape(remark)}[/]")
        for sentence in comparison.summary:
            OUT.print(escape(f"{sentence}."))


def _rows_of_steps(folder: Path) -> dict[str, Any]:
    """Directory of each step of a recipe that read rows → what became of them."""
    manifests = {path.parent.name: read_json(path) for path in sorted((folder / "steps").glob(f"*/{MANIFEST}"))}
    return {name: manifest["rows"] for name, manifest in manifests.items() if manifest.get("rows")}


def _arms(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(user.rpartition("/")[0] for entry in entries for user in entry["for"]))


def _format_group(count: int, seeds: Sequence[str], arms: Sequence[str], of: int) -> str:
    under = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if seeds else f"{count} ×"
    # The name of an arm may hold a comma.
    which = f"all {of} arms" if len(arms) == of > 1 else ", ".join(f"'{arm}'" for arm in arms)
    return f"{under} · {which}"


def _name_of(step: PlannedStep) -> str:
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
    if "tokens_per_second" in values:
        return f"{share} ({values['tokens_per_second']:,.0f} tokens/s)"
    return share if "rate" not in values else f"{share} {_format_requests(values)}"


def _format_requests(values: Mapping[str, Any]) -> str:
    """How the asking of a step that collects goes on."""
    to_come = "" if values["to_come"] is None else f" + {values['to_come']:,.2f} to come"
    failed = f" · failed: {values['failed']}" if values["failed"] else ""
    elsewhere = f" · {values['elsewhere']:,} asked by another process" if values.get("elsewhere") else ""
    count = f"{values['step']:,}/{values['steps']:,} requests · {values['rate']:,.1f}/s"
    return f"{count} · cost {values['cost']:,.2f}{to_come}{failed}{elsewhere}"
