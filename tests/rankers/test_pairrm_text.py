"""The input of PairRM: its form, its budget, conversations, and that no text can change it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.engine.load import train_tokenizer
from notus.rankers.pairrm import MARKERS, PairEncoder, collate
from notus.rankers.settings import PairBudget
from tests.helpers.pairrm_examples import TEXTS, small

_, TOKENIZER = small()
CONTROL = ["[CLS]", "[SEP]", "[PAD]", *MARKERS]


def ids_of(token):
    return TOKENIZER.convert_tokens_to_ids(token)


def text_of(ids):
    return TOKENIZER.decode(ids)


def test_the_form_of_a_pair():
    (pair,) = PairEncoder(TOKENIZER).encode([("Q", "first", "second")])
    assert text_of(pair.source) == "[CLS]<|source|>Q[SEP]"
    assert text_of(pair.first) == "[CLS]<|candidate1|>first[SEP]"
    assert text_of(pair.second) == "[CLS]<|candidate2|>second[SEP]"
    assert [pair.ids[place] for place in pair.marks] == [ids_of(marker) for marker in MARKERS[:3]]
    assert len(pair) == len(pair.ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL, "a", " ", "\n", "<|", "|>", "é", "<|source", "[SEP"]), max_size=12))
def test_typed_markers_are_text(parts):
    text = "".join(parts)
    (pair,) = PairEncoder(TOKENIZER).encode([(text, text, "x" + text)])
    ids = pair.ids
    counts = {token: ids.count(ids_of(token)) for token in CONTROL}
    assert counts == {"[CLS]": 3, "[SEP]": 3, "[PAD]": 0} | dict(zip(MARKERS, (1, 1, 1, 0), strict=True))
    assert [ids[place] for place in pair.marks] == [ids_of(marker) for marker in MARKERS[:3]]
    assert text_of(pair.source[2:-1]) == text


def test_a_marker_that_is_an_ordinary_token_of_the_tokenizer_is_left_out_of_text():
    _, tokenizer = small()
    tokenizer.add_tokens(["<odd>"])  # not special: the tokenizer finds it wherever it is typed
    (pair,) = PairEncoder(tokenizer).encode([("a<odd>b", "x", "y")])
    assert tokenizer.convert_tokens_to_ids("<odd>") not in pair.ids


@pytest.mark.parametrize(("length", "rooms"), [(1, (64, 64)), (40, (50, 50)), (400, (32, 32))])
def test_what_the_prompt_leaves_over_goes_to_the_answers(length, rooms):
    budget = PairBudget(source=64, candidate=32)
    tally = Tally("encode")
    (pair,) = PairEncoder(TOKENIZER, budget, tally).encode([("q" * length, "ab " * 300, "cd " * 300)])
    assert len(pair) <= budget.total
    room = (budget.total - len(pair.source)) // 2
    assert (len(pair.first), len(pair.second)) == (room, room)
    assert len(pair.source) == min(64, len(TOKENIZER("q" * length, add_special_tokens=False)["input_ids"]) + 3)
    if length != 40:
        assert (len(pair.first) >= rooms[0] - 3, len(pair.source) == 64) == (True, length == 400)
    assert tally.counts["answer-cut"] == 2
    assert tally.counts["source-cut"] == (length == 400)
    assert {part[-1] for part in (pair.source, pair.first, pair.second)} == {TOKENIZER.sep_token_id}


def talk(*turns):
    return tuple(Message(role=role, content=text) for role, text in turns)


def test_conversations_keep_their_replies_beside_the_answer():
    prompt = talk(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "And now?"))
    (pair,) = PairEncoder(TOKENIZER).encode([(prompt, "This.", "That.")])
    source = text_of(pair.source)
    assert "Be brief.\n" in source
    assert "USER: Hi\nAssistant: <Response 1>\nUSER: And now?\nAssistant: <Response 2>[SEP]" in source
    assert "Hello." not in source
    assert text_of(pair.first) == "[CLS]<|candidate1|><Response 1>: Hello.\n<Response 2>: This.[SEP]"
    assert text_of(pair.second) == "[CLS]<|candidate2|><Response 1>: Hello.\n<Response 2>: That.[SEP]"


def test_a_single_turn_is_its_text():
    one = talk(("user", "Hi"))
    assert (
        PairEncoder(TOKENIZER).encode([(one, "a", "b")])[0].ids
        == PairEncoder(TOKENIZER).encode([("Hi", "a", "b")])[0].ids
    )


def test_of_a_long_history_the_answer_stays():
    prompt = talk(("user", "Hi"), ("assistant", "word " * 400), ("user", "And now?"))
    tally = Tally("encode")
    (pair,) = PairEncoder(TOKENIZER, PairBudget(source=200, candidate=100), tally).encode(
        [(prompt, "The answer.", "B")]
    )
    assert text_of(pair.first).endswith("<Response 2>: The answer.[SEP]")
    assert tally.counts["history-cut"] == 2
    assert tally.counts["answer-cut"] == 0
    assert len(pair) <= 400


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [("assistant", "a")],
        [("user", "a"), ("assistant", "b")],
        [("user", "a"), ("user", "b"), ("user", "c")],
        [("system", "s")],
    ],
)
def test_prompts_that_do_not_end_with_the_user_are_refused(turns):
    with pytest.raises(DataError, match="alternate"):
        PairEncoder(TOKENIZER).encode([(talk(*turns), "a", "b")])


def test_a_tokenizer_without_markers_is_refused():
    with pytest.raises(ConfigError, match=r"<\|source\|>"):
        PairEncoder(train_tokenizer(TEXTS, 300))


def test_equal_texts_are_tokenised_once_and_pairs_share_them():
    encoder = PairEncoder(TOKENIZER)
    pairs = encoder.encode([("Q", a, b) for a in TEXTS for b in TEXTS])
    assert len({id(pair.source) for pair in pairs}) == 1
    assert len({id(pair.first) for pair in pairs}) == len(TEXTS)
    again = encoder.encode([("Q", TEXTS[1], TEXTS[2])])[0]
    assert again.ids == pairs[1 * len(TEXTS) + 2].ids


def test_a_batch_is_padded_at_the_end():
    pairs = PairEncoder(TOKENIZER).encode([("Q", "a", "b"), ("Q", "a longer answer", "b")])
    batch = collate(pairs, TOKENIZER.pad_token_id)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, len(pairs[1]))
    assert batch["attention_mask"].sum(1).tolist() == [len(pair) for pair in pairs]
    assert batch["marks"].tolist() == [list(pair.marks) for pair in pairs]
    assert set(batch["input_ids"][0, len(pairs[0]) :].tolist()) == {TOKENIZER.pad_token_id}
