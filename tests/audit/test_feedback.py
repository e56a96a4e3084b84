import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.audit.feedback import FLAGS, Accumulator, Suspicion, audit, write_audit
from notus.audit.signals import FEWEST
from notus.core.records import Completion, Critique, Feedback, Rating
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.formats.families.ultrafeedback import decode
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.stats.ranks import mid_ranks
from tests.helpers.data_examples import ASPECT_NAMES, SHARED, completion, feedback, raw_row
from tests.helpers.plain_audit import plain_audit, plain_groups


def test_mid_ranks_by_hand() -> None:
    # Of 3, 1, 3, 2: below + half of the equal ones, over 4.
    assert mid_ranks([3, 1, 3, 2]).tolist() == [(2 + 1) / 4, (0 + 0.5) / 4, (2 + 1) / 4, (1 + 0.5) / 4]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_mid_ranks_have_their_mean_in_the_middle(values: list[int]) -> None:
    ranks = mid_ranks(values)
    assert np.isclose(ranks.mean(), 0.5)
    assert all(
        (a < b) == (x < y) for a, x in zip(values, ranks, strict=True) for b, y in zip(values, ranks, strict=True)
    )


def test_a_flattering_score_is_the_most_suspicious() -> None:
    rows = [
        feedback(completion("a", 1.0 + i, 2.0 * i + 1), completion("b", 1.5 + i, 2.0 * i + 2), prompt=str(i))
        for i in range(4)
    ]
    rows.append(feedback(completion("false", 1.0, 10.0), completion("real", 5.0, 10.0), prompt="last"))
    found = audit(rows)
    assert found.measure == "score-against-ratings"
    worst = found.ranked(1)[0]
    assert (worst.id, worst.suspicion, worst.repair) == (rows[-1].completion_id(0), 1, "set-to-1")
    # Means: 1 twice among 10 values → (0 + 1)/10; scores: 10 twice → (8 + 1)/10.
    assert (worst.rank_of_mean, worst.rank_of_score) == (0.1, 0.9)
    assert worst.disagreement == pytest.approx(0.8)
    assert [row.id for row in found.rows] == [row.completion_id(i) for row in rows for i in range(2)]


def test_equal_disagreements_share_the_better_place() -> None:
    found = audit([feedback(completion("a", 1.0, 9.0), completion("b", 5.0, 1.0), completion("c", 3.0, 5.0))])
    assert [row.suspicion for row in found.rows] == [1, 1, 3]
    assert [row.disagreement for row in found.rows] == pytest.approx([2 / 3, -2 / 3, 0])


def test_ranks_are_not_taught_the_fault_by_the_set() -> None:
    """Where most bad answers carry a false 10, it is what is usual among them; in the ranks it still stands out."""
    rng = random.Random(4)
    rows, false = [], set()
    for number in range(1500):
        quality = min(5.0, max(1.0, rng.gauss(3.6, 1.1)))
        mean = min(5.0, max(1.0, round(4 * (quality + rng.gauss(0, 0.4))) / 4))
        score = min(10.0, max(1.0, float(round((quality - 1) / 4 * 9 + 1 + rng.gauss(0, 1.2)))))
        fault = score == 1 and rng.random() < 0.8
        rows.append(feedback(completion("a", mean, 10.0 if fault else score), prompt=str(number)))
        if fault:
            false.add(rows[-1].completion_id(0))
    found = audit(rows)
    assert 10 < len(false) < 100
    top = [row.id in false for row in found.ranked(len(false))]
    assert sum(top) / len(top) > 0.85
    # The same by surprise within bands of half a point: −log10 of the share of scores in the band.
    bands = [round(2 * (row.mean_rating or 0)) for row in found.rows]
    pairs = list(zip(bands, (row.overall_score for row in found.rows), strict=True))
    surprise = sorted(range(len(pairs)), key=lambda i: pairs.count(pairs[i]) / bands.count(pairs[i][0]))
    by_band = [found.rows[i].id in false for i in surprise[: len(false)]]
    assert sum(by_band) < sum(top) / 2


def test_without_overall_scores_the_spread_of_repeated_ratings_counts() -> None:
    def judged(text: str, *values: float | None) -> Completion:
        return Completion(text=text, ratings=tuple(Rating(aspect="rubric", value=value) for value in values))

    found = audit([feedback(judged("a", 4, 4, 4), judged("b", 1, 3, 5), judged("c", 4, None), judged("d", 2, 3, None))])
    assert found.measure == "spread-of-ratings"
    # Standard deviation with n − 1: 1, 3, 5 → √(8/2) = 2;  2, 3 → √(0.5/1).
    assert [row.disagreement for row in found.rows] == [0.0, pytest.approx(2.0), None, pytest.approx(0.5**0.5)]
    assert [row.suspicion for row in found.rows] == [3, 1, None, 2]
    assert [row.not_applicable for row in found.rows] == [0, 0, 1, 1]
    assert [row.id for row in found.ranked()] == [found.rows[i].id for i in (1, 3, 0)]


def test_with_neither_there_is_no_suspicion() -> None:
    found = audit([feedback(completion("a", 4.0), completion("b", 3.0))])
    assert found.measure == "none"
    assert found.ranked() == []


def flags_of(change: dict) -> list[tuple[str, ...]]:
    row = raw_row()
    row["completions"][0] |= change
    return [found.flags for found in audit([decode(row)]).rows]


def test_the_usual_row_has_no_flag() -> None:
    assert flags_of({}) == [()] * 4


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"annotations": {aspect: {"Rating": "0"} for aspect in ASPECT_NAMES}, "fine-grained_score": 0}, "legacy-zero"),
        ({"annotations": {"honesty": {"Rating": "4"}}, "fine-grained_score": 4}, "missing-ratings"),
        ({"fine-grained_score": 3.5}, "mean-mismatch"),
        ({"response": " \n"}, "empty-answer"),
    ],
)
def test_flags(change: dict, flag: str) -> None:
    first, *others = flags_of(change)
    assert first == (flag,)
    assert others == [()] * 3
    assert flag in FLAGS


def test_flags_of_what_is_alone_or_without_scores() -> None:
    (row,) = audit([feedback(completion("a"))]).rows
    assert row.flags == ("one-completion", "unscored")
    stated = Feedback(prompt=feedback(completion()).prompt, completions=(completion("a", 3.667), completion("b", 3.0)))
    rounded = msgspec.structs.replace(stated.completions[0], extra={"fine-grained_score": 3.67})
    found = audit([msgspec.structs.replace(stated, completions=(rounded, stated.completions[1]))])
    assert found.rows[0].flags == ()  # a difference by rounding is none


def test_the_rows_make_a_table(tmp_path) -> None:
    found = audit([decode(raw_row())])
    write_records(tmp_path / "suspicion.parquet", found.rows, Suspicion)
    assert tuple(read_records(tmp_path / "suspicion.parquet", Suspicion)) == found.rows


def test_the_real_row() -> None:
    path = SHARED / "ultrafeedback" / "raw_row0.json"
    if not path.exists():
        pytest.skip("the real row is not here")
    found = audit(open_source(str(path)).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]
    assert [row.mean_rating for row in found.rows] == [1.25, 5.0, 4.0, 1.25]
    assert [row.overall_score for row in found.rows] == [4.0, 7.5, 6.0, 3.0]
    # The two tied by mean share rank 1/4; by score they stand at 3/8 and 1/8.
    assert [row.disagreement for row in found.rows] == [0.125, 0.0, 0.0, -0.125]
    assert all(row.flags == () for row in found.rows)


_scores = st.none() | st.sampled_from([1.0, 2.0, 7.5, 10.0])
_judged = st.builds(
    Completion,
    text=st.sampled_from(["a", "an answer", ""]),
    model=st.sampled_from(["", "alder", "birch"]),
    ratings=st.lists(
        st.builds(
            Rating, aspect=st.sampled_from(["honesty", "rubric"]), value=st.none() | st.integers(0, 5).map(float)
        ),
        max_size=3,
    ).map(tuple),
    critique=_scores.map(lambda score: None if score is None else Critique(text="Well.", score=score)),
)
_sets = st.lists(
    st.builds(
        lambda items, prompt, source: feedback(*items, prompt=prompt, source=source),
        st.lists(_judged, min_size=1, max_size=3),
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(_sets, st.integers(0, 8))
def test_columns_and_parts_change_nothing(records: list[Feedback], border: int) -> None:
    """Against the plain audit: every row and every interval, to the last bit, in one piece and in two."""
    measure, rows = plain_audit(records)
    found = audit(records)
    assert found.measure == measure
    if len(rows) < FEWEST:  # from there on the place rests on more than the disagreement
        assert list(found.rows) == rows
    assert [row.disagreement for row in found.rows] == [row.disagreement for row in rows]
    for name, groups in (("model", found.health.models), ("source", found.health.sources)):
        plain = plain_groups(records, name)
        assert [(g.name, g.completions, g.mean_rating_interval, g.overall_score_interval) for g in groups] == [
            (of, *plain[of]) for of in sorted(plain)
        ]
    whole = Accumulator()
    for part in (records[:border], records[border:]):
        accumulator = Accumulator()
        for record in part:
            accumulator.add(record)
        whole.merge(accumulator)
    assert whole.health() == found.health
    assert len(whole) == len(rows)


def drawn_scores(rng: random.Random) -> tuple[float | None, float | None]:
    """Mean rating and score, mostly of one mind, a few not; some are missing."""
    mean = rng.choice([1.0, 2.0, 2.5, 3.0, 4.0, 5.0])
    score = 2 * mean - rng.choice([0, 0, 0, 0.5, 1]) if rng.random() < 0.98 else 11 - 2 * mean
    return rng.choice([None, mean, mean, mean]), rng.choice([None, score, score, score])


def test_drafts_on_disk_become_the_same_table(tmp_path: Path) -> None:
    rng = random.Random(1)
    records = [
        feedback(*(completion("a", *drawn_scores(rng)) for _ in range(4)), prompt=str(number)) for number in range(900)
    ]
    plain = audit(records)
    whole, drafts = Accumulator(), []
    for number, start in enumerate((0, 300, 700)):
        part = Accumulator()
        rows = [row for record in records[start : (300, 700, 900)[number]] for row in part.add(record)]
        drafts.append(tmp_path / f"{number}.parquet")
        write_records(drafts[-1], rows, Suspicion)
        whole.merge(part)
    found = write_audit(tmp_path / "completions.parquet", drafts, whole)
    write_records(tmp_path / "plain.parquet", plain.rows, Suspicion)
    assert (tmp_path / "completions.parquet").read_bytes() == (tmp_path / "plain.parquet").read_bytes()
    assert (found.measure, found.health, len(found.rows)) == (plain.measure, plain.health, 3600)
    assert list(found.rows) == list(plain.rows)
    assert found.ranked(7) == plain.ranked()[:7]
    assert plain.ranked() == sorted((row for row in plain.rows if row.suspicion), key=lambda row: row.suspicion or 0)
    assert found.reasons == plain.reasons == Counter(slug for row in plain.rows for slug in row.reasons)
    assert found.reasons
