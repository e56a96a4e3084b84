"""What a mapping can say, and how a wrong one is answered."""

from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.formats.format import Data
from notus.formats.mapping.targets import TARGETS, parse_mapping, read_options


@pytest.mark.parametrize(
    ("given", "record", "joins"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, Preference, False),
        ({"prompt": "q", "answers": "as.*"}, Feedback, False),
        ({"prompt": "q", "answers.text": "a", "answers.score": "s"}, Feedback, True),
        ({"prompt": "q", "answer_a": "a", "answer_b": "b", "winner": "w"}, Feedback, True),
        ({"prompt": "q", "answer_a": "a", "answer_b": "b", "answer_a.score": "s"}, Feedback, False),
        ({"prompt": "q", "answer": "a", "label": "l"}, Unpaired, False),
        ({"messages": "m", "label": "l"}, Unpaired, False),
        ({"messages": "m"}, Dialogue, False),
        ({"prompt": "q", "answer": "a"}, Dialogue, False),
        ({"prompt": "q"}, Dialogue, False),
    ],
)
def test_what_is_named_decides_what_rows_become(given: dict[str, Any], record: type[Data], joins: bool) -> None:
    found = parse_mapping(given)
    assert (found.record, found.joins) == (record, joins)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "empty"),
        ({"promt": "q"}, "did you mean 'prompt'"),
        ({"score_chosen": "s"}, "did you mean 'chosen.score'"),
        ({"model": "m"}, "answers.model"),
        ({"prompt.colour": "q"}, "no target 'prompt.colour'"),
        ({"prompt": "q", "chosen": "a"}, "no 'rejected'"),
        ({"prompt": "q", "answer_a": "a"}, "no 'answer_b'"),
        ({"prompt": "q", "winner": "w"}, "no 'answer_a'"),
        ({"prompt": "q", "label": "l"}, "no 'answer'"),
        ({"prompt": "q", "answer": "a", "answer.score": "s"}, "no 'label'"),
        ({"prompt": "q", "answers": "a", "answers.rationale": "r"}, "no 'answers.score'"),
        ({"prompt": "q", "answers": "a", "chosen": "c", "rejected": "r"}, "one of them"),
        ({"messages": "m", "prompt": "q"}, "messages and prompt"),
        ({"source": "s"}, "no record"),
        ({"prompt": "q", "answers": "a", "answers.text": "b"}, "twice"),
        ({"prompt": None}, "no path"),
        ({"prompt": {"column": "q", "colour": "red"}}, "unknown key 'colour'"),
        ({"prompt": {"column": "q", "value": "x"}}, "exactly one"),
        ({"prompt": {"column": "q", "scale": [1, 2]}}, "only a number has a scale"),
        ({"prompt": "q", "answers": "a", "answers.score": {"column": "s", "scale": [5, 1]}}, "[low, high]"),
        ({"prompt": "q", "answers": "a.*.b.*"}, "two stars"),
        ({"prompt": "q.*", "chosen": "a.*.b.*", "rejected": "c"}, "one at most"),
        ({"prompt": ["a.*", "b"]}, "differ in their stars"),
        (
            {"prompt": "q", "answer_a": "a", "answer_b": "b", "winner": {"column": "w", "values": "A"}},
            "values are given",
        ),
        (
            {"prompt": "q", "answer_a": "a", "answer_b": "b", "winner": {"column": "w", "values": "1/2/3/4"}},
            "a, b, tie in order",
        ),
    ],
)
def test_a_wrong_mapping_is_answered_in_one_line_before_anything_is_read(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_mapping(given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nested_names_are_the_same_as_dotted_ones() -> None:
    nested = parse_mapping({"prompt": "q", "answers": {"text": "a.*.t", "rating": {"tone": "a.*.g.tone"}}})
    dotted = parse_mapping({"prompt": "q", "answers.text": "a.*.t", "answers.rating.tone": "a.*.g.tone"})
    assert nested.given == dotted.given
    assert list(nested.entries) == ["prompt", "answers", "answers.rating.tone"]


def test_options_and_files_are_laid_over_one_another_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text("prompt: question\nchosen: good\nrejected: bad\n")
    found = read_options(
        [str(file), "chosen=outs.0.t", "system==Be brief: always # so", "winner={column: w, values: 0/1}"]
    )
    assert found == {
        "prompt": "question",
        "chosen": "outs.0.t",
        "rejected": "bad",
        "system": "=Be brief: always # so",
        "winner": {"column": "w", "values": "0/1"},
    }
    with pytest.raises(ConfigError, match="--map"):
        read_options(["prompt"])


def test_every_target_can_be_mapped() -> None:
    """Each stands with those that its record needs, and is then no error."""
    whole: dict[str, dict[str, Any]] = {
        "answers": {"prompt": "q", "answers": "a", "answers.score": "s", "answers.rating.ASPECT": "r"},
        "answer": {"prompt": "q", "answer": "a", "label": "l"},
        "label": {"prompt": "q", "answer": "a"},
        "messages": {},
        "chosen": {"prompt": "q", "chosen": "a", "rejected": "b"},
    }
    whole |= {"rejected": whole["chosen"], "margin": whole["chosen"]}
    whole["answer_a"] = {"prompt": "q", "answer_a": "a", "answer_b": "b", "answer_a.score": "s", "winner": "w"}
    whole["answer_a"]["answer_a.rating.ASPECT"] = "r"
    whole["winner"] = whole["answer_a"]
    for target in TARGETS:
        head, _, field = target.partition(".")
        given = whole.get(head, {"prompt": "q"}) | {target: "x"}
        if field == "text":
            del given[head]
        if field in ("role", "content"):
            given = {name: path for name, path in given.items() if name != head}
            given |= {f"{head}.role": "r.*", f"{head}.content": "c.*"}
        assert parse_mapping(given).entries, target
