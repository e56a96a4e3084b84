"""Raters in columns of their own, and numbers with a comma: what a mapping makes of them, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

import notus
from notus.core.errors import ConfigError
from notus.core.records import Feedback, Scale
from notus.formats.mapping.decode import mapped_format, mapping_name
from notus.formats.mapping.look import look_at
from notus.formats.quarantine import RowError

VOTES = "question,answer_a,answer_b,vote_anna,vote_ben\nWhy?,So.,No.,A,B\nHow?,Thus.,Nope.,tie,\nWho?,Me.,You.,A,A\n"
GRADES = "Prompt,Response,rating_anna,rating_ben,note\nWhy?,So.,4,5,x\nWhy?,No.,2,,y\nHow?,Thus.,3,N/A,z\n"


def decode(mapping: dict[str, Any], row: dict[str, Any]) -> Any:
    return mapped_format(mapping_name(mapping).removeprefix("map:")).decode(row)


def read(tmp_path: Path, text: str, mapping: dict[str, Any] | None = None) -> tuple[list[Any], dict[str, Any]]:
    """The records by a mapping, of its own or the one that is offered, and the tally."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    if mapping is None:
        tried = look_at([(path, "")]).suggestion
        assert tried is not None
        assert tried.read == tried.of
        mapping = tried.map
    data = notus.read(path, map=mapping)
    return list(data), data.tally[0]


def test_each_column_is_a_rater_who_voted(tmp_path: Path) -> None:
    records, tally = read(tmp_path, VOTES)
    assert [[(each.rater, each.ranks) for each in record.rankings] for record in records] == [
        [("anna", (1, 2)), ("ben", (2, 1))],
        [("anna", (1, 1))],
        [("anna", (1, 2)), ("ben", (1, 2))],
    ]
    assert not records[0].extra
    assert tally["counts"] == {}


def test_each_column_is_a_rater_who_rated(tmp_path: Path) -> None:
    """An empty cell is a rater who did not rate; "N/A" was said, and is a rating without a value that is counted."""
    records, tally = read(tmp_path, GRADES)
    found = [[(r.rater, r.aspect, r.value) for r in item.ratings] for record in records for item in record.completions]
    assert found == [
        [("anna", "overall", 4.0), ("ben", "overall", 5.0)],
        [("anna", "overall", 2.0)],
        [("anna", "overall", 3.0), ("ben", "overall", None)],
    ]
    assert tally["counts"] == {"row-joined": 1, "score-missing": 1}


def test_raters_agree_as_the_same_ratings_in_a_long_table_do(tmp_path: Path) -> None:
    """Ratings by three raters on eight answers, once in columns and once a row each: the audit finds the same α."""
    grades = [(n % 5 + 1, (n * 2) % 5 + 1, 3) for n in range(8)]
    wide = "q,a,r_anna,r_ben,r_cy\n" + "".join(
        f"Why {n // 2}?,So {n}.,{x},{y},{z}\n" for n, (x, y, z) in enumerate(grades)
    )
    long = "q,a,score,who\n" + "".join(
        f"Why {n // 2}?,So {n}.,{grade},{who}\n"
        for n, given in enumerate(grades)
        for who, grade in zip(("anna", "ben", "cy"), given, strict=True)
    )
    base = {"prompt": "q", "answers.text": "a"}
    by_columns = {**base, "answers.score": {"raters": "r_*", "scale": [1, 5]}}
    by_rows = {**base, "answers.score": {"column": "score", "scale": [1, 5]}, "rater": "who"}
    found = []
    for name, text, mapping in (("wide", wide, by_columns), ("long", long, by_rows)):
        (tmp_path / f"{name}.csv").write_text(text)
        data = notus.read(tmp_path / f"{name}.csv", map=mapping)
        findings = {each.heading: each.table for each in notus.audit(data).findings if each.table is not None}
        found.append([findings[name] for name in sorted(findings) if "ater" in name])
    assert found[0] == found[1]
    assert found[0]


def test_raters_are_named_one_by_one_where_columns_do_not_say_who_they_are() -> None:
    mapping = {
        "prompt": "q",
        "answers.text": "ans.*.t",
        "answers.score": {"raters": {"anna": "ans.*.g1", "ben": "ans.*.g2"}, "scale": [0, 10]},
        "answers.rationale": {"raters": {"anna": "ans.*.why1"}},
    }
    row = {"q": "Why?", "ans": [{"t": "So.", "g1": 7, "g2": 3, "why1": "clear"}, {"t": "No.", "g2": 1, "more": 5}]}
    found: Feedback = decode(mapping, row)
    first, second = found.completions
    assert [(r.rater, r.value, r.rationale) for r in first.ratings] == [("anna", 7, "clear"), ("ben", 3, "")]
    assert [(r.rater, r.value) for r in second.ratings] == [("ben", 1)]
    assert {r.scale for r in first.ratings} == {Scale(low=0, high=10)}
    assert second.extra == {"more": 5}


def test_raters_are_the_names_of_an_objects_fields() -> None:
    """As exports of tools have them: {"anna": 4, "ben": 5} beside each answer, or one such object of votes."""
    mapping = {
        "prompt": "q",
        "answers.text": "drafts.*.body",
        "answers.score": {"raters": "drafts.*.reviews.scores.*", "scale": [1, 5]},
    }
    drafts = [
        {"body": "So.", "reviews": {"scores": {"anna": 4, "ben": 5}, "comment": "x"}},
        {"body": "No.", "reviews": {"scores": {"ben": 1, "cy": None}}},
        {"body": "Hm.", "reviews": {"scores": {}}},
    ]
    found: Feedback = decode(mapping, {"q": "Why?", "drafts": drafts})
    assert [[(r.rater, r.aspect, r.value) for r in item.ratings] for item in found.completions] == [
        [("anna", "overall", 4), ("ben", "overall", 5)],
        [("ben", "overall", 1)],
        [],
    ]
    assert found.completions[0].extra == {"reviews": {"comment": "x"}}
    votes = {"prompt": "q", "answer_a": "a", "answer_b": "b", "winner": {"raters": "votes.*", "values": "A/B"}}
    voted: Feedback = decode(votes, {"q": "Why?", "a": "So.", "b": "No.", "votes": {"anna": "A", "ben": "B"}})
    assert [(each.rater, each.ranks) for each in voted.rankings] == [("anna", (1, 2)), ("ben", (2, 1))]
    with pytest.raises(RowError, match="items of a list"):
        decode(votes, {"q": "Why?", "a": "So.", "b": "No.", "votes": ["A", "B"]})


def test_aspects_are_the_names_of_an_object_whether_a_star_stands_behind_it_or_not() -> None:
    drafts = [{"body": "So.", "marks": {"tone": 4, "facts": 2}}, {"body": "No.", "marks": {"tone": 1}}]
    found = []
    for path in ("drafts.*.marks", "drafts.*.marks.*"):
        mapping = {"prompt": "q", "answers.text": "drafts.*.body", "answers.rating.*": path}
        record: Feedback = decode(mapping, {"q": "Why?", "drafts": drafts})
        found.append([[(r.aspect, r.value) for r in item.ratings] for item in record.completions])
    assert found == [[[("tone", 4), ("facts", 2)], [("tone", 1)]]] * 2
    single: Feedback = decode(
        {"prompt": "q", "answers.text": "a", "answers.rating.*": "marks"},
        {"q": "Why?", "a": "So.", "marks": {"tone": 3}},
    )
    assert [(r.aspect, r.value) for r in single.completions[0].ratings] == [("tone", 3)]
    with pytest.raises(ConfigError, match="must have the stars of the answers"):
        mapped_format(
            mapping_name({"prompt": "q", "answers.text": "d.*.b", "answers.rating.*": "m"}).removeprefix("map:")
        )


def test_a_row_on_which_nobody_voted_is_put_aside() -> None:
    mapping = {"prompt": "q", "answer_a": "a", "answer_b": "b", "winner": {"raters": "v_*"}}
    row = {"q": "Why?", "a": "So.", "b": "No.", "v_x": None, "v_y": None}
    with pytest.raises(RowError, match="missing-field"):
        decode(mapping, row)


def test_orders_of_several_raters_stand_in_columns() -> None:
    mapping = {"prompt": "q", "answers.text": "ans.*.t", "answers.rank": {"raters": "ans.*.rank_*"}}
    row = {"q": "Why?", "ans": [{"t": "So.", "rank_x": 2, "rank_y": 1}, {"t": "No.", "rank_x": 1, "rank_y": 2}]}
    found: Feedback = decode(mapping, row)
    assert [(each.rater, each.ranks) for each in found.rankings] == [("x", (2, 1)), ("y", (1, 2))]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"answers.score": {"raters": "rating"}}, "the star is the rater"),
        ({"answers.score": {"raters": "*"}}, "the star is the rater"),
        ({"answers.score": {"raters": "r_*"}, "rater": "who"}, "leave 'rater' out"),
        ({"answers.model": {"raters": "m_*"}}, "of their own for"),
        ({"answers.rating.*": {"raters": "m_*"}}, "of their own for"),
        ({"answers.text": "a.*.t", "answers.score": {"raters": "r_*"}}, "stars of the answers"),
        ({"answers.score": {"column": "r", "decimal": ";"}}, "a point or a comma"),
        ({"answers.model": {"column": "r", "decimal": ","}}, "only a number"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as told:
        mapping_name({"prompt": "q", "answers.text": "a", **more})
    assert "\n" not in str(told.value)


def test_a_comma_in_a_number_is_named_and_read_where_the_mapping_says_so(tmp_path: Path) -> None:
    text = "Frage;Antwort;Note;Prüfer\nWarum?;Darum.;4,5;Jörg\nWarum?;Nein.;3;Jörg\nWie?;So.;-0,25;Zoë\n"
    records, _ = read(tmp_path, text)
    grades = [r.value for record in records for item in record.completions for r in item.ratings]
    assert grades == [4.5, 3.0, -0.25]
    plain = {"prompt": "q", "answers.text": "a", "answers.score": "s"}
    with pytest.raises(RowError, match=r"4,5.*decimal"):
        decode(plain, {"q": "x", "a": "y", "s": "4,5"})
    with pytest.raises(RowError, match="comma"):
        decode({**plain, "answers.score": {"column": "s", "decimal": ","}}, {"q": "x", "a": "y", "s": "4.5"})
    # Thousands are no decimals, and nothing is offered for them.
    (tmp_path / "big.csv").write_text("Frage;Antwort;Note\nWarum?;Darum.;4,500\nWie?;So.;3,250\n")
    tried = look_at([(tmp_path / "big.csv", "")]).suggestion
    assert tried is None or "decimal" not in str(tried.map)
