"""The settings of the steps of AlpacaEval: score stored judgements; have outputs written and judged, and score these.

No torch and nothing heavy. What the steps do is in ``flow.alpacasteps``.
"""

from typing import ClassVar, Literal, Self

import pydantic

from notus.core.config import Config
from notus.data.collect_settings import Asking, Drawing
from notus.evaluate.alpaca_judge import PROMPTS, Protocol
from notus.flow.stepconfig import OptionalRef, Ref, Seed, Serving, StepConfig
from notus.models.prompts import Template, read_prompt

__all__ = ["Alpaca", "AlpacaJudge"]


class _Scoring(Config):
    """What the figures are made with."""

    difficulty: OptionalRef = None
    """Upstream's ``instruction_difficulty.csv``, or a table with a column ``instruction``; without it there is no
    length-controlled win rate."""
    instructions: OptionalRef = None
    """A complete file of upstream's, whose order the difficulties follow; null takes the judgements' own, if it is."""
    weights: OptionalRef = None
    """Upstream's table of published weights, for the published length-controlled win rate beside our own."""
    gamed: OptionalRef = None
    """Upstream's ``df_gamed.csv``; null takes the stand-in for it."""
    leaderboard: OptionalRef = None
    """A leaderboard to be placed in."""
    against: OptionalRef = None
    """Judgements of another model, for the paired difference."""
    replicates: int = pydantic.Field(default=1000, ge=0)
    """Draws of the bootstrap that refits the length model; 0 leaves it out."""


class Alpaca(StepConfig, _Scoring):
    """Score stored judgements of AlpacaEval: win rates, length-controlled too, with honest errors."""

    draws: ClassVar[bool] = False
    do: Literal["alpaca"] = "alpaca"
    annotations: Ref
    """annotations.json, packed or not, or the run directory of ``alpaca-judge``."""
    model: str | None = None
    """Which model's judgements, where the file holds several."""
    salvage: bool = False
    """Whether the whole rows of a file that is cut off are taken, instead of an error."""


class AlpacaJudge(StepConfig, Serving, Asking, _Scoring):
    """Have outputs judged as AlpacaEval does, after having them written where there are none, and score them."""

    do: Literal["alpaca-judge"] = "alpaca-judge"
    reference: Ref
    """model_outputs.json of the reference: its instructions are what is asked."""
    outputs: OptionalRef = None
    """model_outputs.json of the model, or a run directory that holds one; null has ``answers`` write them."""
    answers: str | None = None
    """Endpoint that answers the instructions, ``local`` for the model of ``serve``."""
    name: str | None = None
    """What the model is called; null takes what its outputs say, or the name of the endpoint."""
    sampling: Drawing = Drawing(temperature=0.7, max_tokens=2048)
    """Of the answers. 0.7 and 2,048 tokens are usual on the board; a judge's own are set by the protocol."""
    judge: str = pydantic.Field(min_length=1)
    """Endpoint of the judge."""
    protocol: Protocol = "logprobs"
    """``logprobs`` as AlpacaEval 2, ``rank`` as AlpacaEval 1."""
    prompt: str | None = None
    """A prompt file of your own or upstream's, with {instruction}, {output_1} and {output_2}."""
    verbatim: bool = False
    """Put outputs into the prompt as they are, without fences: for the comparison with published judgements. An output
    can then speak to the judge."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many instructions."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.outputs is None) == (self.answers is None):
            raise ValueError("give either 'outputs', a file, or 'answers', the endpoint that writes them")
        self._template()
        return self

    @pydantic.field_serializer("prompt")
    def _by_content(self, prompt: str | None) -> str:
        """A prompt counts by its text: a changed file is another judge."""
        del prompt
        return self._template().digest

    def _template(self) -> Template:
        needs = ("instruction", "output_1", "output_2")
        return read_prompt(self.prompt or PROMPTS[self.protocol], needs=needs, verbatim=self.verbatim)
