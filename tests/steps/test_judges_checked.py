"""Judges measured by checks: which pairs a program tells apart, and how often a judge prefers what is refuted."""

import json

import pytest

from notus.core.artifacts import FINDINGS
from notus.core.errors import ConfigError, DataError, LossError
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.evaluate.judges.present import JudgedPair
from notus.steps.evaluate.judges import JudgeTrial
from notus.steps.perform import run_step

CHECKS = {"instruction_id_list": ["format:no_whitespace"], "kwargs": [{}]}


def feedback(number, answers):
    """A row of feedback whose prompt allows no white space; of each answer its text and the judge's score."""
    return {
        "source": "made",
        "instruction": f"Prompt {number}",
        "models": [f"m{place}" for place in range(len(answers))],
        "completions": [
            {"model": f"m{place}", "response": text, "annotations": {}, "critique": "Said.", "overall_score": score}
            for place, (text, score) in enumerate(answers)
        ],
        **CHECKS,
    }


def trial(tmp_path, rows, name="rows.jsonl", **more):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = JudgeTrial.parse({"data": str(path), "labels": "checks"} | more, where="test")
    return run_step("judges", config, tmp_path / "run", 0)


def test_how_often_a_stored_judge_prefers_what_the_checks_refute(tmp_path):
    """20 prompts of two answers: the refuted one has the higher score in 8, the same one in 2, the lower one in 10."""
    scores = [(3, 9)] * 8 + [(5, 5)] * 2 + [(9, 3)] * 10
    rows = [feedback(n, [(f"kept{n}", good), (f"has spaces {n}", bad)]) for n, (good, bad) in enumerate(scores)]
    run = trial(tmp_path, rows)
    summary = read_manifest(run.path)["summary"]
    assert summary["pairs"] == 20
    told = summary["judges"]["critique (stored)"]
    assert (told["asked"], told["scored"]) == (20, 20)
    assert (told["prefers_refuted"]["mean"], told["prefers_neither"]["mean"]) == (0.4, 0.1)
    assert told["prefers_refuted"]["low"] < 0.4 < told["prefers_refuted"]["high"]
    assert told["prefers_refuted"]["n"] == 20
    judged = list(read_records(run.path / "rulings.parquet", JudgedPair))
    assert [pair.first.startswith("kept") for pair in judged] == [True, False] * 10
    assert all(pair.consistent for pair in judged)


def test_only_what_the_checks_tell_apart_counts_and_the_rest_is_counted(tmp_path):
    rows = [
        feedback(0, [("kept", 9), ("also", 8), ("has spaces", 1), ("and here", None)]),  # 4 pairs apart, 2 alike
        feedback(1, [("kept", 9), ("also", 8)]),
        feedback(2, [("has spaces", 9), ("and here", 8)]),
        feedback(3, [("alone", 9)]),
        {key: value for key, value in feedback(4, [("kept", 9), ("has spaces", 8)]).items() if key not in CHECKS},
        feedback(5, [("kept", 1), ("has spaces", 8)]),
    ]
    run = trial(tmp_path, rows, allow_losses=True)
    tally = next(each for each in read_json(run.path / "tally.json") if each["stage"] == "checks")
    counts = tally["counts"]
    assert (counts["told-apart"], counts["both-follow"], counts["neither-follows"]) == (4 + 1, 1 + 1, 1 + 1)
    assert tally["dropped"] == {"all-alike": 2, "one-answer": 1, "no-checks": 1}
    told = read_manifest(run.path)["summary"]["judges"]["critique (stored)"]
    assert (told["asked"], told["scored"]) == (5, 3)
    assert told["prefers_refuted"]["mean"] == pytest.approx(1 / 3)


def test_pairs_and_rankers_are_held_against_the_same_checks(tmp_path):
    """Of ten pairs the chosen answer is refuted in three; the refuted one is always the longer one."""
    rows = []
    for n in range(10):
        good, bad = f"kept{n}", f"this has spaces {n}"
        chosen, rejected = (bad, good) if n < 3 else (good, bad)
        rows.append({"prompt": f"Prompt {n}", "chosen": chosen, "rejected": rejected, **CHECKS})
    run = trial(tmp_path, rows, rankers=["length"])
    judges = read_manifest(run.path)["summary"]["judges"]
    assert judges["chosen (stored)"]["prefers_refuted"]["mean"] == pytest.approx(0.3)
    assert judges["length"]["prefers_refuted"]["mean"] == 1.0
    findings = FINDINGS.at(run.path).read_text()
    assert "Preferred though refuted" in findings


def test_sources_that_say_nothing_are_refused(tmp_path):
    with pytest.raises(LossError, match="no pair of which one answer follows"):
        trial(tmp_path, [feedback(0, [("kept", 9), ("also", 8)])])
    with pytest.raises(DataError, match="holds no judgement of its answers"):
        trial(tmp_path, [feedback(0, [("kept", None), ("has spaces", None)])], "b.jsonl")
    row = feedback(0, [("kept", 9), ("has spaces", 8)]) | {"instruction_id_list": ["format:no_witespace"]}
    with pytest.raises(ConfigError, match=r"c\.jsonl, line 1: .*no_whitespace"):
        trial(tmp_path, [row], "c.jsonl")
    with pytest.raises(DataError, match="needs answers side by side"):
        trial(
            tmp_path,
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
            "d.jsonl",
        )
