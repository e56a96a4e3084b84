"""What is wrong with a pair by itself, one case for each rule."""

import json
import unicodedata

import pytest

from notus.core.records import Message, Preference, ToolCall
from notus.preferences.faults import PAIR_FAULTS, has_text, pair_faults
from tests.helpers.data_examples import SHARED


def pair(chosen="Blue.", rejected="Red.", **fields):
    sides = [
        side if isinstance(side, tuple) else (Message(role="assistant", content=side),) for side in (chosen, rejected)
    ]
    return Preference(prompt=(Message(role="user", content="?"),), chosen=sides[0], rejected=sides[1], **fields)


SCORED = {"score_chosen": 5.0, "score_rejected": 1.0}


@pytest.mark.parametrize(
    ("record", "faults"),
    [
        (pair(**SCORED), ()),
        (pair(margin=2.0), ()),
        (pair(), ("unscored",)),
        (pair(score_chosen=1.0), ("unscored",)),
        (pair(margin=-1.0), ("reversed",)),
        (pair(margin=0.0), ("score-tie",)),
        (pair(score_chosen=1.0, score_rejected=5.0), ("reversed",)),
        (pair(score_chosen=5.0, score_rejected=5.0), ("score-tie",)),
        (pair("Same.", "Same.", **SCORED), ("same-answers", "same-but-scored-apart")),
        (pair("Same.", "Same.", score_chosen=1.0, score_rejected=1.0), ("same-answers", "score-tie")),
        (pair("", **SCORED), ("empty-answer",)),
        (pair(rejected="\u200b", **SCORED), ("empty-answer",)),
        (pair(rejected=" \u2060\ufeff\n", **SCORED), ("empty-answer",)),
        (pair(rejected=(Message(role="assistant", content="", reasoning="Hm."),), **SCORED), ("empty-answer",)),
        (pair(rejected=(Message(role="assistant", content="", tool_calls=(ToolCall(name="f"),)),), **SCORED), ()),
    ],
)
def test_each_fault_has_its_name(record, faults):
    assert pair_faults(record) == faults
    assert set(faults) <= PAIR_FAULTS.keys()


def test_letters_marks_and_signs_of_all_scripts_can_be_seen():
    invisible = [chr(code) for code in range(0x110000) if not has_text(chr(code))]
    kinds = {unicodedata.category(char) for char in invisible}
    assert kinds == {"Cc", "Cf", "Zs", "Zl", "Zp", "Cn", "Mn", "Lo", "So"}
    # Of letters and signs only the fillers of Hangul, and the empty braille pattern.
    assert {c for c in invisible if unicodedata.category(c) in ("Lo", "So")} == set("\u115f\u1160\u3164\uffa0\u2800")
    assert all(has_text(text) for text in ("a", "€", "語", "🙂", "\u0301", "\ufffd", "."))


def test_the_three_empty_pairs_are_flagged():
    path = SHARED.parent / "cases" / "data" / "formats" / "empty2.jsonl"
    if not path.exists():
        pytest.skip("the cases are not here")
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    assert ["empty-answer" in pair_faults(pair(row["chosen"], row["rejected"])) for row in rows] == [True] * 3
