"""Each kind of request error, on a real server: made good by asking again, a failure, or the end of the run."""

import os
from contextlib import contextmanager

import pytest

from notus.core.errors import RunError
from notus.core.records import Message
from notus.llm.endpoint import Endpoint
from notus.llm.errors import RULES
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.protocol import Decoding, Failure, Reply, Request
from tests.helpers.misbehaving import FAULTS, Server

KEY = "sk-very-secret-4711"


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


def endpoint(*urls, **settings):
    quick = {"retries": 1, "backoff": 0.01, "timeout": 10.0, "connect_timeout": 1.0, "patience": 0.2}
    prices = {"price_in": 1.0, "price_out": 2.0, "max_bytes": 100_000, "concurrency": 4}
    return Endpoint(name="judge", model="m", urls=urls, key_env="NOTUS_TEST_KEY", **{**quick, **prices, **settings})


def ask(pool, text, **decoding):
    wanted = {"top_logprobs": decoding.pop("top_logprobs", None)}
    message = Message(role="user", content=text)
    return Request(model=pool.models["judge"], messages=(message,), decoding=Decoding(**decoding), **wanted)


def impatient(fault):
    """Settings under which what takes too long takes too long soon, and nothing else does."""
    return {"timeout": 0.3} if RETRIED[fault] == "timeout" else {}


@contextmanager
def pool_on(path, *endpoints, **settings):
    with Ledger(path) as ledger, EndpointPool(endpoints, ledger, **settings) as pool:
        yield pool


def balanced(pool):
    state = pool.progress.snapshot()
    assert state.under_way == 0
    assert state.asked == state.answered + sum(state.failed.values())
    return state


# Name → kind of the error, and what comes of it when it comes each time. Once, it is made good wherever it is a retry.
RETRIED = {
    "500": "server_error",
    "500-empty": "server_error",
    "502-html": "server_error",
    "503": "server_error",
    "408": "request_timeout",
    "silence": "timeout",
    "drip": "timeout",
    "drip-headers": "timeout",
    "reset": "connection_reset",
    "close": "connection_reset",
    "close-in-headers": "connection_reset",
    "truncated": "truncated_body",
    "truncated-chunks": "truncated_body",
    "no-http": "protocol_error",
    "bad-json": "bad_json",
    "deep-json": "bad_json",
    "nan": "bad_json",
    "empty-body": "bad_json",
    "json-list": "wrong_shape",
    "json-null": "wrong_shape",
    "duplicate-keys": "duplicate_keys",
    "html": "html_page",
    "html-as-json": "html_page",
    "plain": "wrong_content_type",
    "events": "wrong_content_type",
    "latin-1": "wrong_encoding",
    "surrogate": "wrong_encoding",
    "broken-gzip": "wrong_encoding",
    "huge": "body_too_large",
    "error-in-200": "error_object",
    "no-choices": "empty_choices",
    "choices-null": "wrong_shape",
    "choice-null": "wrong_shape",
    "null-content": "null_content",
    "tool-call": "null_content",
}
WAITED = {
    "429": "rate_limited",
    "429-seconds": "rate_limited",
    "429-date": "rate_limited",
    "429-nonsense": "rate_limited",
    "429-html": "rate_limited",
    "error-429-in-200": "rate_limited",
    "503-wait": "overloaded",
    "529": "overloaded",
}
REFUSED = {
    "filter": "content_filter",
    "filter-text": "content_filter",
    "filter-400": "content_filter",
    "too-long": "context_too_long",
    "too-long-text": "context_too_long",
    "400": "bad_request",
    "413": "bad_request",
    "422": "bad_request",
}
STOPPED = {
    "429-quota": "quota_exhausted",
    "402": "quota_exhausted",
    "401": "unauthorized",
    "403": "forbidden",
    "404-model": "model_not_found",
    "404": "not_found",
    "405": "not_found",
    "redirect": "redirected",
}
WITH_N_OR_LOGPROBS = {"fewer", "no-logprobs", "odd-logprobs", "more", "other-order"}
ANSWERS = {
    "no-usage": "Four is the answer.",
    "odd-usage": "Four is the answer.",
    "length": "Cut of",
    "empty-text": "",
    "same-id": "Fine.",
    "no-content-type": "Fine.",
    "gzip": "Fine.",
    "closes-after": "Fine.",
}


@pytest.fixture(autouse=True)
def key_and_no_leak(monkeypatch, tmp_path):
    """In every test of this file the key is set, and afterwards stands in no file."""
    monkeypatch.setenv("NOTUS_TEST_KEY", KEY)
    yield
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_every_fault_has_its_expectation():
    tested = [*RETRIED, *WAITED, *REFUSED, *STOPPED, *ANSWERS, *WITH_N_OR_LOGPROBS]
    assert sorted(tested) == sorted(FAULTS)
    assert len(FAULTS) >= 30
    # The others need a server of another kind: none at all, a deaf one, a batch, or a status that no server sends.
    other = {"refused", "connect_timeout", "unexpected_status", "too_few_choices", "logprobs_missing", "batch_failed"}
    assert {*RETRIED.values(), *WAITED.values(), *REFUSED.values(), *STOPPED.values()} == set(RULES) - other


@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_that_passes_is_made_good(fault, server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url, **impatient(fault))) as pool:
        request = ask(pool, f"fault={fault}*1 once")
        [(given, reply)] = pool.answer([request])
        assert given is request
        assert isinstance(reply, Reply), reply
        assert reply.attempts == 2
        assert balanced(pool).errors == {RETRIED[fault]: 1}
        assert server.answered[f"fault={fault}*1 once"] == 1


@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_that_stays_is_a_failure_which_the_next_run_asks_again(fault, server, tmp_path):
    text = f"fault={fault}*2 twice"
    with pool_on(tmp_path / "ledger", endpoint(server.url, **impatient(fault))) as pool:
        [(_, failure)] = pool.answer([ask(pool, text)])
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.attempts) == (RETRIED[fault], 2)
        assert failure.detail
        assert KEY not in repr(failure)
        assert balanced(pool).failed == {RETRIED[fault]: 1}
    with pool_on(tmp_path / "ledger", endpoint(server.url, **impatient(fault))) as pool:
        [(_, reply)] = pool.answer([ask(pool, text)])
        assert isinstance(reply, Reply)
        assert server.answered[text] == 1


@pytest.mark.parametrize("fault", WAITED)
def test_a_limit_is_waited_for_and_counts_against_no_request(fault, server, tmp_path):
    text = f"fault={fault}*4 limit"
    with pool_on(tmp_path / "ledger", endpoint(server.url, retries=0, patience=30.0)) as pool:
        [(_, reply)] = pool.answer([ask(pool, text)])
        assert isinstance(reply, Reply)
        assert reply.attempts == 5
        assert balanced(pool).errors == {WAITED[fault]: 4}


@pytest.mark.parametrize("fault", WAITED)
def test_a_limit_without_end_stops_the_run_which_goes_on_later(fault, server, tmp_path):
    text = f"fault={fault}*99 {tmp_path}"
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        with pytest.raises(RunError, match=WAITED[fault]):
            list(pool.answer([ask(pool, text)]))
        balanced(pool)
    server.came[text] = 99
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        [(_, reply)] = pool.answer([ask(pool, text)])
        assert isinstance(reply, Reply)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_is_final(fault, server, tmp_path):
    text = f"fault={fault}*9 refused"
    for stored in (False, True):
        with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
            [(_, failure)] = pool.answer([ask(pool, text)])
            assert isinstance(failure, Failure)
            assert (failure.kind, failure.stored, failure.attempts) == (REFUSED[fault], stored, 1)
            balanced(pool)
    assert server.came[text] == 1


@pytest.mark.parametrize("fault", STOPPED)
def test_what_no_request_can_pass_stops_the_run_with_one_line(fault, server, tmp_path):
    texts = [f"fault={fault}*1 {tmp_path}", *(f"{tmp_path} {number}" for number in range(40))]
    with pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=1)) as pool:
        came = []
        with pytest.raises(RunError, match=STOPPED[fault]) as stop:
            came.extend(pool.answer(ask(pool, text) for text in texts))
        assert "\n" not in str(stop.value)
        assert KEY not in str(stop.value)
        state = balanced(pool)
        assert state.failed == {STOPPED[fault]: 1}
        assert state.asked == 1
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        assert all(isinstance(reply, Reply) for _, reply in pool.answer(ask(pool, text) for text in texts))
        assert pool.progress.answered == 41
    assert all(server.answered[text] == 1 for text in texts)


@pytest.mark.parametrize("fault", ANSWERS)
def test_what_is_odd_and_yet_an_answer(fault, server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        [(_, reply)] = pool.answer([ask(pool, f"fault={fault}*9 odd")])
        assert isinstance(reply, Reply)
        assert reply.text == ANSWERS[fault]
        assert reply.estimated == ("usage" in fault)
        assert reply.tokens_out == (5 if reply.estimated else 7)  # 19 bytes are about 5 tokens
        assert reply.truncated == (fault == "length")
        state = balanced(pool)
        assert (state.truncated, state.estimated) == (reply.truncated, reply.estimated)


def test_of_n_answers_the_rest_is_asked_for(server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url, retries=2)) as pool:
        [(_, whole)] = pool.answer([ask(pool, "three", n=3, seed=5)])
        [(_, pieced)] = pool.answer([ask(pool, "fault=fewer*2 three", n=3, seed=5)])
        assert len(set(whole.texts)) == len(set(pieced.texts)) == 3
        assert (pieced.attempts, pieced.tokens_out) == (3, 21)
        assert pieced.price == pytest.approx((33 * 1 + 21 * 2) / 1e6)
        [(_, failure)] = pool.answer([ask(pool, "fault=fewer*9 five", n=5)])
        assert (failure.kind, failure.tokens_out) == ("too_few_choices", 21)
        assert failure.price == pytest.approx((33 * 1 + 21 * 2) / 1e6)
        balanced(pool)


def test_more_answers_than_asked_are_cut_and_the_index_orders_them(server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        [(_, more)] = pool.answer([ask(pool, "fault=more*1")])
        [(_, order)] = pool.answer([ask(pool, "fault=other-order*1", n=2)])
        assert (more.texts, order.texts) == (("One.",), ("One.", "Two."))


def test_logprobs_come_or_the_answer_is_refused(server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        [(_, reply)] = pool.answer([ask(pool, "with", top_logprobs=2)])
        assert reply.logprobs[0][0].top == (("A", -0.1), ("B", -2.5))
        for fault in ("no-logprobs", "odd-logprobs"):
            [(_, failure)] = pool.answer([ask(pool, f"fault={fault}*9", top_logprobs=2)])
            assert (failure.kind, failure.tokens_out) == ("logprobs_missing", 7)


def test_a_server_that_refuses_everything_stops_the_run(server, tmp_path):
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        with pytest.raises(RunError, match="one after another"):
            list(pool.answer(ask(pool, f"fault=400*9 all {number}") for number in range(500)))
        assert 20 <= balanced(pool).failed["bad_request"] <= 24


def test_nobody_listens(tmp_path):
    with Server() as gone:
        url = gone.url
    with pool_on(tmp_path / "ledger", endpoint(url)) as pool:
        with pytest.raises(RunError, match="refused"):
            list(pool.answer(ask(pool, str(number)) for number in range(10)))
        balanced(pool)
    with Server(port=int(url.split(":")[2][:-3])), pool_on(tmp_path / "ledger", endpoint(url)) as pool:
        assert all(isinstance(reply, Reply) for _, reply in pool.answer(ask(pool, str(n)) for n in range(10)))


def test_a_server_that_was_never_reached_is_not_waited_for_as_one_that_is_gone(tmp_path):
    with Server() as server:
        url = server.url
        settings = {"patience": 30.0, "connect_patience": 0.2}
        with pool_on(tmp_path / "ledger", endpoint(url, **settings)) as pool:
            ((_, reply),) = pool.answer([ask(pool, "first")])
            assert isinstance(reply, Reply)
            assert pool._clients["judge"]._reached
    never = pytest.raises(RunError, match=r"refused.*connect_patience is 0\.2 s")
    with pool_on(tmp_path / "other", endpoint(url, **settings)) as pool, never:
        list(pool.answer([ask(pool, "second")]))


def test_all_faults_at_once_and_nothing_is_lost_or_paid_twice(server, tmp_path):
    once = [name for name in (*RETRIED, *WAITED) if RETRIED.get(name) != "timeout"]
    texts = [f"fault={name}*1 {tmp_path}" for name in once]
    texts += [f"{tmp_path} {number}" for number in range(200)]
    with pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=16, retries=5, patience=60.0)) as pool:
        replies = {request.messages[0].content: reply for request, reply in pool.answer(ask(pool, t) for t in texts)}
        assert set(replies) == set(texts)
        assert all(isinstance(reply, Reply) for reply in replies.values())
        state = balanced(pool)
        assert sum(state.errors.values()) == len(once)
        assert state.cost == pytest.approx(sum(reply.price for reply in replies.values()))
    assert all(server.answered[text] == 1 for text in texts)


def test_the_key_goes_to_the_server_and_nowhere_else(server, tmp_path, capfd):
    server.keys.clear()
    with pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        with pytest.raises(RunError, match=r"\[key\]") as stop:
            list(pool.answer([ask(pool, "fault=401*1 leak")]))
        assert KEY not in repr(pool.progress.snapshot()) + str(stop.value)
    assert server.keys == {KEY: 1}
    assert KEY not in "".join(capfd.readouterr())
    assert KEY not in str(endpoint(server.url).resolved())
    assert os.environ["NOTUS_TEST_KEY"] == KEY
