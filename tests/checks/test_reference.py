"""The reference's own verdicts beside ours, on answers that nobody has judged: lm-eval's copy of IFEval's checkers.

Its sentence splitter would be downloaded; it is given NLTK's with the same tables. Its languages are drawn without a
seed, so that texts near a border are left out: the kinds that ask for a language have tests of their own.
"""

import random
import sys
from typing import Any

import pytest

from notus.checks import languages, sentences
from notus.checks.ifeval.ids import IFEVAL
from notus.checks.protocol import Check, loose_variants
from tests.checks.test_ifeval import CASES

PIECES = (
    *("* point", "- point", "** bold **", "*italic*", "***", "******", "\n", "\n\n", "\n\n\n", " ", "  ", "\t", "\r\n"),
    *("<<Title>>", "<< >>", "<<", ">>", "[name]", "[", "]", "P.S. more", "p. p. s", "P.P.S", "Section 1", "SECTION 2"),
    *("My answer is yes.", '"', "'", "“", "```json", "```", '{"a": 1}', "[1, 2]", "Dr. Smith", "U.S.", "e.g. this"),
    *("Wow!!!", "Is it?", "3.50", "sky", "Skyline", "blue", "NASA", "I'M", "A", "then", "Then,", "river", ",", "…"),
    *("İstanbul", "ß", "naïve", "中文", "\u2028", "\x0b", "\u00a0", "#", "!", "_", "state-of-the-art", "Peace!"),
)


@pytest.fixture(scope="module")
def reference():
    """Id → a function of settings and answer, by the reference."""
    nltk = pytest.importorskip("nltk")
    pytest.importorskip("langdetect")
    patch = pytest.MonkeyPatch()
    patch.setattr(nltk.data, "find", lambda *_: None)
    patch.setattr(nltk.data, "load", lambda *_: sentences._punkt())
    patch.setattr(nltk, "word_tokenize", sentences.words)
    try:
        from lm_eval.tasks.ifeval import instructions, instructions_registry
    except ImportError as error:
        pytest.skip(f"no reference: {error}")
    patch.setattr(instructions.langdetect, "detect", languages.language_of)

    def follows(kind: str, settings: dict[str, Any], answer: str) -> bool:
        checker = instructions_registry.INSTRUCTION_DICT[kind](kind)
        checker.build_description(**settings)
        return bool(answer.strip() and checker.check_following(answer))

    yield follows
    patch.undo()
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        del sys.modules[name]


def answers(seed: int, count: int):
    rng = random.Random(seed)
    for _ in range(count):
        text = rng.choice(("", " ")).join(rng.choices(PIECES, k=rng.randint(1, 14)))
        yield text
        yield from loose_variants(text)[1:3]


@pytest.mark.parametrize("kind", [kind for kind in IFEVAL if not kind.startswith(("language", "change_case:english"))])
def test_verdicts_are_the_references_on_made_up_answers(kind, reference):
    seen = set()
    given = [
        settings for settings, _, _ in CASES[kind] if settings.get("letter") != "#"
    ]  # the reference takes a letter at random
    for number, settings in enumerate(given):
        check = Check(kind, settings)
        for answer in [*answers(number, 60), *(case[1] for case in CASES[kind])]:
            ours = check.follows(answer)
            assert ours == reference(kind, settings, answer), (settings, answer)
            seen.add(ours)
    assert seen == {True, False}


def test_sentences_are_those_of_nltk_and_its_words_too():
    nltk_word_tokenize = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer()
    text = "Dr. Smith paid $3.50 in the U.S. yesterday. He didn't like it! (Who would?) Well..."
    assert sentences.sentences(text) == [
        "Dr. Smith paid $3.50 in the U.S. yesterday.",
        "He didn't like it!",
        "(Who would?)",
        "Well...",
    ]
    told = [token for each in sentences.sentences(text) for token in nltk_word_tokenize.tokenize(each)]
    assert sentences.words(text) == told
    assert told[:4] == ["Dr.", "Smith", "paid", "$"]
