import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from notus.core.artifacts import find_model
from notus.core.config import digest_of
from notus.core.disk.hashes import hash_file, hash_folder, hash_model
from notus.core.errors import DataError, InputError, LossError, RunError
from notus.core.run import (
    MANIFEST,
    Run,
    atomic,
    locked,
    read_json,
    read_manifest,
    write_json,
)
from notus.core.stage import Place
from notus.core.tables import read_table, write_table


def enter(path, beta=0.1, data="aa"):
    return Run(path, stage="demo", config={"beta": beta, "limit": None}, inputs={"data": data}, sources={"data": "x"})


def test_a_finished_run_holds_all_its_parts(tmp_path):
    with enter(tmp_path / "run") as run:
        tally = run.tally("filter")
        tally.taken, tally.given = 2, 1
        tally.drop("r1", "odd", "3 leaves a rest", at=Place("f.jsonl", 4))
        run.metric(step=1, loss=0.5)
        run.note(rows=1)
    path = tmp_path / "run"
    assert read_json(path / "config.json") == {"stage": "demo", "beta": 0.1, "limit": None}
    assert read_json(path / "inputs.json") == {"data": {"hash": "aa", "path": "x"}}
    assert read_table(path / "dropped.parquet") == [
        {
            "id": "r1",
            "stage": "filter",
            "reason": "odd",
            "detail": "3 leaves a rest",
            "file": "f.jsonl",
            "line": 4,
            "asked_by": "",
        }
    ]
    assert read_json(path / "tally.json")[0]["dropped"] == {"odd": 1}
    assert json.loads((path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}
    manifest = read_manifest(path)
    assert manifest["summary"] == {"rows": 1}
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert "done" in (path / "log.txt").read_text()


def test_the_same_run_again_is_finished(tmp_path):
    with enter(tmp_path / "run"):
        pass
    assert enter(tmp_path / "run").finished


@pytest.mark.parametrize(("change", "key"), [({"beta": 0.2}, "beta"), ({"data": "bb"}, "input.data")])
def test_another_run_is_refused_and_the_key_is_named(tmp_path, change, key):
    with enter(tmp_path / "run"):
        pass
    with pytest.raises(InputError, match="holds another run") as caught:
        enter(tmp_path / "run", **change)
    assert key in str(caught.value)


def test_a_broken_run_is_done_again_without_its_leftovers(tmp_path):
    def breaks():
        with enter(tmp_path / "run") as run:
            run.metric(step=1)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        breaks()
    assert not enter(tmp_path / "run").finished
    with pytest.raises(InputError, match="not finished"):
        read_manifest(tmp_path / "run")
    with enter(tmp_path / "run") as run:
        run.metric(step=2)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"step": 2}\n'


def test_a_kill_between_config_and_inputs_can_be_resumed(tmp_path):
    enter(tmp_path / "run")
    (tmp_path / "run" / "inputs.json").unlink()
    with enter(tmp_path / "run"):
        pass
    assert enter(tmp_path / "run").finished


def test_a_directory_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is no run"):
        enter(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_directory_in_which_nothing_was_made_may_be_taken_by_another_run(tmp_path):
    def stopped(*made):
        path = tmp_path / "-".join(["run", *made])
        with contextlib.suppress(ValueError), enter(path):
            for name in made:
                (path / name).write_text("")
            raise ValueError("typo")
        return path

    for path in (stopped(), stopped("quarantine.jsonl")):
        with enter(path, beta=0.7) as run:
            assert not run.reused
        assert read_manifest(path)["digest"] == run.digest
        assert not (path / "quarantine.jsonl").exists()
        assert enter(path, beta=0.7).reused
    with pytest.raises(InputError, match="another run"):
        enter(stopped("feedback.parquet"), beta=0.7)
    # A lone config is that of a model, or of anybody.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(InputError, match="belongs to something else"):
        enter(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == '{"hidden_size": 8}'


FOREIGN = {
    "an inputs.json of numbers": {"inputs.json": '{"a": 1}'},
    "an inputs.json that is a list": {"inputs.json": "[1, 2]"},
    "hashes under another name": {"inputs.json": '{"data": {"sha": "aa"}}'},
    "a config.json that is a list": {"config.json": "[]"},
    "a model's config.json": {"config.json": '{"hidden_size": 8}', "inputs.json": "{}"},
    "a stage of another kind": {"config.json": '{"stage": 3}', "inputs.json": "{}"},
    "three files as a run leaves them": {"config.json": '{"a": 1}', "inputs.json": "{}", "log.txt": "mine"},
    "a log": {"config.json": "{}", "inputs.json": "[]", "log.txt": "mine"},
    "a log alone": {"log.txt": "mine"},
    "metrics": {"metrics.jsonl": "{}"},
    "a manifest": {"manifest.json": '{"name": "an app"}'},
    "an inputs.json of this stage's": {"config.json": '{"stage": "demo"}', "inputs.json": '["mine"]'},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_directory_of_something_else_is_left_alone_though_its_files_are_called_as_a_runs(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="belongs to something else") as error:
        enter(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == files


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        enter(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write in"):
        enter(tmp_path / "run")


def test_a_damaged_manifest_is_named(tmp_path):
    with enter(tmp_path / "run"):
        pass
    (tmp_path / "run" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path / "run")


def test_an_atomic_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with atomic(path) as file:
        file.write("old")

    def breaks():
        with atomic(path) as file:
            file.write("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        breaks()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def disk(monkeypatch):
    """What is told to the disk, in order: ("sync", inode, bytes) and ("rename", name, inode)."""
    told = []
    sync, rename = os.fsync, os.replace

    def synced(descriptor):
        found = os.fstat(descriptor)
        told.append(("sync", found.st_ino, found.st_size))
        sync(descriptor)

    def renamed(source, target, **options):
        told.append(("rename", Path(target).name, Path(source).stat().st_ino))
        rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return told


def test_a_file_is_on_the_disk_with_all_its_bytes_before_it_has_its_name(tmp_path, disk):
    with atomic(tmp_path / "a.txt") as file:
        file.write("twelve bytes")
    inode = (tmp_path / "a.txt").stat().st_ino
    assert disk.index(("sync", inode, 12)) < disk.index(("rename", "a.txt", inode))


def test_the_manifest_is_the_last_file_that_gets_its_name(tmp_path, disk):
    with enter(tmp_path / "run") as run:
        run.tally("filter").drop("r1", "odd")
    names = [told[1] for told in disk if told[0] == "rename"]
    assert names[-1] == MANIFEST
    assert {"config.json", "inputs.json", "tally.json"} <= {*names[:-1]}


def test_outputs_and_their_folders_are_on_the_disk_before_the_manifest_has_its_name(tmp_path, disk):
    """So that a power cut leaves no manifest without its tables; the manifest's own name is on the disk at the end."""
    path = tmp_path / "run"
    with enter(path) as run:
        write_table(path / "pairs.parquet", [{"id": "a", "value": 1}])
        (path / "model").mkdir()
        (path / "model" / "weights").write_bytes(b"w" * 70)
        run.tally("filter")
    before = disk[: next(place for place, told in enumerate(disk) if told[1] == MANIFEST)]
    synced = {told[1]: told[2] for told in before if told[0] == "sync"}
    for name in ("pairs.parquet", "model/weights", "tally.json", "config.json", "inputs.json"):
        assert synced[(path / name).stat().st_ino] == (path / name).stat().st_size, name
    assert {folder.stat().st_ino for folder in (path, path / "model", tmp_path)} <= synced.keys()
    assert disk[-1][:2] == ("sync", path.stat().st_ino)


def test_hash_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_known_by_the_names_and_bytes_of_its_files(tmp_path):
    for name, text in {"b": "2", "a/c": "3", ".hidden": "h"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    files = {name: hash_file(tmp_path / name) for name in ("a/c", "b")}
    assert hash_folder(tmp_path) == digest_of([["a/c", files["a/c"]], ["b", files["b"]]])
    # What answers are kept under in ledgers: a model's folder with all that is in it.
    whole = {".hidden": hash_file(tmp_path / ".hidden")} | files
    assert hash_model(str(tmp_path)) == digest_of(whole)
    assert hash_model("owner/name") == digest_of({"hub": "owner/name"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        hash_model(str(tmp_path / "empty"))


def test_the_model_of_a_run_a_folder_and_a_hub_id(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    write_json(tmp_path / "run" / MANIFEST, {"stage": "sft"})
    assert find_model(str(tmp_path / "run")) == str(tmp_path / "run" / "model")
    assert find_model(str(tmp_path)) == str(tmp_path)
    assert find_model("owner/name") == "owner/name"


def test_a_run_without_a_model_says_what_it_is(tmp_path):
    write_json(tmp_path / MANIFEST, {"stage": "alpaca"})
    with pytest.raises(DataError, match="is a run of 'alpaca', which leaves no model"):
        find_model(str(tmp_path))


def test_two_processes_never_work_in_one_directory(tmp_path):
    code = (
        "import sys; from pathlib import Path; from notus.core.run import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is at work"), locked(tmp_path):
            pass
        other.communicate("")
    with locked(tmp_path):
        pass


def test_what_a_kill_left_half_written_is_no_obstacle(tmp_path):
    (tmp_path / ".config.json.part").write_text('{"sta')
    with enter(tmp_path):
        pass
    assert enter(tmp_path).finished


def test_a_number_that_broke_is_null_in_the_metrics(tmp_path):
    with enter(tmp_path / "run") as run:
        run.metric(step=1, loss=float("nan"))
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text()) == {"step": 1, "loss": None}


def test_a_lock_leaves_nothing_behind(tmp_path):
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_nobody_needs_once_a_run_is_finished_is_removed_then_and_not_before(tmp_path):
    kept = tmp_path / "run" / "checkpoints"
    with enter(tmp_path / "run") as run:
        kept.mkdir()
        (kept / "weights").write_text("w")
        run.of_no_use.append(kept)
        assert kept.is_dir()
    assert run.finished
    assert not kept.exists()


def test_the_reasons_of_what_was_lost_stand_below_each_other_by_their_counts(tmp_path):
    run = enter(tmp_path / "run")
    tally = run.tally("read", "rows")
    tally.taken, tally.given = 16, 1
    for number in range(15):
        tally.drop("", "broken-json" if number < 12 else "missing-field", at=Place("f.jsonl", number + 1))
    with pytest.raises(LossError) as caught:
        run.check_losses("f.jsonl")
    lines = str(caught.value).splitlines()
    assert [line.partition(",")[0] for line in lines[1:3]] == ["  12 broken-json", "   3 missing-field"]
