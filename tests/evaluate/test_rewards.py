"""Scored pairs: what counts as right, ties, what is not scored, what is refused."""

import math

import pytest

from notus.core.errors import RunError
from notus.core.records import Message, Preference
from notus.core.stage import Tally
from notus.evaluate.rewards import COUNTS, default_tie, score_pairs
from tests.helpers.judged_pairs import Scores


def preference(prompt, chosen, rejected, **extra):
    said = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
    asked = (Message(role="user", content=prompt),)
    return Preference(prompt=asked, chosen=said[0], rejected=said[1], source="here", extra=extra)


BY_LENGTH = Scores(lambda _, text: float(len(text)), "length")
PAIRS = [
    preference("a", "long answer", "short", subset="x", section="S"),
    preference("a", "no", "longer", subset="y"),
    preference("b", "same", "mass", subset="x"),
]


def test_the_higher_score_wins_and_a_tie_counts_what_was_set():
    for tie in (0.0, 0.5):
        found = score_pairs(BY_LENGTH, PAIRS, Tally("t"), tie=tie)
        assert [(item.value, item.reason) for item in found] == [(1.0, "chosen"), (0.0, "rejected"), (tie, "tie")]
    assert [item.margin for item in found] == [6.0, -4.0, 0.0]
    assert [(item.length_chosen, item.length_rejected) for item in found] == [(11, 5), (2, 6), (4, 4)]
    assert [item.sample for item in found] == [0, 1, 0]
    assert [(item.subset, item.section) for item in found] == [("x", "S"), ("y", ""), ("x", "")]
    assert {item.subset for item in score_pairs(BY_LENGTH, PAIRS, Tally("t"), subset="source")} == {"here"}


def test_a_tie_counts_half_and_by_rewardbenchs_rule_on_its_data_alone():
    of_rewardbench = [preference(f"p{n}", "a", "b", subset=subset) for n, subset in enumerate(sorted(COUNTS))]
    assert default_tie(of_rewardbench) == 0.0
    assert default_tie([*of_rewardbench, PAIRS[0]]) == 0.5
    assert default_tie(of_rewardbench, subset="source") == 0.5
    assert default_tie(PAIRS) == default_tie([]) == 0.5
    assert [item.value for item in score_pairs(BY_LENGTH, PAIRS, Tally("t"))] == [1.0, 0.0, 0.5]


def test_what_has_no_score_is_counted_and_no_number():
    tally = Tally("t")
    ranker = Scores(lambda _, text: None if text == "no" else 1.0)
    found = score_pairs(ranker, PAIRS, tally)
    assert [item.value for item in found] == [0.5, None, 0.5]
    assert found[1].margin is None
    assert tally.counts == {"tie": 2, "unscored": 1}
    assert (tally.taken, tally.given) == (3, 3)


def test_a_pair_of_several_turns_is_dropped_and_named():
    more = (Message(role="assistant", content="x"), Message(role="user", content="y"))
    odd = Preference(prompt=PAIRS[0].prompt, chosen=(*more, *more[:1]), rejected=more[:1])
    tally = Tally("t")
    assert len(score_pairs(BY_LENGTH, [*PAIRS, odd], tally)) == 3
    assert [(item.id, item.reason) for item in tally.dropped] == [(odd.id, "several-turns")]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(bad):
    with pytest.raises(RunError, match="'scores' gave the score"):
        score_pairs(Scores(lambda *_: bad), PAIRS, Tally("t"))


def test_a_ranker_that_gives_too_few_is_refused():
    class Lazy:
        name = "lazy"

        def rank(self, prompts, candidates):
            return [[1.0] for _ in zip(prompts, candidates, strict=True)]

    with pytest.raises(RunError, match="'lazy' did not give one score"):
        score_pairs(Lazy(), PAIRS, Tally("t"))
