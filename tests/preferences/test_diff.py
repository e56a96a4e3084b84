import pytest

from notus.core.records import Message, Preference
from notus.core.stage import Tally
from notus.preferences.binarize import binarize
from notus.preferences.diff import compare_sets
from notus.preferences.selection import Selection
from notus.report.difference import difference_report, difference_sections
from notus.report.page import render
from tests.audit.test_bias import rows


def pair(prompt, chosen, rejected, source="s", model=""):
    return Preference(
        prompt=(Message(role="user", content=prompt),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        source=source,
        model_chosen=model,
        model_rejected=model and "other",
    )


A = [
    pair("same", "x", "y"),
    pair("swapped", "x", "y"),
    pair("rejected", "x", "y"),
    pair("chosen", "x", "y", "t"),
    pair("both", "x", "y"),
    pair("turned", "x", "y"),
    pair("gone", "x", "y"),
    pair("several", "x", "y"),
    pair("several", "x", "z"),
]
B = [
    pair("several", "x", "z"),
    pair("several", "x", "y"),
    pair("same", "x", "y"),
    pair("swapped", "y", "x"),
    pair("rejected", "x", "z"),
    pair("chosen", "zzz", "y", "t"),
    pair("both", "v", "w"),
    pair("turned", "y", "z"),
    pair("new", "x", "y"),
]


def compared(a=A, b=B, **more):
    return compare_sets(lambda: a, lambda: b, ("old", "new"), **more)


def test_each_prompt_has_the_kind_that_fits_first():
    found = {row.prompt_id: row.kind for row in compared().rows}
    names = {item.prompt_id: item.prompt[0].content for item in (*A, *B)}
    assert {names[key]: kind for key, kind in found.items()} == {
        "same": "same",
        "several": "same",
        "swapped": "swapped",
        "rejected": "other-rejected",
        "chosen": "other-chosen",
        "both": "other-both",
        "turned": "other-both",
        "gone": "only-a",
        "new": "only-b",
    }
    assert {names[row.prompt_id] for row in compared().rows if row.reversed} == {"swapped", "turned"}


def test_the_comparison_turned_round_is_the_same_turned_round():
    forth, back = compared(), compared(B, A)
    turned = {"only-a": "only-b", "only-b": "only-a"}
    assert {row.prompt_id: row.kind for row in back.rows} == {
        row.prompt_id: turned.get(row.kind, row.kind) for row in forth.rows
    }
    assert back.length.mean == pytest.approx(-forth.length.mean)


def test_it_is_told_in_words_with_intervals_by_source_and_with_examples():
    difference = compared()
    said = " ".join(difference.sentences())
    assert "7 prompts are in both, 1 in A only, 1 in B only" in said
    assert "the pairs are the same in 2 of 7 (28.6%" in said
    assert "In 2 of 7" in said
    assert difference.by_source["t"] == {"other-chosen": 1}
    assert difference.examples[0].kind == "swapped"
    assert {example.kind for example in difference.examples} >= {"other-chosen", "other-both", "other-rejected"}
    for example in difference.examples:
        assert example.a.prompt == example.b.prompt
    assert compared(examples=0).examples == ()


def test_sets_without_a_shared_prompt_are_answered_plainly():
    difference = compared([A[0]], [B[-1]])
    assert "nothing to compare" in difference.sentences()[-1]
    assert len(difference_sections(difference)) == 1
    assert compared(A, A).sentences()[1].startswith("Of the shared prompts, the pairs are the same in 8 of 8")


def test_models_lengths_and_the_page():
    records = rows(120, lean=4.0)
    sets = [list(binarize(Selection(strategy=name), 1)(records, Tally("b"))) for name in ("mean-rating", "critique")]
    difference = compare_sets(lambda: sets[0], lambda: sets[1], ("by mean", "by <critique>"))
    first = difference.models[0]
    assert first.name == "a"
    assert first.shift.low > 0
    shared = difference.counts.total()
    assert first.shift.mean == pytest.approx((first.chosen_b - first.chosen_a) / shared)
    assert sum(model.chosen_a for model in difference.models) == pytest.approx(shared)
    assert "B chooses more often than A: a (+" in " ".join(difference.sentences())
    headings = [finding.heading for finding in difference_sections(difference)]
    assert headings == ["What differs", "Prompts in both sets", "By model", "Examples"]
    page = render(difference_report(difference))
    assert "by &lt;critique&gt;" in page
    assert page.count("<svg") == 1
    assert page == render(
        difference_report(compare_sets(lambda: sets[0], lambda: sets[1], ("by mean", "by <critique>")))
    )
