"""The audit of preference pairs: flags for each pair, the health of the set, and its bias.

The bias: does position, the model's name or the length decide what is chosen and rejected? Where pairs say at which
position among how many completions chosen and rejected stood (``extra`` of pairs that Notus made), each position should
be used equally often: ``stats.tests.uniformity`` tests it, and finds for example that the first published binarization
of UltraFeedback rejects always completion 0 or 2.

Owns what the set says of its pairs without the feedback that they came from (shares of faults, lengths, repeated
prompts), the figures and the sentences. What is wrong with a pair by itself is owned by ``preferences.faults``, the
audit of feedback by ``audit.feedback``; what the rewards of trained models say of the pairs is laid beside in
``audit.rewards``.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from notus.audit.ratings.judgements import Signal
from notus.audit.signals import FEWEST, REASON, Chance, format_odds, margin_signal, union_q
from notus.core.records import Message, Preference
from notus.core.text import counted, format_list
from notus.decisions.note import is_kept
from notus.preferences.faults import PAIR_FAULTS, margin_of, pair_faults
from notus.stats.bradley_terry import Comparisons, bradley_terry
from notus.stats.intervals import Estimate, Share, clip, clustered_mean, holm, p_value, proportion
from notus.stats.tests import Uniformity, uniformity

__all__ = [
    "CHANCE_FLAGS",
    "KEPT",
    "NO_FACTS",
    "PAIR_FLAGS",
    "Bias",
    "Game",
    "ModelBias",
    "Pair",
    "PairAudit",
    "PairHealth",
    "Positions",
    "audit_pairs",
    "bias_of",
    "has_fact",
    "model_bias",
    "order_by_flags",
    "share_of_pairs",
    "without_kept",
]

KEPT = "decided-keep"
"""The flag of what is no suspect any more."""
PAIR_FLAGS = PAIR_FAULTS | {
    "repeated-prompt": "other pairs have the same prompt",
    "label-against-text": "what is preferred elsewhere in the set is in the rejected answer",
    "reward-against-label": "a trained model's reward is far on the side of the rejected answer",
    "margin-against-label": "the scores speak for the rejected answer by far more than the other margins let expect",
    KEPT: "a person decided to keep it as it is: it has no place by suspicion, and is not among the pairs shown",
}
"""Flag → what it says of a pair."""

CHANCE_FLAGS = frozenset({"reward-against-label", "margin-against-label"})
"""Flags that chance gives too, and that q is of."""

NO_FACTS = CHANCE_FLAGS | {"label-against-text"}
"""Flags that chance gives too; all others are facts. What the texts say of a label has a p, and no q."""

Game = tuple[str, str, float, str]
_LEVEL = 0.05
_NAMED = 4
_NOTICED = 5.0
"""Expected count from which a position that is never used is worth a word."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit says of one pair."""

    id: str
    prompt_id: str
    feedback_id: str
    """Id of the feedback that it was made from; empty where the pair does not say it."""
    file: str = ""
    """Where the pair stood, as records have it."""
    line: int = 0
    source: str
    model_chosen: str
    model_rejected: str
    score_chosen: float | None
    score_rejected: float | None
    margin: float | None
    """Score of chosen minus score of rejected, or else the margin that the pair states."""
    length_chosen: int
    """Length of the answer in characters."""
    length_rejected: int
    place_chosen: int | None
    """Position among the completions of the prompt; None where the pair does not say it."""
    place_rejected: int | None
    completions: int | None
    """Number of completions of the prompt."""
    flags: tuple[str, ...]
    """Slugs out of ``PAIR_FLAGS``."""
    margin_p: float | None = None
    """Chance that a sound pair would have so low a margin, told by the other margins."""
    q: float | None = None
    """Estimated share of sound ones among the pairs whose margin, or reward, is at least so odd. Facts have none."""
    evidence: str = ""
    """The flags in figures."""
    text_chance: float | None = None
    """Chance of the label by the texts alone, from a model that has not seen the prompt; below ½ they speak for the
    rejected answer. None where they were not asked."""
    place_by_text: int | None = None
    """Place by that chance, 1 for the smallest; equals share the better place."""
    reward_margin: float | None = None
    """A model's reward of chosen minus that of rejected; with all below None where no reward check has judged it."""
    reward_p: float | None = None
    """Chance that a sound pair would have so low a margin."""
    suspicion: int | None = None
    """Place by the margin, 1 for the one that contradicts its label most; equals share the better place."""
    judged_by: str = ""
    """Name of the reward check."""
    judge_saw_prompt: bool | None = None
    """Whether its model was trained on the pair's prompt, which makes its margin flatter the label; None: not known."""


@dataclass(frozen=True)
class PairHealth:
    """The figures of a preference set. Shares take prompts as clusters, as all intervals here."""

    pairs: int
    prompts: int
    """Distinct prompts."""
    scored: int
    """Pairs in which both answers have a score, or that state a margin."""
    same_answers: Share
    score_ties: Share
    """Of the scored pairs."""
    reversed: Share
    """Of the scored pairs."""
    repeated_prompts: Share
    """Pairs that share their prompt with another pair."""
    longer_chosen: Share
    """Pairs in which chosen is the longer answer, of those whose lengths differ."""
    margin: float | None
    """Mean margin of the scored pairs."""
    margin_interval: Estimate | None
    """… with prompts as clusters."""
    margins: dict[float, int]
    """Margin → pairs."""
    chosen_models: dict[str, int]
    rejected_models: dict[str, int]
    sources: dict[str, int]
    flags: dict[str, int]

    def sentences(self) -> list[str]:
        """The figures in words, the most important first."""
        have = "has" if self.scored == 1 else "have"
        size = f"{counted(self.pairs, 'pair')} over {counted(self.prompts, 'prompt')}"
        said = [f"{size}; {self.scored:,} {have} both scores, or state a margin."]
        told = (
            ("chosen and rejected are the same text", self.same_answers),
            ("chosen and rejected have the same score", self.score_ties),
            ("chosen has a lower score than rejected", self.reversed),
            ("the prompt stands in another pair too", self.repeated_prompts),
        )
        said += [f"In {share} pairs {what}." for what, share in told if share.count]
        if self.longer_chosen.of:
            said.append(f"Chosen is the longer answer in {self.longer_chosen} pairs of different lengths.")
        return said


@dataclass(frozen=True)
class PairAudit:
    """The audit of a preference set: a row for each pair, in the order of the set, and the health of the whole."""

    rows: tuple[Pair, ...]
    health: PairHealth
    chances: Mapping[str, Chance] = field(default_factory=dict)
    """Flag that chance gives too → how many have it, and how many chance alone would give."""


def audit_pairs(records: Iterable[Preference]) -> PairAudit:
    """Audit a preference set. Some hundred bytes are held for each pair, and no text."""
    drafts = [_pair(record) for record in records]
    prompts = Counter(row.prompt_id for row in drafts)
    rows = [_flag_repeated(row) if prompts[row.prompt_id] > 1 else row for row in drafts]
    signal = margin_signal(np.array([math.nan if row.margin is None else row.margin for row in rows]))
    known = int(np.isfinite(signal.likely).sum())
    chances: dict[str, Chance] = {}
    if known >= FEWEST:
        rows = _with_margins(rows, signal)
        chances["margin-against-label"] = Chance(
            sum("margin-against-label" in row.flags for row in rows), known, REASON * known
        )
    told = tuple(msgspec.structs.replace(row, evidence=_evidence(row)) if row.flags else row for row in rows)
    return PairAudit(told, _health(told, len(prompts)), chances)


def without_kept(audit: PairAudit) -> PairAudit:
    """The audit in which pairs that a person decided to keep have no place and no q; their flags stay, as facts."""
    if not any(KEPT in row.flags for row in audit.rows):
        return audit
    nothing = {"suspicion": None, "place_by_text": None, "q": None}
    rows = tuple(msgspec.structs.replace(row, **nothing) if KEPT in row.flags else row for row in audit.rows)
    return replace(audit, rows=rows)


def has_fact(flags: Collection[str]) -> bool:
    """Whether a fact speaks against a pair; what a person decided to keep is no suspect, whatever its flags."""
    return KEPT not in flags and not NO_FACTS.issuperset(flags)


def order_by_flags(facts: NDArray[np.bool_], places: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order of pairs that nothing ranks by suspicion: facts first, then the place by text, q, the order of the set.

    Args:
        facts: of each pair ``has_fact``.
        places: its place by text; NaN is none, and comes last.
        q: its q; NaN is none, and comes last.
    """
    return np.lexsort((q, places, ~facts))


def _with_margins(rows: Sequence[Pair], signal: Signal) -> list[Pair]:
    """The rows with what the other margins say of theirs."""
    q = union_q([signal.cautious])
    found = []
    for row, p, share in zip(rows, signal.likely.tolist(), q.tolist(), strict=True):
        if row.margin is None:
            found.append(row)
            continue
        against = row.margin < 0 and p <= REASON
        flags = (*row.flags, "margin-against-label") if against else row.flags
        found.append(msgspec.structs.replace(row, margin_p=p, q=share, flags=flags))
    return found


def _evidence(row: Pair) -> str:
    said = []
    if row.score_chosen is not None and row.score_rejected is not None:
        said.append(f"score {row.score_chosen:g} of chosen, {row.score_rejected:g} of rejected")
    elif row.margin is not None:
        said.append(f"margin {row.margin:+g}")
    if "margin-against-label" in row.flags and row.margin_p is not None:
        said.append(f"by chance so low a margin in {format_odds(row.margin_p)}")
    return "; ".join(said)


def share_of_pairs(cases: Sequence[bool], prompts: Sequence[str]) -> Share:
    """A share of pairs, with an interval that takes prompts as clusters.

    Where each prompt has one pair, Wilson's; otherwise the clustered t interval, cut off at 0 and 1, and Wilson's over
    the prompts where all cases are alike, for a t interval then has no width.

    Args:
        cases: whether it is so, pair by pair.
        prompts: id of the prompt of each.
    """
    count, of, groups = sum(cases), len(cases), len(set(prompts))
    if groups == of:
        return Share.make(count, of)
    estimate = clustered_mean([float(case) for case in cases], prompts)
    if estimate is None or not estimate.width:
        alike = proportion(round(count / of * groups), groups)
        return Share(count, of, replace(alike, mean=count / of, n=of))
    return Share(count, of, clip(estimate))


def _pair(record: Preference) -> Pair:
    of = _place(record.extra.get("completions"), None)
    return Pair(
        id=record.id,
        prompt_id=record.prompt_id,
        feedback_id=record.feedback_id,
        file=record.file,
        line=record.line,
        source=record.source,
        model_chosen=record.model_chosen,
        model_rejected=record.model_rejected,
        score_chosen=record.score_chosen,
        score_rejected=record.score_rejected,
        margin=margin_of(record),
        length_chosen=len(_text(record.chosen)),
        length_rejected=len(_text(record.rejected)),
        place_chosen=_place(record.extra.get("chosen_index"), of),
        place_rejected=_place(record.extra.get("rejected_index"), of),
        completions=of,
        flags=(*pair_faults(record), *((KEPT,) if is_kept(record) else ())),
    )


def _place(value: object, below: int | None) -> int | None:
    """A number of the pair's further columns, which may hold anything."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value if below is None or value < below else None


def _text(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.content for message in messages)


def _flag_repeated(row: Pair) -> Pair:
    return msgspec.structs.replace(row, flags=(*row.flags, "repeated-prompt"))


def _health(rows: tuple[Pair, ...], prompts: int) -> PairHealth:
    flags = Counter(flag for row in rows for flag in row.flags)
    both = [row for row in rows if row.margin is not None]
    scored = [(row.margin, row.prompt_id) for row in rows if row.margin is not None]
    margins = [margin for margin, _ in scored]
    differing = [row for row in rows if row.length_chosen != row.length_rejected]
    return PairHealth(
        pairs=len(rows),
        prompts=prompts,
        scored=len(scored),
        same_answers=_share_flagged("same-answers", rows),
        score_ties=_share_flagged("score-tie", both),
        reversed=_share_flagged("reversed", both),
        repeated_prompts=_share_flagged("repeated-prompt", rows),
        longer_chosen=share_of_pairs(
            [row.length_chosen > row.length_rejected for row in differing], [row.prompt_id for row in differing]
        ),
        margin=sum(margins) / len(margins) if margins else None,
        margin_interval=clustered_mean(margins, [prompt for _, prompt in scored]) if scored else None,
        margins=dict(sorted(Counter(margins).items())),
        chosen_models=dict(sorted(Counter(row.model_chosen for row in rows if row.model_chosen).items())),
        rejected_models=dict(sorted(Counter(row.model_rejected for row in rows if row.model_rejected).items())),
        sources=dict(sorted(Counter(row.source for row in rows if row.source).items())),
        flags=dict(sorted(flags.items())),
    )


def _share_flagged(flag: str, rows: Sequence[Pair]) -> Share:
    return share_of_pairs([flag in row.flags for row in rows], [row.prompt_id for row in rows])


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
    """Share of those pairs in which it is the chosen one, ties as half, with prompts as clusters."""
    p: float | None
    """Two-sided p of "one half", after Holm's correction over the models."""
    score: Estimate | None
    """Bradley–Terry score (log) relative to the mean of the models; None where it has only won or only lost."""
    tied: int = 0

    @property
    def mean(self) -> float:
        """Share of wins, a tie counting half."""
        return (self.chosen + self.tied / 2) / (self.chosen + self.rejected + self.tied)


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
                named = format_list([f"{m.name} ({_share(m.share)})" for m in models if m.share], _NAMED)
                said.append(f"By the name of the model, {what}: {named}.")
        if self.longer and not self.longer.low <= 0.5 <= self.longer.high:
            which = "longer" if self.longer.mean > 0.5 else "shorter"
            said.append(
                f"The {which} answer is preferred: chosen is the longer one in {_share(self.longer)} of "
                f"{self.longer.n:,} pairs of different lengths."
            )
        return said


def bias_of(rows: Iterable[Pair]) -> Bias:
    """Find what decides in a preference set, from the rows of its audit: see ``audit.pairs``."""
    places: dict[tuple[str, int], dict[str, Counter[int]]] = {}
    games: list[Game] = []
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
    return Bias(_positions(places), model_bias(games), share_of_pairs(longer, longer_prompts).interval)


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


def model_bias(games: Sequence[Game]) -> tuple[ModelBias, ...]:
    """How each model fares against the others, the one that wins most often first.

    Args:
        games: model, other model, outcome (1 for the first, 0 for the second, ½ for a tie), prompt.
    """
    results: dict[str, tuple[list[float], list[str]]] = {}
    for first, second, outcome, prompt in games:
        for name, won in ((first, outcome), (second, 1 - outcome)):
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
            chosen=values.count(1),
            rejected=values.count(0),
            tied=len(values) - values.count(1) - values.count(0),
            share=shares[name],
            p=adjusted.get(name),
            score=fit.of.get(name) if fit else None,
        )
        for name, (values, _) in results.items()
    ]
    return tuple(sorted(models, key=lambda model: (-model.mean, model.name)))


def _against_half(share: Estimate) -> float:
    moved = Estimate(share.mean - 0.5, share.low - 0.5, share.high - 0.5, share.n, share.groups, share.method)
    return p_value(moved)


def _share(share: Estimate) -> str:
    return f"{share.mean:.1%}, 95 % {share.low:.1%} to {share.high:.1%}"


def _p(p: float) -> str:
    return "p < .0001" if p < 1e-4 else f"p = {p:.4f}".replace("0.", ".")
