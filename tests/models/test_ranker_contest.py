"""Contests: how many duels, which are next, and how often the winner is that of all duels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.models.ranker_contest import Contest, duels_of


def margins(rng, players, noise):
    """Margins of all duels: differences of strengths, and what is peculiar to a duel."""
    strengths = rng.normal(size=players)
    peculiar = np.triu(rng.normal(0, noise, (players, players)), 1)
    return strengths[:, None] - strengths + peculiar - peculiar.T


def played(margin, order, duels=None):
    contest, asked = Contest(order), []
    while (following := contest.duels()) and len(asked) != duels:
        assert following == contest.duels()
        asked += following
        contest.tell([margin[duel] for duel in following])
    return contest, asked


def test_the_number_of_duels_by_hand():
    assert [duels_of(players) for players in (1, 2, 5, 12, 13, 16, 31)] == [0, 1, 4, 11, 13, 20, 77]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 3.0]))
def test_no_duel_is_played_twice_and_without_noise_the_strongest_wins(players, seed, noise):
    rng = np.random.default_rng(seed)
    margin = margins(rng, players, noise)
    contest, asked = played(margin, rng.permutation(players).tolist())
    assert len({frozenset(duel) for duel in asked}) == len(asked) == duels_of(players)
    assert all(first != second for first, second in asked)
    if noise == 0:
        assert contest.best == margin.mean(axis=1).argmax()


def test_the_strengths_are_those_of_least_squares():
    margin = margins(np.random.default_rng(1), 16, 0.5)
    contest, asked = played(margin, range(16))
    design = np.zeros((len(asked), 16))
    for row, (first, second) in enumerate(asked):
        design[row, first], design[row, second] = 1, -1
    plain = np.linalg.lstsq(design, np.array([margin[duel] for duel in asked]), rcond=None)[0]
    found = contest.strengths
    assert found - found.mean() == pytest.approx(plain - plain.mean(), abs=1e-3)


def test_the_next_duel_leaves_the_least_variance_between_the_leader_and_its_rival():
    players = 16
    margin = margins(np.random.default_rng(2), players, 0.3)
    contest, asked = played(margin, range(players), players - 1)

    def variances(duels):
        design = np.zeros((len(duels), players))
        for row, (first, second) in enumerate(duels):
            design[row, first], design[row, second] = 1, -1
        return np.linalg.inv(design.T @ design + np.eye(players) * 1e-4)

    def apart(covariance, a, b):
        return covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]

    leader, before = contest.best, variances(asked)
    others = [player for player in range(players) if player != leader]
    lead = {k: (contest.strengths[leader] - contest.strengths[k]) / apart(before, leader, k) ** 0.5 for k in others}
    rival = min(lead, key=lead.__getitem__)
    after = {
        (a, b): apart(variances([*asked, (a, b)]), leader, rival)
        for a in range(players)
        for b in range(a)
        if {a, b} not in [set(duel) for duel in asked]
    }
    ((first, second),) = contest.duels()
    assert after[max(first, second), min(first, second)] == pytest.approx(min(after.values()))


def test_the_further_duels_find_the_winner_of_all_duels_more_often_than_the_knock_out():
    rng = np.random.default_rng(3)
    found, passed = 0, 0
    for _ in range(400):
        margin = margins(rng, 16, 0.1)
        winner, order = margin.mean(axis=1).argmax(), rng.permutation(16).tolist()
        found += played(margin, order)[0].best == winner
        passed += played(margin, order, 15)[0].best == winner
    assert found >= passed + 8


def test_a_knock_out_by_hand():
    contest = Contest([2, 0, 1, 4, 3])
    assert contest.duels() == [(2, 0), (1, 4)]  # 3 has no opponent, and goes on
    contest.tell([1.0, -1.0])
    assert contest.duels() == [(2, 4)]
    contest.tell([-1.0])
    assert contest.duels() == [(4, 3)]
    contest.tell([0.5])
    assert (contest.duels(), contest.best) == ([], 4)
    assert (Contest([]).best, Contest([0]).best, Contest([0]).duels()) == (-1, 0, [])
