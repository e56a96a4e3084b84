"""The health of a training, told from its own numbers in plain words: what is seen, what it means, what to try.

Owns the checks, each a function of series of numbers, and when they are looked at. Each statistic has a one-sided
interval of 99.9 % and a border of its own above which it matters; ``tests/train/run/test_health.py`` simulates how
often each speaks where there is nothing (at most once in a hundred runs, all looks of a run together). What cannot be
told from so few numbers is not said. No torch: the report reads the findings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from notus.core.run import Run
from notus.stats.distributions import t_quantile
from notus.stats.intervals import proportion

__all__ = [
    "Finding",
    "Health",
    "TrainingFacts",
    "always_clipped",
    "hardly_moved",
    "length_explains",
    "loss_vanished",
    "margins_too_small",
    "memorises",
    "mostly_cut",
    "reference_differs",
    "rewards_fall",
    "solved_early",
]

_SURE = 0.999
"""One-sided certainty of each statistic."""
_FEWEST = 5
"""Lines of metrics that a mean is taken of, at least."""
_LOOKS = 10
"""How often a run is looked at on its way; fewer looks are fewer false alarms."""


@dataclass(frozen=True)
class Finding:
    """Something in a training that its owner should know."""

    check: str
    """A slug."""
    said: str
    """What is seen, with its numbers."""
    means: str
    tried: str
    """What to try."""
    step: int = 0
    """Updates that were done when it was first seen."""

    def sentence(self) -> str:
        """All of it on one line."""
        return f"{self.said}. {self.means}. Try: {self.tried}."


@dataclass(frozen=True)
class _Mean:
    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Mean":
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(fmean(values), error, len(values))

    def reach(self) -> float:
        """How far the true mean may lie on one side."""
        return t_quantile(_SURE, self.n - 1) * self.error if self.n > 1 else math.inf

    def minus(self, other: "_Mean") -> tuple[float, float]:
        """The difference and how far the true one may lie on one side, with the fewer degrees of freedom of the two."""
        error = math.hypot(self.error, other.error)
        return self.mean - other.mean, t_quantile(_SURE, min(self.n, other.n) - 1) * error


def _last_third(values: Sequence[float]) -> Sequence[float]:
    return values[-max(1, len(values) // 3) :]


def rewards_fall(chosen: Sequence[float], rejected: Sequence[float]) -> Finding | None:
    """Both rewards fall, and that of chosen answers by at least a quarter of the margin that is won.

    Rewards begin at 0; those of the last third of the lines are surely below. A policy that makes its chosen answers
    less likely has moved what it took elsewhere: Pal et al. 2024 (https://arxiv.org/abs/2402.13228), Razin et al. 2024
    (https://arxiv.org/abs/2410.08847).

    Args:
        chosen: mean implicit reward of chosen answers, a value for each line of metrics.
        rejected: of rejected answers.
    """
    if len(chosen) < 3 * _FEWEST:
        return None
    good, bad = (_Mean.of(_last_third(values)) for values in (chosen, rejected))
    margin = good.mean - bad.mean
    if max(good.mean + good.reach(), bad.mean + bad.reach()) >= 0 or -good.mean < margin / 4:
        return None
    return Finding(
        "rewards-fall",
        f"both rewards fall: chosen {good.mean:+.3g} (±{good.reach():.2g}), rejected {bad.mean:+.3g}, over the last "
        f"{good.n} lines",
        "the policy writes even the chosen answers less readily than the reference does, and what it writes instead "
        "nobody has judged; the margin alone does not show that",
        "a likelihood term on chosen answers (loss: {name: rpo}), one epoch of sft on them first, a larger beta or a "
        "smaller learning_rate; and read what the model writes",
    )


def reference_differs(start: Mapping[str, float], *, rounded: bool) -> Finding | None:
    """Policy and reference are not the same before the first update.

    They are the same numbers, so that all rewards are 0 up to rounding: measured 0 to 2e-6 in fp32, and up to 4e-3 in
    bf16, where two packings of a pair differ.

    Args:
        start: the metrics of step 0.
        rounded: whether the model computes in 16 bits.
    """
    names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/desirable", "rewards/undesirable")
    found = {name: start[name] for name in names if name in start}
    if not found:
        return None
    name, worst = max(found.items(), key=lambda item: abs(item[1]))
    if abs(worst) <= (1e-2 if rounded else 1e-3):
        return None
    loss = f" and a loss of {start['loss']:.4f}" if "loss" in start else ""
    return Finding(
        "reference-differs",
        f"the reference is not the policy at step 0: {name} is {worst:+.4g}{loss} before the first update",
        "a reward is measured against the reference, so the policy starts with a preference that it has not learnt; "
        "with the same model a pair starts at a margin of 0, and DPO's loss at ln 2 = 0.6931",
        "leave 'reference' out, so that it is the model that training starts from; if another is meant, read rewards "
        "as against that one",
    )


def memorises(losses: Sequence[tuple[float, float]], held_out: Sequence[tuple[float, float]]) -> Finding | None:
    """The training loss steps down where an epoch begins, and the loss on held-out rows does not.

    Half an epoch before each border is set against half an epoch behind it. From the step down is taken what the
    held-out loss fell between the same places, or, where it is not measured on both sides, what the training loss fell
    in the half epoch before. It counts from 5 % of the loss.

    Args:
        losses: (epoch, loss) of each line.
        held_out: (epoch, loss) of each evaluation.
    """
    last = max((epoch for epoch, _ in losses), default=0.0)
    for border in range(1, math.ceil(last)):
        first, before, behind = (_within(losses, border + low) for low in (-1.0, -0.5, 0.0))
        around = [_within(held_out, border + low) for low in (-0.5, 0.0)]
        if len(before) < _FEWEST or len(behind) < _FEWEST or not (all(around) or len(first) > 1):
            continue
        level = _Mean.of(before)
        drop, reach = level.minus(_Mean.of(behind))
        if all(around):
            usual = fmean(around[0]) - fmean(around[1])
            beside = f"that on held-out rows by {usual:.3g}"
        else:
            usual, more = _Mean.of(first).minus(level)
            usual, reach = max(usual, 0.0), math.hypot(reach, more)
            beside = f"in the half epoch before it fell by {usual:.3g}"
        if drop - usual - reach > 0.05 * abs(level.mean):
            return Finding(
                "memorises",
                f"at the start of epoch {border + 1} the training loss falls by {drop:.3g} (±{reach:.2g}, from "
                f"{level.mean:.3g}), and {beside}",
                "from here on the model sees rows again and knows them; what it gains on them it does not gain on "
                "others",
                f"epochs: {border}, or fewer; more rows, a smaller learning_rate, lora",
            )
    return None


def _within(points: Sequence[tuple[float, float]], low: float) -> list[float]:
    """What lies in the half epoch behind a place."""
    return [value for epoch, value in points if low < epoch <= low + 0.5]


def length_explains(differences: Sequence[float], margins: Sequence[float], prompts: int) -> Finding | None:
    """The margin of a pair goes with how much longer its chosen answer is.

    Spearman's rank correlation, with Fisher's interval at the variance of Bonett and Wright 2000 (Psychometrika 65),
    1 + ρ²/2; it counts where surely more than a quarter of the ranks' variance is explained, |ρ| > ½.

    Args:
        differences: tokens of chosen less those of rejected, of each pair.
        margins: of each pair.
        prompts: how many different ones the pairs have, which is what n is taken to be.
    """
    if prompts < 30 or len(set(differences)) < 3 or len(set(margins)) < 3:
        return None
    rho = float(np.corrcoef(_ranks(differences), _ranks(margins))[0, 1])
    if not math.isfinite(rho) or abs(rho) >= 1:
        rho = math.copysign(1 - 1e-9, rho) if math.isfinite(rho) else 0.0
    reach = NormalDist().inv_cdf(_SURE) * math.sqrt((1 + rho**2 / 2) / (prompts - 3))
    low, high = math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)
    if not (low > 0.5 or high < -0.5):
        return None
    which = "longer" if rho > 0 else "shorter"
    return Finding(
        "length",
        f"length explains the margin: rank correlation {rho:+.2f} [{low:+.2f}, {high:+.2f}] of how much longer the "
        f"chosen answer is with its margin, {prompts:,} prompts",
        f"the policy prefers what is {which}, and may have learnt little else; answers will become {which}",
        "pairs of like length (notus audit shows their bias), or a loss that divides by length: simpo, ld_dpo, "
        "r_dpo; and win rates that are controlled for length",
    )


def _ranks(values: Sequence[float]) -> Any:
    """Ranks with ties in the middle."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def hardly_moved(losses: Sequence[float], held_out: Sequence[float], rate: float, travel: float) -> Finding | None:
    """The loss is at the end what it was at the start: surely within 2 %.

    The first fifth of the lines is set against the last. Where training losses are too few or too noisy to tell, the
    losses on held-out rows are taken, which are always of the same rows.

    Args:
        losses: of each line, in order.
        held_out: of each evaluation, in order.
        rate: the learning rate.
        travel: sum of the learning rates of all updates: about the farthest that Adam can move one weight.
    """
    part = max(_FEWEST, len(losses) // 5)
    change, reach, level = 0.0, math.inf, 1.0
    if len(losses) >= 2 * part:
        first, last = _Mean.of(losses[:part]), _Mean.of(losses[-part:])
        level = abs(first.mean)
        change, reach = first.minus(last)
    if abs(change) + reach >= 0.02 * level and len(held_out) >= 2:
        level, change, reach = abs(held_out[0]), held_out[0] - held_out[-1], 0.0
    if abs(change) + reach >= 0.02 * level:
        return None
    return _too_timid(f"the loss hardly moved: from {level:.4g} by {-change:+.2g}", rate, travel)


def margins_too_small(
    margins: Sequence[float], accuracies: Sequence[float], pairs: int, rate: float, travel: float
) -> Finding | None:
    """Margins that are right much more surely than they are large, as logits of −log σ(margin).

    With a normal distribution of margins of mean m and an accuracy of Φ(m/s), the loss to second order is smallest
    where all margins are multiplied by k = 2m/(m² + s²). Published DPO runs have k of 0.1 to 0.7, Notus's LoRA run,
    which hardly moved (margin .101, accuracy .6984), has 4.2; k counts where it is surely above 2.

    Args:
        margins: mean of each of the last lines, in order.
        accuracies: likewise.
        pairs: how many pairs the last third of the lines has seen.
        rate: the learning rate.
        travel: sum of the learning rates of all updates.
    """
    if len(margins) < 3 * _FEWEST or pairs < 30:
        return None
    mean, right = _Mean.of(_last_third(margins)), fmean(_last_third(accuracies))
    low = proportion(round(right * pairs), pairs).low
    most = mean.mean + mean.reach()
    if low <= 0.5 or mean.mean <= 0:
        return None
    z = NormalDist().inv_cdf(min(low, 1 - 1e-9))
    least = 2 / (most * (1 + 1 / z**2))
    if least <= 2:
        return None
    said = (
        f"margins are small for how often they are right: {mean.mean:.3g} (±{mean.reach():.1g}) on average at an "
        f"accuracy of {right:.3f} (n = {pairs:,} pairs); at least {least:.1f} times as large would fit better"
    )
    return _too_timid(said, rate, travel)


def _too_timid(said: str, rate: float, travel: float) -> Finding:
    return Finding(
        "hardly-moved",
        said,
        f"the learning rate {rate:g} is too small for so few updates: all their learning rates together are "
        f"{travel:.2g}, which is about how far a weight can have moved",
        f"a learning_rate of {_round(10 * rate)} (an adapter or new weights want ten to a hundred times that of a full "
        "fine-tune), more epochs, or a smaller batch_size",
    )


def _round(value: float) -> str:
    return f"{float(f'{value:.1g}'):g}"


def always_clipped(norms: Sequence[float], limit: float) -> Finding | None:
    """Nearly every gradient is longer than ``max_grad_norm``: 95 % of the lines, and by Wilson's interval above 80 %.

    Where half of the gradients are clipped, which is usual, 16 of 16 lines are so once in 65,536 runs.
    """
    over = sum(norm > limit for norm in norms)
    if not norms or over < 0.95 * len(norms):
        return None
    share = proportion(over, len(norms))
    if share.low <= 0.8:
        return None
    middle = float(np.median(norms))
    return Finding(
        "always-clipped",
        f"the gradient is always cut: {over:,} of {len(norms):,} lines have a norm above max_grad_norm {limit:g}, "
        f"half of them above {middle:.3g}",
        "only its direction counts, so that one odd batch moves the weights as much as any, and the clipping, not the "
        "data, sets the length of a step",
        f"max_grad_norm of about {_round(2 * middle)}, which cuts the odd one; or a longer warmup, or a look at the "
        "data for rows that are unlike the rest",
    )


def solved_early(accuracies: Sequence[tuple[float, float]], pairs_per_line: int) -> Finding | None:
    """Pairs that were never seen are told apart at once.

    Args:
        accuracies: (share of the run's updates, accuracy) of each line within the first epoch.
        pairs_per_line: how many pairs an accuracy is the mean of.
    """
    early = [value for share, value in accuracies if share <= 0.25]
    streak = 0
    for value in reversed(early):
        if value < 0.99:
            break
        streak += 1
    pairs = streak * pairs_per_line
    if not pairs:
        return None
    right = fmean(early[-streak:])
    if proportion(round(right * pairs), pairs).low <= 0.95:
        return None
    return Finding(
        "solved-early",
        f"all is solved in the first quarter: an accuracy of {right:.3f} on {pairs:,} pairs that were not seen before",
        "people disagree on more pairs than that; what tells chosen from rejected is likely something plain, such as a "
        "format, a phrase, a length or a model of its own for each side",
        "notus audit and a look at ten pairs; pairs whose answers come from the same model",
    )


def loss_vanished(losses: Sequence[float]) -> Finding | None:
    """The loss of the last third of the lines is below 2 % of what it began with; good runs end above a third."""
    if len(losses) < _FEWEST or losses[0] <= 0:
        return None
    end = fmean(_last_third(losses))
    if end >= 0.02 * losses[0]:
        return None
    return Finding(
        "loss-vanished",
        f"the loss went to nothing: from {losses[0]:.3g} to {end:.2g}",
        "the model knows its rows by heart, and what it writes may be one of them",
        "fewer epochs, more rows (notus clean finds those that are there twice), a smaller learning_rate",
    )


_CUTS = {
    "prompt-cut": (0.5, "prompts are cut on the left", "limits.max_prompt_length"),
    "source-cut": (0.5, "prompts are cut", "budget.source"),
    "example-cut": (0.5, "conversations are cut on the left", "limits.max_length"),
    "answer-cut": (0.25, "answers are cut, and have no end", "limits.max_length"),
}
"""What is counted → the share from which it matters, what it is, and the setting."""


def mostly_cut(counts: Mapping[str, int], answers: int) -> Finding | None:
    """Most prompts, or a quarter of the answers, do not fit. All rows are counted, so there is no chance in it."""
    for name, (border, words, setting) in _CUTS.items():
        cut = counts.get(name, 0)
        if answers and cut > border * answers:
            return Finding(
                "mostly-cut",
                f"{cut:,} of {answers:,} {words} ({cut / answers:.0%})",
                "the model learns from parts: questions without their beginning, or answers that stop in the middle, "
                "after which it does not stop either",
                f"a larger {setting}, or leave out what is too long",
            )
    return None


@dataclass(frozen=True)
class TrainingFacts:
    """What the checks must know of a training beside its metrics."""

    rate: float
    """The learning rate."""
    clip: float
    """``max_grad_norm``."""
    rows_per_line: int
    """Pairs or rows that a line of metrics is the mean of."""
    rounded: bool = False
    """Whether the model computes in 16 bits."""
    logits: bool = False
    """Whether margins are logits of −log σ: DPO's own loss, or a ranker's."""
    answers: int = 0
    """Answers that were encoded."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was counted while they were."""


class Health:
    """Looks at a training on its way and at its end; what is found is logged once, and noted in the manifest.

    Args:
        run: the training's, whose metrics it hears.
        facts: see there.
    """

    def __init__(self, run: Run, facts: TrainingFacts) -> None:
        self.run = run
        self.facts = facts
        self.pairs: list[tuple[float, float]] = []
        """Of the last pairs: how much longer the chosen answer is, and the margin."""
        self.prompts = 0
        """How many different prompts these have."""
        self._lines: list[Mapping[str, Any]] = []
        self._found: dict[str, Finding] = {}
        self._looks = 0
        run.listen(self.hear)

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take a line of metrics, and look at the tenths of the run."""
        self._lines.append(line)
        of = line.get("steps")
        if of and line["step"] * _LOOKS >= (self._looks + 1) * of:
            self._looks = int(line["step"] * _LOOKS / of)
            self._look(at_the_end=False)

    def finish(self) -> None:
        """Look for the last time, and note what holds at the end or was seen on the way."""
        self._look(at_the_end=True)
        if self._found:
            self.run.note(health=[asdict(finding) for finding in self._found.values()])

    def _look(self, *, at_the_end: bool) -> None:
        for finding in self._findings(at_the_end):
            if finding is not None and finding.check not in self._found:
                step = max((int(line.get("step") or 0) for line in self._lines), default=0)
                self._found[finding.check] = Finding(**{**asdict(finding), "step": step})
                self.run.log(f"health: {finding.check}: {finding.sentence()}")

    def _findings(self, at_the_end: bool) -> list[Finding | None]:
        facts, column = self.facts, self._column
        start = next((line for line in self._lines if line.get("step") == 0), {})
        losses, held_out = column("loss"), column("eval_loss")
        steps = max((line.get("steps") or 0 for line in self._lines), default=0) or 1
        margins = "rewards/margins" if column("rewards/margins") else "margins"
        accuracies = "rewards/accuracies" if column("rewards/accuracies") else "accuracies"
        early = [(step / steps, value) for step, epoch, value in column(accuracies) if epoch <= 1]
        found = [
            reference_differs({key: value for key, value in start.items() if _is_number(value)}, rounded=facts.rounded),
            mostly_cut(facts.counts, facts.answers),
            rewards_fall(_values(column("rewards/chosen")), _values(column("rewards/rejected"))),
            memorises([point[1:] for point in losses], [point[1:] for point in held_out]),
            always_clipped(_values(column("grad_norm")), facts.clip),
            solved_early(early, facts.rows_per_line),
        ]
        if at_the_end:
            travel = self._travel(steps)
            found += [
                hardly_moved(_values(losses), _values(held_out), facts.rate, travel),
                loss_vanished(_values(losses)),
                length_explains([pair[0] for pair in self.pairs], [pair[1] for pair in self.pairs], self.prompts),
            ]
            if facts.logits:
                third = max(1, len(column(margins)) // 3)
                seen = third * facts.rows_per_line
                small = margins_too_small(
                    _values(column(margins)), _values(column(accuracies)), seen, facts.rate, travel
                )
                found.append(small)
        return found

    def _column(self, name: str) -> list[tuple[int, float, float]]:
        """(step, epoch, value) of each line behind the start that has the value."""
        return [
            (int(line["step"]), float(line.get("epoch") or 0.0), float(line[name]))
            for line in self._lines
            if _is_number(line.get(name)) and line.get("step")
        ]

    def _travel(self, steps: int) -> float:
        """The sum of all updates' learning rates, as the logged ones tell."""
        rates = _values(self._column("learning_rate"))
        return fmean(rates) * steps if rates else 0.0


def _values(column: Sequence[tuple[int, float, float]]) -> list[float]:
    return [value for _, _, value in column]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
