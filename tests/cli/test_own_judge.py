"""docs/own-judge.md, run: a rubric written by hand collects, ranks, and is measured against people, a command each."""

import json
import re

import pytest

from notus.cli.main import main
from notus.core.records import Feedback
from notus.core.run import read_manifest
from notus.core.tables import read_records
from notus.steps.base import read_findings
from tests.helpers.desk import careful, hasty, judged, question, served
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "own-judge.md").read_text()
PARTS = ["chain", "bell", "saddle", "wheel", "lamp", "pedal", "brake", "hub", "fork", "stem"]


@pytest.fixture
def notus(monkeypatch, capsys, tmp_path):
    """The command line in this process, in a folder of its own: exit code, what it printed, and what it said."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    monkeypatch.chdir(tmp_path)
    return call


def lay_out(folder, url):
    """The files of the page, with the server's own address, prompts, people's votes, and answers to rank."""
    for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.S):
        (folder / name).write_text(text.replace("http://localhost:8000/v1", url))
    prompts = [{"prompt": question(part), "completion": "-"} for part in PARTS]
    # People prefer the careful answer but for two of the ten, where one of three and then two of three disagree.
    votes = [[1, 1, 1]] * 8 + [[1, 1, 2], [2, 2, 1]]
    people = [
        {"instruction": question(part), "input": "", "response1": careful(part), "response2": hasty(part)}
        | {f"annotator{n}": vote for n, vote in enumerate(own, 1)}
        for part, own in zip(PARTS, votes, strict=True)
    ]
    answers = [
        {
            "prompt": question(part),
            "completions": [
                {"response": text(part), "model": name, "score": 3} for name, text in (("a", careful), ("b", hasty))
            ],
        }
        for part in PARTS[:2]
    ]
    for name, rows in {"prompts": prompts, "people": people, "answers": answers}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def command_of(start, url):
    """The command of the page that begins so."""
    line = next(line.strip() for line in PAGE.splitlines() if line.startswith(f"    notus {start}"))
    words = re.findall(r"'[^']*'|\S+", line.replace("http://localhost:8000/v1", url))
    return [word.strip("'") for word in words][1:]


def test_it_collects_and_is_measured_against_people_in_one_command_each(notus, tmp_path):
    with served() as (url, _):
        lay_out(tmp_path, url)
        code, out, err = notus(*command_of("collect", url))
        assert code == 0, err
        assert "of the judge's replies, those asked for again among them, 20 of 20 (100.0%, 95 % 83.9% to 100.0%)" in (
            " ".join(out.split())
        )
        (folder,) = (tmp_path / "runs" / "desk" / "steps").glob("collect-*")
        for row in read_records(folder / "feedback.parquet", Feedback):
            for item in row.completions:
                good = item.model == "careful"
                ratings = {rating.aspect: rating.value for rating in item.ratings}
                facts, tone, step, short = (5, 6.5, 1, 1) if good else (2, 3, 0, 0)
                assert ratings == {"facts": facts, "tone": tone, "next-step": step, "short": short, "no-promise": None}
                # 1 + 9 · (2 · (facts − 1) / 4 + tone / 10 + next-step + short) / 5: the principle does not apply
                overall = 1 + 9 * (2 * (facts - 1) / 4 + tone / 10 + step + short) / 5
                assert item.critique.score == pytest.approx(overall)
                assert item.critique.text.startswith("It speaks of the")
                assert {rating.rater for rating in item.ratings} == {"my-judge"}
        code, out, err = notus(*command_of("eval judges", url), "--json")
        assert code == 0, err
    summary = json.loads(out)["summary"]
    by_grade, by_pair = (summary["judges"][name] for name in ("judge by desk", "judge by desk, in pairs"))
    # The majority prefers the careful answer in nine of ten, and so does the judge in all.
    for found in (by_grade, by_pair):
        assert (found["asked"], found["scored"]) == (10, 10)
        assert found["majority"]["mean"] == pytest.approx(0.9)
        assert found["majority"]["low"] < 0.9 < found["majority"]["high"]
    assert any("judge by desk" in str(each.table) for each in read_findings(tmp_path / "runs" / "trial"))


def test_it_ranks(notus, tmp_path):
    with served() as (url, came):
        lay_out(tmp_path, url)
        code, out, err = notus(*command_of("rank", url), "--json")
        assert code == 0, err
        assert len(came) == 4
        again, *_ = notus(*command_of("rank", url)[:-1], "runs/pairs", "--set", "ranking.judging=pairs")
        assert again == 0
        assert len(came) == 4 + 2 * 2
    ranked = list(read_records(tmp_path / "runs" / "ranked" / "feedback.parquet", Feedback))
    assert len(ranked) == 2
    assert json.loads(out)["summary"]["ranker"] == "judge:judge"


def test_structured_output_is_asked_for_where_the_endpoint_takes_it(notus, tmp_path):
    with served() as (url, came):
        lay_out(tmp_path, url)
        recipe = tmp_path / "collect-desk.yaml"
        recipe.write_text(recipe.read_text().replace("model: my-judge,", "model: my-judge, structured: true,"))
        code, out, err = notus("collect", recipe, "--out", "runs/json", "--json")
        assert code == 0, err
    asked = [body for _, _, body in came if body["model"] == "my-judge"]
    assert len(asked) == 20
    for body in asked:
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["scores"]["required"] == ["facts", "tone", "next-step", "short", "no-promise"]
        assert "Reply with one JSON object" in body["messages"][-1]["content"]
    assert json.loads(out)["summary"]["share_read"] == 1.0


def test_a_changed_rubric_is_another_judge_and_is_asked_anew(notus, tmp_path):
    with served() as (url, came):
        lay_out(tmp_path, url)
        notus("collect", "collect-desk.yaml", "--out", "runs/one")
        before = len(came)
        notus("collect", "collect-desk.yaml", "--out", "runs/two")
        assert len(came) == before
        rubric = tmp_path / "desk.yaml"
        rubric.write_text(rubric.read_text().replace("How friendly is it?", "How friendly does it sound?"))
        notus("collect", "collect-desk.yaml", "--out", "runs/three")
        assert len(came) == before + 20  # the answers are in the ledger, the judge is another
        changed = rubric.read_text().replace("weight: 2", "weight: 3")
        rubric.write_text(changed)
        code, _, err = notus("collect", "collect-desk.yaml", "--out", "runs/three")
        assert code == 0, err
        scores = {
            item.critique.score
            for folder in (tmp_path / "runs" / "three" / "steps").glob("collect-*")
            for row in read_records(folder / "feedback.parquet", Feedback)
            for item in row.completions
        }
        assert len(scores) == 4  # two answers under two weightings, in two runs


def unreadable(slots, prompt):
    del prompt
    return f"I like the answer about the {slots['instruction'][3:8]} a lot."


def test_a_judge_that_cannot_be_read_is_said_aloud_and_stops(notus, tmp_path):
    with served(unreadable) as (url, came):
        lay_out(tmp_path, url)
        code, out, err = notus("collect", "collect-desk.yaml", "--out", "runs/bad")
        assert code == 1
        (line,) = [line for line in err.splitlines() if line.startswith("notus:")]
        assert "the judge 'judge' cannot be read: of its first 20 replies 0 were read (20 missing-score)" in line
        assert line.count("[missing-score] I like the answer about the") == 3
        assert "unread: go-on" in line
        asked = len(came)
        assert notus("collect", "collect-desk.yaml", "--out", "runs/bad")[0] == 1
        assert len(came) <= asked + 40  # at most what was under way; what was answered is not asked again
        code, out, err = notus(
            "collect", "collect-desk.yaml", "--set", "collect.judge.unread=go-on", "--out", "runs/bad"
        )
        assert code == 0, err
    told = " ".join(out.split())
    assert "0 of 60 (0.0%, 95 % 0.0% to 6.0%) were read; not read: 60 missing-score" in told
    (folder,) = (tmp_path / "runs" / "bad" / "steps").glob("collect-*")
    summary = read_manifest(folder)["summary"]
    assert summary["judge_replies"]["share"]["mean"] == 0
    assert summary["share_read"] == 0
    tally = json.loads((folder / "tally.json").read_text())
    counts = next(each["counts"] for each in tally if each["stage"] == "collect")
    assert counts["not-read-missing-score"] == 20


def some(slots, prompt):
    """Refuses in words, stops at the limit, thinks and never comes to speak; else judges."""
    part = slots["instruction"][3:].split()[0]
    special = {
        "bell": "I'm sorry, but I can't judge this.",
        "saddle": (judged(slots, prompt), "length"),
        "wheel": "<think>It speaks of the wheel. facts: 5",
    }
    return special.get(part) or judged(slots, prompt)


def test_refusals_and_cut_replies_are_counted_as_such(notus, tmp_path):
    with served(some) as (url, _):
        lay_out(tmp_path, url)
        sets = ("--set", "collect.judge.tries=1")
        code, out, err = notus("collect", "collect-desk.yaml", *sets, "--out", "runs/some", "--json")
        assert code == 0, err
    replies = json.loads(out)["summary"]["judge_replies"]
    assert (replies["replies"], replies["read"]) == (20, 14)
    assert replies["not_read"] == {"refusal": 2, "cut-off": 2, "only-thoughts": 2}
