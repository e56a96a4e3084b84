"""HelpSteer's and Snorkel's rows; those with repeated scores are in ``test_layouts``."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.records import Completion, Feedback, Message, Rating
from notus.core.stage import Tally
from notus.data.layouts import LAYOUTS
from notus.data.layouts_feedback import ATTRIBUTES, RANKER_SCORE, helpsteer, joined, ranker_score, snorkel
from notus.data.quarantine import Quarantine, RowError
from notus.data.sources import open_source, write_jsonl
from tests.data.data_examples import helpsteer as steered
from tests.data.data_examples import snorkel as ranked


def test_a_helpsteer_row_is_an_answer_with_its_attributes() -> None:
    found = helpsteer(steered(complexity=None, lang="en", model="alder"))
    assert found == Feedback(
        prompt=(Message(role="user", content="Name a river."),),
        completions=(
            Completion(
                text="The Oder.",
                model="alder",
                ratings=(
                    Rating(aspect="helpfulness", value=4.0),
                    Rating(aspect="correctness", value=4.0),
                    Rating(aspect="coherence", value=4.0),
                    Rating(aspect="verbosity", value=1.0),
                ),
                extra={"lang": "en"},
            ),
        ),
    )


def test_a_prompt_of_several_turns_is_taken_apart() -> None:
    found = helpsteer(steered(prompt="Hi.\n<extra_id_1>Assistant\nHello.\n\nWell?\n<extra_id_1>User\nName one."))
    turns = [(turn.role, turn.content) for turn in found.prompt]
    assert turns == [("user", "Hi."), ("assistant", "Hello.\n\nWell?"), ("user", "Name one.")]


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (steered(response=None), "response", "missing-field"),
        (steered(prompt=["a"]), "prompt", "wrong-type"),
        (steered(coherence="good"), "coherence", "not-a-number"),
        (steered(verbosity=-1), "verbosity", "out-of-range"),
        (steered(**dict.fromkeys(ATTRIBUTES)), "helpfulness", "missing-field"),
    ],
)
def test_a_bad_helpsteer_row_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        helpsteer(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_adjacent_rows_of_one_prompt_become_one_record(prompts: list[str]) -> None:
    tally = Tally("read")
    rows = [helpsteer(steered(prompt=prompt, response=str(n))) for n, prompt in enumerate(prompts)]
    found = list(joined(rows, tally))
    assert [item.text for record in found for item in record.completions] == [str(n) for n in range(len(prompts))]
    names = [record.prompt[0].content for record in found]
    assert all(one != two for one, two in pairwise(names))
    assert [name for record in found for name in record.prompt[0].content * len(record.completions)] == prompts
    assert len(found) + tally.counts["row-joined"] == len(prompts)


def test_a_source_joins_the_rows_and_accounts_for_each(tmp_path: Path) -> None:
    rows = [steered(response="a"), steered(response="b"), steered(response=3), steered(prompt="Name a lake.")]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    source = open_source(str(tmp_path / "rows.jsonl"))
    tally = Tally("read")
    records = list(source.records(tally, Quarantine()))
    assert source.layout == "helpsteer"
    assert [len(record.completions) for record in records if isinstance(record, Feedback)] == [2, 1]
    assert tally.summary() == {
        "stage": "read",
        "in": 4,
        "out": 2,
        "dropped": {"wrong-type": 1},
        "counts": {"row-joined": 1},
    }


def test_a_snorkel_row_is_feedback_with_a_rankers_scores() -> None:
    found = snorkel(ranked())
    assert [item.text for item in found.completions] == ["The Oder.", "A river.", "No."]
    assert [ranker_score(item) for item in found.completions] == [1.5, -0.25, -7.5]
    assert [item.mean_rating for item in found.completions] == [None, None, None]
    assert found.extra == {"prompt_id": "flan_7", "chosen_index": 0, "rejected_index": 2}
    other = [{"role": "assistant", "content": "Another."}]
    assert snorkel(ranked(chosen=other)).extra == {"prompt_id": "flan_7", "chosen": other, "rejected_index": 2}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        (ranked(all_rm_scores=[1.0]), "all_rm_scores", "length-mismatch"),
        (ranked(all_rm_scores=[1.0, None, 2.0]), "all_rm_scores[1]", "not-a-number"),
        (ranked(all_rm_scores=[1.0, float("nan"), 2.0]), "all_rm_scores[1]", "not-a-number"),
        (ranked(all_generated_responses=["a", 3, "b"]), "all_generated_responses[1]", "wrong-type"),
        (ranked(all_generated_responses=[]), "all_generated_responses", "empty-list"),
        (ranked(prompt=None), "prompt", "missing-field"),
    ],
)
def test_a_bad_snorkel_row_names_the_field_and_the_rule(row: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RowError) as caught:
        snorkel(row)
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_a_ranker_score_survives_our_own_records(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [snorkel(ranked())])
    source = open_source(str(tmp_path / "rows.jsonl"))
    (record,) = source.records(Tally("read"), Quarantine())
    assert source.layout == "notus-feedback"
    assert record == LAYOUTS["snorkel"].decode(ranked())


@pytest.mark.parametrize(("value", "found"), [(3, 3.0), (-1.5, -1.5), (True, None), ("3", None), (None, None)])
def test_only_a_number_is_a_ranker_score(value: object, found: float | None) -> None:
    assert ranker_score(Completion(text="a", extra={RANKER_SCORE: value})) == found
    assert ranker_score(Completion(text="a")) is None
