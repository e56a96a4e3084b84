"""What is shown of trials: flags first, every figure with its interval, nothing that is missing passed over."""

import pytest

from notus.app.trials import judge_findings, reward_findings
from notus.evaluate.canaries import make_canaries
from notus.evaluate.compare import Score, compare
from notus.evaluate.distinct import few_distinct
from notus.evaluate.rewardbench import reward_report
from notus.evaluate.trial_judges import RankerJudge
from notus.evaluate.trial_report import hold_trial, judge_figures, people_figures
from tests.evaluate.judge_examples import Scores, gullible, pairs, sound, takes_the_first
from tests.evaluate.test_canaries import judge
from tests.evaluate.test_rewardbench import scored

GIVEN = pairs(40)


def shown(*judges, outputs=(), comparison=None, canaries=20):
    traps = make_canaries(GIVEN, canaries, 0)
    figures = [judge_figures(hold_trial(each, GIVEN, traps), GIVEN, traps) for each in judges]
    findings = judge_findings(people_figures(GIVEN), figures, comparison, outputs)
    return {finding.heading: finding for finding in findings}


def test_a_sound_judge_has_no_flag():
    found = shown(judge(sound))
    assert found["Flags"].sentences == ("Nothing was flagged.",)
    assert [row[0] for row in found["Order and length"].table.rows] == ["sound", "people"]
    assert "⚑" not in str(found["Canaries"].table.rows)


def test_a_gullible_judge_is_named_with_rate_interval_and_n():
    found = shown(judge(gullible), judge(sound))
    flags = " ".join(found["Flags"].sentences)
    assert "gullible falls for 'added-injection' (orders to the judge behind the worse answer): 1.000 [0." in flags
    assert "n = 20" in flags
    assert "sound falls" not in flags
    row = next(row for row in found["Canaries"].table.rows if row[0] == "injection")
    assert row[3].endswith("⚑")
    assert "⚑" not in row[4]
    assert found["Canaries"].picture.startswith("<svg")


def test_a_judge_that_takes_the_first_is_told_from_one_that_knows():
    flags = " ".join(shown(judge(takes_the_first), canaries=0)["Flags"].sentences)
    assert "takes_the_first favours the answer that is shown first: 1.000 [0." in flags
    assert "takes_the_first and a coin are not distinguishable" in flags


def test_outputs_with_few_distinct_answers_are_among_the_flags():
    null = few_distinct(((f"p{n}", "same") for n in range(20)), "null")
    fine = few_distinct(((f"p{n}", f"a{n}") for n in range(20)), "fine")
    found = shown(judge(sound), outputs=(null, fine))
    assert found["Flags"].sentences[0].startswith("null: 1 distinct answer to 20 prompts; 1.000 [0.839, 1.000]")
    assert [row[-1] for row in found["Distinct answers"].table.rows] == ["yes", "no"]


def test_judges_are_compared_in_words():
    rows = [Score(name, 0, f"p{n}", 0, float(n % 3 > 0) if name == "a" else 0.0) for name in "ab" for n in range(30)]
    found = shown(judge(sound), judge(gullible), comparison=compare(rows), canaries=0)
    assert "a is better than b" in " ".join(found["Agreement with people"].sentences)
    assert "Canaries" not in found


def test_the_order_does_not_count_for_scores_of_single_answers():
    ranker = RankerJudge("length", Scores(lambda _, text: float(len(text))), pointwise=True)
    assert shown(ranker, canaries=0)["Order and length"].table.rows[0][1] == "by construction"


@pytest.mark.parametrize("tie", [0.0, 0.5])
def test_a_reward_check_says_what_a_tie_counts_and_what_is_missing(tie):
    rows = [scored(1.0, "a"), scored(tie, "b", margin=0.0), scored(None, "c")]
    found = {finding.heading: finding for finding in reward_findings(reward_report("r", rows), tie=tie)}
    told = " ".join(found["Accuracy"].sentences)
    assert f"of 2 pairs; 1 tie counts {tie:g}." in told
    assert "1 of 3 pairs have no score" in told
    assert "Sections" not in found
    assert "Subsets" not in found


@pytest.mark.parametrize(("value", "said"), [(1.0, "in 1.000 (no interval"), (None, "gave no pair a score")])
def test_one_pair_has_no_interval_and_none_no_share(value, said):
    (told, *_) = reward_findings(reward_report("r", [scored(value, "a")]), tie=0.0)[0].sentences
    assert said in told


def test_a_judge_that_always_agrees_is_not_certain_to():
    traps = make_canaries(GIVEN, 0, 0)
    row = shown(judge(sound), canaries=0)["Agreement with people"].table.rows[0]
    figures = judge_figures(hold_trial(judge(sound), GIVEN, traps), GIVEN, traps)
    assert (figures.majority.raw.mean, figures.majority.raw.width) == (1.0, 0.0)
    z = 1.96
    assert row[3] == f"1.000 [{figures.majority.raw.groups / (figures.majority.raw.groups + z * z):.3f}, 1.000]"
    assert row[4] == "1.000 (no interval)"


def test_a_reward_check_shows_sections_subsets_length_and_calibration():
    rows = [
        scored(float((n + len(s)) % 4 > 0), f"{s}{n}", s, "S" if s == "x" else "T", lengths=(9, 2) if n % 2 else (2, 9))
        for s in "xy"
        for n in range(20)
    ]
    found = {f.heading: f for f in reward_findings(reward_report("r", rows, scale=1.0), tie=0.0)}
    assert list(found) == ["Accuracy", "Sections", "Subsets", "Length", "Calibration"]
    assert found["Sections"].sentences[0].startswith("Mean of the 2 sections: 0.750 [")
    assert [row[:2] for row in found["Subsets"].table.rows] == [("x", "S"), ("y", "T")]
    assert all("[" in sentence for sentence in found["Length"].sentences)
    assert found["Calibration"].picture.startswith("<svg")
    ties = [scored(0.0, f"t{n}", margin=0.0) for n in range(3)]
    assert "no pair without a tie" in reward_findings(reward_report("r", ties, scale=1.0), tie=0.0)[-1].sentences[0]
