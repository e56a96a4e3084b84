"""Rows for the tests of the review: raw UltraFeedback with everything that can go wrong in texts and numbers, and the
same rows as a table made without Notus."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd

from tests.helpers.data_examples import ASPECT_NAMES, annotation

HOSTILE = (
    "'; DROP TABLE rows; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "%' UNION SELECT * FROM read_csv('/etc/passwd') --",
    "{{ 7*7 }} ${7*7} #{7*7}",
    "\\x00\\n%s%d%n",
    "a\x00b",
    "\u202egnp.exe",
    "Straße İstanbul ΣΊΣΥΦΟΣ",
    "cafe\u0301 und caf\u00e9",
    "👩‍👩‍👧‍👦 你好世界 สวัสดี",
    "back\\slash _under_ 100% *star* ?",
    "line\u2028separator\u0085next",
    "\x1funit\x1fseparator",
    "",
    "   ",
)
SOURCES = ("flan", "sharegpt", "evol 'instruct'", "")
MODELS = ("alder", "birch", 'ce"dar', "dogwood -- '", "elm")


def raw_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many prompts with one to five answers; scores tie, are missing or N/A; each hostile text in some place."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        hostile = HOSTILE[number % len(HOSTILE)]
        models = rng.sample(MODELS, rng.choice([1, 2, 4, 4, 4, 5]))
        completions = []
        for place, model in enumerate(models):
            grades = [rng.choice(["1", "2", "3", "4", "5", "5", "N/A"]) for _ in ASPECT_NAMES]
            grades = ["N/A"] * 4 if number % 11 == 5 and place == 0 else grades
            text = f"Answer {number % 7} by {model}: " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 60)))
            if place == number % 3:
                text = f"{text} {hostile}"
            critique = f"Critique {number}.{place} {hostile if place == 1 else ''} {rng.choice(WORDS)}"
            completions.append(
                {
                    "annotations": {
                        name: annotation(name, grade) for name, grade in zip(ASPECT_NAMES, grades, strict=True)
                    },
                    "critique": critique,
                    "custom_system_prompt": "",
                    "model": model,
                    "overall_score": rng.choice([None, 1, 5, 7, 7, 7.5, 10, 10]),
                    "principle": "honesty",
                    "response": text,
                }
            )
        rows.append(
            {
                "source": SOURCES[number % len(SOURCES)],
                "instruction": f"Question {number}: {rng.choice(WORDS)}? {hostile}",
                "models": models,
                "completions": completions,
                "correct_answers": ["None"],
                "incorrect_answers": ["None"],
            }
        )
    return rows


WORDS = ("river", "bridge", "stone", "water", "cloud", "garden", "winter", "lantern", "copper", "signal", "paper")
WORDS += ("engine", "harbour", "window", "Übermut", "naïve", "RIVER", "Bridge", "STRASSE", "λόγος")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The same as a table with a row an answer."""
    found = []
    for line, row in enumerate(rows, 1):
        scores = [each["overall_score"] for each in row["completions"]]
        for place, each in enumerate(row["completions"]):
            grades = {name: each["annotations"][name]["Rating"] for name in ASPECT_NAMES}
            values = [float(grade) for grade in grades.values() if grade != "N/A"]
            others = [score for at, score in enumerate(scores) if at != place and score is not None]
            own = scores[place]
            found.append(
                {
                    "line": line,
                    "place": place,
                    "source": row["source"],
                    "model": each["model"],
                    "aspects": [name for name, grade in grades.items() if grade != "N/A"],
                    "score": own,
                    "rating": sum(values) / len(values) if values else None,
                    "margin": own - max(others) if own is not None and others else None,
                    "length": len(each["response"]),
                    "prompt": row["instruction"],
                    "answer": each["response"],
                    "critique": each["critique"] or "",
                }
            )
    return pd.DataFrame(found).astype({"score": float, "rating": float, "margin": float})
