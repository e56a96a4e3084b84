"""Commands on a disk that becomes full: a small tmpfs, filled so that the work stops somewhere, and freed again.

A soak of as many points as there is time for is this module run by hand, and goes on where it was stopped::

    python -m tests.helpers.full_disk OUT.json --most 50
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from notus.cli.main import main as notus
from tests.helpers.data_examples import raw_completion, raw_row
from tests.helpers.going_on import make_start
from tests.helpers.misbehaving import Server

BLOCK = 4096
TIMES = ("log.txt", "metrics.jsonl", "report.html", "ledger.sqlite", "inputs.json", "experiment.json")
"""Files of a run that hold times or places, whose bytes are not compared."""
RECIPE = """
name: small
title: A small run
description: The whole way, too small to learn anything.
seeds: [0]
data: {step: miniature, world: {prompts: 60, sft_examples: 60, held_out: 12, facts: 8}}
create: {shape: {vocabulary: 320, width: 16, layers: 1, heads: 2, kv_heads: 1, ffn: 16, positions: 96}}
sft: {batch_size: 30, learning_rate: 5e-3, limits: &limits {max_length: 96, max_prompt_length: 48}}
success: {model: sft, sampling: {samples: 1, max_new_tokens: 4}, limits: *limits}
arms:
  SFT: {}
"""


class NoMountError(Exception):
    """A file system of its own cannot be mounted here."""


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes at a folder, as long as the block lasts.

    Raises:
        NoMountError: if the system allows none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoMountError(f"no tmpfs can be mounted: {error}") from None
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def make_inputs(folder: Path) -> None:
    """What the commands read: feedback, dialogues, a model, recipes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(150):
        row = raw_row() | {"instruction": f"Name river number {number} of {number * 7 % 31}, please: {number}?"}
        names = ("alder", "birch", "cedar", "dogwood")
        row["completions"] = [
            raw_completion(name, "4 4 5 4" if (number + place) % 3 else "2 1 2 1", float(1 + (number + place) % 10))
            | {"response": f"River {number * place} by {name}, which is {'long ' * (number % 17)}."}
            for place, name in enumerate(names)
        ]
        rows.append(row)
    (folder / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dialogues = [
        {"messages": [{"role": "user", "content": f"hot {n}?"}, {"role": "assistant", "content": f"cold. {n}"}]}
        for n in range(48)
    ]
    (folder / "dialogues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dialogues))
    (folder / "recipe.yaml").write_text(RECIPE)
    make_start(folder / "start")


def collecting(folder: Path, url: str) -> None:
    """The recipe of a collection that asks one server."""
    endpoint = {"name": "m", "model": "m", "urls": [url], "backoff": 0.01, "retries": 1}
    step = {
        "data": "world",
        "endpoints": [endpoint],
        "pool": [{"name": "warm", "endpoint": "m"}, {"name": "hot", "endpoint": "m"}],
        "completions": 2,
        "sampling": {"max_tokens": 20},
        "miniature_judge": {"noise": 0.5},
        "judge": {"endpoint": "miniature", "tries": 4},
    }
    world = {"step": "toy", "world": {"prompts": 12, "sft_examples": 1, "held_out": 4, "facts": 8}}
    recipe = {
        "name": "c",
        "title": "C",
        "description": "C.",
        "world": world,
        "collect": step,
        "audit": {"data": "collect"},
    }
    (folder / "collect.yaml").write_text(json.dumps(recipe))


COMMANDS: Mapping[str, Callable[[Path], list[str]]] = {
    "audit": lambda given: ["audit", str(given / "feedback.jsonl")],
    "clean": lambda given: ["clean", str(given / "feedback.jsonl")],
    "binarize": lambda given: ["binarize", str(given / "feedback.jsonl"), "--strategy", "mean-rating"],
    "export": lambda given: ["export", str(given / "feedback.jsonl"), "--layout", "trl-sft"],
    "collect": lambda given: ["collect", str(given / "collect.yaml")],
    "train sft": lambda given: [
        *("train", "sft", str(given / "dialogues.jsonl"), "--start", str(given / "start")),
        *("--set", "batch_size=8", "--set", "limits.max_length=96", "--set", "limits.max_prompt_length=48"),
    ],
    "run": lambda given: ["run", str(given / "recipe.yaml")],
}


def run_notus(words: list[str], scratch: Path) -> tuple[int, str]:
    """A command in a process of its own, forked so that nothing is imported anew: exit code and what it said."""
    said = scratch / "stderr.txt"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with said.open("w") as file, (scratch / "stdout.txt").open("w") as out:
                os.dup2(file.fileno(), 2)
                os.dup2(out.fileno(), 1)
                sys.argv = ["notus", *words]
                os.chdir(scratch)
                notus()
                code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:  # noqa: BLE001  what main let through is what is looked for
            said.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    lines = [line for line in said.read_text().splitlines() if line.strip()]
    return os.waitstatus_to_exitcode(status), "\n".join(line for line in lines if line.startswith("notus:")) or "".join(
        lines[-3:]
    )


def results(out: Path) -> dict[str, str]:
    """Hash of each file of a run, in which no time stands; of a manifest that of the outputs that it lists."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if path.name in TIMES or path.name.startswith(".") or path.suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm"):
            continue
        data = path.read_bytes()
        if path.name == "manifest.json":
            data = json.dumps(sorted(json.loads(data)["artifacts"].items())).encode()
        found[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return found


def used(folder: Path) -> int:
    """Bytes that are taken on a disk."""
    stats = os.statvfs(folder)
    return (stats.f_blocks - stats.f_bfree) * stats.f_bsize


class Point:
    """One command that meets a full disk.

    Args:
        name: of the command.
        given: folder of its inputs.
        scratch: for what is no output.
    """

    def __init__(self, name: str, given: Path, scratch: Path) -> None:
        self.words, self.scratch = COMMANDS[name](given), scratch

    def whole(self) -> tuple[dict[str, str], int]:
        """The results on a disk with room, and how much of it they take at the end."""
        with small_disk(self.scratch / "disk", 256 << 20) as disk:
            code, said = run_notus([*self.words, "--out", str(disk / "out")], self.scratch)
            assert code == 0, said
            return results(disk / "out"), used(disk)

    def try_at(self, room: int, whole: dict[str, str]) -> tuple[str, str]:
        """The command with so much room, and once more with all of it: how both end, in a word, and what was said."""
        with small_disk(self.scratch / "disk", 256 << 20) as disk:
            filler = disk / "filler"
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, (256 << 20) - max(BLOCK, room) - used(disk) - BLOCK)
            words = [*self.words, "--out", str(disk / "out")]
            code, said = run_notus(words, self.scratch)
            if code == 0:
                return ("fits" if results(disk / "out") == whole else "damaged"), said
            if code != 1 or "unexpected" in said or "Traceback" in said or said.count("\n"):
                return f"exit {code}", said
            if "free" not in said or not any(word in said for word in ("space", "room")):
                return "unsaid", said
            filler.unlink()
            again, told = run_notus(words, self.scratch)
            if again != 0:
                return f"not again: {again}", f"{said}\n{told}"
            left = list(disk.rglob(".*.part*"))
            if results(disk / "out") != whole or left:
                return "other bytes", f"{said}\n{_difference(results(disk / 'out'), whole)} {left}"
        return "said", said


def _difference(here: dict[str, str], there: dict[str, str]) -> str:
    return ", ".join(sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)))


GOOD = ("fits", "said")


def main() -> None:
    """Try points until there are enough, or it is stopped; counts and what failed are kept in a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=50)
    parser.add_argument("--only", default=None)
    args = parser.parse_args()
    kept: dict[str, Any] = {"next": 0, "endings": {}, "bad": []}
    if args.out.is_file():
        kept = json.loads(args.out.read_text())
    endings = Counter(kept["endings"])
    names = [args.only] if args.only else list(COMMANDS)
    with tempfile.TemporaryDirectory() as scratch_, Server() as server:
        scratch = Path(scratch_)
        make_inputs(scratch / "given")
        collecting(scratch / "given", server.url)
        known: dict[str, tuple[dict[str, str], int]] = {}
        while kept["next"] < args.most:
            number = kept["next"]
            name = names[number % len(names)]
            point = Point(name, scratch / "given", scratch)
            known[name] = known.get(name) or point.whole()
            whole, size = known[name]
            room = int(random.Random(number).random() * size)
            ending, said = point.try_at(room, whole)
            endings[f"{name}: {ending}"] += 1
            kept["next"] += 1
            if ending not in GOOD:
                kept["bad"].append([number, name, room, size, ending, said])
            sys.stdout.write(f"{number} {name} {room:,} of {size:,}: {ending}: {said[:400]}\n")
            sys.stdout.flush()
            args.out.write_text(json.dumps(kept | {"endings": endings}, indent=1))


if __name__ == "__main__":
    main()
