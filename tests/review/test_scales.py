"""On what scale a score is set, what a digit sets, and how an edited text is shown: rated answers without a score."""

import json

import pytest

from notus.core.errors import InputError
from notus.review.deciding import Asked, Bulk
from notus.review.filter import Filter
from tests.helpers.paths import SHARED
from tests.helpers.review_server import feedback_row, served, write_rows
from tests.review.test_in_browser import tab_on


@pytest.fixture
def rated(tmp_path):
    """The shared set of four models: ratings 1 to 5 of the one aspect rubric, and no overall score."""
    source = SHARED / "data" / "feedback" / "four_models_80.jsonl"
    if not source.exists():
        pytest.skip("the shared feedback of four models is not there")
    copy = tmp_path / source.name
    copy.write_bytes(source.read_bytes())
    with served(copy, tmp_path / "decisions.sqlite") as page:
        yield page


def first_row(page):
    return page.desk.review.page(Filter(), 0, 1).rows[0]


def scored(field, value):
    return {"what": "set-score", "field": field, "value": value}


def test_a_score_off_its_scale_is_refused_by_the_server(rated):
    key = first_row(rated).key
    for field, value, said in (
        ("rubric", 9.0, "1 to 5"),
        ("rubric", 0.0, "1 to 5"),
        ("overall_score", 99.0, "1 to 10"),
    ):
        with pytest.raises(InputError, match=f"{field} is {said} here, and {value:g} is off"):
            rated.desk.decide("ana", Asked(target=key, **scored(field, value)))
    count = rated.desk.review.count(Filter())
    with pytest.raises(InputError, match="rubric is 1 to 5 here"):
        rated.desk.decide_all("ana", Filter(), Bulk(count=count, **scored("rubric", 6.0)))
    body = json.dumps({"target": key, **scored("rubric", 9)}).encode()
    status, told, _ = rated.request("POST", "/decide", headers=rated.own_headers(), body=body)
    assert (status, "\n" in json.loads(told)["error"]) == (400, False)
    assert list(rated.store.rulings()) == []
    assert rated.desk.decide("ana", Asked(target=key, **scored("rubric", 5.0))).said == "Rubric set to 5"
    assert rated.desk.decide("ana", Asked(target=key, **scored("overall_score", 10.0))).rulings


def test_the_page_names_the_only_aspect_and_its_scale(rated):
    _, page, _ = rated.request("GET", f"/record/{first_row(rated).key}")
    assert 'data-digit="rubric" data-digit-high="5"' in page
    assert 'min="1" max="5"' in page
    assert "Rubric <kbd>1–5</kbd>" in page
    assert "<dd>swap" not in page  # an answer is not swapped


def test_an_edited_text_is_shown_with_the_old_one_beside(rated):
    row = first_row(rated)
    for text in ("First try.", "Second try."):
        rated.desk.decide("ana", Asked(target=row.key, what="edit", field="answer", value=text))
    _, page, _ = rated.request("GET", f"/record/{row.key}")
    old = rated.desk.review.record(row.key).answers[row.index].text
    shown, edit = page.split('data-form="edit"')
    assert "Second try." in edit
    assert old.split()[0] not in edit.split("</textarea>")[0].rpartition(">")[2]
    assert ">edited</span> by <b" in shown
    assert shown.index("Second try.") < shown.index(">edited</span> by <b") < shown.rindex(old.split(".")[0][:30])
    # To another person it is shown as far as it is settled, which one person's word is.
    ben = rated.request("GET", f"/record/{row.key}", headers={"Cookie": f"notus-review-who-{rated.port}=ben"})[1]
    assert "Second try." in ben.split('data-form="edit"')[0]


def test_on_all_results_it_is_told_whose_decisions_are_there(rated):
    row = first_row(rated)
    rated.desk.decide("ben", Asked(target=row.key, what="keep"))
    told = rated.request("GET", "/bulk?sort=file")[1]
    assert "ben</b> has decided on 1 of them: where you say otherwise it is a conflict" in told
    assert "You have decided" not in told
    rated.desk.decide("ana", Asked(target=row.key, what="keep"))
    assert "You have decided on 1 of them" in rated.request("GET", "/bulk?sort=file")[1]


@pytest.mark.slow
def test_digits_drafts_and_keys_in_the_browser(browser, rated):
    with tab_on(browser, rated, "/?sort=file") as tab:
        tab.page.locator(".rowlink").first.click()
        tab.page.wait_for_selector("#record")
        tab.press("3", "Rubric set to 3")
        assert [(each.field, each.value) for each in rated.force()] == [("rubric", 3.0)]
        asked = []
        tab.page.on("request", lambda each: asked.append(each.method))
        tab.page.keyboard.press("s")
        tab.page.wait_for_function("() => document.getElementById('wrong').textContent.includes('only a pair')")
        assert "POST" not in asked
        tab.page.keyboard.press("n")
        tab.page.keyboard.type("half a thought")
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector("#note:not([open])", state="attached")
        tab.page.keyboard.press("n")
        assert tab.page.locator("#why").input_value() == "half a thought"
        tab.press("Control+Enter", "Noted")
        tab.page.keyboard.press("n")
        assert tab.page.locator("#why").input_value() == ""
        tab.page.keyboard.press("Escape")
        tab.page.goto(f"{rated.url}/?sort=file")
        tab.page.keyboard.press("b")
        tab.page.wait_for_selector("#bulk[open]")
        for key, value in (("k", "keep"), ("d", "drop"), ("c", "cannot-tell")):
            tab.page.keyboard.press(key)
            assert tab.page.locator("#bulk input:checked").get_attribute("value") == value


@pytest.mark.slow
def test_of_several_ratings_and_no_score_a_digit_asks_which(browser, tmp_path):
    row = feedback_row("Name a river.", [("Oder.", 5.0, 4, "Fine."), ("No.", 2.0, 1, "Wrong.")])
    for each in row["completions"]:
        del each["overall_score"]
    source = write_rows(tmp_path / "feedback.jsonl", [row])
    with served(source, tmp_path / "decisions.sqlite") as page, tab_on(browser, page, "/?sort=file") as tab:
        tab.page.locator(".rowlink").first.click()
        tab.page.wait_for_selector("#record")
        tab.page.keyboard.press("4")
        tab.page.wait_for_selector("#score[open]")
        assert page.force() == []
