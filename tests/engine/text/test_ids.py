"""The fast encoder gives the tokenizer's own ids, and is not used where it would not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from notus.engine.load import train_tokenizer
from notus.engine.text.ids import TokenIds

TEXTS = [f"The {n}th answer, isn't it?\n\n  - naïve café №{n}; x = {{'a': {n}}}" for n in range(1200)]
anything = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=20)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="module")
def ids(tokenizer):
    made = TokenIds(tokenizer)
    made(TEXTS)
    assert made._fast is not None
    return made


@settings(max_examples=200, deadline=None)
@given(texts=anything)
def test_any_text_gets_the_ids_of_the_tokenizer(tokenizer, ids, texts):
    assert ids(texts) == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_control_tokens_in_a_rendered_text_are_read_as_such(tokenizer, ids):
    text = f"<|user|>\nwho?{tokenizer.eos_token}\n<|assistant|>\n"
    assert ids([text]) == [tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert tokenizer.eos_token_id in ids([text])[0]


def test_few_texts_are_not_worth_a_second_encoder(tokenizer):
    ids = TokenIds(tokenizer)
    assert ids(TEXTS[:3]) == tokenizer(TEXTS[:3], add_special_tokens=False)["input_ids"]
    assert ids._fast is None


def test_a_tokenizer_that_the_fast_one_does_not_know_encodes_itself():
    words = {"[UNK]": 0, "one": 1, "two": 2}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.normalizer = normalizers.Lowercase()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    ids = TokenIds(tokenizer)
    assert ids(["One TWO three"] * 1200) == [[1, 2, 0]] * 1200
    assert ids._fast is None


def test_an_encoder_that_gives_other_ids_is_not_used(tokenizer, monkeypatch):
    import gigatoken

    other = train_tokenizer(["quite other words, merged in another order"] * 3, 300)
    made = gigatoken.Tokenizer(other)
    monkeypatch.setattr(gigatoken, "Tokenizer", lambda _: made)
    ids = TokenIds(tokenizer)
    assert ids(TEXTS) == tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    assert ids._fast is None
