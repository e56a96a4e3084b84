"""Texts of data as HTML: what is rendered, what is marked, and that nothing of it has an effect."""

import re
import time
from html.parser import HTMLParser

import pytest

from notus.review.text import RENDERED_CHARACTERS, marked, plain, rendered
from tests.helpers.hostile import HOSTILE

HARMLESS = {
    "p",
    "ul",
    "ol",
    "li",
    "em",
    "strong",
    "code",
    "pre",
    "div",
    "span",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "blockquote",
    "hr",
    "br",
    "mark",
}
ATTRIBUTES = {("ol", "start")}


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs if name != "class"}

    def handle_data(self, data):
        self.text.append(data)


def seen(html):
    parser = Seen()
    parser.feed(str(html))
    parser.close()
    return parser


def test_two_hundred_hostile_texts_become_harmless_elements():
    assert len(set(HOSTILE)) >= 200
    for text in HOSTILE:
        for html in (rendered(text), plain(text), *marked(text, text + " and more")[:2]):
            found = seen(html)
            assert found.tags <= HARMLESS, text
            assert found.attributes <= ATTRIBUTES, text


def test_markdown_is_rendered():
    html = rendered(
        "# Title\n\nSome **bold** `code`.\n\n3. three\n4. four\n\n```python\nx < 1\n```\n\n|a|b|\n|-|-:|\n|1|2|\n"
    )
    assert '<p class="heading h1">Title</p>' in html
    assert "<strong>bold</strong>" in html
    assert '<ol start="3">' in html
    assert '<span class="language">python</span><pre><code>x &lt; 1\n</code></pre>' in html
    assert "<td>2</td>" in html


def test_a_link_is_its_words_and_its_address():
    assert "".join(seen(rendered("[here](http://a.example/x)")).text).strip() == "here (http://a.example/x)"
    assert "".join(seen(rendered("<http://a.example/x>")).text).strip() == "http://a.example/x"
    assert "href" not in rendered("[here](http://a.example/x)")


def test_a_picture_is_what_is_said_of_it():
    assert "".join(seen(rendered("![a cat](http://a.example/x.png)")).text).strip() == (
        "[picture: a cat (http://a.example/x.png)]"
    )


def test_long_and_crooked_texts_are_shown_as_they_are_and_in_time():
    assert 'class="verbatim"' in rendered("x" * (RENDERED_CHARACTERS + 1))
    started = time.perf_counter()
    for text in (
        "[" * 19_000,
        "![" * 9_000,
        "*a " * 6_000,
        "`a" * 9_000,
        ">" * 19_000,
        "[a](" * 4_900,
        "**x" * 6_000,
        "[" * 3_900,
    ):
        rendered(text)
    assert time.perf_counter() - started < 6


def test_what_turns_the_direction_of_reading_is_shown_by_its_number():
    assert "[U+202E]" in rendered("a\u202eb")
    assert "[U+202E]" in plain("a\u202eb")


def words_of(html, name):
    return [re.sub("<[^>]+>", "", each) for each in re.findall(rf'<mark class="{name}">(.*?)</mark>', str(html))]


def test_words_that_only_one_has_are_marked():
    chosen, rejected, said = marked("The Oder flows to the north sea.", "The Oder flows to the south, they say.")
    assert said == ""
    assert words_of(chosen, "del-ours")[0] == "north sea"
    assert "south" in words_of(rejected, "del-theirs")[0]
    assert "".join(seen(chosen).text) == "The Oder flows to the north sea."
    assert "".join(seen(rejected).text) == "The Oder flows to the south, they say."


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        ("same", "same", "the same"),
        ("one two three four five six", "seven eight nine ten eleven twelve", "Few words"),
        ("word " * 9_000, "word " * 8_999 + "end", "Too long"),
    ],
)
def test_where_marks_say_nothing_that_is_said(chosen, rejected, said):
    left, right, line = marked(chosen, rejected)
    assert said in line
    assert "<mark" not in left + right


def test_every_text_comes_out_whole():
    for chosen, rejected in zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], strict=True):
        left, right, _ = marked(chosen, rejected)
        assert "".join(seen(left).text) == "".join(seen(plain(chosen)).text)
        assert "".join(seen(right).text) == "".join(seen(plain(rejected)).text)
