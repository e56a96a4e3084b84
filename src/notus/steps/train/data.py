"""What training reads of a run directory: dialogues, pairs, unpaired rows, and what is held out.

Owns that no answer is learnt by imitation that somebody did not want: of pairs the chosen one is taken, of labelled
answers those that are wanted, and of feedback none, for which of its answers is good enough is not decided here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import pydantic

from notus.core.artifacts import DIALOGUES, FEEDBACK, HELD_OUT, PREFERENCES, RAW_FEEDBACK, UNPAIRED
from notus.core.config import Config
from notus.core.errors import DataError
from notus.core.records import Dialogue, Message, Preference, Unpaired
from notus.core.run import read_json
from notus.core.splits import PROMPT, Division
from notus.core.stage import Tally
from notus.core.tables import read_records, table_exists
from notus.core.text import counted
from notus.decisions.apply import Applied, describe_counts
from notus.steps.base import Context, Step, decided_for
from notus.steps.data.division import BEFORE, say_leaks
from notus.train.mixture import Mixture, Order, Portion, Source, draw_rows, in_several

__all__ = [
    "Mixing",
    "chosen_of",
    "decided_lines",
    "dialogues_of",
    "drawn_sources",
    "first_of_each",
    "held_out_of",
    "pairs_or_rows",
    "sifted",
    "with_scores",
]

R = TypeVar("R", Preference, Unpaired)
D = TypeVar("D", Preference, Unpaired, Dialogue)
Read = Callable[[Path], tuple[Sequence[Any], Sequence[Any]]]
"""Reads the rows of a run directory to train on, and those that are held out."""


class Mixing(Config):
    """What steps share that may train on several sources."""

    order: Order = "mixed"
    """Of several sources: ``mixed``, or ``one-after-another`` in every epoch, in the order in which they are named."""

    @pydantic.model_validator(mode="after")
    def _order_of_several(self) -> Self:
        values = (getattr(self, key) for key in type(self).model_fields)
        several = any(isinstance(value, tuple) and value and isinstance(value[0], Portion) for value in values)
        if self.order != "mixed" and not several:
            raise ValueError(f"'order' is {self.order}, and there is one source; name several, or leave it out")
        return self


def drawn_sources(
    context: Context, setting: str, value: str | tuple[Portion, ...], order: Order, read: Read
) -> tuple[list[Any], list[Any], Mixture | None]:
    """The rows of one source, or those that are drawn of several, the held-out ones, and how they are mixed.

    Of several it notes what they have in common, and what stands on both sides.

    Args:
        context: of the step.
        setting: that names the sources.
        value: its value.
        order: of several sources.
        read: reads one.

    Raises:
        DataError: if a source holds no row to train on.
    """
    if isinstance(value, str):
        rows, held_out = read(context.place(setting))
        return [*rows], [*held_out], None
    names = _names(value, context.places(setting))
    found = [(name, portion, *read(place)) for (name, place), portion in zip(names, value, strict=True)]
    if empty := next((name for name, _, rows, _ in found if not rows), None):
        raise DataError(f"{empty} ({setting}) holds no row to train on; leave it out of the sources")
    sources = [Source(name, rows, held, portion) for name, portion, rows, held in found]
    drawn = draw_rows(sources, context.seed, context.tally("mix"), setting)
    rows, held_out = ([row for each in drawn for row in side(each)] for side in (_rows, _held_out))
    _note_shared(context, drawn, rows, held_out)
    return rows, held_out, Mixture.of(drawn, order, context.seed)


def first_of_each(
    inputs: Mapping[str, str], setting: str, read: Callable[[Path], Sequence[Any]], count: int
) -> tuple[list[Any], int]:
    """The first rows of each source that a setting names, and how many rows there are in all."""
    keys = [key for key in inputs if key == setting or key.startswith(f"{setting}.")]
    found = [read(Path(inputs[key])) for key in keys]
    return [row for rows in found for row in rows[:count]], sum(map(len, found))


def _rows(source: Source[Any]) -> Sequence[Any]:
    return source.rows


def _held_out(source: Source[Any]) -> Sequence[Any]:
    return source.held_out


def _names(portions: Sequence[Portion], places: Sequence[Path]) -> list[tuple[str, Path]]:
    """What each source is called, and where it lies: a step by its name, what was read for this by its file's."""
    names = []
    for portion, place in zip(portions, places, strict=True):
        read = read_json(place / "inputs.json").get("path") if (place / "inputs.json").is_file() else None
        own = Path(portion.source).exists()
        names.append(Path(read["path"] if own and read else portion.source).name if own else portion.source)
    return [
        (name if names.count(name) == 1 else f"{name} ({number})", place)
        for number, (name, place) in enumerate(zip(names, places, strict=True), start=1)
    ]


def _note_shared(context: Context, sources: Sequence[Source[Any]], rows: list[Any], held_out: list[Any]) -> None:
    found = in_several(sources)
    leaks = found.pop("leaks", 0)
    if found:
        context.note(in_several_sources=found)
    if held_out and isinstance(rows[0], Preference | Unpaired):
        from notus.clean.leaks import compare_sides

        say_leaks(context, compare_sides(rows, held_out, Division(0.0, 0)), PROMPT, BEFORE)
    elif leaks:
        context.note(leaks=f"{counted(leaks, 'held-out row')} of one source ask what another one trains on")


_STATED = ("label", "score", "rating", "reward", "quality", "split")
"""What a dialogue may say of itself in further columns, and what SFT makes no use of."""


def sifted(records: Iterable[D], decided: Applied | None, tally: Tally | None = None) -> Iterator[D]:
    """Records as persons have decided on them.

    Args:
        records: of a run directory.
        decided: what was decided; None: nothing.
        tally: what takes those that are dropped, of whoever counts what comes and what stays; None: nobody counts.
    """
    told = tally or Tally("decided")
    for record in records:
        found = record if decided is None else decided.sift(record, told)
        if found is not None:
            yield cast("D", found)  # of the kind that it was
        elif tally is not None:
            tally.taken += 1


def decided_lines(config: Step, inputs: Mapping[str, str]) -> tuple[str, ...]:
    """What became of the decisions that a training is given, held-out rows too, in sentences, before it is done.

    Empty where none are given, and where a source is no run directory: what it holds is read when the training begins.

    Args:
        config: of the training.
        inputs: setting → run directory.

    Raises:
        InputError: if decisions cannot be read.
    """
    decided, tally = decided_for(config, inputs), Tally("decided")
    places = [Path(place) for key, place in inputs.items() if key.partition(".")[0] in ("data", "pairs")]
    if decided is None or not all(place.is_dir() for place in places):
        return ()
    for place in places:
        for artifact in (PREFERENCES, HELD_OUT, UNPAIRED, DIALOGUES):
            if artifact.record is not None and table_exists(artifact.at(place)):
                for record in read_records(artifact.at(place), artifact.record):
                    decided.sift(record, tally)
    told = f"Decisions: {describe_counts(decided.counts(tally.seen))}."
    odd = decided.misfit(tally.seen, " and ".join(map(str, places)))
    return (told, f"Decisions: {odd}") if odd else (told,)


def dialogues_of(folder: Path, tally: Tally, decided: Applied | None = None) -> list[Dialogue]:
    """What SFT trains on: dialogues, or the chosen answers of preferences, or the wanted ones of labelled answers.

    Args:
        folder: a run directory.
        tally: takes unwanted answers as dropped (``undesirable``), and counts pairs whose scores contradict their label
            (``reversed``) or whose answers are the same (``same-text``), and columns of dialogues that say something of
            the answer and are not used (``label-unused``, …).
        decided: what persons decided on the rows.

    Raises:
        DataError: if it holds none of these.
    """
    if table_exists(DIALOGUES.at(folder)):
        return list(_counted(sifted(read_records(DIALOGUES.at(folder), Dialogue), decided, tally), tally))
    if table_exists(UNPAIRED.at(folder)) and not table_exists(PREFERENCES.at(folder)):
        return list(_wanted(sifted(read_records(UNPAIRED.at(folder), Unpaired), decided, tally), tally))
    if not table_exists(PREFERENCES.at(folder)) and any(each.is_in(folder) for each in (FEEDBACK, RAW_FEEDBACK)):
        raise DataError(
            f"{folder} holds feedback, and which of its answers are to be imitated is not decided: make pairs with "
            "notus binarize, or dialogues of the best answers with notus export --layout ultrachat"
        )
    return list(_chosen(sifted(_pairs(PREFERENCES.at(folder)), decided, tally), tally))


def chosen_of(path: Path, tally: Tally, decided: Applied | None = None) -> list[Dialogue]:
    """The prompts of a table of pairs with their chosen answers; empty where there is no such table."""
    return list(_chosen(sifted(_pairs(path), decided, tally), tally)) if table_exists(path) else []


def pairs_or_rows(folder: Path) -> list[Preference] | list[Unpaired]:
    """What preferences are learnt from: pairs where there are some, and otherwise unpaired rows."""
    single = UNPAIRED.at(folder)
    if table_exists(single) and not table_exists(PREFERENCES.at(folder)):
        return list(read_records(single, Unpaired))
    return _pairs(PREFERENCES.at(folder))


def with_scores(rows: Iterable[R], tally: Tally) -> Iterator[R]:
    """A stage for losses that read scores: pairs without the scores of both answers are dropped as ``unscored``."""
    for row in rows:
        if isinstance(row, Preference) and None in (row.score_chosen, row.score_rejected):
            tally.drop(row.id, "unscored", "the loss needs the scores of both answers", at=row)
        else:
            yield row


def held_out_of(folder: Path) -> list[Preference]:
    """The pairs that are kept for evaluation; empty where none are."""
    path = HELD_OUT.at(folder)
    return _pairs(path) if table_exists(path) else []


def _counted(dialogues: Iterable[Dialogue], tally: Tally) -> Iterator[Dialogue]:
    for dialogue in dialogues:
        tally.taken += 1
        tally.given += 1
        for name in _STATED:
            if dialogue.extra.get(name) is not None:
                tally.count(f"{name}-unused")
        yield dialogue


def _chosen(pairs: Iterable[Preference], tally: Tally) -> Iterator[Dialogue]:
    for pair in pairs:
        tally.taken += 1
        tally.given += 1
        scores = (pair.score_chosen, pair.score_rejected)
        margin = pair.margin if scores[0] is None or scores[1] is None else scores[0] - scores[1]
        if margin is not None and margin < 0:
            tally.count("reversed")
        if pair.chosen == pair.rejected:
            tally.count("same-text")
        yield _dialogue(pair, (*pair.prompt, *pair.chosen))


def _wanted(rows: Iterable[Unpaired], tally: Tally) -> Iterator[Dialogue]:
    for row in rows:
        tally.taken += 1
        if not row.desirable:
            what = "its label says that the answer is unwanted"
            tally.drop(row.id, "undesirable", what, at=row, asked_by="data")
            continue
        tally.given += 1
        yield _dialogue(row, (*row.prompt, *row.answer))


def _dialogue(record: Preference | Unpaired, messages: tuple[Message, ...]) -> Dialogue:
    tools = {"tools": record.extra["tools"]} if "tools" in record.extra else {}
    return Dialogue(messages=messages, source=record.source, extra=tools, file=record.file, line=record.line)


def _pairs(path: Path) -> list[Preference]:
    if not table_exists(path):
        raise DataError(f"{path} is not there; this needs a step that leaves preferences, such as 'binarize' or 'read'")
    return list(read_records(path, Preference))
