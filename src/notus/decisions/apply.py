"""What decisions do to records while they are read: dropped, swapped, a score set, a text replaced, or protected.

    decided = Applied(read_settled("decisions.sqlite"), keep=("406ad529…",))
    record = decided.sift(record, tally)             # None where it was dropped

An answer is found by its id, and at any other place among the answers by its prompt, model and text. An answer that
was dropped takes along the pairs, rows and dialogues made of it. What is kept, and a score that was set, gets a note
(``decisions.note``): rules after this one leave it alone. Each change is counted (``decided-drop``, …) and traced as a
``core.records.Decision``, and each decision whose target is met is noted as seen, so that the others can be told.

Owns which decision is on which record, and the count. What counts of rulings is owned by ``settle``, what a change is
by ``change``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import msgspec

from notus.core.disk.withdrawn import Data, answer_digest, prompt_of
from notus.core.errors import InputError, UnseenError
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired, digest
from notus.core.stage import Tally
from notus.decisions.change import OVERALL, Change, edit_answer, edit_text, set_score, swap, trace
from notus.decisions.note import noted
from notus.decisions.settle import CANNOT_TELL, NOTE, VERDICT, Settled, Word, Words, settle_target

__all__ = ["ASKED_BY", "COMMAND", "DROPPED", "Applied", "describe_counts"]

DROPPED = "decided-drop"
"""Under which a record is dropped."""
ASKED_BY = "decisions"
COMMAND = "command"
"""Who decides by ``--keep`` and ``--drop``."""
_LAST = 2**62
"""The number of what a command says: after all else."""
_PLACES = 64
"""An answer that stands elsewhere is looked for at so many places at least."""
_Prompted = Preference | Unpaired | Dialogue
D = TypeVar("D", bound=Data)


@dataclass(frozen=True)
class Applied:
    """Decisions as they are applied to records. It can be sent to other processes."""

    settled: Settled = field(default_factory=Settled)
    keep: tuple[str, ...] = ()
    """Ids that are kept whatever was decided: of any record, of an answer, or of a prompt and all that is of it; or
    their beginnings, as commands print them, of which each must be that of one id."""
    drop: tuple[str, ...] = ()
    """Ids that are dropped, likewise."""

    def __post_init__(self) -> None:
        if both := sorted(set(self.keep) & set(self.drop)):
            raise InputError(f"{both[0]} is both kept and dropped (--keep, --drop); leave one out")
        given = (*self.keep, *self.drop)
        longer = (short for short in self._beginnings for each in given if each != short and each.startswith(short))
        if twice := sorted(longer):
            raise InputError(f"{twice[0]} is the beginning of another id that is named beside it; leave one out")

    def sift(self, record: Data, tally: Tally) -> Data | None:
        """The record as it was decided; None, and a drop, where it is to go.

        Raises:
            DataError: if a score was set that is not on its scale.
        """
        prompt = prompt_of(record)
        if not self._anywhere and prompt not in self._prompts:
            return record
        if self._beginnings:
            self._find_begun(_ids_in(record, prompt))
        on: _On = _OnFeedback(self, tally) if isinstance(record, Feedback) else _OnSingle(self, tally)
        whole = self.by_id.get(prompt) if prompt in self._commanded else None
        if whole is not None and _drops(whole):
            on.drop(record, whole)
            return None
        found: Data | None = on.result(record, prompt)
        return found if found is None or whole is None else on.kept(found, whole)

    def refuse_unseen(self, seen: set[tuple[str, str]], where: str) -> None:
        """Refuse an id of ``keep`` or ``drop`` that was in no record.

        Args:
            seen: as the tallies of all that was read have it.
            where: what was read.

        Raises:
            UnseenError: that names it.
            InputError: if one is the beginning of several ids that were met.
        """
        targets = {target for target, _ in seen}
        self._find_begun(targets)
        for option, ids in (("--keep", self.keep), ("--drop", self.drop)):
            met = {each: sorted(self._begun.get(each, targets & {each})) for each in ids}
            if missing := [each for each, found in met.items() if not found]:
                more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
                raise UnseenError(
                    f"{option} {missing[0]}{more}: no record and no answer of {where} has this id, or one that begins "
                    "so; 'notus explain' shows the ids of a row"
                )
            if several := next((each for each, found in met.items() if len(found) > 1), None):
                raise InputError(
                    f"{option} {several}: {len(met[several])} ids of {where} begin so ({', '.join(met[several][:3])}); "
                    "give more of the one that is meant"
                )

    def counts(self, seen: set[tuple[str, str]]) -> dict[str, int]:
        """How many decisions were ``applied``, are a ``conflict``, a ``note`` or ``cannot-tell``; how many ``unseen``.

        A decision is one slot of a target: a verdict, a score, a text.
        """
        self._find_begun(target for target, _ in seen)
        found = dict.fromkeys(("applied", "unseen", "conflict", CANNOT_TELL, NOTE), 0)
        for words in self.by_id.values():
            for slot, state in words.slots.items():
                found[state if (words.target, slot) in seen else "unseen"] += 1
        return found

    def misfit(self, seen: set[tuple[str, str]], where: str) -> str:
        """What to say where decisions were given and not one of them was met; otherwise empty.

        Args:
            seen: as the tallies of all that was read have it.
            where: what was read.
        """
        given = [(each.target, slot) for each in self.settled.targets.values() for slot in each.slots]
        if not given or not seen.isdisjoint(given):
            return ""
        of = "the one decision is not" if len(given) == 1 else f"none of the {len(given):,} decisions is"
        return f"{of} on a record of {where}: is it the right store?"

    @cached_property
    def by_id(self) -> dict[str, Words]:
        """Target → what is settled on it, with what the command says over it."""
        found = dict(self.settled.targets)
        for each, what in chain(((each, "keep") for each in self.keep), ((each, "drop") for each in self.drop)):
            if each not in self._beginnings:
                found[each] = _commanded(found.get(each), each, what)
        return found

    @cached_property
    def _beginnings(self) -> Mapping[str, str]:
        """What a command gave that may be the beginning of an id → what it says."""
        given = dict.fromkeys(self.keep, "keep") | dict.fromkeys(self.drop, "drop")
        return {each: what for each, what in given.items() if _BEGINNING.fullmatch(each)}

    @cached_property
    def _begun(self) -> dict[str, set[str]]:
        """Beginning → the ids that were met so far and begin so."""
        return {each: set() for each in self._beginnings}

    @cached_property
    def _commanded(self) -> set[str]:
        """The ids on which a command says something, those that were found by their beginning with them."""
        return {each for each in (*self.keep, *self.drop) if each not in self._beginnings}

    def _find_begun(self, ids: Iterable[str]) -> None:
        """Lay what a command says of a beginning on the ids that begin so."""
        lengths = {len(each) for each in self._beginnings}
        for id_ in ids:
            for begun in (id_[:length] for length in lengths):
                if begun in self._beginnings and id_ not in self._begun[begun]:
                    self._begun[begun].add(id_)
                    self._commanded.add(id_)
                    self.by_id[id_] = _commanded(self.by_id.get(id_), id_, self._beginnings[begun])

    @cached_property
    def by_answer(self) -> Mapping[tuple[str, str], tuple[Words, ...]]:
        """Prompt and answer → what is settled on it, under each of its ids; also under a text that it was edited to."""
        found: dict[tuple[str, str], list[Words]] = defaultdict(list)
        for each in self.by_id.values():
            if each.of == "completion" and each.prompt:
                texts = [each.answer] if each.answer else []
                if edit := each.edits.get("answer"):
                    texts.append(answer_digest(str(edit.value)))
                for text in dict.fromkeys(texts):
                    found[each.prompt, text].append(each)
        return {key: tuple(each) for key, each in found.items()}

    def dropped_answer(self, prompt: str, turns: tuple[Message, ...], place: str = "") -> Words | None:
        """What drops an answer: by its text, or by its id where that is known."""
        on_text = self.by_answer.get((prompt, answer_digest(turns[-1].content)), ())
        on_place = self.by_id.get(place) if place else None
        return next((each for each in (*on_text, *filter(None, (on_place,))) if _drops(each)), None)

    @cached_property
    def _prompts(self) -> frozenset[str]:
        return frozenset(each.prompt for each in self.by_id.values() if each.prompt)

    @cached_property
    def _anywhere(self) -> bool:
        """Whether something is of no known prompt, so that each record must be looked at."""
        return bool(self._beginnings) or any(not each.prompt for each in self.by_id.values())

    def __getstate__(self) -> tuple[Settled, tuple[str, ...], tuple[str, ...]]:
        """What is sent to a process: what is made of it is made there."""
        return self.settled, self.keep, self.drop

    def __setstate__(self, state: tuple[Settled, tuple[str, ...], tuple[str, ...]]) -> None:
        for name, value in zip(("settled", "keep", "drop"), state, strict=True):
            object.__setattr__(self, name, value)


_BEGINNING = re.compile(r"[0-9a-f]{4,15}")
"""What is shorter than an id, and may begin one."""


def _commanded(known: Words | None, target: str, what: str) -> Words:
    """What is settled on a target, with the verdict of a command over it."""
    found = known or Words(target=target, of="feedback")
    conflicts = tuple(slot for slot in found.conflicts if slot != VERDICT)
    word = Word(value=what, who=(COMMAND,), number=_LAST)
    return msgspec.structs.replace(found, verdict=word, conflicts=conflicts, cannot_tell=())


def _ids_in(record: Data, prompt: str) -> Iterator[str]:
    """The ids under which a command may name a record or what it holds."""
    yield record.id
    yield prompt
    if isinstance(record, Feedback):
        yield from (record.completion_id(index) for index in range(len(record.completions)))
        return
    if isinstance(record, Preference | Unpaired) and record.feedback_id:
        yield record.feedback_id
    yield from (place for _, place in _answers_of(record, prompt) if place)


def describe_counts(counts: Mapping[str, int]) -> str:
    """The counts in words: ``17 applied, 2 not in these data, 1 conflict``."""
    said = [f"{counts['applied']:,} applied", f"{counts['unseen']:,} not in these data"]
    said.append(f"{counts['conflict']:,} {'conflict' if counts['conflict'] == 1 else 'conflicts'}")
    if counts[CANNOT_TELL]:
        said.append(f"{counts[CANNOT_TELL]:,} cannot tell")
    if counts[NOTE]:
        said.append(f"{counts[NOTE]:,} with notes")
    return ", ".join(said)


def _drops(words: Words) -> bool:
    return words.verdict is not None and words.verdict.value == "drop"


def _number(words: Words) -> int:
    """Of the last that was said on a target."""
    last = words.rulings[-1].number if words.rulings else 0
    return max(last, words.verdict.number if words.verdict else 0)


class _On:
    """What decisions do, on the account of a tally."""

    def __init__(self, applied: Applied, tally: Tally) -> None:
        self.applied, self.tally = applied, tally

    def see(self, words: Words, *slots: str) -> None:
        """Note that what was decided on a target was met, in some of its slots."""
        self.tally.seen.update((words.target, slot) for slot in slots)

    def see_still(self, words: Words) -> None:
        """Note and count what changes nothing: conflicts, notes, and what nobody can tell."""
        for slot, state in words.slots.items():
            if state != "applied":
                self.see(words, slot)
                self.tally.count(f"decided-{state}", words.notes if state == NOTE else 1)

    def result(self, record: Any, prompt: str) -> Any:
        """The record as it was decided; None where it is dropped."""
        raise NotImplementedError

    def drop(self, record: Data, words: Words, what: str = "") -> None:
        """Drop a record as a whole."""
        self.see(words, VERDICT)
        assert words.verdict is not None
        by = f"by {words.verdict.by}" + (f": {words.verdict.why}" if words.verdict.why else "")
        detail = f"{what} was dropped {by}" if what else by
        self.tally.drop(record.id, DROPPED, detail, at=record, asked_by=ASKED_BY)

    def kept(self, record: D, words: Words) -> D:
        """The record with the note that it is to be left as it is."""
        self.see(words, VERDICT)
        self.tally.count("decided-keep")
        assert words.verdict is not None
        who = words.verdict.who
        extra = noted(record.extra, "keep", who, None, scored=False)
        if not isinstance(record, Feedback):
            return msgspec.structs.replace(record, extra=extra)
        answers = tuple(_kept_answer(each, who) for each in record.completions)
        return msgspec.structs.replace(record, extra=extra, completions=answers)

    def changed(self, record: Data, target: str, change: Change, word: Word) -> None:
        """Trace a change."""
        self.tally.changes.append(trace(record, target, change, word))


class _OnSingle(_On):
    """On a pair, a row or a dialogue."""

    def result(self, record: _Prompted, prompt: str) -> _Prompted | None:
        """As it was decided; None where it is dropped."""
        if self._falls_with_another(record, prompt):
            return None
        if isinstance(record, Preference):
            words = self.applied.by_id.get(swap(record).id)
            if words is not None and words.verdict and words.verdict.value == "swap":
                self.see(words, VERDICT)  # it is as that was decided
        found: _Prompted | None = record
        last = -1
        while found is not None:
            words = self.applied.by_id.get(found.id)
            if words is None or _number(words) <= last:
                break
            before, last = found.id, _number(words)
            found = self._decided(found, words)
            if found is None or found.id == before:
                break  # a swap and an edit give another id, on which more may have been decided later
        return found

    def _falls_with_another(self, record: _Prompted, prompt: str) -> bool:
        """Whether it was made of what is dropped; then it is too."""
        row = self.applied.by_id.get(record.feedback_id) if isinstance(record, Preference | Unpaired) else None
        if row is not None and _drops(row):
            self.drop(record, row, f"its feedback {row.target}")
            return True
        for turns, place in _answers_of(record, prompt):
            if words := self.applied.dropped_answer(prompt, turns, place):
                self.drop(record, words, f"its answer {words.target}")
                return True
        return False

    def _decided(self, record: _Prompted, words: Words) -> _Prompted | None:
        self.see_still(words)
        verdict, target = words.verdict, record.id
        if verdict is not None and verdict.value == "drop":
            self.drop(record, words)
            return None
        found = record
        for name, word in words.edits.items():
            edited = edit_text(found, name, str(word.value))
            if edited is not None:
                self.see(words, f"edit:{name}")
                found, change = edited
                if change is not None:
                    self.tally.count("decided-edit")
                    self.changed(record, target, change, word)
        if verdict is not None and verdict.value == "swap" and isinstance(found, Preference):
            self.see(words, VERDICT)
            self.tally.count("decided-swap")
            found = swap(found)
            self.changed(record, target, Change("swap", False, True), verdict)
        if verdict is not None and verdict.value == "keep":
            found = self.kept(found, words)
        by = next(iter(words.edits.values()), verdict)
        if found.id != target and by is not None:
            self.changed(record, target, Change("id", target, found.id), by)
        return found


def _answers_of(record: _Prompted, prompt: str) -> Iterator[tuple[tuple[Message, ...], str]]:
    """The answers of a record, each with the id that it has as a completion, where its place is known."""
    if isinstance(record, Preference):
        for side, model in (("chosen", record.model_chosen), ("rejected", record.model_rejected)):
            turns, place = getattr(record, side), record.extra.get(f"{side}_index")
            known = isinstance(place, int) and len(turns) == 1
            yield turns, digest(prompt, str(place), model, turns[0].content) if known else ""
    elif isinstance(record, Unpaired):
        yield record.answer, ""
    elif len(record.messages) > 1 and record.messages[-1].role == "assistant":
        yield record.messages[-1:], ""


class _OnFeedback(_On):
    """On a prompt with its answers."""

    record: Feedback
    prompt: str

    def result(self, record: Feedback, prompt: str) -> Feedback | None:
        """As it was decided; None where it is dropped, or none of its answers is left."""
        self.record, self.prompt = record, prompt
        own = self.applied.by_id.get(self.record.id)
        if own is not None:
            self.see_still(own)
            if _drops(own):
                self.drop(self.record, own)
                return None
        found = self._answered()
        return found if found is None or own is None else self._own(found, own)

    def _own(self, found: Feedback, own: Words) -> Feedback:
        """What was decided on the row itself, laid on it with its answers as they are by now."""
        for name, word in own.edits.items():
            edited = edit_text(found, name, str(word.value))
            if edited is not None:
                self.see(own, f"edit:{name}")
                found, change = edited
                if change is not None:
                    self.tally.count("decided-edit")
                    self.changed(self.record, self.record.id, change, word)
                    self.changed(self.record, self.record.id, Change("id", self.record.id, found.id), word)
        return self.kept(found, own) if own.verdict is not None and own.verdict.value == "keep" else found

    def _answered(self) -> Feedback | None:
        """The row with each of its answers as it was decided."""
        on = self._matched()
        if not on:
            return self.record
        left: list[Completion] = []
        places: list[int] = []
        fell: Words | None = None
        for index, completion in enumerate(self.record.completions):
            made = self._completion(index, completion, on[index]) if index in on else completion
            if made is None:
                fell = on[index][-1]
                continue
            left.append(made)
            places.append(index)
        if not left:
            assert fell is not None
            self.tally.drop(self.record.id, DROPPED, "all of its answers", at=self.record, asked_by=ASKED_BY)
            return None
        kept = self.record if len(left) == len(self.record.completions) else self.record.keep(places)
        return msgspec.structs.replace(kept, completions=tuple(left))

    def _matched(self) -> dict[int, list[Words]]:
        """Place of an answer → what was decided on it, under each of the names that it has."""
        found: dict[int, list[Words]] = defaultdict(list)
        texts: dict[str, list[int]] = defaultdict(list)
        claimed: set[str] = set()
        for index, completion in enumerate(self.record.completions):
            if (words := self.applied.by_id.get(self.record.completion_id(index))) is not None:
                found[index].append(words)
                claimed.add(words.target)
            texts[answer_digest(completion.text)].append(index)
        for text, places in texts.items():
            for words in self.applied.by_answer.get((self.prompt, text), ()):
                if words.target not in claimed:
                    for index in self._standing_at(words, text, places):
                        found[index].append(words)
        return {index: self._with_edits(each) for index, each in found.items()}

    def _standing_at(self, words: Words, text: str, places: list[int]) -> list[int]:
        """Where an answer stands that was decided on at another place: by its model, and otherwise by its text alone.

        A score is of one model's answer, and not of another's with the same text.
        """
        if words.answer != text:
            return places  # it was edited to this text
        own = [index for index in places if words.target in self._ids_of(index)]
        if not own and words.scores:
            own = [index for index in places if not self.record.completions[index].model]
            self.tally.count("decided-other-model", len(places) - len(own))
        elif not own:
            own = places
        if len(own) > 1:
            self.tally.count("decided-ambiguous")
        return own

    def _ids_of(self, index: int) -> set[str]:
        """The ids that the answer would have at each place."""
        count = max(_PLACES, len(self.record.completions))
        item = self.record.completions[index]
        padded = msgspec.structs.replace(self.record, completions=(item,) * count, rankings=())
        return {padded.completion_id(place) for place in range(count)}

    def _with_edits(self, words: list[Words]) -> list[Words]:
        """Also what was decided on the text that an edit makes of it."""
        found = list(words)
        for each in words:
            if edit := each.edits.get("answer"):
                text = answer_digest(str(edit.value))
                found += [more for more in self.applied.by_answer.get((self.prompt, text), ()) if more not in found]
        return found

    def _completion(self, index: int, completion: Completion, on: list[Words]) -> Completion | None:
        """One answer as it was decided; None where it is dropped."""
        words = _merged(on)
        for each in on:
            self.see(each, *each.slots)
        for state in words.slots.values():
            if state != "applied":
                self.tally.count(f"decided-{state}", words.notes if state == NOTE else 1)
        target, verdict = self.record.completion_id(index), words.verdict
        if verdict is not None and verdict.value == "drop":
            self.tally.count(DROPPED)
            self.changed(self.record, target, Change("kept", True, False), verdict)
            return None
        made = self._scored(completion, target, words)
        if verdict is not None and verdict.value == "keep":
            self.tally.count("decided-keep")
            made = _kept_answer(made, verdict.who)
        if (edit := words.edits.get("answer")) is not None and edit.value != made.text:
            self.tally.count("decided-edit")
            self.changed(self.record, target, Change("answer", made.text, edit.value), edit)
            made = edit_answer(made, str(edit.value))
        return made

    def _scored(self, completion: Completion, target: str, words: Words) -> Completion:
        for name, word in words.scores.items():
            if name != OVERALL and all(each.aspect != name for each in completion.ratings):
                self.tally.count("decided-new-aspect")
            completion, change = set_score(completion, name, word, f"the answer {target} ({_place(self.record)})")
            if change is not None:
                self.tally.count("decided-set-score")
                self.changed(self.record, target, change, word)
            if name == OVERALL:
                extra = noted(completion.extra, "set-score", word.who, completion.overall_score, scored=True)
                completion = msgspec.structs.replace(completion, extra=extra)
        return completion


def _kept_answer(completion: Completion, who: Sequence[str]) -> Completion:
    extra = noted(completion.extra, "keep", who, completion.overall_score, scored=True)
    return msgspec.structs.replace(completion, extra=extra)


def _merged(on: list[Words]) -> Words:
    """What counts of all that was decided on one answer under several names."""
    if len(on) == 1:
        return on[0]
    rulings = sorted((each for words in on for each in words.rulings), key=lambda each: each.number)
    command = next((each.verdict for each in on if each.verdict and each.verdict.number == _LAST), None)
    merged = settle_target(rulings) if rulings else on[0]
    return merged if command is None else msgspec.structs.replace(merged, verdict=command, cannot_tell=())


def _place(record: Feedback) -> str:
    return f"{record.file}:{record.line}" if record.file else record.id
