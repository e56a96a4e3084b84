"""The strategies: what each promises, as properties over sets of feedback."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import Completion, Feedback, Rating
from notus.core.stage import Tally, apply
from notus.core.tables import write_records
from notus.preferences import scores
from notus.preferences.binarize import binarize
from notus.preferences.scores import mean_with, weighted
from notus.preferences.selection import Selection, choose, h4_draw
from tests.helpers.data_examples import completion, feedback

REJECTED = ["random-lower", "worst", "all-lower", "all-pairs", "random-other", "h4-legacy"]
STRICT = REJECTED[:4]

_score = st.none() | st.sampled_from([1.0, 2.0, 3.5, 5.0, 9.0])


def _answer(text, mean, score, ranked):
    made = completion(text, mean, score)
    return Completion(
        text=text,
        model=made.model,
        ratings=made.ratings,
        critique=made.critique,
        extra={} if ranked is None else {"ranker_score": ranked - 4},
    )


_completions = st.lists(
    st.builds(_answer, st.sampled_from(["a", "b", "c", "d"]), _score, _score, _score), min_size=1, max_size=5
)
_rows = st.builds(lambda items, n: feedback(*items, prompt=f"Question {n}"), _completions, st.integers(0, 30))
_selections = st.builds(
    lambda strategy, rejected, margin, same_text: Selection(
        strategy=strategy,
        weights={"rubric": 2.0} if strategy == "weighted" else {},
        rejected=rejected,
        margin=0.0 if rejected == "h4-legacy" else margin,
        same_text=same_text,
    ),
    st.sampled_from(["mean-rating", "critique", "repaired-critique", "weighted", "ranker"]),
    st.sampled_from(REJECTED),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.booleans(),
)


def made(selection, rows, seed=3):
    tally = Tally("binarize")
    return list(apply(binarize(selection, seed), rows, tally)), tally


@settings(max_examples=300, deadline=None)
@given(_selections, _rows, st.integers(0, 3))
def test_every_pair_keeps_the_promise_of_its_selection(selection, row, seed):
    pairs, tally = made(selection, [row], seed)
    score = selection.score()
    scores = [score(item) for item in row.completions]
    known = [value for value in scores if value is not None]
    assert tally.given == len(pairs)
    assert len(tally.dropped) == (not pairs)
    ties = 0
    for pair in pairs:
        chosen, rejected = pair.extra["chosen_index"], pair.extra["rejected_index"]
        assert chosen != rejected
        assert (pair.score_chosen, pair.score_rejected) == (scores[chosen], scores[rejected])
        assert pair.score_chosen - pair.score_rejected >= selection.margin
        assert pair.extra["completions"] == len(scores)
        ties += pair.score_chosen == pair.score_rejected
        if selection.strict:
            assert pair.score_chosen > pair.score_rejected
        if selection.rejected != "all-pairs":
            assert chosen == scores.index(max(known))  # the first maximum
        if not selection.same_text:
            assert pair.chosen != pair.rejected
    assert tally.counts["tied-pair"] == ties
    assert selection.strict == (selection.rejected in STRICT)


@settings(max_examples=300, deadline=None)
@given(_selections, _rows)
def test_each_prompt_stands_as_often_as_the_selection_says(selection, row):
    pairs, _ = made(selection, [row])
    score = selection.score()
    known = [(score(item), item.text) for item in row.completions if score(item) is not None]

    def pairable(a, b):
        apart = a[0] - b[0] >= selection.margin and (a[0] > b[0] or not selection.strict)
        return apart and (selection.same_text or a[1] != b[1])

    if len(known) < 2:
        assert not pairs
        return
    best = max(known, key=lambda item: item[0])
    others = [item for index, item in enumerate(known) if index != known.index(best)]
    if selection.rejected == "all-pairs":
        assert len(pairs) == sum(pairable(a, b) for i, a in enumerate(known) for j, b in enumerate(known) if i != j)
    elif selection.rejected == "all-lower":
        assert len(pairs) == sum(pairable(best, other) for other in others)
    elif selection.rejected == "h4-legacy":
        drawn = known[h4_draw(len(known), known.index(best))]
        assert len(pairs) == pairable(best, drawn)
    else:
        assert len(pairs) == any(pairable(best, other) for other in others)
    if selection.rejected == "worst" and pairs:
        assert pairs[0].score_rejected == min(item[0] for item in others if pairable(best, item))


@settings(max_examples=40, deadline=None)
@given(_selections, st.lists(_rows, max_size=8), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_bytes_in_any_order_of_the_rows(tmp_path_factory, selection, rows, rng):
    folder = tmp_path_factory.mktemp("bytes")
    from notus.core.records import Preference

    files = []
    for name in ("one", "two"):
        write_records(folder / name, made(selection, rows)[0], Preference)
        files.append((folder / name).read_bytes())
    assert files[0] == files[1]
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert sorted(map(repr, made(selection, rows)[0])) == sorted(map(repr, made(selection, shuffled)[0]))


def test_the_draw_among_the_others_is_uniform():
    rows = [feedback(*(completion(t, 1.0 + i) for i, t in enumerate("dcba")), prompt=str(n)) for n in range(3000)]
    for rejected in ("random-lower", "random-other"):
        pairs, _ = made(Selection(rejected=rejected), rows)
        for place in range(3):
            count = sum(pair.extra["rejected_index"] == place for pair in pairs)
            assert abs(count - 1000) < 4 * (3000 * 2 / 9) ** 0.5


def test_the_published_draw_is_pythons_own_generator_seeded_in_each_row():
    for size in range(2, 9):
        for chosen in range(size):
            random.seed(42)
            drawn = random.choice(range(size))
            while drawn == chosen:
                drawn = random.choice(range(size))
            assert h4_draw(size, chosen) == drawn
    assert [h4_draw(4, chosen) for chosen in range(4)] == [2, 0, 0, 0]


def test_a_margin_is_not_lost_to_rounding():
    answers = [Completion(text=t, ratings=(Rating(aspect="rubric", value=v),)) for t, v in (("a", 4.1), ("b", 3.1))]
    row = Feedback(prompt=feedback(completion()).prompt, completions=tuple(answers))
    assert 4.1 - 3.1 < 1
    assert len(made(Selection(margin=1.0), [row])[0]) == 1
    pairs, tally = made(Selection(margin=1.1), [row])
    assert (pairs, tally.dropped[0].reason) == ([], "under-margin")
    assert "3.1 to 4.1" in tally.dropped[0].detail


def _rated(**ratings):
    return Completion(text="a", ratings=tuple(Rating(aspect=name, value=value) for name, value in ratings.items()))


def test_weighted_aspects_are_the_weighted_mean_of_what_is_rated():
    score = weighted({"truthfulness": 3.0, "helpfulness": 1.0})
    assert score(_rated(truthfulness=5.0, helpfulness=1.0, honesty=2.0)) == (3 * 5 + 1) / 4
    assert score(_rated(truthfulness=None, helpfulness=2.0)) == 2.0
    assert score(_rated(honesty=2.0)) is None
    assert score(Completion(text="a")) is None


def test_what_cannot_be_read_counts_as_it_is_told():
    score = mean_with(-1.0)
    assert score(_rated(helpfulness=4.0, honesty=None, instruction_following=5.0, truthfulness=4.0)) == 3.0
    assert score(_rated(helpfulness=4.0, instruction_following=5.0, truthfulness=4.0)) == 3.0  # one is not there
    assert score(_rated(rubric=4.0)) == 4.0
    assert score(Completion(text="a")) == -1.0


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"strategy": "weighted"}, "go together"),
        ({"weights": {"honesty": 1.0}}, "go together"),
        ({"strategy": "weighted", "weights": {"honesty": -1.0}}, "not be negative"),
        ({"strategy": "weighted", "weights": {"honesty": 0.0}}, "above 0"),
        ({"strategy": "critique", "missing": 0.0}, "mean-rating"),
        ({"rejected": "h4-legacy", "margin": 1.0}, "positions"),
        ({"margin": -1.0}, "margin"),
        ({"rejectd": "worst"}, "did you mean 'rejected'"),
    ],
)
def test_impossible_settings_are_refused(settings_, words):
    with pytest.raises(ConfigError, match=words):
        Selection.parse(settings_, where="test")


def test_a_weight_of_an_unknown_aspect_is_refused_with_the_nearest():
    selection = Selection(strategy="weighted", weights={"truthfullness": 1.0})
    with pytest.raises(ConfigError, match="did you mean 'truthfulness'"):
        made(selection, [feedback(completion("a", 1.0), completion("b", 2.0))])
    # Of another judge's rubric, the row says what there is.
    assert made(Selection(strategy="weighted", weights={"rubric": 1.0}), [feedback(completion("a", 1.0))])[0] == []


def test_a_choice_holds_what_led_to_it():
    row = feedback(completion("a", 5.0), completion("b", 5.0), completion("c", 2.0), completion("d"))
    selection = Selection()
    choice = choose(row, selection, selection.score(), 0)
    assert (choice.scores, choice.best, choice.candidates, choice.pairs) == (
        (5.0, 5.0, 2.0, None),
        (0, 1),
        (2,),
        ((0, 2),),
    )


def test_a_rating_without_a_value_counts_for_no_strategy() -> None:
    ratings = (Rating(aspect="honesty", value=None), Rating(aspect="honesty", value=3.0), Rating(aspect="x", value=1.0))
    row = feedback(Completion(text="a", ratings=ratings))
    assert [each.value for each in scores._counting(row, "mean-rating", {})] == [3.0, 1.0]
    assert [each.value for each in scores._counting(row, "weighted", {"honesty": 2.0})] == [3.0]
    assert list(scores._counting(row, "critique", {})) == []
