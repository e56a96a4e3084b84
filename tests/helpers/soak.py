"""Commands that are killed again and again, go on with the same command, and must end with the same bytes.

    python -m tests.helpers.soak --kills 1000          until so many kills are counted; Ctrl-C stops, the same goes on
    python -m tests.helpers.soak --only audit,clean    of these commands alone

A round starts a command in an empty place and kills it at random moments until it has been so often, or is done; then
it may end, and what it left is held against what an undisturbed run left. Each round is a line of ``soak.jsonl``, with
what was counted and a hash of the source; lines of another source do not count. A further command is a line of
``COMMANDS``.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from notus.core.disk.hashes import hash_folder
from notus.steps.data.toy import Toy
from notus.steps.perform import run_step
from tests.helpers.asked import CONCURRENCY, Asked, write_recipe
from tests.helpers.going_on import CLOCK, make_start

SOURCE = Path(__file__).parents[2] / "src" / "notus"
_CONTEXT = multiprocessing.get_context("forkserver")
_RECIPE = """
name: small
seeds: [0]
data: {step: toy, world: {prompts: 40, sft_examples: 40, held_out: 8, facts: 8}}
create: {shape: {vocabulary: 320, width: 16, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 96}}
sft: {batch_size: 16, learning_rate: 5e-3, limits: &limits {max_length: 96, max_prompt_length: 48}}
binarize: {}
dpo: {batch_size: 8, learning_rate: 1e-3, limits: *limits}
success: {sampling: {samples: 1, max_new_tokens: 6}, limits: *limits}
arms:
  SFT: {dpo: null, binarize: null, success: {model: sft}}
  DPO: {}
"""
_TRAIN = ["--batch-size", "8", "--learning-rate", "3e-3", "--log-every", "2", "--save-every", "3"]
_LIMITS = ["--set", "limits.max_length=96", "--set", "limits.max_prompt_length=48", "--epochs", "2"]


@dataclass(frozen=True)
class Command:
    """A command that is killed."""

    options: Callable[["Place"], list[str]]
    """Its arguments without ``--out``."""
    weight: int = 1
    """Its share of all kills."""
    processes: int = 1
    """How many of it work at once, each in a place of its own."""
    asks: bool = False
    """Whether it asks the server, so that what is asked twice is counted."""
    workers: bool = False
    """Whether it has worker processes, which end a moment behind it."""
    inline: bool = False
    """Whether a recipe is done within its process, without worker processes."""
    goes_on: bool = False
    """Whether it takes up what a killed one had done, so that its kills must fall sooner."""
    kills: int = 5
    """Kills of a round, at most."""


@dataclass(frozen=True)
class Round:
    """What a round came to."""

    command: str
    seed: int
    kills: int
    asked_again: int
    """Requests that the server was asked a second time."""
    under_way: int
    """The most that may have been: requests that one process has under way, times kills."""
    differing: list[str]
    """Files that are not as an undisturbed run leaves them, or how a command ended otherwise than it should."""
    seconds: float = 0.0
    source: str = ""

    @property
    def right(self) -> bool:
        """Whether all ended as it must."""
        return not self.differing and self.asked_again <= self.under_way


COMMANDS = {
    "audit": Command(lambda place: ["audit", str(place.data)], weight=4),
    "clean": Command(lambda place: ["clean", str(place.data)], weight=4),
    "binarize": Command(lambda place: ["binarize", str(place.data)], weight=4),
    "train sft": Command(
        lambda place: ["train", "sft", str(place.data), "--start", place.model, *_TRAIN, *_LIMITS],
        weight=3,
        goes_on=True,
    ),
    "train dpo": Command(
        lambda place: ["train", "dpo", str(place.pairs), "--start", place.model, *_TRAIN, *_LIMITS],
        weight=3,
        goes_on=True,
    ),
    "collect": Command(lambda place: ["collect", str(place.recipe)], weight=3, asks=True, goes_on=True),
    "two collectors": Command(
        lambda place: ["collect", str(place.recipe)], weight=2, asks=True, processes=2, goes_on=True
    ),
    "run": Command(lambda place: ["run", str(place.small)], workers=True, goes_on=True, kills=10),
    "run inline": Command(lambda place: ["run", str(place.small)], weight=2, inline=True, goes_on=True),
}
"""Name → command. What is to be tried as well stands here."""


@dataclass
class Place:
    """Where it all happens: the inputs, the server, and what undisturbed runs left."""

    folder: Path
    server: Asked
    prompts: int = 120
    """Of the toy world that is read."""
    undisturbed: dict[str, dict[str, str]] = field(default_factory=dict)
    """Command → what it leaves where nobody kills it."""
    takes: dict[str, float] = field(default_factory=dict)
    """Command → the fewest seconds that it took from its beginning to its end."""

    def __post_init__(self) -> None:
        inputs = self.folder / "inputs"
        world = {"facts": 24, "prompts": self.prompts, "sft_examples": self.prompts // 2, "held_out": 8}
        self.data = run_step("data", Toy.parse({"world": world}, where="soak"), inputs / "world", 0).path
        self.pairs = inputs / "pairs"
        self.model = make_start(inputs / "model")
        self.small = inputs / "small.yaml"
        self.small.write_text(_RECIPE)
        self.ledger = self.folder / "ledger.sqlite"
        self.recipe = inputs / "recipe.yaml"
        # The collection reads a directory, so that it has no step but its own.
        text = write_recipe(self.recipe, self.server.url, self.ledger).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("world:")]
        self.recipe.write_text("\n".join(lines).replace("data: world", f"data: {self.data}\n  limit: 16") + "\n")
        process = self.start(["binarize", str(self.data)], self.pairs)
        process.join()
        assert process.exitcode == 0, self.log.read_text()

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.folder / "printed.txt"

    def start(self, options: list[str], out: Path, *, inline: bool = False):
        """A process that does a command."""
        _CONTEXT.set_forkserver_preload(["tests.helpers.soaked"])
        argv = [*options, "--out", str(out)]
        process = _CONTEXT.Process(target=_do, args=(argv, str(self.log), inline))
        process.start()
        return process

    def undisturbed_run(self, name: str) -> dict[str, str]:
        """What a command leaves that nobody kills."""
        if name not in self.undisturbed:
            command, out = COMMANDS[name], self.folder / "whole"
            shutil.rmtree(out, ignore_errors=True)
            self.forget()
            began = time.monotonic()
            processes = [
                self.start(command.options(self), out / str(n), inline=command.inline) for n in range(command.processes)
            ]
            for process in processes:
                process.join()
            self.takes[name] = time.monotonic() - began
            assert [process.exitcode for process in processes] == [0] * len(processes), self.log.read_text()
            assert self.server.repeated == 0
            self.undisturbed[name] = content(out / "0")
            shutil.rmtree(out)
        return self.undisturbed[name]

    def forget(self) -> None:
        """An empty ledger, and nothing counted."""
        for file in self.folder.glob("ledger.sqlite*"):
            file.unlink()
        self.server.came.clear()


def _do(argv: list[str], log: str, inline: bool) -> None:
    """What a process does: the command line, its output in a file."""
    os.setsid()  # Ctrl-C is for the harness
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["notus", *argv]
    if inline:
        from notus.recipes import execute

        execute._work = execute._work_inline
    from notus.cli.main import main

    main()


def kill_again_and_again(name: str, kills: int, seed: int, place: Place) -> Round:
    """A round: so many kills of a command at most, then its end."""
    command, drawn, began = COMMANDS[name], random.Random(f"{name} {seed}"), time.monotonic()
    whole = place.undisturbed_run(name)
    out = place.folder / "killed"
    shutil.rmtree(out, ignore_errors=True)
    place.forget()
    count, differing = 0, []

    def start(number):
        return place.start(command.options(place), out / str(number), inline=command.inline), time.monotonic()

    processes = {number: start(number) for number in range(command.processes)}
    while count < kills and processes:
        number = drawn.choice(sorted(processes))
        process, started = processes.pop(number)
        # As many fall towards the end, where files are written, as anywhere; one that goes on is sooner there.
        anywhere, otherwise = drawn.uniform(0.02, 1), drawn.uniform(*((0.02, 0.3) if command.goes_on else (0.6, 1)))
        share = drawn.choice([anywhere, otherwise])
        process.join(max(0, share * place.takes[name] - (time.monotonic() - started)))
        if process.is_alive():
            process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            place.takes[name] = min(place.takes[name], time.monotonic() - started) if not count else place.takes[name]
            differing += [f"exit code {process.exitcode}"] if process.exitcode else []
            continue  # it was done before
        count += 1
        time.sleep(0.6 if command.workers else 0)  # workers see within a fifth of a second that their parent is gone
        processes[number] = start(number)
    for process, _ in processes.values():
        process.join()
        differing += [f"exit code {process.exitcode}"] if process.exitcode else []
    for number in range(command.processes):
        left = content(out / str(number))
        differing += sorted(file for file in whole.keys() | left.keys() if whole.get(file) != left.get(file))
    repeated, most = (place.server.repeated, CONCURRENCY * count) if command.asks else (0, 0)
    if not differing and repeated <= most:
        shutil.rmtree(out)
    return Round(name, seed, count, repeated, most, differing, round(time.monotonic() - began, 2))


def content(path: Path) -> dict[str, str]:
    """File → hash of what must not depend on when, where and how often a command was started."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in ("log.txt", "report.html")]
    return {str(file.relative_to(path)): hashlib.sha256(_plain(file)).hexdigest() for file in files}


_PAID = ("asked", "stored", "failed", "faults", "tokens_in", "tokens_out", "cost", "cost_before", "estimate")
"""Figures of a collection that count what was asked by this process, and not before it."""


def _plain(file: Path) -> bytes:
    if file.name == "inputs.json":  # the hashes of what was read count, not where it lay
        return json.dumps({name: entry["hash"] for name, entry in json.loads(file.read_text()).items()}).encode()
    if file.name == "manifest.json":
        manifest = json.loads(file.read_text())
        summary = {key: value for key, value in manifest["summary"].items() if key not in _PAID}
        times = ("duration_s", "finished", "machine", "seal")
        kept = {key: value for key, value in manifest.items() if key not in times}
        compared = ("inputs.json", "metrics.jsonl")  # here, and without their times and places
        outputs = {name: told for name, told in manifest["outputs"].items() if name not in compared}
        return json.dumps(kept | {"summary": summary, "outputs": outputs}).encode()
    if file.name == "metrics.jsonl":
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        asks = any("to_come" in line for line in lines)
        lines = [{k: v for k, v in line.items() if k not in CLOCK and "_per_second" not in k} for line in lines]
        return json.dumps([] if asks else lines).encode()
    return file.read_bytes()


def read_rounds(path: Path, source: str) -> list[Round]:
    """The rounds of this source that a file holds."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return [found for found in (Round(**json.loads(line)) for line in lines) if found.source == source]


def next_command(rounds: list[Round], names: list[str]) -> str:
    """The command that lacks most of its share of the kills."""
    kills: Counter[str] = Counter()
    for each in rounds:
        kills[each.command] += each.kills
    return min(names, key=lambda name: kills[name] / COMMANDS[name].weight)


def go_on(file: Path, place: Place, kills: int, names: list[str], a_round: int | None = None) -> list[Round]:
    """Add rounds to a file until it counts so many kills; all rounds of this source."""
    source = hash_folder(SOURCE)[:16]
    rounds = read_rounds(file, source)
    while (done := sum(each.kills for each in rounds)) < kills:
        name = next_command(rounds, names)
        seed = sum(each.command == name for each in rounds)
        found = kill_again_and_again(name, min(a_round or COMMANDS[name].kills, kills - done), seed, place)
        rounds.append(Round(**(asdict(found) | {"source": source})))
        with file.open("a") as lines:
            lines.write(json.dumps(asdict(rounds[-1])) + "\n")
        if not rounds[-1].right:
            shutil.move(place.folder / "killed", file.with_name(f"soak-failed-{len(rounds)}"))
            sys.stdout.write(f"{rounds[-1]}\n")
    return rounds


def summarise(rounds: list[Round]) -> str:
    """Kills by command, what was asked twice, and what was not right."""
    lines = [f"{'command':<22}{'rounds':>7}{'kills':>7}{'asked again':>13}{'at most':>9}{'not right':>11}"]
    for name in [*COMMANDS, "all"]:
        of = [each for each in rounds if name in (each.command, "all")]
        again, most = sum(each.asked_again for each in of), sum(each.under_way for each in of)
        wrong = sum(not each.right for each in of)
        lines.append(f"{name:<22}{len(of):>7}{sum(e.kills for e in of):>7}{again:>13}{most:>9}{wrong:>11}")
    return "\n".join(lines)


def main() -> int:
    """Go on with a soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="until so many are counted")
    parser.add_argument("--file", type=Path, default=Path("soak.jsonl"), help="where rounds are counted")
    parser.add_argument("--only", default=",".join(COMMANDS), help="commands, between commas")
    given = parser.parse_args()
    names = [name for name in COMMANDS if name in given.only.split(",")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = given.file.absolute().with_name(f"{given.file.stem}-work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with Asked(latency=0.01) as server:
            go_on(given.file, Place(folder, server), given.kills, names)
    except KeyboardInterrupt:
        sys.stdout.write("stopped; the same command goes on from here\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rounds = read_rounds(given.file, hash_folder(SOURCE)[:16])
    sys.stdout.write(summarise(rounds) + "\n")
    return int(not all(each.right for each in rounds))


if __name__ == "__main__":
    sys.exit(main())
