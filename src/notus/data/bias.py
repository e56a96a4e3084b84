"""The bias of a preference set: does position, the model's name or the length decide what is chosen and rejected?

Where pairs say at which position among how many completions chosen and rejected stood (``extra`` of pairs that Notus
made), each position should be used equally often: ``core.categorical.uniformity`` tests it, and finds for example that
the first published binarization of UltraFeedback rejects always completion 0 or 2. Owns the figures and the words.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from notus.core.categorical import Uniformity, uniformity
from notus.core.statistics import Estimate, clustered_mean, holm, p_value
from notus.core.strength import Comparisons, bradley_terry
from notus.data.audit_pairs import Pair, share_of_pairs

__all__ = ["Bias", "ModelBias", "Positions", "bias_of"]

_LEVEL = 0.05
_NAMED = 4
_NOTICED = 5.0
"""Expected count from which a position that is never used is worth a word."""


@dataclass(frozen=True)
class Positions:
    """Where chosen, or rejected, stood among the completions of its prompt."""

    side: str
    """``chosen`` or ``rejected``."""
    completions: int
    """Number of completions of these prompts."""
    shares: tuple[float, ...]
    """Share of each position; a prompt with several pairs counts once."""
    test: Uniformity
    p: float
    """Of the test, after Holm's correction over all position tests."""

    def sentence(self) -> str:
        """What was found, or nothing where the positions are not distinguishable from even use."""
        if self.p >= _LEVEL:
            return ""
        even, n = 1 / self.completions, self.test.groups
        used = [f"{share:.1%} at {place}" for place, share in enumerate(self.shares) if share > 0]
        never = [str(place) for place, share in enumerate(self.shares) if share == 0]
        told = f"n = {n:,} prompts of {self.completions} completions, {_p(self.p)}"
        if never and n * even >= _NOTICED:
            where = " or ".join(str(place) for place, share in enumerate(self.shares) if share > 0)
            said = f"{self.side.capitalize()} is always completion {where}, never {' or '.join(never)}"
            return f"{said} ({', '.join(used)}; even use would be {even:.0%} each; {told}): the position decides."
        return (
            f"{self.side.capitalize()} does not use the positions evenly: {', '.join(used)}; even use would be "
            f"{even:.0%} each ({told})."
        )


@dataclass(frozen=True)
class ModelBias:
    """How one model fares in the pairs that it shares with another one."""

    name: str
    chosen: int
    rejected: int
    share: Estimate | None
    """Share of those pairs in which it is the chosen one, with prompts as clusters."""
    p: float | None
    """Two-sided p of "one half", after Holm's correction over the models."""
    strength: Estimate | None
    """Bradley–Terry log-strength relative to the mean of the models; None where it has only won or only lost."""


@dataclass(frozen=True)
class Bias:
    """What decides in a preference set beside the answers."""

    positions: tuple[Positions, ...]
    models: tuple[ModelBias, ...]
    """The one that is chosen most often first."""
    longer: Estimate | None
    """Share of pairs in which chosen is the longer answer, of those whose lengths differ."""

    def sentences(self) -> list[str]:
        """What can be told apart from even, in words."""
        said = [sentence for item in self.positions if (sentence := item.sentence())]
        apart = [model for model in self.models if model.share and model.p is not None and model.p < _LEVEL]
        for models, what in (
            ([model for model in apart if model.share and model.share.mean > 0.5], "chosen more often than rejected"),
            (
                [model for model in reversed(apart) if model.share and model.share.mean < 0.5],
                "rejected more often than chosen",
            ),
        ):
            if models:
                named = ", ".join(f"{m.name} ({_share(m.share)})" for m in models[:_NAMED] if m.share)
                more = f", and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
                said.append(f"By the name of the model, {what}: {named}{more}.")
        if self.longer and not self.longer.low <= 0.5 <= self.longer.high:
            which = "longer" if self.longer.mean > 0.5 else "shorter"
            said.append(
                f"The {which} answer is preferred: chosen is the longer one in {_share(self.longer)} of "
                f"{self.longer.n:,} pairs of different lengths."
            )
        return said


def bias_of(rows: Iterable[Pair]) -> Bias:
    """Find what decides in a preference set, from the rows of its audit: see ``data.audit_pairs``."""
    places: dict[tuple[str, int], dict[str, Counter[int]]] = {}
    games: list[tuple[str, str, float, str]] = []
    longer: list[bool] = []
    longer_prompts: list[str] = []
    for row in rows:
        prompt = row.prompt_id
        for side, place in (("chosen", row.place_chosen), ("rejected", row.place_rejected)):
            if place is not None and row.completions is not None and row.completions > 1:
                places.setdefault((side, row.completions), {}).setdefault(prompt, Counter())[place] += 1
        if row.model_chosen and row.model_rejected and row.model_chosen != row.model_rejected:
            games.append((row.model_chosen, row.model_rejected, 1.0, prompt))
        if row.length_chosen != row.length_rejected:
            longer.append(row.length_chosen > row.length_rejected)
            longer_prompts.append(prompt)
    return Bias(_positions(places), _models(games), share_of_pairs(longer, longer_prompts).interval)


def _positions(places: dict[tuple[str, int], dict[str, Counter[int]]]) -> tuple[Positions, ...]:
    found = []
    for (side, of), prompts in sorted(places.items()):
        shares = np.zeros((len(prompts), of))
        for row, counts in enumerate(prompts.values()):
            for place, count in counts.items():
                shares[row, place] = count / counts.total()
        found.append((side, of, tuple(float(share) for share in shares.mean(axis=0)), uniformity(shares)))
    adjusted = holm([test.p for *_, test in found])
    return tuple(Positions(*item, p) for item, p in zip(found, adjusted, strict=True))


def _models(games: list[tuple[str, str, float, str]]) -> tuple[ModelBias, ...]:
    results: dict[str, tuple[list[float], list[str]]] = {}
    for chosen, rejected, _, prompt in games:
        for name, won in ((chosen, 1.0), (rejected, 0.0)):
            values, prompts = results.setdefault(name, ([], []))
            values.append(won)
            prompts.append(prompt)
    shares = {name: clustered_mean(*columns) for name, columns in results.items()}
    tested = {name: _against_half(share) for name, share in shares.items() if share}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    fit = bradley_terry(Comparisons.make(games)) if games else None
    models = [
        ModelBias(
            name,
            chosen=int(sum(values)),
            rejected=len(values) - int(sum(values)),
            share=shares[name],
            p=adjusted.get(name),
            strength=fit.of.get(name) if fit else None,
        )
        for name, (values, _) in results.items()
    ]
    return tuple(sorted(models, key=lambda model: (-model.chosen / (model.chosen + model.rejected), model.name)))


def _against_half(share: Estimate) -> float:
    moved = Estimate(share.mean - 0.5, share.low - 0.5, share.high - 0.5, share.n, share.groups, share.method)
    return p_value(moved)


def _share(share: Estimate) -> str:
    return f"{share.mean:.1%}, 95 % {share.low:.1%} to {share.high:.1%}"


def _p(p: float) -> str:
    return "p < .0001" if p < 1e-4 else f"p = {p:.4f}".replace("0.", ".")
