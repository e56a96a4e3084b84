"""Margins beside labels: the mathematics written out, what is refused, and what is said."""

from math import nextafter
from statistics import NormalDist, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.audit.pairs import PAIR_FLAGS, PairAudit, audit_pairs
from notus.audit.rewards import AGAINST, RewardCheck, _Margin, contradicted
from notus.audit.signals import FEWEST, REASON, SIGNALS
from notus.core.errors import DataError
from tests.audit.test_pairs import pair


def audited(count: int) -> PairAudit:
    return audit_pairs([pair("The Oder.", "No.", 5, 1, str(n)) for n in range(count)])


def judged(audit: PairAudit, margins: list[float], name: str = "check", seen: set[str] | None = None) -> RewardCheck:
    rows = zip(audit.rows, margins, strict=False)
    return RewardCheck(name, {row.id: margin for row, margin in rows}, set() if seen is None else seen)


def test_the_slug_is_known_to_both() -> None:
    assert AGAINST in PAIR_FLAGS
    assert AGAINST in SIGNALS


def test_p_place_and_flag() -> None:
    margins = [1.0, 2.0, 1.5, -0.5, 0.0, -8.0, 3.0, 1.0, *(1.0 + n / 10 for n in range(12))]
    audit, found = contradicted(audited(20), [judged(audited(20), margins)])
    middle = median(margins)
    s = median(abs(margin - middle) for margin in margins) / NormalDist().inv_cdf(0.75)
    for row, margin in zip(audit.rows, margins, strict=True):
        p = NormalDist().cdf((margin - middle) / s)
        assert row.reward_p == pytest.approx(p, rel=1e-6, abs=1e-12)
        assert row.suspicion == 1 + sum(other < margin for other in margins)
        assert (AGAINST in row.flags) == (p <= REASON and margin < 0)
        assert (row.reward_margin, row.judged_by, row.judge_saw_prompt) == (margin, "check", False)
    assert audit.health.flags == {AGAINST: 2}
    assert (found.scored, found.against.count, found.rejected_ahead.count) == (20, 2, 2)
    assert "2 of 20" in found.sentences()[0]
    assert "No pair was judged by a model that was trained on its prompt" in " ".join(found.sentences())


@pytest.mark.parametrize(("margins", "flags"), [([1.0] * 10 + [9.0] * 10, 0), ([-0.1] + [9.0, 10.0, 11.0] * 5, 0)])
def test_a_margin_above_zero_and_one_out_of_few_contradict_nothing(margins: list[float], flags: int) -> None:
    plain = audited(len(margins))
    assert contradicted(plain, [judged(plain, margins)])[1].against.count == flags


def test_each_check_has_its_own_spread() -> None:
    # The second model pulls answers apart a hundred times as far; its pairs are no more suspicious for that.
    margins = [1.0, 2.0, -1.0, 1.5, 0.5, -0.25]
    plain = audited(12)
    first = RewardCheck("a", {row.id: m for row, m in zip(plain.rows[:6], margins, strict=True)}, set())
    second = RewardCheck("b", {row.id: 100 * m for row, m in zip(plain.rows[6:], margins, strict=True)}, set())
    audit, _ = contradicted(plain, [first, second])
    for one, other in zip(audit.rows[:6], audit.rows[6:], strict=True):
        assert one.reward_p == pytest.approx(other.reward_p)
        assert one.suspicion == other.suspicion


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_lower_margin_is_no_less_suspicious(margins: list[float]) -> None:
    plain = audited(len(margins))
    rows = contradicted(plain, [judged(plain, margins)])[0].rows
    ordered = sorted(rows, key=lambda row: row.reward_margin or 0.0)
    places = [row.suspicion or 0 for row in ordered]
    assert places == sorted(places)
    assert min(places) == 1
    assert max(places) <= len(rows)


def test_what_is_missing_and_what_is_too_much_is_counted() -> None:
    plain = audited(4)
    stranger = audit_pairs([pair("Yes.", "No.")]).rows[0].id
    check = RewardCheck(
        "check", {plain.rows[0].id: 1.0, plain.rows[1].id: -1.0, stranger: 3.0}, {plain.rows[0].prompt_id}
    )
    audit, found = contradicted(plain, [check])
    assert [row.suspicion for row in audit.rows] == [2, 1, None, None]
    assert [row.judge_saw_prompt for row in audit.rows] == [True, False, None, None]
    assert (found.pairs, found.scored, found.strangers, found.seen, found.unknown) == (4, 2, 1, 1, 0)
    said = " ".join(found.sentences())
    assert "2 pairs of 4 have no margin" in said
    assert "1 margin of pairs that are not in the set" in said
    assert "own prompt in 1 of 2" in said
    assert "No pair was judged" not in said


def test_a_model_of_unknown_training_is_no_unseeing_one() -> None:
    plain = audited(2)
    check = RewardCheck("check", {row.id: 1.0 for row in plain.rows}, None)
    found = contradicted(plain, [check])[1]
    assert (found.seen, found.unknown) == (0, 2)
    assert "It is not known what the model of 2 pairs was trained on" in " ".join(found.sentences())


def test_a_reward_that_knows_nothing_is_no_evidence() -> None:
    plain = audited(40)
    for wrong, knows in ((4, True), (19, False), (30, False)):
        found = contradicted(plain, [judged(plain, [-1.0] * wrong + [1.0] * (40 - wrong))])[1]
        assert ("knows nothing of these labels" in " ".join(found.sentences())) is not knows


def test_another_set_is_told() -> None:
    check = judged(audit_pairs([pair("Yes.", "No.")]), [1.0])
    with pytest.raises(DataError, match=r"none of the 3 pairs of the set has a margin in check, where 1 other pair"):
        contradicted(audited(3), [check])


def test_a_pair_is_judged_once() -> None:
    plain = audited(2)
    with pytest.raises(DataError, match="has a margin in a and in b; a pair is judged once"):
        contradicted(plain, [judged(plain, [1, 2], "a"), judged(plain, [1, 2], "b")])


def test_a_margin_that_is_no_number_is_refused() -> None:
    plain = audited(2)
    with pytest.raises(DataError, match="not a finite number"):
        contradicted(plain, [judged(plain, [1.0, float("nan")])])


def test_a_margin_at_the_very_border_contradicts_a_label() -> None:
    check = RewardCheck("check", {str(n): 0.0 for n in range(FEWEST)}, set())
    few = RewardCheck("few", {str(n): 0.0 for n in range(FEWEST - 1)}, set())
    assert _Margin(-1.0, REASON, check).contradicts_label
    assert not _Margin(-1.0, nextafter(REASON, 1), check).contradicts_label
    assert not _Margin(0.0, REASON, check).contradicts_label
    assert not _Margin(-1.0, REASON, few).contradicts_label
