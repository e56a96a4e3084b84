"""Ranking by pairs: the full matrix, selection of the best, and the orders that earlier code got wrong."""

import random
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import InputError
from notus.core.stage import Tally
from notus.rankers.make import best_of, make_ranker
from notus.rankers.pairrm import PairEncoder, score_pairs
from notus.rankers.pairwise import PairRanker, margins, select
from notus.rankers.settings import PairBudget, Ranking
from tests.helpers.pairrm_examples import TEXTS, plain_logit, save_blender, save_hf, small, user

PROMPT = user(TEXTS[0])


class Counting:
    """Logits from a function of two texts, and how many were asked for."""

    def __init__(self, logit):
        self.logit, self.asked = logit, []

    def __call__(self, pairs):
        self.asked += pairs
        return [self.logit(first, second) for _, first, second in pairs]


def by_quality(first, second):
    """Better answers have longer texts; the first place has an advantage that the two orders must cancel."""
    return 0.3 * (len(first) - len(second)) + 2.0


@pytest.mark.parametrize("n", range(1, 7))
def test_every_order_of_n_answers_is_ranked_right(n):
    for order in permutations(range(n)):
        answers = ["x" * (place + 1) for place in order]
        (scores,) = margins([PROMPT], [answers], Counting(by_quality))
        assert [int(place) for place in np.argsort(np.argsort(scores))] == list(order)
        assert best_of(scores) == order.index(n - 1)
        (chosen,) = select([PROMPT], [answers], Counting(by_quality), seed=1)
        assert chosen.index(1.0) == order.index(n - 1)


def test_every_order_of_six_under_a_real_model_gives_the_order_of_the_plain_matrix():
    model, tokenizer = small()
    pairs = [(PROMPT, a, b) for a in TEXTS for b in TEXTS if a != b]
    known = dict(zip(pairs, score_pairs(model, PairEncoder(tokenizer).encode(pairs), pad_id=0), strict=True))
    matrix = np.array([[plain_logit(model, tokenizer, TEXTS[0], a, b) for b in TEXTS] for a in TEXTS])
    plain = (matrix - matrix.T).mean(axis=1)  # the diagonal adds 0 and counts in n
    assert len({round(value, 4) for value in plain}) == 6
    for order in permutations(range(6)):
        (scores,) = margins([PROMPT], [[TEXTS[i] for i in order]], lambda asked: [known[pair] for pair in asked])
        assert scores == pytest.approx([plain[i] for i in order], abs=1e-5)
        assert list(np.argsort(scores)) == list(np.argsort([plain[i] for i in order]))


@given(st.lists(st.lists(st.text("ab", max_size=2), max_size=6), max_size=4))
def test_the_score_is_the_mean_margin_whatever_repeats(candidates):
    prompts = [user(f"Question {number % 2}") for number in range(len(candidates))]
    compare = Counting(lambda first, second: len(first) * 1.7 - len(second) + (first < second))
    found = margins(prompts, candidates, compare)
    assert len(compare.asked) == len(set(compare.asked))  # what repeats is computed once
    assert all(first != second for _, first, second in compare.asked)
    for answers, scores in zip(candidates, found, strict=True):
        n = len(answers)
        matrix = np.array([[compare.logit(a, b) for b in answers] for a in answers]).reshape(n, n)
        wanted = (matrix - matrix.T).mean(axis=1) if answers else []
        assert scores == pytest.approx(list(wanted), abs=1e-9)
        assert sum(scores) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "most"), [(1, 0), (2, 2), (5, 8), (12, 22), (13, 26), (16, 40), (32, 164)])
@pytest.mark.parametrize("clear", [True, False])
def test_selection_needs_two_forwards_for_each_further_answer_and_at_most_a_sixth(n, most, clear):
    answers = ["x" * (1 + (7 * place) % 37) for place in range(n)]
    noise = {(a, b): 0.0 if clear else random.Random(f"{a} {b}").gauss(0, 5) for a in answers for b in answers}
    full, bubble = (Counting(lambda a, b: by_quality(a, b) + noise[a, b]) for _ in range(2))
    margins([PROMPT], [answers], full)
    select([PROMPT], [answers], bubble, seed=0)
    assert len(full.asked) == n * (n - 1)
    assert 2 * (n - 1) <= len(bubble.asked) <= most
    assert len(set(bubble.asked)) == len(bubble.asked)
    assert clear or len(bubble.asked) == most


def test_selection_gives_the_doubtful_prompts_what_the_clear_ones_leave():
    answers = ["x" * (place + 1) for place in range(16)]
    prompts = [user(f"Question {number}") for number in range(30)]
    doubtful = {  # mere chance, so that nothing but further comparisons can say who is ahead
        (prompt, first, second): random.Random(f"{prompt} {first} {second}").gauss(0, 1)
        for prompt in prompts[:6]
        for first, second in permutations(answers, 2)
    }
    tally = dict.fromkeys(prompts, 0)

    def compare(pairs):
        for prompt, _, _ in pairs:
            tally[prompt] += 1
        return [doubtful.get(pair, by_quality(*pair[1:])) for pair in pairs]

    found = select(prompts, [answers] * 30, compare, seed=0)
    counts = list(tally.values())
    assert sum(counts) <= 30 * 40
    assert max(counts[:6]) > 80
    assert max(counts[6:]) <= 40
    assert [best_of(scores) for scores in found[6:]] == [15] * 24
    order = random.Random(1).sample(range(30), 30)
    again = select([prompts[place] for place in order], [answers] * 30, compare, seed=0)
    assert again == [found[place] for place in order]


def test_selection_is_seeded_by_the_prompt_and_not_by_its_place():
    turning = Counting(lambda first, second: [0, 1, -1][(len(first) - len(second)) % 3])  # a circle: the order decides
    answers = ["x", "xx", "xxx"]
    prompts = [user(f"Question {number}") for number in range(40)]
    found = select(prompts, [answers] * 40, turning, seed=5)
    assert found == select(prompts, [answers] * 40, turning, seed=5)
    assert found[::-1] == select(prompts[::-1], [answers] * 40, turning, seed=5)
    assert found != select(prompts, [answers] * 40, turning, seed=6)
    assert {scores.index(1.0) for scores in found} == {0, 1, 2}


def test_numbers_of_answers_may_differ_and_one_answer_or_none_has_no_rival():
    ranker = PairRanker("pairs", Counting(by_quality))
    candidates = [["", "xx", "x"], ["only"], [], ["", ""]]
    scores = ranker.rank([PROMPT] * 4, candidates)
    assert scores == [pytest.approx([-0.6, 0.6, 0.0]), [0.0], [], [0.0, 0.0]]
    chosen = PairRanker("pairs", Counting(by_quality), Ranking(selection="bubble")).rank([PROMPT] * 4, candidates)
    assert chosen[:3] == [[0.0, 1.0, 0.0], [1.0], []]
    assert sorted(chosen[3]) == [0.0, 1.0]
    with pytest.raises(InputError, match="a list for each prompt"):
        ranker.rank([PROMPT], [])


@pytest.mark.parametrize("save", [save_hf, save_blender])
def test_the_ranker_of_a_folder(tmp_path, save):
    model, tokenizer = small()
    save(model, tokenizer, tmp_path / "model")
    told, tally = [], Tally("rank")
    ranker = make_ranker(f"pairrm:{tmp_path / 'model'}", progress=lambda done, of: told.append((done, of)), tally=tally)
    answers = TEXTS[:4]
    (scores,) = ranker.rank([PROMPT], [answers])
    lengths = {"source": 64, "candidate": 32} if save is save_blender else {}
    matrix = np.array([[plain_logit(model, tokenizer, TEXTS[0], a, b, **lengths) for b in answers] for a in answers])
    assert scores == pytest.approx(list((matrix - matrix.T).mean(axis=1)), abs=1e-5)
    assert ranker.name == "pairrm:model"
    assert told[-1] == (12, 12)
    assert tally.counts["answer-cut"] == 0


def test_the_budget_is_a_setting_where_the_checkpoint_names_none(tmp_path):
    save_hf(*small(), tmp_path / "model")
    tally = Tally("rank")
    settings = Ranking(budget=PairBudget(source=8, candidate=8))
    make_ranker(f"pairrm:{tmp_path / 'model'}", settings, tally=tally).rank([PROMPT], [TEXTS[:2]])
    assert tally.counts["source-cut"] == 1
