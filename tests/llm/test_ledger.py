import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notus.core.errors import InputError
from notus.core.records import Message
from notus.llm.ledger import Ledger, Writer, export, prune, read_usage
from notus.llm.protocol import (
    Decoding,
    Failure,
    Model,
    Reply,
    Request,
    Token,
)

JUDGE = Model(name="judge", identity="server-7b")


def request(text="Why?", **more):
    return Request(model=JUDGE, messages=(Message(role="user", content=text),), **more)


def reply(asked, text="So.", **more):
    paid = {"tokens_in": 10, "tokens_out": 4, "price": 0.5}
    return Reply(key=asked.key, texts=(text,), finish=("stop",), raw='{"choices": []}', **{**paid, **more})


def failure(asked, kind="server_error", **more):
    return Failure(key=asked.key, kind=kind, detail="500: inner", **more)


def test_the_key_holds_all_that_determines_the_answer():
    first = request()
    others = [
        request("Why not?"),
        replace(first, messages=(Message(role="system", content="Why?"),)),
        replace(first, messages=(*first.messages, *first.messages)),
        replace(first, model=Model(name="judge", identity="server-13b")),
        replace(first, schema={"type": "object"}),
        replace(first, top_logprobs=0),
        replace(first, sample=1),
        *(
            replace(first, decoding=Decoding(**{name: value}))
            for name, value in {
                "temperature": 0.0,
                "top_p": 0.5,
                "top_k": 5,
                "repetition_penalty": 1.1,
                "max_tokens": 5,
                "n": 2,
                "seed": 0,
                "stop": ("a",),
            }.items()
        ),
    ]
    keys = {other.key for other in others}
    assert len(keys) == len(others)
    assert first.key not in keys


def test_the_key_holds_nothing_else():
    first = request(decoding=Decoding(temperature=0.0), schema={"a": 1, "b": 2})
    renamed = Model(name="other name", identity="server-7b", schema=True)
    for same in (
        replace(first, model=renamed),
        replace(first, step="judge/honesty"),
        replace(first, tag="row 7"),
        replace(first, decoding=Decoding(temperature=0)),
        replace(first, schema={"b": 2, "a": 1}),
    ):
        assert same.key == first.key


def test_the_key_is_the_same_in_another_process():
    """A change of this constant sends everything that was ever paid for again."""
    assert request().key == "5730fbfc38f2193bb9cbe9b8976f4e5c"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    text=texts,
    answers=st.lists(texts, min_size=1, max_size=3),
    price=st.none() | st.floats(0, 10),
    tokens=st.lists(st.tuples(texts, st.floats(-30, 0)), max_size=3),
)
def test_what_was_put_in_comes_out(tmp_path_factory, text, answers, price, tokens):
    asked = request(text, decoding=Decoding(n=len(answers)), step="judge")
    logprobs = tuple(tuple(Token(text=t, logprob=p, top=((t, p),)) for t, p in tokens) for _ in answers)
    said = replace(
        reply(asked, price=price),
        texts=tuple(answers),
        finish=("stop",) * len(answers),
        logprobs=logprobs,
        raw=text,
        estimated=True,
        latency_s=0.25,
        attempts=3,
    )
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.put([(asked, said)])
    with Ledger(path) as ledger:
        assert ledger.find([asked.key]) == {asked.key: replace(said, stored=True)}
        assert ledger.request(asked.key) == asked


def test_a_failure_gives_way_and_a_reply_stays_and_all_that_was_paid_adds_up(tmp_path):
    asked = request()
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put([(asked, failure(asked, tokens_in=10, price=0.25, attempts=2))])
        assert ledger.find([asked.key]) == {}
        assert list(ledger.missing([asked.key])) == [asked.key]
        ledger.put([(asked, reply(asked))])
        ledger.put([(asked, reply(asked, "Another."))])
        ledger.put([(asked, failure(asked))])
        found = ledger.find([asked.key])[asked.key]
        assert (found.text, found.price, found.tokens_in, found.attempts) == ("So.", 1.25, 30, 5)


def test_a_final_failure_is_found_and_one_that_may_pass_is_not(tmp_path):
    final, passing = request("a"), request("b")
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put([(final, failure(final, "content_filter")), (passing, failure(passing, "timeout"))])
        assert {key: outcome.kind for key, outcome in ledger.find([final.key, passing.key]).items()} == {
            final.key: "content_filter"
        }


def test_missing_keeps_the_order_over_many_chunks(tmp_path):
    asked = [request(str(number)) for number in range(2500)]
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.put([(item, reply(item)) for item in asked[::2]])
        assert list(ledger.missing(item.key for item in asked)) == [item.key for item in asked[1::2]]
        assert len(ledger.find(item.key for item in asked)) == 1250


WRITE = """
import sys
from pathlib import Path
from notus.llm.ledger import Ledger
from tests.llm.test_ledger import reply, request
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(200):
        asked = request(f"{number % 150} of {sys.argv[2]}")
        ledger.put([(asked, reply(asked))])
"""


def test_processes_share_a_ledger(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path / "ledger")]
    workers = [subprocess.Popen([*command, who]) for who in ("one", "two", "both", "both")]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    with Ledger(tmp_path / "ledger") as ledger:
        assert ledger.query("SELECT count(*), sum(attempts) FROM entries") == [(450, 800)]


def test_the_writer_commits_all_that_it_was_given(tmp_path):
    done, errors = [], []
    with Ledger(tmp_path / "ledger") as ledger:
        writer = Writer(ledger, lambda entries, error: (done.extend(entries), errors.append(error)))
        asked = [request(str(number)) for number in range(3000)]
        parts = [
            threading.Thread(target=lambda n=n: [writer.put((a, reply(a))) for a in asked[n::3]]) for n in range(3)
        ]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        writer.close()
        assert len(done) == 3000
        assert set(errors) == {None}
        assert list(ledger.missing(item.key for item in asked)) == []


def test_the_writer_tells_of_a_ledger_that_takes_nothing(tmp_path):
    told = []
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.query("DROP TABLE entries")
        writer = Writer(ledger, lambda entries, error: told.append((len(entries), str(error))))
        writer.put((request(), reply(request())))
        writer.close()
    [(count, error)] = told
    assert count == 1
    assert "no such table" in error


def damaged(path):
    with Ledger(path) as ledger:
        ledger.put([(item, reply(item)) for item in map(request, map(str, range(500)))])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def other_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries(a)")


def later_version(path):
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


FOREIGN = {
    "text": (lambda path: path.write_text("no database at all\n" * 100), "damaged, or no ledger"),
    "damaged": (damaged, "damaged"),
    "other": (other_database, "no ledger"),
    "later": (later_version, "version 99"),
    "folder": (lambda path: path.mkdir(), "cannot be used"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_ledger_is_one_line(kind, tmp_path):
    path = tmp_path / "ledger"
    make, words = FOREIGN[kind]
    make(path)
    with pytest.raises(InputError, match=words) as error, Ledger(path) as ledger:
        ledger.find([request(str(number)).key for number in range(500)])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_ledger_is_read_or_is_one_line(seed, tmp_path):
    """Sixty times: bits turned over, texts changed, ends cut off, parts emptied."""
    path, draw, asked = tmp_path / "ledger", random.Random(seed), [request(str(n), step="judge") for n in range(30)]
    with Ledger(path) as ledger:
        ledger.put([(item, reply(item)) for item in asked[:20]])
        ledger.put([(item, failure(item, "timeout")) for item in asked[20:25]])
        ledger.claim([item.key for item in asked])
    whole, ends, said = path.read_bytes(), Counter(), []
    for number in range(60):
        content, at = bytearray(whole), draw.randrange(len(whole))
        if number % 4 == 0:
            content[at] ^= 1 << draw.randrange(8)
        elif number % 4 == 1:
            at = content.find(draw.choice([b"texts", b"finish", b"judge", b"messages", b"NOT NULL"]), at)
            content[at : at + 3] = draw.randbytes(3)
        elif number % 4 == 2:
            content[at : at + draw.randrange(3000)] = b""
        else:
            content[at : at + 500] = bytes(len(content[at : at + 500]))
        for file in tmp_path.glob("ledger*"):
            file.unlink()
        path.write_bytes(content)
        try:
            with Ledger(path, must_exist=True) as ledger:
                read_usage(ledger)
                export(ledger, tmp_path / "all.jsonl", force=True)
                prune(ledger, "failures")
                ledger.claim([item.key for item in asked])
                ledger.request(asked[0].key)
            ends["read"] += 1
        except InputError as error:
            ends["said"] += 1
            said.append(str(error))
    assert all(str(path) in each and "\n" not in each for each in said)
    assert min(ends["read"], ends["said"]) > 5


def test_a_ledger_that_must_be_there_is_not_made(tmp_path):
    with pytest.raises(InputError, match="there is no ledger"):
        Ledger(tmp_path / "ledger", must_exist=True)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def kept(tmp_path):
    with Ledger(tmp_path / "ledger") as ledger:
        for number in range(6):
            asked = request(str(number), step="judge" if number % 2 else "critique")
            ledger.put([(asked, reply(asked, estimated=number == 0, price=None if number == 5 else 0.5))])
        lost = request("lost", step="judge")
        ledger.put([(lost, failure(lost, "timeout"))])
        yield ledger


def test_the_usage_adds_up(kept):
    usage = read_usage(kept)
    critique, judge = usage.rows
    assert (critique.step, critique.replies, critique.failures, critique.estimated) == ("critique", 3, 0, 1)
    assert (judge.step, judge.replies, judge.failures, judge.tokens_in, judge.price) == ("judge", 3, 1, 30, 1.0)
    assert (usage.failures, usage.price, usage.unpriced) == ({"timeout": 1}, 2.5, 2)
    assert [row["step"] for row in msgspec.to_builtins(usage)["accounts"]] == ["critique", "judge"]


def test_pruning_removes_nothing_unasked(kept):
    for what, entries in {"failures": 1, "kind=timeout": 1, "step=judge": 4, "model=judge": 7}.items():
        would = prune(kept, what)
        assert (would.entries, would.done) == (entries, False)
    assert kept.query("SELECT count(*) FROM entries") == [(7,)]
    assert prune(kept, f"key={request('0', step='x').key}", yes=True).entries == 1
    assert prune(kept, "step=judge", yes=True).replies == 3
    assert kept.query("SELECT count(*) FROM entries") == [(2,)]
    for wrong in ("all", "failures=1", "step", "step=jugde", "key=xyz"):
        with pytest.raises(InputError):
            prune(kept, wrong, yes=True)
    assert kept.query("SELECT count(*) FROM entries") == [(2,)]


def test_the_export_holds_everything(kept, tmp_path):
    assert export(kept, tmp_path / "all.jsonl") == 7
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["request"]["messages"][0]["content"] for line in lines] == [*"012345", "lost"]
    assert lines[0]["key"] == request("0").key
    assert lines[0]["answer"]["texts"] == ["So."]
    assert lines[-1]["kind"] == "timeout"


@pytest.mark.parametrize("column", ["kind", "detail", "answer", "raw", "request"])
def test_an_entry_in_which_a_text_has_changed_is_named_and_asked_again(tmp_path, column):
    asked, other = request(), request("Where?")
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.put([(asked, reply(asked, "It is true.")), (other, reply(other))])
    changes = {
        "kind": "'refused'",
        "detail": "'x'",
        "answer": "replace(answer, 'true', 'tru5')",
        "raw": "'{}'",
        "request": "replace(request, 'Why', 'Wha')",
    }
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE entries SET {column} = {changes[column]} WHERE id = 1")
        connection.commit()
    with Ledger(path) as ledger:
        told = f"entry {asked.key} is not what was written; .*--prune key={asked.key} --yes' removes it"
        with pytest.raises(InputError, match=told):
            ledger.request(asked.key) if column == "request" else ledger.find([asked.key, other.key])
        if column != "request":
            with pytest.raises(InputError, match=told):
                export(ledger, tmp_path / "out.jsonl")
        assert prune(ledger, f"key={asked.key}", yes=True).entries == 1
        assert set(ledger.find([asked.key, other.key])) == {other.key}
        assert set(ledger.claim([asked.key])[0]) == set()
        ledger.put([(asked, reply(asked, "It is true."))])
        assert ledger.find([asked.key])[asked.key].texts == ("It is true.",)


def test_bits_that_change_in_the_file_are_never_read_as_other_answers(tmp_path):
    path = tmp_path / "ledger.sqlite"
    asked = [request(f"Question {number}?") for number in range(40)]
    said = {each.key: f"Answer {place} in a few plain words." for place, each in enumerate(asked)}
    with Ledger(path) as ledger:
        ledger.put([(each, reply(each, said[each.key])) for each in asked])
    whole, random_, named = path.read_bytes(), random.Random(5), 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[random_.randrange(4096, len(whole))] ^= 1 << random_.randrange(8)
        path.write_bytes(damaged)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        try:
            with Ledger(path) as ledger:
                found = ledger.find(said)
        except InputError:
            named += 1
        else:
            assert all(outcome.texts == (said[key],) for key, outcome in found.items())
    assert named > 10


def test_a_ledger_of_before_checksums_is_read_and_its_new_entries_have_one(tmp_path):
    path = tmp_path / "ledger.sqlite"
    old, new = request(), request("Where?")
    with Ledger(path) as ledger:
        ledger.put([(old, reply(old))])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE entries DROP COLUMN crc")
        connection.commit()
    with Ledger(path) as ledger:
        assert ledger.find([old.key])[old.key].texts == ("So.",)
        ledger.put([(new, reply(new))])
        assert [row[0] is None for row in ledger.query("SELECT crc FROM entries ORDER BY id")] == [True, False]
