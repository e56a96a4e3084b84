"""Rounds: sample → rank → binarize → DPO → measure, again and again, written once under ``rounds`` in a recipe.

    rounds:
      count: 3
      start: sft                       # a step, a path or a hub id
      prompts: data                    # its prompts are divided into disjoint parts, one for each round
      reference: previous              # or: initial
      sample: {sampling: {samples: 5}}
      rank: {ranker: "pairrm:llm-blender/PairRM"}
      binarize: {preset: snorkel}
      dpo: {learning_rate: 5e-7}
      measure: {data: data, check: null}

Owns that setting, and how it becomes ordinary steps of the recipe: ``sample-1``, ``rank-1``, ``binarize-1``, ``dpo-1``,
``answers-1``, ``round-1`` and so on, with ``answers-0`` for the start. They are digested, shared, seeded, resumed and
reported like all others, and other steps may name them. In the settings of these steps ``{policy}`` stands for the
model that a round begins with, and ``{start}`` for the first one: a model that ranks its own answers (Yuan et al. 2024,
https://arxiv.org/abs/2401.10020) is a ranker that names ``{policy}``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic

from notus.core.config import Config, merge
from notus.core.errors import ConfigError
from notus.models.ranker_settings import RANKERS, RankerSpec

__all__ = ["ROUNDS", "Rounds", "unrolled"]

ROUNDS = "rounds"
"""The key in a recipe."""
Settings = dict[str, Any]
Name = Annotated[str, pydantic.Field(min_length=1)]


class _Measuring(Config):
    """How each round is measured: on which prompts, how many answers, and by whom beside the ranker."""

    data: Name = "data"
    """Where the prompts are from, which no round should train on."""
    prompts: Literal["records", "held-out"] = "held-out"
    answers: Settings = pydantic.Field(default_factory=dict)
    """Settings of the step that answers them, ``sample``; those of the rounds are laid under."""
    check: str | None = None
    """An independent check, written like a ranker; null leaves the ranker alone to judge, and the report says so."""
    kl: bool = True
    """Whether the divergence from the start is computed, by the log-probabilities of a round's own answers."""

    @pydantic.field_validator("check")
    @classmethod
    def _is_ranker(cls, check: str | None) -> str | None:
        if check is not None:
            _refuse_unknown(check)
        return check


class Rounds(Config):
    """What stands under ``rounds``."""

    count: int = pydantic.Field(default=3, ge=1, le=100)
    start: Name = "sft"
    """The model of round 0: a step, a path or a hub id."""
    prompts: Name = "data"
    """Where the prompts of all rounds are from."""
    splits: tuple[Name, ...] = ()
    """Names of files of the source, one for each round, as published sets have them; empty divides it by a hash."""
    parts: int | None = pydantic.Field(default=None, ge=1)
    """Into how many disjoint parts the prompts are divided; null takes as many as there are rounds."""
    reference: Literal["initial", "previous"] = "previous"
    """The reference of each round's DPO: the first model, or the one that the round begins with."""
    sample: Settings = pydantic.Field(default_factory=dict)
    rank: Settings
    binarize: Settings = pydantic.Field(default_factory=lambda: {"preset": "snorkel"})
    dpo: Settings = pydantic.Field(default_factory=dict)
    measure: _Measuring | None = _Measuring()
    """Null measures nothing."""

    @pydantic.model_validator(mode="after")
    def _enough_prompts(self) -> Self:
        if self.splits and (len(self.splits) < self.count or self.parts is not None):
            raise ValueError(f"'splits' names one file for each of the {self.count} rounds, and excludes 'parts'")
        if self.parts is not None and self.parts < self.count:
            raise ValueError(f"{self.count} rounds need as many disjoint parts of the prompts; 'parts' is {self.parts}")
        if self.measure is not None and "ranker" not in self.rank:
            raise ValueError("'rank' names no ranker; set rank.ranker, for example to length")
        if isinstance(text := self.rank.get("ranker"), str) and text not in RANKERS:
            # Said here, where it was written, and not by a step that the rounds make.
            _refuse_unknown(text, "rank.ranker: ")
        return self


def unrolled(steps: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The steps of a recipe with ``rounds`` written out; without it they are returned as they are.

    Raises:
        ConfigError: if a setting of ``rounds`` is wrong, or a step has the name of one that it makes.
    """
    others = {name: settings for name, settings in steps.items() if name != ROUNDS}
    if steps.get(ROUNDS) is None:
        return others
    rounds = Rounds.parse(steps[ROUNDS], where=f"{where}: '{ROUNDS}'")
    made: dict[str, Any] = {}
    if rounds.measure is not None:
        made["answers-0"] = _answers(rounds, rounds.measure, rounds.start)
    for number in range(1, rounds.count + 1):
        made |= _round(rounds, number)
    if taken := next((name for name in made if name in others), None):
        raise ConfigError(f"{where}: '{taken}' is a step that '{ROUNDS}' makes; give yours another name")
    return others | made


def _refuse_unknown(ranker: str, key: str = "") -> None:
    try:
        RankerSpec.read(ranker)
    except ConfigError as error:
        raise ValueError(f"{key}{error}") from None


def _round(rounds: Rounds, number: int) -> dict[str, Any]:
    policy = _policy(rounds, number - 1)
    part: Settings = {"part": number, "parts": rounds.parts or rounds.count}
    if rounds.splits:
        part = {"split": rounds.splits[number - 1]}
    reference = rounds.start if rounds.reference == "initial" and number > 1 else None
    made = {
        f"sample-{number}": {"do": "sample", "data": rounds.prompts, "model": policy} | part | rounds.sample,
        f"rank-{number}": {"do": "rank", "outputs": f"sample-{number}"} | rounds.rank,
        f"binarize-{number}": {"do": "binarize", "data": f"rank-{number}"} | rounds.binarize,
        f"dpo-{number}": {"do": "dpo", "start": policy, "reference": reference, "pairs": f"binarize-{number}"}
        | rounds.dpo,
    }
    if rounds.measure is not None:
        made[f"answers-{number}"] = _answers(rounds, rounds.measure, _policy(rounds, number))
        made[f"round-{number}"] = _measured(rounds, rounds.measure, number)
    filled: dict[str, Any] = _filled(made, {"{policy}": policy, "{start}": rounds.start})
    return filled


def _measured(rounds: Rounds, measure: _Measuring, number: int) -> Settings:
    last = number - 1
    before = {"before": f"round-{last}", "before_outputs": f"answers-{last}"} if last else {}
    kl = {"policy": _policy(rounds, number), "start": rounds.start} if measure.kl else {}
    limits = {"limits": rounds.sample["limits"]} if measure.kl and "limits" in rounds.sample else {}
    drawn = {"outputs": f"answers-{number}", "start_outputs": "answers-0"}
    return {"do": "round", "number": number, "check": measure.check} | rounds.rank | drawn | before | kl | limits


def _answers(rounds: Rounds, measure: _Measuring, model: str) -> Settings:
    asked = {"do": "sample", "data": measure.data, "prompts": measure.prompts, "model": model}
    # Cut answers count when a model is measured, whatever becomes of them in training.
    return merge(rounds.sample | {"drop_truncated": False}, measure.answers) | asked


def _policy(rounds: Rounds, number: int) -> str:
    """The model after so many rounds."""
    return f"dpo-{number}" if number else rounds.start


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """Put names in the place of ``{policy}`` and ``{start}``, in all texts of a setting."""
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, names) for item in value]
    if isinstance(value, str):
        for mark, name in names.items():
            value = value.replace(mark, name)
    return value
