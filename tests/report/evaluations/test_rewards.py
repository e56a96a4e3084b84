"""What a reward check shows: what a tie counts, what is missing, sections, subsets, length, calibration."""

import pytest

from notus.evaluate.rewards import reward_report
from notus.report.evaluations.rewards import reward_sections
from tests.evaluate.test_rewardbench import scored


@pytest.mark.parametrize("tie", [0.0, 0.5])
def test_a_reward_check_says_what_a_tie_counts_and_what_is_missing(tie):
    rows = [scored(1.0, "a"), scored(tie, "b", margin=0.0), scored(None, "c")]
    found = {section.heading: section for section in reward_sections(reward_report("r", rows), tie=tie)}
    told = " ".join(found["Accuracy"].sentences)
    assert f"of 2 pairs; 1 tie counts {tie:g}." in told
    assert "1 of 3 pairs have no score" in told
    assert "Sections" not in found
    assert "Subsets" not in found


@pytest.mark.parametrize(("value", "said"), [(1.0, "in 1.000 (no interval"), (None, "gave no pair a score")])
def test_one_pair_has_no_interval_and_none_no_share(value, said):
    (told, *_) = reward_sections(reward_report("r", [scored(value, "a")]), tie=0.0)[0].sentences
    assert said in told


def test_a_reward_check_shows_sections_subsets_length_and_calibration():
    rows = [
        scored(float((n + len(s)) % 4 > 0), f"{s}{n}", s, "S" if s == "x" else "T", lengths=(9, 2) if n % 2 else (2, 9))
        for s in "xy"
        for n in range(20)
    ]
    found = {f.heading: f for f in reward_sections(reward_report("r", rows, scale=1.0), tie=0.0)}
    assert list(found) == ["Accuracy", "Sections", "Subsets", "Length", "Calibration"]
    assert found["Sections"].sentences[0].startswith("Mean of the 2 sections: 0.750 [")
    assert [row[:2] for row in found["Subsets"].table.rows] == [("x", "S"), ("y", "T")]
    assert all("[" in sentence for sentence in found["Length"].sentences)
    assert found["Calibration"].picture.startswith("<svg")
    ties = [scored(0.0, f"t{n}", margin=0.0) for n in range(3)]
    assert "no pair without a tie" in reward_sections(reward_report("r", ties, scale=1.0), tie=0.0)[-1].sentences[0]
