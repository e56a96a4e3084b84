"""The settings of the step that scores MT-Bench, and asks for it. What it does is in ``flow.mtbenchsteps``.

No torch and nothing heavy.
"""

from typing import Literal, Self

import pydantic

from notus.core.config import Config
from notus.data.collect_settings import Asking
from notus.evaluate.mtbench_prompts import JudgePrompts
from notus.flow.stepconfig import OptionalRef, Refs, Seed, Serving, StepConfig

__all__ = ["MtBench", "MtBenchJudge"]


class MtBenchJudge(Config):
    """Who judges answers, and how."""

    endpoint: str = pydantic.Field(min_length=1)
    """Name of the endpoint, and of the judge in the judgements."""
    kinds: tuple[Literal["single", "pair"], ...] = pydantic.Field(default=("single",), min_length=1)
    """``single`` grades each answer, ``pair`` holds each model against the baseline in both orders."""
    prompts: str | None = None
    """FastChat's ``judge_prompts.jsonl`` by its path; null takes our own."""
    verbatim: bool = False
    """Put answers into the prompts as they are, without fences: only to compare with published judgements. An answer
    can then speak to the judge."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a judgement is asked for until it can be read; in the mode ``fastchat`` once."""
    max_tokens: int = pydantic.Field(default=2048, ge=1)

    @pydantic.model_validator(mode="after")
    def _readable(self) -> Self:
        self.read()
        return self

    @pydantic.field_serializer("prompts")
    def _by_content(self, prompts: str | None) -> str:
        """Prompts count by their text: a changed file is another judge."""
        del prompts
        return self.read().digest

    def read(self) -> JudgePrompts:
        """The prompts."""
        return JudgePrompts.read(self.prompts, verbatim=self.verbatim)


class MtBench(StepConfig, Serving, Asking):
    """Score judgements of MT-Bench; where a judge is named, ask for them; where a model is named, have it answer."""

    do: Literal["mtbench"] = "mtbench"
    judgments: Refs = ()
    """Stored judgements, single or pairwise: files, or run directories of this step."""
    answers: Refs = ()
    """Stored answers that are to be judged: files of ``model_answer``, or run directories of this step."""
    questions: OptionalRef = None
    """``question.jsonl``; needed to ask anything. Judgements on the published questions are scored without it."""
    references: OptionalRef = None
    """Reference answers for math, reasoning and coding."""
    model: str | None = None
    """Endpoint that is to answer the questions; ``local`` is the model of ``serve``."""
    name: str | None = None
    """What that model is called in the files; null takes the endpoint's name."""
    max_tokens: int = pydantic.Field(default=1024, ge=1)
    """Of an answer."""
    judge: MtBenchJudge | None = None
    mode: Literal["strict", "fastchat"] = "strict"
    """How judgements are read: strictly, or as FastChat does, mistakes included."""
    only: tuple[str, ...] = ()
    """Score these models alone."""
    baseline: str | None = None
    """The model that the others are compared with; needed for pairs."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        answering = self.model is not None or self.serve is not None
        if not (self.judgments or answering or (self.answers and self.judge)):
            raise ValueError("nothing to score: give 'judgments', or 'answers' with a 'judge', or a 'model' to answer")
        if (answering or self.judge) and self.questions is None:
            raise ValueError("to ask, the questions are needed: give FastChat's question.jsonl ('questions')")
        if self.judge and not (answering or self.answers):
            raise ValueError("the judge has nothing to judge: give 'answers', or a 'model' to answer")
        if self.judge and "pair" in self.judge.kinds and self.baseline is None:
            raise ValueError("pairs are judged against a model: name it ('baseline')")
        return self

    @property
    def asks(self) -> bool:
        """Whether anybody is asked."""
        return self.judge is not None or self.model is not None or self.serve is not None
