"""Rows with the votes of people: what they mean, what is refused, the majority."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.core.records import Message, Preference
from notus.core.stage import Tally
from notus.evaluate.judges.human import HumanPair, from_preferences, read_human_pairs, vote_format
from notus.formats.quarantine import Quarantine
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data" / "judges"
PANDALM = {"instruction": "Add.", "input": "1 2", "response1": "3", "response2": "4"}
LLMBAR = {"input": "Add 1 and 2.", "output_1": "4", "output_2": "3", "label": 2}


def votes(*given):
    return HumanPair(prompt=(Message(role="user", content="x"),), first="a", second="b", votes=given)


def file_of(tmp_path, *rows):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def read(path, layout, **more):
    tally, quarantine = Tally("votes"), Quarantine()
    return list(read_human_pairs(path, layout, tally, quarantine, **more)), tally, quarantine


def test_pandalms_rows(tmp_path):
    path = file_of(tmp_path, PANDALM | {"annotator1": 1, "annotator2": 2, "annotator10": 0})
    assert vote_format(path) == "pandalm"
    (found,), tally, _ = read(path, "pandalm")
    assert found.prompt[0].content == "Add.\n\n1 2"
    assert (found.first, found.second, found.votes) == ("3", "4", ("A", "B", "C"))
    assert (tally.taken, tally.given) == (1, 1)


def test_llmbars_rows(tmp_path):
    path = file_of(tmp_path, LLMBAR)
    assert vote_format(path) == "llmbar"
    assert read(path, "llmbar")[0][0].votes == ("B",)


def test_what_is_neither_has_no_layout(tmp_path):
    assert vote_format(file_of(tmp_path, {"prompt": "x", "chosen": "y", "rejected": "z"})) is None
    with pytest.raises(DataError, match=r"cannot read .*none\.json"):
        vote_format(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (LLMBAR | {"label": 0}, "unknown-vote"),
        (LLMBAR | {"label": 3}, "unknown-vote"),
        (LLMBAR | {"label": "2"}, "wrong-type"),
        (LLMBAR | {"label": True}, "wrong-type"),
        (LLMBAR | {"output_1": True}, "wrong-type"),
        (LLMBAR | {"output_2": None}, "missing-field"),
    ],
)
def test_a_bad_row_is_put_aside_with_its_rule(tmp_path, row, rule):
    path = file_of(tmp_path, LLMBAR, row)
    found, tally, quarantine = read(path, "llmbar")
    assert len(found) == 1
    assert quarantine.counts == {rule: 1}
    assert [item.reason for item in tally.dropped] == [rule]
    with pytest.raises(DataError, match=rf"rows\.json:2.*\[{rule}\]"):
        read(path, "llmbar", strict=True)


def test_a_row_with_fewer_annotators_is_put_aside(tmp_path):
    three = PANDALM | {"annotator1": 1, "annotator2": 2, "annotator3": 0}
    found, _, quarantine = read(file_of(tmp_path, three, PANDALM | {"annotator1": 1}), "pandalm")
    assert (len(found), quarantine.counts) == (1, {"other-votes": 1})


def test_a_limit_reads_no_further(tmp_path):
    found, tally, _ = read(file_of(tmp_path, LLMBAR, LLMBAR, LLMBAR), "llmbar", limit=2)
    assert (len(found), tally.taken) == (2, 2)


def test_the_majority():
    assert votes("A", "A", "B").majority == "A"
    assert votes("C", "B", "C").majority == "C"
    assert votes("A", "B", "C").majority is None
    assert votes("A", "B").majority is None
    assert votes("B").majority == "B"


@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=9))
def test_a_majority_has_more_votes_than_any_other(given_votes):
    found = votes(*given_votes).majority
    most = max(given_votes.count(label) for label in "ABC")
    leaders = [label for label in "ABC" if given_votes.count(label) == most]
    assert found == (leaders[0] if len(leaders) == 1 else None)


def test_preference_pairs_stand_in_turn_on_both_sides():
    sides = [(Message(role="assistant", content=text),) for text in ("good", "bad")]
    item = Preference(prompt=(Message(role="user", content="x"),), chosen=sides[0], rejected=sides[1])
    several = Preference(prompt=item.prompt, chosen=sides[0] * 2, rejected=sides[1])
    tally = Tally("votes")
    found = list(from_preferences([item, item, several], tally))
    assert [(pair.first, pair.second, pair.majority) for pair in found] == [("good", "bad", "A"), ("bad", "good", "B")]
    assert [entry.reason for entry in tally.dropped] == ["several-turns"]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not there")
def test_the_published_sets_are_read():
    found, tally, _ = read(SHARED / "pandalm_999.json", "pandalm")
    # Six rows hold the JSON value true where an answer should be: they are put aside, not guessed at.
    assert (tally.taken, len(found), {item.reason for item in tally.dropped}) == (999, 993, {"wrong-type"})
    assert {len(pair.votes) for pair in found} == {3}
    assert len(read(SHARED / "llmbar_natural_100.json", "llmbar")[0]) == 100
