"""The pictures of trainings and the page of one: which numbers, which dots, which words."""

import json
import math
from xml.etree import ElementTree

import pytest

from notus.core.run import Run
from notus.report.curves import Line, lines
from notus.report.training.curves import TrainingRun, training_pictures
from notus.report.training.page import health_notes, write_training_page

SVG = "{http://www.w3.org/2000/svg}"
HEALTH = [{"check": "length", "step": 30, "said": "length <explains> it", "means": "It is so", "tried": "another loss"}]


def row(step, evaluated):
    found = {"step": step, "steps": 40, "loss": math.log(2) - step / 100, "learning_rate": 5e-7 * (1 - step / 40)}
    found |= {"rewards/chosen": step / 50, "rewards/rejected": -step / 40, "rewards/margins": step / 22}
    found |= {"rewards/accuracies": 0.5 + step / 100, "grad_norm": 2.0}
    return found | ({"eval_loss": math.log(2) - step / 200, "eval_rewards/chosen": step / 60} if evaluated else {})


ROWS = [row(step, step and step % 10 == 0) for step in range(41)]


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def dots(svg):
    return [
        (dot.get("class"), dot.find(f"{SVG}title").text)
        for dot in ElementTree.fromstring(svg).iter(f"{SVG}circle")
        if dot.find(f"{SVG}title") is not None
    ]


def test_one_training_has_a_picture_of_each_kind():
    pictures = {texts(each.svg)[0]: each.svg for each in training_pictures("dpo", {"dpo": [TrainingRun(ROWS, {})]})}
    assert list(pictures) == [
        "Loss · dpo",
        "Rewards of chosen and rejected answers · dpo",
        "Margin of chosen over rejected · dpo",
        "Reward accuracy · dpo",
        "Learning rate · dpo",
        "Gradient norm before clipping · dpo",
    ]
    loss = pictures["Loss · dpo"]
    assert "ln 2" in texts(loss)
    assert "means since the line before · dots: held-out rows" in texts(loss)
    assert [hint for _, hint in dots(loss)] == [
        f"dpo at {step}: {value}" for step, value in [(10, 0.643), (20, 0.593), (30, 0.543), (40, 0.493)]
    ]
    rewards = pictures["Rewards of chosen and rejected answers · dpo"]
    assert {"chosen", "rejected"} <= set(texts(rewards))
    assert len({colour for colour, _ in dots(rewards)}) == 1  # those of the rejected ones were not measured
    assert "learning rate (× 10⁻⁷)" in texts(pictures["Learning rate · dpo"])
    assert "dots" not in " ".join(texts(pictures["Learning rate · dpo"]))


def test_what_was_measured_at_the_end_alone_is_a_dot_too():
    run = TrainingRun([row(step, False) for step in range(41)], {"eval_loss": 0.5, "updates": 40})
    (loss, *_) = training_pictures("dpo", {"dpo": [run]})
    assert [hint for _, hint in dots(loss.svg)] == ["dpo at 40: 0.500"]


def test_arms_have_a_picture_for_each_number():
    arms = {"one": [TrainingRun(ROWS, {})] * 2, "other": [TrainingRun(ROWS, {})]}
    pictures = {texts(each.svg)[0]: each.svg for each in training_pictures("dpo", arms, ("none", "one", "other"))}
    assert {"Reward of chosen answers · dpo", "Reward of rejected answers · dpo"} <= set(pictures)
    assert "3 runs, one curve for each seed · dots: held-out rows" in texts(pictures["Loss · dpo"])
    assert len(dots(pictures["Loss · dpo"])) == 12


def test_dots_belong_to_what_is_spanned():
    svg = lines([Line("a", ((0, 1.0), (1, 1.0)), ((2, 9.0),))], title="t", x_label="x", y_label="y")
    places = [float(dot.get("cx")) for dot in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    assert all(0 < place < 720 for place in places)
    assert "n = 2 points on 1 curves" in texts(svg)
    assert "10" in texts(svg)  # the axis reaches the dot
    alone = lines([Line("a", (), ((2, 9.0),))], title="t", x_label="x", y_label="y")
    assert "a" in texts(alone)


@pytest.mark.parametrize("summary", [{"health": HEALTH}, {}])
def test_the_page_of_a_training_says_what_was_found(tmp_path, summary):
    with Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        for each in ROWS:
            run.metric(**each, tokens_per_second=1200.0, memory_bytes=2**31, peak_share=0.31)
        run.note(updates=40, rows=320, train_loss=0.5, eval_loss=0.49, held_out_rows=20, **summary)
        page = write_training_page(run).read_text()
    assert page.count("<svg") == 6
    assert "31% of peak" in page
    assert "2.00 GiB" in page
    assert ("length &lt;explains&gt; it. It is so. Try: another loss." in page) == bool(summary)
    assert ("Nothing was found amiss" in page) != bool(summary)
    assert "<script" not in page


def test_health_names_the_run_where_there_are_several():
    (note,) = health_notes({"health": HEALTH}, "dpo-12ab")
    assert note.warning
    assert note.text.startswith("dpo-12ab, update 30: length")
    assert health_notes(json.loads("{}")) == []
