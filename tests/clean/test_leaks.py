"""What stands on both sides of a division, counted by hand and by sets."""

import random

import numpy as np
import pytest

from notus.clean.leaks import Leak, cluster_prompts, compare_sides, mend, sign_prompts
from notus.core.records import Message, Preference
from notus.core.splits import Division


def pair(prompt: str, chosen: str = "yes", rejected: str = "no", **extra: object) -> Preference:
    turns = [
        (Message(role=role, content=text),)
        for role, text in zip(("user", "assistant", "assistant"), (prompt, chosen, rejected), strict=True)
    ]
    return Preference(prompt=turns[0], chosen=turns[1], rejected=turns[2], extra=extra)


def leaks(train: list[Preference], held: list[Preference], by: str = "prompt") -> dict[str, tuple[int, int]]:
    found = compare_sides(train, held, Division(0.1, 0, by)).leaks
    return {leak.by: (leak.groups, leak.rows) for leak in found}


RIVERS = ("Which river flows through the city of Dresden?", "which river flows through the city of dresden")


def test_nothing_in_common_is_nothing():
    assert leaks([pair("a river", "Elbe", user="ada")], [pair("a hill", "Brocken", user="bo")]) == {}
    assert compare_sides([], [], Division(0.1, 0)).leaks == ()


def test_the_same_prompt_is_counted_once_and_its_rows_each():
    train = [pair("a river", "Elbe"), pair("a lake")]
    assert leaks(train, [pair("a river", "Oder"), pair("a river", "Rhine"), pair("a hill")]) == {"prompt": (1, 2)}


def test_near_equal_prompts_count_beside_equal_ones():
    held = [pair(RIVERS[1]), pair(RIVERS[1], "Elbe"), pair("a hill"), pair("a lake")]
    assert leaks([pair(RIVERS[0]), pair("a lake")], held) == {"prompt": (1, 1), "near-duplicates": (1, 2)}


def test_near_equal_prompts_count_whichever_of_them_are_held_out():
    """The second has the words of the first, the third a fault in its writing."""
    rows = [pair(text) for text in (*RIVERS, "Which rivr flows through the city of Dresden?")]
    joined = cluster_prompts(sign_prompts((row.prompt_id, row) for row in rows))
    assert len(joined) == 3
    assert len(set(joined.values())) == 1
    for held in ([0], [1], [2], [0, 1], [0, 2], [1, 2]):
        train = [pair("a hill"), *(row for place, row in enumerate(rows) if place not in held)]
        assert leaks(train, [rows[place] for place in held]) == {"near-duplicates": (1, len(held))}


@pytest.mark.parametrize("seed", range(5))
def test_what_hangs_together_with_few_prompts_is_found_as_among_all(seed):
    """Clusters that hold one of the asked prompts are the same, whichever other pairs are looked at."""
    rng = random.Random(seed)
    places = ["Dresden", "Hamburg", "Vienna", "Budapest", "Cologne", "Basel"]
    words = ["river", "rivers", "stream", "Stream", "river!", "the river", "rvier", "bridges"]
    texts = {f"Which {rng.choice(words)} flows through {rng.choice(places)}?" for _ in range(60)}
    rows = [pair(text) for text in sorted(texts)]
    signatures = sign_prompts((row.prompt_id, row) for row in rows)
    asked = np.array([rng.random() < 0.1 for _ in rows])
    named = {row.prompt_id for row, one in zip(rows, asked, strict=True) if one}

    def clusters(found: dict[str, str]) -> set[frozenset[str]]:
        sets = {name: frozenset(each for each in found if found[each] == name) for name in found.values()}
        return {members for members in sets.values() if members & named}

    every = clusters(cluster_prompts(signatures))
    assert clusters(cluster_prompts(signatures, asked)) == every
    assert every or not asked.any() or seed  # the first draw finds some


def test_a_long_answer_counts_and_a_short_one_does_not():
    told = "The Elbe flows through Dresden and on to Hamburg."
    assert leaks([pair("a", told, "no")], [pair("b", "yes", told), pair("c", "yes")]) == {"answer": (1, 1)}


def test_columns_that_look_like_groups_count_by_their_value():
    train = [pair("a", user="ada", topic="x", meta={"thread_id": 4}), pair("b", user="bo", topic="x")]
    held = [pair("c", user="ada", topic="x", meta={"thread_id": 4}), pair("d", user="ada"), pair("e", user="cy")]
    # One value alone, as of meta.thread_id, groups nothing.
    assert leaks(train, held) == {"column:user": (1, 2)}
    other = [*held, pair("f", meta={"thread_id": 5})]
    assert leaks(train, other) == {"column:user": (1, 2), "column:meta.thread_id": (1, 1)}


def test_groups_and_rows_without_one_are_counted():
    division = Division(0.5, 0, "column:user")
    train = [pair("a", user="ada"), pair("b", user="ada"), pair("c")]
    sides = compare_sides(train, [pair("d", user="bo"), pair("e")], division)
    assert (sides.rows, sides.groups, sides.without) == ((3, 2), (4, 2), 2)


@pytest.mark.parametrize(
    ("found", "by", "wanted"),
    [
        (("prompt",), "column:user", "column:user+prompt"),
        (("near-duplicates",), "prompt", "near-duplicates"),
        (("prompt", "near-duplicates", "column:user"), "prompt", "near-duplicates+column:user"),
        (("column:user",), "time:day", "column:user"),
        (("answer", "column:user"), "source", "source+answer+column:user"),
    ],
)
def test_what_mends_is_what_leaks_beside_what_was_asked_for(found, by, wanted):
    assert mend([Leak(each, 1, 1) for each in found], by) == wanted


def test_no_group_leaks_after_a_division_by_what_mends():
    """Against plain sets: users ask several prompts, and prompts come from several users."""
    rng = random.Random(1)
    rows = [
        pair(f"question number {rng.randrange(200)}", f"answer {n}", user=f"u{rng.randrange(150)}") for n in range(230)
    ]
    from notus.core.splits import join_groups

    asked = Division(0.3, 1, "column:user+prompt")
    division = Division(0.3, 1, asked.by, join_groups(map(asked.groups_of, rows)))
    held = [row for row in rows if division.holds(row)]
    train = [row for row in rows if not division.holds(row)]
    assert 0 < len(held) < len(rows)
    for key in (lambda row: row.prompt[0].content, lambda row: row.extra["user"]):
        assert not {key(row) for row in train} & {key(row) for row in held}
    assert compare_sides(train, held, division).leaks == ()


def test_clusters_hang_together_by_the_rule_of_cleaning():
    rows = [pair(RIVERS[0]), pair("How many legs has a spider?"), pair(RIVERS[1]), pair(RIVERS[0], "again")]
    found = cluster_prompts(sign_prompts((row.prompt_id, row) for row in rows))
    assert found.keys() == {rows[0].prompt_id, rows[2].prompt_id}
    assert set(found.values()) == {min(found)}
