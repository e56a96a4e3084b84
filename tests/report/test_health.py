from itertools import pairwise

from notus.audit.feedback import audit
from notus.report.health import feedback_sections, health_card
from tests.helpers.data_examples import completion, feedback

FALSE = "<b>false</b>"


def rows():
    ratings = [(1.0 + (i % 9) / 2, 1.0 + i % 9) for i in range(60)]
    found = [
        feedback(completion("a", *one), completion("b", *other), prompt=f"p{i}")
        for i, (one, other) in enumerate(pairwise(ratings))
    ]
    return [*found, feedback(completion(FALSE, 1.0, 10.0), completion("c", 4.0, 7.0), prompt="last")]


def test_the_card_holds_the_suspects_with_their_reasons_and_needs_nothing_else() -> None:
    found = audit(rows())
    worst = found.ranked(1)[0]
    assert worst.reasons[0] == "ten-for-one" or "score-against-ratings" in worst.reasons
    sections = feedback_sections(found, {worst.id: rows()[-1]}, "folder/some_set.jsonl")
    page = health_card("folder/some_set.jsonl", sections, {"layout": "raw", "prompts": 60}, "0.1")
    assert page.lower().lstrip().startswith("<!doctype html>")
    assert "Health card of some_set.jsonl" in page
    assert all(f"<li>{slug}: " in page for slug in worst.reasons)
    assert worst.id in page
    assert f"notus explain {worst.id[:8]} --run folder/some_set.jsonl" in page
    assert FALSE not in page  # escaped, as all text of a set must be
    assert "<script" not in page
    assert all(section.heading in page for section in sections[1:])
    assert page == health_card("folder/some_set.jsonl", sections, {"layout": "raw", "prompts": 60}, "0.1")


def test_a_card_without_findings_is_a_page() -> None:
    assert "Health card of x" in health_card("x", [], {}, "0.1")
