"""Feedback from prompts: the draws, the way back of each answer, and what becomes of errors."""

from collections import Counter

import pytest

from notus.collect.collect import Draft, collect, draw_members, draw_principle, format_knowledge
from notus.collect.settings import PRINCIPLES, Collection, PoolMember
from notus.core.errors import ConfigError
from notus.core.records import ASPECTS, Message, Scale
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import decode, to_ultrafeedback
from notus.llm.prompts import FENCED, restore
from notus.steps.collect.feedback import requests_per_prompt
from tests.helpers.judge_examples import Scripted, blocks

POOL = [{"name": name} for name in "abcde"]
BASE = {"pool": POOL, "judge": {"endpoint": "judge"}}


def settings(**more):
    return Collection.parse(BASE | more, where="test")


def drafts(count, **more):
    return [Draft((Message(role="user", content=f"Question {n}?"),), **more) for n in range(count)]


def answer(request):
    """Members answer with their name and question; the judge grades answers by the member who wrote them."""
    if request.step == "completion":
        return f"{request.model.name} on {request.messages[-1].content}"
    text = request.messages[-1].content
    if request.step == "judge/critique":
        return f"About {FENCED.findall(text)[1][2][:1]}.\nOverall score: {grade(FENCED.findall(text)[1][2])}"
    answers = [restore(found["text"]) for found in FENCED.finditer(text) if found["slot"].startswith("answer_")]
    return blocks([grade(each) for each in answers], typed="Type:" in text)


def grade(text):
    return "abcde".index(text[0]) + 1


def run(config, given, *, answers=answer, seed=0):
    generator, tally = Scripted(answers, names=(*"abcde", "judge")), Tally("collect")
    return list(collect(given, tally, settings=config, seed=seed, answerer=generator)), tally, generator


def test_each_rating_is_at_the_answer_that_it_is_of():
    rows, tally, generator = run(settings(), drafts(150))
    assert [row.prompt[0].content for row in rows] == [f"Question {n}?" for n in range(150)]
    for row in rows:
        assert len({completion.model for completion in row.completions}) == 4
        for completion in row.completions:
            assert completion.text == f"{completion.model} on {row.prompt[0].content}"
            assert {rating.aspect: rating.value for rating in completion.ratings} == dict.fromkeys(
                ASPECTS, float(grade(completion.text))
            )
            assert {(rating.rater, rating.scale) for rating in completion.ratings} == {("judge", Scale(low=1, high=5))}
            assert completion.critique is not None
            assert (completion.critique.rater, completion.critique.scale) == ("judge", Scale(low=1, high=10))
            assert completion.critique.score == grade(completion.text)
            assert completion.critique.text == f"About {completion.model}."
            assert completion.extra["ledger"].keys() == {"completion", "critique", *ASPECTS}
    assert tally.counts["scored"] == 150 * 4 * 5
    assert len(generator.asked) == 150 * (4 + 4 + 4)
    keys = {request.key for request in generator.asked}
    assert all(key in keys for row in rows for c in row.completions for key in c.extra["ledger"].values())


def test_the_rater_is_the_model_that_judged_where_the_settings_say_which():
    endpoint = {"name": "judge", "model": "gpt-4o", "urls": ["http://localhost:1/v1"]}
    (row,), _, _ = run(settings(endpoints=[endpoint]), drafts(1))
    said = [each for item in row.completions for each in (*item.ratings, item.critique)]
    assert {each.rater for each in said} == {"gpt-4o"}


def test_what_is_collected_depends_on_the_prompt_alone():
    whole = {row.prompt_id: row for row in run(settings(), drafts(30))[0]}
    some = run(settings(), drafts(30)[::-3])[0]
    assert len(some) == 10
    assert all(row == whole[row.prompt_id] for row in some)
    other = run(settings(), drafts(30), seed=1)[0]
    assert [row for row in other if row != whole[row.prompt_id]]


def test_the_raw_layout_holds_all_of_it():
    rows, _, _ = run(settings(), drafts(3, source="flan_v2_cot", extra={"correct_answers": ["yes"]}))
    for row in rows:
        assert decode(to_ultrafeedback(row)) == row


def test_members_are_drawn_by_weight_without_replacement():
    weights = {"big": 3.0, "one": 1.0, "two": 1.0, "rare": 0.05}
    pool = [PoolMember(name=name, weight=weight) for name, weight in weights.items()]
    first = Counter(draw_members(pool, 1, 0, str(n))[0].name for n in range(8000))
    # Shares 3, 1, 1, .05 of 5.05; four standard deviations are about .02.
    for name, share in {"big": 3 / 5.05, "one": 1 / 5.05, "two": 1 / 5.05, "rare": 0.05 / 5.05}.items():
        assert abs(first[name] / 8000 - share) < 0.022
    drawn = [tuple(m.name for m in draw_members(pool, 3, 0, str(n))) for n in range(200)]
    assert all(len(set(names)) == 3 for names in drawn)
    assert drawn == [tuple(m.name for m in draw_members(pool[::-1], 3, 0, str(n))) for n in range(200)]


@pytest.mark.parametrize("preset", ["paper", "code"])
@pytest.mark.parametrize("source", ["evol_instruct", "truthful_qa", "flan_v2_niv2", "sharegpt", "something-new"])
def test_principles_are_drawn_as_published(preset, source):
    shares = PRINCIPLES[preset]
    named = {"flan_v2_niv2": "flan", "something-new": "sharegpt"}.get(source, source)
    drawn = Counter(draw_principle(shares, source, 0, str(n), "m") for n in range(5000))
    for principle, weight in shares[named].items():
        assert abs(drawn[principle] / 5000 - weight / 100) < 0.029
    assert sum(shares[named].values()) == 100


def test_a_principle_becomes_a_system_prompt_of_several():
    rows, _, generator = run(settings(principles={"": {"honesty": 1.0}}), drafts(40))
    systems = {c.system_prompt for row in rows for c in row.completions}
    assert len(systems) >= 3
    asked = [r for r in generator.asked if r.step == "completion"]
    assert {request.messages[0].content for request in asked} == systems
    own = Draft((Message(role="system", content="Be Bob."), Message(role="user", content="Hi.")))
    _, _, generator = run(settings(principles={"": {"honesty": 1.0}}), [own])
    assert generator.asked[0].messages[0].content.startswith("Be Bob.\n\n")
    assert not any(c.system_prompt for row in run(settings(principles="none"), drafts(3))[0] for c in row.completions)


def test_settings_of_a_member_lie_over_those_of_all():
    pool = [{"name": "a", "sampling": {"temperature": 0.0, "top_k": 5}}, {"name": "b", "endpoint": "c"}]
    config = settings(pool=pool, completions=2, sampling={"temperature": 1.0, "repetition_penalty": 1.2}, samples=2)
    rows, _, generator = run(config, drafts(2))
    drawn = {request.model.name: request.decoding for request in generator.asked if request.step == "completion"}
    assert (drawn["a"].temperature, drawn["a"].top_k, drawn["a"].repetition_penalty, drawn["a"].n) == (0, 5, 1.2, 2)
    assert (drawn["c"].temperature, drawn["c"].top_k) == (1.0, None)
    assert [c.model for c in rows[0].completions].count("b") == 2
    assert len(rows[0].completions) == 4


def test_what_the_judge_does_not_say_is_no_number():
    def stubborn(request):
        return "Rating: high" if request.step == "judge/honesty" else answer(request)

    rows, tally, _ = run(settings(), drafts(5), answers=stubborn)
    for row in rows:
        for completion in row.completions:
            assert {rating.aspect for rating in completion.ratings} == {*ASPECTS} - {"honesty"}
            told = completion.extra["unscored"]["honesty"]
            assert (told["kind"], told["reason"], told["raw"]) == ("unreadable", "no-heading", "Rating: high")
        assert decode(to_ultrafeedback(row)) == row
    assert (tally.counts["unscored-unreadable"], tally.counts["asked-again"]) == (20, 10)


def test_a_member_without_an_answer_is_told_and_the_others_are_judged():
    def lost(request):
        return Exception("context_too_long") if request.model.name == "a" else answer(request)

    rows, tally, _ = run(settings(), drafts(40), answers=lost)
    short = [row for row in rows if len(row.completions) == 3]
    assert short
    assert all(row.extra["failed"][0]["kind"] == "context_too_long" for row in short)
    assert tally.counts["failed-context_too_long"] == len(short)
    assert all(len(completion.ratings) == 4 for row in rows for completion in row.completions)


def test_a_prompt_that_nobody_answered_is_dropped_and_counted():
    rows, tally, _ = run(settings(), drafts(3), answers=lambda _: Exception("content_filter"))
    assert not rows
    assert tally.summary()["dropped"] == {"no-completion": 3}


def test_the_same_prompt_again_is_dropped():
    _, tally, _ = run(settings(), [*drafts(3), *drafts(2)])
    assert (tally.taken, tally.given, tally.summary()["dropped"]) == (5, 3, {"duplicate-prompt": 2})


def test_knowledge_comes_from_the_source():
    assert format_knowledge({}) == format_knowledge({"correct_answers": ["None"]}) == ""
    text = format_knowledge({"correct_answers": ["Paris"], "incorrect_answers": ["Rome", "Oslo"]})
    assert text == "Known to be right:\n- Paris\n\nKnown to be wrong:\n- Rome\n- Oslo"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"completions": 6}, "the pool has 5 members"),
        ({"pool": [{"name": "a"}, {"name": "a"}], "completions": 2}, "stands twice"),
        ({"judge": {"endpoint": "judge", "aspects": ["honestly"]}}, "did you mean 'honesty'"),
        ({"principles": {"": {"honesty": 0.0}}}, "are all 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(more, words):
    with pytest.raises(ConfigError, match=words):
        settings(**more)


def test_an_endpoint_that_is_not_there_is_named():
    with pytest.raises(
        ConfigError, match="the judge names the endpoint 'jugde', which is not there; did you mean 'judge'"
    ):
        run(settings(judge={"endpoint": "jugde"}), drafts(1))


def test_addresses_and_prices_do_not_count_for_the_result():
    def digest(**more):
        endpoint = {"name": "a", "model": "m", "urls": ["http://localhost:1/v1"]} | more
        return (
            settings(endpoints=[endpoint], max_cost=3.0, ledger="x.sqlite").resolved()
            if more
            else settings(endpoints=[endpoint]).resolved()
        )

    assert digest() == digest(urls=["http://localhost:2/v1"], concurrency=3, price_in=1.0, price_out=1.0)
    assert digest() != digest(body={"x": 1})


def test_the_requests_of_a_prompt_are_counted_before_they_are_made():
    """Two members of three samples each: two requests, a rating for each of four aspects, a critique of each answer."""
    assert requests_per_prompt(settings(completions=2, samples=3)) == 2 + 4 + 6
    assert requests_per_prompt(settings(completions=2, samples=3, judge=None)) == 2
