from itertools import pairwise

import msgspec

from notus.audit.feedback import audit
from notus.audit.pairs import audit_pairs
from notus.core.records import Message, Preference
from notus.report.audits.flagged import flagged_completion, flagged_pair
from notus.report.health import feedback_sections, flagged_numbers, health_card, pair_sections
from notus.report.section import ReportSection
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


def test_a_row_is_shown_whole_and_what_is_cut_is_counted() -> None:
    long = completion("x" * 6_100, 4.0, 7.0)
    answers = [completion(FALSE, 1.0, 10.0), long, *(completion(f"other {i}", 3.0, 5.0) for i in range(4))]
    record = msgspec.structs.replace(feedback(*answers, prompt="last"), file="some set.jsonl", line=12)
    row = msgspec.structs.replace(
        audit([record]).rows[0], reasons=("ten-for-one",), evidence="overall score 10", q=0.02, repair="set-to-1"
    )
    shown = flagged_completion(row, record, "some set.jsonl")
    assert (shown.where, shown.prompt, shown.evidence) == ("some set.jsonl:12", "last", "overall score 10")
    assert [(answer.flagged, answer.said) for answer in shown.answers] == [(True, "Well."), *[(False, "Well.")] * 3]
    assert shown.answers[0].scores == ("overall score 10", "rubric 1")
    assert "4,100 characters of answer 2" in shown.left_out
    assert "2 further answers" in shown.left_out
    assert shown.commands[0] == f"notus explain {row.id[:8]} --run 'some set.jsonl'"
    assert shown.commands[1].startswith("notus repair 'some set.jsonl'")
    page = health_card("x", [ReportSection("Suspects", rows=(shown,))], {}, "0.1")
    assert all(part in page for part in (row.id, "some set.jsonl:12", "⚑", "2 further answers", "ten-for-one: "))
    assert FALSE not in page
    assert "<script" not in page


def test_pairs_are_shown_with_both_answers_and_each_flag_has_an_example() -> None:
    records = [pair_of("The Oder.", "No.", 5, 1, n) for n in range(30)]
    records += [pair_of("No.", "The Oder.", 1, 5, 30), pair_of("No.", "No.", 3, 3, 31), pair_of(" ", "No.", 3, 2, 32)]
    found = audit_pairs(records)
    numbers = flagged_numbers(found, 4)
    assert {flag for number in numbers for flag in found.rows[number].flags} == set(found.health.flags)
    sections = pair_sections(found, {number: records[number] for number in numbers}, "pairs.jsonl")
    (flags,) = (section for section in sections if section.heading == "Flags")
    assert flags.table is not None
    assert {row[0]: row[2] for row in flags.table.rows}["reversed"] == "pairs.jsonl:31"
    assert len(flags.rows) == len(numbers)
    reversed_row = next(row for row in flags.rows if row.where == "pairs.jsonl:31")
    assert [answer.scores for answer in reversed_row.answers] == [("score 1",), ("score 5",)]
    assert any("--filter reversed" in command for command in reversed_row.commands)


def test_what_the_texts_say_of_a_label_is_no_fact() -> None:
    pair = pair_of("The Oder.", "No.", 1, 5, 0)
    row = msgspec.structs.replace(audit_pairs([pair]).rows[0], flags=("reversed", "label-against-text"))
    reversed_, against = flagged_pair(row, pair, "pairs.jsonl").reasons
    assert reversed_.endswith("(a fact)")
    assert "(a fact)" not in against


def pair_of(chosen: str, rejected: str, a: float, b: float, line: int) -> Preference:
    said = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
    prompt = (Message(role="user", content=f"Question {line}?"),)
    return Preference(
        prompt=prompt, chosen=said[0], rejected=said[1], score_chosen=a, score_rejected=b, file="pairs.jsonl",
        line=line + 1,
    )  # fmt: skip


def test_the_reasons_say_what_chance_alone_gives() -> None:
    found = audit(rows())
    sections = {section.heading: section for section in feedback_sections(found, {})}
    table = sections["Reasons"].table
    assert table is not None
    told = {row[0]: row[1:4] for row in table.rows}
    chance = found.chances["score-against-ratings"]
    assert told["score-against-ratings"] == (chance.flagged, f"{0.01 * chance.known:.1f}", chance.known)
    assert f"{len(found.suspects):,} completion" in sections["Most suspicious completions"].sentences[1]
