"""Rows that a mapping reads, and rows that it puts aside: with the path, the rule and the value."""

import json
from pathlib import Path
from typing import Any

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Feedback, Message, Preference, Scale, Unpaired
from notus.core.stage import Tally
from notus.formats.format import Data
from notus.formats.lookup import format_named
from notus.formats.mapping.decode import mapping_name
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.source import Source, open_source, write_jsonl

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}
VOTE = {"prompt": "q", "answer_a": "x", "answer_b": "y", "winner": {"column": "won", "values": {"1": "a", "2": "b"}}}
LISTED = {"prompt": "q", "answers": "outs.*.text", "answers.score": "outs.*.stars"}


def u(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def a(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def decode(given: dict[str, Any], row: dict[str, Any]) -> Any:
    return format_named(mapping_name(given)).decode(row)


def opened(tmp_path: Path, rows: list[Any], given: dict[str, Any]) -> Source:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return open_source(str(tmp_path / "rows.jsonl"), format=mapping_name(given))


@pytest.mark.parametrize(
    ("given", "row", "field", "rule"),
    [
        (PAIR, {"good": "x", "bad": "y"}, "q", "missing-field"),
        (PAIR, {"q": "?", "good": None, "bad": "y"}, "good", "missing-field"),
        (PAIR, {"q": "?", "good": ["x"], "bad": "y"}, "good", "wrong-type"),
        (PAIR | {"prompt": "info.post"}, {"info": "text", "good": "x", "bad": "y"}, "info.post", "missing-field"),
        (PAIR | {"chosen.score": "s"}, {"q": "?", "good": "x", "bad": "y", "s": "high"}, "s", "not-a-number"),
        (VOTE, {"q": "?", "x": "1", "y": "2", "won": 3}, "won", "unknown-vote"),
        (VOTE, {"q": "?", "x": "1", "y": "2", "won": None}, "won", "missing-field"),
        (VOTE | {"winner": "won"}, {"q": "?", "x": "1", "y": "2", "won": "left"}, "won", "unknown-vote"),
        (LISTED, {"q": "?", "outs": []}, "outs.*.text", "no-completion"),
        (LISTED, {"q": "?", "outs": [{"stars": 3}]}, "outs.*.text", "missing-field"),
        (LISTED | {"answers.score": "s.*"}, {"q": "?", "outs": [{"text": "x"}], "s": [1, 2]}, "s.*", "length-mismatch"),
        ({"prompt": "q", "answer": "x", "label": "l"}, {"q": "?", "x": "y", "l": "maybe"}, "l", "unknown-value"),
        (
            {"messages.role": {"column": "t.*.who", "values": {"me": "user"}}, "messages.content": "t.*.said"},
            {"t": [{"who": "you", "said": "?"}]},
            "t.*.who",
            "unknown-role",
        ),
        (
            LISTED | {"answers.score": {"column": "outs.*.stars", "scale": [1, 5]}},
            {"q": "?", "outs": [{"text": "x", "stars": 7}]},
            "outs.*.stars",
            "out-of-range",
        ),
    ],
)
def test_a_row_that_lacks_something_is_put_aside_with_its_path_and_rule(
    given: dict[str, Any], row: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(RowError) as error:
        decode(given, row)
    assert (error.value.field, error.value.rule) == (field, rule)


def test_a_path_that_some_rows_lack_costs_those_rows(tmp_path: Path) -> None:
    rows = [{"q": "?", "good": "x", "bad": "y"}, {"q": "?", "good": "x"}, {"good": "x", "bad": "y"}]
    tally, quarantine = Tally("read"), Quarantine()
    assert len(list(opened(tmp_path, rows, PAIR).records(tally, quarantine))) == 1
    assert quarantine.counts == {"missing-field": 2}
    assert tally.taken == tally.given + len(tally.dropped) == 3


def test_a_path_that_no_row_has_is_told_before_anything_is_read(tmp_path: Path) -> None:
    rows = [{"question": "?", "good": "x", "bad": "y"}] * 3
    with pytest.raises(ConfigError) as error:
        opened(tmp_path, rows, PAIR | {"prompt": "quesion"})
    assert "none of the 3 rows has 'quesion'" in str(error.value)
    assert "'question'" in str(error.value)


def test_a_list_is_not_taken_for_one_answer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write 'outs\.\*'"):
        opened(tmp_path, [{"q": "?", "outs": ["x", "y"]}], {"prompt": "q", "answers": "outs"})


@pytest.mark.parametrize("nothing", [None, "", "N/A", "n/a", float("nan")])
def test_a_score_that_is_none_costs_that_score(nothing: object) -> None:
    found = decode(LISTED, {"q": "?", "outs": [{"text": "x", "stars": nothing}, {"text": "y", "stars": "4"}]})
    assert [[each.value for each in answer.ratings] for answer in found.completions] == [[None], [4.0]]


def test_a_score_that_is_missing_costs_that_score() -> None:
    found = decode(LISTED, {"q": "?", "outs": [{"text": "x"}, {"text": "y", "stars": 4}]})
    assert [[each.value for each in answer.ratings] for answer in found.completions] == [[None], [4.0]]
    none = decode(LISTED | {"answers.score": "stars.*"}, {"q": "?", "outs": [{"text": "x"}, {"text": "y"}]})
    assert [answer.ratings for answer in none.completions] == [(), ()]


def test_all_that_no_target_names_stays_where_it_stood() -> None:
    row = {
        "q": "?",
        "day": 3,
        "outs": [{"text": "x", "stars": 1, "ms": 7}, {"text": "y", "stars": 2}],
        "info": {"k": 1},
    }
    found = decode(LISTED, row)
    assert found.extra == {"day": 3, "info": {"k": 1}}
    assert [answer.extra for answer in found.completions] == [{"ms": 7}, {}]
    pair = decode(PAIR | {"prompt": "info.post"}, {"info": {"post": "?", "id": 4}, "good": "x", "bad": "y", "w": None})
    assert pair.extra == {"info": {"id": 4}, "w": None}


def test_two_values_that_mean_the_same_are_kept_as_they_were() -> None:
    values = {"a": "a", "b": "b", "tie": "tie", "tie (bothbad)": "tie"}
    found = decode(
        VOTE | {"winner": {"column": "won", "values": values}}, {"q": "?", "x": "1", "y": "2", "won": "tie (bothbad)"}
    )
    assert found.rankings[0].ranks == (1, 1)
    assert found.extra == {"won": "tie (bothbad)"}


def test_a_scale_is_kept_with_each_score() -> None:
    given = LISTED | {"answers.score": {"column": "outs.*.stars", "scale": [1, 10]}}
    found = decode(given, {"q": "?", "outs": [{"text": "x", "stars": 7}]})
    assert found.completions[0].ratings[0].scale == Scale(low=1, high=10)


def test_a_text_that_looks_like_json_is_no_message() -> None:
    said = json.dumps([{"a": 1}])
    assert decode(PAIR, {"q": "?", "good": said, "bad": "2"}).chosen[0].content == said


def test_a_column_with_a_dot_in_its_name_is_found_first() -> None:
    row = {"info.post": "dotted", "info": {"post": "nested"}, "good": "x", "bad": "y"}
    assert decode(PAIR | {"prompt": "info.post"}, row).prompt[0].content == "dotted"


def test_votes_of_one_prompt_are_joined_wherever_they_stand(tmp_path: Path) -> None:
    def vote(q: str, won: int, who: str) -> dict[str, Any]:
        return {"q": q, "x": f"{q} x", "y": f"{q} y", "won": won, "who": who}

    rows = [vote("1", 1, "ann"), vote("2", 2, "ann"), vote("1", 2, "bo")]
    tally = Tally("read")
    found: list[Any] = list(opened(tmp_path, rows, VOTE | {"rater": "who"}).records(tally, Quarantine()))
    told = [[(vote.ranks, vote.rater) for vote in each.rankings] for each in found]
    assert told == [[((1, 2), "ann"), ((2, 1), "bo")], [((2, 1), "ann")]]
    assert [len(each.completions) for each in found] == [2, 2]
    assert tally.counts["row-joined"] == 1


def test_a_mapping_is_the_same_format_however_it_is_written() -> None:
    nested = {"prompt": "q", "answers": {"text": "outs.*.text", "score": "outs.*.stars"}}
    dotted = {"prompt": "q", "answers.text": "outs.*.text", "answers.score": "outs.*.stars"}
    assert mapping_name(nested) == mapping_name(dotted) != mapping_name(dotted | {"source": "s"})


KINDS: dict[str, tuple[type[Data], dict[str, Any], dict[str, Any]]] = {
    "distilabel": (
        Feedback,
        {"prompt": "instruction", "answers": "generations.*", "answers.model": "generation_models.*"}
        | {"answers.score": "ratings.*", "answers.rationale": "rationales.*"},
        {"instruction": "Q?", "generations": ["good", "bad"], "generation_models": ["m", "n"], "ratings": [5, None]}
        | {"rationales": ["r", None]},
    ),
    "intel-orca": (
        Preference,
        {"system": "system", "prompt": "input", "chosen": "chosen", "rejected": "rejected"}
        | {"chosen.score": "rating.0", "rejected.score": "rating.1"},
        {"system": "S", "input": "Q?", "chosen": "good", "rejected": "bad", "rating": [9.0, 3.0], "status": "same"},
    ),
    "axolotl": (
        Preference,
        {"prompt": "messages", "chosen": "chosen", "rejected": "rejected"},
        {"messages": [u("Q?")], "chosen": a("good"), "rejected": a("bad")},
    ),
    "openai": (
        Preference,
        {"prompt": "input.messages", "chosen": "preferred_output", "rejected": "non_preferred_output"},
        {"input": {"messages": [u("Q?")]}, "preferred_output": [a("good")], "non_preferred_output": [a("bad")]},
    ),
    "helpsteer3": (
        Feedback,
        {"prompt": "context", "answer_a": "response1", "answer_b": "response2"}
        | {"winner": {"column": "overall_preference", "values": {"-2": "a", "2": "b", "0": "tie"}}},
        {"context": [u("Q?")], "response1": "good", "response2": "bad", "overall_preference": -2},
    ),
    "trl-prompt-completion": (
        Dialogue,
        {"prompt": "prompt", "answer": "completion"},
        {"prompt": [u("Q?")], "completion": [a("good")]},
    ),
    "alpaca": (
        Dialogue,
        {"prompt": ["instruction", "input"], "answer": "output"},
        {"instruction": "Q?", "input": "", "output": "good"},
    ),
    "json-text": (
        Preference,
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        {"prompt": "Q?", "chosen": json.dumps([u("Q?"), a("good")]), "rejected": json.dumps([u("Q?"), a("bad")])},
    ),
    "null-rating": (
        Feedback,
        {"prompt": "instruction", "answers": "completions.*.response"}
        | {"answers.rating.honesty": "completions.*.annotations.honesty.Rating"},
        {"instruction": "Q?", "completions": [{"response": "good", "annotations": {"honesty": {"Rating": None}}}]},
    ),
}
"""Kinds of files that teams have: what they become, the mapping, a row."""


@pytest.mark.parametrize("name", KINDS)
def test_files_that_teams_have_are_read_by_a_mapping(name: str) -> None:
    kind, given, row = KINDS[name]
    found = decode(given, row)
    assert type(found) is kind
    asked = found.messages[:-1] if isinstance(found, Dialogue) else found.prompt
    assert asked[-1] == Message(role="user", content="Q?")
    if isinstance(found, Preference):
        good = found.chosen
    elif isinstance(found, Feedback):
        good = found.completions[0].answer
    else:
        good = found.messages[-1:]
    assert good == (Message(role="assistant", content="good"),)


def test_a_label_or_a_score_beside_a_conversation() -> None:
    turns = [u("Q?"), a("good")]
    found = decode({"messages": "m", "label": {"column": "thumb", "values": "up/down"}}, {"m": turns, "thumb": "down"})
    assert isinstance(found, Unpaired)
    assert (found.desirable, found.answer[0].content, found.prompt[0].content) == (False, "good", "Q?")
    rated = decode({"answers": "m", "answers.score": "s"}, {"m": turns, "s": 4})
    assert (rated.prompt[0].content, rated.completions[0].text, rated.completions[0].mean_rating) == ("Q?", "good", 4)


@pytest.mark.parametrize(("vote", "ranks"), [("a", (1, 2, 2)), ("b", (2, 1, 2)), ("C", (2, 2, 1)), ("tie", (1, 1, 1))])
def test_a_vote_for_one_of_a_list_is_its_letter(vote: str, ranks: tuple[int, ...]) -> None:
    given = {"prompt": "q", "answers": "outs.*.text", "winner": "won"}
    record = decode(given, {"q": "?", "outs": [{"text": text} for text in "xyz"], "won": vote})
    assert record.rankings[0].ranks == ranks
