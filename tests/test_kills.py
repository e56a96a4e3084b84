"""Commands that are killed at random moments go on, and end with the same bytes (``make soak``: a thousand kills)."""

import json

import pytest

from notus.core.disk.hashes import hash_folder
from tests.helpers.asked import Asked
from tests.helpers.soak import COMMANDS, SOURCE, Place, Round, go_on, kill_again_and_again, read_rounds, summarise

KILLS = {
    "audit": 9,
    "clean": 10,
    "binarize": 12,
    "train sft": 7,
    "train dpo": 5,
    "collect": 8,
    "two collectors": 5,
    "run inline": 4,
}
"""Sixty. Runs with worker processes are killed in ``tests/recipes/test_kills.py``."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with Asked(latency=0.01) as server:
        yield Place(tmp_path_factory.mktemp("kills"), server, prompts=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_killed_commands_end_as_undisturbed_ones(name, place):
    rounds, count = [], 0
    while count < KILLS[name]:
        rounds.append(kill_again_and_again(name, KILLS[name] - count, len(rounds), place))
        count += rounds[-1].kills
        assert rounds[-1].right, rounds[-1]
        assert len(rounds) < 30
    if COMMANDS[name].asks:
        assert len(place.server.came) >= 16 * 8  # two answers, four ratings of both and two critiques to each prompt


def test_sixty_are_killed():
    assert sum(KILLS.values()) == 60
    assert KILLS.keys() | {"run"} == COMMANDS.keys()


def test_a_soak_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """Rounds add up over processes; those of another source do not count; seeds are not drawn twice."""
    drawn = []

    def fake(name, kills, seed, _):
        drawn.append((name, seed))
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return Round(name, seed, min(kills, 4), asked_again=1, under_way=8, differing=[])

    monkeypatch.setattr("tests.helpers.soak.kill_again_and_again", fake)
    file = tmp_path / "soak.jsonl"
    other = {
        "command": "clean",
        "seed": 0,
        "kills": 50,
        "asked_again": 0,
        "under_way": 0,
        "differing": [],
        "source": "x",
    }
    file.write_text(json.dumps(other) + "\n")
    with pytest.raises(KeyboardInterrupt):
        go_on(file, None, 14, ["audit", "clean"])
    rounds = go_on(file, None, 14, ["audit", "clean"])
    assert [each.kills for each in rounds] == [4, 4, 4, 2]
    # The third was stopped, and is drawn again.
    assert drawn == [("audit", 0), ("clean", 0), ("audit", 1), ("audit", 1), ("clean", 1)]
    assert read_rounds(file, hash_folder(SOURCE)[:16]) == rounds
    assert summarise(rounds).splitlines()[-1].split() == ["all", "4", "14", "4", "32", "0"]


@pytest.mark.parametrize(
    ("found", "right"),
    [({}, True), ({"asked_again": 9}, False), ({"differing": ["0/tally.json"]}, False)],
    ids=["right", "asked", "differs"],
)
def test_what_is_not_right_is_said(found, right):
    whole = {"asked_again": 8, "under_way": 8, "differing": []} | found
    assert Round("audit", 0, 1, **whole).right == right
