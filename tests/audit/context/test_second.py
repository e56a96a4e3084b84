import random

import msgspec
import numpy as np
import pytest

from notus.audit.context.answers import Answers, SecondScores
from notus.audit.context.judge import ByContext, judge_by_context
from notus.audit.context.second import FEWEST_TWICE, Second
from notus.audit.feedback import Accumulator, Suspicion, audit
from notus.audit.health import Columns
from notus.core.records import Completion, Critique, Feedback, Rating, Scale
from tests.helpers.data_examples import feedback

TEN = Scale(low=1, high=10)


def answer(text: str, score: float | None, model: str = "", scale: Scale | None = TEN) -> Completion:
    return Completion(text=text, model=model, critique=Critique(text="", score=score, scale=scale))


def world(prompts: int = 200, seed: int = 0) -> tuple[list[Feedback], list[Feedback]]:
    """A first judge who is a fan of the model ``vain``, and a second who is not, and is a point stricter."""
    rng = random.Random(seed)
    first, second = [], []
    for number in range(prompts):
        level, rows = rng.gauss(5, 1), ([], [])
        for model, strength in (("plain", 0.0), ("good", 1.5), ("vain", -1.0), ("odd", 0.0)):
            true = level + strength + rng.gauss(0, 0.6)
            liked = 3.0 if model == "vain" and rng.random() < 0.5 else 0.0
            text = f"{model} {number} {'word ' * rng.randint(1, 30)}"
            for row, score in ((rows[0], true + liked), (rows[1], true - 1)):
                row.append(answer(text, float(min(max(round(score + rng.gauss(0, 0.5)), 1), 10)), model))
        first.append(feedback(*rows[0], prompt=f"Prompt {number}"))
        second.append(feedback(*rows[1], prompt=f"Prompt {number}"))
    return first, second


def judged(first: list[Feedback], second: list[Feedback] | None) -> ByContext:
    scores = None if second is None else SecondScores(second)
    answers, columns = Answers(scores), Columns()
    for row in first:
        answers.add(row)
        columns.add(row, [item.mean_rating for item in row.completions])
    return judge_by_context(columns, answers, scores)


def learned(first: list[Feedback], second: list[Feedback]) -> Second:
    found = judged(first, second).second
    assert found is not None
    return found


def test_the_offset_of_the_judges_has_an_interval_around_it() -> None:
    first, second = world()
    own = [item.critique.score for row in first for item in row.completions]
    theirs = [item.critique.score for row in second[:60] for item in row.completions]
    found = learned(first, second[:60])
    assert (found.given, found.strangers, found.unscored, found.both) == (240, 0, 0, 240)
    assert found.offset is not None
    assert found.offset.mean == pytest.approx(np.mean(np.array(theirs) - np.array(own[:240])))
    assert found.offset.low < found.offset.mean < found.offset.high
    assert found.offset.groups == 60


def test_what_the_second_judge_does_not_share_is_learned() -> None:
    """Of three points too many for one model the first judge alone says little; sixty prompts scored twice say it,
    and what is learned holds for the prompts that were scored once."""
    first, second = world()
    before, after = judged(first, None), judged(first, second[:60])
    own = np.array([item.critique.score for row in first for item in row.completions])
    theirs = np.array([item.critique.score for row in second for item in row.completions])
    far = np.abs(theirs - own) >= 3
    fresh = np.arange(len(own)) >= 240

    def area(by: ByContext) -> float:
        bad, good = by.context.far[fresh & far], by.context.far[fresh & ~far]
        return float((bad[:, None] > good).mean())

    assert area(after) > 0.85
    assert area(after) > area(before) + 0.1
    assert after.second is not None
    assert after.second.area is not None
    assert after.second.area.mean > 0.85
    assert after.second.before is not None
    assert after.second.before.mean == pytest.approx(area_of(before, far))
    assert "cross-validated, n = 240" in " ".join(after.sentences())


def area_of(by: ByContext, far: np.ndarray) -> float:
    """On the answers scored twice, counted pair by pair."""
    twice = np.arange(len(far)) < 240
    bad, good = by.context.far[twice & far], by.context.far[twice & ~far]
    return float((np.sign(bad[:, None] - good) / 2 + 0.5).mean())


def test_too_few_teach_nothing_and_change_nothing() -> None:
    first, second = world()
    count = FEWEST_TWICE // 4 - 1
    before, after = judged(first, None), judged(first, second[:count])
    assert np.array_equal(before.context.far, after.context.far, equal_nan=True)
    assert f"it needs {FEWEST_TWICE}" in " ".join(after.sentences())
    assert after.second is not None
    assert after.second.area is None
    assert after.second.offset is not None


def test_another_scale_is_put_on_the_first_one_and_said() -> None:
    first, second = world()

    def halved(item: Completion) -> Completion:
        assert item.critique is not None
        score = 1 + (item.critique.score - 1) * 4 / 9
        return msgspec.structs.replace(item, critique=Critique(text="", score=score, scale=Scale(low=1, high=5)))

    small = [msgspec.structs.replace(row, completions=tuple(map(halved, row.completions))) for row in second[:60]]
    plain, other = judged(first, second[:60]), judged(first, small)
    assert np.allclose(plain.context.far, other.context.far)
    assert "from a scale of 1 to 5 to one of 1 to 10" in " ".join(other.sentences())


def test_strangers_missing_scores_and_repeats_are_counted() -> None:
    first, second = world()
    stranger = feedback(answer("who?", 5.0), prompt="Nobody asked")
    mute = feedback(answer("mute", None), prompt="Prompt 0")
    twice = second[1]
    found = learned(first, [*second[:60], stranger, mute, twice])
    assert (found.given, found.strangers, found.unscored, found.several) == (240 + 1 + 1 + 4, 1, 1, 4)
    said = " ".join(found.sentences())
    assert "1 are of other prompts or answers" in said
    assert "1 hold no such score" in said
    assert "4 answers have several" in said


def test_an_answer_is_found_by_its_text_where_the_model_is_not_named() -> None:
    first, second = world(60)
    unnamed = [
        msgspec.structs.replace(row, completions=tuple(msgspec.structs.replace(i, model="") for i in row.completions))
        for row in second
    ]
    assert learned(first, unnamed).both == learned(first, second).both == 240


def test_of_two_models_with_the_same_text_each_has_its_own_score() -> None:
    first = [feedback(answer("yes", 3.0, "a"), answer("yes", 8.0, "b"), prompt="Is it?")]
    second = SecondScores([feedback(answer("yes", 9.0, "b"), answer("yes", 2.0, "a"), prompt="Is it?")])
    answers = Answers(second)
    answers.add(first[0])
    found = answers.matches()
    scores = np.asarray(second.columns.scores)[found.second]
    assert list(zip(found.own.tolist(), scores.tolist(), strict=True)) == [(0, 2.0), (1, 9.0)]


def test_parts_give_what_the_whole_gives() -> None:
    first, second = world(90)
    scores = SecondScores(second[:30])
    whole = Accumulator(second=scores)
    parts = [Accumulator(second=scores), Accumulator(second=scores)]
    for number, row in enumerate(first):
        whole.add(row)
        parts[number >= 17].add(row)
    parts[1].finish()
    parts[0].merge(parts[1])
    ours, theirs = whole.place().by_context, parts[0].place().by_context
    assert ours.columns(0, 360) == theirs.columns(0, 360)
    assert ours.sentences() == theirs.sentences()


def test_mean_ratings_are_judged_where_there_is_no_overall_score() -> None:
    first, _ = world()
    rated = []
    for row in first:
        items = [
            Completion(text=i.text, model=i.model, ratings=(Rating(aspect="help", value=i.critique.score, scale=TEN),))
            for i in row.completions
            if i.critique is not None
        ]
        rated.append(feedback(*items, prompt=row.prompt[0].content))
    of_ratings, of_scores = judged(rated, None), judged(first, None)
    assert of_ratings.context.what == "mean rating"
    assert np.allclose(of_ratings.context.far, of_scores.context.far)


def test_rows_of_an_audit_have_the_context_and_its_reason() -> None:
    first, _ = world()
    lowest = min(range(200), key=lambda number: sum(i.critique.score for i in first[number].completions))
    items = list(first[lowest].completions)
    items[0] = answer(items[0].text, 10.0, items[0].model)
    first[lowest] = msgspec.structs.replace(first[lowest], completions=tuple(items))
    found = audit(first)
    rows = [row for row in found.rows if isinstance(row, Suspicion)]
    row = rows[4 * lowest]
    assert "score-against-context" in row.reasons
    assert "its context speaks for" in row.evidence
    assert "(3 siblings)" in row.evidence
    assert row.place_by_context == 1
    assert row.second_score is None
    assert row.chance_far is not None
    assert row.chance_far == max(each.chance_far or 0 for each in rows)
    assert found.reasons["score-against-context"] >= 1
