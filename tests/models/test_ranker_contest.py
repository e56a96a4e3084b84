"""Contests: how many duels, which are next, and how often the winner is that of all duels."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.statistics import t_cdf
from notus.models.ranker_contest import Contest, Contests, duels_of


def margins(rng, players, noise):
    """Margins of all duels: differences of strengths, and what is peculiar to a duel."""
    strengths = rng.normal(size=players)
    peculiar = np.triu(rng.normal(0, noise, (players, players)), 1)
    return strengths[:, None] - strengths + peculiar - peculiar.T


def tell(contest, margin, duels):
    contest.tell({duel: margin[duel] for duel in duels})


def knocked_out(margin, order):
    contest, asked = Contest(order), []
    while contest.knocks_out:
        asked += contest.duels(1)
        tell(contest, margin, contest.duels(1))
    return contest, asked


def played(all_margins, orders):
    """Contests that share their duels, to the end, and the duels of each."""
    contests = [Contest(order) for order in orders]
    shared, asked = Contests(contests), [[] for _ in orders]
    while following := shared.duels():
        assert following == shared.duels()
        shared.tell({place: {duel: all_margins[place][duel] for duel in duels} for place, duels in following.items()})
        for place, duels in following.items():
            asked[place] += duels
    return contests, asked


def design(duels, players):
    rows = np.zeros((len(duels), players))
    for row, (first, second) in zip(rows, duels, strict=True):
        row[first], row[second] = 1, -1
    return rows


def test_the_number_of_duels_by_hand():
    assert [duels_of(players) for players in (1, 2, 5, 12, 13, 16, 31)] == [0, 1, 4, 11, 13, 20, 77]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=5), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 3.0]))
def test_no_duel_is_played_twice_there_are_not_too_many_and_without_noise_the_strongest_wins(sizes, seed, noise):
    rng = np.random.default_rng(seed)
    all_margins = [margins(rng, players, noise) for players in sizes]
    contests, asked = played(all_margins, [rng.permutation(players).tolist() for players in sizes])
    for players, contest, duels, margin in zip(sizes, contests, asked, all_margins, strict=True):
        assert len({frozenset(duel) for duel in duels}) == len(duels) >= players - 1
        assert all(first != second for first, second in duels)
        if players and noise == 0:
            assert contest.best == margin.mean(axis=1).argmax()
    assert sum(map(len, asked)) <= sum(duels_of(players) for players in sizes if players)


def test_the_strengths_are_those_of_least_squares():
    margin = margins(np.random.default_rng(1), 16, 0.5)
    ((contest,), (asked,)) = played([margin], [list(range(16))])
    plain = np.linalg.lstsq(design(asked, 16), np.array([margin[duel] for duel in asked]), rcond=None)[0]
    found = contest.strengths
    assert found - found.mean() == pytest.approx(plain - plain.mean(), abs=1e-3)
    # What was played counts as it is, and the rest as predicted.
    known = {**{duel: margin[duel] for duel in asked}, **{duel[::-1]: -margin[duel] for duel in asked}}
    scores = [np.mean([known.get((i, j), plain[i] - plain[j]) for j in range(16)]) for i in range(16)]
    assert contest.scores == pytest.approx(scores, abs=1e-3)


def test_the_scores_are_exact_when_all_duels_are_played():
    margin = margins(np.random.default_rng(4), 7, 2.0)
    contest, asked = knocked_out(margin, range(7))
    assert contest.doubt > 0
    while duels := contest.duels(4):
        asked += duels
        tell(contest, margin, duels)
    assert {frozenset(duel) for duel in asked} == {frozenset(duel) for duel in combinations(range(7), 2)}
    assert contest.scores == pytest.approx(margin.mean(axis=1))
    assert (contest.doubt, contest.best) == (0.0, margin.mean(axis=1).argmax())


def covariance(duels, players):
    """Of the scores, in variances of a margin: from the joint distribution of all margins, written out."""
    every = list(combinations(range(players), 2))
    rows = design(every, players)
    joint = rows @ rows.T * 1e4 + np.eye(len(every))
    seen = [every.index(tuple(sorted(duel))) for duel in duels]
    across = joint[:, seen]
    left = joint - across @ np.linalg.solve(joint[np.ix_(seen, seen)], across.T)
    return rows.T @ left @ rows / players**2


def test_doubt_is_the_sum_of_the_probabilities_that_another_is_ahead():
    players = 8
    margin = margins(np.random.default_rng(6), players, 0.4)
    contest, asked = knocked_out(margin, range(players))
    for _ in range(3):
        asked += contest.duels(1)
        tell(contest, margin, contest.duels(1))
    rows = design(asked, players)
    residuals = np.array([margin[duel] for duel in asked]) - rows @ contest.strengths
    noise = ((residuals**2).sum() + 2 * 0.01 * contest.strengths.var()) / (3 + 2)  # a guess that counts as two
    found, scores = covariance(asked, players) * noise, contest.scores
    first = int(scores.argmax())
    ahead = [
        t_cdf((scores[k] - scores[first]) / (found[k, k] + found[first, first] - 2 * found[k, first]) ** 0.5, 5)
        for k in range(players)
        if k != first
    ]
    assert contest.doubt == pytest.approx(sum(ahead), rel=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_the_next_duels_leave_the_least_variance_between_the_scores_of_the_leader_and_its_rival(count):
    players = 8
    margin = margins(np.random.default_rng(2), players, 0.3)
    contest, asked = knocked_out(margin, range(players))

    def apart(duels, a, b):
        found = covariance(duels, players)
        return found[a, a] + found[b, b] - 2 * found[a, b]

    leader, scores = contest.best, contest.scores
    others = [player for player in range(players) if player != leader]
    rival = min(others, key=lambda k: (scores[leader] - scores[k]) / apart(asked, leader, k) ** 0.5)
    for duel in contest.duels(count):
        after = [
            apart([*asked, other], leader, rival)
            for other in combinations(range(players), 2)
            if set(other) not in [set(known) for known in asked]
        ]
        asked.append(duel)
        assert apart(asked, leader, rival) == pytest.approx(min(after), rel=1e-6)


def test_the_further_duels_find_the_winner_of_all_duels_more_often_than_the_knock_out():
    rng = np.random.default_rng(3)
    all_margins = [margins(rng, 16, 0.2) for _ in range(200)]
    orders = [rng.permutation(16).tolist() for _ in all_margins]
    winners = [margin.mean(axis=1).argmax() for margin in all_margins]
    contests, _ = played(all_margins, orders)
    found = sum(contest.best == winner for contest, winner in zip(contests, winners, strict=True))
    alone = [played([margin], [order])[0][0] for margin, order in zip(all_margins, orders, strict=True)]
    single = sum(contest.best == winner for contest, winner in zip(alone, winners, strict=True))
    passed = [knocked_out(margin, order)[0] for margin, order in zip(all_margins, orders, strict=True)]
    knocked = sum(contest.best == winner for contest, winner in zip(passed, winners, strict=True))
    assert found >= 195 > single > knocked + 4


def test_the_doubtful_play_and_the_clear_ones_do_not():
    rng = np.random.default_rng(5)
    clear, tied = margins(rng, 16, 0.0), margins(rng, 16, 0.3)
    clear[7] += 50
    clear[:, 7] -= 50
    clear[7, 7] = 0
    first, second = np.argsort(tied.mean(axis=1))[-2:]
    lead = tied[second].mean() - tied[first].mean() - 1e-6
    tied[first] += lead
    tied[:, first] -= lead
    tied[first, first] = 0
    contests, asked = played([clear, tied], [list(range(16))] * 2)
    assert (len(asked[0]), len(asked[1])) == (15, 2 * 20 - 15)
    assert contests[0].doubt < 0.01 < contests[1].doubt


def test_the_place_among_the_others_changes_nothing():
    rng = np.random.default_rng(8)
    all_margins = [margins(rng, players, 0.3) for players in (16, 14, 20, 3, 16, 1)]
    orders = [rng.permutation(len(margin)).tolist() for margin in all_margins]
    _, asked = played(all_margins, orders)
    _, turned = played(all_margins[::-1], orders[::-1])
    assert turned[::-1] == asked


def test_equal_players_are_as_likely_as_not_and_the_first_wins():
    contests, asked = played([np.zeros((16, 16))], [list(range(16))])
    assert (contests[0].best, len(asked[0])) == (0, 20)
    assert contests[0].doubt == pytest.approx(7.5)


def test_a_knock_out_by_hand():
    contest = Contest([2, 0, 1, 4, 3])
    assert contest.duels(1) == [(2, 0), (1, 4)]  # 3 has no opponent, and goes on
    contest.tell({(2, 0): 1.0, (1, 4): -1.0})
    assert contest.duels(1) == [(2, 4)]
    contest.tell({(2, 4): -1.0})
    assert contest.duels(1) == [(4, 3)]
    contest.tell({(4, 3): 0.5})
    assert (contest.knocks_out, contest.best) == (False, 4)
    assert (Contest([]).best, Contest([0]).best, Contest([]).doubt, Contest([0]).doubt) == (-1, 0, 0.0, 0.0)
    assert (Contests([]).duels(), Contests([Contest([]), Contest([0])]).duels()) == ({}, {})
