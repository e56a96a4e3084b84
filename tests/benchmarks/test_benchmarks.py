import json
import math
import os
import random
import re
from itertools import combinations

import pytest

from benchmarks import common, equality, gpu, pairs, table, tokens, updates


def test_the_readme_holds_the_table_of_the_results():
    readme = table.README.read_text(encoding="utf-8")
    assert readme == table.placed(readme, table.table()), "run python -m benchmarks.table"


def test_the_table_says_what_was_measured_and_what_was_not(tmp_path):
    result = {"full_speed_to_trl_best_ratio": 3.0, "full_speed_to_trl_best_range": [2.5, 3.5]}
    result |= {"full_speed_to_trl_best_n": 2, "lora_speed_to_trl_best_ratio": 4.0, "small": False}
    (tmp_path / "dpo.json").write_text(json.dumps(result))
    lines = table.table(tmp_path).splitlines()
    assert "| 3.00 | 2.50–3.50, n = 2 | ≥ 2.5 |" in lines[2]
    assert lines[2 + 4] == "| DPO, LoRA: pairs per second | not measured | | ≥ 2.5 |"  # no range: no number
    (tmp_path / "dpo.json").write_text(json.dumps(result | {"small": True}))
    assert "3.00" not in table.table(tmp_path)


def test_a_readme_without_a_place_for_the_table_is_an_error():
    with pytest.raises(ValueError, match="once each"):
        table.placed("# Notus\n", "| a |")


def test_every_ratio_of_the_table_is_one_that_its_benchmark_writes():
    for file, key, _, _ in table._ROWS:
        text = (table.RESULTS.parent / f"{file}.py").read_text(encoding="utf-8")
        assert re.search(r"(speed|memory)_.*", key)[0] in text, (file, key)


def test_a_ratio_is_of_medians_and_its_range_of_the_ends():
    ours, theirs = [{"x": 4.0}, {"x": 6.0}, {"x": 5.0}], [{"x": 2.0}, {"x": 1.0}]
    assert common.ratio("speed", ours, theirs, "x") == {
        "speed_ratio": 5.0 / 1.5,
        "speed_range": [4.0 / 2.0, 6.0 / 1.0],
        "speed_n": 2,
    }


def test_the_operations_of_a_group_are_counted_token_by_token():
    # One layer, width 4, as many heads for keys as for queries: q, k, v and o have 4·4 weights each, three more
    # matrices 4·8; the head has 10·4. Attention: 4·width operations for each query and key that meet.
    shape = {"vocabulary": 10, "width": 4, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 8}
    weights, head, prompt, answers = 4 * 16 + 3 * 32, 40, 3, (2, 1)
    meetings = sum(range(1, 4)) + (4 + 5) + 4
    forward = 2 * weights * 6 + 2 * head * 3 + 16 * meetings
    groups = [(prompt, answers)]
    assert common.train_flops(shape, groups, forward_only=True) == forward
    assert common.train_flops(shape, groups, forward_only=False) == 3 * forward
    frozen = 2 * (2 * weights * 6 + 2 * head * 3) + 3 * 16 * meetings
    assert common.train_flops(shape, groups, forward_only=False, frozen=True) == frozen


def test_sides_run_in_turn():
    order = []
    sides = {name: lambda name=name: order.append(name) or {"x": len(order)} for name in "ab"}
    assert common.in_turn(2, sides) == {"a": [{"x": 1}, {"x": 3}], "b": [{"x": 2}, {"x": 4}]}
    assert order == ["a", "b", "a", "b"]


def test_a_side_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"no_such_side failed: .*No module named"):
        common.side("no_such_side")


def test_missing_inputs_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTUS_BENCH_TRL", raising=False)
    monkeypatch.setenv("NOTUS_BENCH_DATA", str(tmp_path))
    with pytest.raises(common.Interrupted, match="NOTUS_BENCH_TRL"):
        common.peer()
    with pytest.raises(common.Interrupted, match=r"rows\.jsonl"):
        common.real_data("rows.jsonl")


def test_peak_memory_is_that_of_this_process():
    before = common.peak_gib()
    held = bytearray(b"x") * (64 * 2**20 + int(before * 2**30))
    assert common.peak_gib() >= len(held) / 2**30


def test_four_answers_make_six_pairs_with_the_better_one_chosen():
    texts = "abcd"
    row = {
        "instruction": "Say a letter.",
        "completions": [{"response": t, "gpt4_scores": [n, n + 1]} for n, t in enumerate(texts)],
    }
    made = {(pair["chosen"], pair["rejected"]) for pair in pairs.all_pairs(row)}
    assert made == {(better, worse) for worse, better in combinations(texts, 2)}
    row["completions"][0]["response"] = "b"
    assert len(pairs.all_pairs(row)) == 5


def test_ids_are_compared_up_to_the_cut_and_without_the_line_break():
    line, theirs = [9], [[[1, 2], [3, 4, 0, 9], [5, 0, 9]]]
    assert tokens.compare_ids([[[1, 2], [3, 4, 0], [5, 0]]], theirs, line, 10)["pairs_with_the_same_ids"] == 1
    assert tokens.compare_ids([[[1, 2], [3, 4], [5, 0]]], theirs, line, 4)["answers_cut"] == 1
    assert tokens.compare_ids([[[7]]], theirs, line, 10, {0})["pairs_with_the_same_ids"] == 0
    with pytest.raises(AssertionError, match="pair 0 has other ids"):
        tokens.compare_ids([[[1, 2], [3, 4, 0], [6, 0]]], theirs, line, 10)


def test_the_difference_of_figures_is_relative_and_leaves_ties_out():
    theirs = {"sigmoid": {"loss": 2.0, "rewards/chosen": 0.0, "rewards/accuracies": 0.0}}
    ours = {"sigmoid": {"loss": 2.001, "rewards/chosen": 1e-7, "rewards/accuracies": 0.5}}
    assert equality.difference(ours, theirs) == pytest.approx(5e-4)


LN_2 = math.log(2)


def logged(**changed):
    return [dict.fromkeys(updates.FIGURES, 0.5) | {"loss": LN_2, "logps/chosen": -200.0} | changed]


def test_the_distance_of_updates_is_relative_only_above_1():
    found = updates.distance(logged(**{"logps/chosen": -200.2, "rewards/chosen": 0.501}), logged())
    assert found["logps/chosen"] == pytest.approx(1e-3)
    assert found["rewards/chosen"] == pytest.approx(1e-3)
    assert found["loss"] == 0


def test_what_is_not_equal_to_trl_is_refused():
    def judge(ours, half=None, start=LN_2):
        found = {"full_float32": {"ours": logged(loss=start, **ours), "trl": logged(loss=start)}}
        if half is not None:
            found["full_bfloat16"] = {"ours": logged(**half), "trl": logged(**{"rewards/margins": 0.51})}
        updates._judge(found, "full")
        return found

    judge({"rewards/margins": 0.50009})
    with pytest.raises(RuntimeError, match="differ in rewards/margins:"):
        judge({"rewards/margins": 0.50011})
    with pytest.raises(RuntimeError, match=r"differ in first loss 0\.6932"):
        judge({}, start=0.6932)
    # Under bf16 the two may be as far from each other as both are from their fp32 figures.
    found = judge({}, {"rewards/margins": 0.49})
    assert found["full_bfloat16_difference"]["to_trl"]["rewards/margins"] == pytest.approx(0.02)
    with pytest.raises(RuntimeError, match=r"differ in first loss 0\.7"):
        judge({}, {"loss": 0.7})


def test_drawn_pairs_have_the_lengths_that_were_asked_for():
    drawn = gpu.draw(400, 200, 300, 1024, 32000)
    assert drawn == gpu.draw(400, 200, 300, 1024, 32000)
    prompts = sorted(len(pair["prompt_ids"]) for pair in drawn)
    assert 170 < prompts[200] < 230
    assert prompts[-1] == 512
    for pair in random.Random(0).sample(drawn, 50):
        for key in ("chosen_ids", "rejected_ids"):
            assert len(pair["prompt_ids"]) + len(pair[key]) <= 1024
            assert pair[key][-1] == gpu.END


def test_a_side_is_given_further_variables(monkeypatch):
    seen = {}
    monkeypatch.setattr(common, "peer", lambda: "python-with-trl")

    def run(command, *, env, **_):
        seen.update(env, command=command[0])
        return common.subprocess.CompletedProcess(command, 0, '{"x": 1}\n', "")

    monkeypatch.setattr(common.subprocess, "run", run)
    assert common.side("trl_dpo", environment=common.KEEP_MEMORY) == {"x": 1}
    assert seen["command"] == "python-with-trl"
    assert seen["MALLOC_MMAP_THRESHOLD_"] == seen["MALLOC_TRIM_THRESHOLD_"] == str(2**30)


@pytest.mark.slow
@pytest.mark.skipif("NOTUS_BENCH_TRL" not in os.environ, reason="needs a Python with TRL in NOTUS_BENCH_TRL")
def test_loss_and_rewards_equal_those_of_trl():
    assert equality.measure(small=True)["largest_relative_difference"] <= 1e-4


@pytest.mark.slow
@pytest.mark.skipif("NOTUS_BENCH_TRL" not in os.environ, reason="needs a Python with TRL in NOTUS_BENCH_TRL")
def test_each_update_of_a_real_model_equals_that_of_trl(smollm2):  # noqa: ARG001  skips where the model is absent
    found = updates.measure(small=True)
    for kind in ("full", "lora"):
        assert max(found[f"{kind}_difference"].values()) <= 1e-4
        assert found[f"{kind}_float32"]["trl"][-1]["rewards/margins"] > 1e-3  # more than what may differ
