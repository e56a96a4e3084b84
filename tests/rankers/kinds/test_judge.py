"""The judge as a ranker: pairs in both orders or grades, and what cannot be read."""

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.llm.prompts import FENCED, restore
from notus.rankers.make import make_ranker
from notus.rankers.settings import Ranking
from tests.helpers.judge_examples import Scripted
from tests.helpers.pairrm_examples import user

PROMPTS = [user("First?"), user("Second?")]
CANDIDATES = [["aaa", "a", "aa"], ["alone"]]


def shown(request):
    return [restore(f["text"]) for f in FENCED.finditer(request.messages[-1].content) if "answer" in f["slot"]]


def longer(request):
    first, second = shown(request)
    return "So. " + ("[[A]]" if len(first) > len(second) else "[[B]]")


def rank(answer, candidates=CANDIDATES, **settings):
    tally, generator = Tally("rank"), Scripted(answer)
    ranker = make_ranker("judge:judge", Ranking(**settings), generator=generator, tally=tally)
    return ranker.rank(PROMPTS[: len(candidates)], candidates), tally.counts, generator


def test_pairs_are_asked_in_both_orders_and_averaged():
    scores, counts, generator = rank(longer)
    assert scores == [[1.0, 0.0, 0.5], [0.5]]
    assert len(generator.asked) == 6
    assert {tuple(shown(request)) for request in generator.asked} == {
        (a, b) for a in CANDIDATES[0] for b in CANDIDATES[0] if a != b
    }
    assert (counts["judged"], counts["turned"], counts["unscored"]) == (6, 0, 0)


def test_a_judge_that_always_takes_the_first_place_prefers_nothing():
    scores, counts, _ = rank(lambda _: "[[A]]")
    assert scores == [[0.5, 0.5, 0.5], [0.5]]
    assert counts["turned"] == 3


def test_equal_answers_are_not_asked_about():
    scores, _, generator = rank(longer, [["aa", "aa", "a"]])
    assert scores == [[0.75, 0.75, 0.0]]
    assert len(generator.asked) == 4


def test_what_cannot_be_read_has_no_score():
    scores, counts, generator = rank(lambda request: "?" if "aaa" in shown(request) else longer(request), tries=2)
    assert scores == [[None, 0.0, 1.0], [0.5]]
    assert counts["unscored"] == 4
    assert len(generator.asked) == 2 + 2 * 4


def test_grades():
    scores, counts, generator = rank(
        lambda r: f"[[{len(shown(r)[0])}]]" if shown(r)[0] != "alone" else "no", tries=1, judging="grades"
    )
    assert scores == [[3.0, 1.0, 2.0], [None]]
    assert (counts["judged"], counts["unscored"], len(generator.asked)) == (3, 1, 4)


def test_a_conversation_is_shown_with_its_roles():
    talk = tuple(
        Message(role=role, content=text) for role, text in [("user", "Hi"), ("assistant", "Hello."), ("user", "So?")]
    )
    generator = Scripted(longer)
    make_ranker("judge:judge", generator=generator).rank([talk], [["a", "bb"]])
    assert all(word in generator.asked[0].messages[-1].content for word in ("[user]", "Hello.", "So?"))


def test_somebody_who_is_not_there():
    with pytest.raises(ConfigError, match="did you mean 'judge'"):
        make_ranker("judge:juge", generator=Scripted(longer))
