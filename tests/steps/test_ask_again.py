"""Asking a judge again for a queue, against a real server on loopback: the judge of the toy world, without noise."""

import json

import pytest

import notus
from notus.cli.main import main
from notus.core.artifacts import TRUTH
from notus.core.errors import ConfigError, DataError, RunError
from notus.core.records import Decision, Feedback, Preference
from notus.core.run import read_json
from notus.core.tables import read_records
from notus.llm.ledger import Ledger
from notus.preferences.repair import Doubt
from notus.steps.collect.again import AskAgain
from notus.steps.data.binarize import Binarize
from notus.steps.data.repair import Repair
from notus.steps.data.toy import Toy
from notus.steps.perform import run_step
from notus.toy.server import MODEL, JudgeServer
from notus.toy.world import Truth

JUDGE = {"endpoint": "judge", "tries": 4, "aspects": []}


@pytest.fixture(scope="module")
def server():
    with JudgeServer() as running:
        yield running


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The toy world, in which half of the deserved 1s are recorded as 10."""
    out = tmp_path_factory.mktemp("toy") / "world"
    settings = {"world": {"prompts": 60, "sft_examples": 1, "held_out": 4, "facts": 8}}
    return run_step("data", Toy.parse(settings, where="test"), out, 0).path


@pytest.fixture(scope="module")
def queued(world, tmp_path_factory):
    """What the published rule leaves in doubt."""
    return run_step("repair", Repair(data=str(world)), tmp_path_factory.mktemp("queue") / "repaired")


def endpoint(server, malformed=0.0):
    body = {"miniature": {"noise": 0.0, "malformed": malformed}}
    of = {"name": "judge", "model": MODEL, "urls": [server.url], "concurrency": 4, "body": body}
    return of | {"price_in": 1.0, "price_out": 1.0}


def asking(queued, server, malformed=0.0, **more):
    settings = {"data": str(queued.path), "judge": JUDGE, "endpoints": [endpoint(server, malformed)]}
    return AskAgain.parse(settings | more, where="test")


def records(folder):
    return list(read_records(folder / "feedback.parquet", Feedback))


def queue_of(folder):
    return list(read_records(folder / "queue.parquet", Doubt))


def test_exactly_what_is_queued_is_asked_and_the_rest_is_as_it_was(queued, server, world, tmp_path):
    run = run_step("again", asking(queued, server), tmp_path / "one", 0)
    queue = queue_of(queued.path)
    assert len(queue) > 10
    assert (run.summary["asked"], run.summary["queued"], run.summary["not_found"]) == (len(queue), len(queue), 0)
    with Ledger(tmp_path / "ledger.sqlite", must_exist=True) as ledger:
        assert ledger.query("SELECT count(*) FROM entries")[0][0] == len(queue)
    worth = {row.completion_id: round(row.quality) for row in read_records(TRUTH.at(world), Truth)}
    in_doubt = {each.id for each in queue}
    for before, after in zip(records(queued.path), records(run.path), strict=True):
        for index, (old, new) in enumerate(zip(before.completions, after.completions, strict=True)):
            if before.completion_id(index) not in in_doubt:
                assert new == old
                continue
            # A judge without noise gives what the answer is worth.
            assert new.overall_score == worth[before.completion_id(index)]
            assert (new.critique.rater, new.ratings) == (MODEL, old.ratings)
            note = new.extra["repair"]
            assert (note["from"], note["to"], note["before"]) == (10.0, new.overall_score, old.critique.text)
            assert note["judge"] == MODEL
            assert note["ledger"]
    decisions = list(read_records(run.path / "decisions.parquet", Decision))
    assert {each.target for each in decisions} == in_doubt
    for each in decisions:
        assert (each.before, each.after, each.by) == (10.0, worth[each.target], MODEL)
        assert each.rule == f"judge-asked-again:{'confirmed' if each.after == 10 else 'replaced'}"
        assert each.evidence
    assert run.summary["confirmed"] + run.summary["replaced"] == len(queue)
    assert min(run.summary["confirmed"], run.summary["replaced"]) > 0
    assert queue_of(run.path) == []


def test_it_is_paid_once_and_goes_on_where_it_stopped(queued, server, tmp_path):
    undisturbed = run_step("again", asking(queued, server), tmp_path / "a" / "run", 0)
    needed = undisturbed.summary["cost"]
    with pytest.raises(RunError, match="max_cost"):
        run_step("again", asking(queued, server, max_cost=needed / 2), tmp_path / "b" / "run", 0)
    with Ledger(tmp_path / "b" / "ledger.sqlite", must_exist=True) as ledger:
        kept = ledger.query("SELECT count(*) FROM entries")[0][0]
    resumed = run_step("again", asking(queued, server, max_cost=2 * needed), tmp_path / "b" / "run", 0)
    assert 0 < kept < len(queue_of(queued.path))
    assert resumed.summary["asked"] == len(queue_of(queued.path)) - kept
    assert records(resumed.path) == records(undisturbed.path)
    twice = run_step("again", asking(queued, server), tmp_path / "b" / "twice", 0)
    assert twice.summary["asked"] == 0
    # Another draw is another request, for an answer that is wanted anew.
    other = run_step("again", asking(queued, server, draw=2), tmp_path / "b" / "other", 0)
    assert other.summary["asked"] == len(queue_of(queued.path))


def test_its_output_goes_straight_into_pairs(queued, server, tmp_path):
    run = run_step("again", asking(queued, server), tmp_path / "asked", 0)
    settings = {"strategy": "repaired-critique", "rejected": "worst"}
    pairs = {}
    for name, data in (("before", queued.path), ("after", run.path)):
        made = run_step("binarize", Binarize.parse({"data": str(data)} | settings, where="test"), tmp_path / name, 0)
        pairs[name] = list(read_records(made.path / "preferences.parquet", Preference))
    after = {row.prompt_id: row for row in records(run.path)}
    # A 10 that was in doubt has no score before; once it is confirmed or replaced, it takes part.
    taken = [pair for pair in pairs["after"] if pair.score_chosen == 10.0]
    assert len(taken) > len([pair for pair in pairs["before"] if pair.score_chosen == 10.0])
    for pair in pairs["after"]:
        scores = [item.overall_score for item in after[pair.prompt_id].completions]
        assert (pair.score_chosen, pair.score_rejected) == (max(scores), min(scores))


def test_what_cannot_be_read_stays_in_the_queue(queued, server, tmp_path):
    with pytest.raises(RunError, match="cannot be read: of its first 20 replies 0 were read"):
        run_step("again", asking(queued, server, malformed=1.0), tmp_path / "run", 0)
    going_on = asking(queued, server, malformed=1.0, judge=JUDGE | {"unread": "go-on"})
    run = run_step("again", going_on, tmp_path / "run", 0)
    assert run.summary["judge_replies"]["share"]["mean"] == 0
    left = queue_of(run.path)
    tally = read_json(run.path / "tally.json")
    counts = next(each for each in tally if each["stage"] == "ask-again")["counts"]
    assert counts["unscored-unreadable"] == len(left) == run.summary["still_in_doubt"] > 0
    assert counts["asked-again"] >= 3 * len(left)
    assert len(left) + run.summary["confirmed"] + run.summary["replaced"] == len(queue_of(queued.path))
    # It can be asked again in its turn.
    again = run_step("again", asking(run, server), tmp_path / "second", 0)
    assert again.summary["queued"] == len(left)
    assert queue_of(again.path) == []


def test_two_rows_with_one_id_are_told_apart(server, world, tmp_path):
    """The same prompt and answers twice, a 10 and a 7: only the 10 was in doubt."""
    row = json.loads((world / "feedback.jsonl").read_text().splitlines()[0])
    twin = json.loads(json.dumps(row))
    for each, score in ((row, 10.0), (twin, 7.0)):
        for item in each["completions"]:
            item["overall_score"] = score
            for said in item["annotations"].values():
                said["Rating"] = "3"
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(twin) + "\n")
    repaired = run_step("repair", Repair(data=str(tmp_path / "rows.jsonl")), tmp_path / "repaired")
    assert [(each.line, each.index) for each in queue_of(repaired.path)] == [(1, index) for index in range(4)]
    first, second = records(run_step("again", asking(repaired, server), tmp_path / "asked", 0).path)
    assert {item.overall_score for item in second.completions} == {7.0}
    assert all("repair" in item.extra for item in first.completions)


def test_a_run_without_a_queue_is_refused(world, server, tmp_path):
    settings = {"data": str(world), "judge": JUDGE, "endpoints": [endpoint(server)]}
    with pytest.raises(DataError, match=r"holds no queue\.parquet.*repair"):
        run_step("again", AskAgain.parse(settings, where="test"), tmp_path / "run", 0)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    monkeypatch.chdir(tmp_path)
    return call


def recipe(folder, server, judge=JUDGE):
    step = {"data": "openbmb/UltraFeedback", "pool": [{"name": "judge"}], "completions": 1}
    step |= {"endpoints": [endpoint(server)], "judge": judge}
    (folder / "mine.yaml").write_text(json.dumps({"name": "mine", "collect": step}))


def test_the_command_asks_the_judge_of_a_recipe(queued, server, tmp_path, call):
    recipe(tmp_path, server)
    words = ["collect", "mine.yaml", "--again", queued.path / "queue.parquet"]
    code, told, error = call(*words, "--dry-run")
    assert (code, error) == (0, "")
    assert f"asked for {len(queue_of(queued.path))} scores" in told
    assert not (tmp_path / "runs").exists()
    code, told, error = call(*words, "--out", "runs/asked", "--json")
    assert code == 0, error
    assert json.loads(told)["summary"]["queued"] == len(queue_of(queued.path))
    assert (tmp_path / "runs" / "ledger.sqlite").is_file()  # beside the runs, where collections have theirs


def test_a_model_that_only_answered_is_not_served_again(queued, call):
    """The built-in recipe serves a model that it trains itself; its judge is another."""
    code, told, error = call("collect", "collect-local", "--again", queued.path, "--out", "runs/asked", "--json")
    assert code == 0, error
    assert json.loads(told)["summary"]["queued"] == len(queue_of(queued.path))


def test_a_judge_that_the_recipe_would_have_to_train_is_refused(queued, call):
    words = ["--again", queued.path, "--set", "collect.judge.endpoint=local"]
    code, _, error = call("collect", "collect-local", *words)
    assert code == 2
    assert "--set collect.serve=FOLDER" in error


def test_a_recipe_without_a_judge_is_refused(queued, server, tmp_path, call):
    recipe(tmp_path, server, judge=None)
    code, _, error = call("collect", "mine.yaml", "--again", queued.path)
    assert code == 2
    assert "has no judge" in error
    code, _, error = call("collect", "demo", "--again", queued.path)
    assert code == 2
    assert "no step collects" in error


def test_the_draw_is_bounded(queued, server):
    with pytest.raises(ConfigError, match="draw"):
        asking(queued, server, draw=-1)


def test_from_python_it_is_the_same(queued, server, tmp_path):
    asked = notus.ask_again(queued.path, judge=JUDGE, endpoints=[endpoint(server)], out=tmp_path / "runs" / "asked")
    assert asked.summary["queued"] == len(queue_of(queued.path))
    assert len(asked) == 60
    repaired = notus.repair(queued.path, by="ratings")
    again = notus.ask_again(
        repaired, judge=JUDGE, endpoints=[endpoint(server)], ledger=str(tmp_path / "runs" / "ledger.sqlite")
    )
    assert again.summary["asked"] == 0
