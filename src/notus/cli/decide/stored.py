"""The commands that look at what is decided, and take it back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from notus.cli.options import AsJson

if TYPE_CHECKING:  # imported when they are called, so that the help is quick
    from notus.decisions.ruling import Ruling
    from notus.decisions.settle import Settled

__all__ = ["list_", "undo"]

_Store = Annotated[str, typer.Argument(metavar="STORE", help="A file of decisions, or a team's postgresql://…")]


def list_(
    store: _Store,
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this person has decided.")] = None,
    on: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what is decided on this; its beginning will do.")
    ] = None,
    what: Annotated[
        str | None, typer.Option(help="Only keep, drop, swap, set-score, edit, cannot-tell or note.")
    ] = None,
    conflicts: Annotated[bool, typer.Option("--conflicts", help="Only what persons differ on.")] = False,
    undone: Annotated[bool, typer.Option("--undone", help="Also what was taken back, or decided anew since.")] = False,
    last: Annotated[int, typer.Option(min=1, metavar="N", help="The last so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what is decided: number, when, who, what and why; what persons differ on is told."""
    from notus.core.errors import ConfigError, nearest
    from notus.decisions.read import read_rulings
    from notus.decisions.ruling import ACTIONS, in_force
    from notus.decisions.settle import settle

    if what is not None and what not in ACTIONS:
        raise ConfigError(f"--what: there is no decision '{what}'; {nearest(what, ACTIONS)}")
    every = read_rulings(store)
    settled = settle(every)
    counted = {each.number for each in in_force(every)}
    differ = {each.target for each in settled.conflicts}
    found = [
        each
        for each in every
        if (undone or each.number in counted)
        and (who is None or each.who == who)
        and (on is None or each.target.startswith(on))
        and (what is None or each.what == what)
        and (not conflicts or each.target in differ)
    ]
    if as_json:
        _print_json(store, every, found[-last:], counted, settled)
    else:
        _print_table(store, every, found, counted, settled, last)


def undo(
    store: _Store,
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER…", help="As 'notus decide list' shows them.")],
    who: Annotated[str, typer.Option(metavar="NAME", help="Who takes them back.")],
    as_json: AsJson = False,
) -> None:
    """Take decisions back; to take back what took one back is to redo it. Nothing is deleted."""
    from msgspec import to_builtins

    from notus.cli.terminal import OUT, print_json
    from notus.decisions.store import open_store

    with open_store(store) as opened:
        added = opened.undo(numbers, who)
        before = {each.number: each for each in opened.rulings()}
    if as_json:
        print_json({"store": opened.place, "added": to_builtins(added)})
        return
    for each in added:
        gone = before[each.undoes]
        said = f"decision {gone.undoes} counts again" if gone.what == "undo" else f"{gone.what} by {gone.who}"
        OUT.print(
            f"{each.number}: took back {each.undoes}, {said} ({gone.of} {gone.target})", markup=False, soft_wrap=True
        )
    if left := sorted(set(numbers) - {each.undoes for each in added}):
        print(f"taken back already: {', '.join(map(str, left))}")


def _print_json(
    store: str, every: "Sequence[Ruling]", shown: "Sequence[Ruling]", counted: set[int], settled: "Settled"
) -> None:
    from msgspec import to_builtins

    from notus.cli.terminal import print_json
    from notus.decisions.database import without_password
    from notus.decisions.ruling import taken_back

    rows: list[dict[str, Any]] = [to_builtins(each) | {"counts": each.number in counted} for each in shown]
    conflicts = [{"target": each.target, "of": each.of, "on": list(each.conflicts)} for each in settled.conflicts]
    made, back = sum(each.what != "undo" for each in every), len(taken_back(every))
    told = {"store": without_password(store), "decisions": made, "in_force": len(counted), "taken_back": back}
    print_json(told | {"conflicts": conflicts, "digest": settled.digest, "rows": rows})


def _print_table(
    store: str,
    every: "Sequence[Ruling]",
    found: "Sequence[Ruling]",
    counted: set[int],
    settled: "Settled",
    last: int,
) -> None:
    from collections import Counter

    from notus.cli import terminal
    from notus.core.text import counted as in_words
    from notus.core.text import format_list
    from notus.decisions.database import without_password
    from notus.report.section import ReportSection
    from notus.report.table import Table

    shown = found[-last:]
    people = Counter(each.who for each in every if each.number in counted)
    told = [f"{_made(every, counted)}: {_said(people)}."]
    if settled.conflicts:
        some = format_list([each.target for each in settled.conflicts], 5)
        targets = in_words(len(settled.conflicts), "record")
        told.append(
            f"Persons differ on {targets}, on which nothing is done: {some}; one of the queue 'conflicts' settles."
        )
    if len(found) > len(shown):
        told.append(f"The last {len(shown):,} of {len(found):,} are shown; --last shows more.")
    columns = ("No", "When", "Who", "What", "Of", "ID", "Value", "Why", "Counts")
    rows = tuple(
        (
            *(each.number, each.when[:16].replace("T", " "), each.who, each.what, each.of, each.target),
            *(_value(each), each.why or None, None if each.number in counted else _not_counted(each)),
        )
        for each in shown
    )
    section = ReportSection(
        f"Decisions in {without_password(store)}", tuple(told), Table(columns, rows) if rows else None
    )
    terminal.show_findings([section], as_json=False)


def _made(every: "Sequence[Ruling]", counted: set[int]) -> str:
    """How many decisions were made, and what became of them; what takes one back is none."""
    from notus.core.text import counted as in_words
    from notus.decisions.ruling import taken_back

    made, back = sum(each.what != "undo" for each in every), len(taken_back(every))
    replaced = made - back - len(counted)
    parts = [f"{made:,} {'decision was' if made == 1 else 'decisions were'} made", f"{len(counted):,} count"]
    parts += [f"{back:,} {'is' if back == 1 else 'are'} taken back"] if back else []
    parts += [f"{in_words(replaced, 'was', 'were')} decided anew since"] if replaced else []
    return "; ".join([parts[0], ", ".join([*parts[2:], parts[1]])])


def _said(people: "Any") -> str:
    return ", ".join(f"{name} {count:,}" for name, count in people.most_common()) or "none"


def _value(ruling: "Ruling") -> str | None:
    if ruling.what == "set-score":
        return f"{ruling.field} {'none' if ruling.value is None else f'{ruling.value:g}'}"
    if ruling.what == "edit":
        return f"{ruling.field}: {' '.join(str(ruling.value).split())[:60]}"
    return f"of {ruling.undoes}" if ruling.what == "undo" else None


def _not_counted(ruling: "Ruling") -> str:
    return "–" if ruling.what == "undo" else "no"
