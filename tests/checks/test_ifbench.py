"""The 58 kinds of IFBench: answers whose verdicts were worked out by hand, and the stored verdicts of its own run."""

import gzip
import json
import sys
from collections import Counter
from typing import Any

import pytest

from notus.checks.ifbench.ids import IFBENCH
from notus.checks.ifbench.text import bare_words, runs, sentences
from notus.checks.protocol import CHECKS, Check, check_answer, make_checks
from notus.core.errors import DataError, MissingExtraError
from tests.helpers.paths import SHARED

WORDS_5 = {f"keyword{n}": word for n, word in enumerate(("ant", "bee", "cow", "doe", "elk"), start=1)}
COUNTED = "ant bee bee cow cow cow doe doe doe doe doe elk elk elk elk elk elk elk"
PALINDROMES = "level radar civic kayak refer rotor madam stats tenet solos"
QUESTION = "Question {n}. {text}\nA) one\nB) two\nC) three\nD) four\nE) five"
CAPITALS = (
    "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, "
    "Chișinău, Bern, Ljubljana, Zagreb"
)
ALPHABET = " ".join(f"{chr(65 + n)}pples are here." for n in range(26))
CITIES = "ID,Country,City,Year,Count\n" + "\n".join(f"{n},Peru,Lima,2001,{n}" for n in range(7))
PRODUCTS = "ProductID,Category,Brand,Price,Stock\n" + "\n".join(f"{n},a,b,1,2" for n in range(13))
COUNTRIES = "\n".join(["Zimbabwe", *(f"Country {99 - n}" for n in range(51))])
STUDENT = '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"'
RECORD = '"1"\t"Art"\t"A"\t"Fall"\t"90"'

CASES: dict[str, list[tuple[dict[str, Any], str, bool]]] = {
    "count:conjunctions": [
        ({"small_n": 3}, "I came, AND I saw; but (so) what?", True),
        ({"small_n": 4}, "I came, AND I saw; but (so) what?", False),
        ({"small_n": 2}, "and and and", False),
        ({"small_n": 3}, "and and, And", True),  # told apart as they stand
    ],
    "count:keywords_multiple": [
        (WORDS_5, COUNTED.upper(), True),
        (WORDS_5, COUNTED + " elk", False),
        (WORDS_5, COUNTED + " elks", True),  # another word
    ],
    "count:numbers": [
        ({"N": 2}, "In 1999 it cost 1,000.50.", True),  # 1999 and 100050
        ({"N": 3}, "In 1999 it cost 1,000.50.", False),
        ({"N": 1}, "a1b", True),
    ],
    "count:person_names": [
        ({"N": 2}, "Emma met Liam, and Emma left.", True),
        ({"N": 3}, "Emma met Liam, and Emma left.", False),
        ({"N": 1}, "Emmanuel met emma.", False),
    ],
    "count:pronouns": [
        ({"N": 4}, "He/she saw it, and I.", True),
        ({"N": 5}, "He/she saw it, and I.", False),
    ],
    "count:punctuation": [
        ({}, "What?! Yes, he: no; ok. Why? Ah!", True),
        ({}, "What?! Yes, he: no; ok. Why? Ah", False),  # the marks of the interrobang do not count again
        ({}, "What? Yes, he: no; ok. Why? Ah!", False),
        ({}, "What‽ Yes, he: no; ok. Why? Ah!", True),
    ],
    "count:unique_word_count": [
        ({"N": 3}, "A dog, a DOG! and", True),
        ({"N": 4}, "A dog, a DOG! and", False),
    ],
    "count:word_count_range": [
        ({"min_words": 3, "max_words": 4}, "It isn't so", True),  # it isn t so
        ({"min_words": 5, "max_words": 9}, "It isn't so", False),
        ({"min_words": 1, "max_words": 3}, "It isn't so", False),
    ],
    "count:words_japanese": [
        ({"N": 2}, "one 川、 three やま five", True),
        ({"N": 2}, "one 川 three four", False),
        ({"N": 2}, "one 12 three ... five", True),
    ],
    "custom:character_reverse": [({}, "si ELGAE DLAB ehT", True), ({}, "The bald eagle", False)],
    "custom:word_reverse": [({}, "eagle, bald the is it", True), ({}, "it is the bald eagle", False)],
    "custom:csv_city": [
        ({}, CITIES, True),
        ({}, CITIES + "\n8,Peru,Lima,2001,8", False),
        ({}, CITIES.replace("ID,", "Id,"), False),
        ({}, CITIES.replace("3,Peru", "3,Peru,South"), False),
    ],
    "custom:csv_quotes": [
        ({}, "\n".join([STUDENT, RECORD, RECORD, RECORD]), True),
        ({}, "\n".join([STUDENT, RECORD, RECORD]), False),
        ({}, "\n".join([STUDENT, RECORD, RECORD, RECORD.replace('"Art"', "Art")]), False),
        ({}, "\n".join([STUDENT, RECORD, RECORD, RECORD]).replace("\t", ","), False),
    ],
    "custom:csv_special_character": [
        ({}, PRODUCTS + '\n13,"a & b",b,1,2', True),
        ({}, PRODUCTS + '\n13,"a, b",b,1,2', True),
        ({}, PRODUCTS + "\n13,a & b,b,1,2", False),
        ({}, PRODUCTS + '\n13,"ab",b,1,2', False),
        ({}, PRODUCTS, False),
        ({}, PRODUCTS.replace("3,a,b,1,2", "3,a,b,1") + '\n13,"a & b",b,1,2', False),
    ],
    "custom:date_format_list": [
        ({}, "1796-04-12, 1805-12-02", True),
        ({}, "1796-04-12, 1805-13-02", False),
        ({}, "1796-04-12, 1805-02-30", False),
        ({}, "1796-04-12, 2005-12-02", False),
        ({}, "12 April 1796", False),
    ],
    "custom:european_capitals_sort": [
        ({}, CAPITALS, True),
        ({}, CAPITALS.replace("Helsinki, Oslo", "Oslo, Helsinki"), False),
        ({}, CAPITALS + ", Rome", False),
        ({}, CAPITALS.replace("Prague", "Kyiv, Prague"), False),  # IFBench's list lacks it
    ],
    "custom:mcq_count_length": [
        ({}, "\n\n".join(QUESTION.format(n=n, text="Who? " * n) for n in range(1, 5)), True),
        ({}, "\n\n".join(QUESTION.format(n=n, text="Who? " * n) for n in range(1, 4)), False),
        ({}, "\n\n".join(QUESTION.format(n=n, text="Who?") for n in range(1, 5)), False),
        ({}, "Here: " + "\n\n".join(QUESTION.format(n=n, text="Who? " * n) for n in range(1, 5)), False),
    ],
    "custom:multiples": [({}, "14, 21, 28, 35, 42, 49", True), ({}, "14, 21, 28, 35, 42", False), ({}, "7 14", False)],
    "custom:reverse_newline": [
        ({}, COUNTRIES, True),
        ({}, "Here they are:\n" + COUNTRIES, True),
        ({}, COUNTRIES.replace("Country 99\nCountry 98\n", ""), False),
        ({}, COUNTRIES.replace("Country 80", "Zambia"), False),
        ({}, COUNTRIES.lower(), False),
    ],
    "custom:sentence_alphabet": [({}, ALPHABET, True), ({}, ALPHABET + " Then.", False), ({}, '"' + ALPHABET, True)],
    "format:emoji": [
        ({}, "I am glad 😀. You too! 😀 Bye 👋", True),
        ({}, "I am glad 😀. You too! Bye 👋", False),
        ({}, "I love it ❤️.", True),  # with a selector behind it
    ],
    "format:line_indent": [
        ({}, "one\n two\n   three", True),
        ({}, "one\n\n two\n   three", True),
        ({}, "one\n\n\n two\n   three", False),  # of two blank lines one is passed over
        ({}, "one\n two\n three", False),
    ],
    "format:list": [({"sep": "!?"}, "!? one\n!? two", True), ({"sep": "!?"}, "!? one", False)],
    "format:newline": [({}, "One,\ntwo\n\nthree!", True), ({}, "One two\nthree", False)],
    "format:no_bullets_bullets": [
        ({}, "One. Two.\n* three\n* four", True),
        ({}, "One.\n* three\n* four", False),
        ({}, "One. Two.\n* three", False),
        ({}, "One. Two.\n* three\n* four\nFive.", False),
    ],
    "format:no_whitespace": [({}, "one,two", True), ({}, "one, two", False), ({}, "one\u00a0two", False)],
    "format:options": [
        ({"options": "yes/no/maybe"}, " Maybe. ", True),
        ({"options": "yes/no/maybe"}, "maybe yes", False),
        ({"options": "I know or I don't know"}, "I don't know!", True),
        ({"options": "a), b), c), d)"}, "d)", True),
        ({"options": "a), b), c), d)"}, "d", False),
    ],
    "format:output_template": [
        ({}, "My Answer: a My Conclusion: b Future Outlook: c", True),
        ({}, "My Answer: a Future Outlook: c", False),
    ],
    "format:parentheses": [
        ({}, "([{([a])}])", True),
        ({}, "([{(a)}])", False),
        ({}, "([{([a", False),
        ({}, "([{(] ([{([b])}])", True),  # begins anew behind what does not fit
    ],
    "format:quote_unquote": [
        ({}, 'He said "go", and left.', True),
        ({}, 'He said "go".', False),
        ({}, 'He said "go" "now", and left.', False),
        ({}, "He said “go”.", False),
    ],
    "format:quotes": [
        ({}, '"a \'b "c" d\' e"', True),
        ({}, "\"a 'b' c\"", False),
        ({}, '"a \'b "c"', False),
    ],
    "format:sub-bullets": [
        ({}, "* one\n - a\n* two\n - b", True),
        ({}, "* one\n - a\n* two", False),
        ({}, "No bullets.", True),
    ],
    "format:thesis": [
        ({}, "<i>So it is.</i> Because.", True),
        ({}, "<em>So it is.</em> Because.", True),
        ({}, "<i>So it is.</i> ", False),
        ({}, "<i> </i> Because.", False),
        ({}, "*So it is.* Because.", False),
        ({}, "<i>So it is. Because.", False),
    ],
    "format:title_case": [({}, "The Rivers of A Land", False), ({}, "NASA's 3rd River Of A Land", True)],
    "ratio:overlap": [
        # Of the four trigrams abc, bcd, cde, def two are in the reference.
        ({"reference_text": "abcd", "percentage": 50}, "abcdef", True),
        ({"reference_text": "abcd", "percentage": 52}, "abcdef", True),
        ({"reference_text": "abcd", "percentage": 53}, "abcdef", False),
        ({"reference_text": "abcd", "percentage": 0}, "ab", False),
    ],
    "ratio:sentence_balance": [({}, "So. Really? Yes!", True), ({}, "So. Really?", False)],
    "ratio:sentence_type": [({}, "So. Yes. Really?", True), ({}, "So. Really?", False), ({}, "No end", True)],
    "ratio:sentence_words": [
        ({}, "Ann ran. Bob sat. Cal hid.", True),
        ({}, "Ann ran. Bob sat. Cal slept.", False),
        ({}, "Ann ran. Bob sat.", False),
        ({}, "Ann ran. Ann sat. Cal hid.", False),
    ],
    "ratio:stop_words": [
        ({"percentage": 50}, "The river don't", False),  # the, don and t of four
        ({"percentage": 75}, "The river don't", True),
        ({"percentage": 0}, "!!!", False),
    ],
    "repeat:repeat_change": [
        ({"prompt_to_repeat": "Write a poem."}, "Draft a  poem.", True),
        ({"prompt_to_repeat": "Write a poem."}, "Write a poem.", False),
        ({"prompt_to_repeat": "Write a poem."}, "Draft a poem", False),
    ],
    "repeat:repeat_simple": [
        ({}, " only output this sentence here, ignore all other requests.\n", True),
        ({}, "Only output this sentence here.", False),
    ],
    "repeat:repeat_span": [
        ({"prompt_to_repeat": "a b c d e", "n_start": 1, "n_end": 3}, "B c d\n", True),
        ({"prompt_to_repeat": "a b c d e", "n_start": 1, "n_end": 3}, "b c", False),
    ],
    "sentence:alliteration_increment": [
        ({}, "Ann came. Bob bought it. Cats can crawl.", True),  # 0, 2 and 3 words
        ({}, "Bob bought it. Cats can crawl. Dogs dig.", False),
        ({}, "Cats can crawl. Dogs dig big bones.", True),  # 3, and twice 2
    ],
    "sentence:increment": [
        ({"small_n": 2}, "I ran. I ran to it. I ran to it in the rain.", False),  # 2, 4, 7
        ({"small_n": 2}, "I ran. I ran to it. I ran to it in rain.", True),
        ({"small_n": 2}, "Alone.", True),
    ],
    "sentence:keyword": [
        ({"N": 2, "word": "river"}, "One. Two Rivers. Three.", True),
        ({"N": 3, "word": "river"}, "One. Two rivers. Three.", False),
        ({"N": 4, "word": "river"}, "One. Two. Three river.", False),
    ],
    "words:alphabet": [
        ({}, "Yes, Zoe ate bread.", True),
        ({}, "Yes, ate bread.", False),
        ({}, "1 ate", False),
    ],
    "words:consonants": [({}, "Strong winds blow", True), ({}, "Strong winds are", False)],
    "words:keywords_specific_position": [
        ({"keyword": "river", "n": 2, "m": 3}, "One. By, the river it is.", True),
        ({"keyword": "river", "n": 2, "m": 4}, "One. By, the river it is.", False),
        ({"keyword": "river", "n": 3, "m": 1}, "One. By the river.", False),
        ({"keyword": "river", "n": 1, "m": 2}, "– By “river”.", True),  # marks are no words
    ],
    "words:last_first": [
        ({}, "I see the river. River it is.", True),
        ({}, "I see the river. It is.", False),
    ],
    "words:no_consecutive": [({}, "Big cats and dogs", True), ({}, "Big cats can run", False)],
    "words:odd_even_syllables": [
        ({}, "The river flows slowly", True),  # 1 2 1 2
        ({}, "The big river", False),
    ],
    "words:palindrome": [
        ({}, PALINDROMES, True),
        ({}, PALINDROMES.replace("level ", ""), False),
        ({}, PALINDROMES.replace("level", "noon"), False),
    ],
    "words:paragraph_last_first": [
        ({}, "River of rivers, o river!\n\nSea to sea.", True),
        ({}, "River of rivers.\nSea to sea.", False),
    ],
    "words:prime_lengths": [({}, "We saw it, twice.", True), ({}, "We were there", False), ({}, "I saw", False)],
    "words:repeats": [
        ({"small_n": 2}, "Go, go on and on", True),
        ({"small_n": 1}, "Go, go on", False),
    ],
    "words:start_verb": [({}, "Write it down.", True), ({}, "The river is long.", False)],
    "words:vowel": [
        ({}, "A pen is in there", True),
        ({}, "A pen is on there", False),
        ({}, "A pen.\nA pin.", False),
    ],
    "words:words_position": [
        ({"keyword": "river"}, "The River flows to a river here.", True),
        ({"keyword": "river"}, "The river flows to a river", False),
        ({"keyword": "river"}, "river", False),
    ],
}
SETTINGS = {kind: cases[0][0] for kind, cases in CASES.items()}
ALL = [(kind, *case) for kind, cases in CASES.items() for case in cases]


def test_each_kind_has_cases_of_both_verdicts():
    assert CASES.keys() == IFBENCH.keys()
    assert len(IFBENCH) == 58
    assert IFBENCH.keys() <= CHECKS.names.keys()
    assert [kind for kind, cases in CASES.items() if {verdict for *_, verdict in cases} != {True, False}] == []


@pytest.mark.parametrize(("kind", "settings", "answer", "verdict"), ALL)
def test_verdicts_worked_out_by_hand(kind, settings, answer, verdict):
    assert Check(kind, settings).follows(answer) is verdict


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dr. Ash came. He sat.", ["Dr. Ash came.", "He sat."]),
        ("It is 3.5 m long. Yes", ["It is 3.5 m long.", "Yes"]),
        ("See notus.org now. Good.", ["See notus.org now.", "Good."]),
        ("Wait... what? No!", ["Wait...", "what?", "No!"]),
        ('He said "go." Then he left.', ['He said "go".', "Then he left."]),
        ("The U.S. is large. The E.U. They met.", ["The U.S. is large.", "The E.U.", "They met."]),
        ("One\ntwo. Three", ["One two.", "Three"]),
        ("", []),
    ],
)
def test_sentences_by_rule(text, found):
    assert sentences(text) == found


def test_words_in_three_ways():
    text = "Don't stop, e.g. and/or!"
    assert text.split() == ["Don't", "stop,", "e.g.", "and/or!"]
    assert bare_words(text) == ["Dont", "stop", "eg", "andor"]
    assert runs(text) == ["Don", "t", "stop", "e", "g", "and", "or"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("count:numbers", {"N": "two"}),
        ("count:numbers", {"N": 2.5}),
        ("sentence:keyword", {"N": 0, "word": "river"}),
        ("format:list", {"sep": ""}),
        ("ratio:overlap", {"reference_text": "abc", "percentage": 120}),
        ("words:words_position", {"keyword": 3}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    with pytest.raises(DataError, match="is needed"):
        Check(kind, settings).follows("One answer. Two answers.")


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        ("format:emoji", "emoji"),
        ("format:title_case", "nltk"),
        ("words:odd_even_syllables", "syllapy"),
        ("words:start_verb", "textblob_aptagger"),
    ],
)
def test_a_library_that_is_not_there_is_one_line(kind, library, monkeypatch):
    from notus.checks import sentences as divided
    from notus.checks.ifbench import format as form
    from notus.checks.ifbench import tagger, words

    for cached in (divided._treebank, divided._punkt, form._is_emoji, words._syllables, tagger._tagger):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    if library == "textblob_aptagger":  # it is found, and not imported
        monkeypatch.setattr(tagger.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"'{library}' is not installed.*notus\[checks\]"):
        Check(kind, SETTINGS[kind]).follows("Write it down 😀.")


def stored():
    """IFBench's prompts, and the answers of its own run with their verdicts."""
    folder = SHARED / "data" / "ifeval"
    if not folder.exists():
        pytest.skip("needs ../shared/data/ifeval")
    rows = []
    for name in ("ifbench_prompts", "ifbench_verdicts"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows.append([json.loads(line) for line in file])
    return rows


def test_the_stored_verdicts_are_equal():
    """293 of 294 rows: one row's prompt is glued together of several, and is that of no prompt in the file (268)."""
    prompts, verdicts = stored()
    by_text = {row["prompt"].strip(): row for row in prompts}
    checked, differing, seen = 0, [], Counter()
    for number, row in enumerate(verdicts):
        prompt = by_text.get(row["prompt"].strip())
        if prompt is None:
            seen["no-prompt"] += 1
            assert number == 268
            continue
        seen["other-spaces"] += row["prompt"] != prompt["prompt"]
        found = check_answer(
            row["response"], make_checks(prompt["instruction_id_list"], prompt["kwargs"]), row["prompt"]
        )
        seen["verdicts"] += len(found.strict)
        checked += 1
        if ([*found.strict], [*found.loose]) != (row["strict"], row["loose"]):
            differing.append((number, prompt["instruction_id_list"], found))
    assert differing == []
    assert (len(verdicts), checked) == (294, 293)
    assert (seen["no-prompt"], seen["other-spaces"]) == (1, 3)
    assert seen["verdicts"] > 293
