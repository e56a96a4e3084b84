"""Requirements: how a line is read, when it is held, and what a CI job gets of it."""

from xml.etree import ElementTree

import pytest

from notus.core.errors import ConfigError, InputError
from notus.evaluate.compare import Score, compare
from notus.evaluate.gate.forms import junit_of, markdown_of, write_form
from notus.evaluate.gate.requirement import decide, parse_requirement
from notus.stats.intervals import Estimate, clustered_mean

ARMS = {"success": ["sft", "dpo", "a - b"], "rewards": ["dpo", "sft-2"]}


def scores(**shares):
    """Arms of 100 prompts; each passes the first so many."""
    return {
        "success": [
            Score(arm, 0, f"p{prompt:03}", 0, float(prompt < passed))
            for arm, passed in shares.items()
            for prompt in range(100)
        ]
    }


def outcomes(lines, given, **more):
    arms = {name: list(dict.fromkeys(score.arm for score in of)) for name, of in given.items()}
    return decide([parse_requirement(line, arms) for line in lines], given, **more)


@pytest.mark.parametrize(
    ("line", "metric", "a", "b", "above", "strict", "value"),
    [
        ("dpo - sft > 0", "success", "dpo", "sft", True, True, 0.0),
        ("sft <= .7", "success", "sft", None, False, False, 0.7),
        ("success: dpo >= 50 %", "success", "dpo", None, True, False, 0.5),
        ("a - b > .1", "success", "a - b", None, True, True, 0.1),
        ("dpo - sft-2 > -2%", "rewards", "dpo", "sft-2", True, True, -0.02),
        ("success: dpo−sft ≥ −.01", "success", "dpo", "sft", True, False, -0.01),
    ],
)
def test_lines_that_are_understood(line, metric, a, b, above, strict, value):
    found = parse_requirement(line, ARMS)
    assert (found.metric, found.a, found.b) == (metric, a, b)
    assert (found.above, found.strict, found.value) == (above, strict, pytest.approx(value))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("dpo - dpx > 0", "no arm 'dpx'; did you mean 'dpo'"),
        ("rewrds: dpo > 0", "no evaluation 'rewrds'; did you mean 'rewards'"),
        ("dpo > .5", "may be about success or rewards"),
        ("dpo - sft", "is no requirement"),
        ("dpo > high", "is no requirement"),
        ("rewards: sft > 0", "no arm 'sft'"),
        ("dpo - dpo > 0", "no difference of two arms"),
    ],
)
def test_lines_that_are_refused(line, told):
    with pytest.raises(ConfigError, match=told):
        parse_requirement(line, ARMS)


def test_held_refuted_or_neither():
    """.9 against .5 and .55 against .5, on prompts that the one passes wherever the other does."""
    given = scores(good=90, fair=55, bad=50)
    lines = ["good - bad > 0", "good - bad > .6", "bad - good < 0", "good > .8", "good > .88", "good < .7"]
    found = [outcomes([line], given)[0] for line in lines]
    assert [each.outcome for each in found] == ["held", "refuted", "held", "held", "not distinguishable", "refuted"]
    by_hand = clustered_mean([1.0] * 40 + [0.0] * 60, range(100))
    assert found[0].estimate == by_hand
    assert str(found[0]).startswith("held: success: good - bad > 0: +0.400 [")
    assert "n = 100" in str(found[0])


def test_equal_arms_hold_at_least_and_not_more():
    given = scores(one=50, other=50)
    assert [outcomes([f"one - other {sign} 0"], given)[0].outcome for sign in (">=", ">")] == ["held", "refuted"]


def test_several_are_tested_at_once():
    """A p of .03 by itself holds; beside nine that say nothing Holm makes .3 of it."""
    given = scores(fair=56, bad=50)
    (alone,) = outcomes(["fair - bad > 0"], given)
    assert alone.outcome == "held"
    assert 0.01 < alone.p < 0.05
    first, *_ = outcomes(["fair - bad > 0", *[f"fair > {0.5 + i / 1000}" for i in range(9)]], given)
    assert first.outcome == "not distinguishable"
    assert first.p == pytest.approx(10 * alone.p)
    assert "not with all 10 requirements at once" in str(first)


def test_what_all_prompts_agree_on_is_no_certainty():
    """A hundred of a hundred: Wilson's 100/(100 + z²) = .963; a difference of 1 throughout: 2 · .963 − 1 = .926."""
    given = scores(all=100, none=0)
    lines = ["all > .96", "all > .97", "none < .04", "none < .03", "all - none > .92", "all - none > .93"]
    found = [outcomes([line], given)[0] for line in lines]
    assert [each.outcome for each in found] == ["held", "not distinguishable"] * 3
    low = 100 / (100 + 1.959964**2)
    assert (found[0].estimate.low, found[0].estimate.high) == pytest.approx((low, 1.0))
    assert (found[4].estimate.low, found[4].estimate.mean) == pytest.approx((2 * low - 1, 1.0))
    few = {"success": [Score(arm, 0, f"p{n}", 0, float(arm == "all")) for arm in ("all", "none") for n in range(5)]}
    assert outcomes(["all - none > 0"], few)[0].outcome == "not distinguishable"  # 2 · ½⁵ = .06


def test_the_same_requirement_twice_is_tested_once():
    """In a recipe and on the command line, however it is written: Holm does not count it twice."""
    given = scores(fair=55, bad=50)
    (alone,) = outcomes(["fair - bad > 0"], given)
    (both,) = outcomes(["fair - bad > 0", "success: fair-bad>0.0"], given)
    assert both == alone
    assert len(outcomes(["fair - bad > 0", "fair - bad >= 0", "fair - bad > 0"], given)) == 2


def test_what_cannot_be_compared_is_not_held():
    given = {"success": [Score("a", 0, "p", 0, 1.0), Score("b", 0, "q", 0, 0.0)]}
    (found,) = outcomes(["a - b > 0"], given)
    assert (found.outcome, found.estimate) == ("not distinguishable", None)
    assert "too little" in str(found)


def test_marks_and_unscored_answers_are_said():
    given = scores(good=90, bad=50)
    given["success"].append(Score("good", 0, "more", 0, None))
    marks = {"success": {"good": "trained on this benchmark"}}
    (found,) = outcomes(["good > .5"], given, marks=marks)
    assert "trained on this benchmark" in str(found)
    assert "1 of 101 answers have no score" in str(found)


def test_people_decide_where_they_have_labelled():
    given = scores(good=90, bad=50)
    wide = Estimate(0.3, -0.1, 0.7, 100, 40, "clustered t, prediction-powered")
    (found,) = outcomes(["good - bad > 0"], given, corrections={"success": {("good", "bad"): [wide]}})
    assert (found.outcome, found.estimate) == ("not distinguishable", wide)
    (none,) = outcomes(["good - bad > 0"], given, corrections={"success": {}})
    assert none.outcome == "not distinguishable"
    assert "too few labels" in str(none)


def test_junit_has_a_case_for_each():
    given = scores(good=90, bad=50)
    found = outcomes(["good - bad > 0", "good > .99", "good < .5"], given)
    root = ElementTree.fromstring(junit_of(found))
    (suite,) = root
    assert (root.get("tests"), suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "3", "2", "0")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["good - bad > 0", "good > .99", "good < .5"]
    assert [case.find("failure") is None for case in cases] == [True, False, False]
    assert cases[1].find("failure").get("type") == "refuted"
    figures = {each.get("name"): float(each.get("value")) for each in cases[0].find("properties")}
    assert figures["mean"] == pytest.approx(0.4)
    assert figures["low"] == found[0].estimate.low
    assert figures["n"] == 100


def test_markdown_breaks_on_no_name():
    given = {
        "success": [Score(arm, 0, str(i), 0, float(i < n)) for arm, n in (("a|b", 9), ("<b>", 1)) for i in range(10)]
    }
    text = markdown_of(outcomes(["a|b - <b> > 0"], given), {"success": compare(given["success"])})
    assert "1 of 1 requirements held" in text
    assert "a\\|b - &lt;b>" in text
    rows = [line for line in text.splitlines() if line.startswith("| ✅")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 8


def test_a_file_that_is_there_is_kept(tmp_path):
    write_form(tmp_path / "in" / "out.xml", "one", force=False)
    with pytest.raises(InputError, match="there already"):
        write_form(tmp_path / "in" / "out.xml", "two", force=False)
    write_form(tmp_path / "in" / "out.xml", "two", force=True)
    assert (tmp_path / "in" / "out.xml").read_text() == "two"


@pytest.mark.parametrize(("ahead", "p", "outcome"), [(4, 2 * 0.5**4, "not distinguishable"), (6, 2 * 0.5**6, "held")])
def test_few_prompts_that_differ_are_tested_exactly(ahead, p, outcome):
    """Four of twenty prompts differ, all one way: t over prompts leaves 0 out, and coins do it once in eight times."""
    given = {
        "success": [
            Score(arm, 0, f"p{prompt}", 0, float(prompt < passed))
            for arm, passed in (("dpo", 10 + ahead), ("sft", 10))
            for prompt in range(20)
        ]
    }
    (found,) = outcomes(["dpo - sft > 0"], given)
    assert found.estimate.low > 0
    assert found.outcome == outcome
    assert found.p == pytest.approx(p, abs=0.01)
    assert ("exact McNemar" in str(found)) == (outcome != "held")
