"""Duplicates among prompts: planted ones are found, look-alikes stay, the first in the file is kept."""

import itertools
import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.clean.duplicates import (
    BANDS,
    ROWS,
    Duplicate,
    Signatures,
    band_keys,
    find_duplicates,
    prompt_id_of,
    proposals,
    shared_words,
    sign_records,
    sign_words,
)
from notus.clean.words import Block, prompt_text, words_of
from notus.core.records import Dialogue, Message, Preference, Unpaired
from notus.formats.format import Data, record_id
from tests.helpers.data_examples import completion, feedback

VOCABULARY = [f"{a}{b}{c}" for a, b, c in itertools.product("bdfgklmnprstvz", "aeiou", "bdfgklmnprstvz")]


def jaccard(a: Iterable[bytes], b: Iterable[bytes]) -> float:
    """Shared distinct words over all distinct words (Jaccard 1912, New Phytologist 11, pages 37–50)."""
    return len({*a} & {*b}) / len({*a} | {*b})


def sign(records: Sequence[Data]) -> Signatures:
    """The signatures of a few records of one kind."""
    if not records:
        return Signatures.concat([])
    words = [words_of(prompt_text(record)) for record in records]
    return sign_records(records, [prompt_id_of(record) for record in records], words, Block.of(words))


def text(rng: random.Random, size: int) -> list[str]:
    return rng.sample(VOCABULARY, size)


def edited(rng: random.Random, words: list[str], count: int) -> list[str]:
    """``count`` words replaced by others: of n distinct words, Jaccard is (n − count) / (n + count)."""
    spare = [word for word in VOCABULARY if word not in words]
    changed = list(words)
    for place, new in zip(rng.sample(range(len(words)), count), rng.sample(spare, count), strict=True):
        changed[place] = new
    return changed


def found(texts: list[list[str]], *, edited: bool = True, **options: float) -> dict[int, Duplicate]:
    signatures = sign_words([words_of(" ".join(words)) for words in texts])
    return {each.row: each for each in find_duplicates(signatures, edited=edited, **options).found}


def test_planted_near_duplicates_are_found_and_near_misses_are_not():
    rng = random.Random(3)
    texts, planted = [text(rng, 60) for _ in range(400)], set()
    for row in range(100):
        planted.add(len(texts))
        texts.append(edited(rng, texts[row], rng.randint(1, 6)))  # 54/66 = .82 and more
    for row in range(100, 200):
        texts.append(edited(rng, texts[row], rng.randint(8, 15)))  # 52/68 = .76 and less
    assert found(texts, edited=False) == {}, "other words are another prompt, but where edited copies are asked for"
    gone = found(texts)
    assert len(planted & gone.keys()) >= 95
    assert gone.keys() <= planted
    for each in gone.values():
        assert each.of == each.row - 400
        words = [[word.encode() for word in texts[row]] for row in (each.row, each.of)]
        assert each.similarity == pytest.approx(jaccard(*words))


def test_a_template_over_different_material_is_no_duplicate():
    rng = random.Random(4)
    template = text(rng, 80)
    spare = [word for word in VOCABULARY if word not in template]
    texts = [template + rng.sample(spare, 6) for _ in range(40)]  # 80/92 = .87
    assert found(texts) == {}
    assert len(find_duplicates(sign_words([words_of(" ".join(words)) for words in texts])).spared) > 0
    assert 40 not in found([*texts, texts[0][::-1]]), "the same words the other way round say something else"


def test_two_prompts_that_differ_in_one_passage_are_no_duplicates():
    rng = random.Random(14)
    words, spare = VOCABULARY[:80], VOCABULARY[80:]
    for place in (0, 33, 74):
        other, short = rng.sample(spare, 6), rng.sample(spare, 3)
        assert found([words, words[:place] + other + words[place + 6 :]]) == {}, "a passage in the place of another"
        assert found([words, words[:place] + short + words[place + 3 :]]).keys() == {1}, "three words are an edit"
        assert found([words, words[:place] + other + words[place:]]).keys() == {1}, "nothing was replaced"
    for _ in range(20):
        assert found([words, edited(rng, words, 6)]).keys() == {1}, "edits here and there"


def test_a_large_family_finds_duplicates_of_its_material():
    rng = random.Random(5)
    template, spare = text(rng, 100), VOCABULARY[:]
    material = [rng.sample(spare, 24) for _ in range(300)]
    texts = [template + words for words in material]
    texts += [template + edited(rng, words, 1) for words in material[:20]]
    gone = found(texts)
    assert {row for row in gone if row >= 300} >= set(range(300, 319))
    assert [row for row in gone if row < 300] == []


def test_a_text_that_was_edited_several_times_is_no_template():
    rng = random.Random(6)
    original = text(rng, 80)
    texts = [original, *(edited(rng, original, 4) for _ in range(3)), *(text(rng, 80) for _ in range(30))]
    assert {row: each.of for row, each in found(texts).items()} == {1: 0, 2: 0, 3: 0}


def test_there_are_no_chains():
    """A row goes only for one that stays and is like it: not for one that is gone itself."""
    rng = random.Random(7)
    first = text(rng, 60)
    second = edited(rng, first, 6)
    third = second[:]
    for place in [at for at in range(60) if first[at] == second[at]][:6]:
        third[place] = VOCABULARY[-1 - place]
    gone = found([first, second, third])
    assert jaccard([w.encode() for w in first], [w.encode() for w in third]) < 0.8
    assert gone.keys() == {1}


@pytest.mark.parametrize(
    "variant", ["NAME a  river in Poland!", "name, a river\tin poland", "Ｎame a river in Poland?!"]
)
def test_exact_duplicates_differ_in_nothing_that_counts(variant):
    rows = [feedback(completion(), prompt=prompt) for prompt in ("Name a river in Poland.", "Other.", variant)]
    assert find_duplicates(sign(rows)).found == (Duplicate(2, 0, "duplicate", 1.0),)


def test_prompts_without_words_are_known_by_themselves():
    rows = [feedback(completion(), prompt=prompt) for prompt in ("?!", "...", " ?!", "", "")]
    assert [(each.row, each.of) for each in find_duplicates(sign(rows)).found] == [(2, 0), (4, 3)]


def test_a_row_that_is_gone_keeps_no_other_from_staying():
    rows = [feedback(completion(), prompt="The same prompt.") for _ in range(3)]
    without = np.array([True, False, False])
    assert [(each.row, each.of) for each in find_duplicates(sign(rows), without=without).found] == [(2, 1)]


def pair(prompt: str, chosen: str) -> Preference:
    turn = (Message(role="user", content=prompt),)
    answers = [(Message(role="assistant", content=words),) for words in (chosen, "No.")]
    return Preference(prompt=turn, chosen=answers[0], rejected=answers[1])


def test_pairs_of_one_prompt_stay_together():
    rows = [pair("Name a river.", "Oder."), pair("Name a river.", "Elbe."), pair("Name a river.", "Oder.")]
    rows += [pair("name a river", "Rhine."), pair("name a river", "Spree.")]
    assert [(each.row, each.of) for each in find_duplicates(sign(rows)).found] == [(2, 0), (3, 0), (4, 0)]


def test_both_sides_of_an_unpaired_prompt_stay():
    turn, answer = (Message(role="user", content="Hi."),), (Message(role="assistant", content="Ho."),)
    rows = [Unpaired(prompt=turn, answer=answer, desirable=wanted) for wanted in (True, False, True)]
    assert [each.row for each in find_duplicates(sign(rows)).found] == [2]


def test_dialogues_are_compared_by_what_the_user_said():
    def dialogue(answer: str) -> Dialogue:
        return Dialogue(messages=(Message(role="user", content="Hi."), Message(role="assistant", content=answer)))

    rows = [dialogue("Ho."), dialogue("He.")]
    assert [each.row for each in find_duplicates(sign(rows)).found] == [1]
    assert record_id(rows[0]) != record_id(rows[1])


def test_shards_give_what_the_whole_gives():
    rng = random.Random(8)
    texts = [" ".join(text(rng, 30)) for _ in range(60)]
    texts += [" ".join(edited(rng, words.split(), 2)) for words in texts[:20]]
    rows = [feedback(completion(), prompt=words) for words in texts]
    whole = find_duplicates(sign(rows), edited=True)
    parts = [sign(rows[:7]), sign([]), sign(rows[7:50]), sign(rows[50:])]
    assert find_duplicates(Signatures.concat(parts), edited=True) == whole
    assert len(whole.found) >= 19
    assert find_duplicates(Signatures.concat([])).found == ()


def test_signatures_are_small():
    rng = random.Random(9)
    signatures = sign_words([words_of(" ".join(text(rng, 120))) for _ in range(100)])
    assert signatures.nbytes / 100 <= 14 * 120  # 4 for a word and for a subject, and its letters


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), min_size=2, max_size=12))
def test_the_comparison_is_exact(rows):
    """Whatever is reported has the similarity that two sets of Python have."""
    texts = [[VOCABULARY[number] for number in row] for row in rows]
    for each in found(texts, threshold=0.5).values():
        one, other = set(texts[each.row]), set(texts[each.of])
        assert each.similarity == pytest.approx(len(one & other) / len(one | other))
        assert each.similarity >= 0.5


@pytest.mark.parametrize(
    ("size", "changed", "similarity"), [(27, 3, 0.8), (12, 3, 0.6), (39, 6, 33 / 45), (30, 10, 0.5)]
)
def test_the_threshold_itself_is_alike(size, changed, similarity):
    """Of n distinct words with c others in their place, (n − c)/(n + c) are shared: 24/30, 9/15, 33/45 and 20/40."""
    rng = random.Random(4)
    texts = [words := text(rng, size), edited(rng, words, changed)]
    assert found(texts, threshold=similarity)[1].similarity == pytest.approx(similarity, abs=1e-12)
    assert found(texts, threshold=similarity + 1e-6) == {}


@given(st.lists(st.lists(st.integers(0, 40), max_size=15), min_size=2, max_size=10))
def test_shared_words_are_counted(rows):
    sets = Block.of([[VOCABULARY[number].encode() for number in row] for row in rows]).sets()
    pairs = np.array(list(itertools.combinations(range(len(rows)), 2)))
    expected = [len(set(rows[a]) & set(rows[b])) for a, b in pairs]
    assert shared_words(sets, pairs).tolist() == expected


def test_proposals_meet_the_formula_of_banding():
    """1 − (1 − J^ROWS)^BANDS of the pairs of similarity J share a key."""
    rng = random.Random(10)
    texts = []
    for _ in range(300):
        words = text(rng, 90)
        texts += [words[:60], words[30:]]  # 30 of 90 words shared … J = 1/3
    keys = band_keys(Block.of([[word.encode() for word in words] for words in texts]).sets())
    shared = np.mean([(keys[row] == keys[row + 1]).any() for row in range(0, 600, 2)])
    assert shared == pytest.approx(1 - (1 - (1 / 3) ** ROWS) ** BANDS, abs=0.08)


def test_proposals_are_few_where_nothing_is_alike():
    rng = random.Random(11)
    sets = Block.of([[word.encode() for word in text(rng, 40)] for _ in range(2000)]).sets()
    assert len(proposals(band_keys(sets), sets)) < 200


@pytest.mark.parametrize("frame", ["{}", "What is a {}?", "Describe {}", "Describe the {} of my town"])
def test_a_prompt_of_few_words_is_read_where_one_of_them_is_spelt_otherwise(frame):
    """Of one or two words that say something, less than half is shared, and all but one."""
    for one, other in (("neighbour", "neighbor"), ("grey", "gray")):
        (near,) = found([frame.format(one).split(), frame.format(other).split()], edited=False).values()
        assert (near.kind, near.row, near.of) == ("near-duplicate", 1, 0)
    assert found([frame.format("neighbour").split(), frame.format("river").split()], edited=False) == {}
