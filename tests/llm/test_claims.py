"""What one process is asking, another does not ask: claims on a ledger, in real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from notus.llm.ledger import Ledger
from notus.llm.protocol import Reply
from tests.helpers.asked import CONCURRENCY, Asked, write_recipe
from tests.helpers.misbehaving import Server
from tests.llm.test_ledger import failure, reply, request
from tests.llm.test_pool import ask, endpoint, pool_on, start_alone

ASKED = [request(str(number)) for number in range(6)]
KEYS = [each.key for each in ASKED]


def test_a_claim_holds_until_the_answer(tmp_path):
    path = tmp_path / "ledger"
    with Ledger(path) as one, Ledger(path) as two:
        assert one.claim(KEYS[:3]) == ({}, set())
        assert one.claim(KEYS[:3]) == ({}, set())  # its own
        assert two.claim(KEYS) == ({}, set(KEYS[:3]))
        assert one.claim(KEYS) == ({}, set(KEYS[3:]))
        one.put([(ASKED[0], reply(ASKED[0])), (ASKED[1], failure(ASKED[1]))])
        known, elsewhere = two.claim(KEYS)
        # The reply is read, what failed may be asked, and the third is still being asked.
        assert ({key: outcome.text for key, outcome in known.items()}, elsewhere) == ({KEYS[0]: "So."}, {KEYS[2]})
        one.release(KEYS)  # those of others stay
        assert two.claim(KEYS)[1] == set()
        assert one.claim(KEYS)[1] == set(KEYS[1:])
    assert [file.name for file in tmp_path.iterdir()] == ["ledger"]


def test_what_a_closed_ledger_claimed_is_free(tmp_path):
    with Ledger(tmp_path / "ledger") as one:
        one.claim(KEYS)
    with Ledger(tmp_path / "ledger") as two:
        assert two.claim(KEYS) == ({}, set())
        assert two.query("SELECT count(*) FROM claims") == [(6,)]


def test_a_ledger_under_two_names_is_one(tmp_path):
    """By way of a link the locks must be found in the same place."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked").symlink_to(tmp_path / "ledger")
    with Ledger(tmp_path / "ledger") as one, Ledger(tmp_path / "elsewhere" / "linked") as two:
        one.claim(KEYS)
        assert two.claim(KEYS) == ({}, set(KEYS))


CLAIM = """
import sys, time
from pathlib import Path
from notus.llm.ledger import Ledger
from tests.llm.test_claims import KEYS
ledger = Ledger(Path(sys.argv[1]))
ledger.claim(KEYS)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_claimed_is_taken_over(tmp_path):
    path = tmp_path / "ledger"
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process, Ledger(path) as ledger:
        assert process.stdout.readline() == "claimed\n"
        assert ledger.claim(KEYS) == ({}, set(KEYS))
        process.send_signal(signal.SIGSTOP)  # one that sleeps may still be answered
        assert ledger.claim(KEYS) == ({}, set(KEYS))
        process.kill()
        process.wait()
        assert ledger.claim(KEYS) == ({}, set())
        # Its lock is gone, and ours is the only one.
        [lock] = [file.name for file in tmp_path.iterdir() if "-asking-" in file.name]
        assert lock.startswith(f"ledger-asking-{os.getpid()}-")


def test_two_processes_ask_nothing_twice(tmp_path):
    """Both want the same 300 answers."""
    (tmp_path / "second").mkdir()
    with Server(latency=0.005) as server:
        first = start_alone(tmp_path, server.url, requests=300)
        command = [
            sys.executable,
            "-m",
            "tests.helpers.collect_alone",
            tmp_path / "ledger",
            tmp_path / "second" / "out",
        ]
        second = subprocess.Popen([*map(str, command), "300", "16", server.url])
        assert (first.wait(60), second.wait(60)) == (0, 0)
        assert server.came == Counter({f"Question {number}?": 1 for number in range(300)})
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "second" / "out").read_bytes()


def test_what_another_gives_up_is_asked_here(tmp_path):
    """The first asks eight at once and is stopped while they are under way; the second waits for all, and asks."""
    path = tmp_path / "ledger"
    with Server() as server, Ledger(path) as first:
        with pool_on(path, endpoint(server.url)) as pool:
            requests = [ask(pool, str(number)) for number in range(8)]
            first.claim([each.key for each in requests])
            answers = pool.answer(requests)
            time.sleep(0.3)
            first.put([(each, reply(each)) for each in requests[:2]])
            first.put([(requests[2], failure(requests[2]))])
            time.sleep(0.1)
            first.close()
            came = dict(answers)
            assert all(isinstance(outcome, Reply) for outcome in came.values())
            assert [came[each].stored for each in requests] == [True, True, *[False] * 6]
            assert pool.progress.snapshot().elsewhere == 0
        assert server.came == Counter({str(number): 1 for number in range(2, 8)})


def test_a_caller_that_goes_leaves_its_claims_to_others(tmp_path):
    path = tmp_path / "ledger"
    with Server(latency=0.05) as server, pool_on(path, endpoint(server.url, concurrency=2)) as pool:
        answers = pool.answer(ask(pool, str(number)) for number in range(300))
        next(answers)
        answers.close()
        with Ledger(path) as other:
            until = time.monotonic() + 10
            keys = [ask(pool, str(number)).key for number in range(250, 300)]
            while other.claim(keys)[1] and time.monotonic() < until:
                time.sleep(0.01)
            assert other.claim(keys) == ({}, set())


def collect(recipe, out):
    command = [sys.executable, "-m", "notus", "collect", str(recipe), "--out", str(out), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_collectors_on_one_ledger_ask_nothing_twice(tmp_path):
    with Asked(latency=0.02) as server:
        recipe = write_recipe(tmp_path / "recipe.yaml", server.url, tmp_path / "ledger.sqlite", prompts=24)
        both = [collect(recipe, tmp_path / name) for name in ("one", "two")]
        for process in both:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said
        assert len(server.came) > 24 * 8
        assert server.repeated == 0
    one, two = (next((tmp_path / name / "steps").glob("collect-*")) for name in ("one", "two"))
    assert (one / "feedback.jsonl").read_bytes() == (two / "feedback.jsonl").read_bytes()
    asked = [json.loads((each / "manifest.json").read_text())["summary"]["asked"] for each in (one, two)]
    assert sum(asked) == len(server.came)


@pytest.mark.slow
def test_a_killed_collector_repeats_what_was_under_way_and_the_other_goes_on(tmp_path):
    with Asked(latency=0.02) as server:
        recipe = write_recipe(tmp_path / "recipe.yaml", server.url, tmp_path / "ledger.sqlite", prompts=24)
        killed, other = (collect(recipe, tmp_path / name) for name in ("one", "two"))
        until = time.monotonic() + 60
        while len(server.came) < 100 and time.monotonic() < until:
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        _, said = other.communicate(timeout=120)
        assert other.returncode == 0, said
        assert server.repeated <= CONCURRENCY
