"""Which pairs are taken: each rule on a fixture worked out by hand, and what becomes of the others."""

import json
import random
from collections import Counter

import pytest

from notus.core.errors import ConfigError, DataError, LossError
from notus.core.records import Completion, Feedback, Message, Preference, Rating, Scale
from notus.core.run import read_json, read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_records, read_table, write_records
from notus.preferences.binarize import binarize
from notus.preferences.selection import FEWEST, Selection, choose
from notus.preferences.take.outvoted import outvote
from notus.preferences.take.plan import Wanted, plan, take
from notus.preferences.take.rules import Measured, Rewards, divergence, measure, places_of
from notus.provenance.lineage import explain
from notus.report.lineage import lineage_fields, lineage_sections
from notus.steps.answers.rank import Rank
from notus.steps.data.binarize import Binarize
from notus.steps.evaluate.reward_check import RewardCheck
from notus.steps.perform import run_step

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def rated(text, *grades, model="alder", **fields):
    ratings = tuple(Rating(aspect=name, value=grade) for name, grade in zip(ASPECTS, grades, strict=False))
    return Completion(text=text, model=model, ratings=ratings, **fields)


def asked(number, *answers):
    return Feedback(prompt=(Message(role="user", content=f"Name river {number}."),), completions=answers)


# Chosen and rejected by the mean rating; the margins are 8, 2, 1, 3, 3 and the mean scores 5, 7, 4.5, 8.5, 2.5.
SCORES = [(9, 1), (8, 6), (5, 4), (10, 7), (4, 1)]
ROWS = [asked(n, rated(f"Oder {n}" + "." * n, low), rated(f"Elbe {n}", high)) for n, (high, low) in enumerate(SCORES)]


def pairs_of(rows=ROWS, **settings):
    return list(apply(binarize(Selection(strategy="mean-rating", **settings), 0), rows, Tally("binarize")))


def measured(rule, rows=ROWS, rewards=()):
    by_id = {row.id: row for row in rows}
    return [
        Measured(pair.feedback_id, *places_of(pair), measure(rule, pair, by_id[pair.feedback_id], rewards))
        for pair in pairs_of(rows)
    ]


def order(rule, rows=ROWS, rewards=(), seed=0):
    """Numbers of the rows, those first that are taken first."""
    found = plan(rule, measured(rule, rows, rewards), Wanted(share=1.0), seed)
    number = {row.id: n for n, row in enumerate(rows)}
    placed = {number[key[0]]: place.place for key, place in found.places.items() if place.place is not None}
    return sorted(placed, key=placed.__getitem__)


def test_by_margin_the_largest_first_and_equal_ones_by_the_seed():
    orders = {tuple(order("margin", seed=seed)) for seed in range(12)}
    assert orders == {(0, 3, 4, 1, 2), (0, 4, 3, 1, 2)}
    assert [order("small-margin")[place] for place in (0, 1, 4)] == [2, 1, 0]


def test_moderate_margins_and_high_scores():
    # Mid-ranks of the margins: .9 .3 .1 .6 .6, so |2F − 1| = .8 .4 .8 .2 .2; of the mean scores: .5 .7 .3 .9 .1.
    found = plan("moderate", measured("moderate"), Wanted(share=1.0), 0)
    values = [found.places[row.id, 1, 0].value for row in ROWS]
    assert values == pytest.approx([-0.3, 0.3, -0.5, 0.7, -0.1])
    assert order("moderate") == [3, 1, 4, 0, 2]


def test_by_length_the_most_equal_first():
    # Chosen "Elbe n" has 6 characters, rejected "Oder n" 6 and n dots.
    assert order("length") == [0, 1, 2, 3, 4]
    assert [each.values[0] for each in measured("length")] == pytest.approx([0, 1 / 7, 2 / 8, 3 / 9, 4 / 10])


def test_at_random_the_seed_decides_and_not_the_order_of_the_rows():
    assert len({tuple(order("random", seed=seed)) for seed in range(20)}) > 10
    assert [ROWS[n].id for n in order("random")] == [ROWS[::-1][n].id for n in order("random", ROWS[::-1])]


def test_by_reward_the_largest_margin_of_the_ranker_or_the_smallest():
    # Chosen is answer 1. The ranker contradicts row 2 (−1.5) and knows nothing of row 4.
    scores = {0: (0.0, 2.0), 1: (1.0, 1.5), 2: (1.5, 0.0), 3: (-3.0, 1.0)}
    ranker = Rewards(
        "r", answers={ROWS[n].completion_id(i): s for n, both in scores.items() for i, s in enumerate(both)}
    )
    assert order("reward", rewards=[ranker]) == [3, 0, 1, 2]
    assert order("small-reward", rewards=[ranker]) == [2, 1, 0, 3]
    assert measured("reward", rewards=[ranker])[4].values == ()
    by_pair = Rewards("p", pairs={pair.id: margin for pair, margin in zip(pairs_of(), (4, 3, 5, 1, 2), strict=True)})
    assert order("reward", rewards=[by_pair]) == [2, 0, 1, 4, 3]


def test_the_aspects_agree_where_all_but_any_one_prefer_the_chosen_answer():
    low = (2, 2, 2, 2)
    # Gaps (2,2,2,2): −(8−2)/3. (4,4,0,0): −(8−4)/3. (4,1,1,−1): −(5−4)/3. Two aspects (3, −2): −(1−3)/1.
    rows = [((4, 4, 4, 4), -2.0), ((6, 6, 2, 2), -4 / 3), ((6, 3, 3, 1), -1 / 3), ((5, 0), 2.0)]
    for grades, expected in rows:
        assert divergence(rated("a", *grades), rated("b", *low)) == pytest.approx(expected)
    assert divergence(rated("a", 5), rated("b", 1)) is None
    # The margins of the means are 2, 2, 1.25 and .5: by the margin alone the first two are equal.
    data = [asked(n, rated("a", *grades), rated("b", *low)) for n, (grades, _) in enumerate(rows)]
    assert order("aspects", data[::-1]) == [3, 2, 1, 0]
    one, ten = (Rating(aspect="honesty", value=1, scale=Scale(1, high)) for high in (5, 10))
    with pytest.raises(DataError, match="different scales"):
        divergence(Completion(text="a", ratings=(one,)), Completion(text="b", ratings=(ten,)))


def test_how_many_are_taken():
    def taken(rule="margin", **wanted):
        found = plan(rule, measured(rule), Wanted(**wanted), 0)
        return found.keep, found.tied

    assert taken(share=0.4) == (2, 2)  # one of the two with margin 3
    assert taken(share=0.6) == (3, 0)
    assert taken(share=0.39) == (1, 0)  # rounded down
    assert taken(at_least=2, at_most=3) == (3, 0)
    assert taken(at_least=2, at_most=3, share=0.4) == (2, 0)  # of all five
    assert taken("random", share=0.4) == (2, 0)
    assert plan("margin", [], Wanted(share=0.5), 0).keep == 0
    # What a rule cannot measure counts for the share, and is not taken.
    ranker = Rewards("r", pairs={pairs_of()[0].id: 1.0})
    assert plan("reward", measured("reward", rewards=[ranker]), Wanted(share=0.4), 0).keep == 1


def test_each_pair_is_taken_or_dropped_with_its_reason():
    found = plan("margin", measured("margin"), Wanted(share=0.4, at_least=1.5), 0)
    tally = Tally("take")
    pairs = pairs_of()
    kept = list(apply(take(found, lambda pair: pair.feedback_id == ROWS[2].id), pairs, tally))
    assert (tally.taken, tally.given, len(tally.dropped)) == (5, 3, 2)
    assert Counter(item.reason for item in tally.dropped) == {"not-taken": 2}
    assert tally.counts == {"held-out": 1}
    assert kept[0].extra["taken"] == {"by": "margin", "value": 8.0, "place": 1, "of": 4, "keep": 2}
    assert "taken" not in next(pair for pair in kept if pair.feedback_id == ROWS[2].id).extra
    last = tally.dropped[-1]
    assert "of 4; 2 are taken" in last.detail
    assert (last.id in {row.id for row in ROWS}, last.asked_by) == (True, "share")
    outside = Tally("take")
    list(apply(take(plan("margin", measured("margin"), Wanted(at_least=2.5), 0), lambda _: False), pairs, outside))
    assert [(item.reason, item.asked_by) for item in outside.dropped] == [("out-of-bounds", "at_least")] * 2
    unmeasured = Tally("take")
    list(
        apply(
            take(plan("reward", measured("reward", rewards=[Rewards("none")]), Wanted(0.5), 0), lambda _: False),
            pairs,
            unmeasured,
        )
    )
    assert {item.reason for item in unmeasured.dropped} == {"unmeasured"}


VOTES = [(1, 1, -1), (-1, -1, 1), (-1, -1, -1), (0, 0, 0), (1, -1, 0)]
"""Of three rankers on the pairs of the fixture: the margins' signs; 0 is no vote."""


@pytest.mark.parametrize(
    ("how", "by", "lost"),
    [("remove", "majority", [1, 2]), ("remove", "all", [2]), ("flip", "majority", [1, 2]), ("flip", "all", [2])],
)
def test_pairs_that_rankers_contradict_are_removed_or_flipped(how, by, lost):
    pairs = pairs_of()
    rankers = [
        Rewards(name, pairs={pair.id: float(votes[number]) for pair, votes in zip(pairs, VOTES, strict=True)})
        for number, name in enumerate("abc")
    ]
    tally = Tally("outvoted")
    found = [
        pair for pair, _ in apply(outvote(rankers, how, by, lambda _: False), zip(pairs, ROWS, strict=True), tally)
    ]
    assert tally.counts["no-vote"] == tally.counts["vote-even"] == 1
    if how == "remove":
        assert [pair.id for pair in found] == [pair.id for n, pair in enumerate(pairs) if n not in lost]
        assert [item.id for item in tally.dropped] == [ROWS[n].id for n in lost]
        return
    assert tally.counts["flipped"] == len(lost)
    for number, (before, after) in enumerate(zip(pairs, found, strict=True)):
        if number not in lost:
            assert after == before
            continue
        assert (after.chosen, after.rejected) == (before.rejected, before.chosen)
        assert (after.score_chosen, after.score_rejected) == (before.score_rejected, before.score_chosen)
        assert places_of(after) == places_of(before)[::-1]
        assert after.extra["outvoted"]["rankers"] == 3
    held = [pair for pair, _ in outvote(rankers, how, by, lambda _: True)(zip(pairs, ROWS, strict=True), Tally("o"))]
    assert held == pairs


def test_the_rejected_answer_nearest_two_deviations_below_the_mean():
    # Mean 92/16 = 5.75, mean of squares 37.25, so the variance is 4.1875 and the wish 5.75 − 2 · 2.0463 = 1.657:
    # 3 is 1.343 away, 0 is 1.657 away.
    grades = [10, 7, 7, 7, 7, 6, 6, 6, 6, 6, 6, 5, 5, 5, 3, 0]
    row = asked(0, *(rated(f"answer {n}", grade) for n, grade in enumerate(grades)))
    selection = Selection(strategy="mean-rating", rejected="mean-2sd")
    assert choose(row, selection, selection.score(), 0).pairs == ((0, 14),)
    worst = Selection(strategy="mean-rating", rejected="worst")
    assert choose(row, worst, worst.score(), 0).pairs == ((0, 15),)
    few = row.keep(range(FEWEST - 1))
    problem = choose(few, selection, selection.score(), 0).problem
    assert (problem[0], "15 answers" in problem[1]) == ("few-answers", True)


def test_of_five_answers_or_fewer_the_nearest_to_it_is_always_the_lowest():
    rng = random.Random(4)
    for size in (2, 3, 4, 5):
        for _ in range(300):
            values = [rng.choice([0, 1, 5, rng.random() * 10]) for _ in range(size)]
            mean = sum(values) / size
            wish = mean - 2 * (sum((value - mean) ** 2 for value in values) / size) ** 0.5
            assert min(values, key=lambda value: abs(value - wish)) == min(values)


def test_delta_pairs_go_by_the_names_of_the_models_alone():
    row = asked(0, rated("a", 1, model="small"), rated("b", 5, model="tiny"), rated("c", 5, model="other"))
    selection = Selection(strategy="models", model_order=("small", "tiny"))
    choice = choose(row, selection, selection.score(), 0)
    assert (choice.scores, choice.pairs) == ((2.0, 1.0, None), ((0, 1),))
    for wrong in ({"strategy": "models"}, {"model_order": ("a", "b")}, {"strategy": "models", "model_order": ("a",)}):
        with pytest.raises(ConfigError, match="model_order"):
            Selection.parse(wrong, where="test")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("take")
    rng = random.Random(1)
    rows = [
        asked(n, *(rated(f"{model} says {n}", *(rng.randint(1, 5) for _ in ASPECTS), model=model) for model in "abcd"))
        for n in range(60)
    ]
    write_records(folder / "feedback.parquet", rows, Feedback)
    return folder


def made(place, name, **settings):
    config = Binarize.parse({"data": str(place / "feedback.parquet"), "strategy": "mean-rating"} | settings, where="t")
    return run_step("binarize", config, place / name, seed=3)


def read(run, table="preferences"):
    return list(read_records(run.path / f"{table}.parquet", Preference))


def test_a_share_of_the_pairs_is_taken_and_the_rest_is_told(place):
    every, run = made(place, "all"), made(place, "share", take="margin", share=0.3)
    margins = sorted((pair.score_chosen - pair.score_rejected for pair in read(every)), reverse=True)
    kept = [pair.score_chosen - pair.score_rejected for pair in read(run)]
    wanted = len(margins) * 3 // 10
    assert sorted(kept, reverse=True) == pytest.approx(margins[:wanted])
    told = read_manifest(run.path)["summary"]["take"]
    assert (told["by"], told["pairs"], told["taken"], told["share"]) == ("margin", len(margins), wanted, 0.3)
    assert (told["from"], told["to"]) == (max(kept), min(kept))
    stages = {each["stage"]: each for each in read_json(run.path / "tally.json")}
    assert stages["take"]["dropped"] == {"not-taken": len(margins) - wanted}
    assert stages["binarize"]["in"] == 60  # counted once, although it was done twice


def test_of_several_pairs_of_a_prompt_some_are_taken(place):
    every = read(made(place, "every-pair", rejected="all-pairs"))
    run = made(place, "some-pairs", rejected="all-pairs", take="margin", share=0.1)
    assert len(read(run)) == len(every) // 10
    rows = read_manifest(run.path)["rows"]
    assert (rows["in"], rows["kept"], rows["dropped"]) == (60, 60, {})  # a pair is no row
    assert len(read_table(run.path / "dropped.parquet")) == len(every) - len(read(run))


def test_what_is_held_out_is_left_alone(place):
    plain = made(place, "held", held_out=0.3)
    run = made(place, "held-share", held_out=0.3, take="margin", share=0.5)
    assert {pair.id for pair in read(run, "held_out")} == {pair.id for pair in read(plain, "held_out")}
    assert len(read(run)) == len(read(plain)) // 2


def test_the_result_does_not_depend_on_processes(place, monkeypatch):
    one = made(place, "one", take="aspects", share=0.4)
    monkeypatch.setattr("notus.formats.source.SHARD", 4_000)
    many = made(place, "many", take="aspects", share=0.4, workers=2)
    assert {pair.id for pair in read(one)} == {pair.id for pair in read(many)}


def test_rewards_are_those_of_a_ranking_a_check_or_of_the_answers_themselves(place):
    rank = Rank.parse({"outputs": str(place / "feedback.parquet"), "ranker": "length"}, where="t")
    rank_run = run_step("rank", rank, place / "rank")
    by_run = made(place, "by-run", take="reward", share=0.2, rewards=[str(rank_run.path)])
    config = {"data": str(rank_run.path), "strategy": "mean-rating", "take": "reward", "share": 0.2}
    own = run_step("binarize", Binarize.parse(config, where="t"), place / "own", seed=3)
    assert {pair.id for pair in read(own)} == {pair.id for pair in read(by_run)}
    check = RewardCheck.parse({"data": str(made(place, "pairs").path), "ranker": "length"}, where="t")
    by_check = made(
        place, "by-check", take="reward", share=0.2, rewards=[str(run_step("rewards", check, place / "c").path)]
    )
    assert {pair.id for pair in read(by_check)} == {pair.id for pair in read(by_run)}
    with pytest.raises(DataError, match="no pair has scores of both answers"):
        made(place, "nothing", take="reward", share=0.2)
    with pytest.raises(DataError, match="holds no ranker's scores"):
        made(place, "wrong", take="reward", share=0.2, rewards=[str(place / "pairs")])


def test_a_flipped_and_a_taken_pair_are_explained(place, tmp_path):
    def shortest(rows):
        return [
            Feedback(
                prompt=row.prompt,
                completions=tuple(
                    Completion(
                        text=item.text,
                        model=item.model,
                        ratings=item.ratings,
                        extra={"ranker_score": -item.mean_rating},
                    )
                    for item in row.completions
                ),
            )
            for row in rows
        ]

    rows = shortest(list(read_records(place / "feedback.parquet", Feedback)))
    write_records(tmp_path / "feedback.parquet", rows, Feedback)
    config = {"data": str(tmp_path / "feedback.parquet"), "strategy": "mean-rating", "outvoted": "flip"}
    config |= {"take": "small-margin", "share": 0.5}
    run = run_step("binarize", Binarize.parse(config, where="t"), tmp_path / "run", seed=3)
    pair = read(run)[0]
    assert pair.score_chosen < pair.score_rejected
    found = explain(pair.id, str(run.path))
    words = json.dumps([section.sentences for section in lineage_sections(found)])
    assert "turned round: 1 of 1 rankers" in words
    assert "in the set by small-margin" in words
    assert lineage_fields(found)["pairs"][0]["made"]["reproduced"]
    gone = {row.id for row in rows} - {each.feedback_id for each in read(run)}
    events = [event.what for event in explain(min(gone), str(run.path)).events]
    assert any("not-taken" in what and "are taken" in what for what in events)
    config = {"data": str(tmp_path / "feedback.parquet"), "strategy": "mean-rating", "outvoted": "remove"}
    with pytest.raises(DataError, match="is outvoted"):
        run_step("binarize", Binarize.parse(config, where="t"), tmp_path / "none", seed=3)


def test_models_are_named_as_they_are(place):
    run = made(place, "delta", strategy="models", model_order=["a", "d"])
    assert {(pair.model_chosen, pair.model_rejected) for pair in read(run)} == {("a", "d")}
    with pytest.raises(DataError, match="'elm'"):
        made(place, "unknown", strategy="models", model_order=["a", "d", "elm"])
    with pytest.raises(LossError, match="few-answers"):
        made(place, "few", rejected="mean-2sd")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 0.3}, "name one"),
        ({"take": "margin"}, "give a share"),
        ({"take": "random", "at_least": 1}, "no value"),
        ({"take": "margin", "at_least": 2, "at_most": 1}, "above"),
        ({"outvoted_by": "all"}, "outvoted"),
        ({"take": "margin", "share": 0.3, "rewards": ["x"]}, "rewards"),
        ({"take": "reward", "share": 0.3, "rewards": ["x", "y"]}, "one ranker"),
        ({"take": "margin", "share": 0.3, "test_size": 5}, "test size"),
        ({"take": "margins", "share": 0.3}, "take"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Binarize.parse({"data": "x"} | settings, where="test")


def test_a_share_of_less_than_one_pair_is_refused(place):
    with pytest.raises(DataError, match="less than one"):
        made(place, "tiny", take="margin", share=0.001)
