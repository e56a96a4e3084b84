"""The pairs of the map of the open question, held against the truth: what each score makes of each judge's feedback.

    python -m benchmarks.question_pairs     # the ten seeds, no model → results/recipe-open-question-pairs.json

The settings are those of the recipe ``open-question-map``, arm by arm, and so are the seeds. Of each arm two shares,
with a t interval over the seeds: pairs whose chosen answer is a good one, and pairs whose chosen answer is truly better
than the rejected one.
"""

import json
from typing import Any

from benchmarks.table import RESULTS
from notus.core.records import Feedback
from notus.preferences.selection import Selection, choose
from notus.recipes.recipe import BUILT_IN, Recipe, load_recipe
from notus.stats.intervals import Estimate, mean_over_seeds
from notus.toy.world import Truth, WorldConfig, feedback

__all__ = ["RESULT", "measure", "pairs_of"]

RESULT = RESULTS / "recipe-open-question-pairs.json"


Rows = list[tuple[Feedback, tuple[Truth, ...]]]


def pairs_of(rows: Rows, selection: Selection, seed: int) -> list[tuple[bool, bool]]:
    """Of each pair whether its chosen answer is a good one, and whether it is truly better than the rejected one."""
    score, found = selection.score(), []
    for row, truths in rows:
        for chosen, rejected in choose(row, selection, score, seed).pairs:
            better = truths[chosen].quality > truths[rejected].quality
            found.append((truths[chosen].style == "good", better))
    return found


def measure(recipe: Recipe, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Arm → number of pairs and the two shares, over the seeds."""
    of_arms: dict[str, list[list[tuple[bool, bool]]]] = {arm: [] for arm in recipe.arms}
    for seed in seeds:
        of_worlds: dict[str, Rows] = {}
        for arm, steps in recipe.arms.items():
            world: WorldConfig = steps["data"].world  # type: ignore[attr-defined]
            key = world.model_dump_json()
            if key not in of_worlds:
                of_worlds[key] = list(feedback(world, seed))
            settings = steps["binarize"].resolved()
            named = {name: settings[name] for name in ("strategy", "rejected") if settings[name] is not None}
            of_arms[arm].append(pairs_of(of_worlds[key], Selection.parse(named, where=arm), seed))
    return {
        "recipe": recipe.head.name,
        "seeds": list(seeds),
        "arms": {
            arm: {"pairs": sum(map(len, of_seeds))}
            | {
                name: _over_seeds([sum(pair[at] for pair in of) / len(of) for of in of_seeds], seeds)
                for at, name in enumerate(("good", "right"))
            }
            for arm, of_seeds in of_arms.items()
        },
    }


def _over_seeds(shares: list[float], seeds: tuple[int, ...]) -> list[float]:
    found: Estimate | None = mean_over_seeds(shares, seeds)
    assert found is not None
    return [found.mean, found.low, found.high]


if __name__ == "__main__":
    asked = load_recipe(BUILT_IN / "open-question-map.yaml")
    RESULT.write_text(json.dumps(measure(asked, asked.head.seeds), indent=1, ensure_ascii=False) + "\n", "utf-8")
