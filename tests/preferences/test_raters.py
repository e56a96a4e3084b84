"""Several raters and several scales: one vote each, nothing mixed, somebody left out."""

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Critique, Feedback, Ranking, Rating, Scale
from notus.core.stage import Tally, apply
from notus.preferences.binarize import binarize
from notus.preferences.raters import counted_as, without_raters
from notus.preferences.scores import rescaled, strategy_named
from notus.preferences.selection import Selection
from tests.helpers.data_examples import feedback

FIVE, TEN, HELPSTEER = Scale(low=1, high=5), Scale(low=1, high=10), Scale(low=0, high=4)


def rating(value, aspect="quality", rater="", scale=None):
    return Rating(aspect=aspect, value=value, rater=rater, scale=scale)


def answer(text, *ratings, **fields):
    return Completion(text=text, ratings=ratings, **fields)


def made(*rows, **settings):
    tally = Tally("binarize")
    return list(apply(binarize(Selection(**settings), 0), rows, tally)), tally


def test_each_rater_has_one_vote_on_an_aspect_and_each_aspect_one_in_the_mean():
    ratings = (rating(4, rater="ann"), rating(2, rater="bo"), rating(1, rater="bo"), rating(5, "style", "ann"))
    # quality: ann 4, bo 1.5 → 2.75; style 5.
    assert answer("a", *ratings).mean_rating == (2.75 + 5) / 2
    # Without names each is a rater of its own.
    assert answer("a", rating(4), rating(2), rating(1), rating(5, "style")).mean_rating == (7 / 3 + 5) / 2
    assert answer("a", rating(None, rater="ann"), rating(3, rater="bo")).mean_rating == 3


def test_weights_count_each_rater_once_too():
    row = feedback(
        answer("a", rating(5, rater="ann"), rating(1, rater="bo"), rating(1, rater="bo"), rating(2, "style")),
        answer("b"),
    )
    assert (
        Selection(strategy="weighted", weights={"quality": 2.0, "style": 1.0}).score()(row.completions[0])
        == (2 * 3 + 2) / 3
    )


def test_what_measures_no_quality_is_in_no_mean_and_it_is_said():
    ratings = [rating(value, name, scale=HELPSTEER) for name, value in (("helpfulness", 3), ("verbosity", 0))]
    row = feedback(
        answer("a", *ratings),
        answer("b", rating(2, "helpfulness", scale=HELPSTEER), rating(4, "verbosity", scale=HELPSTEER)),
    )
    (pair,), tally = made(row)
    assert (pair.chosen[0].content, pair.score_chosen, pair.score_rejected) == ("a", 3.0, 2.0)
    assert (tally.counts["mean-of-helpfulness"], tally.counts["left-out-verbosity"]) == (1, 1)
    # A set of one's own, on no such scale, may mean something else by the word.
    own = feedback(
        answer("a", rating(1, "clear"), rating(5, "complexity")),
        answer("b", rating(2, "clear"), rating(2, "complexity")),
    )
    (pair,), tally = made(own)
    assert (pair.score_chosen, tally.counts["mean-of-complexity"]) == (3.0, 1)
    (pair,), _ = made(row, strategy="weighted", weights={"verbosity": 1.0})
    assert pair.chosen[0].content == "b"


def test_ratings_on_different_scales_have_no_mean():
    mixed = answer("a", rating(4, scale=FIVE), rating(9, "style", scale=TEN))
    assert mixed.mean_rating is None
    with pytest.raises(DataError, match=r"1 to 5 and 1 to 10.*--rescale"):
        made(feedback(mixed, answer("b", rating(4, scale=FIVE))))
    # Two answers, each rated on one scale, but not the same one.
    with pytest.raises(DataError, match="different scales"):
        made(feedback(answer("a", rating(4, scale=FIVE)), answer("b", rating(6, scale=TEN))))
    critiques = [Completion(text=t, critique=Critique(text="", score=4, scale=s)) for t, s in (("a", FIVE), ("b", TEN))]
    with pytest.raises(DataError, match="different scales"):
        made(feedback(*critiques), strategy="critique")


def test_ratings_are_put_on_0_to_1_when_that_is_asked_for():
    row = feedback(answer("a", rating(4, scale=FIVE)), answer("b", rating(6, scale=TEN)))
    (pair,), _ = made(row, rescale=True)
    assert (pair.chosen[0].content, pair.score_chosen, pair.score_rejected) == ("a", 0.75, pytest.approx(5 / 9))
    with pytest.raises(DataError, match="does not say on which scale"):
        made(feedback(answer("a", rating(4)), answer("b", rating(6, scale=TEN))), rescale=True)
    with pytest.raises(ConfigError, match="'rescale' means nothing"):
        Selection.parse({"strategy": "votes", "rescale": True}, where="test")
    score = rescaled(strategy_named("critique"))
    assert score(Completion(text="a", critique=Critique(text="", score=1, scale=TEN))) == 0.0


def test_prompts_on_another_scale_are_counted_and_refused_under_one_margin():
    five = feedback(answer("a", rating(4, scale=FIVE)), answer("b", rating(2, scale=FIVE)), prompt="1")
    ten = feedback(answer("a", rating(9, scale=TEN)), answer("b", rating(2, scale=TEN)), prompt="2")
    pairs, tally = made(five, ten, five)
    assert (len(pairs), tally.counts["other-scale"]) == (3, 1)
    with pytest.raises(DataError, match="margin"):
        made(five, ten, margin=1.0)


def test_a_pair_says_how_many_raters_are_behind_its_scores():
    row = feedback(answer("a", rating(4, rater="ann"), rating(5, rater="bo")), answer("b", rating(2, rater="cy")))
    (pair,), _ = made(row)
    assert pair.extra["raters"] == 3
    (pair,), _ = made(feedback(answer("a", rating(4)), answer("b", rating(2))))
    assert "raters" not in pair.extra


def test_a_rater_is_left_out_everywhere_and_counted():
    critique = Critique(text="Good.", score=9, rater="bo")
    row = feedback(
        answer("a", rating(4, rater="ann"), rating(1, rater="bo"), critique=critique),
        answer("b", rating(2, rater="ann")),
    )
    row = Feedback(
        prompt=row.prompt,
        completions=row.completions,
        rankings=(Ranking(ranks=(1, 2), rater="ann"), Ranking(ranks=(2, 1), rater="bo")),
    )
    other = feedback(answer("c", rating(3, rater="ann")), prompt="2")
    tally = Tally("leave-raters-out")
    found, same = apply(without_raters(["bo", "nobody"]), [row, other], tally)
    assert same is other
    assert [each.rater for item in found.completions for each in item.ratings] == ["ann", "ann"]
    assert found.completions[0].critique is None
    assert [each.rater for each in found.rankings] == ["ann"]
    assert tally.counts == {counted_as("bo"): 3}
    assert found.id == row.id
