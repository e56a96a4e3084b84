"""The command ``notus review``, as a process of its own."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from notus.cli.decide.review import review
from notus.core.errors import NotusError
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from tests.helpers.review_server import feedback_row, write_rows

pytest.importorskip("fastapi")
pytest.importorskip("duckdb")


@pytest.fixture
def source(tmp_path):
    rows = [
        feedback_row(f"Name river {n}.", [("The Oder.", 8.0, 5, "Right."), ("No.", 10.0, 1, "Wrong.")])
        for n in range(3)
    ]
    return write_rows(tmp_path / "feedback.jsonl", rows)


def command(*arguments):
    return [sys.executable, "-m", "notus", "review", *map(str, arguments), "--no-browser"]


@contextmanager
def running(source, tmp_path, *more):
    with subprocess.Popen(
        command(source, "--decisions", tmp_path / "decisions.sqlite", "--who", "ana", *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def status(link):
    """Status of an answer, and its text; no proxy is asked for what is on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(link, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, ""


def test_it_serves_says_where_and_ends_by_ctrl_c(source, tmp_path):
    with running(source, tmp_path) as (process, link):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", link)
        _, text = status(link)
        assert "6 answers" in text
        assert "Name river 2." in text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert out.splitlines()[-1] == f"0 decisions are in {tmp_path / 'decisions.sqlite'}"


def test_a_sigterm_ends_it_with_all_decisions_in_the_file(source, tmp_path):
    with running(source, tmp_path) as (process, link):
        decisions = tmp_path / "decisions.sqlite"
        with open_store(decisions) as store:
            store.add([Ruling(target="a", of="pair", what="drop", who="ben")])
            assert status(link)[0] == 200
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert out.splitlines()[-1] == f"1 decisions are in {decisions}"
        assert sorted(each.name for each in tmp_path.glob("decisions*")) == ["decisions.sqlite"]


def test_beyond_loopback_the_link_has_a_token(source, tmp_path):
    with running(source, tmp_path, "--host", "0.0.0.0") as (_, link):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", link)
        assert status(link)[0] == 200
        assert status(link.partition("?")[0])[0] == 401


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"token": "short"}, "the token has 5 characters"),
        ({"who": " "}, "a name of 1 to 64"),
        ({"host": "203.0.113.7", "port": 8377}, "cannot listen on 203.0.113.7:8377"),
        ({"feedback": "none.jsonl"}, "holds no pairs that feedback could stand beside"),
        ({"given": "none.jsonl"}, "none.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line(source, tmp_path, more, said):
    asked = {"given": str(source), "who": "ana", "host": "127.0.0.1", "port": None, "token": None, "blind": False}
    asked |= {"feedback": None, "audit": None, "no_browser": True, "decisions": str(tmp_path / "decisions.sqlite")}
    with pytest.raises(NotusError, match=said) as refused:
        review(**(asked | more))
    assert "\n" not in str(refused.value)
