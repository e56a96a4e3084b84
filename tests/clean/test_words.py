"""What a word is, words as numbers, and sets of them."""

import itertools
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.clean.words import (
    Block,
    hash_words,
    normal_form,
    prompt_text,
    words_of,
)
from notus.core.records import Dialogue, Message, Preference
from tests.helpers.data_examples import completion, feedback


@given(st.text(alphabet="aZ_09.,-+&;(\"'/% \n\x00\x01\x0b\x1c\x7f", max_size=12))
def test_words_of_plain_text_are_runs_of_letters_and_digits_numbers_and_runs_of_symbols(text):
    """By hand, character by character; without what makes a formula, and without entities."""
    text = text.replace("-", "").replace("(", "").replace("&", "")
    words, at = [], 0
    while at < len(text):
        end = at
        if text[at] in "+/%":
            while end < len(text) and text[end] in "+/%":
                end += 1
        elif text[at].isalnum() or text[at] == "_":
            number = text[at].isdigit()
            while end < len(text) and (text[end].isalnum() or text[end] == "_"):
                end += 1
                if number and end + 1 < len(text) and text[end] in ".," and text[end + 1].isdigit():
                    end += 1
        if end > at:
            words.append(text[at:end].lower().encode())
        at = max(end, at + 1)
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Name a river!", "name  a\nRIVER"),
        ("It's “fine”, really.", "it s fine really"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("Straße", "STRASSE"),
        ("well-known", "well known"),
    ],
)
def test_case_white_space_punctuation_and_unicode_forms_do_not_count(one, other):
    assert words_of(one) == words_of(other)
    assert normal_form(words_of(one)) == normal_form(words_of(other))


@pytest.mark.parametrize(
    ("one", "other"), [("2 + 3", "2 - 3"), ("x < 3", "x > 3"), ("a b c", "a c b"), ("C", "C++"), ("日本", "本日")]
)
def test_symbols_and_order_count(one, other):
    assert normal_form(words_of(one)) != normal_form(words_of(other))


def test_a_script_without_spaces_has_a_word_for_each_character():
    assert [word.decode() for word in words_of("東京 is big")] == ["東", "京", "is", "big"]


def test_ascii_and_other_texts_are_taken_apart_alike():
    text = "Say x_1 = 3*y, then (a/b) & don't stop: 50% of $20 #tag a|b ~c ^d \\e f@g <h>"
    assert [*words_of(text), "é".encode()] == words_of(text + " é")


def test_numbers_are_checksums_of_words():
    assert hash_words([b"river"]).tolist() == [crc32(b"river")]


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"river", b"hill"]), max_size=8), max_size=6))
def test_sets_of_a_block_hold_each_word_where_it_first_stands(texts):
    sets = Block.of(texts).sets()
    bounds = [0, *sets.ends.tolist()]
    found = [sets.numbers[a:b].tolist() for a, b in itertools.pairwise(bounds)]
    assert found == [[crc32(word) for word in dict.fromkeys(words)] for words in texts]


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=5), max_size=5))
def test_a_mask_keeps_words_with_their_texts(texts):
    block = Block.of(texts)
    kept = block.where(block.numbers != crc32(b"a"))
    expected = Block.of([[word for word in words if word != b"a"] for words in texts])
    assert kept.numbers.tolist() == expected.numbers.tolist()
    assert kept.ends.tolist() == expected.ends.tolist()


def test_the_prompt_of_a_dialogue_is_what_the_user_said():
    turns = (Message(role="user", content="Hi."), Message(role="assistant", content="Ho."))
    assert prompt_text(Dialogue(messages=(*turns, Message(role="user", content="He?")))) == "Hi.\nHe?"
    assert prompt_text(feedback(completion())) == "Name a river."
    pair = Preference(prompt=turns[:1], chosen=turns[1:], rejected=turns[1:])
    assert prompt_text(pair) == "Hi."
