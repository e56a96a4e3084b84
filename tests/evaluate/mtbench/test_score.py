"""The figures of MT-Bench: counts that add up, clustered intervals written out, repeats, comparisons in words."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError, DataError
from notus.evaluate.mtbench.files import read_judgments
from notus.evaluate.mtbench.score import (
    compare_models,
    graded_turns,
    missing_turns,
    model_scores,
    repeated_gradings,
    score_judgements,
)
from notus.stats.distributions import t_quantile
from tests.helpers.mtbench_examples import graded, stored


def grades(model, values, **more):
    """One question for each (first, second) pair of grades; None is a judgement that cannot be read."""
    return [
        graded("I cannot say." if value is None else f"[[{value}]]", question=81 + n, turn=turn, model=model, **more)
        for n, pair in enumerate(values)
        for turn, value in enumerate(pair, start=1)
    ]


def part(found, model, name):
    (one,) = [figure for figure in found if (figure.model, figure.part) == (model, name)]
    return one


def test_the_interval_takes_the_two_turns_of_a_question_together():
    values = [(9, 7), (4, 3), (10, 10), (6, 2)]
    found = model_scores(graded_turns(grades("m", values), "strict"), "strict")
    whole = part(found, "m", "all")
    mean = sum(a + b for a, b in values) / 8
    # se² = G/(G−1) · Σ over questions of (Σ of residuals)² / n², with G = 4 questions and n = 8 gradings
    error = math.sqrt(4 / 3 * sum((a + b - 2 * mean) ** 2 for a, b in values)) / 8
    assert (whole.asked, whole.scored, whole.questions, whole.mean) == (8, 8, 4, mean)
    assert whole.interval is not None
    assert whole.interval.high == pytest.approx(mean + t_quantile(0.975, 3) * error)
    assert part(found, "m", "turn 2").mean == sum(b for _, b in values) / 4
    assert part(found, "m", "writing, turn 1").mean == sum(a for a, _ in values) / 4


@given(st.lists(st.tuples(*[st.none() | st.integers(1, 10)] * 2), min_size=1, max_size=80))
def test_asked_is_scored_and_unscored_in_every_part(values):
    rows = grades("m", values)
    for mode in ("strict", "fastchat"):
        found = model_scores(graded_turns(rows, mode), mode)
        for figure in found:
            assert figure.asked == figure.scored + figure.unscored
            assert (figure.worst is None) == (figure.unscored == 0)
            if figure.worst is not None and figure.mean is not None:
                assert figure.worst <= figure.mean <= figure.best
        whole = part(found, "m", "all")
        assert whole.asked == 2 * len(values) == sum(part(found, "m", f"turn {turn}").asked for turn in (1, 2))
        categories = [figure for figure in found if "turn" not in figure.part and figure.part != "all"]
        assert sum(figure.asked for figure in categories) == whole.asked


def test_minus_one_is_never_dropped_unseen():
    found = part(model_scores(graded_turns(grades("m", [(10, None), (8, 6)]), "strict"), "strict"), "m", "all")
    assert (found.asked, found.scored, found.unscored, found.mean) == (4, 3, 1, 8.0)
    assert (found.worst, found.best) == ((24 + 1) / 4, (24 + 10) / 4)
    nothing = part(model_scores(graded_turns(grades("m", [(None, None)]), "strict"), "strict"), "m", "all")
    assert (nothing.mean, nothing.interval, nothing.worst, nothing.best) == (None, None, 1.0, 10.0)


def test_a_model_that_was_judged_twice_is_found_and_counts_once():
    rows = [*grades("m", [(10, 8), (2, 4)]), graded("[[2]]", model="m", score=2, prompt="other")]
    (again,) = repeated_gradings(rows)
    assert (again.question_id, again.turn, again.times, again.alike) == (81, 1, 2, False)
    strict = part(model_scores(graded_turns(rows, "strict"), "strict"), "m", "all")
    assert (strict.asked, strict.mean) == (4, ((10 + 2) / 2 + 8 + 2 + 4) / 4)
    loose = part(model_scores(graded_turns(rows, "fastchat"), "fastchat"), "m", "all")
    assert (loose.asked, loose.mean) == (5, (10 + 2 + 8 + 2 + 4) / 5)  # as FastChat's table has it
    assert repeated_gradings([*rows[:1], *rows[:1]])[0].alike
    assert not repeated_gradings(grades("m", [(10, 8)]) + grades("m", [(10, 8)], judge="another"))


def test_turns_that_another_model_was_graded_on_are_missing():
    rows = [*grades("m", [(10, 8), (2, 4)]), *grades("n", [(10, 8)])]
    assert missing_turns(graded_turns(rows, "strict")) == {("n", "j"): 2}


def test_a_question_outside_the_published_numbers_needs_its_file():
    with pytest.raises(DataError, match="question 3 is none of MT-Bench's"):
        graded_turns([graded("[[3]]", question=3)], "strict")


def noisy(model, mean, seed):
    rng = random.Random(seed)
    return grades(
        model,
        [(round(min(10, max(1, rng.gauss(mean, 2)))), round(min(10, max(1, rng.gauss(mean, 2))))) for _ in range(80)],
    )


def test_seven_thirty_against_seven_thirty_four_means_nothing():
    values = [(7, 7)] * 79 + [(7, 8)]
    (one,) = compare_models(graded_turns(grades("a", values) + grades("b", [(7, 7)] * 76 + [(8, 8)] * 4), "strict"))
    assert one.pair.better is None
    said = ". ".join(one.words)
    assert "not distinguishable" in said
    assert "a difference like this means nothing" in said
    assert (one.turns, one.pair.shared_prompts) == (160, 80)


def test_a_clear_difference_is_told_with_its_size():
    (one,) = compare_models(graded_turns(noisy("strong", 8, 1) + noisy("weak", 5, 2), "strict"))
    assert one.pair.better == "strong"
    assert "better" in one.words[0]
    assert one.p is not None
    assert one.p < 1e-6


def test_only_turns_that_both_models_have_are_compared():
    # b lacks the second turns, in which a is bad: on the first turns, which both have, they are alike.
    rows = grades("a", [(5, 1), (7, 1), (6, 1)]) + grades("b", [(5, None), (7, None), (6, None)])
    (one,) = compare_models(graded_turns(rows, "strict"))
    assert (one.turns, one.only_one, one.pair.better) == (3, 3, None)
    assert one.pair.by_prompts is not None
    assert one.pair.by_prompts.mean == 0
    assert one.words[-1].endswith("not compared: 3")


def test_judges_are_not_mixed_and_what_is_not_shared_is_said():
    rows = grades("a", [(5, 1)], judge="one") + grades("b", [(5, 1)], judge="two")
    assert compare_models(graded_turns(rows, "strict")) == []
    apart = [*grades("a", [(5, 1)]), graded("[[3]]", question=99, model="b")]
    (one,) = compare_models(graded_turns(apart, "strict"))
    assert (one.words, one.p) == (("b and a share no grading",), None)


def test_the_baseline_is_what_the_others_are_compared_with():
    rows = noisy("a", 6, 1) + noisy("b", 6, 2) + noisy("c", 6, 3)
    assert [(one.pair.a, one.pair.b) for one in compare_models(graded_turns(rows, "strict"), "b")] == [
        ("a", "b"),
        ("c", "b"),
    ]
    with pytest.raises(ConfigError, match="the baseline 'd' is none of the models; known: a, b, c"):
        compare_models(graded_turns(rows, "strict"), "d")


def test_holm_counts_all_pairs():
    rows = [row for seed in range(6) for row in noisy(f"m{seed}", 6 + 0.25 * seed, seed)]
    found = compare_models(graded_turns(rows, "strict"))
    assert len(found) == 15
    lost = [one for one in found if one.pair.better is not None and one.p is not None and one.p >= 0.05]
    assert lost, "no pair is near the border; choose other seeds"
    assert all("Holm's correction for 15 pairs" in ". ".join(one.words) for one in lost)


def test_the_stored_models_have_their_published_means():
    """FastChat's own table: the mean over all rows that are not −1."""
    rows = [row for path in stored("judgements_[cgl]*.gz") for row in read_judgments(path)[0]]
    rows += read_judgments(*stored("judgements_phi3*"))[0]
    scores = score_judgements(rows, [], "fastchat")
    for figure in scores.scores:
        if figure.part == "all":
            kept = [row.score for row in rows if row.model == figure.model and row.score != -1]
            assert figure.mean == pytest.approx(sum(kept) / len(kept), abs=1e-12)
            assert figure.asked == 160
    assert scores.repeated == ()
    strict = score_judgements(rows, [], "strict")
    granite = part(strict.scores, "granite-7b-lab", "all")
    assert (granite.scored, granite.unscored) == (9, 151)


def test_comparisons_are_ordered_by_judge_and_by_model():
    judges, models = [f"judge {n}" for n in (5, 2, 7, 1, 3)], ["m", "b", "x"]
    rows = [row for judge in judges for model in models for row in grades(model, [(5, 6), (7, 8)], judge=judge)]
    found = compare_models(graded_turns(rows, "strict"))
    told = [(each.judge, each.pair.a, each.pair.b) for each in found]
    assert told == sorted(told)
    assert len(told) == 15
