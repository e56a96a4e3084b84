"""The state of decisions beside the rows: found again by content, kept up to date, and counted as a person would."""

import random
import threading
from collections import defaultdict

import pytest

from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from notus.review.filter import Filter
from notus.review.open import open_review
from tests.helpers.review_rows import raw_rows, write_rows

COUNT = 60


@pytest.fixture
def path(tmp_path):
    return write_rows(tmp_path / "feedback.jsonl", raw_rows(COUNT))


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "decisions.sqlite", create=True) as opened:
        yield opened


@pytest.fixture
def review(path, store):
    with open_review(path, decisions=store) as opened:
        yield opened


def every(review, *params):
    return review.page(Filter.parse(params), 0, 99_999).rows


def rule(row, what="drop", who="ana", **more):
    return Ruling(target=row.id, of="completion", what=what, who=who, prompt=row.prompt_id, answer=row.answer, **more)


def test_nothing_is_decided_before_anybody_has(review):
    assert {row.state.decided for row in every(review)} == {False}
    assert review.progress(Filter()).decided == 0
    (decided, who) = review.facets(Filter(), ["decided", "who"])
    assert [(each.value, each.count) for each in decided.choices] == [("no", review.facts.rows)]
    assert who.choices == ()


def test_a_decision_is_seen_as_soon_as_it_is_taken_up(review, store):
    row = every(review)[3]
    (ruling,) = store.add([rule(row)])
    assert every(review)[3].state.verdict == ""
    assert review.refresh() == 1
    assert review.refresh() == 0
    state = every(review)[3].state
    assert (state.verdict, state.who, state.what, state.decided, state.conflict) == (
        "drop",
        ("ana",),
        ("drop",),
        True,
        False,
    )
    assert [each.number for each in every(review, ("decided", "yes"))] == [3]
    assert [each.number for each in every(review, ("decided", "drop"), ("who", "ana"))] == [3]
    assert every(review, ("who", "ben")) == ()
    assert len(every(review, ("not-who", "ana"))) == review.facts.rows - 1
    assert review.facts.people == ("ana",)
    view = review.record(row.key)
    assert view.rulings == (ruling,)
    assert view.answers[view.asked].rulings == (ruling,)
    store.undo([ruling.number], "ana")
    review.refresh()
    assert not every(review)[3].state.decided
    assert review.record(row.key).rulings == ()
    assert [each.what for each in review.record(row.key).history] == ["drop", "undo"]
    assert review.facts.people == ()


def test_persons_who_differ_are_a_conflict_until_most_agree_or_somebody_settles(review, store):
    first, second, third = every(review)[:3]
    store.add([rule(first, "drop", "ana"), rule(first, "keep", "ben")])
    store.add([rule(second, "drop", "ana"), rule(second, "keep", "ben"), rule(second, "drop", "cem")])
    store.add([rule(third, "drop", "ana"), rule(third, "keep", "ben"), rule(third, "keep", "dan", queue="conflicts")])
    review.refresh()
    states = [row.state for row in every(review)[:3]]
    assert [each.verdict for each in states] == ["", "drop", "keep"]
    assert [each.conflict for each in states] == [True, False, False]
    assert [row.number for row in every(review, ("decided", "conflict"))] == [0]
    progress = review.progress(Filter())
    assert (progress.decided, progress.conflicts, progress.of) == (3, 1, review.facts.rows)
    assert dict(progress.by) == {"ana": 3, "ben": 3, "cem": 1, "dan": 1}


def test_a_note_decides_nothing_and_a_score_does(review, store):
    noted, scored, unsure = every(review)[:3]
    store.add(
        [
            rule(noted, "note", why="odd"),
            rule(scored, "set-score", field="overall_score", value=3.0),
            rule(unsure, "cannot-tell"),
        ]
    )
    review.refresh()
    states = [row.state for row in every(review)[:3]]
    assert [each.decided for each in states] == [False, True, True]
    assert states[1].scores == (("overall_score", 3.0),)
    assert states[2].verdict == "cannot-tell"
    assert [row.number for row in every(review, ("decided", "note"))] == [0]
    assert [row.number for row in every(review, ("decided", "set-score"))] == [1]
    assert 0 in [row.number for row in every(review, ("decided", "no"))]
    # Who only noted something still has it before them.
    assert 0 in [row.number for row in every(review, ("not-who", "ana"))]
    assert {1, 2}.isdisjoint(row.number for row in every(review, ("not-who", "ana")))
    assert dict(review.progress(Filter()).by) == {"ana": 2}
    assert review.deciders(Filter.parse([("decided", "set-score")])) == {"ana": 1}


def test_a_ruling_on_a_prompt_is_on_all_of_its_answers(review, store):
    row = next(row for row in every(review) if len([r for r in every(review) if r.feedback_id == row.feedback_id]) == 4)
    store.add([Ruling(target=row.feedback_id, of="feedback", what="drop", who="ana")])
    review.refresh()
    assert {each.feedback_id for each in every(review, ("decided", "drop"))} == {row.feedback_id}
    assert len(every(review, ("decided", "drop"))) == 4
    # What is said of one answer alone goes before what is said of the prompt.
    store.add([rule(row, "keep")])
    review.refresh()
    assert review.record(row.key).row.state.verdict == "keep"


def test_an_answer_that_stands_elsewhere_now_is_found_by_its_text(path, store, tmp_path):
    rows = raw_rows(COUNT)
    with open_review(path, decisions=store) as review:
        row = next(row for row in every(review) if row.index == 1)
        ruling = rule(row)
    turned = [each | {"completions": each["completions"][::-1], "models": each["models"][::-1]} for each in rows[::-1]]
    store.add([ruling])
    with open_review(write_rows(tmp_path / "turned.jsonl", turned), decisions=store) as review:
        (found,) = every(review, ("decided", "drop"))
        assert found.id != row.id
        assert (found.prompt_id, found.answer) == (row.prompt_id, row.answer)
        assert review.record(found.key).rulings[0].target == row.id
        assert review.facts.said == tuple(each for each in review.facts.said if "not here" not in each)


def test_decisions_on_other_records_are_counted_and_said(review, store):
    store.add([Ruling(target="0" * 15 + "1", of="completion", what="drop", who="ana")])
    store.add([Ruling(target="0" * 16, of="pair", what="swap", who="ana")])
    review.refresh()
    assert any("2 decisions in the store are on records that are not here" in each for each in review.facts.said)
    assert review.progress(Filter()).decided == 0


def test_pairs_are_decided_by_their_own_ids(tmp_path, store):
    import json

    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_review(path, decisions=store) as review:
        pairs = every(review)
        store.add([Ruling(target=pairs[4].id, of="pair", what="swap", who="ana", prompt=pairs[4].prompt_id)])
        review.refresh()
        assert [row.number for row in every(review, ("decided", "swap"))] == [4]


def test_counts_follow_decisions_whatever_is_filtered(review, store):
    rng = random.Random(0)
    rows = every(review)
    truth = defaultdict(dict)
    for step in range(12):
        batch = []
        for _ in range(20):
            row, who = rng.choice(rows), rng.choice(["ana", "ben"])
            what = rng.choice(["keep", "drop"])
            truth[row.number][who] = what
            batch.append(rule(row, what, who, batch=str(step)))
        store.add(batch)
        review.refresh()
        for params in ([], [("model", "elm")], [("score", "7..")]):
            inside = {row.number for row in every(review, *params)}
            said = {number: set(by.values()) for number, by in truth.items() if number in inside}
            expected = {
                "yes": len(said),
                "no": len(inside) - len(said),
                "keep": sum("keep" in each for each in said.values()),
                "drop": sum("drop" in each for each in said.values()),
                "conflict": sum(len(each) == 2 for each in said.values()),
            }
            (decided, who) = review.facets(Filter.parse(params), ["decided", "who"])
            assert {each.value: each.count for each in decided.choices} == {k: v for k, v in expected.items() if v}
            assert {each.value: each.count for each in who.choices} == {
                name: count for name in ("ana", "ben") if (count := sum(name in truth[number] for number in said))
            }
            for value, count in expected.items():
                assert review.count(Filter.parse([*params, ("decided", value)])) == count
            progress = review.progress(Filter.parse([*params, ("decided", "no"), ("not-who", "ana")]))
            assert (progress.decided, progress.of, progress.conflicts) == (len(said), len(inside), expected["conflict"])


def test_a_large_batch_is_taken_up_whole(tmp_path, store):
    path = write_rows(tmp_path / "many.jsonl", raw_rows(3000, seed=1))
    with open_review(path, decisions=store) as review:
        targets = review.targets(Filter())
        store.add(
            [
                Ruling(
                    target=each.id,
                    of=each.of,
                    what="keep",
                    who="ana",
                    prompt=each.prompt,
                    answer=each.answer,
                    batch="1",
                )
                for each in targets
            ]
        )
        assert review.refresh() == len(targets)
        assert review.progress(Filter()).decided == review.facts.rows


def test_readers_and_writers_at_once(review, store):
    """While two persons decide and take up, lists of what is undecided never hold what was taken up before."""
    rows, failures, stop = every(review), [], threading.Event()
    done: list[int] = []

    def write(who, mine):
        for row in mine:
            store.add([rule(row, "drop", who)])
            review.refresh()
            done.append(row.number)

    def read():
        while not stop.is_set():
            before = set(done)
            listed = {row.number for row in every(review, ("decided", "no"))}
            if before & listed:
                failures.append(before & listed)
            review.facets(Filter(model=("elm",)))
            review.progress(Filter())

    readers = [threading.Thread(target=read) for _ in range(4)]
    writers = [threading.Thread(target=write, args=(who, rows[at::2][:30])) for at, who in enumerate(("ana", "ben"))]
    for each in (*readers, *writers):
        each.start()
    for each in writers:
        each.join()
    stop.set()
    for each in readers:
        each.join()
    assert failures == []
    assert review.progress(Filter()).decided == len({row.id for at in (0, 1) for row in rows[at::2][:30]})
