"""The commands that look at a file: ``formats`` says what it looks like, and ``read`` shows what was understood."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer
from rich.markup import escape

from notus.cli.options import AsJson
from notus.cli.terminal import OUT, print_json, print_table, show_step
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Ranking, Unpaired
from notus.core.run import Run, read_json
from notus.core.tables import read_records, table_exists
from notus.core.text import counted, format_list, one_line
from notus.formats.format import Data, Format
from notus.formats.lookup import format_named
from notus.formats.mapping.look import Look, look_at
from notus.formats.mapping.suggest import Suggestion, as_options, as_yaml
from notus.formats.mapping.targets import TARGETS
from notus.formats.registry import FORMATS, unlike
from notus.formats.source import tables_of
from notus.report.table import Table
from notus.steps.base import TABLES

__all__ = ["formats", "preview", "show_read"]

_SHOWN = 3
"""Records of which a preview is shown."""


def formats(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A file, a folder or a hub id; without it, all formats.")
    ] = None,
    name: Annotated[str | None, typer.Option("--layout", help="Say why the file is not of this format.")] = None,
    split: Annotated[str | None, typer.Option(help="Which of several splits, sheets or lists.")] = None,
    config: Annotated[str | None, typer.Option(help="Which of several configurations of a set.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text that is not in UTF-8, such as cp1252.")] = None,
    targets: Annotated[bool, typer.Option("--map", help="List what a mapping can name.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the formats with a row of each; of a file, say what it looks like, what it is, and a mapping to try."""
    if targets:
        rows = tuple(TARGETS.items())
        print_json(dict(rows)) if as_json else print_table("What a mapping can name", Table(("Target", "Is"), rows))
    elif file is None:
        _show_all(as_json=as_json)
    else:
        wanted = None if name is None else format_named(name)
        tables = tables_of(file, split=split, config=config, encoding=encoding)
        looked = look_at(tables, encoding=encoding)
        if as_json:
            print_json(_plain_look(file, looked) | ({} if wanted is None else {"not_as": _not_as(looked, wanted)}))
        else:
            told = {"split": split, "config": config, "encoding": encoding}
            given = "".join(f" --{name} {shlex.quote(value)}" for name, value in told.items() if value is not None)
            _show_look(file, given, looked, wanted)


def _show_all(*, as_json: bool) -> None:
    rows = [(name, each.record.__name__ if each.record else "", each.sample) for name, each in FORMATS.items()]
    if as_json:
        print_json([{"format": name, "record": record, "sample": sample} for name, record, sample in rows])
        return
    for kind in dict.fromkeys(record for _, record, _ in rows):
        OUT.print(f"\n[bold]{kind}[/]")
        width = max(len(name) for name, record, _ in rows if record == kind)
        for name, record, sample in rows:
            if record == kind:
                row = "" if sample is None else json.dumps(sample, ensure_ascii=False)
                OUT.print(f"  {name:{width}}  [dim]{escape(one_line(row, max(40, OUT.width - width - 5)))}[/]")
    OUT.print("\nWhat a file is: notus formats FILE. All of each row: --json. What a mapping can name: --map.")


def _plain_look(file: str, looked: Look) -> dict[str, Any]:
    tried = looked.suggestion
    return {
        "file": file,
        "files": [str(path) for path in looked.files],
        "rows": looked.rows,
        "broken": looked.broken,
        "columns": [
            {"path": column.path, "type": column.type, "null": column.nulls, "examples": list(column.values)}
            for column in looked.columns
        ],
        "format": looked.format,
        "formats": looked.formats,
        "fits_too": list(looked.also),
        "bad_rows": looked.faults,
        "near": [asdict(near) for near in looked.near],
        "lists": looked.lists,
        "map": None
        if tried is None
        else asdict(tried) | {"options": as_options(tried.map), "yaml": as_yaml(tried.map)},
    }


def _show_look(file: str, given: str, looked: Look, wanted: Format | None) -> None:
    """``given``: the options that say which of several tables was looked at; the command to try needs them too."""
    command = f"notus read {shlex.quote(file)}{given}"
    rows = tuple(
        (column.path, column.type, f"{column.nulls:.0%}" if column.nulls else None, _examples(list(column.values)))
        for column in looked.columns
    )
    OUT.print(f"{escape(file)}: {_counted_files(looked)}, the first {counted(looked.rows, 'row')} looked at")
    if looked.broken:
        first = f"reading puts {'it' if looked.broken == 1 else 'them'} aside; the first: {looked.fault}"
        OUT.print(f"[yellow]{counted(looked.broken, 'row')} cannot be parsed; {escape(first)}[/]")
    if looked.broken == looked.rows:
        return
    print_table("Columns", Table(("Column", "Type", "Null", "Examples"), rows))
    for line in (*_read_as(looked), *(_not_as(looked, wanted) if wanted is not None else ())):
        OUT.print(escape(line))
    if looked.lists:
        lists = ", ".join(f"{name} ({size:,})" for name, size in looked.lists.items())
        OUT.print(f"\nIt is a single object; lists of objects in it may be the rows: {escape(lists)}", soft_wrap=True)
        OUT.print("\nNext: look at one, then read it:\n")
        for name in looked.lists:
            OUT.print(f"  notus formats {shlex.quote(file)} --split {shlex.quote(name)}", soft_wrap=True, markup=False)
    if looked.suggestion is not None and (looked.suggestion.read or not looked.lists):
        _show_suggestion(command, looked.suggestion)
    elif looked.format is not None:
        OUT.print(f"\nNext: {escape(command)}", soft_wrap=True)
    elif not looked.lists:
        OUT.print("\nNext: say what is what; 'notus formats --map' lists what can be named:")
        OUT.print(f"\n  {escape(command)} --map prompt=COLUMN --map …", soft_wrap=True)


def _counted_files(looked: Look) -> str:
    return looked.files[0].name if len(looked.files) == 1 else counted(len(looked.files), "file")


def _examples(values: Sequence[str]) -> str:
    return format_list([one_line(value, 24) for value in values], 3, " · ")


def _read_as(looked: Look) -> Iterator[str]:
    """What a file is read as, or which formats it is near to."""
    if looked.format is None:
        yield "No known format fits."
        for near in looked.near:
            yield f"  not {near.format}: {'; '.join(near.reasons)}"
        return
    record = FORMATS[looked.format].record
    yield f"Read as {looked.format}" + (f", which makes a {record.__name__} of each row." if record else ".")
    if looked.also:
        yield f"It fits {', '.join(looked.also)} too; --layout NAME takes another."
    if len(looked.formats) > 1:
        told = ", ".join(f"{count:,} {name}" for name, count in looked.formats.items())
        yield f"Rows are of several formats ({told}); each is read as {looked.format}, or put aside."
    if looked.faults:
        told = ", ".join(f"{count:,} {rule}" for rule, count in looked.faults.items())
        yield f"{counted(sum(looked.faults.values()), 'row')} would be put aside: {told}."


def _not_as(looked: Look, wanted: Format) -> list[str]:
    """Why the first row of a file is not of a format that was asked about."""
    near = unlike(looked.first, wanted)
    if near is None:
        return [f"{wanted.name} is never detected; --layout {wanted.name} reads it so"]
    return [f"not {wanted.name}: {reason}" for reason in near.reasons] or [f"it fits {wanted.name}"]


def _show_suggestion(command: str, tried: Suggestion) -> None:
    reads = f"it reads {tried.read:,} of the {counted(tried.of, 'row')} looked at"
    told = f"add {tried.asked}" if tried.missing else f"{reads} as {tried.record}" if tried.record else reads
    open_ = "".join(f" --map {name}=…" for name in tried.missing)
    OUT.print(f"\nA mapping to try; {escape(told)}:", soft_wrap=True)
    OUT.print(f"\n  {escape(command)} {escape(as_options(tried.map))}{open_}", soft_wrap=True)
    OUT.print("\nor as a file, --map mapping.yaml:\n")
    for line in as_yaml(tried.map).splitlines():
        OUT.print(f"  {escape(line)}", soft_wrap=True)
    for name in tried.missing:
        OUT.print(f"  {name}: …")
    if tried.beside:
        told = format_list(list(tried.beside), 4)
        OUT.print(
            f"[yellow]By it the answers are ones to imitate; whether they should be may stand in {escape(told)}[/]"
        )
    if tried.fault and not tried.missing:
        OUT.print(f"[yellow]What it does not read: {escape(tried.fault)}[/]")


def show_read(run: Run, before: Sequence[Run] = (), *, as_json: bool) -> None:
    """Print what ``notus read`` made of a file: three records as they were understood, the counts, the next command."""
    kind = next((kind for kind, artifact in TABLES.items() if table_exists(artifact.at(run.path))), None)
    if not as_json and kind is not None:
        records = list(islice(read_records(TABLES[kind].at(run.path), kind), _SHOWN))
        OUT.print(f"\n[bold]The first {counted(len(records), 'record')}, as they were understood[/] ({kind.__name__})")
        for number, record in enumerate(records, 1):
            for line in preview(record, number, OUT.width):
                OUT.print(line, soft_wrap=True)
    show_step(run, before, as_json=as_json)
    if not as_json and kind is not None:
        summary = read_json(run.path / "manifest.json")["summary"]
        if "fits_too" in summary:
            OUT.print(
                f"[yellow]The rows fit {escape(summary['fits_too'])} too, which would make something else of them;[/] "
                "--layout NAME takes another."
            )


def preview(record: Data, number: int, width: int) -> list[str]:
    """A record in a few lines, each cut to a width; in rich's markup."""
    lines = list(_turns("prompt", _turns_before(record), width))
    if isinstance(record, Feedback):
        lines += [line for index, answer in enumerate(record.completions) for line in _answer(index, answer, width)]
        lines += [("vote", one_line(_vote(ranking), width - 15)) for ranking in record.rankings[:_MOST]]
        if len(record.rankings) > _MOST:
            lines.append(("", f"and {counted(len(record.rankings) - _MOST, 'more vote', 'more votes')}"))
    elif isinstance(record, Preference):
        lines += _side("chosen", record.chosen, record.model_chosen, record.score_chosen, width)
        lines += _side("rejected", record.rejected, record.model_rejected, record.score_rejected, width)
        lines += [("margin", f"{record.margin:g}")] if record.margin is not None else []
    elif isinstance(record, Unpaired):
        wanted = "wanted" if record.desirable else "unwanted"
        lines += _side(wanted, record.answer, record.model, record.score, width)
    else:
        lines += [(turn.role, _said(turn, width - 15)) for turn in record.messages[len(_turns_before(record)) :]]
    if record.extra:
        lines.append(("kept beside", one_line(", ".join(record.extra), width - 15)))
    where = f"{record.file}:{record.line}" if record.file else ""
    head = (
        f"\n[bold]{number}[/]  [dim]{escape(one_line(' · '.join(filter(None, (where, record.source))), width - 4))}[/]"
    )
    return [head, *(f"   [dim]{name:<12}[/]{escape(text)}" for name, text in lines)]


_MOST = 6
"""Answers, raters or votes of a record that a preview shows."""


def _turns_before(record: Data) -> Sequence[Message]:
    """The prompt; of a dialogue, what stands before the first answer."""
    if not isinstance(record, Dialogue):
        return record.prompt
    first = next((at for at, turn in enumerate(record.messages) if turn.role == "assistant"), len(record.messages))
    return record.messages[:first]


def _turns(name: str, turns: Sequence[Message], width: int, told: str = "") -> Iterator[tuple[str, str]]:
    """A text of one turn on a line; of several each on its own, behind its role, the first ones and the last."""
    if len(turns) < 2:
        yield name, _said(turns[0], width - 15, told) if turns else "(none)"
        return
    shown = list(turns) if len(turns) <= _MOST else [*turns[: _MOST - 1], turns[-1]]
    for number, turn in enumerate(shown):
        if number and number == _MOST - 1 and len(turns) > _MOST:
            yield "", f"… {counted(len(turns) - _MOST, 'turn')} more …"
        # The model stands behind the first line, where it is looked for.
        yield ("" if number else name), _said(turn, width - 15, "" if number else told, role=True)


def _said(turn: Message, width: int, told: str = "", *, role: bool = False) -> str:
    """A turn in so many characters, its role before it and what is told of it behind."""
    text = f"{turn.role}: {turn.content}" if role else turn.content
    return one_line(text, max(20, width - len(told))) + told


def _side(
    name: str, turns: Sequence[Message], model: str, score: float | None, width: int
) -> Iterator[tuple[str, str]]:
    told = " ".join(filter(None, (model, "" if score is None else f"{score:g}")))
    yield from _turns(name, turns, width, f"  [{one_line(told, 40)}]" if told else "")


def _answer(index: int, answer: Completion, width: int) -> Iterator[tuple[str, str]]:
    if index >= _MOST:
        return
    scores = [
        f"{rating.aspect} {_value(rating.value)}{f' ({rating.rater})' if rating.rater else ''}"
        for rating in answer.ratings
    ]
    if answer.critique is not None and answer.critique.score is not None:
        scores.append(f"critique {answer.critique.score:g}")
    if len(answer.answer) > 1:
        yield from _turns(f"answer {index + 1}", answer.answer, width, f"  [{answer.model}]" if answer.model else "")
    else:
        yield f"answer {index + 1}", one_line(f"{answer.model + ': ' if answer.model else ''}{answer.text}", width - 15)
    if scores:
        yield "", one_line(format_list(scores, _MOST, " · "), width - 15)


def _value(value: float | None) -> str:
    return "without a value" if value is None else f"{value:g}"


def _vote(ranking: Ranking) -> str:
    ranked = [rank for rank in ranking.ranks if rank is not None]
    if len(ranked) > 1 and len(set(ranked)) == 1:
        told = "tie"
    else:
        told = " > ".join(
            " = ".join(f"answer {at + 1}" for at, each in enumerate(ranking.ranks) if each == rank)
            for rank in sorted(set(ranked))
        )
    return told + (f" ({ranking.rater})" if ranking.rater else "")
