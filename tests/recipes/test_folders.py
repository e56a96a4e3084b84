"""Directories that a recipe may write into, and those that belong to somebody else."""

import pytest

from notus.core.errors import InputError
from notus.core.run import Run
from notus.recipes.experiment import check_folder

FOREIGN = {
    "papers": {"thesis.tex": "mine"},
    "a record of another program": {"experiment.json": "[]"},
    "a record of other things": {"experiment.json": '{"name": "a"}', "steps/x": "mine"},
    "steps of something else": {"steps/1.txt": "mine"},
    "folders of something else": {"steps/one/notes.txt": "mine"},
    "a report": {"steps/.keep": "", "report.html": "mine"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_directory_of_something_else_is_refused(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="belongs to something else") as error:
        check_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_what_a_recipe_left_behind_may_be_gone_on_with(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    step = tmp_path / "steps" / "read-0123456789"
    step.mkdir(parents=True)
    check_folder(tmp_path)  # a kill behind the making of the directory
    Run(step, stage="read", config={}, inputs={})
    check_folder(tmp_path)
    (tmp_path / "references").mkdir()
    check_folder(tmp_path)
    (tmp_path / "experiment.json").write_text('{"recipe": {}, "arms": {}}')
    (tmp_path / "report.html").write_text("ours")
    check_folder(tmp_path)
