"""Cleaning: what a set of prompts and answers is better without, found in one reading and taken out in a second.

    parts = [examine(records, settings, questions) for records in shards]      # signatures and matches, no text
    plans = decide(parts, settings)                                            # one for each shard, and what was found
    for records, plan in zip(shards, plans.shards):
        yield from apply(partial(cleaned, plan, settings, plans.names, leavings), records, tally)

Dropped are, with a reason: ``contaminated`` (a question of a benchmark is in the prompt), ``duplicate`` and
``near-duplicate`` (of an earlier prompt that stays), and by the answers ``empty-answer``, ``denies-feelings``,
``truncated``, ``other-language`` (``data.chat``). A contaminated prompt keeps no other one from staying.

Which answers are looked at: all of the assistant in a dialogue; the chosen one of a pair, and an unpaired one that is
wanted, because the others may be bad; each completion of feedback. Of feedback a single completion goes, with a
``Decision`` and counted as ``completion:<slug>``, and the prompt only where none is left (``no-completion``).
Truecasing edits, with a ``Decision`` of before and after, and counted as ``truecased``.

Owns the order, and what becomes of records. What is looked for is owned by ``data.contamination``, ``data.duplicates``,
``data.chat`` and ``data.truecase``, and the tables of the evidence by ``data.evidence``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
import pydantic
from numpy.typing import NDArray

from notus.core.config import Config
from notus.core.records import Completion, Decision, Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.stage import Tally
from notus.data.chat import FILTERS, LANGUAGES, other_language
from notus.data.contamination import Match, Matching, Overlaps, Questions
from notus.data.duplicates import Duplicate, Signatures, find_duplicates, prompt_id, record_id, sign_records
from notus.data.layouts import Data
from notus.data.truecase import Forms, truecase
from notus.data.words import Block, prompt_text, words_of

__all__ = [
    "SHOWN",
    "Cleaning",
    "Examined",
    "Leavings",
    "Plan",
    "Plans",
    "cleaned",
    "decide",
    "examine",
]

Filter = Literal["empty-answer", "denies-feelings", "truncated", "other-language"]

RULE = "truecase"
_AT_ONCE = 512
SHOWN = 100
"""Look-alikes whose texts are kept, as examples."""


class Cleaning(Config):
    """What is cleaned."""

    duplicates: bool = True
    """Whether prompts that repeat an earlier one go."""
    similarity: float = pydantic.Field(default=0.8, gt=0, le=1)
    """Least Jaccard similarity of near duplicates; 1 leaves them in but for the same words in another order."""
    holders: int = pydantic.Field(default=1, ge=1)
    """Further prompts that make what two prompts share a template: see ``data.duplicates``."""
    matching: Matching = Matching()
    """From when on a prompt holds a question of a benchmark."""
    filters: tuple[Filter, ...] | None = None
    """Filters of answers; null takes all for dialogues, and none for anything else."""
    language: str = "en"
    """The wanted language, for the filter ``other-language``: ISO 639-1."""
    truecase: bool | None = None
    """Whether missing capitals are put in; null does so in dialogues, where an English text is wanted."""

    @pydantic.field_validator("language")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LANGUAGES:
            raise ValueError(f"there is no language '{value}'; known: {', '.join(LANGUAGES)}")
        return value

    def filters_of(self, record: type[Data]) -> tuple[str, ...]:
        """The filters for a kind of records."""
        if self.filters is not None:
            return self.filters
        return tuple(FILTERS) if record is Dialogue else ()

    def truecases(self, record: type[Data]) -> bool:
        """Whether records of a kind are truecased."""
        return (record is Dialogue and self.language == "en") if self.truecase is None else self.truecase


@dataclass(frozen=True)
class Examined:
    """What is known of a shard after the first reading; small, and can be sent to another process."""

    signatures: Signatures
    overlaps: Overlaps
    forms: Forms


@dataclass(frozen=True)
class Plan:
    """What happens to the rows of one shard, which are counted from 0."""

    gone: dict[int, tuple[str, str]]
    """Row → reason, and the evidence in words."""
    wanted: tuple[int, ...]
    """Rows whose prompts are kept as evidence."""


@dataclass(frozen=True)
class Plans:
    """What was found in the whole set, and what follows for each shard."""

    shards: tuple[Plan, ...]
    starts: tuple[int, ...]
    """Number of rows before each shard."""
    repeated: tuple[Duplicate, ...]
    spared: tuple[Duplicate, ...]
    """Pairs that are over the threshold only by a template."""
    matches: tuple[Match, ...]
    scores: NDArray[np.float32]
    """Of ``Overlaps``, for the curve."""
    prompts: tuple[str, ...]
    """Id of each row's prompt, for the rows in ``repeated`` and ``spared``; empty for the others."""
    names: Mapping[str, str]
    """Of ``Forms.names``."""


@dataclass
class Leavings:
    """What the second reading leaves beside the records."""

    decisions: list[Decision] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    """Row of the shard → its prompt, for the rows that a plan wants."""


def examine(records: Iterable[Data], settings: Cleaning, questions: Questions | None = None) -> Examined:
    """Read a shard for the first time: what the decision needs of it."""
    signatures: list[Signatures] = []
    overlaps: list[Overlaps] = []
    forms = Forms()
    for chunk in _chunks(records, _AT_ONCE):
        words = [words_of(prompt_text(record)) for record in chunk]
        ids = [prompt_id(record) for record in chunk]
        block = Block.of(words)
        if settings.duplicates:
            signatures.append(sign_records(chunk, ids, words, block))
        if questions is not None:
            overlaps.append(questions.search_words(list(zip(ids, words, strict=True)), block))
        else:
            overlaps.append(Overlaps((), np.zeros((len(chunk), 4), np.float32)))
        if settings.truecases(type(chunk[0])):
            for record in chunk:
                for text in _spoken(record):
                    forms.add(text)
    return Examined(Signatures.joined(signatures), Overlaps.joined(overlaps), forms)


def decide(parts: Iterable[Examined], settings: Cleaning) -> Plans:
    """What the whole set tells of each row. See the module for the order.

    Args:
        parts: of the shards, in their order. Given one by one, they are let go of as they are put together.
        settings: of the cleaning.
    """
    held = list(parts)
    sizes = [len(part.overlaps.scores) for part in held]
    starts = np.concatenate(([0], np.cumsum(sizes)))[: len(sizes)].astype(int)
    overlaps, names = (
        Overlaps.joined([part.overlaps for part in held]),
        Forms.joined(part.forms for part in held).names(),
    )
    signed = [part.signatures for part in held]
    held.clear()
    matched = np.zeros(len(overlaps.scores), bool)
    matched[[match.row for match in overlaps.matches]] = True
    gone = {
        match.row: (
            "contaminated",
            f"{match.kind}: {match.benchmark} {match.item}, {match.similarity:.2f}: {match.span}",
        )
        for match in overlaps.matches
    }
    repeated: tuple[Duplicate, ...] = ()
    spared: tuple[Duplicate, ...] = ()
    ids: list[str] = [""] * len(matched)
    if settings.duplicates:
        signatures = Signatures.joined(signed)
        found = find_duplicates(signatures, threshold=settings.similarity, holders=settings.holders, without=matched)
        repeated, spared = found.found, found.spared
        for each in (*repeated, *spared):
            for row in (each.row, each.of):
                ids[row] = f"{int(signatures.prompts[row]):016x}"
        for each in repeated:
            gone[each.row] = (each.kind, f"of {ids[each.of]} in row {each.of}, similarity {each.similarity:.2f}")
    wanted = {row for each in (*repeated, *spared[:SHOWN]) for row in (each.row, each.of)}
    wanted |= {match.row for match in overlaps.matches}
    return Plans(
        shards=_divided(gone, wanted, starts.tolist(), sizes),
        starts=tuple(starts.tolist()),
        repeated=repeated,
        spared=spared,
        matches=overlaps.matches,
        scores=overlaps.scores,
        prompts=tuple(ids),
        names=names,
    )


def cleaned(
    plan: Plan,
    settings: Cleaning,
    names: Mapping[str, str],
    leavings: Leavings,
    records: Iterable[Data],
    tally: Tally,
) -> Iterator[Data]:
    """Read a shard for the second time: a stage that yields what stays, edited where it is to be edited."""
    wanted = frozenset(plan.wanted)
    for row, record in enumerate(records):
        if row in wanted:
            leavings.texts[row] = prompt_text(record)
        if row in plan.gone:
            tally.drop(record_id(record), *plan.gone[row])
            continue
        kept = _filtered(record, settings, leavings, tally)
        if kept is not None:
            yield _truecased(kept, names, leavings, tally) if settings.truecases(type(record)) else kept


def _chunks(records: Iterable[Data], size: int) -> Iterator[list[Data]]:
    chunk: list[Data] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _divided(
    gone: Mapping[int, tuple[str, str]], wanted: Iterable[int], starts: Sequence[int], sizes: Sequence[int]
) -> tuple[Plan, ...]:
    """The rows of the set as rows of its shards."""
    here: list[dict[int, tuple[str, str]]] = [{} for _ in starts]
    kept: list[list[int]] = [[] for _ in starts]
    owner = np.repeat(np.arange(len(sizes)), sizes).tolist()
    for row in sorted(gone):
        here[owner[row]][row - starts[owner[row]]] = gone[row]
    for row in sorted(wanted):
        kept[owner[row]].append(row - starts[owner[row]])
    return tuple(Plan(left, tuple(rows)) for left, rows in zip(here, kept, strict=True))


def _finding(text: str, filters: Sequence[str], language: str) -> tuple[str, str] | None:
    """The first filter that finds something in an answer, and what."""
    for slug in filters:
        found = other_language(text, language) if slug == "other-language" else FILTERS[slug](text)
        if found is not None:
            return slug, found
    return None


def _filtered(record: Data, settings: Cleaning, leavings: Leavings, tally: Tally) -> Data | None:
    filters = settings.filters_of(type(record))
    if not filters:
        return record
    if isinstance(record, Feedback):
        return _without_bad_completions(record, filters, settings.language, leavings, tally)
    for text in _answers(record):
        if (found := _finding(text, filters, settings.language)) is not None:
            tally.drop(record_id(record), *found)
            return None
    return record


def _answers(record: Preference | Unpaired | Dialogue) -> list[str]:
    """The answers that a model would learn to give."""
    if isinstance(record, Preference):
        turns: Sequence[Message] = record.chosen
    elif isinstance(record, Unpaired):
        turns = record.answer if record.desirable else ()
    else:
        turns = record.messages
    return [turn.content for turn in turns if turn.role == "assistant"]


def _without_bad_completions(
    record: Feedback, filters: Sequence[str], language: str, leavings: Leavings, tally: Tally
) -> Feedback | None:
    kept: list[Completion] = []
    for index, completion in enumerate(record.completions):
        found = _finding(completion.text, filters, language)
        if found is None:
            kept.append(completion)
            continue
        tally.count(f"completion:{found[0]}")
        rule = f"{found[0]}: {found[1]}"
        leavings.decisions.append(_decision(record.completion_id(index), "completion", completion.text, None, rule))
    if not kept:
        tally.drop(record.id, "no-completion", f"all {len(record.completions)} completions were filtered out")
        return None
    if len(kept) == len(record.completions):
        return record
    return msgspec.structs.replace(record, completions=tuple(kept))


def _truecased(record: Data, names: Mapping[str, str], leavings: Leavings, tally: Tally) -> Data:
    """The record with its capitals. The target of each decision is the record, or the completion, as it was."""
    made: list[Decision] = []
    changes: dict[str, Any] = {}
    own = record_id(record)
    for name in ("messages", "prompt", "chosen", "rejected", "answer"):
        turns: tuple[Message, ...] | None = getattr(record, name, None)
        if turns is not None:
            edited = tuple(_edited(turn, f"{name}[{i}].content", own, names, made) for i, turn in enumerate(turns))
            changes |= {name: edited} if edited != turns else {}
    if isinstance(record, Feedback):
        completions = list(record.completions)
        for index, completion in enumerate(completions):
            if (text := truecase(completion.text, names)) != completion.text:
                made.append(_decision(record.completion_id(index), "text", completion.text, text, RULE))
                completions[index] = msgspec.structs.replace(completion, text=text)
        changes |= {"completions": tuple(completions)} if tuple(completions) != record.completions else {}
    if not made:
        return record
    leavings.decisions += made
    tally.count("truecased")
    return msgspec.structs.replace(record, **changes)


def _edited(turn: Message, place: str, target: str, names: Mapping[str, str], made: list[Decision]) -> Message:
    text = turn.content if turn.role == "system" else truecase(turn.content, names)
    if text == turn.content:
        return turn
    made.append(_decision(target, place, turn.content, text, RULE))
    return Message(role=turn.role, content=text)


def _decision(target: str, where: str, before: str, after: str | None, rule: str) -> Decision:
    return Decision(target=target, field=where, before=before, after=after, rule=rule, by="rule")


def _spoken(record: Data) -> Iterator[str]:
    """All that was said in a record, by anyone but the system."""
    for name in ("messages", "prompt", "chosen", "rejected", "answer"):
        yield from (turn.content for turn in getattr(record, name, ()) if turn.role != "system")
    if isinstance(record, Feedback):
        yield from (completion.text for completion in record.completions)
