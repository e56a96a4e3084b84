"""The page in a real browser, on a real server: everything that a person does there, by mouse and by keys alone."""

import re
from contextlib import contextmanager
from pathlib import Path

import pytest

import notus
from notus.review.filter import Filter
from tests.helpers.hostile import HOSTILE
from tests.helpers.review_server import feedback_row, served, write_rows

pytestmark = pytest.mark.slow


class Tab:
    """A tab of the browser that notes what it asks for and what it complains of."""

    def __init__(self, browser, page, **context):
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 860}} | context))
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.complaints, self.outside = [], []
        self.page.on(
            "console", lambda each: self.complaints.append(each.text) if each.type in ("error", "warning") else 0
        )
        self.page.on("pageerror", lambda each: self.complaints.append(str(each)))
        self.page.on("request", lambda each: self._note(each.url, page.url))

    def _note(self, url, own):
        if not url.startswith((own + "/", "data:", "about:")):
            self.outside.append(url)

    def said(self, words):
        """Wait until the page has said it to a screen reader too."""
        self.page.wait_for_function(
            "w => document.getElementById('said').textContent.includes(w)", arg=words, polling=20
        )

    def shown(self):
        return self.page.locator("#record").get_attribute("data-id")

    def press(self, key, words):
        """Press a key, and wait for what is said then; what was said before is no answer."""
        self.page.evaluate("document.getElementById('said').textContent = ''")
        self.page.keyboard.press(key)
        self.said(words)


@contextmanager
def tab_on(browser, page, path="/", **context):
    opened = Tab(browser, page, **context)
    opened.page.goto(page.url + path)
    try:
        yield opened
        assert opened.complaints == []
        assert opened.outside == []
    finally:
        opened.context.close()


@pytest.fixture
def page(feedback_file, tmp_path):
    with served(feedback_file, tmp_path / "decisions.sqlite") as running:
        yield running


@pytest.fixture
def pairs(pairs_file, tmp_path):
    with served(pairs_file, tmp_path / "decisions.sqlite") as running:
        yield running


def results(tab):
    return int(re.match(r"[\d,]+", tab.page.locator("#results-title").inner_text())[0].replace(",", ""))


def test_browse_filter_by_a_click_sort_and_search(browser, page):
    with tab_on(browser, page) as tab:
        assert results(tab) == 80
        assert tab.page.locator(".rows > li").count() == 25
        # The picture that shows the fault: eight answers with a 10 beside a mean rating of 1.
        cell = tab.page.locator(".pictures .wide a[aria-label='Overall score 10, mean rating 1: 8 records']")
        cell.click()
        tab.page.wait_for_url(re.compile("score=10"))
        assert results(tab) == 8
        assert "rating=1" in tab.page.url
        assert tab.page.locator(".wide .p-link.on").count() >= 1
        assert tab.page.locator(".active li").count() == 3  # two ranges, and what clears them
        tab.page.locator(".wide .grid a.on, figure.grid .wide a.on").first.click()  # a second click takes it out
        tab.page.wait_for_url(lambda url: "score" not in url)
        assert results(tab) == 80
        # A facet, a sort in both directions, and a text.
        tab.page.locator(".facets a", has_text="odd").click()
        tab.page.wait_for_url(re.compile("source=odd"))
        assert results(tab) == 16
        tab.page.locator(".sorts a", has_text="Score").click()
        tab.page.wait_for_url(re.compile("sort=-score"))
        assert tab.page.locator(".rows .figure b").first.inner_text() == "10"
        tab.page.locator(".sorts a[aria-current]").click()
        tab.page.wait_for_url(re.compile("sort=score"))
        assert tab.page.locator(".rows .figure b").first.inner_text() == "8"
        tab.page.keyboard.press("/")
        tab.page.keyboard.type("number 35.")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_url(re.compile("text=number"))
        assert results(tab) == 2
        tab.page.goto(page.url + "/?score=ten")
        assert "score=ten" in tab.page.locator("main").inner_text()
        tab.complaints.clear()  # the browser notes that this one was answered with 400


def test_every_key(browser, page):
    with tab_on(browser, page, "/?sort=file") as tab:
        tab.page.locator(".rowlink").first.click()
        tab.page.wait_for_selector("#record")
        first = tab.shown()
        assert "**River 0** is long." not in tab.page.locator(".asked .said .rendered").first.inner_text()
        tab.page.keyboard.press("m")
        assert "**River 0** is long." in tab.page.locator(".asked .said .verbatim").first.inner_text()
        tab.page.keyboard.press("m")

        def last():
            return list(page.store.rulings())[-1]

        tab.press("k", "Kept. 1 of 80 decided")
        assert (last().target, last().what, last().who) == (first, "keep", "ana")
        second = tab.shown()
        assert second != first
        tab.press("d", "Dropped. 2 of 80")
        assert (last().target, last().what) == (second, "drop")
        tab.press("c", "Cannot tell. 3 of 80")
        for key, value in (("7", 7.0), ("1", 1.0), ("0", 10.0)):
            here = tab.shown()
            tab.press(key, f"Score set to {value:g}")
            assert (last().target, last().what, last().field, last().value) == (
                here,
                "set-score",
                "overall_score",
                value,
            )
        here = tab.shown()
        tab.page.keyboard.press("o")
        tab.page.wait_for_selector("#score[open]")
        tab.page.locator("#score select").select_option("honesty")
        tab.page.locator("#score input[name=value]").fill("2.5")
        tab.press("Enter", "Honesty set to 2.5")
        assert (last().target, last().field, last().value) == (here, "honesty", 2.5)
        here = tab.shown()
        tab.page.keyboard.press("e")
        tab.page.wait_for_selector("#edit[open]")
        tab.page.locator("#edit textarea").last.fill("Written anew.")
        tab.press("Control+Enter", "Edited: answer")
        assert (last().target, last().what, last().field, last().value) == (here, "edit", "answer", "Written anew.")
        tab.page.keyboard.press("n")
        tab.page.wait_for_selector("#note[open]")
        tab.page.keyboard.type("k is typed here, and decides nothing")
        tab.press("Control+Enter", "Noted")
        assert (last().what, last().why) == ("note", "k is typed here, and decides nothing")
        assert tab.shown() == here
        # A key that does not fit says so, and decides nothing.
        before = last().number
        tab.page.keyboard.press("s")
        tab.page.wait_for_function("() => document.getElementById('wrong').textContent.includes('only a pair')")
        assert last().number == before
        tab.complaints.clear()  # the browser notes that this one was refused
        # Undo and redo lead to what they are on.
        tab.press("u", "Undone: noted")
        tab.press("u", "Undone: edited: answer")
        tab.press("u", "Undone: honesty set to 2.5")
        assert len(page.force()) == 6
        tab.press("r", "Done again: honesty set to 2.5")
        assert len(page.force()) == 7
        # Forwards, backwards, help, and back to the list.
        here = tab.shown()
        for forward, backward in (("j", "p"), ("ArrowRight", "ArrowLeft")):
            tab.page.keyboard.press(forward)
            tab.page.wait_for_function("id => document.getElementById('record').dataset.id !== id", arg=here)
            tab.page.keyboard.press(backward)
            tab.page.wait_for_function("id => document.getElementById('record').dataset.id === id", arg=here)
        tab.page.keyboard.press("?")
        tab.page.wait_for_selector("#help[open]")
        tab.page.keyboard.press("k")  # a dialog is open: not a decision
        tab.page.keyboard.press("Escape")
        assert len(page.force()) == 7
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector(".results")
        assert tab.page.locator("#decided").inner_text() == "7"


def test_a_pair_with_its_words_marked_is_swapped(browser, pairs):
    with tab_on(browser, pairs, "/?sort=-score") as tab:
        assert tab.page.locator(".figure b").first.inner_text() == "9"
        tab.page.locator(".rowlink").first.click()
        tab.page.wait_for_selector("#record")
        assert tab.page.locator(".chosen mark").all_inner_texts() == ["miles", "north"]
        assert tab.page.locator(".rejected mark").all_inner_texts() == ["feet", "south"]
        target = tab.shown()
        tab.press("s", "Swapped. 1 of 30")
        (ruling,) = pairs.force()
        assert (ruling.target, ruling.of, ruling.what) == (target, "pair", "swap")
        assert tab.shown() != target


def test_on_all_results_after_a_preview_and_undone_as_one(browser, page):
    with tab_on(browser, page, "/?score=10") as tab:
        tab.page.keyboard.press("b")
        tab.page.wait_for_selector("#bulk[open]")
        assert "Decide on 8 records" in tab.page.locator("#bulk").inner_text()
        tab.page.keyboard.press("Escape")
        assert page.force() == []
        tab.page.locator("[data-bulk]").click()
        tab.page.wait_for_selector("#bulk[open]")
        tab.page.locator("#bulk [value=set-score]").check()
        tab.page.locator("#bulk [name=value]").fill("1")
        tab.page.locator("#bulk [name=why]").fill("a misread 1")
        tab.page.locator("#bulk button.main").click()
        tab.said("Score set to 1: 8 records at once")
        made = page.force()
        assert len(made) == 8
        assert {(each.what, each.value, each.why, each.batch) for each in made} == {
            ("set-score", 1.0, "a misread 1", made[0].batch)
        }
        assert tab.page.locator("#decided").inner_text() == "8"
        tab.press("u", "Undone: score set to 1, 8 records at once")
        assert page.force() == []
        tab.press("r", "Done again")
        assert len(page.force()) == 8


def test_rows_of_the_list_are_decided_by_keys_too(browser, page):
    with tab_on(browser, page, "/?sort=file") as tab:
        ids = [each.get_attribute("data-id") for each in tab.page.locator(".rows > li").all()]
        tab.page.keyboard.press("j")
        tab.press("d", "Dropped")
        tab.press("k", "Kept")
        tab.press("4", "Score set to 4")
        assert [(each.target, each.what) for each in page.force()] == list(
            zip(ids, ("drop", "keep", "set-score"), strict=False)
        )
        assert tab.page.locator(".rows .state .chip").all_inner_texts() == ["dropped", "kept", "score set to 4"]


def test_two_people_at_once_blind_and_in_conflict(browser, feedback_file, tmp_path):
    with served(feedback_file, tmp_path / "decisions.sqlite", blind=True) as page:  # noqa: SIM117  tabs end first
        with tab_on(browser, page, "/?sort=file") as ana, tab_on(browser, page, "/?sort=file") as ben:
            ben.page.locator("[data-open=who]").click()
            ben.page.locator("#who input").fill("ben")
            ben.page.locator("#who button.main").click()
            ben.said("You decide as ben")
            assert ben.page.locator("#who-name").inner_text() == "ben"
            for tab in (ana, ben):
                tab.page.locator(".rowlink").first.click()
                tab.page.wait_for_selector("#record")
            first = ana.shown()
            assert ben.shown() == first
            ana.press("k", "Kept")
            second = ana.shown()
            ben.page.reload()
            assert "ana" not in ben.page.locator("#record").inner_text()  # blind: not before his own
            ben.press("d", "Dropped")
            ana.press("d", "Dropped")
            ben.press("d", "Dropped")
            assert sorted((each.who, each.target, each.what) for each in page.force()) == sorted(
                [("ana", first, "keep"), ("ben", first, "drop"), ("ana", second, "drop"), ("ben", second, "drop")]
            )
            ben.page.goto(f"{page.url}/record/{first}")
            assert "ana kept" in " ".join(ben.page.locator(".verdict").inner_text().split())
            ben.page.goto(f"{page.url}/people")
            told = ben.page.locator("main").inner_text()
            assert "1 more" not in told
            conflicts = ben.page.locator(".rows > li")
            assert conflicts.count() == 1
            assert "ana kept" in " ".join(conflicts.inner_text().split())
            ben.page.get_by_role("link", name="Settle them one by one").click()
            ben.page.wait_for_selector("#record")
            ben.press("k", "Kept")
            assert list(page.store.rulings())[-1].queue == "conflicts"


def test_a_random_sample_is_marked_as_one(browser, page):
    with tab_on(browser, page) as tab:
        tab.page.locator(".queue", has_text="random sample").click()
        tab.page.wait_for_selector("#record")
        tab.press("k", "Kept")
        tab.press("d", "Dropped")
        assert {each.queue for each in page.force()} == {"random"}


@pytest.fixture(scope="session")
def audited(feedback_file, tmp_path_factory):
    """A run of the audit of the rivers."""
    run = tmp_path_factory.mktemp("audited") / "audit"
    notus.audit(str(feedback_file), out=run)
    return run


def test_a_queue_is_marked_where_the_list_is_that_queue(browser, audited, tmp_path):
    with served(audited, tmp_path / "decisions.sqlite") as page, tab_on(browser, page) as tab:
        tab.page.goto(page.url)
        assert tab.page.locator(".queue").first.inner_text().startswith("Most suspicious first")
        assert tab.page.locator(".queue[aria-current]").count() == 0
        tab.page.locator(".queue", has_text="Most suspicious").click()
        tab.page.wait_for_selector("#record")
        first = tab.shown()
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector(".rows")
        assert tab.page.locator(".queue[aria-current]").all_inner_texts()[0].startswith("Most suspicious first")
        tab.page.keyboard.press("j")  # the first row, whatever was clicked before
        assert tab.page.evaluate("document.activeElement.closest('li').dataset.id") == first
        tab.page.keyboard.press("k")
        tab.page.wait_for_selector(".rows .chip.good")
        assert [(each.target, each.queue) for each in page.force()] == [(first, "suspicion")]
        tab.page.goto(f"{page.url}/?sort=suspicion")
        tab.page.keyboard.press("j")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#record")
        assert tab.shown() == first


def test_by_keyboard_alone(browser, page):
    """From the address to a decision with Tab, arrows and Enter; what has the focus is always seen."""
    with tab_on(browser, page) as tab:
        keys = tab.page.keyboard
        keys.press("Tab")
        assert tab.page.evaluate("document.activeElement.textContent") == "To the content"
        keys.press("Enter")
        for _ in range(12):
            keys.press("Tab")
            if tab.page.evaluate("Boolean(document.activeElement.closest('figure.grid'))"):
                break
        assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Overall score")
        label = "document.activeElement.getAttribute('aria-label')"
        keys.press("ArrowDown")
        before = tab.page.evaluate(label)
        keys.press("ArrowUp")
        assert tab.page.evaluate(label) != before
        for _ in range(20):
            keys.press("ArrowLeft")
        for _ in range(20):
            keys.press("ArrowUp")
        assert tab.page.evaluate(label) == "Overall score 10, mean rating 1: 8 records"
        keys.press("Enter")
        tab.page.wait_for_url(re.compile("score=10"))
        tab.page.wait_for_function("() => document.activeElement.dataset.focus?.startsWith('grid-')")  # the focus stays
        keys.press("j")
        keys.press("Enter")
        tab.page.wait_for_selector("#record")
        tab.press("d", "Dropped. 1 of 8")
        assert page.force()[0].what == "drop"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut(browser, page, scheme):
    phone = {"viewport": {"width": 420, "height": 860}, "color_scheme": scheme, "has_touch": True}
    with tab_on(browser, page, **phone) as tab:
        wide = "document.documentElement.scrollWidth"
        assert tab.page.evaluate(wide) <= 420
        # Its own picture: letters are as large as they should be, and every cell can be hit.
        narrow = tab.page.locator("figure.grid .narrow svg")
        box = narrow.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 420
        assert box["width"] / 360 > 0.9
        assert not tab.page.locator("figure.grid .wide").is_visible()
        narrow.locator("a[aria-label='Overall score 10, mean rating 1: 8 records']").tap()
        tab.page.wait_for_url(re.compile("score=10"))
        tab.page.locator(".rowlink").first.tap()
        tab.page.wait_for_selector("#record")
        assert tab.page.evaluate(wide) <= 420
        for button in tab.page.locator(".decide button").all():
            box = button.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 420
            assert box["height"] >= 34
        tab.page.locator("[data-do=drop]").tap()
        tab.said("Dropped")
        paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(15, 17, 20)") is (scheme == "dark")


def axe_script():
    """The file of axe-core, where the machine that tests has it or may fetch it."""
    from tests.helpers.axe import axe_file

    found = axe_file()
    if found is None:
        pytest.skip("axe-core is not there: 'npm pack axe-core' fetches it")
    return Path(found).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_findings(browser, page, scheme):
    source = axe_script()
    row = page.desk.review.page(Filter(), 0, 1).rows[0]
    page.request("POST", "/decide", headers=page.own_headers(), body=b'{"target":"%s","what":"drop"}' % row.id.encode())
    seen = {"/": None, f"/record/{row.id}": None, "/people": None, "/?score=99": None, "/record/none": None}
    for width in (1280, 420):
        opened = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme, bypass_csp=True)
        tab = opened.new_page()
        for path in seen:
            tab.goto(page.url + path)
            tab.evaluate(source)
            if path == "/":
                tab.evaluate("document.getElementById('help').showModal()")
                assert serious(tab) == []
                tab.evaluate("document.getElementById('help').close()")
            assert serious(tab) == [], (path, width, scheme)
        opened.close()


def serious(tab):
    found = tab.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        (each["id"], each["impact"], [node["html"][:160] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_two_hundred_hostile_texts_are_inert(browser, tmp_path):
    rows = [
        feedback_row(text or "x", [(text or "x", 5.0, 3, text), (f"plain {number}", 4.0, 3, "fine")], text[:60] or "x")
        for number, text in enumerate(text.encode("utf-8", "replace").decode() for text in HOSTILE)
    ]
    source = write_rows(tmp_path / "feedback.jsonl", rows)
    with served(source, tmp_path / "decisions.sqlite", who="ana") as page, tab_on(browser, page, "/?sort=file") as tab:
        tab.page.add_init_script("window.ran = 0; window.pwned = () => { window.ran += 1; }")
        left = []
        tab.page.on("framenavigated", lambda frame: left.append(frame.url))
        for start in range(0, len(HOSTILE), 25):
            tab.page.goto(f"{page.url}/?model=model-0&sort=file&start={start}")
            assert tab.page.evaluate("window.ran") == 0
        seen = set()
        tab.page.goto(f"{page.url}/first?model=model-0&sort=file")
        for _ in range(len(HOSTILE)):
            here = tab.shown()
            seen.add(here)
            after = tab.page.locator("#record").get_attribute("data-after")
            if not after:
                break
            tab.page.keyboard.press("m")  # the other view
            tab.page.keyboard.press("j")
            tab.page.wait_for_function(
                "id => document.getElementById('record').dataset.id !== id", arg=here, polling=10
            )
        assert tab.page.evaluate("window.ran") == 0
        assert len(seen) >= 200
        assert all(each.startswith(page.url) for each in left)
        assert tab.page.locator("script:not([src^='/static/'])").count() == 0
        assert tab.page.locator("#record iframe, #record object, #record embed, #record img, #record form").count() == 0
