import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.audit.feedback import audit
from notus.audit.models import ModelComparisons, ModelScores
from notus.audit.pairs import Positions, audit_pairs, bias_of
from notus.core.stage import Tally
from notus.preferences.binarize import binarize
from notus.preferences.presets import preset_named
from notus.preferences.selection import Selection
from notus.stats.tests import Uniformity
from tests.helpers.data_examples import completion, feedback


def rows(count, models="abcd", seed=0, lean=0.0):
    """Answers of random scores; ``lean`` lifts the scores of the first model."""
    rng = random.Random(seed)
    return [
        feedback(
            *(
                completion(
                    f"{name} says {'x' * rng.randint(1, 30)}",
                    min(5.0, rng.randint(1, 4) + rng.random()),
                    min(9.0, rng.randint(1, 8) + lean * (name == models[0]) + rng.random()),
                    model=name,
                )
                for name in rng.sample(models, len(models))
            ),
            prompt=f"Question {n}",
        )
        for n in range(count)
    ]


def found(selection, records):
    return bias_of(audit_pairs(binarize(selection, 1)(records, Tally("b"))).rows)


def test_it_finds_by_itself_that_h4_legacy_always_rejects_completion_0_or_2():
    bias = found(preset_named("h4-legacy").selection, rows(400))
    rejected = next(item for item in bias.positions if item.side == "rejected")
    assert rejected.p < 1e-30
    assert rejected.shares[1] == rejected.shares[3] == 0
    assert "Rejected is always completion 0 or 2, never 1 or 3" in rejected.sentence()
    assert "the position decides" in rejected.sentence()


@pytest.mark.parametrize("rejected", ["random-lower", "worst", "all-lower", "all-pairs", "random-other"])
def test_it_says_nothing_of_positions_where_there_is_nothing(rejected):
    bias = found(Selection(strategy="critique", rejected=rejected), rows(400, seed=4))
    assert {item.side for item in bias.positions} == {"chosen", "rejected"}
    assert not [said for said in bias.sentences() if "position" in said]


def test_a_false_alarm_is_rare():
    alarms = sum(
        any("position" in said for said in found(Selection(strategy="critique"), rows(60, seed=seed)).sentences())
        for seed in range(80)
    )
    assert alarms <= 11  # 4 are expected at 5 %; more than 11 would be 3.6 standard deviations away


def test_ties_that_go_to_the_first_are_seen_as_what_they_are():
    tied = [feedback(*(completion(t, 5.0 if t != "d" else 1.0) for t in "abcd"), prompt=str(n)) for n in range(60)]
    chosen = next(item for item in found(Selection(), tied).positions if item.side == "chosen")
    assert chosen.sentence().startswith("Chosen is always completion 0")


def test_the_model_that_is_favoured_is_named_with_its_interval():
    bias = found(Selection(strategy="critique"), rows(300, lean=3.0))
    first = bias.models[0]
    assert first.name == "a"
    assert first.share.low > 0.5
    assert first.score.low > 0
    assert first.share.mean == pytest.approx(first.chosen / (first.chosen + first.rejected))
    assert any(
        said.startswith("By the name of the model, chosen more often than rejected: a (") for said in bias.sentences()
    )


def test_length_is_named_only_when_it_tells():
    long_wins = [
        feedback(completion("long " * (3 + n % 5), 5.0), completion("short", 1.0), prompt=str(n)) for n in range(30)
    ]
    assert any("The longer answer is preferred" in said for said in found(Selection(), long_wins).sentences())
    assert not [said for said in found(Selection(), rows(100)).sentences() if "answer is preferred" in said]


def test_pairs_without_positions_and_models_have_no_such_bias():
    from notus.core.records import Message, Preference

    turn = (Message(role="assistant", content="Yes."),)
    pair = Preference(
        prompt=(Message(role="user", content="Is it?"),),
        chosen=turn,
        rejected=(Message(role="assistant", content="No."),),
        extra={"chosen_index": "0", "rejected_index": 9, "completions": 4},
    )
    bias = bias_of(audit_pairs([pair]).rows)
    assert (bias.positions, bias.models, bias.sentences()) == ((), (), [])


def test_the_model_that_gains_by_critique_is_named():
    report = scores_of(rows(300, lean=3.0))
    assert report.models[0].name == "a"
    assert report.models[0].gain.low > 0
    assert report.models[0].by_critique.mean > report.models[0].by_rating.mean
    assert report.models[0].gain.mean == pytest.approx(
        report.models[0].by_critique.mean - report.models[0].by_rating.mean
    )
    assert report.sentences()[0].startswith("When scores come from critiques instead of mean ratings, these gain: a +")
    assert (report.comparisons, report.prompts) == (300 * 6, 300)


def test_where_no_model_gains_that_is_said():
    assert scores_of(rows(100)).sentences() == [
        "No model is distinguishably stronger by critique than by mean rating, or weaker."
    ]


def scores_of(records) -> ModelScores:
    """The Bradley–Terry scores of the models of a feedback set."""
    columns = audit(records).columns
    means, scores = columns.scored()
    comparisons = ModelComparisons()
    comparisons.add(list(columns.models), columns.by_model(), scores, means, np.asarray(columns.sizes))
    return comparisons.report()


NAMES = ["c", "", "b", "a"]
Answers = list[tuple[str, float | None, float | None]]


def take(comparisons: ModelComparisons, prompts: list[Answers]) -> None:
    flat = [answer for answers in prompts for answer in answers]
    scores, means = (np.array([math.nan if a[i] is None else a[i] for a in flat]) for i in (1, 2))
    models = np.array([NAMES.index(answer[0]) for answer in flat], np.uint32)
    comparisons.add(NAMES, models, scores, means, np.array([len(answers) for answers in prompts], np.uint32))


def test_answers_without_a_model_or_one_of_the_scores_are_not_compared():
    comparisons = ModelComparisons()
    take(comparisons, [[("", 1.0, 2.0), ("a", None, 3.0), ("b", 4.0, 5.0), ("b", 5.0, 5.0)]])
    assert comparisons.report().comparisons == 0
    (said,) = comparisons.report().sentences()
    assert said.endswith("only lost: b.")


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc") | st.just(""), *[st.none() | st.sampled_from([1.0, 2.5, 4.0])] * 2),
            max_size=5,
        ),
        max_size=8,
    )
)
def test_within_each_prompt_every_two_answers_of_different_models_are_compared(prompts: list[Answers]):
    comparisons = ModelComparisons()
    take(comparisons, prompts[:3])
    take(comparisons, prompts[3:])
    expected = [
        (one, other, outcome(score, score2), outcome(mean, mean2), number)
        for number, answers in enumerate(prompts)
        for (one, score, mean), (other, score2, mean2) in combinations(
            [a for a in answers if a[0] and None not in a], 2
        )
        if one != other
    ]
    names = {number: name for name, number in comparisons._names.items()}
    columns = (comparisons._by_critique, comparisons._by_rating, comparisons._cluster)
    rows = zip(comparisons._first, comparisons._second, *columns, strict=True)
    assert [(names[first], names[second], *rest) for first, second, *rest in rows] == expected


def outcome(one: float, other: float) -> float:
    return 0.5 if one == other else float(one > other)


def test_positions_that_are_never_used_are_named_apart() -> None:
    test = Uniformity(50.0, 2, 0.001, 90, "chi-square")
    uneven = Positions("chosen", 3, (0.5, 0.3, 0.2), test, 0.001).sentence()
    assert "50.0% at 0, 30.0% at 1, 20.0% at 2" in uneven
    decides = Positions("chosen", 3, (0.7, 0.3, 0.0), test, 0.001).sentence()
    assert "always completion 0 or 1, never 2 (70.0% at 0, 30.0% at 1; even use" in decides
    assert Positions("chosen", 3, (0.7, 0.3, 0.0), test, 0.05).sentence() == ""
