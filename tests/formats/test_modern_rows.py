"""Rows of every format, changed at seeded places: each agrees with an independent reader, or is put aside by name.

A row is a sample or a hand-made one with up to three changes: a field deleted or null, a field added at any depth, a
value of another type, an entry twice, an empty text, unusual characters, a text that is messages in JSON. Of each row:

- nothing but ``RowError`` is raised, and it names a field of the row, or of the row before it was changed;
- the record says what the plain reader of ``tests.helpers.plain_readers`` says: prompt, answers in their order, models,
  scores with their raters, votes, chosen and rejected, labels;
- every text of the row stands in the record, and so does each field that was added;
- an answer that somebody judged is no dialogue's.

``NOTUS_FUZZ=200000`` makes so many rows instead of 10,000, and others.
"""

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Unpaired
from notus.core.stage import Tally
from notus.formats.families.ranked import RANKER_SCORE
from notus.formats.quarantine import RULES, Quarantine, RowError
from notus.formats.registry import FORMATS, OWN, detect
from notus.formats.source import open_source
from tests.helpers.plain_readers import annotations, answers, dialogues, pairs, votes
from tests.helpers.plain_readers.rows import FURTHER

Row = dict[str, Any]
Place = tuple[Any, Any]

READERS: dict[str, Callable[[Row], Row]] = (
    annotations.READERS | answers.READERS | dialogues.READERS | pairs.READERS | votes.READERS
)
ROWS = int(os.environ.get("NOTUS_FUZZ", "10000"))
UNREADABLE = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)
"""What a plain reader raises at a row that it cannot read."""
MARK = re.compile(r"mark\d+|7777\d{6}")
ODD = (
    "e\u0301",
    "\u202eabc",
    "\u200b",
    "\U0001f9d1\u200d\U0001f33e",
    "\u2028",
    "\x07",
    "\ufeff",
    "ß\u0130",
    "\u3000日本",
)


def places(value: Any) -> Iterator[Place]:
    """Each container in a row with each of its keys or indexes."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inner):
        yield value, key
        yield from places(part)


def objects(value: Any) -> Iterator[Row]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(part)


def leaves(value: Any, keys: bool = True) -> Iterator[Any]:
    """All values that are no containers, also those in JSON texts, and the keys; without them, only those marked."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict):
        for key, part in value.items():
            if keys or (part not in (None, {}, []) and MARK.search(key)):
                yield key
            yield from leaves(part, keys)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, keys)
    else:
        yield value


def bases_of(name: str) -> list[Row]:
    sample = FORMATS[name].sample
    assert sample is not None
    return json.loads(json.dumps([sample, *FURTHER.get(name, [])]))


# Changes. Each takes a row, the numbers to draw with, and a mark of its own.


def delete(row: Row, rng: random.Random, _mark: str) -> None:
    container, key = rng.choice(list(places(row)))
    del container[key]


def null(row: Row, rng: random.Random, _mark: str) -> None:
    container, key = rng.choice(list(places(row)))
    container[key] = None


NAMES = sorted({key for name in READERS for row in bases_of(name) for each in objects(row) for key in each})
"""Names of all columns and fields of all formats: they stand in the wrong rows, too."""
FREE = (
    *("note", "extra", "metadata", "system_prompt", "tools", "turns", "rationale", "rating", "reward", "margin", ""),
    *("history", "last_query", "judge_hash", "ratings", "models", "joined_rows", "critiques", "chosen_index", "Prompt"),
)
AFTER = (
    *("_note", "-suggestion", "-suggestion-metadata", ".responses.note", ".suggestion.type", "_as_read", "_model"),
    *("_score", " "),
)


def add(row: Row, rng: random.Random, mark: str) -> None:
    into = rng.choice([row, *objects(row)])
    beside = f"{rng.choice([*into, ''])}{rng.choice(AFTER)}"
    name = rng.choice([rng.choice(NAMES), rng.choice(FREE), beside, mark, f"{mark} name"])
    number = 7777000000 + int(mark[4:]) % 1000000
    values = [mark, f"a {mark} text", [mark], {"deep": [mark, 1]}, {mark: None}, [[{mark: 1.5}]], number, str(number)]
    into.setdefault(name, rng.choice(values))


VERDICTS = {"label": (True, False, 0, "bad", "false"), "score": (1.5, "7", None), "rejected_response": ("No, never.",)}


def judge(row: Row, rng: random.Random, _mark: str) -> None:
    name = rng.choice([*VERDICTS])
    row.setdefault(name, rng.choice(VERDICTS[name]))


def retype(row: Row, rng: random.Random, mark: str) -> None:
    container, key = rng.choice(list(places(row)))
    value = container[key]
    listed: list[Any] = [[value], {"value": value}, {"nested": {key if isinstance(key, str) else "item": value}}]
    if isinstance(value, bool):
        listed += [int(value), str(value).lower(), str(value)]
    elif isinstance(value, (int, float)):
        listed += [str(value), float(value), f" {value}"]
    elif isinstance(value, (list, dict)):
        listed += [json.dumps(value), list(value)] + (
            [dict.fromkeys(map(str, range(len(value))), mark)] if value else []
        )
    elif isinstance(value, str):
        listed += [list(value[:3]), 7, True, {"text": value}]
    container[key] = rng.choice(listed)


def repeat(row: Row, rng: random.Random, _mark: str) -> None:
    lists = [each[key] for each, key in places(row) if isinstance(each[key], list) and each[key]]
    if lists:
        chosen = rng.choice(lists)
        chosen.insert(rng.randrange(len(chosen) + 1), deepcopy(rng.choice(chosen)))


def change_text(row: Row, rng: random.Random, mark: str) -> None:
    texts = [(each, key) for each, key in places(row) if isinstance(each[key], str)]
    if texts:
        container, key = rng.choice(texts)
        value, odd = container[key], rng.choice(ODD)
        turn = {"role": rng.choice(["user", "assistant"]), "content": f"{mark} said"}
        container[key] = rng.choice(
            ["", " ", value + odd, odd + value, f"{mark} {odd} x", value.upper(), json.dumps([turn])]
        )


def swap(row: Row, rng: random.Random, _mark: str) -> None:
    """Two values of one type change places: an answer, a score, a winner."""
    one, key = rng.choice(list(places(row)))
    others = [
        (two, other)
        for two, other in places(row)
        if type(two[other]) is type(one[key]) and not isinstance(two[other], (dict, list))
    ]
    if others:
        two, other = rng.choice(others)
        one[key], two[other] = two[other], one[key]


CHANGES = (delete, null, add, add, retype, retype, repeat, change_text, swap, judge)


def changed(bases: list[Row], rng: random.Random, number: int) -> tuple[Row, Row]:
    """A row and what it was before it was changed."""
    base = rng.choice(bases)
    row = deepcopy(base)
    for step in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        if row:
            rng.choice(CHANGES)(row, rng, f"mark{number}00{step}")
    return json.loads(json.dumps(row)), base


# What a record says, in the shape of the plain readers.


def turns(said: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in said]


def meaning_of_answer(item: Completion) -> Row:
    scores = [(each.value, each.rater) for each in item.ratings if each.value is not None]
    said = {"turns": turns(item.answer), "model": item.model, "scores": sorted(scores)}
    critique = {} if item.critique is None else {"critique": (item.critique.text, item.critique.score)}
    return said | critique | ({"ranker": item.extra[RANKER_SCORE]} if RANKER_SCORE in item.extra else {})


def meaning(record: Any) -> Row:
    if isinstance(record, Dialogue):
        return {"messages": turns(record.messages)}
    found: Row = {"prompt": turns(record.prompt)}
    if isinstance(record, Preference):
        sides = {"chosen": turns(record.chosen), "rejected": turns(record.rejected)}
        about = {"scores": (record.score_chosen, record.score_rejected)}
        return found | sides | about | {"models": (record.model_chosen, record.model_rejected)}
    if isinstance(record, Unpaired):
        about = {"desirable": record.desirable, "score": record.score, "model": record.model}
        return found | {"answer": turns(record.answer)} | about
    assert isinstance(record, Feedback)
    votes = [{"ranks": list(each.ranks), "rater": each.rater, "strength": each.strength} for each in record.rankings]
    return found | {"answers": [meaning_of_answer(item) for item in record.completions], "votes": votes}


def agrees(said: Row, plain: Row) -> bool:
    """Whether both say the same; of critiques and a ranker's scores, where the plain reader says nothing, nothing."""
    if "answers" in plain:
        both = zip(said["answers"], plain["answers"], strict=False)
        same = [stated({key: one.get(key) for key in two}) == stated(two) for one, two in both]
        return len(said["answers"]) == len(plain["answers"]) == sum(same) and all(
            said[k] == plain[k] for k in ("prompt", "votes")
        )
    return said == plain


def stated(answer: Row) -> Row:
    """An answer without the critique that says nothing."""
    return {key: None if value == ("", None) else value for key, value in answer.items()}


WORDS = ("tie (bothbad)",)
PIECES = re.compile(r"\s*(?:\n\n|\A)(?:Human|Assistant):|<extra_id_1>\w+|\n\n|(?<=Assistant:) ")


def lost(row: Row, records: list[Any]) -> list[str]:
    """Texts of a row, and the marks in it, that stand nowhere in its records."""
    held = "\n".join(str(each) for each in leaves(json.loads(msgspec.json.encode(records))))
    flat = "\n".join(held.split())
    said = [str(each) for each in leaves(row, keys=False) if isinstance(each, (str, int)) and each not in WORDS]
    wanted = [each for each in said if " " in each.strip() or MARK.search(each)]
    pieces = {piece.strip() for each in wanted for piece in PIECES.split(each)}
    return [piece for piece in pieces if piece and piece not in held and "\n".join(piece.split()) not in flat]


def read(name: str, row: Row, counts: Tally) -> list[Any]:
    own = FORMATS[name]
    return list(own.expand(row, counts)) if own.expand else [own.decode(row)]


def fault(name: str, row: Row, base: Row, outcome: Counter[str]) -> str:
    """What is wrong with the reading of a row by a format; empty where nothing is."""
    counts = Tally("read")
    try:
        plain = READERS[name](deepcopy(row))
    except UNREADABLE:
        plain = None
    try:
        records = read(name, row, counts)
    except RowError as error:
        outcome["put aside" if plain is None else "put aside, and readable"] += 1
        known = {str(each) for each in (*leaves(row), *leaves(base))}
        parts = re.split(r"[.\[\]]+", error.field)
        field = not error.field or parts[0] in known or any(error.field.startswith(each) for each in known if each)
        field = field or (error.rule == "missing-field" and row.get(error.field) is None)
        return "" if field and error.rule in RULES else f"it names '{error.field}' by {error.rule}"
    if missing := lost(row, records):
        if not counts.counts:
            return f"lost: {missing}"
        outcome["left out, and counted"] += 1
    texts = set(filter(LITERAL.match, columns_of(row))) if name not in CONTENTS else set()
    if literal := texts & set(spoken(records[0])):
        return f"messages as a text: {literal}"
    said = meaning(records[0])
    if plain is None:
        outcome["read beyond the plain reader"] += 1
        return ""
    outcome["agree"] += 1
    return "" if agrees(said, plain) else f"read as {said}, and it says {plain}"


LITERAL = re.compile(r"""\s*\[\{["']role["']: ["'](user|assistant).*\]\s*\Z""", re.DOTALL)
CONTENTS = ("ultrafeedback", "notus-feedback")


def columns_of(value: Any) -> Iterator[str]:
    """The texts of a row that are no contents of messages, for there JSON is what somebody said."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from columns_of(part)
    elif isinstance(value, dict) and {"role", "from", "human", "input"}.isdisjoint(value):
        for name, part in value.items():
            if not name.startswith("system"):
                yield from columns_of(part)


def spoken(record: Any) -> list[str]:
    """The texts of all turns of a record."""
    answers = [item.answer for item in record.completions] if isinstance(record, Feedback) else []
    names = ("messages", "prompt", "chosen", "rejected", "answer")
    return [turn.content for said in (*answers, *(getattr(record, name, ()) for name in names)) for turn in said]


def judged(row: Row) -> bool:
    """Whether somebody said of the row's answer that it is good or bad."""
    scores = [row.get(each) for each in ("score", "rating", "reward")]
    labels = [str(row.get(each)).lower() for each in ("label", "kto_tag")]
    others = any(row.get(each) is not None for each in ("rejected_response", "rejected_messages", "chosen", "rejected"))
    number = any(isinstance(each, (int, float)) and not isinstance(each, bool) for each in scores)
    return others or number or any(each in ("true", "false", "0", "1", "bad") for each in labels)


def test_every_format_has_a_plain_reader_of_at_most_30_lines() -> None:
    assert READERS.keys() == FORMATS.keys()
    for module in (annotations, answers, dialogues, pairs, votes):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert "notus" not in text.replace("notus-", "")
        assert max(len(part.strip().split("\n")) for part in re.split(r"\n(?=def |class |READERS)", text)[1:-1]) <= 30


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_rows_that_are_not_changed_agree(name: str) -> None:
    for row in bases_of(name):
        outcome: Counter[str] = Counter()
        assert fault(name, deepcopy(row), row, outcome) == ""
        assert outcome == {"agree": 1}


@pytest.mark.parametrize("name", sorted(READERS))
def test_changed_rows_are_read_as_they_say_or_put_aside(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"modern {name} {ROWS}")
    outcome: Counter[str] = Counter()
    faults = []
    rows = []
    for number in range(-(-ROWS // len(FORMATS))):
        row, base = changed(bases_of(name), rng, number)
        rows.append(row)
        for reading in dict.fromkeys([name, detect(row) or name]):
            if found := fault(reading, deepcopy(row), base, outcome):
                faults.append((reading, found, row))
            if judged(row) and FORMATS[reading].record is Dialogue and reading not in OWN:
                with pytest.raises(RowError):
                    FORMATS[reading].decode(deepcopy(row))
    assert faults == []
    if len(rows) > 100:  # enough of them that the shares are no accident
        assert outcome["agree"] > 0.2 * len(rows)
        strict = name in OWN  # our own records know no further field
        assert outcome["put aside, and readable"] < (0.5 if strict else 0.2) * len(rows)
    whole_file(tmp_path / "rows.jsonl", name, rows)


def marks(value: Any, *, keys: bool) -> set[str]:
    return {mark for each in leaves(value, keys) for mark in MARK.findall(str(each))}


def whole_file(path: Path, name: str, rows: list[Row]) -> None:
    """The rows as one file: each is counted, and each mark is in a record or in a row that is put aside."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tally, aside = Tally("read"), tuple[str, ...]()
    with Quarantine(path.with_name("quarantine.jsonl")) as quarantine:
        records = list(open_source(str(path), format=name).records(tally, quarantine))
    assert tally.taken == len(rows)
    assert tally.taken + tally.counts["row-expanded"] == tally.given + quarantine.total + tally.counts["row-joined"]
    assert len(records) == tally.given
    if quarantine.total:
        lines = path.with_name("quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        aside = tuple(json.loads(line)["line"] for line in lines)
        assert len(aside) == quarantine.total
    left = [rows[number - 1] for number in range(1, len(rows) + 1) if number not in set(aside)]
    held = marks(json.loads(msgspec.json.encode(records)), keys=True)
    gone = {mark for row in left for mark in marks(row, keys=False)} - held
    assert len(gone) <= tally.counts["single-reply"] + tally.counts["no-reply"]
