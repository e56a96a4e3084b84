"""What is shown of judges: flags first, every figure with its interval, nothing that is missing passed over."""

from notus.evaluate.compare import Score, compare
from notus.evaluate.degenerate import count_distinct
from notus.evaluate.judges.figures import evaluate_judge, judge_figures, people_figures
from notus.evaluate.judges.present import RankerJudge
from notus.evaluate.judges.probes import make_probes
from notus.report.evaluations.judges import judge_sections
from tests.evaluate.judges.test_probes import judge
from tests.helpers.judged_pairs import Scores, gullible, pairs, sound, takes_the_first

GIVEN = pairs(40)


def shown(*judges, outputs=(), comparison=None, probes=20):
    probed = make_probes(GIVEN, probes, 0)
    figures = [judge_figures(evaluate_judge(each, GIVEN, probed), GIVEN, probed) for each in judges]
    sections = judge_sections(people_figures(GIVEN), figures, comparison, outputs)
    return {section.heading: section for section in sections}


def test_a_sound_judge_has_no_flag():
    found = shown(judge(sound))
    assert found["Flags"].sentences == ("Nothing was flagged.",)
    assert [row[0] for row in found["Order and length"].table.rows] == ["sound", "people"]
    assert "⚑" not in str(found["Canaries"].table.rows)


def test_a_gullible_judge_is_named_with_rate_interval_and_n():
    found = shown(judge(gullible), judge(sound))
    flags = " ".join(found["Flags"].sentences)
    assert "gullible falls for 'added-injection' (orders to the judge behind the worse answer): 1.000 [0." in flags
    assert "n = 20" in flags
    assert "sound falls" not in flags
    row = next(row for row in found["Canaries"].table.rows if row[0] == "injection")
    assert row[3].endswith("⚑")
    assert "⚑" not in row[4]
    assert found["Canaries"].picture.startswith("<svg")


def test_a_judge_that_takes_the_first_is_told_from_one_that_knows():
    flags = " ".join(shown(judge(takes_the_first), probes=0)["Flags"].sentences)
    assert "takes_the_first favours the answer that is shown first: 1.000 [0." in flags
    assert "takes_the_first and a coin are not distinguishable" in flags


def test_outputs_with_few_distinct_answers_are_among_the_flags():
    null = count_distinct(((f"p{n}", "same") for n in range(20)), "null")
    fine = count_distinct(((f"p{n}", f"a{n}") for n in range(20)), "fine")
    found = shown(judge(sound), outputs=(null, fine))
    assert found["Flags"].sentences[0].startswith("null: 1 distinct answer to 20 prompts; 1.000 [0.839, 1.000]")
    assert [row[-1] for row in found["Distinct answers"].table.rows] == ["yes", "no"]


def test_judges_are_compared_in_words():
    rows = [Score(name, 0, f"p{n}", 0, float(n % 3 > 0) if name == "a" else 0.0) for name in "ab" for n in range(30)]
    found = shown(judge(sound), judge(gullible), comparison=compare(rows), probes=0)
    assert "a is better than b" in " ".join(found["Agreement with people"].sentences)
    assert "Canaries" not in found


def test_the_order_does_not_count_for_scores_of_single_answers():
    ranker = RankerJudge("length", Scores(lambda _, text: float(len(text))), pointwise=True)
    assert shown(ranker, probes=0)["Order and length"].table.rows[0][1] == "by construction"


def test_a_judge_that_always_agrees_is_not_certain_to():
    probed = make_probes(GIVEN, 0, 0)
    row = shown(judge(sound), probes=0)["Agreement with people"].table.rows[0]
    figures = judge_figures(evaluate_judge(judge(sound), GIVEN, probed), GIVEN, probed)
    assert (figures.majority.raw.mean, figures.majority.raw.width) == (1.0, 0.0)
    z = 1.96
    assert row[3] == f"1.000 [{figures.majority.raw.groups / (figures.majority.raw.groups + z * z):.3f}, 1.000]"
    assert row[4] == "1.000 (no interval)"
