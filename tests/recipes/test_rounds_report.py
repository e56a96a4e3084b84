"""What rounds add to a report: the means over seeds, and the warnings with what they rest on."""

import msgspec
import pytest
from msgspec.structs import replace

from notus.core.artifacts import ROUNDS
from notus.core.run import write_json
from notus.evaluate.compare import format_estimate
from notus.evaluate.rounds import PromptAnswers, measure_answers
from notus.recipes.rounds_report import round_sections, round_warnings
from notus.report.evaluations.rounds import KL_CAVEAT
from notus.report.table import Table
from notus.stats.intervals import mean_over_seeds


def answers(score):
    return [
        PromptAnswers(prompt_id=f"p{n}", texts=("x" * (n + 1),), ranked=(score + n % 2,), checked=None, kl=(score,))
        for n in range(6)
    ]


@pytest.fixture
def arms(tmp_path):
    """Two seeds of an arm with two rounds."""
    found = {}
    for seed in (0, 1):
        rounds = [
            measure_answers(number, answers(number + seed), answers(0.0), None, ranker="r", check=None)
            for number in (1, 2)
        ]
        rounds[1] = replace(rounds[1], warnings=("Something is wrong.",))
        folder = tmp_path / f"round-2-{seed}"
        folder.mkdir()
        ROUNDS.at(folder).write_bytes(msgspec.json.encode(rounds))
        write_json(folder / "health.json", [])
        found[seed] = {"round-2": folder}
    return {"rounds": found}


def test_rounds_are_columns_and_seeds_are_replicates(arms):
    (section,) = round_sections(arms)
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert table.columns == ("", "Round 1", "Round 2")
    rows = {row[0]: row[1:] for row in table.rows}
    # The score rises by the number of the round, and by one more under the second seed.
    expected = [mean_over_seeds([number + 0.0, number + 1.0], [0, 1]) for number in (1, 2)]
    assert rows["Ranker's gain"] == tuple(map(format_estimate, expected))
    assert "n = 2 seeds" in table.note
    assert rows["KL in nats"] == tuple(map(format_estimate, expected))
    assert KL_CAVEAT in table.note


def test_a_warning_says_on_how_many_prompts_it_rests(arms):
    assert round_warnings(arms) == [
        "Round 2, seed 0, 6 prompts: Something is wrong",
        "Round 2, seed 1, 6 prompts: Something is wrong",
    ]
