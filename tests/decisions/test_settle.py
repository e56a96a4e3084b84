"""What persons have decided together: the last word of each, a majority, one who settles it, and conflicts."""

import random

import pytest
from msgspec.structs import replace

from notus.core.errors import InputError
from notus.core.run import Run
from notus.decisions.read import read_rulings, read_settled, write_rulings
from notus.decisions.ruling import Ruling
from notus.decisions.settle import settle
from notus.decisions.store import open_store


def numbered(*rulings):
    return [replace(each, number=number) for number, each in enumerate(rulings, 1)]


def on(target, what, who, **more):
    return Ruling(target=target, of=more.pop("of", "pair"), what=what, who=who, **more)


def score(who, value, name="overall_score", **more):
    return on("c", "set-score", who, of="completion", field=name, value=value, **more)


CASES = {
    "one": ([on("a", "drop", "ana")], "drop", ("ana",)),
    "two agree": ([on("a", "drop", "ben"), on("a", "drop", "ana")], "drop", ("ana", "ben")),
    "two differ": ([on("a", "drop", "ana"), on("a", "keep", "ben")], "conflict", ()),
    "two of three": ([on("a", "drop", "ana"), on("a", "keep", "ben"), on("a", "drop", "cat")], "drop", ("ana", "cat")),
    "two of four": ([on("a", "drop", w) for w in "ab"] + [on("a", "keep", w) for w in "cd"], "conflict", ()),
    "three ways": ([on("a", "drop", "ana"), on("a", "keep", "ben"), on("a", "swap", "cat")], "conflict", ()),
    "most of many": (
        [on("a", w, f"p{n}") for n, w in enumerate(["swap", "drop", "drop", "drop", "keep"])],
        "drop",
        None,
    ),
    "who cannot tell has no vote": ([on("a", "drop", "ana"), on("a", "cannot-tell", "ben")], "drop", ("ana",)),
    "nobody can tell": ([on("a", "cannot-tell", "ana"), on("a", "cannot-tell", "ben")], "cannot", ("ana", "ben")),
    "the last word of a person": ([on("a", "drop", "ana"), on("a", "keep", "ana")], "keep", ("ana",)),
    "who takes it back to unsure": ([on("a", "drop", "ana"), on("a", "cannot-tell", "ana")], "cannot", ("ana",)),
    "settled against most": (
        [on("a", "drop", "ana"), on("a", "drop", "ben"), on("a", "keep", "cat", queue="conflicts")],
        "keep",
        ("cat",),
    ),
    "settled by the last of two": (
        [on("a", "drop", "ana", queue="conflicts"), on("a", "keep", "ben", queue="conflicts")],
        "keep",
        ("ben",),
    ),
    "settled as open": ([on("a", "drop", "ana"), on("a", "cannot-tell", "cat", queue="conflicts")], "cannot", ("cat",)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_counts_of_several_persons(case):
    rulings, verdict, who = CASES[case]
    words = settle(numbered(*rulings)).on("a")
    found = {"applied": words.verdict and words.verdict.value, "conflict": "conflict", "cannot-tell": "cannot"}
    assert [found[state] for state in words.slots.values()] == [verdict]
    told = words.cannot_tell or (words.verdict.who if words.verdict else ())
    assert who is None or told == who


def test_scores_and_texts_are_decided_each_by_itself():
    rulings = numbered(
        score("ana", 1.0, why="no answer"),
        score("ben", 1, why="wrong"),
        score("ana", 3.0, "helpfulness"),
        score("ben", 4.0, "helpfulness"),
        on("c", "keep", "ana", of="completion"),
        on("c", "note", "ana", of="completion", why="look again"),
        on("c", "note", "ana", of="completion", why="and again"),
        on("c", "edit", "ana", of="completion", field="answer", value="Oder."),
        score("ana", None, "honesty"),
    )
    words = settle(rulings).on("c")
    assert (words.verdict.value, words.verdict.who) == ("keep", ("ana",))
    assert {name: (word.value, word.who, word.why) for name, word in words.scores.items()} == {
        "overall_score": (1.0, ("ana", "ben"), "no answer; wrong"),
        "honesty": (None, ("ana",), ""),
    }
    assert words.edits["answer"].value == "Oder."
    assert words.conflicts == ("set-score:helpfulness",)
    assert words.notes == 2
    assert [each.target for each in settle(rulings).conflicts] == ["c"]


def test_what_is_undone_does_not_count():
    rulings = numbered(on("a", "keep", "ana"), on("a", "drop", "ana"), on("b", "drop", "ana"))
    undo = replace(on("a", "undo", "ana", undoes=2), number=4)
    redo = replace(on("a", "undo", "ana", undoes=4), number=5)
    assert settle(rulings).on("a").verdict.value == "drop"
    assert settle([*rulings, undo]).on("a").verdict.value == "keep"
    assert settle([*rulings, undo, redo]).on("a").verdict.value == "drop"
    assert settle([*rulings, replace(on("b", "undo", "ben", undoes=3), number=4)]).on("b") is None


def test_the_digest_is_of_what_counts():
    first = numbered(on("a", "drop", "ana", why="w"), on("b", "keep", "ben"), on("c", "swap", "ana", prompt="p"))
    told = settle(first).digest
    # Come by otherwise: other times, queues, batches, flags, another order, a detour and an undo.
    again = numbered(
        *(replace(each, when="2026", queue="random", batch="x", reasons=("y",)) for each in reversed(first[1:])),
        on("a", "keep", "ana"),
        on("z", "drop", "eve"),
        first[0],
    )
    undo = replace(on("z", "undo", "eve", undoes=4), number=6)
    assert settle([*again, undo]).digest == told
    random.Random(1).shuffle(again)
    assert settle([*again, undo]).digest == told
    others = [
        settle([*again]).digest,  # with z
        settle(first[1:]).digest,
        settle([replace(first[0], what="keep"), *first[1:]]).digest,
        settle([replace(first[0], who="eve"), *first[1:]]).digest,  # who decided stands in what is traced
        settle([replace(first[0], why="v"), *first[1:]]).digest,
        settle([replace(first[0], target="aa"), *first[1:]]).digest,
        settle([replace(first[0], of="row"), *first[1:]]).digest,
        settle([*first, replace(on("a", "note", "ana"), number=9)]).digest,
        settle([]).digest,
    ]
    assert len({told, *others}) == len(others) + 1


def test_the_digest_knows_an_order_that_decides():
    both = [on("a", "drop", "ana", queue="conflicts"), on("a", "keep", "ben", queue="conflicts")]
    assert settle(numbered(*both)).digest != settle(numbered(*reversed(both))).digest
    same = [on(t, w, "ana", of="completion", prompt="p", answer="x") for t, w in (("a", "drop"), ("b", "keep"))]
    assert settle(numbered(*same)).digest != settle(numbered(*reversed(same))).digest  # two names of one answer
    apart = [on(t, "drop", "ana", prompt="p") for t in "ab"]
    assert settle(numbered(*apart)).digest == settle(numbered(*reversed(apart))).digest


def test_reading_what_lies_in_files_databases_and_folders(place, tmp_path):
    with open_store(place, create=True) as store:
        store.add([on("a", "drop", "ana"), on("b", "keep", "ben", why="ü\n")])
        store.undo([1], "ana")
        held = list(store.rulings())
        assert read_rulings(place) == held  # while it is open too
    assert read_rulings(place) == held
    lines = tmp_path / "run" / "decisions.jsonl"
    lines.parent.mkdir()
    assert write_rulings(lines, held) == 3
    assert read_rulings(lines) == read_rulings(tmp_path / "run") == held
    assert read_settled(lines).digest == read_settled(place).digest
    bare = tmp_path / "bare.jsonl"
    bare.write_text(
        '{"target":"a","of":"pair","what":"drop","who":"ana"}\n\n{"target":"b","of":"pair","what":"keep","who":"b"}'
    )
    assert [(each.number, each.target) for each in read_rulings(bare)] == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"target":"a","of":"pair","what":"drop","who":"ana"}\nnot json', "d.jsonl:2 is no decision"),
        ('{"target":"a","of":"pair","what":"delete","who":"ana"}', "d.jsonl:1 is no decision"),
        ('{"target":"a","of":"row","what":"swap","who":"ana"}', "d.jsonl:1: decision 'swap' on row a: only the two"),
        ('{"target":"a","of":"pair","what":"undo","who":"ana","undoes":1}', "d.jsonl:1 takes back decision 1, which"),
        (
            '{"target":"a","of":"pair","what":"drop","who":"a","number":1}\n{"target":"b","of":"pair","what":"drop","who":"a"}',
            "d.jsonl:2 has no number, and others have one",
        ),
        ('{"target":"a","of":"pair","what":"drop","who":"a","number":1}\n' * 2, "d.jsonl:2 has the number 1 a second"),
    ],
)
def test_a_line_that_is_no_decision_is_told(tmp_path, text, told):
    (tmp_path / "d.jsonl").write_text(text)
    with pytest.raises(InputError, match=told):
        read_rulings(tmp_path / "d.jsonl")


def test_a_place_without_decisions_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no store"):
        read_rulings(tmp_path / "none.sqlite")
    with Run(tmp_path / "run", stage="toy", config={}, inputs={}) as run:
        pass
    with pytest.raises(InputError, match=r"holds no decisions \(decisions.sqlite or decisions.jsonl\)"):
        read_rulings(run.path)
