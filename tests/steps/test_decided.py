"""Decisions of persons in the steps that read data: what each makes of them and notes, and what names its run."""

import json
import sqlite3
from pathlib import Path

import pytest

import notus
from notus.cli.main import main
from notus.core.artifacts import DECISIONS, FEEDBACK, HELD_OUT, PREFERENCES, UNPAIRED
from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import ChangedInputError, ConfigError, InputError, UnseenError
from notus.core.records import Dialogue, Feedback
from notus.core.run import read_json, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.decisions.note import is_kept
from notus.decisions.read import write_rulings
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from notus.formats import source as sources
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.provenance.lineage import explain
from notus.recipes.execute import Silent
from notus.recipes.experiment import run_recipe
from notus.recipes.recipe import load_recipe, make_plan
from notus.report.lineage import lineage_fields, lineage_sections
from notus.steps import perform
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.data_examples import raw_completion, raw_row

GRADES = ("1 1 2 1", "5 5 5 5", "2 2 2 2", "4 4 4 4")
SCORES = (10, 9, 4, 8)


def write_feedback(path, count=30, seed=0):
    """Rows with a false 10 each, which the published rule sets to 1."""
    rows = []
    for number in range(seed, seed + count):
        items = [raw_completion(n, g, s) for n, g, s in zip(raw_row()["models"], GRADES, SCORES, strict=True)]
        for item in items:
            item["response"] += f" To {number}."
        rows.append(raw_row() | {"instruction": f"Name river {number}.", "completions": items})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def records_of(path):
    return list(open_source(str(path)).records(Tally("read"), Quarantine()))


def on(record, what, index=None, who="ana", **more):
    if index is not None:
        given = {"target": record.completion_id(index), "of": "completion"}
        given["answer"] = answer_digest(record.completions[index].text)
    else:
        kinds = {"Feedback": "feedback", "Preference": "pair", "Unpaired": "row", "Dialogue": "dialogue"}
        given = {"target": record.id, "of": kinds[type(record).__name__]}
    prompt = "" if isinstance(record, Dialogue) else record.prompt_id
    return Ruling(what=what, who=who, prompt=prompt, **given, **more)


def decided(folder, *rulings):
    path = folder / "decisions.sqlite"
    with open_store(path, create=True) as store:
        store.add(rulings)
    return str(path)


def done(step, folder, name=None, **settings):
    return run_step(step, step_class(step).parse(settings, where="test"), folder / (name or step), 0)


def rows_in(run, artifact):
    return list(read_records(artifact.at(run.path), artifact.record))


def told(run):
    return read_manifest(run.path)["summary"].get("decisions")


@pytest.fixture
def feedback(tmp_path):
    path = write_feedback(tmp_path / "feedback.jsonl")
    return path, records_of(path)


def test_repair_leaves_what_was_decided_and_traces_it(feedback, tmp_path):
    path, rows = feedback
    store = decided(
        tmp_path,
        on(rows[0], "keep", 0),  # a 10 that the rule would set to 1
        on(rows[1], "set-score", 0, field="overall_score", value=10.0, why="it is one"),
        on(rows[2], "set-score", 0, field="overall_score", value=3.0, why="half of it"),
        on(rows[3], "drop", 0, why="no answer"),
        on(rows[4], "drop", why="spam"),
        on(rows[5], "keep", 0),
        on(rows[5], "drop", 0, who="ben"),
        Ruling(target="0123456789abcdef", of="pair", what="swap", who="ana"),
    )
    run = done("repair", tmp_path, data=str(path), decisions=store)
    found = rows_in(run, FEEDBACK)
    scores = [row.completions[0].overall_score for row in found[:5]]
    assert scores == [10.0, 10.0, 3.0, 9.0, 1.0]  # of the fourth the second answer is the first by now
    assert len(found) == 29
    assert rows[4].id not in {row.id for row in found}
    assert told(run) == "5 applied, 1 not in these data, 1 conflict"
    changes = rows_in(run, DECISIONS)
    own = [each for each in changes if each.rule == "decided"]
    assert [(each.target, each.by, each.evidence) for each in own] == [
        (rows[2].completion_id(0), "ana", "half of it"),
        (rows[3].completion_id(0), "ana", "no answer"),
    ]
    assert sum(each.rule == "overall-score-10:set-to-1" for each in changes) == 25
    tally = next(each for each in read_json(run.path / "tally.json") if each["stage"] == "read")
    assert tally["dropped"] == {"decided-drop": 1}
    assert tally["counts"] == {
        "decided-keep": 1,
        "decided-set-score": 1,
        "decided-drop": 1,
        "decided-conflict": 1,
    }
    again = done("repair", tmp_path, "again", data=str(run.path))  # without the store: the notes tell it
    assert [row.completions[0].overall_score for row in rows_in(again, FEEDBACK)[:3]] == [10.0, 10.0, 3.0]


def test_repair_by_wording_leaves_it_too(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "keep", 0), on(rows[1], "set-score", 1, field="overall_score", value=10.0))
    run = done("repair", tmp_path, data=str(path), by="wording", decisions=store)
    queue = {row["id"] for row in read_table(run.path / "queue.parquet")}
    assert rows[0].completion_id(0) not in queue
    assert rows[1].completion_id(1) not in queue
    assert rows[2].completion_id(0) in queue
    assert told(run) == "2 applied, 0 not in these data, 0 conflicts"


def test_shards_and_processes_change_nothing(tmp_path, monkeypatch):
    path = write_feedback(tmp_path / "feedback.jsonl", 200)
    rows = records_of(path)
    rulings = []
    for number, row in enumerate(rows[::3]):
        what = ("keep", "drop")[number % 2]
        rulings.append(on(row, what, number % 4) if number % 3 else on(row, what))
        rulings.append(on(row, "edit", (number + 1) % 4, field="answer", value=f"Edited {number}."))
    store = decided(tmp_path, *rulings)
    keep, drop = (rows[1].id,), (rows[2].completion_id(3), rows[4].prompt_id)
    given = {"data": str(path), "decisions": store, "keep": keep, "drop": drop}
    whole = done("repair", tmp_path, "whole", **given, workers=1)
    monkeypatch.setattr(sources, "SHARD", 20_000)
    parts = done("repair", tmp_path, "parts", **given, workers=2)
    assert len(list((parts.path / "feedback.parquet").iterdir())) > 4
    assert rows_in(parts, FEEDBACK) == rows_in(whole, FEEDBACK)
    assert sorted(map(str, rows_in(parts, DECISIONS))) == sorted(map(str, rows_in(whole, DECISIONS)))
    assert told(parts) == told(whole)
    assert read_json(parts.path / "tally.json") == read_json(whole.path / "tally.json")


def test_an_audit_lists_no_kept_answer(feedback, tmp_path):
    path, rows = feedback
    before = notus.audit(str(path))
    worst = before.table.to_pylist()[0]
    kept = next((row, index) for row in rows for index in range(4) if row.completion_id(index) == worst["id"])
    store = decided(tmp_path, on(kept[0], "keep", kept[1]))
    run = done("audit", tmp_path, data=str(path), decisions=store)
    table = {row["id"]: row for row in read_table(run.path / "completions.parquet")}
    row = table.pop(worst["id"])
    assert (row["suspicion"], row["strength"], row["q"], list(row["reasons"])) == (None, None, None, [])
    assert list(row["flags"]) == ["decided-keep"]
    places = [each["suspicion"] for each in table.values() if each["suspicion"] is not None]
    assert min(places) == 1
    assert len(places) == len([row for row in before.table.to_pylist() if row["id"] != worst["id"]])
    assert told(run) == "1 applied, 0 not in these data, 0 conflicts"
    health = read_json(run.path / "health.json")
    assert any("decided-keep" in str(section) for section in health)
    assert worst["id"][:8] not in str(next(s for s in health if "suspicious" in s["heading"].lower()))


def test_an_audit_of_pairs_shows_no_kept_pair(tmp_path, feedback):
    path, _ = feedback
    pairs = done("binarize", tmp_path, data=str(path), strategy="critique", rejected="worst")
    bad = rows_in(pairs, PREFERENCES)[:2]
    store = decided(tmp_path, on(bad[0], "swap"), on(bad[1], "keep"))
    run = done("audit", tmp_path, data=str(pairs.path), decisions=store)
    table = {row["prompt_id"]: row for row in read_table(run.path / "pairs.parquet")}
    assert table[bad[0].prompt_id]["id"] != bad[0].id
    assert "reversed" in table[bad[0].prompt_id]["flags"]
    kept = table[bad[1].prompt_id]
    assert (kept["id"], kept["suspicion"], kept["q"]) == (bad[1].id, None, None)
    assert list(kept["flags"]) == ["decided-keep"]


def test_clean_keeps_what_was_decided_but_for_duplicates(tmp_path):
    path = write_feedback(tmp_path / "feedback.jsonl", 6)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number in (0, 1):
        rows[number]["completions"][0]["response"] = "As an AI, I have no feelings."
    rows[5]["instruction"] = rows[4]["instruction"]  # an exact duplicate
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = records_of(path)
    store = decided(tmp_path, on(found[0], "keep", 0), on(found[5], "keep"), on(found[3], "drop", 1))
    run = done("clean", tmp_path, data=str(path), filters=["denies-feelings"], decisions=store, controls=False)
    left = rows_in(run, FEEDBACK)
    assert [len(row.completions) for row in left] == [4, 3, 4, 3, 4]
    assert found[5].id not in {row.id for row in left}
    assert told(run) == "3 applied, 0 not in these data, 0 conflicts"
    tally = {each["stage"]: each for each in read_json(run.path / "tally.json")}
    assert tally["clean"]["counts"]["kept:denies-feelings"] == 1
    rules = {each.rule for each in rows_in(run, DECISIONS)}
    assert len(rules) == 2
    assert "decided" in rules
    ids = (found[5].id, found[1].completion_id(0))
    kept = done("clean", tmp_path, "kept", data=str(path), filters=["denies-feelings"], keep=ids, controls=False)
    assert [len(row.completions) for row in rows_in(kept, FEEDBACK)] == [3, 4, 4, 4, 4, 4]
    with pytest.raises(InputError, match="0123456789abcdef"):
        done("clean", tmp_path, "none", data=str(path), keep=("0123456789abcdef",), controls=False)


def test_pairs_are_made_and_read_as_was_decided(feedback, tmp_path):
    path, rows = feedback
    store = decided(
        tmp_path,
        on(rows[0], "drop", 1),
        *(on(rows[1], "set-score", 3, field=name, value=5.0) for name in ("helpfulness", "honesty")),
        on(rows[1], "set-score", 1, field="helpfulness", value=1.0),
        on(rows[2], "drop"),
    )
    given = {"data": str(path), "strategy": "mean-rating", "rejected": "worst", "held_out": 0.2}
    run = done("binarize", tmp_path, **given, decisions=store)
    pairs = {pair.prompt_id: pair for pair in (*rows_in(run, PREFERENCES), *rows_in(run, HELD_OUT))}
    assert len(pairs) == 29
    assert pairs[rows[0].prompt_id].model_chosen == "dogwood"
    assert pairs[rows[1].prompt_id].model_chosen == "dogwood"
    assert pairs[rows[3].prompt_id].model_chosen == "birch"
    assert told(run) == "5 applied, 0 not in these data, 0 conflicts"
    assert {each.rule for each in rows_in(run, DECISIONS)} == {"decided"}
    # The same decisions, where pairs made before are read: what was dropped takes them along.
    before = done("binarize", tmp_path, "before", **given)
    read = done("read", tmp_path, path=str(before.path), decisions=store)
    here = {pair.prompt_id for pair in rows_in(read, PREFERENCES)} | {p.prompt_id for p in rows_in(read, HELD_OUT)}
    assert here == {row.prompt_id for row in rows} - {rows[0].prompt_id, rows[2].prompt_id}
    assert told(read) == "2 applied, 3 not in these data, 0 conflicts"


def test_export_and_diff_read_decisions(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop", 1), on(rows[1], "edit", 1, field="answer", value="Oder."))
    run = done("export", tmp_path, data=str(path), to="ultrachat", decisions=store)
    texts = (run.path / "rows.jsonl").read_text()
    assert '"Oder."' in texts
    assert rows[0].completions[1].text not in texts
    assert rows[0].completions[0].text not in texts  # the best is exported, which is another one now
    assert rows[0].completions[3].text in texts
    a = done("binarize", tmp_path, "a", data=str(path), strategy="critique")
    pair = rows_in(a, PREFERENCES)[0]
    swapped = tmp_path / "swap.jsonl"
    write_rulings(swapped, [on(pair, "swap")])
    found = done("diff", tmp_path, a=str(a.path), b=str(a.path), decisions=str(swapped))
    assert told(found) == "1 applied, 0 not in these data, 0 conflicts"


def test_single_rows_and_dialogues(tmp_path):
    path = tmp_path / "kto.jsonl"
    rows = [{"prompt": f"Q{n}?", "completion": f"A{n}.", "label": bool(n % 2)} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = records_of(path)
    store = decided(tmp_path, on(found[0], "drop"), on(found[1], "edit", field="answer", value="B."))
    run = done("read", tmp_path, path=str(path), decisions=store)
    assert [row.answer[0].content for row in rows_in(run, UNPAIRED)] == ["B.", "A2.", "A3.", "A4.", "A5."]


def test_the_run_is_named_by_what_counts_of_the_decisions(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop", 1), on(rows[1], "keep"))
    other = tmp_path / "same.jsonl"
    write_rulings(other, [on(rows[1], "keep", when="2027"), on(rows[0], "drop", 1, queue="random")])

    def hashed(place):
        return make_plan_of(tmp_path, path, place).inputs["decisions"]

    same = hashed(store)
    assert hashed(str(other)) == same
    sqlite3.connect(store).execute("VACUUM")  # other bytes, the same decisions
    with open_store(store) as held:
        held.add([on(rows[2], "drop")])
        changed = hashed(store)
        held.undo([3], "ana")
    assert changed != same
    assert hashed(store) == same
    first = done("repair", tmp_path, data=str(path), decisions=store)
    assert done("repair", tmp_path, data=str(path), decisions=str(other)).finished  # the same run, done already
    with open_store(store) as held:
        held.add([on(rows[2], "drop")])
    with pytest.raises(InputError, match=r"holds a run made of other decisions than stand in .*decisions.sqlite now"):
        done("repair", tmp_path, data=str(path), decisions=store)
    assert read_json(first.path / "inputs.json")["decisions"]["path"] == store


def make_plan_of(folder, path, decisions):
    recipe = folder / "one.yaml"
    recipe.write_text(f"name: one\nrepair: {{data: {path}, decisions: {decisions}}}\n")
    (step,) = make_plan(load_recipe(recipe)).steps.values()
    return step


def test_a_run_from_before_there_were_decisions_stays_good(feedback):
    path, _ = feedback
    for step in ("repair", "audit", "clean", "binarize"):
        config = step_class(step).parse({"data": str(path)}, where="test")
        settings = perform.settings_of(config)
        assert {"decisions", "drop"}.isdisjoint(settings)
        assert ("keep" in settings) == (step == "clean")  # which it had before
    for step in ("sft", "dpo", "train-ranker"):
        settings = perform.settings_of(step_class(step).parse({}, where="test"))
        assert {"decisions", "drop", "keep"}.isdisjoint(settings)


def test_decisions_that_come_while_a_recipe_runs_are_told(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop"))
    step = make_plan_of(tmp_path, path, store)
    with open_store(store) as held:
        held.add([on(rows[1], "drop")])
    with pytest.raises(ChangedInputError, match=r"more was decided in .*decisions.sqlite since this was begun"):
        perform.do_step(step, tmp_path / "run", step.given)


def test_an_id_that_is_nowhere_is_an_error_and_leaves_no_result(feedback, tmp_path):
    path, rows = feedback
    for setting in ("keep", "drop"):
        given = {setting: (rows[0].id, "0123456789abcdef")}
        said = f"--{setting} 0123456789abcdef: no record and no answer of .*feedback.jsonl"
        with pytest.raises(UnseenError, match=said):
            done("repair", tmp_path, data=str(path), **given)
        assert not FEEDBACK.is_in(tmp_path / "repair")
        assert not (tmp_path / "repair" / "manifest.json").exists()
    run = done("repair", tmp_path, data=str(path), drop=(rows[0].id,))  # in the same directory, now right
    assert len(rows_in(run, FEEDBACK)) == 29
    assert told(run) == "1 applied, 0 not in these data, 0 conflicts"
    with pytest.raises(ConfigError, match="'keep' and 'drop' both name"):
        step_class("repair").parse({"keep": ["a"], "drop": ["a"]}, where="test")


def test_the_command_and_python_take_them(feedback, tmp_path, capsys, monkeypatch):
    def command(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop"))
    out = tmp_path / "out"
    one, two = rows[1].id, rows[2].completion_id(0)
    assert command("repair", path, "--decisions", store, "--drop", one, "--keep", two, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "Decisions: 3 applied, 0 not in these data, 0 conflicts." in shown
    assert "right store?" not in shown
    repaired = notus.repair(str(path), decisions=store, drop=[one], keep=[two])
    assert [row.id for row in repaired] == [row.id for row in rows_in_folder(out)]
    assert len(repaired) == 28
    other = tmp_path / "other.jsonl"
    write_rulings(other, [Ruling(target="e" * 16, of="pair", what="drop", who="ana")])
    for words in (("audit",), ("clean",), ("export", "--layout", "ultrachat"), ("binarize", "--strategy", "critique")):
        name, *more = words
        for place, told in ((store, "1 applied, 0 not in"), (other, "0 applied, 1 not in")):
            assert command(name, path, *more, "--decisions", place, "--out", tmp_path / f"{name}-{told[0]}") == 0
            shown = capsys.readouterr().out
            assert f"Decisions: {told} these data, 0 conflicts." in " ".join(shown.split())
            odd = f"the one decision is not on a record of {path}: is it the right store?"
            assert ("".join(odd.split()) in "".join(shown.split())) == (
                place == other
            )  # a long path is broken anywhere
            if name == "audit":
                again = f"notus repair {path} --decisions {place}"
                look = f"notus review {tmp_path / 'audit'}-{told[0]} --decisions {place}"
                assert "".join(f"Next: {again} (to look first: {look})".split()) in "".join(shown.split())
    missing = tmp_path / "none.sqlite"
    assert command("audit", path, "--decisions", missing, "--out", tmp_path / "b") == 2
    assert f"there is no store {missing}; check the path" in capsys.readouterr().err
    assert command("audit", path, "--drop", "nothing", "--out", tmp_path / "a") == 2
    assert "--drop nothing: no record and no answer" in capsys.readouterr().err
    assert len(notus.clean(str(path), decisions=tmp_path / "decisions.sqlite")) == 29
    assert len(notus.binarize(str(path), strategy="critique", decisions=store)) == 29
    assert notus.audit(str(path), decisions=store).summary["prompts"] == 29


def rows_in_folder(folder):
    return list(read_records(FEEDBACK.at(folder), Feedback))


def test_a_recipe_takes_them_of_a_file_and_of_a_step(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop"), on(rows[1], "drop", 1))
    recipe = tmp_path / "r.yaml"
    code = tmp_path / "reviewer.py"
    code.write_text(
        "from typing import ClassVar\n"
        "from notus.core.artifacts import FEEDBACK, RULINGS\n"
        "from notus.core.records import Feedback\n"
        "from notus.core.tables import read_records\n"
        "from notus.decisions.read import write_rulings\n"
        "from notus.decisions.ruling import Ruling\n"
        "from notus.steps.base import FeedbackRef, Step\n"
        "class Reviewer(Step):\n"
        '    """Drops the first row."""\n'
        "    step_type: ClassVar[str] = 'reviewer'\n"
        "    leaves: ClassVar = (RULINGS,)\n"
        "    draws: ClassVar[bool] = False\n"
        "    data: FeedbackRef = 'repair'\n"
        "    def run(self, context):\n"
        "        row = next(read_records(FEEDBACK.at(context.place('data')), Feedback))\n"
        "        ruling = Ruling(target=row.id, of='feedback', what='drop', who='robot', prompt=row.prompt_id)\n"
        "        write_rulings(RULINGS.at(context.path), [ruling])\n"
    )
    recipe.write_text(
        f"name: both\n"
        f"repair: {{data: {path}, decisions: {store}}}\n"
        f"review: {{step: 'python:{code}:Reviewer', data: repair}}\n"
        f"binarize: {{data: repair, strategy: critique, decisions: review}}\n"
    )
    found = run_recipe(load_recipe(recipe), tmp_path / "out", observer=Silent())
    del found
    runs = {path.name.rpartition("-")[0]: path for path in (tmp_path / "out" / "steps").iterdir()}
    assert read_manifest(runs["repair"])["summary"]["decisions"] == "2 applied, 0 not in these data, 0 conflicts"
    assert read_manifest(runs["binarize"])["summary"]["decisions"] == "1 applied, 0 not in these data, 0 conflicts"
    assert read_manifest(runs["binarize"])["summary"]["pairs"] == 28


def test_a_password_stands_in_no_run(new_database, feedback, tmp_path):
    path, rows = feedback
    url = new_database().replace("postgres@", "postgres:hunter2@")
    with open_store(url, create=True) as store:
        store.add([on(rows[0], "drop")])
    run = done("repair", tmp_path, data=str(path), decisions=url)
    assert told(run) == "1 applied, 0 not in these data, 0 conflicts"
    for place in run.path.rglob("*"):
        assert not place.is_file() or b"hunter2" not in place.read_bytes()
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: secret\nrepair: {{data: {path}, decisions: '{url}'}}\n")
    run_recipe(load_recipe(recipe), tmp_path / "whole", observer=Silent())
    for place in (tmp_path / "whole").rglob("*"):
        assert not place.is_file() or b"hunter2" not in place.read_bytes()
    assert [each.ruling.what for each in explain(rows[0].id, str(run.path), url).decided] == ["drop"]
    assert explain(rows[1].id, str(run.path)).decided == ()


def test_an_audit_since_another_was_made_of_the_same_decisions(feedback, tmp_path):
    path, rows = feedback
    store = decided(tmp_path, on(rows[0], "drop"))
    first = done("audit", tmp_path, "first", data=str(path), decisions=store)
    with path.open("a") as file:
        file.write(write_feedback(tmp_path / "more.jsonl", 5, seed=100).read_text())
    run = done("audit", tmp_path, "second", data=str(path), decisions=store, since=str(first.path))
    assert len(list(read_table(run.path / "completions.parquet"))) == 4 * 34
    for more in ({}, {"decisions": store, "drop": (rows[1].id,)}):
        with pytest.raises(InputError, match="was made of other decisions than these; audit the whole again"):
            done("audit", tmp_path, "third", data=str(path), since=str(first.path), **more)


def test_what_is_kept_is_marked_in_what_is_written(feedback, tmp_path):
    path, rows = feedback
    run = done("repair", tmp_path, data=str(path), keep=(rows[0].completion_id(0),))
    found = rows_in(run, FEEDBACK)[0].completions[0]
    assert is_kept(found)
    assert found.extra["decided"] == {"what": "keep", "who": "command", "score": 10.0}


def test_explain_shows_flags_texts_and_every_decision(feedback, tmp_path):
    path, rows = feedback
    asked = rows[0].completion_id(0)
    store = decided(tmp_path, on(rows[0], "drop", 0), on(rows[0], "keep", 0), on(rows[0], "note", 1, why="look"))
    with open_store(store) as held:
        held.add([on(rows[0], "set-score", 0, who="ben", field="overall_score", value=2.0, reasons=("set-to-1",))])
        held.undo([4], "ana")
    audit = done("audit", tmp_path, data=str(path))
    for given in (store, None):  # named, or lying beside the run
        found = lineage_sections(explain(asked, str(audit.path), given))
        sections = {each.heading: each.sentences for each in found}
        told = [line.replace(f" ({store})", "") for line in sections["What persons decided"]]
        ends = [line.partition(" ana: ")[2] or line.partition(" ben: ")[2] for line in told]
        assert ends == [
            "drop on this completion; decided anew since",
            "keep on this completion; counts",
            f"note on completion {rows[0].completion_id(1)} (look); counts",
            "set-score overall_score: 2 on this completion [set-to-1]; taken back by 5",
            "took back 4 on this completion",
        ]
        touched = " ".join(sections["What touched it"])
        assert "published rule: set-to-1" in touched
        assert "reasons " in touched
        (marked,) = [heading for heading in sections if heading.endswith("asked for")]
        assert marked.startswith(f"Completion 0 · alder · {asked}")
        assert sections[marked][0] == f"answer: {rows[0].completions[0].text}"
    fields = lineage_fields(explain(asked, str(audit.path)))["decisions"]
    assert [(each["number"], each["state"]) for each in fields] == [
        *((1, "decided anew since"), (2, "counts"), (3, "counts"), (4, "taken back by 5"), (5, None)),
    ]
    elsewhere = explain(asked, str(path), None)
    assert len(elsewhere.decided) == 5  # beside the file
    assert explain(rows[1].id, str(path)).decided == ()


def test_explain_says_what_became_of_each_decision(feedback, tmp_path):
    path, rows = feedback
    kept, differ, most, settled = (rows[n].completion_id(0) for n in range(4))
    store = decided(
        tmp_path,
        on(rows[0], "keep", 0),
        *(on(rows[1], what, 0, who) for what, who in (("drop", "ana"), ("keep", "ben"), ("cannot-tell", "cat"))),
        *(on(rows[2], what, 0, who) for what, who in (("keep", "ana"), ("keep", "ben"), ("drop", "cat"))),
        *(on(rows[3], what, 0, who) for what, who in (("drop", "ana"), ("keep", "ben"))),
        on(rows[3], "keep", 0, "cat", queue="conflicts"),
    )
    run = done("repair", tmp_path, data=str(path), decisions=store)
    conflict, by_cat = "in conflict: nothing is done", "settled by ruling 10"
    for asked, states in (
        (kept, ["counts"]),
        (differ, [conflict, conflict, conflict]),
        (most, ["counts", "counts", "overruled by most (ana, ben)"]),
        (settled, [f"overruled, {by_cat}", f"counts, {by_cat}", "counts, and settles the conflict"]),
    ):
        assert [each.state for each in explain(asked, str(run.path)).decided] == states
    sections = {each.heading: each.sentences for each in lineage_sections(explain(kept, str(run.path)))}
    assert f"repair in {run.path}: {kept} kept as it is by ana" in sections["What touched it"]
    assert sections["What persons decided"] == (
        next(line for line in sections["What persons decided"] if "keep on this completion; counts" in line),
    )
    whole = decided(tmp_path / "runs", on(rows[5], "keep"))
    audit = done("audit", tmp_path / "runs", data=str(path), decisions=whole)
    told = {each.heading: each.sentences for each in lineage_sections(explain(rows[5].id, str(audit.path)))}
    assert "No rule, decision" not in " ".join(told["What touched it"])


def test_explain_passes_over_a_table_without_a_row(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Q?", "chosen": "A.", "rejected": "B."}\n')
    run = done("read", tmp_path, path=str(path))
    assert read_table(HELD_OUT.at(run.path)) == []  # as every reading for a training leaves it where none is held out
    (pair,) = records_of(path)
    found = explain(pair.id, str(run.path))
    assert [(Path(story.run).name, story.held_out) for story in found.pairs if story.run == str(run.path)] == [
        ("read", False)
    ]


def test_explain_knows_single_rows_and_dialogues(tmp_path):
    kto, talks = tmp_path / "kto.jsonl", tmp_path / "talks.jsonl"
    kto.write_text('{"prompt": "Q?", "completion": "A.", "label": false}\n')
    talks.write_text('{"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "B."}]}\n')
    row, talk = records_of(kto)[0], records_of(talks)[0]
    decided(tmp_path, on(row, "drop", why="no"), on(talk, "keep"))
    for record, path, texts in (
        (row, kto, ["user: Q?", "assistant: A."]),
        (talk, talks, ["user: Q?", "assistant: B."]),
    ):
        found = explain(record.id[:9], str(done("read", tmp_path, path.stem, path=str(path)).path))
        assert record.id in {each.ruling.target for each in found.decided}
        sections = [each for each in lineage_sections(found) if each.heading.endswith("asked for")]
        assert len(sections) == 2  # as it was read, and as it stands in the run
        assert set(texts) <= set(sections[0].sentences)
        assert {each["id"] for each in lineage_fields(found)["others"]} == {record.id}


def test_explain_follows_what_runs_have_read(feedback, tmp_path):
    path, rows = feedback
    (tmp_path / "labels").mkdir()
    store = decided(tmp_path / "labels", on(rows[0], "set-score", 1, field="overall_score", value=10.0))
    repaired = done("repair", tmp_path / "runs", data=str(path), decisions=store)
    pairs = done("binarize", tmp_path / "runs", data=str(repaired.path), strategy="critique")
    pair = next(each for each in rows_in(pairs, PREFERENCES) if each.prompt_id == rows[0].prompt_id)
    found = explain(pair.id, str(pairs.path))
    assert [each.ruling.what for each in found.decided] == ["set-score"]
    assert any("critique.score" in event.what and "(ana)" in event.what for event in found.events)
    (section,) = [each for each in lineage_sections(found) if each.heading.endswith("asked for")]
    assert f"assistant: {pair.chosen[0].content}" in section.sentences


def test_decisions_on_a_file_come_back_on_another_order_of_it(tmp_path):
    """Rows shuffled, five gone, five come, the answers of each turned round: each decision lands on its answer."""
    path = write_feedback(tmp_path / "before.jsonl", 25)
    rows = records_of(path)
    rulings = [on(row, "set-score", 2, field="overall_score", value=7.0) for row in rows]
    rulings += [on(row, "drop", 3) for row in rows[10:]]
    store = decided(tmp_path, *rulings)
    lines = [json.loads(line) for line in path.read_text().splitlines()][5:]
    lines += [json.loads(line) for line in write_feedback(tmp_path / "new.jsonl", 5, seed=50).read_text().splitlines()]
    for line in lines:
        line["completions"] = line["completions"][::-1]
        line["models"] = line["models"][::-1]
    after = tmp_path / "after.jsonl"
    after.write_text("".join(json.dumps(line) + "\n" for line in lines[::-2] + lines[-2::-2]))
    run = done("repair", tmp_path, data=str(after), decisions=store)
    assert told(run) == "35 applied, 5 not in these data, 0 conflicts"
    found = {row.prompt[0].content: {item.model: item for item in row.completions} for row in rows_in(run, FEEDBACK)}
    for number in range(5, 25):
        answers = found[f"Name river {number}."]
        assert answers["cedar"].overall_score == 7.0
        assert ("dogwood" in answers) == (number < 10)
        assert answers["alder"].overall_score == 1.0
    for number in range(50, 55):
        assert found[f"Name river {number}."]["cedar"].overall_score == 4.0
