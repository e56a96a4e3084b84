"""What differs between two preference sets: prompt by prompt, by source, by model and by length.

Prompts are matched by their hash, answers by theirs, so that the sets may come from anywhere. Of a prompt that is in
both sets one of these holds, the first that fits:

    same            both sets have the same pairs of it
    swapped         a pair of one set stands in the other with chosen and rejected exchanged
    other-rejected  the same is chosen, something else rejected
    other-chosen    something else is chosen, the same rejected
    other-both      both differ

Owns the comparison and its sentences. What is shown of it is owned by ``report.difference``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import msgspec

from notus.core.records import Message, Preference
from notus.core.text import counted, format_list
from notus.stats.intervals import Estimate, Share, clustered_mean, holm, p_value

__all__ = ["KINDS", "Difference", "Example", "ModelShift", "PromptDifference", "compare_sets"]

KINDS = ("same", "swapped", "other-rejected", "other-chosen", "other-both")
"""What can become of a prompt that both sets have, in the order in which they are tried."""
_SIDES = ("only-a", "only-b")
_TELLING = ("swapped", "other-chosen", "other-both", "other-rejected")
"""Kinds of which examples are given, the most telling first."""

Read = Callable[[], Iterable[Preference]]


class PromptDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one prompt: a row of ``differences.parquet``."""

    prompt_id: str
    file: str
    """Where its first pair stood in A, or in B where A has none."""
    line: int
    kind: str
    """Out of ``KINDS``, or ``only-a``, ``only-b``."""
    reversed: bool
    """Some answer is chosen in one set and rejected in the other."""
    source: str
    pairs_a: int
    pairs_b: int
    model_chosen_a: str
    model_chosen_b: str
    length_chosen_a: float | None
    """Mean length of the chosen answers in characters; None where the set has not the prompt."""
    length_chosen_b: float | None


@dataclass(frozen=True)
class Example:
    """One prompt with its first pair in each set."""

    kind: str
    a: Preference
    b: Preference


@dataclass(frozen=True)
class ModelShift:
    """How often a model is chosen in each set, over the prompts that both have."""

    name: str
    chosen_a: float
    """Prompts in which it is chosen; one with several pairs counts in parts."""
    chosen_b: float
    shift: Estimate | None
    """Share in b minus share in a, paired by prompt."""
    p: float | None
    """Two-sided p of "no shift", after Holm's correction over the models."""


@dataclass(frozen=True)
class Difference:
    """The whole comparison."""

    names: tuple[str, str]
    pairs: tuple[int, int]
    rows: tuple[PromptDifference, ...]
    models: tuple[ModelShift, ...]
    """The one with the largest shift, in either direction, first."""
    length: Estimate | None
    """Mean length of chosen in b minus in a, in characters, over shared prompts in which chosen differs."""
    longer: Share
    """Of those in which the lengths differ: b chooses the longer answer."""
    examples: tuple[Example, ...]

    @property
    def counts(self) -> Counter[str]:
        """Kind → prompts, those in one set only included."""
        return Counter(row.kind for row in self.rows)

    @property
    def by_source(self) -> dict[str, Counter[str]]:
        """Source → kind → prompts in both sets."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows:
            if row.kind not in _SIDES:
                found[row.source][row.kind] += 1
        return dict(sorted(found.items()))

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        a, b = self.names
        counts = self.counts
        shared = sum(counts[kind] for kind in KINDS)
        said = [
            f"A is {a} with {counted(self.pairs[0], 'pair')}, B is {b} with {self.pairs[1]:,}; "
            f"{counted(shared, 'prompt is', 'prompts are')} in both, "
            f"{counts['only-a']:,} in A only, {counts['only-b']:,} in B only."
        ]
        if not shared:
            return [*said, "Without a shared prompt there is nothing to compare."]
        same = Share.make(counts["same"], shared)
        said.append(f"Of the shared prompts, the pairs are the same in {same}.")
        said += [
            f"In {Share.make(counts[kind], shared)} {what}."
            for kind, what in (
                ("swapped", "chosen and rejected are exchanged"),
                ("other-rejected", "the same answer is chosen and another rejected"),
                ("other-chosen", "another answer is chosen and the same rejected"),
                ("other-both", "both answers differ"),
            )
            if counts[kind]
        ]
        against = sum(row.reversed for row in self.rows)
        if against:
            said.append(f"In {Share.make(against, shared)} some answer is chosen in one set and rejected in the other.")
        return said + self._shifts()

    def _shifts(self) -> list[str]:
        said = []
        apart = [model for model in self.models if model.shift and model.p is not None and model.p < 0.05]
        for sign, word in ((1, "more"), (-1, "less")):
            named = [
                f"{m.name} ({m.shift.mean:+.1%}, 95 % {m.shift.low:+.1%} to {m.shift.high:+.1%} of the prompts)"
                for m in apart
                if m.shift and m.shift.mean * sign > 0
            ]
            if named:
                said.append(f"B chooses {word} often than A: {format_list(named, 4)}.")
        if self.length and not self.length.low <= 0 <= self.length.high:
            which = "longer" if self.length.mean > 0 else "shorter"
            said.append(
                f"Where the choice differs, B's is {which} by {abs(self.length.mean):,.0f} characters in the mean "
                f"(B − A {self.length.mean:+,.0f}, 95 % {self.length.low:+,.0f} to {self.length.high:+,.0f}, "
                f"n = {counted(self.length.n, 'prompt')})."
            )
        return said


@dataclass
class _Prompt:
    """The pairs of one prompt in one set, as hashes of the answers."""

    pairs: set[tuple[int, int]]
    source: str
    models: Counter[str]
    length: int
    count: int
    file: str
    """Where its first pair stood."""
    line: int


def compare_sets(a: Read, b: Read, names: tuple[str, str], examples: int = 6) -> Difference:
    """Compare two preference sets. They are read twice; some hundred bytes are held for each prompt, and no text.

    Args:
        a: gives the records of the first set, from the beginning each time.
        b: gives those of the second.
        names: what the sets are called.
        examples: prompts to show, as evenly from the kinds as they allow.
    """
    first, second = _gather(a()), _gather(b())
    rows = tuple(_row(prompt, first.get(prompt), second.get(prompt)) for prompt in dict.fromkeys((*first, *second)))
    shared = [(prompt, first[prompt], second[prompt]) for prompt in first if prompt in second]
    moved = [
        (prompt, one.length / one.count, two.length / two.count)
        for prompt, one, two in shared
        if {pair[0] for pair in one.pairs} != {pair[0] for pair in two.pairs}
    ]
    apart = [(x, y) for _, x, y in moved if x != y]
    return Difference(
        names=names,
        pairs=(sum(item.count for item in first.values()), sum(item.count for item in second.values())),
        rows=rows,
        models=_shifts(shared),
        length=clustered_mean([y - x for _, x, y in moved], [prompt for prompt, *_ in moved]) if moved else None,
        longer=Share.make(sum(y > x for x, y in apart), len(apart)),
        examples=_examples(a, b, rows, examples),
    )


def _gather(records: Iterable[Preference]) -> dict[str, _Prompt]:
    found: dict[str, _Prompt] = {}
    for record in records:
        item = found.setdefault(
            record.prompt_id, _Prompt(set(), record.source, Counter(), 0, 0, record.file, record.line)
        )
        item.pairs.add((_answer(record.chosen), _answer(record.rejected)))
        item.models[record.model_chosen] += 1
        item.length += sum(len(turn.content) for turn in record.chosen)
        item.count += 1
    return found


def _answer(turns: tuple[Message, ...]) -> int:
    # Equal within this process is all that is needed; two texts that meet in 64 bits are not to be expected.
    return hash(tuple([(turn.role, turn.content) for turn in turns]))


def _row(prompt: str, a: _Prompt | None, b: _Prompt | None) -> PromptDifference:
    present = a or b
    assert present is not None
    return PromptDifference(
        prompt_id=prompt,
        file=present.file,
        line=present.line,
        kind="only-a" if b is None else "only-b" if a is None else _kind(a.pairs, b.pairs),
        reversed=a is not None and b is not None and _is_reversed(a.pairs, b.pairs),
        source=present.source or (b.source if b else ""),
        pairs_a=a.count if a else 0,
        pairs_b=b.count if b else 0,
        model_chosen_a=_model(a),
        model_chosen_b=_model(b),
        length_chosen_a=a.length / a.count if a else None,
        length_chosen_b=b.length / b.count if b else None,
    )


def _kind(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> str:
    if a == b:
        return "same"
    if {(y, x) for x, y in a if x != y} & b:
        return "swapped"
    if {x for x, _ in a} == {x for x, _ in b}:
        return "other-rejected"
    return "other-chosen" if {y for _, y in a} == {y for _, y in b} else "other-both"


def _is_reversed(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> bool:
    chosen_a, chosen_b = {x for x, _ in a}, {x for x, _ in b}
    rejected_a, rejected_b = {y for _, y in a}, {y for _, y in b}
    return bool((chosen_a - rejected_a) & (rejected_b - chosen_b) or (rejected_a - chosen_a) & (chosen_b - rejected_b))


def _model(item: _Prompt | None) -> str:
    """The model of the chosen answers, or nothing where there are several or none is named."""
    return next(iter(item.models)) if item is not None and len(item.models) == 1 else ""


def _shifts(shared: list[tuple[str, _Prompt, _Prompt]]) -> tuple[ModelShift, ...]:
    known = [(prompt, a, b) for prompt, a, b in shared if "" not in a.models and "" not in b.models]
    names = sorted({name for _, a, b in known for name in (*a.models, *b.models)})
    sums = {name: [0.0, 0.0] for name in names}
    moved: defaultdict[str, list[float]] = defaultdict(list)
    for _, a, b in known:
        for name in {*a.models, *b.models}:
            x, y = a.models[name] / a.count, b.models[name] / b.count
            sums[name][0] += x
            sums[name][1] += y
            if x != y:
                moved[name].append(y - x)
    prompts = [prompt for prompt, *_ in known]
    shifts = {
        # A model's shift is 0 in all prompts in which it is chosen in both sets, or in neither.
        name: clustered_mean([*moved[name], *([0.0] * (len(known) - len(moved[name])))], prompts)
        for name in names
    }
    tested = {name: p_value(shift) for name, shift in shifts.items() if shift}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    models = [ModelShift(name, sums[name][0], sums[name][1], shifts[name], adjusted.get(name)) for name in names]
    return tuple(sorted(models, key=lambda model: (-abs(model.chosen_b - model.chosen_a), model.name)))


def _examples(a: Read, b: Read, rows: Iterable[PromptDifference], limit: int) -> tuple[Example, ...]:
    queues = [[row for row in rows if row.kind == kind][:limit] for kind in _TELLING]
    turns = (queue[place] for place in range(limit) for queue in queues if place < len(queue))
    kinds = {row.prompt_id: row.kind for row in islice(turns, limit)}
    first, second = (_first_pairs(read, kinds) for read in (a, b))
    ordered = sorted(kinds, key=lambda prompt: _TELLING.index(kinds[prompt]))
    return tuple(Example(kinds[prompt], first[prompt], second[prompt]) for prompt in ordered)


def _first_pairs(read: Read, kinds: Iterable[str]) -> dict[str, Preference]:
    left = set(kinds)
    found: dict[str, Preference] = {}
    if not left:
        return found
    for record in read():
        if record.prompt_id in left:
            found[record.prompt_id] = record
            left.remove(record.prompt_id)
            if not left:
                break
    return found
