"""The arena: which answers meet, what is hidden, what a vote is, who wins, and what becomes of votes."""

import json
import subprocess
import sys

import pytest

from notus.cli.decide.arena import vote_by_keys
from notus.core.artifacts import OUTPUTS
from notus.core.errors import DataError, InputError
from notus.core.records import Message, Output, Preference
from notus.core.tables import read_records, write_records
from notus.evaluate.arena import Ballots, Vote, feedback_of, make_arena, read_votes, standings
from tests.helpers.answered import answers


@pytest.fixture
def runs(tmp_path):
    return answers(tmp_path / "a", "alder"), answers(tmp_path / "b", "birch")


def test_the_same_prompts_meet_without_names_and_the_sides_are_drawn(runs):
    arena = make_arena(*runs)
    assert len(arena) == 40
    assert {match.prompt[0].content for match in arena.matches} == {f"Name river {n}." for n in range(40)}
    for match in arena.matches:
        assert {match.left.split()[0], match.right.split()[0]} == {"alder", "birch"}  # the text alone tells, no field
        assert set(match.__struct_fields__) == {"id", "prompt", "left", "right"}
    left = sum(match.left.startswith("alder") for match in arena.matches)
    assert 8 <= left <= 32
    assert [match.id for match in make_arena(*runs).matches] == [match.id for match in arena.matches]
    other = make_arena(*runs, seed=1)
    assert {match.id for match in other.matches} == {match.id for match in arena.matches}
    assert [match.id for match in other.matches] != [match.id for match in arena.matches]
    assert [match.left for match in other.matches] != [match.left for match in arena.matches]


def test_what_has_no_counterpart_or_the_same_text_is_counted(tmp_path):
    a = answers(tmp_path / "a", "x", 10, text=lambda n, _: "the same" if n < 3 else f"a{n}")
    b = answers(tmp_path / "b", "y", 12, samples=2, text=lambda n, _: "the same" if n < 3 else f"b{n}")
    arena = make_arena(a, b)
    assert (len(arena), arena.same, arena.only_a, arena.only_b) == (7, 3, 0, 14)
    assert make_arena(a, b, limit=5).left_out == 2
    with pytest.raises(InputError, match="named twice"):
        make_arena(a, a)
    with pytest.raises(DataError, match="share no prompt"):
        make_arena(a, _others(tmp_path / "d"))
    with pytest.raises(DataError, match=r"holds no outputs\.parquet"):
        make_arena(a, tmp_path)


def _others(folder):
    folder.mkdir()
    write_records(
        OUTPUTS.at(folder), [Output(prompt=(Message(role="user", content="?"),), text="x", model="m")], Output
    )
    return folder


def test_two_samples_with_equal_texts_are_asked_about_once(tmp_path):
    a = answers(tmp_path / "a", "x", 2, samples=2, text=lambda n, _: f"a{n}")
    b = answers(tmp_path / "b", "y", 2, samples=2, text=lambda n, _: f"b{n}")
    arena = make_arena(a, b)
    assert (len(arena), arena.repeated) == (2, 2)


def test_the_win_rate_counts_ties_as_half(runs):
    arena = make_arena(*runs)
    said = ["a"] * 10 + ["b"] * 20 + ["tie"] * 6 + ["both-bad"] * 4
    found = standings(arena, [Vote(match=each.id, vote=vote) for each, vote in zip(arena.matches, said, strict=True)])
    assert (found.votes, found.a, found.b, found.ties, found.both_bad) == (40, 10, 20, 6, 4)
    assert found.rate.mean == pytest.approx((20 + 10 / 2) / 40)
    # One vote a prompt: Student's t with 39 degrees of freedom, 2.0227 · s/√40, s² the squares by 39.
    half = 2.0227 * ((10 * 0.625**2 + 20 * 0.375**2 + 10 * 0.125**2) / 39 / 40) ** 0.5
    assert (found.rate.low, found.rate.high) == pytest.approx((0.625 - half, 0.625 + half), abs=1e-4)
    assert (found.strict.count, found.strict.of) == (20, 30)
    # Wilson of 20 of 30.
    assert (found.strict.interval.low, found.strict.interval.high) == pytest.approx((0.4878, 0.8077), abs=5e-4)


def test_left_and_right_mean_the_run_that_stood_there(runs):
    arena = make_arena(*runs)
    votes = [Vote(match=each.id, vote="left") for each in arena.matches]
    found = standings(arena, votes)
    assert found.a == sum(each.left.startswith("alder") for each in arena.matches)
    assert found.b == 40 - found.a
    assert (found.left.count, found.left.of) == (40, 40)


def test_the_last_vote_of_a_person_counts_and_undo_takes_it_back(runs):
    arena = make_arena(*runs)
    one, two = arena.matches[:2]
    votes = [
        Vote(match=one.id, vote="a", who="ana"),
        Vote(match=one.id, vote="b", who="ana"),
        Vote(match=two.id, vote="a", who="ana"),
        Vote(match=two.id, vote="undo", who="ana"),
        Vote(match=one.id, vote="a", who="ben"),
        Vote(match="0123", vote="a", who="ben"),
    ]
    found = standings(arena, votes)
    assert (found.votes, found.a, found.b, found.unmatched, found.undone) == (2, 1, 1, 1, 3)
    assert found.people == (("ana", 1), ("ben", 1))
    assert found.rate is None  # one prompt has no interval


def test_two_people_agree_by_krippendorffs_alpha(runs):
    arena = make_arena(*runs)
    votes = [Vote(match=each.id, vote="a" if n % 2 else "b", who="ana") for n, each in enumerate(arena.matches)]
    votes += [Vote(match=each.match, vote=each.vote if n else "a", who="ben") for n, each in enumerate(votes)]
    # 39 of 40 alike: margins a 41, b 39, coincidences that differ 2; α = 1 − 79 · 2/(2 · 41 · 39).
    assert standings(arena, votes).alpha.mean == pytest.approx(1 - 79 * 2 / (2 * 41 * 39))


def test_a_vote_is_on_the_disk_and_a_torn_line_is_no_vote(runs, tmp_path):
    arena = make_arena(*runs)
    place = tmp_path / "arena" / "votes.jsonl"
    with Ballots(place) as ballots:
        ballots.cast(arena.matches[0], "left", "ana")
        assert len(read_votes(place)) == 1
    whole = place.read_bytes()
    place.write_bytes(whole + whole[:25])  # the power went
    with Ballots(place) as ballots:
        assert len(ballots.votes) == 1
        ballots.cast(arena.matches[1], "tie", "ana")
        assert [each.vote for each in ballots.votes] == ["left", "tie"]
    place.write_bytes(whole + b'{"match": "x", "vote": "maybe"}\n')
    with pytest.raises(InputError, match=r"votes\.jsonl:2 is no vote"):
        read_votes(place)


def test_keys_vote_skip_undo_and_go_on(runs, tmp_path, capsys):
    arena = make_arena(*runs, limit=4)
    keys = iter("1s0u2q")
    with Ballots(tmp_path / "votes.jsonl") as ballots:
        vote_by_keys(arena, ballots, "ana", lambda: next(keys))
        first, _, third, *_ = (each.id for each in arena.matches)
        assert [(each.match, each.vote) for each in ballots.votes] == [
            (first, "left"),
            (third, "both-bad"),
            (third, "undo"),
            (third, "right"),
        ]
    shown = capsys.readouterr().out
    assert "alder" in shown  # in a text; no line names a run
    assert str(runs[0]) not in shown
    keys = iter("333q")
    with Ballots(tmp_path / "votes.jsonl") as ballots:  # it goes on with what is left, and ends by itself
        vote_by_keys(arena, ballots, "ana", lambda: next(keys))
        assert next(keys) == "3"
        assert standings(arena, ballots.votes).votes == 4


def test_votes_are_pairs_as_any_other_votes(runs):
    arena = make_arena(*runs)
    one, two = arena.matches[:2]
    votes = [
        Vote(match=one.id, vote="b", who="ana"),
        Vote(match=one.id, vote="b", who="ben"),
        Vote(match=two.id, vote="both-bad", who="ana"),
    ]
    rows = {row.extra["match"]: row for row in feedback_of(arena, votes)}
    assert set(rows) == {one.id, two.id}
    assert [each.ranks for each in rows[one.id].rankings] == [(2, 1), (2, 1)]
    assert [each.ranks for each in rows[two.id].rankings] == [(1, 1)]
    assert [each.model for each in rows[one.id].completions] == ["alder", "birch"]


def notus(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "notus", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_the_command_counts_votes_of_a_file_goes_on_and_writes_pairs(runs, tmp_path):
    out = tmp_path / "arena"
    done = notus("arena", *runs, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "no terminal to vote in" in " ".join(done.stdout.split())
    sheet = [json.loads(line) for line in (out / "matches.jsonl").read_text().splitlines()]
    assert len(sheet) == 40
    votes = tmp_path / "mine.jsonl"
    lines = [
        {"match": each["id"], "vote": "left" if each["left"].startswith("birch") else "right"} for each in sheet[:30]
    ]
    lines += [{"match": each["id"], "vote": "tie"} for each in sheet[30:35]] + [{"match": "gone", "vote": "tie"}]
    votes.write_text("".join(json.dumps(line | {"who": "ana"}) + "\n" for line in lines))
    pairs = tmp_path / "pairs.parquet"
    for _ in range(2):  # a second time nothing is added
        done = notus("arena", *runs, "--out", out, "--votes", votes, "--json")
        told = json.loads(done.stdout)
        assert (told["votes"], told["run_a"], told["both_bad"], told["unmatched"]) == (35, str(runs[0]), 0, 1)
    assert told["win_rate_b"]["mean"] == pytest.approx(32.5 / 35)
    assert len(read_votes(out / "votes.jsonl")) == 36
    done = notus("arena", *runs, "--votes", out / "votes.jsonl", "--pairs", pairs)
    assert "30 pairs" in done.stdout
    assert "5 matches give no pair" in done.stdout
    made = list(read_records(pairs, Preference))
    assert {(each.model_chosen, each.model_rejected) for each in made} == {("birch", "alder")}
    refused = notus("arena", *runs, "--out", out, "--seed", 3)
    assert refused.returncode != 0
    assert "holds the arena of" in refused.stderr
