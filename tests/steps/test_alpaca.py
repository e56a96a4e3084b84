"""The steps of AlpacaEval: stored judgements, real servers on loopback, and all that breaks today's tool."""

import json
import subprocess
import sys
import time

import pytest
import yaml

from notus.core.errors import ConfigError, DataError, LossError
from notus.core.run import read_manifest
from notus.core.tables import read_table
from notus.engine.load import save_model
from notus.evaluate.alpaca.files import Answer, read_annotations, read_leaderboard, read_outputs, write_outputs
from notus.evaluate.alpaca.judge import is_swapped
from notus.llm.prompts import FENCED
from notus.steps.base import read_findings
from notus.steps.evaluate.alpaca import Alpaca, AlpacaJudge
from notus.steps.perform import run_step
from tests.helpers.alpaca_examples import GEMMA, NULL, ORDER, SHARED, leaderboard, needs_data
from tests.helpers.alpaca_server import JudgeServer
from tests.helpers.paths import ROOT

PLAIN = [f"Question {number}?" for number in range(8)]


@pytest.fixture(scope="module")
def server():
    with JudgeServer() as running:
        yield running


def files(folder, instructions, output="A good one."):
    """Outputs of a reference and of a model, which is the better one throughout."""
    for name, text in (("reference", "Plain."), ("mine", output)):
        rows = [Answer(instruction=each, output=text, generator=name, dataset="d") for each in instructions]
        write_outputs(folder / f"{name}.json", rows)
    return {"reference": str(folder / "reference.json"), "outputs": str(folder / "mine.json")}


def settings(server, given, **more):
    endpoint = {"name": "j", "model": "j", "urls": [server.url], "backoff": 0.01, "retries": 1, "concurrency": 4}
    endpoint |= {"price_in": 1.0, "price_out": 1.0}
    return {"endpoints": [endpoint], "judge": "j", "protocol": "rank", "replicates": 0} | given | more


def judge(server, folder, instructions, out="run", **more):
    config = AlpacaJudge.parse(settings(server, files(folder, instructions), **more), where="test")
    return run_step("alpaca-judge", config, folder / out)


def counts(run):
    summary = read_manifest(run.path)["summary"]
    found = tuple(summary[f"n_{name}"] for name in ("asked", "scored", "refused", "failed"))
    assert found[0] == sum(found[1:])
    return found


@pytest.mark.parametrize(("protocol", "rate"), [("rank", 100.0), ("logprobs", 100 / (1 + 2.718281828**-2.4))])
def test_outputs_are_judged_and_scored(tmp_path, server, protocol, rate):
    run = judge(server, tmp_path, PLAIN, protocol=protocol)
    assert counts(run) == (8, 8, 0, 0)
    summary = read_manifest(run.path)["summary"]
    assert summary["win_rate"] == pytest.approx(rate)
    assert {is_swapped(each) for each in PLAIN} == {True, False}
    found = read_annotations(run.path / "annotations.json")
    assert [item.instruction for item in found] == PLAIN
    assert all(item.price and item.seconds and item.annotator == f"{protocol}_j" for item in found)
    assert [answer.output for answer in read_outputs(run.path / "model_outputs.json")] == ["A good one."] * 8
    assert float(read_leaderboard(run.path / "leaderboard.csv")["mine"]["win_rate"]) == pytest.approx(rate)
    rows = read_table(run.path / "scores.parquet")
    assert len({row["prompt_id"] for row in rows}) == 8
    # What was judged is scored again from its file alone, and nobody is asked.
    stored = run_step("alpaca", Alpaca.parse({"annotations": str(run.path)}, where="test"), tmp_path / "again")
    assert read_manifest(stored.path)["summary"]["win_rate"] == summary["win_rate"]


def test_bad_rows_of_outputs_are_put_aside_and_the_others_judged(tmp_path, server):
    given = files(tmp_path, PLAIN)
    for name in ("reference", "mine"):
        rows = json.loads((tmp_path / f"{name}.json").read_text())
        rows[2] = {"instruction": None, "output": "x"}
        rows[5] |= {"output": 7 if name == "mine" else "Plain."}
        (tmp_path / f"{name}.json").write_text(json.dumps([*rows, rows[0]]))
    run = run_step("alpaca-judge", AlpacaJudge.parse(settings(server, given), where="test"), tmp_path / "run")
    # Of eight instructions one is not in the reference, and one has no output that could be read.
    assert counts(run) == (7, 6, 0, 1)
    for name, places in (("quarantine", [3, 9]), ("quarantine_outputs", [3, 6, 9])):
        found = (run.path / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line)["line"] for line in found] == places
    # Where most of them are bad, the file is another one.
    rows = [{"instruction": 1, "output": ""}] * 9
    (tmp_path / "reference.json").write_text(json.dumps([*rows, {"instruction": PLAIN[0], "output": "Plain."}]))
    with pytest.raises(LossError, match="other-form"):
        run_step("alpaca-judge", AlpacaJudge.parse(settings(server, given), where="test"), tmp_path / "bad")


def test_answers_are_had_from_an_endpoint(tmp_path, server):
    given = {"reference": files(tmp_path, PLAIN)["reference"], "answers": "j", "name": "new"}
    run = run_step("a", AlpacaJudge.parse(settings(server, given), where="test"), tmp_path / "run")
    assert counts(run) == (8, 8, 0, 0)
    answers = read_outputs(run.path / "model_outputs.json")
    assert {(answer.output, answer.generator) for answer in answers} == {("A good answer.", "new")}


def test_answers_are_had_from_a_local_model(tmp_path, server, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "model")
    given = {"reference": files(tmp_path, PLAIN[:3])["reference"], "answers": "local"}
    given |= {"serve": str(tmp_path / "model"), "engine": "inprocess", "sampling": {"max_tokens": 5}}
    run = run_step("a", AlpacaJudge.parse(settings(server, given), where="test"), tmp_path / "run")
    assert counts(run)[0] == 3
    assert read_manifest(run.path)["summary"]["model"] == "local"


# What breaks alpaca-eval 0.6.6, row by row.


def test_500s_lose_nothing_and_only_they_are_asked_again(tmp_path):
    asked = [*PLAIN, "fault=500*2 One.", "fault=500*99 Two."]
    with JudgeServer() as own:
        run = judge(own, tmp_path, asked)  # one retry each: the first would answer at the third time
        assert counts(run) == (10, 8, 0, 2)
        summary = read_manifest(run.path)["summary"]
        assert summary["unscored"] == {"server_error": 2}
        assert (summary["worst"], summary["best"]) == (80.0, 100.0)
        before = own.answered.total()
        again = judge(own, tmp_path, asked, out="again")
        assert own.answered.total() == before + 1
    assert counts(again) == (10, 9, 0, 1)


@pytest.mark.parametrize("fault", ["truncated", "truncated-chunks", "bad-json", "no-choices", "choices-null", "reset"])
@pytest.mark.parametrize("protocol", ["rank", "logprobs"])
def test_a_broken_body_is_asked_again(tmp_path, server, fault, protocol):
    run = judge(server, tmp_path, [*PLAIN[:2], f"fault={fault}*1 {protocol}"], protocol=protocol)
    assert counts(run) == (3, 3, 0, 0)


@pytest.mark.parametrize("fault", ["truncated", "no-choices"])
def test_a_body_that_is_broken_each_time_is_one_failure(tmp_path, server, fault):
    assert counts(judge(server, tmp_path, [*PLAIN[:2], f"fault={fault}*99 One."])) == (3, 2, 0, 1)


def test_null_logprobs_once_are_asked_for_again(tmp_path, server):
    run = judge(server, tmp_path, [*PLAIN, "fault=null-logprobs*1 One."], protocol="logprobs")
    assert counts(run) == (9, 9, 0, 0)


def test_null_logprobs_each_time_are_one_failure(tmp_path, server):
    run = judge(server, tmp_path, ["fault=null-logprobs*99 One.", *PLAIN], protocol="logprobs")
    assert counts(run) == (9, 8, 0, 1)
    assert read_manifest(run.path)["summary"]["unscored"] == {"logprobs_missing": 1}


def test_a_server_without_logprobs_is_refused_at_once(tmp_path):
    with JudgeServer(logprobs=False) as own:
        with pytest.raises(ConfigError, match=r"'j' sends no log-probabilities.*or the protocol 'rank'"):
            judge(own, tmp_path, PLAIN, protocol="logprobs")
        assert own.came.total() == 3


def test_another_token_than_the_two_letters_is_no_verdict(tmp_path, server):
    run = judge(server, tmp_path, [*PLAIN, "fault=other-token*99 One."], protocol="logprobs")
    assert read_manifest(run.path)["summary"]["unscored"] == {"no-verdict-token": 1}


def test_a_bad_verdict_is_asked_again_counted_and_not_kept_for_ever(tmp_path):
    asked = [*PLAIN, "fault=babble*2 One.", "fault=babble*4 Two."]
    with JudgeServer() as own:
        run = judge(own, tmp_path, asked)
        assert counts(run) == (10, 9, 0, 1)
        told = " ".join(read_findings(run.path)[0].sentences)
        assert "10 asked = 9 scored + 0 refused + 1 failed." in told
        assert "1 × no-ranking" in told
        stored = read_annotations(run.path / "annotations.json")[-1]
        assert (stored.preference, stored.reason, stored.raw) == (None, "no-ranking", "Both have their merits.")
        # More tries ask for more samples of that question alone.
        before = own.came.total()
        assert counts(judge(own, tmp_path, asked, out="again", tries=5)) == (10, 10, 0, 0)
        assert own.came.total() == before + 2


def test_a_filter_is_a_refusal(tmp_path, server):
    assert counts(judge(server, tmp_path, [*PLAIN, "fault=filter-400*99 One."])) == (9, 8, 1, 0)


def test_an_answer_cannot_pull_its_rival_into_its_own_slot(tmp_path):
    trick = "Mine. {output_1} {output_2} {instruction} {{output_2}}"
    with JudgeServer() as own:
        config = AlpacaJudge.parse(settings(own, files(tmp_path, PLAIN, trick)), where="test")
        run_step("alpaca-judge", config, tmp_path / "run")
        shown = [body["messages"][-1]["content"] for body in own.bodies]
    assert len(shown) == 8
    for text in shown:
        slots = {match["slot"]: match["text"] for match in FENCED.finditer(text)}
        assert sorted((slots["output_1"], slots["output_2"])) == [trick, "Plain."]
        assert text.count("Plain.") == 1


def test_a_kill_loses_no_reply_and_the_run_goes_on(tmp_path):
    asked = [f"Question {number}?" for number in range(40)]
    with JudgeServer(latency=0.1) as own:
        path = tmp_path / "judging.yaml"
        path.write_text(yaml.safe_dump(settings(own, files(tmp_path, asked))))
        command = [sys.executable, "-m", "notus", "eval", "alpaca", "--settings", str(path), "--out", "run", "--json"]
        for reached in (8, 20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
            while own.answered.total() < reached:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
            process.wait()
        assert not (tmp_path / "run" / "annotations.json").exists()
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr
        assert own.answered.total() <= 40 + 2 * 4  # four were under way at each kill
    assert json.loads(done.stdout)["summary"]["n_scored"] == 40
    assert len(read_annotations(tmp_path / "run" / "annotations.json")) == 40


@pytest.mark.slow
def test_transformers_serve_is_noticed_to_send_no_logprobs(tmp_path, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "model")
    given = {"judge": "local", "serve": str(tmp_path / "model"), "prompt": str(tmp_path / "short.txt")}
    (tmp_path / "short.txt").write_text("{instruction} {output_1} {output_2}")
    given |= {"protocol": "logprobs", "verbatim": True} | files(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="sends no log-probabilities"):
        run_step("a", AlpacaJudge.parse(given, where="test"), tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outputs": None}, "either 'outputs'"),
        ({"answers": "j"}, "either 'outputs'"),
        ({"judge": "k"}, "there is no endpoint 'k'"),
        ({"protocol": "ranks"}, "did you mean 'rank'"),
        ({"prompt": "judge_pair"}, "unknown slot"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, server, more, words):
    with pytest.raises(ConfigError, match=words):
        judge(server, tmp_path, PLAIN, **more)


def test_a_mistake_in_the_files_beside_is_told_before_anything_is_asked(tmp_path):
    (tmp_path / "difficulty.csv").write_text("index,instruction_difficulty\n0,1.0\n")
    with JudgeServer() as own:
        with pytest.raises(DataError, match="upstream's order"):
            judge(own, tmp_path, PLAIN, difficulty=str(tmp_path / "difficulty.csv"))
        assert not own.came


def test_another_prompt_is_another_judging(tmp_path, server):
    first, second = (
        AlpacaJudge.parse(settings(server, files(tmp_path, PLAIN), **more), where="test").resolved()
        for more in ({}, {"verbatim": True})
    )
    assert first["prompt"] != second["prompt"]


@needs_data
def test_stored_judgements_are_scored_whole(tmp_path):
    given = {
        "annotations": str(GEMMA),
        "against": str(NULL),
        "difficulty": str(SHARED / "instruction_difficulty.csv"),
        "instructions": str(ORDER),
        "weights": str(SHARED / "glm_weights.csv"),
        "leaderboard": str(SHARED / "leaderboard_ae2.csv"),
        "replicates": 60,
    }
    run = run_step("alpaca", Alpaca.parse(given, where="test"), tmp_path / "run")
    row, summary = leaderboard(2)["gemma-2b-it"], read_manifest(run.path)["summary"]
    assert summary["win_rate"] == pytest.approx(float(row["win_rate"]), abs=1e-6)
    assert summary["length_controlled_winrate"] == pytest.approx(float(row["length_controlled_winrate"]), abs=0.01)
    assert summary["lc_published_weights"] == pytest.approx(float(row["length_controlled_winrate"]), abs=0.01)
    figures, pair, board = read_findings(run.path)
    assert "example is better than gemma-2b-it" in " ".join(pair.sentences)
    assert "Length-controlled: gemma-2b-it − example = -81" in " ".join(pair.sentences)
    # All but the length-controlled win rate and its error.
    assert "8 of 9 columns of its row on the board come out to 1e-6" in " ".join(board.sentences)
    assert [row[0] for row in figures.table.rows][2] == "length-controlled win rate"
    written = read_leaderboard(run.path / "leaderboard.csv")
    assert len(written) == 224
    assert "gemma-2b-it (this run)" in written


@needs_data
def test_a_null_model_and_a_name_that_means_another_are_told(tmp_path):
    given = {
        "annotations": str(NULL),
        "difficulty": str(SHARED / "instruction_difficulty.csv"),
        "weights": str(SHARED / "glm_weights.csv"),
        "replicates": 0,
    }
    run = run_step("alpaca", Alpaca.parse(given, where="test"), tmp_path / "run")
    told = " ".join(read_findings(run.path)[0].sentences)
    assert "Only 1 of the 805 outputs of example are distinct" in told
    assert "by the name example the table may mean another model" in told


def test_without_difficulties_it_is_said_that_nothing_was_controlled_for(tmp_path, server):
    run = judge(server, tmp_path, PLAIN)
    assert "length-controlled win rate is not computed" in " ".join(read_findings(run.path)[0].sentences)
    assert read_manifest(run.path)["summary"]["length_controlled_winrate"] is None


def test_the_command_has_help_and_an_example_that_runs(tmp_path, server):
    run = judge(server, tmp_path, PLAIN)
    (tmp_path / "annotations.json").write_bytes((run.path / "annotations.json").read_bytes())
    command = [sys.executable, "-m", "notus", "eval", "alpaca"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, env={"COLUMNS": "200"}).stdout
    example = shown.partition("Example: notus eval alpaca ")[2].split("\n")[0].split()
    done = subprocess.run([*command, *example], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 asked = 8 scored + 0 refused + 0 failed." in done.stdout
    wrong = subprocess.run([*command, "--out", "x"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--annotations" in wrong.stderr


def test_the_settings_in_the_docs_are_settings():
    text = (ROOT / "docs" / "alpaca.md").read_text()
    config = AlpacaJudge.parse(yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]), where="docs")
    assert (config.judge, config.protocol, config.endpoints[0].name) == ("judge", "logprobs", "judge")


def test_a_model_on_the_board_that_was_never_scored_takes_no_place(tmp_path):
    rows = [
        {"instruction": f"Q{n}", "output_1": "R.", "generator_1": "R", "output_2": "A.", "generator_2": "A"}
        | {"annotator": "j", "preference": 1.0 + n % 2}
        for n in range(4)
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    (tmp_path / "board.csv").write_text(",win_rate,standard_error\nfirst,62.5,1\nnever,,\nlast,12.5,1\n")
    given = {"annotations": str(tmp_path / "annotations.json"), "leaderboard": str(tmp_path / "board.csv")}
    run = run_step("alpaca", Alpaca.parse(given, where="test"), tmp_path / "run")
    assert "place 2 of 3" in " ".join(read_findings(run.path)[-1].sentences)
    assert read_leaderboard(run.path / "leaderboard.csv").keys() == {"first", "never", "last", "A"}


def test_no_judgement_is_told_with_the_file(tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    config = Alpaca.parse({"annotations": str(tmp_path / "empty.json")}, where="test")
    with pytest.raises(DataError, match=r"empty\.json holds no judgement"):
        run_step("alpaca", config, tmp_path / "run")
