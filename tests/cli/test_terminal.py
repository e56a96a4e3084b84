"""Tables on a narrow terminal."""

import json

import pytest
from rich.console import Console

from notus.cli import experiments, single, terminal
from notus.cli.advice import EXPORTED, NEXT, next_command
from notus.cli.main import COMMANDS, EVALUATIONS, TRAININGS
from notus.core.records import Preference
from notus.core.tables import read_records
from notus.report.section import ReportSection
from notus.report.table import Table
from notus.steps.perform import run_step
from notus.steps.registry import step_class

WORDS = "score-against-ratings and 2 more"


@pytest.fixture
def narrow(monkeypatch):
    console = Console(width=80, highlight=False, color_system=None)
    monkeypatch.setattr(terminal, "OUT", console)
    monkeypatch.setattr(experiments, "OUT", console)
    return console


def test_a_slug_is_folded_behind_a_hyphen(narrow):
    texts = ("alder-large-instruct", WORDS, "instruction_following", "An answer [bold]of[/] many words, on and on.")
    table = Table(("Place", "Model", "Why", "Aspect", "Answer", "Score"), ((1, *texts, 10.0),))
    with narrow.capture() as captured:
        terminal.show_findings([ReportSection("Suspects", table=table)], as_json=False)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(number for number, line in enumerate(lines) if line.strip().startswith("1 "))
    # Put together again without spaces, each column holds whole words on each of its lines.
    pieces = [piece for line in lines[row:] for piece in line.split()]
    for text in texts:
        for part in text.replace("-", "- ").replace("_", "_ ").split():
            assert any(part in piece for piece in pieces), part
    assert "[bold]of[/]" in captured.get()


def test_a_path_is_not_folded_for_it_is_copied(narrow):
    path, said = "drafts.*.reviews.scores.kofi", "text that is long enough to need several lines of its own"
    rows = tuple((each, said, said, said) for each in (path, "thread_id", "prompt"))
    with narrow.capture() as captured:
        terminal.print_table("Columns", Table(("Column", "Type", "Null", "Examples"), rows))
    assert path in captured.get()


def test_what_has_no_joint_is_folded_anywhere(narrow):
    table = Table(("Id", *"abcd"), (("f" * 70, *["some words to fill the line with"] * 4),))
    with narrow.capture() as captured:
        terminal.show_findings([ReportSection("Ids", table=table)], as_json=False)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("f") - line.count("fill") for line in lines) == 59


def test_intervals_stand_below_their_numbers_where_there_is_no_room(narrow):
    columns = ("Question", "Rankings", "Prompts", "Votes", "Ties", "First is preferred", "Longer", "Against ratings")
    shares = ("0.483 [0.345, 0.622]", "0.484 [0.289, 0.679]", "0.615 [0.414, 0.817]", "0.501 [0.402, 0.600]")
    table = Table(columns, (("(one question)", 60, 53, 60, *shares), ("safer", 7, 7, 7, *shares)))
    with narrow.capture() as captured:
        terminal.print_table("Votes", table)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    pieces = captured.get().split()
    for part in " ".join(shares).split():  # whole numbers, each with its bracket
        assert pieces.count(part) == 2, part
    # With room enough nothing is broken.
    with narrow.capture() as captured:
        terminal.print_table("Votes", Table(columns[:4] + columns[-1:], (("(one question)", 60, 53, 60, shares[0]),)))
    assert shares[0] in captured.get()


def test_the_arms_of_a_plan_are_told_apart_whatever_their_names(narrow):
    def entry(step, seed, *arms):
        return {"step": step, "seed": seed, "config": {}, "for": [f"{arm}/{seed or 0}" for arm in arms]}

    both = ("SFT, then DPO", "SFT")
    plan = [entry("data", None, *both), entry("sft", 0, *both), entry("sft", 1, *both), entry("dpo", 0, both[0])]
    with narrow.capture() as captured:
        experiments.show_plan(plan, as_json=False)
    heads = [line for line in captured.get().splitlines() if "·" in line]
    assert heads == ["data  1 × · all 2 arms", "sft  seeds 0, 1 · all 2 arms", "dpo  seed 0 · 'SFT, then DPO'"]


@pytest.fixture
def audited(tmp_path):
    """An audit of pairs with bad rows, under a long path."""
    folder = tmp_path / ("a-long-name-of-a-folder-" * 4)
    folder.mkdir()
    good = json.dumps({"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."})
    bad = ["{", "7", json.dumps({"prompt": "a", "chosen": 3, "rejected": "b"})]
    (folder / "pairs.jsonl").write_text("\n".join([good, *bad, good, good, *bad[:0]]) + "\n")
    config = step_class("audit").parse({"data": str(folder / "pairs.jsonl")}, where="test")
    return run_step("audit", config, folder / "run")


def test_a_command_ends_with_the_rows_the_places_and_the_next_command(narrow, audited):
    with narrow.capture() as captured:
        terminal.show_step(audited, as_json=False)
    lines = captured.get().splitlines()
    told = " ".join(" ".join(lines).split())
    assert "6 rows in = 3 kept + 3 quarantined (1 broken-json, 1 not-an-object, 1 wrong-type) + 0 dropped" in told
    for place in ("quarantine.jsonl", "dropped.parquet", "health.html"):
        assert any(line.endswith(str(audited.path / place)) for line in lines)  # a path is never broken
    next_ = f"notus clean {audited.path.parent / 'pairs.jsonl'}"
    assert lines[-1] == f"Next: {next_}  (to look first: notus review {audited.path})"
    assert not any(line.startswith("Decisions:") for line in lines)  # none were given
    assert all(len(line) <= 80 for line in lines if str(audited.path.parent) not in line)


def test_as_json_a_command_gives_the_same_as_numbers(audited, capsys):
    terminal.show_step(audited, as_json=True)
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert rows["in"] == rows["kept"] + sum(rows["quarantined"].values()) + sum(rows["dropped"].values()) == 6
    assert found["quarantine"] == [str(audited.path / "quarantine.jsonl")]
    assert (found["look"], found["next"]) == (
        f"notus review {audited.path}",
        f"notus clean {audited.path.parent / 'pairs.jsonl'}",
    )
    assert (found["page"], found["tables"]) == (str(audited.path / "health.html"), ["pairs.parquet"])
    longer = found["summary"]["figures"]["longer_chosen"]
    assert (longer["count"], longer["of"], longer["interval"]["unit"]) == (3, 3, "share")
    assert all(set(finding) == {"heading", "table"} for finding in found["findings"])


def test_as_json_a_number_with_its_interval_is_three_numbers(capsys):
    cells = ("0.615 [0.414, 0.817]", "-0.17 [-0.49, 0.14]", "+0.1 [0.0, 0.2]", "a [1, 2]", "12 of 40", None, 3)
    table = Table(tuple("abcdefg"), (cells,))
    terminal.show_findings([ReportSection("Votes", table=table)], as_json=True)
    (row,) = json.loads(capsys.readouterr().out)[0]["table"]["rows"]
    assert row[:3] == [
        {"value": 0.615, "low": 0.414, "high": 0.817},
        {"value": -0.17, "low": -0.49, "high": 0.14},
        {"value": 0.1, "low": 0.0, "high": 0.2},
    ]
    assert row[3:] == ["a [1, 2]", "12 of 40", None, 3]


def test_explain_gives_fields_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "winner": winner, "annotator": who}
        for winner, who in (("a", "ann"), ("a", "bo"), ("b", "cy"))
    ]
    (tmp_path / "votes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = run_step("binarize", step_class("binarize").parse({"data": "votes.jsonl"}, where="t"), tmp_path / "b", 3)
    (pair,) = read_records(made.path / "preferences.parquet", Preference)
    single.explain(pair.id[:10], str(made.path), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["kind"]) == (pair.id, "pair")
    assert [(link["stage"], link["seed"]) for link in found["links"]] == [(None, None), ("binarize", 3)]
    (told,) = found["pairs"]
    assert told["made"]["scores"] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert told["made"]["votes"] == {"chosen": 2, "rejected": 1, "tied": 0, "strength": None}
    assert told["made"]["reproduced"] is True
    (row,) = found["feedback"]
    assert [each["text"] for each in row["completions"]] == ["So.", "No."]
    assert [each["rater"] for each in row["rankings"]] == ["ann", "bo", "cy"]
    assert row["prompt_id"] == pair.prompt_id


@pytest.mark.parametrize(("layout", "told"), [("trl", "train dpo"), ("trl-sft", "train sft"), ("trl-unpaired", "kto")])
def test_an_export_names_what_takes_it(tmp_path, monkeypatch, layout, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No."}))
    config = step_class("export").parse({"data": "pairs.jsonl", "to": layout}, where="t")
    said = next_command(run_step("export", config, tmp_path / "out"))
    assert told in said
    assert str(tmp_path / "out") in said


@pytest.mark.parametrize(
    "command", sorted({text for each in NEXT.values() for _, text in each} | set(EXPORTED.values()))
)
def test_what_is_to_be_tried_next_is_a_command(command):
    first, *rest = command.format(run="runs/x", data="rows.jsonl").split()
    groups = {"train": TRAININGS, "eval": EVALUATIONS}
    entry = groups[first][rest.pop(0)] if first in groups else COMMANDS[first]
    entry.make(first).make_context(first, rest)  # reads the arguments, and does nothing
