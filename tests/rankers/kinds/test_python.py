"""Functions and classes of the user's as rankers: what they score, and one line for all that can go wrong in them."""

import sys
from fractions import Fraction

import pytest

from notus.core.errors import ConfigError, DataError, InputError, RunError
from notus.rankers.make import make_ranker
from tests.helpers.pairrm_examples import user


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "check.py"
    path.write_text(
        "def sums(prompt, answers):\n"
        "    wanted = str(sum(int(word) for word in prompt[-1].content.split('+')))\n"
        "    return [None if not a else int(a == wanted) for a in answers]\n"
        "def short(prompt, answers): return [1.0]\n"
        "def odd(prompt, answers): return [float('nan') for _ in answers]\n"
        "def text(prompt, answers): return 'ab'\n"
        "def divides(prompt, answers): return [inverse(answer) for answer in answers]\n"
        "def inverse(answer):\n"
        "    return 1 / len(answer[5:])\n"
        "def alone(): return []\n"
        "def parses(prompt, answers):\n"
        "    import json\n"
        "    return json.loads('[1,')\n"
    )
    return path


def test_a_function_of_the_users_is_called_once_for_each_prompt(program):
    ranker = make_ranker(f"python:{program}:sums")
    assert ranker.rank([user("1+2"), user("2+2")], [["3", "4", ""], ["4"]]) == [[1.0, 0.0, None], [1.0]]
    assert ranker.name == "python:check.py:sums"


def test_a_function_of_an_installed_module(monkeypatch, program):
    monkeypatch.syspath_prepend(str(program.parent))
    try:
        assert make_ranker("python:check:sums").rank([user("1+1")], [["2"]]) == [[1.0]]
    finally:
        sys.modules.pop("check", None)


@pytest.mark.parametrize(
    ("name", "line", "words"), [("short", 4, "[1.0] for 2 answers"), ("odd", 5, "finite"), ("text", 6, "for 2 answers")]
)
def test_what_is_no_score_is_refused_with_its_prompt_and_the_place(program, name, line, words):
    with pytest.raises(DataError) as error:
        make_ranker(f"python:{program}:{name}").rank([user("1")], [["a", "b"]])
    for part in (words, f"python:check.py:{name}", f"{program}:{line}", "prompt '1'"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("divides", 9, "ZeroDivisionError: division by zero"),
        ("alone", 10, "TypeError: alone() takes 0 positional arguments"),
        ("parses", 13, "JSONDecodeError"),  # raised in a library, by this line of the user's
    ],
)
def test_what_the_function_raises_is_one_line_with_the_place_in_its_file(program, name, line, words):
    with pytest.raises(InputError) as error:
        make_ranker(f"python:{program}:{name}").rank([user("Why\nso?")], [["a", "b"]])
    for part in (words, f"python:check.py:{name}", f"at {program}:{line}:", "(prompt, answers)", r"'Why\nso?'"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_errors_of_notus_and_an_interrupt_pass_through(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from notus.core.errors import RunError\n"
        "def own(prompt, answers): raise RunError('the server is away')\n"
        "def stop(prompt, answers): raise KeyboardInterrupt\n"
    )
    with pytest.raises(RunError, match=r"^the server is away$"):
        make_ranker(f"python:{path}:own").rank([user("Q")], [["a"]])
    with pytest.raises(KeyboardInterrupt):
        make_ranker(f"python:{path}:stop").rank([user("Q")], [["a"]])


def test_every_kind_of_real_number_is_a_score(tmp_path):
    path = tmp_path / "kinds.py"
    path.write_text(
        "from fractions import Fraction\nimport numpy as np\n"
        "def f(prompt, answers): return (np.float32(0.5), Fraction(1, 4), np.int64(2), True, None)\n"
    )
    (scores,) = make_ranker(f"python:{path}:f").rank([user("Q")], [list("abcde")])
    assert scores == [0.5, float(Fraction(1, 4)), 2.0, 1.0, None]
    assert {type(score) for score in scores} == {float, type(None)}


CLASS = """
class Own:
    def __init__(self): self.calls = 0
    def rank(self, prompts, answers):
        self.calls += 1
        return [[len(text) * 10 ** self.calls for text in own] for own in answers]
class Odd:
    def rank(self, prompts, answers): return [[1.0]] * len(answers)
class Few:
    def rank(self, prompts, answers): return []
class Fails:
    def rank(self, prompts, answers): return 1 / 0
class Takes:
    def __init__(self, settings): pass
    def rank(self, prompts, answers): return []
class None_: pass
"""


@pytest.fixture
def classes(tmp_path):
    (tmp_path / "own.py").write_text(CLASS)
    return tmp_path / "own.py"


def test_a_class_of_the_users_is_made_once_and_takes_all_prompts_at_once(classes):
    ranker = make_ranker(f"python:{classes}:Own")
    assert ranker.rank([user("Q"), user("R")], [["a", "bb"], []]) == [[10.0, 20.0], []]
    assert ranker.rank([user("Q")], [["a"]]) == [[100.0]]
    with pytest.raises(InputError, match="a list for each prompt"):
        ranker.rank([user("Q")], [])


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("Odd", DataError, "for 2 answers for the prompt 'Q'"),
        ("Few", DataError, "for 1 prompts"),
        ("Fails", InputError, "own.py:12: ZeroDivisionError"),
        ("Takes", ConfigError, "made without arguments"),
        ("None_", ConfigError, "no method 'rank'"),
    ],
)
def test_what_is_wrong_with_a_class_is_one_line(classes, name, error, words):
    with pytest.raises(error) as told:
        make_ranker(f"python:{classes}:{name}").rank([user("Q")], [["a", "b"]])
    assert words in str(told.value)
    assert name in str(told.value)
    assert "\n" not in str(told.value)


def test_what_cannot_be_read_is_told_with_its_place(program, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'sums'"):
        make_ranker(f"python:{program}:sum_s")
    with pytest.raises(ConfigError, match="no file"):
        make_ranker(f"python:{tmp_path}/other.py:f")
    with pytest.raises(ConfigError, match=r"no module 'nowhere'.*FILE\.py"):
        make_ranker("python:nowhere.deeper:f")
    texts = {"broken": "def f(:\n", "fails": "\nx = 1 / 0\n", "lacks": "\n\nimport nowhere_at_all\n"}
    monkeypatch.syspath_prepend(str(tmp_path))
    for line, (name, text) in enumerate(texts.items(), 1):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        for target, words in ((path, f"cannot read {path}"), (name, f"cannot import '{name}'")):
            with pytest.raises(ConfigError) as error:
                make_ranker(f"python:{target}:f")
            assert words in str(error.value)
            assert f"at {path}:{line}: " in str(error.value)
