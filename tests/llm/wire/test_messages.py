"""Endpoints that speak Anthropic's messages: bodies and answers after the documented API, on a server on loopback."""

import json

import pytest

from notus.core.errors import ConfigError, InputError, RunError
from notus.core.records import Message
from notus.llm.endpoint import Endpoint
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.protocol import Decoding, Reply, Request
from notus.llm.wire.messages import messages_body
from tests.helpers.desk import served

CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And?"},
    ],
    "max_tokens": 20,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 3,
    "seed": 1,
    "stop": ["\n"],
}


def answer(*texts, stop="end_turn", thinking=None, **usage):
    """A message as the API documents it."""
    blocks = [{"type": "thinking", "thinking": thinking, "signature": "s"}] if thinking else []
    blocks += [{"type": "text", "text": text} for text in texts]
    counts = {"input_tokens": 12, "output_tokens": 5} | usage
    about = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    return about | {"content": blocks, "stop_reason": stop, "usage": counts}


def refusal(status, kind, message, **headers):
    return status, headers, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def ask(tmp_path, respond, decoding=None, system="Be brief.", **settings):
    """Put one question to the server; gives the outcome, and what came there."""
    with served(messages=respond) as (url, came):
        given = {"name": "c", "model": "m", "urls": [url], "api": "messages", "backoff": 0.01, "retries": 2} | settings
        endpoint = Endpoint.parse(given, where="test")
        turns = (Message(role="system", content=system), Message(role="user", content="Why?"))
        with Ledger(tmp_path / "ledger.sqlite") as ledger, EndpointPool([endpoint], ledger) as pool:
            request = Request(pool.models["c"], turns, decoding or Decoding(temperature=0.5, max_tokens=20, seed=3))
            ((_, outcome),) = pool.answer([request])
    return outcome, came


def test_a_body_is_that_of_the_messages_api():
    assert messages_body("c", CHAT, "2023-06-01") == {
        "model": "m",
        "system": "Be brief.",
        "messages": CHAT["messages"][1:],
        "max_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop_sequences": ["\n"],
    }
    assert messages_body("c", CHAT, "2026-10-21").keys() == {
        "model",
        "system",
        "messages",
        "max_tokens",
        "stop_sequences",
    }
    bounded = {"type": "array", "items": {"type": "number", "minimum": 1, "enum": [1, 2]}, "minItems": 2}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": bounded}}
    schema = messages_body("c", CHAT | {"response_format": wanted}, "2026-10-21")["output_config"]["format"]
    assert schema == {"type": "json_schema", "schema": {"type": "array", "items": {"type": "number", "enum": [1, 2]}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": None}, "needs max_tokens"),
        ({"repetition_penalty": 1.1}, "no repetition"),
        ({"logprobs": 1}, "logp"),
    ],
)
def test_what_the_api_cannot_take_is_refused(change, words):
    body = {key: value for key, value in (CHAT | change).items() if value is not None}
    with pytest.raises(InputError, match=words):
        messages_body("c", body, "2026-10-21")


def test_an_answer_is_read_with_its_usage_and_the_key_goes_in_its_header(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-1")
    usage = {"cache_creation_input_tokens": 3, "cache_read_input_tokens": 4}
    prices = {"key_env": "MY_KEY", "price_in": 1.0, "price_out": 2.0}
    outcome, came = ask(tmp_path, lambda _: (200, {}, answer("It ", "is.", thinking="Hm.", **usage)), **prices)
    assert (outcome.texts, outcome.finish) == (("It is.",), ("stop",))
    assert (outcome.tokens_in, outcome.tokens_out, outcome.estimated) == (19, 5, False)
    assert outcome.price == pytest.approx((19 * 1 + 5 * 2) / 1e6)
    ((path, headers, body),) = came
    found = {name.lower(): value for name, value in headers.items()}
    assert (path, found["x-api-key"], found["anthropic-version"]) == ("/v1/messages", "secret-1", "2026-10-21")
    assert "authorization" not in found
    sent = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 20, "system": "Be brief."}
    assert body == sent


@pytest.mark.parametrize(
    ("given", "text", "finish"),
    [
        (answer("Half", stop="max_tokens"), "Half", "length"),
        (answer(stop="max_tokens", thinking="Hm"), "", "length"),
        (answer("I can't.", stop="refusal"), "I can't.", "refusal"),
        (answer(stop="refusal"), "", "refusal"),
        (answer("So\n", stop="stop_sequence"), "So\n", "stop"),
        (answer("Wait", stop="pause_turn"), "Wait", "pause_turn"),
    ],
)
def test_reasons_to_stop_are_those_of_a_reply(given, text, finish, tmp_path):
    outcome, _ = ask(tmp_path, lambda _: (200, {}, given))
    assert isinstance(outcome, Reply)
    assert (outcome.text, outcome.finish) == (text, (finish,))


def test_a_busy_server_is_asked_again_and_a_wrong_request_is_not(tmp_path):
    replies = [
        refusal(529, "overloaded_error", "Overloaded"),
        refusal(429, "rate_limit_error", "slow down", **{"retry-after": "0"}),
        refusal(500, "api_error", "inner"),
        (200, {}, answer("Yes.")),
    ]
    outcome, came = ask(tmp_path, lambda _: replies.pop(0))
    assert (outcome.text, len(came)) == ("Yes.", 4)
    outcome, came = ask(tmp_path, lambda _: refusal(400, "invalid_request_error", "no such thing"), system="Other.")
    assert (outcome.kind, len(came)) == ("bad_request", 1)
    too_long = "prompt is too long: 210000 tokens > 200000 maximum"
    outcome, _ = ask(tmp_path, lambda _: refusal(400, "invalid_request_error", too_long), system="Long.")
    assert outcome.kind == "context_too_long"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (refusal(401, "authentication_error", "invalid x-api-key"), "unauthorized"),
        (refusal(400, "invalid_request_error", "Your credit balance is too low to go on"), "quota_exhausted"),
        (refusal(404, "not_found_error", "model: m"), "model_not_found"),
    ],
)
def test_what_helps_nobody_stops_the_run(given, words, tmp_path):
    with pytest.raises(RunError, match=words):
        ask(tmp_path, lambda _: given)


def test_several_answers_are_asked_for_one_by_one(tmp_path):
    numbers = iter(range(5))
    outcome, came = ask(
        tmp_path, lambda _: (200, {}, answer(f"Answer {next(numbers)}.")), Decoding(max_tokens=9, n=3), retries=0
    )
    assert outcome.texts == ("Answer 0.", "Answer 1.", "Answer 2.")
    assert (len(came), outcome.tokens_in, outcome.attempts) == (3, 36, 3)


def test_the_version_belongs_to_the_model_and_to_this_api_alone():
    def model(**settings):
        return Endpoint.parse({"name": "c", "model": "m", "urls": ["http://h/v1"], **settings}, where="t").as_model()

    versions = [model(api="messages"), model(api="messages", api_version="2023-06-01"), model()]
    assert len({each.identity for each in versions}) == 3
    assert json.loads(versions[2].identity) == {"api": "chat", "body": {}, "model": "m"}
    with pytest.raises(ConfigError, match="api_version belongs to api: messages"):
        model(api_version="2023-06-01")
