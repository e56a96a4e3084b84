"""Looking through texts: what is found is what stands there, whatever the case; a query is never more than a text."""

import json

import pytest

from notus.core.errors import ConfigError, InputError
from notus.review.filter import Filter
from notus.review.open import open_review
from tests.helpers.review_rows import HOSTILE, WORDS, frame, raw_rows, write_rows

COUNT = 90


@pytest.fixture(scope="module")
def rows():
    made = raw_rows(COUNT)
    made[4]["completions"][0]["response"] = "x" * 3_000_000 + " the very end of a long text " + "y" * 100
    made[5]["completions"][0]["critique"] = None
    return made


@pytest.fixture(scope="module")
def review(rows, tmp_path_factory):
    with open_review(write_rows(tmp_path_factory.mktemp("search") / "rows.jsonl", rows)) as opened:
        yield opened


def found(review, text):
    return [row.number for row in review.page(Filter(text=text), 0, 10_000).rows]


def expected(rows, text):
    known = frame(rows)
    wanted = text.casefold()
    hits = [
        any(wanted in (part or "").casefold() for part in parts)
        for parts in zip(known["prompt"], known["answer"], known["critique"], strict=True)
    ]
    return known.index[hits].tolist()


@pytest.mark.parametrize("text", [each for each in HOSTILE if each.strip()])
def test_hostile_texts_are_found_as_they_stand(review, rows, text):
    if "\u0301" in text:
        return  # see below: an accent is found whichever way it is written
    assert found(review, text) == expected(rows, text)
    assert found(review, text)


@pytest.mark.parametrize(
    "text", [*WORDS, "Question 1", "answer", "ANSWER 3 BY", "critique 7.1", "the very end", ": ", "xyzzy"]
)
def test_what_is_found_is_what_stands_there(review, rows, text):
    assert found(review, text) == expected(rows, text)


@pytest.mark.parametrize(
    ("asked", "stands"),
    [
        ("STRASSE", "Straße"),
        ("straße", "STRASSE"),
        ("σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("CAFÉ", "cafe\u0301"),
        ("cafe\u0301", "café"),
    ],
)
def test_case_and_composition_do_not_count(review, rows, asked, stands):
    known = frame(rows)
    parts = known["prompt"] + "\n" + known["answer"] + "\n" + known["critique"].fillna("")
    assert set(known.index[parts.str.contains(stands, regex=False)]) <= set(found(review, asked))


@pytest.mark.parametrize(
    "text",
    [
        "%", "_", "%%", "a%b",
        "'", "''", '"', "--", ";", "\\", "\\'", "$1", "?", ":x", "*", ".*", "[a-z]+", "(", "\x00",
        "' OR '1'='1", "'); DROP TABLE x; --", "x' UNION SELECT kind, part, of FROM read_parquet('/etc/*') --",
        "'; SET enable_external_access = true; --", "'; ATTACH '/tmp/x.db'; --", "'; INSTALL httpfs; LOAD httpfs; --",
        "'; COPY (SELECT 1) TO '/tmp/notus-was-here'; --", "read_csv('/etc/passwd')", "\ud800",
    ],
)  # fmt: skip
def test_nothing_in_a_query_is_read_as_sql_or_as_a_pattern(review, rows, text):
    if text == "\ud800":  # no text that was read holds half a character: it stands there as a question mark
        assert found(review, text) == expected(rows, "?")
        return
    assert found(review, text) == expected(rows, text)
    assert len(found(review, "Question 1")) == len(expected(rows, "Question 1"))


@pytest.mark.parametrize(
    "key", ["source", "model", "reason", "rater", "aspect", "id", "who", "not-who", "decided", "sort"]
)
def test_no_value_of_a_filter_is_read_as_sql(review, key):
    before = review.count(Filter())
    for value in ("' OR 1=1 --", "'; DROP TABLE rows; --", "x') OR ('1'='1", "\\'; --"):
        try:
            counted = review.count(Filter.parse([(key, value)]))
        except ConfigError:
            continue
        assert counted in (0, before if key == "not-who" else 0)
    assert review.count(Filter()) == before


def test_values_with_quotes_are_filtered_by(review, rows):
    known = frame(rows)
    for key, value in (("source", "evol 'instruct'"), ("model", 'ce"dar'), ("model", "dogwood -- '")):
        assert review.count(Filter.parse([(key, value)])) == (known[key] == value).sum() > 0


def test_the_database_sees_no_file_but_its_own_and_can_load_nothing(review):
    import duckdb

    connection = review.selection._search._connection.cursor()
    for statement in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/notus-was-here.csv'",
        "ATTACH '/tmp/notus-was-here.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 8",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement).fetchall()


def test_a_search_with_other_conditions(review, rows):
    known = frame(rows)
    text = set(expected(rows, "river"))
    mask = known.index.isin(text) & (known["model"] == "elm") & (known["score"] >= 7)
    wanted = Filter.parse([("text", "River"), ("model", "elm"), ("score", "7..")])
    assert [row.number for row in review.page(wanted, 0, 999).rows] == known.index[mask].tolist()


def test_half_a_character_in_the_data_is_no_obstacle(tmp_path):
    row = raw_rows(1)[0]
    row["completions"] = row["completions"][:1]
    row["completions"][0] |= {"response": "before \ud83d after", "model": "al\udc00der"}
    row["models"] = [row["completions"][0]["model"]]
    path = tmp_path / "half.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(raw_rows(2)[1]) + "\n", encoding="ascii")
    with open_review(path) as review:
        lines = {row.line for row in review.page(Filter(), 0, 9).rows}
        if 1 in lines:  # a reader that takes such a row shows it
            assert review.count(Filter(text="before ? after")) == 1
            assert review.record(review.page(Filter(), 0, 1).rows[0].key).answers[0].text == "before \ud83d after"
        else:
            assert any("1 row of the source could not be read" in each for each in review.facts.said)


def test_tables_that_are_gone_are_told(tmp_path):
    import shutil

    with open_review(write_rows(tmp_path / "rows.jsonl", raw_rows(4))) as review:
        shutil.rmtree(tmp_path / ".notus")
        with pytest.raises(InputError, match="start the review again"):
            review.count(Filter(text="river"))
