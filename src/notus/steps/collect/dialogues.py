"""The steps that collect dialogues and instructions from a teacher."""

from typing import ClassVar

from notus.collect.dialogues import converse as conversing
from notus.collect.dialogues import refine as refining
from notus.collect.settings import Conversation, Refinement
from notus.core.artifacts import DIALOGUES, Artifact
from notus.core.records import Dialogue
from notus.steps.base import Context, PromptsRef, Reads, Seed, Serving, Step
from notus.steps.collect.asking import open_asking
from notus.steps.collect.feedback import drafts_of

__all__ = ["Converse", "Refine"]


class Converse(Step, Serving, Conversation):
    """Collect dialogues that a teacher has with itself."""

    step_type: ClassVar[str] = "converse"
    leaves: ClassVar[tuple[Artifact, ...]] = (DIALOGUES,)
    collects: ClassVar[bool] = True
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Collect dialogues."""
        tally = context.tally("converse", "parts")
        with open_asking(context, self) as asked:
            asked.progress.total = self.dialogues * (2 * self.turns) + round(self.dialogues * self.materials)
            found = conversing(self, tally, seed=context.seed, generator=asked.answerer)
            context.note(dialogues=context.write(DIALOGUES, found, Dialogue))


class Refine(Reads, Serving, Refinement):
    """Collect instructions that a teacher rewrites in the light of an answer."""

    step_type: ClassVar[str] = "refine"
    least_written: ClassVar[float] = 0.05
    leaves: ClassVar[tuple[Artifact, ...]] = (DIALOGUES,)
    collects: ClassVar[bool] = True
    data: PromptsRef = "data"
    """Where the prompts are from: a file, a folder, a run directory or a hub id; in a recipe, a step."""
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Collect rewritten instructions."""
        drafts = list(drafts_of(context, self, context.inputs["data"]))
        tally = context.tally("refine")
        with open_asking(context, self) as asked:
            asked.progress.total = 2 * len(drafts)
            found = refining(self, drafts, tally, seed=context.seed, generator=asked.answerer)
            context.note(prompts=len(drafts), refined=context.write(DIALOGUES, found, Dialogue))
