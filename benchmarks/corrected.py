"""Do the intervals of corrected judges hold? ``python -m benchmarks.corrected [--draws 10000] [--only NAME …]``

Each cell draws answers whose truth is known, a judge of a given quality, and labels, and asks how often the 95 %
interval holds the truth, and how wide it is beside that of the labels alone. Cells are (what is estimated) × (labels) ×
(quality of the judge). What is estimated:

    share        yes or no, the judge right with the chance of its quality
    score        1 to 10 by people; the judge's correlates with it by its quality, and lies .8 higher
    difference   of two arms on the same prompts, each yes or no, hard prompts hard for both
    category     score in one of four categories, each with an offset of its own and a fourth of the labels
    graded       yes or no, and the judge says how sure it is: its score is a chance that comes true
    uncertain    graded, the uncertain labelled more often (``stats.corrected.draw``)
    clustered    difference, four answers to a prompt, of which two are labelled
    slips        score, but the judge says what people say with the chance of its quality, else anything
    errors       share by Rogan and Gladen: both error rates from labels of *other* answers, half of them good

Ten thousand draws of a cell are computed at once, as plainly as the equations are written; of each cell the first draws
are given to ``notus.stats.corrected`` too, and the benchmark ends with an error where the two differ. The table is that
of ``docs/corrected.md``; results go to ``benchmarks/results/corrected.json``. Seeded by cell.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from notus.stats.corrected.draw import chances_of, draw, uncertainty_of
from notus.stats.corrected.mean import Sample, corrected_mean, slope_within
from notus.stats.corrected.misclassification import true_share
from notus.stats.corrected.strata import Stratum, distance_from, share_in_strata
from notus.stats.distributions import t_quantile
from notus.stats.intervals import proportion

__all__ = ["CELLS", "LABELS", "QUALITIES", "Cell", "main", "measure", "table_of"]

Array = NDArray[np.float64]
JUDGED = 2000
LABELS = (50, 200, 800)
QUALITIES = (0.6, 0.8, 0.95)
TRUE = 0.6
RESULTS = Path(__file__).parent / "results" / "corrected.json"
_AT_ONCE = 500
_CHECKED = 5
"""Draws of a cell that the library computes too."""
_SHOWN = 300
"""Draws of which an interval by inversion is made whole, for its width."""
_MANY = 2_000_000
_WIDER = 1.02
_Z2 = NormalDist().inv_cdf(0.975) ** 2


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

    @property
    def ratio(self) -> float:
        """Mean width over that of the labels alone."""
        return self.width / self.alone_width


@dataclass(frozen=True)
class Drawn:
    """Some draws of a world, a row each: labels, the judge on them, the judge on all, of which those are the first."""

    labels: Array
    beside: Array
    judged: Array
    truth: float
    chances: Array | None = None
    per_prompt: int = 1
    """Labels of a prompt, which stand together."""
    answers_per_prompt: int = 1
    power: Array | None = None
    """λ, where it is pooled."""
    plain: Array | None = None
    """Labels of as many answers drawn at random, to compare with."""


Intervals = tuple[Array, Array]
"""Lower and upper ends, a draw each."""
World = Callable[[np.random.Generator, int, float, int], Drawn]
"""(random, labels, quality, draws) → as many draws."""


def measure(what: str, labels: int, quality: float, draws: int) -> Cell:
    """Draw a cell so many times. The same arguments give the same cell."""
    random = np.random.default_rng([labels, round(100 * quality), *what.encode()])
    covered = alone = done = 0
    width = alone_width = 0.0
    for (low, high), (from_, to), truth in CELLS[what](random, labels, quality, draws):
        inside = np.isnan(low) | ((low <= truth) & (truth <= high))
        covered += int(inside.sum())
        alone += int(((from_ <= truth) & (truth <= to)).sum())
        width += float(np.sum(high - low))
        alone_width += float(np.sum(to - from_))
        done += len(low)
    return Cell(what, labels, quality, done, covered, alone, width / done, alone_width / done)


Chunks = Iterator[tuple[Intervals, Intervals, float]]


def _by_world(world: World) -> Callable[[np.random.Generator, int, float, int], Chunks]:
    def chunks(random: np.random.Generator, labels: int, quality: float, draws: int) -> Chunks:
        for start in range(0, draws, _AT_ONCE):
            drawn = world(random, labels, quality, min(_AT_ONCE, draws - start))
            found, alone = _corrected(drawn), _alone(drawn)
            if start == 0:
                _compare(drawn, found, alone)
            yield found, alone, drawn.truth

    return chunks


def _corrected(drawn: Drawn) -> Intervals:
    """The intervals, by the equations of ``stats.corrected.mean``."""
    y, f, all_f = drawn.labels, drawn.beside, drawn.judged
    n, count = y.shape[1], all_f.shape[1]
    weights = np.full(y.shape, 1 / n) if drawn.chances is None else 1 / drawn.chances
    weights = weights / weights.sum(axis=1, keepdims=True)
    mean, at, whole = (weights * y).sum(axis=1), (weights * f).sum(axis=1), all_f.mean(axis=1)
    off = f - at[:, None]
    spread = (weights * off**2).sum(axis=1)
    power = (weights * off * (y - mean[:, None])).sum(axis=1) / spread if drawn.power is None else drawn.power
    left = y - mean[:, None] - power[:, None] * off
    pull = weights * (1 + ((whole - at) / spread)[:, None] * off) if drawn.power is None else weights
    lost = 2 if drawn.power is None else 1
    own = pull * left * np.sqrt(n / (n - lost))
    others = (power / count)[:, None] * (all_f - whole[:, None])
    point = mean + power * (whole - at)
    groups = n // drawn.per_prompt
    if drawn.per_prompt > 1:
        others = others.reshape(len(y), -1, drawn.answers_per_prompt).sum(axis=2)
        others[:, :groups] += own.reshape(len(y), groups, -1).sum(axis=2)
        square = (others**2).sum(axis=1)
    else:
        square = (own**2).sum(axis=1) + (others**2).sum(axis=1)
    if drawn.per_prompt == 1 and ((y == 0) | (y == 1)).all():
        return _wilson(point, (own**2).sum(axis=1), (others**2).sum(axis=1))
    error = np.sqrt(groups / (groups - 1) * (1 - 1 / n) * square)
    half = t_quantile(0.975, groups - lost) * error
    return point - half, point + half


def _wilson(point: Array, of_labels: Array, of_judge: Array) -> Intervals:
    a = of_labels / (point * (1 - point))
    scale = 1 + _Z2 * a
    centre = (point + _Z2 * a / 2) / scale
    half = np.sqrt(centre**2 - (point**2 - _Z2 * of_judge) / scale)
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def _alone(drawn: Drawn) -> Intervals:
    """The intervals of labels alone."""
    y = drawn.labels if drawn.plain is None else drawn.plain
    n = y.shape[1]
    mean = y.mean(axis=1)
    if drawn.per_prompt == 1 and ((y == 0) | (y == 1)).all():
        return _wilson(np.clip(mean, 1e-12, 1 - 1e-12), np.clip(mean * (1 - mean), 1e-12, None) / n, np.zeros(len(y)))
    groups = n // drawn.per_prompt
    sums = (y - mean[:, None]).reshape(len(y), groups, -1).sum(axis=2)
    half = t_quantile(0.975, groups - 1) * np.sqrt(groups / (groups - 1) * (sums**2).sum(axis=1)) / n
    return mean - half, mean + half


def _compare(drawn: Drawn, found: Intervals, alone: Intervals) -> None:
    """Hold the first draws against the library."""
    clusters = None
    judged_clusters = None
    if drawn.per_prompt > 1:
        clusters = np.arange(drawn.labels.shape[1]) // drawn.per_prompt
        judged_clusters = np.arange(drawn.judged.shape[1]) // drawn.answers_per_prompt
    for i in range(min(_CHECKED, len(drawn.labels))):
        chances = None if drawn.chances is None else drawn.chances[i]
        sample: Any = (drawn.labels[i], drawn.beside[i], drawn.judged[i], chances, clusters, judged_clusters)
        made = corrected_mean(Sample(*sample), power=None if drawn.power is None else float(drawn.power[i]))
        pairs = [(made.estimate, found)] + ([(made.alone, alone)] if drawn.plain is None else [])
        for ours, (low, high) in pairs:
            if ours is None or not np.allclose([ours.low, ours.high], [low[i], high[i]], rtol=0, atol=1e-9):
                raise SystemExit(f"the plain computation gives [{low[i]}, {high[i]}], the library {ours}")


def _share(random: np.random.Generator, labels: int, quality: float, draws: int) -> Chunks:
    """Yes and no by both: counts say it all."""
    good, bad = TRUE * quality, (1 - TRUE) * (1 - quality)
    counts = random.multinomial(labels, [good, TRUE - good, bad, 1 - TRUE - bad], size=draws)
    rest = random.binomial(JUDGED - labels, good + bad, size=draws)
    ends = np.array([_one_share(row, more) for row, more in zip(counts.tolist(), rest.tolist(), strict=True)])
    _compare_share(counts[0].tolist(), int(rest[0]), ends[0])
    yield (ends[:, 0], ends[:, 1]), (ends[:, 2], ends[:, 3]), TRUE


def _one_share(counts: list[int], rest: int) -> tuple[float, float, float, float]:
    both, people, judge, none = counts
    n = both + people + judge + none
    share = (both + judge + rest) / JUDGED
    said_yes, said_no = both + judge, people + none
    power = both / said_yes - people / said_no
    strata = (Stratum(1 - share, said_no, people), Stratum(share, said_yes, both))
    _, low, high = share_in_strata(strata, power**2 * share * (1 - share) / JUDGED)
    alone = proportion(both + people, n)
    return low, high, alone.low, alone.high


def _compare_share(counts: list[int], rest: int, ends: Array) -> None:
    """Hold a draw against the library, which is given answers and no counts."""
    judge = np.repeat([1.0, 0.0, 1.0, 0.0], counts)
    others = np.repeat([1.0, 0.0], [rest, JUDGED - len(judge) - rest])
    sample: Any = (np.repeat([1.0, 1.0, 0.0, 0.0], counts), judge, np.concatenate([judge, others]))
    made = corrected_mean(Sample(*sample)).estimate
    if made is None or not np.allclose([made.low, made.high], ends[:2], rtol=0, atol=1e-6):
        raise SystemExit(f"the plain computation gives {ends}, the library {made}")


def _errors(random: np.random.Generator, labels: int, quality: float, draws: int) -> Chunks:
    """Whether the truth is inside is asked of each draw; the first ones give the width."""
    half = labels // 2
    positive = random.binomial(JUDGED, TRUE * quality + (1 - TRUE) * (1 - quality), size=draws)
    yes, no = random.binomial(half, quality, size=(2, draws))
    alone = np.array(
        [(made.low, made.high) for made in (proportion(int(x), labels) for x in random.binomial(labels, TRUE, draws))]
    )
    inside = np.empty(draws, dtype=bool)
    for i in range(draws):
        q = positive[i] / JUDGED
        strata = (Stratum(TRUE, half, int(yes[i])), Stratum(1 - TRUE, half, half - int(no[i])))
        inside[i] = distance_from(strata, q, q * (1 - q) / JUDGED) <= _Z2
    widths = []
    for i in range(min(_SHOWN, draws)):
        found = true_share(int(positive[i]), JUDGED, (int(yes[i]), half), (int(no[i]), half)).estimate
        widths.append(1.0 if found is None else found.width)
        if found is not None and inside[i] and not found.low - 1e-4 <= TRUE <= found.high + 1e-4:
            raise SystemExit(f"the test holds {TRUE}, and the interval is {found}")
    mean = float(np.mean(widths))
    low = np.where(inside, TRUE - mean / 2, TRUE + 1)  # of the mean width, around or beside the truth
    yield (low, low + mean), (alone[:, 0], alone[:, 1]), TRUE


def _grade(values: Array) -> Array:
    return np.clip(np.round(values), 1, 10)


_GRADE = float(_grade(6.5 + 1.8 * np.random.default_rng(1).normal(size=2 * _MANY)).mean())
"""Mean of the people's grades."""


def _score(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    normal = random.normal(size=(2, draws, JUDGED))
    judge = _grade(7.3 + 1.8 * (quality * normal[0] + np.sqrt(1 - quality**2) * normal[1]))
    return Drawn(_grade(6.5 + 1.8 * normal[0, :, :labels]), judge[:, :labels], judge, _GRADE)


def _slips(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    truth, other = _grade(6.5 + 1.8 * random.normal(size=(2, draws, JUDGED)))
    judge = np.where(random.random((draws, JUDGED)) < quality, truth, other)
    return Drawn(truth[:, :labels], judge[:, :labels], judge, _GRADE)


def _category(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    """The first of four categories; the other three only help to find the slope."""
    each, of_category = labels // 4, JUDGED // 4
    normal = random.normal(size=(2, draws, of_category))
    judge = _grade(6.9 + 1.8 * (quality * normal[0] + np.sqrt(1 - quality**2) * normal[1]))
    y, f = _grade(6.5 + 1.8 * normal[0, :, :each]), judge[:, :each]
    more = random.normal(size=(2, draws, 3, each))
    other_y = _grade(6.5 + 1.8 * more[0])
    offsets = np.array([7.3, 7.7, 8.1])[:, None]
    other_f = _grade(offsets + 1.8 * (quality * more[0] + np.sqrt(1 - quality**2) * more[1]))
    all_y, all_f = (np.concatenate([a[:, None], b], axis=1) for a, b in ((y, other_y), (f, other_f)))
    dy, df = (a - a.mean(axis=2, keepdims=True) for a in (all_y, all_f))
    power = (dy * df).sum(axis=(1, 2)) / (df**2).sum(axis=(1, 2))
    groups = np.repeat(np.arange(4), each)
    ours: Any = (all_y[0].ravel(), all_f[0].ravel(), groups)
    if not np.isclose(slope_within(*ours), power[0]):
        raise SystemExit("the plain slope and the library's differ")
    return Drawn(y, f, judge, _GRADE, power=power)


def _difference(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    hard = 0.8 * (random.random((draws, JUDGED)) + random.random((draws, JUDGED))) / 2
    return _two_arms(random, hard, labels, quality)


def _two_arms(random: np.random.Generator, hard: Array, labels: int, quality: float) -> Drawn:
    true = 0.08
    arms = [(random.random(hard.shape) < hard + lift).astype(np.float64) for lift in (true + 0.05, 0.05)]
    judged = [np.where(random.random(hard.shape) < quality, arm, 1 - arm) for arm in arms]
    truth, judge = arms[0] - arms[1], judged[0] - judged[1]
    return Drawn(truth[:, :labels], judge[:, :labels], judge, true)


def _clustered(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    """Prompts differ in which arm they suit: half of them lift the one by .5."""
    prompts = JUDGED // 4
    lift = np.repeat(random.choice([-0.2, 0.3], size=(draws, prompts)), 4, axis=1)
    sides = (0.35 + lift, np.full(lift.shape, 0.3))
    arms = [(random.random(lift.shape) < side).astype(np.float64) for side in sides]
    judged = [np.where(random.random(lift.shape) < quality, arm, 1 - arm) for arm in arms]
    truth, judge = arms[0] - arms[1], judged[0] - judged[1]
    drawn = (4 * np.arange(labels // 2)[:, None] + np.arange(2)).ravel()
    return Drawn(truth[:, drawn], judge[:, drawn], judge, 0.1, per_prompt=2, answers_per_prompt=4)


def _graded_pair(random: np.random.Generator, quality: float, size: tuple[int, ...]) -> tuple[Array, Array]:
    """A yes or no, and a score that is the chance of the yes: right at ½ with the chance of the quality, on average."""
    b = (1 - quality) / (2 * quality - 1)  # sureness between ½ and 1 is Beta(1, 2b), with the mean that is asked for
    sure = 0.5 + 0.5 * (1 - (1 - random.random(size)) ** (1 / (2 * b)))
    score = np.where(random.random(size) < TRUE, sure, 1 - sure)
    return (random.random(size) < score).astype(np.float64), score


def _graded_truth(quality: float) -> float:
    return float(_graded_pair(np.random.default_rng(0), quality, (_MANY,))[1].mean())


def _graded(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    truth, judge = _graded_pair(random, quality, (draws, JUDGED))
    return Drawn(truth[:, :labels], judge[:, :labels], judge, _graded_truth(quality))


def _uncertain(random: np.random.Generator, labels: int, quality: float, draws: int) -> Drawn:
    truth, judge = _graded_pair(random, quality, (draws, JUDGED))
    chances = np.stack([chances_of(uncertainty_of(row).tolist(), labels) for row in judge])
    places = np.stack(
        [draw(row, int(seed)) for row, seed in zip(chances, random.integers(2**31, size=draws), strict=True)]
    )
    y, f, pi = (np.take_along_axis(table, places, axis=1) for table in (truth, judge, chances))
    return Drawn(y, f, judge, _graded_truth(quality), chances=pi, plain=truth[:, :labels])


CELLS: dict[str, Callable[[np.random.Generator, int, float, int], Chunks]] = {
    "share": _share,
    "score": _by_world(_score),
    "difference": _by_world(_difference),
    "category": _by_world(_category),
    "graded": _by_world(_graded),
    "uncertain": _by_world(_uncertain),
    "clustered": _by_world(_clustered),
    "slips": _by_world(_slips),
    "errors": _errors,
}


def table_of(cells: Sequence[Cell]) -> str:
    """Cells as a table in Markdown: a row for each kind and quality, coverage and width for each number of labels."""
    known = {(cell.what, cell.quality, cell.labels): cell for cell in cells}
    labels = sorted({cell.labels for cell in cells})
    head = [f"{count} labels: covers | width" for count in labels]
    lines = [f"| what | judge | {' | '.join(head)} |", "|" + "---|" * (2 + 2 * len(labels))]
    for what, quality in dict.fromkeys((cell.what, cell.quality) for cell in cells):
        row = [_shown(known.get((what, quality, count))) for count in labels]
        lines.append(f"| {what} | {quality:g} | {' | '.join(row)} |")
    return "\n".join(lines)


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "– | –"
    wider = " (wider)" if cell.ratio > _WIDER else ""
    return f"{cell.covered / cell.draws:.3f} | {cell.ratio:.2f}{wider}"


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corrected")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=sorted(CELLS), default=list(CELLS))
    parser.add_argument("--out", type=Path, help=f"the file of results, such as {RESULTS.name}; cells in it are kept")
    given = parser.parse_args(arguments)
    kept: list[dict[str, Any]] = json.loads(given.out.read_text()) if given.out and given.out.is_file() else []
    cells = [cell for cell in (Cell(**each) for each in kept) if cell.draws == given.draws]
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
