"""AlpacaEval's judgements and what follows from them: win rates, their errors, what is missing, two models in pairs.

Owns the record of a judgement and the figures that need no fit. The length-controlled win rate is the business of
``evaluate.length.alpaca``, upstream's files that of ``files``, the asking of a judge that of ``judge``.

A preference p is in [1, 2]: 1 the reference wins, 2 the model wins, 1.5 (in old files 0) a draw. Every instruction that
was asked is scored, refused (a server took the question and will never answer it) or failed (no verdict could be had or
read), and the three add up. Win rates are in points, 0 to 100.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from notus.core.errors import DataError
from notus.core.records import Record, digest
from notus.evaluate.compare import differs
from notus.stats.intervals import Estimate, Paired, clustered_mean, paired_difference, wilson_if_unanimous

__all__ = [
    "DRAW",
    "Judgement",
    "WinRate",
    "compare_models",
    "describe_difference",
    "read_preference",
    "win_rate",
]

DRAW = 1.5
"""The preference that speaks for neither."""


class Judgement(Record, frozen=True):
    """What a judge made of a model's output beside the reference's, for one instruction."""

    instruction: str
    output: str | None
    """The model's; None where it gave none."""
    reference_output: str | None
    model: str
    reference: str
    preference: float | None
    """In [1, 2]; None is unscored."""
    unscored: str = ""
    """``refused`` or ``failed`` where there is no preference."""
    reason: str = ""
    """Why it is unscored, as a slug."""
    annotator: str = ""
    dataset: str = ""
    price: float | None = None
    seconds: float | None = None
    raw: str = ""
    """What the judge wrote."""
    file: str = ""
    """Where the judgement stood; empty where it was made here."""
    line: int = 0

    @property
    def id(self) -> str:
        """Hash of the instruction and both answers."""
        return digest(self.instruction, self.output or "", self.reference_output or "")

    @property
    def prompt_id(self) -> str:
        """Hash of the instruction, as everywhere in Notus."""
        return digest(self.instruction)

    @property
    def value(self) -> float | None:
        """p − 1: 1 where the model wins."""
        return None if self.preference is None else self.preference - 1


@dataclass(frozen=True)
class WinRate:
    """The figures of one model that need no fit. Rates and errors are in points."""

    model: str
    reference: str
    annotator: str
    asked: int
    """scored + refused + failed."""
    scored: int
    refused: int
    failed: int
    reasons: tuple[tuple[str, int], ...]
    """Why judgements are unscored, the most frequent first."""
    repeated: int
    """Judgements of an instruction that had one already. They count, as upstream counts them."""
    wins: int
    losses: int
    draws: int
    mean: float | None
    """100 · mean(p − 1) over what was scored; None when nothing was."""
    error: float | None
    """100 · sd(ddof 1)/√n, upstream's ``standard_error``."""
    interval: Estimate | None
    """Clustered by instruction; Wilson's where all preferences agree."""
    discrete: float | None
    """100 · (wins + ½ draws)/n: what is left when each preference is rounded to a win or a loss, draws kept."""
    worst: float
    """Over all that was asked, if the model had lost what is unscored."""
    best: float
    """The same if it had won all of it."""
    length: int | None
    """Mean characters of the model's outputs, cut to a whole number as upstream does."""
    distinct: int
    """Different outputs of the model."""

    def row(self) -> dict[str, float | int | str | None]:
        """The columns that upstream's leaderboard has for it, by upstream's names."""
        return {
            "win_rate": self.mean,
            "standard_error": self.error,
            "n_wins": self.wins,
            "n_wins_base": self.losses,
            "n_draws": self.draws,
            "n_total": self.scored,
            "discrete_win_rate": self.discrete,
            "avg_length": self.length,
        }

    def sentences(self) -> list[str]:
        """The outcome in words, with what is missing and what is odd."""
        found = [f"{self.asked:,} asked = {self.scored:,} scored + {self.refused:,} refused + {self.failed:,} failed."]
        if self.refused or self.failed:
            why = ", ".join(f"{count:,} × {reason}" for reason, count in self.reasons)
            found.append(
                f"Unscored: {why}. Had {self.model} lost them all it would stand at {self.worst:.2f}, "
                f"had it won them all at {self.best:.2f}."
            )
        if self.repeated:
            found.append(f"{self.repeated:,} judgements are of an instruction that had one already; all are counted.")
        return found


def read_preference(value: object) -> tuple[float | None, str]:
    """Read a stored preference: in [1, 2], a 0 as a draw; otherwise None with the reason as a slug."""
    if value is None:
        return None, "no-preference"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "no-number"
    if math.isnan(value):
        return None, "no-preference"
    if value == 0:
        return DRAW, ""
    return (float(value), "") if 1 <= value <= 2 else (None, "off-scale")


def win_rate(judgements: Sequence[Judgement]) -> WinRate:
    """The figures of one model.

    Raises:
        DataError: if there is no judgement, or they are of several models, references or annotators.
    """
    model, reference, annotator = _one(judgements)
    scored = [item for item in judgements if item.preference is not None]
    values = np.asarray([item.value for item in scored], dtype=np.float64)
    wins, losses = int((values > 0.5).sum()), int((values < 0.5).sum())
    draws, n, asked = len(values) - wins - losses, len(values), len(judgements)
    outputs = [item.output for item in judgements if item.output is not None]
    refused = sum(item.unscored == "refused" for item in judgements if item.preference is None)
    reasons = Counter(item.reason or item.unscored for item in judgements if item.preference is None)
    total = float(values.sum())
    return WinRate(
        model=model,
        reference=reference,
        annotator=annotator,
        asked=asked,
        scored=n,
        refused=refused,
        failed=asked - n - refused,
        reasons=tuple(reasons.most_common()),
        repeated=asked - len({item.instruction for item in judgements}),
        wins=wins,
        losses=losses,
        draws=draws,
        mean=100 * total / n if n else None,
        error=100 * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        interval=_interval(scored),
        discrete=100 * (wins + draws / 2) / n if n else None,
        worst=100 * total / asked,
        best=100 * (total + (asked - n)) / asked,  # equal to the worst to the last bit, where nothing is missing
        length=int(sum(map(len, outputs)) / len(outputs)) if outputs else None,
        distinct=len(set(outputs)),
    )


def compare_models(a: Sequence[Judgement], b: Sequence[Judgement]) -> Paired:
    """The difference a − b of two models in points, paired by the instructions that both have a score for.

    Raises:
        DataError: if they were judged against different references or by different annotators, or share nothing.
    """
    (name_a, *how_a), (name_b, *how_b) = _one(a), _one(b)
    for what, one, other in zip(("reference", "annotator"), how_a, how_b, strict=True):
        if one != other:
            raise DataError(
                f"{name_a} and {name_b} cannot be compared: the {what} of one is '{one}', that of the other '{other}'; "
                "give judgements of both by the same judge against the same reference"
            )
    paired = paired_difference(_cells(a), _cells(b))
    if not paired.shared:
        raise DataError(f"{name_a} and {name_b} share no scored instruction; give judgements of the same instructions")
    return paired


def describe_difference(estimate: Estimate | None, a: str, b: str) -> str:
    """A difference a − b in words.

    Args:
        estimate: in points, with its 95 % t interval.
        a: name of the one.
        b: name of the other.
    """
    if estimate is None:
        return f"{a} and {b}: fewer than two shared instructions, so there is no interval."
    points = f"{estimate.mean:+.2f} points [{estimate.low:.2f}, {estimate.high:.2f}]"
    if not differs(estimate):
        return f"{a} and {b} are not distinguishable: {points} (n = {estimate.n:,})."
    better, worse = (a, b) if estimate.mean > 0 else (b, a)
    return f"{better} is better than {worse}: {a} − {b} = {points} (n = {estimate.n:,})."


def _interval(scored: Sequence[Judgement]) -> Estimate | None:
    """The interval of a win rate in points."""
    values = [item.value for item in scored if item.value is not None]
    found = clustered_mean(values, [item.instruction for item in scored]) if values else None
    if found is None:
        return None
    of = wilson_if_unanimous(found)
    return replace(of, mean=100 * of.mean, low=100 * of.low, high=100 * of.high)


def _cells(judgements: Sequence[Judgement]) -> dict[tuple[int, str], float]:
    """One cell for each instruction: the mean of its judgements, in points."""
    found: dict[tuple[int, str], list[float]] = {}
    for item in judgements:
        if item.value is not None:
            found.setdefault((0, item.instruction), []).append(100 * item.value)
    return {cell: sum(values) / len(values) for cell, values in found.items()}


def _one(judgements: Sequence[Judgement]) -> tuple[str, str, str]:
    """Model, reference and annotator of judgements that belong together."""
    if not judgements:
        raise DataError("there is no judgement to score")
    named = {
        "models": dict.fromkeys(item.model for item in judgements),
        "references": dict.fromkeys(item.reference for item in judgements),
        "annotators": dict.fromkeys(item.annotator for item in judgements),
    }
    for what, names in named.items():
        if len(names) > 1:
            some = ", ".join(map(repr, list(names)[:4]))
            way = "name one with --model, or give a file of one" if what == "models" else "give those of one at a time"
            raise DataError(f"the judgements are of {len(names)} {what} ({some}); {way}")
    model, reference, annotator = (next(iter(names)) for names in named.values())
    return model, reference, annotator
