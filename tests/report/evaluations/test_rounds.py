"""What is said of best of n, and of shares without an exception."""

import re

from notus.evaluate.best_of_n import ScoredAnswers, best_of_n_curve
from notus.evaluate.rounds import PromptAnswers, measure_answers
from notus.report.evaluations.rounds import KL_CAVEAT, best_of_n_sections, round_sections


def said(prompts, check=None):
    found = best_of_n_sections(best_of_n_curve(prompts), "length", check)
    return " ".join(found[0].sentences)


def test_one_answer_to_each_prompt_leaves_nothing_to_choose():
    told = said([ScoredAnswers(f"p{n}", (float(n),)) for n in range(4)])
    assert "nothing to choose among" in told
    assert "gains" not in told


def test_prompts_without_a_check_are_told():
    checks = [(None, 1.0), (1.0, 0.0), (0.0, 1.0)]
    told = said([ScoredAnswers(f"p{n}", (1.0, 2.0), check) for n, check in enumerate(checks)], "mine")
    assert "scored all answers to 2 of these prompts" in told
    never = said([ScoredAnswers(f"p{n}", (1.0, 2.0), (None, None)) for n in range(3)], "mine")
    assert "scored all answers to 0 of these prompts" in never


def test_a_round_that_wins_always_is_not_certain_to():
    def answers(text, score):
        return [PromptAnswers(prompt_id=f"p{n}", texts=(text,), ranked=(score,), checked=None) for n in range(20)]

    found = measure_answers(1, answers("Better.", 1.0), answers("Worse.", 0.0), None, ranker="r", check=None)
    (table,) = [section.table for section in round_sections([found]) if section.table]
    rows = {row[0]: row[1] for row in table.rows}
    # Wilson's lower end for 20 of 20: 20/(20 + 1.96²).
    assert rows["Win rate by the ranker"] == f"1.000 [{20 / (20 + 1.96**2):.3f}, 1.000]"


def test_the_divergence_carries_what_it_is_good_for():
    def notes(kl):
        found = [PromptAnswers(prompt_id=f"p{n}", texts=("A.",), ranked=(1.0 + n,), kl=kl) for n in range(4)]
        rounds = [measure_answers(1, found, found, None, ranker="r", check=None)]
        return [section.table.note for section in round_sections(rounds) if section.table]

    assert KL_CAVEAT in notes((0.5,))[0]
    assert KL_CAVEAT not in notes(None)[0]


def test_rounds_are_counted_in_whole_numbers():
    def answers(score):
        return [
            PromptAnswers(prompt_id=f"p{n}", texts=("A text.",), ranked=(score + n % 3,), checked=None)
            for n in range(9)
        ]

    start = answers(0.0)
    rounds = [measure_answers(n, answers(n / 2), start, None, ranker="r", check=None) for n in (1, 2)]
    picture = next(section.picture for section in round_sections(rounds) if section.slug == "win-rates")
    shown = set(re.findall(r">([\d.]+)</text>", picture))
    assert {"0", "1", "2"} <= shown
    assert not shown & {"0.0", "1.5", "2.0"}  # 1.0 is a share, on the other axis
