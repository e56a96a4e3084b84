"""The bridge as a step: answers matched by prompt, model and text; what is missing said."""

import json
import math

import pytest

import notus
from notus.core.errors import DataError
from notus.core.tables import read_table
from notus.steps.base import read_findings
from notus.steps.corrected.bridge import match_scores

OLD = {"low": 1, "high": 10}


def row(prompt, answers, judge):
    completions = [
        {"text": text, "model": model, "critique": {"text": "said", "score": score, "rater": judge, "scale": OLD}}
        for model, text, score in answers
    ]
    return {"prompt": [{"role": "user", "content": prompt}], "completions": completions, "source": "test"}


def two_judges():
    """Three models, thirty prompts; the new judge is two points stricter with all of them, the old one saw a half."""
    old, new = [], []
    for n in range(30):
        answers = [(model, f"{model} says {n}", 3.0 + (n * 7 + shift) % 5) for shift, model in enumerate("abc")]
        new.append(row(f"Question {n}?", [(m, t, s - 2) for m, t, s in answers], "new"))
        if n % 2:
            old.append(row(f"Question {n}?", answers, "old"))
    return old, new


def test_scores_come_onto_the_old_scale(tmp_path):
    old, new = two_judges()
    run = notus.bridge(old, new, out=tmp_path / "bridge")
    rows = {each["model"]: each for each in read_table(run.path / "bridged.parquet")}
    assert list(rows) == ["a", "b", "c"]
    for shift, name in enumerate("abc"):
        truth = sum(3.0 + (n * 7 + shift) % 5 for n in range(30)) / 30
        assert rows[name]["mean"] == pytest.approx(truth)  # the offset is the same for all, so that nothing is in doubt
        assert rows[name]["new_mean"] == pytest.approx(truth - 2)
        assert (rows[name]["shared"], rows[name]["new_only"], rows[name]["old_only"]) == (15, 15, 0)
    assert run.summary["slope"] == pytest.approx(1)
    assert run.summary["shared"] == 45
    (section,) = read_findings(run.path)
    assert "45 answers of 3 models have both scores" in section.sentences[0]


def test_answers_are_matched_and_what_is_missing_counted():
    data = notus.read(two_judges()[0]), notus.read(two_judges()[1])
    old, new = (list(each) for each in data)
    again = [*new, new[0]]
    found = match_scores(old, again)
    assert {name: sum(not math.isnan(v) for v in both.old) for name, both in found.models.items()} == dict.fromkeys(
        "abc", 15
    )
    assert found.repeated == 3
    assert found.unscored == 0
    with pytest.raises(DataError, match="matched by prompt, model and text"):
        match_scores(old, new[::2])


def test_the_same_data_twice_are_refused(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in two_judges()[0]))
    with pytest.raises(DataError, match="the same data"):
        notus.bridge(str(path), str(path))
