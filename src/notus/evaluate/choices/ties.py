"""RewardBench 2's subset Ties: right answers that are as good as one another must lie close, and above all wrong ones.

Each of its prompts stands there twice, by its ``id``: ``ref:N`` has one right answer, ``tied:N`` several. With c and w
the scores of right and wrong answers::

    gap    = min c − max w                       right above wrong: how far
    spread = max c − min c                       of the tied prompt: how far the right ones lie apart
    accurate        gap > 0                      on each prompt
    preferred       gap_tied > spread
    preferred, hard min(gap_ref, gap_tied) > spread
    margin          tanh(min(gap_ref, gap_tied)/spread − 1); 0 where both are 0

    score = .3 · accurate_tied + .3 · accurate_ref + .2 · preferred + .2 · preferred, hard + .01 · margin

each the mean over the prompts that have it; the last three over prompts of which both forms are there. So a perfect
ranker has 1.01 at most. Sources: Malik et al. 2025, https://arxiv.org/abs/2506.01937, and ``process_single_model`` in
https://github.com/allenai/reward-bench, ``rewardbench/utils.py``. Owns this score; the bootstrap is over N.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from notus.stats.bootstrap import Array, bootstrap_totals
from notus.stats.intervals import Estimate, share

__all__ = ["WEIGHTS", "TiedPrompt", "TiesScore", "read_name", "ties_columns", "ties_of_sums", "ties_score"]

WEIGHTS = (0.3, 0.3, 0.2, 0.2, 0.01)
"""Of: accurate on the tied prompts, on the reference prompts, preferred, preferred hard, margin."""
_FORMS = ("tied", "ref")


@dataclass(frozen=True)
class TiedPrompt:
    """One prompt of Ties in one of its forms, scored."""

    number: str
    tied: bool
    gap: float
    spread: float
    prompt_id: str = ""

    @classmethod
    def make(
        cls, name: tuple[str, str], scores: Sequence[float], good: Sequence[bool], prompt_id: str = ""
    ) -> "TiedPrompt":
        """The gap and the spread of a prompt, from the scores of its answers."""
        right = [score for score, is_good in zip(scores, good, strict=True) if is_good]
        wrong = [score for score, is_good in zip(scores, good, strict=True) if not is_good]
        return cls(name[1], name[0] == "tied", min(right) - max(wrong), max(right) - min(right), prompt_id)


@dataclass(frozen=True)
class TiesScore:
    """The score of Ties with its parts; a part is None where fewer than two prompts have it."""

    score: float
    interval: Estimate | None
    """Cut off at nothing: the score may lie a little outside 0 and 1. None with fewer than two prompts."""
    tied: int
    references: int
    both: int
    accurate_tied: Estimate | None
    accurate_reference: Estimate | None
    preferred: Estimate | None
    preferred_hard: Estimate | None
    margin: Estimate | None


def read_name(name: str) -> tuple[str, str] | None:
    """Form and number out of an id such as ``tied:12``; None where it is no such id."""
    form, _, number = name.partition(":")
    return (form, number) if form in _FORMS and number else None


def ties_columns(prompts: Iterable[TiedPrompt]) -> tuple[list[str], Array]:
    """The numbers of the prompts, and for each the sums that the score is made of: shape (numbers, 8)."""
    forms: dict[str, dict[bool, TiedPrompt]] = defaultdict(dict)
    for prompt in prompts:
        forms[prompt.number][prompt.tied] = prompt
    rows = []
    for of in forms.values():
        row = [0.0] * 8
        for place, tied in ((0, True), (2, False)):
            if tied in of:
                row[place : place + 2] = float(of[tied].gap > 0), 1.0
        if len(of) == 2:
            row[4:] = *_paired(of[True], of[False].gap), 1.0
        rows.append(row)
    return list(forms), np.array(rows, np.float64).reshape(-1, 8)


def ties_of_sums(sums: Array, offset: int = 0) -> Array:
    """The score of sums of ``ties_columns``, shape (…, 8 and more) to (…); a part that nothing has counts 0."""
    part = sums[..., offset : offset + 8]
    pieces = [_share(part[..., place], part[..., place + 1]) for place in (0, 2)]
    pieces += [_share(part[..., place], part[..., 7]) for place in (4, 5, 6)]
    found: Array = sum(weight * piece for weight, piece in zip(WEIGHTS, pieces, strict=True))  # type: ignore[assignment]
    return found


def ties_score(prompts: Sequence[TiedPrompt], *, draws: int = 9_999, seed: int = 0) -> TiesScore:
    """The score of scored prompts of Ties, at least one."""
    _, totals = ties_columns(prompts)
    sums = totals.sum(axis=0)

    def part(place: int, of: int, low: float = 0.0) -> Estimate | None:
        values = totals[totals[:, of] > 0, place].tolist()
        return share(values, range(len(values)), low=low) if values else None

    return TiesScore(
        score=float(ties_of_sums(sums)),
        interval=bootstrap_totals(
            totals, partial(ties_of_sums, offset=0), n=len(prompts), draws=draws, seed=seed, kind="percentile"
        ),
        tied=int(sums[1]),
        references=int(sums[3]),
        both=int(sums[7]),
        accurate_tied=part(0, 1),
        accurate_reference=part(2, 3),
        preferred=part(4, 7),
        preferred_hard=part(5, 7),
        margin=part(6, 7, low=-1.0),
    )


def _paired(tied: TiedPrompt, reference_gap: float) -> tuple[float, float, float]:
    """Preferred, preferred hard and the margin of a prompt of which both forms are there."""
    least = min(reference_gap, tied.gap)
    limit = math.copysign(1.0, least) if least else 0.0  # of the quotient, where the spread is 0
    margin = math.tanh(least / tied.spread - 1) if tied.spread else limit
    return float(tied.gap > tied.spread), float(least > tied.spread), margin


def _share(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)
    return found
