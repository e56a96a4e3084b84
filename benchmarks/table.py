"""The README's table of speed and memory, made from ``benchmarks/results``: ``python -m benchmarks.table``.

It stands between two comments of the README, and a test fails where the two disagree. What has no result, or one
without a range over repeated runs, is called not measured.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "README", "RESULTS", "placed", "table"]

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- benchmarks: made by python -m benchmarks.table -->"
END = "<!-- /benchmarks -->"
_ROWS = (
    ("dpo", "full_speed_to_trl_best", "DPO, all weights: pairs per second, TRL at its fastest", "≥ 2.5"),
    ("dpo", "full_memory_to_trl_best", "… peak memory, TRL at its leanest within 10 % of that", "≤ 0.7"),
    ("dpo", "full_speed_to_trl_as_it_comes", "… pairs per second, TRL as it comes", "≥ 6"),
    ("dpo", "full_memory_to_trl_as_it_comes", "… peak memory, TRL as it comes", "≤ 0.3"),
    ("dpo", "lora_speed_to_trl_best", "DPO, LoRA: pairs per second", "≥ 2.5"),
    ("dpo", "lora_memory_to_trl_best", "… peak memory", "≤ 0.7"),
    ("real_dpo", "full_speed_to_trl_best", "DPO of SmolLM2-135M, all weights: pairs per second", "–"),
    ("real_dpo", "full_memory_to_trl_best", "… peak memory", "–"),
    ("real_dpo", "lora_speed_to_trl_best", "… LoRA: pairs per second", "–"),
    ("real_dpo", "lora_memory_to_trl_best", "… LoRA: peak memory", "–"),
    ("pairs", "speed_per_pair_to_trl_best", "DPO, all six pairs of four answers: pairs per second", "≥ 6"),
    ("sft", "speed_to_trl_best", "SFT, dialogues of several turns: tokens per second", "≥ 1.3"),
    ("tokens", "one_thread_speed_to_trl", "Tokenising pairs, one thread", "≥ 10"),
    ("tokens", "two_threads_speed_to_trl", "… two threads", "≥ 10"),
    ("gpu", "full_speed_to_trl_best", "DPO of 7B on one accelerator, all weights: pairs per second", "≥ 2.5"),
    ("gpu", "lora_speed_to_trl_best", "… LoRA", "≥ 2.5"),
)


def table(folder: Path = RESULTS) -> str:
    """The table as Markdown: ours over TRL's, with its range and the number of runs, and what was asked for."""
    results: dict[str, dict[str, Any]] = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    }
    lines = ["| ours ÷ TRL 1.16 | ratio | range, runs | goal |", "|---|---|---|---|"]
    lines += [_row(results.get(file, {}), key, words, goal) for file, key, words, goal in _ROWS]
    return "\n".join(lines)


def placed(page: str, made: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The page, such as the README, with the table in its place between two comments.

    Raises:
        ValueError: if a comment that marks the place is missing, or stands there twice.
    """
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must hold '{begin}' and '{end}' once each")
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{made}\n{end}{after}"


def _row(result: dict[str, Any], key: str, words: str, goal: str) -> str:
    if result.get("small", False) or f"{key}_range" not in result:
        return f"| {words} | not measured | | {goal} |"
    low, high = result[f"{key}_range"]
    return f"| {words} | {result[f'{key}_ratio']:.2f} | {low:.2f}–{high:.2f}, n = {result[f'{key}_n']} | {goal} |"


if __name__ == "__main__":
    README.write_text(placed(README.read_text(encoding="utf-8"), table()), encoding="utf-8")
