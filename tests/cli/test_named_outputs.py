"""Files that a user names to be written: what is there is kept, unless ``--force``; a ledger in any case."""

import os
from pathlib import Path

import pytest

from notus.cli.main import main
from notus.core.errors import InputError
from notus.llm.ledger import Ledger, export
from notus.recipes.experiment import Experiment
from notus.recipes.report import pictures_of, write_report
from notus.report.page import Report
from tests.llm.test_ledger import reply, request


@pytest.fixture
def notus(monkeypatch, capsys):
    """The command line in this process: exit code, what it printed, what it said."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as opened:
        opened.put([(each, reply(each)) for each in map(request, "abc")])
    return path


def linked(ledger, path):
    path.symlink_to(ledger)
    return path


def hard_linked(ledger, path):
    path.hardlink_to(ledger)
    return path


def by_a_linked_folder(ledger, path):
    path.symlink_to(ledger.parent)
    return path / ledger.name


ITSELF = {
    "its name": lambda ledger, _: ledger,
    "another spelling": lambda ledger, _: ledger.parent / "." / ".." / ledger.parent.name / ledger.name,
    "relative": lambda ledger, _: Path(os.path.relpath(ledger)),
    "a symbolic link": linked,
    "a hard link": hard_linked,
    "a link to its folder": by_a_linked_folder,
    "its log": lambda ledger, _: ledger.with_name(f"{ledger.name}-wal"),
    "its index": lambda ledger, _: ledger.with_name(f"{ledger.name}-shm"),
    "its journal": lambda ledger, _: ledger.with_name(f"{ledger.name}-journal"),
}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize("name", ITSELF)
def test_a_ledger_is_never_exported_over_itself(name, force, ledger, notus, tmp_path):
    target = ITSELF[name](ledger, tmp_path / "other")
    before = ledger.read_bytes()
    code, _, said = notus("ledger", ledger, "--export", target, *force)
    assert code == 2
    assert str(target) in said
    assert "never overwritten" in said
    assert said.count("\n") == 1
    assert ledger.read_bytes() == before
    with Ledger(ledger, must_exist=True) as opened:
        assert opened.query("SELECT count(*) FROM entries") == [(3,)]


def test_a_linked_ledger_keeps_the_files_of_either_name(ledger, tmp_path):
    link = tmp_path / "link.sqlite"
    link.symlink_to(ledger)
    with Ledger(link) as opened:
        for name in ("link.sqlite", "link.sqlite-wal", "ledger.sqlite", "ledger.sqlite-wal"):
            with pytest.raises(InputError, match="never overwritten"):
                export(opened, tmp_path / name, force=True)


def test_an_export_overwrites_by_force_alone(ledger, notus, tmp_path):
    target = tmp_path / "all.jsonl"
    target.write_text("mine")
    code, _, said = notus("ledger", ledger, "--export", target)
    assert code == 2
    assert f"{target} is there already" in said
    assert "--force" in said
    assert target.read_text() == "mine"
    assert notus("ledger", ledger, "--export", target, "--force")[0] == 0
    assert len(target.read_text().splitlines()) == 3
    assert notus("ledger", ledger, "--export", tmp_path / "new.jsonl")[0] == 0


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_what_is_no_file_is_left_alone(ledger, notus, tmp_path, force):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name, words in {"folder": "is a directory", "pipe": "no regular file", "device": "no regular file"}.items():
        code, _, said = notus("ledger", ledger, "--export", tmp_path / name, *force)
        assert code == 2
        assert words in said
    assert not (tmp_path / "pipe").is_file()
    assert (tmp_path / "device").is_symlink()


def test_a_dangling_link_is_there(ledger, notus, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "is there already" in notus("ledger", ledger, "--export", tmp_path / "link")[2]
    assert not (tmp_path / "nowhere").exists()


def test_a_run_without_steps_has_no_report(tmp_path, notus):
    (tmp_path / "experiment.json").write_text('{"recipe": {"name": "r", "title": "R"}, "arms": {}}')
    code, _, said = notus("report", tmp_path, "--out", tmp_path / "page.html")
    assert (code, said.count("\n")) == (2, 1)
    assert "names no step" in said


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setattr("notus.recipes.report.build_report", lambda *_: Report("A run of no steps"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_text('{"recipe": {"name": "r", "title": "R"}, "arms": {}}')
    return Experiment.read(tmp_path / "run")


def test_a_report_is_written_over_nothing_but_itself(experiment, tmp_path):
    own = write_report(experiment)
    assert write_report(experiment) == own
    assert write_report(experiment, own) == own
    target = tmp_path / "page.html"
    target.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_report(experiment, target)
    assert target.read_text() == "mine"
    write_report(experiment, target, force=True)
    assert "<html" in target.read_text()


def test_the_folder_of_a_reports_pictures_is_left_alone(experiment, tmp_path):
    target = tmp_path / "page.html"
    pictures_of(target).mkdir()
    (pictures_of(target) / "01-holiday.svg").write_text("mine")
    with pytest.raises(InputError, match="page-pictures is there already and not empty"):
        write_report(experiment, target)
    assert (pictures_of(target) / "01-holiday.svg").read_text() == "mine"
    assert not target.exists()
    (tmp_path / "other-pictures").write_text("a file")
    with pytest.raises(InputError, match="is no folder"):
        write_report(experiment, tmp_path / "other.html", force=True)
