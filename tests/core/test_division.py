"""Groups that are wholly on one side, worked out with plain sets and dates."""

from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.config import Config
from notus.core.errors import DataError
from notus.core.records import Message, Preference, digest
from notus.core.splits import (
    Division,
    HeldOutBy,
    carried_groups,
    column_value,
    group_columns,
    is_held_out,
    join_groups,
    latest_prompts,
    time_of,
)


class Setting(Config):
    by: HeldOutBy = "prompt"


def pair(prompt: str = "a river", answer: str = "Oder", source: str = "", **extra: Any) -> Preference:
    asked, said, other = (Message(role="user", content=prompt),), answer, f"not {answer}"
    sides = [(Message(role="assistant", content=text),) for text in (said, other)]
    return Preference(prompt=asked, chosen=sides[0], rejected=sides[1], source=source, extra=extra)


@pytest.mark.parametrize(
    "by", ["prompt", "source", "near-duplicates", "answer", "column:a.b", "time:at", "column:a+prompt"]
)
def test_divisions_that_there_are(by):
    assert Setting(by=by).by == by


def test_a_part_named_twice_counts_once():
    assert Setting(by="prompt+column:user+prompt").by == "prompt+column:user"


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("user", "no division by 'user'"),
        ("column:", "'column:'"),
        ("", "''"),
        ("row:3", "'row:3'"),
        ("time:a+prompt", "stands alone"),
    ],
)
def test_others_are_refused_with_what_was_given(by, said):
    with pytest.raises(pydantic.ValidationError, match=said):
        Setting(by=by)


def test_by_prompt_the_sides_are_those_of_the_rule_that_was_there_before():
    division = Division(0.3, 7)
    rows = [pair(f"question {n}") for n in range(200)]
    assert [division.holds(row) for row in rows] == [is_held_out(row.prompt_id, 0.3, 7) for row in rows]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["", "ada", "bo", "cy", None])), max_size=30),
    st.integers(0, 3),
)
def test_a_user_is_on_one_side_and_without_one_the_prompt_is(rows, seed):
    division = Division(0.5, seed, "column:user")
    made = [pair(f"question {n}", **({} if user == "" else {"user": user})) for n, user in rows]
    sides: dict[Any, set[bool]] = {}
    for (n, user), row in zip(rows, made, strict=True):
        sides.setdefault(user or n, set()).add(division.holds(row))
        assert division.has_group(row) == bool(user)
    assert all(len(side) == 1 for side in sides.values())


def test_the_side_of_a_group_does_not_depend_on_other_rows_or_on_the_column_of_another_name():
    rows = [pair(f"q {n}", user=f"u{n}", other=f"u{n}", source=f"u{n}") for n in range(100)]
    held = [[Division(0.5, 0, by).holds(row) for row in rows] for by in ("column:user", "column:other", "source")]
    assert held[0] == [Division(0.5, 0, "column:user").holds(row) for row in rows]
    assert held[0] != held[1] != held[2] != held[0]


def test_a_share_of_the_groups_is_held_out():
    division = Division(0.2, 3, "column:user")
    held = sum(division.holds(pair(user=f"u{n}")) for n in range(2000))
    assert abs(held - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=3), max_size=12))
def test_what_hangs_together_is_what_a_walk_finds(rows):
    beside: dict[str, set[str]] = {name: set() for row in rows for name in row}
    for row in rows:
        for name in row:
            beside[name] |= set(row)
    wanted = {}
    for start in beside:
        reached, left = {start}, [start]
        while left:
            new = beside[left.pop()] - reached
            reached |= new
            left += new
        if len(reached) > 1:
            wanted[start] = min(reached)
    assert join_groups(rows) == wanted


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("user", "ada"), ("meta.user", "bo"), ("meta.id", "7"), ("a.b", "whole"), ("turns.1.by", "cy")),
        *(("none", None), ("empty", None), ("meta.none", None), ("user.name", None), ("turns.5.by", None)),
        ("meta", '{"id":7,"user":"bo"}'),
    ],
)
def test_a_dotted_path_finds_what_stands_there(path, value):
    extra = {"user": "ada", "meta": {"user": "bo", "id": 7}, "a.b": "whole", "none": None, "empty": ""}
    extra["turns"] = [{"by": "x"}, {"by": "cy"}]
    assert column_value(extra, path) == value


def test_columns_that_look_like_groups_are_found_by_name():
    extra = {
        "user_id": 3,
        "userful": 1,
        "Conversation-ID": "c",
        "score": 2,
        "meta": {"author": "ada", "x": 1},
        "session": None,
    }
    assert dict(group_columns(extra)) == {"user_id": "3", "Conversation-ID": "c", "meta.author": "ada"}


def test_only_groups_are_carried_on_and_nested_as_they_were():
    extra = {"user": "ada", "meta": {"author": "bo", "x": 1}, "post": "word " * 99, "shop": {"city": "Ulm"}, "n": 1}
    assert carried_groups(extra) == {"user": "ada", "meta": {"author": "bo"}}
    assert carried_groups(extra, "column:shop.city+column:none") == {
        "user": "ada",
        "meta": {"author": "bo"},
        "shop": {"city": "Ulm"},
    }


@pytest.mark.parametrize(
    ("value", "time"),
    [
        *((3, 3.0), ("1e3", 1000.0), (None, None), ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC))),
        ("2024-05-01T02:00:00+02:00", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T00:00:00Z", datetime(2024, 5, 1, tzinfo=UTC)),
    ],
)
def test_times_are_numbers_and_dates(value, time):
    assert time_of(pair(at=value), "at") == time


@pytest.mark.parametrize("value", ["yesterday", "nan", True, "1/5/2024"])
def test_what_is_no_time_is_refused_with_its_value(value):
    with pytest.raises(DataError, match="neither a number nor an ISO date"):
        time_of(pair(at=value), "at")


def test_the_latest_share_is_cut_where_times_differ():
    times = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 3.0}
    assert latest_prompts(times, 0.2) == ({"a": False, "b": False, "c": False, "d": False, "e": True}, 3.0)
    # 3 of 5 are as far from 4 as from … 1: 4 of 5 (.8) is nearer to .6 than 1 of 5 (.2).
    assert [name for name, late in latest_prompts(times, 0.6)[0].items() if late] == ["b", "c", "d", "e"]
    with pytest.raises(DataError, match="same time"):
        latest_prompts({"a": 1.0, "b": 1.0}, 0.5)
    with pytest.raises(DataError, match="no order"):
        latest_prompts({"a": 1.0, "b": datetime.now(UTC)}, 0.5)


def test_by_time_a_prompt_goes_with_its_latest_row_and_without_a_time_by_its_hash():
    prompts = {name: pair(name).prompt_id for name in ("old", "new")}
    division = Division(0.5, 0, "time:at", late={prompts["old"]: False, prompts["new"]: True})
    assert division.holds(pair("new", at=1))
    assert not division.holds(pair("old", at=9))
    other = pair("other")
    assert division.holds(other) == is_held_out(other.prompt_id, 0.5, 0)
    assert not division.has_group(other)


def test_groups_of_columns_are_told_apart_by_the_column():
    first, second = (Division(0.5, 0, f"column:{name}").group_of(pair(a="1", b="1")) for name in "ab")
    assert first != second
    assert first == digest("column", "a", "1")
