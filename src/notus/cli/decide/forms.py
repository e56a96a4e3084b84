"""The commands by which people decide: what is to be decided out as a form, and what was decided back into a store."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notus.cli.options import AsJson

if TYPE_CHECKING:  # imported when they are called, so that the help is quick
    from notus.api.decide import Exported
    from notus.api.queue import Queue
    from notus.decisions.forms.answers import Brought

__all__ = ["export", "import_"]

_SHOWN = 20
"""Rows of which is told what is wrong with them; --json tells of all."""


def export(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE_OR_RUN", help="A run of the audit, or a run, a file, a folder, a hub id.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new file; of Argilla a new folder.")],
    to: Annotated[
        str | None, typer.Option(help="xlsx, csv, jsonl, argilla, label-studio or html; by default by the file's end.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="So many of the most suspicious; without an audit, of the first.")
    ] = 50,
    random: Annotated[int, typer.Option(min=0, metavar="N", help="A random sample beside them, for a fair rate.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Decides the random sample.")] = 0,
    reason: Annotated[str | None, typer.Option(help="Only what the audit gives this reason for.")] = None,
    decisions: Annotated[
        str | None, typer.Option(metavar="STORE", help="Leave out what is decided in this store.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Of the store only what this person has decided.")] = None,
    feedback: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="What pairs were made from; of a run it is found by itself.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Name of the format of a file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the most suspicious records as a form: a sheet, JSON lines, a page, or for an annotation tool."""
    from notus.api.decide import export_queue

    found = export_queue(
        source,
        out,
        to,
        top=top,
        random=random,
        seed=seed,
        reason=reason,
        decisions=decisions,
        who=who,
        feedback=feedback,
        layout=layout,
        force=force,
    )
    _show_exported(found, decisions, as_json=as_json)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The form, filled in; or an annotation tool's export.")],
    decisions: Annotated[str, typer.Option(metavar="STORE", help="The store; it is made where it is missing.")],
    who: Annotated[
        str, typer.Option(metavar="NAME", help="Whose decisions they are, where the file has no name.")
    ] = "",
    user: Annotated[
        list[str] | None, typer.Option(metavar="ID=NAME", help="What a user of an annotation tool is called.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Take only what is decided on records of this source.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Decide again what was taken back or decided otherwise since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring in what was decided in a form; what is there already is not added again."""
    from notus.api.decide import import_form
    from notus.core.config import parse_override

    names = dict(parse_override(text, "--user", "3=ana") for text in user or ())
    found = import_form(
        file, decisions, who=who, names={key: str(name) for key, name in names.items()}, data=data, anew=anew
    )
    _show_brought(found, file, decisions, as_json=as_json)


def _show_exported(found: "Exported", store: str | None, *, as_json: bool) -> None:
    from notus.cli.terminal import OUT, print_json
    from notus.core.text import counted

    queue, paths = found.queue, [str(path) for path in found.written.paths]
    if as_json:
        told = {name: value for name, value in asdict(queue).items() if name != "items"}
        reasons = sum(bool(item.reasons) for item in queue.items)
        told |= {"form": found.form, "files": paths, "items": len(queue.items), "with_a_reason": reasons}
        print_json(told | {"cut": found.written.cut})
        return
    for line in _exported_lines(found):
        OUT.print(line, markup=False, soft_wrap=True)
    print(f"Written: {', '.join(paths)} ({counted(len(queue.items), 'record')}, {found.form})")
    back = (
        "EXPORT"
        if found.form in ("argilla", "label-studio")
        else "decisions.json"
        if found.form == "html"
        else paths[0]
    )
    print(f"Next: notus decide import {back} --decisions {store or 'decisions.sqlite'} --who NAME")


def _exported_lines(found: "Exported") -> list[str]:
    from notus.core.text import counted

    queue = found.queue
    reasons = sum(bool(item.reasons) for item in queue.items)
    lines = [f"{queue.source}: {counted(queue.of, 'row')}, {_order(queue)}"]
    if queue.by_suspicion or queue.by_flags:
        lines.append(f"{reasons:,} of the {counted(len(queue.items), 'record')} have a reason")
    if queue.random:
        shared = f"; {queue.both:,} of them stand among the first too, and count for the sample" if queue.both else ""
        lines.append(f"{queue.random:,} are a random sample of the rows that are not decided{shared}")
    if queue.left_out:
        lines.append(f"{counted(queue.left_out, 'row')} left out, for they are decided")
    if queue.repeated:
        lines.append(f"{counted(queue.repeated, 'row')} left out, for another one holds the same")
    if queue.unread:
        lines.append(f"{counted(queue.unread, 'row')} cannot be read; notus read {queue.source} tells why")
    if queue.feedback_of:
        lines.append(f"{queue.joined:,} of {counted(queue.feedback_of, 'pair')} stand beside their feedback")
    if found.written.cut:
        cut = counted(found.written.cut, "text")
        lines.append(f"{cut} cut, for a cell holds 32,767 characters; html and jsonl hold them whole")
    return lines


def _order(queue: "Queue") -> str:
    from notus.core.text import counted

    if queue.by_suspicion:
        return "the most suspicious first"
    if queue.by_flags:
        against = (
            f"{counted(queue.against_text, 'label')} against {'its' if queue.against_text == 1 else 'their'} texts"
        )
        return f"ordered by flags: {counted(queue.facts, 'pair')} with a fact, {against}; no rewards rank them"
    return "in the order of the source, for no audit orders it"


def _show_brought(found: "Brought", file: Path, store: str, *, as_json: bool) -> None:
    from notus.cli.terminal import OUT, print_json
    from notus.core.text import counted

    came = found.returned
    faults = {"unreadable": came.unreadable, "unknown": came.unknown, "changed": came.changed, "undone": found.undone}
    if as_json:
        counts: dict[str, Any] = {"file": str(file), "store": store, "rows": came.answers, "empty": came.empty}
        counts |= {"decisions": len(came.rulings), "added": len(found.added), "known": found.known}
        counts |= {"twice": came.twice, "unchecked": came.unchecked, "aside": dict(came.aside)}
        print_json(counts | {"by": _by_person(found)} | faults)
        return
    told = [
        f"{counted(len(came.rulings), 'decision')}",
        f"{came.empty:,} not decided",
        *(f"{came.twice:,} twice" for _ in range(bool(came.twice))),
        *(f"{count:,} {why}" for why, count in came.aside.items()),
        *(f"{len(lines):,} {name}" for name, lines in faults.items() if lines and name != "undone"),
    ]
    print(f"{file}: {counted(came.answers, 'row')}: {', '.join(told)}")
    if came.unchecked:
        print(f"{counted(came.unchecked, 'row')} without a key: whether their texts were changed cannot be told")
    for name, lines in faults.items():
        for line in lines[:_SHOWN]:
            OUT.print(f"  {name}: {line}", markup=False, soft_wrap=True)
        if len(lines) > _SHOWN:
            print(f"  … and {len(lines) - _SHOWN:,} more {name}; --json tells of all")
    if found.undone:
        print("What was undone or decided otherwise is not decided again without --anew")
    known = f"; {found.known:,} were there already" if found.known else ""
    people = ", ".join(f"{name} {count:,}" for name, count in _by_person(found).items())
    added = f"{counted(len(found.added), 'decision')} added to {store} ({people})" if found.added else "Nothing added"
    print(f"{added}{known}")


def _by_person(found: "Brought") -> dict[str, int]:
    from collections import Counter

    return dict(Counter(each.who for each in found.added))
