"""Damaged files, made from whole ones by chance of a seed; and the commands that read them.

    python -m tests.helpers.mutants 5000 --seed 1       # the soak by hand: counts, and each mutant that ended wrongly

A mutant is a file whose bytes were flipped, cut, doubled or filled, or whose JSON, YAML or lines have keys deleted,
renamed, doubled, retyped or nested. Whatever is in it, a command ends with 0 or, in one line that begins with
``notus:``, with 2; 1 only where a run failed although its input was fine, which no mutant makes of it.
"""

import argparse
import contextlib
import gzip
import io
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from notus.cli import main as cli
from notus.core.records import Message
from notus.llm.ledger import Ledger
from notus.llm.protocol import Failure, Model, Reply, Request
from tests.helpers.alpaca_examples import judgement
from tests.helpers.data_examples import raw_row
from tests.helpers.mtbench_examples import answered, graded, matched, questions

SECONDS = 10.0
"""Of CPU, after which a command hangs."""
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 2.5, 10**19, 10**400, 1e308, "", " ", "x", "7", "N/A", "\x00", "\x1b[2J", "\u202e"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, ["x"], "\ud800", "9" * 400, "../../x", "python:x.py:y"),
    *({"name": "x"}, [{"role": "user", "content": "x"}], float("nan"), float("inf"), -1e-320, "x" * 5000),
)
PIECES = (b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\\u", b"#")


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few of them flipped, cut, doubled, filled or moved."""
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[:at] + data[to:],
        lambda: data[:to] + data[at:],
        lambda: data[:at] + chance.choice(PIECES) * chance.choice((1, 1, 2, 300)) + data[at:],
        lambda: data[:at] + chance.randbytes(chance.randrange(1, 9)) + data[at + 4 :],
        lambda: data[:at] + bytes(min(64, to - at)) + data[min(to, at + 64) :],
        lambda: b"".join(
            bytes([byte ^ 1 << chance.randrange(8)]) if chance.random() < 4 / len(data) else bytes([byte])
            for byte in data
        ),
        lambda: data[to:] + data[:to],
    )
    return chance.choice(ways)()


def mutate_value(value: Any, chance: random.Random) -> Any:
    """The value with one of its parts deleted, renamed, doubled, retyped or nested."""
    value = deepcopy(value)
    places = list(_places(value))
    if not places:
        return chance.choice(ODD)
    holder, key = chance.choice(places)
    what = chance.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[chance.choice((f"{key}x", str(key).upper(), "", "[]", "name", "../x"))] = holder.pop(key)
    elif what == 2:
        holder[key] = [holder[key]] if chance.random() < 0.5 else {"x": holder[key]}
    elif what == 3:
        _, other = chance.choice(places), chance.choice(places)
        holder[key] = deepcopy(other[0][other[1]])
    elif what == 4 and isinstance(holder[key], str | list):
        holder[key] = holder[key] * chance.choice((0, 2, 50))
    else:
        holder[key] = deepcopy(chance.choice(ODD))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inner):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)


def mutate(name: str, data: bytes, chance: random.Random) -> bytes:
    """A mutant of a file, in the way of its kind or of bytes alone."""
    if chance.random() < 0.4:
        return mutate_bytes(data, chance)
    with contextlib.suppress(ValueError, yaml.YAMLError, RecursionError, TypeError, KeyError, IndexError):
        if name.endswith(".gz"):
            return gzip.compress(mutate(name.removesuffix(".gz"), gzip.decompress(data), chance), 1, mtime=0)
        if name.endswith(".jsonl"):
            lines = data.splitlines(keepends=True)
            at = chance.randrange(len(lines))
            lines[at] = json.dumps(mutate_value(json.loads(lines[at]), chance)).encode() + b"\n"
            return b"".join(lines)
        if name.endswith(".json"):
            return json.dumps(mutate_value(json.loads(data), chance)).encode()
        if name.endswith(".yaml"):
            return yaml.safe_dump(mutate_value(yaml.safe_load(data), chance), sort_keys=False).encode()
    return mutate_bytes(data, chance)


@dataclass(frozen=True)
class Case:
    """A file that is damaged, and the command that reads it."""

    file: str
    command: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What is damaged."""
        return f"{' '.join(self.command[:2])} < {self.file}"


def jsonl(rows: Any) -> bytes:
    """Rows as JSON lines."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


RECIPE = """\
name: small
seeds: [0, 1]
title: Small
notes: [one, two]
baseline: a
data: {step: read, path: pairs.jsonl, held_out: 0.2}
feedback: {step: toy, world: {prompts: 20, facts: 8, held_out: 4, sft_examples: 10}}
binarize: {data: feedback, strategy: mean-rating}
create: {data: feedback, shape: {vocabulary: 320, width: 32, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 96}}
sft: {data: feedback, start: create, batch_size: 4, limits: &limits {max_length: 96, max_prompt_length: 48}}
dpo: {start: sft, pairs: binarize, loss: {name: sigmoid, beta: 0.1}, limits: *limits}
arms:
  a: {binarize: {strategy: critique}}
  b: {dpo: {loss: {name: ipo, beta: 0.2}}}
"""


def make_files(folder: Path) -> list[Case]:
    """Write whole files, run directories among them, and give the cases that damage them."""
    pairs = [{"prompt": f"Question {n}?", "chosen": f"Yes {n}.", "rejected": "No."} for n in range(12)]
    chats = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(n)}]} for n in (1, 2)]
    human = [{"input": "a?", "output_1": "b", "output_2": "c", "label": n % 2 + 1} for n in range(4)]
    judged = [judgement(n, 1.0 + n % 2) for n in range(8)]
    files = {
        "pairs.jsonl": jsonl(pairs),
        "pairs.json": json.dumps(pairs, indent=1).encode(),
        "named.json": json.dumps({"train": pairs, "test": pairs[:2]}).encode(),
        "pairs.jsonl.gz": gzip.compress(jsonl(pairs), mtime=0),
        "pairs.csv": b"prompt,chosen,rejected\n" + b"".join(f'"a, {n}",b,c\n'.encode() for n in range(9)),
        "feedback.jsonl": jsonl({**raw_row(), "instruction": f"Question {n}?"} for n in range(4)),
        "chats.jsonl": jsonl(chats),
        "llmbar.json": json.dumps(human).encode(),
        "recipe.yaml": RECIPE.encode(),
        "map.yaml": b"prompt: prompt\nchosen: chosen\nrejected: rejected\nsource: {const: x}\n",
        "settings.yaml": b"replicates: 100\n",
        "leaderboard.csv": b",win_rate,standard_error,n_total,avg_length\na,50.0,1.0,805,100\nb,60.0,1.0,805,120\n",
        "questions.jsonl": jsonl(questions("writing", "math").values()),
        "answers.jsonl": jsonl([answered("a", "x", "y"), answered("b", "z", "w")]),
        "judgments.jsonl": jsonl([graded("Rating: [[7]]", score=7), graded("[[3]]", turn=2, score=3)]),
        "matches.jsonl": jsonl([matched("[[A]]", "[[B]]", winners=("model_1", "model_1"))]),
        "bench.jsonl": jsonl({"question": f"Question {n}?", "answer": "#### 1"} for n in range(3)),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    from notus.evaluate.alpaca.files import write_annotations

    write_annotations(folder / "annotations.json", judged)
    table = pa.Table.from_pylist(pairs)
    pq.write_table(table, folder / "pairs.parquet")
    with pa.ipc.new_file(folder / "pairs.arrow", table.schema) as writer:
        writer.write_table(table)
    with Ledger(folder / "ledger.sqlite") as ledger:
        for n in range(3):
            asked = Request(model=Model(name="m", identity="i"), messages=(Message(role="user", content=f"{n}?"),))
            failed = Failure(key=asked.key, kind="server_error", detail="500")
            paid = {"tokens_in": 10, "tokens_out": 4, "price": 0.5}
            given = Reply(key=asked.key, texts=("a",), finish=("stop",), raw="{}", **paid)
            ledger.put([(asked, failed if n else given)])
    made = {
        "read": ("read", "pairs.jsonl"),
        "audit": ("audit", "feedback.jsonl"),
        "bin": ("binarize", "feedback.jsonl"),
        "judges": ("eval", "judges", "pairs.jsonl", "--ranker", "length"),
        "alpaca": ("eval", "alpaca", "--annotations", "annotations.json", "--replicates", "50"),
        "clean": ("clean", "pairs.jsonl"),
    }
    for out, command in made.items():
        code, said = run(folder, (*command, "--out", out))
        assert code == 0, said
    return list(_cases(folder, made))


def _cases(folder: Path, made: dict[str, tuple[str, ...]]) -> Iterator[Case]:
    out = ("--out", "new")
    for name in ("pairs.jsonl", "pairs.json", "named.json", "pairs.jsonl.gz", "pairs.csv", "pairs.parquet"):
        yield Case(name, ("export", name, *out))
        yield Case(name, ("read", name, "--limit", "5", *out))
    for name in ("pairs.arrow", "feedback.jsonl", "chats.jsonl", "pairs.json"):
        yield Case(name, ("formats", name))
        yield Case(name, ("read", name, *out))
    yield Case("feedback.jsonl", ("audit", "feedback.jsonl", *out))
    yield Case("feedback.jsonl", ("repair", "feedback.jsonl", *out))
    yield Case("pairs.jsonl", ("diff", "pairs.jsonl", "pairs.json", *out))
    yield Case("bench.jsonl", ("clean", "pairs.jsonl", "--against", "bench.jsonl", *out))
    for _ in range(4):
        yield Case("recipe.yaml", ("run", "recipe.yaml", "--dry-run"))
    yield Case("map.yaml", ("read", "pairs.csv", "--map", "map.yaml", *out))
    yield Case(
        "settings.yaml", ("eval", "alpaca", "--annotations", "annotations.json", "--settings", "settings.yaml", *out)
    )
    yield Case("llmbar.json", ("eval", "judges", "llmbar.json", "--ranker", "length", *out))
    score = ("eval", "alpaca", "--annotations", "annotations.json", "--replicates", "50")
    yield Case("annotations.json", (*score, *out))
    yield Case("leaderboard.csv", (*score, "--leaderboard", "leaderboard.csv", *out))
    for name in ("judgments.jsonl", "matches.jsonl"):
        yield Case(name, ("eval", "mtbench", "--judgments", name, *out))
    for name in ("questions.jsonl", "answers.jsonl"):
        more = ("--questions", "questions.jsonl", "--answers", "answers.jsonl")
        yield Case(name, ("eval", "mtbench", "--judgments", "judgments.jsonl", *more, *out))
    yield Case("ledger.sqlite", ("ledger", "ledger.sqlite"))
    yield Case("ledger.sqlite", ("ledger", "ledger.sqlite", "--export", "new"))
    for run_, command in made.items():
        for file in sorted(
            path.relative_to(folder).as_posix() for path in (folder / run_).rglob("*") if path.is_file()
        ):
            yield Case(file, (*command, "--out", run_))
            if file.endswith((".json", ".jsonl", ".parquet")):
                yield Case(file, ("compare", "alpaca", "judges"))
                yield Case(file, ("export" if run_ in ("read", "bin", "clean") else "formats", run_))
                yield Case(file, ("explain", "a", "--run", run_))


def run(folder: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """Do a command in this process; its exit code, and what it wrote to both streams."""
    out = io.StringIO()
    before = sys.argv
    sys.argv = ["notus", *command]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                cli.main()
            except SystemExit as end:
                return int(end.code or 0), out.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("a command ends by an exit")


class HangError(BaseException):
    """A command took too long; no handler of errors takes it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop a block after so many seconds of CPU.

    Raises:
        HangError: then.
    """

    def stop(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def try_mutant(folder: Path, case: Case, seed: int) -> str:
    """Damage a file, do the command, and put the file back; what was wrong with its end, empty where it was right."""
    place = folder / case.file
    top = folder / Path(case.file).parts[0]
    whole = place.read_bytes()
    kept = {path: path.read_bytes() for path in top.rglob("*") if path.is_file()} if top.is_dir() else {place: whole}
    place.write_bytes(mutate(case.file, whole, random.Random(seed)))
    try:
        with limited(SECONDS):
            code, said = run(folder, case.command)
        if code == 0 and (lost := _lost_rows(folder / "new" / "manifest.json")):
            return lost
    except HangError:
        return f"hang: {''.join(traceback.format_exc().splitlines()[-3:])}"
    except BaseException as error:  # noqa: BLE001  what passes the top of the command line is a traceback
        return f"traceback {type(error).__name__}: {error}"
    finally:
        if top.is_dir():
            shutil.rmtree(top)
        for path, data in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        shutil.rmtree(folder / "new", ignore_errors=True)
        for path in (folder / "new", folder / "ledger.sqlite-wal", folder / "ledger.sqlite-shm"):
            path.unlink(missing_ok=True)
    return judge(code, said)


def _lost_rows(manifest: Path) -> str:
    """What a manifest does not account for of the rows that came in; empty where all are."""
    rows = json.loads(manifest.read_bytes()).get("rows") if manifest.is_file() else None
    if rows is None:
        return ""
    left = sum(sum(rows[name].values()) for name in ("quarantined", "dropped"))
    missing = rows["in"] + rows["expanded"] - rows["kept"] - rows["joined"] - left
    return f"lost {missing} of the rows: {rows}" if missing else ""


def judge(code: int, said: str) -> str:
    """What is wrong with the end of a command; empty where nothing is."""
    if "Traceback" in said or "notus: unexpected" in said:
        return f"unexpected ({code}): {said[-300:]}"
    if code not in (0, 2):
        return f"exit code {code}: {said[-300:]}"
    told = [line for line in said.splitlines() if line.startswith("notus:")]
    if code and len(told) != 1:
        return f"{len(told)} lines of error: {said[-300:]}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said):
        return f"control characters: {said[-300:]!r}"
    return ""


def main() -> None:
    """Try so many mutants; the counts go to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="go on from this one")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    started = time.process_time()
    with tempfile.TemporaryDirectory(prefix="notus-mutants-") as name:
        folder = Path(name)
        cases = make_files(folder)
        for number in range(arguments.first, arguments.count):
            seed = arguments.seed * 1_000_003 + number
            case = cases[number % len(cases)]
            wrong = try_mutant(folder, case, seed)
            counts[wrong.partition(" ")[0].partition(":")[0] or "right"] += 1
            if wrong:
                sys.stdout.write(f"{seed} {case.kind} ({' '.join(case.command)}): {wrong}\n")
                sys.stdout.flush()
            if number % 500 == 499:
                sys.stdout.write(f"# {number + 1}: {dict(counts)}, {time.process_time() - started:.0f} s\n")
                sys.stdout.flush()
    sys.stdout.write(f"{arguments.count} mutants of {len(cases)} cases: {dict(counts)}\n")


if __name__ == "__main__":
    main()
