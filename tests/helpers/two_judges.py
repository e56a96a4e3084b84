"""Real critiques by two judges as feedback, and scores of 1 that are recorded as 10 in it."""

import gzip
import json
from pathlib import Path
from typing import Any

from tests.helpers.data_examples import SHARED

__all__ = ["CRITIQUES", "JUDGES", "write_planted"]

CRITIQUES = SHARED / "critiques" / "two_judges.jsonl.gz"
JUDGES = ("gpt-4-turbo-2024-04-09", "gpt-4o-2024-05-13")


def write_planted(path: Path, judge: str, deserved: tuple[float, ...] = (1.0,)) -> dict[tuple[str, int], float]:
    """Write what one judge said, those of its scores that are among ``deserved`` as 10.

    Returns:
        Prompt and place of each answer among those that the judge has seen → the true score.
    """
    truth: dict[tuple[str, int], float] = {}
    with gzip.open(CRITIQUES, "rt", encoding="utf-8") as lines, path.open("w", encoding="utf-8") as file:
        for row in map(json.loads, lines):
            seen = [item for item in row["completions"] if judge in item["judges"]]
            completions: list[dict[str, Any]] = []
            for place, item in enumerate(seen):
                said = item["judges"][judge]
                truth[row["task"], place] = said["score"]
                score = 10.0 if said["score"] in deserved else said["score"]
                critique = {"text": said["text"], "score": score, "rater": judge, "scale": {"low": 1, "high": 10}}
                completions.append({"text": item["response"], "model": item["model"], "critique": critique})
            if completions:
                prompt = [{"role": "user", "content": row["task"]}]
                file.write(json.dumps({"prompt": prompt, "completions": completions, "source": "two-judges"}) + "\n")
    return truth
