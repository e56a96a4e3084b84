"""Settings of the steps that put rewards and judges on trial. What they do is in ``flow.trialsteps``.

No torch and nothing heavy.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import pydantic

from notus.core.config import Config
from notus.data.collect_settings import Asking, Drawing
from notus.flow.stepconfig import Reads, Ref, Refs, Seed, Serving
from notus.models.judge import JUDGES, Judges
from notus.models.ranker_settings import RankerSpec, Ranking

__all__ = ["AskedSettings", "JudgeTrial", "RewardCheck", "models_of", "with_models"]

RankerText = Annotated[str, pydantic.Field(min_length=1)]


def models_of(text: str) -> tuple[str, ...]:
    """The files, folders, hub ids or steps of a recipe that the text form of a ranker names, in its order.

    Raises:
        ConfigError: if it is no ranker.
    """
    spec = RankerSpec.read(text)
    if spec.kind == "python":
        place = (spec.model or "").rpartition(":")[0]
        return (place,) if place.endswith(".py") else ()
    return tuple(each for each in (spec.model, spec.reference) if each and spec.kind != "judge")


def with_models(text: str, models: Sequence[str]) -> RankerSpec:
    """The ranker with others in the place of what ``models_of`` gave, in its order."""
    spec, found = RankerSpec.read(text), iter(models)
    if not models:
        return spec
    if spec.kind == "python":
        return spec.model_copy(update={"model": f"{next(found)}:{(spec.model or '').rpartition(':')[2]}"})
    return spec.model_copy(update={"model": next(found), "reference": next(found, None)})


class _Ranked(Reads, Serving, Asking):
    """What both steps share: how rankers work, and who is asked."""

    ranking: Ranking = Ranking()
    """How rankers work."""


class RewardCheck(_Ranked):
    """Accuracy of a ranker on preference pairs, as RewardBench counts it, with its bias to length."""

    draws: ClassVar[bool] = False
    do: Literal["reward-check"] = "reward-check"
    data: Ref = "data"
    """Preference pairs; in the run directory of a step those that it held out, where there are some."""
    ranker: RankerText
    """In its text form, such as ``length`` or ``reward-model:PATH``."""
    tie: float = pydantic.Field(default=0.0, ge=0, le=0.5)
    """What two equal scores count: 0 as in RewardBench, 0.5 as in the step ``rewards``."""
    subset: str = "subset"
    """Column that names the part of the set; ``source`` takes the pair's source."""
    scale: float | None = pydantic.Field(default=None, gt=0)
    """Makes a logit of a margin: 1 for a Bradley–Terry reward model, β for an implicit reward. null: no calibration."""

    models: Refs = pydantic.Field(default_factory=lambda given: _models((given.get("ranker", ""),)), exclude=True)
    """What the ranker names; it is filled in, so that a changed model is another input."""

    @pydantic.field_serializer("ranker")
    def _by_kind(self, ranker: str) -> str:
        return _by_kind(ranker)

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether the ranker is a model of ours, whose last bits depend on the number of threads."""
        return _is_model(self.ranker)


class AskedSettings(Config):
    """One judge that is asked."""

    endpoint: str = pydantic.Field(min_length=1)
    form: Literal["pair", "grade"] = "pair"
    """``pair`` asks which of two answers is better, ``grade`` for a grade of each alone."""
    sampling: Drawing = Drawing(temperature=0.0, max_tokens=1024)
    tries: int = pydantic.Field(default=3, ge=1, le=20)
    """How often a question is asked until its reply can be read."""
    prompts: dict[str, str] = pydantic.Field(default_factory=dict)
    """Judge (``pair``, ``grade``) → a prompt file of your own."""
    verbatim: bool = False
    """Put answers into the prompt as they are, without fences: for published prompts. An answer can then speak to the
    judge, and the canaries will show it."""

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
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


class JudgeTrial(_Ranked):
    """Judges on trial: agreement with people, the order, the length, and canaries."""

    do: Literal["judges"] = "judges"
    data: Ref = "data"
    """Pairs that people have judged (PandaLM's or LLMBar's rows), or preference pairs."""
    rankers: tuple[RankerText, ...] = ()
    """In their text form; a judge that is asked stands under ``judges``."""
    judges: tuple[AskedSettings, ...] = ()
    canaries: int = pydantic.Field(default=100, ge=0)
    """Pairs on which each kind of trap is set; 0 sets none."""
    outputs: Refs = pydantic.Field(default=(), exclude=True)
    """Files of outputs of models, whose distinct answers are counted."""
    seed: Seed | None = None
    """Draws the pairs for the traps."""

    models: Refs = pydantic.Field(default_factory=lambda given: _models(given.get("rankers", ())), exclude=True)
    """What the rankers name; it is filled in."""

    @pydantic.model_validator(mode="after")
    def _someone(self) -> Self:
        if not self.rankers and not self.judges:
            raise ValueError("nobody is on trial: name rankers (--ranker length) or judges")
        if asked := next((text for text in self.rankers if RankerSpec.read(text).kind == "judge"), None):
            raise ValueError(f"'{asked}' is a judge that is asked: name its endpoint under 'judges', not in 'rankers'")
        names = [*self.rankers, *(each.endpoint for each in self.judges)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"'{twice}' is on trial twice; once is enough")
        return self

    @pydantic.field_serializer("rankers")
    def _by_kind(self, rankers: tuple[str, ...]) -> list[str]:
        return [_by_kind(text) for text in rankers]

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a ranker is a model of ours, whose last bits depend on the number of threads."""
        return any(map(_is_model, self.rankers))


def _is_model(text: str) -> bool:
    return RankerSpec.read(text).kind in ("pairrm", "reward-model", "implicit")


def _models(texts: tuple[str, ...]) -> tuple[str, ...]:
    """What rankers name; a text that was refused names nothing."""
    return tuple(model for text in texts if text for model in models_of(text))


def _by_kind(text: str) -> str:
    """A ranker without the places of its models, which count by their content, among the inputs."""
    return str(with_models(text, [f"<{number}>" for number in range(len(models_of(text)))]))
