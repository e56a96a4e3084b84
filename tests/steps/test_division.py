"""Steps that divide: the sides against plain sets, and what the manifest says of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import DataError
from notus.core.records import Preference, digest
from notus.core.run import read_manifest
from notus.core.splits import is_held_out
from notus.core.tables import read_records
from notus.steps.base import Step
from notus.steps.data.binarize import Binarize
from notus.steps.data.diff import Diff
from notus.steps.data.read import Read
from notus.steps.perform import run_step
from tests.helpers.data_examples import raw_completion, raw_row


def row(number: int, **more: Any) -> dict[str, Any]:
    """One pair; no two prompts share a word."""
    prompt = " ".join(f"w{digest(str(number), str(place))[:8]}" for place in range(6)) + "."
    return {"prompt": prompt, "chosen": f"Good {number}.", "rejected": f"Bad {number}."} | more


def written(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return str(path)


def divided(out: Path, config: Step) -> tuple[list[Preference], list[Preference], dict[str, Any]]:
    run_step(type(config).step_type, config, out, seed=5)
    sides = [list(read_records(out / name, Preference)) for name in ("preferences.parquet", "held_out.parquet")]
    return sides[0], sides[1], read_manifest(out)["summary"]


@pytest.fixture
def users(tmp_path):
    """300 pairs of 60 users, and ten of nobody."""
    return written(
        tmp_path / "pairs.jsonl", [row(n, **({"user": f"u{n % 60}"} if n < 300 else {})) for n in range(310)]
    )


def test_by_user_no_user_is_on_both_sides_and_the_manifest_says_how_many(users, tmp_path):
    train, held, summary = divided(tmp_path / "run", Read(path=users, held_out=0.2, held_out_by="column:user"))
    names = [{pair.extra["user"] for pair in side if "user" in pair.extra} for side in (train, held)]
    assert not names[0] & names[1]
    assert len(names[0]) + len(names[1]) == 60
    alone = [pair for pair in held if "user" not in pair.extra]
    assert all(is_held_out(pair.prompt_id, 0.2, 0) for pair in alone)
    groups = len(names[1]) + len({pair.prompt_id for pair in alone})
    assert summary["held_out_by"].startswith(f"user: {groups} of 70 groups, {len(held)} of 310 rows")
    assert "10 rows" in summary["held_out_by"].partition(";")[2]
    assert "leaks" not in summary


def test_by_prompt_the_users_on_both_sides_are_named_with_what_mends(users, tmp_path):
    train, held, summary = divided(tmp_path / "run", Read(path=users, held_out=0.2))
    assert {pair.prompt_id for pair in held} == {
        p.prompt_id for p in (*train, *held) if is_held_out(p.prompt_id, 0.2, 0)
    }
    both = {pair.extra.get("user") for pair in train} & {pair.extra.get("user") for pair in held} - {None}
    assert summary["on_both_sides"] == {"column:user": len(both)}
    assert "--held-out-by column:user" in summary["leaks"]
    assert divided(tmp_path / "b", Read(path=users, held_out=0.2, held_out_by="column:user"))[2].get("leaks") is None


def test_without_leaks_nothing_is_said(tmp_path):
    path = written(tmp_path / "pairs.jsonl", [row(n) for n in range(100)])
    summary = divided(tmp_path / "run", Read(path=path, held_out=0.3))[2]
    assert {"leaks", "on_both_sides"}.isdisjoint(summary)


def test_near_equal_prompts_stay_together_when_asked(tmp_path):
    rows = [row(n) for n in range(100)]
    rows += [each | {"prompt": each["prompt"].upper().replace(".", "!"), "chosen": "x"} for each in rows[:60]]
    path = written(tmp_path / "pairs.jsonl", rows)
    train, held, summary = divided(tmp_path / "a", Read(path=path, held_out=0.3))
    plain = [{pair.prompt[0].content.lower().rstrip(".!") for pair in side} for side in (train, held)]
    assert summary["on_both_sides"] == {"near-duplicates": len(plain[0] & plain[1])}
    assert "--held-out-by near-duplicates" in summary["leaks"]
    train, held, summary = divided(tmp_path / "b", Read(path=path, held_out=0.3, held_out_by="near-duplicates"))
    plain = [{pair.prompt[0].content.lower().rstrip(".!") for pair in side} for side in (train, held)]
    assert not plain[0] & plain[1]
    assert "leaks" not in summary


def test_by_time_the_latest_prompts_are_held_out(tmp_path):
    path = written(
        tmp_path / "pairs.jsonl",
        [row(n, at=f"2024-{n // 10 + 1:02}-01") for n in range(100)] + [row(3, at="2025-01-01", chosen="late")],
    )
    _, held, summary = divided(tmp_path / "run", Read(path=path, held_out=0.21, held_out_by="time:at"))
    late = {row(n)["prompt"] for n in range(80, 100)} | {row(3)["prompt"]}
    assert {pair.prompt[0].content for pair in held} == late
    assert len(held) == 22
    assert summary["held_out_from"].startswith("2024-09-01")


def test_a_column_that_no_row_has_is_named_with_those_there_are(users, tmp_path):
    with pytest.raises(DataError, match=r"'usr'.*user"):
        divided(tmp_path / "run", Read(path=users, held_out=0.2, held_out_by="column:usr"))


def test_a_test_split_that_lies_beside_is_compared_too(tmp_path):
    (tmp_path / "set").mkdir()
    written(tmp_path / "set" / "train.jsonl", [row(n) for n in range(40)])
    written(tmp_path / "set" / "test.jsonl", [row(n) for n in range(37, 60)])
    train, _, summary = divided(tmp_path / "run", Read(path=str(tmp_path / "set")))
    assert len(train) == 40
    assert summary["on_both_sides"] == {"prompt": 3}


ROWS = {
    "feedback": lambda n: {"prompt": f"Why {n}?", "response": f"So {n}.", "rating": 1 + n % 5, "annotator": "ann"},
    "dialogues": lambda n: {
        "messages": [{"role": "user", "content": f"Why {n}?"}, {"role": "assistant", "content": "So."}]
    },
    "unpaired": lambda n: {"prompt": f"Why {n}?", "completion": f"So {n}.", "label": bool(n % 2)},
    "preferences": lambda n: {"prompt": f"Why {n}?", "chosen": f"So {n}.", "rejected": f"No {n}."},
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("split", [None, "test"])
def test_the_splits_of_one_set_are_compared_whichever_is_read_and_whatever_it_holds(tmp_path, kind, split):
    """Train has the prompts 0 to 19, test 16 to 25: four stand on both sides."""
    parts = {"train": range(20), "test": range(16, 26)}
    (tmp_path / "set.json").write_text(json.dumps({name: list(map(ROWS[kind], part)) for name, part in parts.items()}))
    run = run_step(
        "read", Read.parse({"path": str(tmp_path / "set.json"), "split": split}, where="t"), tmp_path / "run"
    )
    summary = read_manifest(run.path)["summary"]
    assert summary["on_both_sides"]["prompt"] == 4
    assert "4 prompts (4 held-out rows)" in summary["leaks"]
    apart = {name: list(map(ROWS[kind], part)) for name, part in {"train": range(9), "test": range(900, 909)}.items()}
    (tmp_path / "apart.json").write_text(json.dumps(apart))
    run = run_step(
        "read", Read.parse({"path": str(tmp_path / "apart.json"), "split": split}, where="t"), tmp_path / "r2"
    )
    assert "prompt" not in read_manifest(run.path)["summary"].get("on_both_sides", {})


def test_only_pairs_are_held_out(tmp_path):
    talk = [{"role": "user", "content": "a river"}, {"role": "assistant", "content": "Elbe"}]
    path = written(tmp_path / "talks.jsonl", [{"messages": talk}])
    with pytest.raises(DataError, match=r"dialogues.*--held-out"):
        divided(tmp_path / "run", Read(path=path, held_out=0.2))


def test_pairs_keep_the_groups_of_their_feedback_and_are_divided_by_them(tmp_path, monkeypatch):
    monkeypatch.setattr("notus.formats.source.SHARD", 25_000)
    rows = []
    for n in range(60):
        items = [raw_completion("alder", "2 1 1 1"), raw_completion("birch", "5 4 5 5")]
        rows.append(raw_row() | {"instruction": row(n)["prompt"], "models": ["alder", "birch"], "completions": items})
        rows[-1] |= {"meta": {"user": f"u{n % 15}"}, "shop": f"s{n % 12}", "correct_answers": []}
    path = written(tmp_path / "feedback.jsonl", rows)
    for by, key in (
        ("column:meta.user", lambda p: p.extra["meta"]["user"]),
        ("column:shop", lambda p: p.extra["shop"]),
    ):
        config = Binarize(data=path, held_out=0.3, held_out_by=by, workers=1)
        train, held, _ = divided(tmp_path / by.replace(":", "-"), config)
        assert len(train) + len(held) == 60
        assert held
        assert not {key(pair) for pair in train} & {key(pair) for pair in held}
    train, held, summary = divided(tmp_path / "plain", Binarize(data=path, held_out=0.3, workers=1))
    sides = [{pair.extra["meta"]["user"] for pair in side} for side in (train, held)]
    assert summary["on_both_sides"] == {"column:meta.user": len(sides[0] & sides[1])}


def test_two_sets_are_compared_by_what_stands_in_both(tmp_path):
    a = written(tmp_path / "a.jsonl", [row(n, user=f"u{n % 9}") for n in range(20)])
    b = written(tmp_path / "b.jsonl", [row(n, user=f"u{n}") for n in range(18, 30)])
    run_step("diff", Diff(a=a, b=b), tmp_path / "run")
    assert read_manifest(tmp_path / "run")["summary"]["on_both_sides"] == {"prompt": 2}
    c = written(tmp_path / "c.jsonl", [row(n, user=f"u{n}") for n in range(200, 220)])
    run_step("diff", Diff(a=a, b=c), tmp_path / "none")
    assert "on_both_sides" not in read_manifest(tmp_path / "none")["summary"]
