"""What a cleaning shows: each reason with its share, the curve with the chosen threshold, examples."""

from functools import partial
from xml.etree import ElementTree

from notus.clean.benchmarks import BenchmarkItem
from notus.clean.clean import Cleaning, Evidence, apply_plan, contaminated_rows, decide, examine, repeated_rows
from notus.clean.contamination import CURVE, CurvePoint, ItemIndex
from notus.clean.private.guard import Guard, Privacy
from notus.core.records import Dialogue, Message
from notus.core.stage import Tally, apply
from notus.formats.format import record_id
from notus.report.cleaning import cleaning_sections, curve_picture

QUESTION = "What happens to a compass needle that is carried over the magnetic pole?"


def dialogue(asked: str, answer: str) -> Dialogue:
    return Dialogue(messages=(Message(role="user", content=asked), Message(role="assistant", content=answer)))


ROWS = [
    dialogue("Name a river.", "The Oder."),
    dialogue("name a RIVER", "The Elbe."),
    dialogue(QUESTION, "It dips."),
    dialogue("What do you feel?", "I do not have feelings."),
    dialogue("And then?", "Well. then it rained."),
]


def sections(rows, with_questions=True):
    questions = ItemIndex([BenchmarkItem("mine", "0", QUESTION)]) if with_questions else None
    settings, left, tally = Cleaning(), Evidence(), Tally("clean")
    plans = decide([examine(rows, settings, questions)], settings)
    list(apply(partial(apply_plan, plans.shards[0], settings, plans.names, left), rows, tally))
    evidence = repeated_rows(plans, left.shown), contaminated_rows(plans, left.shown, Guard(Privacy()))
    return cleaning_sections(tally, plans, settings, evidence, left.decisions, questions=int(with_questions))


def test_each_reason_is_shown_with_its_share_and_interval():
    found = {section.heading: section for section in sections(ROWS)}
    table = found["What goes"].table
    assert table is not None
    assert [row[:3] for row in table.rows] == [
        ("contaminated", 1, "20.00%"),
        ("denies-feelings", 1, "20.00%"),
        ("duplicate", 1, "20.00%"),
    ]
    assert table.note == "n = 5; Wilson's 95 %."
    assert all(row[4] for row in table.rows)
    said = " ".join(found["What goes"].sentences)
    assert "Of 5 records 2 stay and 3 go." in said
    assert "1 record was given capitals" in said


def test_evidence_is_shown():
    found = {section.heading: section for section in sections(ROWS)}
    shown = found["Duplicates"].table
    assert shown is not None
    assert shown.rows[0] == (
        "duplicate",
        record_id(ROWS[1]),
        "row 2",
        "row 1",
        "[-Name -]{+name +}a [-river.-]{+RIVER+}",
    )
    assert found["Contamination by benchmark"].table.rows == (("mine", 1, 0, 0, 1),)
    assert found["Contamination: the weakest matches"].table.rows[0][0] == "mine 0"
    assert found["Answers that were filtered out"].table.rows[0][2] == "I do not have feelings"
    assert found["Edits"].table.rows[0][2:] == ("Well. then it rained.", "Well. Then it rained.")


def test_without_benchmarks_it_says_so():
    found = sections(ROWS, with_questions=False)
    assert "No benchmark was given" in " ".join(found[0].sentences)
    assert not any(section.picture for section in found)
    assert sections([], with_questions=False)[0].table is None


def test_the_curve_marks_the_chosen_threshold():
    curve = [CurvePoint("similarity", level, 100 - 5 * n, max(0, 40 - 6 * n)) for n, level in enumerate(CURVE)]
    picture = curve_picture(curve, "similarity", 0.8)
    words = [element.text for element in ElementTree.fromstring(picture).iter() if element.text]
    assert {"questions", "controls", "chosen: 0.8", "least similarity", "prompts"} <= set(words)
    assert picture == curve_picture(curve, "similarity", 0.8)
    ElementTree.fromstring(curve_picture([], "coverage", 0.5))


def test_the_pictures_have_names_and_say_how_many_controls_match():
    shown = [section for section in sections(ROWS) if section.picture]
    assert [section.slug for section in shown] == ["contamination-similarity", "contamination-coverage"]
    assert shown[0].sentences == ("At the chosen similarity of 0.8, controls match 0 of the prompts (n = 5).",)
