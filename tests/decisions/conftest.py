import pytest

from tests.helpers.postgres import missing, running_server


@pytest.fixture(scope="session")
def new_database():
    if why := missing():
        pytest.skip(why)
    with running_server() as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a store may be made: a file, and a new database of a real server."""
    if request.param == "sqlite":
        return str(tmp_path / "labels" / "decisions.sqlite")
    return request.getfixturevalue("new_database")()
