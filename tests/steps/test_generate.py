"""The steps sample and best-of-n: which prompts are asked, by a model or over HTTP, and what is made of the answers."""

import json
from statistics import fmean

import pytest
from msgspec.structs import replace

from notus.core.errors import ConfigError, DataError, LossError
from notus.core.records import Dialogue, Feedback, Message, Output
from notus.core.run import read_json, read_manifest
from notus.core.splits import part_of
from notus.core.tables import read_records, write_records
from notus.engine.load import save_model
from notus.provenance.forget import forget
from notus.provenance.lineage import explain
from notus.steps.answers.best_of_n import BestOfN
from notus.steps.answers.sample import Sample
from notus.steps.base import Context
from notus.steps.perform import run_step
from notus.toy.tasks import fact_tasks
from tests.helpers.misbehaving import Server

LIMITS = {"max_length": 96, "max_prompt_length": 48}
SAMPLING = {"samples": 3, "max_new_tokens": 6}


def rows(texts):
    return "".join(json.dumps({"prompt": text, "chosen": "yes", "rejected": "no"}) + "\n" for text in texts)


@pytest.fixture
def start(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "start")
    (tmp_path / "pairs.jsonl").write_text(rows([f"number {n}?" for n in range(20)] + ["number 3?"]))
    return tmp_path


def asked(start, out, **values):
    given = {"model": str(start / "start"), "data": str(start / "pairs.jsonl"), "sampling": SAMPLING, "limits": LIMITS}
    run = run_step("sample", Sample.parse(given | values, where="x"), start / out)
    return run, list(read_records(run.path / "outputs.parquet", Output))


def test_each_prompt_is_asked_once_and_parts_are_disjoint(start):
    run, outputs = asked(start, "all")
    assert len(outputs) == 20 * 3
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert tallies["prompts"]["dropped"] == {"repeated-prompt": 1}
    assert read_manifest(run.path)["summary"]["truncated"] == sum(o.truncated for o in outputs)
    assert read_manifest(run.path)["summary"]["mean_characters"] == round(fmean(len(o.text) for o in outputs), 1)
    parts = [{o.prompt_id for o in asked(start, f"part-{n}", part=n, parts=3)[1]} for n in (1, 2, 3)]
    assert sum(map(len, parts)) == 20
    assert set.union(*parts) == {o.prompt_id for o in outputs}
    assert {part_of(o.prompt_id, 3, 0) for o in outputs if o.prompt_id in parts[1]} == {2}


def test_prompts_may_lie_in_a_file_of_prompts_alone(start):
    """Lines of one column, and a table that has a system prompt beside each: what was taken is said."""
    (start / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"number {n}?", "topic": n}) + "\n" for n in (1, 2))
    )
    run, outputs = asked(start, "lines", data=str(start / "prompts.jsonl"))
    assert [o.prompt for o in outputs[::3]] == [(Message(role="user", content=f"number {n}?"),) for n in (1, 2)]
    # What looks through runs reads the file in the same way.
    assert explain(outputs[0].prompt_id, str(run.path)).kind == "prompt"
    assert not forget([outputs[0].prompt_id], start, write=False).unread
    said = read_manifest(run.path)["summary"]["prompts_from"]
    assert said.startswith(f"'prompt' is the prompt of {start / 'prompts.jsonl'}")
    (start / "prompts.csv").write_text("Question,System\nnumber 1?,Be brief.\n")
    _, outputs = asked(start, "table", data=str(start / "prompts.csv"))
    assert [(m.role, m.content) for m in outputs[0].prompt] == [("system", "Be brief."), ("user", "number 1?")]
    (start / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no known format"):
        asked(start, "other", data=str(start / "other.csv"))


def test_cut_answers_are_marked_and_can_be_dropped(start):
    _, outputs = asked(start, "kept")
    run, whole = asked(start, "dropped", drop_truncated=True)
    assert [replace(o, model="x") for o in outputs if not o.truncated] == [replace(o, model="x") for o in whole]
    dropped = {tally["stage"]: tally["dropped"] for tally in read_json(run.path / "tally.json")}
    assert dropped["answers"] == {"truncated": len(outputs) - len(whole)}
    assert len(whole) < len(outputs)


REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_prompt_that_the_template_refuses_is_put_aside_and_the_others_are_answered(start):
    from notus.engine.load import load_tokenizer

    tokenizer = load_tokenizer(str(start / "start"))
    tokenizer.chat_template = REFUSING
    tokenizer.save_pretrained(start / "start")
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "number 1?"}]
    with (start / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": system, "chosen": "yes", "rejected": "no"}) + "\n")
    run, outputs = asked(start, "answers", limits=LIMITS | {"system": None})
    assert len(outputs) == 20 * 3
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert (tallies["encode"]["in"], tallies["encode"]["dropped"]) == (21, {"template-refuses": 1})
    assert read_manifest(run.path)["rows"]["dropped"]["template-refuses"] == 1
    (start / "pairs.jsonl").write_text(json.dumps({"prompt": system, "chosen": "yes", "rejected": "no"}) + "\n")
    with pytest.raises(LossError, match=r"none of the prompts can be asked\n +1 template-refuses, as pairs\.jsonl:1"):
        asked(start, "none", limits=LIMITS | {"system": None})


def test_prompts_held_out_and_files_of_a_split(start):
    prompts = [Dialogue(messages=(Message(role="user", content="up?"),))]
    (start / "world").mkdir()
    write_records(start / "world" / "prompts.parquet", prompts, Dialogue)
    _, outputs = asked(start, "held", data=str(start / "world"), prompts="held-out")
    assert {o.prompt[0].content for o in outputs} == {"up?"}
    (start / "set").mkdir()
    for name, text in (("train_iteration_1-00000", "one"), ("train_iteration_10-00000", "ten"), ("test", "t")):
        (start / "set" / f"{name}.jsonl").write_text(rows([text]))
    _, outputs = asked(start, "split", data=str(start / "set"), split="train_iteration_1")
    assert {o.prompt[0].content for o in outputs} == {"one"}
    with pytest.raises(ConfigError, match="has no split 'train_iteration_2'; did you mean 'train_iteration_1'"):
        asked(start, "wrong", data=str(start / "set"), split="train_iteration_2")
    with pytest.raises(DataError, match=r"holds no prompts\.parquet"):
        asked(start, "none", data=str(start / "set"), prompts="held-out")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": None}, "a model, or one endpoint"),
        ({"endpoints": [{"name": "e", "model": "m", "urls": ["http://localhost:1/v1"]}]}, "a model, or one endpoint"),
        ({"part": 3, "parts": 2}, "part 3 is above the 2 parts"),
        ({"prompts": "held-out", "split": "a"}, "'split' chooses among files"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        Sample.parse({"model": "m"} | values, where="x")


def facts(count):
    return [task for task in fact_tasks(24) if task.held_out][:count]


def test_best_of_n_of_a_ranker_and_of_the_exact_check(tmp_path):
    from notus.toy.checker import check

    outputs = [
        Output(prompt=(Message(role="user", content=task.prompt),), text=text, model="m", sample=sample)
        for task in facts(12)
        for sample, text in enumerate((f"{task.answer}.", "no", "I do not know that at all, my dear friend of old."))
    ]
    write_records(tmp_path / "outputs.parquet", outputs, Output)
    values = {"ranker": "length", "outputs": str(tmp_path), "check": "python:notus.toy.rankers:checked"}
    run = run_step("best-of-n", BestOfN.parse(values, where="x"), tmp_path / "best")
    points = read_json(run.path / "best-of-n.json")["points"]
    assert [point["k"] for point in points] == [1, 2, 3]
    right = sum(check(o.prompt[0].content, o.text).score for o in outputs) / len(outputs)
    assert points[0]["check"]["mean"] == pytest.approx(right)
    assert right > 0
    # The longest of three is never the right answer: the ranker's score rises, and the check falls to nothing.
    assert points[2]["check"]["mean"] == 0
    assert points[2]["score_gain"]["low"] > 0
    picks = list(read_records(run.path / "outputs.parquet", Output))
    assert {pick.sample for pick in picks} == {2}
    assert {path.suffix for path in run.path.glob("best-of-*")} == {".json", ".svg"}
    assert not list(run.path.glob(".ranked")) + list(run.path.glob(".checked"))


def test_best_of_n_takes_feedback_too(tmp_path):
    from notus.core.records import Completion

    items = [
        Feedback(
            prompt=(Message(role="user", content=f"{n}?"),),
            completions=tuple(Completion(text="x" * (i + n)) for i in (1, 2)),
        )
        for n in range(4)
    ]
    write_records(tmp_path / "feedback.parquet", items, Feedback)
    values = {"ranker": "length", "outputs": str(tmp_path / "feedback.parquet")}
    run = run_step("best-of-n", BestOfN.parse(values, where="x"), tmp_path / "best")
    points = read_json(run.path / "best-of-n.json")["points"]
    assert [point["score"]["mean"] for point in points] == [3.0, 3.5]
    assert points[1]["check"] is None


def test_an_endpoint_is_asked_through_the_ledger(tmp_path):
    """What was paid for is not asked again, a cut answer is marked, a refused prompt is dropped with the reason."""
    cut, refused = "fault=length*9 two?", "fault=filter-400*9 three?"
    (tmp_path / "pairs.jsonl").write_text(rows(["one?", cut, refused]))
    with Server() as server:
        endpoint = {"name": "far", "model": "m", "urls": [server.url], "backoff": 0.02}
        values = {"data": str(tmp_path / "pairs.jsonl"), "endpoints": [endpoint]}
        config = Sample.parse(values | {"ledger": str(tmp_path / "ledger.sqlite")}, where="x")
        assert config.computes is False
        run = run_step("sample", config, tmp_path / "a")
        came = dict(server.came)
        again = run_step("sample", config, tmp_path / "b")
        assert server.came["one?"] == came["one?"] == 1
        more = {"sampling": {"samples": 3}, "limit": 1, "ledger": config.ledger}
        several = run_step("sample", Sample.parse(values | more, where="x"), tmp_path / "c")
    outputs = list(read_records(run.path / "outputs.parquet", Output))
    assert [(o.prompt[0].content, o.text == "Cut of", o.truncated) for o in outputs] == [
        ("one?", False, False),
        (cut, True, True),
    ]
    assert {o.model for o in outputs} == {"far"}
    assert list(read_records(again.path / "outputs.parquet", Output)) == outputs
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert sum(tallies["asked"]["dropped"].values()) == 1
    texts = [o.text for o in read_records(several.path / "outputs.parquet", Output)]
    assert len(set(texts)) == 3


def test_inputs_of_a_setting_come_in_the_order_of_their_numbers():
    context = Context(None, None, {"data": "d", "against.10": "c", "against.2": "b", "against.0": "a"}, None)
    assert context._numbered_keys("against") == ["against.0", "against.2", "against.10"]


def test_a_model_computes_in_this_process_and_an_endpoint_does_not():
    endpoint = {"name": "one", "model": "m", "urls": ["http://127.0.0.1:9/v1"]}
    other = endpoint | {"name": "other"}
    assert Sample.parse({"model": "m", "data": "d"}, where="x").computes is True
    assert Sample.parse({"model": None, "data": "d", "endpoints": [endpoint]}, where="x").computes is False
    for who in (
        {"model": "m", "endpoints": [endpoint]},
        {"model": None},
        {"model": None, "endpoints": [endpoint, other]},
    ):
        with pytest.raises(ConfigError, match="name who answers"):
            Sample.parse({"data": "d"} | who, where="x")
