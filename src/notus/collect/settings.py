"""Settings of a collection: who answers, under which principle, who judges, and how all of them are asked.

Owns the settings and the published presets. No network and no model: a recipe is checked with this alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, nearest
from notus.core.records import ASPECTS, digest
from notus.llm.endpoint import Endpoint
from notus.llm.judge import Judges
from notus.llm.judges.rubric_judge import RubricJudge
from notus.llm.prompts import Template, read_prompt, read_variants
from notus.llm.protocol import Decoding

__all__ = [
    "PRINCIPLES",
    "Collection",
    "Conversation",
    "EndpointSettings",
    "JudgeSettings",
    "PoolMember",
    "PromptsAndParsers",
    "Refinement",
    "Sampling",
    "Verification",
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


class Sampling(Config):
    """How answers are drawn; null is not sent and leaves the server's default."""

    temperature: Annotated[float, pydantic.Field(ge=0)] | None = None
    """0 takes the likeliest token at each step; null leaves it to the server, as for all below."""
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None
    """Smallest set of tokens that holds this probability."""
    top_k: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Only so many likeliest tokens; 0 takes all."""
    repetition_penalty: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Above 1, tokens that were there already are less likely."""
    max_tokens: Annotated[int, pydantic.Field(ge=1)] | None = None
    """Of an answer."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends; they are no part of it."""

    def over(self, base: "Sampling") -> "Sampling":
        """These settings, and those of ``base`` where none is given here."""
        own = {key: value for key, value in self.resolved().items() if value not in (None, [])}
        return Sampling.parse(base.resolved() | own, where="sampling")

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


class PoolMember(Config):
    """One of the models that may answer."""

    name: str = pydantic.Field(min_length=1)
    """As it stands in the data."""
    endpoint: str | None = None
    """Name of the endpoint; null takes the one of the member's own name."""
    weight: float = pydantic.Field(default=1.0, gt=0)
    """Weight of the draw. UltraFeedback: most models alike, bard half as often, pythia-12b a twentieth."""
    sampling: Sampling = Sampling()
    """Laid over the sampling of the collection."""

    @property
    def endpoint_name(self) -> str:
        """Name of the endpoint that is asked."""
        return self.endpoint or self.name


class PromptsAndParsers(Config):
    """What the settings of a judge share that name its ``prompts``, ``parsers`` and ``rubric``: all count by content.

    The fields are declared by the classes below it, in the order in which their configs have always been written.
    """

    if TYPE_CHECKING:
        prompts: dict[str, str]
        parsers: dict[str, str]
        verbatim: bool
        rubric: str | None

    @pydantic.model_validator(mode="after")
    def _readable(self) -> Self:
        self.judges()
        return self

    @pydantic.field_serializer("prompts", check_fields=False)
    def _by_content(self, prompts: dict[str, str]) -> dict[str, str]:
        """Prompts count by their text: a changed file is another judge."""
        return Judges(prompts, verbatim=self.verbatim).prompt_digests()

    @pydantic.field_serializer("parsers", check_fields=False)
    def _by_code(self, parsers: dict[str, str]) -> dict[str, str]:
        """Parsers count by their code: a changed function is another judge."""
        return Judges(parsers=parsers).parser_digests()

    @pydantic.field_serializer("rubric", check_fields=False)
    def _by_rubric(self, rubric: str | None) -> str | None:
        """A rubric counts by what its file says: a changed file is another judge."""
        return None if rubric is None else RubricJudge(rubric, verbatim=self.verbatim).digest

    @pydantic.model_serializer(mode="wrap")
    def _without_unset(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a parser or a rubric of its own a judge counts as it did before there were the settings."""
        found: dict[str, Any] = serialize(self)
        return {key: value for key, value in found.items() if value or key not in ("parsers", "rubric")}

    def judges(self) -> Judges:
        """The judges with their prompts, parsers and rubric."""
        return Judges(self.prompts, verbatim=self.verbatim, parsers=self.parsers, rubric=self.rubric)


class JudgeSettings(PromptsAndParsers):
    """Who judges, what, and with which prompts."""

    endpoint: str = pydantic.Field(min_length=1)
    """Name of the endpoint that is asked."""
    aspects: tuple[str, ...] = ASPECTS
    """The aspects that are rated; may be empty, and is with a rubric where none are named."""
    critique: bool = True
    """Whether each completion gets a critique with an overall score."""
    rating: Sampling = Sampling(temperature=0.0, top_p=0.6, max_tokens=500)
    """Of the aspects; the default is UltraFeedback's."""
    critic: Sampling = Sampling(temperature=0.0, top_p=0.6, max_tokens=1024)
    """Of the critique; the default is UltraFeedback's."""
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    prompts: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge → a prompt file of your own."""
    parsers: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge → what reads its reply: a built-in parser, or a function of your own, ``python:FILE.py:NAME``, that takes
    the text and returns the grade, or None where there is none to be read."""
    verbatim: bool = False
    """Put candidates into the prompts as they are, without fences: only for the exact comparison with published
    prompts. A candidate can then speak to the judge."""
    rubric: str | None = None
    """A rubric file of your own, by which each completion is judged in place of the critique: docs/own-judge.md."""
    unread: Literal["stop", "go-on"] = pydantic.Field(default="stop", exclude=True)
    """What follows where most of the judge's first twenty replies cannot be read: ``stop`` shows three of them and asks
    nothing further, ``go-on`` asks on."""

    @pydantic.model_validator(mode="after")
    def _aspects_are_known(self) -> Self:
        if self.rubric is not None and "aspects" not in self.model_fields_set:
            object.__setattr__(self, "aspects", ())
        for aspect in self.aspects:
            if aspect not in ASPECTS:
                raise ValueError(f"there is no aspect '{aspect}'; {nearest(aspect, ASPECTS)}")
        if self.rubric is not None and not self.critique:
            raise ValueError(
                "a rubric is asked in place of the critique, and 'critique' is false; leave one of them out"
            )
        judged = self.judges().rubric
        if judged is not None and (twice := next((name for name in judged.names if name in self.aspects), None)):
            raise ValueError(f"'{twice}' is a point of the rubric and an aspect too; each needs a name of its own")
        return self


class Verification(Config):
    """What is verified of each answer beside what a judge rates: checks by program, a checklist by the judge."""

    rows: bool = True
    """Whether a prompt's row says what is verified: ``instruction_id_list`` and ``kwargs`` as in IFEval's and IFBench's
    files, ``checklist`` as a list of texts."""
    checks: tuple[str, ...] = ()
    """Checks of every prompt, without settings: ids, or functions of your own, ``python:FILE.py:NAME``."""
    own_checks: tuple[str, ...] = ()
    """Functions of your own that rows may name; a row alone runs no code."""
    checklist: str | None = None
    """File of requirements for every prompt, one a line."""
    endpoint: str | None = None
    """Who is asked whether a requirement is met; null takes the judge."""
    prompt: str = "judge_requirement"
    """Prompt file; it is asked with the slots ``{instruction}``, ``{answer}`` and ``{requirement}``."""
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=500)
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""

    @pydantic.model_validator(mode="after")
    def _readable(self) -> Self:
        self.template()
        self.requirements()
        return self

    @pydantic.field_serializer("prompt")
    def _prompt_by_content(self, _: str) -> str:
        return self.template().digest

    @pydantic.field_serializer("checklist")
    def _checklist_by_content(self, source: str | None) -> str | None:
        return None if source is None else digest(*self.requirements())

    def template(self) -> Template:
        """The prompt file.

        Raises:
            ConfigError: if there is no such file, or its slots are not as they must be.
        """
        return read_prompt(self.prompt, needs=("instruction", "answer", "requirement"))

    def requirements(self) -> tuple[str, ...]:
        """The requirements of every prompt: lines of the file, but blank ones and those that begin with ``#``.

        Raises:
            ConfigError: if it cannot be read, or holds none.
        """
        if self.checklist is None:
            return ()
        try:
            lines = Path(self.checklist).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise ConfigError(
                f"cannot read the checklist {self.checklist}: {told}; name a text file with a requirement a line"
            ) from None
        found = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
        if not found:
            raise ConfigError(f"the checklist {self.checklist} holds no requirement; write one a line")
        return found


class EndpointSettings(Config):
    """What all that ask models share: endpoints, ledger, costs."""

    endpoints: tuple[Endpoint, ...] = ()
    """The endpoints that may be asked. For the result counts only what determines an answer: name, model, API, body."""
    ledger: str | None = pydantic.Field(default=None, exclude=True)
    """The ledger's file; null takes ``ledger.sqlite`` beside the runs, so that runs share what was paid for."""
    max_cost: Annotated[float, pydantic.Field(ge=0)] | None = pydantic.Field(default=None, exclude=True)
    """The most that a run may cost. At this point it stops, and the same command goes on with more."""

    @pydantic.field_serializer("endpoints")
    def _by_identity(self, endpoints: tuple[Endpoint, ...]) -> list[dict[str, Any]]:
        """No address, rate or price: another replica gives the same answers."""
        return [
            {"name": e.name, "model": e.model, "api": e.api, "structured": e.structured, "body": e.body}
            | ({"api_version": e.api_version} if e.api == "messages" else {})
            for e in endpoints
        ]


class Collection(EndpointSettings):
    """Completions of several models, and what a judge says of them."""

    pool: tuple[PoolMember, ...] = pydantic.Field(min_length=1)
    """The models that may answer."""
    completions: int = pydantic.Field(default=4, ge=1)
    """Members drawn for each prompt, without replacement."""
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=1024)
    samples: int = pydantic.Field(default=1, ge=1)
    """n: answers of each member that is drawn; each is a completion of its own."""
    principles: Literal["paper", "code", "none"] | dict[str, dict[str, Share]] = "paper"
    """Preset, or source → principle → weight; the empty source stands for all others."""
    judge: JudgeSettings | None
    """Null collects completions alone."""
    verify: Verification | None = None
    """Checks by program and checklists, beside the judge's ratings; null verifies nothing."""
    seeded: bool = True
    """Whether requests carry a seed; some servers refuse it."""

    @pydantic.model_validator(mode="after")
    def _check_pool(self) -> Self:
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

    @pydantic.model_serializer(mode="wrap")
    def _without_unverified(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A collection that verifies nothing counts as it did before there was the setting."""
        found: dict[str, Any] = serialize(self)
        return found if found.get("verify") else {key: value for key, value in found.items() if key != "verify"}

    def shares(self) -> dict[str, dict[str, float]]:
        """Source → principle → weight."""
        return PRINCIPLES[self.principles] if isinstance(self.principles, str) else self.principles


class Conversation(EndpointSettings):
    """Dialogues that a teacher has with itself, as UltraChat was made (Ding et al. 2023,
    https://arxiv.org/abs/2305.14233)."""

    teacher: str = pydantic.Field(min_length=1)
    """Endpoint that plays both sides."""
    dialogues: int = pydantic.Field(default=100, ge=1)
    """How many."""
    turns: int = pydantic.Field(default=3, ge=1)
    """User turns of a dialogue, each with its answer."""
    materials: float = pydantic.Field(default=0.5, ge=0, le=1)
    """Share of the dialogues that are about a text, which the teacher writes first; the others open from a topic."""
    topics: str = "topics"
    """File of topics, divided by lines of ``---``."""
    kinds: str = "materials"
    """File of kinds of texts."""
    sampling: Sampling = Sampling(temperature=1.0, max_tokens=1024)
    seeded: bool = True
    """Whether requests carry a seed; some servers refuse it."""

    @pydantic.field_serializer("topics", "kinds")
    def _by_content(self, source: str) -> str:
        return digest(*read_variants(source))


class Refinement(EndpointSettings):
    """Instructions that a teacher rewrites in the light of an answer."""

    teacher: str = pydantic.Field(min_length=1)
    """Endpoint that rewrites."""
    prompt: str = "teacher_refine"
    """Prompt file."""
    sampling: Sampling = Sampling(temperature=1.0, max_tokens=1024)
    seeded: bool = True
    """Whether requests carry a seed; some servers refuse it."""

    @pydantic.field_serializer("prompt")
    def _by_content(self, source: str) -> str:
        return read_prompt(source, needs=("instruction", "answer")).digest
