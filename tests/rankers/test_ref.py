"""Rankers and their text form, what they refer to, what is refused, and how another kind is added."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import notus
from notus.core.errors import ConfigError, InputError
from notus.rankers.kinds.length import LengthRanker
from notus.rankers.make import best_of, make_ranker
from notus.rankers.ref import RANKERS, RankerRef, ranker_kind
from notus.rankers.settings import EncoderShape
from tests.helpers.pairrm_examples import user

FORMS = {
    "length": ("length", None, None),
    "python:module.part:function": ("python", "module.part:function", None),
    "python:/a/b.py:function": ("python", "/a/b.py:function", None),
    "pairrm:runs/ranker": ("pairrm", "runs/ranker", None),
    "pairrm:owner/name@v1": ("pairrm", "owner/name@v1", None),
    "reward-model:owner/name": ("reward-model", "owner/name", None),
    "classifier:runs/guard#unsafe": ("classifier", "runs/guard#unsafe", None),
    "implicit:dpo@sft": ("implicit", "dpo", "sft"),
    "implicit:o/dpo@v1@o/sft@main": ("implicit", "o/dpo@v1", "o/sft@main"),
    "judge:gpt-4": ("judge", "gpt-4", None),
}


@pytest.mark.parametrize("text", FORMS)
def test_the_text_form_is_read_and_written(text):
    spec = RankerRef.read(text)
    assert (spec.kind, spec.model, spec.reference) == FORMS[text]
    assert str(spec) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lenght", "did you mean 'length'"),
        ("pairm:x", "did you mean 'pairrm'"),
        ("pairrm", "pairrm:MODEL"),
        ("length:x", "written length"),
        ("classifier:guard", "classifier:MODEL#LABEL"),
        ("classifier:#unsafe", "classifier:MODEL#LABEL"),
        ("implicit:dpo", "POLICY@REFERENCE"),
        ("implicit:a@", "POLICY@REFERENCE"),
        ("implicit:a/b@v1@c", "both a @revision or none"),
        ("python:function", "module:NAME"),
        ("judge:", "judge:NAME"),
    ],
)
def test_what_is_no_ranker_is_answered_with_the_right_form(text, words):
    with pytest.raises(ConfigError) as error:
        RankerRef.read(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", FORMS)
def test_what_is_read_of_a_mapping_is_written_as_the_text(text):
    kind, model, reference = FORMS[text]
    fields = {"kind": kind, "model": model, "reference": reference}
    ref = RankerRef.read({key: value for key, value in fields.items() if value is not None})
    assert ref == RankerRef.read(text) == RankerRef.model_validate_json(json.dumps(text))
    assert json.loads(ref.model_dump_json()) == text
    assert RankerRef.read(ref) is ref


REFERS = {
    "length": (),
    "python:module.part:function": (),
    "python:/a/b.py:function": ("/a/b.py",),
    "pairrm:runs/ranker": ("runs/ranker",),
    "implicit:o/dpo@v1@o/sft@main": ("o/dpo@v1", "o/sft@main"),
    "judge:gpt-4": (),
}


@pytest.mark.parametrize("text", REFERS)
def test_what_it_refers_to_stands_apart_and_comes_back(text):
    ref = RankerRef.read(text)
    assert ref.references == REFERS[text]
    assert RankerRef.read(ref.bare, *ref.references) == ref
    places = ("0.py", "1.py")[: len(ref.references)]
    other = ref.with_references(places)
    assert (other.kind, other.references) == (ref.kind, places)
    assert not any(place in ref.bare for place in ref.references)


def test_the_older_way_with_the_model_beside_the_kind_is_read():
    assert str(RankerRef.read("pairrm", "runs/a")) == "pairrm:runs/a"
    assert str(RankerRef.read("implicit", "a", "b")) == "implicit:a@b"
    assert str(RankerRef.read("python:f", "own.py")) == "python:own.py:f"
    with pytest.raises(ConfigError, match="name one"):
        RankerRef.read("pairrm:runs/a", "runs/b")
    with pytest.raises(ConfigError, match="written pairrm:MODEL"):
        RankerRef.read("pairrm", "runs/a", "runs/b")


def test_what_is_known_of_each_kind():
    kinds = {name: ranker_kind(name) for name in RANKERS.names}
    assert {name for name, kind in kinds.items() if kind.computes} == {
        "pairrm",
        "reward-model",
        "classifier",
        "implicit",
    }
    assert {name for name, kind in kinds.items() if kind.asks} == {"judge"}
    assert {name for name, kind in kinds.items() if kind.pointwise} == {
        "length",
        "reward-model",
        "classifier",
        "implicit",
        "checks",
    }
    assert all(kind.form.partition(":")[0] == name for name, kind in kinds.items())


IN_THE_PACKAGE = '''"""``shortest``: the answer with the fewest words."""

from notus.rankers.ref import RankerKind

__all__ = ["KIND"]

class Shortest:
    name = "shortest"
    def rank(self, prompts, candidates): return [[-float(len(text.split())) for text in own] for own in candidates]

KIND = RankerKind("shortest", lambda ref, means: Shortest(), pointwise=True)
'''
ASK = """
from notus.core.records import Message
from notus.rankers.make import make_ranker
print(make_ranker("shortest").rank([(Message(role="user", content="Q"),)], [["a b", "a"]]))
"""


def test_a_ranker_in_the_package_is_one_file(tmp_path):
    shutil.copytree(Path(notus.__file__).parent, tmp_path / "notus", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notus" / "rankers" / "kinds" / "shortest.py").write_text(IN_THE_PACKAGE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("[[-2.0, -1.0]]\n", "")


OUTSIDE = """
from notus.rankers.ref import RankerKind

def shortest(prompt, answers):
    return [-len(text) for text in answers]

class Longest:
    name = "longest"
    def __init__(self, unit): self.unit = {"words": str.split, "letters": str}[unit]
    def rank(self, prompts, candidates): return [[len(self.unit(text)) for text in own] for own in candidates]

KIND = RankerKind("longest:UNIT", lambda ref, means: Longest(ref.model), pointwise=True)
"""


@pytest.fixture
def _package(tmp_path, monkeypatch):
    """An installed package that registers a function, a kind with a form of its own, and what is no ranker."""
    (tmp_path / "other_rankers.py").write_text(OUTSIDE)
    about = tmp_path / "other_rankers-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-rankers\nVersion: 1\n")
    points = ["shortest = other_rankers:shortest", "longest = other_rankers:KIND", "odd = other_rankers:__doc__"]
    (about / "entry_points.txt").write_text("\n".join(["[notus.rankers]", *points]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("other_rankers", None)


@pytest.mark.usefixtures("_package")
def test_a_package_may_register_rankers():
    assert make_ranker("shortest").rank([user("Q")], [["aaa", "b"]]) == [[-3.0, -1.0]]
    assert make_ranker("longest:words").rank([user("Q")], [["aaa", "b c"]]) == [[1, 2]]
    assert RankerRef.read("longest:words").references == ()
    with pytest.raises(ConfigError, match="written longest:UNIT"):
        RankerRef.read("longest")
    with pytest.raises(ConfigError, match="'odd' is None"):
        RankerRef.read("odd")
    with pytest.raises(ConfigError, match="did you mean 'shortest'"):
        RankerRef.read("shortst")


def test_length_counts_characters():
    assert LengthRanker().rank([user("Q"), user("R")], [["a", "", "éé"], []]) == [[1.0, 0.0, 2.0], []]
    with pytest.raises(InputError):
        make_ranker("length").rank([user("Q")], [])


@pytest.mark.parametrize(
    ("scores", "best"), [([1.0, 3.0, 3.0], 1), ([None, -2.0, None], 1), ([None], None), ([], None), ([-1.0, -3.0], 0)]
)
def test_the_best_is_the_first_of_equals_and_never_one_without_a_score(scores, best):
    assert best_of(scores) == best


def test_a_judge_without_anybody_to_ask_is_refused():
    with pytest.raises(ConfigError, match="somebody to ask"):
        make_ranker("judge:me")


def test_shapes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="multiple of the heads"):
        EncoderShape.parse({"width": 30, "heads": 4}, where="test")
