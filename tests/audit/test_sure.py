"""How sure the audit says it is: few sets with fixed seeds; ``benchmarks.false_discovery`` does it with thousands.

The generators and the noise are those of the benchmark: the finder was not told of them.
"""

import msgspec
import numpy as np
import pytest

from benchmarks.false_discovery import KINDS, NOISES, flagged, make_set
from notus.audit.feedback import audit
from notus.audit.pairs import audit_pairs
from notus.audit.signals import FACTS, REASON, SURE
from notus.audit.wording import LEAST
from notus.core.records import Completion, Critique, Feedback
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.data_examples import completion, feedback
from tests.helpers.paths import SHARED

NULL = SHARED / "cases" / "data" / "formats" / "null_uf.jsonl"


def hits(kind: str, noise: str, share: float, seed: int) -> tuple[set[int], dict[int, str]]:
    made = make_set(kind, noise, share, (seed, 99), prompts=60)
    q = flagged(kind, made.records)
    return set(np.flatnonzero(np.nan_to_num(q, nan=1.0) <= SURE).tolist()), made.faults


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_sets_without_a_fault_are_seldom_flagged(kind: str) -> None:
    noises = NOISES[::2] if kind == "ultrafeedback" else NOISES
    found = [bool(hits(kind, noise, 0.0, number)[0]) for number, noise in enumerate(noises)]
    assert sum(found) <= 1  # about a tenth of them


@pytest.mark.parametrize("kind", ["ultrafeedback", "repeated"])
def test_most_recorded_tens_are_flagged_and_little_else(kind: str) -> None:
    tens = planted = sound = total = 0
    for number, noise in enumerate(NOISES[: 4 if kind == "ultrafeedback" else 8]):
        found, faults = hits(kind, noise, 0.05, number)
        of = {place for place, what in faults.items() if what == "recorded-ten"}
        tens, planted = tens + len(found & of), planted + len(of)
        sound, total = sound + len(found - faults.keys()), total + len(found)
    assert tens / planted > 0.85
    assert sound / total <= SURE


def test_the_set_without_a_fault_that_others_made() -> None:
    if not NULL.exists():
        pytest.skip("the faultless set is not here")
    found = audit(open_source(str(NULL)).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]
    assert found.sure() == (0, 0.0)
    assert all(
        chance.flagged < 3 * REASON * chance.known for slug, chance in found.chances.items() if slug not in FACTS
    )


def test_four_tens_in_that_set_are_all_that_is_flagged() -> None:
    if not NULL.exists():
        pytest.skip("the faultless set is not here")
    rows: list[Feedback] = list(open_source(str(NULL)).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]
    ones = [(row, i) for row in range(400) for i, item in enumerate(rows[row].completions) if item.overall_score == 1]
    planted = set()
    for row, place in ones[3:31:7]:
        items = list(rows[row].completions)
        critique = msgspec.structs.replace(items[place].critique, score=10.0)
        items[place] = msgspec.structs.replace(items[place], critique=critique)
        rows[row] = msgspec.structs.replace(rows[row], completions=tuple(items))
        planted.add(rows[row].completion_id(place))
    found = audit(rows)
    assert {row.id for row in found.rows if row.q is not None and row.q <= SURE} == planted
    assert [row.id in planted for row in found.suspected(5)] == [True] * 4 + [False]
    assert all("ten-for-one" in row.reasons for row in found.suspected(4))
    count, sound = found.sure()
    assert (count, 0 < sound < 0.4) == (4, True)


def test_suspects_have_a_reason_and_the_surest_come_first() -> None:
    made = make_set("ultrafeedback", "t3", 0.05, (4, 4), prompts=120)
    found = audit(made.records)
    rows = found.suspected()
    assert len(rows) == len(found.suspects) == sum(bool(row.reasons) for row in found.rows)
    assert all(row.reasons and row.evidence for row in rows)
    sure = [row.q is not None and row.q <= SURE for row in rows]
    assert sure == sorted(sure, reverse=True)
    assert sum(sure) == found.sure()[0] > 0
    assert all(row.reasons for row in found.rows if row.q is not None and row.q <= SURE)


def test_a_critique_that_agrees_with_the_score_counts_for_it() -> None:
    """Twice the same difference from the ratings; once the wording agrees with the score, once with the ratings."""
    made = make_set("ultrafeedback", "normal", 0.0, (1, 1), prompts=150)
    said = {item.critique.score: item.critique.text for row in made.records for item in row.completions}
    rows = list(made.records)
    for number, text in ((0, said[9.0]), (1, said[2.0])):
        items = list(rows[number].completions)
        low = tuple(msgspec.structs.replace(each, value=1.0) for each in items[0].ratings)
        items[0] = msgspec.structs.replace(items[0], ratings=low, critique=Critique(text=text, score=9.0))
        rows[number] = msgspec.structs.replace(rows[number], completions=tuple(items))
    found = audit(rows)
    agrees, contradicts = (next(row for row in found.rows if row.id == rows[n].completion_id(0)) for n in (0, 1))
    assert (agrees.disagreement or 0) == pytest.approx(contradicts.disagreement or 0)
    assert (agrees.strength or 0) < (contradicts.strength or 0) - 1
    assert (agrees.q or 0) >= (contradicts.q or 0)


def test_what_is_not_read_is_told_with_what_it_needs() -> None:
    few = audit([feedback(completion("a", 4.0, 5.0), completion("b", 2.0, 3.0))] * 15)
    assert any(f"takes {LEAST}" in sentence and "30" in sentence for sentence in few.unread)
    tiny = audit([feedback(completion("a", 4.0, 5.0))])
    assert any("20" in sentence for sentence in tiny.unread)
    assert tiny.chances == {}
    made = make_set("ultrafeedback", "normal", 0.0, (2, 2), prompts=100)
    foreign = Completion(
        text="Die Oder.", critique=Critique(text="Ganz falsch und ziemlich knapp geraten, leider.", score=2.0)
    )
    silent = Completion(text="The Oder.", critique=None)
    found = audit([*made.records, feedback(foreign, silent, prompt="Nenne einen Fluss.")])
    assert found.rows[-2].expected_score is None
    (sentence,) = (each for each in found.unread if "critiques" in each)
    assert "1 are in other words" in sentence
    assert "1 completion has none" in sentence
    assert "read in 400 " in sentence


def test_margins_of_pairs_are_a_matter_of_chance_and_facts_are_not() -> None:
    made = make_set("pairs", "normal", 0.0, (3, 3), prompts=300)
    odd = msgspec.structs.replace(made.records[0], score_chosen=-60.0, score_rejected=10.0)
    found = audit_pairs([odd, *made.records[1:]])
    assert found.rows[0].q is not None
    assert found.rows[0].q <= SURE
    assert found.rows[0].flags == ("reversed", "margin-against-label")
    assert "score -60 of chosen, 10 of rejected" in found.rows[0].evidence
    assert found.chances["margin-against-label"].known == 300
    reversed_ones = [row for row in found.rows[1:] if "reversed" in row.flags]
    assert reversed_ones
    assert all((row.q or 1) > SURE for row in reversed_ones)
    assert audit_pairs(made.records[:5]).chances == {}
