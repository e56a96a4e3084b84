"""Who rated: bias, spread, agreement and what changes without a rater, against plain computations."""

import random
from statistics import mean, stdev

import pytest

from notus.audit.feedback import Accumulator, audit
from notus.audit.raters import OVERALL, RaterRow
from notus.core.records import Completion, Critique, Feedback, Rating, Scale
from notus.core.tables import read_records, write_records
from notus.report.raters import rater_sections
from notus.stats.agreement import krippendorff
from tests.helpers.data_examples import feedback

FIVE, TEN = Scale(low=1, high=5), Scale(low=1, high=10)
SHIFT = {"ann": 0, "bo": 1, "cy": -1}


def rated_set(prompts=40, seed=5):
    """Three raters of three answers to each prompt: bo one point too high, cy one too low and the noisiest."""
    rng = random.Random(seed)
    rows = []
    for number in range(prompts):
        answers = []
        for place in range(3):
            quality = rng.choice([2, 3, 4])
            ratings = [
                Rating(
                    aspect="quality",
                    value=min(5, max(1, quality + shift + (rng.choice([-1, 0, 1]) if name == "cy" else 0))),
                    rater=name,
                    scale=FIVE,
                )
                for name, shift in SHIFT.items()
                if rng.random() < 0.9
            ]
            answers.append(Completion(text=f"{number} {place}", model=f"m{place}", ratings=tuple(ratings)))
        rows.append(feedback(*answers, prompt=str(number)))
    return rows


def grades(rows):
    """Answer by answer: rater → value."""
    return [{each.rater: each.value for each in item.ratings} for row in rows for item in row.completions]


def test_bias_and_spread_are_those_of_plain_python():
    rows = rated_set()
    (group,) = audit(rows).raters.groups
    assert (group.what, group.of, group.scale) == ("ratings", "quality", FIVE)
    found = {rater.name: rater for rater in group.raters}
    for name in SHIFT:
        own = [item[name] for item in grades(rows) if name in item]
        apart = [
            item[name] - mean(value for other, value in item.items() if other != name)
            for item in grades(rows)
            if name in item and len(item) > 1
        ]
        rater = found[name]
        assert (rater.n, rater.shared) == (len(own), len(apart))
        assert rater.mean.mean == pytest.approx(mean(own))
        assert rater.bias.mean == pytest.approx(mean(apart))
        assert rater.spread.mean == pytest.approx(stdev(own))
        assert rater.spread.low < stdev(own) < rater.spread.high
    # The planted shifts are +1 and −1: 1.5 from the mean of the two others, but for the ends of the scale.
    assert found["bo"].bias.low > 0.8
    assert found["cy"].bias.high < -0.8
    assert found["ann"].bias.low < 0.3 < 1


def test_agreement_and_what_it_is_without_each_rater():
    rows = rated_set()
    (group,) = audit(rows).raters.groups
    table = [[item.get(name) for name in SHIFT] for item in grades(rows)]
    prompts = [number // 3 for number in range(len(table))]
    for metric in ("ordinal", "interval"):
        assert group.alpha[metric].mean == pytest.approx(krippendorff(table, prompts, metric=metric, draws=20).mean)
    for place, name in enumerate(SHIFT):
        left = [[value for other, value in enumerate(row) if other != place] for row in table]
        found = next(rater for rater in group.raters if rater.name == name)
        expected = krippendorff(left, prompts, metric="ordinal", draws=20)
        assert found.alpha_without.mean == pytest.approx(expected.mean)
        assert found.changed.count == sum(best(row, {name}) != best(row, set()) for row in rows if voted(row, name))
        assert found.changed.of == sum(voted(row, name) for row in rows)


def voted(row, name):
    return any(each.rater == name for item in row.completions for each in item.ratings)


def best(row, without):
    means = []
    for place, item in enumerate(row.completions):
        values = [each.value for each in item.ratings if each.rater not in without]
        if values:
            means.append((-round(mean(values), 9), place))
    return min(means)[1]


def test_two_raters_side_by_side():
    rows = rated_set()
    (group,) = audit(rows).raters.groups
    pairing = next(each for each in group.pairings if {each.a, each.b} == {"ann", "bo"})
    both = [(item["ann"], item["bo"]) for item in grades(rows) if {"ann", "bo"} <= item.keys()]
    raw = mean(a == b for a, b in both)
    chance = sum(mean(a == grade for a, _ in both) * mean(b == grade for _, b in both) for grade in range(1, 6))
    assert pairing.agreement.n == len(both)
    assert pairing.agreement.raw.mean == pytest.approx(raw)
    assert pairing.agreement.kappa.mean == pytest.approx((raw - chance) / (1 - chance))


def test_scales_and_aspects_stand_apart_and_critiques_have_a_rater():
    def judged(text, *ratings, score):
        return Completion(text=text, ratings=ratings, critique=Critique(text="", score=score, rater="judge", scale=TEN))

    rows = [
        feedback(
            judged(
                "a",
                Rating(aspect="quality", value=4, rater="ann", scale=FIVE),
                Rating(aspect="quality", value=9, rater="bo", scale=TEN),
                Rating(aspect="style", value=2, rater="ann", scale=FIVE),
                score=n + 1,
            ),
            prompt=str(n),
        )
        for n in range(4)
    ]
    found = {(group.of, group.scale): [rater.name for rater in group.raters] for group in audit(rows).raters.groups}
    assert found == {
        ("quality", FIVE): ["ann"],
        ("quality", TEN): ["bo"],
        ("style", FIVE): ["ann"],
        (OVERALL, TEN): ["judge"],
    }


def test_nameless_ratings_have_an_agreement_and_no_rater():
    rows = [
        feedback(
            Completion(
                text="a", ratings=tuple(Rating(aspect="rubric", value=v) for v in (n % 5 + 1, n % 4 + 1, n % 5 + 1))
            ),
            prompt=str(n),
        )
        for n in range(20)
    ]
    (group,) = audit(rows).raters.groups
    assert (group.raters, group.shared, group.n) == ((), 20, 60)
    table = [[each.value for each in row.completions[0].ratings] for row in rows]
    assert group.main.mean == pytest.approx(krippendorff(table, metric="ordinal", draws=20).mean)


def test_what_only_one_judge_rated_once_has_no_agreement_and_that_is_said():
    rows = [
        feedback(Completion(text="a", ratings=(Rating(aspect="x", value=n, rater="gpt"),)), prompt=str(n))
        for n in range(3)
    ]
    found = audit(rows).raters
    (group,) = found.groups
    assert (group.shared, group.main, group.raters[0].bias) == (0, None, None)
    assert "agreement cannot be told" in rater_sections(found)[0].sentences[0]
    assert audit([feedback(Completion(text="a", ratings=(Rating(aspect="x", value=1),)))]).raters.groups == ()


def test_the_parts_of_a_set_give_the_figures_of_the_whole():
    rows = rated_set(20)
    whole = audit(rows).raters
    first, second = Accumulator(), Accumulator()
    for row in rows[:7]:
        first.add(row)
    for row in reversed(rows[7:]):  # other raters may be met first
        second.add(row)
    first.merge(second)
    (merged,), (expected,) = first.ratings.columns(), whole.groups
    assert len(merged.items) == expected.n
    by_name = {merged.names[number]: [] for number in range(len(merged.names))}
    for number, value in zip(merged.raters.tolist(), merged.values.tolist(), strict=True):
        by_name[merged.names[number]].append(value)
    for rater in expected.raters:
        assert mean(by_name[rater.name]) == pytest.approx(rater.mean.mean)
    assert len(set(merged.items.tolist())) == expected.items


def test_the_table_holds_each_rater_and_reads_back(tmp_path):
    rows = audit(rated_set()).raters.rows()
    write_records(tmp_path / "raters.parquet", rows, RaterRow)
    assert list(read_records(tmp_path / "raters.parquet", RaterRow)) == rows
    assert {row.rater for row in rows} == SHIFT.keys()
    assert all(row.bias_low < row.bias < row.bias_high and row.scale_high == 5 for row in rows)


@pytest.mark.parametrize(
    ("ratings", "flag"),
    [
        ((Rating(aspect="x", value=0, scale=FIVE),), "legacy-zero"),
        ((Rating(aspect="x", value=7, scale=FIVE),), "off-scale"),
        ((Rating(aspect="x", value=4, scale=FIVE), Rating(aspect="y", value=4, scale=TEN)), "mixed-scales"),
    ],
)
def test_what_is_off_its_scale_is_flagged_and_nothing_else(ratings, flag):
    good = Completion(text="b", ratings=(Rating(aspect="x", value=3, scale=FIVE),))
    (first, second) = audit([feedback(Completion(text="a", ratings=ratings), good)]).rows
    assert (first.flags, second.flags) == ((flag,), ())


def test_flags_only_where_the_format_promises_what_is_missing():
    def only(*aspects, scale, rater=""):
        return tuple(
            Rating(aspect=name, value=0.0 if scale.low == 0 else 3.0, rater=rater, scale=scale) for name in aspects
        )

    helpsteer = Scale(low=0, high=4)
    five = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    quiet = [
        feedback(*(Completion(text=t, ratings=only(*five, scale=helpsteer)) for t in "ab")),
        # An own rubric that shares one name with UltraFeedback; two aspects by a judge who was asked for two.
        feedback(*(Completion(text=t, ratings=only("helpfulness", scale=FIVE)) for t in "ab"), prompt="2"),
        feedback(
            *(Completion(text=t, ratings=only("helpfulness", "honesty", scale=FIVE, rater="j")) for t in "ab"),
            prompt="3",
        ),
    ]
    assert audit(quiet).health.flags == {}
    lacking = feedback(*(Completion(text=t, ratings=only("helpfulness", "honesty", scale=FIVE)) for t in "ab"))
    assert audit([lacking]).health.flags == {"missing-ratings": 2}
    unread = Completion(
        text="a", ratings=only("honesty", scale=FIVE, rater="j"), extra={"unscored": {"truthfulness": {}}}
    )
    assert audit([feedback(unread, unread)]).health.flags == {"missing-ratings": 2}


def test_figures_rest_on_the_scale_of_most_and_say_what_is_left_out():
    def row(n, value, scale):
        return feedback(
            *(Completion(text=t, ratings=(Rating(aspect="x", value=value, scale=scale),)) for t in "ab"), prompt=str(n)
        )

    rows = [row(n, 2.0, FIVE) for n in range(3)] + [row(9, 9.0, TEN)]
    health = audit(rows).health
    assert health.other_scales == {"mean rating": {"1 to 10": 2}}
    assert (health.models[0].mean_rating, health.rated) == (2.0, 6)
    assert "mean rating on 1 to 10: 2 completions" in "\n".join(health.sentences())
    mixed = Feedback(prompt=rows[0].prompt, completions=(rows[0].completions[0], rows[-1].completions[1]))
    assert audit([mixed]).health.ties["mean-rating"].prompts == 0
