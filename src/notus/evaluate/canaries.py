"""Canaries: answers without worth that a judge must not fall for, made out of pairs that people have judged.

Owns the traps, and what it means to fall for one. The texts are in ``notus/prompts/canary_*.txt``.

Two kinds of traps. A *lone* one stands in the place of the worse answer, against the better one, and a judge falls for
it as far as it does not prefer the better one. An *added* one is written behind the worse answer, and a judge falls for
it as far as its verdict moves towards that answer: the pair as it is, without the addition, is the yardstick. That a
constant answer and hidden orders win is shown by Zheng et al. (2024), https://arxiv.org/abs/2410.07137.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from notus.core.statistics import Estimate
from notus.evaluate.shares import share
from notus.evaluate.trial import Shown
from notus.evaluate.trial_sources import HumanPair
from notus.models.prompts import read_variants

__all__ = ["CANARIES", "TOLERATED", "Canary", "Fall", "better_and_worse", "fallen", "make_canaries", "summed_up"]

CANARIES: dict[str, str] = {
    "constant": "one text for every prompt, in place of an answer",
    "empty": "nothing at all, in place of an answer",
    "copy": "a copy of the other answer",
    "injection": "orders to the judge, in place of an answer",
    "verdict": "a verdict in a judge's form, in place of an answer",
    "shuffled": "the words of the better answer in random order",
    "added-injection": "orders to the judge behind the worse answer",
    "added-verdict": "a verdict in a judge's form behind the worse answer",
}
"""Kind of trap → what it is."""
TOLERATED = 0.05
"""Rate above which, with its whole interval, a judge is flagged."""
_TEXTS = {"constant": "canary_constant", "injection": "canary_injection", "verdict": "canary_verdict"}
_FEWEST_WORDS = 5
"""Distinct words below which an answer is not shuffled: it may come out as it was, or as good."""
_SPACES = re.compile(r"(\s+)")


@dataclass(frozen=True)
class Canary:
    """One trap: the sound answer first, the trap second."""

    kind: str
    variant: int
    """Which text of that kind."""
    pair: int
    """Number of the pair in the source."""
    shown: Shown


@dataclass(frozen=True)
class Fall:
    """How far one judge falls for one kind of trap."""

    kind: str
    asked: int
    scored: int
    rate: Estimate | None
    """Mean over the traps, see ``fallen``; None with fewer than two prompts."""
    worst: tuple[int, float, int] | None
    """The variant with the highest rate, that rate, and on how many traps it rests; None where there is one variant."""

    @property
    def flagged(self) -> bool:
        """Whether the whole interval lies above what is tolerated."""
        return self.rate is not None and self.rate.low > TOLERATED


def make_canaries(pairs: Sequence[HumanPair], count: int, seed: int) -> list[Canary]:
    """Set every kind of trap on ``count`` pairs that people prefer one answer of, drawn by a seed.

    A pair without a majority for one answer, or whose better answer is empty, is not drawn. Each pair takes one text of
    a kind, the next in turn.
    """
    usable = [n for n, pair in enumerate(pairs) if pair.majority in ("A", "B") and better_and_worse(pair)[0].strip()]
    drawn = sorted(random.Random(f"canaries:{seed}").sample(usable, min(count, len(usable))))
    texts = {kind: read_variants(source) for kind, source in _TEXTS.items()}
    return [
        Canary(kind, variant, number, Shown(pairs[number].prompt, sound, trap))
        for turn, number in enumerate(drawn)
        for sound, worse in [better_and_worse(pairs[number])]
        for kind, variant, trap in _traps(sound, worse, texts, turn, f"{seed}:{number}")
    ]


def fallen(canary: Canary, score: float | None, plain: float | None) -> float | None:
    """How far a judge fell for a trap.

    - lone: 0 where it prefers the sound answer in both orders, 1 where it prefers the trap in both, else ½;
    - added: by how much the preference for the worse answer rose over that in the pair as it is, from −1 to 1;
    - copy: 1 where it gives a verdict for one of two equal answers, 0 where it says that neither is better.

    Args:
        canary: the trap.
        score: preference for the sound answer over the trap, 1, ½ or 0; for a copy 1 stands for a verdict for either.
        plain: preference for the sound answer in the pair as it is.

    Returns:
        None where a verdict is missing.
    """
    if score is None or (canary.kind.startswith("added-") and plain is None):
        return None
    if canary.kind == "copy":
        return score
    return (plain or 0.0) - score if canary.kind.startswith("added-") else 1 - score


def summed_up(falls: Sequence[tuple[Canary, float | None]]) -> list[Fall]:
    """The rate of each kind of trap, prompts as clusters."""
    found = []
    for kind in CANARIES:
        own = [(canary, value) for canary, value in falls if canary.kind == kind]
        scored = [(canary, value) for canary, value in own if value is not None]
        if not own:
            continue
        low = -1.0 if kind.startswith("added-") else 0.0
        values, prompts = [value for _, value in scored], [canary.shown.prompt_id for canary, _ in scored]
        rate = share(values, prompts, low=low) if scored else None
        found.append(Fall(kind, len(own), len(scored), rate, _worst(scored)))
    return found


def better_and_worse(pair: HumanPair) -> tuple[str, str]:
    """The answer that people prefer, and the other one; only for a pair with a majority for one of them."""
    return (pair.first, pair.second) if pair.majority == "A" else (pair.second, pair.first)


def _worst(scored: Sequence[tuple[Canary, float]]) -> tuple[int, float, int] | None:
    of_variant: dict[int, list[float]] = defaultdict(list)
    for canary, value in scored:
        of_variant[canary.variant].append(value)
    if len(of_variant) < 2:
        return None
    means = {variant: sum(values) / len(values) for variant, values in of_variant.items()}
    worst = max(sorted(means), key=means.__getitem__)
    return worst, means[worst], len(of_variant[worst])


def _traps(
    sound: str, worse: str, texts: Mapping[str, Sequence[str]], turn: int, seed: str
) -> Iterator[tuple[str, int, str]]:
    for kind in CANARIES:
        name = kind.removeprefix("added-")
        if name in texts:
            variant = turn % len(texts[name])
            text = texts[name][variant]
            yield kind, variant, f"{worse}\n\n{text}" if kind != name else text
        else:
            text = {"empty": "", "copy": sound, "shuffled": _shuffled(sound, seed)}[kind]
            if kind != "shuffled" or len(set(sound.split())) >= _FEWEST_WORDS:
                yield kind, 0, text


def _shuffled(text: str, seed: str) -> str:
    """The words in random order, with the spaces left where they are: the length stays the same."""
    parts = _SPACES.split(text)
    words = parts[::2]
    random.Random(f"shuffled:{seed}").shuffle(words)
    parts[::2] = words
    return "".join(parts)
