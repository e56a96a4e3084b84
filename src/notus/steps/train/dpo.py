"""The step of preference optimisation, by pairs or by single rows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from notus.core.artifacts import MODEL, Artifact, find_model
from notus.core.stage import Tally, apply
from notus.report.training.page import write_training_page
from notus.steps.base import (
    Context,
    Decides,
    MayLose,
    ModelRef,
    OptionalModelRef,
    OptionalRef,
    PairsRefs,
    Seed,
    Step,
    decided_for,
)
from notus.steps.train.data import (
    Mixing,
    decided_lines,
    drawn_sources,
    first_of_each,
    held_out_of,
    pairs_or_rows,
    sifted,
    with_scores,
)
from notus.train.losses.base import UnpairedLoss
from notus.train.losses.objective import needs
from notus.train.settings import PreferenceTraining

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Preview

__all__ = ["Dpo"]


class Dpo(Step, MayLose, Decides, Mixing, PreferenceTraining):
    """Preference optimisation, by pairs or by single rows."""

    step_type: ClassVar[str] = "dpo"
    leaves: ClassVar[tuple[Artifact, ...]] = (MODEL,)
    computes: ClassVar[bool] = True
    start: ModelRef = "sft"
    """A model: a folder, a run directory or a hub id; in a recipe, a step."""
    reference: OptionalModelRef = None
    """The reference policy; null takes the model that training starts from."""
    pairs: PairsRefs = "binarize"
    """Preference pairs; unpaired rows for the losses ``kto`` and ``bco_unpaired``, which make two of a pair. In a
    recipe also several sources: ``[{from: STEP, weight: 2, cap: 10000}, …]``."""
    resume_from: OptionalRef = None
    """Another training's run directory, or one of its checkpoints, to go on from: with the same rows, batch size and
    seed; epochs, learning rate and the like may be others. What was stopped itself goes on without it."""
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Train on pairs, or on unpaired rows where the loss takes those."""
        from notus.train.run.policy import train_dpo, train_unpaired

        start, drawn = context.model("start"), context.seed
        tally = context.tally("read", "rows")
        scored = context.tally("scores") if "scores" in needs(self.loss) else None

        def read(folder: Path) -> tuple[list[Any], list[Any]]:
            found: tuple[list[Any], list[Any]] = (pairs_or_rows(folder), held_out_of(folder))
            sides = [list(context.decided_records(side, tally)) for side in found]
            if scored is not None:
                sides = [list(apply(with_scores, side, scored)) for side in sides]
            return sides[0], sides[1]

        rows, held_out, mixture = drawn_sources(context, "pairs", self.pairs, self.order, read)
        context.check_decided()
        if scored is not None:
            context.run.check_losses()
        reference = context.model("reference") if context.has("reference") else None
        common: dict[str, Any] = {"start": start, "reference": reference, "held_out": held_out, "seed": drawn}
        common["mixture"] = mixture
        common["resume_from"] = context.place("resume_from") if context.has("resume_from") else None
        if isinstance(self.loss, UnpairedLoss):
            train_unpaired(context.run, self, objective=self.loss, rows=rows, **common)
        else:
            train_dpo(context.run, self, objective=self.loss, weighting=self.weighting, preferences=rows, **common)
        write_training_page(context.run)

    def preview(self, inputs: Mapping[str, str], count: int, seed: int) -> "Preview":
        """The first rows as the model will read them; only its tokenizer is loaded."""
        from notus.engine.load import load_tokenizer
        from notus.train.preview import preview_rows

        del seed

        decided = decided_for(self, inputs)

        def read(place: Path) -> list[Any]:
            found: list[Any] = [*pairs_or_rows(place)]
            rows: list[Any] = list(sifted(found, decided))
            return list(apply(with_scores, rows, Tally("scores"))) if "scores" in needs(self.loss) else rows

        rows, of = first_of_each(inputs, "pairs", read, count)
        tokenizer, single = load_tokenizer(find_model(inputs["start"])), isinstance(self.loss, UnpairedLoss)
        found = preview_rows(tokenizer, self.limits, rows, of=of, single=single)
        return replace(found, about=(*found.about, *decided_lines(self, inputs)))
