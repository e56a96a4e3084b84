"""Files of no published name, each read by a mapping that is kept beside: the counts were worked out without Notus."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from notus.core.records import Feedback, Preference
from notus.core.stage import Tally
from notus.formats.format import Data
from notus.formats.mapping.decode import mapping_name
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.paths import SHARED

CASES = SHARED / "cases" / "data" / "formats"
MAPS = Path(__file__).parent / "maps"
NAMES = {
    "parquet_own": "parquet_own",
    "parquet_feedbackish": "parquet_feedbackish",
    "pairs_synonyms.jsonl": "pairs_synonyms",
    "judge_scores_own.jsonl": "judge_scores_own",
    "ratings_long.jsonl": "ratings_long",
    "ratings_long.csv": "ratings_long",
    "ratings_long.xlsx": "ratings_long",
    "pairs_ab.jsonl": "pairs_ab",
    "pairs_ab.csv": "pairs_ab",
    "pairs_ab_copy.jsonl": "pairs_ab",
    "summarize_tldr.jsonl": "summarize_tldr",
    "llamafactory_pairs.jsonl": "llamafactory_pairs",
    "v_chosen_rating.jsonl": "v_chosen_rating",
    "v_chosen_score.jsonl": "v_chosen_score",
    "v_score_chosen.jsonl": "v_score_chosen",
    "v_margin.jsonl": "v_margin",
    "scale_hundred.jsonl": "scale",
    "scale_neg.jsonl": "scale",
    "scale_str.jsonl": "scale",
    "scale_ten.jsonl": "scale",
}
"""File → its mapping."""

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are absent")


def read(file: str) -> list[Any]:
    """All records of a case; no row of it is bad, and each is in a record."""
    source = open_source(str(CASES / file), format=mapping_name(MAPS / f"{NAMES[file]}.yaml"))
    tally, quarantine = Tally("read"), Quarantine()
    found: list[Data] = list(source.records(tally, quarantine))
    assert quarantine.total == 0
    assert tally.taken == len(found) + tally.counts["row-joined"]
    return found


def rows(file: str) -> list[dict[str, Any]]:
    """The rows as plain objects, by other readers."""
    path = CASES / file
    if path.is_dir():
        return [row for part in sorted(path.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    return [json.loads(line) for line in path.read_text().splitlines()]


def counts(records: list[Any], kind: str) -> dict[str, Any]:
    """What of the expected counts can be told of records."""
    if kind.startswith("pairs"):
        assert all(isinstance(record, Preference) for record in records)
        return {
            "pairs": len(records),
            "scores": sum(score is not None for pair in records for score in (pair.score_chosen, pair.score_rejected)),
            "margins": sum(pair.margin is not None for pair in records),
        }
    assert all(isinstance(record, Feedback) for record in records)
    answers = [answer for record in records for answer in record.completions]
    votes = Counter(ranking.ranks for record in records for ranking in record.rankings)
    ratings = [rating for answer in answers for rating in answer.ratings]
    raters = Counter(said.rater for said in (*ratings, *(vote for each in records for vote in each.rankings)))
    values = [rating.value for rating in ratings if rating.value is not None]
    return {
        "prompts": len({record.prompt_id for record in records}),
        "answers": len(answers),
        "ratings": len(ratings),
        "critiques": sum(answer.critique is not None for answer in answers),
        "a": votes[(1, 2)],
        "b": votes[(2, 1)],
        "ties": votes[(1, 1)],
        "annotators": dict(raters),
        "scale": [min(values, default=None), max(values, default=None)],
    }


@pytest.mark.parametrize("file", NAMES)
def test_the_counts_are_those_that_were_worked_out_without_notus(file: str) -> None:
    expected = json.loads((CASES / "expected.json").read_text())[file]
    found = counts(read(file), expected["reads"])
    known = {key: value for key, value in expected.items() if key not in ("rows", "reads", "note")}
    assert {key: found[key] for key in known} == known


def test_every_row_of_the_shared_judge_is_one_answer_with_its_judge() -> None:
    """Rows of one prompt stand apart or together."""
    told = {
        (record.prompt[0].content, answer.text, answer.model, rating.value, rating.rater, answer.critique.text)
        for record in read("judge_scores_own.jsonl")
        for answer in record.completions
        for rating in answer.ratings
    }
    names = ("question", "answer", "model", "judge_score", "judge", "judge_reason")
    assert told == {tuple(row[name] for name in names) for row in rows("judge_scores_own.jsonl")}


def test_scores_and_raters_of_lists_stay_together() -> None:
    told = {
        (record.prompt[0].content, answer.text, rating.rater, rating.value)
        for record in read("scale_hundred.jsonl")
        for answer in record.completions
        for rating in answer.ratings
    }
    assert told == {
        (row["instruction"], answer["response"], rater, float(score))
        for row in rows("scale_hundred.jsonl")
        for answer in row["completions"]
        for rater, score in zip(answer["annotators"], answer["gpt4_scores"], strict=True)
    }


def test_what_no_target_names_stays() -> None:
    for record, row in zip(read("summarize_tldr.jsonl"), rows("summarize_tldr.jsonl"), strict=True):
        info = {name: value for name, value in row["info"].items() if name != "post"}
        assert record.extra["info"] == info
        assert record.extra["split"] == row["split"]
        assert [answer.extra for answer in record.completions] == [{"note": each["note"]} for each in row["summaries"]]
