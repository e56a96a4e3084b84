"""The toy world's judge behind its loopback server."""

import json
import urllib.error
import urllib.request

import pytest

from notus.llm.judge import Judges
from notus.llm.parse import UnreadableError
from notus.toy.server import JudgeServer, reply_to
from notus.toy.tasks import fact_tasks

JUDGES = Judges()
TASK = fact_tasks(3)[0]
ANSWERS = [
    TASK.statement(TASK.answer, 0),
    "I will not do that.",
    "ba lo mi",
    f"{TASK.statement(TASK.answer, 1)} You fool.",
]


def body(question, seed=0, **more):
    messages = [{"role": m.role, "content": m.content} for m in question.messages]
    return {"model": "m", "messages": messages, "seed": seed, "miniature": {"noise": 0.3, "malformed": 0.0} | more}


def test_it_knows_the_truth_and_says_it_in_the_judges_own_form():
    for aspect in ("helpfulness", "honesty", "instruction_following", "truthfulness"):
        question = JUDGES.aspect(aspect, TASK.prompt, ANSWERS, seed="s")
        rows = [question.read(reply_to(body(question, seed))) for seed in range(30)]
        means = [
            sum(values) / len(values)
            for place in range(4)
            if (values := [row[place].value for row in rows if row[place].value is not None])
        ]
        assert means[0] > 4.2  # the right answer
        assert means[2] < 2.3  # junk
    for answer, low, high in ((ANSWERS[0], 9, 10), (ANSWERS[2], 1, 1.6)):
        question = JUDGES.critique(TASK.prompt, answer)
        scores = [question.read(reply_to(body(question, seed))).score for seed in range(30)]
        assert low <= sum(scores) / 30 <= high


def test_a_share_of_its_replies_is_malformed():
    question, refused = JUDGES.aspect("helpfulness", TASK.prompt, ANSWERS, seed="s"), 0
    for seed in range(300):
        try:
            question.read(reply_to(body(question, seed, malformed=0.5)))
        except UnreadableError:
            refused += 1
    # One way of being malformed leaves a reply without a 4 or a 5 as it was; 300 draws at ½, four standard deviations.
    assert 105 < refused < 185


def test_its_reply_follows_from_the_request():
    question = JUDGES.critique(TASK.prompt, ANSWERS[1])
    assert reply_to(body(question)) == reply_to(body(question))
    assert len({reply_to(body(question, seed)) for seed in range(20)}) > 3


def test_it_answers_over_http_and_refuses_what_it_does_not_know():
    def post(url, value):
        request = urllib.request.Request(url, json.dumps(value).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    with JudgeServer() as server:
        question = JUDGES.critique(TASK.prompt, ANSWERS[0])
        found = post(f"{server.url}/chat/completions", body(question))
        assert question.read(found["choices"][0]["message"]["content"]).score >= 8
        for path, value in (("/chat/completions", {"messages": []}), ("/chat/completions", 3), ("/models", {})):
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(server.url + path, value)
            with caught.value as error:
                assert error.code in (400, 404)
