"""Nested rows in shapes of our own, read by a mapping and again by a few lines of plain code: both say the same."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.stage import Tally
from notus.formats.lookup import format_named
from notus.formats.mapping.decode import mapping_name
from notus.formats.mapping.targets import parse_mapping
from notus.formats.quarantine import Quarantine, RowError
from notus.formats.source import open_source, write_jsonl

Rows = list[dict[str, Any]]
DRAW = random.Random(16)
N = 12


def text(kind: str, number: int) -> str:
    return f"{kind} {number}: {DRAW.choice(['short', 'a longer one', 'with 7 of them', 'ä, ö and 東京'])}"


def plain(record: Any) -> tuple[Any, ...]:
    """A record as plain values, to be compared."""
    if isinstance(record, Dialogue):
        return tuple((turn.role, turn.content) for turn in record.messages)
    prompt = tuple((turn.role, turn.content) for turn in record.prompt)
    if isinstance(record, Unpaired):
        return prompt, record.answer[0].content, record.desirable, record.score
    if isinstance(record, Preference):
        sides = ((record.chosen, record.score_chosen), (record.rejected, record.score_rejected))
        return prompt, *((turns[0].content, score) for turns, score in sides), record.margin
    assert isinstance(record, Feedback)
    answers = {
        (answer.text, answer.model): tuple((each.aspect, each.value, each.rater) for each in answer.ratings)
        for answer in record.completions
    }
    return prompt, answers, tuple((vote.ranks, vote.rater) for vote in record.rankings)


@dataclass(frozen=True)
class Shape:
    """Rows of one shape, the mapping for them, and the plain reader."""

    rows: Rows
    map: dict[str, Any]
    read: Callable[[Rows], list[tuple[Any, ...]]]


def user(said: str) -> tuple[tuple[str, str], ...]:
    return (("user", said),)


def chat_logs() -> Shape:
    rows = [
        {
            "log": {"turns": [{"who": "Customer", "said": text("q", n)}, {"who": "Agent", "said": text("a", n)}]},
            "thumb": DRAW.choice(["up", "down"]),
        }
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        turns = [[turn["said"] for turn in row["log"]["turns"]] for row in rows]
        return [(user(q), a, row["thumb"] == "up", None) for (q, a), row in zip(turns, rows, strict=True)]

    roles = {"column": "log.turns.*.who", "values": {"Customer": "user", "Agent": "assistant"}}
    mapping = {"messages": {"role": roles, "content": "log.turns.*.said"}}
    return Shape(rows, mapping | {"label": {"column": "thumb", "values": "up/down"}}, read)


def by_model() -> Shape:
    rows = []
    for n in range(N):
        stars = {"oak": 1 + n % 5, "elm": None if n % 4 == 0 else 3}
        rows.append({"q": text("q", n), "said": {"elm": text("e", n), "oak": text("o", n)}, "stars": stars})

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        return [
            (
                user(row["q"]),
                {(said, name): (("overall", row["stars"][name], ""),) for name, said in row["said"].items()},
                (),
            )
            for row in rows
        ]

    mapping = {"prompt": "q", "answers": "said.*", "answers.model": {"names": "said"}, "answers.score": "stars.*"}
    return Shape(rows, mapping, read)


def several_raters() -> Shape:
    def rated(n: int, of: str) -> dict[str, Any]:
        ratings = [{"by": by, "stars": DRAW.choice([1, 5, "4", "N/A", None])} for by in ("ann", "bo")[: 1 + n % 2]]
        return {"out": {"text": text(of, n)}, "ratings": ratings, "seconds": n}

    rows = [{"task": {"ask": text("q", n)}, "outs": [rated(n, "x"), rated(n + 1, "y")]} for n in range(N)]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        def value(stars: Any) -> float | None:
            return None if stars in (None, "N/A") else float(stars)

        found = []
        for row in rows:
            answers = {
                (out["out"]["text"], ""): tuple(
                    ("overall", value(each["stars"]), each["by"]) for each in out["ratings"]
                )
                for out in row["outs"]
            }
            found.append((user(row["task"]["ask"]), answers, ()))
        return found

    mapping = {"prompt": "task.ask", "answers.text": "outs.*.out.text"}
    return Shape(
        rows, mapping | {"answers.score": "outs.*.ratings.*.stars", "answers.rater": "outs.*.ratings.*.by"}, read
    )


def wide_table() -> Shape:
    rows: Rows = []
    for n in range(N):
        row: dict[str, Any] = {"Question": text("q", n), "Answer 1": text("x", n), "Answer 2": text("y", n)}
        rows.append(
            row | {"Answer 3": None if n % 3 else text("z", n), "Score 1": 4, "Score 2": "2.5", "Score 3": None}
        )

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        found = []
        for row in rows:
            answers = {(row[f"Answer {at}"], ""): (("overall", value, ""),) for at, value in ((1, 4.0), (2, 2.5))}
            if row["Answer 3"] is not None:
                answers[row["Answer 3"], ""] = (("overall", None, ""),)
            found.append((user(row["Question"]), answers, ()))
        return found

    sides = {f"answer_{letter}": f"Answer {at}" for at, letter in enumerate("abc", 1)}
    scores = {f"answer_{letter}.score": f"Score {at}" for at, letter in enumerate("abc", 1)}
    return Shape(rows, {"prompt": "Question"} | sides | scores, read)


def json_cells() -> Shape:
    rows = [
        {
            "task": json.dumps({"text": text("q", n), "lang": "en"}),
            "cands": json.dumps([text("x", n), text("y", n)]),
            "marks": json.dumps([n, None]),
        }
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        found = []
        for row in rows:
            cells = {name: json.loads(cell) for name, cell in row.items()}
            pairs = zip(cells["cands"], cells["marks"], strict=True)
            found.append((user(cells["task"]["text"]), {(c, ""): (("overall", m, "robin"),) for c, m in pairs}, ()))
        return found

    mapping = {"prompt": "task.text", "answers": "cands.*", "answers.score": "marks.*", "rater": "=robin"}
    return Shape(rows, mapping, read)


def ranked_rows() -> Shape:
    rows = [
        {"q": f"q {n % 4}", "reply": f"r {n % 4} {n // 4}", "place": DRAW.randrange(3), "judge": "hal"}
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        found = []
        for q in dict.fromkeys(row["q"] for row in rows):
            own = [row for row in rows if row["q"] == q]
            ranks = tuple(1 + sum(other["place"] < row["place"] for other in own) for row in own)
            found.append((user(q), {(row["reply"], ""): () for row in own}, ((ranks, "hal"),)))
        return found

    mapping = {"prompt": "q", "answers.text": "reply", "answers.rank": "place", "rater": "judge"}
    return Shape(rows, mapping, read)


def ballots() -> Shape:
    rows: Rows = []
    for n in range(N):
        votes = [{"who": who, "pick": DRAW.choice(["left", "right", "none"])} for who in ("ann", "bo")]
        sides = {side: {"text": text(side, n), "by": f"m-{side}"} for side in ("left", "right")}
        rows.append({"item": {"q": text("q", n)}, "ballots": votes} | sides)

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        ranks = {"left": (1, 2), "right": (2, 1), "none": (1, 1)}
        found = []
        for row in rows:
            answers = {(row[side]["text"], row[side]["by"]): () for side in ("left", "right")}
            votes = tuple((ranks[each["pick"]], each["who"]) for each in row["ballots"])
            found.append((user(row["item"]["q"]), answers, votes))
        return found

    mapping = {"prompt": "item.q", "answer_a": "left.text", "answer_a.model": "left.by", "answer_b": "right.text"}
    mapping |= {"answer_b.model": "right.by", "rater": "ballots.*.who"}
    return Shape(rows, mapping | {"winner": {"column": "ballots.*.pick", "values": "left/right/none"}}, read)  # type: ignore[dict-item]


def won_by_model() -> Shape:
    rows = [
        {
            "ask": text("q", n),
            "m": ["oak", "elm"],
            "r": [text("x", n), text("y", n)],
            "best": ("oak", "elm", "tie")[n % 3],
        }
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        ranks = {"oak": (1, 2), "elm": (2, 1), "tie": (1, 1)}
        return [
            (
                user(row["ask"]),
                dict.fromkeys(zip(row["r"], row["m"], strict=True), ()),
                ((ranks[row["best"]], ""),),
            )
            for row in rows
        ]

    return Shape(rows, {"prompt": "ask", "answers": "r.*", "answers.model": "m.*", "winner": "best"}, read)


def sorted_outputs() -> Shape:
    rows = [
        {
            "post": {"title": text("t", n), "body": None if n % 5 == 0 else text("b", n)},
            "outs": [{"t": text("x", n), "s": 4.5}, {"t": text("y", n), "s": str(n % 3)}],
        }
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        found = []
        for row in rows:
            asked = "\n\n".join(part for part in (row["post"]["title"], row["post"]["body"]) if part)
            good, poor = row["outs"]
            prompt = (("system", "Be brief."), ("user", asked))
            found.append((prompt, (good["t"], 4.5), (poor["t"], float(poor["s"])), None))
        return found

    mapping: dict[str, Any] = {"prompt": ["post.title", "post.body"], "system": {"value": "Be brief."}}
    mapping |= {"chosen": "outs.0.t", "rejected": "outs.1.t", "chosen.score": "outs.0.s", "rejected.score": "outs.1.s"}
    return Shape(rows, mapping, read)


def aspects() -> Shape:
    rows = [
        {
            "q": text("q", n),
            "outs": [
                {"text": text("x", n), "grade": {"help": 4, "tone": "N/A"}},
                {"text": text("y", n), "grade": {"help": n}},
            ],
        }
        for n in range(N)
    ]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        found = []
        for row in rows:
            answers = {
                (out["text"], ""): tuple(
                    (name, None if grade == "N/A" else float(grade), "hal") for name, grade in out["grade"].items()
                )
                for out in row["outs"]
            }
            found.append((user(row["q"]), answers, ()))
        return found

    mapping = {"prompt": "q", "answers": "outs.*.text", "answers.rating.*": "outs.*.grade.*", "rater": {"value": "hal"}}
    return Shape(rows, mapping, read)


def whole_conversations() -> Shape:
    def said(n: int, answer: str) -> list[dict[str, str]]:
        return [{"from": "human", "value": f"q {n}"}, {"from": "gpt", "value": text(answer, n)}]

    rows = [{"yes": said(n, "x"), "no": said(n, "y"), "gap": n / 4} for n in range(N)]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        return [
            (user(row["yes"][0]["value"]), (row["yes"][1]["value"], None), (row["no"][1]["value"], None), row["gap"])
            for row in rows
        ]

    return Shape(rows, {"chosen": "yes", "rejected": "no", "margin": "gap"}, read)


def requests() -> Shape:
    rows = [{"meta.sys": "Be kind.", "req": {"text": text("q", n)}, "res": [{"text": text("a", n)}]} for n in range(N)]

    def read(rows: Rows) -> list[tuple[Any, ...]]:
        return [
            (("system", row["meta.sys"]), ("user", row["req"]["text"]), ("assistant", row["res"][0]["text"]))
            for row in rows
        ]

    return Shape(rows, {"system": "meta.sys", "prompt": "req.text", "answer": "res.0.text"}, read)


SHAPES = (
    chat_logs,
    by_model,
    several_raters,
    wide_table,
    json_cells,
    ranked_rows,
    ballots,
    won_by_model,
    sorted_outputs,
    aspects,
    whole_conversations,
    requests,
)


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_a_mapping_reads_what_plain_code_reads(make: Callable[[], Shape], tmp_path: Path) -> None:
    shape = make()
    write_jsonl(tmp_path / "rows.jsonl", shape.rows)
    quarantine = Quarantine()
    source = open_source(str(tmp_path / "rows.jsonl"), format=mapping_name(shape.map))
    found = [plain(record) for record in source.records(Tally("read"), quarantine)]
    assert quarantine.total == 0
    assert found == shape.read(shape.rows)


def texts(value: object) -> Iterator[str]:
    """All texts of a row, also those in cells that hold JSON."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        held = json.loads(value) if value[:1] in ("{", "[") else value
        yield from texts(held) if held is not value else (value,)


def changed(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The row with one value deleted, added, retyped or nested, at any depth."""
    copy = json.loads(json.dumps(row))
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [copy]
    while waiting:
        held = waiting.pop()
        keys = list(held) if isinstance(held, dict) else range(len(held))
        places += [(held, key) for key in keys]
        waiting += [held[key] for key in keys if isinstance(held[key], dict | list)]
    held, key = draw.choice(places)
    how = draw.randrange(4)
    if how == 0:
        del held[key]
    elif how == 1:
        added = f"added {draw.random()}"
        held.update({"further": added}) if isinstance(held, dict) else held.append({"further": added})
    elif how == 2:
        held[key] = draw.choice([None, 3, 2.5, True, "retyped value", ["retyped", "list"], {"retyped": "object"}])
    else:
        held[key] = draw.choice([[held[key]], {"nested": held[key]}])
    return copy  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_a_changed_row_is_read_whole_or_put_aside(make: Callable[[], Shape]) -> None:
    shape, draw = make(), random.Random(make.__name__)
    own = format_named(mapping_name(shape.map))
    renamed = {each for entry in parse_mapping(shape.map).entries.values() for each in entry.values or ()}
    read, bad = 0, set()
    for number in range(300):
        row = changed(shape.rows[number % N], draw)
        try:
            record = own.decode(row)
        except RowError as error:
            bad.add(error.field)  # nothing else than a bad row is raised
            continue
        read += 1
        kept = set(texts(msgspec.to_builtins(record)))
        joined = "\n".join(kept)
        # What is mapped to a number, a tie or a scale is no text of the record: all others must be found again.
        lost = [each for each in texts(row) if each not in joined and each not in renamed and not plain_value(each)]
        assert lost == [], (row, record)
    assert read > 30
    assert "" not in bad, "each bad row names its path"


def plain_value(said: str) -> bool:
    """What stands for a number, for none, for a vote or a role."""
    return said.replace(".", "").isdecimal() or said in ("N/A", "oak", "elm", "tie", "human", "gpt")
