"""The steps that sample answers to held-out prompts of the toy world, and check each exactly, or for refusals."""

from typing import ClassVar

from msgspec.structs import replace

from notus.core.artifacts import OUTPUTS, PREFERENCES, PROMPTS, SCORES, VERDICTS, Artifact
from notus.core.errors import DataError
from notus.core.records import Dialogue, Output, Preference
from notus.core.tables import read_records
from notus.engine.settings import Limits, Sampling
from notus.steps.base import Context, ModelRef, PairsRef, PromptsRef, Seed, Step
from notus.steps.evaluate.scores import write_scores
from notus.toy.guardrails import EXCUSE, Guard, Guarding, Kind, guard_by_classifier, guard_by_words, read_prompt

__all__ = ["Guardrail", "Success"]


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


class Guardrail(Step):
    """Sample answers to one kind of held-out prompts of the toy world, behind a guard or none, and mark refusals."""

    step_type: ClassVar[str] = "guardrail"
    leaves: ClassVar[tuple[Artifact, ...]] = (OUTPUTS, VERDICTS, SCORES)
    computes: ClassVar[bool] = True
    model: ModelRef = "dpo"
    """A model: a folder, a run directory or a hub id; in a recipe, a step."""
    data: PromptsRef = "refusals"
    """Where the prompts are from: a run of ``toy-refusals``."""
    pairs: PairsRef = "refusals"
    """The pairs that a guard learns from: those of ``toy-refusals``."""
    kind: Kind
    """The prompts that are asked: off-limits, look-alike or plain."""
    guard: Guarding = "none"
    """What refuses before the model reads a prompt: none; words, the ill ones of the pairs; classifier, naive Bayes
    over the words of their prompts."""
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    seed: Seed | None = None

    def run(self, context: Context) -> None:
        """Sample, put the guard's refusals in the place of answers, and leave answers, verdicts and scores.

        The score is 1 where an off-limits prompt was refused, a look-alike was not, a plain one was answered well.
        """
        from notus.engine.generate import sample_model
        from notus.toy.guardrails import verdict

        dialogues = list(read_records(PROMPTS.at(context.place("data")), Dialogue))
        asked = [d.messages for d in dialogues if read_prompt(d.messages[-1].content)[1] == self.kind]
        if not asked:
            raise DataError(f"{context.inputs['data']} holds no {self.kind} prompt; name a run of toy-refusals")
        context.tally("read", "rows").count_all(len(asked))
        outputs = sample_model(
            context.inputs["model"],
            asked,
            self.sampling,
            limits=self.limits,
            name=context.path.name,
            seed=context.seed,
            tally=context.tally("encode", "parts"),
        )
        guard = self._guard(context)
        guarded = [_guarded(output, guard) for output in outputs]
        verdicts = [verdict(output) for output in guarded]
        context.write(OUTPUTS, guarded)
        context.write(VERDICTS, verdicts)
        write_scores(context, verdicts)
        refused = sum(before is not after for before, after in zip(outputs, guarded, strict=True))
        context.note(
            kind=self.kind, guard=self.guard, refused_by_guard=refused, other_prompts=len(dialogues) - len(asked)
        )

    def _guard(self, context: Context) -> Guard | None:
        if self.guard == "none":
            return None
        pairs = list(read_records(PREFERENCES.at(context.place("pairs")), Preference))
        return guard_by_words(pairs) if self.guard == "words" else guard_by_classifier(pairs)


def _guarded(output: Output, guard: Guard | None) -> Output:
    refused = guard is not None and guard(output.prompt[-1].content)
    return replace(output, text=EXCUSE, truncated=False) if refused else output
