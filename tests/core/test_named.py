"""Files and folders that a user names to be written."""

import pytest

from notus.core.disk.named import check_named_file, check_named_folder
from notus.core.errors import InputError


def test_a_folder_is_written_into_where_it_is_empty_or_not_there(tmp_path):
    check_named_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    check_named_folder(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        check_named_folder(tmp_path / "full")
    check_named_folder(tmp_path / "full", force=True)
    with pytest.raises(InputError, match="no folder"):
        check_named_folder(tmp_path / "full" / "mine", force=True)


def test_a_file_that_is_there_is_overwritten_by_force_alone_and_one_in_use_never(tmp_path):
    path = tmp_path / "mine"
    check_named_file(path)
    path.write_text("mine")
    with pytest.raises(InputError, match="there already"):
        check_named_file(path)
    check_named_file(path, force=True)
    (tmp_path / "other name").hardlink_to(path)
    for kept in (path, tmp_path / "other name"):
        with pytest.raises(InputError, match="never overwritten"):
            check_named_file(path, force=True, never=[kept])
    with pytest.raises(InputError, match="is a directory"):
        check_named_file(tmp_path, force=True)
