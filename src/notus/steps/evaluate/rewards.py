"""The step that measures a policy's implicit reward on held-out preferences."""

from typing import ClassVar

import pydantic

from notus.core.artifacts import SCORES, VERDICTS, Artifact
from notus.core.errors import DataError
from notus.core.records import Verdict
from notus.engine.settings import Limits
from notus.steps.base import Context, ModelRef, PairsRef, Step
from notus.steps.evaluate.scores import write_scores
from notus.steps.train.data import held_out_of

__all__ = ["Rewards"]


class Rewards(Step):
    """Accuracy of a policy's implicit reward on held-out preferences; a tie counts ½."""

    step_type: ClassVar[str] = "rewards"
    leaves: ClassVar[tuple[Artifact, ...]] = (VERDICTS, SCORES)
    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    policy: ModelRef = "dpo"
    """A model: a folder, a run directory or a hub id; in a recipe, a step."""
    reference: ModelRef = "sft"
    """A model: a folder, a run directory or a hub id; in a recipe, a step."""
    pairs: PairsRef = "data"
    """Preference pairs: a file, a folder, a run directory or a hub id; in a recipe, a step."""
    max_tokens: int | None = pydantic.Field(default=2048, ge=16)
    """Tokens of one forward pass in the packed form; null computes padded, for models that the packed form refuses."""
    limits: Limits = Limits()

    def run(self, context: Context) -> None:
        """Compare the implicit rewards of the two answers of each held-out pair."""
        from notus.evaluate.rewards import score_pairs
        from notus.rankers.make import PuttingAside
        from notus.rankers.reward import ImplicitRanker
        from notus.rankers.settings import Ranking

        preferences = held_out_of(context.place("pairs"))
        if not preferences:
            raise DataError(
                f"{context.inputs['pairs']} holds no pair for evaluation; set 'held_out' of that step above 0"
            )
        context.tally("read", "rows").count_all(len(preferences))
        settings, tally = Ranking(limits=self.limits, max_tokens=self.max_tokens), context.tally("encode", "parts")
        models = context.model("policy"), context.model("reference")
        ranker = PuttingAside(ImplicitRanker(*models, settings, tally, padded=self.max_tokens is None), tally)
        verdicts = [
            Verdict(
                prompt_id=pair.prompt_id,
                model=context.path.name,
                judge="implicit-reward",
                score=pair.value,
                sample=pair.sample,
                reason=pair.reason,
                id=pair.id,
                file=pair.file,
                line=pair.line,
            )
            for pair in score_pairs(ranker, preferences, context.tally("rewards"))
        ]
        context.write(VERDICTS, verdicts)
        write_scores(context, verdicts)
