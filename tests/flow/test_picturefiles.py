"""The pictures of a report as files: named, replaced, and nobody else's removed."""

from pathlib import Path

from notus.app.pictures import histogram
from notus.app.report import Note, Picture, Report, Section
from notus.flow import picturefiles as module
from notus.flow.picturefiles import write_pictures


def report(*titles: str) -> Report:
    blocks = tuple(Picture(histogram([1, 2], title=title, x_label="x")) for title in titles)
    return Report("r", sections=(Section("one", blocks=(Note("n"), *blocks[:1])), Section("two", blocks=blocks[1:])))


def test_public_names() -> None:
    assert module.__all__ == ["write_pictures"]


def test_files_are_named_by_place_and_title(tmp_path: Path) -> None:
    made = write_pictures(report("Loss · dpo", "Reward / accuracy", "漢字"), tmp_path / "pictures")
    assert [path.name for path in made] == ["01-loss-dpo.svg", "02-reward-accuracy.svg", "03-picture.svg"]
    assert made[0].read_text() == histogram([1, 2], title="Loss · dpo", x_label="x")


def test_a_later_report_replaces_its_own_files_only(tmp_path: Path) -> None:
    write_pictures(report("a", "b"), tmp_path)
    (tmp_path / "mine.svg").write_text("<svg/>")
    write_pictures(report("a"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-a.svg", "mine.svg"]


def test_a_report_without_pictures_makes_no_folder(tmp_path: Path) -> None:
    assert write_pictures(report(), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
