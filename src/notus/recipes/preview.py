"""``--preview`` of a recipe: the rows of its training steps, as far as what they read is there.

Nothing is done for it: a step whose data another one has yet to make is named, with the command that makes them. The
tokenizer is that of the model that training starts from, or, where that is yet to be trained, of the one that it starts
from in turn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notus.core.run import MANIFEST
from notus.recipes.recipe import Plan
from notus.steps.perform import PlannedStep

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Preview

__all__ = ["RecipePreview", "preview_plan"]


@dataclass(frozen=True)
class RecipePreview:
    """The rows of one training step, or why there are none."""

    step: str
    preview: "Preview | None"
    lacking: str = ""
    """The step that must be done before."""


def preview_plan(plan: Plan, out: Path, count: int) -> Iterator[RecipePreview]:
    """The rows of each training step, once for each name.

    Args:
        plan: of a recipe.
        out: where it is run.
        count: rows of each step.
    """
    seen: set[str] = set()
    for step in plan.steps.values():
        config: Any = step.config
        if step.name in seen or not hasattr(config, "preview"):
            continue
        seen.add(step.name)
        places = {key: _place(plan, out, step, key) for key in (*step.needs, *step.given)}
        lacking = next((key for key, place in places.items() if place is None and key != "reference"), None)
        if lacking is not None:
            yield RecipePreview(step.name, None, plan.steps[step.needs[lacking]].name)
            continue
        inputs = {key: place for key, place in places.items() if place is not None}
        yield RecipePreview(step.name, config.preview(inputs, count, step.seed or 0))


def _place(plan: Plan, out: Path, step: PlannedStep, key: str) -> str | None:
    """Where that lies which a setting refers to; None where it is not there yet."""
    while True:
        if key in step.given:
            return step.given[key]
        if key not in step.needs:
            return None
        step = plan.steps[step.needs[key]]
        folder = out / "steps" / step.folder
        if (folder / MANIFEST).is_file():
            return str(folder)
        if key != "start":
            return None
