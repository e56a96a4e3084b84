"""Pairs that people have judged: PandaLM's and LLMBar's rows, and any set of preference pairs.

Owns what such a row means and the majority of its votes. Files and layouts of preference pairs are the business of
``data.sources``; there the chosen answer is the one vote.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from notus.core.errors import DataError
from notus.core.records import Message, Messages, Preference, Record
from notus.core.stage import Tally
from notus.data.fields import needed, typed
from notus.data.quarantine import Entry, Quarantine, RowError
from notus.data.rows import excerpt, parsed, read_rows
from notus.evaluate.trial import Shown

__all__ = ["HumanPair", "from_preferences", "human_layout", "read_human_pairs"]

Row = dict[str, Any]
_ANNOTATOR = re.compile(r"annotator_?\d+")


class HumanPair(Record, frozen=True):
    """Two answers to a prompt with the votes of people."""

    prompt: Messages
    first: str
    second: str
    votes: tuple[str, ...]
    """One for each annotator, in the order of the columns. A: the first is better, B: the second, C: neither."""

    @property
    def shown(self) -> Shown:
        """The pair as a judge sees it."""
        return Shown(self.prompt, self.first, self.second)

    @property
    def majority(self) -> str | None:
        """The verdict with more votes than any other, or None when two share the first place."""
        ranked = Counter(self.votes).most_common(2)
        return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def human_layout(path: Path) -> str | None:
    """Name of the layout of votes that the first row of a file has (``pandalm``, ``llmbar``), or None.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        first = next(read_rows(path), None)
        row = {} if first is None else parsed(first[1])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except RowError:
        return None
    return next((name for name, (matches, _) in _LAYOUTS.items() if matches(row)), None)


def read_human_pairs(
    path: Path, layout: str, tally: Tally, quarantine: Quarantine, *, strict: bool = False, limit: int | None = None
) -> Iterator[HumanPair]:
    """Read rows with votes, one after another; a bad row goes to the quarantine, or is an error in strict mode.

    Raises:
        DataError: if the file cannot be read, a row is bad in strict mode, or the number of annotators changes.
    """
    decode = _LAYOUTS[layout][1]
    voters = 0
    for line, payload in read_rows(path):
        if limit is not None and tally.taken >= limit:
            return
        tally.taken += 1
        try:
            pair = decode(parsed(payload))
            voters = voters or len(pair.votes)
            if len(pair.votes) != voters:
                raise RowError("votes", "other-votes", pair.votes, f"{voters} annotators in the rows before")
        except RowError as error:
            if strict:
                raise DataError(f"{path}:{line}: {error}") from None
            where = {"field": error.field, "rule": error.rule, "value": error.value, "detail": error.detail}
            quarantine.add(Entry(file=str(path), line=line, row=excerpt(payload), **where))
            tally.drop(f"{path}:{line}", error.rule, f"{error.field or 'row'}: {error.value}")
            continue
        tally.given += 1
        yield pair


def from_preferences(preferences: Iterable[Preference], tally: Tally) -> Iterator[HumanPair]:
    """Preference pairs as pairs with one vote. The chosen answer stands first in every other pair, so that a judge
    that has a favourite place gains nothing. One with several turns is dropped as ``several-turns``."""
    for number, item in enumerate(preferences):
        tally.taken += 1
        if len(item.chosen) != 1 or len(item.rejected) != 1:
            tally.drop(item.id, "several-turns", f"{len(item.chosen)} and {len(item.rejected)} turns; each must be one")
            continue
        tally.given += 1
        chosen, rejected = item.chosen[0].content, item.rejected[0].content
        first, second, vote = (rejected, chosen, "B") if number % 2 else (chosen, rejected, "A")
        yield HumanPair(prompt=item.prompt, first=first, second=second, votes=(vote,))


def _is_pandalm(row: Row) -> bool:
    return {"instruction", "response1", "response2"} <= row.keys() and any(map(_ANNOTATOR.fullmatch, row))


def _is_llmbar(row: Row) -> bool:
    return {"input", "output_1", "output_2", "label"} <= row.keys()


def _pandalm(row: Row) -> HumanPair:
    """https://github.com/WeOpenML/PandaLM, ``testset-v1.json``: 0 is a tie, 1 and 2 name the better response."""
    text, further = typed(needed(row, "instruction"), str, "instruction"), typed(row.get("input") or "", str, "input")
    columns = sorted((name for name in row if _ANNOTATOR.fullmatch(name)), key=lambda name: (len(name), name))
    votes = tuple(_vote(row[name], name, tie=True) for name in columns)
    return _pair(f"{text}\n\n{further}" if further else text, row, ("response1", "response2"), votes)


def _llmbar(row: Row) -> HumanPair:
    """https://github.com/princeton-nlp/LLMBar, ``dataset.json``: the label names the better output; there is no tie."""
    text = typed(needed(row, "input"), str, "input")
    return _pair(text, row, ("output_1", "output_2"), (_vote(row["label"], "label", tie=False),))


def _pair(prompt: str, row: Row, names: tuple[str, str], votes: tuple[str, ...]) -> HumanPair:
    first, second = (typed(needed(row, name), str, name) for name in names)
    return HumanPair(prompt=(Message(role="user", content=prompt),), first=first, second=second, votes=votes)


def _vote(value: object, at: str, *, tie: bool) -> str:
    votes = {1: "A", 2: "B"} | ({0: "C"} if tie else {})
    number = typed(value, int, at)
    if number not in votes:
        raise RowError(at, "unknown-vote", value, f"known: {', '.join(map(str, sorted(votes)))}")
    return votes[number]


_LAYOUTS: dict[str, tuple[Callable[[Row], bool], Callable[[Row], HumanPair]]] = {
    "pandalm": (_is_pandalm, _pandalm),
    "llmbar": (_is_llmbar, _llmbar),
}
