"""Judges evaluated: both orders, what is asked once, verdicts of rankers and of asked judges, and the figures."""

import pytest

from notus.core.errors import ConfigError, RunError
from notus.core.records import Message
from notus.evaluate.judges.figures import evaluate_judge, judge_figures, people_figures
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import (
    AskedJudge,
    PairVerdict,
    PresentedPair,
    RankerJudge,
    judge_both_orders,
    label_of,
)
from notus.evaluate.judges.probes import make_probes
from notus.llm.judge import Judges
from notus.llm.prompts import FENCED, restore
from notus.llm.protocol import Decoding
from tests.helpers.judge_examples import Scripted
from tests.helpers.judged_pairs import Scores, is_right, pair, pairs, sound

PROMPT = (Message(role="user", content="What is 1 + 1?"),)


class Fixed:
    """A judge from a function of what is shown."""

    pointwise = False

    def __init__(self, function, name="fixed"):
        self.name, self._function, self.asked = name, function, []

    def judge(self, shown):
        self.asked += shown
        return [
            PairVerdict(*given) if isinstance(given := self._function(each), tuple) else PairVerdict(given)
            for each in shown
        ]


def figures(judge, given, probes=()):
    return judge_figures(evaluate_judge(judge, given, probes), given, probes)


def correct(shown):
    return sound(shown.prompt[-1].content, shown.first, shown.second)


def test_each_pair_is_shown_in_both_orders_and_equal_ones_once():
    judge = Fixed(lambda shown: "A" if shown.first > shown.second else "B")
    given = [PresentedPair(PROMPT, "a", "b"), PresentedPair(PROMPT, "b", "a"), PresentedPair(PROMPT, "c", "c")]
    found = list(judge_both_orders(judge, given))
    assert [(one.label, two.label) for one, two in found] == [("B", "A"), ("A", "B"), ("B", "B")]
    assert judge.asked == [given[0], given[1], given[2]]


def test_a_judge_that_leaves_something_out_is_refused():
    class Short(Fixed):
        def judge(self, shown):
            return super().judge(shown)[:-1]

    with pytest.raises(RunError, match="'fixed' gave 1 verdicts on 2"):
        list(judge_both_orders(Short(lambda _: "A"), [PresentedPair(PROMPT, "a", "b")]))


def test_a_preference_is_a_label():
    assert [label_of(score) for score in (1.0, 0.5, 0.0)] == ["A", "C", "B"]


def test_a_ranker_is_a_judge_by_its_scores():
    ranker = Scores(lambda _, text: {"a": 1.0, "b": 2.0, "d": 2.0}.get(text))
    shown = [PresentedPair(PROMPT, *texts) for texts in (("a", "b"), ("b", "a"), ("b", "d"), ("a", "x"))]
    assert RankerJudge("r", ranker).judge(shown) == [
        PairVerdict("B"),
        PairVerdict("A"),
        PairVerdict("C"),
        PairVerdict(None, "no-score"),
    ]


def slots(request):
    return {found["slot"]: restore(found["text"]) for found in FENCED.finditer(request.messages[-1].content)}


def asked(answer, form="pair", tries=2):
    return AskedJudge("judge", Scripted(answer), Judges(), Decoding(), tries, form)


def test_a_judge_is_asked_about_a_pair():
    def verdict(request):
        found = slots(request)
        return f"So. [[{sound(found['instruction'], found['answer_1'], found['answer_2'])}]]"

    one = pair(1, 1)
    judge = asked(verdict)
    assert judge.judge([one.presented, one.presented.swapped()]) == [PairVerdict("A"), PairVerdict("B")]
    assert not judge.pointwise


def test_a_judge_is_asked_for_grades_each_answer_once():
    def grade(request):
        found = slots(request)
        return f"So. [[{9 if is_right(found['instruction'], found['answer']) else 2}]]"

    one = pair(1, 1)
    judge = asked(grade, "grade")
    assert judge.judge([one.presented, one.presented.swapped()]) == [PairVerdict("A"), PairVerdict("B")]
    assert len(judge.generator.asked) == 2
    assert judge.pointwise


@pytest.mark.parametrize("form", ["pair", "grade"])
def test_what_cannot_be_read_has_no_verdict_and_its_reason(form):
    judge = asked(lambda _: "I would rather not say.", form)
    (verdict,) = judge.judge([pair(1, 1).presented])
    assert verdict.label is None
    assert verdict.reason == "no-verdict"


def test_a_judge_that_nobody_knows_is_named():
    judge = AskedJudge("jugde", Scripted(lambda _: "[[A]]"), Judges(), Decoding())
    with pytest.raises(ConfigError, match="did you mean 'judge'"):
        judge.judge([pair(1, 1).presented])


def test_a_conversation_is_shown_with_its_roles():
    turns = (Message(role="user", content="What is 1 + 1?"), Message(role="assistant", content="2"), PROMPT[0])
    judge = asked(lambda _: "[[C]]")
    judge.judge([PresentedPair(turns, "2", "3")])
    assert slots(judge.generator.asked[0])["instruction"].startswith("[user]\nWhat is 1 + 1?\n\n[assistant]\n2")


def test_a_sound_judge_agrees_with_people_who_are_right():
    given = pairs()
    found = figures(Fixed(correct), given)
    assert (found.asked, found.scored) == (30, 30)
    assert found.majority.raw.mean == found.decided.mean == found.with_people.mean == 1.0
    assert found.decided.low > 0.85
    assert found.consistent.mean == 1.0
    assert found.first is None


def test_a_judge_that_takes_the_first_is_found_out():
    found = figures(Fixed(lambda _: "A"), pairs())
    assert (found.consistent.mean, found.first.mean, found.decided.mean) == (0.0, 1.0, 0.5)
    assert found.first.low > 0.5
    assert found.majority.raw.mean == 0.0  # what turns with the order is a tie, and the majority knows none here


def test_what_has_no_verdict_is_counted_by_its_reason():
    given = pairs(10)
    silent = given[3].presented
    judge = Fixed(lambda shown: (None, "no-verdict") if shown == silent else correct(shown))
    found = figures(judge, given)
    assert (found.asked, found.scored, found.unscored) == (10, 9, {"no-verdict": 1})
    assert found.decided.n == 9


def test_agreement_with_people_is_written_out():
    labels = [("A", "A", "B"), ("A", "A", "A"), ("B", "C", "C"), ("A", "B", "C"), ("C", "C", "C"), ("B", "B", "B")]
    labels, own = labels * 10, list("AACBAB") * 10
    given = [pair(n, 1, votes=each) for n, each in enumerate(labels)]
    verdicts = {one.presented: verdict for one, verdict in zip(given, own, strict=True)}
    turned = {shown.swapped(): {"A": "B", "B": "A", "C": "C"}[verdict] for shown, verdict in verdicts.items()}
    found = figures(Fixed((verdicts | turned).__getitem__), given)
    people = people_figures(given)
    shares = [sum(vote == mine for vote in each) / 3 for each, mine in zip(labels, own, strict=True)]
    couples = [sum(a == b for a, b in ((e[0], e[1]), (e[0], e[2]), (e[1], e[2]))) / 3 for e in labels]
    assert found.with_people.mean == pytest.approx(sum(shares) / 60)
    assert people.among.mean == pytest.approx(sum(couples) / 60)
    assert found.against_people.mean == pytest.approx((sum(shares) - sum(couples)) / 60)
    # Majorities: A A C – C B; the divided pair is left out.
    assert (found.majority.n, found.majority.raw.mean) == (50, pytest.approx(4 / 5))
    by_chance = (3 * 2 + 1 * 1 + 1 * 2) / 25  # of five the judge says three A, one B, one C; people two, one, two
    assert found.majority.kappa.mean == pytest.approx((4 / 5 - by_chance) / (1 - by_chance))
    assert (people.preferred, people.ties, people.divided) == (30, 20, 10)
    assert found.decided.mean == 1.0
    assert [each.n for each in found.annotators] == [60, 60, 60]


def test_one_vote_each_gives_no_yardstick():
    given = [pair(n, 1, votes=("A",)) for n in range(5)]
    people, found = people_figures(given), figures(Fixed(correct), given)
    assert (people.among, people.alpha, people.couples) == (None, None, ())
    assert (found.against_people, found.annotators) == (None, ())


def test_the_longer_answer_is_measured_against_people():
    # People always prefer the first, which is the longer one in half of the pairs.
    given = [
        HumanPair(prompt=pair(n, 1).prompt, first="x" * (5 + 4 * (n % 2)), second="y" * 7, votes=("A",))
        for n in range(20)
    ]
    judge = RankerJudge("length", Scores(lambda _, text: float(len(text))), pointwise=True)
    found = figures(judge, given)
    assert people_figures(given).longer.mean == 0.5
    assert (found.longer.mean, found.longer_than_people.mean) == (1.0, 0.5)
    assert found.longer_than_people.low > 0


def test_pairs_and_probes_are_kept_apart():
    given = pairs(6)
    probes = make_probes(given, 3, 0)
    evaluation = evaluate_judge(Fixed(correct), given, probes)
    assert [judged.pair for judged in evaluation.pairs] == list(range(6))
    assert {judged.probe for judged in evaluation.pairs} == {""}
    assert [(t.probe, t.variant, t.pair) for t in evaluation.probes] == [(c.kind, c.variant, c.pair) for c in probes]
