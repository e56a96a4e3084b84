"""Pairs out of votes and ranked lists: the majority, Borda's order, ties, questions, strengths."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Ranking, Scale, ToolCall
from notus.core.stage import Tally, apply
from notus.preferences import selection
from notus.preferences.binarize import binarize
from notus.preferences.convert import dialogues, unpaired
from notus.preferences.selection import Selection
from notus.preferences.votes import Votes, majority, votes_of
from tests.helpers.data_examples import completion, feedback

A, B, TIE = (1, 2), (2, 1), (1, 1)


def ranked(*ranks, texts="ab", prompt="Name a river.", **fields):
    """A prompt with one ranking for each of the ranks, by rater 0, 1, …"""
    rankings = tuple(Ranking(ranks=each, rater=f"r{n}", **fields) for n, each in enumerate(ranks))
    row = feedback(*(completion(text, model=f"m{text}") for text in texts), prompt=prompt)
    return Feedback(prompt=row.prompt, completions=row.completions, rankings=rankings, file="votes.csv", line=7)


def made(rows, **settings_):
    tally = Tally("binarize")
    return list(apply(binarize(Selection(**settings_), 0), rows, tally)), tally


def texts_of(pairs):
    return [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs]


def test_most_votes_decide_and_the_pair_says_how_many():
    (pair,), tally = made([ranked(A, B, A, TIE)])
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a", "b")
    # Two for, one against, a tie as half for each: 2.5 of 4.
    assert (pair.score_chosen, pair.score_rejected) == (0.625, 0.375)
    assert pair.extra["votes"] == {"chosen": 2, "rejected": 1, "tied": 1}
    assert (pair.extra["raters"], pair.extra["strategy"]) == (4, "votes")
    assert (pair.file, pair.line, pair.model_chosen) == ("votes.csv", 7, "ma")
    assert tally.counts["by-votes"] == 1  # nobody named the strategy


@pytest.mark.parametrize(
    ("votes", "reason"), [([TIE, TIE], "vote-tie"), ([A, B], "vote-split"), ([A, B, TIE], "vote-split")]
)
def test_what_is_undecided_is_dropped_by_its_reason_or_kept_as_a_tie(votes, reason):
    row = ranked(*votes)
    pairs, tally = made([row])
    assert (pairs, [drop.reason for drop in tally.dropped]) == ([], [reason])
    (pair,), tally = made([row], ties="keep")
    assert (pair.score_chosen, pair.score_rejected, tally.counts["tied-pair"]) == (0.5, 0.5, 1)
    assert not tally.dropped


def test_no_ranking_of_two_answers_is_a_reason():
    _, tally = made([ranked((1, None)), ranked((1,), texts="a", prompt="2")], strategy="votes")
    assert [drop.reason for drop in tally.dropped] == ["no-ranking", "one-completion"]
    assert tally.counts["other-ranking"] == 2


def test_a_mean_strength_is_the_margin_and_votes_against_count_below_0():
    rankings = (
        Ranking(ranks=A, strength=3, scale=Scale(low=0, high=3)),
        Ranking(ranks=A, strength=1, scale=Scale(low=0, high=3)),
        Ranking(ranks=B, strength=2, scale=Scale(low=0, high=3)),
        Ranking(ranks=TIE),
    )
    row = ranked()
    (pair,), _ = made([Feedback(prompt=row.prompt, completions=row.completions, rankings=rankings)])
    assert pair.margin == (3 + 1 - 2 + 0) / 4
    assert "raters" not in pair.extra
    mixed = (*rankings, Ranking(ranks=A, strength=5, scale=Scale(low=0, high=7)))
    with pytest.raises(DataError, match="different scales"):
        made([Feedback(prompt=row.prompt, completions=row.completions, rankings=mixed)])
    (pair,), _ = made([ranked(A, A, A)])
    assert pair.margin is None


def test_a_ranked_list_is_best_against_worst_drawn_or_all_pairs():
    row = ranked((2, 1, 4, 3), texts="abcd")
    assert texts_of(made([row], rejected="worst")[0]) == [("b", "c")]
    assert texts_of(made([row], rejected="all-lower")[0]) == [("b", "a"), ("b", "c"), ("b", "d")]
    order = "badc"
    assert set(texts_of(made([row], rejected="all-pairs")[0])) == set(combinations(order, 2))
    # Of the other three, the best is above all, the second above two, …
    (pair,), _ = made([row], rejected="worst")
    assert (pair.score_chosen, pair.score_rejected) == (1.0, 0.0)
    drawn = {texts_of(made([ranked((2, 1, 4, 3), texts="abcd", prompt=str(n))])[0])[0] for n in range(40)}
    assert drawn == {("b", "a"), ("b", "c"), ("b", "d")}


def test_best_of_n_makes_no_pair_of_the_others():
    row = ranked((2, 1, 2, 2), texts="abcd")
    assert set(texts_of(made([row], rejected="all-pairs")[0])) == {("b", "a"), ("b", "c"), ("b", "d")}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.permutations([1, 2, 3, 4]), min_size=1, max_size=5))
def test_complete_lists_are_ordered_as_by_mean_rank_and_pairs_have_a_majority(lists):
    row = ranked(*map(tuple, lists), texts="abcd")
    scores = votes_of(row, None).scores
    means = [sum(each[place] for each in lists) / len(lists) for place in range(4)]
    for one, other in combinations(range(4), 2):
        assert (scores[one] > scores[other]) == (means[one] < means[other]) or scores[one] == pytest.approx(
            scores[other]
        )
        assert scores[one] == pytest.approx((4 - means[one]) / 3)
    for pair in made([row], rejected="all-pairs")[0]:
        chosen, rejected = (pair.extra[f"{side}_index"] for side in ("chosen", "rejected"))
        won = sum(each[chosen] < each[rejected] for each in lists)
        assert won > len(lists) / 2
        assert pair.extra["votes"] == {"chosen": won, "rejected": len(lists) - won, "tied": 0}
        assert pair.score_chosen > pair.score_rejected


def test_a_ranking_of_some_of_the_answers_is_no_vote_on_the_others():
    row = ranked((1, 2, None), (None, 1, 2), texts="abc")
    assert votes_of(row, None).scores == (1.0, 0.5, 0.0)
    # Nobody has compared a with c.
    assert set(texts_of(made([row], rejected="all-pairs")[0])) == {("a", "b"), ("b", "c")}
    found = majority(row.rankings, 0, 2)
    assert (found.won, found.lost, found.tied, found.wins) == (0, 0, 0, False)


def test_where_there_are_several_questions_one_must_be_named():
    row = ranked()
    rankings = (Ranking(ranks=A, question="better"), Ranking(ranks=B, question="safer"))
    row = Feedback(prompt=row.prompt, completions=row.completions, rankings=rankings)
    with pytest.raises(ConfigError, match=r"'better', 'safer'.*--question"):
        made([row])
    for question, chosen in (("better", "a"), ("safer", "b")):
        (pair,), tally = made([row], question=question)
        assert (pair.chosen[0].content, pair.extra["question"]) == (chosen, question)
        assert tally.counts["other-ranking"] == 1
    one, other = (ranked(A, question=name, prompt=name) for name in ("better", "safer"))
    with pytest.raises(ConfigError, match="'better', 'safer'"):
        made([one, other])


def test_a_stated_preference_goes_before_scores_unless_scores_are_named():
    row = feedback(completion("a", 2.0), completion("b", 4.0))
    both = Feedback(prompt=row.prompt, completions=row.completions, rankings=(Ranking(ranks=A),))
    (pair,), tally = made([both])
    assert (pair.chosen[0].content, pair.extra["strategy"], tally.counts["by-votes"]) == ("a", "votes", 1)
    (pair,), tally = made([both], strategy="mean-rating")
    assert (pair.chosen[0].content, pair.extra["strategy"]) == ("b", "mean-rating")
    assert tally.counts["against-votes"] == 1  # the votes say something else, and that is said


def test_an_answer_of_several_turns_stays_one():
    turns = (
        Message(role="assistant", content="", tool_calls=(ToolCall(name="look"),)),
        Message(role="tool", content="1,045 km"),
        Message(role="assistant", content="The Oder."),
    )
    long, tools = Completion(text="The Oder.", turns=turns), {"tools": [{"name": "look"}]}
    row = Feedback(
        prompt=ranked().prompt, completions=(long, completion("The Oder.")), rankings=(Ranking(ranks=A),), extra=tools
    )
    (pair,), _ = made([row])  # the same last words, and yet another answer
    assert pair.chosen == turns
    assert pair.rejected == (Message(role="assistant", content="The Oder."),)
    (dialogue,) = apply(dialogues(), [row], Tally("convert"))
    assert dialogue.messages == (*row.prompt, *turns)
    assert pair.extra["tools"] == dialogue.extra["tools"] == [{"name": "look"}]
    wanted = {item.answer: item.desirable for item in apply(unpaired(), [row], Tally("convert"))}
    assert wanted == {turns: True, pair.rejected: False}


def test_votes_become_unpaired_rows_and_dialogues_too():
    tally = Tally("convert")
    rows = [ranked(A, A, B), ranked(B, prompt="2"), ranked(TIE, prompt="3")]
    found = list(apply(unpaired(), rows, tally))
    assert [(item.answer[0].content, item.desirable) for item in found] == [
        ("a", True),
        ("b", False),
        ("a", False),
        ("b", True),
    ]
    assert [drop.reason for drop in tally.dropped] == ["all-at-the-border"]
    assert (tally.counts["by-votes"], found[0].line) == (3, 7)


def test_a_setting_that_votes_do_not_know_is_refused():
    with pytest.raises(ConfigError, match="'question' and 'ties' are about votes"):
        Selection.parse({"strategy": "critique", "question": "better"}, where="test")


def test_the_votes_of_three_annotators_by_plain_counting():
    import random

    rng = random.Random(3)
    rows, expected = [], Counter()
    for number in range(300):
        votes = [rng.choice([A, A, B, TIE]) for _ in range(3)]
        rows.append(ranked(*votes, prompt=str(number)))
        net = votes.count(A) - votes.count(B)
        expected["a" if net > 0 else "b" if net < 0 else "vote-tie" if votes.count(TIE) == 3 else "vote-split"] += 1
    pairs, tally = made(rows)
    found = Counter(pair.chosen[0].content for pair in pairs) + Counter(drop.reason for drop in tally.dropped)
    assert found == expected


def test_a_ranking_has_a_rank_for_each_answer_also_when_some_are_taken_out():
    row = ranked((2, 1, 4, 3), texts="abcd")
    fewer = row.keep([0, 2])
    assert [item.text for item in fewer.completions] == ["a", "c"]
    assert fewer.rankings[0].ranks == (2, 4)
    assert texts_of(made([fewer])[0]) == [("a", "c")]
    with pytest.raises(ValueError, match="4 ranks for 2 completions"):
        Feedback(prompt=row.prompt, completions=fewer.completions, rankings=row.rankings)


def test_a_majority_between_answers_of_equal_score_makes_no_pair() -> None:
    votes = Votes((Ranking(ranks=(1, 2)),), (1.0, 1.0), 0)
    assert majority(votes.rankings, 0, 1).wins
    assert selection._any_majority(votes, {0: 2.0, 1: 1.0}, 0.0)
    assert not selection._any_majority(votes, {0: 1.0, 1: 1.0}, 0.0)
    assert not selection._any_majority(votes, {0: 1.0, 1: 2.0}, 0.0)
    assert not selection._any_majority(votes, {0: 2.0, 1: 1.0}, 1.5)
