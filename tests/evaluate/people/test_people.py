"""Labels of people: drawn, read, found on their answers, and what is made of them."""

import csv
import json

import numpy as np
import pytest

from notus.core.errors import DataError, InputError
from notus.evaluate.compare import Score
from notus.evaluate.people.correct import correct, correct_all, correct_sides, sentences_of
from notus.evaluate.people.labels import (
    COLUMNS,
    Label,
    Labels,
    draw_sheet,
    match_labels,
    read_categories,
    read_labels,
    write_sheet,
)
from notus.stats.corrected.mean import Sample, corrected_mean
from notus.stats.corrected.misclassification import true_share
from notus.stats.intervals import wider

random = np.random.default_rng(11)
PROMPTS = [f"p{i:03}" for i in range(300)]
TRUTH = {arm: (random.random(300) < share).astype(float) for arm, share in (("sft", 0.4), ("dpo", 0.6))}
JUDGE = {arm: np.where(random.random(300) < 0.85, of, 1 - of) for arm, of in TRUTH.items()}
SCORES = [Score(arm, 0, prompt, 0, float(JUDGE[arm][i])) for arm in TRUTH for i, prompt in enumerate(PROMPTS)]


def labels_of(prompts, arms=("sft", "dpo"), **more):
    return [
        Label(PROMPTS[i], float(TRUTH[arm][i]), evaluation="success", arm=arm, seed=0, sample=0, **more)
        for i in prompts
        for arm in arms
    ]


def test_arms_and_differences_are_those_of_the_statistics():
    found = correct(SCORES, match_labels("success", SCORES, labels_of(range(60))))
    assert [arm.name for arm in found.arms] == ["sft", "dpo"]
    for arm in found.arms:
        truth, judge = TRUTH[arm.name].tolist(), JUDGE[arm.name].tolist()
        assert arm.interval == corrected_mean(Sample(truth[:60], judge[:60], judge)).estimate
    (pair,) = found.pairs
    truth, judge = TRUTH["dpo"] - TRUTH["sft"], JUDGE["dpo"] - JUDGE["sft"]
    by_hand = corrected_mean(Sample(truth[:60].tolist(), judge[:60].tolist(), judge.tolist()))
    assert (pair.a, pair.b) == ("dpo", "sft")
    assert (pair.interval.low, pair.interval.high) == pytest.approx((by_hand.estimate.low, by_hand.estimate.high))
    said = " ".join(sentences_of(found))
    assert "dpo" in said
    assert "more labels would narrow" in said
    assert "60 labels of both" in said
    sides = correct_sides(SCORES, match_labels("success", SCORES, labels_of(range(60))))
    assert sides["sft", "dpo"][0].mean == pytest.approx(-sides["dpo", "sft"][0].mean)


def test_a_difference_takes_only_answers_that_have_labels_of_both():
    labels = [*labels_of(range(30)), *labels_of(range(30, 50), arms=("dpo",))]
    found = correct(SCORES, match_labels("success", SCORES, labels), baseline="sft")
    assert [arm.found.labels for arm in found.arms] == [30, 50]
    assert found.pairs[0].found.labels == 30


def test_seeds_are_replicates():
    """Three seeds that differ by as much as they do decide over the prompts, which do not."""
    source = np.random.default_rng(1)
    people = {(seed, p): 0.3 * seed + 0.01 * source.normal() for seed in range(3) for p in PROMPTS[:60]}
    scores = [Score("a", seed, p, 0, value + 0.02 * source.normal()) for (seed, p), value in people.items()]
    labels = Labels({("a", seed, p, 0): value for (seed, p), value in people.items() if int(p[1:]) < 20}, None)
    (arm,) = correct(scores, labels).arms
    assert arm.by_seeds.groups == 3
    assert arm.interval == arm.by_seeds
    assert arm.interval == wider(arm.found.estimate, arm.by_seeds)


def test_categories_have_an_offset_each():
    """In one category the judge is two points too kind, in the other one too strict."""
    source = np.random.default_rng(2)
    truth = source.normal(5, 1, 300)
    offset = np.where(np.arange(300) % 2 == 0, 2.0, -1.0)
    scores = [Score("a", 0, p, 0, float(v)) for p, v in zip(PROMPTS, truth + offset, strict=True)]
    labels = Labels({("a", 0, p, 0): float(truth[i]) for i, p in enumerate(PROMPTS[:60])}, None)
    categories = {p: "even" if i % 2 == 0 else "odd" for i, p in enumerate(PROMPTS[:290])}
    found = correct(scores, labels, categories=categories)
    assert found.uncategorised == 10
    assert [each.category for each in found.categories] == ["even", "odd"]
    for each, rest in zip(found.categories, (0, 1), strict=True):
        assert each.interval.mean == pytest.approx(truth[rest:290:2].mean(), abs=1e-9)
        assert each.found.offset.mean == pytest.approx(2.0 if rest == 0 else -1.0)
    assert "10 prompts have no category" in sentences_of(found)


def test_labels_of_other_answers_give_error_rates():
    """Of ten good ones the judge calls eight good, of ten bad ones nine bad."""
    others = [Label(f"x{i}", float(i < 10), judge=float(i < 8 or i == 19)) for i in range(20)]
    found = match_labels("success", SCORES, [*labels_of(range(20)), *others])
    assert found.elsewhere.right_yes == (8, 10)
    assert found.elsewhere.right_no == (9, 10)
    arm = correct(SCORES, found).arms[0]
    assert arm.errors == true_share(int(JUDGE["sft"].sum()), 300, (8, 10), (9, 10))


def test_what_is_left_out_is_counted():
    labels = [*labels_of(range(20)), Label("nowhere", 1.0), *labels_of([0], arms=("sft",))]
    scores = [*SCORES[:5], Score("sft", 0, "p005", 0, None), *SCORES[6:]]
    found = match_labels("success", scores, labels)
    assert (found.unmatched, found.repeated, found.unscored) == (1, 1, 1)
    said = " ".join(sentences_of(correct(scores, found)))
    assert "1 labels are on answers that are none of these runs'" in said


def test_labels_of_an_evaluation_that_is_not_there_are_counted():
    labels = [*labels_of(range(20)), Label("p001", 1.0, evaluation="another", arm="sft", seed=0, sample=0)]
    (found,) = correct_all({"success": SCORES}, labels).values()
    assert found.labels.unmatched == 1


def test_a_judge_that_adds_nothing_is_said_to():
    """The judge says nothing of people's labels: of ten samples the correction is wider in some, narrower in some."""
    wider_than_labels = []
    for seed in range(10):
        source = np.random.default_rng(seed)
        truth, judge = source.normal(size=(2, 300))
        scores = [Score("a", 0, p, 0, float(v)) for p, v in zip(PROMPTS, judge, strict=True)]
        found = correct(scores, Labels({("a", 0, p, 0): float(truth[i]) for i, p in enumerate(PROMPTS[:12])}, None))
        ratio = found.arms[0].found.ratio
        wider_than_labels.append(ratio > 1.02)
        assert any("adds nothing" in said for said in sentences_of(found)) == (ratio > 1.02)
    assert any(wider_than_labels)


def test_labels_that_may_be_on_several_answers_are_refused():
    with pytest.raises(DataError, match="may be on 2 answers"):
        match_labels("success", SCORES, [Label("p001", 1.0, line=4)])
    with pytest.raises(DataError, match="have no chance"):
        match_labels("success", SCORES, [*labels_of([1], arms=("sft",), chance=0.5), *labels_of([2], arms=("sft",))])
    with pytest.raises(DataError, match="none of 1 label"):
        correct_all({"success": SCORES}, [Label("nowhere", 1.0)])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_sheet_comes_back_as_it_went(tmp_path, suffix):
    texts = {(arm, 0, p, 0): ("=1+1?", f"answer of {arm}") for arm in TRUTH for p in PROMPTS}
    drawn = draw_sheet({"success": SCORES}, 40, seed=3, texts=texts)
    assert (len(drawn.rows), drawn.prompts, drawn.of, drawn.without_text) == (80, 40, 300, 0)
    assert len({row["prompt_id"] for row in drawn.rows}) == 40
    filled = [{**row, "label": "" if n == 7 else ("yes", "no")[n % 2]} for n, row in enumerate(drawn.rows)]
    path = tmp_path / f"sheet{suffix}"
    write_sheet(path, filled)
    read = read_labels(path)
    assert (len(read.labels), read.empty) == (79, 1)
    assert {(each.prompt_id, each.arm) for each in read.labels} == {
        (row["prompt_id"], row["arm"]) for row in filled if row["label"]
    }
    assert {each.value for each in read.labels} == {0.0, 1.0}
    with pytest.raises(InputError, match="there already"):
        write_sheet(path, filled)
    if suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            assert next(csv.DictReader(file))["prompt"] == "'=1+1?"
    else:
        assert "score" not in json.loads(path.read_text().splitlines()[0])


def test_the_uncertain_are_drawn_more_often():
    """Where the arms' scores are equal the judge is unsure: these have ten times the chance above the even half."""
    drawn = draw_sheet({"success": SCORES}, 60, by="uncertainty", seed=1)
    chances = {row["prompt_id"]: row["chance"] for row in drawn.rows}
    gap = dict(zip(PROMPTS, np.abs(JUDGE["dpo"] - JUDGE["sft"]), strict=True))
    near, far = ({chance for p, chance in chances.items() if gap[p] == value} for value in (0, 1))
    assert len(near) == len(far) == 1
    weights = 1 - 0.9 * np.array(list(gap.values()))
    assert near.pop() == pytest.approx(60 * (0.5 / weights.sum() + 0.5 / 300), abs=1e-6)
    assert far.pop() == pytest.approx(60 * (0.5 * 0.1 / weights.sum() + 0.5 / 300), abs=1e-6)
    alone = [score for score in SCORES if score.arm == "sft"]
    assert draw_sheet({"success": alone}, 60, by="uncertainty").even


def test_prompts_without_all_arms_are_counted():
    with pytest.raises(DataError, match="2 evaluations"):
        draw_sheet({"a": SCORES, "b": SCORES}, 3)
    drawn = draw_sheet({"success": SCORES[:-3]}, 3)
    assert (drawn.of, drawn.left_out, drawn.without_text) == (297, 3, 6)
    with pytest.raises(DataError, match="no prompt has a score of all arms"):
        draw_sheet({"success": [Score("a", 0, "p", 0, 1.0), Score("b", 0, "q", 0, 1.0)]}, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt_id,label\np1,perhaps\n", "sheet.csv:2: label is 'perhaps'"),
        ("prompt_id,label\np1,\n", "none of its 1 row has a label"),
        ("id,label\np1,1\n", "no column 'prompt_id'"),
        ("prompt_id,label,chance\np1,1,2\n", "chance is 2"),
        ("prompt_id,label,seed\np1,1,.5\n", "seed is '.5'"),
        ("prompt_id,label\np1,nan\n", "finite"),
    ],
)
def test_wrong_sheets_are_refused_in_one_line(tmp_path, text, told):
    path = tmp_path / "sheet.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        read_labels(path)
    assert "\n" not in str(error.value)


def test_categories_are_one_for_each_prompt(tmp_path):
    path = tmp_path / "categories.jsonl"
    path.write_text('{"prompt_id": "a", "category": "x"}\n{"prompt_id": "b", "category": "y"}\n')
    assert read_categories(path) == {"a": "x", "b": "y"}
    path.write_text('{"prompt_id": "a", "category": "x"}\n{"prompt_id": "a", "category": "y"}\n')
    with pytest.raises(InputError, match="'y' here and 'x' before"):
        read_categories(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_no_sign_in_an_answer_breaks_a_row(tmp_path, suffix):
    """Unicode's line ends, a form feed, and an answer of 200,000 characters."""
    path = tmp_path / f"sheet{suffix}"
    texts = ["one\u2028two", "one\x0ctwo\x85three\x1cfour", "x" * 200_000, 'said "no",\r\nthen'.replace("\r", "")]
    rows = [dict.fromkeys(COLUMNS, "") | {"prompt_id": f"p{n}", "answer": t, "label": n} for n, t in enumerate(texts)]
    write_sheet(path, rows)
    read = read_labels(path)
    assert [(label.prompt_id, label.value) for label in read.labels] == [(f"p{n}", float(n)) for n in range(4)]
    assert read.empty == 0


def test_rows_nested_without_end_are_refused(tmp_path):
    path = tmp_path / "sheet.jsonl"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"sheet\.jsonl:1 is no JSON"):
        read_labels(path)


def test_labels_of_another_evaluation_are_counted_where_it_is_seen():
    """The first evaluation has no labels, and is not shown."""
    others = [Label(PROMPTS[i], 1.0, evaluation="harness", arm="sft", seed=0, sample=0) for i in range(7)]
    labels = [*labels_of(range(20)), *others]
    found = correct_all({"other": [Score("x", 0, "q", 0, 1.0)], "success": SCORES}, labels)
    assert list(found) == ["success"]
    assert "7 labels are on answers that are none of these runs', and were left out" in sentences_of(found["success"])


def test_labels_of_other_answers_that_cannot_be_used_are_said():
    """Three others that people all call good tell of no error on bad ones."""
    others = [Label(f"x{i}", 1.0, judge=1.0) for i in range(3)]
    found = correct(SCORES, match_labels("success", SCORES, [*labels_of(range(20)), *others]))
    assert found.labels.others == 3
    assert "3 labels of other answers were left out" in " ".join(sentences_of(found))


def test_a_prompt_has_one_chance():
    labels = [*labels_of([1], arms=("sft",), chance=0.5), *labels_of([1], arms=("dpo",), chance=0.25)]
    with pytest.raises(DataError, match=r"chance 0\.25 here, and with 0\.5 before"):
        match_labels("success", SCORES, labels)


def test_two_labels_that_differ_make_no_arm_better():
    """Of twenty prompts people prefer the one answer in two, and never the other."""
    source = np.random.default_rng(4)
    scores = [Score(arm, 0, p, 0, float(source.random())) for arm in ("sft", "dpo") for p in PROMPTS]
    said = {"dpo": [1.0] * 10 + [0.0] * 10, "sft": [1.0] * 8 + [0.0] * 12}
    labels = Labels({(arm, 0, p, 0): v for arm, of in said.items() for p, v in zip(PROMPTS, of, strict=False)}, None)
    (pair,) = correct(scores, labels).pairs
    assert pair.found.labels == 20
    assert pair.interval.low < 0 < pair.interval.high
    assert pair.better is None
