"""What a press of a key leaves in the store, and how it is taken back."""

import random

import pytest

from notus.core.errors import InputError
from notus.decisions.ruling import in_force
from notus.decisions.store import open_store
from notus.review.deciding import Asked, Bulk, Desk, check_name
from notus.review.filter import Filter


@pytest.fixture
def desk(feedback_file, tmp_path):
    pytest.importorskip("duckdb")
    from notus.review.open import open_review

    with (
        open_store(tmp_path / "decisions.sqlite", create=True) as store,
        open_review(feedback_file, decisions=store, cache=tmp_path / "cache", workers=1) as review,
    ):
        yield Desk(review, store)


@pytest.fixture
def pairs_desk(pairs_file, tmp_path):
    pytest.importorskip("duckdb")
    from notus.review.open import open_review

    with (
        open_store(tmp_path / "decisions.sqlite", create=True) as store,
        open_review(pairs_file, decisions=store, cache=tmp_path / "cache", workers=1) as review,
    ):
        yield Desk(review, store)


def ids(desk, count=5):
    return [row.id for row in desk.review.page(Filter(), 0, count).rows]


def standing(desk):
    return [(each.target, each.what, each.value) for each in in_force(desk.store.rulings())]


def test_a_decision_says_all_that_it_is_found_by_again(desk):
    row = desk.review.page(Filter(), 0, 1).rows[0]
    done = desk.decide("ana", Asked(target=row.id, what="drop", why="no river", queue="suspicion"))
    (ruling,) = desk.store.rulings()
    assert done.rulings == (ruling,)
    assert (ruling.target, ruling.of, ruling.what, ruling.who) == (row.id, "completion", "drop", "ana")
    assert (ruling.prompt, ruling.answer, ruling.queue) == (row.prompt_id, row.answer, "suspicion")
    assert ruling.why == "no river"
    assert ruling.batch == ""
    assert done.target == row.id


def test_it_is_seen_at_once(desk):
    (first, *_) = ids(desk)
    desk.decide("ana", Asked(target=first, what="keep"))
    assert desk.review.record(first).row.state.verdict == "keep"
    assert desk.review.count(Filter.parse([("decided", "yes")])) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"what": "swap"}, "only a pair"),
        ({"what": "undo"}, "an undo is asked for as such"),
        ({"what": "set-score"}, "say which score"),
        ({"what": "set-score", "field": "overall_score", "value": "7"}, "a number"),
        ({"what": "set-score", "field": "overall_score", "value": float("nan")}, "a number"),
        ({"what": "edit", "field": "chosen", "value": "x"}, "what can: answer"),
        ({"what": "edit", "field": "answer", "value": " "}, "not empty"),
        ({"what": "edit", "field": "answer", "value": 3.0}, "not empty"),
        ({"what": "keep", "value": 3.0}, "neither a field nor a value"),
        ({"what": "note"}, "says something"),
        ({"what": "keep", "queue": "../x"}, "no queue"),
        ({"what": "keep", "answer": "elsewhere"}, "no such answer"),
    ],
)
def test_what_cannot_be_decided_is_refused(desk, asked, said):
    (first, *_) = ids(desk)
    with pytest.raises(InputError, match=said):
        desk.decide("ana", Asked(target=first, **asked))
    assert list(desk.store.rulings()) == []


def test_a_record_that_is_not_there_is_refused(desk):
    with pytest.raises(InputError, match="no record"):
        desk.decide("ana", Asked(target="feedback.jsonl", what="drop"))


def test_a_pair_is_swapped_and_edited_and_has_no_score_without_its_feedback(pairs_desk):
    (first, *_) = ids(pairs_desk)
    pairs_desk.decide("ana", Asked(target=first, what="swap"))
    pairs_desk.decide("ana", Asked(target=first, what="edit", field="chosen", value="The Oder."))
    assert standing(pairs_desk) == [(first, "swap", None), (first, "edit", "The Oder.")]
    with pytest.raises(InputError, match="say which"):
        pairs_desk.decide("ana", Asked(target=first, what="set-score", field="overall_score", value=3.0))


def test_undo_and_redo_step_by_step(desk):
    one, two, *_ = ids(desk)
    with pytest.raises(InputError, match="nothing to undo"):
        desk.undo("ana")
    desk.decide("ana", Asked(target=one, what="keep"))
    desk.decide("ana", Asked(target=two, what="drop"))
    assert desk.undo("ana").target == two
    assert desk.undo("ana").target == one
    assert standing(desk) == []
    with pytest.raises(InputError, match="nothing to undo"):
        desk.undo("ana")
    assert desk.redo("ana").target == one
    assert desk.redo("ana").target == two
    with pytest.raises(InputError, match="nothing to redo"):
        desk.redo("ana")
    assert standing(desk) == [(one, "keep", None), (two, "drop", None)]
    desk.undo("ana")
    desk.decide("ana", Asked(target=one, what="drop"))
    with pytest.raises(InputError, match="nothing to redo"):  # something was decided since
        desk.redo("ana")


def test_undo_is_of_ones_own(desk):
    one, two, *_ = ids(desk)
    desk.decide("ana", Asked(target=one, what="keep"))
    desk.decide("ben", Asked(target=two, what="drop"))
    assert desk.undo("ana").target == one
    assert standing(desk) == [(two, "drop", None)]


def test_undo_goes_on_after_a_restart_and_knows_other_processes(desk):
    one, two, *_ = ids(desk)
    desk.decide("ana", Asked(target=one, what="keep"))
    with open_store(desk.store.place) as other:
        again = Desk(desk.review, other)
        again.decide("ana", Asked(target=two, what="keep"))
        assert desk.undo("ana").target == two
        assert again.undo("ana").target == one
    assert desk.redo("ana").target == one


def test_undo_and_redo_against_a_plain_model(desk):
    """A thousand presses at random: what stands is what two stacks say."""
    chance, targets = random.Random(3), ids(desk, 12)
    done: list[tuple[str, str]] = []
    undone: list[tuple[str, str]] = []
    for _ in range(400):
        press = chance.choice(["decide", "decide", "undo", "redo"])
        if press == "decide":
            target, what = chance.choice(targets), chance.choice(["keep", "drop", "cannot-tell"])
            desk.decide("ana", Asked(target=target, what=what))
            done.append((target, what))
            undone.clear()
        elif press == "undo" and done:
            desk.undo("ana")
            undone.append(done.pop())
        elif press == "redo" and undone:
            desk.redo("ana")
            done.append(undone.pop())
        assert {(target, what) for target, what, _ in standing(desk)} == set(dict(done).items())


def test_a_decision_on_all_results_is_one_batch_and_undone_as_one(desk):
    wanted = Filter.parse([("score", "10")])
    assert desk.review.count(wanted) == 8  # every fifth of forty
    done = desk.decide_all("ana", wanted, Bulk(what="drop", count=8, why="false tens"))
    rulings = list(desk.store.rulings())
    assert len(rulings) == 8
    assert len({each.batch for each in rulings}) == 1
    assert rulings[0].batch
    assert {each.why for each in rulings} == {"false tens"}
    assert "8 records at once" in done.said
    assert desk.review.count(Filter.parse([("decided", "drop")])) == 8
    assert len(desk.undo("ana").rulings) == 8
    assert standing(desk) == []
    assert len(desk.redo("ana").rulings) == 8
    assert len(standing(desk)) == 8


def test_a_decision_on_all_results_is_on_those_that_were_looked_at(desk):
    wanted = Filter.parse([("score", "10")])
    with pytest.raises(InputError, match="8 records match now, and 9 did"):
        desk.decide_all("ana", wanted, Bulk(what="drop", count=9))
    with pytest.raises(InputError, match="one record at a time"):
        desk.decide_all("ana", wanted, Bulk(what="edit", count=8))
    with pytest.raises(InputError, match="only a pair"):
        desk.decide_all("ana", wanted, Bulk(what="swap", count=8))
    with pytest.raises(InputError, match="nothing matches"):
        desk.decide_all("ana", wanted.put("text", "zzz"), Bulk(what="drop", count=0))
    assert list(desk.store.rulings()) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\x1bb", "a\u202eb"])
def test_a_name_is_a_name(name):
    with pytest.raises(InputError, match="a name of 1 to 64"):
        check_name(name)


def test_names_are_kept_as_they_are_meant():
    assert check_name("  Ána  de la\tCruz ") == "Ána de la Cruz"
