"""Votes of an arena beside a judge: the judge's own win rate, corrected by people's."""

import json

import pytest

import notus
from notus.core.errors import InputError
from notus.core.run import write_json
from notus.evaluate.arena import VOTES, Vote, make_arena
from notus.evaluate.compare import Score
from notus.recipes.experiment import Gathered, gather_runs
from notus.recipes.votes import is_arena, labels_beside
from notus.stats.corrected.mean import Sample, corrected_mean
from notus.steps.evaluate.answers import Evaluate
from notus.steps.perform import run_step
from tests.helpers.answered import answers


@pytest.fixture
def place(tmp_path):
    """Forty matches; the measure is length, which prefers b in three of four; people vote on the first twenty."""
    a = answers(tmp_path / "a", "alder", text=lambda n, _: f"a{n:02}" + "." * (9 if n % 4 == 0 else 3))
    b = answers(tmp_path / "b", "birch", text=lambda n, _: f"b{n:02}" + "." * 6)
    for side in (a, b):
        config = Evaluate.parse({"outputs": str(side), "by": "length"}, where="test")
        run_step("evaluate", config, tmp_path / f"of-{side.name}")
    arena = make_arena(a, b, seed=3)
    (tmp_path / "arena").mkdir()
    write_json(tmp_path / "arena" / "arena.json", {"a": str(a), "b": str(b), "seed": 3, "matches": 40})
    votes = [
        Vote(match=match.id, vote="b" if n % 3 else "tie", who="ana") for n, match in enumerate(arena.matches[:20])
    ]
    lines = [json.dumps({"match": vote.match, "vote": vote.vote, "who": vote.who}) + "\n" for vote in votes]
    (tmp_path / "arena" / VOTES).write_text("".join(lines))
    return tmp_path


def test_votes_correct_the_judges_win_rate(place):
    runs = [place / "of-a", place / "of-b"]
    gathered, read = labels_beside(gather_runs(runs), place / "arena")
    (kind,) = gather_runs(runs).scores
    name, arm = f"{kind} votes", "of-b over of-a"
    assert is_arena(place / "arena")
    assert {score.arm for score in gathered.scores[name]} == {arm}
    judged = {score.prompt_id: score.value for score in gathered.scores[name]}
    assert sorted(judged.values()) == [0.0] * 10 + [1.0] * 30
    assert len(read.labels) == 20
    people = [label.value for label in read.labels]
    beside = [judged[label.prompt_id] for label in read.labels]
    assert sum(people) == 7 * 0.5 + 13  # of twenty every third is a tie
    found = notus.compare(runs, labels=place / "arena", require=f"{name}: {arm} > .5")
    (corrected,) = found.corrected[name].arms
    by_hand = corrected_mean(Sample(people, beside, list(judged.values()))).estimate
    assert (corrected.interval.low, corrected.interval.high) == pytest.approx((by_hand.low, by_hand.high))
    assert found.held


def test_an_arena_of_other_runs_is_refused(place):
    with pytest.raises(InputError, match="compare evaluations of the answers of these runs"):
        labels_beside(gather_runs([place / "of-a"]), place / "arena")
    with pytest.raises(InputError, match="no arena's"):
        labels_beside(gather_runs([place / "of-a"]), place / "a")


def test_each_seed_of_an_arm_has_scores_of_its_own(place):
    """Both runs are one arm, under two seeds: what the judge says of a run is not what it says of the other seed's."""
    runs = [place / "of-a", place / "of-b"]
    plain = gather_runs(runs)
    (kind,) = plain.scores
    seeds = {"of-a": 0, "of-b": 1}
    scores = [Score("dpo", seeds[s.arm], s.prompt_id, s.sample, s.value) for s in plain.scores[kind]]
    folders = {(kind, "dpo", seed): place / name for name, seed in seeds.items()}
    gathered, _ = labels_beside(Gathered({kind: scores}, {kind: {}}, folders=folders), place / "arena")
    votes = gathered.scores[f"{kind} votes"]
    assert {score.arm for score in votes} == {"dpo (seed 1) over dpo (seed 0)"}
    assert sorted(score.value for score in votes) == [0.0] * 10 + [1.0] * 30
