"""``notus eval arena-hard`` and ``notus eval wildbench``: help, examples, JSON, errors."""

import json

import pytest

from notus.cli.main import EVALUATIONS, main

OURS = ("arena-hard", "wildbench")


@pytest.fixture
def notus(monkeypatch, capsys, tmp_path):
    """The command line in this process, in a folder with small score files: exit code and what it said."""
    games = [{"score": "B>A"}, {"score": "A=B"}]
    rows = [{"question_id": f"q{n}", "model": "alder", "judge": "j", "games": games} for n in range(4)]
    (tmp_path / "arena_hard.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [
        {"session_id": f"s{n}", "model_test": "alder", "model_output": "Yes.", "score": 6 + n % 2, "parsed_result": {}}
        for n in range(4)
    ]
    (tmp_path / "wildbench.json").write_text(json.dumps(judged))

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    return call


@pytest.mark.parametrize("name", OURS)
def test_each_has_help_and_its_example_runs(name, notus):
    code, said = notus("eval", name, "--help")
    assert code == 0
    assert EVALUATIONS[name].example in " ".join(said.out.split())
    code, said = notus(*EVALUATIONS[name].example.removeprefix("notus ").split())
    assert code == 0, said.err
    assert "alder" in said.out
    code, said = notus(*EVALUATIONS[name].example.removeprefix("notus ").split()[:-1], "again", "--json")
    (score,) = json.loads(said.out)["summary"]["scores"]
    figure = score["models"][0]["win_rate"] if name == "arena-hard" else score["mean"]
    # One game won of four and the other tied: (1 + ½)/2; 6 and 7 in turn: (6.5 − 5)·2.
    assert (figure["mean"], figure["n"]) == ((0.75, 8) if name == "arena-hard" else (3.0, 4))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["arena-hard"], "judgments"),
        (["wildbench", "--judgments", "none.json"], "none.json"),
        (["arena-hard", "--judgments", "arena_hard.jsonl", "--control", "size"], "control"),
    ],
)
def test_a_fault_of_the_user_is_one_line(words, told, notus):
    code, said = notus("eval", *words)
    (line,) = said.err.strip().splitlines()
    assert code == 2
    assert told in line
