"""Audits of pairs by the rewards of models: what is joined, what is told of what a model has seen, the whole recipe."""

import json
from pathlib import Path

import pytest

from notus.audit.pairs import Pair
from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Message, Preference
from notus.core.run import Run, read_json, read_manifest
from notus.core.splits import Fold
from notus.core.tables import read_records, write_records
from notus.evaluate.finders import AuditedPair
from notus.evaluate.rewards import PairScore
from notus.provenance.lineage import explain
from notus.provenance.training import trained_prompts
from notus.recipes.experiment import Experiment, run_recipe
from notus.recipes.recipe import find_recipe, load_recipe
from notus.recipes.report import write_report
from notus.steps.base import read_findings
from notus.steps.data.audit import Audit
from notus.steps.data.read import Read
from notus.steps.evaluate.reward_check import RewardCheck
from notus.steps.perform import run_step
from tests.cli.test_main import notus, one_line

HEADING = "Labels that a reward contradicts"


class Silent:
    """An observer that tells nobody."""

    def planned(self, steps: int) -> None: ...
    def begun(self, step: object, path: Path) -> None: ...
    def ended(self, step: object, seconds: float, *, reused: bool) -> None: ...
    def waiting(self) -> None: ...
    def saving(self) -> None: ...


def preference(n: int) -> Preference:
    """The longer answer is chosen, but for every tenth pair, where it is rejected and twenty times as long."""
    chosen, rejected = ("x" * (6 + n % 5), "y" * 4) if n % 10 else ("x", "y" * 160)
    return Preference(
        prompt=(Message(role="user", content=f"Prompt {n}"),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
    )


PAIRS = [preference(n) for n in range(60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": each.prompt[0].content, "chosen": each.chosen[0].content, "rejected": each.rejected[0].content}
        for each in PAIRS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def checked(source: Path, out: Path, ranker: str = "length") -> Path:
    return run_step("reward-check", RewardCheck.parse({"data": str(source), "ranker": ranker}, where="test"), out).path


def audited(source: Path, out: Path, *checks: Path, **more: object) -> Run:
    settings = {"data": str(source), "rewards": [str(check) for check in checks], **more}
    return run_step("audit", Audit.parse(settings, where="test"), out)


def part(source: Path, out: Path, number: int, of: int = 2) -> Path:
    config = Read.parse({"path": str(source), "fold": {"of": of, "number": number}}, where="test")
    return run_step("read", config, out).path


def test_folds_divide_a_set(tmp_path: Path, source: Path) -> None:
    parts = [part(source, tmp_path / str(number), number) for number in range(2)]
    for number, folder in enumerate(parts):
        aside = list(read_records(folder / "held_out.parquet", Preference))
        train = list(read_records(folder / "preferences.parquet", Preference))
        assert [pair.id for pair in PAIRS if Fold(of=2, number=number).holds(pair.prompt_id)] == [p.id for p in aside]
        assert len(train) + len(aside) == 60
        summary = read_manifest(folder)["summary"]
        assert (summary["train"], summary["held_out"]) == (len(train), len(aside))
    # The parts of a part that has held pairs out take none of those.
    again = part(parts[0], tmp_path / "again", 0, 3)
    assert read_manifest(again)["summary"]["not_read"].endswith("held-out pairs beside them, which are in no fold")
    held = {pair.id for pair in read_records(parts[0] / "held_out.parquet", Preference)}
    both = [
        *read_records(again / "held_out.parquet", Preference),
        *read_records(again / "preferences.parquet", Preference),
    ]
    assert not held & {pair.id for pair in both}


def test_a_fold_that_is_empty_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(DataError, match=r"fold \d of 2 holds [01] of the 1 pairs"):
        part(path, tmp_path / "a", 0)
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    with pytest.raises(DataError, match="dialogues, and only preference pairs are held out; leave fold out"):
        part(path, tmp_path / "b", 0)
    with pytest.raises(ConfigError, match="leave one out"):
        Read.parse({"path": "x", "held_out": 0.1, "fold": {"of": 2, "number": 0}}, where="test")


def test_an_audit_shows_the_pairs_whose_label_is_contradicted(tmp_path: Path, source: Path) -> None:
    check = checked(source, tmp_path / "check")
    assert {score.id for score in read_records(check / "pairs.parquet", PairScore)} == {pair.id for pair in PAIRS}
    run = audited(source, tmp_path / "audit", check)
    rows = list(read_records(run.path / "pairs.parquet", Pair))
    flagged = [n for n, row in enumerate(rows) if "reward-against-label" in row.flags]
    assert flagged == [0, 10, 20, 30, 40, 50]
    assert [rows[n].suspicion for n in flagged] == [1] * 6
    assert rows[0].reward_margin == 1 - 160
    summary = read_manifest(run.path)["summary"]
    assert (summary["judged"], summary["label_contradicted"]) == (60, 6)
    (finding,) = (each for each in read_findings(run.path) if each.heading == HEADING)
    assert finding.table is not None
    assert len(finding.table.rows) == 12
    assert [row[4] for row in finding.table.rows[:6]] == [f"Prompt {n}" for n in flagged]
    assert finding.table.rows[0][5] == "x"
    assert "6 of 60" in finding.sentences[0]
    assert (run.path / "reward-margins.svg").is_file()
    assert HEADING in (run.path / "health.html").read_text()
    flags = next(each for each in read_findings(run.path) if each.heading == "Flags")
    assert flags.table is not None
    assert ("reward-against-label", 6) in [tuple(row[:2]) for row in flags.table.rows]


def test_explain_tells_the_place_of_a_pair(tmp_path: Path, source: Path) -> None:
    run = audited(source, tmp_path / "audit", checked(source, tmp_path / "check"))
    events = explain(PAIRS[10].id, str(run.path)).events
    margin, flags = [event.what for event in events]
    assert margin == f"pair {PAIRS[10].id}: margin -159 by check, place 1 by suspicion"
    assert flags.startswith(
        f"pair {PAIRS[10].id}: flags unscored, reward-against-label (reward margin -159.00, by chance"
    )


def test_checks_of_parts_are_put_together(tmp_path: Path, source: Path) -> None:
    parts = [part(source, tmp_path / f"part{number}", number) for number in range(2)]
    checks = [checked(folder, tmp_path / f"check{number}") for number, folder in enumerate(parts)]
    rows = list(read_records(audited(source, tmp_path / "audit", *checks).path / "pairs.parquet", Pair))
    for row in rows:
        fold = 0 if Fold(of=2, number=0).holds(row.prompt_id) else 1
        assert (row.judged_by, row.judge_saw_prompt) == (f"check{fold}", False)
    alone = audited(source, tmp_path / "alone", checks[0])
    without = sum(row.judged_by == "check1" for row in rows)
    assert read_manifest(alone.path)["summary"]["without_margin"] == without
    twice = checked(source, tmp_path / "twice")
    with pytest.raises(DataError, match="a pair is judged once"):
        audited(source, tmp_path / "both", checks[0], twice)


def test_without_rewards_an_audit_says_nothing_of_them(tmp_path: Path, source: Path) -> None:
    run = audited(source, tmp_path / "audit")
    assert all(row.suspicion is None for row in read_records(run.path / "pairs.parquet", Pair))
    assert HEADING not in [finding.heading for finding in read_findings(run.path)]


def test_what_cannot_be_meant_is_refused(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(DataError, match="none of the 60 pairs of the set has a margin in check"):
        audited(source, tmp_path / "a", checked(other, tmp_path / "check"))
    plain = audited(source, tmp_path / "plain")
    with pytest.raises(DataError, match="is a run of 'audit', and margins come from a reward check"):
        audited(source, tmp_path / "b", plain.path)
    with pytest.raises(InputError, match="is no run directory"):
        audited(source, tmp_path / "c", source.parent)
    with pytest.raises(ConfigError, match="'truth' measures what rewards contradict"):
        Audit.parse({"truth": "data"}, where="test")


@pytest.mark.usefixtures("source")
def test_the_command(tmp_path: Path) -> None:
    assert notus("eval", "rewards", "length", "pairs.jsonl", "--out", "runs/check", cwd=tmp_path).returncode == 0
    done = notus("audit", "pairs.jsonl", "--rewards", "runs/check", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["label_contradicted"] == 6
    assert HEADING in notus("audit", "pairs.jsonl", "--rewards", "runs/check", cwd=tmp_path).stdout
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")
    one_line(notus("audit", "chat.jsonl", "--rewards", "runs/check", cwd=tmp_path), 2, "this needs feedback or pairs")


def training(folder: Path, stage: str, **inputs: Path) -> Path:
    """A run directory as a training leaves it, for what is read of it."""
    hashes = dict.fromkeys(inputs, "x")
    with Run(folder, stage=stage, config={}, inputs=hashes, sources={name: str(p) for name, p in inputs.items()}):
        (folder / "model").mkdir()
    return folder


def judging(folder: Path, ranker: str, *models: Path) -> Path:
    sources = {f"models.{number}": str(model) for number, model in enumerate(models)}
    with Run(
        folder, stage="reward-check", config={"ranker": ranker}, inputs=dict.fromkeys(sources, "x"), sources=sources
    ):
        pass
    return folder


def test_what_a_model_was_trained_on_is_found_in_its_runs(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"data{number}").mkdir()
        write_records(tmp_path / f"data{number}" / "preferences.parquet", [PAIRS[number]], Preference)
    ids = [pair.prompt_id for pair in PAIRS]
    start = training(tmp_path / "create", "create", data=tmp_path / "data0")
    sft = training(tmp_path / "sft", "sft", start=start, data=tmp_path / "data0")
    one = training(tmp_path / "one", "dpo", start=sft, pairs=tmp_path / "data1")
    two = training(tmp_path / "two", "dpo", start=one / "model", pairs=tmp_path / "data2")
    ranker = training(tmp_path / "ranker", "train-ranker", pairs=tmp_path / "data3")

    def seen(name: str, text: str, *models: Path) -> frozenset[str] | None:
        return trained_prompts(judging(tmp_path / name, text, *models))

    # What the reference has learnt too cancels out; what lies between it and the policy does not.
    assert seen("a", "implicit:<0>@<1>", one, sft) == {ids[1]}
    assert seen("b", "implicit:<0>@<1>", two / "model", sft / "model") == {ids[1], ids[2]}
    assert seen("c", "implicit:<0>@<1>", two, one) == {ids[2]}
    assert seen("d", "implicit:<0>@<1>", one, start) == {ids[0], ids[1]}
    assert seen("e", "reward-model:<0>", ranker) == {ids[3]}
    assert seen("f", "length") == frozenset()
    assert seen("g", "python:module:function") is None
    (tmp_path / "downloaded").mkdir()
    assert seen("h", "reward-model:<0>", tmp_path / "downloaded") is None
    (tmp_path / "data3" / "preferences.parquet").unlink()
    (tmp_path / "data3").rmdir()
    assert seen("i", "reward-model:<0>", ranker) is None


CUT = (
    "seeds=[0, 1]",
    "data.world={prompts: 60, sft_examples: 200, held_out: 24, facts: 8}",
    "create.shape={vocabulary: 320, width: 32, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 128}",
)


@pytest.mark.slow
def test_the_recipe_judges_each_pair_by_a_model_that_has_not_seen_its_prompt(tmp_path: Path) -> None:
    experiment = run_recipe(load_recipe(find_recipe("audit-by-reward"), CUT), tmp_path / "run", Silent())
    assert experiment is not None
    ((_, seeds),) = experiment.arms.items()
    for steps in seeds.values():
        pairs = list(read_records(steps["binarize"] / "preferences.parquet", Preference))
        rows = list(read_records(steps["audit"] / "pairs.parquet", Pair))
        assert [row.id for row in rows] == [pair.id for pair in pairs]
        judges = {row.judged_by for row in rows}
        assert len(judges) > 1
        for row in rows:
            check = steps["audit"].parent / row.judged_by
            policy = Path(read_json(check / "inputs.json")["models.0"]["path"])
            data = Path(read_json(policy / "inputs.json")["pairs"]["path"])
            trained = {pair.prompt_id for pair in read_records(data / "preferences.parquet", Preference)}
            assert row.prompt_id not in trained
            assert row.judge_saw_prompt is False
        seen = read_manifest(steps["audit-seen"])["summary"]
        assert seen["judge_saw_prompt"] == seen["judged"] == len(pairs)
        assert "judge_saw_prompt" not in read_manifest(steps["audit"])["summary"]
        trials = list(read_records(steps["audit"] / "label_trials.parquet", AuditedPair))
        assert 0 < sum(trial.worse for trial in trials) < len(trials) == len(pairs)
    found = experiment.label_detections()
    assert list(found) == ["audit", "audit-seen", "audit-length"]
    assert found["audit"].sets == 2
    assert found["audit"].area is not None
    assert "Finding wrong labels" in write_report(Experiment.read(tmp_path / "run")).read_text()
