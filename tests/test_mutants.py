"""Damaged files of all kinds: no traceback, no "unexpected", no hang, and the exit code of a user's error."""

import json
import random

import pytest

from tests.helpers.mutants import ODD, judge, make_files, mutate, mutate_value, try_mutant

SEEDS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    return folder, make_files(folder)


@pytest.mark.parametrize("part", range(10))
def test_a_damaged_file_ends_in_one_line(made, part):
    folder, cases = made
    wrong = []
    for seed in range(part, SEEDS, 10):
        case = cases[seed % len(cases)]
        if said := try_mutant(folder, case, seed):
            wrong.append(f"{seed}, {case.kind}: {said}")
    assert not wrong, "\n".join(wrong)


def test_a_mutant_is_known_by_its_seed():
    data = json.dumps({"a": [1, {"b": "c"}], "d": "e"}).encode()
    made = [[mutate("x.json", data, random.Random(seed)) for seed in range(40)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 30
    assert mutate_value(3, random.Random(0)) in ODD


@pytest.mark.parametrize(
    ("code", "said", "wrong"),
    [
        (0, "Rows: 3", ""),
        (2, "notus: a is b", ""),
        (1, "notus: a is b", "exit code"),
        (2, "notus: unexpected KeyError: 'a'", "unexpected"),
        (2, "Traceback (most recent call last)", "unexpected"),
        (2, "", "0 lines"),
        (0, "a\x1b[2Jb", "control"),
    ],
)
def test_the_end_of_a_command_is_judged(code, said, wrong):
    assert judge(code, said).startswith(wrong)
    assert bool(judge(code, said)) == bool(wrong)
