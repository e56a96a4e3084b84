"""The step and the command for MT-Bench: stored judgements, and a model and a judge behind a real loopback server."""

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from notus.cli.main import EVALUATIONS
from notus.core.errors import ConfigError, DataError
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records, read_table
from notus.engine.load import save_model
from notus.evaluate.compare import Score, compare
from notus.evaluate.mtbench.files import read_answers, read_judgments, write_rows
from notus.evaluate.mtbench.parse import ReadingDifference
from notus.evaluate.mtbench.score import RepeatedGrading
from notus.steps.base import read_findings
from notus.steps.evaluate.mtbench import MtBench
from notus.steps.perform import run_step
from tests.helpers.mtbench_examples import answered, graded, matched, questions, stored
from tests.recipes.test_experiment import notus


def encode(row):
    return msgspec.json.encode(row).decode()


def parse(**settings):
    return MtBench.parse(settings, where="test")


class Server:
    """Answers chat requests: as a model with the number of its turns, as a judge with a grade or a verdict."""

    def __init__(self, judged=lambda _: "Fair. [[7]]"):
        self.asked = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked[body["model"]] += 1
                turns = [message["content"] for message in body["messages"]]
                text = judged(turns[-1]) if body["model"] == "judge" else f"{len(turns)} turns, {turns[-1]}"
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                content = json.dumps({"object": "chat.completion", "model": "m", "choices": [choice]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def endpoints(self):
        return [{"name": name, "model": name, "urls": [self.url]} for name in ("judge", "m")]


@pytest.fixture
def files(tmp_path):
    write_rows(tmp_path / "question.jsonl", list(questions("writing", "math", "stem").values()))
    write_rows(tmp_path / "references.jsonl", [answered("gpt", "right one", "right two", question=2)])
    rival = [answered("rival", f"rival {n}", f"rival {n} again", question=n) for n in (1, 2, 3)]
    write_rows(tmp_path / "rival.jsonl", rival)
    names = {"questions": "question", "references": "references"}
    return {key: str(tmp_path / f"{name}.jsonl") for key, name in names.items()}


def single(tmp_path, rows, name="j_single.jsonl"):
    write_rows(tmp_path / name, rows)
    return str(tmp_path / name)


def test_stored_judgements_are_scored_with_all_that_is_doubtful(tmp_path):
    rows = [
        graded(f"[[{5 + n % 3}]]", question=81 + n, turn=turn, score=5 + n % 3) for n in range(20) for turn in (1, 2)
    ]
    rows += [graded("[[5]]", score=5), graded("I cannot say.", question=101, score=-1)]
    judged = single(tmp_path, rows)
    write_rows(tmp_path / "pair.jsonl", [matched("[[A]]", "[[B]]", question=81 + n) for n in range(9)])
    run = run_step("mtbench", parse(judgments=[judged, str(tmp_path / "pair.jsonl")]), tmp_path / "run", 0)
    summary = read_manifest(run.path)["summary"]
    assert {key: summary[key] for key in ("asked", "scored", "unscored", "pairs", "judged_again")} == {
        "asked": 41,
        "scored": 40,
        "unscored": 1,
        "pairs": 9,
        "judged_again": 1,
    }
    assert summary["reproduced"] == "42 of 60"  # the pairs were stored as errors
    differing = list(read_records(run.path / "differences.parquet", ReadingDifference))
    assert Counter(one.reason for one in differing) == {"no-verdict": 1, "stored-otherwise": 18}
    (again,) = read_records(run.path / "repeated.parquet", RepeatedGrading)
    assert (again.question_id, again.times, again.alike) == (81, 2, True)
    scores = read_table(run.path / "scores.parquet")
    assert len(scores) == 41
    assert [row["reason"] for row in scores if row["value"] is None] == ["no-verdict"]
    (arm,) = compare([Score("a", 0, r["prompt_id"], r["sample"], r["value"]) for r in scores]).arms
    assert (arm.asked, arm.unscored, arm.prompts) == (41, 1, 20)
    whole = next(row for row in read_table(run.path / "figures.parquet") if row["part"] == "all")
    assert (whole["asked"], whole["scored"]) == (41, 40)
    assert whole["low"] < whole["mean"] < whole["high"]
    headings = [finding.heading for finding in read_findings(run.path)]
    assert headings == [
        "MT-Bench, read strictly",
        "By category and turn",
        "Side by side, in both orders",
        "How the judgements were read",
        "Judged more than once",
    ]
    assert (run.path / "mtbench-scores.svg").read_text().startswith("<svg")


def test_a_bad_row_of_questions_or_answers_is_put_aside_with_all_that_belongs_to_it(tmp_path):
    asked = questions("writing", "math", "stem")
    lines = [
        json.dumps({"question_id": 2, "category": "", "turns": ["x"]}),
        *map(encode, (asked[1], asked[3], asked[3])),
    ]
    (tmp_path / "question.jsonl").write_text("\n".join(lines))
    rows = [graded(f"[[{number + 4}]]", question=number, score=number + 4) for number in (1, 2, 3)]
    answers = [answered("m", "one", "two", question=number) for number in (1, 2, 3, 3)]
    write_rows(tmp_path / "answers.jsonl", answers)
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"question_id": 1}\n')
    given = {"judgments": [single(tmp_path, rows)], "answers": [str(tmp_path / "answers.jsonl")]}
    run = run_step("mtbench", parse(questions=str(tmp_path / "question.jsonl"), **given), tmp_path / "run", 0)
    summary = read_manifest(run.path)["summary"]
    assert (summary["asked"], summary["scored"], summary["quarantined"]) == (2, 2, 4)
    for name, places in (("questions", [1, 4]), ("answers", [4, 5])):
        found = (run.path / f"quarantine_{name}.jsonl").read_text().splitlines()
        assert [json.loads(line)["line"] for line in found] == places
    dropped = {(item.stage, item.reason) for tally in run.tallies for item in tally.dropped}
    assert ("without-question", "no-question") in dropped
    assert [item.id for tally in run.tallies for item in tally.dropped if item.reason == "no-question"] == [
        "grading of m, question 2",
        "answer of m, question 2",
    ]


def test_fastchats_mode_and_one_model_alone(tmp_path):
    rows = [graded('"[[10]]" [[1]]', model="a", score=10), graded("[[3]]", model="b", score=3)]
    judged = single(tmp_path, rows)
    run = run_step("mtbench", parse(judgments=[judged], mode="fastchat", only=["a"]), tmp_path / "run", 0)
    (row,) = read_table(run.path / "scores.parquet")
    assert row["value"] == 10
    both = run_step("mtbench", parse(judgments=[judged]), tmp_path / "both", 0)
    assert not (both.path / "scores.parquet").exists()  # of which model should they be?
    with pytest.raises(ConfigError, match="nothing was judged of a model 'c'; known: a, b"):
        run_step("mtbench", parse(judgments=[judged], only=["c"]), tmp_path / "c", 0)


def test_a_model_answers_and_a_judge_grades_and_nothing_is_asked_twice(tmp_path, files):
    settings = {
        **files,
        "model": "m",
        "name": "owner/mine",
        "baseline": "rival",
        "answers": [str(tmp_path / "rival.jsonl")],
    }
    settings["judge"] = {"endpoint": "judge", "kinds": ["single", "pair"]}
    with Server(lambda text: "So: [[C]]" if "assistant B" in text else "Fair. [[7]]") as server:
        run = run_step("mtbench", parse(**settings, endpoints=server.endpoints()), tmp_path / "runs" / "one", 0)
        assert server.asked == {"m": 6, "judge": 2 * 6 + 2 * 6}
        again = run_step("mtbench", parse(**settings, endpoints=server.endpoints()), tmp_path / "runs" / "two", 0)
        assert server.asked.total() == 30
    ((name, rows),) = read_answers(run.path / "model_answer" / "owner_mine.jsonl").items()
    assert name == "owner/mine"
    assert rows[2].turns == ("1 turns, First 2?", "3 turns, Second 2?")
    gradings, _ = read_judgments(run.path / "model_judgment" / "judge_single.jsonl")
    assert [(row.model, row.score) for row in gradings] == [("rival", 7)] * 6 + [("owner/mine", 7)] * 6
    _, matches = read_judgments(run.path / "model_judgment" / "judge_pair.jsonl")
    assert {(row.model_1, row.model_2, row.g1_winner, row.g2_winner) for row in matches} == {
        ("owner/mine", "rival", "tie", "tie")
    }
    names = ("model_judgment/judge_single.jsonl", "model_judgment/judge_pair.jsonl", "model_answer/owner_mine.jsonl")
    assert all((run.path / name).read_bytes() == (again.path / name).read_bytes() for name in names)
    assert [tally["stage"] for tally in read_json(run.path / "tally.json")] == ["answer", "grade", "pairs"]
    assert "not distinguishable" in " ".join(s for f in read_findings(run.path) for s in f.sentences)
    # What was asked for can be scored again as stored judgements, from the run directory.
    stored_run = run_step("mtbench", parse(judgments=[str(run.path)], questions=files["questions"]), tmp_path / "s", 0)
    assert read_manifest(stored_run.path)["summary"]["scored"] == 12


def test_a_judge_that_falls_for_a_quoted_verdict_is_not_believed(tmp_path, files):
    settings = {**files, "answers": [str(tmp_path / "rival.jsonl")], "judge": {"endpoint": "judge", "tries": 2}}
    with Server(lambda _: 'It says "[[10]]". Rating: [[1]]') as server:
        strict = run_step("mtbench", parse(**settings, endpoints=server.endpoints()), tmp_path / "runs" / "strict", 0)
        loose = parse(**settings, endpoints=server.endpoints(), mode="fastchat")
        loose = run_step("mtbench", loose, tmp_path / "runs" / "loose", 0)
    summaries = [read_manifest(run.path)["summary"] for run in (strict, loose)]
    assert [(summary["scored"], summary["unscored"]) for summary in summaries] == [(0, 6), (6, 0)]
    assert {row["value"] for row in read_table(loose.path / "scores.parquet")} == {10}
    tally = next(t for t in read_json(strict.path / "tally.json") if t["stage"] == "grade")
    assert tally["dropped"] == {"several-verdicts": 6}


def test_a_constant_answer_is_flagged_whatever_its_grade(tmp_path):
    write_rows(tmp_path / "question.jsonl", list(questions(*["stem"] * 12).values()))
    write_rows(tmp_path / "null.jsonl", [answered("null", "Same.", "Same.", question=n) for n in range(1, 13)])
    settings = {"questions": str(tmp_path / "question.jsonl"), "answers": [str(tmp_path / "null.jsonl")]}
    with Server(lambda _: "Splendid. [[10]]") as server:
        config = parse(**settings, judge={"endpoint": "judge"}, endpoints=server.endpoints())
        run = run_step("mtbench", config, tmp_path / "runs" / "null", 0)
    first = read_findings(run.path)[0]
    assert first.heading == "Answers that are too much alike"
    assert "null: 1 distinct answer to 24 prompts" in first.sentences[0]


def test_a_model_in_this_process_answers(tmp_path, files, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "tiny")
    config = parse(questions=files["questions"], serve=str(tmp_path / "tiny"), engine="inprocess", max_tokens=8)
    run = run_step("mtbench", config, tmp_path / "runs" / "answers", 3)
    rows = read_answers(run.path / "model_answer" / "local.jsonl")["local"]
    assert {number: len(row.turns) for number, row in rows.items()} == {1: 2, 2: 2, 3: 2}
    assert read_manifest(run.path)["summary"]["answers"] == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "nothing to score"),
        ({"model": "m"}, "the questions are needed"),
        ({"judgments": ["x"], "questions": "q", "judge": {"endpoint": "j"}}, "nothing to judge"),
        (
            {"answers": ["x"], "questions": "q", "judge": {"endpoint": "j", "kinds": ["pair"]}},
            "pairs are judged against a model",
        ),
        ({"judgments": ["x"], "mode": "strikt"}, "strict"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        parse(**settings)


def test_files_that_do_not_fit_are_refused(tmp_path, files):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no JSON lines"):
        run_step("mtbench", parse(judgments=[str(tmp_path / "empty")]), tmp_path / "a", 0)
    shutil.copy(tmp_path / "rival.jsonl", tmp_path / "other.jsonl")
    twice = [str(tmp_path / "rival.jsonl"), str(tmp_path / "other.jsonl")]
    config = parse(**files, answers=twice, judge={"endpoint": "judge"})
    with pytest.raises(DataError, match="holds answers of 'rival', and so does a file before it"):
        run_step("mtbench", config, tmp_path / "b", 0)


def test_a_changed_prompt_file_is_another_judge(tmp_path, files):
    settings = {**files, "answers": [str(tmp_path / "rival.jsonl")]}
    plain = parse(**settings, judge={"endpoint": "judge"}).resolved()["judge"]["prompts"]
    verbatim = parse(**settings, judge={"endpoint": "judge", "verbatim": True}).resolved()["judge"]["prompts"]
    assert plain != verbatim


def test_the_example_of_the_help_runs(tmp_path):
    single(tmp_path, [graded("[[5]]", question=81 + n, score=5 + n % 2) for n in range(4)], "judgments.jsonl")
    command = EVALUATIONS["mtbench"]
    example = command.example.removeprefix("notus ").split()
    line = [sys.executable, "-m", "notus", *example]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "MT-Bench" in done.stdout
    help_ = notus("eval", "mtbench", "--help")
    assert command.example.split(" --")[0] in help_.stdout
    lost = subprocess.run([*line[:-1], "runs/b", "--baseline", "x"], capture_output=True, text=True, cwd=tmp_path)
    assert lost.returncode == 2
    assert "baseline 'x'" in lost.stderr


def test_settings_from_a_file_are_laid_under_the_options(tmp_path):
    judged = single(tmp_path, [graded('"[[9]]" [[1]]', score=9)])
    (tmp_path / "s.yaml").write_text(f"judgments: [{judged}]\nmode: fastchat\n")
    done = notus("eval", "mtbench", "--settings", tmp_path / "s.yaml", "--out", tmp_path / "run", "--json")
    found = json.loads(done.stdout)
    assert (found["summary"]["mode"], found["summary"]["scored"]) == ("fastchat", 1)
    over = ("--mode", "strict", "--out", tmp_path / "strict", "--json")
    found = json.loads(notus("eval", "mtbench", "--settings", tmp_path / "s.yaml", *over).stdout)
    assert (found["summary"]["mode"], found["summary"]["scored"]) == ("strict", 0)


def test_models_are_arms_of_a_recipe(tmp_path):
    rows = [
        graded(f"[[{grade + n % 3}]]", question=81 + n, turn=turn, model=model)
        for model, grade in (("a", 3), ("b", 7))
        for n in range(12)
        for turn in (1, 2)
    ]
    judged = single(tmp_path, rows)
    recipe = {"name": "two", "arms": {model: {"mtbench": {"only": [model]}} for model in "ab"}}
    (tmp_path / "two.yaml").write_text(json.dumps({**recipe, "mtbench": {"judgments": [judged]}}))
    done = notus("run", tmp_path / "two.yaml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(notus("compare", tmp_path / "run", "--json").stdout).values()
    assert found["pairs"][0]["better"] == "b"
    assert found["pairs"][0]["shared_prompts"] == 12


def test_the_stored_judgements_whole(tmp_path):
    files = [str(path) for path in stored("judgements_*.gz")]
    run = run_step("mtbench", parse(judgments=files), tmp_path / "run", 0)
    summary = read_manifest(run.path)["summary"]
    assert summary["reproduced"] == "1750 of 1750"
    assert (summary["asked"], summary["scored"], summary["unscored"]) == (1600, 1448, 152)
    assert (summary["read_otherwise"], summary["judged_again"]) == (162, 0)
