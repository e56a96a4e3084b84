"""The step of supervised fine-tuning."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from notus.core.artifacts import HELD_OUT, MODEL, Artifact, find_model
from notus.core.records import Dialogue
from notus.core.stage import Tally
from notus.report.training.page import write_training_page
from notus.steps.base import (
    Context,
    Decides,
    DialoguesRefs,
    MayLose,
    ModelRef,
    OptionalRef,
    Seed,
    Step,
    decided_for,
)
from notus.steps.train.data import Mixing, chosen_of, decided_lines, dialogues_of, drawn_sources, first_of_each
from notus.train.settings import Training

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Preview

__all__ = ["Sft"]


class Sft(Step, MayLose, Decides, Mixing, Training):
    """Supervised fine-tuning on dialogues, on the chosen answers of preferences, or on answers labelled as wanted."""

    step_type: ClassVar[str] = "sft"
    leaves: ClassVar[tuple[Artifact, ...]] = (MODEL,)
    computes: ClassVar[bool] = True
    start: ModelRef = "create"
    """Model to start from: a step, a folder or a hub id."""
    data: DialoguesRefs = "data"
    """Dialogues, pairs whose chosen answers are taken, or labelled answers of which the wanted ones are: a file, a run
    directory, a hub id; in a recipe, a step, or several sources as ``[{from: STEP, weight: 2, cap: 10000}, …]``."""
    resume_from: OptionalRef = None
    """Another training's run directory, or one of its checkpoints, to go on from: with the same rows, batch size and
    seed; epochs, learning rate and the like may be others. What was stopped itself goes on without it."""
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Train on dialogues, or on the chosen answers of pairs."""
        from notus.train.run.policy import train_sft

        tally, aside = context.tally("data", "rows"), context.tally("held-out", "rows")

        def read(folder: Path) -> tuple[list[Dialogue], list[Dialogue]]:
            held = chosen_of(HELD_OUT.at(folder), aside, context.decided)
            return dialogues_of(folder, tally, context.decided), held

        dialogues, held_out, mixture = drawn_sources(context, "data", self.data, self.order, read)
        context.check_decided()
        train_sft(
            context.run,
            self,
            start=context.model("start"),
            dialogues=dialogues,
            held_out=held_out,
            mixture=mixture,
            seed=context.seed,
            resume_from=context.place("resume_from") if context.has("resume_from") else None,
        )
        write_training_page(context.run)

    def preview(self, inputs: Mapping[str, str], count: int, seed: int) -> "Preview":
        """The first rows as the model will read them; only its tokenizer is loaded."""
        from notus.engine.load import load_tokenizer
        from notus.train.preview import preview_rows

        del seed
        decided = decided_for(self, inputs)
        rows, of = first_of_each(
            inputs, "data", lambda place: dialogues_of(place, Tally("data", "rows"), decided), count
        )
        found = preview_rows(load_tokenizer(find_model(inputs["start"])), self.limits, rows, of=of)
        return replace(found, about=(*found.about, *decided_lines(self, inputs)))
