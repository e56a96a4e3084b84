"""``notus audit --second`` as a step: what is read of the second file, what is written, and what is refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import DataError
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_table
from notus.report.audits.labels import places_by_text
from notus.steps.base import read_findings
from notus.steps.data.audit import Audit
from notus.steps.perform import run_step
from tests.cli.test_main import notus


def rows(prompts: int, offset: float, seed: int) -> list[dict[str, Any]]:
    """Raw rows; the quality of an answer is the same under every seed, what the judge adds is not."""
    quality, judge = random.Random(0), random.Random(seed)
    found = []
    for number in range(prompts):
        items = []
        level = quality.gauss(5.5, 1.5)
        for place, model in enumerate(("alder", "birch", "cedar", "elm")):
            true = level + place * 0.7 + quality.gauss(0, 1.2)
            score = float(min(max(round(true + offset + judge.gauss(0, 0.7)), 1), 10))
            items.append(
                {
                    "model": model,
                    "response": f"{model} on {number}: " + "well " * quality.randint(3, 20),
                    "critique": "Fine.",
                    "overall_score": score,
                    "annotations": {},
                }
            )
        found.append({"instruction": f"Ask {number}", "models": [i["model"] for i in items], "completions": items})
    return found


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row | {"source": "made"}) + "\n" for row in found))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("second")
    first = write(folder / "first.jsonl", rows(120, 0.0, 1))
    return first, write(folder / "second.jsonl", rows(40, 1.5, 2))


def audited(folder: Path, first: Path, **settings: Any) -> Any:
    return run_step("audit", Audit.parse({"data": str(first)} | settings, where="test"), folder, seed=1)


def test_the_scores_themselves_are_no_second_ones(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the very scores that are audited"):
        audited(tmp_path / "run", files[0], second=str(files[0]))


def test_second_scores_stand_beside_the_first_and_in_the_manifest(files: tuple[Path, Path], tmp_path: Path) -> None:
    run = audited(tmp_path / "run", files[0], second=str(files[1]))
    table = read_table(run.path / "completions.parquet")
    theirs = [item["overall_score"] for row in rows(40, 1.5, 2) for item in row["completions"]]
    assert [row["second_score"] for row in table[:160]] == theirs
    assert {row["second_score"] for row in table[160:]} == {None}
    noted = read_manifest(run.path)["summary"]["second"]
    own = [row["overall_score"] for row in table[:160]]
    assert noted["both"] == noted["offset"]["n"] == 160
    assert noted["offset"]["mean"] == pytest.approx(sum(theirs) / 160 - sum(own) / 160)
    sections = {section.heading: section for section in read_findings(run.path)}
    assert "160 answers to 40 prompts" in " ".join(sections["Second scores"].sentences)
    shown = sections["Suspicious by context"].table
    assert shown is not None
    where = shown.columns.index("Where")
    assert shown.rows[0][where].startswith("first.jsonl:")
    siblings = shown.rows[0][shown.columns.index("Siblings")]
    assert len(siblings.split()) == 3
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert (tallies["read-second"]["in"], tallies["read-second"]["out"]) == (40, 40)


def test_the_content_of_the_second_file_counts_in_the_digest(files: tuple[Path, Path], tmp_path: Path) -> None:
    copy = write(tmp_path / "copy.jsonl", rows(40, 1.5, 2))
    other = write(tmp_path / "other.jsonl", rows(40, 1.5, 3))
    digests = [
        read_manifest(audited(tmp_path / str(number), files[0], second=str(path)).path)["digest"]
        for number, path in enumerate((files[1], copy, other))
    ]
    without = read_manifest(audited(tmp_path / "without", files[0]).path)["digest"]
    assert digests[0] == digests[1]
    assert len({*digests, without}) == 3


def test_second_scores_of_pairs_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{n}", "chosen": "a b", "rejected": "c"} for n in range(9)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="'second' is of feedback"):
        audited(tmp_path / "a", pairs, second=str(files[1]))
    with pytest.raises(DataError, match="needs feedback"):
        audited(tmp_path / "b", files[0], second=str(pairs))


def test_the_command_says_what_was_matched(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = notus("audit", files[0], "--second", files[1], "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "160 belong to answers of this set" in " ".join(done.stdout.split())
    # The rows are those of the file that was audited: 120 prompts, and not the 40 of the second file with them.
    assert "120 rows in = 120 kept + 0 quarantined + 0 dropped" in " ".join(done.stdout.split())
    assert {row["stage"]: row["in"] for row in read_json(tmp_path / "run" / "tally.json")}["read-second"] == 40


def test_labels_against_the_texts_are_shown_with_their_places(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "pairs.jsonl"
    lines = []
    for number in range(200):
        good, bad = (" ".join(rng.choices(of, k=9)) for of in (("ay", "bee", "sea"), ("ex", "why", "zed")))
        sides = (bad, good) if number in (17, 80) else (good, bad)
        lines.append(json.dumps({"prompt": f"p{number}", "chosen": sides[0], "rejected": sides[1]}))
    path.write_text("\n".join(lines) + "\n")
    run = audited(tmp_path / "run", path)
    section = next(each for each in read_findings(run.path) if each.heading == "Labels against the texts")
    assert section.table is not None
    where = section.table.columns.index("Where")
    assert {row[where] for row in section.table.rows[:2]} == {"pairs.jsonl:18", "pairs.jsonl:81"}
    table = read_table(run.path / "pairs.parquet")
    assert sorted(row["place_by_text"] for row in table)[0] == 1
    assert table[17]["text_chance"] < 0.5 < table[18]["text_chance"]
    assert callable(places_by_text)


def test_second_scores_of_other_answers_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = files
    other = tmp_path / "other.jsonl"
    other.write_text(second.read_text().replace("Ask ", "Another ask "))
    told = "none of the .* answers with a second score .*matched by prompt, model and text"
    with pytest.raises(DataError, match=told):
        audited(tmp_path / "out", first, second=str(other))
    # At the start: an audit that has looked at the set leaves its table.
    assert not (tmp_path / "out" / "completions.parquet").exists()
