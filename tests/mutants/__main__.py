"""Small changes of the source, each tried against the tests of its room: ``make mutants``.

Two lists: the changes in ``kept.toml``, which no test noticed once, and a sample of each room's changes, drawn by a
seed. Each is made in a copy of the working tree. What was found is added to a file, so that a run can be stopped and
gone on with: what a test killed is not tried again while its source file is the same; what survived is. A test kills
nothing that it fails without the change too.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.stats.intervals import Share
from tests.mutants.changes import Change, changed, find_changes, sample

HERE = Path(__file__).parent
TREE = HERE.parents[1]
ROOMS = ("core", "formats", "audit", "clean", "preferences", "engine", "train", "evaluate", "llm", "steps")
GOAL = 0.95
TEST_SECONDS, ROOM_SECONDS = 120, 1800
"""After which a test, and a whole room's tests, count as hung."""
NAMELESS = {"hung", "collection"}
"""Ends of the tests that no test has a name in."""
PYTEST = (
    *("-q", "--tb=no", "-o", "cache_dir=.failed"),
    *("-o", f"faulthandler_timeout={TEST_SECONDS}", "-o", "faulthandler_exit_on_timeout=true"),
)


@dataclass(frozen=True)
class Mutant:
    """A file as it is and as it would be, and the tests that are to tell the two apart."""

    id: str
    name: str
    file: str
    room: str
    before: bytes
    after: bytes

    @property
    def key(self) -> str:
        """What a result holds for: this change of this very file."""
        return f"{self.id}-{hashlib.sha256(self.before).hexdigest()[:12]}"


class Tree:
    """A copy of the working tree in which one file at a time is another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=TREE,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (TREE / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TREE / name, folder / name)
        self._tried = 0
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def try_out(self, mutant: Mutant, without: Collection[str] = (), near: bool = False) -> dict[str, Any]:
        """Run the tests of a mutant's room; the result says whether it was killed, and by what.

        Args:
            without: tests that kill nothing.
            near: only the files of tests that are about the module: quick, and a survivor may not be one.
        """
        path = self.folder / "src" / "notus" / mutant.file
        started = time.monotonic()
        times = path.stat()
        self._tried += 1
        path.write_bytes(mutant.after)
        # Compiled files go by time and size: a change must not look like what was there before it.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + self._tried * 7_000_000_000))
        try:
            killer = self._run(["-x", *(f"--deselect={test}" for test in without), *self._tests(mutant, near)])
        finally:
            path.write_bytes(mutant.before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        took = round(time.monotonic() - started, 1)
        return {"key": mutant.key, "name": mutant.name, "killed_by": next(iter(killer), None), "seconds": took}

    def find_failing(self, tests: Collection[str]) -> set[str]:
        """Those of the tests that fail without any change."""
        return set(self._run(sorted(tests))) if tests else set()

    def _tests(self, mutant: Mutant, near: bool) -> list[str]:
        """The test files of the room, those first that are about the module."""
        module = "notus." + mutant.file.removesuffix(".py").replace("/", ".")
        stem = Path(mutant.file).stem

        def distance(path: Path) -> tuple[bool, bool, int, str]:
            text = path.read_text()
            return stem not in path.stem, module not in text, -text.count(stem), str(path)

        files = sorted((self.folder / "tests" / mutant.room).rglob("test_*.py"), key=distance)
        about = [path for path in files if not (distance(path)[0] and distance(path)[1])]
        return [str(path.relative_to(self.folder)) for path in (near and about) or files]

    def _run(self, arguments: list[str]) -> list[str]:
        """The tests, or files of tests, that fail; "hung" where they come to no end."""
        failed = self.folder / ".failed" / "v" / "cache" / "lastfailed"
        failed.unlink(missing_ok=True)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([[*PYTEST, *arguments], ROOM_SECONDS]) + "\n")
        self._server.stdin.flush()
        code = json.loads(self._server.stdout.readline())
        if code in (0, 5, "hung"):
            return ["hung"] if code == "hung" else []
        # What fails before a test is there, such as the file of fixtures, has no name.
        return [*json.loads(failed.read_text())] if failed.is_file() else ["collection" if code > 1 else "hung"]


def read_kept() -> list[Mutant]:
    """The changes that no test noticed once."""
    found = []
    for entry in tomllib.loads((HERE / "kept.toml").read_text())["mutant"]:
        before = (TREE / "src" / "notus" / entry["file"]).read_text()
        if before.count(entry["old"]) != 1:
            sys.exit(
                f"kept.toml: {entry['name']}: its old text stands {before.count(entry['old'])} times in {entry['file']}"
            )
        after = before.replace(entry["old"], entry["new"])
        where = hashlib.sha256(f"{entry['file']}|{entry['old']}|{entry['new']}".encode()).hexdigest()[:12]
        room = entry["file"].split("/")[0]
        found.append(
            Mutant(where, f"{entry['file']}: {entry['name']}", entry["file"], room, before.encode(), after.encode())
        )
    return found


def read_equivalent() -> dict[tuple[str, str, str, str, int], str]:
    """File, function, old and new text of changes that change nothing, and which of several such places → why."""
    entries = tomllib.loads((HERE / "equivalent.toml").read_text()).get("equivalent", [])
    return {
        (each["file"], each["where"], each["old"], each["new"], each.get("number", 0)): each["reason"]
        for each in entries
    }


def draw(room: str, count: int, seed: int) -> list[tuple[Change, Mutant]]:
    """The sample of a room."""
    root = TREE / "src" / "notus"
    changes = [change for path in sorted((root / room).rglob("*.py")) for change in find_changes(path, root)]
    drawn = []
    for change in sample(changes, count, seed):
        before = (root / change.file).read_bytes()
        drawn.append((change, Mutant(change.id, str(change), change.file, room, before, changed(before, change))))
    return drawn


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """What was found before, the newest of each mutant."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {found["key"]: found for found in map(json.loads, lines)}


def main() -> None:
    """Try what is left to be tried, and say what survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", nargs="*", default=ROOMS)
    parser.add_argument("--each", type=int, default=13, help="changes of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=TREE / "build" / "mutants.jsonl")
    parser.add_argument("--near", action="store_true", help="only tests about the changed module, for a first look")
    given = parser.parse_args()
    kept = [mutant for mutant in read_kept() if mutant.room in given.rooms]
    same = read_equivalent()
    drawn = [each for room in given.rooms for each in draw(room, given.each, given.seed)]
    reasons = {mutant.key: same.get((c.file, c.where, c.old, c.new, c.number)) for c, mutant in drawn}
    tried = [mutant for _, mutant in drawn if reasons[mutant.key] is None]
    results = read_results(given.results)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="notus-mutants-") as folder, given.results.open("a") as file:
        tree, failing = Tree(Path(folder)), set[str]()
        # A test that fails without the change too has killed nothing: what it killed is tried again without it.
        while waiting := [each for each in (*tried, *kept) if not results.get(each.key, {}).get("killed_by")]:
            for number, mutant in enumerate(waiting, 1):
                found = tree.try_out(mutant, failing, given.near)
                results[mutant.key] = found
                file.write(json.dumps(found) + "\n")
                file.flush()
                print(f"{number}/{len(waiting)} {mutant.name}: {found['killed_by'] or 'SURVIVED'}", flush=True)
            killers = {str(results[each.key]["killed_by"]) for each in (*kept, *tried)} - {"None", *NAMELESS}
            more = tree.find_failing(killers) - failing
            if more & NAMELESS:
                sys.exit(f"a test that killed is gone by now: remove {given.results} and begin anew")
            if not more:
                break
            failing |= more
            results = {key: found for key, found in results.items() if found["killed_by"] not in failing}
    sys.exit(report(kept, tried, [mutant.name for _, mutant in drawn if reasons[mutant.key]], results))


def report(kept: list[Mutant], tried: list[Mutant], same: list[str], results: dict[str, dict[str, Any]]) -> int:
    """Print what was killed, and what was not; 1 where it is too little."""
    done = [mutant for mutant in tried if mutant.key in results]
    survived = [mutant for mutant in (*kept, *done) if not results.get(mutant.key, {}).get("killed_by")]
    killed = [mutant for mutant in done if mutant not in survived]
    of_kept = sum(mutant not in survived for mutant in kept)
    by_room, of_room = Counter(mutant.room for mutant in killed), Counter(mutant.room for mutant in done)
    for room, count in of_room.items():
        print(f"{room:12} {by_room[room]:3} of {count}")
    print(f"kept list: {of_kept} of {len(kept)}")
    if done:
        print(
            f"sample: {Share.make(len(killed), len(done))} ({len(tried) - len(done)} to go, {len(same)} change nothing)"
        )
    for mutant in survived:
        print(f"survived: {mutant.name}")
    enough = len(done) == len(tried) and len(killed) >= GOAL * len(done)
    return int(not (enough and of_kept == len(kept)))


if __name__ == "__main__":
    main()
