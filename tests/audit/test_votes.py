"""The audit of votes: ties, position, length, models, agreement, and that score rules were not applied."""

import json
import random

import pytest

from notus.audit.feedback import Accumulator, audit
from notus.core.records import Completion, Feedback, Ranking
from notus.report.health import feedback_sections
from notus.stats.agreement import krippendorff
from tests.helpers.data_examples import completion, feedback

A, B, TIE = (1, 2), (2, 1), (1, 1)
RATERS = ("ann", "bo", "cy")


def voted_set(prompts=60, seed=2):
    """Three raters: ann and bo see quality with noise, cy mostly takes the first; big wins against small."""
    rng = random.Random(seed)
    rows = []
    for number in range(prompts):
        models = ["big", "small"] if rng.random() < 0.5 else ["small", "big"]
        better = models.index("big")
        votes = {}
        for name in RATERS:
            first = rng.random() < (0.9 if name == "cy" else (0.8 if better == 0 else 0.2))
            votes[name] = TIE if rng.random() < 0.1 else A if first else B
        texts = [f"{model} {'word ' * rng.randint(1, 9)}{number}" for model in models]
        row = feedback(*(Completion(text=t, model=m) for t, m in zip(texts, models, strict=True)), prompt=str(number))
        rankings = tuple(Ranking(ranks=ranks, rater=name) for name, ranks in votes.items())
        rows.append(Feedback(prompt=row.prompt, completions=row.completions, rankings=rankings))
    return rows


def all_votes(rows):
    return [(row, each.ranks) for row in rows for each in row.rankings]


def test_shares_are_those_of_plain_counting():
    rows = voted_set()
    (found,) = audit(rows).votes.questions
    votes = all_votes(rows)
    strict = [(row, ranks) for row, ranks in votes if ranks != TIE]
    assert (found.rankings, found.prompts, found.votes) == (180, 60, 180)
    assert found.ties.mean == pytest.approx(1 - len(strict) / len(votes))
    assert found.first.mean == pytest.approx(sum(ranks == A for _, ranks in strict) / len(strict))
    lengths = [(len(row.completions[0].text) - len(row.completions[1].text), ranks) for row, ranks in strict]
    apart = [(length, ranks) for length, ranks in lengths if length]
    assert found.longer.mean == pytest.approx(sum((length > 0) == (ranks == A) for length, ranks in apart) / len(apart))
    big = next(model for model in found.models if model.name == "big")
    won = sum(row.completions[ranks == B].model == "big" for row, ranks in strict)
    assert (big.chosen, big.rejected, big.tied) == (won, len(strict) - won, len(votes) - len(strict))
    assert big.share.mean == pytest.approx((won + (len(votes) - len(strict)) / 2) / len(votes))
    assert big.score.low > 0


def test_who_votes_by_position_is_found():
    rows = voted_set()
    (group,) = [each for each in audit(rows).raters.groups if each.what == "votes"]
    found = {rater.name: rater for rater in group.raters}
    table = [[each.ranks for each in row.rankings] for row in rows]
    assert group.main.mean == pytest.approx(krippendorff(table, draws=20).mean)
    same = sum(a == b for votes in table for i, a in enumerate(votes) for j, b in enumerate(votes) if i != j)
    assert group.agreed.mean == pytest.approx(same / (60 * 6))
    for place, name in enumerate(RATERS):
        agrees = sum(votes[place] == other for votes in table for j, other in enumerate(votes) if j != place)
        assert found[name].agrees.mean == pytest.approx(agrees / 120)
        left = [[vote for j, vote in enumerate(votes) if j != place] for votes in table]
        assert found[name].alpha_without.mean == pytest.approx(krippendorff(left, draws=20).mean)
        changed = sum(net(votes) != net(fewer) for votes, fewer in zip(table, left, strict=True))
        assert (found[name].changed.count, found[name].changed.of) == (changed, 60)
    assert found["cy"].mean.low > 0.7
    assert found["cy"].alpha_without.mean > group.main.mean  # without who looks at the position they agree better


def net(votes):
    difference = votes.count(A) - votes.count(B)
    return (difference > 0) - (difference < 0)


def test_votes_alone_are_audited_and_it_is_said_what_was_not():
    rows = [*voted_set(10), feedback(completion("a", 4.0), completion("b", 2.0), prompt="rated")]
    found = audit(rows)
    assert (found.votes.prompts, found.votes.unscored, found.votes.answers_unscored) == (10, 10, 20)
    assert "unscored" not in found.health.flags
    headings = {section.heading for section in feedback_sections(found, {})}
    assert {"Votes", "Agreement of raters", "Raters: votes", "Models by votes"} <= headings
    text = " ".join(feedback_sections(found, {})[0].sentences)
    assert "not applied to their 20 answers" in text
    assert "30 rankings" in text
    # Without any score there is no table of ties of scores.
    only = feedback_sections(audit(voted_set(10)), {})
    assert not {"Ties", "Distribution of scores"} & {section.heading for section in only}


def test_lists_are_votes_on_each_two_and_questions_stand_apart():
    row = feedback(*(completion(text) for text in "abcd"))
    rankings = (
        Ranking(ranks=(1, 2, 3, None), question="better"),
        Ranking(ranks=(2, 1, None, None), question="safer"),
        Ranking(ranks=(None, 1, None, None), question="safer"),
    )
    one = Feedback(prompt=row.prompt, completions=row.completions, rankings=rankings)
    other = Feedback(
        prompt=feedback(completion(), prompt="2").prompt, completions=row.completions, rankings=rankings[:1]
    )
    found = {each.name: each for each in audit([one, other]).votes.questions}
    assert (found["better"].rankings, found["better"].votes, found["better"].prompts) == (2, 6, 2)
    assert (found["safer"].rankings, found["safer"].votes) == (2, 1)
    assert found["better"].first.mean == 1.0
    # All for the first: an interval that does not call it certain.
    assert found["better"].ties.mean == 0


def test_the_parts_of_a_set_give_the_figures_of_the_whole():
    rows = voted_set(30)
    first, second = Accumulator(), Accumulator()
    for row in rows[:11]:
        first.add(row)
    for row in rows[11:]:
        second.add(row)
    first.merge(second)
    assert first.rankings.report() == audit(rows).votes


def test_the_figures_are_numbers_with_intervals():
    found = json.loads(json.dumps(audit(voted_set(10)).votes.as_json()))
    (question,) = found["questions"]
    assert question["first"].keys() == {"mean", "low", "high", "n", "unit"}
    raters = json.loads(json.dumps(audit(voted_set(10)).raters.as_json()))
    assert raters[0]["raters"][0]["agrees"]["unit"] == "share"
    assert raters[0]["alpha"]["nominal"]["n"] == 30


def test_rows_of_one_prompt_are_one_cluster():
    once, twice = voted_set(10), voted_set(10, seed=3)  # the same ten prompts, other answers
    found = audit([*once, *twice])
    assert (found.votes.questions[0].first.groups, found.votes.questions[0].rankings) == (10, 60)
    (group,) = found.raters.groups
    assert (group.prompts, group.items, group.main.groups) == (10, 20, 10)


def test_votes_that_contradict_the_ratings_are_found():
    def row(number, vote):
        rated = feedback(completion("a", 4.0), completion("b", 2.0), prompt=str(number))
        return Feedback(prompt=rated.prompt, completions=rated.completions, rankings=(Ranking(ranks=vote),))

    found = audit([row(0, A), row(1, B), row(2, A), row(3, A), row(4, TIE)]).votes
    assert (found.questions[0].against.mean, found.questions[0].against.n, found.unscored) == (0.25, 4, 0)
    assert "Votes contradict the mean ratings in 25.0%" in " ".join(found.sentences())


def test_the_share_of_a_rater_lies_between_none_and_all():
    """Two of three votes for the first answer: a t interval of so few prompts would run over 1."""
    rows = [
        Feedback(
            prompt=feedback(completion("x"), prompt=str(n)).prompt,
            completions=(Completion(text="x"), Completion(text="y")),
            rankings=(Ranking(ranks=ranks, rater="ann"),),
        )
        for n, ranks in enumerate([(1, 2), (1, 2), (2, 1)])
    ]
    (group,) = audit(rows).raters.groups
    (ann,) = group.raters
    assert ann.mean.mean == pytest.approx(2 / 3)
    assert 0 <= ann.mean.low < ann.mean.high <= 1
