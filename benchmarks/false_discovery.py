"""Do the audit's q hold? Sets without a fault and with planted ones, of four kinds and many kinds of honest noise.

    python -m benchmarks.false_discovery [--sets 1000] [--kinds ultrafeedback …] [--workers 2]

Each set is drawn anew: its size (50 to 500 prompts), the noise of its judges, and the faults, of which there are none,
1 % or 5 % of the answers (of pairs: of the pairs). A row counts as flagged where its q is at most ``signals.SURE``. Of
sets without a fault, the share with any flag is told, with its interval; of those with faults, the mean share of sound
rows among the flagged (0 where none is flagged), and the share of faults that is found, by their kind. Prints JSON.

Owns the generators and the counting. The audit is ``notus.audit``; which texts say what is made up here.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from notus.audit.feedback import Accumulator
from notus.audit.pairs import audit_pairs
from notus.audit.signals import SURE
from notus.audit.wording import learn_models
from notus.core.records import ASPECTS, Completion, Critique, Feedback, Message, Preference, Rating, Scale
from notus.formats.families.ultrafeedback import RATED, SCORED
from notus.stats.intervals import clustered_mean, proportion

__all__ = ["KINDS", "NOISES", "SHARES", "Set", "flagged", "main", "make_set", "measure"]

SHARES = (0.0, 0.01, 0.05)
NOISES = (
    "normal",
    "laplace",
    "t3",
    "mixture",
    "coarse",
    "offset",
    "missing",
    "correlated",
    "ties",
    "clustered",
    "skewed",
    "few texts",
)
_TEN = 10.0
_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_SAID = (
    "useless wrong empty harmful",
    "poor wrong thin careless",
    "weak vague thin unclear",
    "fair plain short usable",
    "good clear sound helpful",
    "strong rich clear precise",
    "excellent exact thorough complete",
)
_FILLER = "the answer is and it of this reader says on some points in part while as well with rather"

Array = Any


@dataclass
class Set:
    """A set, and what is wrong with which of its rows: number of an answer, or of a pair → kind of fault."""

    records: list[Any]
    faults: dict[int, str] = field(default_factory=dict)


def make_set(kind: str, noise: str, share: float, seed: Sequence[int], prompts: int | None = None) -> Set:
    """Draw a set. The same arguments give the same set."""
    rng = np.random.default_rng(seed)
    size = prompts or int(50 * 10 ** rng.random())
    return KINDS[kind](rng, size, noise, share)


def flagged(kind: str, records: Sequence[Any]) -> Array:
    """q of each row of a set; NaN where there is none."""
    if kind == "pairs":
        return np.array([np.nan if row.q is None else row.q for row in audit_pairs(records).rows])
    accumulator = Accumulator(learn_models(records))
    for record in records:
        accumulator.add(record)
    return accumulator.place().q


def _draw(rng: Array, noise: str, shape: Any) -> Array:
    """Honest disagreement with a spread of 1."""
    if noise == "laplace":
        return rng.laplace(0, 1 / np.sqrt(2), shape)
    if noise == "t3":
        return rng.standard_t(3, shape) / np.sqrt(3)
    if noise == "mixture":
        return rng.normal(size=shape) * np.where(rng.random(shape) < 0.1, 2.5, 0.8)
    return rng.normal(size=shape)


def _qualities(rng: Array, prompts: int, each: int, noise: str) -> Array:
    count = prompts * each
    quality = rng.normal(size=count)
    if noise == "clustered":
        quality = 0.7 * np.repeat(rng.normal(size=prompts), each) + 0.7 * quality
    if noise == "ties":
        quality = rng.choice([-1.5, -0.5, 0.5, 1.2], count)
    if noise == "skewed":
        quality = 1 - rng.exponential(1, count)
    return quality


def _plant(rng: Array, count: int, share: float, kinds: Sequence[str]) -> dict[int, str]:
    places = rng.permutation(count)[: round(share * count)]
    return {int(place): kinds[number % len(kinds)] for number, place in enumerate(places)}


def _texts(rng: Array, levels: Array, words: int) -> list[str]:
    """Texts that say how good something is, a third of their words about it and mostly right, for each level."""
    size = len(levels), words
    about = rng.random(size) < 0.35
    grades = np.clip(np.round(levels[:, None] + rng.normal(0, 0.8, size)), 0, len(_SAID) - 1).astype(int)
    which = rng.integers(0, 1000, size)
    said, filler = [grade.split() for grade in _SAID], _FILLER.split()
    return [
        " ".join(
            said[grades[row, i]][which[row, i] % 4] if about[row, i] else filler[which[row, i] % len(filler)]
            for i in range(words)
        )
        for row in range(size[0])
    ]


def _moved(rng: Array, value: float, low: int, high: int, least: int) -> float:
    far = [other for other in range(low, high + 1) if abs(other - value) >= least]
    return float(rng.choice(far)) if far else float(high if value < (low + high) / 2 else low)


def _ultrafeedback(rng: Array, prompts: int, noise: str, share: float) -> Set:
    """Four ratings of aspects (1–5), a critique with an overall score (1–10)."""
    count = prompts * 4
    faults = _plant(rng, count, share, ("recorded-ten", "recorded-ten", "displaced-score", "displaced-rating"))
    quality = _qualities(rng, prompts, 4, noise)
    tens = [place for place, what in faults.items() if what == "recorded-ten"]
    quality[tens] = rng.normal(-2.3, 0.3, len(tens))
    eta = 0.55 * _draw(rng, noise, (count, 4))
    if noise == "correlated":
        eta = 0.6 * eta + 0.44 * rng.normal(size=count)[:, None]
    ratings = np.clip(np.round(3.3 + 0.9 * quality[:, None] + eta), 1, 5)
    score_noise = _draw(rng, noise, count)
    if noise == "offset":
        score_noise = 0.7 * score_noise + np.repeat(rng.normal(size=prompts), 4)
    scores = np.clip(np.round(6.3 + 2.1 * quality + score_noise), 1, 10)
    if noise == "coarse":
        scores = np.clip(np.round(scores / 2) * 2, 2, 10)
    missing = rng.random((count, 4)) < (0.3 if noise == "missing" else 0.0)
    read = 3 + 1.3 * quality + 0.4 * _draw(rng, noise, count)
    for place, what in faults.items():
        if what == "recorded-ten":
            scores[place] = _TEN
        elif what == "displaced-score":
            scores[place] = _moved(rng, scores[place], 1, 10, 5)
        else:
            ratings[place, 0] = _moved(rng, ratings[place, 0], 1, 5, 3)
    texts = _texts(rng, read, 4 if noise == "few texts" else 18)
    records = []
    for prompt in range(prompts):
        answers = [
            Completion(
                text=f"Answer {place}.",
                model=f"model-{place % 4}",
                ratings=tuple(
                    Rating(aspect=aspect, value=None if missing[place, i] else float(ratings[place, i]), scale=RATED)
                    for i, aspect in enumerate(ASPECTS)
                ),
                critique=Critique(text=texts[place], score=float(scores[place]), scale=SCORED),
            )
            for place in range(prompt * 4, prompt * 4 + 4)
        ]
        records.append(_feedback(prompt, answers))
    return Set(records, faults)


def _repeated(rng: Array, prompts: int, noise: str, share: float) -> Set:
    """Three scores (1–10) of each answer by three raters."""
    count = prompts * 4
    faults = _plant(rng, count, share, ("recorded-ten", "recorded-ten", "displaced-rating"))
    quality = _qualities(rng, prompts, 4, noise)
    tens = [place for place, what in faults.items() if what == "recorded-ten"]
    quality[tens] = rng.normal(-2.4, 0.3, len(tens))
    shift = np.array([-1.0, 0.0, 1.0]) if noise == "offset" else np.zeros(3)
    common = 0.5 * rng.normal(size=count)[:, None] if noise == "correlated" else 0.0
    scores = 6.0 + 2.1 * quality[:, None] + 0.9 * _draw(rng, noise, (count, 3)) + shift + common
    scores = np.clip(np.round(scores), 1, 10)
    if noise == "coarse":
        scores = np.clip(np.round(scores / 2) * 2, 2, 10)
    missing = rng.random((count, 3)) < (0.15 if noise == "missing" else 0.0)
    for place, what in faults.items():
        rater = int(rng.integers(3))
        scores[place, rater] = _TEN if what == "recorded-ten" else _moved(rng, scores[place, rater], 1, 10, 5)
        missing[place] = False
    named = noise != "few texts"
    records = []
    for prompt in range(prompts):
        answers = [
            Completion(
                text=f"Answer {place}.",
                ratings=tuple(
                    Rating(
                        aspect="rubric",
                        value=None if missing[place, i] else float(scores[place, i]),
                        rater=f"rater {i}" if named else "",
                        scale=SCORED,
                    )
                    for i in range(3)
                ),
            )
            for place in range(prompt * 4, prompt * 4 + 4)
        ]
        records.append(_feedback(prompt, answers))
    return Set(records, faults)


def _helpsteer(rng: Array, prompts: int, noise: str, share: float) -> Set:
    """Five attributes (0–4) of two answers, no overall score and no text."""
    count = prompts * 2
    faults = _plant(rng, count, share, ("reversed-aspect", "reversed-row", "swapped-columns"))
    quality, length = _qualities(rng, prompts, 2, noise), rng.normal(size=count)
    loadings = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.0], [0.2, 0.8], [0.0, 1.0]])
    eta = 0.45 * _draw(rng, noise, (count, 5))
    if noise == "correlated":
        eta[:, :2] += 0.3 * rng.normal(size=count)[:, None]
    values = np.array([2.6, 2.6, 3.2, 1.6, 1.8]) + np.column_stack([quality, length]) @ loadings.T + eta
    if noise == "offset":
        values += np.repeat(0.5 * rng.normal(size=prompts), 2)[:, None]
    values = np.clip(np.round(values), 0, 4)
    if noise == "coarse":
        values = np.clip(np.round(values / 2) * 2, 0, 4)
    missing = rng.random((count, 5)) < (0.15 if noise == "missing" else 0.0)
    for place, what in faults.items():
        if what == "reversed-aspect":
            values[place, 0] = 4 - values[place, 0]
        elif what == "reversed-row":
            values[place, :2] = 4 - values[place, :2]
        else:
            values[place, [0, 4]] = values[place, [4, 0]]
    records = []
    scale = Scale(low=0, high=4)
    for prompt in range(prompts):
        answers = [
            Completion(
                text=f"Answer {place}.",
                ratings=tuple(
                    Rating(aspect=aspect, value=None if missing[place, i] else float(values[place, i]), scale=scale)
                    for i, aspect in enumerate(_HELPSTEER)
                ),
            )
            for place in range(prompt * 2, prompt * 2 + 2)
        ]
        records.append(_feedback(prompt, answers))
    return Set(records, faults)


def _pairs(rng: Array, prompts: int, noise: str, share: float) -> Set:
    """A chosen and a rejected answer with a score each (1–10): the label was given by somebody else than the scores."""
    faults = _plant(rng, prompts, share, ("flipped-label",))
    scores = 6.3 + 2.1 * _qualities(rng, prompts, 2, noise) + _draw(rng, noise, prompts * 2)
    scores = np.sort(np.clip(scores, 1, 10).reshape(prompts, 2), axis=1)[:, ::-1]
    # Labels by another judge: close calls may go against the scores.
    close = (scores[:, 0] - scores[:, 1] < 0.5) & (rng.random(prompts) < 0.3)
    scores[close] = scores[close][:, ::-1]
    scores = np.round(scores * 2) / 2 if noise != "coarse" else np.round(scores / 2) * 2
    records = []
    for prompt in range(prompts):
        sides = [("Chosen", scores[prompt, 0]), ("Rejected", scores[prompt, 1])]
        if prompt in faults:
            sides.reverse()
        texts = [(Message(role="assistant", content=f"{name} {prompt}."),) for name, _ in sides]
        records.append(
            Preference(
                prompt=(Message(role="user", content=f"Question {prompt}?"),),
                chosen=texts[0],
                rejected=texts[1],
                score_chosen=float(sides[0][1]),
                score_rejected=float(sides[1][1]),
            )
        )
    return Set(records, faults)


def _feedback(prompt: int, answers: list[Completion]) -> Feedback:
    return Feedback(prompt=(Message(role="user", content=f"Question {prompt}?"),), completions=tuple(answers))


KINDS: dict[str, Callable[[Array, int, str, float], Set]] = {
    "ultrafeedback": _ultrafeedback,
    "repeated": _repeated,
    "helpsteer": _helpsteer,
    "pairs": _pairs,
}


@dataclass
class _Trial:
    """What came of one set."""

    noise: str
    rows: int
    flagged: int
    sound: int
    found: dict[str, tuple[int, int]]
    """Kind of fault → found, planted."""


def _try(kind: str, share: float, number: int, prompts: int | None = None) -> _Trial:
    noise = NOISES[number % len(NOISES)]
    made = make_set(kind, noise, share, (number, round(100 * share), sorted(KINDS).index(kind)), prompts)
    q = flagged(kind, made.records)
    hit = set(np.flatnonzero(np.nan_to_num(q, nan=1.0) <= SURE).tolist())
    found: dict[str, tuple[int, int]] = {}
    for place, what in made.faults.items():
        of = found.get(what, (0, 0))
        found[what] = of[0] + (place in hit), of[1] + 1
    return _Trial(noise, len(q), len(hit), len(hit - made.faults.keys()), found)


def measure(kind: str, share: float, sets: int, workers: int = 1, prompts: int | None = None) -> dict[str, Any]:
    """Figures of many sets of one kind."""
    work = partial(_try, kind, share, prompts=prompts)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            trials = list(pool.map(work, range(sets), chunksize=8))
    else:
        trials = [work(number) for number in range(sets)]
    return _figures(trials, share, by_noise=True)


def _figures(trials: Sequence[_Trial], share: float, *, by_noise: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"sets": len(trials), "rows": sum(trial.rows for trial in trials)}
    if share:
        shares = [trial.sound / max(trial.flagged, 1) for trial in trials]
        mean = clustered_mean(shares, range(len(shares)))
        found["mean false share"] = _rounded([mean.mean, mean.low, mean.high]) if mean else None
        of: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for trial in trials:
            for what, (hits, planted) in trial.found.items():
                of[what][0] += hits
                of[what][1] += planted
        found["recall"] = {what: [round(hits / all_, 3), all_] for what, (hits, all_) in sorted(of.items())}
    else:
        any_flag = proportion(sum(trial.flagged > 0 for trial in trials), len(trials))
        found["sets with a flag"] = _rounded([any_flag.mean, any_flag.low, any_flag.high])
        found["flags"] = sum(trial.flagged for trial in trials)
    if by_noise:
        names = [noise for noise in NOISES if any(trial.noise == noise for trial in trials)]
        parts = {
            noise: _figures([trial for trial in trials if trial.noise == noise], share, by_noise=False)
            for noise in names
        }
        found["by noise"] = parts
    return found


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_discovery")
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--prompts", type=int)
    given = parser.parse_args(arguments)
    for kind in given.kinds:
        for share in SHARES:
            figures = measure(kind, share, given.sets, given.workers, given.prompts)
            print(json.dumps({"kind": kind, "faulty": share, **figures}, ensure_ascii=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
