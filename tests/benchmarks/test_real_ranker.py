"""The figures of the trial on real answers, on made-up scores; and the trial itself, small, where the data are."""

import pytest

from benchmarks import real_ranker
from benchmarks.real_ranker import FOUR
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data"
FIRST, SECOND, THIRD, LAST = FOUR


def scores(*rows):
    return {f"prompt {n}": dict(zip(FOUR, row, strict=True)) for n, row in enumerate(rows)}


ONE = scores((4, 3, 2, 1), (1, 2, 3, 3))
TWO = scores((4, 3, 2, 1), (4, 3, 2, 1))


def test_an_order_is_the_share_of_duels_won():
    found = real_ranker._order({0: ONE})
    wanted = {
        FIRST: (1 + 0) / 2,
        SECOND: (2 / 3 + 1 / 3) / 2,
        THIRD: (1 / 3 + 2.5 / 3) / 2,
        LAST: (0 + 2.5 / 3) / 2,
    }
    assert {model: of["mean"] for model, of in found.items()} == pytest.approx(wanted)
    assert list(found) == sorted(wanted, key=lambda model: -wanted[model])


def test_a_duel_names_the_better_one_first_and_a_tie_counts_half():
    found = real_ranker._duels({0: ONE, 1: TWO})
    assert found[f"{FIRST} against {LAST}"]["mean"] == pytest.approx(3 / 4)
    assert found[f"{THIRD} against {LAST}"]["mean"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_agreement_with_a_judge_leaves_its_draws_out():
    rows = [("prompt 0", LAST, FIRST, 1.9), ("prompt 1", LAST, FIRST, 1.2), ("prompt 1", SECOND, FIRST, 1.5)]
    found = real_ranker._agreement({0: ONE}, {0: TWO}, rows)
    assert (found["judgements"], found["draws_left_out"]) == (2, 1)
    assert found["ranker"]["mean"] == 1.0
    assert found["length"]["mean"] == 0.5
    assert found["ranker less length"]["mean"] == 0.5
    assert found["always the more frequent winner"] == 0.5


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_the_small_trial_runs_through():
    found = real_ranker.measure(SHARED, small=True)
    assert found["prompts"] == 20
    assert set(found["order"]["ranker"]) == set(FOUR)
    assert found["order"]["length"][FIRST]["mean"] > found["order"]["length"][LAST]["mean"]
    assert all(row["low"] <= row["mean"] <= row["high"] for row in found["duels"]["ranker"].values())
    # GPT-4 judged each prompt between these two; where a text did not fit its judgement, the pair would be missing.
    assert found["agreement"]["text_davinci_003 against gpt4_1106_preview"]["judgements"] == 20
