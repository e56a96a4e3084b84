"""Do the intervals of corrected judges hold? ``python -m benchmarks.corrected [--draws 10000] [--only NAME …]``

Each cell draws answers whose truth is known, a judge of a given quality, and labels, and asks how often the 95 % interval
holds the truth, and how wide it is beside that of the labels alone. Cells are (what is estimated) × (labels) × (quality
of the judge). What is estimated:

    share        yes or no, the judge right with the chance of its quality
    graded       the same, and the judge says how sure it is: its score is a chance that comes true
    score        1 to 10 by people; the judge's correlates with it by its quality, and lies .8 higher
    slips        the same, but the judge says what people say with the chance of its quality, else anything
    difference   of two arms on the same prompts, each yes or no, hard prompts hard for both
    clustered    share, four answers to a prompt, of which two are labelled
    category     score in one of four categories, each with an offset of its own and a fourth of the labels
    uncertain    graded, the uncertain labelled more often (``stats.corrected.draw``)
    errors       share by Rogan and Gladen: both error rates from labels of *other* answers, half of them good

It calls what ``notus compare`` calls, and prints the table of ``docs/corrected.md``; the file of results is
``benchmarks/results/corrected.json``. Seeded by cell. Owns the worlds and the counting.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.stats.corrected.draw import chances_of, draw, uncertainty_of
from notus.stats.corrected.mean import Sample, corrected_mean, slope_within
from notus.stats.corrected.misclassification import true_share
from notus.stats.intervals import Estimate, proportion

__all__ = ["CELLS", "LABELS", "QUALITIES", "Cell", "main", "measure", "table_of"]

Array = NDArray[np.float64]
Made = tuple[Estimate | None, Estimate | None, float]
"""Corrected, by labels alone, the truth."""
JUDGED = 4000
LABELS = (50, 200, 800)
QUALITIES = (0.6, 0.8, 0.95)
TRUE = 0.6
RESULTS = Path(__file__).parent / "results" / "corrected.json"
_MANY = 4_000_000


@dataclass(frozen=True)
class Cell:
    """One cell, counted."""

    what: str
    labels: int
    quality: float
    draws: int
    covered: int
    alone: int
    """Draws in which the interval of the labels alone holds the truth."""
    width: float
    """Mean width of the corrected intervals."""
    alone_width: float
    none: int
    """Draws without an estimate; they count as not covered."""

    @property
    def ratio(self) -> float:
        """Mean width over that of the labels alone."""
        return self.width / self.alone_width


def measure(what: str, labels: int, quality: float, draws: int) -> Cell:
    """Draw a cell so many times. The same arguments give the same cell."""
    random = np.random.default_rng([labels, round(100 * quality), *what.encode()])
    world = CELLS[what](quality)
    covered = alone = none = 0
    width = alone_width = 0.0
    for _ in range(draws):
        found, labels_alone, truth = world(random, labels)
        if labels_alone is not None:
            alone += labels_alone.low <= truth <= labels_alone.high
            alone_width += labels_alone.width
        if found is None:
            none += 1
            width += labels_alone.width if labels_alone is not None else 0.0
            continue
        covered += found.low <= truth <= found.high
        width += found.width
    return Cell(what, labels, quality, draws, covered, alone, width / draws, alone_width / draws, none)


World = Callable[[np.random.Generator, int], Made]


def _yes_or_no(random: np.random.Generator, quality: float, size: int) -> tuple[Array, Array]:
    truth = (random.random(size) < TRUE).astype(np.float64)
    return truth, np.where(random.random(size) < quality, truth, 1 - truth)


def _share(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        truth, judge = _yes_or_no(random, quality, JUDGED)
        found = corrected_mean(_sample(truth[:labels], judge[:labels], judge))
        return found.estimate, found.alone, TRUE

    return world


def _graded_pair(random: np.random.Generator, quality: float, size: int) -> tuple[Array, Array]:
    """A score that is the chance of a yes, and the yes or no: right at ½ with the chance of the quality, on average."""
    b = (1 - quality) / (2 * quality - 1)  # sureness ~ Beta(1, b) between ½ and 1 has the mean that is asked for
    sure = 0.5 + 0.5 * (1 - (1 - random.random(size)) ** (1 / (2 * b)))
    score = np.where(random.random(size) < TRUE, sure, 1 - sure)
    return (random.random(size) < score).astype(np.float64), score


def _graded_truth(quality: float) -> float:
    return float(_graded_pair(np.random.default_rng(0), quality, _MANY)[1].mean())


def _graded(quality: float) -> World:
    true = _graded_truth(quality)

    def world(random: np.random.Generator, labels: int) -> Made:
        truth, judge = _graded_pair(random, quality, JUDGED)
        found = corrected_mean(_sample(truth[:labels], judge[:labels], judge))
        return found.estimate, found.alone, true

    return world


def _uncertain(quality: float) -> World:
    true = _graded_truth(quality)

    def world(random: np.random.Generator, labels: int) -> Made:
        truth, judge = _graded_pair(random, quality, JUDGED)
        chances = chances_of(uncertainty_of(judge), labels)
        drawn = draw(chances, int(random.integers(2**31)))
        found = corrected_mean(_sample(truth[drawn], judge[drawn], judge, chances[drawn]))
        return found.estimate, proportion(round(float(truth[:labels].sum())), labels), true

    return world


def _grade(values: Array) -> Array:
    return np.clip(np.round(values), 1, 10)


_GRADE = float(_grade(6.5 + 1.8 * np.random.default_rng(1).normal(size=_MANY)).mean())
"""Mean of the people's grades."""


def _score(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        normal = random.normal(size=(2, JUDGED))
        truth = _grade(6.5 + 1.8 * normal[0])
        judge = _grade(7.3 + 1.8 * (quality * normal[0] + np.sqrt(1 - quality**2) * normal[1]))
        found = corrected_mean(_sample(truth[:labels], judge[:labels], judge))
        return found.estimate, found.alone, _GRADE

    return world


def _slips(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        truth, other = _grade(6.5 + 1.8 * random.normal(size=(2, JUDGED)))
        judge = np.where(random.random(JUDGED) < quality, truth, other)
        found = corrected_mean(_sample(truth[:labels], judge[:labels], judge))
        return found.estimate, found.alone, _GRADE

    return world


def _difference(quality: float) -> World:
    true = 0.08

    def world(random: np.random.Generator, labels: int) -> Made:
        hard = random.beta(2, 2, JUDGED) * 0.8
        arms = [(random.random(JUDGED) < hard + lift).astype(np.float64) for lift in (true + 0.05, 0.05)]
        judged = [np.where(random.random(JUDGED) < quality, arm, 1 - arm) for arm in arms]
        truth, judge = arms[0] - arms[1], judged[0] - judged[1]
        found = corrected_mean(_sample(truth[:labels], judge[:labels], judge))
        return found.estimate, found.alone, true

    return world


def _clustered(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        prompts = JUDGED // 4
        hard = np.repeat(random.beta(1.2, 0.8, prompts), 4)
        truth = (random.random(len(hard)) < hard).astype(np.float64)
        judge = np.where(random.random(len(hard)) < quality, truth, 1 - truth)
        of = np.repeat(np.arange(prompts), 4)
        drawn = (4 * np.arange(labels // 2)[:, None] + np.arange(2)).ravel()
        sample = Sample(truth[drawn].tolist(), judge[drawn].tolist(), judge.tolist(), None, of[drawn], of)  # type: ignore[arg-type]
        found = corrected_mean(sample)
        return found.estimate, found.alone, 0.6

    return world


def _category(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        normal = random.normal(size=(2, JUDGED))
        of = np.arange(JUDGED) % 4
        truth = _grade(6.5 + 1.8 * normal[0])
        judge = _grade(6.9 + 0.4 * of + 1.8 * (quality * normal[0] + np.sqrt(1 - quality**2) * normal[1]))
        drawn = np.arange(labels)
        power = slope_within(truth[drawn].tolist(), judge[drawn].tolist(), of[drawn], drawn)  # type: ignore[arg-type]
        own = drawn[of[drawn] == 0]
        found = corrected_mean(_sample(truth[own], judge[own], judge[of == 0]), power=power)
        return found.estimate, found.alone, _GRADE

    return world


def _errors(quality: float) -> World:
    def world(random: np.random.Generator, labels: int) -> Made:
        positive = int(random.binomial(JUDGED, TRUE * quality + (1 - TRUE) * (1 - quality)))
        half = labels // 2
        right = [(int(random.binomial(half, quality)), half) for _ in range(2)]
        alone = proportion(int(random.binomial(labels, TRUE)), labels)
        found = true_share(positive, JUDGED, *right)
        # Where a coin is as good as the judge, the honest interval is all there is.
        return found.estimate or Estimate(0.5, 0.0, 1.0, JUDGED, labels, "nothing is known"), alone, TRUE

    return world


def _sample(labels: Array, beside: Array, judged: Array, chances: Array | None = None) -> Sample:
    return Sample(labels, beside, judged, chances)  # type: ignore[arg-type]


CELLS: dict[str, Callable[[float], World]] = {
    "share": _share,
    "score": _score,
    "difference": _difference,
    "category": _category,
    "graded": _graded,
    "uncertain": _uncertain,
    "clustered": _clustered,
    "slips": _slips,
    "errors": _errors,
}


def table_of(cells: Sequence[Cell]) -> str:
    """Cells as a table in Markdown."""
    lines = ["| what | judge | labels | covers | 95 % | labels alone | width, of labels alone | |", "|" + "---|" * 8]
    for cell in cells:
        held = proportion(cell.covered, cell.draws)
        said = "wider" if cell.ratio > 1.02 else ""
        lines.append(
            f"| {cell.what} | {cell.quality:g} | {cell.labels} | {held.mean:.3f} | [{held.low:.3f}, {held.high:.3f}] | "
            f"{cell.alone / cell.draws:.3f} | {cell.ratio:.2f} | {said} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corrected")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=sorted(CELLS), default=list(CELLS))
    parser.add_argument("--out", type=Path, help=f"the file of results, such as {RESULTS.name}; cells in it are kept")
    given = parser.parse_args(arguments)
    kept: list[dict[str, Any]] = json.loads(given.out.read_text()) if given.out and given.out.is_file() else []
    cells = [Cell(**each) for each in kept if each["what"] not in given.only or each["draws"] == given.draws]
    done = {(cell.what, cell.labels, cell.quality) for cell in cells}
    for what in given.only:
        for quality in QUALITIES:
            for labels in LABELS:
                if (what, labels, quality) in done:
                    continue
                cells.append(measure(what, labels, quality, given.draws))
                cells.sort(key=lambda cell: (list(CELLS).index(cell.what), cell.quality, cell.labels))
                if given.out:
                    given.out.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")
    print(table_of(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
