"""Files of votes, annotations and ratings in the shapes that teams have: their counts, worked out without Notus."""

import json
from collections import Counter
from typing import Any

import pytest

from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.formats.families.annotations import LABEL_STUDIO
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.paths import SHARED

CASES = SHARED / "cases" / "data" / "formats"
NAMES = (
    *("arena.jsonl", "arena.parquet", "arena_kaggle.csv", "arena_kaggle.jsonl", "argilla_v1_feedback.jsonl"),
    *("argilla_v2_flat.jsonl", "distilabel.jsonl", "distilabel_1x_ultrafeedback.jsonl", "helpsteer2.jsonl"),
    *("helpsteer2_shuffled.jsonl", "judge_scores_own.jsonl", "labelstudio_export.json", "pairs_ab.csv"),
    *("pairs_ab.jsonl", "pairs_ab_copy.jsonl", "parquet_feedbackish", "pku_saferlhf.jsonl", "prometheus_pref.jsonl"),
    *(
        "ratings_as_feedback.jsonl",
        "ratings_long.csv",
        "ratings_long.jsonl",
        "ratings_long.xlsx",
        "scale_hundred.jsonl",
    ),
    *("scale_neg.jsonl", "scale_str.jsonl", "scale_ten.jsonl", "summarize_tldr.jsonl", "tulu_human.jsonl"),
    "webgpt.jsonl",
)


def tasks_of(row: Feedback) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = row.extra.get(LABEL_STUDIO, {}).get("annotations", [])
    return found


def counted(rows: list[Feedback], tally: Tally) -> dict[str, Any]:
    """What the file of right counts may say of a file, as it was read."""
    answers = [item for row in rows for item in row.completions]
    ratings = [rating for item in answers for rating in item.ratings]
    unplaced = sum(len(said) for row in rows for said in row.extra.get("responses", {}).values())
    votes = [vote for row in rows for vote in row.rankings]
    values = [rating.value for rating in ratings if rating.value is not None]
    ranks = {name: Counter(vote.ranks for vote in votes if vote.question == name) for name in ("better", "safer")}
    left, right = (sum(vote.ranks == each for vote in votes) for each in ((1, 2), (2, 1)))
    reasons = sum(bool(rating.rationale) for rating in ratings)
    return {
        "rows": tally.taken,
        "prompts": len({row.prompt_id for row in rows}),
        "answers": len(answers),
        # Marks that users gave a record, and no one answer of it, are kept as what they said.
        "ratings": len(ratings) + unplaced,
        "scores": len(values),
        "rationales": reasons,
        "critiques": reasons,
        "votes": len(votes),
        "rankings": len(votes),
        "annotations": len(votes),
        "cancelled": sum(each["was_cancelled"] for row in rows for each in tasks_of(row)),
        "users": len({vote.rater for vote in votes}),
        "annotators": Counter([*(vote.rater for vote in votes), *(rating.rater for rating in ratings)]),
        "a": left,
        "b": right,
        "left": left,
        "right": right,
        "ties": sum(vote.ranks == (1, 1) for vote in votes),
        "scale": [min(values, default=0), max(values, default=0)],
    } | {name: {"0": found[1, 2], "1": found[2, 1]} for name, found in ranks.items()}


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie beside the checkout, and are absent here")
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_read_and_counted_as_it_should_be(name: str) -> None:
    expected = json.loads((CASES / "expected.json").read_text())[name]
    tally, quarantine = Tally("read"), Quarantine()
    rows = list(open_source(str(CASES / name)).records(tally, quarantine))
    assert quarantine.total == 0
    assert all(isinstance(row, Feedback) for row in rows)
    found = counted([row for row in rows if isinstance(row, Feedback)], tally)
    asked = expected.keys() & found.keys()
    assert {key: found[key] for key in asked} == {key: expected[key] for key in asked}
    assert len(asked) > 1
