"""Conversations: ShareGPT's, UltraChat's, and Anthropic's transcripts."""

import hashlib
from typing import Any

import pytest

from notus.core.records import Dialogue, Message, Preference
from notus.formats.quarantine import RowError
from notus.formats.registry import FORMATS


def turns(*texts: str) -> list[dict[str, str]]:
    """ShareGPT's turns, the human's first."""
    return [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(texts)]


def messages(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role="assistant" if index % 2 else "user", content=text) for index, text in enumerate(texts))


def pair(layout: str, row: dict[str, Any]) -> Preference:
    found = FORMATS[layout].decode(row)
    assert isinstance(found, Preference)
    return found


def test_a_sharegpt_conversation_is_a_dialogue() -> None:
    row = {"conversations": turns("Hi.", "Hello.", "Bye."), "id": "x", "source": "web"}
    assert FORMATS["sharegpt"].decode(row) == Dialogue(
        messages=messages("Hi.", "Hello.", "Bye."), source="web", extra={"id": "x"}
    )


def test_a_system_prompt_beside_a_conversation_is_its_first_turn() -> None:
    system = Message(role="system", content="Be brief.")
    found = FORMATS["sharegpt"].decode({"conversations": turns("Hi."), "system": "Be brief."})
    assert found == Dialogue(messages=(system, *messages("Hi.")))
    inside = [{"from": "system", "value": "Be kind."}, *turns("Hi.")]
    found = FORMATS["sharegpt"].decode({"conversations": inside, "system": "Be brief."})
    assert isinstance(found, Dialogue)
    assert found.messages[0].content == "Be kind."
    assert found.extra == {"system": "Be brief."}


def test_what_a_turn_holds_beside_is_kept() -> None:
    row = {"conversations": [{"from": "human", "value": "Hi.", "weight": 0}, {"from": "gpt", "value": "a", "w": None}]}
    held = [{"role": "user", "content": "Hi.", "weight": 0}, {"role": "assistant", "content": "a", "w": None}]
    assert FORMATS["sharegpt"].decode(row) == Dialogue(messages=messages("Hi.", "a"), extra={"messages_as_read": held})


@pytest.mark.parametrize(
    "answers",
    [
        ({"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}),
        ([{"from": "gpt", "value": "a"}], [{"from": "chatgpt", "value": "b"}]),
        ("a", "b"),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}),
    ],
)
def test_two_answers_to_a_conversation_are_a_pair(answers: tuple[Any, Any]) -> None:
    row = {"conversations": turns("Hi.", "Hello.", "Bye."), "chosen": answers[0], "rejected": answers[1], "n": 1}
    assert pair("sharegpt-pairs", row) == Preference(
        prompt=messages("Hi.", "Hello.", "Bye."),
        chosen=(Message(role="assistant", content="a"),),
        rejected=(Message(role="assistant", content="b"),),
        extra={"n": 1},
    )


@pytest.mark.parametrize(
    ("layout", "row", "field", "rule"),
    [
        ("sharegpt", {"conversations": []}, "conversations", "empty-list"),
        ("sharegpt", {"conversations": None}, "conversations", "missing-field"),
        ("sharegpt", {"conversations": ["a"]}, "conversations[0]", "wrong-type"),
        ("sharegpt", {"conversations": [{"value": "a"}]}, "conversations[0].from", "missing-field"),
        ("sharegpt", {"conversations": [{"from": "boss", "value": "a"}]}, "conversations[0].from", "unknown-role"),
        ("sharegpt", {"conversations": [{"from": 3, "value": "a"}]}, "conversations[0].from", "wrong-type"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": 3}]}, "conversations[0].value", "wrong-type"),
        ("sharegpt-pairs", {"conversations": turns("a"), "chosen": "b"}, "rejected", "missing-field"),
        ("ultrachat", {"messages": []}, "messages", "empty-list"),
        ("ultrachat", {"messages": "a"}, "messages", "wrong-type"),
        ("ultrachat", {"messages": [{"role": "boss", "content": "a"}]}, "messages[0].role", "unknown-role"),
        ("hh", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c"}, "rejected", "no-turns"),
        ("hh", {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a\n\nAssistant: b"}, "chosen", "no-answer"),
        ("hh", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": 7}, "rejected", "wrong-type"),
        (
            "hh",
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
            "rejected",
            "prompt-mismatch",
        ),
    ],
)
def test_a_bad_row_names_the_field_and_the_rule(layout: str, row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[layout].decode(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_ultrachat_keeps_what_does_not_follow_from_the_rest() -> None:
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    row = {"prompt": "Hi.", "prompt_id": hashlib.sha256(b"Hi.").hexdigest(), "messages": said}
    assert FORMATS["ultrachat"].decode(row) == Dialogue(messages=messages("Hi.", "Hello."))
    other = {"prompt": "hi.", "prompt_id": "7"}
    assert FORMATS["ultrachat"].decode(row | other) == Dialogue(messages=messages("Hi.", "Hello."), extra=other)


HI = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: A river?\n\nAssistant:"


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": f"{HI} The Oder.", "rejected": f"{HI} No."},
        {"prompt": HI, "chosen": " The Oder.", "rejected": " No."},
        {"chosen": f"{HI} The Oder.".lstrip(), "rejected": f"{HI} No.".lstrip()},
    ],
    ids=["whole", "prompt apart", "stripped"],
)
def test_a_pair_of_transcripts_shares_its_prompt(row: dict[str, Any]) -> None:
    found = pair("hh", row)
    assert found.prompt == messages("Hi.", "Hello.", "A river?")
    assert [turn.content for turn in (*found.chosen, *found.rejected)] == ["The Oder.", "No."]


def test_odd_ends_of_transcripts_are_kept_as_they_are() -> None:
    found = pair("hh", {"chosen": f"{HI} a\n\nb: c", "rejected": HI})
    assert [turn.content for turn in (*found.chosen, *found.rejected)] == ["a\n\nb: c", ""]
    found = pair("hh", {"chosen": f"{HI} a\n\nAssistant: b", "rejected": f"{HI} c "})
    assert [turn.content for turn in found.chosen] == ["a", "b"]
    assert found.rejected[0].content == "c "
    twice = "\n\nHuman: a\n\nHuman: b\n\nAssistant:"
    found = pair("hh", {"chosen": f"{twice} c", "rejected": f"{twice} d"})
    assert [(turn.role, turn.content) for turn in found.prompt] == [("user", "a"), ("user", "b")]
    same = pair("hh", {"chosen": f"{HI} a", "rejected": f"{HI} a"})
    assert same.chosen == same.rejected
