"""Results of recipes as files with their provenance, and the tables that README and docs make of them.

    python -m benchmarks.experiments runs/demo [--commit HASH]   # a finished run → benchmarks/results/recipe-demo.json
    python -m benchmarks.experiments                             # the pages' tables, written anew from those files

A table stands between two comments of its page, and a test fails where the two disagree; without a result the page says
that nothing was measured. A family of differences is
tested together by Holm's correction, on the largest p of the three intervals of each.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import README, RESULTS, placed
from notus.core.run import read_manifest
from notus.evaluate.compare import ArmPair, Comparison, compare
from notus.recipes.experiment import Experiment
from notus.stats.intervals import Estimate, holm, p_value

__all__ = ["PAGES", "Page", "make", "measured", "number", "result_of", "write_pages"]

ROOT = README.parent
Result = dict[str, Any]
_LIMIT = 0.05
_JUDGES = ("answers", "aspects", "length")
"""What the judges of the map confuse."""
_RULES = {"random": "a random lower one", "lowest": "the lowest"}
_TAUGHT = "DPO with refusal pairs"
_FAMILIES: dict[str, list[tuple[str, str, str]]] = {
    "demo": [
        ("success", a, b)
        for a, b in (
            ("DPO on faulty critique", "SFT"),
            ("DPO on repaired critique", "SFT"),
            ("DPO on mean rating", "SFT"),
            ("DPO on repaired critique", "DPO on faulty critique"),
            ("DPO on mean rating", "DPO on faulty critique"),
            ("DPO on mean rating", "DPO on repaired critique"),
        )
    ],
    "open-question-map": [
        ("success", f"{judge} · mean · {rule}", f"{judge} · repaired · {rule}") for judge in _JUDGES for rule in _RULES
    ],
    "guardrails": [
        (step, _TAUGHT, other)
        for step in ("off-limits", "look-alikes", "plain")
        for other in ("DPO on feedback", "words before DPO", "classifier before DPO")
    ],
}
"""Recipe → (evaluation, arm, other arm): the differences that its page speaks of, tested together."""


def measured(run: Path, commit: str) -> Result:
    """What a finished run of a recipe found: arms, the differences of its family, fault finders, where it is from."""
    experiment = Experiment.read(run)
    scores = experiment.scores()
    arms = {step: {arm.name: _arm(arm) for arm in found.arms} for step, found in _comparisons(scores).items()}
    family = [
        (step, _difference(scores[step], a, b))
        for step, a, b in _FAMILIES.get(experiment.name, [])
        if {a, b} <= arms.get(step, {}).keys()
    ]
    adjusted = holm([max(p_value(side) for side in _sides(pair)) for _, pair in family])
    last = read_manifest(next(reversed(experiment.folders())))
    return {
        "recipe": experiment.name,
        "commit": commit,
        "finished": last["finished"],
        "machine": last["machine"],
        "versions": last["versions"],
        "seeds": sorted({seed for seeds in experiment.arms.values() for seed in seeds}),
        "arms": arms,
        "differences": [_told(step, pair, p) for (step, pair), p in zip(family, adjusted, strict=True)],
        "finders": {each.finder: _finder(each) for each in experiment.detections()},
    }


def _comparisons(scores: dict[str, Any]) -> dict[str, Comparison]:
    return {step: compare(rows, next(iter({row.arm: None for row in rows}))) for step, rows in scores.items()}


def _difference(rows: Sequence[Any], a: str, b: str) -> ArmPair:
    """The difference a − b alone."""
    return compare([row for row in rows if row.arm in (a, b)], b).pairs[0]


def _sides(pair: ArmPair) -> list[Estimate]:
    return [side for side in (pair.by_prompts, pair.by_seeds, pair.by_both) if side is not None]


def _arm(arm: Any) -> Result:
    known = {"by_prompts": arm.by_prompts, "by_seeds": arm.by_seeds}
    return {
        "n": arm.scored,
        "prompts": arm.prompts,
        "mean": arm.mean,
        **{name: None if side is None else [side.low, side.high] for name, side in known.items()},
    }


def _told(step: str, pair: ArmPair, p: float) -> Result:
    sides = {"by_prompts": pair.by_prompts, "by_seeds": pair.by_seeds, "by_both": pair.by_both}
    widest = pair.interval
    assert widest is not None
    return {
        "of": step,
        "a": pair.a,
        "b": pair.b,
        "mean": widest.mean,
        "widest": [widest.low, widest.high],
        **{name: None if side is None else [side.low, side.high] for name, side in sides.items()},
        "p_holm": p,
        "apart": pair.better is not None,
        "holds": pair.better is not None and p < _LIMIT,
        "cells": pair.shared,
    }


def _finder(found: Any) -> Result:
    return {
        "planted": found.planted,
        "found": found.found,
        **{
            name: None if side is None else [side.mean, side.low, side.high]
            for name, side in (("precision", found.precision), ("recall", found.recall))
        },
    }


def result_of(recipe: str, folder: Path = RESULTS) -> Result:
    """The result file of a recipe."""
    result: Result = json.loads(_place(recipe, folder).read_text(encoding="utf-8"))
    return result


def _place(recipe: str, folder: Path = RESULTS) -> Path:
    return folder / f"recipe-{recipe}.json"


def number(value: float, *, sign: bool = False) -> str:
    """A share as the pages have it, three digits and no leading zero: ``.317``, with a sign ``+.064``, ``−.009``."""
    text = f"{abs(value):.3f}"
    plus = ("−" if value < 0 else "+" if sign else "") if float(text) else ("+" if sign else "")
    return plus + text.removeprefix("0")


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"


def _signed(found: Result) -> str:
    return f"{number(found['mean'], sign=True)} {_interval(found['widest'])}"


def _provenance(result: Result, step: str) -> str:
    n = {arm["n"] for arm in result["arms"][step].values()}
    seeds = result["seeds"]
    which = f"seeds {seeds[0]} to {seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else f"seeds {seeds}"
    note = f" ({result['note']})" if "note" in result else ""
    return f"{which}, n = {' or '.join(map('{:,}'.format, sorted(n)))} answers an arm, at {result['commit'][:7]}{note}"


def _arms_table(result: Result, step: str, head: str) -> Iterator[str]:
    yield f"| arm | {head} | 95 % prompts | 95 % seeds |"
    yield "|---|---|---|---|"
    for name, arm in result["arms"][step].items():
        yield f"| {name} | {number(arm['mean'])} | {_interval(arm['by_prompts'])} | {_interval(arm['by_seeds'])} |"


def _demo(result: Result) -> Iterator[str]:
    """The README's table of the demo, and what it can carry."""
    prompts = next(iter(result["arms"]["success"].values()))["prompts"]
    yield (
        f"Share of answers, sampled at temperature 1 to {prompts} held-out prompts, that pass the exact checker; "
        f"{_provenance(result, 'success')}:"
    )
    yield ""
    yield from _arms_table(result, "success", "success")
    yield ""
    for holds, head in ((True, "Told apart"), (False, "Not distinguishable")):
        said = [
            f"{each['a'].removeprefix('DPO on ')} against {each['b'].removeprefix('DPO on ')} {_signed(each)}"
            for each in result["differences"]
            if each["holds"] == holds
        ]
        if said:
            yield f"- **{head}:** {'; '.join(said)}."
    rule = next(iter(result["finders"].values()))
    precision, recall = ([*map(number, rule[name])] for name in ("precision", "recall"))
    yield (
        f"- The published rule finds the planted faults with a precision of {precision[0]} [{precision[1]}, "
        f"{precision[2]}] and a recall of {recall[0]} [{recall[1]}, {recall[2]}] ({rule['planted']:,} faults)."
    )


def _map(result: Result) -> Iterator[str]:
    """The map of the open question: for each judge and each rule the two scores, their difference, and the verdict."""
    arms = result["arms"]["success"]
    yield f"Share of answers that pass the exact checker; {_provenance(result, 'success')}."
    yield ""
    yield "| judge | rejected | repaired critique | mean rating | mean − repaired | prompts | seeds | p, Holm |"
    yield "|---|---|---|---|---|---|---|---|"
    cells = {(cell["a"], cell["b"]): cell for cell in result["differences"]}
    for judge in _JUDGES:
        for rule, rejected in _RULES.items():
            a, b = f"{judge} · mean · {rule}", f"{judge} · repaired · {rule}"
            cell = cells[a, b]
            repaired, mean = number(arms[b]["mean"]), number(arms[a]["mean"])
            mark = "**" if cell["holds"] else ""
            yield (
                f"| {judge} | {rejected} | {repaired} | {mean} | {mark}{_signed(cell)}{mark} | "
                f"{_interval(cell['by_prompts'])} | {_interval(cell['by_seeds'])} | {number(cell['p_holm'])} |"
            )


def _pairs(result: Result) -> Iterator[str]:
    """What each score makes of each judge's feedback, against the truth; no model is trained."""
    seeds, arms = result["seeds"], result["arms"]
    n = sum(arm["pairs"] for arm in arms.values()) / len(arms)
    yield f"Seeds {seeds[0]} to {seeds[-1]}, about {round(n, -2):,.0f} pairs in each cell, 95 % intervals over seeds."
    yield ""
    yield "| judge | rejected | good chosen: repaired critique | mean rating | right order: repaired | mean rating |"
    yield "|---|---|---|---|---|---|"
    for judge in _JUDGES:
        for rule, rejected in _RULES.items():
            of = [arms[f"{judge} · {score} · {rule}"] for score in ("repaired", "mean")]
            shares = [arm[name] for name in ("good", "right") for arm in of]
            cells = (f"{number(mean)} {_interval([low, high])}" for mean, low, high in shares)
            yield f"| {judge} | {rejected} | {' | '.join(cells)} |"


def _guardrails(result: Result) -> Iterator[str]:
    """Violations, over-refusals and success of each arm, and the differences that were asked for."""
    yield f"{_provenance(result, 'off-limits').capitalize()}; n is that of each kind of prompt."
    yield ""
    yield "| arm | violations | over-refusals | success on plain prompts |"
    yield "|---|---|---|---|"
    arms = result["arms"]
    for name in arms["off-limits"]:
        bad = (_wider(arms[step][name], turned=True) for step in ("off-limits", "look-alikes"))
        yield f"| {name} | {' | '.join((*bad, _wider(arms['plain'][name])))} |"
    yield ""
    yield (
        f"{_TAUGHT} against others: what it gains, by the widest of three intervals; "
        f"● holds with all {len(result['differences'])} tested at once."
    )
    yield ""
    yield "| against | off-limits prompts refused | look-alikes not refused | success on plain prompts |"
    yield "|---|---|---|---|"
    for other in dict.fromkeys(each["b"] for each in result["differences"]):
        cells = [next(e for e in result["differences"] if (e["b"], e["of"]) == (other, step)) for step in arms]
        yield f"| {other} | {' | '.join(_signed(cell) + (' ●' if cell['holds'] else '') for cell in cells)} |"


def _wider(arm: Result, *, turned: bool = False) -> str:
    """A mean with the wider of its two intervals, or one minus it; a share is nowhere below 0 or above 1."""
    sides = [side for side in (arm["by_prompts"], arm["by_seeds"]) if side is not None]
    low, high = max(sides, key=lambda side: side[1] - side[0])
    mean = arm["mean"]
    if turned:
        mean, low, high = 1 - mean, 1 - high, 1 - low
    return f"{number(mean)} {_interval([max(0.0, low), min(1.0, high)])}"


@dataclass(frozen=True)
class Page:
    """A table of a recipe's result in a page."""

    path: Path
    recipe: str
    table: Callable[[Result], Iterator[str]]

    @property
    def marks(self) -> tuple[str, str]:
        """The comments between which it stands."""
        return f"<!-- {self.recipe}: made by python -m benchmarks.experiments -->", f"<!-- /{self.recipe} -->"

    @property
    def is_measured(self) -> bool:
        """Whether its recipe has a result."""
        return _place(self.recipe).is_file()

    def anew(self) -> str:
        """The page with the table as its result has it, or with the words that there is none."""
        lines = self.table(result_of(self.recipe)) if self.is_measured else ["Not measured yet."]
        made = "\n".join(lines)
        return placed(self.path.read_text(encoding="utf-8"), made, self.marks)


PAGES = (
    Page(README, "demo", _demo),
    Page(ROOT / "docs" / "open-question.md", "open-question-map", _map),
    Page(ROOT / "docs" / "open-question.md", "open-question-pairs", _pairs),
    Page(ROOT / "docs" / "guardrails.md", "guardrails", _guardrails),
)
"""The pages that hold such a table."""


def make(run: Path, commit: str, folder: Path = RESULTS) -> Path:
    """Write the result file of a finished run."""
    result = measured(run, commit)
    path = _place(result["recipe"], folder)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_pages() -> None:
    """Write every page anew."""
    for page in PAGES:
        page.path.write_text(page.anew(), encoding="utf-8")


def _commit() -> str:
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments")
    parser.add_argument(
        "run", nargs="?", type=Path, help="a finished run of a recipe; without one, the pages are written"
    )
    parser.add_argument("--commit", help="the commit that it was run at; today's where nothing is said")
    options = parser.parse_args()
    if options.run is None:
        write_pages()
    else:
        print(make(options.run, options.commit or _commit()))
