"""Records that stand on several rows: rows of one prompt are put together, wherever they stand in the files.

A table of ratings or votes has a row for each answer and rater. A format of such rows reads each as a ``Feedback`` of
its own and names ``key=by_prompt``; the source then joins them:

    row 1   prompt p   answer x   rating 4 of ann          Feedback p
    row 2   prompt q   answer z   rating 2 of ann    →       x: 4 of ann, 5 of bo
    row 3   prompt p   answer x   rating 5 of bo             y: 3 of ann
    row 4   prompt p   answer y   rating 3 of ann          Feedback q …

Owns the grouping, its memory, and what becomes of what the rows say differently. Memory: the rows wait in a temporary
file as soon as they are more than ``HELD_BYTES``; what is held of each is its place, 16 bytes a row, and some 150 bytes
a prompt. A row with a further column that MessagePack does not give back as it is, such as a decimal number of Arrow or
a whole number beyond 64 bits, waits in memory.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar

import msgspec

from notus.core.records import Completion, Feedback, Message, Ranking, digest
from notus.core.stage import Tally

__all__ = ["HELD_BYTES", "JOINED_ROWS", "by_prompt", "join_rows", "merge_feedback"]

T = TypeVar("T")

HELD_BYTES = 64 << 20
"""What waiting rows may take in memory; more of them wait in a temporary file."""
JOINED_ROWS = "joined_rows"
"""Key in ``extra`` of what the rows of a record say differently: an object for each row, in their order."""
_NONE = 2**64 - 1
_ENCODER = msgspec.msgpack.Encoder()


def by_prompt(record: Feedback) -> str:
    """Rows of one prompt (all its turns) and one source are one record."""
    return digest(record.prompt_id, record.source)


def join_rows(
    records: Iterable[T], key: Callable[[T], str], merge: Callable[[Sequence[T], Tally], T], tally: Tally
) -> Iterator[T]:
    """Records of one key as one, in the order in which the keys appear; nothing is given before all were read.

    Args:
        records: one of each row.
        key: what the rows of one record share, as a short text or a hash.
        merge: makes one record of several, in the order of their rows.
        tally: counts as ``row-joined`` each row that joined an earlier one.
    """
    with SpooledTemporaryFile(max_size=HELD_BYTES) as file:
        groups: dict[str, int] = {}
        # A chain of rows for each group: its first and last row, and to each row the next one.
        first, last, following, starts = array("Q"), array("Q"), array("Q"), array("Q", [0])
        odd: dict[int, T] = {}
        decoder: msgspec.msgpack.Decoder[Any] | None = None
        for row, record in enumerate(records):
            decoder = decoder or msgspec.msgpack.Decoder(type(record))
            packed = _pack(record, decoder)
            if packed:
                file.write(packed)
            else:
                odd[row] = record
            starts.append(file.tell())
            following.append(_NONE)
            group = groups.setdefault(key(record), len(groups))
            if group == len(first):
                first.append(row)
                last.append(row)
            else:
                tally.count("row-joined")
                following[last[group]] = row
                last[group] = row
        for row in first:
            held: list[T] = []
            while row != _NONE:
                if row in odd:
                    held.append(odd.pop(row))
                else:
                    assert decoder is not None
                    file.seek(starts[row])
                    held.append(decoder.decode(file.read(starts[row + 1] - starts[row])))
                row = following[row]  # noqa: PLW2901
            yield held[0] if len(held) == 1 else merge(held, tally)


def _pack(record: object, decoder: "msgspec.msgpack.Decoder[Any]") -> bytes:
    """The record as bytes that give it back as it is; none where no bytes do."""
    try:
        packed = _ENCODER.encode(record)
        found = decoder.decode(packed)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return b""
    # NaN is not equal to itself, and is given back all the same.
    return packed if found == record or repr(found) == repr(record) else b""


def merge_feedback(rows: Sequence[Feedback], tally: Tally) -> Feedback:
    """Feedback on one prompt as one record, with the file and line of the first row.

    The same answer of the same model stands there once, with all its ratings; rankings are put in the order of all
    answers. Further columns that are equal in all rows stay, those that differ are kept under ``JOINED_ROWS``. A second
    critique of an answer is kept in its ``extra`` under ``critiques``, and counted as ``critique-aside``.

    A row that says the same as an earlier one in every column, of a rater with a name, stands there twice: it is taken
    once, and counted as ``row-repeated``. Without a name it is taken again, as two raters may agree, and counted as
    ``row-alike``.
    """
    rows = _without_repeated(rows, tally)
    places: dict[tuple[Any, ...], int] = {}
    answers: list[list[Completion]] = []
    placed: list[list[int]] = []
    for row in rows:
        own = []
        seen: dict[tuple[Any, ...], int] = {}
        for answer in row.completions:
            which = _identity(answer)
            # Two equal answers beside one another in one row are two: a vote may be between them.
            seen[which] = seen.get(which, -1) + 1
            place = places.setdefault((*which, seen[which]), len(answers))
            if place == len(answers):
                answers.append([])
            answers[place].append(answer)
            own.append(place)
        placed.append(own)
    rankings = [
        msgspec.structs.replace(ranking, ranks=_ranks(ranking, own, len(answers)))
        for row, own in zip(rows, placed, strict=True)
        for ranking in row.rankings
    ]
    return msgspec.structs.replace(
        rows[0],
        completions=tuple(_merge_answers(same, tally) for same in answers),
        rankings=tuple(rankings),
        extra=_merge_extra([row.extra for row in rows]),
    )


def _without_repeated(rows: Sequence[Feedback], tally: Tally) -> Sequence[Feedback]:
    seen: set[str] = set()
    found: list[Feedback] = []
    for row in rows:
        said = _said(row)
        if said in seen and _is_signed(row):
            tally.count("row-repeated")
            continue
        if said in seen:
            tally.count("row-alike")
        seen.add(said)
        found.append(row)
    return found


def _is_signed(row: Feedback) -> bool:
    """Whether all that a row says of its answers has a rater's name."""
    raters = [each.rater for answer in row.completions for each in answer.ratings]
    raters += [answer.critique.rater for answer in row.completions if answer.critique is not None]
    raters += [each.rater for each in row.rankings]
    return bool(raters) and all(raters)


def _said(row: Feedback) -> str:
    """All that a row says, but not where it stood; not as JSON or msgpack, which have no place for every number."""
    return repr(msgspec.structs.replace(row, file="", line=0))


def _identity(answer: Completion) -> tuple[str, str, tuple[Message, ...], str, str]:
    return answer.model, answer.text, answer.turns, answer.principle, answer.system_prompt


def _ranks(ranking: Ranking, placed: Sequence[int], count: int) -> tuple[int | None, ...]:
    ranks: list[int | None] = [None] * count
    for place, rank in zip(placed, ranking.ranks, strict=True):
        ranks[place] = rank
    return tuple(ranks)


def _merge_answers(same: list[Completion], tally: Tally) -> Completion:
    if len(same) == 1:
        return same[0]
    critiques = [answer.critique for answer in same if answer.critique is not None]
    extra = _merge_extra([answer.extra for answer in same])
    if len(critiques) > 1:
        tally.count("critique-aside", len(critiques) - 1)
        extra = {**extra, "critiques": [msgspec.to_builtins(critique) for critique in critiques[1:]]}
    return msgspec.structs.replace(
        same[0],
        ratings=tuple(rating for answer in same for rating in answer.ratings),
        critique=critiques[0] if critiques else None,
        extra=extra,
    )


def _merge_extra(extras: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Columns that all rows have alike as they are, all others row by row."""
    first = extras[0]
    if all(extra == first for extra in extras):
        return first
    alike = {
        name: value for name, value in first.items() if all(name in each and each[name] == value for each in extras)
    }
    differing = [{name: value for name, value in each.items() if name not in alike} for each in extras]
    return {**alike, JOINED_ROWS: differing}
