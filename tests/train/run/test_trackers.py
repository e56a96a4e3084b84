"""What a run tells trackers, read back from their own files by their own readers. Nothing here uses a network."""

import importlib.util
import json
import logging
import sqlite3
import warnings

import pytest

from notus.core.errors import ConfigError, MissingExtraError
from notus.core.run import Run, read_manifest
from notus.engine.load import save_model
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from notus.train.run import trackers
from notus.train.run.trackers import check_trackers, start_trackers
from tests.helpers.wandb_file import records

NAMES = ("loss", "grad_norm", "learning_rate", "rewards/margins", "rewards/accuracies", "tokens_per_second")
INSTALLED = [name for name in trackers.TRACKERS if importlib.util.find_spec(name)]


def needs(name):
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed: {trackers.TRACKERS[name]}")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in; no tracker may use the network, or write anywhere else."""
    folder = tmp_path_factory.mktemp("trackers")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():  # of the trackers' own dependencies
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "TRACKIO_DIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield folder


@pytest.fixture(scope="module")
def train(model, tokenizer, place):
    """A training by the step itself, as a recipe and the command line do it."""
    save_model(model, tokenizer, place / "start")
    prompt = [{"role": "user", "content": "hot?"}]
    rows = [{"prompt": prompt, "chosen": said(f"cold {n}"), "rejected": said("no idea!")} for n in range(12)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = run_step("read", step_class("read").parse({"path": str(place / "pairs.jsonl")}, where="x"), None)
    settings = {
        "start": str(place / "start"),
        "pairs": str(read.path),
        "batch_size": 4,
        "epochs": 2,
        "learning_rate": 3e-3,
        "log_every": 1,
        "limits": {"max_length": 96, "max_prompt_length": 48},
    }

    def run(*names, out):
        step = step_class("dpo").parse({**settings, "report_to": list(names)}, where="x")
        done = run_step("dpo", step, place / out)
        return done.path, [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]

    return run


@pytest.fixture(scope="module")
def told(train):
    """A training that told all trackers that are installed."""
    return train(*INSTALLED, out="told")


def said(text):
    return [{"role": "assistant", "content": text}]


def points(lines, name):
    return [(line["step"], line[name]) for line in lines if name in line]


@pytest.mark.slow
@needs("tensorboard")
def test_the_curves_are_in_tensorboards_files(told):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, lines = told
    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    for name in NAMES:
        read = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
        assert read == [(step, pytest.approx(value, rel=1e-6)) for step, value in points(lines, name)]
    assert len(points(lines, "loss")) == 7  # the start, and six updates
    (config,) = (path / "tensorboard").glob("*/hparams.yml")
    assert "learning_rate: 0.003" in config.read_text()
    assert "limits.max_length: 96" in config.read_text()


def _values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.slow
@needs("wandb")
def test_the_curves_are_in_wandbs_offline_file(told):
    path, lines = told
    (file,) = path.glob("wandb/offline-run-*/run-*.wandb")
    history, config, run = [], {}, None
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history.append(_values(record.history.item))
        elif kind == "run":
            run = record.run
            config |= _values(record.run.config.update)
        elif kind == "config":
            config |= _values(record.config.update)
    for name in NAMES:
        read = [(row["_step"], row[f"train/{name}"]) for row in history if f"train/{name}" in row]
        assert read == [(step, pytest.approx(value)) for step, value in points(lines, name)]
    assert (run.display_name, run.run_group, run.project) == ("told", "dpo", "notus")
    assert config["learning_rate"] == 3e-3
    assert config["loss.name"] == "sigmoid"


@pytest.mark.slow
@needs("trackio")
def test_the_curves_are_in_trackios_database(told, place):
    _, lines = told
    (file,) = (place / "TRACKIO_DIR").glob("*.db")
    rows = sqlite3.connect(file).execute("select step, metrics from metrics order by id").fetchall()
    read = [(step, json.loads(metrics)) for step, metrics in rows]
    for name in NAMES:
        found = [(step, values[f"train/{name}"]) for step, values in read if f"train/{name}" in values]
        assert found == [(step, pytest.approx(value)) for step, value in points(lines, name)]


@pytest.mark.slow
@needs("mlflow")
def test_the_curves_are_in_mlflows_store(told, place):
    import mlflow

    _, lines = told
    client = mlflow.MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("notus").experiment_id])
    for name in NAMES:
        read = sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, f"train/{name}"))
        assert read == [(step, pytest.approx(value)) for step, value in points(lines, name)]
    assert run.info.run_name == "told"
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.003"


def test_an_unknown_tracker_is_named():
    with pytest.raises(ConfigError, match=r"'wandbx'.*did you mean 'wandb'"):
        check_trackers(["wandbx"])


def test_a_missing_tracker_is_told_before_anything_is_done(train, monkeypatch, place):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"'wandb'.*pip install 'notus\[trackers\]'"):
        train("wandb", out="missing")
    assert {file.name for file in (place / "missing").iterdir()} <= {"config.json", "inputs.json"}


@pytest.mark.slow
def test_trackers_change_no_result_and_no_name_of_a_run(train, told):
    plain, _ = train(out="plain")
    path, _ = told
    assert read_manifest(plain)["digest"] == read_manifest(path)["digest"]
    assert (plain / "model" / "model.safetensors").read_bytes() == (path / "model" / "model.safetensors").read_bytes()


class Broken:
    """A tracker whose server goes away behind the first line."""

    def __init__(self, run_name, logging_dir):
        assert run_name == "run"
        self.directory = logging_dir
        self.logged = []

    def start(self):
        pass

    def store_init_configuration(self, values):
        assert values["stage"] == "dpo"

    def log(self, values, step):
        assert set(values) == {"train/loss"}
        self.logged.append(step)
        if len(self.logged) > 1:
            raise ConnectionError("connection refused")

    def finish(self):
        raise AssertionError("it was left")


def test_a_tracker_that_fails_on_the_way_is_left(tmp_path, monkeypatch, caplog):
    from accelerate import tracking

    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "aim", Broken)
    with caplog.at_level(logging.ERROR), Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        run.metric(step=0, loss=1.0)
        start_trackers(run, ["aim"])
        run.metric(step=1, loss=0.5)
        run.metric(step=2, loss=0.4)
    assert read_manifest(run.path)["summary"]["trackers_left"] == ["aim"]
    assert (run.path / "log.txt").read_text().count("connection refused") == 1
    assert len((run.path / "metrics.jsonl").read_text().splitlines()) == 3
