"""``notus formats`` and ``notus read`` as a user meets them, and ``--map`` on other commands and in recipes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

import notus
from notus.cli.formats import preview
from notus.core.errors import ConfigError
from notus.core.records import Completion, Feedback, Message, Preference, Ranking, Rating
from notus.core.run import read_json
from notus.core.tables import read_records
from notus.formats.registry import FORMATS
from notus.steps.registry import step_class

ROWS = [
    {
        "ask": f"Why {n}?",
        "outs": [{"text": f"So {n}.", "by": "oak"}, {"text": f"No {n}.", "by": "elm"}],
        "vote": "RL="[n % 3],
    }
    for n in range(6)
]
MAP = ["prompt=ask", "answers=outs.*.text", "answers.model=outs.*.by", "winner={column: vote, values: L/R/=}"]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "notus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False)


def mapped(options: list[str]) -> list[str]:
    return [part for option in options for part in ("--map", option)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def test_reading_shows_three_records_the_counts_and_the_next_command(place: Path) -> None:
    done = run("read", "rows.jsonl", *mapped(MAP), "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "Why 2?" in done.stdout
    assert "Why 3?" not in done.stdout
    assert "answer 2 > answer 1" in done.stdout
    assert "tie" in done.stdout
    assert "Next: notus audit r" in done.stdout
    found = list(read_records(place / "r" / "feedback.parquet", Feedback))
    assert [record.rankings[0].ranks for record in found] == [(2, 1), (1, 2), (1, 1)] * 2


def test_an_unknown_file_is_answered_with_a_command_that_reads_it(place: Path) -> None:
    rows = [{"question": f"Why {n}?", "good_answer": "So.", "bad_answer": "No."} for n in range(3)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = run("read", "pairs.jsonl", "--out", "r", cwd=place)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    told = shlex.split(refused.stderr.partition("try: notus ")[2])
    done = run(*told, "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    assert len(list(read_records(place / "r" / "preferences.parquet", Preference))) == 3


def test_a_look_as_json_has_the_columns_the_near_formats_and_the_mapping(place: Path) -> None:
    rows = [{"instruction": "Why?", "rejected_response": "No.", "chosen_one": None}]
    (place / "near.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    looked = json.loads(run("formats", "near.jsonl", "--json", cwd=place).stdout)
    assert looked["format"] is None
    assert {"path": "chosen_one", "type": "null", "null": 1.0, "examples": []} in looked["columns"]
    assert ["chosen_response is missing"] in [near["reasons"] for near in looked["near"] if near["format"] == "argilla"]
    listed = json.loads(run("formats", "--json", cwd=place).stdout)
    assert [each["format"] for each in listed] == list(FORMATS)


def test_the_mapping_counts_in_the_digest(place: Path) -> None:
    (place / "mapping.yaml").write_text("prompt: ask\nanswers.text: outs.*.text\n")
    digests = set()
    for given in (["mapping.yaml"], ["prompt=ask", "answers.text=outs.*.text"], ["prompt=ask", "answers=outs.*.by"]):
        done = run("read", "rows.jsonl", *mapped(given), "--json", cwd=place)
        assert done.returncode == 0, done.stderr
        digests.add(json.loads(done.stdout)["run"])
    assert len(digests) == 2, "a file of the same mapping is the same run, another mapping is another"


def test_other_commands_and_recipes_take_a_mapping(place: Path) -> None:
    done = run("audit", "rows.jsonl", *mapped(MAP), "--out", "a", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "recipe.yaml").write_text(
        "name: mine\ndata:\n  step: read\n  path: rows.jsonl\n  map:\n    prompt: ask\n"
        "    answers: {text: outs.*.text, model: outs.*.by}\n"
    )
    done = run("run", "recipe.yaml", "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "r" / "steps").glob("data-*")
    assert read_json(folder / "config.json")["map"] == {
        "prompt": "ask",
        "answers.text": "outs.*.text",
        "answers.model": "outs.*.by",
    }


def test_python_reads_by_a_mapping_and_passes_it_on() -> None:
    rows = [row | {"outs": [{**out, "score": 1 + at} for at, out in enumerate(row["outs"])]} for row in ROWS]  # type: ignore[arg-type]
    data = notus.read(rows, map={"prompt": "ask", "answers": "outs.*.text", "answers.score": "outs.*.score"})
    assert (data.kind, len(data)) == ("Feedback", 6)
    pairs = notus.binarize(data, strategy="mean-rating")
    assert [pair.chosen[0].content for pair in pairs] == [f"No {n}." for n in range(6)]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="leave one out"):
        notus.read(rows, map={"prompt": "ask"}, format="trl")


def test_a_format_and_a_mapping_exclude_one_another() -> None:
    with pytest.raises(ConfigError, match="'layout' and 'map'"):
        step_class("read").parse({"path": "x", "layout": "trl", "map": {"prompt": "q"}}, where="test")


def test_a_preview_fits_its_width() -> None:
    asked = (Message(role="user", content="Why " * 100),)
    answer = Completion(text="So " * 100, model="m" * 30, ratings=(Rating(aspect="tone", value=4.0, rater="ann"),))
    vote = Ranking(ranks=(1, 2), rater="bo" * 60)
    extra: dict[str, Any] = {f"column {n}": n for n in range(50)}
    records = (
        Feedback(prompt=asked, completions=(answer, answer), rankings=(vote,), extra=extra, file="rows.jsonl", line=3),
        Preference(prompt=asked, chosen=asked, rejected=asked, model_chosen="m" * 30, score_chosen=4.0),
    )
    for record in records:
        lines = Text.from_markup("\n".join(preview(record, 1, 80))).plain
        assert max(map(len, lines.splitlines())) <= 80
        assert "…" in lines


def test_a_preview_shows_all_turns_of_an_answer() -> None:
    turns = (
        Message(role="assistant", content="The Oder."),
        Message(role="user", content="And its length?"),
        Message(role="assistant", content="854 km."),
    )
    asked = (Message(role="system", content="Be brief."), Message(role="user", content="Name a river."))
    answers = (Completion(text="854 km.", model="alder", turns=turns), Completion(text="No.", model="birch"))
    vote = Ranking(ranks=(1, 2), rater="ann")
    lines = preview(Feedback(prompt=asked, completions=answers, rankings=(vote,)), 1, 80)
    shown = Text.from_markup("\n".join(lines)).plain
    for part in ("system: Be brief.", "assistant: The Oder.", "user: And its length?", "854 km.", "birch: No."):
        assert part in shown
    assert "answer 1 > answer 2 (ann)" in shown
    long = Preference(prompt=asked, chosen=turns * 9, rejected=turns)
    shown = Text.from_markup("\n".join(preview(long, 1, 80))).plain
    assert "21 turns more" in shown
    assert len(shown.splitlines()) < 20


def test_a_file_of_another_encoding_is_read_when_it_is_named(place: Path) -> None:
    text = "question;response;rating;annotator\nWie heißt es?;Grün.;4;Jörg\nWarum müde?;Spät.;2;Zoë\n"
    (place / "votes.csv").write_bytes(text.encode("cp1252"))
    refused = run("formats", "votes.csv", cwd=place)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    for said in ("line 2", "0xdf", "--encoding cp1252", "heißt"):
        assert said in refused.stderr
    looked = run("formats", "votes.csv", "--encoding", "cp1252", cwd=place).stdout
    told = shlex.split(next(line for line in looked.splitlines() if "notus read" in line))[2:]
    done = run(*told, "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    records = list(read_records(place / "r" / "feedback.parquet", Feedback))
    assert [(each.prompt[0].content, each.completions[0].text) for each in records] == [
        ("Wie heißt es?", "Grün."),
        ("Warum müde?", "Spät."),
    ]
    assert records[1].completions[0].ratings[0].rater == "Zoë"


def test_lists_of_a_single_object_are_named_and_read_by_their_name(place: Path) -> None:
    rows = [{"question": "Why?", "answer_a": "So.", "answer_b": "No.", "winner": "a"}] * 2
    (place / "out.json").write_text(json.dumps({"v": 1, "result": {"traces": rows}, "users": [{"id": 1}]}))
    said = run("read", "out.json", cwd=place)
    assert said.returncode == 2
    assert "result.traces (2), users (1)" in said.stderr
    assert "--split result.traces" in said.stderr
    assert "--split result.traces" in run("formats", "out.json", cwd=place).stdout
    done = run("read", "out.json", "--split", "result.traces", "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "users" in done.stdout  # which is not read
    assert "no split 'traces'" in run("read", "out.json", "--split", "traces", cwd=place).stderr


def test_where_no_mapping_can_be_guessed_the_next_command_is_told(place: Path) -> None:
    (place / "odd.csv").write_text("Frage;Antwort links;Antwort rechts\nWarum?;Darum.;Nun ja.\n")
    said = run("formats", "odd.csv", cwd=place).stdout
    assert "No known format fits" in said
    assert "notus read odd.csv --map prompt=" in said


def test_the_command_to_try_names_the_split_that_was_looked_at(place: Path) -> None:
    rows = [{"question": f"Why {n}?", "good_answer": "So.", "bad_answer": "No."} for n in range(3)]
    (place / "two.json").write_text(json.dumps({"train": rows[:1], "test": rows[1:]}))
    said = run("formats", "two.json", "--split", "test", cwd=place).stdout
    told = shlex.split(next(line for line in said.splitlines() if "notus read" in line))[1:]
    done = run(*told, "--out", "r", cwd=place)
    assert done.returncode == 0, done.stderr
    assert len(list(read_records(place / "r" / "preferences.parquet", Preference))) == 2
