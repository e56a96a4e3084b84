"""Dividing a source into what is trained on and what is held out, and saying how that came out.

    division = plan_division(context, source, asked, workers)  # before the rows are read
    division.holds(row)                                        # while they are
    say_sides(context, division, sides)                        # after both are written

Owns the reading for the plan, and the words. The rules are owned by ``core.splits``, the search for what stands on both
sides by ``clean.leaks``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from notus.core.errors import DataError, nearest
from notus.core.splits import (
    NEAR,
    PROMPT,
    Division,
    Row,
    Time,
    column_value,
    join_groups,
    latest_prompts,
    time_of,
)
from notus.core.text import counted, format_list
from notus.formats.source import Shard, Source
from notus.steps.base import Context

if TYPE_CHECKING:  # the search is heavy, and most steps hold nothing out
    from notus.clean.duplicates import Signatures
    from notus.clean.leaks import Sides

__all__ = ["BEFORE", "plan_division", "say_leaks", "say_sides"]

BEFORE = "they were divided before: divide them anew"
"""What to do about leaks of a division that was found."""
_TIME = "time:"


@dataclass
class _Survey:
    """What the plan needs of the rows of a shard."""

    groups: set[tuple[str, ...]] = field(default_factory=set)
    """Of rows that are in several."""
    times: dict[str, Time] = field(default_factory=dict)
    """Prompt → the latest time of its rows."""
    signatures: "Signatures | None" = None
    rows: int = 0
    found: Counter[str] = field(default_factory=Counter)
    """Path that the division goes by → rows that have it."""
    columns: dict[str, None] = field(default_factory=dict)
    """Names of the further columns, in their order."""


def plan_division(context: Context, source: Source, division: Division, workers: int | None) -> Division:
    """Decide what is held out. For all but plain prompts, the source is read once for it.

    Args:
        context: of the step.
        source: the rows that are to be divided.
        division: what was asked for.
        workers: number of processes, as for ``Context.shards``.

    Raises:
        DataError: if no row has a column that the division goes by, or the times have no order.
    """
    if division.by == PROMPT or not division.share:
        return division
    surveys = list(context.shards(source, partial(_survey, division), workers, again=True))
    _require_columns(division, surveys, source.name)
    if division.by.startswith(_TIME):
        return _by_time(context, division, surveys)
    joined = [groups for survey in surveys for groups in survey.groups]
    signed = [survey.signatures for survey in surveys if survey.signatures is not None]
    if signed:
        from notus.clean.duplicates import Signatures
        from notus.clean.leaks import cluster_prompts

        joined += cluster_prompts(Signatures.concat(signed)).items()
    return replace(division, joined=join_groups(joined))


def _survey(division: Division, records: Iterator[Row], shard: Shard) -> _Survey:
    del shard
    found = _Survey()
    path = division.by.removeprefix(_TIME) if division.by.startswith(_TIME) else ""

    def seen() -> Iterator[tuple[str, Row]]:
        for row in records:
            _look(found, division, row)
            if path and (time := time_of(row, path)) is not None:
                _keep_latest(found.times, row.prompt_id, time)
            yield row.prompt_id, row

    if NEAR in division.by.split("+"):
        from notus.clean.leaks import sign_prompts

        found.signatures = sign_prompts(seen())
    else:
        for _ in seen():
            pass
    return found


def _look(found: _Survey, division: Division, row: Row) -> None:
    found.rows += 1
    found.columns.update(dict.fromkeys(row.extra))
    for part in division.by.split("+"):
        kind, _, path = part.partition(":")
        found.found[part] += bool(row.source) if kind == "source" else column_value(row.extra, path) is not None
    if len(groups := division.groups_of(row)) > 1:
        found.groups.add(groups)


def _keep_latest(times: dict[str, Time], prompt: str, time: Time) -> None:
    before = times.get(prompt)
    if before is None or type(before) is not type(time) or time > before:  # type: ignore[operator]
        times[prompt] = time


def _require_columns(division: Division, surveys: Iterable[_Survey], name: str) -> None:
    found = sum((survey.found for survey in surveys), Counter[str]())
    columns = list(dict.fromkeys(column for survey in surveys for column in survey.columns))
    for part in division.by.split("+"):
        kind, _, path = part.partition(":")
        if path and not found[part]:
            raise DataError(f"no row of {name} has '{path}' ({kind}, held_out_by); {nearest(path, columns)}")
        if kind == "source" and not found[part]:
            raise DataError(f"no row of {name} says its source; divide by something else (held_out_by)")


def _by_time(context: Context, division: Division, surveys: Iterable[_Survey]) -> Division:
    times: dict[str, Time] = {}
    for survey in surveys:
        for prompt, time in survey.times.items():
            _keep_latest(times, prompt, time)
    late, first = latest_prompts(times, division.share)
    context.note(held_out_from=f"{first:.15g}" if isinstance(first, float) else first.isoformat())
    return replace(division, late=late)


def say_sides(context: Context, division: Division, sides: "Sides") -> None:
    """Note how a division came out, and what stands on both sides.

    Args:
        context: of the step.
        division: that was made.
        sides: what ``clean.leaks`` finds in the rows of each side.
    """
    rows = sum(sides.rows)
    kind, _, path = division.by.rpartition(":") if "+" not in division.by else ("", "", division.by)
    name = path if kind in ("column", "time") else division.by
    said = f"{name}: {sides.groups[1]:,} of {counted(sides.groups[0], 'group')}, {sides.rows[1]:,} of {rows:,} rows"
    if sides.without:
        said += f"; {counted(sides.without, 'row')} without it went by the prompt"
    context.note(held_out_by=said)
    say_leaks(context, sides, division.by, "to keep them apart")


def say_leaks(context: Context, sides: "Sides", by: str, how: str) -> None:
    """Note what stands on both sides, and what mends it; nothing where nothing does.

    Args:
        context: of the step.
        sides: that were compared.
        by: what the division went by.
        how: what to do, before the setting.
    """
    if sides.leaks:
        from notus.clean.leaks import mend

        context.note(on_both_sides={leak.by: leak.groups for leak in sides.leaks})
        told = format_list([str(leak) for leak in sides.leaks], len(sides.leaks))
        context.note(leaks=f"{told} on both sides; {how}: --held-out-by {mend(sides.leaks, by)}")
