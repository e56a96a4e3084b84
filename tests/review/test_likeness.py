"""Signatures estimate the share of words in common, and the texts have the last word."""

import random

import numpy as np
import pytest

from notus.review.tables.likeness import BINS, alike, likeness, sign

VOCABULARY = [f"word{number}" for number in range(5000)]


@pytest.mark.parametrize("size", [10, 30, 200])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_signatures_agree_in_as_many_bins_as_words_are_shared(size, share):
    rng, found = random.Random(size), []
    both = round(2 * share * size / (1 + share))
    true = both / (2 * size - both)
    for _ in range(150):
        words = rng.sample(VOCABULARY, 2 * size - both)
        one, other = sign([" ".join(words[:size]), " ".join(words[size - both :])])
        found.append((one == other).mean())
    # The bins of a short text are few and copied, so the spread is wider than a binomial's; the mean is right.
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - true) < 4 * error + 0.01


def test_equal_sets_have_equal_signatures_whatever_their_order_and_case():
    one, other, empty, marks = sign(["A b, c! A", "c B a", "", "?!…"])
    assert (one == other).all()
    assert (empty == np.iinfo(np.uint16).max).all()
    assert (marks == np.iinfo(np.uint16).max).all()
    assert one.shape == (BINS,)


def test_the_likest_are_proposed_first():
    rng = random.Random(1)
    base = rng.sample(VOCABULARY, 60)
    texts = [" ".join(base)]
    texts += [" ".join([*base[: 60 - cut], *rng.sample(VOCABULARY, cut)]) for cut in (3, 12, 25)]
    texts += [" ".join(rng.sample(VOCABULARY, 60)) for _ in range(500)]
    columns = np.ascontiguousarray(sign(texts).T)
    assert alike(columns, columns[:, 0], 4).tolist() == [0, 1, 2, 3]
    assert alike(columns, sign([""])[0], 4).tolist() == []


def test_likeness_is_jaccard():
    assert likeness("a b c d", "b c d e") == pytest.approx(3 / 5)
    assert likeness("same, Words", "words SAME") == 1
    assert likeness("", "") == 0
    assert likeness("a", "") == 0
