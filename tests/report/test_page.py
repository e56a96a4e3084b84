"""The report: self-contained, escaped, and complete."""

import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from notus.core.errors import DataError
from notus.evaluate.compare import Comparison, Score, compare
from notus.report import page
from notus.report.charts import histogram
from notus.report.page import (
    Answer,
    AnswerExample,
    Fact,
    Facts,
    Input,
    Lineage,
    Note,
    PageSection,
    PairExample,
    Picture,
    Report,
    StepRow,
    headline,
    render,
    write_pictures,
)
from notus.report.svg import WIDTH
from notus.report.table import Table

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' {{ 7 * 7 }} \x00\ud800"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that every tag is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def comparison(name: str = "faulty") -> Comparison:
    source = random.Random(0)
    means = {"SFT": 0.4, name: 0.6, "repaired": 0.62}
    return compare(
        Score(arm, seed, f"p{prompt}", 0, float(source.random() < mean))
        for arm, mean in means.items()
        for seed in range(3)
        for prompt in range(60)
    )


def full(text: str) -> Report:
    return Report(
        title=text,
        subtitle=text,
        summary=(text, text),
        headline=headline(comparison(text), heading=text, x_label=text, lead=text),
        sections=(
            PageSection(
                text,
                text,
                (
                    Facts((Fact(text, text, text),)),
                    Table((text, "n"), ((text, 1200), (None, 0.5)), text),
                    Picture(histogram([1, 2], title=text, x_label=text), text),
                    Note(text, warning=True),
                    PairExample(text, text, text, 9.0, 2.5, text),
                    AnswerExample(text, (Answer(text, text, True, text), Answer("B", "", None)), text),
                ),
            ),
        ),
        lineage=Lineage((Input(text, text),), (StepRow(text, text, text, 75.0), StepRow("sft", "00", "{}", None))),
        footer=((text, text),),
    )


def test_hostile_text_is_escaped_everywhere() -> None:
    html = render(full(EVIL))
    page = Page(html)
    html.encode("utf-8")
    assert "\x00" not in html
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "img", "iframe", "object", "form"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert page.words.count("<script>alert(1)</script>") >= 20
    assert "{{ 7 * 7 }}" in page.words  # a template in a text is not run


def test_one_file_without_network_or_script() -> None:
    html = render(full("plain"))
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in html
    assert "url(" not in html
    page = Page(html)
    targets = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("href", "src")]
    assert all(value in ("data:,",) or (value or "").startswith("#") for value in targets)
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_every_link_of_the_contents_has_its_target() -> None:
    page = Page(render(full("plain")))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    assert links <= set(ids)
    assert len(ids) == len(set(ids))
    assert {"summary", "result", "s1", "lineage"} <= links


def test_the_same_report_gives_the_same_text() -> None:
    assert render(full("x")) == render(full("x"))


def test_an_empty_report_is_a_page() -> None:
    page = Page(render(Report("Nothing was run")))
    assert "Nothing was run" in page.words
    assert "Summary" not in page.words


def test_the_headline_tells_means_intervals_n_and_verdicts() -> None:
    found = comparison()
    words = Page(render(Report("t", headline=headline(found, heading="h", x_label="success")))).words
    for pair in found.pairs:
        assert pair.verdict in words
        for remark in pair.remarks:
            assert remark[1:] in words
    for arm in found.arms:
        assert arm.by_seeds is not None
        assert arm.by_prompts is not None
        assert f"[{arm.by_seeds.low:.3f}, {arm.by_seeds.high:.3f}]" in words
        assert f"[{arm.by_prompts.low:.3f}, {arm.by_prompts.high:.3f}]" in words
    assert "n 180 · 60 prompts · 3 seeds" in words


def test_the_mark_follows_the_verdict() -> None:
    def marks(pair_changes: dict[str, object]) -> str:
        found = comparison()
        pair = replace(found.pairs[0], **pair_changes)  # type: ignore[arg-type]
        html = render(Report("t", headline=headline(replace(found, pairs=(pair,)), heading="h", x_label="x")))
        return re.findall(r'<span class="chip">([^<]*)</span>', html)[0]

    assert marks({"better": "faulty", "survives_holm": True}) == "holds"
    assert marks({"better": "faulty", "survives_holm": False}) == "holds alone"
    assert marks({"better": None}) == "open"
    assert marks({"better": None, "by_prompts": None, "by_seeds": None, "by_both": None}) == "not compared"


def test_a_missing_interval_is_a_dash_and_an_unscored_arm_says_so() -> None:
    scores = [Score("A", 0, f"p{i}", 0, None) for i in range(5)] + [Score("B", 0, f"p{i}", 0, i / 5) for i in range(5)]
    words = Page(render(Report("t", headline=headline(compare(scores), heading="h", x_label="x")))).words
    assert "no interval" in words
    assert "B and A cannot be compared: they share no scored prompt" in words


def test_long_text_is_folded_and_kept_whole() -> None:
    long = "word " * 500 + "the very end"
    html = render(Report("t", sections=(PageSection("s", "", (PairExample("p", long, "short"),)),)))
    assert html.count('<details class="clamp">') == 1
    assert long in html
    many_lines = "\n".join("abcdefghijklmnop")
    assert '<details class="clamp">' in render(
        Report("t", sections=(PageSection("s", "", (PairExample("p", many_lines, ""),)),))
    )
    assert "(empty)" in html or "short" in html


def test_tables_align_numbers_and_show_what_is_missing() -> None:
    table = Table(
        ("name", "n", "mean", "range", "share"),
        (("a", 1200, 0.5, "[-0.1, 0.2]", "12.5 %"), ("b", None, None, None, None)),
    )
    html = render(Report("t", sections=(PageSection("s", "", (table,)),)))
    assert re.findall(r'<th scope="col"( class="num")?>', html) == ["", *[' class="num"'] * 4]
    assert '<td class="num">1,200</td><td class="num">0.500</td><td class="num">[-0.1, 0.2]</td>' in html
    assert html.count('<td class="num">–</td>') == 4
    with pytest.raises(DataError, match="1 cells does not fit 2 columns"):
        Table(("a", "b"), (("x",),))


@pytest.mark.parametrize(
    "svg",
    [
        "",
        "not a picture",
        "<svg",
        '<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        '<svg xmlns="http://www.w3.org/2000/svg" onload="x()"/>',
        '<svg xmlns="http://www.w3.org/2000/svg"><foreignObject/></svg>',
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="https://example.org/x.svg"/></svg>',
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        "<p>text</p>",
    ],
)
def test_only_plain_drawings_are_pictures(svg: str) -> None:
    with pytest.raises(DataError, match="the picture"):
        Picture(svg)


def test_durations_are_told_for_people() -> None:
    steps = tuple(StepRow("s", "d", "{}", seconds) for seconds in (3.21, 134.4, 3720.0, None))
    words = Page(render(Report("t", lineage=Lineage((), steps)))).words
    for said in ("3.2 s", "2 min 14 s", "1 h 2 min", "found done", "Nothing was read."):
        assert said in words


def test_a_picture_is_never_drawn_smaller_than_its_own_text() -> None:
    """Its box scrolls on a narrow window; scaled down to 420 pixels the text would be 6 high."""
    css = (Path(page.__file__).parent / "templates" / "report.css").read_text()
    screen = css[: css.index("@media print")]
    assert f"figure svg {{ display: block; width: 100%; min-width: {WIDTH:.0f}px; height: auto; }}" in screen
    assert ".scroll { overflow-x: auto; " in screen
    assert f"@container (max-width: {WIDTH - 1:.0f}px)" in screen  # where it does not fit, it is said that it scrolls


def pictured(*titles: str) -> Report:
    blocks = tuple(Picture(histogram([1, 2], title=title, x_label="x")) for title in titles)
    return Report(
        "r", sections=(PageSection("one", blocks=(Note("n"), *blocks[:1])), PageSection("two", blocks=blocks[1:]))
    )


def test_files_are_named_by_place_and_title(tmp_path: Path) -> None:
    made = write_pictures(pictured("Loss · dpo", "Reward / accuracy", "漢字"), tmp_path / "pictures")
    assert [path.name for path in made] == ["01-loss-dpo.svg", "02-reward-accuracy.svg", "03-picture.svg"]
    assert made[0].read_text() == histogram([1, 2], title="Loss · dpo", x_label="x")


def test_a_later_report_replaces_its_own_files_only(tmp_path: Path) -> None:
    write_pictures(pictured("a", "b"), tmp_path)
    (tmp_path / "mine.svg").write_text("<svg/>")
    write_pictures(pictured("a"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-a.svg", "mine.svg"]


def test_a_report_without_pictures_makes_no_folder(tmp_path: Path) -> None:
    assert write_pictures(pictured(), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_a_mark_that_turns_the_writing_is_seen():
    shown = render(Report("a\u202eb\u2066c", summary=("\u200fd\u061ce\x1b[2Jf",)))
    assert "a[U+202E]b[U+2066]c" in shown
    assert "[U+200F]d[U+061C]e\ufffd[2Jf" in shown
    assert not {"\u202e", "\u2066", "\u200f", "\u061c", "\x1b"} & set(shown)
