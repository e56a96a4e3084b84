"""A collection with checks and a checklist, end to end: the toy world's judge and a server on loopback."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Preference
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records
from notus.llm.ledger import Ledger
from notus.steps.data.binarize import Binarize
from notus.steps.perform import run_step
from notus.toy.tasks import fact_tasks
from tests.helpers.misbehaving import Server
from tests.steps.test_collect import settings

REQUIREMENTS = ["It gives the right answer.", "It is polite."]
PROMPTS = 10


@pytest.fixture
def rows(tmp_path):
    """Prompts of the toy world with checks in the columns of IFBench's file, and a checklist."""
    path = tmp_path / "rows.jsonl"
    demands = {"instruction_id_list": ["count:word_count_range"], "kwargs": [{"min_words": 1, "max_words": 500}]}
    lines = [{"prompt": task.prompt, "checklist": REQUIREMENTS} | demands for task in fact_tasks(20)[:PROMPTS]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "mine.py").write_text("def even(answer):\n    return sum(map(ord, answer)) % 2 == 0\n")
    return path


def even(text):
    return sum(map(ord, text)) % 2 == 0


def verified(rows, url, **more):
    verify = {"checks": [f"python:{rows.parent}/mine.py:even"], "tries": 4}
    judge = {"endpoint": "miniature", "aspects": ["honesty"], "critique": False, "tries": 4}
    toy = {"noise": 0.5, "malformed": 0.2}
    return settings(rows, url, **({"verify": verify, "judge": judge, "miniature_judge": toy} | more))


def test_checks_and_requirements_are_collected_and_never_asked_again(tmp_path, rows):
    with Server() as server:
        config = verified(rows, server.url)
        run = run_step("collect", config, tmp_path / "runs" / "one", 0)
        answered = server.answered.total()
        again = run_step("collect", verified(rows, server.url, limit=PROMPTS - 1), tmp_path / "runs" / "two", 0)
        assert server.answered.total() == answered
    assert read_manifest(again.path)["summary"]["asked"] == 0
    records = list(read_records(run.path / "feedback.parquet", Feedback))
    items = [item for row in records for item in row.completions]
    assert len(items) == 2 * PROMPTS
    for item in items:
        (rating,) = [each for each in item.ratings if each.aspect == "checks"]
        assert rating.value == (1 + even(item.text)) / 2
        assert [note["requirement"] for note in item.extra["checklist"]] == REQUIREMENTS
    told = read_manifest(run.path)["summary"]["verified"]
    own = [note for item in items for note in item.extra["checks"]]
    assert told["checks"] == {
        "followed": sum(n["followed"] for n in own),
        "not_followed": sum(not n["followed"] for n in own),
    }
    listed = [note["met"] for item in items for note in item.extra["checklist"]]
    assert told["requirements"] == {
        "met": listed.count(True),
        "not_met": listed.count(False),
        "not_read": listed.count(None),
    }
    # The server writes hashes, which are no right answers; half a point of noise turns one verdict in twenty.
    assert listed.count(False) > 0.7 * len(listed)
    tally = next(each for each in read_json(run.path / "tally.json") if each["stage"] == "collect")["counts"]
    assert tally["asked-again"] > 0
    assert sum(tally.get(key, 0) for key in ("requirement-met", "requirement-not-met")) + told["requirements"][
        "not_read"
    ] == len(listed)
    with Ledger(tmp_path / "runs" / "ledger.sqlite", must_exist=True) as ledger:
        keys = [key for item in items for key in item.extra["ledger"].values()]
        assert len(keys) == len(items) * (1 + 1 + 2)
        assert set(keys) <= ledger.find(keys).keys()
    estimate = read_manifest(run.path)["summary"]["estimate"]
    assert estimate["requests"] == PROMPTS * (2 + 1 + 2 * 2)


def test_pairs_are_made_by_the_checks(tmp_path, rows):
    with Server() as server:
        run = run_step(
            "collect",
            verified(
                rows,
                server.url,
                judge=None,
                verify={"checks": [f"python:{rows.parent}/mine.py:even"], "endpoint": "miniature"},
            ),
            tmp_path / "runs" / "one",
            0,
        )
    made = {"data": str(run.path), "strategy": "weighted", "weights": {"checks": 1.0}, "allow_losses": True}
    pairs = run_step("binarize", Binarize.parse(made, where="test"), tmp_path / "pairs", 0)
    found = read_records(pairs.path / "preferences.parquet", Preference)
    records = list(read_records(run.path / "feedback.parquet", Feedback))
    apart = [row for row in records if len({even(item.text) for item in row.completions}) == 2]
    assert len(apart) >= 2
    chosen = {pair.feedback_id: (pair.chosen[0].content, pair.score_chosen, pair.score_rejected) for pair in found}
    for row in apart:
        text, high, low = chosen[row.id]
        assert (even(text), high, low) == (True, 1.0, 0.5)


def test_what_cannot_be_verified_is_refused_before_anything_is_asked(tmp_path, rows):
    with Server() as server:
        nobody = verified(rows, server.url, judge=None)
        with pytest.raises(ConfigError, match="nobody to ask"):
            run_step("collect", nobody, tmp_path / "runs" / "one", 0)
        rows.write_text(rows.read_text().replace('"min_words": 1', '"least_words": 1'))
        with pytest.raises(DataError, match=r"rows\.jsonl, line 1: .*no setting 'least_words'.*max_words"):
            run_step("collect", verified(rows, server.url), tmp_path / "runs" / "two", 0)
        rows.write_text(rows.read_text().replace('"least_words": 1', '"min_words": "one"'))
        with pytest.raises(DataError, match=r"rows\.jsonl, line 1: .*min_words.*'one'"):
            run_step("collect", verified(rows, server.url), tmp_path / "runs" / "three", 0)
        assert server.came.total() == 0
