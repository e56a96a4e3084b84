import json
import random
from pathlib import Path

import pytest

from notus.audit.feedback import Suspicion, audit
from notus.core.records import Decision, Feedback, Preference
from notus.core.run import Run
from notus.core.splits import split
from notus.core.stage import Tally, apply
from notus.core.tables import parts_of, read_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.preferences.binarize import binarize
from notus.preferences.repair import Doubt, repair
from notus.steps.base import Step
from notus.steps.data.audit import Audit
from notus.steps.data.binarize import Binarize
from notus.steps.data.read import Read
from notus.steps.data.repair import Repair
from notus.steps.perform import run_step
from tests.helpers.data_examples import raw_completion, raw_row

ROWS = 70


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of which some prompts come twice, and some scores are 10s of every kind."""
    rng = random.Random(3)
    path = tmp_path_factory.mktemp("raw") / "feedback.jsonl"
    rows = []
    for _ in range(ROWS):
        names = rng.sample(["alder", "birch", "cedar", "dogwood", "elm"], 4)
        grades = [" ".join(rng.choice("1245") for _ in range(4)) for _ in names]
        items = [raw_completion(n, g, rng.choice([1, 4, 7.5, 10, 10])) for n, g in zip(names, grades, strict=True)]
        rows.append(raw_row() | {"instruction": f"River {rng.randrange(50)}.", "models": names, "completions": items})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus.formats.source.SHARD", 25_000)


def done(name: str, config: Step, out: Path) -> Run:
    return run_step(name, config, out, seed=5)


def files(folder: Path) -> dict[str, bytes]:
    """All that a step leaves but for times."""
    passing = {"manifest.json", "log.txt"}
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in passing)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def plain(path: Path) -> list[Feedback]:
    return list(open_source(str(path)).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]


@pytest.mark.usefixtures("shards")
def test_the_number_of_workers_changes_no_byte(raw: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        out = tmp_path / str(workers)
        done("repair", Repair(data=str(raw), workers=workers), out / "repair")
        done("audit", Audit(data=str(raw), workers=workers), out / "audit")
        settings = {"data": str(raw), "strategy": "repaired-critique", "held_out": 0.3, "workers": workers}
        done("binarize", Binarize.parse(settings, where="test"), out / "binarize")
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert {"repair/feedback.parquet/00003.parquet", "binarize/held_out.parquet/00003.parquet"} <= one.keys()
    assert one == two
    # The number of workers is no part of the config: the other run is the same run.
    assert done("repair", Repair(data=str(raw), workers=7), tmp_path / "1" / "repair").finished


@pytest.mark.usefixtures("shards")
def test_repair_in_shards_is_repair(raw: Path, tmp_path: Path) -> None:
    made: list[Decision] = []
    expected = list(repair(plain(raw), Tally("repair"), made))
    run = done("repair", Repair(data=str(raw)), tmp_path / "a")
    assert list(read_records(tmp_path / "a" / "feedback.parquet", Feedback)) == expected
    assert list(read_records(tmp_path / "a" / "decisions.parquet", Decision)) == made
    queue = list(read_records(tmp_path / "a" / "queue.parquet", Doubt))
    asked = [
        (feedback.completion_id(i), item.mean_rating)
        for feedback in expected
        for i, item in enumerate(feedback.completions)
        if item.extra.get("repair", {}).get("verdict") == "ask-again"
    ]
    assert [(doubt.id, doubt.mean_rating) for doubt in queue] == asked
    assert made
    assert queue
    assert run.summary["changed"] == len(made)
    # Repairing what is repaired changes nothing, and leaves the same in doubt.
    done("repair", Repair(data=str(tmp_path / "a")), tmp_path / "b")
    assert list(read_records(tmp_path / "b" / "feedback.parquet", Feedback)) == expected
    assert list(read_records(tmp_path / "b" / "decisions.parquet", Decision)) == []
    assert list(read_records(tmp_path / "b" / "queue.parquet", Doubt)) == queue


@pytest.mark.usefixtures("shards")
def test_audit_in_shards_is_the_audit(raw: Path, tmp_path: Path) -> None:
    expected = audit(plain(raw))
    done("audit", Audit(data=str(raw)), tmp_path / "a")
    assert tuple(read_records(tmp_path / "a" / "completions.parquet", Suspicion)) == expected.rows
    findings = json.loads((tmp_path / "a" / "health.json").read_bytes())
    (suspects,) = (finding for finding in findings if finding["heading"] == "Most suspicious completions")
    # Their texts are found again in the shards that hold them.
    shown = [row[-1] for row in suspects["table"]["rows"]]
    assert len(shown) > 8  # an answer that stands twice in the set has one id
    assert shown == [f"An answer by {row.model}." for row in expected.suspected(len(shown))]
    assert not [path for path in (tmp_path / "a").iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("shards")
def test_binarize_in_shards_is_binarize(raw: Path, tmp_path: Path) -> None:
    train, aside = split(apply(binarize("mean-rating", 5), plain(raw), Tally("binarize")), 0.3, 5)
    settings = {"data": str(raw), "strategy": "mean-rating", "held_out": 0.3}
    done("binarize", Binarize.parse(settings, where="test"), tmp_path / "a")
    assert len(parts_of(tmp_path / "a" / "preferences.parquet")) > 3
    assert list(read_records(tmp_path / "a" / "preferences.parquet", Preference)) == train
    assert list(read_records(tmp_path / "a" / "held_out.parquet", Preference)) == aside
    # A run that left parts is read like one that left a file; what was held out stays so.
    done("read", Read(path=str(tmp_path / "a")), tmp_path / "b")
    assert list(read_records(tmp_path / "b" / "preferences.parquet", Preference)) == train
    assert list(read_records(tmp_path / "b" / "held_out.parquet", Preference)) == aside


@pytest.mark.usefixtures("shards")
def test_read_in_shards_divides_by_prompt(raw: Path, tmp_path: Path) -> None:
    done("read", Read(path=str(raw)), tmp_path / "feedback")
    assert list(read_records(tmp_path / "feedback" / "feedback.parquet", Feedback)) == plain(raw)
    done("binarize", Binarize.parse({"data": str(tmp_path / "feedback")}, where="test"), tmp_path / "pairs")
    pairs = list(read_records(tmp_path / "pairs" / "preferences.parquet", Preference))
    done("read", Read(path=str(tmp_path / "pairs" / "preferences.parquet"), held_out=0.3), tmp_path / "read")
    train, aside = split(pairs, 0.3, 0)
    assert list(read_records(tmp_path / "read" / "preferences.parquet", Preference)) == train
    assert list(read_records(tmp_path / "read" / "held_out.parquet", Preference)) == aside
    assert aside


def test_the_health_card_does_not_tell_where_files_lie(raw: Path, tmp_path: Path) -> None:
    page = (done("audit", Audit(data=str(raw)), tmp_path / "audit").path / "health.html").read_text(encoding="utf-8")
    assert "Health card of feedback.jsonl" in page
    assert str(raw.parent) not in page
