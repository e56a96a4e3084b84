"""Structural facts of a feedback set: what each published binarization makes of it, and where they choose differently.

The published counts of UltraFeedback are of this kind: how many pairs, how many ties, which positions are rejected, in
how many prompts the mean rating chooses another answer than the overall score. Owns the counting and the words.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.preferences.presets import Preset, excluding, preset_named
from notus.preferences.selection import Choice, choose
from notus.stats.intervals import Share

__all__ = ["PresetFacts", "Structure", "structure_of"]

_USUAL = ("h4-legacy", "h4-fixed", "argilla-mean", "argilla-cleaned", "tulu3")


@dataclass(frozen=True)
class PresetFacts:
    """What one preset makes of the set."""

    name: str
    pairs: int
    tied: int
    """Pairs in which chosen and rejected have the same score."""
    same_text: int
    dropped: dict[str, int]
    """Reason → prompts."""
    rejected_at: dict[tuple[int, int], int]
    """(Completions of the prompt, position of the rejected one) → pairs."""


@dataclass(frozen=True)
class Structure:
    """What the presets make of a set."""

    prompts: int
    completions: int
    presets: tuple[PresetFacts, ...]
    differ: dict[tuple[str, str], Share]
    """Two presets → prompts of which both make a pair, and in which they choose another completion."""

    def sentences(self) -> list[str]:
        """The facts in words."""
        said = [f"{self.prompts:,} prompts with {self.completions:,} completions."]
        for facts in self.presets:
            lost = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.dropped.items()))
            said.append(
                f"{facts.name}: {facts.pairs:,} pairs, {facts.tied:,} of them tied, {facts.same_text:,} of the same "
                f"text; dropped: {lost or 'none'}."
            )
        return said + [f"{a} and {b} choose different answers in {share}." for (a, b), share in self.differ.items()]


def structure_of(
    records: Iterable[Feedback], names: Sequence[str] = _USUAL, questions: Iterable[str] = (), seed: int = 0
) -> Structure:
    """Count what presets make of a set, in one pass, holding no row.

    Args:
        records: the set.
        names: of the presets.
        questions: of the benchmark whose prompts some presets leave out.
        seed: of the draws.

    Raises:
        ConfigError: if there is no such preset.
    """
    presets = {name: preset_named(name) for name in names}
    kept = {name: _Kept(preset, questions) for name, preset in presets.items()}
    scores = {name: preset.selection.score() for name, preset in presets.items()}
    counts = {name: Counter[str]() for name in presets}
    places = {name: Counter[tuple[int, int]]() for name in presets}
    dropped = {name: Counter[str]() for name in presets}
    both: dict[tuple[str, str], Counter[bool]] = {two: Counter() for two in combinations(presets, 2)}
    prompts = completions = 0
    for feedback in records:
        prompts += 1
        completions += len(feedback.completions)
        chosen: dict[str, int] = {}
        for name, preset in presets.items():
            if reason := kept[name].reason(feedback):
                dropped[name][reason] += 1
                continue
            choice = choose(feedback, preset.selection, scores[name], seed)
            if choice.problem:
                dropped[name][choice.problem[0]] += 1
                continue
            chosen[name] = choice.pairs[0][0]
            _count(feedback, choice, counts[name], places[name])
        for two in both:
            if two[0] in chosen and two[1] in chosen:
                both[two][chosen[two[0]] != chosen[two[1]]] += 1
    facts = tuple(
        PresetFacts(
            name,
            of["pairs"],
            of["tied"],
            of["same-text"],
            dict(sorted(dropped[name].items())),
            dict(sorted(places[name].items())),
        )
        for name, of in counts.items()
    )
    return Structure(
        prompts, completions, facts, {two: Share.make(seen[True], seen.total()) for two, seen in both.items()}
    )


class _Kept:
    """Asks the stage of a preset whether it leaves a row out, and why."""

    def __init__(self, preset: Preset, questions: Iterable[str]) -> None:
        self._stage = excluding(preset.without_sources, questions if preset.without_questions else ())

    def reason(self, feedback: Feedback) -> str:
        tally = Tally("leave-out")
        return "" if list(self._stage((feedback,), tally)) else tally.dropped[0].reason


def _count(feedback: Feedback, choice: Choice, counts: Counter[str], places: Counter[tuple[int, int]]) -> None:
    for chosen, rejected in choice.pairs:
        counts["pairs"] += 1
        counts["tied"] += choice.scores[chosen] == choice.scores[rejected]
        counts["same-text"] += feedback.completions[chosen].text == feedback.completions[rejected].text
        places[len(feedback.completions), rejected] += 1
