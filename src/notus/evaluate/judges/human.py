"""Pairs that people have judged: PandaLM's and LLMBar's rows, and any set of preference pairs.

Owns what such a row means and the majority of its votes. Files and formats of preference pairs are the business of
``formats.source``; there the chosen answer is the one vote.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import structs

from notus.core.errors import DataError
from notus.core.records import Message, Messages, Preference, Record
from notus.core.stage import Place, Tally
from notus.evaluate.judges.present import PresentedPair
from notus.formats.fields import read_as, required
from notus.formats.quarantine import REPEATED, Quarantine, RowError, entry_of, repeats_key
from notus.formats.rows import excerpt, parse_row, read_rows

__all__ = ["HumanPair", "from_preferences", "read_human_pairs", "vote_format"]

Row = dict[str, Any]
_LOOKED_AT = 20
"""Rows in which the format is looked for: the first may be a bad one."""
_ANNOTATOR = re.compile(r"annotator_?\d+")


class HumanPair(Record, frozen=True):
    """Two answers to a prompt with the votes of people, and where they stood."""

    prompt: Messages
    first: str
    second: str
    votes: tuple[str, ...]
    """One for each annotator, in the order of the columns. A: the first is better, B: the second, C: neither."""
    file: str = ""
    line: int = 0
    id: str = ""
    """Of the pair as it was read: see ``core.records.Preference``, the first answer taken for the chosen one."""

    @property
    def presented(self) -> PresentedPair:
        """The pair as it is put before a judge."""
        return PresentedPair(self.prompt, self.first, self.second)

    @property
    def majority(self) -> str | None:
        """The verdict with more votes than any other, or None when two share the first place."""
        ranked = Counter(self.votes).most_common(2)
        return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def vote_format(path: Path) -> str | None:
    """Name of the format of votes (``pandalm``, ``llmbar``) that one of the first rows of a file has, or None.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        for _, payload in islice(read_rows(path), _LOOKED_AT):
            with suppress(RowError):
                row = parse_row(payload)
                if name := next((name for name, (matches, _) in _FORMATS.items() if matches(row)), None):
                    return name
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return None


def read_human_pairs(
    path: Path, name: str, tally: Tally, quarantine: Quarantine, *, strict: bool = False, limit: int | None = None
) -> Iterator[HumanPair]:
    """Read rows with votes, one after another; a bad row goes to the quarantine, or is an error in strict mode.

    ``name`` is that of their format, from ``vote_format``.

    Raises:
        DataError: if the file cannot be read, a row is bad in strict mode, or the number of annotators changes.
    """
    decode = _FORMATS[name][1]
    voters = 0
    for line, payload in read_rows(path):
        if limit is not None and tally.taken >= limit:
            return
        tally.taken += 1
        try:
            pair = decode(parse_row(payload))
            voters = voters or len(pair.votes)
            if len(pair.votes) != voters:
                raise RowError("votes", "other-votes", pair.votes, f"{voters} annotators in the rows before")
        except RowError as error:
            if strict:
                raise DataError(f"{path}:{line}: {error}") from None
            quarantine.add(entry_of(Place(path.name, line), error, excerpt(payload)))
            tally.drop("", error.rule, f"{error.field or 'row'}: {error.value}", at=Place(path.name, line))
            continue
        tally.given += 1
        if isinstance(payload, bytes) and repeats_key(payload):
            tally.count(REPEATED)
        yield _placed(pair, path.name, line)


def from_preferences(preferences: Iterable[Preference], tally: Tally) -> Iterator[HumanPair]:
    """Preference pairs as pairs with one vote. The chosen answer stands first in every other pair, so that a judge
    that has a favourite place gains nothing. One with several turns is dropped as ``several-turns``."""
    for number, item in enumerate(preferences):
        tally.taken += 1
        if len(item.chosen) != 1 or len(item.rejected) != 1:
            found = f"{len(item.chosen)} and {len(item.rejected)} turns; each must be one"
            tally.drop(item.id, "several-turns", found, at=item)
            continue
        tally.given += 1
        chosen, rejected = item.chosen[0].content, item.rejected[0].content
        first, second, vote = (rejected, chosen, "B") if number % 2 else (chosen, rejected, "A")
        place: dict[str, Any] = {"id": item.id, "file": item.file, "line": item.line}
        yield HumanPair(prompt=item.prompt, first=first, second=second, votes=(vote,), **place)


def _placed(pair: HumanPair, file: str, line: int) -> HumanPair:
    first, second = ((Message(role="assistant", content=text),) for text in (pair.first, pair.second))
    own = Preference(prompt=pair.prompt, chosen=first, rejected=second).id
    return structs.replace(pair, file=file, line=line, id=own)


def _is_pandalm(row: Row) -> bool:
    return {"instruction", "response1", "response2"} <= row.keys() and any(map(_ANNOTATOR.fullmatch, row))


def _is_llmbar(row: Row) -> bool:
    return {"input", "output_1", "output_2", "label"} <= row.keys()


def _pandalm(row: Row) -> HumanPair:
    """https://github.com/WeOpenML/PandaLM, ``testset-v1.json``: 0 is a tie, 1 and 2 name the better response."""
    text, further = (
        read_as(required(row, "instruction"), str, "instruction"),
        read_as(row.get("input") or "", str, "input"),
    )
    columns = sorted((name for name in row if _ANNOTATOR.fullmatch(name)), key=lambda name: (len(name), name))
    votes = tuple(_vote(row[name], name, tie=True) for name in columns)
    return _pair(f"{text}\n\n{further}" if further else text, row, ("response1", "response2"), votes)


def _llmbar(row: Row) -> HumanPair:
    """https://github.com/princeton-nlp/LLMBar, ``dataset.json``: the label names the better output; there is no tie."""
    text = read_as(required(row, "input"), str, "input")
    return _pair(text, row, ("output_1", "output_2"), (_vote(required(row, "label"), "label", tie=False),))


def _pair(prompt: str, row: Row, names: tuple[str, str], votes: tuple[str, ...]) -> HumanPair:
    first, second = (read_as(required(row, name), str, name) for name in names)
    return HumanPair(prompt=(Message(role="user", content=prompt),), first=first, second=second, votes=votes)


def _vote(value: object, at: str, *, tie: bool) -> str:
    votes = {1: "A", 2: "B"} | ({0: "C"} if tie else {})
    number = read_as(value, int, at)
    if number not in votes:
        raise RowError(at, "unknown-vote", value, f"known: {', '.join(map(str, sorted(votes)))}")
    return votes[number]


_FORMATS: dict[str, tuple[Callable[[Row], bool], Callable[[Row], HumanPair]]] = {
    "pandalm": (_is_pandalm, _pandalm),
    "llmbar": (_is_llmbar, _llmbar),
}
