"""Rows of one prompt are one record, wherever they stand; every rating, vote and further column is still there."""

import math
import random
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.records import Completion, Critique, Feedback, Message, Ranking, Rating
from notus.core.stage import Tally
from notus.formats import join
from notus.formats.join import by_prompt, join_rows, merge_feedback
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source, write_jsonl
from tests.helpers.data_examples import helpsteer as steered


def row(prompt: str, *answers: Completion, ranks: tuple[int, ...] = (), rater: str = "r", **more: Any) -> Feedback:
    rankings = (Ranking(ranks=ranks, rater=rater),) if ranks else ()
    return Feedback(prompt=(Message(role="user", content=prompt),), completions=answers, rankings=rankings, **more)


def answer(text: str, value: float | None = None, rater: str = "", **more: Any) -> Completion:
    ratings = () if value is None else (Rating(aspect="quality", value=value, rater=rater),)
    return Completion(text=text, ratings=ratings, **more)


def joined(*rows: Feedback) -> tuple[list[Feedback], Tally]:
    tally = Tally("read")
    return list(join_rows(rows, by_prompt, merge_feedback, tally)), tally


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["ann", "bo"]))))
def test_every_rating_stands_under_its_prompt_and_answer(given: list[tuple[str, str, str]]) -> None:
    rows = [row(prompt, answer(text, float(n), rater)) for n, (prompt, text, rater) in enumerate(given)]
    found, tally = joined(*rows)
    assert [record.prompt[0].content for record in found] == list(dict.fromkeys(prompt for prompt, _, _ in given))
    there = [
        (record.prompt[0].content, item.text, rating.rater, rating.value)
        for record in found
        for item in record.completions
        for rating in item.ratings
    ]
    assert Counter(there) == Counter((*each, float(n)) for n, each in enumerate(given))
    assert all(len({item.text for item in record.completions}) == len(record.completions) for record in found)
    assert len(found) + tally.counts["row-joined"] == len(given)


def test_votes_are_put_in_the_order_of_all_answers() -> None:
    found, _ = joined(
        row("p", answer("x"), answer("y"), ranks=(1, 2)),
        row("p", answer("y"), answer("x"), ranks=(1, 2)),
        row("p", answer("z"), answer("x"), ranks=(1, 1)),
        row("p", answer("w"), answer("w"), ranks=(2, 1)),
    )
    (record,) = found
    assert [item.text for item in record.completions] == ["x", "y", "z", "w", "w"]
    assert [ranking.ranks for ranking in record.rankings] == [
        (1, 2, None, None, None),
        (2, 1, None, None, None),
        (1, None, 1, None, None),
        (None, None, None, 2, 1),
    ]


def test_answers_of_two_models_are_two_though_their_texts_are_equal() -> None:
    ((record,), _) = joined(row("p", answer("x", 1.0, model="a")), row("p", answer("x", 2.0, model="b")))
    assert [(item.model, len(item.ratings)) for item in record.completions] == [("a", 1), ("b", 1)]


def test_what_rows_say_differently_is_kept_row_by_row() -> None:
    record = joined(
        row("p", answer("x", extra={"time": 1, "language": "en"}), extra={"id": 7, "topic": "rivers"}, line=3),
        row("q", answer("x")),
        row("p", answer("x", extra={"time": 2, "language": "en"}), extra={"id": 8, "topic": "rivers"}, line=9),
        row("p", answer("x", extra={"language": "en"}), extra={"topic": "rivers"}, line=10),
    )[0][0]
    assert record.line == 3
    assert record.extra == {"topic": "rivers", "joined_rows": [{"id": 7}, {"id": 8}, {}]}
    assert record.completions[0].extra == {"language": "en", "joined_rows": [{"time": 1}, {"time": 2}, {}]}


def test_a_second_critique_is_kept_aside_and_counted() -> None:
    (record,), tally = joined(
        row("p", answer("x", critique=Critique(text="Good.", score=8.0, rater="a"))),
        row("p", answer("x")),
        row("p", answer("x", critique=Critique(text="Bad.", score=2.0, rater="b"))),
    )
    assert record.completions[0].critique == Critique(text="Good.", score=8.0, rater="a")
    (aside,) = record.completions[0].extra["critiques"]
    assert (aside["text"], aside["score"], aside["rater"]) == ("Bad.", 2.0, "b")
    assert tally.counts == {"row-joined": 2, "critique-aside": 1}


def test_other_sources_and_other_turns_are_other_prompts() -> None:
    turns = (Message(role="system", content="s"), Message(role="user", content="p"))
    one = Feedback(prompt=turns, completions=(answer("x"),))
    found, _ = joined(row("p", answer("x")), row("p", answer("x"), source="elsewhere"), one)
    assert len(found) == 3


def test_many_rows_wait_in_a_file_and_come_back_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    rows = [row(f"p{n % 50}", answer("x" * rng.randrange(99) + str(n), 1.0)) for n in range(2000)]
    rng.shuffle(rows)
    in_memory, _ = joined(*rows)
    monkeypatch.setattr(join, "HELD_BYTES", 100)
    assert joined(*rows)[0] == in_memory
    assert sum(len(record.completions) for record in in_memory) == 2000


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_rows_in_a_file_does_not_matter(tmp_path: Path, seed: int) -> None:
    rows = [steered(prompt=f"Prompt {n // 2}?", response=f"Answer {n}.") for n in range(40)]
    random.Random(seed).shuffle(rows)
    write_jsonl(tmp_path / "rows.jsonl", [*rows, steered(response=3)])
    source = open_source(str(tmp_path / "rows.jsonl"))
    tally = Tally("read")
    records = list(source.records(tally, Quarantine()))
    texts = {
        record.prompt[0].content: {item.text for item in record.completions}
        for record in records
        if isinstance(record, Feedback)
    }
    assert texts == {f"Prompt {n}?": {f"Answer {2 * n}.", f"Answer {2 * n + 1}."} for n in range(20)}
    first: dict[str, int] = {}
    for line, each in enumerate(rows, 1):
        first.setdefault(each["prompt"], line)
    assert [record.line for record in records] == list(first.values())
    assert [line for _, line, _ in source.located()] == list(first.values())
    assert tally.summary() == {
        "stage": "read",
        "in": 41,
        "out": 20,
        "dropped": {"wrong-type": 1},
        "counts": {"row-joined": 20},
    }
    assert len(source.shards(100)) == 1


def test_a_row_of_a_named_rater_that_stands_twice_is_taken_once() -> None:
    """Three rows of ann on x, of which two are the same; bo says the same as they do, and is another row."""
    given = [row("p", answer("x", value, rater)) for value, rater in ((4, "ann"), (4, "ann"), (5, "ann"), (4, "bo"))]
    (record,), tally = joined(*given)
    assert [(each.value, each.rater) for each in record.completions[0].ratings] == [(4, "ann"), (5, "ann"), (4, "bo")]
    assert tally.counts == {"row-joined": 3, "row-repeated": 1}
    _, other = joined(row("p", answer("x", 4.0, "ann")), row("q", answer("x", 4.0, "ann")))
    assert not other.counts["row-repeated"]


def test_rows_without_a_name_may_agree_and_all_count() -> None:
    """Two votes for x and one for y: without a name the two are two voters, of one named voter they are one vote."""
    votes = [(1, 2), (1, 2), (2, 1)]
    for rater, count, told in (("", 3, "row-alike"), ("ann", 2, "row-repeated")):
        given = [row("p", answer("x"), answer("y"), ranks=each, rater=rater) for each in votes]
        (record,), tally = joined(*given)
        assert len(record.rankings) == count
        assert tally.counts == {"row-joined": 2, told: 1}
    # Further columns may hold any number.
    _, large = joined(*[row("p", answer("x"), extra={"n": 2**64 + n}) for n in (0, 0, 1)])
    assert large.counts["row-alike"] == 1


@pytest.mark.parametrize("bytes_held", [0, 1 << 20])
def test_further_columns_come_back_with_their_types(monkeypatch: pytest.MonkeyPatch, bytes_held: int) -> None:
    """Columns of Parquet are dates, decimal numbers and bytes too; a text of them would be another value."""
    monkeypatch.setattr(join, "HELD_BYTES", bytes_held)
    held = [
        {"day": date(2024, 2, 29), "at": datetime(2024, 2, 29, 12, 30), "price": Decimal("1.10")},
        {"raw": b"\xff", "many": [1, 2.0, None, True, {"a": ["b"]}], "n": 2**70},
        {"of": ("a", "tuple"), 3: "a number as a name"},
        {"n": -(2**63), "x": 1e-300, "text": "\ud800"},
    ]
    given = [row(f"p{n}", answer("x"), extra=extra) for n, extra in enumerate(held)]
    found, _ = joined(*given, *given)
    assert [record.extra for record in found] == held
    assert [[type(value) for value in record.extra.values()] for record in found] == [
        [type(value) for value in extra.values()] for extra in held
    ]
    (nan,), _ = joined(row("p", answer("x"), extra={"x": math.nan}))
    assert math.isnan(nan.extra["x"])


def test_rows_that_repeat_one_another_may_hold_what_no_encoding_takes() -> None:
    held = {"n": 10**400, "text": "\ud800"}
    (found,), tally = joined(*(row("p", answer("x"), extra=dict(held)) for _ in range(2)))
    assert found.extra == held
    assert tally.counts["row-alike"] == 1
