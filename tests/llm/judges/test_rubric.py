"""A rubric file: what it may say, what a judge is asked by it, and what of a reply is read."""

import json
import time

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.llm.judge import Judges, Question, Unscored, ask
from notus.llm.judges.rubric import read_rubric
from notus.llm.judges.rubric_judge import RubricJudge
from notus.llm.parse import UnreadableError
from notus.llm.prompts import FENCED
from notus.llm.protocol import Decoding
from tests.helpers.judge_examples import Scripted

WHOLE = """
task: Answers of a help desk for bicycles.
criteria:
  - name: facts
    text: Is what it says of the bicycle true?
    levels: {"1": Wrong throughout., "5": All true.}
    weight: 2
  - {name: tone, text: "How friendly is it?", scale: [0, 10], whole: false}
checklist:
  - It names a next step.
  - {name: short, text: It has three sentences at most.}
principles:
  - Promise no repair that a workshop must do.
examples:
  - instruction: My chain slips.
    answer: Replace it.
    critique: Right, and bare of any help.
    scores: {facts: 4, tone: 2.5, check-1: yes, short: yes, principle-1: N/A}
"""
REPLY = "Fine work.\n\nfacts: 4\ntone: 7.5\ncheck-1: yes\nshort: no\nprinciple-1: N/A"


@pytest.fixture
def write(tmp_path):
    def to(text, name="desk.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return to


def values(assessment):
    return {rating.aspect: rating.value for rating in assessment.ratings}


def test_a_reply_in_words_is_read(write):
    found = RubricJudge(write(WHOLE)).read(REPLY)
    assert values(found) == {"facts": 4, "tone": 7.5, "check-1": 1, "short": 0, "principle-1": None}
    # 1 + 9 · (2 · ¾ + ¾ + 1 + 0) / (2 + 1 + 1 + 1): what does not apply has no weight
    assert found.critique.text == "Fine work."
    assert found.critique.score == pytest.approx(1 + 9 * 3.25 / 5)
    assert [(r.scale.low, r.scale.high) for r in found.ratings] == [(1, 5), (0, 10), (0, 1), (0, 1), (0, 1)]


def test_a_reply_in_json_is_read_alike(write):
    judge = RubricJudge(write(WHOLE))
    scores = {"facts": "4", "tone": 7.5, "check-1": "yes", "short": False, "principle-1": "N/A"}
    assert judge.read(json.dumps({"critique": "Fine work.", "scores": scores})) == judge.read(REPLY)
    assert judge.read(f"<think>facts: 1</think>\n{REPLY}") == judge.read(REPLY)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Fine work.\nfacts: 4\ntone: 7.5\ncheck-1: yes\nshort: no", "missing-score"),
        (REPLY.replace("facts: 4", "facts: 4\nfacts: 4").replace("short: no\n", ""), "missing-score"),
        (REPLY + "\nThat is all.", "text-behind-scores"),
        (REPLY.replace("facts: 4", "facts: 6"), "off-the-scale"),
        (REPLY.replace("facts: 4", "facts: 3.5"), "between-grades"),
        (REPLY.replace("facts: 4", "facts: 4 or 5"), "more-than-a-number"),
        (REPLY.replace("facts: 4", "facts: N/A"), "not-applicable"),
        (REPLY.replace("short: no", "short: partly"), "no-yes-or-no"),
        (REPLY.replace("short: no", "short: yes and no"), "no-yes-or-no"),
        (REPLY.replace("Fine work.", "facts: 2"), "several-scores"),
        (REPLY.removeprefix("Fine work."), "no-critique"),
        ("Fine work, I would say 8 of 10.", "missing-score"),
        ('{"critique": "Fine.", "scores": {"facts": 4}}', "missing-score"),
        ('{"critique": "Fine.", "scores": {"facts": 4}, "overall": 3}', "wrong-shape"),
        ('{"critique": "Fine.", "scores": {"fact": 4}}', "wrong-shape"),
        ('{"scores": {"facts": 4}}', "wrong-shape"),
        ('{"critique": "Fine.", "scores": {"facts": 4, "facts": 5}}', "broken-json"),
        ("<think>" + REPLY, "only-thoughts"),
    ],
)
def test_what_is_not_clearly_a_grade_of_each_point_is_refused(reply, reason, write):
    with pytest.raises(UnreadableError) as refused:
        RubricJudge(write(WHOLE)).read(reply)
    assert refused.value.reason == reason


def test_a_critique_may_speak_of_the_points_by_name(write):
    reply = "facts: it is right.\nshort: five sentences, hm.\n" + REPLY
    assert RubricJudge(write(WHOLE)).read(reply).critique.text.startswith("facts: it is right.")
    decorated = (
        "Good.\n1. **Facts:** 4/5\n2. tone: 7.5\n- check 1: Yes.\n- short: no (five sentences)\n- Principle_1: N/A"
    )
    assert values(RubricJudge(write(WHOLE)).read(decorated)) == values(RubricJudge(write(WHOLE)).read(REPLY))


def test_the_judge_is_asked_in_words_or_for_json(write):
    judges = Judges(rubric=write(WHOLE))
    question = judges.assess("Why {answer}?", "It is bent.")
    for schema in (False, True):
        generator = Scripted(lambda _: REPLY, schema=schema)
        (judged,) = ask(generator, generator.models["judge"], [question], Decoding())
        asked = generator.asked[0]
        text = asked.messages[-1].content
        fenced = {found["slot"]: found["text"] for found in FENCED.finditer(text)}
        assert (fenced["instruction"], fenced["answer"]) == ("Why {answer}?", "It is bent.")
        assert (fenced["example_1_instruction"], fenced["example_1_answer"]) == ("My chain slips.", "Replace it.")
        assert ("JSON" in text) == schema == (asked.schema is not None)
        assert ('"facts": "4"' in text) == schema != ("\nfacts: 4\n" in text)
        assert judged.value.critique.score == pytest.approx(6.85)
    fields = judges.rubric.schema(pair=False)["properties"]["scores"]
    assert fields["properties"]["facts"] == {"type": "string", "enum": ["1", "2", "3", "4", "5"]}
    assert fields["properties"]["principle-1"]["enum"] == ["yes", "no", "N/A"]
    assert fields["required"] == list(judges.rubric.names)


def test_pairs_and_grades_go_by_the_rubric_too(write):
    judges = Judges(rubric=write(WHOLE))
    pair = judges.pair("Why?", "one", "two")
    assert "weight 2" in pair.messages[-1].content
    assert (pair.read("Both. [[B]]"), pair.read('{"critique": "Both.", "verdict": "C"}')) == ("B", "C")
    assert judges.grade("Why?", "one").read(REPLY) == pytest.approx(6.85)
    none = Judges(rubric=write("principles: [Be kind.]\ncritique: false", "kind.yaml"))
    assert none.assess("i", "a").read("principle-1: N/A").critique.score is None
    with pytest.raises(UnreadableError, match="nothing-applies"):
        none.grade("i", "a").read("principle-1: N/A")


def test_a_changed_file_is_another_judge(write):
    first = RubricJudge(write(WHOLE)).digest
    assert RubricJudge(write(WHOLE, "moved.yaml")).digest != ""
    changed = {RubricJudge(write(WHOLE.replace(old, new))).digest for old, new in CHANGES}
    assert len(changed | {first}) == len(CHANGES) + 1


CHANGES = [("weight: 2", "weight: 3"), ("All true.", "All right."), ("N/A}", "yes}"), ("bicycles", "tricycles")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: Nothing.", "nothing to judge by"),
        ("criteria: [{name: a, text: t, scale: [5, 1]}]", "lower to a higher"),
        ("criteria: [{name: a, text: t, scale: [0.5, 5]}]", "whole: false"),
        ('criteria: [{name: a, text: t, levels: {"7": high}}]', "level 7 is off the scale"),
        ("criteria: [{name: a b, text: t}, {name: A_B, text: t}]", "one name to a reader"),
        ("criteria: [{name: a, text: t, weight: 0}]", "all weights are 0"),
        ("criteria: [{name: a, text: t, wieght: 2}]", "did you mean 'weight'"),
        ("criteria: [{name: '1', text: t}]", "name"),
        ("checklist: [t]\nexamples: [{instruction: i, answer: a, critique: c, scores: {chek-1: yes}}]", "chek-1"),
        ("checklist: [t, u]\nexamples: [{instruction: i, answer: a, critique: c, scores: {check-1: yes}}]", "check-2"),
        ("checklist: [t]\nexamples: [{instruction: i, answer: a, critique: c, scores: {check-1: 3}}]", "example 1"),
        ("checklist: [t]\nexamples: [{instruction: i, answer: a, scores: {check-1: yes}}]", "no critique"),
    ],
)
def test_a_file_that_is_no_rubric_is_told(text, words, write):
    with pytest.raises(ConfigError, match=words):
        RubricJudge(write(text))


def test_a_rubric_is_called_by_its_file_or_its_own_name(write):
    assert read_rubric(write(WHOLE)).name == "desk"
    assert read_rubric(write(f"name: Help desk\n{WHOLE}")).name == "Help desk"


def test_a_prompt_beside_a_rubric_is_refused(write):
    with pytest.raises(ConfigError, match="in the place of 'critique'"):
        Judges({"critique": "judge_critique"}, rubric=write(WHOLE))


def test_a_refusal_and_a_cut_are_called_so(write):
    judges = Judges(rubric=write(WHOLE))
    for reply, reason in (
        ("I'm sorry, but I cannot judge this.", "refusal"),
        ((REPLY, "refusal"), "refusal"),
        ((REPLY, "length"), "cut-off"),
        ("<think>I cannot judge this", "only-thoughts"),
        ("<think>Hm.</think>I cannot judge this.", "refusal"),
        ("Seven.", "missing-score"),
    ):
        generator = Scripted(lambda _, reply=reply: reply)
        (judged,) = ask(generator, generator.models["judge"], [judges.assess("i", "a")], Decoding(), tries=1)
        assert isinstance(judged.value, Unscored)
        assert (judged.value.kind, judged.value.reason) == ("unreadable", reason)


def test_a_long_line_of_asterisks_is_read_at_once(write):
    """A judge that stammers: in time that grows with the square of the line it took a minute."""
    judge, began = RubricJudge(write(WHOLE)), time.process_time()
    for line in ("*" * 20_000, "* " * 10_000, "_" * 20_000 + "facts: 1"):
        with pytest.raises(UnreadableError, match="missing-score"):
            judge.read(f"Fine.\n{line}")
    assert time.process_time() - began < 5


def test_a_reply_of_thoughts_alone_is_no_refusal_and_no_error():
    def read(reply):
        raise UnreadableError("no-token", reply.text)

    generator = Scripted(lambda _: "<think>I cannot judge this")
    question = Question((Message(role="user", content="?"),), str, "judge/token", read_reply=read)
    (judged,) = ask(generator, generator.models["judge"], [question], Decoding(), tries=1)
    assert (judged.value.kind, judged.value.reason) == ("unreadable", "no-token")
