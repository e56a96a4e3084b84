"""What a completion is worth, and what judges make of it in numbers: latent quality, ratings, overall scores, faults.

Owns the marginal distributions and the noise. The counts are those of openbmb/UltraFeedback after its repair, unit
completion; they stand here as shares. The words of a judge are the business of ``ultrafeedback_judge``.

The model. A completion has a latent quality: strength of its model + ease of its source + ease of its prompt + its
own part, all normal. A judge's call sees that quality through a noise of its own: the call for the overall score (and
its critique) one view, the calls for the four aspects a shared view and a part for each aspect. A view becomes a
rating or a score by the quantiles that give the real marginals. In ``DISAGREEMENT`` of the completions one of the two
sides sees something else, at least 0.4 apart in quantiles: an honest error of a judge and no fault of the record.
The noise was set by hand to come near two published facts: for about 30,000 of 63,000 prompts (0.476) the best
completion by mean rating is not the best by overall score (here 0.45), and in 348 of 63,967 all mean ratings tie
(0.0054, here 0.0045). How ratings and scores go together in the real set is known no further: that part is assumed.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

__all__ = [
    "DESERVED_ONES",
    "DISAGREEMENT",
    "MODELS",
    "RATINGS",
    "SCORES",
    "SOURCES",
    "Faults",
    "Judged",
    "draw_models",
    "judge_block",
    "on_ten",
    "sure_counts",
]

Array = np.ndarray[Any, Any]

MODELS: dict[str, tuple[float, float]] = {
    "gpt-4": (1.000, 0.95), "gpt-3.5-turbo": (1.004, 0.6), "bard": (0.480, 0.4), "llama-2-7b-chat": (1.024, 0.1),
    "llama-2-13b-chat": (1.015, 0.2), "llama-2-70b-chat": (1.008, 0.4), "ultralm-13b": (1.009, -0.1),
    "ultralm-65b": (1.013, 0.05), "wizardlm-7b": (1.008, 0.0), "wizardlm-13b": (1.019, 0.2),
    "wizardlm-70b": (1.006, 0.35), "vicuna-33b": (1.016, 0.25), "alpaca-7b": (1.005, -0.7),
    "falcon-40b-instruct": (1.003, -0.4), "mpt-30b-chat": (1.004, -0.05), "starchat": (0.827, -0.35),
    "pythia-12b": (0.046, -1.3),
}  # fmt: skip
"""Weight in the draw of four without replacement, and strength. The weights are solved for the real counts."""

SOURCES: dict[str, tuple[float, float]] = {
    "evol_instruct": (10000, 0.0), "false_qa": (2339, 0.2), "flan_v2_niv2": (15497, -0.6), "flan_v2_cot": (3003, 0.1),
    "flan_v2_p3": (1937, 0.0), "flan_v2_flan2021": (502, -0.05), "sharegpt": (19949, 0.05), "truthful_qa": (811, 0.4),
    "ultrachat": (9929, 0.25),
}  # fmt: skip
"""Prompts of 63,967, and ease."""

RATINGS: dict[str, tuple[int, ...]] = {
    "helpfulness": (29355, 32144, 57407, 86592, 50114),
    "honesty": (24493, 20622, 22207, 61192, 113609),
    "instruction_following": (29507, 32318, 34764, 64410, 94609),
    "truthfulness": (17166, 20436, 54058, 19910, 144042),
}
"""Real counts of the ratings 1–5."""

NOT_APPLICABLE = 0.053
"""Share of completions whose honesty is N/A."""

SCORES: dict[float, float] = {
    1.5: 0.03, 2: 5.61, 2.5: 0.25, 3: 4.6, 3.5: 0.35, 4: 5.2, 4.5: 0.7, 5: 4.9, 5.5: 0.8, 6: 12.38, 6.5: 4.3,
    6.8: 0.02, 7: 17.74, 7.5: 11.83, 7.8: 0.02, 8: 14.85, 8.2: 0.01, 8.5: 11.62, 9: 3.35, 9.5: 0.42, 10: 0.13,
}  # fmt: skip
"""Percentages of the deserved overall scores above 1: the published shares of 7, 8, 6, 7.5 and 8.5, and for the rest
what the published quantiles and the mean leave open. The 10s among them are genuine."""

DESERVED_ONES = 0.0089
"""Share of the completions that deserve a 1. With the genuine 10s it makes the 2,628 recorded 10s of 255,865; how many
of those were genuine is not published, and the division is assumed."""

DISAGREEMENT = 0.02

_PROMPT, _OWN, _SCORE_NOISE, _SHARED_NOISE, _ASPECT_NOISE = 0.35, 0.75, 0.62, 0.42, 0.45
_STRENGTHS = {name: strength for name, (_, strength) in MODELS.items()}
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Faults:
    """Shares of all completions. ``ones`` None: every deserved 1 is recorded as 10, as the old code did."""

    ones: float | None = None
    displaced: float = 0.0
    swapped_scores: float = 0.0
    swapped_ratings: float = 0.0

    @property
    def deserved(self) -> float:
        """Share of completions that deserve a 1: the natural one, or more where more are asked for."""
        return DESERVED_ONES if self.ones is None else max(DESERVED_ONES, self.ones)

    @property
    def recorded(self) -> float:
        """Share of the deserved 1s that are recorded as 10."""
        return 1.0 if self.ones is None else self.ones / self.deserved


@dataclass(slots=True)
class Judged:
    """One completion: the truth about it, and what the row records."""

    quality: float
    """True quality, on the scale of the overall score."""
    seen: float
    """Quality as the call for the overall score saw it, on the same scale; its critique follows this."""
    deserved: float
    score: float
    ratings: dict[str, int | None]
    disagreement: str | None = None
    """``score`` or ``ratings``: the side that is honestly mistaken."""
    fault: str | None = None
    swapped_with: int | None = None
    legacy: bool = False


def sure_counts(share: float, first: int, last: int) -> int:
    """How many of the things numbered ``first`` to ``last`` − 1 are chosen, so that blocks add up to the whole."""
    return int(share * last + 0.5) - int(share * first + 0.5)


def draw_models(rows: int, rng: np.random.Generator) -> list[list[str]]:
    """Four models for each row, without replacement: the first four in a race of exponential clocks."""
    names = list(MODELS)
    race = rng.exponential(size=(rows, len(names))) / np.array([weight for weight, _ in MODELS.values()])
    return [[names[index] for index in row] for row in np.argsort(race, axis=1)[:, :4].tolist()]


def judge_block(
    models: list[list[str]], sources: list[str], start: int, faults: Faults, rng: np.random.Generator
) -> list[list[Judged]]:
    """Judge the completions of a block of rows.

    Args:
        models: per row, the models that answer.
        sources: per row, where the prompt is from.
        start: number of completions before the block.
        faults: what to plant.
        rng: a generator that belongs to the block.
    """
    lengths = [len(row) for row in models]
    rows = np.repeat(np.arange(len(models)), lengths)
    strength = np.array([_STRENGTHS[name] for row in models for name in row])
    ease = np.array([SOURCES[source][1] for source in sources])[rows]
    quality, score_view, aspect_views, mistaken = _views(strength, ease, rows, rng)
    scores = _scores(score_view)
    ones = sure_counts(faults.deserved, start, start + len(rows))
    lowest = np.argsort(score_view, kind="stable")[:ones]
    scores[lowest] = 1.0
    grades = {aspect: 1 + np.searchsorted(_cuts()[aspect], view) for aspect, view in aspect_views.items()}
    # Whether honesty applies is mostly a matter of the prompt: a tale can be neither honest nor dishonest.
    creative = rng.random(len(models)) < 0.07
    silent = rng.random(len(rows)) < np.where(creative[rows], 0.5, (NOT_APPLICABLE - 0.035) / 0.93)
    found = []
    for index in range(len(rows)):
        ratings: dict[str, int | None] = {aspect: int(of[index]) for aspect, of in grades.items()}
        if silent[index]:
            ratings["honesty"] = None
        seen = 1.0 if scores[index] == 1.0 else on_ten(float(score_view[index]))
        side = (None, "score", "ratings")[mistaken[index]]
        deserved = float(scores[index])
        found.append(Judged(on_ten(float(quality[index])), seen, deserved, deserved, ratings, side))
    _plant_ones(found, lowest, faults, start, rng)
    ends = np.cumsum(lengths)
    grouped = [found[end - length : end] for end, length in zip(ends.tolist(), lengths, strict=True)]
    _plant_others(grouped, faults, rng)
    return grouped


def on_ten(view: float) -> float:
    """A view on the continuous scale of the overall score, 1–10, by quantiles."""
    share, values = _cuts()["ten"]
    return float(np.interp(_quantile(view), share, values))


def _views(
    strength: Array, ease: Array, rows: Array, rng: np.random.Generator
) -> tuple[Array, Array, dict[str, Array], Array]:
    count = len(rows)
    prompt = rng.normal(0, _PROMPT, int(rows[-1]) + 1)[rows]
    quality = strength + ease + prompt + rng.normal(0, _OWN, count)
    score_view = quality + rng.normal(0, _SCORE_NOISE, count)
    shared = quality + rng.normal(0, _SHARED_NOISE, count)
    mistaken = np.where(rng.random(count) < DISAGREEMENT, rng.integers(1, 3, count), 0)
    elsewhere = _elsewhere(quality, rng)
    score_view = np.where(mistaken == 1, elsewhere, score_view)
    shared = np.where(mistaken == 2, elsewhere, shared)
    aspects = {aspect: shared + rng.normal(0, _ASPECT_NOISE, count) for aspect in RATINGS}
    return quality, score_view, aspects, mistaken


def _elsewhere(quality: Array, rng: np.random.Generator) -> Array:
    """Another view, as common as any other, at least 0.4 away in quantiles."""
    spread = (_PROMPT**2 + _OWN**2 + 0.4**2) ** 0.5
    here = np.array([_NORMAL.cdf(value / spread) for value in quality.tolist()])
    below, above = np.clip(here - 0.4, 0, 1), np.clip(0.6 - here, 0, 1)
    at = rng.random(len(here)) * (below + above)
    there = np.where(at < below, at, at - below + here + 0.4)
    return np.array([spread * _NORMAL.inv_cdf(min(max(share, 1e-5), 1 - 1e-5)) for share in there.tolist()])


def _scores(views: Array) -> Array:
    values = np.array(list(SCORES), dtype=float)
    return values[np.searchsorted(_cuts()["scores"], views)]


def _quantile(view: float) -> float:
    return float(np.searchsorted(_cuts()["all"], view)) / len(_cuts()["all"])


@cache
def _cuts() -> dict[str, Any]:
    """Where views are cut into ratings and scores, from a population that is large and always the same."""
    rng = np.random.default_rng(20231229)
    count = 50_000
    weights = np.array([weight for weight, _ in SOURCES.values()])
    ease = np.array([ease for _, ease in SOURCES.values()])
    shares = np.array([weight for weight, _ in MODELS.values()])
    strengths = np.array(list(_STRENGTHS.values()))
    rows = np.repeat(np.arange(count), 4)
    race = rng.exponential(size=(count, len(MODELS))) / shares
    drawn = strengths[np.argsort(race, axis=1)[:, :4]].ravel()
    of_source = ease[rng.choice(len(weights), size=count, p=weights / weights.sum())][rows]
    _, score_view, aspects, _ = _views(drawn, of_source, rows, rng)
    cuts: dict[str, Any] = {
        aspect: np.quantile(aspects[aspect], np.cumsum(counts)[:-1] / sum(counts)) for aspect, counts in RATINGS.items()
    }
    above = np.cumsum(np.array(list(SCORES.values())) / sum(SCORES.values()))[:-1]
    cuts["scores"] = np.quantile(score_view, DESERVED_ONES + above * (1 - DESERVED_ONES))
    cuts["all"] = np.sort(score_view)
    edges = [0.0, DESERVED_ONES / 2, *(DESERVED_ONES + (above - np.diff(above, prepend=0) / 2) * 0.9911), 1.0]
    cuts["ten"] = (np.array(edges), np.array([1.0, 1.0, *list(SCORES)[:-1], 10.0]))
    return cuts


def _plant_ones(found: list[Judged], lowest: Array, faults: Faults, start: int, rng: np.random.Generator) -> None:
    """Record deserved 1s as 10; counted so that the blocks add up to the asked share exactly."""
    before = sure_counts(faults.deserved, 0, start)
    planted = sure_counts(faults.recorded, before, before + len(lowest))
    for index in rng.permutation(lowest)[:planted].tolist():
        found[index].score, found[index].fault = 10.0, "one-to-ten"


def _plant_others(grouped: list[list[Judged]], faults: Faults, rng: np.random.Generator) -> None:
    """The kinds that are off by default; a completion has at most one fault."""
    values = [1.0, *SCORES]
    for row in grouped:
        for index, draw in enumerate(rng.random((len(row), 4)).tolist()):
            item = row[index]
            if item.fault is None and draw[0] < faults.displaced:
                far = [value for value in values if abs(value - item.deserved) >= 2]
                item.score, item.fault = far[int(draw[3] * len(far))], "displaced"
            # A swap makes two faults, so half as many swaps are begun.
            if item.fault is None and draw[1] < faults.swapped_scores / 2:
                _swap(row, index, "swapped-score", draw[3])
            if item.fault is None and draw[2] < faults.swapped_ratings / 2:
                _swap(row, index, "swapped-ratings", draw[3])


def _swap(row: list[Judged], index: int, fault: str, draw: float) -> None:
    """Swap with a sibling that differs clearly, by 2 in the score or 1 in the mean rating; without one, do nothing."""
    item = row[index]
    by_score = fault == "swapped-score"
    far = [
        other
        for other, sibling in enumerate(row)
        if sibling.fault is None
        and (
            abs(sibling.deserved - item.deserved) >= 2
            if by_score
            else abs(_mean(sibling.ratings) - _mean(item.ratings)) >= 1
        )
    ]
    if not far:
        return
    place = far[int(draw * len(far))]
    other = row[place]
    if by_score:
        item.score, other.score = other.score, item.score
    else:
        item.ratings, other.ratings = other.ratings, item.ratings
    item.fault = other.fault = fault
    item.swapped_with, other.swapped_with = place, index


def _mean(ratings: dict[str, int | None]) -> float:
    values = [value for value in ratings.values() if value is not None]
    return sum(values) / len(values)
