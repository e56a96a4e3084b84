"""Dawid–Skene and MACE: by plain arithmetic on a few votes, beside crowd-kit, and on people's votes."""

import gzip
import json
import math
import warnings

import numpy as np
import pytest
from scipy.special import digamma

from notus.core.errors import DataError
from notus.stats.annotators import Labels, Sizes, dawid_skene, mace
from notus.stats.intervals import share
from tests.helpers.paths import SHARED

VOTES = SHARED / "data" / "votes" / "people.jsonl.gz"


def labels(rows, size=2):
    items, raters, said = (np.array(column) for column in zip(*rows, strict=True))
    return Labels(items, raters, said, Sizes(items.max() + 1, raters.max() + 1, size))


# Three raters, two items: all say 0 of the first; of the second a and b say 1, and c says 0.
FEW = [(0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 1), (1, 1, 1), (1, 2, 0)]


def test_one_round_of_dawid_skene_by_hand():
    found = dawid_skene(labels(FEW), right=1.0, wrong=1.0, rounds=1)
    # The start: item 0 is 0 for sure, item 1 is 1 with 2/3. Counts with one more of each:
    #   a and b, true 0: say 0 1 + 1 = 2, say 1 1/3 + 1; true 1: say 0 0 + 1, say 1 2/3 + 1
    #   c, true 0: say 0 (1 + 1/3) + 1, say 1 1; true 1: say 0 2/3 + 1, say 1 1
    a = [[2 / (10 / 3), (4 / 3) / (10 / 3)], [1 / (8 / 3), (5 / 3) / (8 / 3)]]
    c = [[(7 / 3) / (10 / 3), 1 / (10 / 3)], [(5 / 3) / (8 / 3), 1 / (8 / 3)]]
    assert found.errors == pytest.approx(np.array([a, a, c]))
    p = [2 / 3, 1 / 3]  # means of the start: (1 + 1/3)/2 and (0 + 2/3)/2
    first = [p[t] * a[t][0] ** 2 * c[t][0] for t in (0, 1)]
    second = [p[t] * a[t][1] ** 2 * c[t][0] for t in (0, 1)]
    assert found.posterior[0] == pytest.approx(np.array(first) / sum(first))
    assert found.posterior[1] == pytest.approx(np.array(second) / sum(second))
    assert (found.rounds, found.settled) == (1, False)


def test_one_round_of_mace_by_hand():
    found = mace(labels(FEW), rounds=1)
    # Each knew half of the time: of two labels one is spam, with .5 + 1 spammed and .5 + 1 known.
    w = math.exp(digamma(1.5) - digamma(3.0))
    mixed = math.exp(digamma(10.5) - digamma(21.0))  # a and b: half a spam of each label, with 10 more
    often = math.exp(digamma(11.0) - digamma(21.0))  # c: one spam of label 0
    first = [(w * mixed + w) ** 2 * (w * often + w), (w * mixed) ** 2 * (w * often)]
    second = [(w * mixed) ** 2 * (w * often + w), (w * mixed + w) ** 2 * (w * often)]
    assert found.posterior[0] == pytest.approx(np.array(first) / sum(first))
    assert found.posterior[1] == pytest.approx(np.array(second) / sum(second))
    assert found.competence == pytest.approx([0.5, 0.5, 0.5])
    habit = [0.5 * 11 / 21, 0.5 * 10 / 21]
    assert found.errors[2] == pytest.approx(np.array([[habit[0] + 0.5, habit[1]], [habit[0], habit[1] + 0.5]]))


def planted(seed=0, items=300):
    """Six raters with known error rates: three good, one who always says 0, two who guess."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=items)
    rows = []
    for item in range(items):
        for rater, right in enumerate((0.9, 0.8, 0.8, None, 0.5, 0.5)):
            said = 0 if right is None else truth[item] if rng.random() < right else 1 - truth[item]
            rows.append((item, rater, int(said)))
    return truth, labels(rows)


@pytest.mark.parametrize("estimate", [dawid_skene, mace])
def test_raters_are_told_by_what_the_others_show(estimate):
    truth, said = planted()
    found = estimate(said)
    majority = said.shares.argmax(axis=1)
    best = found.posterior.argmax(axis=1)
    assert (best == truth).mean() > (majority == truth).mean() + 0.05
    assert found.competence[:3].min() > found.competence[4:].max() + 0.15
    assert found.posterior.sum(axis=1) == pytest.approx(np.ones(len(truth)))
    assert found.errors.sum(axis=2) == pytest.approx(np.ones((6, 2)))


def test_dawid_skene_finds_the_error_rates_that_were_planted():
    _, said = planted(1, 2_000)
    found = dawid_skene(said)
    assert found.errors[:, 0, 0] == pytest.approx([0.9, 0.8, 0.8, 1.0, 0.5, 0.5], abs=0.05)
    assert found.errors[:, 1, 1] == pytest.approx([0.9, 0.8, 0.8, 0.0, 0.5, 0.5], abs=0.05)
    assert found.settled


def random_votes(seed=3):
    rng = np.random.default_rng(seed)
    rows = [(item, int(rater), int(rng.integers(3))) for item in range(40) for rater in rng.permutation(8)[:5]]
    return labels(sorted(rows, key=lambda row: (row[1], row[2])), 3)  # as crowd-kit sorts them


def frame(said):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"task": said.items, "worker": said.raters, "label": said.labels})


def test_dawid_skene_is_that_of_crowd_kit():
    pytest.importorskip("crowdkit")
    said = random_votes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from crowdkit.aggregation.classification.dawid_skene import DawidSkene

        theirs = DawidSkene(n_iter=5, tol=0.0).fit_predict_proba(frame(said))
    ours = dawid_skene(said, right=0.0, wrong=0.0, rounds=5, still=0.0)
    assert ours.posterior == pytest.approx(theirs.sort_index()[[0, 1, 2]].to_numpy(), abs=1e-6)


def test_mace_is_that_of_crowd_kit_from_the_same_start():
    pytest.importorskip("crowdkit")
    said = random_votes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from crowdkit.aggregation.classification.mace import MACE, variational_normalize

        class Even(MACE):
            """Each rater knows as often as not; its restarts all begin with the same draw."""

            def _initialize(self, n_workers, n_labels):
                super()._initialize(n_workers, n_labels)
                counts = np.bincount(said.raters * 3 + said.labels, minlength=24).reshape(8, 3) / 2
                sums = np.stack([counts.sum(axis=1)] * 2, axis=1)
                self.spamming_ = variational_normalize(sums, self.theta_priors_)
                self.thetas_ = variational_normalize(counts, self.strategy_priors_)

        theirs = Even(n_restarts=1, n_iter=6).fit_predict_proba(frame(said))
    ours = mace(said, rounds=7, still=0.0)
    assert ours.posterior == pytest.approx(theirs.sort_index()[[0, 1, 2]].to_numpy(), abs=1e-6)


def test_what_is_no_labels_is_refused():
    with pytest.raises(DataError, match="numbered up to 2, and there are 2"):
        labels([(0, 0, 2)])


@pytest.mark.skipif(not VOTES.is_file(), reason="people's votes are not there")
def test_on_peoples_votes_mace_comes_near_the_stored_gold_and_nearer_than_the_majority():
    with gzip.open(VOTES, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = {name: number for number, name in enumerate(sorted({each for row in rows for each in row["worker"]}))}
    items = np.repeat(np.arange(len(rows)), 5)
    raters = np.array([names[each] for row in rows for each in row["worker"]])
    equal = {"majority": [], "dawid-skene": [], "mace": [], "sure": []}
    for question in [key.removesuffix("_gold") for key in rows[0] if key.endswith("_gold")]:
        kinds = "ab" if question == "quality_overall" else "abn"
        said = np.array([kinds.index(each.lower()) for row in rows for each in row[f"{question}_vote"]])
        gold = np.array([kinds.index(row[f"{question}_gold"]) for row in rows])
        votes = Labels(items, raters, said, Sizes(len(rows), len(names), len(kinds)))
        counts = votes.shares
        single = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
        equal["majority"] += (single & (counts.argmax(axis=1) == gold)).tolist()
        equal["dawid-skene"] += (dawid_skene(votes).posterior.argmax(axis=1) == gold).tolist()
        found = mace(votes).posterior
        equal["mace"] += (found.argmax(axis=1) == gold).tolist()
        sure = found.max(axis=1) >= 0.9
        equal["sure"] += (found.argmax(axis=1) == gold)[sure].tolist()
    figures = {name: float(np.mean(each)) for name, each in equal.items()}
    assert figures["majority"] == pytest.approx(0.689, abs=5e-4)
    assert figures["dawid-skene"] == pytest.approx(0.79, abs=0.005)
    # The stored gold is one of several ends that MACE can come to: its own restarts agree with one another no more.
    assert figures["mace"] == pytest.approx(0.921, abs=0.003)
    assert figures["sure"] > 0.95
    assert len(equal["sure"]) > 0.7 * len(equal["mace"])
    found = share([float(each) for each in equal["mace"]], [row["query_id"] for row in rows] * 7)
    assert found.low > 0.905
    assert found.high < 0.935
