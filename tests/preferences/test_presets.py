"""The published binarizations, each worked out by hand on the same few rows."""

import random

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Completion, Critique, Feedback, Message, Rating
from notus.core.stage import Tally, apply
from notus.preferences.binarize import binarize
from notus.preferences.presets import PRESETS, excluding, preset_named
from tests.helpers.structure import structure_of

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
NA = None


def answer(text, ratings, score, ranked=None):
    return Completion(
        text=text,
        model=f"model-{text}",
        ratings=tuple(Rating(aspect=a, value=v) for a, v in zip(ASPECTS, ratings, strict=True)),
        critique=Critique(text="", score=score),
        extra={} if ranked is None else {"ranker_score": ranked},
    )


def row(prompt, *answers, source="flan_v2_p3"):
    return Feedback(prompt=(Message(role="user", content=prompt),), completions=answers, source=source)


FIVES, FOURS, THREES, TWOS, ONES = ((float(v),) * 4 for v in (5, 4, 3, 2, 1))

PLAIN = row("plain", answer("a", TWOS, 4), answer("b", FIVES, 9), answer("c", THREES, 6), answer("d", ONES, 2))
"""Ratings and scores agree: b, c, a, d."""
FALSE_TEN = row("false ten", answer("a", ONES, 10), answer("b", FOURS, 8), answer("c", THREES, 5), answer("d", TWOS, 3))
"""The worst answer carries a 10."""
TIE = row("tie", answer("a", FOURS, 7), answer("b", FOURS, 7), answer("c", FOURS, 7), answer("d", FOURS, 7))
"""Nothing can be told apart."""
NOT_APPLICABLE = row(
    "n/a",
    answer("a", (5, NA, 5, 5), 8),  # mean 5, and 3.5 with N/A as −1
    answer("b", (4, 4, 5, 4), 8),  # mean 4.25 either way
    answer("c", ONES, 1),
    answer("d", ONES, 1),
)
DOUBTFUL = row("doubtful", answer("a", THREES, 10), answer("b", FOURS, 9))
"""A 10 beside a mean of 3: the judge must be asked again."""
SINGLE = row("single", answer("a", FIVES, 9))
TRUTHFUL = row("truthful", answer("a", FIVES, 9), answer("b", ONES, 2), source="truthful_qa")
QUESTION = row("Is the moon a lamp? ", answer("a", FIVES, 9), answer("b", ONES, 2))
QUESTIONS = ["Is the moon a lamp?"]
ROWS = [PLAIN, FALSE_TEN, TIE, NOT_APPLICABLE, DOUBTFUL, SINGLE, TRUTHFUL, QUESTION]


def pairs_of(name, rows, seed=0):
    preset = preset_named(name)
    tallies = Tally("leave-out"), Tally("binarize")
    left = excluding(preset.without_sources, QUESTIONS if preset.without_questions else ())
    kept = apply(left, rows, tallies[0])
    made = list(apply(binarize(preset.selection, seed), kept, tallies[1]))
    dropped = {item.id: item.reason for tally in tallies for item in tally.dropped}
    names = {item.id: item.prompt[0].content for item in rows}
    found = {pair.prompt[0].content: (pair.chosen[0].content, pair.rejected[0].content) for pair in made}
    return found, {names[record]: reason for record, reason in dropped.items()}, tallies[1]


def test_h4_legacy_row_by_row():
    found, dropped, tally = pairs_of("h4-legacy", ROWS)
    assert found == {
        "plain": ("b", "a"),  # chosen 1, rejected always 0 …
        "false ten": ("a", "c"),  # … but 2 where 0 is chosen: the fault is chosen
        "tie": ("a", "c"),  # all tie, and a pair is made all the same
        "n/a": ("a", "c"),  # first of two 8s
        "doubtful": ("a", "b"),  # of two, the other one
        "truthful": ("a", "b"),
        "Is the moon a lamp? ": ("a", "b"),
    }
    assert dropped == {"single": "one-completion"}
    assert tally.counts["tied-pair"] == 1
    assert pairs_of("h4-legacy", ROWS, seed=5)[0] == found  # our seed changes nothing


def test_h4_fixed_row_by_row():
    found, dropped, tally = pairs_of("h4-fixed", ROWS)
    others = {"plain": {"a", "c", "d"}, "false ten": {"a", "c", "d"}, "tie": {"b", "c", "d"}, "n/a": {"b", "c", "d"}}
    assert {name: chosen for name, (chosen, _) in found.items()} == {
        "plain": "b",
        "false ten": "b",
        "tie": "a",
        "n/a": "a",
    }
    for name, may in others.items():
        drawn = {pairs_of("h4-fixed", ROWS, seed)[0][name][1] for seed in range(40)}
        assert drawn == may
    assert dropped == {
        "doubtful": "one-scored",  # a doubtful 10 has no score
        "single": "one-completion",
        "truthful": "source-left-out",
        "Is the moon a lamp? ": "benchmark-question",
    }
    assert tally.counts["tied-pair"] >= 1


@pytest.mark.parametrize("name", ["argilla-mean", "argilla-cleaned"])
def test_argilla_row_by_row(name):
    found, dropped, tally = pairs_of(name, ROWS)
    chosen = {prompt: pair[0] for prompt, pair in found.items()}
    expected = {
        "plain": "b",
        "false ten": "b",
        "n/a": "a",
        "doubtful": "b",
        "truthful": "a",
        "Is the moon a lamp? ": "a",
    }
    left = {"tie": "all-tied", "single": "one-completion"}
    if name == "argilla-cleaned":
        del expected["truthful"]
        left["truthful"] = "source-left-out"
    assert (chosen, dropped) == (expected, left)
    drawn = {pairs_of(name, [PLAIN], seed)[0]["plain"][1] for seed in range(40)}
    assert drawn == {"a", "c", "d"}
    assert tally.counts["tied-pair"] == 0
    assert "approximation" in PRESETS["argilla-cleaned"].about


def test_tulu3_row_by_row():
    found, dropped, tally = pairs_of("tulu3", ROWS)
    assert {prompt: pair[0] for prompt, pair in found.items()} == {
        "plain": "b",
        "false ten": "b",
        "tie": "a",
        "n/a": "b",  # N/A counts −1: 3.5 against 4.25
        "doubtful": "b",
        "truthful": "a",
        "Is the moon a lamp? ": "a",
    }
    assert dropped == {"single": "one-completion"}
    drawn = {pairs_of("tulu3", [NOT_APPLICABLE], seed)[0]["n/a"][1] for seed in range(40)}
    assert drawn == {"a", "c", "d"}
    assert tally.counts["tied-pair"] == 1


def test_snorkel_row_by_row():
    rows = [
        row("logits", answer("a", FIVES, 9, -0.5), answer("b", ONES, 1, 2.25), answer("c", ONES, 1, -3.5)),
        row("equal", answer("a", FIVES, 9, 1.0), answer("b", ONES, 1, 1.0)),
        PLAIN,
    ]
    found, dropped, _ = pairs_of("snorkel", rows)
    assert found == {"logits": ("b", "c")}
    assert dropped == {"equal": "all-tied", "plain": "unscored"}


def test_no_preset_gives_a_pair_of_a_text_its_own_twin_unless_the_published_one_does():
    twins = row("twins", answer("a", FIVES, 9), answer("b", ONES, 2), answer("a", ONES, 2), answer("c", ONES, 2))
    assert pairs_of("h4-legacy", [twins])[0]["twins"] == ("a", "a")
    assert pairs_of("h4-legacy", [twins])[2].counts["same-text-pair"] == 1


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'h4-legacy'"):
        preset_named("h4_legacy")


def test_the_structure_counts_what_the_presets_make():
    facts = structure_of(ROWS, questions=QUESTIONS)
    by_name = {item.name: item for item in facts.presets}
    assert (facts.prompts, facts.completions) == (8, 23)
    assert {name: item.pairs for name, item in by_name.items()} == {
        "h4-legacy": 7,
        "h4-fixed": 4,
        "argilla-mean": 6,
        "argilla-cleaned": 5,
        "tulu3": 7,
    }
    assert {place for (of, place) in by_name["h4-legacy"].rejected_at if of == 4} == {0, 2}
    differ = facts.differ["h4-legacy", "argilla-mean"]
    assert (differ.count, differ.of) == (2, 6)  # the false 10 and the doubtful one
    assert any("h4-legacy and argilla-mean choose different answers in 2 of 6" in said for said in facts.sentences())


def test_the_structure_of_unrepaired_scores_differs_in_about_as_many_prompts_as_scores_are_noisy():
    rng = random.Random(1)
    grid = [1.0, 2.0, 3.0, 4.0, 5.0]
    rows = [
        row(str(n), *(answer(t, [rng.choice(grid) for _ in range(4)], rng.randint(1, 10)) for t in "abcd"))
        for n in range(400)
    ]
    facts = structure_of(rows, ("h4-legacy", "argilla-mean"))
    differ = facts.differ["h4-legacy", "argilla-mean"]
    # Scores that do not depend on the ratings choose another answer in three of four prompts.
    assert differ.interval.low < 0.75 < differ.interval.high
