"""What the page is for, in a real browser: a hundred suspicious rows settled by keys, and the sources' own act, on
UltraFeedback as it was published: the score against the critique beside it."""

import json
import re
import sqlite3
import subprocess
import sys
from statistics import quantiles

import pytest

from tests.helpers.review_server import served
from tests.review.test_in_browser import tab_on

pytestmark = pytest.mark.slow
PROMPTS = 2_000


def notus(*arguments):
    subprocess.run([sys.executable, "-m", "notus", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def ultrafeedback(tmp_path_factory):
    """A raw set with 10s that should be 1s, and which these are: prompt and answer."""
    from benchmarks.make_ultrafeedback import generate
    from benchmarks.ultrafeedback_plan import Settings

    folder = tmp_path_factory.mktemp("curation")
    generate(folder, Settings(prompts=PROMPTS, seed=5))
    rows = [json.loads(line) for line in (folder / "feedback.jsonl").read_text().splitlines()]
    truth = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    planted = {
        (rows[each["prompt"]]["instruction"], rows[each["prompt"]]["completions"][each["completion"]]["response"])
        for each in truth
        if each["fault"] == "one-to-ten"
    }
    assert len(planted) > 50
    return folder / "feedback.jsonl", planted


def test_a_hundred_suspicious_rows_are_settled_by_keys(browser, ultrafeedback, tmp_path, record_property):
    source, _ = ultrafeedback
    notus("audit", source, "--out", tmp_path / "audit")
    decisions = tmp_path / "decisions.sqlite"
    with served(tmp_path / "audit", decisions) as page, tab_on(browser, page) as tab:
        tab.page.add_init_script(WATCH)
        tab.page.goto(page.url)
        tab.page.locator(".queue", has_text="Most suspicious").click()
        tab.page.wait_for_selector("#record")
        disk = sqlite3.connect(decisions)
        keys, presses = ["1", "d", "k", "c", "1"], 0
        for number in range(100):
            here = tab.shown()
            tab.page.keyboard.press(keys[number % len(keys)])
            presses += 1
            tab.page.wait_for_function("id => document.getElementById('record').dataset.id !== id", arg=here, polling=5)
            # What is shown as decided is on the disk: another connection reads it.
            assert disk.execute("SELECT count(*), max(target) FROM rulings").fetchone()[0] == number + 1
        times = tab.page.evaluate("window.shown")
        made = page.force()
        assert len(times) == len(made) == 100
        assert presses <= 2 * 100
        assert len({each.target for each in made}) == 100
        assert {each.queue for each in made} == {"suspicion"}
        assert all(each.reasons for each in made[:20])  # what was flagged, and why, stays with the decision
        late = quantiles(times, n=20)[-1]
        record_property("next_record_p95_ms", round(late, 1))
        assert late < 3_000  # the promise is 300 ms; other work may share the machine with a test


WATCH = """
window.shown = [];
let pressed = 0;
addEventListener('keydown', () => { pressed = performance.now(); }, true);
addEventListener('DOMContentLoaded', () => {
  new MutationObserver(() => {
    const from = pressed;
    pressed = 0;
    if (from) requestAnimationFrame(() => setTimeout(() => window.shown.push(performance.now() - from)));
  }).observe(document.getElementById('main'), { childList: true });
});
"""
"""Notes how long it takes from a key to the next record being painted."""


def test_nothing_is_shown_as_decided_that_the_disk_has_not(browser, feedback_file, tmp_path):
    decisions = tmp_path / "decisions.sqlite"
    with served(feedback_file, decisions) as page, tab_on(browser, page, "/first?sort=file") as tab:
        disk, seen = sqlite3.connect(decisions), []

        def held(route):
            answer = route.fetch()
            seen.append((disk.execute("SELECT count(*) FROM rulings").fetchone()[0], tab.shown()))
            route.fulfill(response=answer)

        tab.page.route("**/decide?*", held)
        first = tab.shown()
        tab.press("d", "Dropped")
        assert seen == [(1, first)]  # written before the answer; and until the answer came, nothing was shown
        tab.page.unroute("**/decide?*")
        second = tab.shown()
        tab.page.route("**/decide?*", lambda route: route.abort())
        tab.page.keyboard.press("d")
        tab.page.wait_for_function("() => document.getElementById('wrong').textContent.includes('nothing was decided')")
        assert tab.shown() == second
        assert len(page.force()) == 1
        tab.complaints.clear()  # the browser notes the request that failed


def test_the_sources_own_act(browser, ultrafeedback, tmp_path):
    source, planted = ultrafeedback
    notus("binarize", source, "--strategy", "critique", "--out", tmp_path / "faulty")
    with served(tmp_path / "faulty", tmp_path / "decisions.sqlite") as page, tab_on(browser, page) as tab:
        tab.page.locator(".sorts a", has_text=re.compile("^Score")).click()
        tab.page.wait_for_url(re.compile("sort=-score"))
        assert set(tab.page.locator(".rows .figure:has-text('score') b").all_inner_texts()) == {"10"}
        found = [chosen_of(page, key) for key in keys_of(tab)]
        assert sum(each in planted for each in found) >= 0.7 * len(found)
        tab.page.locator(".rowlink").nth(next(n for n, each in enumerate(found) if each in planted)).click()
        tab.page.wait_for_selector("#record")
        chosen = tab.page.locator(".answer.chosen")
        assert float(chosen.locator(".points b").nth(1).inner_text()) <= 2  # the mean rating, beside the 10
        assert chosen.locator(".ratings li").count() == 4
        assert len(chosen.locator(".critique").inner_text()) > 40
        # The picture shows it at a glance: a 10 beside the lowest ratings is a planted one.
        tab.page.goto(f"{page.url}/?score=10&rating=..2&sort=-score")
        for key in keys_of(tab):
            assert chosen_of(page, key) in planted
    notus("repair", source, "--out", tmp_path / "repair")
    notus("binarize", tmp_path / "repair", "--strategy", "mean-rating", "--out", tmp_path / "anew")
    with served(tmp_path / "anew", tmp_path / "anew.sqlite") as page, tab_on(browser, page, "/?sort=-score") as tab:
        found = [chosen_of(page, key) for key in keys_of(tab)]
        assert len(found) == 25
        assert not planted & set(found)
        tab.page.goto(f"{page.url}/?rating=..2&sort=-score")
        assert not planted & {chosen_of(page, key) for key in keys_of(tab)}


def keys_of(tab):
    return [each.get_attribute("data-id") for each in tab.page.locator(".rows > li[data-id]").all()]


def chosen_of(page, key):
    """Prompt and chosen answer of a pair."""
    view = page.desk.review.record(key)
    return view.prompt[-1].content, view.answers[0].text
