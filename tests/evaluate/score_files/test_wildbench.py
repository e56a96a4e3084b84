"""WildBench's files, hand-made after their documented forms, and their scores by plain arithmetic."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_table
from notus.evaluate.score_files.wildbench import CATEGORIES, WEIGHTS, read_judgements, read_tasks, wildbench_scores
from notus.formats.quarantine import Quarantine, RowReader
from notus.steps.base import read_findings
from notus.steps.perform import run_step
from notus.steps.scores.wildbench import WildBench

TASKS = [
    {"id": "s1", "primary_tag": "Math", "secondary_tags": ["Reasoning"]},
    {"id": "s2", "primary_tag": "Creative Writing", "secondary_tags": ["Editing", "Information seeking"]},
    {"id": "s3", "primary_tag": "Coding & Debugging", "secondary_tags": []},
    {"id": "s4", "primary_tag": "Planning", "secondary_tags": ["Data Analysis", "Coding & Debugging"]},
    {"id": "s5", "primary_tag": "Advice seeking", "secondary_tags": ["Role playing"]},
    {"id": "s6", "primary_tag": "Reasoning", "secondary_tags": []},
    {"id": "s7", "primary_tag": "Others", "secondary_tags": ["Math"]},
]
SCORES = {"s1": "7", "s2": "4", "s3": "9", "s4": "6", "s5": "8", "s6": "3", "s7": "5"}


def score(task, value, model="owner/alder", output="An answer.", **more):
    """A row of ``eval_results/…/score.v2``."""
    parsed = {"strengths": "It is kind.", "weaknesses": "It is short.", "score": value}
    row = {"session_id": task, "parsed_result": parsed, "meta_data": {"error": None}, "model_test": model}
    return row | {"score": value, "model_output": output} | more


def verdict(task, choice, lengths=(10, 10), models=("owner/alder", "base"), texts=None):
    """A row of ``eval_results/…/pairwise.v2``."""
    side, extent = choice.rstrip("+"), choice.count("+")
    winner = {"A": models[0], "B": models[1]}.get(side, "tie")
    outputs = texts or [letter * length for letter, length in zip("xy", lengths, strict=True)]
    return {
        "session_id": task,
        "parsed_result": {"analysis of A": "…", "choice": choice},
        "model_A": models[0],
        "model_B": models[1],
        "winner": winner,
        "extent": extent,
        "model_outputs": dict(zip(models, outputs, strict=True)),
    }


def write(path, rows):
    """A list of JSON, as the published files are."""
    path.write_text(json.dumps(rows, indent=1))
    return path


def plain_score(rows, tasks):
    """WB-Score as published, written out: the plain mean over all rows, and the weighted one over categories."""
    tags = {task["id"]: {CATEGORIES[tag] for tag in [task["primary_tag"], *task["secondary_tags"]]} for task in tasks}
    of = {}
    for row in rows:
        output = row["model_output"]
        if output and not output.endswith("... (truncated)"):
            for name in tags[row["session_id"]]:
                of.setdefault(name, []).append(float(row["score"]))
    adjusted = {name: (sum(values) / len(values) - 5) * 2 for name, values in of.items()}
    weighted = sum(adjusted[name] * WEIGHTS[name] for name in adjusted) / sum(WEIGHTS.values())
    raw = sum(float(row["score"]) for row in rows) / len(rows)
    return raw, weighted, adjusted


def test_wb_score_equals_the_published_arithmetic(tmp_path):
    rows = [score(task, value) for task, value in SCORES.items()]
    rows += [score("s1b", "1", output=""), score("s6b", "2", output="So it … (cut)... (truncated)")]
    tasks = [*TASKS, TASKS[0] | {"id": "s1b"}, TASKS[5] | {"id": "s6b"}]
    judged = read_judgements([write(tmp_path / "alder.json", rows)], RowReader())
    tags = read_tasks(write(tmp_path / "tasks.json", tasks), RowReader())
    (found,) = wildbench_scores(judged, tags)
    raw, weighted, adjusted = plain_score(rows, tasks)
    assert found.raw.mean == pytest.approx(raw)
    assert found.mean.mean == pytest.approx((raw - 5) * 2)
    assert found.weighted.mean == pytest.approx(weighted)
    assert {each.name: each.mean.mean for each in found.categories} == pytest.approx(adjusted)
    # By hand: Math & Data Analysis has s1 (7), s4 (6), s7 (5); Planning & Reasoning s1 (7), s4 (6), s6 (3).
    by_name = {each.name: each for each in found.categories}
    assert (by_name["Math & Data Analysis"].mean.mean, by_name["Math & Data Analysis"].tasks) == (pytest.approx(2.0), 3)
    assert by_name["Planning & Reasoning"].mean.mean == pytest.approx((16 / 3 - 5) * 2)
    assert by_name["Creative Tasks"].tasks == 3  # s2 once, though two of its tags are creative
    assert (found.judged, found.apart, found.missing) == (9, 2, ())
    assert found.weighted.low < weighted < found.weighted.high
    assert sum(WEIGHTS.values()) == 4.75


def test_without_a_category_there_is_no_weighted_score(tmp_path):
    rows = [score(task, value) for task, value in SCORES.items() if task in ("s1", "s6")]
    judged = read_judgements([write(tmp_path / "alder.json", rows)], RowReader())
    (found,) = wildbench_scores(judged, read_tasks(write(tmp_path / "tasks.json", TASKS), RowReader()))
    assert found.weighted is None
    assert set(found.missing) == set(WEIGHTS) - {"Math & Data Analysis", "Planning & Reasoning"}
    (bare,) = wildbench_scores(judged)
    assert (bare.weighted, bare.categories, bare.untagged) == (None, (), 2)


def test_tags_may_stand_in_the_rows_themselves(tmp_path):
    rows = [score(task["id"], SCORES[task["id"]], **{k: v for k, v in task.items() if k != "id"}) for task in TASKS]
    (found,) = wildbench_scores(read_judgements([write(tmp_path / "alder.json", rows)], RowReader()))
    assert found.weighted.mean == pytest.approx(plain_score(rows, TASKS)[1])


def plain_reward(rows, tasks, margin=-1):
    """WB-Reward as published, written out."""
    tags = {task["id"]: {CATEGORIES[tag] for tag in [task["primary_tag"], *task["secondary_tags"]]} for task in tasks}
    total, of = 0.0, {}
    for row in rows:
        own, other = (row["model_outputs"][name] for name in ("owner/alder", "base"))
        if any(not text or text.endswith("... (truncated)") or "is empty" in text for text in (own, other)):
            continue
        won = {"owner/alder": 1, "base": -1, "tie": 0}[row["winner"]]
        value = won * {0: 0, 1: 0.5, 2: 1}[row["extent"]]
        ahead = (len(own) - len(other)) * won
        if row["extent"] == 1 and margin >= 0 and ahead > margin:
            value = 0.0
        total += value
        for name in tags[row["session_id"]]:
            of.setdefault(name, []).append(value)
    means = {name: sum(values) / len(values) for name, values in of.items()}
    weighted = sum(means[name] * WEIGHTS[name] for name in means) / sum(WEIGHTS.values())
    return total / len(rows), weighted


REWARDS = [
    verdict("s1", "A+", (90, 10)),
    verdict("s2", "B++", (10, 10)),
    verdict("s3", "A=B"),
    verdict("s4", "B+", (10, 200), models=("base", "owner/alder")),  # the model is B, and much longer
    verdict("s5", "A++"),
    verdict("s6", "B+", (10, 300)),
    verdict("s7", "A+", (20, 10)),
    verdict("s8", "A++", texts=("", "yes")),
    verdict("s9", "B++", texts=("An answer that was cut... (truncated)", "yes")),
]
MORE = [*TASKS, TASKS[0] | {"id": "s8"}, TASKS[0] | {"id": "s9"}]


@pytest.mark.parametrize(
    ("margin", "by_hand"), [(-1, 0.5 - 1 + 0 + 0.5 + 1 - 0.5 + 0.5), (50, 0 - 1 + 0 + 0 + 1 - 0 + 0.5)]
)
def test_wb_reward_equals_the_published_arithmetic(tmp_path, margin, by_hand):
    path = write(tmp_path / "alder.json", REWARDS)
    judged = read_judgements([path], RowReader(), length_margin=margin)
    (found,) = wildbench_scores(judged, read_tasks(write(tmp_path / "tasks.json", MORE), RowReader()))
    whole, weighted = plain_reward(REWARDS, MORE, margin)
    assert (found.model, found.reference, found.kind) == ("owner/alder", "base", "pairwise")
    assert found.mean.mean == pytest.approx(whole) == pytest.approx(by_hand / 9)
    assert found.weighted.mean == pytest.approx(weighted)
    assert (found.judged, found.apart, found.raw) == (9, 2, None)


def test_what_is_no_judgement_is_told(tmp_path):
    bad = [
        score("s1", "11"),
        score("s2", "good"),
        score("s3", None, parsed_result={}),
        score("s4", "6"),
        score("s4", "7"),
    ]
    tally, quarantine = Tally("read", "rows"), Quarantine()
    found = read_judgements([write(tmp_path / "alder.json", bad)], RowReader(tally, quarantine))
    assert [each.value for each in found] == [6.0]
    assert quarantine.total == 3
    assert [drop.reason for drop in tally.dropped][-1] == "judged-again"
    odd = [verdict("s1", "A+") | {"extent": 0}, verdict("s2", "A+", models=("x", "y"))]
    odd.append({key: value for key, value in verdict("s3", "A+").items() if key not in ("winner", "extent")})
    odd[-1]["parsed_result"] = {"choice": ["A+"]}
    again = Quarantine()
    assert read_judgements([write(tmp_path / "alder.json", odd)], RowReader(Tally("read", "rows"), again)) == []
    assert again.total == 3
    with pytest.raises(ConfigError, match="one kind at a time"):
        read_judgements([write(tmp_path / "alder.json", [score("s1", "6"), verdict("s2", "A+")])], RowReader())
    with pytest.raises(DataError, match="known: "):
        read_tasks(
            write(tmp_path / "t.json", [{"id": "s1", "primary_tag": "Cooking", "secondary_tags": []}]), RowReader()
        )


def test_the_step_scores_a_folder_of_models(tmp_path):
    folder = tmp_path / "score.v2" / "eval=gpt-4o-2024-05-13"
    folder.mkdir(parents=True)
    write(folder / "alder.json", [score(task, value) for task, value in SCORES.items()])
    write(folder / "birch.json", [score(task, "5", "birch") for task in SCORES])
    tasks = write(tmp_path / "tasks.json", TASKS)
    config = WildBench.parse({"judgments": (str(folder),), "tasks": str(tasks)}, where="test")
    run = run_step("wildbench", config, tmp_path / "run")
    first, second = read_manifest(run.path)["summary"]["scores"]
    assert (first["model"], second["model"], second["weighted"]["mean"]) == ("owner/alder", "birch", 0.0)
    assert (first["weighted"]["unit"], first["raw"]["unit"], first["raw"]["n"]) == ("points", "score", 7)
    assert [each.heading for each in read_findings(run.path)] == ["WB-Score", "Task categories"]
    alone = WildBench.parse({"judgments": (str(folder / "alder.json"),)}, where="test")
    table = read_table(run_step("wildbench", alone, tmp_path / "alone").path / "scores.parquet")
    assert sorted(row["value"] for row in table) == [3, 4, 5, 6, 7, 8, 9]


def test_runs_are_compared_by_the_reward_that_is_reported(tmp_path):
    """A win over an empty answer is 0 in WB-Reward, and so it is in the row of its task."""
    config = WildBench.parse({"judgments": (str(write(tmp_path / "alder.json", REWARDS)),)}, where="test")
    run = run_step("wildbench", config, tmp_path / "run")
    (told,) = read_manifest(run.path)["summary"]["scores"]
    rows = read_table(run.path / "scores.parquet")
    assert sum(row["value"] for row in rows) / 9 == pytest.approx(told["mean"]["mean"])
    assert [row["value"] for row in rows if row["reason"] == "not-whole"] == [0.0, 0.0]


@pytest.mark.parametrize("given", [{"model": "other"}, {"length_margin": 0}])
def test_what_is_for_verdicts_is_refused_with_scores(tmp_path, given):
    path = write(tmp_path / "alder.json", [score("s1", "6"), score("s2", "7")])
    with pytest.raises(ConfigError, match="for verdicts on two answers"):
        run_step("wildbench", WildBench.parse({"judgments": (str(path),), **given}, where="test"), tmp_path / "run")
