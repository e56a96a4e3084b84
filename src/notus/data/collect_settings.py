"""What can be set of a collection: who answers, under which principle, who judges, and how all of them are asked.

Owns the settings and the published presets. No network and no model: a recipe is checked with this alone.
"""

from typing import Annotated, Any, Literal, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import nearest
from notus.core.records import ASPECTS, digest
from notus.models.endpoint import Endpoint
from notus.models.judge import JUDGES, Judges
from notus.models.prompts import read_prompt, read_variants
from notus.models.protocols import Decoding

__all__ = [
    "ASPECT_DECODING",
    "CRITIQUE_DECODING",
    "PRINCIPLES",
    "Asking",
    "Collection",
    "Conversation",
    "Drawing",
    "JudgeSettings",
    "Member",
    "Refinement",
]

Share = Annotated[float, pydantic.Field(ge=0)]

_CHATS = {"helpfulness": 60.0, "truthfulness": 20.0, "honesty": 18.0, "verbalized_calibration": 2.0}
_ASKED_FALSELY = {"truthfulness": 50.0, "honesty": 45.0, "verbalized_calibration": 5.0}
_HELP, _TRUTH = {"helpfulness": 100.0}, {"truthfulness": 100.0}
_BOTH = {"evol_instruct": _HELP, "sharegpt": _CHATS, "ultrachat": _CHATS, "": _CHATS}
PRINCIPLES: dict[str, dict[str, dict[str, float]]] = {
    "paper": _BOTH
    | {
        "false_qa": _TRUTH,
        "truthful_qa": _TRUTH,
        "flan": {"helpfulness": 60.0, "truthfulness": 20.0, "verbalized_calibration": 20.0},
    },
    "code": _BOTH
    | {
        "false_qa": _ASKED_FALSELY,
        "truthful_qa": _ASKED_FALSELY,
        "flan": {"helpfulness": 80.0, "verbalized_calibration": 20.0},
    },
    "none": {"": {"": 100.0}},
}
"""Preset → source → principle → weight. ``paper`` is the table of Cui et al. 2023 (https://arxiv.org/abs/2310.01377),
``code`` what the released code drew (https://github.com/OpenBMB/UltraFeedback). A source that is not named takes the
entry of the longest name that it begins with (``flan_v2_cot``: ``flan``), and otherwise that under the empty name."""


class Drawing(Config):
    """How answers are drawn; null is not sent and leaves the server's default."""

    temperature: Annotated[float, pydantic.Field(ge=0)] | None = None
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, pydantic.Field(ge=0)] | None = None
    repetition_penalty: Annotated[float, pydantic.Field(gt=0)] | None = None
    max_tokens: Annotated[int, pydantic.Field(ge=1)] | None = None
    stop: tuple[str, ...] = ()

    def over(self, base: "Drawing") -> "Drawing":
        """These settings, and those of ``base`` where none is given here."""
        given = {key: value for key, value in self.resolved().items() if value not in (None, [])}
        return Drawing.parse(base.resolved() | given, where="sampling")

    def decoding(self, *, seed: int | None = None, n: int = 1) -> Decoding:
        """As a request takes it."""
        return Decoding(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=seed,
            n=n,
        )


ASPECT_DECODING = Drawing(temperature=0.0, top_p=0.6, max_tokens=500)
"""UltraFeedback's for the four aspects."""
CRITIQUE_DECODING = Drawing(temperature=0.0, top_p=0.6, max_tokens=1024)
"""UltraFeedback's for the critique."""


class Member(Config):
    """One of those who may answer."""

    name: str = pydantic.Field(min_length=1)
    """As it stands in the data."""
    endpoint: str | None = None
    """Name of the endpoint; null takes the one of the member's own name."""
    weight: float = pydantic.Field(default=1.0, gt=0)
    """Weight of the draw. UltraFeedback: most models alike, bard half as often, pythia-12b a twentieth."""
    sampling: Drawing = Drawing()
    """Laid over the sampling of the collection."""

    @property
    def asked(self) -> str:
        """Name of the endpoint."""
        return self.endpoint or self.name


class JudgeSettings(Config):
    """Who judges, what, and with which prompts."""

    endpoint: str = pydantic.Field(min_length=1)
    aspects: tuple[str, ...] = ASPECTS
    """The aspects that are rated; may be empty."""
    critique: bool = True
    """Whether each completion gets a critique with an overall score."""
    rating: Drawing = ASPECT_DECODING
    critic: Drawing = CRITIQUE_DECODING
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    prompts: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge → a prompt file of your own."""
    verbatim: bool = False
    """Put candidates into the prompts as they are, without fences: only for the exact comparison with published
    prompts. A candidate can then speak to the judge."""

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        for aspect in self.aspects:
            if aspect not in ASPECTS:
                raise ValueError(f"there is no aspect '{aspect}'; {nearest(aspect, ASPECTS)}")
        self.judges()
        return self

    @pydantic.field_serializer("prompts")
    def _by_content(self, prompts: dict[str, str]) -> dict[str, str]:
        """Prompts count by their text: a changed file is another judge."""
        templates = Judges(prompts, verbatim=self.verbatim).templates
        return {name: templates[name].digest for name in JUDGES}

    def judges(self) -> Judges:
        """The judges with their prompts."""
        return Judges(self.prompts, verbatim=self.verbatim)


class Asking(Config):
    """What all kinds of collections share: endpoints, ledger, costs."""

    endpoints: tuple[Endpoint, ...] = ()
    """The endpoints that may be asked. For the result counts only what determines an answer: name, model, API, body."""
    ledger: str | None = pydantic.Field(default=None, exclude=True)
    """The ledger's file; null takes ``ledger.sqlite`` beside the runs, so that runs share what was paid for."""
    max_cost: Annotated[float, pydantic.Field(ge=0)] | None = pydantic.Field(default=None, exclude=True)
    """The most that a run may cost. At this point it stops, and the same command goes on with more."""

    @pydantic.field_serializer("endpoints")
    def _what_counts(self, endpoints: tuple[Endpoint, ...]) -> list[dict[str, Any]]:
        """No address, rate or price: another replica gives the same answers."""
        return [
            {"name": e.name, "model": e.model, "api": e.api, "structured": e.structured, "body": e.body}
            for e in endpoints
        ]


class Collection(Asking):
    """Completions of several models, and what a judge says of them."""

    pool: tuple[Member, ...] = pydantic.Field(min_length=1)
    """Who may answer."""
    completions: int = pydantic.Field(default=4, ge=1)
    """Members drawn for each prompt, without replacement."""
    sampling: Drawing = Drawing(temperature=1.0, top_p=1.0, max_tokens=1024)
    samples: int = pydantic.Field(default=1, ge=1)
    """n: answers of each member that is drawn; each is a completion of its own."""
    principles: Literal["paper", "code", "none"] | dict[str, dict[str, Share]] = "paper"
    """Preset, or source → principle → weight; the empty source stands for all others."""
    judge: JudgeSettings | None
    """Null collects completions alone."""
    seeded: bool = True
    """Whether requests carry a seed; some servers refuse it."""

    @pydantic.model_validator(mode="after")
    def _enough(self) -> Self:
        names = [member.name for member in self.pool]
        if len(set(names)) < len(names):
            raise ValueError(f"'{max(names, key=names.count)}' stands twice in the pool; each needs a name of its own")
        if self.completions > len(names):
            raise ValueError(
                f"'completions' is {self.completions}, and the pool has {len(names)} members, each of whom answers a "
                "prompt once"
            )
        for shares in self.shares().values():
            if not sum(shares.values()):
                raise ValueError("the weights of the principles of a source are all 0")
        return self

    def shares(self) -> dict[str, dict[str, float]]:
        """Source → principle → weight."""
        return PRINCIPLES[self.principles] if isinstance(self.principles, str) else self.principles


class Conversation(Asking):
    """Dialogues that a teacher has with itself, as UltraChat was made (Ding et al. 2023,
    https://arxiv.org/abs/2305.14233)."""

    teacher: str = pydantic.Field(min_length=1)
    """Endpoint that plays both sides."""
    dialogues: int = pydantic.Field(default=100, ge=1)
    turns: int = pydantic.Field(default=3, ge=1)
    """User turns of a dialogue, each with its answer."""
    materials: float = pydantic.Field(default=0.5, ge=0, le=1)
    """Share of the dialogues that are about a text, which the teacher writes first; the others open from a topic."""
    topics: str = "topics"
    """File of topics, divided by lines of ``---``."""
    kinds: str = "materials"
    """File of kinds of texts."""
    sampling: Drawing = Drawing(temperature=1.0, max_tokens=1024)
    seeded: bool = True

    @pydantic.field_serializer("topics", "kinds")
    def _by_content(self, source: str) -> str:
        return digest(*read_variants(source))


class Refinement(Asking):
    """Instructions that a teacher rewrites in the light of an answer."""

    teacher: str = pydantic.Field(min_length=1)
    prompt: str = "teacher_refine"
    """Prompt file."""
    sampling: Drawing = Drawing(temperature=1.0, max_tokens=1024)
    seeded: bool = True

    @pydantic.field_serializer("prompt")
    def _by_content(self, source: str) -> str:
        return read_prompt(source, needs=("instruction", "answer")).digest
