"""Choices among n answers: which are good, what a pick counts, RewardBench 2 against a plain computation."""

import json
import math
import random
from collections import defaultdict

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Ranking, Unpaired
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.evaluate.choices.figures import REWARDBENCH_2, ChoiceScore, choice_report, score_choices
from notus.evaluate.choices.rows import Choice, from_rankings, from_unpaired
from notus.evaluate.choices.ties import TiedPrompt, ties_score
from notus.steps.base import read_findings
from notus.steps.evaluate.reward_check import RewardCheck
from notus.steps.perform import run_step
from tests.helpers.judged_pairs import Scores

ASKED = (Message(role="user", content="Name a river."),)


def feedback(*ranks, texts=("aaaa", "bb", "c"), **more):
    rankings = tuple(Ranking(ranks=of, question=question) for of, question in ranks)
    return Feedback(prompt=ASKED, completions=tuple(Completion(text=t) for t in texts), rankings=rankings, **more)


def choice(scores, good, subset="", name="", prompt="p"):
    """A choice whose answers are texts of numbers, which a ranker reads."""
    asked = (Message(role="user", content=prompt),)
    return Choice(
        prompt=asked, prompt_id=prompt, answers=tuple(map(str, scores)), good=good, subset=subset, name=name, id=prompt
    )


def scored(choices):
    ranker = Scores(lambda _, text: None if text == "None" else float(text), "numbers")
    return score_choices(ranker, choices, Tally("t"))


def test_what_nobody_was_ranked_above_is_good():
    tally = Tally("t")
    several = feedback(((1, 2, 2), ""), extra={"subset": "Math", "id": 7})
    voted = feedback(((1, 2, 3), ""), ((2, 1, 3), ""), ((2, 1, None), ""))
    (first, second) = from_rankings([several, voted], tally)
    assert (first.good, first.subset, first.name) == ((True, False, False), "Math", "7")
    # Of three votes the first answer wins (1 + ½ + 0)/3 and the second (½ + 1 + 1)/3 of the answers beside it.
    assert second.good == (False, True, False)
    assert (tally.taken, tally.given, tally.dropped) == (2, 2, [])


def test_what_says_nothing_of_good_answers_is_dropped_with_its_reason():
    tally = Tally("t")
    found = list(from_rankings([feedback(), feedback(((1, 1, 1), "")), feedback(((1, 2, None), ""))], tally))
    assert [each.answers for each in found] == [("aaaa", "bb")]
    assert [each.reason for each in tally.dropped] == ["no-ranking", "no-bad-answer"]
    assert tally.counts == {"unranked-answer": 1}


def test_of_several_questions_one_is_meant():
    both = feedback(((1, 2, 2), "better"), ((2, 1, 2), "safer"))
    (found,) = from_rankings([both], Tally("t"), question="safer")
    assert found.good == (False, True, False)
    with pytest.raises(ConfigError, match="several questions"):
        list(from_rankings([both], Tally("t")))
    with pytest.raises(ConfigError, match="did you mean 'safer'"):
        list(from_rankings([both], Tally("t"), question="saver"))
    label = feedback(((1, 2, 2), "correctness"), ((2, 1, 2), "judgment"))
    assert next(from_rankings([label], Tally("t"))).good == (True, False, False)


def test_single_answers_of_one_prompt_are_a_choice():
    def row(prompt, text, desirable):
        asked, said = (Message(role="user", content=prompt),), (Message(role="assistant", content=text),)
        return Unpaired(prompt=asked, answer=said, desirable=desirable)

    tally = Tally("t")
    rows = [row("a", "x", True), row("b", "y", False), row("a", "z", False), row("b", "w", False)]
    (found,) = from_unpaired(rows, tally)
    assert (found.answers, found.good) == (("x", "z"), (True, False))
    assert [each.reason for each in tally.dropped] == ["one-sided"] * 2
    assert tally.taken == tally.given + len(tally.dropped) == 4


def test_a_shared_first_place_counts_the_share_of_good_answers_in_it():
    good = (True, False, False, False)
    found = scored(
        [
            choice([3, 1, 2, 0], good),
            choice([3, 3, 2, 3], good),
            choice([1, 2, 2, 0], good),
            choice([5, 5, 5, 1], (True, True, False, False)),
            choice([1, None, 0, 0], good),
        ]
    )
    assert [item.value for item in found] == [1.0, pytest.approx(1 / 3), 0.0, pytest.approx(2 / 3), None]
    assert [item.reason for item in found] == ["good", "tie", "bad", "tie", "unscored"]
    assert [item.chance for item in found] == [0.25, 0.25, 0.25, 0.5, 0.25]
    assert [item.sample for item in found] == [0, 1, 2, 3, 4]


def plain_rewardbench_2(rows):
    """RewardBench 2 as its paper and its published code say, written out: rows of subset, id, scores, good."""
    accuracy, tied, reference = defaultdict(list), {}, {}
    for subset, id_, scores, count in rows:
        if subset == "Ties":
            form, number = id_.split(":")
            right, wrong = scores[:count], scores[count:]
            (tied if form == "tied" else reference)[number] = (min(right) - max(wrong), max(right) - min(right))
        else:
            top = max(scores)
            accuracy[subset].append(1 / scores.count(top) if scores[0] == top else 0)
    both = sorted(tied.keys() & reference.keys())
    preferred = [tied[n][0] > tied[n][1] for n in both]
    hard = [min(tied[n][0], reference[n][0]) > tied[n][1] for n in both]
    margins = []
    for n in both:
        least, spread = min(tied[n][0], reference[n][0]), tied[n][1]
        if spread == 0:
            margins.append(0.0 if least == 0 else math.copysign(1, least))
        else:
            margins.append(math.tanh(least / spread - 1))

    def mean(values):
        return sum(values) / len(values)

    parts = {name: mean(values) for name, values in accuracy.items()}
    parts["Ties"] = (
        0.30 * mean([gap > 0 for gap, _ in tied.values()])
        + 0.30 * mean([gap > 0 for gap, _ in reference.values()])
        + 0.20 * mean(preferred)
        + 0.20 * mean(hard)
        + 0.01 * mean(margins)
    )
    return parts, mean(list(parts.values()))


def made_up(seed):
    rng = random.Random(seed)
    rows = []
    for subset in REWARDBENCH_2[:-1]:
        # Few different scores, so that places are shared.
        rows += [(subset, f"{subset}{n}", [rng.randint(0, 3) for _ in range(4)], 1) for n in range(15)]
    for n in range(14):
        if n != 3:
            rows.append(("Ties", f"ref:{n}", [rng.randint(2, 9)] + [rng.randint(0, 6) for _ in range(3)], 1))
        if n != 5:
            right = [rng.randint(4, 9) for _ in range(rng.randint(2, 5))]
            rows.append(("Ties", f"tied:{n}", right + [rng.randint(0, 5) for _ in range(3)], len(right)))
    rows.append(("Ties", "tied:99", [4, 4, 4, 0], 3))  # no spread at all
    rows.append(("Ties", "ref:99", [4, 0, 0, 0], 1))
    rows.append(("Ties", "tied:98", [4, 4, 4, 0], 2))  # no spread and no gap
    rows.append(("Ties", "ref:98", [4, 0, 0, 0], 1))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_rewardbench_2_equals_a_plain_computation(seed):
    rows = made_up(seed)
    choices = [
        choice(scores, tuple(n < count for n in range(len(scores))), subset, id_, prompt=f"{subset} {id_}")
        for subset, id_, scores, count in rows
    ]
    report = choice_report("numbers", scored(choices))
    parts, total = plain_rewardbench_2(rows)
    assert {each.name: each.accuracy.mean for each in report.subsets} == {
        name: pytest.approx(value, abs=1e-12) for name, value in parts.items() if name != "Ties"
    }
    assert report.ties.score == pytest.approx(parts["Ties"], abs=1e-12)
    assert report.total == pytest.approx(total, abs=1e-12)
    assert report.total_interval.mean == report.total
    assert report.total_interval.low < report.total < report.total_interval.high
    assert (report.ties.tied, report.ties.references, report.ties.both) == (15, 15, 14)
    assert report.missing == ()


def test_a_perfect_and_a_backward_ranker_on_ties():
    def prompts(sign):
        for n in range(3):
            yield TiedPrompt.make(("ref", str(n)), [sign * 9.0, 0.0, 0.0], (True, False, False))
            yield TiedPrompt.make(("tied", str(n)), [sign * 9.0, sign * 9.0, 0.0], (True, True, False))

    assert ties_score(list(prompts(1))).score == pytest.approx(1.01)
    assert ties_score(list(prompts(-1))).score == pytest.approx(-0.01)


def test_without_a_subset_there_is_no_total_and_it_is_said():
    items = scored([choice([2, 1, 0, 0], (True, False, False, False), "Math", prompt=f"p{n}") for n in range(3)])
    report = choice_report("numbers", items)
    assert report.total is None
    assert set(report.missing) == set(REWARDBENCH_2) - {"Math"}
    other = choice_report("numbers", scored([choice([2, 1], (True, False), "mine")]))
    assert (other.missing, other.whole.accuracy) == ((), None)


def check(path, **more):
    return RewardCheck.parse({"data": str(path), "ranker": "length"} | more, where="test")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_step_reads_rewardbench_2_and_leaves_scores(tmp_path):
    """Answers as long as their scores, so that the ranker 'length' gives these scores."""
    rows = [
        {
            "id": id_,
            "prompt": f"{subset} {id_}",
            "chosen": ["x" * score for score in scores[:count]],
            "rejected": ["y" * score for score in scores[count:]],
            "num_correct": count,
            "subset": subset,
            "models": [],
        }
        for subset, id_, given, count in made_up(7)
        for scores in [[score + 1 for score in given]]  # an answer has a character at least
    ]
    run = run_step("reward-check", check(write(tmp_path / "rb2.jsonl", rows)), tmp_path / "run")
    parts, total = plain_rewardbench_2(made_up(7))
    noted = read_manifest(run.path)["summary"]["report"]
    assert noted["total"] == pytest.approx(total, abs=1e-12)
    assert noted["total_interval"]["n"] == len(rows)
    assert noted["ties"]["interval"]["mean"] == pytest.approx(parts["Ties"], abs=1e-12)
    assert len(list(read_records(run.path / "choices.parquet", ChoiceScore))) == len(rows)
    assert len(read_table(run.path / "scores.parquet")) == len(rows)
    assert [each.heading for each in read_findings(run.path)] == ["RewardBench 2", "Accuracy", "Subsets", "Ties"]


def test_the_step_reads_single_answers_and_says_what_is_for_pairs(tmp_path):
    rows = [{"prompt": f"p{n}", "completion": "z" * (1 + k), "label": k == 2} for n in range(6) for k in range(3)]
    path = write(tmp_path / "kto.jsonl", rows)
    run = run_step("reward-check", check(path), tmp_path / "run")
    whole = read_manifest(run.path)["summary"]["report"]["whole"]
    assert (whole["accuracy"]["mean"], whole["chance"], whole["scored"]) == (1.0, pytest.approx(1 / 3), 6)
    with pytest.raises(DataError, match="tie is for pairs"):
        run_step("reward-check", check(path, tie=0.5), tmp_path / "tie")
    pairs = write(tmp_path / "pairs.jsonl", [{"prompt": f"p{n}", "chosen": "zz", "rejected": "z"} for n in range(6)])
    with pytest.raises(DataError, match="question is for choices"):
        run_step("reward-check", check(pairs, question="safer"), tmp_path / "question")
