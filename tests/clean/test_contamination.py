"""Benchmark questions in prompts: exact, contained, with small edits; and what only sounds like one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.clean.benchmarks import BenchmarkItem
from notus.clean.contamination import (
    CURVE,
    LEAST_NGRAM_WEIGHT,
    ItemIndex,
    Matching,
    Overlaps,
    align,
    common_starts,
    contamination_curve,
    controls,
    weight_of,
)
from notus.clean.words import prompt_text, words_of
from notus.core.records import Feedback
from tests.helpers.data_examples import completion, feedback

QUESTIONS = [
    "What happens to a compass needle that is carried over the magnetic pole?",
    "Which river flows through the old harbour town of Lindau?",
    "Are owls birds?",
    "Name the heaviest inland seal.",
    "Marta buys 14 pears for 3 coins each and sells half of them for 5 coins each on Sunday. How much has she won?",
    "Compose a short letter to a museum that asks for its opening hours in winter and for a guide who speaks Finnish.",
]
FILLER = "The committee met on a grey morning and talked for long about bicycles, gardens and the price of paper."


def questions(*texts: str, **options: float) -> ItemIndex:
    items = [BenchmarkItem("mine", str(number), text) for number, text in enumerate(texts or QUESTIONS)]
    return ItemIndex(items, Matching(**options))


def search(index: ItemIndex, *records: Feedback) -> Overlaps:
    return index.search([(record.prompt_id, words_of(prompt_text(record))) for record in records])


def matched(prompt: str, *texts: str, **options: float) -> tuple[str, str] | None:
    found = search(questions(*texts, **options), feedback(completion(), prompt=prompt)).matches
    return (found[0].kind, found[0].item) if found else None


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_a_prompt_that_is_the_question_is_an_exact_match(number):
    changed = QUESTIONS[number].upper().replace(" ", "  ").rstrip("?.")
    assert matched(changed) == ("exact", str(number))


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5])
def test_a_question_inside_a_longer_prompt_is_contained(number):
    prompt = f"{FILLER} Now answer this: {QUESTIONS[number]} {FILLER} Be brief."
    (found,) = search(questions(), feedback(completion(), prompt=prompt)).matches
    assert (found.kind, found.item, found.similarity) == ("contained", str(number), 1)
    assert found.span == b" ".join(words_of(QUESTIONS[number])).decode()


@pytest.mark.parametrize(
    "prompt",
    [
        "What hapens to a compass needle that is caried over the magnetic pole",
        "What happens to the compass needle when it is carried over the magnetic pole?",
        f"{FILLER} So what happens then to a compass needle carried over the magnetic pole? Say it in Welsh.",
    ],
)
def test_small_edits_leave_a_match(prompt):
    found = matched(prompt)
    assert found is not None
    assert found[1] == "0"


@pytest.mark.parametrize(
    "prompt",
    [
        "What happens to a violin string that is carried over the frozen lake?",
        "Which river flows through the old border town of Meran?",
        "Are eagles birds?",
        f"{FILLER} Somebody asked whether owls are birds, and nobody knew.",
        f"{FILLER} Are owls birds? {FILLER}",  # three words say too little inside a long text
        FILLER,
        "",
        "?!",
    ],
)
def test_the_same_frame_with_other_content_is_no_match(prompt):
    assert matched(prompt) is None


def test_half_a_long_question_is_contained():
    half = " ".join(QUESTIONS[4].split()[:14])
    assert matched(f"{half} He thinks about his garden instead.") == ("contained", "4")
    assert matched(f"{half} He thinks about his garden instead.", coverage=0.9) is None


def test_a_phrase_that_many_questions_share_says_nothing():
    ends = ("war over salt mines", "trade across narrow seas", "rain dances of shepherds")
    frames = [f"Which of the following best describes the main historical reason for the {end}?" for end in ends]
    prompt = (
        "Which of the following best describes the main historical reason for glass windows and stoves in the north?"
    )
    assert matched(prompt, *frames) is None
    assert matched(prompt, frames[0]) == ("contained", "0"), "one question alone shares it with nobody"
    at = common_starts([words_of(frame) for frame in frames], 8)
    assert at[0] == frozenset(range(5))


def test_the_best_match_of_a_prompt_is_reported():
    both = f"{QUESTIONS[1]} {QUESTIONS[0]}"
    (found,) = search(questions(), feedback(completion(), prompt=both)).matches
    assert found.similarity == 1


def test_weights_and_coverage_by_hand():
    # what1 is1 the1 red3 barn3 made3 of1 in1 may3: 9 words of weight 17; six of them together weigh 12, too little
    question = words_of("what is the red barn made of in may")
    assert sum(map(weight_of, question)) == 17
    text = words_of("what is the red barn made by whom")
    found = align(question, text, np.zeros(5, np.int64), 6)
    assert found.coverage == 0
    assert found.similarity == pytest.approx(12 / 17)
    assert sum(map(weight_of, question[:6])) == 12 < LEAST_NGRAM_WEIGHT
    assert (found.start, found.end) == (0, 6)


def test_the_least_coverage_itself_is_contained():
    """Eight of sixteen content words stand in the prompt, one n-gram of eight: a half, no more and no less."""
    words = (
        "copper lanterns swing frozen barges sleepy bakers knead orange dough marble windmills grind barley very slowly"
    )
    assert len(words.split()) == 16
    half = f"{FILLER} {' '.join(words.split()[:8])}. {FILLER}"
    assert matched(half, words, coverage=0.5, similarity=1.0) == ("contained", "0")
    assert matched(half, words, coverage=0.51, similarity=1.0) is None


def test_numbers_are_no_typing_errors():
    question = words_of("Marta paid 1450 coins for seventeen melons")
    at = np.zeros(3, np.int64)
    assert align(question, words_of("Marta paid 1459 coins for seventeen melons"), at, 9).similarity < 1 - 2.9 / 19
    assert align(question, words_of("Marta paid 1450 coins for seventeen mellons"), at, 9).similarity == pytest.approx(
        (18 - 0.1 * 3 + 1) / 19
    )


def test_shards_give_what_the_whole_gives():
    rows = [feedback(completion(), prompt=text) for text in (FILLER, QUESTIONS[0], FILLER + QUESTIONS[4], QUESTIONS[3])]
    whole = search(questions(), *rows)
    parts = Overlaps.concat([search(questions(), *rows[:1]), search(questions()), search(questions(), *rows[1:])])
    assert parts.matches == whole.matches
    assert [match.row for match in whole.matches] == [1, 2, 3]
    assert (parts.scores == whole.scores).all()


def test_controls_keep_the_frame_and_change_every_second_content_word():
    words = [words_of(text) for text in QUESTIONS]
    changed = controls(words)
    for before, after in zip(words, changed, strict=True):
        assert len(before) == len(after)
        content = [at for at, word in enumerate(before) if weight_of(word) > 1]
        different = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        assert different == content[::2]
    assert controls(words) == changed


def test_the_curve_counts_prompts_at_each_threshold():
    scores = np.array([[1, 0.82, 0, 0.3], [0, 0.5, 0, 0.55], [0, 0, 0, 0]], np.float32)
    curve = {(point.measure, point.threshold): point for point in contamination_curve(scores)}
    assert len(curve) == 2 * len(CURVE)
    assert curve["coverage", 1.0].questions == 1
    assert (curve["similarity", 0.5].questions, curve["similarity", 0.5].controls) == (2, 1)
    assert (curve["similarity", 0.3].questions, curve["similarity", 0.3].controls) == (2, 2)
    assert curve["similarity", 0.85].questions == 0


@given(st.lists(st.sampled_from([*QUESTIONS, FILLER]), max_size=5), st.integers(0, 3))
def test_the_scores_fall_with_nothing_but_the_text(texts, number):
    """A prompt that holds a question of eight words or more has full coverage of one, wherever it stands."""
    long = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[4], QUESTIONS[5]]
    prompt = " ".join([*texts, long[number], FILLER])
    scores = search(questions(), feedback(completion(), prompt=prompt)).scores
    assert scores[0, 0] == 1
    assert (scores <= 1).all()


def test_no_questions_and_no_controls():
    assert search(ItemIndex([]), feedback(completion())).matches == ()
    without = ItemIndex([BenchmarkItem("mine", "0", QUESTIONS[0])], with_controls=False)
    assert (search(without, feedback(completion(), prompt=QUESTIONS[0])).scores == [[1, 1, 0, 0]]).all()
