import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import Feedback, Message, Preference
from notus.core.stage import Tally, apply
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.preferences.binarize import binarize
from notus.preferences.repair import repair
from notus.preferences.scores import STRATEGIES
from tests.helpers.data_examples import SHARED, completion, feedback

_score = st.none() | st.sampled_from([1.0, 2.0, 3.5, 5.0, 10.0])
_completions = st.lists(
    st.builds(
        completion, text=st.sampled_from(["a", "b", "c", "d"]), mean=_score.filter(lambda x: x != 10), score=_score
    ),
    min_size=1,
    max_size=4,
)
_sets = st.lists(st.tuples(_completions, st.integers(0, 20)), max_size=12).map(
    lambda rows: [feedback(*items, prompt=f"Question {number}") for items, number in rows]
)


def run(strategy: str, records: Iterable[Feedback], seed: int = 7) -> tuple[list[Preference], Tally]:
    tally = Tally("binarize")
    return list(apply(binarize(strategy, seed), records, tally)), tally


def only(strategy: str, record: Feedback, seed: int = 7) -> Preference:
    (found,), _ = run(strategy, [record], seed)
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(STRATEGIES)), _sets, st.integers(0, 3))
def test_what_every_pair_and_every_drop_keeps(strategy: str, records: list[Feedback], seed: int) -> None:
    _, tally = run(strategy, records, seed)
    assert tally.taken == len(records) == tally.given + len(tally.dropped)
    score = STRATEGIES[strategy]
    # One by one: an id does not depend on the scores, so that two rows may share it.
    alone = [(row, pair) for row in records for pair in run(strategy, [row], seed)[0]]
    for record, pair in alone:
        assert pair.feedback_id == record.id
        chosen, rejected = (record.completions[pair.extra[f"{side}_index"]] for side in ("chosen", "rejected"))
        assert pair.score_chosen == score(chosen) == max(s for c in record.completions if (s := score(c)) is not None)
        assert pair.score_rejected == score(rejected)
        assert pair.score_chosen > pair.score_rejected  # never a tie
        assert pair.chosen == (Message(role="assistant", content=chosen.text),)
        assert pair.rejected == (Message(role="assistant", content=rejected.text),)
        assert pair.chosen != pair.rejected
        assert pair.prompt == record.prompt


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(STRATEGIES)), _sets, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_pair(strategy: str, records: list[Feedback], rng: random.Random) -> None:
    shuffled = list(records)
    rng.shuffle(shuffled)
    first, second = (Counter(map(repr, run(strategy, rows)[0])) for rows in (records, shuffled))
    assert first == second


def test_the_same_seed_gives_the_same_pairs_in_another_process() -> None:
    code = (
        "from notus.core.records import *; from notus.core.stage import Tally\n"
        "from notus.preferences.binarize import binarize\n"
        "def c(t, s): return Completion(text=t, critique=Critique(text='', score=s))\n"
        "rows = [Feedback(prompt=(Message(role='user', content=str(i)),), completions=tuple(c(t, s) for t, s in "
        "zip('abcd', (9., 1., 2., 3.)))) for i in range(40)]\n"
        "print([p.extra['rejected_index'] for p in binarize('critique', 3)(rows, Tally('b'))])"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": n}
        )
        for n in ("1", "2")
    ]
    assert done[0].stdout == done[1].stdout
    drawn = Counter(json.loads(done[0].stdout))
    assert drawn.keys() == {1, 2, 3}  # each lower one is drawn
    assert max(drawn.values()) < 30


def test_another_seed_draws_another_rejected() -> None:
    rows = [feedback(*(completion(t, 1.0 + i) for i, t in enumerate("abcd")), prompt=str(n)) for n in range(60)]
    first, second = (run("mean-rating", rows, seed)[0] for seed in (1, 2))
    assert [pair.chosen for pair in first] == [pair.chosen for pair in second]
    assert [pair.rejected for pair in first] != [pair.rejected for pair in second]


def test_of_equal_best_ones_the_first_is_chosen_and_it_is_counted() -> None:
    record = feedback(completion("a", 2.0), completion("b", 5.0), completion("c", 5.0))
    pairs, tally = run("mean-rating", [record])
    assert (pairs[0].extra["chosen_index"], pairs[0].extra["rejected_index"]) == (1, 0)
    assert tally.counts == {"tie-for-best": 1}


@pytest.mark.parametrize(
    ("completions", "reason", "detail"),
    [
        ([completion("a", 4.0)], "one-completion", "a single completion"),
        ([completion("a"), completion("b")], "unscored", "none of 2"),
        ([completion("a", 4.0), completion("b")], "one-scored", "1 of 2"),
        ([completion("a", 4.0), completion("b", 4.0)], "all-tied", "all 2 scores are 4"),
        ([completion("a", 4.0), completion("b", 4.0), completion("c")], "all-tied", "all 2 scores are 4"),
        ([completion("a", 4.0), completion("a", 3.0)], "same-text", "1 lower"),
    ],
)
def test_a_prompt_without_a_pair_is_dropped_with_its_reason(completions: list, reason: str, detail: str) -> None:
    record = feedback(*completions)
    pairs, tally = run("mean-rating", [record])
    assert pairs == []
    (dropped,) = tally.dropped
    assert (dropped.id, dropped.stage, dropped.reason) == (record.id, "binarize", reason)
    assert detail in dropped.detail


def test_unscored_completions_take_no_part_and_are_counted() -> None:
    record = feedback(completion("a"), completion("b", 2.0), completion("c", 3.0))
    pairs, tally = run("mean-rating", [record])
    assert [pair.extra["rejected_index"] for pair in pairs] == [1]
    assert tally.counts == {"unscored-completion": 1}


def test_a_pair_says_where_it_is_from() -> None:
    record = feedback(completion("a", 2.0, model="alder"), completion("b", 5.0, model="birch"), source="flan")
    pair = only("mean-rating", record)
    assert (pair.model_chosen, pair.model_rejected, pair.source) == ("birch", "alder", "flan")
    assert (pair.feedback_id, pair.prompt_id) == (record.id, record.prompt_id)
    assert pair.extra["strategy"] == "mean-rating"


FAULTY = feedback(completion("awful", 1.0, 10.0), completion("good", 4.0, 8.0), completion("poor", 3.0, 3.0))


def test_the_fault_turns_a_choice_round_and_the_repair_turns_it_back() -> None:
    assert only("critique", FAULTY).chosen[0].content == "awful"
    assert only("repaired-critique", FAULTY).chosen[0].content == "good"
    assert only("mean-rating", FAULTY).chosen[0].content == "good"


def test_a_doubtful_ten_has_no_score_for_the_repaired_strategy() -> None:
    record = feedback(completion("doubtful", 3.0, 10.0), completion("good", 4.5, 8.0), completion("poor", 2.0, 3.0))
    pairs, tally = run("repaired-critique", [record])
    assert (pairs[0].chosen[0].content, pairs[0].rejected[0].content) == ("good", "poor")
    assert tally.counts == {"unscored-completion": 1}


@settings(max_examples=60, deadline=None)
@given(_sets)
def test_the_repaired_strategy_is_the_same_before_and_after_the_repair(records: list[Feedback]) -> None:
    repaired = list(repair(records, Tally("repair")))
    assert run("repaired-critique", records)[0] == run("repaired-critique", repaired)[0]


def test_an_unknown_strategy_is_answered_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'critique'"):
        binarize("critic", 1)


def test_the_real_row_ranks_the_tied_two_apart_by_critique() -> None:
    path = SHARED / "ultrafeedback" / "raw_row0.json"
    if not path.exists():
        pytest.skip("the real row is not here")
    (record,) = open_source(str(path)).records(Tally("read"), Quarantine())
    assert isinstance(record, Feedback)
    by_mean = {only("mean-rating", record, seed).score_rejected for seed in range(30)}
    by_critique = {only("critique", record, seed).score_rejected for seed in range(30)}
    assert by_mean == {1.25, 4.0}  # the two worst cannot be told apart …
    assert by_critique == {3.0, 4.0, 6.0}  # … here they can
    assert only("mean-rating", record).model_chosen == only("critique", record).model_chosen == "starchat"


def test_the_ties_of_the_80_real_records_are_counted() -> None:
    path = SHARED / "feedback" / "four_models_80.jsonl"
    if not path.exists():
        pytest.skip("the real feedback is not here")
    records = list(open_source(str(path)).records(Tally("read"), Quarantine()))
    pairs, tally = run("mean-rating", records)
    assert tally.summary()["dropped"] == {"all-tied": 6}
    assert len(pairs) == 74
    assert tally.counts == {"tie-for-best": 37}
    assert run("critique", records)[1].summary()["dropped"] == {"unscored": 80}


def test_pairs_of_which_an_answer_shows_nothing_are_counted() -> None:
    """An empty text, one of spaces and one of invisible characters; a pair of two such answers counts once."""
    texts = [("", "b"), ("a", " \n"), ("\u200b", ""), ("a", "b")]
    rows = [
        feedback(completion(text=one, mean=5.0), completion(text=two, mean=2.0), prompt=f"Question {number}")
        for number, (one, two) in enumerate(texts)
    ]
    pairs, tally = run("mean-rating", rows)
    assert len(pairs) == 4
    assert tally.counts["empty-answer"] == 3


def test_pairs_whose_prompt_shows_nothing_are_counted() -> None:
    rows = [
        feedback(completion(text="a", mean=5.0), completion(text=f"b{number}", mean=2.0), prompt=prompt)
        for number, prompt in enumerate(("", " \n", "\u200b", "Name a river."))
    ]
    pairs, tally = run("mean-rating", rows)
    assert (len(pairs), tally.counts["empty-prompt"]) == (4, 3)
