"""A real PostgreSQL server for the tests, from the system's package: made in a folder of its own, reached by a socket.

Tests are skipped with a reason where it, SQLAlchemy or psycopg is not installed.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

__all__ = ["missing", "running_server"]


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    named = shutil.which("initdb")
    return Path(named).parent if named else None


def missing() -> str:
    """Why there can be no server; empty where there can."""
    if _programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    for library in ("sqlalchemy", "psycopg"):
        if importlib.util.find_spec(library) is None:
            return f"{library} is not installed (pip install 'notus[postgres]')"
    return ""


@contextmanager
def running_server():
    """A server; gives a function that makes a new database and tells its URL."""
    programs = _programs()
    assert programs is not None
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    # The socket's path may have 107 characters, and whoever runs the server must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if who:
        shutil.chown(folder, "postgres", "postgres")

    def call(name: str, *arguments: str) -> None:
        subprocess.run([programs / name, *arguments], check=True, capture_output=True, cwd=folder, **who)

    call("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
    settings = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=50"
    call("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", settings, "start")
    made = 0

    def database() -> str:
        nonlocal made
        made += 1
        call("createdb", "-h", str(folder), "-U", "postgres", f"labels{made}")
        return f"postgresql://postgres@/labels{made}?host={folder}"

    try:
        yield database
    finally:
        call("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)
