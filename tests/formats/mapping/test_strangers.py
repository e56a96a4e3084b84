"""Files of kinds that no format knows, as a stranger brings them: from the file by the offered mapping to pairs."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import notus
from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Feedback
from notus.formats.mapping.decode import mapped_format, mapping_name
from notus.formats.mapping.look import look_at
from notus.formats.quarantine import RowError
from notus.formats.source import tables_of


def offered(path: Path, split: str | None = None) -> tuple[Any, list[Any]]:
    """The mapping that is offered, and the records that it makes."""
    tried = look_at(tables_of(str(path), split=split)).suggestion
    assert tried is not None
    assert (tried.read, tried.fault) == (tried.of, "")
    return tried, list(notus.read(path, map=tried.map, split=split))


def test_a_form_of_votes(tmp_path: Path) -> None:
    asked = "Which response is better?"
    rows = [
        ["Timestamp", "Email", "Prompt", "Response 1", "Response 2", asked, "Comments (optional)"],
        ["2025/01/01 10:00:00 AM", "ann@x.org", "How?", "Like so.", "No.", "Response 1", ""],
        ["2025/01/01 10:01:00 AM", "bo@x.org", "How?", "Like so.", "No.", "Response 2", "meh"],
        ["2025/01/01 10:02:00 AM", "cy@x.org", "How?", "Like so.", "No.", "Response 1", ""],
        ["2025/01/01 10:03:00 AM", "ann@x.org", "Why?", "Thus.", "Dunno.", "They are about the same", ""],
    ]
    with (tmp_path / "form.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    _, records = offered(tmp_path / "form.csv")
    assert [[(vote.rater, vote.ranks) for vote in record.rankings] for record in records] == [
        [("ann@x.org", (1, 2)), ("bo@x.org", (2, 1)), ("cy@x.org", (1, 2))],
        [("ann@x.org", (1, 1))],
    ]
    (pair,) = notus.binarize(notus.read(tmp_path / "form.csv", map=offered(tmp_path / "form.csv")[0].map))
    assert (pair.chosen[0].content, pair.extra["votes"]) == ("Like so.", {"chosen": 2, "rejected": 1, "tied": 0})


def test_a_form_whose_questions_are_its_columns_is_not_guessed_at(tmp_path: Path) -> None:
    names = [
        f"Question {n}: Which answer is better? [How do I cook {what}?]" for n, what in enumerate(("rice", "eggs"))
    ]
    with (tmp_path / "form.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Timestamp", *names], ["t", "Answer A", "Answer B"], ["t", "Answer A", "Both"]])
    assert look_at([(tmp_path / "form.csv", "")]).suggestion is None


def test_a_table_of_tabs_with_quotes_and_answers_under_their_models(tmp_path: Path) -> None:
    (tmp_path / "ab.tsv").write_text(
        "id\tinstruction\tmodel A\tmodel B\tbetter?\tannotator\n"
        '1\tSay "hello" in words\tHe said "hi" to me.\t"Hello, you ""two"""\tA\tann\n'
        '2\tExplain 5" pipes\tA 5" pipe is wide.\tNo idea at all.\tB\tbo\n'
        "3\tCompare both\tok it is\tfine it is\ttie\tann\n"
    )
    _, records = offered(tmp_path / "ab.tsv")
    assert [item.text for item in records[0].completions] == ['He said "hi" to me.', 'Hello, you "two"']
    assert records[1].prompt[0].content == 'Explain 5" pipes'
    assert [record.rankings[0].ranks for record in records] == [(1, 2), (2, 1), (1, 1)]


def test_traces_with_scores_by_name(tmp_path: Path) -> None:
    traces = [
        {
            "id": f"t{n}",
            "input": {
                "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"How {n // 2}?"}]
            },
            "output": {"role": "assistant", "content": f"So {n}."},
            "metadata": {"model": "m"},
            "scores": [
                {"name": "tone", "value": n % 2, "source": "API"},
                {"name": "helpfulness", "value": 0.25 * n, "source": "EVAL"},
            ],
        }
        for n in range(4)
    ]
    (tmp_path / "traces.json").write_text(json.dumps(traces))
    tried, records = offered(tmp_path / "traces.json")
    assert tried.map["answers.rating.*"] == {"column": "scores.*.value", "named": "scores.*.name"}
    found = [[(r.aspect, r.value) for r in item.ratings] for record in records for item in record.completions]
    assert found == [[("tone", n % 2), ("helpfulness", 0.25 * n)] for n in range(4)]
    assert [turn.role for turn in records[0].prompt] == ["system", "user"]
    more = tried.map | {"answers.rater": "scores.*.source"}
    first = next(iter(notus.read(tmp_path / "traces.json", map=more)))
    assert isinstance(first, Feedback)
    assert [rating.rater for rating in first.completions[0].ratings] == ["API", "EVAL"]


def test_a_score_in_a_list_needs_its_name() -> None:
    mapping = {"prompt": "q", "answers.text": "a", "answers.rating.*": {"column": "s.*.v", "named": "s.*.n"}}
    decode = mapped_format(mapping_name(mapping).removeprefix("map:")).decode
    twice = decode({"q": "Why?", "a": "So.", "s": [{"n": "x", "v": 1, "k": 0}, {"n": "x", "v": 2}]})
    assert isinstance(twice, Feedback)
    assert [(rating.aspect, rating.value) for rating in twice.completions[0].ratings] == [("x", 1), ("x", 2)]
    assert twice.completions[0].extra == {"s": [{"k": 0}, {}]}
    with pytest.raises(RowError, match="has no name"):
        decode({"q": "Why?", "a": "So.", "s": [{"v": 1}]})
    for more, says in (
        ({"answers.score": {"column": "s.*.v", "named": "s.*.n"}}, "aspects are named"),
        ({"answers.rating.*": {"column": "s.*.v", "named": "n"}}, "must have the stars"),
    ):
        with pytest.raises(ConfigError, match=says):
            mapping_name({"prompt": "q", "answers.text": "a", **more})


def test_conversations_under_other_names_and_a_word_on_the_thumbs_beside_them(tmp_path: Path) -> None:
    talks = [
        {
            "conversation_id": f"c{n}",
            "messages": [
                {"sender": "user", "text": f"Hello {n}"},
                {"sender": "bot", "text": "Hello there.", "feedback": {"thumb": "up" if n % 2 else "down"}},
            ],
        }
        for n in range(4)
    ]
    (tmp_path / "log.json").write_text(json.dumps({"exported": "today", "conversations": talks}))
    tried, records = offered(tmp_path / "log.json", "conversations")
    assert all(isinstance(record, Dialogue) for record in records)
    assert [(turn.role, turn.content) for turn in records[3].messages] == [
        ("user", "Hello 3"),
        ("assistant", "Hello there."),
    ]
    assert tried.beside == ("messages.*.feedback.thumb",)
