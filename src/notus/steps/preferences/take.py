"""What ``binarize`` takes of the pairs that it makes: the settings, the rewards that rules go by, and both readings.

The pairs are made twice: first to see what the rule looks at in each of them, so that a share of all can be taken, then
to be written. Held-out pairs are left as they are: what is measured by is not chosen by what is measured. Owns the
settings and the readings. The rules are owned by ``preferences.take``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import pydantic

from notus.core.artifacts import FEEDBACK, PAIR_SCORES
from notus.core.config import Config
from notus.core.errors import DataError
from notus.core.records import Feedback, Preference
from notus.core.run import read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_records, read_table
from notus.core.text import counted
from notus.formats.families.ranked import ranker_score
from notus.formats.source import Shard
from notus.preferences.take.rules import (
    BOUNDED,
    BY_REWARD,
    Measured,
    Outvoted,
    OutvotedBy,
    Rewards,
    Rule,
    measure,
    places_of,
)
from notus.steps.base import Context, Refs

if TYPE_CHECKING:  # most binarizations take all pairs
    from notus.preferences.take.outvoted import Judged
    from notus.preferences.take.plan import Plan

__all__ = ["Latest", "Seen", "Takes", "Taking", "choose_among", "plan_taking", "read_rewards", "see"]

Held = Callable[[Preference], bool]


class Takes(Config):
    """What is taken of the pairs that are made."""

    TAKE_SETTINGS: ClassVar[frozenset[str]] = frozenset(
        ["take", "share", "at_least", "at_most", "outvoted", "outvoted_by"]
    )
    """Settings that are part of what a run is only where they are given."""

    take: Rule | None = None
    """The rule by which some of the pairs are taken: random, margin, small-margin, moderate, reward, small-reward,
    aspects, length. Null takes all."""
    share: float | None = pydantic.Field(default=None, gt=0, le=1)
    """Share of the pairs that is taken, rounded down, those first that the rule puts first."""
    at_least: float | None = None
    """Least value of what the rule looks at: a margin, a reward margin, a divergence, a relative difference of
    lengths."""
    at_most: float | None = None
    """Its greatest value."""
    rewards: Refs = pydantic.Field(default=(), exclude=True)
    """Runs of ``notus rank`` on this feedback, or of ``notus eval rewards`` on its pairs, for reward, small-reward and
    outvoted. Without any, the scores that ``notus rank`` has left on the source's own answers count."""
    outvoted: Outvoted | None = None
    """What becomes of a pair whose rejected answer the rankers of ``rewards`` prefer: remove or flip; null keeps it."""
    outvoted_by: OutvotedBy | None = None
    """How many rankers that takes: majority of those that vote, or all of them; null takes majority."""

    @property
    def takes(self) -> bool:
        """Whether pairs are left out, or turned round."""
        return self.take is not None or self.outvoted is not None

    @pydantic.model_validator(mode="after")
    def _taking_agrees(self) -> Self:
        bounds = self.at_least is not None or self.at_most is not None
        if self.take is None and (self.share is not None or bounds):
            raise ValueError("'share', 'at_least' and 'at_most' say how much a rule takes; name one (take: margin)")
        if self.take is not None and self.share is None and not bounds:
            raise ValueError(f"'take: {self.take}' says in which order, and not how much; give a share, such as 0.3")
        if bounds and self.take not in BOUNDED:
            raise ValueError(f"'{self.take}' has no value to hold between bounds; give a share in their place")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"'at_least' ({self.at_least:g}) is above 'at_most' ({self.at_most:g})")
        if self.outvoted_by is not None and self.outvoted is None:
            raise ValueError("'outvoted_by' says how many rankers outvote a pair; say what becomes of it (outvoted)")
        if self.rewards and self.take not in BY_REWARD and self.outvoted is None:
            raise ValueError("'rewards' are for take: reward or small-reward, and for outvoted; leave them out")
        if self.take in BY_REWARD and len(self.rewards) > 1 and self.outvoted is None:
            raise ValueError(
                f"'take: {self.take}' goes by one ranker, and 'rewards' names {len(self.rewards)}; several vote under "
                "'outvoted', and then the first of them is the rule's"
            )
        return self


@dataclass(frozen=True)
class Taking:
    """What decides about each pair."""

    rewards: tuple[Rewards, ...] = ()
    plan: "Plan | None" = None
    """None in the first reading, and where all that is not outvoted is taken."""


@dataclass
class Latest:
    """The feedback that a pair was just made of: stages make the pairs of one row before they read the next."""

    feedback: Feedback | None = None

    def passing(self, records: Iterable[Feedback]) -> Iterator[Feedback]:
        """Pass on feedback, and hold the latest."""
        for self.feedback in records:
            yield self.feedback

    def beside(self, pairs: Iterable[Preference]) -> "Iterator[Judged]":
        """Each pair with the feedback that it was made of."""
        for pair in pairs:
            assert self.feedback is not None
            yield pair, self.feedback


class Seen(NamedTuple):
    """What the first reading of a shard found."""

    measured: list[Measured]
    """Of all pairs that may be taken."""
    scored: list[int]
    """Pairs of which each ranker scores both answers."""
    pairs: int


@dataclass
class _Counts:
    scored: list[int] = field(default_factory=list)
    pairs: int = 0


def read_rewards(context: Context, config: Takes) -> tuple[Rewards, ...]:
    """The scores that the rules go by; of the source's own answers where no run is named.

    Raises:
        DataError: if a run holds no scores.
    """
    if not (config.take in BY_REWARD or config.outvoted is not None):
        return ()
    found = tuple(_read(place, str(place)) for place in context.places("rewards"))
    return found or (Rewards("the answers' own scores", own=True),)


def _read(place: Path, name: str) -> Rewards:
    if FEEDBACK.is_in(place):
        answers = {
            row.completion_id(number): score
            for row in read_records(FEEDBACK.at(place), Feedback)
            for number, item in enumerate(row.completions)
            if (score := ranker_score(item)) is not None
        }
        if answers:
            return Rewards(name, answers=answers)
    elif PAIR_SCORES.is_in(place):
        rows = list(read_table(PAIR_SCORES.at(place)))
        if rows and "score_chosen" in rows[0]:
            sides = [(row["id"], row["score_chosen"], row["score_rejected"]) for row in rows]
            return Rewards(name, pairs={of: one - two for of, one, two in sides if None not in (one, two)})
    stage = read_manifest(place)["stage"] if (place / "manifest.json").is_file() else "nothing"
    raise DataError(
        f"{name} is a run of '{stage}' and holds no ranker's scores; make some: notus rank RANKER FEEDBACK, or notus "
        "eval rewards RANKER PAIRS"
    )


def see(config: Takes, taking: Taking, held: Held, pairs: Iterable[Preference], latest: Latest) -> Seen:
    """What the rule sees in the pairs of a shard."""
    counts = _Counts([0] * len(taking.rewards))

    def counting(judged: "Iterable[Judged]") -> "Iterator[Judged]":
        for pair, feedback in judged:
            counts.pairs += 1
            for number, each in enumerate(taking.rewards):
                counts.scored[number] += each.margin(pair, feedback) is not None
            yield pair, feedback

    measured = [
        Measured(pair.feedback_id, *places_of(pair), measure(config.take, pair, feedback, taking.rewards))
        for pair, feedback in _judged(config, taking, held, counting(latest.beside(pairs)), Tally("outvoted"))
        if config.take is not None and not held(pair)
    ]
    return Seen(measured, counts.scored, counts.pairs)


def plan_taking(
    context: Context, config: Takes, rewards: tuple[Rewards, ...], seen: Sequence[Seen], seed: int
) -> Taking:
    """Decide which pairs are taken, and note it.

    Raises:
        DataError: if a ranker scores none of the pairs, or nothing is taken.
    """
    pairs = sum(each.pairs for each in seen)
    for number, each in enumerate(rewards):
        scored = sum(part.scored[number] for part in seen)
        if pairs and not scored:
            how = "; rank the answers first (notus rank), or name its run (rewards, --rewards)" if each.own else ""
            raise DataError(f"{each.name}: no pair has scores of both answers there{how or '; is it of other data?'}")
        if scored < pairs:
            context.log(f"{each.name} scores both answers of {scored:,} of {counted(pairs, 'pair')}")
    if rewards:
        context.note(rewards={each.name: sum(part.scored[n] for part in seen) for n, each in enumerate(rewards)})
    if config.take is None or not pairs:
        return Taking(rewards)
    from notus.preferences.take.plan import Wanted, plan

    wanted = Wanted(config.share, config.at_least, config.at_most)
    found = plan(config.take, (item for part in seen for item in part.measured), wanted, seed)
    if not found.keep:
        raise DataError(
            f"'take: {config.take}' takes none of {counted(len(found.places), 'pair')}: "
            + (f"a share of {config.share:g} is less than one" if config.share else "none is between the bounds")
            + "; take more (share, at_least, at_most)"
        )
    context.note(take=found.as_json())
    if found.tied:
        context.log(f"{found.tied:,} pairs have the value of the last that is taken: the seed decides which of them")
    return Taking(rewards, found)


def choose_among(
    config: Takes,
    taking: Taking,
    held: Held,
    judged: "Iterable[Judged]",
    shard: Shard,
    of: Literal["records", "parts"] = "records",
) -> Iterator[Preference]:
    """The pairs that are taken, each with the reason, and those held out.

    Args:
        config: the settings.
        taking: what decides.
        held: whether a pair is held out.
        judged: all pairs, each with its feedback.
        shard: receives the tallies.
        of: ``parts`` where a prompt gives several pairs, of which one may be dropped while the prompt stays.
    """
    tally = shard.tally("outvoted", of) if config.outvoted else Tally("outvoted")
    kept = (pair for pair, _ in _judged(config, taking, held, judged, tally))
    if taking.plan is None:
        return kept
    from notus.preferences.take.plan import take

    return apply(take(taking.plan, held), kept, shard.tally("take", of))


def _judged(config: Takes, taking: Taking, held: Held, judged: "Iterable[Judged]", tally: Tally) -> "Iterator[Judged]":
    if config.outvoted is None:
        return iter(judged)
    from notus.preferences.take.outvoted import outvote

    return apply(outvote(taking.rewards, config.outvoted, config.outvoted_by or "majority", held), judged, tally)
