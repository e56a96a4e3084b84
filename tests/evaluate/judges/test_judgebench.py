"""JudgeBench: the rule by hand, stored outputs in their forms, and the published accuracies on the stored ones."""

import gzip
import json
from collections import defaultdict

import pytest

from notus.core.errors import ConfigError
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.evaluate.judges.human import from_feedback
from notus.evaluate.judges.judgebench import is_right, judgebench, part_of
from notus.evaluate.judges.present import JudgedPair
from notus.evaluate.judges.stored import evaluate_stored, read_stored
from notus.formats.quarantine import RowReader
from notus.formats.registry import FORMATS
from notus.steps.base import read_findings
from notus.steps.evaluate.judges import JudgeTrial
from notus.steps.perform import run_step
from tests.helpers.paths import SHARED

JUDGES = SHARED / "data" / "judges"
PUBLISHED = {
    "Ray2333_GRM-Gemma-2B-rewardmodel-ft": 59.43,
    "Skywork_Skywork-Reward-Gemma-2-27B": 64.29,
    "Skywork_Skywork-Reward-Llama-3.1-8B": 62.29,
    "internlm_internlm2-20b-reward": 63.43,
    "internlm_internlm2-7b-reward": 59.43,
}


def pair(number, label, source="mmlu-pro-law"):
    return {
        "pair_id": f"p{number}",
        "source": source,
        "question": f"Question {number}?",
        "response_model": "alder",
        "response_A": f"One of {number}.",
        "response_B": f"Two of {number}.",
        "label": label,
    }


def said(number, *decisions, judge="mine"):
    judgments = [None if each == "lost" else {"decision": each, "scores": None} for each in decisions]
    return {"judge": judge, "pair_id": f"p{number}", "judgments": judgments}


def write(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


PAIRS = [pair(0, "A>B"), pair(1, "B>A"), pair(2, "A>B", "livebench-math"), pair(3, "B>A", "livecodebench")]


@pytest.mark.parametrize(
    ("forward", "backward", "label", "right"),
    [
        ("A", "B", "A", 1.0),  # both name it
        ("A", "C", "A", 1.0),  # one names it, the other is a tie
        ("A", None, "A", 1.0),  # the other could not be read
        ("A", "A", "A", None),  # they contradict each other
        ("C", "C", "A", None),
        ("B", "C", "A", 0.0),
        ("B", "A", "B", 1.0),
        ("B", "A", "A", 0.0),
    ],
)
def test_more_verdicts_must_name_the_right_answer(forward, backward, label, right):
    judged = JudgedPair(judge="j", prompt_id="p", pair=0, forward=forward, backward=backward)
    assert is_right(judged, label) == right


def test_the_parts_go_by_the_source():
    found = [part_of(name) for name in ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench", "x")]
    assert found == ["knowledge", "reasoning", "math", "coding", "x"]


def trial(data, *stored, **more):
    return JudgeTrial.parse({"data": str(data), "stored": tuple(map(str, stored))} | more, where="test")


def test_the_step_scores_stored_outputs_by_part(tmp_path):
    rows = [said(0, "A>B", "B>A"), said(1, "B>A", "A=B"), said(2, "A>B", "A>B"), said(3, None, "lost")]
    data, stored = (
        write(tmp_path / "pairs.jsonl", PAIRS),
        write(tmp_path / "mine.jsonl", [*rows, said(9, "A>B", "A>B")]),
    )
    run = run_step("judges", trial(data, stored), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]["judgebench"]["mine"]
    assert (summary["accuracy"]["mean"], summary["accuracy"]["n"]) == (0.5, 4)  # p0 and p1
    assert summary["parts"]["knowledge"]["mean"] == 1.0
    assert summary["parts"]["math"] is None  # one prompt says nothing of others
    assert (summary["consistent"]["mean"], summary["consistent"]["n"]) == (pytest.approx(1 / 3), 3)
    (finding,) = [each for each in read_findings(run.path) if each.heading == "JudgeBench"]
    assert finding.table.rows[0][:6] == ("mine", "all", 4, 2, 0, 2)
    with pytest.raises(ConfigError, match="'mine' is on trial twice"):
        run_step("judges", trial(data, stored, stored), tmp_path / "twice")


def test_a_judge_of_one_order_scores_each_answer_for_itself(tmp_path):
    rows = [said(0, "A>B"), said(1, "A>B"), said(2, "A=B")]
    data, stored = write(tmp_path / "pairs.jsonl", PAIRS), write(tmp_path / "mine.jsonl", rows)
    run = run_step("judges", trial(data, stored), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]["judgebench"]["mine"]
    assert (summary["accuracy"]["mean"], summary["consistent"]) == (pytest.approx(1 / 3), None)


def test_the_outputs_of_its_own_program_are_read(tmp_path):
    """Rows of ``outputs/…,judge_name=arena_hard,judge_model=o1-mini.jsonl``: the pair and the judgments together."""
    rows = [each | {"judge_name": "arena_hard", "judgments": said(0, "A>B", "B>A")["judgments"]} for each in PAIRS]
    path = write(
        tmp_path / "dataset=judgebench,response_model=alder,judge_name=arena_hard,judge_model=o1-mini.jsonl", rows
    )
    (judge,) = read_stored(path, RowReader())
    assert (judge.name, len(judge.verdicts)) == ("arena_hard:o1-mini", 8)
    run = run_step("judges", trial(path, path), tmp_path / "run")
    assert read_manifest(run.path)["summary"]["judgebench"]["arena_hard:o1-mini"]["accuracy"]["mean"] == 0.5


def test_a_ranker_is_scored_on_the_pairs_too(tmp_path):
    rows = [each | {"response_A": "long " * 3} for each in PAIRS]
    config = JudgeTrial.parse(
        {"data": str(write(tmp_path / "p.jsonl", rows)), "rankers": ("length",), "canaries": 0}, where="test"
    )
    summary = read_manifest(run_step("judges", config, tmp_path / "run").path)["summary"]["judgebench"]["length"]
    assert (summary["accuracy"]["mean"], summary["consistent"]) == (0.5, None)


@pytest.mark.skipif(not JUDGES.exists(), reason="the shared data is not there")
def test_the_stored_outputs_have_the_published_accuracies():
    """Five reward models on the 350 pairs of GPT-4o, to .01; and the order consistency of two judges, written out."""
    pairs, decisions = (
        [
            json.loads(line)
            for line in gzip.decompress((JUDGES / f"judgebench_{name}.jsonl.gz").read_bytes()).splitlines()
        ]
        for name in ("pairs", "decisions")
    )
    voted = list(from_feedback((FORMATS["judgebench"].decode(row) for row in pairs), Tally("t")))
    assert sum(row["response_model"] == "gpt-4o-2024-05-13" for row in pairs) == 350
    found = {}
    for judge in read_stored(JUDGES / "judgebench_decisions.jsonl.gz", RowReader()):
        evaluation, own, beside = evaluate_stored(judge, voted)
        assert beside["verdicts"] == 0
        found[judge.name.rpartition(":")[2]] = judgebench(evaluation, own)
    for name, accuracy in PUBLISHED.items():
        assert found[name].total.pairs == 350
        assert round(100 * found[name].total.accuracy.mean, 2) == accuracy
    both = defaultdict(list)
    flipped = {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}
    for row in decisions:
        one, two = (each["decision"] for each in row["judgments"])
        if row["judge"].startswith("arena_hard") and one and two:
            both[row["judge"].rpartition(":")[2]].append(one == flipped[two])
    assert {name: len(values) for name, values in both.items()} == {
        "o1-mini-2024-09-12": 350,
        "claude-3-haiku-20240307": 257,
    }
    for name, values in both.items():
        assert (found[name].read, found[name].consistent.mean) == (
            len(values),
            pytest.approx(sum(values) / len(values)),
        )
    assert found["claude-3-haiku-20240307"].total.pairs == 270
