"""Labelling functions: who votes for what, how far they cover, differ and are right, and the pairs that come of it."""

import pytest

from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Completion, Feedback, Message, Preference, Ranking
from notus.core.run import read_manifest
from notus.core.tables import read_records, write_records
from notus.preferences.labelling import GIVEN, KnownLabels, VoteTable, as_feedback, with_votes
from notus.stats.intervals import clustered_mean
from notus.steps.base import read_findings
from notus.steps.data.binarize import Binarize
from notus.steps.perform import run_step
from notus.steps.preferences.label import Label
from notus.steps.train.ranker import TrainRanker


def asked(number, *texts, **fields):
    prompt = (Message(role="user", content=f"Name river {number}."),)
    return Feedback(prompt=prompt, completions=tuple(Completion(text=text) for text in texts), **fields)


def pair(number, chosen, rejected):
    turns = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
    return Preference(prompt=asked(number, "x").prompt, chosen=turns[0], rejected=turns[1])


def test_a_number_is_a_vote_where_it_differs():
    row = asked(0, "a", "b", "c")
    scores = {"all": [1.0, 3.0, 2.0], "some": [1.0, None, 2.0], "same": [1.0, 1.0, 2.0], "nothing": [None, 5.0, None]}
    found = with_votes(row, scores)
    assert [(each.rater, each.ranks) for each in found.rankings] == [
        ("all", (3, 1, 2)),
        ("some", (2, None, 1)),
        ("same", (2, None, 1)),
        ("same", (None, 2, 1)),
    ]


def test_votes_that_are_there_stay_and_their_question_is_that_of_the_functions():
    asked_people = Ranking(ranks=(2, 1), rater="ana", question="better")
    row = asked(0, "a", "b", rankings=(asked_people,))
    found = with_votes(row, {"f": [1.0, 0.0]}).rankings
    assert found == (asked_people, Ranking(ranks=(1, 2), rater="f", question="better"))
    assert with_votes(row, {"f": [1.0, 0.0]}, "safer").rankings[1].question == "safer"


def test_the_label_of_a_pair_is_a_vote_and_its_place_says_nothing():
    made = [as_feedback(pair(n, f"good {n}", f"bad {n}")) for n in range(200)]
    first = [row.completions[0].text.startswith("good") for row in made]
    assert 70 < sum(first) < 130
    for row, good_first in zip(made, first, strict=True):
        assert row.rankings == (Ranking(ranks=(1, 2) if good_first else (2, 1), rater=GIVEN),)
        turned = as_feedback(
            pair(
                int(row.prompt[0].content.split()[-1][:-1]),
                *reversed(
                    [item.text for item in row.completions]
                    if good_first
                    else [item.text for item in row.completions][::-1]
                ),
            )
        )
        assert turned.id == row.id  # the same two answers stand in the same order, whatever the label


ROWS = [asked(n, "good", "bad") for n in range(4)]


def table(known=None):
    """Two functions on four prompts with two answers: x votes right, right, wrong, -; y votes right, wrong, -, -."""
    votes = {"x": [(1, 0), (1, 0), (0, 1), (0, 0)], "y": [(1, 0), (0, 1), (None, 1), (2, 2)]}
    found = VoteTable(known)
    for number, row in enumerate(ROWS):
        found.add(with_votes(row, {name: list(map(_number, own[number])) for name, own in votes.items()}), ["x", "y"])
    return found


def _number(value):
    return None if value is None else float(value)


def test_coverage_overlaps_and_conflicts():
    one, two = table().figures()
    assert (one.name, one.votes, two.name, two.votes) == ("x", 3, "y", 2)
    # x votes on 3 of 4, with y on 2, against y on 1; y votes on 2, each time with x.
    assert [each.mean for each in (one.coverage, one.overlaps, one.conflicts)] == [0.75, 0.5, 0.25]
    assert [each.mean for each in (two.coverage, two.overlaps, two.conflicts)] == [0.5, 0.5, 0.25]
    plain = clustered_mean([1, 1, 1, 0], range(4))
    assert (one.coverage.low, one.coverage.n) == (max(plain.low, 0), 4)
    assert one.accuracy is None


def test_accuracy_is_counted_where_a_label_is_known_and_a_vote_is_there():
    known = KnownLabels.of([pair(n, "good", "bad") for n in range(3)] + [pair(2, "bad", "good"), pair(9, "x", "y")])
    assert known.contrary == 1  # the third prompt is labelled both ways, and no label is left
    one, two = table(known).figures()
    assert [(each.accuracy.labelled, each.accuracy.voted) for each in (one, two)] == [(2, 2), (2, 2)]
    assert (one.accuracy.right.mean, two.accuracy.right.mean) == (1.0, 0.5)
    assert one.accuracy.right.low == pytest.approx(2 / (2 + 1.959964**2))  # Wilson's for 2 of 2
    found = table(known)
    majority = found.majority()
    assert {item[0]: label for item, label in majority.items()} == {ROWS[0].id: 0, ROWS[2].id: 1}


SOUND = """
def looks(prompt, answers):
    return [1.0 if "good" in text else 0.0 for text in answers]

def looks_too(prompt, answers):
    return [None if "7" in prompt[-1].content else float("good" in text) for text in answers]

def likes_a(prompt, answers):
    return [float(text.startswith("a")) for text in answers]

def breaks(prompt, answers):
    return [1.0]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label")
    (folder / "mine.py").write_text(SOUND)
    # "a" stands before the good answer in half of the rows.
    rows = [asked(n, *(("a good", "b bad") if n % 2 else ("a bad", "b good"))) for n in range(60)]
    write_records(folder / "feedback.parquet", rows, Feedback)
    truth = [pair(n, *(("a good", "b bad") if n % 2 else ("b good", "a bad"))) for n in range(20)]
    write_records(folder / "truth.parquet", truth, Preference)
    return folder


def label(place, name, *functions, **settings):
    by = [f"python:{place}/mine.py:{function}" for function in functions]
    config = Label.parse({"data": str(place / "feedback.parquet"), "by": by} | settings, where="test")
    return run_step("label", config, place / name)


def test_votes_by_program_become_pairs_and_then_a_ranker(place):
    run = label(place, "run", "looks", "looks_too", "likes_a", truth=str(place / "truth.parquet"))
    told = read_manifest(run.path)["summary"]
    assert (told["pairs_of_answers"], told["labelled"]) == (60, 20)
    assert told["functions"]["looks"]["accuracy"]["mean"] == told["accuracy"]["mean"] == 1.0
    assert told["functions"]["likes_a"]["accuracy"]["mean"] == 0.5
    sevens = sum("7" in str(n) for n in range(60))
    assert told["functions"]["looks_too"]["votes"] == 60 - sevens
    assert told["together"]["by"] == "dawid-skene"
    first = read_findings(run.path)[0]
    assert [row[0] for row in first.table.rows] == ["looks", "looks_too", "likes_a"]
    assert "20 pairs" in first.sentences[1]
    pairs = Binarize.parse({"data": str(run.path), "consensus": "dawid-skene"}, where="test")
    made = run_step("binarize", pairs, place / "pairs", seed=0)
    found = list(read_records(made.path / "preferences.parquet", Preference))
    assert len(found) == 60
    assert all("good" in each.chosen[0].content for each in found)
    assert TrainRanker.parse({"pairs": str(made.path)}, where="test").pairs == str(made.path)


def test_pairs_are_labelled_too_and_their_own_label_is_a_vote(place):
    run = label(place, "of-pairs", "looks", data=str(place / "truth.parquet"))
    told = read_manifest(run.path)["summary"]["functions"]
    assert list(told) == ["looks", GIVEN]
    assert told["looks"]["conflicts"]["mean"] == 0


def test_what_cannot_be_is_told(place):
    with pytest.raises(InputError, match="breaks"):
        label(place, "broken", "breaks")
    with pytest.raises(ConfigError, match="nobody votes"):
        label(place, "none")
    with pytest.raises(ConfigError, match="twice"):
        label(place, "twice", "looks", "looks")
    (place / "second.py").write_text(SOUND)
    with pytest.raises(ConfigError, match="two functions are called 'looks'"):
        label(place, "namesakes", "looks", by=[f"python:{place}/{name}.py:looks" for name in ("mine", "second")])
    other = [pair(n, "x", "y") for n in range(3)]
    write_records(place / "other.parquet", other, Preference)
    with pytest.raises(DataError, match="labels none"):
        label(place, "other", "looks", truth=str(place / "other.parquet"))
    single = read_manifest(label(place, "single", "looks").path)["summary"]
    assert "together" not in single
