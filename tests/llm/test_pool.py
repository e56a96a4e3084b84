"""Runs of many requests: the order, the cost, the hard stop, replicas that die, and kills."""

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from notus.core.errors import ConfigError, InputError, NotusError, RunError
from notus.core.records import Message
from notus.llm import openai
from notus.llm.endpoint import Endpoint
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.progress import Progress
from notus.llm.protocol import Decoding, Model, Reply, Request, ordered
from tests.helpers.misbehaving import Server


def endpoint(*urls, name="judge", **settings):
    quick = {"backoff": 0.02, "timeout": 10.0, "connect_timeout": 2.0, "concurrency": 8}
    return Endpoint(name=name, model="m", urls=urls, **{**quick, **settings})


def ask(pool, text, name="judge", **more):
    return Request(model=pool.models[name], messages=(Message(role="user", content=text),), **more)


@contextmanager
def pool_on(path, *endpoints, **settings):
    with Ledger(path) as ledger, EndpointPool(endpoints, ledger, **settings) as pool:
        yield pool


def test_every_request_is_answered_once_and_ordered_keeps_the_order(tmp_path):
    with Server() as server, pool_on(tmp_path / "ledger", endpoint(server.url)) as pool:
        texts = [f"{number % 300}" for number in range(900)]
        came = list(ordered(pool, (ask(pool, text, tag=str(place)) for place, text in enumerate(texts))))
        assert [request.tag for request, _ in came] == [str(place) for place in range(900)]
        assert all(isinstance(reply, Reply) for _, reply in came)
        by_text = {
            text: {reply.text for (_, reply), other in zip(came, texts, strict=True) if other == text} for text in texts
        }
        assert all(len(replies) == 1 for replies in by_text.values())
        assert server.came.total() == server.answered.total() == 300
        state = pool.progress.snapshot()
        assert (state.asked, state.answered, state.stored) == (300, 300, 600)


def test_a_second_run_asks_only_what_is_new(tmp_path):
    with Server() as server:
        for extra in (0, 1):
            # Everything but what determines the answers is changed.
            settings = {"name": "renamed", "concurrency": 3} if extra else {}
            with pool_on(tmp_path / "ledger", endpoint(server.url, **settings)) as pool:
                name = settings.get("name", "judge")
                asked = [ask(pool, str(n), name, step=f"step {extra}") for n in range(500 + extra)]
                assert len(list(pool.answer(asked))) == 500 + extra
        assert server.came.total() == 501


def test_never_more_at_once_than_is_set(tmp_path):
    with (
        Server(latency=0.01) as server,
        pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=5)) as pool,
    ):
        list(pool.answer(ask(pool, str(number)) for number in range(100)))
        assert server.most_at_once == 5


def test_requests_can_follow_from_answers(tmp_path):
    """The requests of one call are made of the answers of another, on the same pool."""
    with Server() as server:
        writer = endpoint(server.url, name="writer")
        with pool_on(tmp_path / "ledger", writer, endpoint(server.url)) as pool:
            answers = pool.answer(ask(pool, f"write {number}", "writer") for number in range(100))
            judged = list(pool.answer(ask(pool, f"judge {reply.text}") for _, reply in answers))
            assert len(judged) == 100
            assert pool.progress.answered == 200


def test_an_abandoned_call_sends_nothing_more_and_loses_nothing(tmp_path):
    with Server(latency=0.02) as server:
        with pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=4)) as pool:
            answers = pool.answer(ask(pool, str(number)) for number in range(1000))
            next(answers)
            answers.close()
        assert server.came.total() < 30
        with Ledger(tmp_path / "ledger") as ledger:
            assert ledger.query("SELECT count(*) FROM entries WHERE kind = ''") == [(server.answered.total(),)]
        with pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=4)) as pool:
            list(pool.answer(ask(pool, str(number)) for number in range(60)))
        assert max(server.came.values()) == 1


def test_max_cost_is_never_passed_and_the_run_goes_on_later(tmp_path):
    prices = {"price_in": 1e6 / 100, "price_out": 1e6 / 50}  # 11 tokens in and 7 out: 0.25 each
    with Server() as server:
        asked = 0
        for limit, most in ((10.0, 40), (20.0, 80), (1000.0, 200)):
            with pool_on(tmp_path / "ledger", endpoint(server.url, **prices), max_cost=limit) as pool:
                requests = [ask(pool, str(number), decoding=Decoding(max_tokens=7)) for number in range(200)]
                answers = pool.answer(requests)
                came = []
                if limit < 1000:
                    with pytest.raises(RunError, match=f"max_cost {limit:g} is reached.*goes on") as stop:
                        came.extend(answers)
                    assert "\n" not in str(stop.value)
                else:
                    came.extend(answers)
                answered = sum(isinstance(outcome, Reply) for _, outcome in came)
                state = pool.progress.snapshot()
                assert state.cost + state.cost_before <= limit
                assert state.asked == state.answered
                assert answered == state.answered + state.stored
                assert most - 2 <= answered <= most
                asked += state.asked
        assert asked == server.came.total() == 200


def test_max_cost_needs_prices(tmp_path):
    with pytest.raises(ConfigError, match="no prices"), pool_on(tmp_path / "l", endpoint("http://a/v1"), max_cost=1.0):
        pass


def test_the_estimate_sends_nothing_and_knows_what_is_stored(tmp_path):
    prices = {"price_in": 10.0, "price_out": 100.0}
    with Server() as server, pool_on(tmp_path / "ledger", endpoint(server.url, **prices)) as pool:
        requests = [ask(pool, "x" * 396, decoding=Decoding(max_tokens=50), sample=number % 8) for number in range(10)]
        list(pool.answer(requests[:3]))
        estimate = pool.estimate(requests)
        assert (estimate.requests, estimate.stored, estimate.to_ask) == (10, 5, 5)
        # 396 bytes are 99 tokens, and 4 for the message.
        assert (estimate.tokens_in, estimate.tokens_out) == (5 * 103, 5 * 50)
        assert estimate.cost == pytest.approx((5 * 103 * 10 + 5 * 50 * 100) / 1e6)
        assert estimate.cost_before == pytest.approx(3 * (11 * 10 + 7 * 100) / 1e6)
        assert server.came.total() == 3


def test_progress_tells_what_is_to_come(tmp_path):
    progress = Progress(total=40)
    prices = {"price_in": 1e6 / 11, "price_out": 0.0}
    with (
        Server() as server,
        pool_on(tmp_path / "ledger", endpoint(server.url, **prices), progress=progress) as pool,
    ):
        list(pool.answer(ask(pool, str(number)) for number in range(10)))
        state = progress.snapshot()
        assert (state.done, state.cost, state.cost_to_come) == (10, pytest.approx(10.0), pytest.approx(30.0))
        assert state.rate > 0


def test_a_request_that_cannot_be_sent_is_the_users_error(tmp_path):
    with Server() as server, pool_on(tmp_path / "ledger", endpoint(server.url, api="completions")) as pool:
        two = (Message(role="system", content="a"), Message(role="user", content="b"))
        good = ask(pool, "fine")
        for wrong, words in (
            (replace(good, messages=two), "one message"),
            (replace(good, messages=(Message(role="user", content="\ud800"),)), "surrogate"),
            (replace(good, model=Model(name="jugde")), "did you mean 'judge'"),
            (replace(good, model=Model(name="judge")), "EndpointPool.models"),
        ):
            with pytest.raises(InputError, match=words):
                list(pool.answer([good, wrong]))
        [(_, reply)] = pool.answer([good])
        assert isinstance(reply, Reply)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_env": "sk-12345-secret"}, "never the key"),
        ({"key_env": "hf_abcdefghijklmnopqrstuvsecret"}, "never the key"),
        ({"key_env": "sk_live_51HabcdefGHIsecret"}, "never the key"),
        ({"key_env": "a3f59c21secret77d0e41b"}, "never the key"),
        ({"key_env": ["sk-12345-secret"]}, "never the key"),
        ({"urls": ["http://user:secret@host/v1"]}, "no login"),
        ({"urls": ["http://host/v1?key=secret"]}, "no query"),
        ({"body": {"api_key": "secret"}}, "'api_key' would be kept"),
        ({"api_key": "secret"}, "unknown key 'endpoint.api_key'|unknown key 'api_key'"),
        ({"urls": ["host:8000/v1"]}, "http://host:port"),
        ({"urls": []}, "urls"),
        ({"body": {"temperature": 1}}, "'temperature' is set by the request"),
        ({"price_in": 1.0}, "together"),
        ({"concurency": 3}, "did you mean 'concurrency'"),
    ],
)
def test_a_wrong_endpoint_is_one_line_without_secrets(settings, words):
    whole = {"name": "a", "model": "b", "urls": ["http://h/v1"], **settings}
    with pytest.raises(ConfigError, match=words) as error:
        Endpoint.parse(whole, where="endpoint")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "KEY2", "my_key", "AZURE_OPENAI_API_KEY_2", "ANTHROPIC_KEY_EU_1"])
def test_the_name_of_a_variable_is_taken(name, monkeypatch):
    whole = {"name": "a", "model": "b", "urls": ["http://h/v1"], "key_env": name}
    monkeypatch.setenv(name, "k")
    assert Endpoint.parse(whole, where="endpoint").read_key() == "k"
    monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=f"variable {name} is not set"):
        Endpoint.parse(whole, where="endpoint").read_key()


def test_a_key_that_looks_like_a_name_is_not_shown_whole(monkeypatch):
    """Of letters alone, in no vendor's form: nothing tells it from a name, but that no variable is called so."""
    whole = {"name": "a", "model": "b", "urls": ["http://h/v1"], "key_env": "qwertzuiopasdfghjklsecret"}
    with pytest.raises(ConfigError, match=r"variable qwer… \(25 characters\) is not set") as error:
        Endpoint.parse(whole, where="endpoint").read_key()
    assert "secret" not in str(error.value)
    # A variable of that name is one, whatever it looks like.
    monkeypatch.setenv("hf_abcdefghijklmnopqrstuvw0", "k")
    named = Endpoint.parse(whole | {"key_env": "hf_abcdefghijklmnopqrstuvw0"}, where="endpoint")
    assert named.read_key() == "k"


def test_a_key_that_is_not_set_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTUS_ABSENT", raising=False)
    with (
        pytest.raises(ConfigError, match="NOTUS_ABSENT is not set"),
        pool_on(tmp_path / "ledger", endpoint("http://h/v1", key_env="NOTUS_ABSENT")),
    ):
        pass


def start_server():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.misbehaving"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"


@pytest.mark.slow
def test_one_of_three_replicas_is_killed_and_nothing_is_lost_or_paid_twice(tmp_path):
    dying, dying_url = start_server()
    with Server(latency=0.005) as one, Server(latency=0.005) as two:
        with pool_on(tmp_path / "ledger", endpoint(one.url, dying_url, two.url, concurrency=12)) as pool:
            came = []
            for request, reply in pool.answer(ask(pool, str(number)) for number in range(1500)):
                came.append((request, reply))
                if len(came) == 300:
                    dying.kill()
            assert all(isinstance(reply, Reply) for _, reply in came)
            assert len({request.key for request, _ in came}) == 1500
            state = pool.progress.snapshot()
            assert (state.asked, state.answered) == (1500, 1500)
            assert state.errors
        counted = one.answered + two.answered
        assert max(counted.values()) == 1
        assert counted.total() < 1500  # the third did its part before
        # The load is shared.
        assert min(one.answered.total(), two.answered.total()) > 300
        with Ledger(tmp_path / "ledger") as ledger:
            assert ledger.query("SELECT count(*) FROM entries WHERE kind = ''") == [(1500,)]
    dying.wait()
    dying.stdin.close()
    dying.stdout.close()


def test_a_replica_that_comes_back_is_noticed(tmp_path):
    with Server() as gone:
        port, url = gone.port, gone.url
    with Server(latency=0.01) as steady, pool_on(tmp_path / "ledger", endpoint(url, steady.url)) as pool:
        answers = pool.answer(ask(pool, str(number)) for number in range(3000))
        for _ in range(20):
            assert isinstance(next(answers)[1], Reply)
        assert pool.progress.errors["refused"] >= 1
        with Server(port=port, latency=0.01) as back:
            for _, reply in answers:
                assert isinstance(reply, Reply)
                if back.answered.total() > 50:
                    break
            assert back.answered.total() > 50
            answers.close()


def start_alone(folder, *urls, requests=2000, concurrency=16):
    command = [sys.executable, "-m", "tests.helpers.collect_alone", folder / "ledger", folder / "out.json"]
    return subprocess.Popen([*map(str, command), str(requests), str(concurrency), *urls])


def test_an_interrupt_keeps_what_is_under_way(tmp_path):
    with Server(latency=0.05) as server:
        command = [
            sys.executable,
            "-m",
            "tests.helpers.collect_alone",
            tmp_path / "ledger",
            tmp_path / "out",
            "5000",
            "8",
        ]
        process = subprocess.Popen([*map(str, command), server.url], stderr=subprocess.PIPE, text=True)
        while server.answered.total() < 50:
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in said
        assert "Task was destroyed" not in said
        with Ledger(tmp_path / "ledger") as ledger:
            assert ledger.query("SELECT count(*) FROM entries WHERE kind = ''") == [(server.came.total(),)]
        assert server.came.total() < 5000


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(10, 1, marks=pytest.mark.slow), pytest.param(100, 2, marks=pytest.mark.soak)],
)
def test_kills_lose_at_most_what_was_under_way(kills, seed, tmp_path):
    draw = random.Random(seed)
    requests, concurrency = 2000, 16
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    with Server() as server:
        assert start_alone(calm, server.url).wait(120) == 0
    with Server(latency=0.01) as server:
        for _ in range(kills):
            process = start_alone(killed, server.url)
            target = server.came.total() + draw.randint(0, int(1.6 * requests / kills))
            while server.came.total() < target and process.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.03))
            process.kill()
            assert process.wait() == -signal.SIGKILL, "the run was over before all kills had fallen"
        assert start_alone(killed, server.url).wait(120) == 0
        assert requests < server.came.total() <= requests + concurrency * kills
        assert len(server.came) == requests
    assert (killed / "out.json").read_bytes() == (calm / "out.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False], ids=["set", "learned"])
def test_a_limited_server_is_used_to_its_limit(known, tmp_path):
    """600 requests a minute; after a warm-up, 95 % of that and less than 1 % refused."""
    warm_up, measured = (2.0, 20.0) if known else (30.0, 30.0)
    limit = {"requests_per_minute": 600.0} if known else {}
    with (
        Server(per_minute=600, burst=5) as server,
        pool_on(tmp_path / "ledger", endpoint(server.url, retries=0, concurrency=16, **limit)) as pool,
    ):
        stop = threading.Event()
        timer = threading.Timer(warm_up + measured, stop.set)
        timer.start()
        started = time.monotonic()
        outcomes = []
        for _, outcome in pool.answer(ask(pool, str(number)) for number in range(10_000)):
            outcomes.append(outcome)
            if stop.is_set():
                break
        window = [passed for at, passed in server.limited if warm_up <= at - started < warm_up + measured]
    assert all(isinstance(outcome, Reply) for outcome in outcomes)
    assert sum(window) >= 0.95 * 10 * measured
    assert window.count(False) < 0.01 * len(window)


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, (3, 0, True)),
        ({"prompt_tokens": 0, "completion_tokens": 2}, (0, 2, True)),
        ({"prompt_tokens": 3, "completion_tokens": -1}, (0, 0, False)),
        ({"prompt_tokens": True, "completion_tokens": 1}, (0, 0, False)),
        ({"prompt_tokens": 2**40, "completion_tokens": 1}, (0, 0, False)),
        (None, (0, 0, False)),
    ],
)
def test_tokens_are_those_that_the_server_counted_where_it_did(usage, found):
    assert openai._read_usage(usage) == found


def test_there_is_room_for_four_times_what_is_under_way(tmp_path):
    endpoints = [endpoint("http://127.0.0.1:9/v1", name=name, concurrency=2_048) for name in ("one", "two")]
    with pool_on(tmp_path / "ledger", *endpoints) as pool:
        assert pool._room == 4 * 2 * 2_048


def test_a_ledger_that_takes_nothing_ends_the_run_before_more_is_paid(tmp_path):
    with Server(latency=0.02) as server, pool_on(tmp_path / "ledger", endpoint(server.url, concurrency=2)) as pool:
        pool._ledger.query("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with pytest.raises(NotusError, match="no room"):
            list(pool.answer(ask(pool, str(n)) for n in range(400)))
        assert server.answered.total() < 100
