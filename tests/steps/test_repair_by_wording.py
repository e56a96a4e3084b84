"""Repair by wording: on real critiques with planted 10s, and on rows by hand for what must not depend on anything."""

import json
import random
from pathlib import Path

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Decision, Feedback
from notus.core.run import Run, read_json
from notus.core.tables import read_records, to_row
from notus.preferences.repair import Doubt
from notus.preferences.scores import strategy_named
from notus.steps.data.repair import Repair
from notus.steps.perform import run_step
from tests.helpers.two_judges import CRITIQUES, JUDGES, write_planted

PRAISE = ["superb", "exact", "rich", "complete", "lucid", "helpful", "thorough"]
BLAME = ["poor", "wrong", "thin", "useless", "muddled", "careless", "empty"]


def repaired(data: Path, out: Path, **settings: object) -> Run:
    return run_step("repair", Repair.parse({"data": str(data), "by": "wording"} | settings, where="test"), out)


def records(run: Run) -> list[Feedback]:
    return list(read_records(run.path / "feedback.parquet", Feedback))


@pytest.mark.skipif(not CRITIQUES.is_file(), reason="the real critiques of two judges are not here")
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("deserved", [(1.0,), (1.0, 2.0)], ids=["ones", "ones-and-twos"])
def test_real_critiques_give_planted_tens_away(judge: str, deserved: tuple[float, ...], tmp_path: Path) -> None:
    truth = write_planted(tmp_path / "data.jsonl", judge, deserved)
    run = repaired(tmp_path / "data.jsonl", tmp_path / "run")
    after = {
        (feedback.prompt[0].content, place): item.overall_score
        for feedback in records(run)
        for place, item in enumerate(feedback.completions)
    }
    planted = [key for key, score in truth.items() if score in deserved]
    near = sum(abs((after[key] or 0) - truth[key]) <= 1 for key in planted)
    assert len(planted) >= 17
    assert near >= 0.95 * len(planted)
    assert sum(after[key] != 10 for key, score in truth.items() if score == 10) <= 2
    # Scores that are no 10s are asked again at most, and never set.
    assert all(after[key] == score for key, score in truth.items() if score not in (*deserved, 10.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 prompts with two answers of 2 to 10 points, of whose critique's words so many praise; each ninth first answer
    deserved a 1 and was recorded as 10."""
    rng = random.Random(4)
    rows = []
    for number in range(300):
        items = []
        for place in range(2):
            deserved = 1 if place == 0 and number % 9 == 0 else rng.choice(range(2, 11))
            praising = round((deserved - 1) / 9 * 12)
            words = rng.choices(PRAISE, k=praising) + rng.choices(BLAME, k=12 - praising)
            score = 10.0 if deserved == 1 else float(deserved)
            items.append({"text": f"answer {place}", "critique": {"text": " ".join(words), "score": score}})
        rows.append({"prompt": [{"role": "user", "content": f"Question {number}?"}], "completions": items})
    path = tmp_path_factory.mktemp("wording") / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_change_has_its_evidence_and_a_second_time_changes_nothing(data: Path, tmp_path: Path) -> None:
    run = repaired(data, tmp_path / "one")
    decisions = list(read_records(run.path / "decisions.parquet", Decision))
    planted = 300 // 9 + 1
    assert len(decisions) == planted
    assert {(each.before, each.after, each.rule) for each in decisions} == {(10.0, 1.0, "score-by-wording:set-to-1")}
    assert all("a misread 1 with probability" in each.evidence for each in decisions)
    after = records(run)
    for number, feedback in enumerate(after):
        note = feedback.completions[0].extra.get("repair")
        if number % 9:
            assert note is None or note["verdict"] in ("keep", "ask-again")
        else:
            assert feedback.completions[0].overall_score == 1.0
            assert note["rule"] == "score-by-wording"
            assert (note["verdict"], note["from"]) == ("set-to-1", 10.0)
            assert note["false_ten"] >= 0.95
            assert note["expected_score"] < 5
    # A confirmed 10 counts as it stands, though there is no rating beside it.
    kept = [item for row in after for item in row.completions if item.overall_score == 10.0]
    score = strategy_named("repaired-critique")
    assert {item.extra["repair"]["verdict"] for item in kept} <= {"keep", "ask-again"}
    assert {score(item) for item in kept if item.extra["repair"]["verdict"] == "keep"} == {10.0}
    assert read_json(run.path / "tally.json")[-1]["counts"]["set-to-1"] == planted
    twice = repaired(run.path, tmp_path / "two")
    assert list(read_records(twice.path / "decisions.parquet", Decision)) == []
    assert [[item.overall_score for item in row.completions] for row in records(twice)] == [
        [item.overall_score for item in row.completions] for row in after
    ]


def test_the_number_of_workers_and_shards_changes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The sample that is learned from is all of it in either case: what is cut is the work.
    whole = repaired(data, tmp_path / "whole")
    monkeypatch.setattr("notus.formats.source.SHARD", 15_000)
    for workers in (1, 2):
        parts = repaired(data, tmp_path / str(workers), workers=workers)
        assert (parts.path / "feedback.parquet").is_dir()
        assert records(parts) == records(whole)
        for name, kind in (("decisions", Decision), ("queue", Doubt)):
            of_parts, of_whole = (
                [to_row(row) for row in read_records(run.path / f"{name}.parquet", kind)] for run in (parts, whole)
            )
            assert of_parts == of_whole


def test_what_stands_on_another_scale_is_left_and_counted(data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row in rows[::10]:
        row["completions"][1]["critique"] |= {"score": 10.0, "scale": {"low": 0, "high": 100}}
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = repaired(tmp_path / "data.jsonl", tmp_path / "run")
    assert run.summary["other_scale"] == 30
    assert {row.completions[1].overall_score for row in records(run)[::10]} == {10.0}


def test_wording_that_says_nothing_leaves_every_ten_in_doubt(tmp_path: Path) -> None:
    items = [{"text": str(n), "critique": {"text": "It is an answer.", "score": s}} for n, s in enumerate((10, 4))]
    rows = [{"prompt": [{"role": "user", "content": f"q{n}"}], "completions": items} for n in range(60)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = repaired(tmp_path / "data.jsonl", tmp_path / "run")
    assert (run.summary["changed"], run.summary["queued"]) == (0, 60)
    assert "every 10 is in doubt" in run.summary["hint"]
    queue = list(read_records(run.path / "queue.parquet", Doubt))
    assert {each.critique for each in queue} == {"It is an answer."}


@pytest.mark.parametrize(
    ("score", "said"), [(None, "no completion has an overall score"), (4, "no score is a 10: nothing is in doubt")]
)
def test_what_holds_no_ten_has_none_in_doubt(score: int | None, said: str, tmp_path: Path) -> None:
    items = [{"text": str(n), "critique": score and {"text": "It is an answer.", "score": score}} for n in range(2)]
    rows = [{"prompt": [{"role": "user", "content": f"q{n}"}], "completions": items} for n in range(60)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = repaired(tmp_path / "data.jsonl", tmp_path / "run")
    assert said in run.summary["hint"]
    assert run.summary["queued"] == 0


def test_by_ratings_says_where_wording_would_help(data: Path, tmp_path: Path) -> None:
    run = run_step("repair", Repair.parse({"data": str(data)}, where="test"), tmp_path / "run")
    assert "by=wording" in run.summary["hint"]


def test_the_old_name_of_the_rule_is_still_read() -> None:
    assert Repair.parse({"data": "d", "rule": "published"}, where="test") == Repair(data="d", by="ratings")
    with pytest.raises(ConfigError, match=r"'rule' is 'mine'.*by=ratings"):
        Repair.parse({"data": "d", "rule": "mine"}, where="test")
    with pytest.raises(ConfigError, match="two names of one setting"):
        Repair.parse({"data": "d", "rule": "published", "by": "wording"}, where="test")
    with pytest.raises(ConfigError, match="confidence"):
        Repair.parse({"data": "d", "confidence": 0.9}, where="test")
    with pytest.raises(ConfigError, match="confidence"):
        Repair.parse({"data": "d", "by": "wording", "confidence": 0.4}, where="test")
