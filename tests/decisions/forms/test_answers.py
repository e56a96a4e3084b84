"""What a row means, and what of a file is none: each is counted, and told with the row and the way out."""

import json

import pytest

from notus.core.errors import DataError, InputError
from notus.core.records import Completion, Dialogue, Feedback, Message, Scale, ToolCall, Unpaired
from notus.decisions.forms.answers import bring
from notus.decisions.forms.form import read_form, write_form
from notus.decisions.forms.item import Item, encode_key, read_key, target_text
from notus.decisions.forms.records import items_of
from notus.decisions.store import open_store

ITEM = Item(
    id="00e1000000000001",
    of="completion",
    prompt="p" * 16,
    answer="a" * 16,
    texts={"prompt": "What?", "answer": "So."},
    editable=("answer",),
    scale=Scale(low=1, high=10),
    queue="suspicion",
)
PAIR = Item(id="b" * 16, of="pair", texts={"prompt": "What?", "chosen": "So.", "rejected": "No."}, editable=("chosen",))


@pytest.fixture
def came(tmp_path):
    """Rows of JSON lines as they came back, with a store: what is read of them."""

    def read(*rows, item=ITEM, who="ana", **options):
        write_form([item], tmp_path / "queue.jsonl", "jsonl")
        row = json.loads((tmp_path / "queue.jsonl").read_text())
        text = "\n".join(json.dumps(row | each) for each in rows)
        (tmp_path / "back.jsonl").write_text(text)
        return read_form(tmp_path / "back.jsonl", who=who, **options)

    return read


def said(returned):
    return [(ruling.what, ruling.field, ruling.value, ruling.why) for _, ruling in returned.rulings]


@pytest.mark.parametrize(
    ("filled", "wanted"),
    [
        ({"decision": " Keep "}, [("keep", "", None, "")]),
        ({"decision": "cannot tell", "why": " odd "}, [("cannot-tell", "", None, "odd")]),
        ({"decision": "?"}, [("cannot-tell", "", None, "")]),
        ({"score": 7.5}, [("set-score", "overall_score", 7.5, "")]),
        ({"score": "None"}, [("set-score", "overall_score", None, "")]),
        ({"score": "1"}, [("set-score", "overall_score", 1.0, "")]),
        ({"new_answer": "=1+1"}, [("edit", "answer", "=1+1", "")]),
        ({"new_answer": "So."}, []),
        ({"why": "only so"}, [("note", "", None, "only so")]),
        (
            {"decision": "keep", "score": "2", "new_answer": "Yes.", "why": "w"},
            [("keep", "", None, "w"), ("set-score", "overall_score", 2.0, "w"), ("edit", "answer", "Yes.", "w")],
        ),
        ({}, []),
        ({"why": "  ", "decision": " "}, []),
    ],
)
def test_what_a_row_means(came, filled, wanted):
    returned = came(filled)
    assert said(returned) == wanted
    assert returned.empty == (not wanted)
    for _, ruling in returned.rulings:
        assert (ruling.target, ruling.of, ruling.who) == (ITEM.id, "completion", "ana")
        assert (ruling.prompt, ruling.answer, ruling.queue) == ("p" * 16, "a" * 16, "suspicion")


@pytest.mark.parametrize(
    ("filled", "told"),
    [
        ({"decision": "delete"}, "row 1: the decision is 'delete'; write keep, drop, cannot-tell, or nothing"),
        ({"decision": "swap"}, "row 1: the decision is 'swap'; write keep, drop, cannot-tell, or nothing"),
        ({"score": "7,5"}, "row 1: the score is '7,5'; write a number such as 7 or 7.5, or none"),
        ({"score": "11"}, "row 1: the score is 11; write a number from 1 to 10, or none"),
        ({"score": "nan"}, "row 1: the score is nan; write a number from 1 to 10, or none"),
        ({"score": True}, "row 1: 'score' is True; a text is needed"),
        ({"decision": 3}, "row 1: 'decision' is 3; a text is needed"),
        (
            {"new_prompt": "Which?"},
            "row 1: there is a text under new_prompt, and that one cannot be edited here; leave it",
        ),
        ({"decision": "drop", "score": "x"}, "row 1: the score is 'x'; write a number such as 7 or 7.5, or none"),
    ],
)
def test_what_cannot_be_read_gives_nothing_and_is_told(came, filled, told):
    returned = came(filled)
    assert returned.rulings == []
    assert len(returned.unreadable) == 1
    assert returned.unreadable[0].startswith(told)


def test_a_pair_can_be_swapped_and_has_no_score(came):
    assert said(came({"decision": "swap"}, item=PAIR)) == [("swap", "", None, "")]
    assert came({"score": "3"}, item=PAIR).unreadable == [
        "row 1: the score is 3, and a pair has none to be set; leave it empty"
    ]


def test_an_id_that_was_changed_is_unknown(came):
    key = encode_key(PAIR)
    for row in (
        {"id": "completion:00e1000000000002", "decision": "keep"},
        {"id": "pair:00e1000000000001", "decision": "keep"},
        {"id": "12", "decision": "keep"},
        {"id": "", "decision": "keep"},
        {"id": "completion:1E+15", "decision": "keep"},
        {"key": key, "decision": "keep"},
    ):
        returned = came(row)
        assert returned.rulings == []
        assert len(returned.unknown) == 1
        assert "copy id and key from the form again" in returned.unknown[0]


def test_without_its_key_a_row_is_read_and_not_checked(came):
    returned = came({"key": "", "decision": "keep", "answer": "another"})
    assert said(returned) == [("keep", "", None, "")]
    assert (returned.unchecked, returned.changed) == (1, [])
    assert returned.rulings[0][1].queue == "import"


def test_a_text_that_was_changed_where_it_is_shown_is_told(came):
    returned = came({"answer": "So!", "decision": "keep"})
    assert said(returned) == [("keep", "", None, "")]
    assert returned.changed == [
        "row 1: the text of 'answer' was changed where it is only shown, which does nothing; write a new text under "
        "new_answer"
    ]
    assert came({"prompt": "Which?"}).changed[0].endswith("it cannot be edited in a form")
    assert came({"answer": "So."}).changed == []


def test_the_same_twice_is_once_and_the_contrary_is_neither(came):
    returned = came({"decision": "keep"}, {"decision": "keep"}, {"score": "3"})
    assert said(returned) == [("keep", "", None, ""), ("set-score", "overall_score", 3.0, "")]
    assert returned.twice == 1
    returned = came({"decision": "keep"}, {"decision": "drop"})
    assert returned.rulings == []
    assert returned.unreadable == [
        f"row 2: says drop on completion:{ITEM.id}, and row 1 says keep; neither is taken: leave one"
    ]
    # Two people may well decide otherwise.
    assert len(came({"decision": "keep", "who": "bo"}, {"decision": "drop"}).rulings) == 2


def test_who_decides_is_told_by_the_row_then_by_the_command(came):
    returned = came({"decision": "keep", "who": "7"}, {"decision": "keep"}, names={"7": "bo"})
    assert [ruling.who for _, ruling in returned.rulings] == ["bo", "ana"]
    with pytest.raises(InputError, match="row 1 does not say whose decision it is; name them: --who NAME"):
        came({"decision": "keep"}, who="")
    assert came({}, who="").empty == 1


def test_the_time_is_kept_where_it_is_one(came):
    times = {"2026-11-30T10:00:00.5Z": "2026-11-30T10:00:00.500+00:00", "yesterday": "", "2026-11-30": ""}
    for given, kept in times.items():
        assert came({"decision": "keep", "when": given}).rulings[0][1].when == kept


def test_a_file_brought_in_again_adds_nothing(came, tmp_path):
    rows = [{"decision": "keep", "why": "w", "score": "3"}, {"why": "a note", "who": "bo"}]
    with open_store(tmp_path / "d.sqlite", create=True) as store:
        first = bring(store, came(*rows), "import-1")
        assert [each.batch for each in first.added] == ["import-1"] * 3
        second = bring(store, came(*rows), "import-1")
        assert (second.added, second.known, second.undone) == ([], 3, [])
        third = bring(store, came({"decision": "keep", "why": "another reason"}), "import-2")
        assert len(third.added) == 1


@pytest.mark.parametrize("text", ['{"prompt": "p", "chosen": "c", "rejected": "r"}', "a,b\n1,2\n", '[{"id": "x"}]'])
def test_what_is_no_form_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"has no column '(id|decision)', and is none of xlsx, csv, jsonl, argilla"):
        read_form(tmp_path / "x.json", who="ana")


def test_a_broken_row_is_told_and_the_others_are_read(tmp_path):
    write_form([ITEM], tmp_path / "queue.jsonl", "jsonl")
    row = json.loads((tmp_path / "queue.jsonl").read_text()) | {"decision": "keep"}
    (tmp_path / "queue.jsonl").write_text(f"{json.dumps(row)}\n{{broken\n[1]\n")
    returned = read_form(tmp_path / "queue.jsonl", who="ana")
    assert (len(returned.rulings), returned.answers) == (1, 3)
    assert [line[:6] for line in returned.unreadable] == ["row 2:", "row 3:"]


def test_a_key_belongs_to_its_id():
    key = read_key(encode_key(ITEM), target_text(ITEM))
    assert key is not None
    assert (key.prompt, key.answer, key.queue, key.scale) == (ITEM.prompt, ITEM.answer, "suspicion", ITEM.scale)
    assert key.editable == ("answer",)
    assert read_key(encode_key(ITEM), target_text(PAIR)) is None
    assert read_key(encode_key(ITEM).replace("suspicion", "random"), target_text(ITEM)) is None
    assert read_key("", target_text(ITEM)) is None


USER, SAID = Message(role="user", content="What?"), Message(role="assistant", content="So.")
THOUGHT = Message(role="assistant", content="So.", reasoning="Hm.")
CALL = Message(role="assistant", content="", tool_calls=(ToolCall(name="f"),))


@pytest.mark.parametrize(
    ("record", "texts", "editable"),
    [
        (Dialogue(messages=(USER, SAID)), ("What?", "So."), ("prompt", "answer")),
        (Dialogue(messages=(USER, THOUGHT)), ("What?", "So."), ("prompt",)),
        (Dialogue(messages=(USER,)), ("What?", ""), ("prompt",)),
        (
            Dialogue(messages=(USER, SAID, USER, SAID)),
            ("user: What?\n\nassistant: So.\n\nuser: What?", "So."),
            ("answer",),
        ),
        (Unpaired(prompt=(USER,), answer=(SAID,), desirable=False), ("What?", "So."), ("prompt", "answer")),
        (
            Feedback(prompt=(USER,), completions=(Completion(text="So.", turns=(CALL, SAID)),)),
            ("What?", "assistant: \n\nassistant: So."),
            (),
        ),
    ],
)
def test_texts_of_one_plain_turn_can_be_edited(record, texts, editable):
    (item,) = items_of(record)
    assert (item.texts["prompt"], item.texts["answer"]) == texts
    assert item.editable == editable
