"""Checks as reward functions: the values by hand, the export, and TRL's own trainer for two updates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from notus.checks.grpo import all_followed, share_followed, with_own_checks
from notus.core.errors import ConfigError, DataError
from notus.engine.load import save_model
from notus.steps.data.export import Export
from notus.steps.perform import run_step
from tests.formats.test_trl import TEMPLATE

HELPER = Path(__file__).parents[1] / "helpers" / "trl_grpo.py"
CHECKS = json.dumps(
    [
        {"id": "en:punctuation:no_comma", "kwargs": {}},
        {"id": "length_constraints:number_words", "kwargs": {"num_words": 3, "relation": "at least", "letter": None}},
    ]
)


def test_the_rewards_of_texts_and_messages_by_hand():
    asked = [{"role": "user", "content": "Write."}]
    completions = [
        "one two three",
        "one, two, three",
        "one, two",
        [{"role": "assistant", "content": "a b c"}],
        [{"role": "assistant", "content": None}],
        "anything",
    ]
    given = {"prompts": ["Write.", "Write.", "Write.", asked, asked, "Write."], "completions": completions}
    checks = [*[CHECKS] * 5, None]
    assert share_followed(**given, checks=checks, key=[1] * 6, completion_ids=[[1]] * 6) == [1, 0.5, 0, 1, 0, None]
    assert all_followed(**given, checks=checks) == [1, 0, 0, 1, 0, None]


def test_a_check_of_ones_own_is_given_the_prompt(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def echoes(answer, *, prompt):\n    return prompt in answer\n")
    checks = [json.dumps([{"id": f"python:{path}:echoes"}])] * 2
    prompts = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], "ho"]
    with pytest.raises(ConfigError, match="allow it by that name"):
        share_followed(prompts, ["say hi", "say hi"], checks)
    reward = with_own_checks(share_followed, f"python:{path}:echoes")
    assert reward(prompts, ["say hi", "say hi"], checks=checks) == [1, 0]
    assert reward.__name__ == "share_followed"


@pytest.mark.parametrize("text", ["", "{}", "[]", '["id"]', '[{"kwargs": {}}]', "[" * 100_000])
def test_a_column_of_another_form_is_refused(text):
    with pytest.raises(DataError):
        share_followed(["Write."], ["one"], [text])
    with pytest.raises(ConfigError, match="no_comma"):
        share_followed(["Write."], ["one"], ['[{"id": "punctuation:no_coma"}]'])


def prompts_file(folder, count=4):
    rows = [
        {
            "key": number,
            "prompt": f"Say something, number {number}.",
            "instruction_id_list": ["en:punctuation:no_comma", "en:startend:quotation"],
            "kwargs": [{"num_words": None}, {}],
        }
        for number in range(count)
    ]
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_prompts_are_exported_with_their_checks_and_read_back(tmp_path):
    run = run_step("export", Export(data=str(prompts_file(tmp_path)), to="trl-grpo"), tmp_path / "rows")
    rows = [json.loads(line) for line in (run.path / "rows.jsonl").read_text().splitlines()]
    assert rows[1]["prompt"] == [{"role": "user", "content": "Say something, number 1."}]
    assert [each["id"] for each in json.loads(rows[1]["checks"])] == [
        "en:punctuation:no_comma",
        "en:startend:quotation",
    ]
    assert share_followed([rows[1]["prompt"]], ['"One."'], [rows[1]["checks"]]) == [1]
    again = run_step("export", Export(data=str(run.path / "rows.jsonl"), to="trl-grpo"), tmp_path / "again")
    assert (again.path / "rows.jsonl").read_bytes() == (run.path / "rows.jsonl").read_bytes()


def test_what_has_no_checks_or_an_answer_is_dropped_and_said(tmp_path):
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]
    path.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns[:1]}) + "\n")
    with pytest.raises(DataError, match="no-place"):
        run_step("export", Export(data=str(path), to="trl-grpo"), tmp_path / "rows")


@pytest.mark.slow
def test_trl_itself_trains_on_them_for_two_updates(model, tokenizer, tmp_path):
    pytest.importorskip("trl")
    template, tokenizer.chat_template = tokenizer.chat_template, TEMPLATE
    save_model(model, tokenizer, tmp_path / "model")
    tokenizer.chat_template = template
    run = run_step("export", Export(data=str(prompts_file(tmp_path)), to="trl-grpo"), tmp_path / "rows")
    command = [
        sys.executable,
        str(HELPER),
        str(tmp_path / "model"),
        str(tmp_path / "trl"),
        str(run.path / "rows.jsonl"),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads([line for line in done.stdout.splitlines() if line.startswith('{"updates')][-1])
    assert (found["updates"], found["rows"], len(found["rewards"])) == (2, 4, 2)
    for step in found["rewards"]:
        # Eight tokens of a random model: no quotation marks around it, and of two checks at most the other is followed.
        assert 0 <= step["rewards/all_followed/mean"] <= step["rewards/share_followed/mean"] <= 1
    assert found["rewards"][0]["rewards/share_followed/mean"] > 0
