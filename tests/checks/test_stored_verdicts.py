"""Verdicts that others stored: 12 models on IFEval's 541 prompts, strict and loose (see docs/checks.md).

Two kinds of verdict cannot be repeated by anybody, because the reference draws them: on the two prompts whose "letter"
is a sign (it takes a letter at random), and on texts near a border between two languages (langdetect without a seed).
"""

import gzip
import json
from functools import cache

import pytest

from notus.checks import languages
from notus.checks.prompts import checked_prompt
from notus.checks.protocol import loose_variants
from tests.helpers.paths import SHARED

FOLDER = SHARED / "data" / "ifeval"
LANGUAGES = ("language:", "change_case:english")
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER}: stored verdicts of IFEval")


@cache
def prompts():
    with gzip.open(FOLDER / "prompts.jsonl.gz", "rt") as file:
        return {row["key"]: checked_prompt(row) for row in map(json.loads, file)}


def stored():
    with gzip.open(FOLDER / "verdicts_12_models.jsonl.gz", "rt") as file:
        yield from map(json.loads, file)


def draws(text: str) -> set[str | None]:
    """All that langdetect says of a text or of a variant of it, over 40 seeds."""
    return {languages._draw(each, seed)[0] for each in loose_variants(text) if each.strip() for seed in range(40)}


def unlike(row):
    """Each instruction with another verdict than the stored one: kind, why nobody can repeat it, or None."""
    prompt = prompts()[row["key"]]
    text = row["response"] or ""
    found = prompt.check(text)
    for number, check in enumerate(prompt.checks):
        if (found.strict[number], found.loose[number]) == (row["strict"][number], row["loose"][number]):
            continue
        why = None
        if check.id == "keywords:letter_frequency" and not check.settings["letter"].isalpha():
            why = "letter at random"
        elif check.id.startswith(LANGUAGES) and len(draws(text)) > 1:
            why = "languages drawn"
        yield check.id, why


@needs_data
def test_a_sample_of_stored_verdicts_is_ours():
    told, checked = [], 0
    for number, row in enumerate(stored()):
        kinds = [check.id for check in prompts()[row["key"]].checks]
        # Every 7th row, without what takes langdetect: the whole has its test below.
        if number % 7 or any(kind.startswith(LANGUAGES) for kind in kinds):
            continue
        checked += len(kinds)
        told += list(unlike(row))
    assert checked > 1000
    assert {why for _, why in told} <= {"letter at random"}


@pytest.mark.slow
@needs_data
def test_all_stored_verdicts_are_ours_but_what_nobody_can_repeat():
    rows = instructions = 0
    told = []
    for row in stored():
        rows += 1
        instructions += len(row["strict"])
        told += list(unlike(row))
    assert (rows, instructions) == (6492, 10008)
    assert [kind for kind, why in told if why is None] == []
    by_why = {why: sum(1 for _, other in told if other == why) for _, why in told}
    assert by_why.get("letter at random", 0) <= 24  # two prompts, 12 models
    assert by_why.get("languages drawn", 0) <= 10
