"""Tournaments: how many comparisons, which are next, and how often the winner is that of all comparisons."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.rankers.pairwise import Tournament, Tournaments, comparisons_of
from notus.stats.distributions import t_cdf


def margins(rng, players, noise):
    """Margins of all comparisons: differences of strengths, and what is peculiar to a comparison."""
    strengths = rng.normal(size=players)
    peculiar = np.triu(rng.normal(0, noise, (players, players)), 1)
    return strengths[:, None] - strengths + peculiar - peculiar.T


def record(tournament, margin, comparisons):
    tournament.record({comparison: margin[comparison] for comparison in comparisons})


def knocked_out(margin, order):
    tournament, asked = Tournament(order), []
    while tournament.knocks_out:
        asked += tournament.comparisons(1)
        record(tournament, margin, tournament.comparisons(1))
    return tournament, asked


def played(all_margins, orders):
    """Tournaments that share their comparisons, to the end, and the comparisons of each."""
    tournaments = [Tournament(order) for order in orders]
    shared, asked = Tournaments(tournaments), [[] for _ in orders]
    while following := shared.comparisons():
        assert following == shared.comparisons()
        shared.record(
            {
                place: {comparison: all_margins[place][comparison] for comparison in comparisons}
                for place, comparisons in following.items()
            }
        )
        for place, comparisons in following.items():
            asked[place] += comparisons
    return tournaments, asked


def design(comparisons, players):
    rows = np.zeros((len(comparisons), players))
    for row, (first, second) in zip(rows, comparisons, strict=True):
        row[first], row[second] = 1, -1
    return rows


def test_the_number_of_comparisons_by_hand():
    assert [comparisons_of(players) for players in (1, 2, 5, 12, 13, 16, 31)] == [0, 1, 4, 11, 13, 20, 77]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=5), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 3.0]))
def test_no_comparison_is_played_twice_there_are_not_too_many_and_without_noise_the_strongest_wins(sizes, seed, noise):
    rng = np.random.default_rng(seed)
    all_margins = [margins(rng, players, noise) for players in sizes]
    tournaments, asked = played(all_margins, [rng.permutation(players).tolist() for players in sizes])
    for players, tournament, comparisons, margin in zip(sizes, tournaments, asked, all_margins, strict=True):
        assert len({frozenset(comparison) for comparison in comparisons}) == len(comparisons) >= players - 1
        assert all(first != second for first, second in comparisons)
        if players and noise == 0:
            assert tournament.best == margin.mean(axis=1).argmax()
    assert sum(map(len, asked)) <= sum(comparisons_of(players) for players in sizes if players)


def test_the_strengths_are_those_of_least_squares():
    margin = margins(np.random.default_rng(1), 16, 0.5)
    ((tournament,), (asked,)) = played([margin], [list(range(16))])
    plain = np.linalg.lstsq(design(asked, 16), np.array([margin[comparison] for comparison in asked]), rcond=None)[0]
    found = tournament.strengths
    assert found - found.mean() == pytest.approx(plain - plain.mean(), abs=1e-3)
    # What was played counts as it is, and the rest as predicted.
    known = {
        **{comparison: margin[comparison] for comparison in asked},
        **{comparison[::-1]: -margin[comparison] for comparison in asked},
    }
    scores = [np.mean([known.get((i, j), plain[i] - plain[j]) for j in range(16)]) for i in range(16)]
    assert tournament.scores == pytest.approx(scores, abs=1e-3)


def test_the_scores_are_exact_when_all_comparisons_are_played():
    margin = margins(np.random.default_rng(4), 7, 2.0)
    tournament, asked = knocked_out(margin, range(7))
    assert tournament.doubt > 0
    while comparisons := tournament.comparisons(4):
        asked += comparisons
        record(tournament, margin, comparisons)
    assert {frozenset(comparison) for comparison in asked} == {
        frozenset(comparison) for comparison in combinations(range(7), 2)
    }
    assert tournament.scores == pytest.approx(margin.mean(axis=1))
    assert (tournament.doubt, tournament.best) == (0.0, margin.mean(axis=1).argmax())


def covariance(comparisons, players):
    """Of the scores, in variances of a margin: from the joint distribution of all margins, written out."""
    every = list(combinations(range(players), 2))
    rows = design(every, players)
    joint = rows @ rows.T * 1e4 + np.eye(len(every))
    seen = [every.index(tuple(sorted(comparison))) for comparison in comparisons]
    across = joint[:, seen]
    left = joint - across @ np.linalg.solve(joint[np.ix_(seen, seen)], across.T)
    return rows.T @ left @ rows / players**2


def test_doubt_is_the_sum_of_the_probabilities_that_another_is_ahead():
    players = 8
    margin = margins(np.random.default_rng(6), players, 0.4)
    tournament, asked = knocked_out(margin, range(players))
    for _ in range(3):
        asked += tournament.comparisons(1)
        record(tournament, margin, tournament.comparisons(1))
    rows = design(asked, players)
    residuals = np.array([margin[comparison] for comparison in asked]) - rows @ tournament.strengths
    noise = ((residuals**2).sum() + 2 * 0.01 * tournament.strengths.var()) / (3 + 2)  # a guess that counts as two
    found, scores = covariance(asked, players) * noise, tournament.scores
    first = int(scores.argmax())
    ahead = [
        t_cdf((scores[k] - scores[first]) / (found[k, k] + found[first, first] - 2 * found[k, first]) ** 0.5, 5)
        for k in range(players)
        if k != first
    ]
    assert tournament.doubt == pytest.approx(sum(ahead), rel=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_the_next_comparisons_leave_the_least_variance_between_the_scores_of_the_leader_and_its_rival(count):
    players = 8
    margin = margins(np.random.default_rng(2), players, 0.3)
    tournament, asked = knocked_out(margin, range(players))

    def apart(comparisons, a, b):
        found = covariance(comparisons, players)
        return found[a, a] + found[b, b] - 2 * found[a, b]

    leader, scores = tournament.best, tournament.scores
    others = [player for player in range(players) if player != leader]
    rival = min(others, key=lambda k: (scores[leader] - scores[k]) / apart(asked, leader, k) ** 0.5)
    for comparison in tournament.comparisons(count):
        after = [
            apart([*asked, other], leader, rival)
            for other in combinations(range(players), 2)
            if set(other) not in [set(known) for known in asked]
        ]
        asked.append(comparison)
        assert apart(asked, leader, rival) == pytest.approx(min(after), rel=1e-6)


def test_the_further_comparisons_find_the_winner_of_all_comparisons_more_often_than_the_knock_out():
    rng = np.random.default_rng(3)
    all_margins = [margins(rng, 16, 0.2) for _ in range(200)]
    orders = [rng.permutation(16).tolist() for _ in all_margins]
    winners = [margin.mean(axis=1).argmax() for margin in all_margins]
    tournaments, _ = played(all_margins, orders)
    found = sum(tournament.best == winner for tournament, winner in zip(tournaments, winners, strict=True))
    alone = [played([margin], [order])[0][0] for margin, order in zip(all_margins, orders, strict=True)]
    single = sum(tournament.best == winner for tournament, winner in zip(alone, winners, strict=True))
    passed = [knocked_out(margin, order)[0] for margin, order in zip(all_margins, orders, strict=True)]
    knocked = sum(tournament.best == winner for tournament, winner in zip(passed, winners, strict=True))
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
    tournaments, asked = played([clear, tied], [list(range(16))] * 2)
    assert (len(asked[0]), len(asked[1])) == (15, 2 * 20 - 15)
    assert tournaments[0].doubt < 0.01 < tournaments[1].doubt


def test_the_place_among_the_others_changes_nothing():
    rng = np.random.default_rng(8)
    all_margins = [margins(rng, players, 0.3) for players in (16, 14, 20, 3, 16, 1)]
    orders = [rng.permutation(len(margin)).tolist() for margin in all_margins]
    _, asked = played(all_margins, orders)
    _, turned = played(all_margins[::-1], orders[::-1])
    assert turned[::-1] == asked


def test_equal_players_are_as_likely_as_not_and_the_first_wins():
    tournaments, asked = played([np.zeros((16, 16))], [list(range(16))])
    assert (tournaments[0].best, len(asked[0])) == (0, 20)
    assert tournaments[0].doubt == pytest.approx(7.5)


def test_a_knock_out_by_hand():
    tournament = Tournament([2, 0, 1, 4, 3])
    assert tournament.comparisons(1) == [(2, 0), (1, 4)]  # 3 has no opponent, and goes on
    tournament.record({(2, 0): 1.0, (1, 4): -1.0})
    assert tournament.comparisons(1) == [(2, 4)]
    tournament.record({(2, 4): -1.0})
    assert tournament.comparisons(1) == [(4, 3)]
    tournament.record({(4, 3): 0.5})
    assert (tournament.knocks_out, tournament.best) == (False, 4)
    assert (Tournament([]).best, Tournament([0]).best, Tournament([]).doubt, Tournament([0]).doubt) == (-1, 0, 0.0, 0.0)
    assert (Tournaments([]).comparisons(), Tournaments([Tournament([]), Tournament([0])]).comparisons()) == ({}, {})
