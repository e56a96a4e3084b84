"""The arena's page, really served: blind, safe, a vote on the disk before the next match, and in a real browser."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from notus.core.artifacts import OUTPUTS
from notus.core.records import Message, Output
from notus.core.tables import write_records
from notus.evaluate.arena import Ballots, make_arena, read_votes, standings
from tests.helpers.hostile import HOSTILE
from tests.helpers.review_server import Served


def answers(folder, model, texts):
    folder.mkdir(parents=True)
    prompts = [(Message(role="user", content=f"Name river {n}."),) for n in range(len(texts))]
    rows = [Output(prompt=prompt, text=text, model=model) for prompt, text in zip(prompts, texts, strict=True)]
    write_records(OUTPUTS.at(folder), rows, Output)
    return folder


@contextmanager
def arena_served(folder, ones, others):
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from notus.review.arena import make_arena_app
    from notus.review.security import Access

    arena = make_arena(answers(folder / "alder-run", "alder", ones), answers(folder / "birch-run", "birch", others))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    access = Access.make("127.0.0.1", port, None)
    with Ballots(folder / "votes.jsonl") as ballots:
        app = make_arena_app(arena, ballots, access, "ana")
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield Served(port, None, access, None), arena, ballots
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def page(tmp_path):
    with arena_served(tmp_path, [f"One {n}" for n in range(4)], [f"Two {n}" for n in range(4)]) as found:
        yield found


def post(served, path, value, **change):
    return served.request("POST", path, headers=served.own_headers() | change, body=json.dumps(value).encode())


def test_a_vote_is_on_the_disk_and_the_next_match_stands_there(page, tmp_path):
    served, arena, _ = page
    first = arena.matches[0]
    status, text, headers = served.request("GET", "/")
    assert status == 200
    assert f'data-match="{first.id}"' in text
    assert "alder" not in text
    assert "birch" not in text
    assert "script-src 'self'" in headers["content-security-policy"]
    assert post(served, "/vote", {"match": first.id, "vote": "left"})[0] == 200
    assert [(each.match, each.vote, each.who) for each in read_votes(tmp_path / "votes.jsonl")] == [
        (first.id, "left", "ana")
    ]
    assert f'data-match="{arena.matches[1].id}"' in served.request("GET", "/")[1]
    assert post(served, "/vote", {"match": first.id, "vote": "right"})[0] == 400  # not twice
    assert post(served, "/vote", {"match": first.id, "vote": "undo"})[0] == 200
    assert f'data-match="{first.id}"' in served.request("GET", "/")[1]


def test_what_is_put_behind_comes_last_and_the_standings_name_the_runs(page):
    served, arena, ballots = page
    assert post(served, "/skip", {"match": arena.matches[0].id, "vote": "tie"})[0] == 200
    for match in [*arena.matches[1:], arena.matches[0]]:
        assert f'data-match="{match.id}"' in served.request("GET", "/")[1]
        assert post(served, "/vote", {"match": match.id, "vote": "tie"})[0] == 200
    assert "All 4 matches are voted on" in served.request("GET", "/")[1]
    assert standings(arena, ballots.votes).ties == 4
    assert "alder-run" in served.request("GET", "/standings")[1]


@pytest.mark.parametrize(
    "change",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"x-notus-page": "no"},
        {"x-notus-page": ""},
        {"Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_vote_from_elsewhere_is_refused(page, change):
    served, arena, ballots = page
    assert post(served, "/vote", {"match": arena.matches[0].id, "vote": "left"}, **change)[0] >= 400
    assert ballots.votes == []


def test_what_is_no_vote_is_one_line(page):
    served, arena, ballots = page
    for value in (
        {"match": "gone", "vote": "left"},
        {"match": arena.matches[0].id, "vote": "maybe"},
        [1],
        {"match": "x"},
    ):
        status, text, _ = post(served, "/vote", value)
        assert status == 400
        assert json.loads(text)["error"]
    assert post(served, "/vote", {"match": "x", "vote": "undo"})[0] == 400
    assert served.request("GET", "/static/../app.py")[0] == 404
    assert served.request("GET", "/static/review.js")[0] == 404
    assert ballots.votes == []


@pytest.mark.slow
def test_four_matches_by_keys_in_a_browser_with_hostile_answers(browser, tmp_path):
    hostile = list(HOSTILE)[:40]
    with arena_served(tmp_path, hostile, [f"Two {n}" for n in range(len(hostile))]) as (served, arena, ballots):
        context = browser.new_context(viewport={"width": 420, "height": 800}, color_scheme="dark")
        page = context.new_page()
        complaints, outside = [], []
        page.on("console", lambda each: complaints.append(each.text) if each.type in ("error", "warning") else 0)
        page.on("dialog", lambda each: complaints.append(each.message))
        page.on("request", lambda each: outside.append(each.url) if not each.url.startswith(served.url) else 0)
        page.goto(served.url)
        for number in range(len(hostile)):
            before = page.locator("#match").get_attribute("data-match")
            page.keyboard.press("1230"[number % 4])
            page.wait_for_function(
                "id => document.getElementById('match')?.dataset.match !== id", arg=before, polling=20
            )
            assert len(ballots.votes) == number + 1
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("h1").inner_text() == f"All {len(hostile)} matches are voted on"
        page.keyboard.press("u")
        page.wait_for_selector("#match")
        assert complaints == []
        assert outside == []
        context.close()
        assert standings(arena, ballots.votes).votes == len(hostile) - 1
