"""What has been withdrawn, and must not be read again: an append-only file of ids, and a sieve of records.

``forgotten.jsonl`` has one line for each id, with when and why; a further line with ``back`` lets it in again, and the
last line of an id counts. Of a feedback row and of a completion it holds the
prompt and hashes of the answers too: ids of what is made of them are others (an answer's id knows its place), and what
was withdrawn is to be known in pairs, dialogues and single rows as well.

Owns the file and what a withdrawn record is. Which runs one has touched is the business of ``provenance.forget``.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from notus.core.errors import DataError, cannot_write
from notus.core.records import Dialogue, Feedback, Message, Output, Preference, Record, Unpaired, digest, prompt_id
from notus.core.stage import Tally

__all__ = [
    "FORGOTTEN",
    "REASON",
    "Sieve",
    "Withdrawn",
    "answer_digest",
    "forgotten_beside",
    "prompt_of",
    "read_sieve",
    "read_withdrawn",
    "take_back",
    "withdraw",
]

Data = Feedback | Preference | Unpaired | Dialogue
FORGOTTEN = "forgotten.jsonl"
"""Name of the file in a folder of runs."""
REASON = "withdrawn"
"""Under which a row is dropped."""

Kind = Literal["feedback", "completion", "prompt", "pair", "row", "dialogue", "output", "unknown"]


class Withdrawn(Record, frozen=True):
    """A line of the file."""

    id: str
    """Of a record, or ``file:line`` of a row that became none."""
    kind: Kind
    """``unknown``: nothing had such an id when it was withdrawn."""
    when: str = ""
    why: str = ""
    prompt: str = ""
    """Id of its prompt."""
    answers: tuple[str, ...] = ()
    """``answer_digest`` of each answer that is withdrawn."""
    back: bool = False
    """Whether this line takes the withdrawal back."""


def answer_digest(text: str) -> str:
    """What an answer is known by, whatever its place."""
    return digest("answer", text)


@dataclass(frozen=True)
class Sieve:
    """Lets through what is not withdrawn."""

    ids: frozenset[str]
    places: frozenset[str]
    """``file:line`` of rows of which nothing else was known."""
    answers: frozenset[tuple[str, str]]
    """Prompt and answer."""
    prompts: frozenset[str]
    """Prompts of which something is withdrawn."""
    anywhere: bool
    """Whether an id is of no known prompt, so that each record must be looked at."""
    whole: frozenset[str] = field(default=frozenset())
    """Prompts that are withdrawn with all that was made of them."""

    @classmethod
    def of(cls, lines: Iterable[Withdrawn]) -> "Sieve":
        """The sieve of the lines of a file."""
        held = tuple(lines)
        return cls(
            ids=frozenset(each.id for each in held if each.kind != "completion"),
            places=frozenset(each.id for each in held if each.kind == "unknown"),
            answers=frozenset((each.prompt, answer) for each in held for answer in each.answers),
            prompts=frozenset(each.prompt for each in held if each.prompt),
            anywhere=any(not each.prompt for each in held),
            whole=frozenset(each.prompt for each in held if each.kind == "prompt"),
        )

    def sift(self, record: Data, tally: Tally) -> Data | None:
        """The record, without those of its answers that are withdrawn; None, and a drop, where nothing is left."""
        prompt = prompt_of(record)
        if not self.anywhere and prompt not in self.prompts:
            return record
        if self.holds(record, prompt):
            tally.drop(record.id, REASON, at=record, asked_by="forget")
            return None
        if isinstance(record, Feedback):
            kept = [
                place
                for place, item in enumerate(record.completions)
                if (prompt, answer_digest(item.text)) not in self.answers
            ]
            if len(kept) < len(record.completions):
                tally.count("withdrawn-answer", len(record.completions) - len(kept))
                if kept:
                    return record.keep(kept)
                tally.drop(record.id, REASON, "all of its answers", at=record, asked_by="forget")
                return None
        return record

    def holds(self, record: Data | Output, prompt: str | None = None) -> bool:
        """Whether a record as a whole is withdrawn; of feedback, of which single answers may be, by its ids alone."""
        prompt = prompt_of(record) if prompt is None else prompt
        if prompt in self.whole or f"{record.file}:{record.line}" in self.places:
            return True
        if not self.ids.isdisjoint(_ids_of(record, prompt)):
            return True
        if isinstance(record, Feedback):
            return False
        return any((prompt, answer_digest(text)) in self.answers for text in _answers_of(record))

    def touches(self, record: Data | Output) -> bool:
        """Whether a record holds anything that is withdrawn, be it one of several answers."""
        prompt = prompt_of(record)
        if not self.anywhere and prompt not in self.prompts:
            return False
        if self.holds(record, prompt):
            return True
        answers = record.completions if isinstance(record, Feedback) else ()
        return any((prompt, answer_digest(item.text)) in self.answers for item in answers)


def forgotten_beside(run: Path) -> Path | None:
    """The file in the folder of runs that a run directory lies in, be it a step of a recipe.

    None without one, and where all that it holds was taken back: then a run is what it was before.

    Raises:
        DataError: if it is damaged.
    """
    above = run.parent.parent if run.parent.name == "steps" else run
    place = above.parent / FORGOTTEN
    return place if place.is_file() and read_withdrawn(place) else None


def read_withdrawn(path: Path) -> list[Withdrawn]:
    """What is withdrawn by the lines of a file, without what was taken back.

    Raises:
        DataError: if it cannot be read, or a line is no such one.
    """
    found: dict[str, Withdrawn] = {}
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            each = msgspec.json.decode(line, type=Withdrawn)
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(
                f"{path}:{number} is no line of withdrawn ids ({error}); mend it: none is passed over"
            ) from None
        found[each.id] = each
    return [each for each in found.values() if not each.back]


def read_sieve(path: Path) -> Sieve | None:
    """The sieve of a file; None where it holds nothing."""
    lines = read_withdrawn(path)
    return Sieve.of(lines) if lines else None


def withdraw(path: Path, lines: Iterable[Withdrawn], why: str) -> list[Withdrawn]:
    """Add ids to a file, those that it does not hold yet; what was added.

    Raises:
        DataError: if it cannot be written, or is damaged.
    """
    known = {each.id for each in read_withdrawn(path)} if path.exists() else set()
    return _add(path, [each for each in lines if each.id not in known], why)


def take_back(path: Path, identifiers: Iterable[str], why: str, *, write: bool = True) -> list[Withdrawn]:
    """Let in again what was withdrawn: a line is added for each id, and none is taken out. What was taken back.

    Args:
        path: the file.
        identifiers: of what is withdrawn, or their beginnings.
        why: kept in the file.
        write: False looks only.

    Raises:
        DataError: if the file cannot be read or written; if one is not withdrawn, or fits several that are.
    """
    held = {each.id: each for each in read_withdrawn(path)} if path.exists() else {}
    found: dict[str, Withdrawn] = {}
    for identifier in identifiers:
        begun = [each for each in held.values() if identifier and each.id.startswith(identifier)]
        fitting = [held[identifier]] if identifier in held else begun
        if len(fitting) != 1:
            some = ", ".join(each.id for each in (fitting or list(held.values()))[:5]) or "nothing"
            said = f"{len(fitting)} withdrawn ids begin so" if fitting else "it is not withdrawn"
            raise DataError(f"'{identifier}' cannot be taken back: {said}; {path} holds {some}")
        found[fitting[0].id] = msgspec.structs.replace(fitting[0], back=True)
    return _add(path, list(found.values()), why) if write else list(found.values())


def _add(path: Path, lines: Sequence[Withdrawn], why: str) -> list[Withdrawn]:
    """Write lines behind those of a file, through to the disk, with when and why."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    added = [msgspec.structs.replace(each, when=now, why=why) for each in lines]
    if not added:
        return added
    try:
        with path.open("ab") as file:
            for each in added:
                file.write(msgspec.json.encode(each) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None
    return added


def prompt_of(record: Data | Output) -> str:
    """Id of the prompt of a record; of a dialogue, of the turns before its last."""
    if isinstance(record, Dialogue):
        before: tuple[Message, ...] = record.messages[:-1] or record.messages
        return prompt_id(before)
    return record.prompt_id


def _ids_of(record: Data | Output, prompt: str) -> Iterator[str]:
    yield record.id
    yield prompt
    if isinstance(record, Preference | Unpaired) and record.feedback_id:
        yield record.feedback_id


def _answers_of(record: Data | Output) -> Iterator[str]:
    if isinstance(record, Preference):
        yield record.chosen[-1].content
        yield record.rejected[-1].content
    elif isinstance(record, Unpaired):
        yield record.answer[-1].content
    elif isinstance(record, Dialogue):
        yield record.messages[-1].content
    elif isinstance(record, Output):
        yield record.text
