"""A collection by batch files: out, answered as a provider would, in; nothing is asked over the network or twice."""

import json

import pytest

from notus.core.records import Feedback
from notus.core.tables import read_records
from tests.cli.test_own_judge import lay_out, notus  # noqa: F401  a fixture
from tests.helpers.desk import chat_completion, served

NOWHERE = "http://127.0.0.1:9/v1"


def answered(folder, **broken):
    """What a provider makes of the files of a folder: a line for each request, but for those that are to be broken."""
    lines = []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            asked = json.loads(line)
            assert asked.keys() == {"custom_id", "method", "url", "body"}
            assert (asked["method"], asked["url"]) == ("POST", "/v1/chat/completions")
            response = {"status_code": 200, "request_id": "r", "body": chat_completion(asked["body"])}
            lines.append({"id": "b", "custom_id": asked["custom_id"], "response": response, "error": None})
    for number, change in broken.get("change", {}).items():
        lines[number] |= change
    return lines


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" if isinstance(line, dict) else line for line in lines))
    return path


def usage(notus):  # noqa: F811
    """Tokens in and out of each model of the ledger, by name."""
    found = json.loads(notus("ledger", "runs/ledger.sqlite", "--json")[1])["accounts"]["accounts"]
    return [(each["tokens_in"], each["tokens_out"]) for each in found]


@pytest.fixture
def batch(notus, tmp_path):  # noqa: F811
    """``notus collect --batch-… --json`` of the page's recipe: exit code, what it says of the collection, stderr."""
    lay_out(tmp_path, NOWHERE)

    def call(*words):
        code, out, err = notus("collect", "collect-desk.yaml", "--out", "runs/desk", *words, "--json")
        return code, json.loads(out)[0] if code == 0 else None, err

    return call


def test_a_collection_goes_out_and_comes_in_batch_by_batch(batch, notus, tmp_path):  # noqa: F811
    code, found, err = batch("--batch-out", "one")
    assert code == 0, err
    assert found["written"]["steps"] == {"completion": 20}
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["careful-0001.jsonl", "hasty-0001.jsonl"]
    results = write(tmp_path / "one.jsonl", answered(tmp_path / "one"))
    code, found, err = batch("--batch-in", results, "--batch-out", "two")
    assert code == 0, err
    assert found["entered"]["replies"] == 20
    assert found["written"]["steps"] == {"judge/rubric": 20}
    assert found["written"]["known"] == 20
    second = write(tmp_path / "two.jsonl", answered(tmp_path / "two"))
    code, found, _ = batch("--batch-in", second)
    assert (found["entered"]["replies"], found["written"]["steps"]) == (20, {})
    code, out, err = notus("collect", "collect-desk.yaml", "--out", "runs/desk", "--json")
    assert code == 0, err  # the address answers nobody: all is in the ledger
    assert json.loads(out)["summary"]["asked"] == 0
    (folder,) = (tmp_path / "runs" / "desk" / "steps").glob("collect-*")
    by_batch = list(read_records(folder / "feedback.parquet", Feedback))
    with served() as (url, came):
        lay_out(tmp_path, url)
        assert notus("collect", "collect-desk.yaml", "--out", "elsewhere/desk")[0] == 0
        assert len(came) == 40
    (folder,) = (tmp_path / "elsewhere" / "desk" / "steps").glob("collect-*")
    assert list(read_records(folder / "feedback.parquet", Feedback)) == by_batch  # keys in the ledger included


def test_unknown_repeated_failed_and_broken_lines_are_counted_and_named(batch, notus, tmp_path):  # noqa: F811
    batch("--batch-out", "one")
    expired = {"response": None, "error": {"code": "batch_expired", "message": "not done in time"}}
    filtered = {"response": {"status_code": 400, "body": {"error": {"code": "content_filter", "message": "no"}}}}
    lines = answered(tmp_path / "one", change={0: expired, 1: filtered})
    unknown = {"custom_id": "f" * 32, "response": lines[2]["response"], "error": None}
    results = write(tmp_path / "one.jsonl", [*lines, lines[2], unknown, "no json\n", '{"id": 1}\n'])
    _, found, _ = batch("--batch-in", results)
    entered = found["entered"]
    assert entered["replies"] == 18
    assert entered["failed"] == {"batch_failed": 1, "content_filter": 1}
    assert entered["failed_ids"] == [line["custom_id"] for line in lines[:2]]
    assert entered["repeated"] == [lines[2]["custom_id"]]
    assert entered["unknown"] == ["f" * 32]
    assert entered["unread"] == ["one.jsonl:23", "one.jsonl:24"]
    # The one that expired is asked for again, and its prompt waits; the filtered one is final: 9 prompts, 17 answers.
    assert found["written"]["steps"] == {"completion": 1, "judge/rubric": 17}
    paid = usage(notus)
    _, found, _ = batch("--batch-in", results)
    assert found["entered"]["replies"] == 0
    assert len(found["entered"]["known"]) == 20
    assert (
        usage(notus) == paid == [(100 * replies, 20 * replies) for replies in (8, 10)]
    )  # both that failed were careful
    code, out, _ = notus("collect", "collect-desk.yaml", "--out", "runs/desk", "--batch-in", str(results))
    assert code == 0
    assert "answered before, and not entered again" in out
    assert f"asked for by nothing in this recipe, and not entered: {'f' * 32}" in out
    assert "one.jsonl:23, one.jsonl:24" in out


def test_an_answer_counts_and_not_the_failure_of_an_earlier_batch(batch, tmp_path):
    """``--batch-in`` of all files there are: one request expired in the first batch, and was answered in the second."""
    batch("--batch-out", "one")
    lines = answered(tmp_path / "one")
    expired = [line | {"response": None, "error": {"code": "batch_expired"}} for line in lines[:2]]
    _, found, _ = batch("--batch-in", write(tmp_path / "all.jsonl", [*expired, expired[1], *lines, lines[0]]))
    assert found["entered"]["replies"] == 20
    assert (found["entered"]["failed"], found["entered"]["failed_ids"]) == ({}, [])
    assert found["entered"]["repeated"] == [lines[1]["custom_id"], lines[0]["custom_id"]]
    assert found["written"]["steps"] == {"judge/rubric": 20}


def test_lines_of_the_messages_api_go_out_and_come_in(batch, tmp_path):
    recipe = tmp_path / "collect-desk.yaml"
    recipe.write_text(recipe.read_text().replace("model: writer-", "api: messages, model: writer-"))
    batch("--batch-out", "one")
    lines = []
    for file in sorted((tmp_path / "one").glob("*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines()):
            asked = json.loads(line)
            assert asked.keys() == {"custom_id", "params"}
            assert asked["params"].keys() == {"model", "messages", "max_tokens"}
            message = {
                "type": "message",
                "content": [{"type": "text", "text": f"Answer {number}."}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 9, "output_tokens": 3},
            }
            result = {"type": "succeeded", "message": message} if number else {"type": "expired"}
            lines.append({"custom_id": asked["custom_id"], "result": result})
    _, found, _ = batch("--batch-in", write(tmp_path / "one.jsonl", lines))
    assert (found["entered"]["replies"], found["entered"]["failed"]) == (18, {"batch_failed": 2})


def test_a_folder_that_is_not_empty_a_server_of_its_own_and_a_limit_of_cost(batch, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mine.txt").touch()
    code, _, err = batch("--batch-out", "one")
    assert (code, "no empty folder" in err) == (2, True)
    code, _, err = batch("--batch-out", "two", "--set", "collect.toy_judge={noise: 0.5}")
    assert (code, "takes no batch files" in err) == (2, True)
    recipe = tmp_path / "collect-desk.yaml"
    recipe.write_text(recipe.read_text().replace("model:", "price_in: 1.0, price_out: 1.0, model:"))
    # Each answer may cost (15 + 200) / 1e6 about: ten of them are below .0022, and all twenty are not.
    _, found, _ = batch("--batch-out", "three", "--set", "collect.max_cost=0.0022")
    written = found["written"]
    assert written["steps"]["completion"] + written["left_out"] == 20
    assert 8 <= written["steps"]["completion"] <= 11
    assert written["cost"] <= 0.0022


def test_what_prompts_demand_is_looked_at_before_anything_is_written(batch, tmp_path):
    """A checklist that is none, and code that nobody allowed: the answers would be paid for first, otherwise."""
    recipe = tmp_path / "collect-desk.yaml"
    recipe.write_text(recipe.read_text().replace("  judge: ", "  verify: {}\n  judge: "))
    prompts = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    for number, (demand, words) in enumerate(
        [
            ({"checklist": "yes"}, "give a list of requirements"),
            ({"instruction_id_list": ["python:mine.py:f"], "kwargs": [{}]}, "allow it by that name"),
        ]
    ):
        write(tmp_path / "prompts.jsonl", [prompt | demand for prompt in prompts])
        code, _, err = batch("--batch-out", f"out-{number}")
        assert (code, words in err) == (2, True), err
        assert not list((tmp_path / f"out-{number}").glob("*.jsonl"))
