"""Benchmarks of judges and reward models."""

import json
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Critique, Feedback, Message, Preference, Scale
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source

Row = dict[str, Any]


def feedback(name: str, row: Row) -> Feedback:
    found = FORMATS[name].decode(row)
    assert isinstance(found, Feedback)
    return found


def sample(name: str, **change: Any) -> Row:
    row = FORMATS[name].sample
    assert row is not None
    return {**json.loads(json.dumps(row)), **change}


def test_a_pair_of_rewardbench_keeps_its_subset_and_its_models() -> None:
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "subset": "math-prm", "id": 7}
    row |= {"chosen_model": "alder", "rejected_model": "birch"}
    found = FORMATS["rewardbench"].decode(row)
    assert isinstance(found, Preference)
    assert detect(row) == "rewardbench"
    assert (found.prompt[0].content, found.chosen[0].content, found.rejected[0].content) == ("2+2?", "4", "5")
    assert (found.model_chosen, found.model_rejected) == ("alder", "birch")
    assert found.extra == {"subset": "math-prm", "id": 7}


def test_the_right_answers_of_rewardbench_2_share_the_first_rank() -> None:
    row = {"id": "1", "prompt": "A prime?", "chosen": ["7"], "rejected": ["4", "6", "8"], "num_correct": 1}
    row |= {"models": ["a", "b", "c", "d"], "subset": "Factuality", "additional_metadata": None}
    found = feedback("rewardbench-2", row)
    assert detect(row) == "rewardbench-2"
    assert [(item.text, item.model) for item in found.completions] == [("7", "a"), ("4", "b"), ("6", "c"), ("8", "d")]
    assert [ranking.ranks for ranking in found.rankings] == [(1, 2, 2, 2)]
    assert found.extra == {"id": "1", "num_correct": 1, "subset": "Factuality", "additional_metadata": None}
    ties = row | {"chosen": ["7", "5", "3"], "rejected": ["4"], "num_correct": 3, "models": ["a"], "subset": "Ties"}
    found = feedback("rewardbench-2", ties)
    assert [ranking.ranks for ranking in found.rankings] == [(1, 1, 1, 2)]
    assert [item.model for item in found.completions] == [""] * 4
    assert found.extra["models"] == ["a"]


@pytest.mark.parametrize(("label", "ranks"), [("A>B", (1, 2)), ("B>A", (2, 1)), ("A=B", (1, 1))])
def test_the_label_of_judgebench_orders_the_responses(label: str, ranks: tuple[int, int]) -> None:
    row = sample("judgebench", label=label)
    found = feedback("judgebench", row)
    assert detect(row) == "judgebench"
    assert [item.text for item in found.completions] == ["The Rhine.", "The Oder."]
    assert [item.model for item in found.completions] == ["alder", "alder"]
    (ranking,) = found.rankings
    assert (ranking.ranks, ranking.question) == (ranks, "correctness")
    assert (found.source, found.extra) == ("mmlu-pro-geography", {"pair_id": "81ec", "original_id": "10646"})


def test_a_judge_that_saw_both_orders_has_two_votes_in_the_order_of_the_row() -> None:
    judgments = [{"decision": "A>B", "judgment": {"response": "…"}}, {"decision": "A>B"}, None, {"decision": None}]
    found = feedback("judgebench", sample("judgebench", judge_name="arena_hard", judgments=judgments))
    label, first, second = found.rankings
    assert (label.rater, label.ranks) == ("", (2, 1))
    assert [(vote.rater, vote.question, vote.ranks) for vote in (first, second)] == [
        ("arena_hard", "judgment", (1, 2)),
        ("arena_hard", "judgment", (2, 1)),  # it chose what stood first, which was B
    ]
    assert found.extra["judgments"] == judgments


def test_wildbench_gives_a_critique_on_its_scale() -> None:
    row = sample("wildbench", meta_data={"usage": 7})
    found = feedback("wildbench", row)
    (answer,) = found.completions
    assert detect(row) == "wildbench"
    assert (answer.text, answer.model) == ("The Oder.", "alder")
    text = "Strengths: It is a river.\n\nWeaknesses: It could say where it is."
    assert answer.critique == Critique(text=text, score=8.0, scale=Scale(low=1, high=10))
    assert (found.extra, answer.extra) == ({"session_id": "ae00"}, {"meta_data": {"usage": 7}})


def test_wildbench_reads_the_history_that_the_evaluation_writes() -> None:
    row: Row = {"session_id": "a", "history": "USER: Hi.\n\nASSISTANT: Hello,\n\nyou.\n\n", "last_query": "A river?"}
    row |= {"model_output": ["The Oder."], "generator": "alder", "eval_config": {"gpt": "birch"}}
    row |= {"parsed_result": {"strengths": "", "weaknesses": None, "score": "N/A", "note": 3}}
    found = feedback("wildbench", row)
    assert [(turn.role, turn.content) for turn in found.prompt] == [
        ("user", "Hi."),
        ("assistant", "Hello,\n\nyou."),
        ("user", "A river?"),
    ]
    (answer,) = found.completions
    assert answer.critique == Critique(text="", score=None, rater="birch", scale=Scale(low=1, high=10))
    assert answer.extra == {"eval_config": {"gpt": "birch"}, "parsed_result": {"note": 3}}


def test_the_answers_of_several_models_to_a_task_are_one_record(tmp_path: Path) -> None:
    other = sample("wildbench", model_test="birch", model_output="No.", score="2")
    other["parsed_result"]["score"] = "2"
    task = [{"role": "user", "content": "Another task."}]
    rows = [sample("wildbench"), sample("wildbench", session_id="b", conversation_input=task), other]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = open_source(str(tmp_path / "rows.jsonl")).records(Tally("read"), Quarantine())
    assert isinstance(first, Feedback)
    assert isinstance(second, Feedback)
    assert [(item.model, item.overall_score) for item in first.completions] == [("alder", 8.0), ("birch", 2.0)]
    assert second.prompt == (Message(role="user", content="Another task."),)


@pytest.mark.parametrize(
    ("name", "change", "field", "rule"),
    [
        ("rewardbench", {"chosen": None}, "chosen", "missing-field"),
        ("rewardbench-2", {"chosen": []}, "chosen", "empty-list"),
        ("rewardbench-2", {"num_correct": 2}, "num_correct", "length-mismatch"),
        ("rewardbench-2", {"rejected": ["a", 3]}, "rejected[1]", "wrong-type"),
        ("judgebench", {"label": "B"}, "label", "unknown-vote"),
        ("judgebench", {"judgments": [{"decision": "C"}]}, "judgments[0].decision", "unknown-vote"),
        ("judgebench", {"response_B": None}, "response_B", "missing-field"),
        ("wildbench", {"conversation_input": None}, "conversation_input", "missing-field"),
        ("wildbench", {"score": "3"}, "score", "length-mismatch"),
        ("wildbench", {"model_output": None}, "model_output", "missing-field"),
    ],
)
def test_a_bad_row_names_the_field_and_the_rule(name: str, change: Row, field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[name].decode(sample(name, **change))
    assert (caught.value.field, caught.value.rule) == (field, rule)
