"""What a scoring of MT-Bench shows: the order of models, the doubts in words, no interval that proves nothing."""

from notus.evaluate.mtbench.score import score_judgements
from notus.report.evaluations.mtbench import mtbench_sections
from tests.helpers.mtbench_examples import graded, matched


def shown(rows, matches=(), mode="strict", **more):
    return {
        section.heading: section for section in mtbench_sections(score_judgements(rows, list(matches), mode, **more))
    }


def rows_of(model, values):
    return [
        graded("I cannot say." if value is None else f"[[{value}]]", question=81 + n, model=model, score=value or -1)
        for n, value in enumerate(values)
    ]


def test_a_model_with_few_readable_grades_does_not_lead_the_table():
    found = shown(rows_of("sound", [7, 8, 9, 6]) + rows_of("lucky", [10, 10, None, None]))
    scores = found["MT-Bench, read strictly"]
    assert [row[0] for row in scores.table.rows] == ["sound", "lucky"]
    assert scores.table.rows[1][2:5] == (4, 2, 2)
    assert scores.table.rows[1][-1] == "5.50 to 10.00"
    (doubt,) = scores.sentences
    assert "lucky: 2 of 4 gradings have no score" in doubt
    assert scores.picture.startswith("<svg")


def test_equal_grades_show_no_interval():
    found = shown(rows_of("m", [9, 9, 9]))
    assert found["By category and turn"].table.rows[0][4] == "9.00 (no interval)"
    assert found["MT-Bench, read strictly"].table.rows[0][6] == "9.00 (no interval)"


def test_models_are_compared_in_words_and_names_stay_as_they_are():
    rows = rows_of("aaa", [5, 6, 7, 8, 5, 6]) + rows_of("zzz", [5, 6, 7, 8, 6, 5])
    (said,) = shown(rows)["Compared, question by question"].sentences
    assert said.startswith("zzz and aaa are not distinguishable")
    assert "a difference like this means nothing" in said
    assert "one seed" not in said


def test_what_is_read_otherwise_is_grouped_by_its_reason():
    rows = [*rows_of("m", [5, None, None]), graded("[[9]] of [[10]]", question=90, model="m", score=9)]
    table = shown(rows, [matched("[[A]]", "$ERROR$", winners=("model_1", "error"))])[
        "How the judgements were read"
    ].table
    assert {row[1:] for row in table.rows} == {
        ("single", "no-verdict", "nothing", 2),
        ("single", "several-verdicts", "a score", 1),
        ("pair", "no-reply", "nothing", 1),
    }


def test_what_was_judged_again_says_how_it_counts():
    rows = rows_of("m", [5, 6]) + rows_of("m", [5])
    for mode, how in (("strict", "each turn counts once"), ("fastchat", "each row counts")):
        found = shown(rows, [matched("[[A]]", "[[B]]")] * 2, mode)["Judged more than once"]
        assert how in found.sentences[0]
        assert found.sentences[1].startswith("Of pairs each row counts")
        assert [row[-1] for row in found.table.rows] == ["the same text", "pair"]


def test_pairs_alone_are_shown_too():
    found = shown([], [matched("[[A]]", "[[A]]", question=81 + n) for n in range(4)])
    assert list(found) == ["Side by side, in both orders", "How the judgements were read"]
    assert "preferred the answer that it saw first in 1.000" in found["Side by side, in both orders"].sentences[1]
