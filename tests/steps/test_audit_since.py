"""An audit of what has come since another: what is read, what is placed where, and what is refused."""

import gzip
import json
import random
import shutil

import numpy as np
import pytest

from notus.audit.feedback import Suspicion
from notus.audit.raters import RaterRow
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback
from notus.core.run import read_json, read_manifest
from notus.core.stage import Tally
from notus.core.tables import parts_of, read_records, write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.provenance.forget import forget
from notus.steps.data.audit import Audit
from notus.steps.perform import run_step
from tests.helpers.data_examples import raw_completion, raw_row

PRAISE, BLAME = ("superb", "exact", "rich", "lucid"), ("poor", "wrong", "thin", "muddled")


def rows(start, stop, seed=0, score=float):
    """Prompts with four answers of 2 to 9 points, of whose critique's words so many praise."""
    found = []
    for number in range(start, stop):
        rng = random.Random(f"{seed}:{number}")
        items = []
        for name in raw_row()["models"]:
            deserved = rng.choice(range(2, 10))
            grades = " ".join(str(max(1, min(5, round(deserved / 2) + rng.choice((-1, 0, 0, 1))))) for _ in range(4))
            item = raw_completion(name, grades, float(score(deserved)))
            item["response"] += " And so on." * rng.randrange(9)
            praising = round((deserved - 1) / 9 * 12)
            item["critique"] = " ".join([*rng.choices(PRAISE, k=praising), *rng.choices(BLAME, k=12 - praising)])
            items.append(item)
        found.append(raw_row() | {"instruction": f"Question {number}?", "completions": items})
    return found


def lines(found):
    return "".join(json.dumps(row) + "\n" for row in found)


def audit(data, out, **settings):
    return run_step("audit", Audit.parse({"data": str(data), "workers": 1} | settings, where="test"), out)


def table(run):
    return list(read_records(run.path / "completions.parquet", Suspicion))


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    (folder / "data.jsonl").write_text(lines(rows(0, 300)))
    audit(folder / "data.jsonl", folder / "audit")
    return folder


@pytest.fixture
def place(before, tmp_path):
    shutil.copyfile(before / "data.jsonl", tmp_path / "data.jsonl")
    shutil.copytree(before / "audit", tmp_path / "audit")
    return tmp_path


@pytest.fixture
def read(monkeypatch):
    """The lines that are read of each file, for whatever purpose but the yardstick."""
    seen = []
    plain = Source.records

    def records(self, tally, quarantine):
        for record in plain(self, tally, quarantine):
            if tally.stage != "yardstick":
                seen.append((record.file, record.line))
            yield record

    monkeypatch.setattr(Source, "records", records)
    return seen


def test_of_a_file_that_grew_only_the_end_is_read(place, read):
    with (place / "data.jsonl").open("a") as file:
        file.write(lines(rows(300, 306)))
    read.clear()
    run = audit(place / "data.jsonl", place / "next", since=str(place / "audit"))
    assert read == [("data.jsonl", line) for line in range(301, 307)]
    assert read_manifest(run.path)["rows"]["in"] == 6
    summary = run.summary
    assert (summary["prompts_before"], summary["completions_before"], summary["prompts"]) == (300, 1200, 6)
    old, new = read_old(place), table(run)
    assert new[:1200] == old  # as they were audited, places and all
    assert [(row.line, row.index) for row in new[1200:]] == [
        (line, index) for line in range(301, 307) for index in range(4)
    ]
    assert len(parts_of(run.path / "completions.parquet")) == 2
    # And again from there.
    with (place / "data.jsonl").open("a") as file:
        file.write(lines(rows(306, 308)))
    third = audit(place / "data.jsonl", place / "third", since=str(run.path))
    assert [row.line for row in table(third)[1224:]] == [307] * 4 + [308] * 4
    assert table(third)[:1224] == new


def read_old(place):
    return list(read_records(place / "audit" / "completions.parquet", Suspicion))


def test_a_planted_fault_stands_where_the_whole_audit_would_have_put_it(place):
    """New rows of which every fourth answer has a score that its ratings and its critique contradict."""
    flipped = rows(300, 320)
    for row in flipped:
        item = row["completions"][0]
        item["overall_score"] = 11.0 - item["overall_score"]
    with (place / "data.jsonl").open("a") as file:
        file.write(lines(flipped))
    run = audit(place / "data.jsonl", place / "next", since=str(place / "audit"))
    whole = audit(place / "data.jsonl", place / "whole")
    new, of_whole = table(run)[1200:], table(whole)[1200:]
    assert [row.id for row in new] == [row.id for row in of_whole]
    # Told from the sound ones as the whole audit tells them, and about as strongly.
    a, b = (np.array([row.strength for row in each]) for each in (new, of_whole))
    assert np.corrcoef(np.log1p(a), np.log1p(b))[0, 1] > 0.9
    known = sorted((row.strength for row in read_old(place)), reverse=True)
    for row in new:
        assert row.suspicion == 1 + sum(round(value, 12) > round(row.strength, 12) for value in known)
    # The wording is read by the models of the old audit, which have not seen these prompts.
    assert np.corrcoef([r.expected_score for r in new], [r.expected_score for r in of_whole])[0, 1] > 0.95


def test_what_drifted_is_said_and_what_cannot_be_told_apart_too(place):
    with (place / "data.jsonl").open("a") as file:
        file.write(lines(rows(300, 340, score=lambda deserved: min(10, deserved + 2))))
    run = audit(place / "data.jsonl", place / "next", since=str(place / "audit"))
    section = next(each for each in read_json(run.path / "health.json") if each["heading"] == "What has drifted since")
    says = {row[0]: (row[5], row[7]) for row in section["table"]["rows"]}
    assert says["overall score"][1] == "drifted"
    assert says["mean rating"][1] == "not distinguishable"
    assert says["length of the answers"][1] == "not distinguishable"
    assert "can be told apart" in section["sentences"][0]
    (score,) = [each for each in run.summary["drift"] if each["what"] == "overall score"]
    old = [row.overall_score for row in read_old(place)]
    new = [row.overall_score for row in table(run)[1200:]]
    assert score["before"] == pytest.approx(np.mean(old))
    assert score["since"] == pytest.approx(np.mean(new))
    assert score["difference"]["mean"] == pytest.approx(np.mean(new) - np.mean(old))
    assert score["difference"]["low"] < score["difference"]["mean"] < score["difference"]["high"]
    assert "What has drifted since" in (run.path / "health.html").read_text()


def test_nothing_new_is_said(place):
    run = audit(place / "data.jsonl", place / "next", since=str(place / "audit"))
    assert table(run) == read_old(place)
    findings = read_json(run.path / "health.json")
    assert "0 prompts with 0 completions came since audit" in findings[0]["sentences"][0]
    assert "Nothing has come" in findings[1]["sentences"][0]


def test_new_files_of_a_folder_are_read(tmp_path, read):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, start in (("a", 0), ("c", 100)):
        (folder / f"{name}.jsonl").write_text(lines(rows(start, start + 100)))
    audit(folder, tmp_path / "audit")
    (folder / "b.jsonl").write_text(lines(rows(200, 203)))
    with (folder / "a.jsonl").open("a") as file:
        file.write(lines(rows(300, 302)))
    read.clear()
    run = audit(folder, tmp_path / "next", since=str(tmp_path / "audit"))
    assert read == [("a.jsonl", 101), ("a.jsonl", 102), ("b.jsonl", 1), ("b.jsonl", 2), ("b.jsonl", 3)]
    assert run.summary["prompts"] == 5
    (folder / "c.jsonl").unlink()
    with pytest.raises(DataError, match=r"c\.jsonl is gone.*audit the whole again"):
        audit(folder, tmp_path / "third", since=str(run.path))


@pytest.mark.parametrize("form", ["parquet", "packed", "rewritten"])
def test_of_a_file_written_anew_the_old_rows_are_known_by_what_they_are(form, tmp_path):
    old, new = rows(0, 300), rows(300, 303)

    def write(found):
        if form == "packed":
            (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress(lines(found).encode()))
            return tmp_path / "data.jsonl.gz"
        (tmp_path / "plain.jsonl").write_text(lines(found))
        if form == "rewritten":
            return tmp_path / "plain.jsonl"
        records = list(open_source(str(tmp_path / "plain.jsonl")).records(Tally("read"), Quarantine()))
        write_records(tmp_path / "data.parquet", records, Feedback)
        return tmp_path / "data.parquet"

    audit(write(old), tmp_path / "audit")
    order = [*old[150:], *new, *old[:150]]
    run = audit(write(order), tmp_path / "next", since=str(tmp_path / "audit"))
    assert [row.prompt_id for row in table(run)[1200::4]] != []
    assert run.summary["prompts"] == 3
    rows_of = read_manifest(run.path)["rows"]
    assert (rows_of["in"], rows_of["dropped"], rows_of["kept"]) == (303, {"audited-before": 300}, 3)
    # One that is gone, and one whose score is another, cannot be told without the whole.
    changed = json.loads(json.dumps(order))
    changed[0]["completions"][0]["overall_score"] = 1.0
    for found in (order[1:], changed):
        with pytest.raises(DataError, match=r"1 row of .* is gone since it was audited, or judged otherwise"):
            audit(write(found), tmp_path / "other", since=str(tmp_path / "audit"))


def test_a_last_line_that_goes_on_is_not_read_from_its_middle(tmp_path):
    text = lines(rows(0, 120))
    (tmp_path / "data.jsonl").write_text(text.removesuffix("\n"))
    audit(tmp_path / "data.jsonl", tmp_path / "audit")
    assert read_json(tmp_path / "audit" / "held.json")["files"][0]["lines"] == 0
    (tmp_path / "data.jsonl").write_text(text + lines(rows(120, 122)))
    run = audit(tmp_path / "data.jsonl", tmp_path / "next", since=str(tmp_path / "audit"))
    assert (run.summary["prompts"], read_manifest(run.path)["rows"]["dropped"]) == (2, {"audited-before": 120})


def test_bad_rows_among_the_new_are_put_aside_with_their_lines(place):
    with (place / "data.jsonl").open("a") as file:
        file.write("{broken\n" + lines(rows(300, 303)))
    run = audit(place / "data.jsonl", place / "next", since=str(place / "audit"))
    (entry,) = map(json.loads, (run.path / "quarantine.jsonl").read_text().splitlines())
    assert (entry["file"], entry["line"]) == ("data.jsonl", 301)
    assert read_manifest(run.path)["rows"]["in"] == 4


def test_rows_that_were_withdrawn_since_are_not_carried_on(tmp_path):
    (tmp_path / "data.jsonl").write_text(lines(rows(0, 60)))
    runs = tmp_path / "runs"
    first = audit(tmp_path / "data.jsonl", runs / "audit")
    forget([table(first)[8].feedback_id], runs)
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write(lines(rows(60, 62)))
    with pytest.raises(DataError, match="holds 4 completions to prompts of which something is withdrawn"):
        audit(tmp_path / "data.jsonl", runs / "next", since=str(first.path))
    # An audit that knew of it is gone on from.
    again = audit(tmp_path / "data.jsonl", runs / "again")
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write(lines(rows(62, 64)))
    assert audit(tmp_path / "data.jsonl", runs / "next", since=str(again.path)).summary["prompts"] == 2


def test_raters_of_both_are_put_together(tmp_path):
    def rated(start, stop):
        found = []
        for number in range(start, stop):
            rng = random.Random(number)
            items = []
            for place in range(2):
                given = {name: float(rng.choice(range(1, 6))) for name in ("ann", "bob")}
                said = [{"aspect": "honesty", "value": value, "rater": name} for name, value in given.items()]
                items.append({"text": f"answer {place}", "model": "m", "ratings": said})
            found.append({"prompt": [{"role": "user", "content": f"q{number}"}], "completions": items})
        return found

    (tmp_path / "data.jsonl").write_text(lines(rated(0, 80)))
    audit(tmp_path / "data.jsonl", tmp_path / "audit")
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write(lines(rated(80, 100)))
    run = audit(tmp_path / "data.jsonl", tmp_path / "next", since=str(tmp_path / "audit"))
    found = {row.rater: row for row in read_records(run.path / "raters.parquet", RaterRow)}
    whole = {
        row.rater: row
        for row in read_records(audit(tmp_path / "data.jsonl", tmp_path / "whole").path / "raters.parquet", RaterRow)
    }
    for name in ("ann", "bob"):
        assert (found[name].n, found[name].prompts) == (200, 100)
        assert found[name].mean == pytest.approx(whole[name].mean)
        assert found[name].mean_high == pytest.approx(whole[name].mean_high, abs=0.05)
    assert {"honesty by ann", "honesty by bob"} <= {each["what"] for each in run.summary["drift"]}


def test_what_cannot_be_gone_on_from_is_refused(place, tmp_path):
    other = {"layout": "ultrafeedback", "since": str(place / "audit")}
    with pytest.raises(ConfigError, match="'since' reads what is new alone"):
        audit(place / "data.jsonl", place / "x", private=True, since=str(place / "audit"))
    with pytest.raises(DataError, match="'limit'"):
        audit(place / "data.jsonl", place / "x", limit=3, since=str(place / "audit"))
    limited = audit(place / "data.jsonl", place / "limited", limit=30)
    with pytest.raises(DataError, match="no audit of feedback that another can go on from"):
        audit(place / "data.jsonl", place / "x", since=str(limited.path))
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(DataError, match="goes on from an audit of feedback"):
        audit(tmp_path / "pairs.jsonl", place / "x", **other | {"layout": None})
    (tmp_path / "own.jsonl").write_text(
        lines([{"prompt": [{"role": "user", "content": "p"}], "completions": [{"text": "a"}]}])
    )
    with pytest.raises(DataError, match=r"was made of the format ultrafeedback"):
        audit(tmp_path / "own.jsonl", place / "x", since=str(place / "audit"))
