import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a store may be made: a file, and a new database of a real server."""
    if request.param == "sqlite":
        return str(tmp_path / "labels" / "decisions.sqlite")
    return request.getfixturevalue("new_database")()
