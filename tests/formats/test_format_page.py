"""The page of all formats says what the formats do."""

from notus.formats.registry import FORMATS
from tests.helpers.format_page import PAGE, page, read, table


def test_the_page_is_what_the_formats_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.helpers.format_page"


def test_every_format_has_its_place_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"\n### {name}\n" not in text] == []


def test_what_becomes_of_a_column_is_found_by_trying() -> None:
    found = table(FORMATS["shp"])
    assert found["history"] == ["`prompt[].content`"]
    assert found["labels"] == ["`rankings[].ranks`"]
    assert found["score_A"] == ["`completions[].extra.score`"]
    assert found["post_id"] == ["`extra.post_id`"]
    assert table(FORMATS["helpsteer"])["verbosity"] == ["`completions[].ratings[].value`"]
    assert read(FORMATS["shp"], {"history": "?"}) is None
