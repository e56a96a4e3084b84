"""The mark on TruthfulQA: wherever UltraFeedback was used, and nowhere else."""

import pytest

from notus.provenance.training import benchmark_flag, is_truthfulqa


@pytest.mark.parametrize("name", ["truthfulqa_mc2", "TruthfulQA (MC)", "data/truthful_qa.jsonl", "truthfulqa-gen"])
def test_the_benchmark_has_many_names(name: str) -> None:
    assert is_truthfulqa(name)
    assert not is_truthfulqa("arc_challenge")


@pytest.mark.parametrize(
    "source",
    ["argilla/ultrafeedback-binarized-preferences-cleaned", "runs/UltraFeedback.jsonl", "truthful_qa",
     "alignment-handbook/zephyr-7b-beta", "argilla/notus-7b-v1", "snorkelai/Snorkel-Mistral-PairRM-DPO"],
)  # fmt: skip
def test_marked(source: str) -> None:
    mark = benchmark_flag("truthfulqa_mc2", ["runs/sft", source])
    assert mark.startswith(f"contaminated: UltraFeedback holds TruthfulQA's questions, and '{source}' says")


@pytest.mark.parametrize(
    ("benchmark", "sources"),
    [
        ("arc_challenge", ["openbmb/UltraFeedback"]),
        ("truthfulqa_mc2", []),
        ("truthfulqa_mc2", ["HuggingFaceH4/ultrachat_200k", "alignment-handbook/zephyr-7b-sft-full"]),
    ],
)
def test_not_marked(benchmark: str, sources: list[str]) -> None:
    assert benchmark_flag(benchmark, sources) == ""
