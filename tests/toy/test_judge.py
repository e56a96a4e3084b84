import random
import statistics

import pytest

from notus.core.records import ASPECTS, Rating
from notus.toy import judge
from notus.toy.models import Answer
from notus.toy.tasks import find

KINDS = sorted(judge.QUALITY)
SILENT = {"noise": 0.0, "shared_noise": 0.0, "not_applicable": 0.0}


def answer(kind: tuple[str, bool]) -> Answer:
    return Answer("text", *kind)


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_the_judge_tells_the_rounded_truth(kind: tuple[str, bool]) -> None:
    rng = random.Random(0)
    ratings = judge.rate(answer(kind), rng, **SILENT)
    assert [rating.aspect for rating in ratings] == list(ASPECTS)
    assert [rating.value for rating in ratings] == [round(mean) for mean in judge.ASPECT_MEANS[kind]]
    assert judge.score(judge.impress(answer(kind), rng, noise=0)) == round(judge.QUALITY[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_grades_are_whole_and_in_range_under_any_noise(kind: tuple[str, bool]) -> None:
    rng = random.Random(0)
    for _ in range(200):
        ratings = judge.rate(answer(kind), rng, noise=5, shared_noise=5, not_applicable=0.3)
        values = [rating.value for rating in ratings if rating.value is not None]
        assert set(values) <= {1.0, 2.0, 3.0, 4.0, 5.0}
        assert judge.score(judge.impress(answer(kind), rng, noise=5)) in set(map(float, range(1, 11)))


def test_the_noise_has_the_deviation_that_was_asked_for() -> None:
    rng = random.Random(0)
    kind = ("rude", True)  # far from both ends, so that clipping takes little away
    scores = [judge.score(judge.impress(answer(kind), rng, noise=1.0)) for _ in range(4000)]
    # Rounding to whole points adds a variance of 1/12.
    assert statistics.stdev(scores) == pytest.approx((1 + 1 / 12) ** 0.5, rel=0.05)


def test_shared_noise_ties_the_ratings_of_an_answer_together() -> None:
    def correlation(**noise: float) -> float:
        rng = random.Random(0)
        rated = [judge.rate(answer(("rambling", True)), rng, not_applicable=0, **noise) for _ in range(3000)]
        return statistics.correlation([r[0].value or 0 for r in rated], [r[2].value or 0 for r in rated])

    assert abs(correlation(noise=0.8, shared_noise=0)) < 0.06
    assert correlation(noise=0.5, shared_noise=0.8) > 0.5


@pytest.mark.parametrize(("halo", "expected"), [(0.0, [3, 4, 3, 4]), (0.5, [4, 4, 4, 5]), (1.0, [5, 5, 5, 5])])
def test_a_halo_draws_every_aspect_towards_the_impression(halo: float, expected: list[float]) -> None:
    """Rude and right: 2.6, 4.0, 3.2 and 4.5; an impression of 10 is a 5; halfway 3.8, 4.5, 4.1, 4.75; ½ to even."""
    rated = judge.rate(answer(("rude", True)), random.Random(0), **SILENT, halo=halo, impression=10.0)
    assert [rating.value for rating in rated] == expected


def test_a_halo_of_one_leaves_nothing_of_the_aspects() -> None:
    """An impression of 5.5 is the middle of the aspects' scale, whatever the answer was and however noisy."""
    for kind in KINDS:
        rated = judge.rate(
            answer(kind), random.Random(1), noise=5, shared_noise=5, not_applicable=0, halo=1.0, impression=5.5
        )
        assert [rating.value for rating in rated] == [3, 3, 3, 3]


def test_length_raises_the_overall_score_beyond_ten_words() -> None:
    def impression(words: int) -> float:
        told = Answer(" ".join(["word"] * words), "rambling", False)
        return judge.impress(told, random.Random(0), noise=0, length_bias=3.0)

    assert [impression(words) for words in (1, 10, 20, 25)] == pytest.approx([2.5, 2.5, 5.5, 7.0])
    assert judge.score(impression(60)) == 10


def test_only_honesty_can_be_not_applicable() -> None:
    rng = random.Random(0)
    rated = [judge.rate(answer(("good", True)), rng, noise=0, shared_noise=0, not_applicable=0.5) for _ in range(400)]
    skipped = {rating.aspect for ratings in rated for rating in ratings if rating.value is None}
    share = sum(ratings[1].value is None for ratings in rated) / 400
    assert skipped == {"honesty"}
    assert 0.42 < share < 0.58


def test_types_stand_where_ultrafeedback_has_them() -> None:
    for rating in judge.rate(answer(("junk", False)), random.Random(0), **SILENT):
        assert bool(rating.types) == (rating.aspect in ("helpfulness", "truthfulness"))
        assert bool(rating.types) == bool(rating.types_rationale)
        assert rating.rationale


def test_a_mix_up_exchanges_the_ratings_of_two_answers() -> None:
    ratings = [(Rating(aspect=name, value=1.0),) for name in "abcd"]
    swapped = judge.mix_up(ratings, random.Random(0), probability=1)
    assert sorted(r[0].aspect for r in swapped) == list("abcd")
    assert sum(old != new for old, new in zip(ratings, swapped, strict=True)) == 2
    assert judge.mix_up(ratings, random.Random(0), probability=0) == ratings
    assert judge.mix_up(ratings[:1], random.Random(0), probability=1) == ratings[:1]


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_only_a_deserved_one_is_struck_and_at_the_rate(rate: float) -> None:
    rng = random.Random(0)
    recorded = [judge.record(1.0, rng, fault_rate=rate) for _ in range(2000)]
    assert set(recorded) <= {1.0, 10.0}
    assert recorded.count(10.0) / 2000 == pytest.approx(rate, abs=0.03)
    assert [judge.record(float(s), rng, fault_rate=1) for s in range(1, 11)] == [10, *range(2, 11)]
    assert [judge.record(float(s), rng, fault_rate=1, up_to=2) for s in range(1, 11)] == [10, 10, *range(3, 11)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_critique_is_filled_in_and_tells_the_kind_apart(kind: tuple[str, bool]) -> None:
    task = find("What is the capital of France?")
    assert task is not None
    texts = {judge.critique(task, answer(kind), random.Random(seed)) for seed in range(40)}
    others = {
        judge.critique(task, answer(other), random.Random(seed))
        for other in KINDS
        if other != kind
        for seed in range(40)
    }
    assert len(texts) >= 2
    assert not texts & others
    assert not any("{" in text for text in texts)
