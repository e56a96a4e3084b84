"""The step that writes the toy world, with its truth."""

from collections.abc import Iterator
from typing import ClassVar

from notus.core.artifacts import DIALOGUES, PROMPTS, RAW_FEEDBACK, TRUTH, Artifact
from notus.core.records import (
    Dialogue,
)
from notus.formats.families.ultrafeedback import to_ultrafeedback
from notus.formats.source import write_jsonl
from notus.steps.base import Context, Seed, Step
from notus.toy import world
from notus.toy.world import WorldConfig

__all__ = ["Toy"]


class Toy(Step):
    """Write the toy world: feedback in the raw UltraFeedback layout, dialogues, held-out prompts, the truth."""

    step_type: ClassVar[str] = "toy"
    leaves: ClassVar[tuple[Artifact, ...]] = (RAW_FEEDBACK, DIALOGUES, PROMPTS, TRUTH)
    seed: Seed | None = None
    """null takes the replicate's seed."""
    world: WorldConfig = WorldConfig()

    def run(self, context: Context) -> None:
        """Write the toy world, its feedback in the raw layout of UltraFeedback."""
        truths: list[world.Truth] = []

        def rows() -> Iterator[dict[str, object]]:
            for feedback, of_feedback in world.feedback(self.world, context.seed):
                truths.extend(of_feedback)
                yield to_ultrafeedback(feedback)

        prompts = write_jsonl(RAW_FEEDBACK.at(context.path), rows())
        context.write(TRUTH, truths, world.Truth)
        # "miniature" is stored in the data as their source, so the toy world's old name stays.
        dialogues = [
            Dialogue(messages=turns, source="miniature") for turns in world.dialogues(self.world, context.seed)
        ]
        context.write(DIALOGUES, dialogues)
        held_out = [Dialogue(messages=turns, source="miniature") for turns in world.held_out(self.world)]
        context.write(PROMPTS, held_out)
        faulty = sum(truth.faulty for truth in truths)
        struck = len({truth.feedback_id for truth in truths if truth.faulty})
        context.note(
            feedback=prompts, completions=len(truths), faulty=faulty, prompts_struck=struck, dialogues=len(dialogues)
        )
