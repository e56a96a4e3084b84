"""What decisions do to each kind of record, and that they find it wherever and however it stands by now."""

import pickle
import random

import msgspec
import pytest
from msgspec.structs import replace

from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import DataError, InputError, UnseenError
from notus.core.records import (
    Completion,
    Critique,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Ranking,
    Rating,
    Scale,
    Unpaired,
)
from notus.core.stage import Tally
from notus.decisions.apply import Applied, describe_counts
from notus.decisions.note import decided_score, is_kept
from notus.decisions.ruling import Ruling
from notus.decisions.settle import settle


def user(text):
    return (Message(role="user", content=text),)


def said(text):
    return (Message(role="assistant", content=text),)


def feedback(prompt="Name a river.", count=4, **more):
    return Feedback(
        prompt=user(prompt),
        completions=tuple(
            Completion(
                text=f"Answer {number} to {prompt}",
                model=f"m{number}",
                critique=Critique(text="Fine.", score=10.0 - number, scale=Scale(low=1, high=10)),
                ratings=(Rating(aspect="helpfulness", value=3.0, rationale="why"), Rating(aspect="honesty", value=4.0)),
            )
            for number in range(count)
        ),
        rankings=(Ranking(ranks=tuple(range(1, count + 1))),),
        file="f.jsonl",
        line=7,
        **more,
    )


def pair(prompt="Name a river.", good="Oder.", bad="No."):
    return Preference(
        prompt=user(prompt),
        chosen=said(good),
        rejected=said(bad),
        score_chosen=4.0,
        score_rejected=2.0,
        margin=2.0,
        model_chosen="alder",
        model_rejected="birch",
        extra={"chosen_index": 1, "rejected_index": 3, "completions": 4, "chosen-rating": 5, "rejected-rating": 1},
        file="p.jsonl",
        line=3,
    )


def on(record, what, index=None, who="ana", **more):
    kinds = {Feedback: "feedback", Preference: "pair", Unpaired: "row", Dialogue: "dialogue"}
    if index is not None:
        text = record.completions[index].text
        given = {"target": record.completion_id(index), "of": "completion", "answer": answer_digest(text)}
        return Ruling(what=what, who=who, prompt=record.prompt_id, **given, **more)
    prompt = "" if isinstance(record, Dialogue) else record.prompt_id
    return Ruling(target=record.id, of=kinds[type(record)], what=what, who=who, prompt=prompt, **more)


def applied(*rulings, **more):
    return Applied(settle([replace(each, number=number) for number, each in enumerate(rulings, 1)]), **more)


def sift(decided, record):
    tally = Tally("read", "rows")
    return decided.sift(record, tally), tally


def told(decided, tally):
    return describe_counts(decided.counts(tally.seen))


def test_a_dropped_answer_leaves_the_others_and_their_ranking():
    row = feedback()
    decided = applied(on(row, "drop", 1, why="no answer"))
    found, tally = sift(decided, row)
    assert [item.model for item in found.completions] == ["m0", "m2", "m3"]
    assert found.rankings[0].ranks == (1, 3, 4)
    assert tally.counts == {"decided-drop": 1}
    assert tally.dropped == []
    (change,) = tally.changes
    assert (change.target, change.field, change.before, change.after) == (row.completion_id(1), "kept", True, False)
    assert (change.rule, change.by, change.evidence, change.file, change.line) == (
        *("decided", "ana", "no answer"),
        *("f.jsonl", 7),
    )
    assert told(decided, tally) == "1 applied, 0 not in these data, 0 conflicts"
    assert decided.sift(feedback("Another?"), tally) == feedback("Another?")


def test_a_row_goes_when_all_of_its_answers_do_or_it_is_dropped_itself():
    row = feedback(count=2)
    for decided in (applied(on(row, "drop", 0), on(row, "drop", 1)), applied(on(row, "drop", why="spam"))):
        found, tally = sift(decided, row)
        assert found is None
        (gone,) = tally.dropped
        assert (gone.id, gone.reason, gone.asked_by, gone.place) == (row.id, "decided-drop", "decisions", "f.jsonl:7")
    assert gone.detail == "by ana: spam"


def test_a_score_is_set_with_a_note_and_a_trace():
    row = feedback()
    decided = applied(
        on(row, "set-score", 0, field="overall_score", value=1.0),
        on(row, "set-score", 0, field="helpfulness", value=1.0),
        on(row, "set-score", 1, field="honesty", value=None),
        on(row, "set-score", 2, field="truthfulness", value=2.0),
    )
    found, tally = sift(decided, row)
    first = found.completions[0]
    assert (first.overall_score, first.critique.text) == (1.0, "Fine.")
    assert [(each.aspect, each.value, each.rationale) for each in first.ratings] == [
        *(("helpfulness", 1.0, "why"), ("honesty", 4.0, "")),
    ]
    assert decided_score(first)
    assert not is_kept(first)
    assert [each.value for each in found.completions[1].ratings] == [3.0, None]
    assert not decided_score(found.completions[1])
    assert [(each.aspect, each.value) for each in found.completions[2].ratings][-1] == ("truthfulness", 2.0)
    assert found.completions[3] == row.completions[3]
    assert tally.counts == {"decided-set-score": 4, "decided-new-aspect": 1}
    assert [(each.field, each.before, each.after) for each in tally.changes] == [
        ("critique.score", 10.0, 1.0),
        ("ratings.helpfulness", 3.0, 1.0),
        ("ratings.honesty", 4.0, None),
        ("ratings.truthfulness", None, 2.0),
    ]
    assert found.id == row.id
    again, second = sift(decided, found)  # a second time it changes nothing
    assert again == found
    assert second.changes == []
    assert told(decided, second) == "4 applied, 0 not in these data, 0 conflicts"


def test_the_grades_of_several_raters_become_one_and_a_score_without_critique_stands_alone():
    ratings = tuple(Rating(aspect="honesty", value=value, rater=rater) for value, rater in ((2.0, "a"), (4.0, "b")))
    row = Feedback(prompt=user("q"), completions=(Completion(text="a", ratings=ratings),))
    decided = applied(
        on(row, "set-score", 0, field="honesty", value=5.0), on(row, "set-score", 0, field="overall_score", value=2.0)
    )
    found, tally = sift(decided, row)
    (rating,) = found.completions[0].ratings
    assert (rating.value, rating.rater) == (5.0, "ana")
    assert (found.completions[0].critique.score, found.completions[0].critique.rater) == (2.0, "ana")
    assert tally.changes[0].before == [2.0, 4.0]


def test_a_score_off_its_scale_is_refused():
    row = feedback()
    with pytest.raises(DataError, match=r"f.jsonl:7\): overall_score is set to 12, and its scale is 1 to 10; take"):
        sift(applied(on(row, "set-score", 0, field="overall_score", value=12.0)), row)


@pytest.mark.parametrize(
    ("field", "value", "scale"),
    [("overall_score", 99.0, "1 to 10"), ("helpfulness", 9.0, "1 to 5"), ("new", 0.0, "1 to 5")],
)
def test_without_a_known_scale_the_usual_one_holds(field, value, scale):
    row = feedback()
    bare = tuple(msgspec.structs.replace(each, critique=None) for each in row.completions)
    row = msgspec.structs.replace(row, completions=bare)
    with pytest.raises(DataError, match=f"{field} is set to {value:g}, and its scale is {scale}; take"):
        sift(applied(on(row, "set-score", 0, field=field, value=value)), row)


def test_what_stands_off_the_usual_scale_is_on_another():
    ratings = (Rating(aspect="votes", value=60.0),)
    row = Feedback(prompt=user("q"), completions=(Completion(text="a", ratings=ratings),))
    found, _ = sift(applied(on(row, "set-score", 0, field="votes", value=80.0)), row)
    assert found.completions[0].ratings[0].value == 80.0


def test_texts_are_edited_on_every_kind():
    row, two = feedback(), pair()
    single = Unpaired(prompt=user("q"), answer=said("a"), desirable=True)
    talk = Dialogue(messages=(*user("q"), *said("a"), *user("more?"), *said("b")))
    decided = applied(
        on(row, "edit", field="prompt", value="Name a lake."),
        on(row, "edit", 2, field="answer", value="Oder!"),
        on(two, "edit", field="chosen", value="The Oder."),
        on(two, "edit", field="rejected", value="Nothing."),
        on(single, "edit", field="answer", value="b"),
        on(single, "edit", field="prompt", value="p"),
        on(talk, "edit", field="answer", value="c"),
        on(talk, "edit", field="prompt", value="and?"),
    )
    found, tally = sift(decided, row)
    assert found.prompt[0].content == "Name a lake."
    assert [item.text for item in found.completions][1:3] == ["Answer 1 to Name a river.", "Oder!"]
    assert tally.counts["decided-edit"] == 2
    assert {(each.target, each.field, each.after) for each in tally.changes} == {
        (row.completion_id(2), "answer", "Oder!"),
        (row.id, "prompt", "Name a lake."),
        (row.id, "id", found.id),
    }
    found, _ = sift(decided, two)
    assert (found.chosen[0].content, found.rejected[0].content, found.score_chosen) == ("The Oder.", "Nothing.", 4.0)
    found, _ = sift(decided, single)
    assert (found.prompt[0].content, found.answer[0].content, found.desirable) == ("p", "b", True)
    found, tally = sift(decided, talk)
    assert [turn.content for turn in found.messages] == ["q", "a", "and?", "c"]
    assert tally.changes[-1].before == talk.id


def test_an_edited_answer_of_several_turns_is_the_last_of_the_assistant():
    turns = (*said("first"), Message(role="tool", content="42"), *said("last"))
    row = Feedback(prompt=user("q"), completions=(Completion(text="last", turns=turns),))
    found, _ = sift(applied(on(row, "edit", 0, field="answer", value="new")), row)
    assert found.completions[0].text == "new"
    assert [turn.content for turn in found.completions[0].turns] == ["first", "42", "new"]


def test_a_pair_is_swapped_with_all_that_is_of_its_sides_once():
    two = pair()
    decided = applied(on(two, "swap", why="the other"))
    found, tally = sift(decided, two)
    assert (found.chosen, found.rejected) == (two.rejected, two.chosen)
    assert (found.score_chosen, found.score_rejected, found.margin) == (2.0, 4.0, -2.0)
    assert (found.model_chosen, found.model_rejected) == ("birch", "alder")
    assert found.extra == {
        "rejected_index": 1,
        "chosen_index": 3,
        "completions": 4,
        "rejected-rating": 5,
        "chosen-rating": 1,
    }
    assert tally.counts == {"decided-swap": 1}
    assert [(each.field, each.before, each.after) for each in tally.changes] == [
        ("swap", False, True),
        ("id", two.id, found.id),
    ]
    again, second = sift(decided, found)  # it stands as it was decided: not back again
    assert again == found
    assert second.counts == {}
    assert told(decided, second) == "1 applied, 0 not in these data, 0 conflicts"


def test_what_is_decided_on_what_a_decision_has_made_counts_in_the_order_of_the_decisions():
    two = pair()
    swapped, _ = sift(applied(on(two, "swap")), two)
    back = applied(on(two, "swap"), on(swapped, "swap"))
    for record in (two, swapped):
        found, _ = sift(back, record)
        assert found.chosen == two.chosen
    then = applied(on(two, "edit", field="chosen", value="The Oder."))
    edited, _ = sift(then, two)
    both = applied(on(two, "edit", field="chosen", value="The Oder."), on(edited, "drop"))
    assert sift(both, two)[0] is None
    assert sift(both, edited)[0] is None
    row = feedback()
    new, _ = sift(applied(on(row, "edit", 0, field="answer", value="Oder.")), row)
    later = applied(
        on(row, "edit", 0, field="answer", value="Oder."), on(new, "set-score", 0, field="overall_score", value=2.0)
    )
    for record in (row, new):
        found, _ = sift(later, record)
        assert (found.completions[0].text, found.completions[0].overall_score) == ("Oder.", 2.0)


def test_what_is_kept_has_a_note_on_every_kind():
    talk = Dialogue(messages=(*user("q"), *said("a")))
    single = Unpaired(prompt=user("q"), answer=said("a"), desirable=False)
    for record in (pair(), single, talk):
        found, tally = sift(applied(on(record, "keep", who="ben")), record)
        assert found.extra["decided"] == {"what": "keep", "who": "ben"}
        assert replace(found, extra=record.extra) == record
        assert tally.counts == {"decided-keep": 1}
    row = feedback()
    found, tally = sift(applied(on(row, "keep", 1)), row)
    assert [is_kept(item) for item in found.completions] == [False, True, False, False]
    assert found.completions[1].extra["decided"] == {"what": "keep", "who": "ana", "score": 9.0}
    assert decided_score(found.completions[1])
    assert not decided_score(replace(found.completions[1], critique=Critique(text="", score=3.0)))
    found, tally = sift(applied(on(row, "keep")), row)  # a row with all of its answers
    assert is_kept(found)
    assert all(map(is_kept, found.completions))
    assert tally.counts == {"decided-keep": 1}


def test_what_changes_nothing_is_counted():
    row = feedback()
    decided = applied(
        on(row, "cannot-tell", 0),
        on(row, "note", 1, why="?"),
        on(row, "drop", 2),
        on(row, "keep", 2, who="ben"),
        on(row, "set-score", 3, field="overall_score", value=1.0),
        on(row, "set-score", 3, field="overall_score", value=2.0, who="ben"),
        on(pair(), "drop"),
        on(pair("Other?"), "keep"),
        on(pair("Other?"), "note", who="ben"),
    )
    found, tally = sift(decided, row)
    assert found == row
    assert tally.counts == {"decided-cannot-tell": 1, "decided-note": 1, "decided-conflict": 2}
    assert tally.changes == []
    assert told(decided, tally) == "0 applied, 3 not in these data, 2 conflicts, 1 cannot tell, 1 with notes"


def test_what_is_made_of_a_dropped_answer_goes_too():
    row = feedback()
    text = row.completions[1].text
    decided = applied(on(row, "drop", 1, why="no answer"))
    made = [
        replace(pair(), chosen=said(text)),
        replace(pair(), rejected=said(text)),
        Unpaired(prompt=row.prompt, answer=said(text), desirable=True),
        Dialogue(messages=(*row.prompt, *said(text))),
    ]
    for record in made:
        found, tally = sift(decided, record)
        assert found is None
        assert tally.dropped[0].detail == f"its answer {row.completion_id(1)} was dropped by ana: no answer"
        assert told(decided, tally) == "1 applied, 0 not in these data, 0 conflicts"
    for record in (pair(), Dialogue(messages=row.prompt), replace(made[0], prompt=user("Other?"))):
        assert sift(decided, record)[0] == record
    of_row = applied(on(row, "drop"))
    assert sift(of_row, replace(pair(), feedback_id=row.id))[0] is None
    assert sift(of_row, pair())[0] == pair()


def test_decisions_come_back_after_rows_and_answers_were_moved():
    """Made on one file, applied to it shuffled, with rows gone and come, and the answers of each prompt reordered."""
    rng = random.Random(7)
    rows = [feedback(f"Question {number}?") for number in range(40)]
    rulings = []
    for number, row in enumerate(rows):
        rulings += [
            on(row, "drop", number % 4),
            on(row, "set-score", (number + 1) % 4, field="overall_score", value=2.0),
            on(row, "edit", (number + 2) % 4, field="answer", value=f"Edited {number}."),
            on(row, "keep", (number + 3) % 4),
        ]
    decided = applied(*rulings)
    moved = [row.keep(rng.sample(range(4), 4)) for row in (*rng.sample(rows[5:], 35), feedback("A new one?"))]
    rng.shuffle(moved)
    tally = Tally("read", "rows")
    found = {row.prompt[0].content: decided.sift(row, tally) for row in moved}
    assert found["A new one?"].completions == next(r for r in moved if "new" in r.prompt[0].content).completions
    for number, row in list(enumerate(rows))[5:]:
        by_model = {item.model: item for item in found[row.prompt[0].content].completions}
        assert by_model.keys() == {f"m{each}" for each in range(4)} - {f"m{number % 4}"}
        assert by_model[f"m{(number + 1) % 4}"].overall_score == 2.0
        assert by_model[f"m{(number + 2) % 4}"].text == f"Edited {number}."
        assert is_kept(by_model[f"m{(number + 3) % 4}"])
        assert by_model[f"m{(number + 3) % 4}"].overall_score == row.completions[(number + 3) % 4].overall_score
    assert told(decided, tally) == "140 applied, 20 not in these data, 0 conflicts"


def test_answers_of_equal_text_are_told_apart_by_their_models():
    row = Feedback(
        prompt=user("Yes or no?"),
        completions=tuple(
            Completion(text="Yes.", model=name, critique=Critique(text="", score=10.0)) for name in "abc"
        ),
    )
    decided = applied(on(row, "set-score", 0, field="overall_score", value=1.0), on(row, "drop", 2))
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        found, tally = sift(decided, row.keep(order))
        assert {item.model: item.overall_score for item in found.completions} == {"a": 1.0, "b": 10.0}
        assert "decided-ambiguous" not in tally.counts
    other = replace(row, completions=(replace(row.completions[0], model="x"),))  # another's answer, of the same text
    found, tally = sift(decided, other)
    assert found is None  # the text is dropped, whoever gave it
    found, tally = sift(applied(on(row, "set-score", 0, field="overall_score", value=1.0)), other)
    assert found == other  # a score is of one model's answer
    assert tally.counts == {"decided-other-model": 1}
    nameless = replace(row, completions=tuple(replace(item, model="") for item in row.completions[:1]))
    found, _ = sift(applied(on(row, "set-score", 0, field="overall_score", value=1.0)), nameless)
    assert found.completions[0].overall_score == 1.0


def test_one_person_who_decides_on_an_answer_at_two_places_has_one_word():
    row = feedback()
    moved = row.keep((3, 2, 1, 0))
    decided = applied(on(row, "drop", 0), on(moved, "keep", 3))
    for record in (row, moved):
        found, _ = sift(decided, record)
        assert len(found.completions) == 4
    decided = applied(on(row, "keep", 0), on(moved, "drop", 3, who="ben"))
    found, tally = sift(decided, moved)
    assert len(found.completions) == 4
    assert tally.counts == {"decided-conflict": 1}


@pytest.mark.parametrize("of", ["record", "answer", "prompt"])
def test_single_ids_are_kept_and_dropped_whatever_was_decided(of):
    row = feedback()
    which = {"record": row.id, "answer": row.completion_id(1), "prompt": row.prompt_id}[of]
    found, tally = sift(applied(drop=(which,)), row)
    assert (found is None) == (of != "answer")
    decided = applied(on(row, "drop"), on(row, "drop", 1)) if of != "prompt" else applied()
    decided = Applied(decided.settled, keep=(row.id, which) if of != "prompt" else (which,))
    found, tally = sift(decided, row)
    assert len(found.completions) == (3 if of == "record" else 4)
    assert any(map(is_kept, found.completions))
    decided.refuse_unseen(tally.seen, "x")
    with pytest.raises(UnseenError, match=r"--keep [0-9a-f]{16}.*: no record and no answer of f.jsonl has this id"):
        decided.refuse_unseen(set(), "f.jsonl")
    with pytest.raises(UnseenError, match=r"--drop abc: no record"):
        applied(drop=("abc",)).refuse_unseen(tally.seen, "x")
    with pytest.raises(InputError, match="abc is both kept and dropped"):
        applied(keep=("abc",), drop=("abc",))


@pytest.mark.parametrize("of", ["record", "answer", "prompt"])
def test_the_beginning_of_an_id_does_what_the_id_does(of):
    """As other commands print it: eight digits of sixteen. What it does is what the whole id does."""
    row, other = feedback(), feedback("Name a hill.")
    whole = {"record": row.id, "answer": row.completion_id(1), "prompt": row.prompt_id}[of]
    for option in ("keep", "drop"):
        by_short, by_whole = applied(**{option: (whole[:8],)}), applied(**{option: (whole,)})
        for record in (row, other):
            (short, short_tally), (long, long_tally) = sift(by_short, record), sift(by_whole, record)
            assert short == long
            assert short_tally.seen == long_tally.seen
            assert short_tally.counts == long_tally.counts
        assert by_short.counts({(whole, "verdict")})["applied"] == 1
        by_short.refuse_unseen({(whole, "verdict")}, "f.jsonl")
        with pytest.raises(UnseenError, match=f"--{option} {whole[:8]}: no record"):
            applied(**{option: (whole[:8],)}).refuse_unseen(set(), "f.jsonl")


def test_a_beginning_of_several_ids_is_refused_with_them():
    ids = [f"abcd{n:012x}" for n in range(2)]
    with pytest.raises(InputError, match=f"--drop abcd: 2 ids of f.jsonl begin so \\({ids[0]}, {ids[1]}\\)"):
        applied(drop=("abcd",)).refuse_unseen({(each, "verdict") for each in ids}, "f.jsonl")
    with pytest.raises(InputError, match="abcd is the beginning of another id"):
        applied(keep=("abcd",), drop=(ids[0],))


def test_an_answer_is_dropped_by_its_id_in_pairs_that_know_its_place():
    row = feedback()
    made = replace(
        pair(), chosen=said(row.completions[1].text), model_chosen="m1", extra={"chosen_index": 1, "rejected_index": 0}
    )
    assert sift(applied(drop=(row.completion_id(1),)), made)[0] is None


def test_it_can_be_sent_to_processes():
    row = feedback()
    decided = applied(on(row, "drop", 1), keep=(row.completion_id(2),))
    here, _ = sift(decided, row)
    there = pickle.loads(pickle.dumps(decided))
    assert sift(there, row)[0] == here
    assert there.settled.digest == decided.settled.digest
