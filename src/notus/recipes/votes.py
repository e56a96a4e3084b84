"""Votes of an arena beside a judge's scores: the share for the one run, as people give it and as the judge would.

The judge prefers the answer that it scores higher, and equal scores are a tie, half a vote for each. Matches and votes
are those of ``evaluate.arena``: whoever stops early has voted on a random part of them. Owns how votes become
labels of an evaluation of its own, ``… votes``, whose one arm is *b over a*.
"""

from collections.abc import Sequence
from pathlib import Path

from notus.core.artifacts import OUTPUTS
from notus.core.errors import InputError
from notus.core.run import read_json
from notus.evaluate.arena import VOTES, feedback_of, make_arena, read_votes
from notus.evaluate.compare import Score
from notus.evaluate.people.labels import Label, Read, read_labels
from notus.recipes.experiment import Gathered

__all__ = ["is_arena", "labels_beside"]


def is_arena(place: Path) -> bool:
    """Whether a place is the folder of an arena."""
    return (place / "arena.json").is_file()


def labels_beside(gathered: Gathered, place: Path) -> tuple[Gathered, Read]:
    """The labels of a sheet, or of an arena's votes; with these, the evaluation that they are on is added.

    Raises:
        InputError: if it is neither, or no evaluation has scored the answers of both runs.
    """
    if not is_arena(place):
        if place.is_dir():
            raise InputError(f"{place} is a folder and no arena's; name a sheet of labels, or a folder of notus arena")
        return gathered, read_labels(place)
    head = read_json(place / "arena.json")
    made = make_arena(Path(head["a"]), Path(head["b"]), seed=head["seed"])
    votes = read_votes(place / VOTES)
    scores = dict(gathered.scores)
    labels: list[Label] = []
    for kind, of_kind in gathered.scores.items():
        arms = [each for side in ("a", "b") if (each := _arm_of(gathered, kind, Path(head[side]))) is not None]
        if len(arms) < 2:
            continue
        values = {((score.arm, score.seed), score.prompt_id, score.sample): score.value for score in of_kind}
        name, arm = f"{kind} votes", _arm_name(arms)
        scores[name] = []
        for both in made.both.values():
            given = [values.get((each, both.prompt_id, both.a.sample)) for each in arms]
            scores[name].append(Score(arm, 0, both.prompt_id, both.a.sample, _win(*given)))
        for row in feedback_of(made, votes):
            both = made.both[str(row.extra["match"])]
            for ranking in row.rankings:
                first, second = ranking.ranks
                won = 0.5 if first is None or second is None or first == second else float(second < first)
                labels.append(Label(both.prompt_id, won, name, arm, 0, both.a.sample))
    if not labels:
        what = "has no votes" if len(scores) > len(gathered.scores) else f"is of {head['a']} and {head['b']}"
        raise InputError(
            f"the arena {place} {what}; compare evaluations of the answers of these runs (notus eval answers …)"
        )
    marks = {name: gathered.marks.get(name, {}) for name in scores}
    added = Gathered(scores, marks, gathered.baseline, gathered.require, gathered.folders)
    return added, Read(tuple(labels), 0)


def _win(a: float | None, b: float | None) -> float | None:
    """The judge's vote for b; None where it gave one of the two no score."""
    if a is None or b is None:
        return None
    return 0.5 if a == b else float(b > a)


def _arm_name(arms: Sequence[tuple[str, int]]) -> str:
    """b over a, with their seeds where one arm has trained both."""
    (a, a_seed), (b, b_seed) = arms
    return f"{b} over {a}" if a != b else f"{b} (seed {b_seed}) over {a} (seed {a_seed})"


def _arm_of(gathered: Gathered, kind: str, run: Path) -> tuple[str, int] | None:
    """The arm, and the seed, whose scores are of the answers of a run."""
    outputs = {run.resolve(), OUTPUTS.at(run).resolve()}
    for (name, arm, seed), folder in gathered.folders.items():
        if name != kind:
            continue
        inputs = read_json(folder / "inputs.json")
        paths = [entry.get("path") for entry in inputs.values() if isinstance(entry, dict)]
        if folder.resolve() in outputs or any(path and Path(path).resolve() in outputs for path in paths):
            return arm, seed
    return None
