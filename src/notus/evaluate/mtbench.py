"""The figures of MT-Bench: scores by turn and category with intervals, what was judged twice, and which models differ.

Owns the counting of single gradings, and the comparison of models on the gradings that both have. Pairs of answers that
were judged side by side are the business of ``mtbench_pairs``, the reading of a judgement that of ``mtbench_readers``.

A question is a cluster: its two turns are one conversation, and a bad first answer spoils the second (Miller 2024,
https://arxiv.org/abs/2411.00640). ``asked = scored + unscored`` holds in every row of every table.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from notus.core.errors import ConfigError, nearest
from notus.core.records import Record
from notus.core.statistics import Estimate, clustered_mean, holm, p_value
from notus.evaluate.compare import Pair, Score, compare
from notus.evaluate.mtbench_files import CATEGORIES, Grading, Match, Question, category_of
from notus.evaluate.mtbench_pairs import Outcome, PairFigure, outcomes, pair_figures, repeated_matches
from notus.evaluate.mtbench_readers import Difference, Mode, Read, differences, read_as, reproduced

__all__ = [
    "Cell",
    "Figure",
    "Repeated",
    "Sheet",
    "Versus",
    "cells_of",
    "compared",
    "figures",
    "missing",
    "repeated",
    "score_sheet",
]

_LOWEST, _HIGHEST = 1.0, 10.0
_NOISE = 0.2
"""By how much a second run of the same model before the same judge moves the score (0.16 to 0.2 were seen)."""


@dataclass(frozen=True)
class Cell:
    """One turn of one question, as one judge graded one model; more than one reading where it was judged again."""

    model: str
    judge: str
    question_id: int
    turn: int
    category: str
    reads: tuple[Read, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """What could be read."""
        return tuple(read.score for read in self.reads if read.score is not None)

    @property
    def score(self) -> float | None:
        """The mean of what could be read, so that a turn that was judged again does not count for more."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else None

    @property
    def reason(self) -> str:
        """Why there is no score."""
        return "" if self.scores else self.reads[0].reason


@dataclass(frozen=True)
class Figure:
    """The score of a model before a judge, in a part of the benchmark."""

    model: str
    judge: str
    part: str
    """``all``, ``turn 1``, a category, or ``math, turn 2``."""
    asked: int
    """Gradings: turns of questions in the strict mode, rows of the file in FastChat's."""
    scored: int
    unscored: int
    questions: int
    """Questions with at least one score."""
    mean: float | None
    interval: Estimate | None
    """By questions as clusters; None with fewer than two."""
    worst: float | None
    """The mean if each unscored grading were a 1 …"""
    best: float | None
    """… or a 10."""


class Repeated(Record, frozen=True):
    """A turn that the same judge graded more than once."""

    model: str
    judge: str
    question_id: int
    turn: int
    times: int
    scores: tuple[float, ...]
    """As stored."""
    alike: bool
    """Whether the judgements are the same text, which is one judgement that was kept twice."""


@dataclass(frozen=True)
class Versus:
    """Two models before the same judge, on the turns that both have a score for."""

    judge: str
    pair: Pair
    turns: int
    """Turns that are compared."""
    only_one: int
    """Turns that only one of the two has a score for."""
    p: float | None
    """Of "they are alike", with Holm's correction for all pairs of the comparison."""
    words: tuple[str, ...]
    """The verdict, and what belongs to it."""


@dataclass(frozen=True)
class Sheet:
    """All that follows from a set of judgements."""

    mode: Mode
    gradings: int
    matches: int
    reproduced: tuple[int, int]
    """Stored scores and winners that FastChat's reading gives again, and of how many."""
    cells: tuple[Cell, ...]
    figures: tuple[Figure, ...]
    versus: tuple[Versus, ...]
    differences: tuple[Difference, ...]
    repeated: tuple[Repeated, ...]
    missing: dict[tuple[str, str], int]
    """See ``missing``."""
    outcomes: tuple[Outcome, ...]
    pair_figures: tuple[PairFigure, ...]
    repeated_matches: dict[tuple[str, str, str, int, int], int]


def score_sheet(
    gradings: Sequence[Grading],
    matches: Sequence[Match],
    mode: Mode,
    questions: dict[int, Question] | None = None,
    baseline: str | None = None,
) -> Sheet:
    """Score judgements, of either kind.

    Raises:
        ConfigError: if the baseline is none of the models that were graded.
        DataError: if a question has no category.
    """
    cells = cells_of(gradings, mode, questions)
    found = outcomes(matches, mode, questions)
    return Sheet(
        mode=mode,
        gradings=len(gradings),
        matches=len(matches),
        reproduced=reproduced(gradings, matches),
        cells=tuple(cells),
        figures=tuple(figures(cells, mode)),
        versus=tuple(compared(cells, baseline)) if cells else (),
        differences=tuple(differences(gradings, matches)),
        repeated=tuple(repeated(gradings)),
        missing=missing(cells),
        outcomes=tuple(found),
        pair_figures=tuple(pair_figures(found)),
        repeated_matches=repeated_matches(matches),
    )


def cells_of(gradings: Iterable[Grading], mode: Mode, questions: dict[int, Question] | None = None) -> list[Cell]:
    """Read gradings, and put those of one turn together.

    Args:
        gradings: the rows of one or several files.
        mode: how a judgement is read.
        questions: for the categories; without them they follow from the published numbers.

    Raises:
        DataError: if a question has no category.
    """
    reads: dict[tuple[str, str, int, int], list[Read]] = defaultdict(list)
    for row in gradings:
        reads[row.model, row.judge[0], row.question_id, row.turn].append(read_as(row.judgment, mode))
    return [
        Cell(model, judge, number, turn, category_of(number, questions or {}), tuple(found))
        for (model, judge, number, turn), found in sorted(reads.items())
    ]


def figures(cells: Sequence[Cell], mode: Mode) -> list[Figure]:
    """The scores of each model before each judge: in all, by turn, by category, and by both.

    The strict mode counts each turn once, FastChat's each row, as its ``show_result.py`` does.
    """
    found = []
    for (model, judge), own in _grouped(cells).items():
        turns = sorted({cell.turn for cell in own})
        known = [*CATEGORIES, *sorted({cell.category for cell in own} - CATEGORIES.keys())]
        parts: list[tuple[str, list[Cell]]] = [("all", own)]
        parts += [(f"turn {turn}", [c for c in own if c.turn == turn]) for turn in turns]
        for category in known:
            here = [cell for cell in own if cell.category == category]
            parts.append((category, here))
            parts += [(f"{category}, turn {turn}", [c for c in here if c.turn == turn]) for turn in turns]
        found += [_figure(model, judge, part, of_part, mode) for part, of_part in parts if of_part]
    return found


def missing(cells: Sequence[Cell]) -> dict[tuple[str, str], int]:
    """Model and judge → turns that another model was graded on by that judge, and this one was not."""
    groups = _grouped(cells)
    places = {key: {(cell.question_id, cell.turn) for cell in own} for key, own in groups.items()}
    lost = {}
    for (model, judge), own in places.items():
        everything = set().union(*(those for (_, other), those in places.items() if other == judge))
        if everything - own:
            lost[model, judge] = len(everything - own)
    return lost


def repeated(gradings: Iterable[Grading]) -> list[Repeated]:
    """What the same judge graded more than once: the same question, turn and model."""
    rows: dict[tuple[str, str, int, int], list[Grading]] = defaultdict(list)
    for row in gradings:
        rows[row.model, row.judge[0], row.question_id, row.turn].append(row)
    return [
        Repeated(
            model=model,
            judge=judge,
            question_id=number,
            turn=turn,
            times=len(own),
            scores=tuple(float(row.score) for row in own),
            alike=len({row.judgment for row in own}) == 1,
        )
        for (model, judge, number, turn), own in sorted(rows.items())
        if len(own) > 1
    ]


def compared(cells: Sequence[Cell], baseline: str | None = None) -> list[Versus]:
    """Compare models before the same judge, question by question, each the mean of the turns that both have.

    Args:
        cells: of ``cells_of``.
        baseline: the model that the others are compared with; without it each is compared with each.

    Raises:
        ConfigError: if the baseline is none of the models.
    """
    models = sorted({cell.model for cell in cells})
    if baseline is not None and baseline not in models:
        raise ConfigError(f"the baseline '{baseline}' is none of the models; {nearest(baseline, models)}")
    found = []
    for judge in sorted({cell.judge for cell in cells}):
        scores: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
        for cell in cells:
            if cell.judge == judge and cell.score is not None:
                scores[cell.model][cell.question_id, cell.turn] = cell.score
        for one, other in itertools.combinations(sorted(scores), 2):
            if baseline in (None, one, other):
                a, b = (one, other) if other == baseline else (other, one)
                found.append(_versus(judge, a, b, scores))
    return _with_holm(found)


def _grouped(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.model, cell.judge].append(cell)
    return dict(groups)


def _figure(model: str, judge: str, part: str, cells: Sequence[Cell], mode: Mode) -> Figure:
    if mode == "strict":
        every = [(cell.question_id, cell.score) for cell in cells]
    else:
        every = [(cell.question_id, read.score) for cell in cells for read in cell.reads]
    scored = [(number, score) for number, score in every if score is not None]
    values, lost = [score for _, score in scored], len(every) - len(scored)
    total = math.fsum(values)
    return Figure(
        model=model,
        judge=judge,
        part=part,
        asked=len(every),
        scored=len(scored),
        unscored=lost,
        questions=len({number for number, _ in scored}),
        mean=total / len(scored) if scored else None,
        interval=clustered_mean(values, [number for number, _ in scored]) if scored else None,
        worst=(total + lost * _LOWEST) / len(every) if lost else None,
        best=(total + lost * _HIGHEST) / len(every) if lost else None,
    )


def _versus(judge: str, a: str, b: str, scores: Mapping[str, Mapping[tuple[int, int], float]]) -> Versus:
    shared = sorted(scores[a].keys() & scores[b].keys())
    # Only turns that both have: otherwise a first turn would be held against the mean of both.
    rows = [Score(name, 0, str(number), turn, scores[name][number, turn]) for name in (b, a) for number, turn in shared]
    only_one = len(scores[a].keys() ^ scores[b].keys())
    if not rows:
        pair = Pair(a, b, 0, 0, 0, only_one, None, None, f"{a} and {b} share no grading", None, False, ())
    else:
        (pair,) = compare(rows).pairs
    return Versus(judge, pair, len(shared), only_one, None, ())


def _with_holm(found: Sequence[Versus]) -> list[Versus]:
    raw = [p_value(one.pair.by_prompts) if one.pair.by_prompts else 1.0 for one in found]
    told = []
    for one, p in zip(found, holm(raw), strict=True):
        known = p if one.pair.by_prompts else None
        words = tuple(_words(one, p, len(found)))
        told.append(Versus(one.judge, one.pair, one.turns, one.only_one, known, words))
    return told


def _words(one: Versus, p: float, pairs: int) -> Iterable[str]:
    pair = one.pair
    yield pair.verdict
    if pair.by_prompts is None:
        return
    if pair.better is not None and p >= 0.05:
        yield f"does not survive Holm's correction for {pairs} pairs (p = {p:.2f})"
    if abs(pair.by_prompts.mean) <= _NOISE:
        yield "another run of the same models would move each score by .16 to .2: a difference like this means nothing"
    # That it is one run of each model stands below the table, once for all pairs.
    yield from (remark for remark in pair.remarks if not remark.startswith("one seed"))
    if one.only_one:
        yield f"turns with a score of one model only, which were not compared: {one.only_one}"
