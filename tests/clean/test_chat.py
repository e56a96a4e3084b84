"""Filters of answers: hand-made cases of each kind, and cases that only look like them."""

import pytest

from notus.clean.chat import FILTERS, denies_feelings, empty, other_language, truncated, wordless
from notus.core.errors import ConfigError

DENIALS = [
    "As an AI language model, I don't have feelings or emotions, but I can describe them.",
    "I do not have personal opinions or beliefs.",
    "I don’t have personal experiences, however many people enjoy hiking.",
    "As a large language model, I cannot have emotions.",
    "I'm just a computer program, so I don't feel emotions the way you do.",
    "I am an AI without feelings, so nothing hurts me.",
    "I am not capable of having personal experiences.",
    "I lack the ability to form opinions on such matters.",
    "Unfortunately, I don't actually have any preferences of my own or personal tastes.",
    "I have no personal opinions about politics.",
    "Sure! But please note that I do not possess consciousness, emotions, or desires.",
    "I can't experience emotions like humans do.",
    "As an AI, I do not have a physical body or senses, so I never tasted it.",
    "As an artificial intelligence, I cannot fall in love.",
    "I do not hold beliefs, and I take no side.",
    "I'm an AI language model and don't have personal experiences.",
    "As an AI language model, I do not have a favorite colour.",
    "I'm a language model that does not have feelings.",
    "I am unable to experience human emotions.",
    "I do not have thoughts, feelings, or opinions.",
]
LOOK_ALIKES = [
    "Robots do not have emotions, and neither do stones.",
    "You don't have to share your personal opinions here.",
    '"I don\'t have feelings for you any more," she said, and left.',
    "He wrote that “I have no emotions left” was the last line of the letter.",
    "As an AI language model, I can help you to write this letter.",
    "I have strong feelings about good bread.",
    "I don't have feelings for him, wrote Anna in her diary.",
    "If I did not have opinions, this essay would be short.",
    "I do not have access to your personal experiences, so tell me about them.",
    "I don't have any information about that restaurant.",
    "They say I do not have emotions.",
    "Imagine I do not have feelings: how would you talk to me?",
    "I don't have experience with that brand of car.",
    "I have no idea what the personal tastes of the king were.",
    "My opinions are my own.",
    "I cannot give medical advice, but here are some general facts.",
    "`I do not have emotions` is the string that the test expects.",
    "```\nprint('I do not have feelings')\n```",
    "I never hold meetings on Fridays.",
    "I feel that the second option is better.",
]
CUT = [
    "The castle was built in 1213. It was burnt down twice, and the",
    "First you melt the butter, then you add the flour and",
    "There are three reasons for this,",
    "The bridge is a well-",
    "Here is the function:\n\n```python\ndef area(r):\n    return 3.14 * r",
    "It is true because",
    ("The first settlers came by boat. They built huts of reed. " * 8)
    + "In winter they lived on fish that they had dried",
]
WHOLE = [
    "Paris",
    "Yes, you can do that",
    "The castle was built in 1213.",
    "What would you like me to help you with",
    "- apples\n- pears\n- plums",
    "1. Melt the butter\n2. Add the flour",
    "Here it is:\n\n```python\nprint(1)\n```",
    "See https://example.org/a-page",
    "It is done! 🙂",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "x = 3 * y",
    "Dear Sir,\n\nthank you.\n\nYours,\nAnna Berg",
    "Answer: a",
    "第一です。",
    ("The first settlers came by boat. They built huts of reed. " * 8) + "\n\n- Dried fish for the whole of the winter",
    "",
]
ENGLISH = [
    "The river flows through the old town and then into the sea, where it is wide and slow.",
    "Use `le`, `la` and `les`: in French each noun has a gender, and the article shows it to the reader.",
    'In Spanish one says "los niños están en la casa de la abuela", which means that they are with their grandmother.',
    "Berlin, Hamburg, München, Köln, Frankfurt, Stuttgart, Düsseldorf, Leipzig, Dortmund, Essen, Bremen, Dresden",
    "42",
    "π ≈ 3.14159, so the area is about 78.5 cm².",
    "",
]
FOREIGN = [
    ("Der Fluss fließt durch die alte Stadt und dann in das Meer, wo er breit und langsam ist.", "'de'"),
    ("El río pasa por la ciudad vieja y luego entra en el mar, donde es ancho y lento.", "'es'"),
    ("La rivière traverse la vieille ville et puis elle se jette dans la mer, où elle est large.", "'fr'"),
    ("Река течёт через старый город и впадает в море, где она широкая.", "Cyrillic"),
    ("川は古い町を流れて、それから広くてゆっくりした海に注ぎます。", "letters"),
    ("نهر يجري عبر المدينة القديمة ثم إلى البحر الواسع", "Arabic"),
]


@pytest.mark.parametrize("text", DENIALS)
def test_denials_are_found(text):
    found = denies_feelings(text)
    assert found is not None
    assert " ".join(text.split()).count(found) == 1, "the evidence stands in the text"


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_what_sounds_like_a_denial_is_none(text):
    assert denies_feelings(text) is None


@pytest.mark.parametrize("text", CUT)
def test_what_is_cut_off_is_found(text):
    assert truncated(text) is not None


@pytest.mark.parametrize("text", WHOLE)
def test_what_is_whole_is_not(text):
    assert truncated(text) is None


@pytest.mark.parametrize("text", ["", "  \n", "\u200b", "\ufeff\u2060"])
def test_an_answer_in_which_nothing_can_be_seen_is_empty(text):
    assert empty(text) is not None


@pytest.mark.parametrize("text", ["?!", "..."])
def test_an_answer_of_signs_alone_is_wordless_and_not_empty(text):
    assert empty(text) is None
    assert wordless(text) is not None


@pytest.mark.parametrize("text", ["No", "7", "🙂", "+", "答"])
def test_an_answer_of_one_character_is_neither(text):
    assert empty(text) is None
    assert wordless(text) is None


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_english(text):
    assert other_language(text) is None


@pytest.mark.parametrize(("text", "word"), FOREIGN)
def test_another_language_is_found(text, word):
    assert word in (other_language(text) or "")


def test_the_wanted_language_can_be_another():
    german = FOREIGN[0][0]
    assert other_language(german, "de") is None
    assert "'en'" in (other_language(ENGLISH[0], "de") or "")
    assert other_language(FOREIGN[3][0], "ru") is None
    assert "Latin" in (other_language(german, "ru") or "")
    assert other_language(FOREIGN[4][0], "ja") is None
    with pytest.raises(ConfigError, match="no language 'eng'; did you mean 'en'"):
        other_language(german, "eng")


def test_each_filter_has_a_slug():
    assert list(FILTERS) == ["empty-answer", "wordless-answer", "denies-feelings", "truncated", "other-language"]
