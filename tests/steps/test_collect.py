"""The steps that collect, against real servers on loopback: the miniature's judge, a misbehaving one, a local model."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from notus.core.errors import ConfigError, RunError
from notus.core.records import Feedback, Message
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.engine.generator import InProcess
from notus.engine.load import save_model
from notus.formats.source import open_source
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.protocol import Decoding, Request, ordered
from notus.steps.collect.asking import ledger_of
from notus.steps.collect.dialogues import Converse, Refine
from notus.steps.collect.feedback import Collect
from notus.steps.collect.serving import served_model
from notus.steps.data.toy import Toy
from notus.steps.perform import run_step
from tests.helpers.misbehaving import Server

JUDGE = {"endpoint": "miniature", "tries": 4}


@pytest.fixture
def prompts(tmp_path):
    """Feedback of the miniature world, whose prompts are asked again."""

    world = {"prompts": 12, "sft_examples": 1, "held_out": 4, "facts": 8}
    return run_step("data", Toy.parse({"world": world}, where="test"), tmp_path / "world", 0).path


def settings(prompts, url, **more):
    endpoint = {
        "name": "m",
        "model": "m",
        "urls": [url],
        "backoff": 0.01,
        "retries": 1,
        "price_in": 1.0,
        "price_out": 1.0,
    }
    pool = [{"name": "warm", "endpoint": "m"}, {"name": "hot", "endpoint": "m", "sampling": {"temperature": 1.5}}]
    base = {
        "data": str(prompts),
        "endpoints": [endpoint],
        "pool": pool,
        "completions": 2,
        "sampling": {"max_tokens": 20},
        "miniature_judge": {"noise": 0.5, "malformed": 0.2},
        "judge": JUDGE,
    }
    return Collect.parse(base | more, where="test")


def test_feedback_is_collected_and_never_asked_for_again(tmp_path, prompts):
    with Server() as server:
        first = run_step("collect", settings(prompts, server.url), tmp_path / "one", 0)
        answered = server.answered.total()
        second = run_step("collect", settings(prompts, server.url, limit=11), tmp_path / "two", 0)
        assert server.answered.total() == answered == 12 * 2
    summary = read_manifest(first.path)["summary"]
    assert summary["rows"] == 12
    assert summary["ratings"] == 12 * 2 * 5
    assert summary["share_read"] >= 0.95
    assert summary["cost"] > 0
    again = read_manifest(second.path)["summary"]
    assert (again["asked"], again["rows"]) == (0, 11)
    assert (second.path / "feedback.jsonl").read_bytes().splitlines() == (
        first.path / "feedback.jsonl"
    ).read_bytes().splitlines()[:11]
    records = list(read_records(first.path / "feedback.parquet", Feedback))
    with Ledger(tmp_path / "ledger.sqlite", must_exist=True) as ledger:
        keys = [key for row in records for c in row.completions for key in c.extra["ledger"].values()]
        assert set(keys) <= ledger.find(keys).keys()
    assert open_source(str(first.path / "feedback.jsonl")).format == "ultrafeedback"
    assert summary["estimate"]["requests"] == 12 * (2 + 4 + 2)
    assert summary["estimate"]["cost"] >= summary["cost"]
    last = json.loads((first.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == last["steps"]
    assert last.keys() == {"step", "steps", "stored", "rate", "cost", "to_come", "failed", "elsewhere"}


def test_max_cost_stops_and_the_same_step_goes_on(tmp_path, prompts):
    with Server() as server:
        undisturbed = run_step("collect", settings(prompts, server.url), tmp_path / "a" / "run", 0)
        needed = read_manifest(undisturbed.path)["summary"]["cost"]
        with pytest.raises(RunError, match=r"max_cost .* is reached.*the same command goes on"):
            run_step("collect", settings(prompts, server.url, max_cost=needed / 3), tmp_path / "b" / "run", 0)
        asked = server.came.total()
        resumed = run_step("collect", settings(prompts, server.url, max_cost=10.0), tmp_path / "b" / "run", 0)
        assert server.answered.total() == 48
        assert server.came.total() > asked
    assert (resumed.path / "feedback.jsonl").read_bytes() == (undisturbed.path / "feedback.jsonl").read_bytes()


def test_the_ledger_lies_beside_the_runs(tmp_path):
    assert ledger_of(tmp_path / "runs" / "collect-1", None) == tmp_path / "runs" / "ledger.sqlite"
    assert ledger_of(tmp_path / "runs" / "demo" / "steps" / "collect-1", None) == tmp_path / "runs" / "ledger.sqlite"
    assert str(ledger_of(tmp_path, "mine.sqlite")) == "mine.sqlite"


def test_somebody_must_be_asked(tmp_path, prompts):
    config = settings(prompts, "http://localhost:1/v1", endpoints=[], miniature_judge=None)
    with pytest.raises(ConfigError, match="nobody to ask"):
        run_step("collect", config, tmp_path / "run", 0)


def test_verbatim_is_marked_in_the_manifest(tmp_path, prompts):
    with Server() as server:
        config = settings(
            prompts,
            server.url,
            judge={"endpoint": "m", "verbatim": True, "tries": 1, "unread": "go-on"},
            miniature_judge=None,
        )
        run = run_step("collect", config, tmp_path / "run", 0)
    summary = read_manifest(run.path)["summary"]
    assert "as they are" in summary["verbatim"]
    assert summary["ratings_read"] == 0  # the server writes hashes, which nobody can read as a grade
    tally = next(t for t in read_json(run.path / "tally.json") if t["stage"] == "collect")
    assert tally["counts"]["unscored-unreadable"] == 12 * 2 * 5


def test_dialogues_and_instructions_are_collected(tmp_path, prompts):
    with Server() as server:
        endpoints = [{"name": "m", "model": "m", "urls": [server.url]}]
        config = Converse.parse({"endpoints": endpoints, "teacher": "m", "dialogues": 6, "turns": 2}, where="test")
        run = run_step("converse", config, tmp_path / "talk", 0)
        assert read_manifest(run.path)["summary"]["dialogues"] == 6
        config = Refine.parse({"endpoints": endpoints, "teacher": "m", "data": str(prompts)}, where="test")
        run = run_step("refine", config, tmp_path / "refined", 0)
        assert read_manifest(run.path)["summary"]["refined"] == 12


def recipe(tmp_path, prompts, server):
    value = {
        "name": "mine",
        "title": "t",
        "description": "d",
        "collect": json.loads(settings(prompts, server.url).model_dump_json(exclude={"judge", "endpoints"}))
        | {"judge": JUDGE}
        | {"endpoints": [{"name": "m", "model": "m", "urls": [server.url], "concurrency": 2}]},
        "audit": {"data": "collect"},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(value))
    return path


def test_the_command_collects_and_tells(tmp_path, prompts):
    with Server() as server:
        command = [sys.executable, "-m", "notus", "collect", str(recipe(tmp_path, prompts, server)), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["rows"] == 12
    assert (tmp_path / "runs" / "ledger.sqlite").is_file()
    assert list((tmp_path / "runs" / "mine" / "steps").glob("audit-*/health.json"))


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path, prompts):
    with Server(latency=0.3) as server:
        command = [sys.executable, "-m", "notus", "collect", str(recipe(tmp_path, prompts, server))]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        until = time.monotonic() + 60
        while server.came.total() < 6 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert "the same command goes on from here" in told
        assert "Traceback" not in told
        with Ledger(tmp_path / "runs" / "ledger.sqlite", must_exist=True) as ledger:
            kept = ledger.query("SELECT count(*) FROM entries WHERE model = 'm'")[0][0]
        assert kept == server.answered.total()  # what was under way came home, and was kept
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr
        assert server.answered.total() == 24


@pytest.fixture(scope="module")
def tiny(model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_model(model, tokenizer, folder)
    return folder


@pytest.mark.slow
def test_a_served_model_and_one_in_this_process_give_the_same_text(tiny, tmp_path):
    asked = [(Message(role="user", content=text),) for text in ("hot", "the opposite of big", "number 3", "up?")]

    def texts(generator):
        model = generator.models["local"]
        requests = [
            Request(model=model, messages=messages, decoding=Decoding(temperature=0.0, max_tokens=12))
            for messages in asked
        ]
        return [outcome.text for _, outcome in ordered(generator, requests)]

    def drawn(generator, seed):
        model = generator.models["local"]
        requests = [
            Request(model=model, messages=messages, decoding=Decoding(temperature=1.0, max_tokens=12, seed=seed))
            for messages in asked
        ]
        return [outcome.text for _, outcome in ordered(generator, requests)]

    with (
        served_model(tiny, "local", tmp_path / "server.log") as endpoint,
        Ledger(tmp_path / "ledger.sqlite") as ledger,
        EndpointPool([endpoint], ledger) as pool,
    ):
        served = texts(pool)
        assert drawn(pool, 1) != drawn(pool, 2)  # it samples, and does not take the likeliest token in silence
    here = texts(InProcess({"local": str(tiny)}))
    assert served == here
    assert any(served)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["server", "inprocess"])
def test_feedback_is_collected_from_a_local_model(tiny, tmp_path, prompts, engine):
    pool = [
        {"name": "cold", "endpoint": "local", "sampling": {"temperature": 0.0}},
        {"name": "warm", "endpoint": "local"},
    ]
    config = settings(
        prompts, "http://localhost:1/v1", endpoints=[], pool=pool, serve=str(tiny), engine=engine, principles="none"
    )
    run = run_step("collect", config, tmp_path / engine / "run", 0)
    summary = read_manifest(run.path)["summary"]
    assert summary["rows"] == 12
    assert summary["share_read"] >= 0.95
    again = run_step("collect", config, tmp_path / engine / "again", 0)
    assert read_manifest(again.path)["summary"]["asked"] == 0
    assert (again.path / "feedback.jsonl").read_bytes() == (run.path / "feedback.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.soak)])
def test_kills_lose_nothing_and_the_data_are_the_same(tmp_path, prompts, kills):
    rng = random.Random(0)
    with Server() as server:
        undisturbed = run_step("collect", settings(prompts, server.url), tmp_path / "calm" / "run", 0)
    with Server(latency=0.05) as server:
        path = recipe(tmp_path, prompts, server)
        command = [sys.executable, "-m", "notus", "collect", str(path), "--json"]
        for _ in range(kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
            time.sleep(rng.uniform(0.3, 2.0))
            process.kill()
            process.wait()
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr
        assert server.answered.total() <= 24 + 2 * kills  # two requests are under way at once
    found = json.loads(done.stdout)["run"]
    assert (tmp_path / found / "feedback.jsonl").read_bytes() == (undisturbed.path / "feedback.jsonl").read_bytes()


@pytest.mark.slow
def test_collect_local_runs_whole_and_reads_its_ratings(tmp_path):
    command = [sys.executable, "-m", "notus", "collect", "collect-local", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["ratings"] == 100 * 4 * 5
    assert summary["share_read"] >= 0.95
