"""Trees of messages: every prompt with several replies, and where each record stood."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Feedback, Message
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source

Row = dict[str, Any]


def said(text: str, role: str, *replies: Row, **about: Any) -> Row:
    return {"message_id": text, "text": text, "role": role, "rank": None, "replies": list(replies)} | about


def tree() -> Row:
    """
    A river?            three replies, of which the second is the best and the third was not ranked
      ├ The Spree.
      ├ The Oder.       its question has one reply, and that one's question has two
      │   └ Where?
      │       └ In Poland.
      │           └ How long?
      │               ├ 840 km.
      │               └ Long.
      └ No.
    """
    deep = said("How long?", "prompter", said("840 km.", "assistant", rank=0), said("Long.", "assistant", rank=1))
    where = said("Where?", "prompter", said("In Poland.", "assistant", deep, rank=0), lang="en")
    replies = (
        said("The Spree.", "assistant", rank=1, deleted=True, labels={"spam": {"value": 0.0, "count": 3}}),
        said("The Oder.", "assistant", where, rank=0, model_name="alder", review_result=False),
        said("No.", "assistant", deleted=False),
    )
    return {"message_tree_id": "t1", "tree_state": "ready", "prompt": said("A river?", "prompter", *replies, lang="en")}


def read(tally: Tally, row: Row) -> list[Feedback]:
    expand = FORMATS["oasst-trees"].expand
    assert expand is not None
    return list(expand(row, tally))


def turns(record: Feedback) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in record.prompt]


def test_every_prompt_with_several_replies_is_a_record_with_the_dialogue_before_it() -> None:
    tally = Tally("read")
    root, deep = read(tally, tree())
    assert turns(root) == [("user", "A river?")]
    assert [item.text for item in root.completions] == ["The Spree.", "The Oder.", "No."]
    assert [ranking.ranks for ranking in root.rankings] == [(2, 1, None)]
    assert turns(deep) == [
        ("user", "A river?"),
        ("assistant", "The Oder."),
        ("user", "Where?"),
        ("assistant", "In Poland."),
        ("user", "How long?"),
    ]
    assert [item.text for item in deep.completions] == ["840 km.", "Long."]
    assert [ranking.ranks for ranking in deep.rankings] == [(1, 2)]
    assert tally.counts == {"single-reply": 1}


def test_what_the_set_says_of_a_message_is_kept() -> None:
    root, deep = read(Tally("read"), tree())
    assert [item.model for item in root.completions] == ["", "alder", ""]
    assert [item.extra.get("deleted") for item in root.completions] == [True, None, False]
    assert root.completions[0].extra["labels"] == {"spam": {"value": 0.0, "count": 3}}
    assert root.completions[1].extra["review_result"] is False
    assert (root.extra["message_tree_id"], root.extra["tree_state"]) == ("t1", "ready")
    assert [about["message_id"] for about in deep.extra["prompt_messages"]] == [
        *("A river?", "The Oder.", "Where?", "In Poland.", "How long?")
    ]
    assert deep.extra["prompt_messages"][2]["lang"] == "en"


def test_a_reply_without_a_rank_is_no_reason_to_lose_the_others() -> None:
    row = tree()
    for reply in row["prompt"]["replies"]:
        reply["rank"] = None
    root, _ = read(Tally("read"), row)
    assert (len(root.completions), root.rankings) == (3, ())


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ({"message_tree_id": "t", "prompt": None}, "prompt", "missing-field"),
        ({"prompt": said("a", "assistant")}, "prompt.role", "unknown-role"),
        ({"prompt": said("a", "prompter", said("b", "bot"))}, "prompt.replies[0].role", "unknown-role"),
        ({"prompt": said("a", "prompter", said("b", "prompter"))}, "prompt.replies[0].role", "unknown-role"),
        (
            {"prompt": said("a", "prompter", said("b", "assistant") | {"text": None})},
            "prompt.replies[0].text",
            "missing-field",
        ),
        ({"prompt": said("a", "prompter", said("b", "assistant"))}, "prompt.replies", "no-comparison"),
        ({"prompt": said("a", "prompter") | {"replies": "b"}}, "prompt.replies", "wrong-type"),
        (
            {"prompt": said("a", "prompter", *(said("b", "assistant", rank=rank) for rank in (0, 0.5)))},
            "prompt.replies[1].rank",
            "not-a-rank",
        ),
    ],
)
def test_a_bad_tree_names_the_field_and_the_rule(row: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        read(Tally("read"), row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_a_packed_file_of_trees_gives_each_record_its_line_and_balances(tmp_path: Path) -> None:
    lonely = {"message_tree_id": "t2", "prompt": said("Hi.", "prompter", said("Hello.", "assistant"))}
    path = tmp_path / "trees.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in (tree(), lonely, tree()))
    source, tally, quarantine = open_source(str(path)), Tally("read"), Quarantine()
    records = list(source.records(tally, quarantine))
    assert (source.format, detect(tree())) == ("oasst-trees", "oasst-trees")
    assert [(record.file, record.line) for record in records] == [("trees.jsonl.gz", line) for line in (1, 1, 3, 3)]
    assert dict(quarantine.counts) == {"no-comparison": 1}
    assert (tally.taken, tally.given, len(tally.dropped)) == (3, 4, 1)
    assert tally.counts == {"row-expanded": 2, "single-reply": 2}
    assert tally.taken + tally.counts["row-expanded"] == tally.given + len(tally.dropped)


def test_a_tree_of_a_thousand_turns_is_walked() -> None:
    row = said("last", "prompter", said("a", "assistant", rank=0), said("b", "assistant", rank=1))
    for number in range(500):
        row = said(f"q{number}", "prompter", said(f"a{number}", "assistant", row))
    (found,) = read(Tally("read"), {"message_tree_id": "t", "prompt": row})
    assert len(found.prompt) == 1001
    assert found.prompt[-1] == Message(role="user", content="last")
