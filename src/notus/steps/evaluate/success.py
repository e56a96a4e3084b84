"""The step that samples answers to held-out prompts of the toy world, and checks each exactly."""

from typing import ClassVar

from notus.core.artifacts import OUTPUTS, PROMPTS, SCORES, VERDICTS, Artifact
from notus.core.records import Dialogue
from notus.core.tables import read_records
from notus.engine.settings import Limits, Sampling
from notus.steps.base import Context, ModelRef, PromptsRef, Seed, Step
from notus.steps.evaluate.scores import write_scores

__all__ = ["Success"]


class Success(Step):
    """Sample answers to held-out prompts of the toy world, and check each exactly."""

    step_type: ClassVar[str] = "success"
    leaves: ClassVar[tuple[Artifact, ...]] = (OUTPUTS, VERDICTS, SCORES)
    computes: ClassVar[bool] = True
    model: ModelRef = "dpo"
    """A model: a folder, a run directory or a hub id; in a recipe, a step."""
    data: PromptsRef = "data"
    """Where the prompts are from: a file, a folder, a run directory or a hub id; in a recipe, a step."""
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Sample, check, and leave answers, verdicts and scores."""
        from notus.engine.generate import sample_model
        from notus.toy.checker import verdict

        dialogues = list(read_records(PROMPTS.at(context.place("data")), Dialogue))
        context.tally("read", "rows").count_all(len(dialogues))
        prompts = [dialogue.messages for dialogue in dialogues]
        outputs = sample_model(
            context.inputs["model"],
            prompts,
            self.sampling,
            limits=self.limits,
            name=context.path.name,
            seed=context.seed,
            tally=context.tally("encode", "parts"),
        )
        verdicts = [verdict(output) for output in outputs]
        context.write(OUTPUTS, outputs)
        context.write(VERDICTS, verdicts)
        write_scores(context, verdicts)
