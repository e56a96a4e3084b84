"""The page in a real browser: filled in by keys, saved, brought back; hostile texts do nothing; it reads anywhere."""

import json

import pytest

from notus.api.decide import export_queue, import_form
from notus.core.errors import DataError
from notus.decisions.forms.form import read_form, write_form
from notus.decisions.forms.item import Item
from notus.decisions.store import open_store
from tests.helpers.browser import CHROMIUM, chromium
from tests.helpers.decide_forms import FEEDBACK, PAIRS, decide, expected, made

KEYS = {"keep": "k", "drop": "d", "swap": "s", "cannot-tell": "c"}


def in_browser(test):
    """Marks what needs one."""
    test = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")(test)
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore::ResourceWarning")(test))


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright.sync_api")
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser):
    """Opens a file in a page of its own: the page, what it complained of, what else it asked for."""
    contexts = []

    def open_(path, **options):
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        complaints, asked = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page, complaints, asked

    yield open_
    for context in contexts:
        context.close()


def texts_shown(page):
    """What the page shows of the record, by the heading of each text."""
    found = page.eval_on_selector_all(
        "#texts .text", "cards => cards.map(card => [card.querySelector('h3').textContent.split(' · ')[0], "
        "card.querySelector('.said').textContent])"
    )  # fmt: skip
    return dict(found)


def fill_in(page, filled):
    """Fill the form in as somebody does: the decision last, by its key, which goes on to the next record."""
    for name, text in filled.items():
        if name.startswith("new_"):
            part = page.locator("details", has_text=f"Edit the text of {name.removeprefix('new_')}")
            part.locator("summary").click()
            part.locator("textarea").fill(text)
        elif name in ("why", "score"):
            page.keyboard.press("w" if name == "why" else "o")
            page.keyboard.type(text)
            page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press(KEYS[filled["decision"]] if "decision" in filled else "ArrowRight")


def save(page, place):
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert download.value.suggested_filename == "decisions.json"
    download.value.save_as(place)
    return place


@pytest.mark.parametrize("data", [FEEDBACK, PAIRS], ids=["feedback", "pairs"])
@pytest.mark.skipif(not FEEDBACK.is_file(), reason="the shared data are not there")
@in_browser
def test_fifty_records_are_decided_by_keys_and_come_back_on_their_rows(opened, tmp_path, data):
    exported = export_queue(str(data), tmp_path / "queue.html", top=50)
    page, complaints, asked = opened(tmp_path / "queue.html")
    page.fill("#who", "bo")
    page.keyboard.press("Escape")
    for number in range(50):
        assert page.text_content("#heading").startswith(f"Record {number + 1} of 50")
        fill_in(page, decide(texts_shown(page)))
    saved = save(page, tmp_path / "decisions.json")
    brought = import_form(saved, str(tmp_path / "decisions.sqlite"), who="ana")
    ids = {item.id for item in exported.queue.items}
    wanted = {id_: said for id_, said in expected(data).items() if id_ in ids}
    with open_store(tmp_path / "decisions.sqlite") as store:
        rulings = list(store.rulings())
    assert made(rulings) == wanted
    assert {each.who for each in rulings} == {"bo"}
    assert all(each.when for each in rulings)
    assert brought.returned.empty == 50 - len(wanted)
    assert complaints == []
    assert all(url.startswith(("file:", "blob:")) for url in asked)


HOSTILE = [
    "</script><script>window.harmed = 1</script>",
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'>",
    "<svg onload='window.harmed = 1'>",
    "<svg><script>window.harmed = 1</script></svg>",
    "<iframe srcdoc='<script>parent.harmed = 1</script>'></iframe>",
    "<iframe src='javascript:parent.harmed = 1'></iframe>",
    "<a href='javascript:window.harmed = 1'>x</a>",
    "<body onload='window.harmed = 1'>",
    "<input autofocus onfocus='window.harmed = 1'>",
    "<details open ontoggle='window.harmed = 1'>",
    "<style>* { display: none !important }</style>",
    "<link rel=stylesheet href='http://evil.example/x.css'>",
    "<base href='http://evil.example/'>",
    "<meta http-equiv=refresh content='0; url=http://evil.example/'>",
    "<form action='http://evil.example/'><button>x</button></form>",
    "<object data='http://evil.example/x'></object>",
    "<embed src='http://evil.example/x'>",
    "<video><source onerror='window.harmed = 1'></video>",
    "<math><mtext><script>window.harmed = 1</script></mtext></math>",
    "<template><script>window.harmed = 1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.harmed=1>'>",
    "<!--<script>",
    "--><script>window.harmed = 1</script>",
    "<!-- <script> <!-- </script>",
    "]]><script>window.harmed = 1</script>",
    "\u2028window.harmed = 1\u2029",
    "\"; window.harmed = 1; \"",
    "'; window.harmed = 1; '",
    "`; ${window.harmed = 1}; `",
    "\\u003cscript>window.harmed = 1\\u003c/script>",
    "\\\"};window.harmed=1;//",
    "{{7*7}} {{script}} {{items}}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "&lt;script&gt;window.harmed = 1&lt;/script&gt;",
    "&#60;script&#62;window.harmed = 1&#60;/script&#62;",
    "javascript:window.harmed = 1",
    "data:text/html,<script>window.harmed = 1</script>",
    "\u202egnirts\u202c and \u2066turned\u2069",
    "\u0000\u0007\u001b[31mred\u001b[0m",
    "\ud800 half",
    "\ufeff\ufffe\uffff",
    "=HYPERLINK(\"http://evil.example\")",
    "__proto__",
    "constructor",
    "a" * 20_000,
    "Z̸̛" * 300,
    "<plaintext>",
    "<xmp><script>window.harmed = 1</script></xmp>",
    "<textarea></textarea><script>window.harmed = 1</script>",
]  # fmt: skip


def item_of(text, number):
    return Item(
        id=f"{number:016x}",
        of="pair",
        texts={"prompt": text, "chosen": text, "rejected": f"{text} no"},
        editable=("chosen",),
        critiques={"chosen": text},
        models={"chosen": text},
        scores={text: 1.0},
        reasons=(text,),
        evidence=text,
        source=text,
        file=text,
        line=1,
        queue="suspicion",
    )


@in_browser
def test_hostile_texts_do_nothing(opened, tmp_path):
    assert len(HOSTILE) == 50
    items = [item_of(text, number) for number, text in enumerate(HOSTILE, 1)]
    write_form(items, tmp_path / "queue.html", "html", title="</title><script>window.harmed = 1</script>")
    page, complaints, asked = opened(tmp_path / "queue.html")
    tags = "() => [...document.querySelectorAll('*')].map(each => each.tagName).sort().join()"
    before = page.evaluate(tags)
    for number, text in enumerate(HOSTILE):
        shown = texts_shown(page)
        assert page.text_content("#heading").startswith(f"Record {number + 1} of 50")
        if not any(ord(mark) < 32 or 0x2028 <= ord(mark) <= 0x2069 or ord(mark) >= 0xD800 for mark in text):
            assert shown["chosen"] == text
        assert "[U+202E]gnirts" in shown["chosen"] or "\u202e" not in text
        assert page.evaluate(tags) == before
        page.keyboard.press("k")
    assert page.evaluate("typeof window.harmed") == "undefined"
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "blob:"))] == []
    returned = read_form(save(page, tmp_path / "decisions.json"), who="ana")
    assert [ruling.target for _, ruling in returned.rulings] == [item.id for item in items]
    assert returned.rulings[0][1].reasons == (HOSTILE[0],)


def test_no_text_ends_the_script_that_holds_it(tmp_path):
    items = [item_of(text, number) for number, text in enumerate(HOSTILE, 1)]
    write_form(items, tmp_path / "queue.html", "html", title="</title><script>")
    page = (tmp_path / "queue.html").read_text()
    assert page.count("<script") == page.count("</script") == 2
    assert page.count("</title") == 1
    assert "\u2028" not in page.partition('id="items">')[2].partition("</script>")[0]
    held = json.loads(page.partition('id="items">')[2].partition("</script>")[0])
    assert [dict(item["texts"])["chosen"] for item in held["items"][:40]] == HOSTILE[:40]
    assert "http-equiv" in page
    assert "unsafe-inline" not in page


@in_browser
def test_what_was_decided_is_there_when_the_page_is_opened_again(opened, tmp_path):
    items = [item_of(f"text {number}", number) for number in range(3)]
    write_form(items, tmp_path / "queue.html", "html")
    write_form(items[:2], tmp_path / "other.html", "html")
    page, *_ = opened(tmp_path / "queue.html")
    page.keyboard.press("s")
    page.keyboard.press("w")
    page.keyboard.type("k d s")  # letters in a field are no keys
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    assert page.text_content("#count") == "2 of 3 decided"
    page.reload()
    assert page.text_content("#count") == "2 of 3 decided"
    assert page.get_attribute("#decisions button[value=swap]", "aria-pressed") == "true"
    page.keyboard.press("n")
    assert page.text_content("#heading").startswith("Record 3 of 3")
    page.keyboard.press("d")
    page.keyboard.press("u")
    assert page.text_content("#count") == "2 of 3 decided"
    assert page.text_content("#said") == "Record 3: taken back"
    rows = json.loads(save(page, tmp_path / "decisions.json").read_text())
    assert [(row["decision"], row["why"]) for row in rows] == [("swap", ""), ("keep", "k d s"), ("", "")]
    other = page.context.new_page()
    other.goto((tmp_path / "other.html").as_uri())
    assert other.text_content("#count") == "0 of 2 decided"


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_it_reads_on_a_laptop_and_a_phone_light_and_dark(opened, tmp_path, scheme, width):
    items = [item_of(f"{'word ' * 300}{'x' * 400}", number) for number in range(3)]
    write_form(items, tmp_path / "queue.html", "html")
    page, complaints, _ = opened(
        tmp_path / "queue.html", color_scheme=scheme, viewport={"width": width, "height": 800}, has_touch=width < 500
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "page.png")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(255, 255, 255)")
    page.click("#decisions button[value=keep]")
    assert page.text_content("#count") == "1 of 3 decided"
    assert complaints == []


def test_the_page_itself_is_not_what_is_brought_back(tmp_path):
    write_form([item_of("x", 1)], tmp_path / "queue.html", "html")
    with pytest.raises(DataError, match="is the form itself; open it, decide, press Save"):
        read_form(tmp_path / "queue.html", who="ana")
