"""Checks and checklists beside the judge's ratings: what is demanded, asked and counted, and what has no rating."""

import pytest
from msgspec.structs import replace

from notus.audit.feedback import audit
from notus.collect.collect import Draft
from notus.core.errors import ConfigError, DataError
from notus.core.records import ASPECTS, UNIT, Completion, Critique, Feedback, Message, Rating, Scale
from notus.formats.families.ultrafeedback import decode, to_ultrafeedback
from notus.llm.prompts import FENCED, restore
from notus.preferences.repair import on_its_scales
from notus.preferences.scores import check_scales, rescaled, weighted
from notus.steps.collect.feedback import Collect
from notus.steps.perform import code_of
from tests.collect.test_collect import BASE, answer, run, settings

COLUMNS = {
    "instruction_id_list": ["format:no_whitespace", "count:word_count_range"],
    "kwargs": [{}, {"min_words": 3, "max_words": 9, "N": None}],
}
REQUIREMENTS = ["It names its writer.", "It is long."]


def drafted(count=1, **extra):
    return [Draft((Message(role="user", content=f"Question {n}?"),), extra=dict(extra), file="p.jsonl", line=n + 1)
            for n in range(count)]  # fmt: skip


def scripted(request):
    """Answers as ``answer`` writes them, of which the writer's name is always there, and nothing is long."""
    if request.step != "judge/requirement":
        return answer(request)
    fenced = {found["slot"]: restore(found["text"]) for found in FENCED.finditer(request.messages[-1].content)}
    assert fenced.keys() == {"instruction", "answer", "requirement"}
    return f"Looked at.\n[[{int(fenced['requirement'] == REQUIREMENTS[0])}]]"


def test_checks_of_a_row_become_a_rating_of_their_own():
    """'a on Question 0?' has spaces, and four words between 3 and 9: one of two checks is followed."""
    (row,), tally, generator = run(settings(verify={}), drafted(**COLUMNS))
    for item in row.completions:
        (rating,) = [each for each in item.ratings if each.aspect == "checks"]
        assert (rating.value, rating.scale, rating.rater) == (0.5, UNIT, "program")
        assert rating.rationale == "follows 1 of 2; not: format:no_whitespace"
        assert [(each["id"], each["followed"], each["loosely"]) for each in item.extra["checks"]] == [
            ("format:no_whitespace", False, False),
            ("count:word_count_range", True, True),
        ]
        assert item.mean_rating == sum(each.value for each in item.ratings if each.aspect in ASPECTS) / 4
    assert row.extra == COLUMNS
    assert tally.counts["answer-checked"] == tally.counts["check-followed"] == tally.counts["check-not-followed"] == 4
    assert {request.step for request in generator.asked} == {
        "completion",
        "judge/critique",
        *(f"judge/{aspect}" for aspect in ASPECTS),
    }


def test_each_requirement_is_asked_of_each_answer_alone():
    (row,), tally, generator = run(settings(verify={}), drafted(checklist=REQUIREMENTS), answers=scripted)
    asked = [request for request in generator.asked if request.step == "judge/requirement"]
    assert len(asked) == 4 * 2
    for item in row.completions:
        (rating,) = [each for each in item.ratings if each.aspect == "checklist"]
        assert (rating.value, rating.scale, rating.rater) == (0.5, UNIT, "judge")
        assert "It is long." in rating.rationale
        assert item.extra["checklist"] == [
            {"requirement": "It names its writer.", "met": True},
            {"requirement": "It is long.", "met": False},
        ]
        assert {"checklist/1", "checklist/2"} <= item.extra["ledger"].keys()
        assert {item.extra["ledger"][f"checklist/{n}"] for n in (1, 2)} <= {request.key for request in asked}
    assert (tally.counts["requirement-met"], tally.counts["requirement-not-met"]) == (4, 4)


def test_a_requirement_that_cannot_be_read_leaves_no_rating():
    """Neither a guess nor a share of other requirements: all three tries are counted, and the reason stays."""

    def muttering(request):
        found = scripted(request)
        return "Yes, I think so." if request.step == "judge/requirement" and "[[0]]" in found else found

    (row,), tally, _ = run(settings(verify={}), drafted(checklist=REQUIREMENTS), answers=muttering)
    for item in row.completions:
        assert not [each for each in item.ratings if each.aspect == "checklist"]
        second = item.extra["checklist"][1]
        assert (second["met"], second["kind"], second["raw"]) == (None, "unreadable", "Yes, I think so.")
        assert item.extra["checklist"][0]["met"] is True
    assert tally.counts["requirement-unreadable"] == tally.counts["checklist-without-rating"] == 4
    assert tally.counts["asked-again"] == 4 * 2


def test_a_prompt_without_demands_is_counted():
    rows, tally, _ = run(settings(verify={}), drafted(2))
    assert tally.counts["nothing-to-verify"] == 2
    assert {each.aspect for row in rows for item in row.completions for each in item.ratings} == set(ASPECTS)


def test_checks_and_a_file_for_every_prompt(tmp_path):
    (tmp_path / "mine.py").write_text("def even(answer):\n    return len(answer) % 2 == 0\n")
    (tmp_path / "list.txt").write_text("# what we want\n\nIt is long.\n")
    verify = {"checks": [f"python:{tmp_path}/mine.py:even"], "checklist": str(tmp_path / "list.txt")}
    (row,), _, generator = run(settings(verify=verify), drafted(checklist=REQUIREMENTS[:1]), answers=scripted)
    values = {item.text: [each.value for each in item.ratings if each.aspect == "checks"] for item in row.completions}
    assert values == {text: [float(len(text) % 2 == 0)] for text in values}
    assert [note["requirement"] for note in row.completions[0].extra["checklist"]] == REQUIREMENTS
    assert sum(request.step == "judge/requirement" for request in generator.asked) == 4 * 2


def test_a_row_runs_no_code_that_is_not_allowed(tmp_path):
    (tmp_path / "mine.py").write_text("def always(answer):\n    return True\n")
    name = f"python:{tmp_path}/mine.py:always"
    columns = {"instruction_id_list": [name], "kwargs": [{}]}
    with pytest.raises(ConfigError, match="runs with all your rights"):
        run(settings(verify={}), drafted(**columns))
    (row,), _, _ = run(settings(verify={"own_checks": [name]}), drafted(**columns))
    assert [each.value for item in row.completions for each in item.ratings if each.aspect == "checks"] == [1.0] * 4


def test_rows_may_be_left_out():
    (row,), _, _ = run(settings(verify={"rows": False}), drafted(**COLUMNS, checklist=REQUIREMENTS))
    assert {each.aspect for item in row.completions for each in item.ratings} == set(ASPECTS)


def test_without_a_judge_programs_check_alone():
    (row,), _, generator = run(settings(judge=None, verify={}), drafted(**COLUMNS))
    assert [each.aspect for item in row.completions for each in item.ratings] == ["checks"] * 4
    assert all(item.mean_rating is None for item in row.completions)
    assert {request.step for request in generator.asked} == {"completion"}
    with pytest.raises(ConfigError, match="nobody to ask"):
        run(settings(judge=None, verify={}), drafted(checklist=REQUIREMENTS))


def test_pairs_can_be_chosen_by_what_was_verified():
    (row,), _, _ = run(settings(verify={}), drafted(**COLUMNS, checklist=REQUIREMENTS), answers=scripted)
    one = row.completions[0]
    means = {each.aspect: each.value for each in one.ratings}
    assert weighted({"checks": 1.0})(one) == 0.5
    assert check_scales(row, "mean-rating") == Scale(low=1, high=5)
    assert check_scales(row, "weighted", {"checks": 1.0, "checklist": 1.0}) == UNIT
    with pytest.raises(DataError, match="different scales"):
        check_scales(row, "weighted", {"checks": 1.0, "honesty": 1.0})
    # On 0 to 1 the judge's grade g is (g − 1) / 4, and the share is what it was.
    both = rescaled(weighted({"checks": 3.0, "honesty": 1.0}))(one)
    assert both == pytest.approx((3 * 0.5 + (means["honesty"] - 1) / 4) / 4)


def test_the_raw_layout_brings_it_back():
    (row,), _, _ = run(settings(verify={}), drafted(**COLUMNS, checklist=REQUIREMENTS), answers=scripted)
    back = decode(to_ultrafeedback(row))
    assert isinstance(back, Feedback)
    for before, after in zip(row.completions, back.completions, strict=True):
        assert {each.aspect: (each.value, each.scale) for each in before.ratings} == {
            each.aspect: (each.value, each.scale) for each in after.ratings
        }
        assert before.mean_rating == after.mean_rating


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"instruction_id_list": ["count:nubmers"]}, r"p\.jsonl, line 1: .*count:nubmers.*count:numbers"),
        ({"instruction_id_list": ["count:numbers"]}, r"line 1: .*needs the setting 'N'"),
        ({"instruction_id_list": "count:numbers"}, "give a list of ids"),
        ({"kwargs": [{}]}, "without 'instruction_id_list'"),
        ({"instruction_id_list": ["format:newline"], "kwargs": [{}, {}]}, "1 checks have settings for 2"),
        ({"instruction_id_list": ["format:newline"], "kwargs": ["x"]}, "give a list with the settings"),
        ({"checklist": "It is long."}, "give a list of requirements"),
        ({"checklist": ["", "x"]}, "not blank"),
    ],
)
def test_columns_that_say_nothing_are_refused_with_their_place(extra, words):
    with pytest.raises((ConfigError, DataError), match=words):
        run(settings(verify={}), drafted(**extra))


def test_settings_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for verify, words in (
        ({"checks": ["count:nubmers"]}, "count:numbers"),
        ({"checklist": str(tmp_path / "none.txt")}, "cannot read the checklist"),
        ({"checklist": str(tmp_path / "empty.txt")}, "holds no requirement"),
        ({"endpoint": "nobody"}, "the checklist names the endpoint 'nobody'"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(settings(verify=verify), drafted())


def test_what_is_verified_counts_by_content(tmp_path):
    """A changed function, list or prompt file is another collection; the same one without it is as it always was."""
    (tmp_path / "mine.py").write_text("def even(answer):\n    return True\n")
    path = tmp_path / "list.txt"
    path.write_text("It is long.\n")
    given = {"checks": [f"python:{tmp_path}/mine.py:even"], "checklist": str(path)}
    config = Collect.parse(BASE | {"data": "x", "verify": given}, where="test")
    before = (code_of(config), config.resolved())
    (tmp_path / "mine.py").write_text("def even(answer):\n    return False\n")
    assert code_of(config) != before[0]
    path.write_text("It is short.\n")
    assert config.resolved() != before[1]
    assert "verify" not in Collect.parse(BASE | {"data": "x"}, where="test").resolved()


def test_what_was_verified_does_not_hide_a_doubtful_score():
    """A 10 beside ratings from 1 to 5 stays the repair's business; a share beside no rating at all is no mixture."""
    item = Completion(
        text="x",
        ratings=(Rating(aspect="checks", value=0.0, scale=UNIT),),
        critique=Critique(text="Good.", score=10, scale=Scale(low=1, high=10)),
    )
    assert on_its_scales(item)
    honest = Rating(aspect="honesty", value=None, scale=Scale(low=1, high=5))
    row = Feedback(
        prompt=(Message(role="user", content="p"),), completions=(replace(item, ratings=(*item.ratings, honest)),)
    )
    (found,) = audit([row]).rows
    assert not {"mixed-scales", "legacy-zero", "off-scale"} & set(found.flags)
