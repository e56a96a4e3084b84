"""The files of the shared cases, in the shapes that teams have: each gives the counts that were worked out by hand."""

import json
from collections import Counter
from typing import Any

import pytest

from notus.core.records import Dialogue, Feedback, Preference, Ranking
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.registry import FORMATS, detect
from notus.formats.source import open_source
from tests.helpers.paths import SHARED

CASES = SHARED / "cases" / "data" / "formats"
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((CASES / "expected.json").read_text(encoding="utf-8")) if CASES.is_dir() else {}
)
NO_COUNT = {"reads", "note", "flags", "cancelled", "better", "safer", "best", "rows"}
"""What is no count of records, or is checked by a test of its own below."""
OF_THEIR_OWN = {"hf_repo", "rewardbench2.jsonl", "parquet_own", "pairs_synonyms.jsonl"}
"""Files that need a split or a mapping, or whose figures have other names: see the tests of their own."""

Reading = tuple[list[Any], Tally]


def read(name: str, **options: Any) -> Reading:
    tally = Tally("read")
    source = open_source(str(CASES / name), **options)
    return list(source.records(tally, Quarantine())), tally


def votes(records: list[Any]) -> list[Ranking]:
    return [ranking for record in records if isinstance(record, Feedback) for ranking in record.rankings]


def counts(records: list[Any], tally: Tally) -> dict[str, Any]:
    """Every figure that the cases name, of all records of a file, whatever they are."""
    feedback = [record for record in records if isinstance(record, Feedback)]
    pairs = [record for record in records if isinstance(record, Preference)]
    answers = [item for record in feedback for item in record.completions]
    ratings = [rating for item in answers for rating in item.ratings]
    of_two = Counter(ranking.ranks for ranking in votes(records))
    raters = Counter(
        rater for rater in (*(vote.rater for vote in votes(records)), *(r.rater for r in ratings)) if rater
    )
    values = [rating.value for rating in ratings if rating.value is not None]
    # What people said of a record as a whole, and of none of its answers, is kept beside them.
    beside = [said for record in feedback for given in record.extra.get("responses", {}).values() for said in given]
    scores = [score for pair in pairs for score in (pair.score_chosen, pair.score_rejected) if score is not None]
    return {
        "prompts": len({record.prompt_id for record in feedback}),
        "answers": len(answers),
        "ratings": len(ratings) + len(beside),
        "rationales": sum(bool(rating.rationale) for rating in ratings),
        "critiques": sum(item.critique is not None or any(r.rationale for r in item.ratings) for item in answers),
        "rankings": len(votes(records)),
        "votes": len(votes(records)),
        "a": of_two[1, 2],
        "b": of_two[2, 1],
        "left": of_two[1, 2],
        "right": of_two[2, 1] if of_two else 0,
        "ties": of_two[1, 1],
        "annotations": len(votes(records)),
        "users": len(raters),
        "annotators": dict(raters),
        "scale": [min(values), max(values)] if values else [],
        "scores": len(scores) or len(values),
        "margins": sum(pair.margin is not None for pair in pairs),
        "pairs": len(pairs),
        "dialogues": sum(isinstance(record, Dialogue) for record in records),
        "quarantined": len(tally.dropped),
    }


needs_cases = pytest.mark.skipif(not EXPECTED, reason="the shared cases are not here")


@needs_cases
@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - OF_THEIR_OWN))
def test_each_file_gives_the_counts_that_were_worked_out(name: str) -> None:
    records, tally = read(name)
    want = {key: value for key, value in EXPECTED[name].items() if key not in NO_COUNT}
    found = counts(records, tally)
    assert {key: found[key] for key in want} == want
    assert tally.taken == EXPECTED[name]["rows"]
    assert tally.taken + tally.counts["row-expanded"] == (tally.given + len(tally.dropped) + tally.counts["row-joined"])
    assert [record for record in records if not record.file or not record.line] == []


@needs_cases
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_split_of_a_repository_is_read_by_itself(split: str) -> None:
    records, tally = read("hf_repo", split=split)
    assert (len(records), tally.taken) == (EXPECTED["hf_repo"]["pairs"][split], EXPECTED["hf_repo"]["rows"][split])
    assert all(isinstance(record, Preference) for record in records)


@needs_cases
def test_of_four_answers_one_is_right() -> None:
    ((record,), _), want = read("rewardbench2.jsonl"), EXPECTED["rewardbench2.jsonl"]
    ((first, *others),) = (ranking.ranks for ranking in record.rankings)
    assert (len(record.completions), 1) == (want["answers"], want["right"])
    assert (first, set(others)) == (1, {2})


@needs_cases
@pytest.mark.parametrize("name", ["nectar.jsonl", "nemo_rl_ranked.jsonl", "oasst_trees.jsonl", "oasst_trees.jsonl.gz"])
def test_the_best_of_a_ranked_list_has_rank_1(name: str) -> None:
    records, _ = read(name)
    assert {min(rank for rank in ranking.ranks if rank) for ranking in votes(records)} == {1}
    assert all({*ranking.ranks} == {*range(1, len(ranking.ranks) + 1)} for ranking in votes(records))
    assert len(votes(records)) == len(records)


@needs_cases
def test_better_and_safer_are_two_questions() -> None:
    records, _ = read("pku_saferlhf.jsonl")
    for question in ("better", "safer"):
        ranks = Counter(ranking.ranks for ranking in votes(records) if ranking.question == question)
        assert {"0": ranks[1, 2], "1": ranks[2, 1]} == EXPECTED["pku_saferlhf.jsonl"][question]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


GOOD, BAD = assistant("good"), assistant("bad")
BORDERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "generations and a rating that is null": (
        Feedback,
        {"instruction": "Q?", "generations": ["good", "bad"], "ratings": [5, None], "rationales": ["r", None]},
    ),
    "an input with two ratings": (
        Preference,
        {"system": "S", "input": "Q?", "chosen": "good", "rejected": "bad", "rating": [9.0, 3.0], "status": "tie"},
    ),
    "messages with two answers": (Preference, {"messages": [user("Q?")], "chosen": GOOD, "rejected": BAD}),
    "a preferred output": (
        Preference,
        {"input": {"messages": [user("Q?")]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
    ),
    "a vote with its strength": (
        Feedback,
        {"context": [user("Q?")], "response1": "good", "response2": "bad", "overall_preference": -2},
    ),
    "a prompt with its completion": (Dialogue, {"prompt": [user("Q?")], "completion": [GOOD]}),
    "an instruction with its output": (Dialogue, {"instruction": "Q?", "input": "", "output": "good"}),
    "parts of text": (
        Dialogue,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q?"}]}, GOOD]},
    ),
    "a developer's turn": (Dialogue, {"messages": [{"role": "developer", "content": "S"}, user("Q?"), GOOD]}),
    "JSON text of messages": (
        Preference,
        {"prompt": "Q?", "chosen": json.dumps([user("Q?"), GOOD]), "rejected": json.dumps([user("Q?"), BAD])},
    ),
    "a rating that is null": (
        Feedback,
        {
            "instruction": "Q?",
            "completions": [
                {
                    "model": "m",
                    "response": "good",
                    "annotations": {"helpfulness": {"Rating": None, "Rationale": "r"}, "honesty": {"Rating": "5"}},
                }
            ],
        },
    ),
}
"""Shapes that were refused or misread, with what they are."""


@pytest.mark.parametrize("shape", BORDERS)
def test_shapes_that_were_misread_are_read(shape: str) -> None:
    kind, row = BORDERS[shape]
    name = detect(row)
    assert name is not None
    record: Any = FORMATS[name].decode(row)
    assert type(record) is kind
    if isinstance(record, Feedback):
        assert record.completions[0].text == "good"
    elif isinstance(record, Preference):
        assert [turn.content for turn in (*record.chosen, *record.rejected)] == ["good", "bad"]
        assert record.prompt[-1].content == "Q?"
    else:
        assert [turn.content for turn in record.messages][-2:] == ["Q?", "good"]


@pytest.mark.parametrize("names", [("chosen_rating", "rejected_rating"), ("rating_chosen", "rating_rejected")])
def test_scores_under_other_names_are_read(names: tuple[str, str]) -> None:
    row = {"chosen": [user("Q?"), GOOD], "rejected": [user("Q?"), BAD]} | dict(zip(names, (5, 4.0), strict=True))
    name = detect(row)
    assert name is not None
    pair = FORMATS[name].decode(row)
    assert isinstance(pair, Preference)
    assert (pair.score_chosen, pair.score_rejected) == (5.0, 4.0)
