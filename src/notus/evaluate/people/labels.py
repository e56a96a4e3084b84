"""Labels of people beside scores of runs: a sheet of answers drawn for labelling, and what came back filled in.

A row of a sheet is one answer: its evaluation, arm, seed, prompt and sample, the chance that its prompt had to be
drawn, the texts, and an empty ``label``. Labels are numbers on the people's own scale, or yes and no; several of one
answer are averaged. The judge's score is not in the sheet, as it would lead who labels. Owns the sheet, as CSV or JSON
lines, and finding its answers again. What is made of the labels is owned by ``evaluate.people.correct``.
"""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from notus.core.disk.named import check_named_file
from notus.core.errors import DataError, InputError, cannot_write
from notus.core.run import atomic
from notus.core.text import counted, guard_formula, read_guarded
from notus.evaluate.compare import Score
from notus.stats.corrected.draw import chances_of, draw, uncertainty_of

__all__ = [
    "COLUMNS",
    "Drawing",
    "Elsewhere",
    "Label",
    "Labels",
    "Read",
    "draw_sheet",
    "match_labels",
    "read_categories",
    "read_labels",
    "write_sheet",
]

COLUMNS = ("evaluation", "arm", "seed", "prompt_id", "sample", "chance", "prompt", "answer", "label")
_NEEDED = ("prompt_id", "label")
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_LONGEST = 2**27
"""Characters of a cell: an answer may be longer than what ``csv`` takes by itself."""
Texts = Mapping[tuple[str, int, str, int], tuple[str, str]]
"""(arm, seed, prompt, sample) → the text of the prompt, and of the answer."""


@dataclass(frozen=True)
class Label:
    """One row of a sheet that is filled in."""

    prompt_id: str
    value: float
    evaluation: str = ""
    arm: str = ""
    seed: int | None = None
    sample: int | None = None
    chance: float | None = None
    judge: float | None = None
    """What the judge says, of an answer that is none of the runs'."""
    line: int = 0


@dataclass(frozen=True)
class Elsewhere:
    """Labels of answers that are not of the runs, with the judge's own yes or no: they tell its error rates."""

    right_yes: tuple[int, int]
    """Of those that people call good, how many the judge calls good, and all."""
    right_no: tuple[int, int]


@dataclass(frozen=True)
class Labels:
    """Labels of the answers of one evaluation."""

    values: Mapping[tuple[str, int, str, int], float]
    """(arm, seed, prompt, sample) → the mean of what people said of the answer."""
    chances: Mapping[str, float] | None
    """Prompt → the chance with which it was drawn; None where all are alike."""
    unmatched: int = 0
    """Labels of answers that none of the runs has."""
    repeated: int = 0
    """Labels beyond the first of an answer, which went into its mean."""
    unscored: int = 0
    """Labels of answers that the judge gave no score."""
    elsewhere: Elsewhere | None = None
    others: int = 0
    """Labels of answers that are none of the runs', with what the judge says of them."""


@dataclass(frozen=True)
class Read:
    """What a file of labels holds."""

    labels: tuple[Label, ...]
    empty: int
    """Rows that nobody has filled in."""


@dataclass(frozen=True)
class Drawing:
    """What was drawn for labelling."""

    rows: tuple[dict[str, Any], ...]
    prompts: int
    of: int
    """Prompts that could be drawn."""
    left_out: int = 0
    """Prompts that not all arms have a score for."""
    without_text: int = 0
    """Rows without the texts of prompt and answer."""
    even: bool = False
    """Whether the judge is as unsure of one prompt as of another, so that a draw by uncertainty is one at random."""


def draw_sheet(
    scores: Mapping[str, Sequence[Score]],
    n: int,
    *,
    by: Literal["random", "uncertainty"] = "random",
    seed: int = 0,
    texts: Texts | None = None,
) -> Drawing:
    """Draw prompts for labelling: of each, one answer of every arm, under a seed and sample that all of them have.

    Args:
        scores: evaluation → scores; there is one.
        n: prompts.
        by: ``uncertainty`` draws prompts more often where the judge is unsure: with one arm where its score lies in the
            middle, with several where their scores are near each other.
        seed: of the draw.
        texts: of the answers, where they are known.

    Raises:
        DataError: if there are several evaluations, or no prompt that all arms have a score for.
    """
    if len(scores) != 1:
        raise DataError(f"the runs hold {len(scores)} evaluations ({', '.join(scores)}); name one by --only")
    ((evaluation, rows),) = scores.items()
    cells: dict[str, dict[tuple[int, int], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    arms = list(dict.fromkeys(row.arm for row in rows))
    for row in rows:
        if row.value is not None:
            cells[row.prompt_id][row.seed, row.sample][row.arm] = row.value
    whole = {
        prompt: {place: of for place, of in places.items() if len(of) == len(arms)} for prompt, places in cells.items()
    }
    prompts = sorted(prompt for prompt, places in whole.items() if places)
    if not prompts:
        raise DataError(f"no prompt has a score of all arms ({', '.join(arms)}) under the same seed and sample")
    unsure = _unsure([_means(whole[prompt]) for prompt in prompts]) if by == "uncertainty" else [1.0] * len(prompts)
    even = by == "uncertainty" and len(set(unsure)) == 1
    chances = chances_of(unsure, n)
    random = Random(seed)
    found: list[dict[str, Any]] = []
    bare = 0
    for place in draw(chances.tolist(), seed).tolist():
        prompt = prompts[place]
        under, sample = random.choice(sorted(whole[prompt]))
        for arm in random.sample(arms, len(arms)):
            text = (texts or {}).get((arm, under, prompt, sample), ("", ""))
            bare += not text[1]
            values = (evaluation, arm, under, prompt, sample, round(float(chances[place]), 6), *text, "")
            found.append(dict(zip(COLUMNS, values, strict=True)))
    everything = len({row.prompt_id for row in rows})
    return Drawing(tuple(found), n, len(prompts), everything - len(prompts), bare, even)


def write_sheet(path: Path, rows: Iterable[Mapping[str, Any]], *, force: bool = False) -> None:
    """Write a sheet as CSV or, by its name, as JSON lines.

    Raises:
        InputError: if the file is there already, or has another ending.
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise InputError(f"{path}: a sheet is written as .csv or .jsonl; choose another --out")
    check_named_file(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            if path.suffix == ".csv":
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(
                    {key: guard_formula(value) if isinstance(value, str) else value for key, value in row.items()}
                    for row in rows
                )
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except OSError as error:
        raise cannot_write(path, error) from None


def read_labels(path: Path) -> Read:
    """Read a sheet that was filled in. ``prompt_id`` and ``label`` are needed; what else is missing is not asked about.

    Raises:
        InputError: if it cannot be read, or a row is no label.
    """
    labels: list[Label] = []
    empty = 0
    for number, row in _rows(path):
        if missing := [name for name in _NEEDED if name not in row]:
            raise InputError(f"{path}:{number}: no column '{missing[0]}'; a row of labels has {', '.join(_NEEDED)}")
        told = row["label"]
        if told is None or str(told).strip() == "":
            empty += 1
            continue
        where = f"{path}:{number}"
        labels.append(
            Label(
                prompt_id=read_guarded(str(row["prompt_id"])),
                value=_number(told, "label", where) or 0.0,
                evaluation=read_guarded(str(row.get("evaluation") or "")),
                arm=read_guarded(str(row.get("arm") or "")),
                seed=_whole(row.get("seed"), "seed", where),
                sample=_whole(row.get("sample"), "sample", where),
                chance=_chance(row.get("chance"), where),
                judge=_number(row.get("judge"), "judge", where),
                line=number,
            )
        )
    if not labels:
        raise InputError(f"{path}: none of its {counted(empty, 'row')} has a label; fill in the column 'label'")
    return Read(tuple(labels), empty)


def read_categories(path: Path) -> dict[str, str]:
    """The category of each prompt: rows with ``prompt_id`` and ``category``, as CSV or JSON lines.

    Raises:
        InputError: if it cannot be read, a column is missing, or a prompt has two categories.
    """
    found: dict[str, str] = {}
    for number, row in _rows(path):
        if missing := [name for name in ("prompt_id", "category") if not row.get(name)]:
            raise InputError(f"{path}:{number} has no {missing[0]}; a row has prompt_id and category")
        prompt, category = read_guarded(str(row["prompt_id"])), read_guarded(str(row["category"]))
        if found.setdefault(prompt, category) != category:
            raise InputError(f"{path}:{number}: prompt {prompt} is '{category}' here and '{found[prompt]}' before")
    if not found:
        raise InputError(f"{path} holds no row; a row has prompt_id and category")
    return found


def match_labels(evaluation: str, scores: Sequence[Score], labels: Iterable[Label]) -> Labels:
    """Find the answers that labels are on.

    A label that names no arm, seed or sample is on the answer that has the others, where there is only one.

    Raises:
        DataError: if a label may be on several answers, only some labels have a chance, or a prompt has two.
    """
    by_prompt: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_prompt[score.prompt_id].append(score)
    said: dict[tuple[str, int, str, int], list[float]] = defaultdict(list)
    chances: dict[str, float] = {}
    unmatched = unscored = without = 0
    others: list[Label] = []
    for label in labels:
        if label.evaluation not in ("", evaluation):
            continue
        fits = [score for score in by_prompt.get(label.prompt_id, ()) if _fits(label, score)]
        if len(fits) > 1:
            raise DataError(
                f"the label of line {label.line} may be on {len(fits)} answers to prompt {label.prompt_id}; give it "
                "arm, seed and sample"
            )
        if not fits:
            others.append(label)
            unmatched += label.judge is None
            continue
        (score,) = fits
        if score.value is None:
            unscored += 1
            continue
        said[score.arm, score.seed, score.prompt_id, score.sample].append(label.value)
        without += label.chance is None
        if label.chance is not None and chances.setdefault(label.prompt_id, label.chance) != label.chance:
            raise DataError(
                f"line {label.line}: prompt {label.prompt_id} was drawn with the chance {label.chance:g} here, and "
                f"with {chances[label.prompt_id]:g} before; a prompt has one"
            )
    if chances and without:
        raise DataError(f"{counted(without, 'label')} have no chance, and others have one; give it to all or to none")
    weighted = len({round(chance, 5) for chance in chances.values()}) > 1
    return Labels(
        values={key: math.fsum(values) / len(values) for key, values in said.items()},
        chances=chances if weighted else None,
        unmatched=unmatched,
        repeated=sum(len(values) - 1 for values in said.values()),
        unscored=unscored,
        elsewhere=_elsewhere(told := [label for label in others if label.judge is not None]),
        others=len(told),
    )


def _elsewhere(labels: Sequence[Label]) -> Elsewhere | None:
    """The judge's error rates on other answers; None where one of the two kinds is missing.

    Raises:
        DataError: if a label or a score of the judge is neither 0 nor 1.
    """
    for label in labels:
        if label.value not in (0, 1) or label.judge not in (0, 1):
            raise DataError(
                f"line {label.line}: label {label.value:g} and judge {label.judge:g} of an answer that is none of the "
                "runs'; error rates are made of yes (1) and no (0)"
            )
    good = [label.judge == 1 for label in labels if label.value == 1]
    bad = [label.judge == 0 for label in labels if label.value == 0]
    return Elsewhere((sum(good), len(good)), (sum(bad), len(bad))) if good and bad else None


def _means(places: Mapping[tuple[int, int], Mapping[str, float]]) -> list[float]:
    """Mean score of each arm on a prompt."""
    arms = next(iter(places.values()))
    return [math.fsum(of[arm] for of in places.values()) / len(places) for arm in arms]


def _unsure(means: Sequence[Sequence[float]]) -> list[float]:
    """How unsure a judge is of each prompt."""
    if len(means[0]) == 1:
        return [float(value) for value in uncertainty_of([of[0] for of in means])]
    gaps = [max(of) - min(of) for of in means]
    widest = max(gaps)
    return [1.0 - 0.9 * gap / widest if widest else 1.0 for gap in gaps]


def _fits(label: Label, score: Score) -> bool:
    return label.arm in ("", score.arm) and label.seed in (None, score.seed) and label.sample in (None, score.sample)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read {path}: {reason}") from None
    if path.suffix == ".jsonl":
        # Not splitlines: a line separator of Unicode within a text ends no line of JSON.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{path}:{number} is no JSON ({error})") from None
                if not isinstance(row, dict):
                    raise InputError(f"{path}:{number} is {line[:40]!r}; a line is an object with {', '.join(_NEEDED)}")
                yield number, row
        return
    csv.field_size_limit(_LONGEST)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key is not None}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num} is no row of CSV ({error})") from None


def _number(told: Any, name: str, where: str) -> float | None:
    if told is None or str(told).strip() == "":
        return None
    text = str(told).strip().lower()
    try:
        value = _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        raise InputError(f"{where}: {name} is {str(told)!r}; a number, yes or no is needed") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is {str(told)!r}; a finite number is needed")
    return value


def _whole(told: Any, name: str, where: str) -> int | None:
    value = _number(told, name, where)
    if value is not None and value != int(value):
        raise InputError(f"{where}: {name} is {told!r}; a whole number is needed")
    return None if value is None else int(value)


def _chance(told: Any, where: str) -> float | None:
    value = _number(told, "chance", where)
    if value is not None and not 0 < value <= 1:
        raise InputError(f"{where}: chance is {value:g}; it lies above 0 and is at most 1")
    return value
