"""Withdrawn rows: what they have touched in a folder of runs, and that they are kept out from then on."""

import itertools
import json

import pytest

import notus
from notus.cli.main import main
from notus.core.artifacts import FEEDBACK, PREFERENCES
from notus.core.disk.withdrawn import Sieve, Withdrawn, answer_digest, read_withdrawn
from notus.core.errors import DataError, InputError
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.run import Run, read_json, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.provenance.forget import forget
from notus.recipes.execute import Silent
from notus.recipes.experiment import run_recipe
from notus.recipes.recipe import load_recipe
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.data_examples import raw_completion, raw_row


def done(step, folder, name, **settings):
    return run_step(step, step_class(step).parse(settings, where="test"), folder / name, 0)


def model(folder, name, stage, **inputs):
    """A run that left a model, as training leaves one: its settings, what it read, a folder."""
    given = {key: str(place) for key, place in inputs.items()}
    with Run(
        folder / name, stage=stage, config={"seed": 0}, inputs=dict.fromkeys(given, "0" * 64), sources=given
    ) as run:
        (run.path / "model").mkdir()
        (run.path / "model" / "config.json").write_text("{}")
    return run


def write_rows(path, count=12):
    rows = []
    for number in range(count):
        grades = ["1 1 2 1", "5 5 5 5", "2 2 2 2", "4 4 4 4"]
        items = [raw_completion(n, g, s) for n, g, s in zip(raw_row()["models"], grades, (3, 9, 4, 8), strict=True)]
        for item in items:
            item["response"] += f" To {number}."
        rows.append(raw_row() | {"instruction": f"Name river {number}.", "completions": items})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path):
    """feedback → repaired → pairs → a policy → answers of it; an audit; pairs of another file, and a model of them."""
    folder = tmp_path / "runs"
    folder.mkdir()
    write_rows(tmp_path / "feedback.jsonl")
    write_rows(tmp_path / "others.jsonl", 3)
    done("audit", folder, "audit", data=str(tmp_path / "feedback.jsonl"))
    done("repair", folder, "repaired", data=str(tmp_path / "feedback.jsonl"))
    done("binarize", folder, "pairs", data=str(folder / "repaired"), strategy="mean-rating", rejected="worst")
    done("export", folder, "dialogues", data=str(folder / "repaired"), to="trl-sft")
    model(folder, "sft", "sft", data=folder / "dialogues")
    model(folder, "dpo", "dpo", pairs=folder / "pairs", start=folder / "sft" / "model")
    model(folder, "answers", "sample", model=folder / "dpo")
    other = write_other(tmp_path, folder)
    model(folder, "clean-model", "dpo", pairs=other)
    return folder


def write_other(tmp_path, folder):
    text = (tmp_path / "others.jsonl").read_text().replace("river", "mountain")
    (tmp_path / "others.jsonl").write_text(text)
    return done("binarize", folder, "other", data=str(tmp_path / "others.jsonl"), strategy="mean-rating").path


def rows_of(folder, artifact, kind):
    return list(read_records(artifact.at(folder), kind))


def names(found):
    return {(each.run.rpartition("/")[2], each.how) for each in found}


TOUCHED = {
    ("audit", "names"),
    ("repaired", "holds"),
    ("pairs", "holds"),
    ("dialogues", "holds"),
    ("sft", "trained on"),
    ("dpo", "trained on"),
    ("answers", "comes of"),
}


def test_every_pair_run_and_model_is_listed(runs, tmp_path):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    (pair,) = [each for each in rows_of(runs / "pairs", PREFERENCES, Preference) if each.feedback_id == row.id]
    found = forget([row.id], runs, why="asked for by its author")
    assert names(found.runs) == TOUCHED
    assert names(found.models) == {("sft", "trained on"), ("dpo", "trained on"), ("answers", "comes of")}
    assert [(each.id, each.table) for each in found.pairs] == [(pair.id, "preferences.parquet")]
    order = [each.run.rpartition("/")[2] for each in found.runs]
    assert order.index("repaired") < order.index("pairs") < order.index("dpo") < order.index("answers")
    again = {each.run.rpartition("/")[2]: each.again for each in found.runs}
    assert again["repaired"] == f"notus repair {tmp_path / 'feedback.jsonl'} --out {runs / 'repaired'}-again"
    assert again["dpo"].startswith(f"notus train dpo {runs / 'pairs'} --start {runs / 'sft' / 'model'} --out")
    assert found.sources == ((str(tmp_path / "feedback.jsonl"), 1),)
    (line,) = read_withdrawn(runs / "forgotten.jsonl")
    assert (line.id, line.kind, line.why, line.prompt) == (row.id, "feedback", "asked for by its author", row.prompt_id)
    assert line.when
    assert found.added == (row.id,)
    assert forget([row.id], runs).added == ()  # once is enough
    assert len((runs / "forgotten.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("what", ["completion", "prompt", "pair", "place", "beginning"])
def test_each_kind_of_id_is_known(what, runs):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[2]
    (pair,) = [each for each in rows_of(runs / "pairs", PREFERENCES, Preference) if each.feedback_id == row.id]
    best = max(range(4), key=lambda index: row.completions[index].mean_rating)
    ids = {"completion": row.completion_id(best), "prompt": row.prompt_id, "pair": pair.id}
    ids |= {"place": "feedback.jsonl:3", "beginning": row.id[:12]}
    found = forget([ids[what]], runs, write=False)
    assert not (runs / "forgotten.jsonl").exists()
    kinds = {"place": "feedback", "beginning": "feedback"}
    assert found.withdrawn[0].kind == kinds.get(what, what)
    assert [each.id for each in found.pairs] == [pair.id]
    held = {name for name, how in names(found.runs) if how == "holds"}
    # A pair alone is in no feedback and in no dialogue.
    assert held == ({"pairs"} if what == "pair" else {"repaired", "pairs", "dialogues"})
    assert ("dpo", "trained on") in names(found.runs)


def test_an_answer_that_was_not_taken_touches_no_pair(runs):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[2]
    found = forget([row.completion_id(2)], runs, write=False)  # neither the best nor the worst
    assert found.pairs == ()
    assert names(found.models) == set() or ("dpo", "trained on") not in names(found.models)


def test_what_is_withdrawn_is_kept_out_and_counted(runs, tmp_path):
    rows = rows_of(runs / "repaired", FEEDBACK, Feedback)
    before = read_manifest(runs / "pairs")
    forget([rows[4].id, rows[7].completion_id(1)], runs)
    run = done("binarize", runs, "pairs-2", data=str(runs / "repaired"), strategy="mean-rating", rejected="worst")
    assert run.summary["forget"] == str(runs / "forgotten.jsonl")
    manifest = read_manifest(run.path)
    assert manifest["rows"]["dropped"] == {"withdrawn": 1}
    assert manifest["rows"]["asked_by"] == {"withdrawn": "forget"}
    pairs = rows_of(run.path, PREFERENCES, Preference)
    assert len(pairs) == len(rows) - 1
    assert all(pair.prompt_id != rows[4].prompt_id for pair in pairs)
    (changed,) = [pair for pair in pairs if pair.prompt_id == rows[7].prompt_id]
    assert changed.chosen[-1].content != rows[7].completions[1].text
    counts = read_json(run.path / "tally.json")[0]
    assert (counts["in"], counts["out"], counts["dropped"]) == (12, 11, {"withdrawn": 1})
    assert counts["counts"]["withdrawn-answer"] == 1
    # It is another run than before, and nobody is told "done before".
    assert manifest["digest"] != before["digest"]
    assert "forget" in read_json(run.path / "inputs.json")
    # What has dropped it is not touched by it.
    assert "pairs-2" not in {name for name, _ in names(forget([rows[4].id], runs).runs)}
    # A folder of runs without the file knows of nothing; the file can be named.
    elsewhere = done("repair", tmp_path / "elsewhere", "a", data=str(tmp_path / "feedback.jsonl"))
    assert read_manifest(elsewhere.path)["rows"]["kept"] == 12
    named = {"data": str(tmp_path / "feedback.jsonl"), "forget": str(runs / "forgotten.jsonl")}
    assert read_manifest(done("repair", tmp_path / "elsewhere", "b", **named).path)["rows"]["kept"] == 11


def test_in_shards_and_in_columns_nothing_slips_through(runs, monkeypatch):
    monkeypatch.setattr("notus.formats.source.SHARD", 20_000)
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    forget([row.id], runs)
    cleaned = done("clean", runs, "cleaned", data=str(runs / "repaired"), workers=2)
    assert [each.id for each in rows_of(cleaned.path, FEEDBACK, Feedback)] == [
        each.id for each in rows_of(runs / "repaired", FEEDBACK, Feedback) if each.id != row.id
    ]


def test_the_steps_of_a_recipe_keep_it_out_too(runs, tmp_path):
    steps = {"repair": {"data": str(tmp_path / "feedback.jsonl")}, "binarize": {"data": "repair"}}
    (tmp_path / "mine.yaml").write_text(json.dumps({"name": "mine", **steps}))
    out = runs / "mine"

    def pairs():
        run_recipe(load_recipe(tmp_path / "mine.yaml"), out, Silent(), inline=True)
        return {folder.name: len(rows_of(folder, PREFERENCES, Preference)) for folder in out.glob("steps/binarize-*")}

    (first,) = pairs().items()
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    found = forget([row.id], runs)
    again = {each.again for each in found.runs if "/mine/steps/" in each.run}
    assert again == {f"notus run RECIPE --out {out}"}
    after = pairs()
    assert after.pop(first[0]) == first[1] == 12  # what was made before stays, under its own name
    assert list(after.values()) == [11]


def test_nobody_trains_on_tables_that_hold_it(runs):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    forget([row.id], runs)
    kind = step_class("dpo")
    settings = {"pairs": str(runs / "pairs"), "start": str(runs / "sft" / "model")}
    with pytest.raises(DataError, match=r"runs/pairs holds 1 row of what is withdrawn .*make it again"):
        run_step("dpo", kind.parse(settings, where="test"), runs / "dpo-2", 0)


def test_an_id_that_nothing_has_is_kept_out_should_it_come(runs, tmp_path):
    write_rows(tmp_path / "to_come.jsonl", 100)
    *_, last = open_source(str(tmp_path / "to_come.jsonl")).records(Tally("read"), Quarantine())
    found = forget([last.id, "abcdef0123456789"], runs)
    assert [each.kind for each in found.withdrawn] == ["unknown", "unknown"]
    assert (found.runs, found.pairs) == ((), ())
    write_rows(tmp_path / "feedback.jsonl", 100)
    run = done("repair", runs, "more", data=str(tmp_path / "feedback.jsonl"))
    assert read_manifest(run.path)["rows"]["dropped"] == {"withdrawn": 1}
    assert 100 not in [each.line for each in rows_of(run.path, FEEDBACK, Feedback)]


def test_what_cannot_be_looked_through_is_named(runs, tmp_path):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    (tmp_path / "others.jsonl").unlink()
    assert any("others.jsonl is gone" in each for each in forget([row.id], runs, write=False).unread)


def test_a_beginning_of_several_a_folder_without_runs_and_a_damaged_file(runs, tmp_path):
    with pytest.raises(InputError, match="empty id"):
        forget([" "], runs)
    ids = sorted(row.id for row in rows_of(runs / "repaired", FEEDBACK, Feedback))
    common = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    with pytest.raises(InputError, match=r"fits .* ids"):
        forget([common], runs)
    with pytest.raises(InputError, match=r"no record .* begins with 'nobody'"):
        forget(["nobody"], runs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no run directory"):
        forget([ids[0]], tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        forget([ids[0]], tmp_path / "none")
    (runs / "forgotten.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(DataError, match=r"forgotten\.jsonl:1 is no line"):
        done("repair", runs, "again", data=str(tmp_path / "feedback.jsonl"))


def test_the_command_lists_and_withdraws(runs, monkeypatch, capsys):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    told = call("forget", row.id, "--in", runs, "--dry-run")
    assert "Nothing was withdrawn" in told
    assert not (runs / "forgotten.jsonl").exists()
    printed = json.loads(call("forget", row.id, "--in", runs, "--why", "asked", "--json"))
    assert {each["run"].rpartition("/")[2] for each in printed["runs"]} == {name for name, _ in TOUCHED}
    assert printed["withdrawn"][0]["id"] == row.id
    assert printed["added"] == [row.id]


def test_a_withdrawal_is_taken_back_by_a_line_more(runs, tmp_path, monkeypatch, capsys):
    first, second = rows_of(runs / "repaired", FEEDBACK, Feedback)[4:6]
    file = runs / "forgotten.jsonl"

    def call(*words, code=0):
        monkeypatch.setattr("sys.argv", ["notus", "forget", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        return " ".join("".join(capsys.readouterr()).split())

    def read(name):
        run = done("repair", runs, name, data=str(tmp_path / "feedback.jsonl"))
        return {record.id for record in read_records(run.path / "feedback.parquet", Feedback)}, run

    everything, before = read("before")
    forget([first.id, second.id], runs)
    without = everything - {first.id, second.id}
    assert read("without")[0] == without
    held = file.read_bytes()
    assert "Nothing was taken back" in call(first.id, "--in", runs, "--undo", "--dry-run")
    assert file.read_bytes() == held
    assert "1 withdrawal taken back" in call(first.id[:8], "--in", runs, "--undo", "--why", "another row")
    # Append-only: what was there is there, and one line more says when, why, and that it is back.
    assert file.read_bytes().startswith(held)
    line = json.loads(file.read_bytes()[len(held) :])
    assert (line["id"], line["back"], line["why"]) == (first.id, True, "another row")
    assert [each.id for each in read_withdrawn(file)] == [second.id]
    assert read("one-back")[0] == without | {first.id}
    told = call(first.id, "--in", runs, "--undo", code=2)
    assert f"'{first.id}' cannot be taken back: it is not withdrawn" in told
    assert second.id in told
    forget([first.id], runs)
    assert read("again")[0] == without
    call(first.id, second.id, "--in", runs, "--undo")
    found, after = read("after")
    assert found == everything
    assert read_manifest(after.path)["digest"] == read_manifest(before.path)["digest"]


def test_dialogues_and_single_rows_of_a_withdrawn_answer_are_known(tmp_path):
    asked = Message(role="user", content="Name a river.")
    said, other = (Message(role="assistant", content=text) for text in ("The Oder.", "The Elbe."))
    dialogue = Dialogue(messages=(asked, said))
    pair = Preference(prompt=(asked,), chosen=(other,), rejected=(said,))
    rows = [
        (dialogue, True),
        (Dialogue(messages=(asked, other)), False),
        (pair, True),
        (Unpaired(prompt=(asked,), answer=(said,), desirable=True), True),
        (Unpaired(prompt=(asked,), answer=(other,), desirable=True), False),
        (Unpaired(prompt=(other,), answer=(said,), desirable=True), False),  # the same words to another prompt
    ]
    line = Withdrawn(id="x", kind="completion", prompt=pair.prompt_id, answers=(answer_digest("The Oder."),))
    sieve, tally = Sieve.of([line]), Tally("read")
    assert [sieve.sift(record, tally) is None for record, _ in rows] == [gone for _, gone in rows]
    assert [sieve.touches(record) for record, _ in rows] == [gone for _, gone in rows]
    assert {item.reason for item in tally.dropped} == {"withdrawn"}
    path = tmp_path / "dialogues.parquet"
    write_records(path, [dialogue], Dialogue)
    assert [sieve.touches(record) for record in read_records(path, Dialogue)] == [True]


def test_from_python_it_is_the_same(runs):
    row = rows_of(runs / "repaired", FEEDBACK, Feedback)[4]
    assert names(notus.forget(row.id, runs, write=False).runs) == TOUCHED
    assert notus.forget([row.id], str(runs), why="asked").added == (row.id,)


@pytest.mark.parametrize(
    ("place", "why"),
    [("nothere.jsonl:3", "nor in that file"), ("feedback.jsonl:99", "the last one there stands on line 12")],
)
def test_a_place_where_nothing_can_stand_is_refused(place, why, runs):
    with pytest.raises(InputError, match=f"stands at '{place}'; {why}"):
        forget([place], runs)
    assert not (runs / "forgotten.jsonl").exists()


def test_a_run_of_before_a_withdrawal_says_why_it_is_another(runs, tmp_path):
    forget(["feedback.jsonl:3"], runs)
    with pytest.raises(InputError, match=r"made before rows were withdrawn .*forgotten\.jsonl.*another --out"):
        done("audit", runs, "audit", data=str(tmp_path / "feedback.jsonl"))
