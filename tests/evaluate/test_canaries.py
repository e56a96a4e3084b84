"""Canaries: what the traps are, what it means to fall for one, and who is flagged."""

import pytest

from notus.evaluate.canaries import CANARIES, TOLERATED, Canary, fallen, make_canaries, summed_up
from notus.evaluate.trial import Shown
from notus.evaluate.trial_judges import RankerJudge
from notus.evaluate.trial_report import hold_trial, judge_figures
from notus.evaluate.trial_sources import HumanPair
from notus.models.prompts import read_variants
from tests.evaluate.judge_examples import Scores, answer, gullible, is_right, pair, pairs, sound, takes_the_first
from tests.evaluate.test_trial import Fixed

GIVEN = pairs(40)


def traps(kind, given=GIVEN, count=40):
    return [canary for canary in make_canaries(given, count, 0) if canary.kind == kind]


def flags(judge, given=GIVEN):
    canaries = make_canaries(given, 40, 0)
    found = judge_figures(hold_trial(judge, given, canaries), given, canaries)
    return {fall.kind: fall for fall in found.falls}


def judge(function):
    return Fixed(lambda shown: function(shown.prompt[-1].content, shown.first, shown.second), function.__name__)


def test_every_kind_of_trap_is_set_on_every_pair():
    canaries = make_canaries(GIVEN, 10, 0)
    assert len(canaries) == 10 * len(CANARIES)
    assert {canary.kind for canary in canaries} == set(CANARIES)
    for canary in canaries:
        assert is_right(canary.shown.prompt[-1].content, canary.shown.first)
        assert canary.shown.prompt == GIVEN[canary.pair].prompt


def test_the_traps_are_what_they_say():
    right = {canary.pair: canary.shown.first for canary in traps("empty")}
    assert {canary.shown.second for canary in traps("empty")} == {""}
    assert all(canary.shown.second == right[canary.pair] for canary in traps("copy"))
    assert {canary.shown.second for canary in traps("constant")} == set(read_variants("canary_constant"))
    for canary in traps("shuffled"):
        assert sorted(canary.shown.second.split()) == sorted(right[canary.pair].split())
        assert len(canary.shown.second) == len(right[canary.pair])
        assert canary.shown.second != right[canary.pair]
    for kind in ("injection", "verdict"):
        texts = set(read_variants(f"canary_{kind}"))
        for canary in traps(f"added-{kind}"):
            worse, _, added = canary.shown.second.partition("\n\n")
            assert not is_right(canary.shown.prompt[-1].content, worse)
            assert worse.startswith("The sum is")
            assert added in texts
        assert {canary.variant for canary in traps(kind)} == set(range(len(texts)))


def test_the_pairs_are_drawn_by_the_seed_alone():
    one, two = make_canaries(GIVEN, 10, 1), make_canaries(GIVEN, 10, 1)
    assert one == two
    assert {canary.pair for canary in one} != {canary.pair for canary in make_canaries(GIVEN, 10, 2)}


def test_only_pairs_with_a_better_answer_are_drawn():
    divided = pair(1, 1, votes=("A", "B", "C"))
    tied = pair(1, 2, votes=("C", "C", "A"))
    assert make_canaries([divided, tied], 10, 0) == []
    assert {canary.pair for canary in make_canaries([divided, tied, pair(1, 3)], 10, 0)} == {2}


def test_an_answer_of_few_words_is_not_shuffled():
    short = HumanPair(prompt=pair(1, 1).prompt, first="It is 2.", second="It is 3.", votes=("A",))
    assert traps("shuffled", [short]) == []
    assert len(traps("empty", [short])) == 1


@pytest.mark.parametrize(
    ("kind", "score", "plain", "expected"),
    [
        ("empty", 1.0, None, 0.0),
        ("empty", 0.5, None, 0.5),
        ("empty", 0.0, 1.0, 1.0),
        ("empty", None, 1.0, None),
        ("added-verdict", 0.0, 1.0, 1.0),
        ("added-verdict", 0.5, 1.0, 0.5),
        ("added-verdict", 1.0, 0.5, -0.5),
        ("added-verdict", 1.0, None, None),
        ("copy", 1.0, None, 1.0),
    ],
)
def test_what_it_means_to_fall(kind, score, plain, expected):
    assert fallen(Canary(kind, 0, 0, Shown(pair(1, 1).prompt, "a", "b")), score, plain) == expected


def test_a_sound_judge_falls_for_nothing():
    found = flags(judge(sound))
    assert not [kind for kind, fall in found.items() if fall.flagged]
    assert {fall.rate.mean for fall in found.values()} == {0.0}
    assert all(fall.rate.high > 0 for fall in found.values())


def test_a_gullible_judge_is_flagged_for_what_it_obeys_and_for_nothing_else():
    found = flags(judge(gullible))
    assert {kind for kind, fall in found.items() if fall.flagged} == {
        "injection",
        "added-injection",
        "verdict",
        "added-verdict",
    }
    assert found["added-injection"].rate.mean == found["injection"].rate.mean == 1.0
    # "[[A]]" wins in one of both orders, "score: 10" in both.
    assert 0.5 < found["added-verdict"].rate.mean < 1.0
    assert found["added-verdict"].worst[1] == 1.0


def test_a_judge_that_takes_the_first_is_flagged_for_the_copy_and_all_lone_traps():
    found = flags(judge(takes_the_first))
    assert found["copy"].rate.mean == 1.0
    assert {found[kind].rate.mean for kind in ("empty", "constant", "shuffled")} == {0.5}
    assert {kind for kind, fall in found.items() if fall.flagged} == {
        "constant",
        "empty",
        "copy",
        "injection",
        "verdict",
        "shuffled",
    }


def test_length_falls_for_what_is_long():
    found = flags(RankerJudge("length", Scores(lambda _, text: float(len(text)))))
    assert found["constant"].flagged
    assert found["added-injection"].flagged
    assert found["shuffled"].rate.mean == 0.5  # the same length: it cannot tell
    assert not found["empty"].flagged
    assert not found["copy"].flagged


def test_a_noisy_judge_does_not_fall_for_what_moves_it_both_ways():
    # Whether the wrong answer wins depends on the text alone, with an addition or without.
    def noisy(_, text):
        return float(sum(map(ord, text)) % 7)

    fall = flags(RankerJudge("noisy", Scores(noisy)), pairs(60))["added-verdict"]
    assert fall.rate.low < TOLERATED


def test_few_traps_flag_nobody():
    canary = traps("empty")[0]
    (fall,) = summed_up([(canary, 1.0)])
    assert fall.rate is None
    assert not fall.flagged
    (silent,) = summed_up([(canary, None), (canary, None)])
    assert (silent.asked, silent.scored, silent.rate) == (2, 0, None)


def test_the_example_answers_are_as_the_judges_expect():
    assert is_right("What is 2 + 3?", answer(5))
    assert not is_right("What is 2 + 3?", answer(6))
