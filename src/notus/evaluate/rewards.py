"""Accuracy of rewards on preference pairs: how often a ranker of any kind prefers the chosen answer.

Owns the scoring of pairs, what a tie counts, and the report: accuracy, subsets and sections, length, calibration. Does
not own the rankers (``rankers.make``), nor how the report is shown (``report.evaluations.rewards``).

**Ties.** Two equal scores tell the answers apart as well as a coin, so a tie counts ½. RewardBench v1 asks for
score(chosen) > score(rejected) and counts it 0; on its data that is what comes out, so that published accuracies can be
compared. ``default_tie`` decides between the two, and whoever shows an accuracy says which it was.

**RewardBench v1** (Lambert et al. 2024, https://arxiv.org/abs/2403.13787): four sections, in each the accuracies of its
subsets weighted by ``COUNTS``; the total is the plain mean of the sections. Its prior sets are not part of it.

**The implicit reward** of a DPO policy is log π(y|x) − log π_ref(y|x) (Rafailov et al. 2023, equation 5,
https://arxiv.org/abs/2305.18290); β scales it and changes no sign, so it is left out.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from notus.core.errors import RunError
from notus.core.records import Preference, Record
from notus.core.stage import Tally
from notus.evaluate.compare import differs, format_estimate
from notus.llm.protocol import Ranker
from notus.stats.distributions import t_quantile
from notus.stats.intervals import Estimate, clustered_mean, share

__all__ = [
    "COUNTS",
    "SECTIONS",
    "Calibration",
    "LengthBias",
    "PairScore",
    "RewardReport",
    "SubsetAccuracy",
    "check_scores",
    "default_tie",
    "describe_against_chance",
    "reward_report",
    "score_pairs",
    "weighted_accuracy",
]

SECTIONS: dict[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
"""RewardBench v1's sections with their subsets."""
COUNTS: dict[str, int] = (
    {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40}
    | {"mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92}
    | {"llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46, "refusals-dangerous": 100, "refusals-offensive": 100}
    | {"xstest-should-refuse": 250, "xstest-should-respond": 154, "donotanswer": 136, "math-prm": 984}
    | {f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")}
)
"""Weight of each subset in its section, as in https://github.com/allenai/reward-bench, ``rewardbench/constants.py``.
They are not quite the numbers of rows: ``math-prm`` has 447 and weighs as much as all code, and the two of XSTest (154
to refuse, 250 to respond) are exchanged there."""
_TIE, _TIE_REWARDBENCH = 0.5, 0.0


class PairScore(Record, frozen=True):
    """A preference pair with the scores that a ranker gave its answers."""

    id: str
    """Of the pair, see ``core.records.Preference``."""
    prompt_id: str
    sample: int
    """Number of the pair among those of its prompt."""
    subset: str
    """Part of the set that the pair belongs to; empty where the rows name none."""
    section: str
    score_chosen: float | None
    score_rejected: float | None
    value: float | None
    """1: the chosen answer has the higher score, 0: the rejected one has; what a tie counts, for a tie. None: one of
    them has no score."""
    reason: str
    """``chosen``, ``rejected``, ``tie`` or ``unscored``."""
    length_chosen: int
    """Characters, as is ``length_rejected``."""
    length_rejected: int
    file: str = ""
    """Where the pair stood, as records have it."""
    line: int = 0

    @property
    def margin(self) -> float | None:
        """Score of the chosen answer minus that of the rejected one."""
        if self.score_chosen is None or self.score_rejected is None:
            return None
        return self.score_chosen - self.score_rejected


@dataclass(frozen=True)
class SubsetAccuracy:
    """The accuracy on one subset or one section."""

    name: str
    asked: int
    scored: int
    ties: int
    accuracy: Estimate | None
    """None with fewer than two prompts."""
    weight: float | None = None
    """Of a subset in its section; None where nothing is weighted."""
    section: str = ""


@dataclass(frozen=True)
class LengthBias:
    """How the length of the answers goes with what wins. Pairs of equal length and ties are left out."""

    longer_wins: Estimate | None
    """Share of the pairs in which the longer answer has the higher score."""
    longer_chosen: Estimate | None
    """Share of the same pairs in which the longer answer is the chosen one: what a ranker without faults would have."""
    when_longer: Estimate | None
    """Accuracy where the chosen answer is the longer one."""
    when_shorter: Estimate | None


@dataclass(frozen=True)
class Calibration:
    """Whether the margin is worth what it says, with P = σ(scale · |margin|) for the answer that was preferred."""

    scale: float
    probabilities: tuple[float, ...]
    """P of each pair, from ½ to 1; ties are left out."""
    correct: tuple[float, ...]
    """1 where the preferred answer is the chosen one, else 0."""
    prompts: tuple[str, ...]
    overconfidence: Estimate | None
    """Mean of P − correct: above 0 the ranker claims more than it keeps."""


@dataclass(frozen=True)
class RewardReport:
    """All that the scored pairs of one ranker say."""

    ranker: str
    asked: int
    scored: int
    ties: int
    unscored: int
    accuracy: Estimate | None
    """Over all scored pairs, each alike."""
    bounds: tuple[float, float]
    """The accuracy if all unscored pairs were wrong, and if all were right."""
    subsets: tuple[SubsetAccuracy, ...]
    sections: tuple[SubsetAccuracy, ...]
    total: Estimate | None
    """Mean of the sections; None where the rows name no sections."""
    length: LengthBias
    calibration: Calibration | None


def default_tie(preferences: Sequence[Preference], *, subset: str = "subset") -> float:
    """What a tie counts where nobody says: 0 where every pair is of a subset of RewardBench v1, otherwise ½.

    Args:
        preferences: the pairs that are to be scored.
        subset: as for ``score_pairs``.
    """
    names = {_subset_of(item, subset) for item in preferences}
    return _TIE_REWARDBENCH if names and names <= COUNTS.keys() else _TIE


def score_pairs(
    ranker: Ranker, preferences: Iterable[Preference], tally: Tally, *, tie: float = _TIE, subset: str = "subset"
) -> list[PairScore]:
    """Score both answers of each pair.

    A pair whose answers are not single turns of the assistant is dropped as ``several-turns``.

    Args:
        ranker: scores the answers: any ranker, the implicit reward of a policy among them.
        preferences: the pairs.
        tally: receives the drops, and how many pairs had each ``PairScore.reason``.
        tie: what two equal scores count: ½, or 0 by RewardBench's rule; see ``default_tie``.
        subset: column that names the part of the set; ``source`` takes the pair's source.

    Raises:
        RunError: if the ranker gives too few scores, or one that is no finite number.
    """
    kept = [item for item in preferences if _single_turns(item, tally)]
    tally.given += len(kept)
    prompts, candidates = [item.prompt for item in kept], [_texts(item) for item in kept]
    scores = check_scores(ranker.name, ranker.rank(prompts, candidates), candidates)
    seen: dict[str, int] = {}
    found = []
    for item, texts, (chosen, rejected) in zip(kept, candidates, scores, strict=True):
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        value, reason = _value(chosen, rejected, tie)
        tally.count(reason)
        found.append(
            PairScore(
                id=item.id,
                prompt_id=item.prompt_id,
                sample=number,
                subset=_subset_of(item, subset),
                section=_column(item, "section"),
                score_chosen=chosen,
                score_rejected=rejected,
                value=value,
                reason=reason,
                length_chosen=len(texts[0]),
                length_rejected=len(texts[1]),
                file=item.file,
                line=item.line,
            )
        )
    return found


def check_scores(
    name: str, scores: Sequence[Sequence[float | None]], candidates: Sequence[Sequence[str]]
) -> Sequence[Sequence[float | None]]:
    """The scores of a ranker, if there is one for each candidate and all are finite.

    Raises:
        RunError: if not.
    """
    if [len(of_prompt) for of_prompt in scores] != [len(of_prompt) for of_prompt in candidates]:
        raise RunError(f"the ranker '{name}' did not give one score for each candidate; each needs one, or None")
    if bad := [value for of_prompt in scores for value in of_prompt if value is not None and not math.isfinite(value)]:
        raise RunError(f"the ranker '{name}' gave the score {bad[0]}; a finite number is needed, or None for unscored")
    return scores


def describe_against_chance(arm: str, accuracy: Estimate) -> str:
    """Whether an accuracy can be told from that of a policy that prefers nothing, in a sentence."""
    if not differs(accuracy, 0.5):
        return f"{arm} and chance (0.5) are not distinguishable: {format_estimate(accuracy)}"
    side = "above" if accuracy.mean > 0.5 else "below"
    return f"{arm} is {side} chance (0.5): {format_estimate(accuracy)}"


def reward_report(ranker: str, scores: Sequence[PairScore], *, scale: float | None = None) -> RewardReport:
    """Sum up scored pairs.

    Where every subset is one of RewardBench's, its sections and weights are used. Otherwise the sections are those that
    the rows name, and each pair weighs alike.

    Args:
        ranker: its name.
        scores: of ``score_pairs``, at least one.
        scale: turns a margin into a logit: 1 for a reward model trained by Bradley–Terry, β for the implicit reward of
            a DPO policy. None: a margin is no probability, and there is no calibration.
    """
    scored = [item for item in scores if item.value is not None]
    known = all(item.subset in COUNTS for item in scores)
    homes = {subset: section for section, subsets in SECTIONS.items() for subset in subsets} if known else {}
    homes = homes or {item.subset: item.section for item in scores}
    names = list(dict.fromkeys(homes[item.subset] for item in scores))
    weights = _weights(scored, homes, published=known)
    right = math.fsum(item.value or 0.0 for item in scored)
    missing = len(scores) - len(scored)
    with_subsets = any(item.subset for item in scores)
    return RewardReport(
        ranker=ranker,
        asked=len(scores),
        scored=len(scored),
        ties=sum(item.reason == "tie" for item in scores),
        unscored=missing,
        accuracy=_share(scored),
        bounds=(right / len(scores), (right + missing) / len(scores)) if scores else (0.0, 1.0),
        subsets=tuple(_subsets(scores, homes, weights if known else {})) if with_subsets else (),
        sections=tuple(_section(name, scores, homes, weights) for name in names) if any(names) else (),
        total=weighted_accuracy(scored, {k: w / len(names) for k, w in weights.items()}) if any(names) else None,
        length=_length(scored),
        calibration=None if scale is None else _calibration(scored, scale),
    )


def weighted_accuracy(scores: Sequence[PairScore], weights: Mapping[str, float]) -> Estimate | None:
    """Σ w_s · accuracy of subset s, with an interval over prompts as clusters.

    With n_s pairs in subset s and residuals e = value − accuracy of the subset::

        se² = G/(G − S) · Σ_g (Σ_{i in g} w_s(i)/n_s(i) · e_i)²        interval = total ± t(.975, G − S) · se

    over G prompts in S subsets: the clustered interval of ``stats.intervals`` within strata, and equal to it for one.

    Returns:
        None where there are no more prompts than subsets, or a subset with a weight has no scored pair.
    """
    of_subset: dict[str, list[float]] = defaultdict(list)
    for item in scores:
        if item.subset in weights and item.value is not None:
            of_subset[item.subset].append(item.value)
    kept = [item for item in scores if item.subset in of_subset and item.value is not None]
    prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(item.prompt_id for item in kept))}
    free = len(prompts) - len(of_subset)
    if free < 1 or len(of_subset) < len(weights):
        return None
    means = {subset: math.fsum(values) / len(values) for subset, values in of_subset.items()}
    sums = np.zeros(len(prompts))
    for item in kept:
        assert item.value is not None
        part = weights[item.subset] / len(of_subset[item.subset])
        sums[prompts[item.prompt_id]] += part * (item.value - means[item.subset])
    total = math.fsum(weights[subset] * mean for subset, mean in means.items())
    error = math.sqrt(len(prompts) / free * float(sums @ sums))
    half = t_quantile(0.975, free) * error
    down, up, method = half, half, "stratified t, clustered"
    if error == 0:  # no subset varies, and the spread says nothing
        (down, up), method = _without_spread(kept, weights), "stratified wilson"
    low, high = max(total - down, 0.0), min(total + up, 1.0)
    return Estimate(total, low, high, len(kept), len(prompts), method)


def _single_turns(item: Preference, tally: Tally) -> bool:
    tally.taken += 1
    sides = (item.chosen, item.rejected)
    if all(len(side) == 1 and side[0].role == "assistant" for side in sides):
        return True
    found = f"{len(item.chosen)} and {len(item.rejected)} turns; each side must be one"
    tally.drop(item.id, "several-turns", found, at=item)
    return False


def _texts(item: Preference) -> tuple[str, str]:
    return item.chosen[0].content, item.rejected[0].content


def _subset_of(item: Preference, subset: str) -> str:
    return item.source if subset == "source" else _column(item, subset)


def _column(item: Preference, column: str) -> str:
    value = item.extra.get(column)
    return value if isinstance(value, str) else ""


def _value(chosen: float | None, rejected: float | None, tie: float) -> tuple[float | None, str]:
    if chosen is None or rejected is None:
        return None, "unscored"
    if chosen == rejected:
        return tie, "tie"
    return (1.0, "chosen") if chosen > rejected else (0.0, "rejected")


def _without_spread(kept: Sequence[PairScore], weights: Mapping[str, float]) -> tuple[float, float]:
    """Both sides of an interval put together of Wilson's for each subset: Zou and Donner (2008), Statistics in Medicine
    27, pages 1693–1702, equation 2 for a weighted sum."""
    down = up = 0.0
    for subset, weight in weights.items():
        own = _share([item for item in kept if item.subset == subset])
        if own is None:  # one prompt alone says nothing
            return 1.0, 1.0
        down += (weight * (own.mean - own.low)) ** 2
        up += (weight * (own.high - own.mean)) ** 2
    return math.sqrt(down), math.sqrt(up)


def _weights(scored: Sequence[PairScore], homes: Mapping[str, str], *, published: bool) -> dict[str, float]:
    """Subset → its share of its section."""
    counts = Counter(item.subset for item in scored)
    sizes = {subset: float(COUNTS[subset] if published else count) for subset, count in counts.items()}
    sums: dict[str, float] = defaultdict(float)
    for subset, size in sizes.items():
        sums[homes[subset]] += size
    return {subset: size / sums[homes[subset]] for subset, size in sizes.items()}


def _subsets(
    scores: Sequence[PairScore], homes: Mapping[str, str], weights: Mapping[str, float]
) -> list[SubsetAccuracy]:
    return [
        _subset(subset, [item for item in scores if item.subset == subset], weights.get(subset), homes[subset])
        for subset in sorted({item.subset for item in scores}, key=lambda name: (homes[name], name))
    ]


def _section(
    name: str, scores: Sequence[PairScore], homes: Mapping[str, str], weights: Mapping[str, float]
) -> SubsetAccuracy:
    own = [item for item in scores if homes[item.subset] == name]
    inside = {subset: weight for subset, weight in weights.items() if homes[subset] == name}
    return SubsetAccuracy(name, *_counts(own), weighted_accuracy(own, inside))


def _subset(name: str, own: Sequence[PairScore], weight: float | None, section: str) -> SubsetAccuracy:
    return SubsetAccuracy(
        name, *_counts(own), _share([item for item in own if item.value is not None]), weight, section
    )


def _counts(own: Sequence[PairScore]) -> tuple[int, int, int]:
    """Pairs: all, those with a score, ties."""
    return len(own), sum(item.value is not None for item in own), sum(item.reason == "tie" for item in own)


def _share(scored: Sequence[PairScore]) -> Estimate | None:
    if not scored:
        return None
    return share([item.value or 0.0 for item in scored], [item.prompt_id for item in scored])


def _length(scored: Sequence[PairScore]) -> LengthBias:
    unequal = [item for item in scored if item.length_chosen != item.length_rejected]
    decided = [item for item in unequal if item.reason != "tie"]
    longer = [item.length_chosen > item.length_rejected for item in decided]
    prompts = [item.prompt_id for item in decided]
    wins = [float(is_longer == (item.reason == "chosen")) for item, is_longer in zip(decided, longer, strict=True)]
    return LengthBias(
        longer_wins=share(wins, prompts) if decided else None,
        longer_chosen=share([float(value) for value in longer], prompts) if decided else None,
        when_longer=_share([item for item in unequal if item.length_chosen > item.length_rejected]),
        when_shorter=_share([item for item in unequal if item.length_chosen < item.length_rejected]),
    )


def _calibration(scored: Sequence[PairScore], scale: float) -> Calibration:
    decided = [item for item in scored if item.margin]
    stated = [1 / (1 + math.exp(-min(scale * abs(item.margin or 0.0), 700.0))) for item in decided]
    correct = [float(item.reason == "chosen") for item in decided]
    prompts = [item.prompt_id for item in decided]
    excess = [p - outcome for p, outcome in zip(stated, correct, strict=True)]
    return Calibration(
        scale=scale,
        probabilities=tuple(stated),
        correct=tuple(correct),
        prompts=tuple(prompts),
        overconfidence=clustered_mean(excess, prompts) if decided else None,
    )
