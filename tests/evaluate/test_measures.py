"""Measures of answers: the user's ten lines, ours by name, what is refused and in which words, the counting."""

import sys
from importlib import metadata

import pytest

from notus.core.errors import ConfigError, DataError, InputError, RunError
from notus.core.records import Message, Output, Verdict
from notus.evaluate.measures import EVALUATIONS, Measure, count_verdicts, measure_outputs
from notus.stats.intervals import clustered_mean
from notus.toy.checker import verdict as toy_verdict

EXAMPLE = '''"""An evaluation of one's own: how many answers keep to ten words."""

from notus.core.records import Output


def short(output: Output) -> bool | None:
    """Whether an answer keeps to ten words; an empty one is not scored."""
    words = output.text.split()
    return len(words) <= 10 if words else None
'''


def output(text: str, prompt: str = "Why\nso?", sample: int = 0) -> Output:
    return Output(prompt=(Message(role="user", content=prompt),), text=text, model="m", sample=sample, seed=3)


def written(tmp_path, text, name="mine"):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return f"python:{path}:{name}"


def test_ten_lines_of_the_users_are_an_evaluation(tmp_path):
    answers = [output("Because."), output("word " * 11, sample=1), output(" ", "What?")]
    found = measure_outputs(written(tmp_path, EXAMPLE, "short"), answers)
    assert [(item.score, item.reason) for item in found] == [(1.0, ""), (0.0, ""), (None, "no-score")]
    assert {item.judge for item in found} == {"python:mine.py:short"}
    of = [(item.prompt_id, item.model, item.sample, item.seed) for item in found]
    assert of == [(item.prompt_id, "m", item.sample, 3) for item in answers]
    counted = count_verdicts(found)
    assert (counted.asked, counted.scored, counted.unscored, counted.mean) == (3, 2, {"no-score": 1}, None)


def test_a_verdict_may_give_its_reason_and_its_judge(tmp_path):
    name = written(
        tmp_path,
        "from notus.core.records import Verdict\n"
        "def mine(output):\n"
        "    score = None if '?' in output.text else 2\n"
        "    return Verdict(prompt_id='x', model='y', judge='me', score=score, reason='r')\n",
    )
    found = measure_outputs(name, [output("Yes."), output("What?")])
    assert [(item.judge, item.score, item.reason) for item in found] == [("me", 2.0, "r"), ("me", None, "r")]
    assert {(item.prompt_id, item.model) for item in found} == {(output("").prompt_id, "m")}


def test_every_kind_of_number_is_a_score(tmp_path):
    name = written(
        tmp_path,
        "from fractions import Fraction\nimport numpy as np\n"
        "VALUES = [np.float32(0.5), Fraction(1, 4), np.int64(2), True, np.bool_(False), None]\n"
        "def mine(output): return VALUES[output.sample]\n",
    )
    found = [item.score for item in measure_outputs(name, [output("a", sample=n) for n in range(6)])]
    assert found == [0.5, 0.25, 2.0, 1.0, 0.0, None]
    assert {type(score) for score in found} == {float, type(None)}


def test_ours_are_known_by_name():
    answers = [output("The capital of France is Paris.", "What is the capital of France?"), output("Hm.", "Why?")]
    assert measure_outputs("toy", answers) == measure_outputs("miniature", answers) == list(map(toy_verdict, answers))
    assert [item.score for item in measure_outputs("length", answers)] == [31.0, 3.0]
    with pytest.raises(ConfigError, match=r"no evaluation 'lenght'.*'length'"):
        Measure("lenght")


def test_an_installed_package_adds_one(tmp_path, monkeypatch):
    (tmp_path / "measures_of_theirs.py").write_text("def one(output):\n    return 1 / len(output.text)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [metadata.EntryPoint("measures_of_theirs", "measures_of_theirs:one", EVALUATIONS.group)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == EVALUATIONS.group else [])
    assert measure_outputs("measures_of_theirs", [output("ab")])[0].score == 0.5
    with pytest.raises(
        InputError,
        match=rf"evaluation measures_of_theirs failed.*{tmp_path}/measures_of_theirs\.py:2: ZeroDivisionError",
    ):
        measure_outputs("measures_of_theirs", [output("")])
    sys.modules.pop("measures_of_theirs")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", ("ZeroDivisionError: division by zero", "mine.py:2")),
        ("import json; json.loads('{')", ("JSONDecodeError", "mine.py:2")),  # raised in a library, by this line
        ("return float('nan')", ("gave nan", "finite number", "mine.py:1")),
        ("return float('inf')", ("gave inf", "finite number", "mine.py:1")),
        ("return 'good'", ("gave 'good'", "takes an Output", "mine.py:1")),
        ("return [1.0]", ("gave [1.0]", "takes an Output", "mine.py:1")),
    ],
)
def test_what_a_measure_does_wrong_is_one_line_with_prompt_and_place(tmp_path, body, words):
    name = written(tmp_path, f"def mine(output):\n    {body}\n")
    with pytest.raises((InputError, DataError)) as error:
        measure_outputs(name, [output("a")])
    for part in (*words, "evaluation python:mine.py:mine", r"'Why\nso?'"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_errors_of_notus_pass_through(tmp_path):
    name = written(
        tmp_path, "from notus.core.errors import RunError\ndef mine(output): raise RunError('the server is away')\n"
    )
    with pytest.raises(RunError, match=r"^the server is away$"):
        measure_outputs(name, [output("a")])


def test_the_mean_is_over_prompts_as_clusters():
    scores = [("a", 1.0), ("a", 0.0), ("b", 1.0), ("c", None), ("c", None), ("d", 0.0)]
    verdicts = [
        Verdict(prompt_id=prompt, model="m", judge="j", score=score, reason="cut" if number == 3 else "")
        for number, (prompt, score) in enumerate(scores)
    ]
    found = count_verdicts(verdicts)
    assert (found.asked, found.scored, found.unscored) == (6, 4, {"cut": 1, "no-score": 1})
    assert found.mean == clustered_mean([1.0, 0.0, 1.0, 0.0], ["a", "a", "b", "d"])
