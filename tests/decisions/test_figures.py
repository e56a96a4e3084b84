"""Figures of decisions: what counts as right, by reason and by depth, the random sample, how people agree."""

import json
import subprocess
import sys

import pytest

from notus.decisions.figures import figures, found_on
from notus.decisions.ruling import Ruling
from notus.decisions.settle import settle
from notus.decisions.store import open_store
from notus.report.audits.decided import decided_sections


def rulings(*said):
    """Rulings with numbers; each is (target, what, who, further fields)."""
    return [
        Ruling(target=target, of="completion", what=what, who=who, number=number, **fields)
        for number, (target, what, who, fields) in enumerate(said, 1)
    ]


def queue(count, wrong, reason="score-against-ratings", who="ana"):
    """So many of a queue, by suspicion: those whose place is named are kept, the others dropped."""
    return [
        (f"c{place}", "keep" if place in wrong else "drop", who, {"queue": "suspicion", "reasons": (reason,)})
        for place in range(1, count + 1)
    ]


def test_what_counts_as_right():
    scored = {"field": "overall_score", "value": 1.0}
    told = {
        "dropped": [("t", "drop", "ana", {})],
        "scored": [("t", "set-score", "ana", scored)],
        "kept and scored": [("t", "keep", "ana", {}), ("t", "set-score", "ana", scored)],
        "kept": [("t", "keep", "ana", {})],
        "kept at last": [("t", "drop", "ana", {}), ("t", "keep", "ana", {})],
        "cannot tell": [("t", "cannot-tell", "ana", {})],
        "noted": [("t", "note", "ana", {"value": "odd"})],
        "differ": [("t", "keep", "ana", {}), ("t", "drop", "ben", {})],
        "settled": [("t", "keep", "ana", {}), ("t", "drop", "ben", {}), ("t", "drop", "eve", {"queue": "conflicts"})],
    }
    found = {name: found_on(settle(rulings(*said)).targets["t"]) for name, said in told.items()}
    assert found == {
        "dropped": "fault",
        "scored": "fault",
        "kept and scored": "fault",
        "kept": "sound",
        "kept at last": "sound",
        "cannot tell": "cannot-tell",
        "noted": "note",
        "differ": "conflict",
        "settled": "fault",
    }


def test_the_precision_of_a_reason_is_a_share_with_wilsons_interval():
    found = figures(rulings(*queue(9, {4}), ("c10", "cannot-tell", "ana", {"queue": "suspicion", "reasons": ("odd",)})))
    (reason, other) = found.reasons
    assert (reason.reason, reason.right.count, reason.right.of) == ("score-against-ratings", 8, 9)
    # Wilson: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), p = 8/9, n = 9, z = 1.96.
    assert (reason.right.interval.low, reason.right.interval.high) == pytest.approx((0.5650, 0.9801), abs=5e-4)
    assert (other.reason, other.right.of, other.cannot_tell, other.right.interval) == ("odd", 0, 1, None)


def test_depth_is_the_order_of_deciding_or_the_place_in_an_audit():
    said = rulings(*queue(25, {4, 12, 13, 25}))
    by_order = figures(said)
    assert [(each.first, each.last, each.right.count, each.right.of) for each in by_order.depths] == [
        (1, 10, 9, 10),
        (11, 20, 8, 10),
        (21, 25, 4, 5),
    ]
    places = {f"c{place}": 26 - place for place in range(2, 26)}  # the other way round, and c1 unknown
    by_place = figures(said, places)
    assert [(each.first, each.last, each.right.count, each.right.of) for each in by_place.depths] == [
        (1, 10, 9, 10),  # c25 to c16, of which c25 is wrong
        (11, 20, 8, 10),  # c15 to c6, of which c12 and c13 are
        (21, 24, 3, 4),  # c5 to c2, of which c4 is
    ]
    assert (by_order.by_order, by_place.by_order, by_place.no_place) == (True, False, 1)
    text = " ".join(sentence for section in decided_sections(by_order) for sentence in section.sentences)
    assert "Places 1 to 10: of 10 records decided on, 9 had a fault, 1 had none." in text


def test_the_rate_is_of_the_random_sample_alone():
    drawn = [
        (f"r{n}", "drop" if n < 2 else "keep", "ana", {"queue": "random", "reasons": ("odd",) if n in (0, 5) else ()})
        for n in range(20)
    ]
    found = figures(rulings(*queue(30, set()), *drawn, ("r99", "cannot-tell", "ana", {"queue": "random"})))
    sample = found.sample
    assert (sample.faults.count, sample.faults.of) == (2, 20)
    assert (sample.faults.interval.low, sample.faults.interval.high) == pytest.approx((0.0279, 0.3010), abs=5e-4)
    assert (sample.without_reason.count, sample.without_reason.of) == (1, 18)
    assert (sample.with_reason.count, sample.with_reason.of, sample.cannot_tell) == (1, 2, 1)
    assert figures(rulings(*queue(3, set()))).sample is None


def test_answers_to_one_prompt_are_a_cluster():
    said = [
        (
            f"c{n}",
            "drop" if n % 4 else "keep",
            "ana",
            {"queue": "suspicion", "reasons": ("odd",), "prompt": f"p{n // 2}"},
        )
        for n in range(16)
    ]
    (reason,) = figures(rulings(*said)).reasons
    assert (reason.right.count, reason.right.of, reason.right.interval.groups) == (12, 16, 8)
    assert reason.right.interval.method == "clustered t"


def both(table, first="ana", second="ben"):
    """Rulings of two people: (what one says, what the other says) → how often."""
    said = []
    for (a, b), times in table.items():
        for _ in range(times):
            target = f"t{len(said)}"
            said += [(target, a, first, {}), (target, b, second, {})]
    return rulings(*said)


def test_two_people_agree_by_cohens_kappa():
    # Raw 20 + 15 of 50; by chance .5 · .6 + .5 · .4 = .5, so that κ = (.7 − .5)/.5: Cohen's own kind of table.
    found = figures(both({("keep", "keep"): 20, ("keep", "drop"): 5, ("drop", "keep"): 10, ("drop", "drop"): 15}))
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.both, pair.cannot_tell) == ("ana", "ben", 50, 0)
    assert (pair.found.raw.mean, pair.found.kappa.mean) == pytest.approx((0.7, 0.4))
    assert pair.found.kappa.low < 0.4 < pair.found.kappa.high
    # α of two: 1 − (n − 1) · disagreements / (2 · n_keep · n_drop) with n = 100 decisions: 55 keep, 45 drop, 15 differ.
    assert found.alpha.mean == pytest.approx(1 - 99 * 30 / (2 * 55 * 45))
    assert len(found.conflicts) == 15


def test_who_cannot_tell_stands_apart_and_what_settles_is_no_agreement():
    said = both({("keep", "keep"): 4, ("keep", "cannot-tell"): 2, ("drop", "keep"): 1})
    settled = Ruling(target=said[-1].target, of="completion", what="drop", who="eve", queue="conflicts", number=99)
    found = figures([*said, settled])
    assert [(each.a, each.b, each.both, each.cannot_tell, each.found.n) for each in found.pairs] == [
        ("ana", "ben", 7, 2, 5)
    ]
    assert (found.conflicts, found.settled) == ((), 1)
    assert [(each.name, each.decided) for each in found.people] == [("ana", 7), ("ben", 7), ("eve", 1)]


def test_dropping_and_setting_a_score_find_the_same_fault_by_another_act():
    said = [
        ("t1", "drop", "ana", {}),
        ("t1", "set-score", "ben", {"field": "overall_score", "value": 1.0}),
        ("t2", "keep", "ana", {}),
        ("t2", "keep", "ben", {}),
    ]
    (pair,) = figures(rulings(*said)).pairs
    assert pair.found.raw.mean == 1.0
    assert pair.what.raw.mean == 0.5


def test_what_is_undone_counts_nowhere():
    said = rulings(*queue(2, set()))
    undo = Ruling(target="c2", of="completion", what="undo", who="ana", undoes=2, number=3)
    anew = Ruling(target="c1", of="completion", what="keep", who="ana", number=4, reasons=("score-against-ratings",))
    found = figures([*said, undo, anew])
    flags = next(each.table for each in decided_sections(found) if each.heading == "How often a flag was right")
    assert flags.rows[-1][:3] == ("without a flag, yet faulty", 0, 0)
    assert (found.targets, found.decisions) == (1, 1)
    assert (found.taken_back, found.replaced) == (1, 1)  # of three that were made; the undo is none
    people, *_ = decided_sections(found)
    assert people.sentences[0] == (
        "1 decision on 1 record by 1 person count; besides, 1 were taken back, 1 decided anew."
    )
    assert found.reasons[0].right.of == 1


def test_nothing_decided_is_said():
    found = figures([])
    assert (found.targets, found.reasons, found.depths, found.alpha) == (0, (), (), None)
    assert [section.heading for section in decided_sections(found)] == ["Decisions", "Random sample"]


def test_the_command_prints_sections_and_json(tmp_path):
    place = tmp_path / "decisions.sqlite"
    with open_store(place, create=True) as store:
        store.add(rulings(*queue(9, {4})))

    def notus(*arguments):
        done = subprocess.run([sys.executable, "-m", "notus", *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = notus("decide", "figures", str(place))
    assert "Places 1 to 9: of 9 records decided on, 8 had a fault, 1 had none." in shown
    assert "A flag was right where" in shown
    told = json.loads(notus("decide", "figures", str(place), "--json"))
    assert told["reasons"][0]["right"]["count"] == 8
    assert told["depth_is"] == "order"
    assert told["random_sample"] is None


def test_a_depth_is_of_queues_that_are_ordered_each_from_its_first_place():
    def decided(name, queue, what):
        return (name, what, "ana", {"queue": queue})

    said = [decided(f"s{place}", "suspicion", "drop") for place in range(12)]
    said += [decided(f"f{place}", "flags", "keep") for place in range(11)]
    said += [decided(f"x{place}", queue, "drop") for place, queue in enumerate(("", "filter", "random"))]
    depths = figures(rulings(*said)).depths
    # Places 1 to 10 hold ten of each queue, 11 and 12 two dropped ones and one that was kept.
    assert [(each.first, each.last, each.right.count, each.right.of) for each in depths] == [
        (1, 10, 10, 20),
        (11, 12, 2, 3),
    ]
