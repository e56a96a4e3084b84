"""The arena: answers of two runs to the same prompts side by side, without names, and what people prefer.

    arena = make_arena(Path("runs/a"), Path("runs/b"), seed=0)
    with Ballots(folder / "votes.jsonl") as ballots:
        ballots.cast(arena.match(id_), "left", who="ana")
    standings(arena, ballots.votes)

A match is known by its prompt and both texts, so that its votes are found again when a run is drawn anew in part. Which
answer stands left, and the order of the matches, are drawn by the seed and the match alone: whoever stops early has
voted on a random part. A vote is a line that is on the disk when it counts; it is never changed, and a later one of the
same person on the same match takes its place. Owns matches, votes and the win rate; how they are shown is owned by
``cli.decide.arena`` and ``review.arena``.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from notus.core.artifacts import OUTPUTS
from notus.core.errors import DataError, InputError, cannot_write
from notus.core.records import Completion, Feedback, Messages, Name, Output, Ranking, Record, digest
from notus.core.tables import read_records, table_exists
from notus.stats.agreement import krippendorff
from notus.stats.intervals import Estimate, Share, clustered_mean, proportion, share, wilson_if_unanimous

__all__ = [
    "CHOICES",
    "SHEET",
    "VOTES",
    "Arena",
    "Ballots",
    "Choice",
    "Match",
    "Standings",
    "Vote",
    "done_by",
    "feedback_of",
    "make_arena",
    "read_votes",
    "standings",
]

Choice = Literal["left", "right", "tie", "both-bad", "undo"]
"""What is said of the two that are shown; ``undo`` takes the same person's vote on the match back."""
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "both-bad", "undo")
VOTES = "votes.jsonl"
"""The file of the votes."""
SHEET = "matches.jsonl"
"""The file of the matches as they are shown, without names."""
_RUNS = ("a", "b")


class Match(Record, frozen=True):
    """Two answers to one prompt, as they are shown."""

    id: Name
    prompt: Messages
    left: str
    right: str


class Vote(Record, frozen=True, omit_defaults=True):
    """What one person said of a match."""

    match: Name
    vote: Literal["left", "right", "tie", "both-bad", "undo", "a", "b"]
    """``a`` and ``b`` name the run, where somebody else's arena knows nothing of our sides."""
    who: str = ""
    when: str = ""


@dataclass(frozen=True)
class _Both:
    """A match with what is not shown."""

    shown: Match
    prompt_id: str
    a: Output
    b: Output
    a_left: bool


@dataclass(frozen=True)
class Arena:
    """The matches of two runs, in the order in which they are shown."""

    a: str
    """Names of the runs."""
    b: str
    seed: int
    matches: tuple[Match, ...]
    both: Mapping[str, _Both]
    """Id → what is not shown."""
    same: int
    """Pairs of answers with the same text, which nobody is asked about."""
    only_a: int
    """Answers to prompts, or samples, that the other run has not."""
    only_b: int
    repeated: int = 0
    """Pairs of answers that stand more than once, such as two samples with equal texts."""
    left_out: int = 0
    """Matches beyond the limit."""

    def __len__(self) -> int:
        return len(self.matches)

    def match(self, id_: str) -> Match:
        """A match by its id.

        Raises:
            InputError: if there is none.
        """
        if id_ not in self.both:
            raise InputError(f"there is no match {id_} of {self.a} and {self.b}")
        return self.both[id_].shown

    def winner(self, vote: Vote) -> str | None:
        """The run that a vote prefers, ``a`` or ``b``; None for a tie and where both are bad."""
        if vote.vote in _RUNS:
            return vote.vote
        if vote.vote not in ("left", "right"):
            return None
        return "a" if (vote.vote == "left") == self.both[vote.match].a_left else "b"

    def side(self, vote: Vote) -> str | None:
        """The side that a vote prefers; None for a tie and where both are bad."""
        won = self.winner(vote)
        return None if won is None else "left" if (won == "a") == self.both[vote.match].a_left else "right"


def make_arena(a: Path, b: Path, *, seed: int = 0, limit: int | None = None) -> Arena:
    """The arena of two runs: each answer of the one beside the other's of the same prompt and sample.

    Args:
        a: a run of ``sample`` (notus generate), or its outputs.parquet.
        b: likewise.
        seed: decides the sides and the order.
        limit: only so many matches; a random part, as the order is.

    Raises:
        InputError: if the same run is named twice.
        DataError: if one holds no answers, an answer twice, or the two share no prompt.
    """
    if a.resolve() == b.resolve():
        raise InputError(f"{a} is named twice; an arena needs the answers of two runs")
    one, other = _answers(a), _answers(b)
    shared = [key for key in one if key in other]
    if not shared:
        raise DataError(f"{a} and {b} share no prompt; draw both from the same prompts (notus generate)")
    found: dict[str, _Both] = {}
    same = repeated = 0
    for key in shared:
        if one[key].text == other[key].text:
            same += 1
            continue
        pair = _pair(key[0], one[key], other[key], seed)
        repeated += pair.shown.id in found
        found.setdefault(pair.shown.id, pair)
    ordered = sorted(found, key=lambda id_: _drawn(seed, "order", id_))
    kept = ordered[:limit]
    return Arena(
        a=str(a),
        b=str(b),
        seed=seed,
        matches=tuple(found[id_].shown for id_ in kept),
        both={id_: found[id_] for id_ in kept},
        same=same,
        only_a=len(one) - len(shared),
        only_b=len(other) - len(shared),
        repeated=repeated,
        left_out=len(ordered) - len(kept),
    )


def _answers(place: Path) -> dict[tuple[str, int], Output]:
    table = OUTPUTS.at(place) if place.is_dir() else place
    if not table_exists(table):
        raise DataError(f"{place} holds no {OUTPUTS.file}; name a run of 'sample' (notus generate), or its file")
    found: dict[tuple[str, int], Output] = {}
    for output in read_records(table, Output):
        key = (output.prompt_id, output.sample)
        if key in found and found[key].text != output.text:
            raise DataError(f"{place} has two answers to prompt {key[0]} as sample {key[1]}; name a run of one model")
        found[key] = output
    return found


def _pair(prompt_id: str, a: Output, b: Output, seed: int) -> _Both:
    id_ = digest(prompt_id, a.text, b.text)
    a_left = _drawn(seed, "side", id_)[0] % 2 == 0
    left, right = (a, b) if a_left else (b, a)
    return _Both(Match(id=id_, prompt=a.prompt, left=left.text, right=right.text), prompt_id, a, b, a_left)


def _drawn(seed: int, what: str, id_: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{what}:{id_}".encode(), digest_size=8).digest()


class Ballots:
    """The votes of an arena: lines that are only added. Use it as a context manager; it may be used from several
    threads, and by several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        except OSError as error:
            raise cannot_write(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def cast(self, match: Match, choice: Choice, who: str) -> Vote:
        """Add a vote; it is on the disk when this returns."""
        vote = Vote(match=match.id, vote=choice, who=who, when=datetime.now(UTC).isoformat(timespec="seconds"))
        self.add([vote])
        return vote

    def add(self, votes: Sequence[Vote]) -> None:
        """Add votes as they are, all in one write.

        Raises:
            RunError: if the disk is full.
        """
        lines = b"".join(msgspec.json.encode(each) + b"\n" for each in votes)
        with self._lock:
            try:
                # What a crash left of a line is no vote; behind a border of its own it stays apart from the next.
                torn = self.path.stat().st_size and not self._ends_a_line()
                self._file.write(b"\n" + lines if torn else lines)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise cannot_write(self.path, error) from None

    @property
    def votes(self) -> list[Vote]:
        """All votes that were added, in their order."""
        return read_votes(self.path)

    def _ends_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def read_votes(path: Path) -> list[Vote]:
    """The votes of a file, one a line of JSON: ``{"match": …, "vote": "left", "who": "ana"}``.

    A last line without an end is what a crash left of a vote that did not count, and is passed over where it is broken.

    Raises:
        InputError: if it is missing, or another line is no vote.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    lines = data.split(b"\n")
    votes: list[Vote] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                votes.append(msgspec.json.decode(line, type=Vote))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if _torn(line):
                    continue
                raise InputError(
                    f'{path}:{number} is no vote ({error}); a line is {{"match": ID, "vote": "left"}}, with '
                    f"{', '.join(CHOICES)}, a or b"
                ) from None
    return votes


def _torn(line: bytes) -> bool:
    """Whether a line is the beginning of one that a crash cut off."""
    return line.startswith(b'{"match":') and not line.rstrip().endswith(b"}")


def done_by(who: str, votes: Iterable[Vote]) -> list[str]:
    """The matches on which a vote of a person counts, the last one last."""
    done: dict[str, None] = {}
    for each in votes:
        if each.who == who:
            done.pop(each.match, None)
            if each.vote != "undo":
                done[each.match] = None
    return list(done)


@dataclass(frozen=True)
class Standings:
    """Who wins, by the votes that count."""

    votes: int
    """Of each person on each match the last."""
    matches: int
    """Matches with a vote."""
    of: int
    """Matches that there are."""
    people: tuple[tuple[str, int], ...]
    a: int
    """Votes for run a, and so on."""
    b: int
    ties: int
    both_bad: int
    rate: Estimate | None
    """Share of the votes for run b, a tie and both bad as half a vote for each; prompts are clusters."""
    strict: Share
    """Share for run b of the votes that prefer one."""
    left: Share
    """Share of those for what stood left."""
    alpha: Estimate | None
    """Krippendorff's α of several people on the same matches: a, b or neither."""
    unmatched: int
    """Votes on matches that are not of these runs."""
    undone: int
    """Votes that were taken back or replaced."""

    def as_json(self) -> dict[str, Any]:
        """The figures as plain JSON."""

        def put(found: Share) -> dict[str, Any]:
            return {"count": found.count, "of": found.of, "share": found.interval and found.interval.as_json("share")}

        told = {name: getattr(self, name) for name in ("votes", "matches", "of", "a", "b", "ties", "both_bad")}
        return told | {
            "people": dict(self.people),
            "win_rate_b": self.rate and self.rate.as_json("share"),
            "win_rate_b_without_ties": put(self.strict),
            "left": put(self.left),
            "alpha": self.alpha and self.alpha.as_json("alpha"),
            "unmatched": self.unmatched,
            "undone_or_replaced": self.undone,
        }


@dataclass(frozen=True)
class _Counted:
    votes: list[Vote] = field(default_factory=list)
    unmatched: int = 0

    @cached_property
    def in_force(self) -> dict[tuple[str, str], Vote]:
        """Person and match → the vote that counts."""
        found: dict[tuple[str, str], Vote] = {}
        for each in self.votes:
            if each.vote == "undo":
                found.pop((each.who, each.match), None)
            else:
                found[each.who, each.match] = each
        return found


def _counted(arena: Arena, votes: Iterable[Vote]) -> _Counted:
    given = list(votes)
    own = [each for each in given if each.match in arena.both]
    return _Counted(own, len(given) - len(own))


def standings(arena: Arena, votes: Iterable[Vote]) -> Standings:
    """The figures of votes; those on matches of other runs are counted and left out."""
    counted = _counted(arena, votes)
    force = list(counted.in_force.values())
    won = [arena.winner(each) for each in force]
    prompts = [arena.both[each.match].prompt_id for each in force]
    values = [0.5 if each is None else float(each == "b") for each in won]
    sides = Counter(arena.side(each) for each in force)
    by_match: dict[str, list[str]] = defaultdict(list)
    for each, winner in zip(force, won, strict=True):
        by_match[each.match].append(winner or "neither")
    several = {id_: said for id_, said in by_match.items() if len(said) > 1}
    strict = [(each == "b", prompt) for each, prompt in zip(won, prompts, strict=True) if each is not None]
    return Standings(
        votes=len(force),
        matches=len(by_match),
        of=len(arena),
        people=tuple(sorted(Counter(each.who for each in force).items(), key=lambda each: (-each[1], each[0]))),
        a=won.count("a"),
        b=won.count("b"),
        ties=sum(each.vote == "tie" for each in force),
        both_bad=sum(each.vote == "both-bad" for each in force),
        rate=share(values, prompts) if len(set(prompts)) > 1 else None,
        strict=_strict(strict),
        left=Share.make(sides["left"], sides["left"] + sides["right"]),
        alpha=krippendorff(list(several.values()), [arena.both[id_].prompt_id for id_ in several], draws=1_999)
        if several
        else None,
        unmatched=counted.unmatched,
        undone=len(counted.votes) - len(force),
    )


def _strict(cases: Sequence[tuple[bool, str]]) -> Share:
    count, of = sum(won for won, _ in cases), len(cases)
    if len({prompt for _, prompt in cases}) == of:
        return Share.make(count, of)
    estimate = clustered_mean([float(won) for won, _ in cases], [prompt for _, prompt in cases])
    return Share(count, of, wilson_if_unanimous(estimate) if estimate else proportion(count, of))


def feedback_of(arena: Arena, votes: Iterable[Vote]) -> Iterator[Feedback]:
    """The votes as feedback with rankings, of which pairs are made as of any other votes: each match that has votes."""
    by_match: dict[str, list[Vote]] = defaultdict(list)
    for each in _counted(arena, votes).in_force.values():
        by_match[each.match].append(each)
    for match in arena.matches:
        if match.id in by_match:
            both = arena.both[match.id]
            yield Feedback(
                prompt=match.prompt,
                completions=tuple(Completion(text=each.text, model=each.model) for each in (both.a, both.b)),
                source="arena",
                rankings=tuple(_ranking(arena, each) for each in by_match[match.id]),
                extra={"match": match.id},
            )


def _ranking(arena: Arena, vote: Vote) -> Ranking:
    won = arena.winner(vote)
    ranks = (1, 1) if won is None else (1, 2) if won == "a" else (2, 1)
    return Ranking(
        ranks=ranks, rater=vote.who, question="arena", rationale="both bad" if vote.vote == "both-bad" else ""
    )
