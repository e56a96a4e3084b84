"""Cleaning: what a set of prompts and answers is better without, found in one reading and taken out in a second.

    parts = [examine(records, settings, items) for records in shards]      # signatures and matches, no text
    plans = decide(parts, settings)                                        # one for each shard, and what was found
    for records, plan in zip(shards, plans.shards):
        yield from apply(partial(apply_plan, plan, settings, plans.names, evidence), records, tally)

Dropped are, with a reason: ``contaminated`` (an item of a benchmark is in the prompt), ``duplicate`` and
``near-duplicate`` (of an earlier prompt that stays), and by the answers ``empty-answer``, ``wordless-answer``,
``denies-feelings``, ``truncated``, ``other-language`` (``clean.chat``); where it is asked for, ``personal-email`` and
the like, ``secret``, ``unwanted-language`` and ``toxic`` (``clean.private.guard``), whose masks are put in before any
answer is looked at, so that no evidence holds what they hide. A contaminated prompt keeps no other one from staying. Of
pairs goes, where it is asked for, what the audit flags in them, by the same rules under the same names
(``preferences.faults``). A record that ``keep`` names by its id or its prompt's stays, whatever is in its prompt, and
is counted as ``kept-by-id``. Rules that know only English are not applied to answers that are known to be in another
language: ``not-applied:<slug>`` counts the records.

Which answers are looked at: all of the assistant in a dialogue; the chosen one of a pair (both, for
``empty-answer``), and a desirable unpaired one, because the others may be bad; each completion of feedback. Of feedback
a single completion goes, with a ``Decision`` and counted as ``completion:<slug>``, and the prompt only where none is
left (``no-completion``). Truecasing edits, with a ``Decision`` of before and after, and counted as ``truecased``.

Owns the order, what becomes of records, and the tables of the evidence: which prompt repeats which, and which holds
what item of a benchmark. What is looked for is owned by ``clean.contamination``, ``clean.duplicates``, ``clean.chat``
and ``clean.truecase``.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pydantic
from numpy.typing import NDArray

from notus.clean.chat import ENGLISH_ONLY, FILTERS, LANGUAGES, other_language
from notus.clean.contamination import ItemIndex, Match, Matching, Overlaps
from notus.clean.duplicates import (
    Duplicate,
    Duplicates,
    Signatures,
    find_duplicates,
    prompt_id_of,
    sign_records,
)
from notus.clean.private.guard import Found, Guard, Privacy, Seen, answers_of, asked_by
from notus.clean.truecase import Forms, truecase
from notus.clean.words import Block, prompt_text, words_of
from notus.core.config import Config
from notus.core.errors import ConfigError, DataError
from notus.core.records import (
    Decision,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Record,
)
from notus.core.stage import Tally
from notus.core.tables import read_batch
from notus.decisions.note import is_kept
from notus.formats.format import Data, record_id
from notus.preferences.faults import PAIR_FAULTS, pair_faults

__all__ = [
    "RULE",
    "SHOWN",
    "Cleaning",
    "Contaminated",
    "Evidence",
    "Examined",
    "Plan",
    "Plans",
    "Repeated",
    "ShownRecord",
    "apply_plan",
    "apply_to_columns",
    "contaminated_rows",
    "decide",
    "examine",
    "mark_difference",
    "repeated_rows",
]

Filter = Literal[
    "empty-answer",
    "wordless-answer",
    "denies-feelings",
    "truncated",
    "other-language",
    "same-answers",
    "same-but-scored-apart",
    "score-tie",
    "reversed",
    "unscored",
]

RULE = "truecase"
"""Of decisions that put capitals in."""
_BY_LANGUAGE = ENGLISH_ONLY | {"other-language"}
_AT_ONCE = 512
_LONG_DIFFERENCE = 2000
"""Words and signs from which on a differing part is marked as a whole."""
SHOWN = 100
"""Look-alikes whose texts are kept, as examples."""


class Cleaning(Config):
    """What is cleaned."""

    duplicates: bool = True
    """Whether prompts that repeat an earlier one go."""
    edited: bool = False
    """Whether prompts that are alike but for a few other words here and there go too, as corrupted copies do."""
    similarity: float = pydantic.Field(default=0.8, gt=0, le=1)
    """Least Jaccard similarity of the words of what ``edited`` takes, and of look-alikes that are listed."""
    holders: int = pydantic.Field(default=1, ge=1)
    """Further prompts that make what two prompts share a template: see ``clean.duplicates``."""
    keep: tuple[str, ...] = ()
    """Ids of records, or of prompts, that stay though their prompt repeats another or holds an item."""
    matching: Matching = Matching()
    """From when on a prompt holds an item of a benchmark."""
    filters: tuple[Filter, ...] | None = None
    """Filters of answers, and of pairs what the audit flags; null takes those of answers for dialogues, else none."""
    language: str = "en"
    """The language asked for, of the filter ``other-language``: ISO 639-1."""
    private: Privacy = Privacy()
    """Personal data, secrets, languages and toxicity: what is looked for, and what is done with it."""
    truecase: bool | None = None
    """Whether missing capitals are put in; null does so in dialogues, where English is asked for."""

    @pydantic.field_validator("language")
    @classmethod
    def _language_exists(cls, value: str) -> str:
        if value not in LANGUAGES:
            raise ValueError(f"there is no language '{value}'; known: {', '.join(LANGUAGES)}")
        return value

    def filters_of(self, record: type[Data]) -> tuple[str, ...]:
        """The filters for a kind of records.

        Raises:
            ConfigError: if one that looks at both answers of a pair is asked for, and these are no pairs.
        """
        if self.filters is None:
            return tuple(FILTERS) if record is Dialogue else ()
        if record is not Preference and (of_pairs := [name for name in self.filters if name not in FILTERS]):
            raise ConfigError(f"filters: {', '.join(of_pairs)} look at both answers of a pair, and these are no pairs")
        return self.filters

    def edits(self, record: type[Data]) -> bool:
        """Whether records of a kind are looked at one by one, and may be changed, in the second reading."""
        return bool(self.filters_of(record)) or self.truecases(record) or self.private.looks

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
    shown: frozenset[int]
    """Rows whose prompts are kept as evidence."""
    kept: frozenset[int]
    """Rows that would have gone, but for ``Cleaning.keep``."""
    rows: int
    """Of the shard in all."""


@dataclass(frozen=True)
class Plans:
    """What was found in the whole set, and what follows for each shard."""

    shards: tuple[Plan, ...]
    starts: tuple[int, ...]
    """Number of rows before each shard."""
    repeated: tuple[Duplicate, ...]
    spared: tuple[Duplicate, ...]
    """Pairs that are over the threshold, and differ in what counts."""
    matches: tuple[Match, ...]
    scores: NDArray[np.float32]
    """Of ``Overlaps``, for the curve."""
    prompts: tuple[str, ...]
    """Id of each row's prompt, for the rows in ``repeated`` and ``spared``; empty for the others."""
    names: Mapping[str, str]
    """Of ``Forms.names``."""
    kept: frozenset[int] = frozenset()
    """Rows that would have gone, but for ``Cleaning.keep``."""
    without_lists: int = 0
    """Prompts in a language without word lists, in which each word counts."""


class ShownRecord(NamedTuple):
    """A record whose prompt is evidence, and where it stood."""

    id: str
    file: str
    line: int
    prompt: str


@dataclass
class Evidence:
    """What the second reading leaves beside the records."""

    decisions: list[Decision] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    shown: dict[int, ShownRecord] = field(default_factory=dict)
    """By row of the shard, for the rows that a plan shows."""


class Repeated(Record, frozen=True):
    """Evidence: a prompt that repeats an earlier one, or only looks like it."""

    row: int
    """Number of the record in the set, from 1, as is ``kept_row``."""
    id: str
    prompt_id: str
    file: str
    line: int
    prompt: str
    kept_row: int
    kept_id: str
    kept_prompt_id: str
    kept_file: str
    kept_line: int
    kept_prompt: str
    kind: str
    """``duplicate``, ``near-duplicate``, or where both stay: ``kept-by-id``, or ``look-alike`` where they differ in
    what counts."""
    differs: str
    """What tells look-alikes apart: number, negation, order, relation, marks or word; empty for others."""
    difference: str
    """The prompt with what differs from the one that stays: ``[-gone-]`` and ``{+come+}``, word by word."""
    similarity: float


class Contaminated(Record, frozen=True):
    """Evidence: a prompt that holds an item of a benchmark."""

    row: int
    """Number of the record in the set, from 1."""
    id: str
    prompt_id: str
    file: str
    line: int
    prompt: str
    benchmark: str
    item: str
    question: str
    kind: str
    similarity: float
    span: str


def examine(records: Iterable[Data], settings: Cleaning, items: ItemIndex | None = None) -> Examined:
    """Read a shard for the first time: what the decision needs of it.

    Raises:
        ConfigError: if a filter does not fit the records.
    """
    signatures: list[Signatures] = []
    overlaps: list[Overlaps] = []
    forms = Forms()
    for chunk in _chunks(records, _AT_ONCE):
        settings.filters_of(type(chunk[0]))
        words = [words_of(prompt_text(record)) for record in chunk]
        ids = [prompt_id_of(record) for record in chunk]
        block = Block.of(words)
        if settings.duplicates or settings.keep:
            signatures.append(sign_records(chunk, ids, words, block, own_ids=bool(settings.keep)))
        if items is not None:
            overlaps.append(items.search(list(zip(ids, words, strict=True)), block))
        else:
            overlaps.append(Overlaps((), np.zeros((len(chunk), 4), np.float32)))
        if settings.truecases(type(chunk[0])):
            for record in chunk:
                for text in _turn_texts(record):
                    forms.add(text)
    return Examined(Signatures.concat(signatures), Overlaps.concat(overlaps), forms)


def decide(parts: Iterable[Examined], settings: Cleaning, known: Callable[[], Set[str]] = frozenset[str]) -> Plans:
    """What the whole set tells of each row. See the module for the order.

    Args:
        parts: of the shards, in their order. Given one by one, they are let go of as they are put together.
        settings: of the cleaning.
        known: asked when all parts are there: further ids that ``keep`` may hold, of answers.

    Raises:
        ConfigError: if ``keep`` holds any other id that no record and no prompt has.
    """
    held = list(parts)
    sizes = [len(part.overlaps.scores) for part in held]
    starts = np.concatenate(([0], np.cumsum(sizes)))[: len(sizes)].astype(int)
    overlaps = Overlaps.concat([part.overlaps for part in held])
    names = Forms.concat(part.forms for part in held).names()
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
    signatures = Signatures.concat(signed)
    found = Duplicates((), (), 0)
    ids: list[str] = [""] * len(matched)
    if settings.duplicates:
        found = find_duplicates(
            signatures,
            threshold=settings.similarity,
            holders=settings.holders,
            edited=settings.edited,
            without=matched,
        )
        for each in (*found.found, *found.spared):
            for row in (each.row, each.of):
                ids[row] = f"{int(signatures.prompts[row]):016x}"
        for each in found.found:
            gone[each.row] = (each.kind, f"of {ids[each.of]} in row {each.of + 1}, similarity {each.similarity:.2f}")
    kept = _kept_rows(signatures, settings.keep, known()).intersection(gone)
    gone = {row: reason for row, reason in gone.items() if row not in kept}
    shown = {row for each in (*found.found, *found.spared[:SHOWN]) for row in (each.row, each.of)}
    shown |= {match.row for match in overlaps.matches}
    return Plans(
        shards=_divide(gone, shown, kept, starts.tolist(), sizes),
        starts=tuple(starts.tolist()),
        repeated=found.found,
        spared=found.spared,
        matches=overlaps.matches,
        scores=overlaps.scores,
        prompts=tuple(ids),
        names=names,
        kept=frozenset(kept),
        without_lists=found.without_lists,
    )


def _kept_rows(signatures: Signatures, keep: Sequence[str], known: Set[str]) -> set[int]:
    """The rows that ids of records or of prompts, or their beginnings, name; what is known otherwise needs none."""
    rows: set[int] = set()
    for name in keep:
        if not _ID.fullmatch(name):
            raise ConfigError(f"keep: '{name}' is no id; ids are hexadecimal, as in duplicates.parquet")
        number, below = np.uint64(int(name, 16)), np.uint64(4 * (16 - len(name)))
        held = [np.flatnonzero(ids >> below == number) for ids in (signatures.rows, signatures.prompts)]
        meant = {
            int(id_) for ids, at in zip((signatures.rows, signatures.prompts), held, strict=True) for id_ in ids[at]
        }
        if len(meant) > 1:
            said = ", ".join(f"{id_:016x}" for id_ in sorted(meant)[:3])
            raise ConfigError(
                f"keep: {len(meant)} ids begin with '{name}' ({said}); give more of the one that is meant"
            )
        if not meant and not any(each.startswith(name) for each in known):
            raise ConfigError(f"keep: no record and no prompt has the id '{name}'; ids stand in duplicates.parquet")
        rows.update(row for at in held for row in at.tolist())
    return rows


_ID = re.compile(r"[0-9a-f]{4,16}")


def apply_plan(
    plan: Plan,
    settings: Cleaning,
    names: Mapping[str, str],
    evidence: Evidence,
    records: Iterable[Data],
    tally: Tally,
) -> Iterator[Data]:
    """Read a shard for the second time: a stage that yields what stays, edited where it is to be edited."""
    guard = Guard(settings.private)
    for row, record in enumerate(records):
        seen = guard.look(record, tally)
        evidence.found += seen.found
        if not _stays(row, record, plan, guard, evidence, tally):
            continue
        evidence.decisions += seen.decisions
        kept = _filter_answers(record, seen, settings, evidence, tally)
        if kept is not None:
            yield _truecase_record(kept, record, names, evidence, tally) if settings.truecases(type(record)) else kept


def apply_to_columns(
    plan: Plan, kind: type[Data], evidence: Evidence, batches: Iterable[pa.RecordBatch], tally: Tally
) -> Iterator[pa.Table]:
    """What ``apply_plan`` does under settings by which rows only stay or go, on columns: few records are made.

    Raises:
        DataError: if the rows are no longer those that the plan was made for.
    """
    guard = Guard(Privacy())
    looked = sorted({*plan.gone, *plan.shown, *plan.kept})
    start = 0
    for batch in batches:
        stop = start + batch.num_rows
        here = looked[bisect_left(looked, start) : bisect_left(looked, stop)]
        records = read_batch(batch.take(pa.array([row - start for row in here], pa.int64())), kind)
        if records is None:
            raise DataError(f"row {start + 1:,} and those behind it have changed while they were cleaned; clean again")
        stays = np.ones(batch.num_rows, bool)
        for row, record in zip(here, records, strict=True):
            stays[row - start] = _stays(row, record, plan, guard, evidence, tally)
        tally.taken += batch.num_rows
        tally.given += int(stays.sum())
        yield pa.Table.from_batches([batch]).filter(pa.array(stays))
        start = stop


def _stays(row: int, record: Data, plan: Plan, guard: Guard, evidence: Evidence, tally: Tally) -> bool:
    """Whether the plan lets a row stay; what it shows is kept, and what goes is told to the tally."""
    if row in plan.shown:
        own = guard.shield(prompt_text(record))
        evidence.shown[row] = ShownRecord(record_id(record), record.file, record.line, own)
    if row in plan.kept:
        tally.count("kept-by-id")
    if row not in plan.gone:
        return True
    reason, found = plan.gone[row]
    setting = "against" if reason == "contaminated" else "duplicates"
    tally.drop(record_id(record), reason, guard.shield(found), at=record, asked_by=setting)
    return False


def repeated_rows(plans: Plans, shown: Mapping[int, ShownRecord]) -> list[Repeated]:
    """The evidence of duplicates: what goes, and up to a hundred look-alikes that stay. ``shown``: by row, from 0."""
    kinds: list[tuple[Duplicate, str]] = [
        (each, "kept-by-id" if each.row in plans.kept else each.kind) for each in plans.repeated
    ]
    kinds += [(each, "look-alike") for each in plans.spared[:SHOWN]]
    return [
        Repeated(
            row=each.row + 1,
            id=shown[each.row].id,
            prompt_id=plans.prompts[each.row],
            file=shown[each.row].file,
            line=shown[each.row].line,
            prompt=shown[each.row].prompt,
            kept_row=each.of + 1,
            kept_id=shown[each.of].id,
            kept_prompt_id=plans.prompts[each.of],
            kept_file=shown[each.of].file,
            kept_line=shown[each.of].line,
            kept_prompt=shown[each.of].prompt,
            kind=kind,
            differs=each.differs,
            difference=mark_difference(shown[each.of].prompt, shown[each.row].prompt),
            similarity=round(each.similarity, 4),
        )
        for each, kind in kinds
    ]


def mark_difference(before: str, after: str) -> str:
    """The second text with what differs from the first: ``[-gone-]`` and ``{+come+}``, word by word."""
    a, b = (re.findall(r"\A\s+|\S+\s*", text) for text in (before, after))
    start = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    limit = min(len(a), len(b)) - start
    end = next((at for at in range(limit) if a[-1 - at] != b[-1 - at]), limit)
    marked = ["".join(b[:start])]
    a, b, tail = a[start : len(a) - end], b[start : len(b) - end], b[len(b) - end :]
    blocks = [(0, len(a), 0, len(b))] if max(len(a), len(b)) > _LONG_DIFFERENCE else _blocks(a, b)
    for first, last, low, high in blocks:
        gone, come = "".join(a[first:last]), "".join(b[low:high])
        if gone == come:
            marked.append(come)
        else:
            marked += [f"[-{gone}-]" if gone else "", f"{{+{come}+}}" if come else ""]
    return "".join([*marked, *tail])


def _blocks(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int, int, int]]:
    codes = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [(first, last, low, high) for _, first, last, low, high in codes]


def contaminated_rows(plans: Plans, shown: Mapping[int, ShownRecord], guard: Guard) -> list[Contaminated]:
    """The evidence of contamination. ``shown``: by row, from 0. ``guard`` masks what is quoted of a prompt."""
    return [
        Contaminated(
            row=match.row + 1,
            id=shown[match.row].id,
            prompt_id=match.prompt,
            file=shown[match.row].file,
            line=shown[match.row].line,
            prompt=shown[match.row].prompt,
            benchmark=match.benchmark,
            item=match.item,
            question=match.question,
            kind=match.kind,
            similarity=match.similarity,
            span=guard.shield(match.span),
        )
        for match in plans.matches
    ]


def _chunks(records: Iterable[Data], size: int) -> Iterator[list[Data]]:
    chunk: list[Data] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _divide(
    gone: Mapping[int, tuple[str, str]],
    shown: Iterable[int],
    kept: Iterable[int],
    starts: Sequence[int],
    sizes: Sequence[int],
) -> tuple[Plan, ...]:
    """The rows of the set as rows of its shards."""
    here: list[dict[int, tuple[str, str]]] = [{} for _ in starts]
    evidence: list[list[int]] = [[] for _ in starts]
    by_id: list[list[int]] = [[] for _ in starts]
    owner = np.repeat(np.arange(len(sizes)), sizes).tolist()
    for row in sorted(gone):
        here[owner[row]][row - starts[owner[row]]] = gone[row]
    for places, rows in ((evidence, shown), (by_id, kept)):
        for row in sorted(rows):
            places[owner[row]].append(row - starts[owner[row]])
    return tuple(
        Plan(left, frozenset(rows), frozenset(own), size)
        for left, rows, own, size in zip(here, evidence, by_id, sizes, strict=True)
    )


def _first_fault(text: str, filters: Sequence[str], language: str, not_english: str | None) -> tuple[str, str] | None:
    """The first filter that finds something in an answer, and what; those for English alone are not asked of others."""
    for slug in filters:
        if slug in ENGLISH_ONLY and not_english:
            continue
        if slug == "other-language":
            found = not_english if language == "en" else other_language(text, language)
        else:
            found = FILTERS[slug](text)
        if found is not None:
            return slug, found
    return None


def _filter_answers(record: Data, seen: Seen, settings: Cleaning, evidence: Evidence, tally: Tally) -> Data | None:
    """What stays of a record: of its masked form, under the ids of the record as it was."""
    if seen.fault is not None:
        tally.drop(record_id(record), *seen.fault, at=record, asked_by=asked_by(seen.fault[0]))
        return None
    filters = settings.filters_of(type(record))
    if isinstance(record, Preference):
        fault = next((name for name in pair_faults(record) if name in filters), None)
        if fault is not None and not _spared(record, fault, tally):
            tally.drop(record_id(record), fault, PAIR_FAULTS[fault], at=record, asked_by="filters")
            return None
        filters = tuple(name for name in filters if name not in PAIR_FAULTS)
    answers = answers_of(seen.record) if filters else []
    not_english = _not_english(answers, filters, tally)
    faults = dict(seen.completions)
    for index, text in enumerate(answers):
        if not text and _calls_a_tool(record, index):
            continue  # an answer without a word
        found = _first_fault(text, filters, settings.language, not_english[index])
        if index not in faults and found is not None and not _spared(record, found[0], tally, index):
            faults[index] = found
            if not isinstance(record, Feedback):
                tally.drop(record_id(record), *found, at=record, asked_by="filters")
                return None
    if isinstance(record, Feedback):
        return _without_bad_completions(record, seen, faults, evidence, tally)
    return seen.record


def _not_english(answers: Sequence[str], filters: Sequence[str], tally: Tally) -> list[str | None]:
    """What language each answer is in, if not English, where a filter asks; those of English alone are not applied."""
    found = [other_language(text) if _BY_LANGUAGE & set(filters) else None for text in answers]
    for slug in ENGLISH_ONLY & set(filters) if any(found) else ():
        tally.count(f"not-applied:{slug}")
    return found


def _calls_a_tool(record: Data, index: int) -> bool:
    return isinstance(record, Feedback) and any(turn.tool_calls for turn in record.completions[index].answer)


def _spared(record: Data, fault: str, tally: Tally, index: int = 0) -> bool:
    """Whether a person decided to keep what a filter would take out; that is counted."""
    if not is_kept(record.completions[index] if isinstance(record, Feedback) else record):
        return False
    tally.count(f"kept:{fault}")
    return True


def _without_bad_completions(
    record: Feedback, seen: Seen, faults: Mapping[int, tuple[str, str]], evidence: Evidence, tally: Tally
) -> Feedback | None:
    masked = seen.record
    assert isinstance(masked, Feedback)
    for index, (slug, why) in sorted(faults.items()):
        tally.count(f"completion:{slug}")
        # What is dropped for what it holds is not kept in our tables.
        before = slug if index in seen.completions else masked.completions[index].text
        rule = f"{slug}: {why}"
        evidence.decisions.append(_decision(record, record.completion_id(index), "completion", before, None, rule))
    kept = [index for index in range(len(masked.completions)) if index not in faults]
    if not kept:
        found_all = f"all {len(record.completions)} completions were filtered out"
        asks = asked_by(faults[0][0]) if seen.completions else "filters"
        tally.drop(record.id, "no-completion", found_all, at=record, asked_by=asks)
        return None
    return masked if len(kept) == len(masked.completions) else masked.keep(kept)


def _truecase_record(record: Data, origin: Data, names: Mapping[str, str], evidence: Evidence, tally: Tally) -> Data:
    """The record with its capitals. The target of each decision is the record, or the completion, as it was."""
    made: list[Decision] = []
    changes: dict[str, Any] = {}
    held_back: list[str] = []
    for name in ("messages", "prompt", "chosen", "rejected", "answer"):
        turns: tuple[Message, ...] | None = getattr(record, name, None)
        if turns is not None:
            edited = tuple(
                _truecase_turn(turn, f"{name}[{i}].content", origin, names, made, held_back)
                for i, turn in enumerate(turns)
            )
            changes |= {name: edited} if edited != turns else {}
    if isinstance(record, Feedback):
        completions = list(record.completions)
        for index, completion in enumerate(completions):
            if (text := _truecase_english(completion.text, names, held_back)) != completion.text:
                made.append(_decision(record, record.completion_id(index), "text", completion.text, text, RULE))
                completions[index] = msgspec.structs.replace(completion, text=text)
        changes |= {"completions": tuple(completions)} if tuple(completions) != record.completions else {}
    if held_back:
        tally.count("not-applied:truecase")
    if not made:
        return record
    evidence.decisions += made
    tally.count("truecased")
    return msgspec.structs.replace(record, **changes)


def _truecase_turn(
    turn: Message, place: str, origin: Data, names: Mapping[str, str], made: list[Decision], held_back: list[str]
) -> Message:
    text = turn.content if turn.role == "system" else _truecase_english(turn.content, names, held_back)
    if text == turn.content:
        return turn
    made.append(_decision(origin, record_id(origin), place, turn.content, text, RULE))
    return msgspec.structs.replace(turn, content=text)


def _truecase_english(text: str, names: Mapping[str, str], held_back: list[str]) -> str:
    """The text with its capitals, if it is not known to be in another language; otherwise it is noted and left."""
    cased = truecase(text, names)
    if cased == text or other_language(text) is None:
        return cased
    held_back.append(text)
    return text


def _decision(record: Data, target: str, where: str, before: str, after: str | None, rule: str) -> Decision:
    return Decision(
        target=target,
        field=where,
        before=before,
        after=after,
        rule=rule,
        by="rule",
        file=record.file,
        line=record.line,
    )


def _turn_texts(record: Data) -> Iterator[str]:
    """All that was said in a record, by anyone but the system."""
    for name in ("messages", "prompt", "chosen", "rejected", "answer"):
        yield from (turn.content for turn in getattr(record, name, ()) if turn.role != "system")
    if isinstance(record, Feedback):
        yield from (completion.text for completion in record.completions)
