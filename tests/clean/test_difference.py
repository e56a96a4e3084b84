"""What differs between two prompts: one answer serves both, or each needs its own."""

import json

import pytest

from notus.clean.difference import difference, is_typo, read_prompt
from notus.clean.duplicates import find_duplicates, prompt_id_of, sign_records
from notus.clean.lexicon import LEXICONS, language_of
from notus.clean.words import Block, prompt_text, words_of
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.stats.intervals import proportion
from tests.helpers.data_examples import SHARED, completion, feedback

CASES = SHARED.parent / "cases" / "data"

SAME = {
    "politeness": [
        ("Explain how a heat pump works.", "I would be really grateful if you could explain how a heat pump works."),
        ("Which vitamins dissolve in fat?", "Hi, sorry to bother you, but do you know which vitamins dissolve in fat?"),
        ("I'm looking for a dentist.", "Can you help me find a dentist please?"),
        ("Schreibe ein Gedicht über das Meer", "Schreibe bitte ein Gedicht über das Meer, danke!"),
        ("把这段中文翻译成英文", "请把这段中文翻译成英文。"),
    ],
    "wrapper": [
        ("What is the tallest bridge in Norway?", "Question: What is the tallest bridge in Norway?\nAnswer:"),
        ("Explain recursion to a beginner.", "### Instruction:\nExplain recursion to a beginner.\n\n### Response:"),
        ("What causes tides?", "What causes tides? Be as specific as possible."),
        ("Plan a party for a six-year-old.", "Plan a party for a six-year-old. 🎉"),
    ],
    "number": [
        ("What is 1,000 divided by 4?", "What is 1000 divided by 4?"),
        ("Give me twenty-five names for a boat.", "Give me 25 names for a boat."),
        ("Write one hundred and fifty words on moss", "Write 150 words on moss"),
        ("What is two million in digits", "What is 2,000,000 in digits"),
        ("Nenne drei Vorteile von Solarstrom", "Nenne 3 Vorteile von Solarstrom"),
    ],
    "spelling": [
        ("Compare the colours of grey granite", "Compare the colors of gray granite"),
        ("Explain photosythesis to a child", "Explain photosynthesis to a child"),
        ("What is a café?", "What is a cafe?"),
        ("What&#39;s a salt &amp; pepper mill?", "What's a salt & pepper mill?"),
        (
            "Which of the red pens that I own suits a note book of thick and rough paper from Japan best?",
            "Which of the red pens that I own suits a notebook of thick and rough paper from Japan best?",
        ),
    ],
    "function words": [
        ("What's the capital of France?", "Tell me what the capital of France is."),
        ("What should I do in order to sleep?", "What should I do to sleep?"),
        ("How do I reverse a list?", "How can I reverse a list"),
        ("In Python, write a sorting function.", "Write a sorting function in Python."),
        ("My dog barks. What can I do about it at night?", "What can I do about it at night? My dog barks."),
    ],
}
DIFFERENT = {
    "number": [
        ("Write an essay of 300 words", "Write an essay of 3,000 words"),
        ("What is 1.5 plus 2?", "What is 15 plus 2?"),
        ("What is -5 + 3?", "What is 5 + 3?"),
        ("Name two rivers", "Name a river"),
        ("Explain the first law of motion", "Explain the third law of motion"),
    ],
    "negation": [
        ("Which is a true statement?", "Which is not a true statement?"),
        ("A cake with eggs", "A cake without eggs"),
        ("You can eat it", "You can't eat it"),
    ],
    "order": [
        ("Translate from English to French: cat", "Translate from French to English: cat"),
        ("What is 3 plus 5 minus 2?", "What is 5 plus 2 minus 3?"),
        ("Is the cat bigger than the dog?", "Is the dog bigger than the cat?"),
        ("把这段中文翻译成英文。", "把这段英文翻译成中文。"),
        ("แปลไทยเป็นลาว", "แปลลาวเป็นไทย"),
        ("Compute 2*(3+4)", "Compute (2*3)+4"),
    ],
    "relation": [
        ("A letter to my boss", "A letter from my boss"),
        ("A poem about the sea", "A poem by the sea"),
        ("Who is the president?", "Who was the president?"),
        ("She said he is tired", "He said she is tired"),
    ],
    "word": [
        ("What is the melting point of gold?", "What is the boiling point of gold?"),
        ("What is the boiling point of water", "What is the coiling point of water"),
        ("Write a poem about autumn", "Write a short poem about autumn"),
        ("Wie ist das Wetter in Berlin?", "Wie ist das Wetter in Bonn?"),
        ("日本の首都はどこですか。", "韓国の首都はどこですか。"),
        ("ខ្មែរជាអ្វី", "ឡាវជាអ្វី"),
        ("What does 😀 mean?", "What does 😡 mean?"),
    ],
    "words themselves": [
        ("Find a synonym for movie", "Find a synonym for film"),
        ("Correct the spelling: definately", "Correct the spelling: definitely"),
        ("Translate into Greek: Can you help me?", "Translate into Greek: Please"),
        ("What is the plural of cat?", "What is the plural of cats?"),
        ("Convert to uppercase: hello", "Convert to uppercase: Hello"),
    ],
    "code": [
        ("What does print(x) do?", "What does print x do?"),
        ("What is a[1:] here?", "What is a[1] here?"),
        ("Explain x = [1,2]", "Explain x = (1,2)"),
    ],
}


def pairs(kinds):
    return [pytest.param(*pair, id=f"{kind} {n}") for kind, found in kinds.items() for n, pair in enumerate(found)]


def is_dropped(one: str, other: str) -> bool:
    """Whether the second of two prompts goes, in a set of the two."""
    records = [feedback(completion(), prompt=text) for text in (one, other)]
    words = [words_of(prompt_text(record)) for record in records]
    signatures = sign_records(records, [prompt_id_of(record) for record in records], words, Block.of(words))
    return bool(find_duplicates(signatures).found)


def compare(one: str, other: str) -> str:
    return difference(*(read_prompt(b" ".join(words_of(text))) for text in (one, other)))


@pytest.mark.parametrize(("one", "other"), pairs(SAME))
def test_what_does_not_count(one, other):
    assert is_dropped(one, other)
    assert is_dropped(other, one)


@pytest.mark.parametrize(("one", "other"), pairs(DIFFERENT))
def test_what_counts(one, other):
    assert not is_dropped(one, other)
    assert not is_dropped(other, one)


@pytest.mark.parametrize("kind", ["number", "negation", "order", "relation", "word"])
def test_what_differs_is_named(kind):
    assert kind in {compare(*pair) for pair in DIFFERENT[kind]}


def test_a_slip_of_the_pen_is_no_word_and_near_to_one():
    assert is_typo("photosythesis", "photosynthesis", "en")
    assert is_typo("teh", "the", "en")
    for one, other in (("boiling", "coiling"), ("iran", "iraq"), ("ethane", "ethene"), ("kira", "kara"), ("a", "b")):
        assert not is_typo(one, other, "en"), (one, other)
    assert not is_typo("photosythesis", "photosynthesis", "xx"), "there is no dictionary"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Name a river in Poland", "en"),
        ("Nenne einen Fluss in der Schweiz", "de"),
        ("¿Cuál es la capital de Perú?", "es"),
        ("ما هي عاصمة مصر؟", "ar"),
        ("भारत की राजधानी", "hi"),
        ("日本の首都は", "ja"),
        ("中国的首都", "zh"),
        ("Ποια είναι η πρωτεύουσα", ""),
    ],
)
def test_the_language_is_told_by_its_words_or_script(text, language):
    assert language_of([word.decode() for word in words_of(text)]) == language


def test_every_lexicon_frames_a_request():
    for language, lexicon in LEXICONS.items():
        assert lexicon.frames, language


def test_prompts_in_a_language_without_lists_are_counted():
    texts = ["Ποια είναι η πρωτεύουσα της Γαλλίας σήμερα", "Name a river in the north of Poland"]
    records = [feedback(completion(), prompt=text) for text in texts]
    words = [words_of(text) for text in texts]
    signatures = sign_records(records, [prompt_id_of(record) for record in records], words, Block.of(words))
    assert find_duplicates(signatures).without_lists == 1


@pytest.mark.skipif(not CASES.is_dir(), reason="no labelled pairs here")
def test_labelled_border_pairs():
    rows = [json.loads(line) for line in (CASES / "near_duplicates_200.jsonl").read_text().splitlines()]
    said = [(row["same"], is_dropped(row["a"], row["b"])) for row in rows]
    right = sum(same and dropped for same, dropped in said)
    assert proportion(right, sum(dropped for _, dropped in said)).mean >= 0.95
    assert proportion(right, sum(same for same, _ in said)).mean >= 0.8


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases here")
def test_prompts_that_are_all_different_stay():
    texts = [json.loads(line)["prompt"] for line in (CASES / "near_duplicates.jsonl").read_text().splitlines()]
    assert not any(is_dropped(one, other) for one in texts for other in texts if one != other)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_of_real_prompts_next_to_none_is_taken_for_another():
    source = open_source(str(SHARED / "preferences" / "polite_pairs_1100.jsonl"))
    records = list(source.records(Tally("read"), Quarantine()))
    words = [words_of(prompt_text(record)) for record in records]
    signatures = sign_records(records, [prompt_id_of(record) for record in records], words, Block.of(words))
    near = [each for each in find_duplicates(signatures).found if each.kind == "near-duplicate"]
    texts = {prompt_text(records[each.row]) for each in near}
    assert len(near) <= 5
    # Read one by one: each asks what an earlier one asks.
    assert texts <= {
        "Create a sentence using the word 'melancholy'.",
        "Create a sentence using the word 'inevitable'.",
        "What is the melting point of iron?",
        "List five different types of vegetables.",
    }
