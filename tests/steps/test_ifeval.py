"""The step ifeval: stored answers and verdicts, a model's own answers, figures by hand, what is missing, compare."""

import json
import subprocess
import sys

import pytest

import notus
from notus.core.errors import ConfigError, DataError
from notus.core.records import Message, Output
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records, read_table, write_records
from notus.engine.load import save_model
from notus.recipes.experiment import compare_runs
from notus.steps.base import read_findings
from notus.steps.checks.ifeval import Ifeval
from notus.steps.perform import run_step
from tests.helpers.misbehaving import Server

PROMPTS = [
    ("Name a river.", ["en:punctuation:no_comma"], [{}]),
    ("Name two.", ["en:punctuation:no_comma", "startend:quotation"], [{}, {"num_words": None}]),
    ("Name three. ", ["detectable_format:number_bullet_lists"], [{"num_bullets": 3}]),
]
GOOD = ["The Oder.", '"The Oder and the Elbe."', "* Oder\n* Elbe\n* Rhine"]
MIXED = ["Well, here:\nThe Oder.", "The Oder and the Elbe.", "* Oder\n* Elbe\n* Rhine"]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def prompts(tmp_path):
    rows = [
        {"key": number, "prompt": text, "instruction_id_list": ids, "kwargs": kwargs}
        for number, (text, ids, kwargs) in enumerate(PROMPTS)
    ]
    return jsonl(tmp_path / "prompts.jsonl", rows)


def check(tmp_path, prompts, rows, out="run", **more):
    given = {"prompts": prompts, "outputs": jsonl(tmp_path / f"{out}.jsonl", rows)} | more
    return run_step("ifeval", Ifeval.parse(given, where="test"), tmp_path / out)


def by_key(answers, **more):
    return [{"key": key, "response": text, **more} for key, text in enumerate(answers)]


def accuracies(run):
    return {(row["model"], row["name"]): row for row in read_table(run.path / "accuracies.parquet")}


def test_the_four_accuracies_by_hand(tmp_path, prompts):
    run = check(tmp_path, prompts, by_key(MIXED, model="mine"))
    found = accuracies(run)
    # Answer 0 has a comma in its first line alone; answer 1 no quotation marks; answer 2 is right.
    assert (found["mine", "prompts"]["strict"], found["mine", "prompts"]["loose"]) == (1 / 3, 2 / 3)
    assert (found["mine", "instructions"]["strict"], found["mine", "instructions"]["loose"]) == (2 / 4, 3 / 4)
    assert [found["mine", "punctuation:no_comma"][name] for name in ("n", "strict", "loose")] == [2, 0.5, 1.0]
    assert found["mine", "startend:quotation"]["strict_low"] is None  # of one prompt there is no interval
    summary = read_manifest(run.path)["summary"]
    figure = summary["figures"]["mine"]["prompt_strict"]
    assert (figure["mean"], figure["n"], figure["unit"]) == (1 / 3, 3, "share")
    assert figure["low"] < 1 / 3 < figure["high"]
    assert [row["strict"] for row in read_table(run.path / "instructions.parquet")] == [False, True, False, True]
    assert [row["value"] for row in read_table(run.path / "scores.parquet")] == [0, 0, 1]
    reasons = [row["reason"] for row in read_table(run.path / "verdicts.parquet")]
    assert reasons == ["punctuation:no_comma", "startend:quotation", ""]


def test_answers_are_found_by_text_whatever_space_is_around_it(tmp_path, prompts):
    rows = [{"prompt": text.strip(), "response": answer} for (text, _, _), answer in zip(PROMPTS, GOOD, strict=True)]
    run = check(tmp_path, prompts, rows, out="mine")
    summary = read_manifest(run.path)["summary"]
    assert summary["models"] == ["mine"]  # the name of the file, where rows do not say
    assert summary["matched_without_space"] == 1
    assert summary["figures"]["mine"]["prompt_strict"]["mean"] == 1


def test_stored_verdicts_are_held_against_ours(tmp_path, prompts):
    stored = [
        {"strict": [False], "loose": [True]},
        {"strict": [True, True], "loose": [True, True]},
        {"follow_instruction_list": [False]},
    ]
    rows = [row | verdict for row, verdict in zip(by_key(MIXED, model="m"), stored, strict=True)]
    run = check(tmp_path, prompts, rows)
    found = [
        tuple(row[name] for name in ("key", "check", "strict", "stored_strict", "loose", "stored_loose", "line"))
        for row in read_table(run.path / "differences.parquet")
    ]
    assert found == [
        ("1", "startend:quotation", False, True, False, True, 2),
        ("2", "detectable_format:number_bullet_lists", True, False, True, None, 3),
    ]
    assert read_manifest(run.path)["summary"]["differing_instructions"] == 2
    section = next(each for each in read_findings(run.path) if each.heading == "Stored verdicts")
    assert "2 of 4 instructions and 2 of 3 prompts" in section.sentences[0]
    assert "1 of 3 instructions and 1 of 2 prompts" in section.sentences[1]


def test_samples_of_lm_eval_are_read(tmp_path, prompts):
    rows = [
        {
            "doc": {"key": 1, "prompt": "Name two."},
            "resps": [["No."]],
            "filtered_resps": [GOOD[1]],
            "inst_level_strict_acc": [True, True],
            "inst_level_loose_acc": [True, False],
        }
    ]
    run = check(tmp_path, prompts, rows)
    (row,) = read_table(run.path / "differences.parquet")
    assert (row["check"], row["loose"], row["stored_loose"]) == ("startend:quotation", True, False)
    assert read_manifest(run.path)["summary"]["unanswered"] == {"run": 2}


def test_what_is_missing_empty_or_bad_is_counted_and_said(tmp_path, prompts):
    rows = [
        {"key": 0, "response": None},
        {"key": 1, "response": GOOD[1]},
        {"key": 1, "response": GOOD[1], "strict": [True]},
        {"key": 7, "response": "To what?"},
        {"key": 0, "prompt": "Name two.", "response": "To which?"},
        {"key": 2, "answers": "?"},
    ]
    run = check(tmp_path, prompts, rows, allow_losses=True)
    summary = read_manifest(run.path)["summary"]
    assert (summary["answers"], summary["empty"], summary["unanswered"]) == (2, 1, {"run": 1})
    assert summary["quarantined"] == 4
    told = read_findings(run.path)[0].sentences
    assert any("1 prompts have no answer" in each for each in told)
    assert any("1 of 2 answers are empty" in each for each in told)
    quarantine = [json.loads(line) for line in (run.path / "quarantine_answers.jsonl").read_text().splitlines()]
    assert [entry["line"] for entry in quarantine] == [3, 4, 5, 6]


def test_a_run_of_several_models_has_no_scores_and_one_can_be_taken(tmp_path, prompts):
    rows = [*by_key(GOOD, model="good"), *by_key(MIXED, model="mixed")]
    both = check(tmp_path, prompts, rows)
    assert not (both.path / "scores.parquet").exists()
    assert accuracies(both)["good", "prompts"]["strict"] == 1
    one = check(tmp_path, prompts, rows, out="one", only=["mixed"])
    assert [row["value"] for row in read_table(one.path / "scores.parquet")] == [0, 0, 1]
    with pytest.raises(DataError, match="did you mean 'mixed'"):
        check(tmp_path, prompts, rows, out="none", only=["mixd"])


def test_runs_are_compared_prompt_by_prompt(tmp_path, prompts):
    good = check(tmp_path, prompts, by_key(GOOD, model="m"), out="good")
    mixed = check(tmp_path, prompts, by_key(MIXED, model="m"), out="mixed")
    comparison = compare_runs([good.path, mixed.path], None)["ifeval"]
    (pair,) = comparison.pairs
    assert (pair.by_prompts.mean, pair.shared_prompts) == (-2 / 3, 3)  # the second against the first
    loose = check(tmp_path, prompts, by_key(MIXED, model="m"), out="loose", verdict="loose")
    with pytest.raises(ConfigError, match="verdict is 'strict' there, 'loose' here"):
        compare_runs([good.path, loose.path], None)


def test_a_model_answers_and_its_run_of_generate_gives_the_same(model, tokenizer, tmp_path, prompts):
    save_model(model, tokenizer, tmp_path / "start")
    sampling, limits = {"temperature": 0.0, "max_new_tokens": 6}, {"max_length": 96, "max_prompt_length": 48}
    given = {"prompts": prompts, "model": str(tmp_path / "start"), "sampling": sampling, "limits": limits}
    run = run_step("ifeval", Ifeval.parse(given, where="test"), tmp_path / "run", seed=3)
    rows = read_table(run.path / "answers.parquet")
    assert [row["key"] for row in rows] == ["0", "1", "2"]
    outputs = list(read_records(run.path / "outputs.parquet", Output))
    assert read_manifest(run.path)["summary"]["truncated"] == sum(output.truncated for output in outputs) > 0
    assert any("cut at the token limit" in each for each in read_findings(run.path)[0].sentences)
    assert [row["id"] for row in read_table(run.path / "scores.parquet")] == [output.id for output in outputs]
    stored = {"prompts": prompts, "outputs": str(run.path), "name": "again"}
    again = run_step("ifeval", Ifeval.parse(stored, where="test"), tmp_path / "again", seed=3)
    assert [row["text"] for row in read_table(again.path / "answers.parquet")] == [row["text"] for row in rows]
    assert read_manifest(again.path)["summary"]["models"] == ["again"]


def test_answers_to_other_prompts_of_a_run_are_dropped(tmp_path, prompts):
    outputs = [
        Output(prompt=(Message(role="user", content=text),), text="The Oder.", model="m")
        for text in ("Name a river.", "Who else?")
    ]
    write_records(tmp_path / "outputs.parquet", outputs, Output)
    given = {"prompts": prompts, "outputs": str(tmp_path / "outputs.parquet")}
    run = run_step("ifeval", Ifeval.parse(given, where="test"), tmp_path / "run")
    assert len(read_table(run.path / "answers.parquet")) == 1
    dropped = {tally["stage"]: tally["dropped"] for tally in read_json(run.path / "tally.json")}
    assert dropped["answers"] == {"unknown-prompt": 1}


OWN = "def short(answer, *, most):\n    return len(answer) <= most\n"


def test_how_answers_are_drawn_is_no_setting_of_stored_ones(tmp_path):
    prompts = jsonl(tmp_path / "p.jsonl", [{"prompt": "x", "instruction_id_list": [], "kwargs": []}])
    with pytest.raises(ConfigError, match="'sampling' says how answers are drawn"):
        Ifeval.parse({"prompts": prompts, "outputs": prompts, "sampling": {"samples": 3}}, where="test")


def test_a_check_of_ones_own_counts_by_its_code(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    row = {"prompt": "Be brief.", "instruction_id_list": [f"python:{tmp_path}/mine.py:short"], "kwargs": [{"most": 3}]}
    prompts = jsonl(tmp_path / "prompts.jsonl", [row])
    given = {
        "prompts": prompts,
        "outputs": jsonl(tmp_path / "answers.jsonl", [{"prompt": "Be brief.", "response": "Yes!"}]),
    }

    own = {"own_checks": [row["instruction_id_list"][0]]}

    def strict(out):
        run = run_step("ifeval", Ifeval.parse(given | own, where="test"), tmp_path / out)
        return [row["strict"] for row in read_table(run.path / "answers.parquet")], run

    with pytest.raises(ConfigError, match="allow it by that name"):  # a file of prompts alone runs no code
        run_step("ifeval", Ifeval.parse(given, where="test"), tmp_path / "none")
    told, before = strict("run")
    assert told == [False]
    assert read_manifest(before.path)["summary"]["own_checks"].keys() == {"mine.py:short"}
    (tmp_path / "mine.py").write_text(OWN.replace("<=", ">="))
    told, after = strict("again")
    assert told == [True]
    assert read_json(before.path / "inputs.json") != read_json(after.path / "inputs.json")
    with pytest.raises(ConfigError, match="own checks"):
        compare_runs([before.path, after.path], None)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "name what is checked"),
        ({"model": "m", "outputs": "o"}, "name what is checked"),
        ({"model": "m", "only": ["a"]}, "only"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, word):
    with pytest.raises(ConfigError, match=word):
        Ifeval.parse({"prompts": "p.jsonl"} | given, where="test")


def test_a_prompts_file_with_an_unknown_check_is_refused(tmp_path):
    row = {"prompt": "Write.", "instruction_id_list": ["punctuation:no_commas"], "kwargs": [{}]}
    prompts = jsonl(tmp_path / "prompts.jsonl", [row])
    with pytest.raises(ConfigError, match="no_comma'"):
        check(tmp_path, prompts, [{"prompt": "Write.", "response": "x"}])


def test_the_command_and_the_python_face_give_the_same(tmp_path, prompts):
    answers = jsonl(tmp_path / "answers.jsonl", by_key(MIXED, model="mine"))
    command = [sys.executable, "-m", "notus", "eval", "ifeval", prompts, "--outputs", answers, "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Instructions followed" in done.stdout
    assert "notus compare run OTHER" in done.stdout
    found = notus.evaluate(answers, "ifeval", data=prompts)
    summary = read_manifest(tmp_path / "run")["summary"]
    assert found.summary["figures"] == summary["figures"]


def test_an_endpoint_answers_and_what_it_refuses_is_in_no_share(tmp_path):
    refused = "fault=filter-400*9 three?"
    rows = [
        {
            "key": number,
            "prompt": text,
            "instruction_id_list": ["startend:end_checker"],
            "kwargs": [{"end_phrase": "."}],
        }
        for number, text in enumerate(["one?", "two?", refused])
    ]
    prompts = jsonl(tmp_path / "prompts.jsonl", rows)
    with Server() as server:
        endpoint = {"name": "far", "model": "m", "urls": [server.url], "backoff": 0.02}
        given = {"prompts": prompts, "endpoints": [endpoint], "ledger": str(tmp_path / "ledger.sqlite")}
        run = run_step("ifeval", Ifeval.parse(given, where="test"), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["models"], summary["answers"], summary["unanswered"]) == (["far"], 2, {"far": 1})
    assert summary["figures"]["far"]["prompt_strict"]["mean"] == 1  # each answer of the server ends with a point
