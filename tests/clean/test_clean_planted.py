"""Precision and recall on generated feedback in which duplicates, look-alikes and contaminated prompts are planted.

The generator was written and frozen before the finder, by somebody else, and says what it planted.
"""

import json

import pytest

from benchmarks.make_ultrafeedback import main as generate
from notus.clean.benchmarks import read_benchmarks
from notus.clean.clean import Cleaning, decide, examine
from notus.clean.contamination import ItemIndex, contamination_curve
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.data_examples import SHARED

AGAINST = [
    SHARED / "benchmarks",
    SHARED / "mt_bench" / "question.jsonl",
    SHARED / "alpaca_eval" / "outputs_text_davinci_003.json.gz",
]
BAR = 0.95
DUPLICATES = 0.97
"""Least precision and recall of duplicates; of 3,000 prompts, where a single one counts half a hundredth."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Plans for 3,000 prompts of a seed on which nothing was tuned, 4 % of each kind planted; and the truth."""
    folder = tmp_path_factory.mktemp("planted")
    rates = [f"--{kind}=0.04" for kind in ("exact", "near", "near-miss", "lookalikes", "contaminated", "controls")]
    options = ["--prompts=3000", "--seed=77", "--workers=1", *rates]
    if SHARED.is_dir():
        options.append(f"--benchmarks={SHARED}")
    generate([str(folder), *options])
    questions = ItemIndex(read_benchmarks(AGAINST)) if SHARED.is_dir() else None
    records = open_source(str(folder / "feedback.jsonl")).records(Tally("read"), Quarantine())
    settings = Cleaning(edited=True)
    examined = examine(records, settings, questions)
    plans, safe = decide([examined], settings), decide([examined], Cleaning())
    truth = [json.loads(line) for line in (folder / "prompts_truth.jsonl").read_text().splitlines()]
    return plans, {row["prompt"]: row for row in truth}, safe


def clusters(truth, gone):
    """Each prompt that is in a planted cluster → the first row of it that is not gone for another reason."""
    above = {}

    def head(row):
        while above.setdefault(row, row) != row:
            row = above[row]
        return row

    for row, planted in truth.items():
        if planted["kind"] in ("exact-duplicate", "near-duplicate"):
            a, b = sorted((head(row), head(planted["of"])))
            above[b] = a
    members = {}
    for row in sorted(above):
        if row not in gone:
            members.setdefault(head(row), []).append(row)
    return {row: rows[0] for rows in members.values() for row in rows}


def test_duplicates(planted):
    plans, truth, _ = planted
    first_of = clusters(truth, {match.row for match in plans.matches})
    expected = {row for row, first in first_of.items() if row != first}
    found = {each.row for each in plans.repeated if first_of.get(each.of) == first_of.get(each.row, -1)}
    assert len(expected) > 200
    assert len(found & expected) / len(expected) >= DUPLICATES
    assert len(found & expected) / len(plans.repeated) >= DUPLICATES


def test_without_being_asked_only_what_says_the_same_goes(planted):
    """The generator puts other words and numbers in the place of words: prompts that differ so are different ones."""
    _, truth, safe = planted
    first_of = clusters(truth, {match.row for match in safe.matches})
    copies = {
        row
        for row, first in first_of.items()
        if row != first and truth.get(row, {}).get("kind") == "exact-duplicate" and truth[row]["of"] == first
    }
    found = {each.row for each in safe.repeated if first_of.get(each.of) == first_of.get(each.row, -1)}
    assert len(found) == len(safe.repeated)
    assert len(copies) > 20
    assert len(copies & {each.row for each in safe.repeated}) >= DUPLICATES * len(copies)


def test_look_alikes_and_near_misses_stay(planted):
    plans, truth, _ = planted
    gone = {each.row for each in plans.repeated}
    for kind in ("look-alike", "near-miss"):
        rows = [row for row, planted in truth.items() if planted["kind"] == kind]
        assert len(rows) > 100
        assert sum(row not in gone for row in rows) / len(rows) >= BAR, kind


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_contamination(planted):
    plans, truth, _ = planted
    expected = {row for row, planted in truth.items() if planted["kind"] == "contaminated"}
    found = {match.row: match for match in plans.matches}
    assert len(expected) > 100
    assert len(found.keys() & expected) / len(expected) >= BAR
    assert len(found.keys() & expected) / len(found) >= BAR
    right = sum(found[row].benchmark == truth[row]["benchmark"] for row in found.keys() & expected)
    assert right / len(found) >= BAR, "the right benchmark is named"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data here")
def test_at_the_chosen_thresholds_controls_match_next_to_nothing(planted):
    plans, *_ = planted
    chosen = {("similarity", 0.8), ("coverage", 0.5)}
    points = [point for point in contamination_curve(plans.scores) if (point.measure, point.threshold) in chosen]
    assert len(points) == 2
    assert all(point.controls <= 0.01 * point.questions for point in points)
