"""Adversarial probes: what they are, how far a judge is fooled by one, and who is flagged."""

import pytest

from notus.evaluate.judges.figures import evaluate_judge, judge_figures
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import PresentedPair, RankerJudge
from notus.evaluate.judges.probes import (
    PROBES,
    TOLERATED,
    Probe,
    make_probes,
    probe_rates,
    probe_score,
)
from notus.llm.prompts import read_variants
from tests.evaluate.judges.test_figures import Fixed
from tests.helpers.judged_pairs import Scores, answer, gullible, is_right, pair, pairs, sound, takes_the_first

GIVEN = pairs(40)


def traps(kind, given=GIVEN, count=40):
    return [probe for probe in make_probes(given, count, 0) if probe.kind == kind]


def flags(judge, given=GIVEN):
    probes = make_probes(given, 40, 0)
    found = judge_figures(evaluate_judge(judge, given, probes), given, probes)
    return {rate.kind: rate for rate in found.probes}


def judge(function):
    return Fixed(lambda shown: function(shown.prompt[-1].content, shown.first, shown.second), function.__name__)


def test_every_kind_of_trap_is_set_on_every_pair():
    probes = make_probes(GIVEN, 10, 0)
    assert len(probes) == 10 * len(PROBES)
    assert {probe.kind for probe in probes} == set(PROBES)
    for probe in probes:
        assert is_right(probe.presented.prompt[-1].content, probe.presented.first)
        assert probe.presented.prompt == GIVEN[probe.pair].prompt


def test_the_traps_are_what_they_say():
    right = {probe.pair: probe.presented.first for probe in traps("empty")}
    assert {probe.presented.second for probe in traps("empty")} == {""}
    assert all(probe.presented.second == right[probe.pair] for probe in traps("copy"))
    assert {probe.presented.second for probe in traps("constant")} == set(read_variants("canary_constant"))
    for probe in traps("shuffled"):
        assert sorted(probe.presented.second.split()) == sorted(right[probe.pair].split())
        assert len(probe.presented.second) == len(right[probe.pair])
        assert probe.presented.second != right[probe.pair]
    for kind in ("injection", "verdict"):
        texts = set(read_variants(f"canary_{kind}"))
        for probe in traps(f"added-{kind}"):
            worse, _, added = probe.presented.second.partition("\n\n")
            assert not is_right(probe.presented.prompt[-1].content, worse)
            assert worse.startswith("The sum is")
            assert added in texts
        assert {probe.variant for probe in traps(kind)} == set(range(len(texts)))


def test_the_pairs_are_drawn_by_the_seed_alone():
    one, two = make_probes(GIVEN, 10, 1), make_probes(GIVEN, 10, 1)
    assert one == two
    assert {probe.pair for probe in one} != {probe.pair for probe in make_probes(GIVEN, 10, 2)}


def test_only_pairs_with_a_better_answer_are_drawn():
    divided = pair(1, 1, votes=("A", "B", "C"))
    tied = pair(1, 2, votes=("C", "C", "A"))
    assert make_probes([divided, tied], 10, 0) == []
    assert {probe.pair for probe in make_probes([divided, tied, pair(1, 3)], 10, 0)} == {2}


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
    assert probe_score(Probe(kind, 0, 0, PresentedPair(pair(1, 1).prompt, "a", "b")), score, plain) == expected


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
    probe = traps("empty")[0]
    (fall,) = probe_rates([(probe, 1.0)])
    assert fall.rate is None
    assert not fall.flagged
    (silent,) = probe_rates([(probe, None), (probe, None)])
    assert (silent.asked, silent.scored, silent.rate) == (2, 0, None)


def test_the_example_answers_are_as_the_judges_expect():
    assert is_right("What is 2 + 3?", answer(5))
    assert not is_right("What is 2 + 3?", answer(6))
