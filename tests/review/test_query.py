"""What the page asks, against the same rows in pandas: lists, sorts, counts, pictures, records, walking on."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import ConfigError, InputError
from notus.review.filter import Filter
from notus.review.open import open_review
from tests.helpers.data_examples import ASPECT_NAMES, SHARED
from tests.helpers.review_rows import MODELS, SOURCES, frame, raw_rows, write_rows

COUNT = 120
FOUR_MODELS = SHARED / "feedback" / "four_models_80.jsonl"
BINARIZED = SHARED / "ultrafeedback" / "binarized_1000.jsonl"


@pytest.fixture(scope="module")
def known():
    return frame(raw_rows(COUNT))


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    with open_review(write_rows(folder / "feedback.jsonl", raw_rows(COUNT))) as opened:
        yield opened


def places(review, *params, count=10_000):
    page = review.page(Filter.parse(params), 0, count)
    assert page.total == len(page.rows) == review.count(Filter.parse(params))
    return [row.number for row in page.rows]


def in_file_order(frame, mask):
    return frame.index[mask].tolist()


def test_every_row_is_there_in_the_order_of_the_file(review, known):
    page = review.page(Filter(), 0, 10_000)
    assert [row.number for row in page.rows] == list(range(len(known)))
    assert [(row.line, row.index, row.source, row.model, row.length) for row in page.rows] == list(
        known[["line", "place", "source", "model", "length"]].itertuples(index=False, name=None)
    )
    for name in ("score", "rating", "margin"):
        found = [math.nan if (value := getattr(row, name)) is None else value for row in page.rows]
        assert np.allclose(found, known[name], equal_nan=True), name
    assert [row.answer for row in page.rows] == [answer_digest(text) for text in known["answer"]]
    assert review.facts.rows == len(known)
    assert review.facts.prompts == known["prompt"].nunique()


@pytest.mark.parametrize("sort", ["score", "-score", "rating", "-rating", "margin", "-margin", "length", "-length"])
def test_sorts_put_what_has_no_number_last_and_keep_the_file_in_ties(review, known, sort):
    key = sort.removeprefix("-")
    expected = known.sort_values(key, ascending=sort == key, kind="stable", na_position="last").index.tolist()
    assert places(review, ("sort", sort)) == expected


def test_pages_are_stretches_of_one_list(review):
    whole = places(review, ("sort", "-margin"))
    wanted = Filter(sort="-margin")
    parts = [row.number for start in range(0, len(whole), 7) for row in review.page(wanted, start, 7).rows]
    assert parts == whole
    assert review.page(wanted, len(whole) + 5, 7).rows == ()
    assert review.page(wanted, -3, 2).start == 0


@given(
    source=st.lists(st.sampled_from([each for each in SOURCES if each]), max_size=2, unique=True),
    model=st.lists(st.sampled_from(MODELS), max_size=3, unique=True),
    aspect=st.lists(st.sampled_from(ASPECT_NAMES), max_size=2, unique=True),
    low=st.none() | st.sampled_from([1, 5, 7, 7.5, 10]),
    high=st.none() | st.sampled_from([1, 5, 7, 7.5, 10]),
    rating=st.none() | st.floats(1, 5),
    length=st.none() | st.integers(0, 400),
    unscored=st.booleans(),
)
@settings(max_examples=60)
def test_filters_let_through_what_pandas_does(
    review, known, source, model, aspect, low, high, rating, length, unscored
):
    params = [*(("source", each) for each in source), *(("model", each) for each in model)]
    params += [("aspect", each) for each in aspect]
    mask = pd.Series(True, known.index)
    if source:
        mask &= known["source"].isin(source)
    if model:
        mask &= known["model"].isin(model)
    if aspect:
        mask &= known["aspects"].map(lambda own: bool(set(own) & set(aspect)))
    if unscored:
        params.append(("score", "none"))
        mask &= known["score"].isna()
    elif (low is not None or high is not None) and not (low is not None and high is not None and low > high):
        params.append(("score", f"{'' if low is None else low}..{'' if high is None else high}"))
        mask &= (known["score"] >= low) if low is not None else known["score"].notna()
        mask &= (known["score"] <= high) if high is not None else True
    if rating is not None:
        params.append(("rating", f"..<{rating!r}"))
        mask &= known["rating"] < rating
    if length is not None:
        params.append(("length", f"{length}.."))
        mask &= known["length"] >= length
    assert places(review, *params) == in_file_order(known, mask)
    wanted = Filter.parse(params)
    for facet in review.facets(wanted, ["source", "model", "aspect"], most=99):
        own = {"source": source, "model": model, "aspect": aspect}[facet.key]
        let = set(places(review, *((key, value) for key, value in params if key != facet.key)))
        rows = known[known.index.isin(let)]
        values = rows["aspects"].explode() if facet.key == "aspect" else rows[facet.key]
        expected = values.fillna("").map(lambda value: value or "-").value_counts().to_dict()
        assert {each.value: each.count for each in facet.choices if each.count} == expected
        assert {each.value for each in facet.choices if each.on} == set(own)


def test_a_missing_value_can_be_asked_for(review, known):
    assert places(review, ("source", "-")) == in_file_order(known, known["source"] == "")
    assert places(review, ("aspect", "-")) == in_file_order(known, known["aspects"].map(len) == 0)


def test_a_facet_lists_the_commonest_first_and_what_is_asked_for_always(review, known):
    counts = known["model"].value_counts()
    (facet,) = review.facets(Filter(), ["model"], most=2)
    assert [each.count for each in facet.choices] == sorted(counts, reverse=True)[:2]
    assert facet.more == 3
    rare = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[-1][0]
    (facet,) = review.facets(Filter(model=(rare,)), ["model"], most=2)
    assert facet.choices[-1].value == rare
    assert facet.choices[-1].on
    assert facet.more == 2


@pytest.mark.parametrize("key", ["score", "rating", "margin", "length"])
def test_each_bar_counts_what_a_click_on_it_lists(review, known, key):
    for params in ([], [("model", "elm")], [("model", "elm"), (key, "none")]):
        wanted = Filter.parse(params)
        picture = review.histogram(wanted, key)
        other = wanted.without(key)
        assert [each.count for each in picture.bars] == [
            review.count(other.put(key, each.range)) for each in picture.bars
        ]
        assert picture.none == review.count(other.put(key, "none"))
        assert picture.total == sum(each.count for each in picture.bars) + picture.none == review.count(other)
    whole = review.histogram(Filter(), key)
    numbers = known[key].dropna()
    assert whole.total - whole.none == len(numbers)
    for bar in whole.bars:
        last = bar is whole.bars[-1]
        inside = (numbers >= bar.low) & ((numbers <= bar.high) if bar.low == bar.high or last else (numbers < bar.high))
        assert bar.count == inside.sum()


def test_the_grid_counts_what_a_click_on_a_cell_lists(review, known):
    for params in ([], [("source", "flan")], [("score", "10")]):
        wanted = Filter.parse(params)
        grid = review.grid(wanted)
        other = wanted.without("score", "rating")
        for cell in grid.cells:
            clicked = other.put(grid.key_x, grid.x[cell.x].range).put(grid.key_y, grid.y[cell.y].range)
            assert review.count(clicked) == cell.count
        assert sum(each.count for each in grid.cells) + grid.none == review.count(other)
        for bars, place in ((grid.x, "x"), (grid.y, "y")):
            sums = [sum(each.count for each in grid.cells if getattr(each, place) == at) for at in range(len(bars))]
            assert sums == [bar.count for bar in bars]
    rows = known.dropna(subset=["score", "rating"])
    assert sum(each.count for each in review.grid(Filter()).cells) == len(rows)


def test_random_order_depends_on_the_seed_alone_and_not_on_the_rows_beside(review, tmp_path):
    orders = [places(review, ("sort", "random"), ("seed", str(seed))) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(review.facts.rows))
    ids = [row.id for row in review.page(Filter(sort="random"), 0, 10_000).rows]
    rows = raw_rows(COUNT)[::-1][: COUNT // 2]
    with open_review(write_rows(tmp_path / "half.jsonl", rows)) as half:
        found = [row.id for row in half.page(Filter(sort="random"), 0, 10_000).rows]
    assert found == [each for each in ids if each in set(found)]
    sample = review.sample(Filter(sort="-score", model=("elm",)), 5, seed=3)
    assert list(sample.rows) == list(review.page(Filter(sort="random", seed=3, model=("elm",)), 0, 5).rows)


def test_random_order_is_not_skewed(review):
    # Over 400 seeds the mean place of each row is near the middle: within 5 standard errors.
    size = review.facts.rows
    total = np.zeros(size)
    for seed in range(400):
        total[places(review, ("sort", "random"), ("seed", str(seed)))] += np.arange(size)
    error = (size / math.sqrt(12)) / math.sqrt(400)
    assert np.abs(total / 400 - (size - 1) / 2).max() < 5 * error


def test_ids_find_records_prompts_and_feedback(review):
    row = review.page(Filter(), 17, 1).rows[0]
    assert places(review, ("id", row.id)) == [17]
    assert places(review, ("id", row.id[:9])) == [17]
    siblings = [each.number for each in review.page(Filter(), 0, 10_000).rows if each.prompt_id == row.prompt_id]
    assert places(review, ("id", row.prompt_id)) == siblings
    assert places(review, ("id", row.feedback_id[:10])) == siblings
    assert places(review, ("id", "0" * 16)) == []
    for bad in ("xyz", "0" * 17, "' OR 1=1", "G" * 16, "ABCDEF"):
        with pytest.raises(ConfigError, match="id="):
            review.count(Filter(id=(bad,)))


def test_walking_through_a_list(review):
    wanted = Filter(sort="-length", model=("alder", "elm"))
    rows = review.page(wanted, 0, 10_000).rows
    for place, row in enumerate(rows):
        around = review.around(wanted, row.key)
        assert (around.place, around.total) == (place, len(rows))
        assert around.before == (rows[place - 1].key if place else "")
        assert around.after == (rows[place + 1].key if place + 1 < len(rows) else "")
    # A record that is not in the list (any more) leads on to the one that stands behind its place.
    other = review.page(Filter(sort="-length", model=("birch",)), 0, 1).rows[0]
    around = review.around(wanted, other.key)
    longer = [each for each in rows if (each.length, -each.number) > (other.length, -other.number)]
    assert around.place is None
    assert around.before == (longer[-1].key if longer else "")
    assert around.after == rows[len(longer)].key


def test_a_record_is_whole(review, known):
    raw = raw_rows(COUNT)
    for number in (0, 3, 25, len(known) - 1):
        row = review.page(Filter(), number, 1).rows[0]
        view = review.record(row.key)
        source = raw[row.line - 1]
        assert view.row == row
        assert view.asked == row.index
        assert [turn.content for turn in view.prompt] == [source["instruction"]]
        assert [each.text for each in view.answers] == [each["response"] for each in source["completions"]]
        assert [each.critique for each in view.answers] == [each["critique"] for each in source["completions"]]
        assert [each.score for each in view.answers] == [each["overall_score"] for each in source["completions"]]
        own = view.answers[row.index]
        assert own.id == row.id
        assert {each.aspect: each.value for each in own.ratings} == {
            name: None
            if (grade := source["completions"][row.index]["annotations"][name]["Rating"]) == "N/A"
            else float(grade)
            for name in ASPECT_NAMES
        }
        assert own.ratings[0].rationale.startswith("Why")


def test_there_is_no_such_record(review):
    row = review.page(Filter(), 0, 1).rows[0]
    for key in (
        "",
        "0" * 16,
        row.id[:15],
        f"{row.id}.1",
        f"{row.id}.0",
        f"{row.id}.x",
        f"{row.id}.",
        "../../etc/passwd",
        "x" * 999,
    ):
        for ask in (review.record, review.neighbours, lambda key: review.around(Filter(), key)):
            with pytest.raises(InputError, match="no record"):
                ask(key)


def test_copies_have_keys_of_their_own(tmp_path):
    rows = raw_rows(3)
    with open_review(write_rows(tmp_path / "twice.jsonl", [*rows, rows[0], rows[0]])) as review:
        every = review.page(Filter(), 0, 100).rows
        keys = [row.key for row in every]
        assert len(set(keys)) == len(keys)
        assert len({row.id for row in every}) == len(frame(rows))
        assert [review.record(row.key).row.number for row in every] == [row.number for row in every]
        walked, key = [], keys[0]
        while key:
            walked.append(key)
            key = review.around(Filter(), key).after
        assert walked == keys
        # One ruling is on all copies, so a decision on all results names each id once.
        assert len(review.targets(Filter())) == len(frame(rows))


def test_what_the_rows_have_not_is_an_error_that_says_what_there_is(review):
    for wanted, said in (
        (Filter(sort="suspicion"), "no suspicion here"),
        (Filter.parse([("q", "..1")]), "no q here"),
        (Filter(rejected=("alder",)), "no row has it"),
        (Filter(model=("aldr",)), "did you mean 'alder'"),
        (Filter(reason=("x",)), "no row has"),
        (Filter(rater=("ana",)), "no row has"),
    ):
        with pytest.raises(ConfigError, match=said):
            review.page(wanted)
    with pytest.raises(ConfigError, match="no suspicion here"):
        review.histogram(Filter(), "suspicion")
    with pytest.raises(ConfigError, match="no q here"):
        review.grid(Filter(), "q", "score")
    with pytest.raises(ConfigError, match="no nonsense here"):
        review.facets(Filter(), ["nonsense"])


def test_facts_say_what_is_known_and_what_is_not(review):
    facts = review.facts
    assert facts.of == "completion"
    assert facts.numbers == ("score", "rating", "margin", "length")
    assert facts.sorts == ("file", "score", "rating", "margin", "length", "random")
    assert facts.facets == ("source", "model", "aspect", "decided", "who")
    assert any("no audit" in each for each in facts.said)


def test_targets_are_what_rulings_need(review):
    wanted = Filter(sort="-score", model=("elm",))
    rows = review.page(wanted, 0, 10_000).rows
    assert [(each.id, each.of, each.prompt, each.answer) for each in review.targets(wanted)] == [
        (row.id, "completion", row.prompt_id, row.answer) for row in rows
    ]


def test_neighbours_are_those_of_the_highest_likeness(tmp_path):
    base = (
        "The quick brown fox jumps over the lazy dog near the old river bank while seven birds watch from a tall tree"
    )
    near = base.replace("seven", "eight")
    far = base.replace("quick brown fox jumps over", "slow grey cat sleeps under").replace("river bank", "city wall")
    rows = raw_rows(60)
    for row, prompt in zip(rows[:3], (base, near, far), strict=True):
        row["instruction"] = prompt
        for place, each in enumerate(row["completions"]):
            each["response"] = " ".join(f"{row['source']}{place}x{word}" for word in range(30))
    rows[10]["completions"][0]["response"] = rows[20]["completions"][0]["response"] = near + " and so on and on"
    with open_review(write_rows(tmp_path / "near.jsonl", rows)) as review:
        first = review.page(Filter(), 0, 1).rows[0]
        found = {each.row.line: each for each in review.neighbours(first.key, 99)}
        words = [set(each.lower().split()) for each in (base, near, far)]
        for line, other in ((2, words[1]), (3, words[2])):
            assert found[line].by == "prompt"
            assert found[line].similarity == pytest.approx(len(words[0] & other) / len(words[0] | other))
        order = [each.similarity for each in review.neighbours(first.key, 4)]
        assert order == sorted((each.similarity for each in found.values()), reverse=True)[:4]
        assert 1 not in found
        assert len(found) == len(review.neighbours(first.key, 99)), "a record is listed once"
        answer = next(row for row in review.page(Filter(), 0, 999).rows if row.line == 11)
        twin = review.neighbours(answer.key)[0]
        assert (twin.row.line, twin.by, twin.similarity) == (21, "answer", 1.0)


def test_real_feedback_as_pandas_has_it(tmp_path):
    if not FOUR_MODELS.exists():
        pytest.skip("the shared data are not here")
    rows = [json.loads(line) for line in FOUR_MODELS.read_text(encoding="utf-8").splitlines()]
    known = pd.DataFrame(
        {"line": line, "model": each["model"], "length": len(each["response"]), "rating": np.mean(each["gpt4_scores"])}
        for line, row in enumerate(rows, 1)
        for each in row["completions"]
    )
    with open_review(FOUR_MODELS, cache=tmp_path) as review:
        assert review.facts.rows == len(known) == 320
        mask = (known["rating"] >= 3) & (known["model"] == "vicuna")
        wanted = Filter.parse([("rating", "3.."), ("model", "vicuna"), ("sort", "-length")])
        expected = known[mask].sort_values("length", ascending=False, kind="stable").index.tolist()
        assert [row.number for row in review.page(wanted, 0, 999).rows] == expected
        picture = review.histogram(Filter(), "rating")
        assert {round(each.low, 6): each.count for each in picture.bars} == {
            round(value, 6): count for value, count in known["rating"].value_counts().items()
        }


def test_real_pairs_as_pandas_has_them(tmp_path):
    if not BINARIZED.exists():
        pytest.skip("the shared data are not here")
    rows = [json.loads(line) for line in BINARIZED.read_text(encoding="utf-8").splitlines()]
    known = pd.DataFrame(
        {
            "score": row["metadata"]["score_chosen"],
            "margin": row["metadata"]["score_chosen"] - row["metadata"]["score_rejected"],
            "length": len(row["chosen"]),
            "same": row["chosen"] == row["rejected"],
            "text": "\0".join((row["prompt"], row["chosen"], row["rejected"])).casefold(),
        }
        for row in rows
    )
    with open_review(BINARIZED, cache=tmp_path) as review:
        assert (review.facts.of, review.facts.rows) == ("pair", 1000)
        assert any("no feedback" in each for each in review.facts.said)
        expected = known.sort_values("score", ascending=False, kind="stable").index.tolist()
        assert [row.number for row in review.page(Filter(sort="-score"), 0, 999_999).rows] == expected
        ties = known["margin"] == 0
        assert review.count(Filter(reason=("score-tie",))) == ties.sum()
        assert review.count(Filter(reason=("same-answers",))) == known["same"].sum()
        assert review.count(Filter.parse([("margin", "..<0")])) == (known["margin"] < 0).sum()
        for text in ("Cook", "import ", "Ö"):
            found = [row.number for row in review.page(Filter(text=text), 0, 9999).rows]
            assert found == known.index[known["text"].str.contains(text.casefold(), regex=False)].tolist()
        view = review.record(review.page(Filter(), 5, 1).rows[0].key)
        assert [(each.role, each.text) for each in view.answers] == [
            ("chosen", rows[5]["chosen"]),
            ("rejected", rows[5]["rejected"]),
        ]
