"""The steps that write the toy world, with its truth, and its refusal pairs."""

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pydantic

from notus.core.artifacts import DIALOGUES, PREFERENCES, PROMPTS, RAW_FEEDBACK, TRUTH, Artifact
from notus.core.records import (
    Dialogue,
)
from notus.formats.families.ultrafeedback import to_ultrafeedback
from notus.formats.source import write_jsonl
from notus.steps.base import Context, Seed, Step
from notus.toy import world
from notus.toy.world import WorldConfig

__all__ = ["Toy", "ToyRefusals"]


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


class ToyRefusals(Step):
    """Write pairs of the toy world that teach what to refuse, and held-out prompts: plain, off limits, look-alikes."""

    step_type: ClassVar[str] = "toy-refusals"
    leaves: ClassVar[tuple[Artifact, ...]] = (PREFERENCES, PROMPTS)
    seed: Seed | None = None
    """null takes the replicate's seed."""
    world: WorldConfig = WorldConfig()
    """Facts and held-out prompts are those of this world."""
    pairs: int = pydantic.Field(default=1500, ge=3, le=1_000_000)
    """Pairs, a third of them off limits: there a refusal is chosen over a good answer. It is rejected in the others, of
    which half are look-alikes and half plain."""

    def run(self, context: Context) -> None:
        """Write the pairs and the prompts."""
        pairs = list(world.refusal_pairs(self.world, context.seed, self.pairs))
        context.write(PREFERENCES, pairs)
        prompts = [Dialogue(messages=turns, source="miniature") for turns in world.guarded_prompts(self.world)]
        context.write(PROMPTS, prompts)
        kinds = Counter(pair.source for pair in pairs)
        context.note(pairs=len(pairs), prompts=len(prompts), **{kind.replace("-", "_"): n for kind, n in kinds.items()})
