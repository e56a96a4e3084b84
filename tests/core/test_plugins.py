"""Names of things: ours, those of the field, and objects in files of the user's."""

import pytest

from notus.core.errors import ConfigError
from notus.core.plugins import Registry

PLACES = Registry("place", {"path": "pathlib:Path"}, aliases={"file": "path"}, meanings={"url": "a hub id names it"})


def test_a_name_is_loaded_from_its_place_and_by_any_of_its_names():
    from pathlib import Path

    assert PLACES.load("path") is PLACES.load("file") is Path
    assert (PLACES.resolve("file"), PLACES.known()) == ("path", ["path"])
    assert [PLACES.knows(name) for name in ("path", "file", "python:x.py:f", "paht")] == [True, True, True, False]


def test_an_object_of_the_users_is_loaded_from_its_file(tmp_path):
    (tmp_path / "mine.py").write_text("def double(number):\n    return 2 * number\n")
    assert PLACES.load(f"python:{tmp_path}/mine.py:double")(21) == 42


@pytest.mark.parametrize(("name", "words"), [("paht", "did you mean 'path'"), ("url", "a hub id names it")])
def test_a_name_that_is_none_is_answered_with_the_nearest(name, words):
    with pytest.raises(ConfigError, match=rf"there is no place '{name}'; .*{words}"):
        PLACES.load(name)
