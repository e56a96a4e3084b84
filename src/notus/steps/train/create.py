"""The step that makes a tokenizer and a small model with random weights."""

from typing import ClassVar

from notus.core.artifacts import MODEL, Artifact
from notus.core.errors import DataError
from notus.engine.settings import Shape
from notus.steps.base import (
    Context,
    DialoguesRef,
    Seed,
    Step,
)
from notus.steps.train.data import dialogues_of

__all__ = ["Create"]


class Create(Step):
    """Make a tokenizer from the texts of the data, and a small model with random weights."""

    step_type: ClassVar[str] = "create"
    leaves: ClassVar[tuple[Artifact, ...]] = (MODEL,)
    computes: ClassVar[bool] = True
    data: DialoguesRef = "data"
    """Dialogues, or pairs whose chosen answers are taken: a file, a run directory, a hub id; in a recipe, a step."""
    shape: Shape = Shape()
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Make both from the texts of the dialogues."""
        from notus.engine.load import build_model, save_model, train_tokenizer

        folder = context.place("data")
        tally = context.tally("data", "rows")
        texts = [message.content for dialogue in dialogues_of(folder, tally) for message in dialogue.messages]
        if not texts:
            raise DataError(f"{context.inputs['data']} holds no text to train a tokenizer on")
        tokenizer = train_tokenizer(texts, self.shape.vocabulary)
        model = build_model(self.shape, tokenizer, context.seed)
        save_model(model, tokenizer, MODEL.at(context.path))
        context.note(parameters=model.num_parameters(), vocabulary=len(tokenizer))
