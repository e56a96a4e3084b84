"""What can be set of the losses. No torch: a recipe is checked without it.

Each loss has a config of its own that holds the options it uses and no other, so that an option without effect is an
error. The equations are in ``ratio_losses``, ``extended_losses`` and ``unpaired_losses``, under the same names.
"""

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Discriminator, Field, Tag

from notus.core.config import Config
from notus.core.errors import nearest

__all__ = [
    "AnyObjective",
    "ApoDown",
    "ApoZero",
    "Bco",
    "BcoUnpaired",
    "Cdpo",
    "Discopop",
    "Dpop",
    "Exo",
    "Hinge",
    "IpoMean",
    "IpoSum",
    "Kto",
    "LdDpo",
    "Loss",
    "Margin",
    "Nca",
    "Nll",
    "Orpo",
    "PairLoss",
    "PairObjective",
    "RDpo",
    "Robust",
    "Rpo",
    "Sigmoid",
    "SigmoidNorm",
    "Simpo",
    "SppoHard",
    "UnpairedObjective",
    "Weighted",
    "needs_common_prefix",
    "needs_kl",
    "needs_reference",
    "needs_score_margins",
    "needs_shift",
    "reward_beta",
    "terms",
]

Need = Literal["reference", "prefix", "scores", "shift", "kl"]


class Loss(Config):
    """What all losses share: a name, and what they need of a batch beside the policy's log-probabilities."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})
    name: str

    def options(self) -> dict[str, Any]:
        """The options as keyword arguments of the function of this name."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _options_of_this_loss(cls, data: object) -> object:
        # The check for unknown keys that all configs have would name the keys of the first loss of the union.
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                raise ValueError(_unknown_option(cls, str(key)))
        return data


class _WithBeta(Loss):
    beta: float = Field(default=0.1, gt=0)
    """Weight of the KL penalty."""


class Sigmoid(_WithBeta):
    """DPO."""

    name: Literal["sigmoid"] = "sigmoid"


class Cdpo(_WithBeta):
    """Conservative DPO: smoothed labels."""

    name: Literal["cdpo"] = "cdpo"
    label_smoothing: float = Field(default=0.1, ge=0, le=0.5)
    """Share of labels that is taken to be flipped."""


class Robust(_WithBeta):
    """Robust DPO: free of the bias of flipped labels."""

    name: Literal["robust"] = "robust"
    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """Rate at which labels are flipped."""


class Hinge(_WithBeta):
    """Hinge on the margin, as in SLiC."""

    name: Literal["hinge"] = "hinge"


class IpoSum(_WithBeta):
    """IPO on sums over tokens, as the paper writes it."""

    name: Literal["ipo_sum"] = "ipo_sum"


class IpoMean(_WithBeta):
    """IPO on means over tokens, as TRL and the paper's experiments have it."""

    name: Literal["ipo_mean"] = "ipo_mean"


class Exo(_WithBeta):
    """EXO on pairs."""

    name: Literal["exo"] = "exo"
    label_smoothing: float = Field(default=1e-3, gt=0, lt=0.5)
    """Smoothing of the labels; at 0 the loss is infinite."""


class Nca(_WithBeta):
    """Noise-contrastive alignment on pairs."""

    name: Literal["nca"] = "nca"


class Bco(_WithBeta):
    """Binary classifier on pairs, with a running shift of the reward."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "shift"})
    name: Literal["bco"] = "bco"


class SppoHard(_WithBeta):
    """Self-play preference optimisation with hard labels."""

    name: Literal["sppo_hard"] = "sppo_hard"


class ApoZero(_WithBeta):
    """Anchored: chosen answers up, rejected ones down."""

    name: Literal["apo_zero"] = "apo_zero"


class ApoDown(_WithBeta):
    """Anchored: both answers down, the rejected one more."""

    name: Literal["apo_down"] = "apo_down"


class Discopop(_WithBeta):
    """DiscoPOP: a blend of logistic and exponential loss."""

    name: Literal["discopop"] = "discopop"
    tau: float = Field(default=0.05, gt=0, le=1)
    """Width of the blend, in units of the margin; above 1 the loss grows exponentially for wrong pairs."""


class SigmoidNorm(Loss):
    """DPO on means over tokens."""

    name: Literal["sigmoid_norm"] = "sigmoid_norm"
    beta: float = Field(default=5.0, gt=0)
    """Weight of the KL penalty per token; Tülu 3 uses 5."""


class Simpo(Loss):
    """SimPO: mean log-probabilities and a margin, no reference."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    name: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0)
    """Scale of the reward."""
    gamma: float = Field(default=1.0, ge=0)
    """Margin that is asked for, in units of the reward."""


class Orpo(Loss):
    """ORPO: likelihood and odds ratio, no reference."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    name: Literal["orpo"] = "orpo"
    odds_weight: float = Field(default=0.1, gt=0)
    """Weight of the odds-ratio term, the paper's λ."""


class Rpo(_WithBeta):
    """DPO plus the likelihood of the chosen answer."""

    name: Literal["rpo"] = "rpo"
    nll_weight: float = Field(default=1.0, gt=0)
    """Weight of the mean negative log-likelihood of the chosen answer."""


class LdDpo(_WithBeta):
    """DPO in which tokens beyond the common length count less."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "prefix"})
    name: Literal["ld_dpo"] = "ld_dpo"
    tail_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the tokens of the longer answer beyond the length of the shorter one, the paper's α; 1 is DPO."""


class RDpo(_WithBeta):
    """DPO with a penalty on length."""

    name: Literal["r_dpo"] = "r_dpo"
    length_penalty: float = Field(default=0.01, gt=0)
    """Reward that one token costs, the paper's α."""


class Dpop(_WithBeta):
    """DPO that keeps the chosen answer at least as likely as it was."""

    name: Literal["dpop"] = "dpop"
    penalty: float = Field(default=50.0, gt=0)
    """Weight of the fall of the chosen answer, the paper's λ."""


class Margin(_WithBeta):
    """DPO that asks for a margin in proportion to the difference of the scores."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "scores"})
    name: Literal["margin"] = "margin"
    scale: float = Field(default=1.0, gt=0)
    """Reward for one point of score."""


class Nll(Loss):
    """Likelihood of the chosen answer alone: a term for weighted sums."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    name: Literal["nll"] = "nll"


class Kto(_WithBeta):
    """KTO on single rows."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "kl"})
    name: Literal["kto"] = "kto"
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)


class BcoUnpaired(_WithBeta):
    """Binary classifier on single rows, with a running shift of the reward."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reference", "shift"})
    name: Literal["bco_unpaired"] = "bco_unpaired"


_PAIRED: tuple[type[Loss], ...] = (
    Sigmoid, Cdpo, Robust, Hinge, IpoSum, IpoMean, Exo, Nca, Bco, SppoHard, ApoZero, ApoDown, Discopop, SigmoidNorm,
    Simpo, Orpo, Rpo, LdDpo, RDpo, Dpop, Margin, Nll,
)  # fmt: skip
_UNPAIRED: tuple[type[Loss], ...] = (Kto, BcoUnpaired)


def _name(cls: type[Loss]) -> str:
    return str(cls.model_fields["name"].default)


def _unknown_option(cls: type[Loss], key: str) -> str:
    known = [field for field in cls.model_fields if field != "name"]
    others = sorted(_name(other) for other in (*_PAIRED, *_UNPAIRED) if key in other.model_fields)
    owners = f" (it is one of {', '.join(others)})" if 0 < len(others) <= 4 else ""
    hint = nearest(key, known) if known else "it has no option at all"
    return f"the loss '{_name(cls)}' has no option '{key}'{owners}; {hint}"


def _check_name(data: object, kind: str, own: tuple[type[Loss], ...], other: tuple[type[Loss], ...]) -> object:
    if isinstance(data, Loss):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise ValueError("a loss is a mapping with a name, for example {name: sigmoid, beta: 0.1}")
    name, known = data["name"], [_name(cls) for cls in own]
    if name in map(_name, other):
        raise ValueError(f"'{name}' is no loss of {kind}; known: {', '.join(sorted(known))}")
    if name not in known:
        raise ValueError(f"there is no loss '{name}'; {nearest(name, known)}")
    return data


def _tag(data: Any) -> str:
    return f"[{data.name if isinstance(data, Loss) else data['name']}]"


def _tag_of_objective(data: object) -> str:
    return "[several]" if isinstance(data, list | tuple) else "[one]"


def _tag_of_kind(data: Any) -> str:
    """A misspelt name counts as the loss that was probably meant, whose kind then says so."""
    name = data.name if isinstance(data, Loss) else data.get("name") if isinstance(data, Mapping) else None
    close = difflib.get_close_matches(str(name), map(_name, (*_PAIRED, *_UNPAIRED)), n=1)
    return "[rows]" if close and close[0] in map(_name, _UNPAIRED) else "[pairs]"


# The tags stand in brackets because errors leave such parts out of the key they name.
PairLoss = Annotated[
    Annotated[Sigmoid, Tag("[sigmoid]")]
    | Annotated[Cdpo, Tag("[cdpo]")]
    | Annotated[Robust, Tag("[robust]")]
    | Annotated[Hinge, Tag("[hinge]")]
    | Annotated[IpoSum, Tag("[ipo_sum]")]
    | Annotated[IpoMean, Tag("[ipo_mean]")]
    | Annotated[Exo, Tag("[exo]")]
    | Annotated[Nca, Tag("[nca]")]
    | Annotated[Bco, Tag("[bco]")]
    | Annotated[SppoHard, Tag("[sppo_hard]")]
    | Annotated[ApoZero, Tag("[apo_zero]")]
    | Annotated[ApoDown, Tag("[apo_down]")]
    | Annotated[Discopop, Tag("[discopop]")]
    | Annotated[SigmoidNorm, Tag("[sigmoid_norm]")]
    | Annotated[Simpo, Tag("[simpo]")]
    | Annotated[Orpo, Tag("[orpo]")]
    | Annotated[Rpo, Tag("[rpo]")]
    | Annotated[LdDpo, Tag("[ld_dpo]")]
    | Annotated[RDpo, Tag("[r_dpo]")]
    | Annotated[Dpop, Tag("[dpop]")]
    | Annotated[Margin, Tag("[margin]")]
    | Annotated[Nll, Tag("[nll]")],
    Discriminator(_tag),
    pydantic.BeforeValidator(partial(_check_name, kind="pairs", own=_PAIRED, other=_UNPAIRED)),
]
"""One loss of pairs, told apart by ``name``."""

UnpairedObjective = Annotated[
    Annotated[Kto, Tag("[kto]")] | Annotated[BcoUnpaired, Tag("[bco_unpaired]")],
    Discriminator(_tag),
    pydantic.BeforeValidator(partial(_check_name, kind="single rows", own=_UNPAIRED, other=_PAIRED)),
]
"""One loss of single rows, told apart by ``name``."""


class Weighted(Config):
    """A term of a weighted sum of losses."""

    weight: float = Field(default=1.0, gt=0)
    loss: PairLoss

    @pydantic.model_validator(mode="before")
    @classmethod
    def _keys_of_a_term(cls, data: object) -> object:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                raise ValueError(f"a weighted loss has no key '{key}'; {nearest(str(key), cls.model_fields)}")
        return data


PairObjective = Annotated[
    Annotated[PairLoss, Tag("[one]")] | Annotated[tuple[Weighted, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(_tag_of_objective),
]
"""One loss of pairs, or a list of ``{weight, loss}`` that is summed."""

AnyObjective = Annotated[
    Annotated[PairObjective, Tag("[pairs]")] | Annotated[UnpairedObjective, Tag("[rows]")],
    Discriminator(_tag_of_kind),
]
"""What ``PairObjective`` or ``UnpairedObjective`` takes; the name of the loss decides."""

Objective = Loss | tuple[Weighted, ...]


def terms(objective: Objective) -> list[tuple[float, Loss]]:
    """An objective as weights and losses; a single loss has the weight 1."""
    if isinstance(objective, Loss):
        return [(1.0, objective)]
    return [(term.weight, term.loss) for term in objective]


def needs_reference(objective: Objective) -> bool:
    """Whether any of the losses reads the reference."""
    return _needs(objective, "reference")


def needs_common_prefix(objective: Objective) -> bool:
    """Whether any of the losses needs the sums over the common length of both answers."""
    return _needs(objective, "prefix")


def needs_score_margins(objective: Objective) -> bool:
    """Whether any of the losses needs the scores of both answers."""
    return _needs(objective, "scores")


def needs_shift(objective: Objective) -> bool:
    """Whether any of the losses needs the running mean of the log-ratios."""
    return _needs(objective, "shift")


def needs_kl(objective: Objective) -> bool:
    """Whether any of the losses needs an estimate of the KL divergence."""
    return _needs(objective, "kl")


def reward_beta(objective: Objective) -> float:
    """The β by which implicit rewards are reported: that of the first loss that has one, and 1 where none has."""
    betas = (loss.options().get("beta") for _, loss in terms(objective))
    return next((float(beta) for beta in betas if beta is not None), 1.0)


def _needs(objective: Objective, need: Need) -> bool:
    return any(need in loss.needs for _, loss in terms(objective))
