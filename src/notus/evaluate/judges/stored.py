"""Verdicts of judges that somebody stored: whose they are, on which pair, in which order.

    judgebench  pair_id, judge (or judge_name), judgments[{decision "A>B"}, {…}]: the second saw the answers exchanged
    crowdrag    query_id, response_a, response_b, <question> "a", "b" or "n" …, inference: a row for each order
    rulings     the run directory of an evaluation of judges, or its rulings.parquet

Owns what such rows mean, and an evaluation made of them, as if the judge had just been asked. On which pairs people
voted is the business of ``human``. Sources: https://github.com/ScalerLab/JudgeBench (``outputs/``) and the data of
https://arxiv.org/abs/2504.15689.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notus.core.artifacts import Artifact
from notus.core.errors import DataError
from notus.core.tables import read_records, table_exists
from notus.evaluate.judges.figures import JudgeEvaluation, judged_pair
from notus.evaluate.judges.human import HumanPair, Key
from notus.evaluate.judges.present import JudgedPair, Label, PairVerdict
from notus.formats.fields import read_as, required
from notus.formats.quarantine import RowError, RowReader
from notus.formats.rows import parse_row, read_rows

__all__ = ["RULINGS_TABLE", "StoredJudge", "evaluate_stored", "read_stored"]

Row = dict[str, Any]
RULINGS_TABLE = Artifact("rulings", "rulings.parquet", JudgedPair)
"""Each pair with a judge's verdict in both orders."""
_DECISIONS: dict[str, Label] = {"A>B": "A", "B>A": "B", "A=B": "C"}
_LETTERS: dict[str, Label] = {"a": "A", "b": "B", "n": "C"}
_CROWD = ("query_id", "response_a", "response_b")
_NAMES = ("judge", "model", "inference")
_MODEL = re.compile(r"judge_model=([^,]+?)(?:\.jsonl)?(?:\.gz)?$")
_READ = "no-verdict"
_ONE_ORDER = "one-order"


@dataclass
class StoredJudge:
    """What one judge said of pairs as they were shown to it."""

    name: str
    verdicts: dict[tuple[str, Key], PairVerdict] = field(default_factory=dict)
    """Question (empty where only one thing was asked) and the pair as it was shown → the verdict."""

    def on(self, pair: HumanPair) -> tuple[PairVerdict, PairVerdict] | None:
        """Its verdicts on a pair as it is and with the answers exchanged; None where it was shown neither."""
        for key in (pair.key, (pair.id, "A", "B")):
            if key is None:
                continue
            exchanged = (key[0], key[2], key[1])
            for question in (pair.question, ""):
                both = (self.verdicts.get((question, key)), self.verdicts.get((question, exchanged)))
                if both != (None, None):
                    missing = PairVerdict(None, _ONE_ORDER)
                    return both[0] or missing, both[1] or missing
        return None


def read_stored(path: Path, reader: RowReader) -> list[StoredJudge]:
    """Read a file of stored verdicts, or those of an earlier evaluation.

    A judge that was shown the same answers anew in the same order has its last verdict: counted are ``judged-anew``,
    and ``judged-anew-otherwise`` where it said something else.

    Args:
        path: a file of rows, a run directory, or its ``rulings.parquet``.
        reader: counts the rows and puts bad ones aside.

    Raises:
        DataError: if it cannot be read, or holds no verdict.
    """
    judges: dict[str, StoredJudge] = {}
    for name, question, key, verdict in _verdicts(path, reader):
        of = judges.setdefault(name, StoredJudge(name)).verdicts
        if (before := of.get((question, key))) is not None:
            reader.tally.count("judged-anew")
            if before.label != verdict.label:
                reader.tally.count("judged-anew-otherwise")
        of[question, key] = verdict
    if not judges:
        raise DataError(
            f"{path} holds no stored verdict; rows of JudgeBench (pair_id, judge, judgments) or CrowdRAG-25 (query_id, "
            "response_a, response_b and a verdict for each question) are read, and runs of 'notus eval judges'"
        )
    return list(judges.values())


def evaluate_stored(
    judge: StoredJudge, pairs: Sequence[HumanPair]
) -> tuple[JudgeEvaluation, list[HumanPair], dict[str, int]]:
    """The evaluation of a judge on those pairs on which it stored something, these pairs, and how the rest is counted.

    A judge of which one order alone is stored, as of reward models, is taken for one that scores each answer for
    itself: its verdict is the same in the other order.

    The counts: ``pairs`` of the source that it was not shown, and ``verdicts`` on what is no pair of the source.
    """
    found = [(pair, both) for pair in pairs if (both := judge.on(pair)) is not None]
    alone = bool(found) and all(_ONE_ORDER in (both[0].reason, both[1].reason) for _, both in found)
    judged = [
        judged_pair(judge.name, pair.presented, place, ("", 0), _both_orders(*both) if alone else both, pair)
        for place, (pair, both) in enumerate(found)
    ]
    names = {key for pair in pairs for key in _names_of(pair)}
    beside = sum(key not in names for _, key in judge.verdicts)
    counts = {"pairs": len(pairs) - len(found), "verdicts": beside}
    return JudgeEvaluation(judge.name, alone, tuple(judged), ()), [pair for pair, _ in found], counts


def _both_orders(forward: PairVerdict, backward: PairVerdict) -> tuple[PairVerdict, PairVerdict]:
    """Both verdicts out of the one that there is."""
    if backward.reason == _ONE_ORDER:
        return forward, _exchanged(forward)
    return _exchanged(backward), backward


def _exchanged(verdict: PairVerdict) -> PairVerdict:
    labels: dict[str, Label] = {"A": "B", "B": "A", "C": "C"}
    return verdict if verdict.label is None else PairVerdict(labels[verdict.label])


def _names_of(pair: HumanPair) -> Iterator[Key]:
    for key in (pair.key, (pair.id, "A", "B")):
        if key is not None:
            yield key
            yield key[0], key[2], key[1]


Said = tuple[str, str, Key, PairVerdict]
"""Judge, question, the pair as it was shown, the verdict."""


def _verdicts(path: Path, reader: RowReader) -> Iterator[Said]:
    place = RULINGS_TABLE.at(path) if path.is_dir() else path
    if place.suffix == ".parquet":
        if not table_exists(place):
            raise DataError(f"{path} holds no {RULINGS_TABLE.file}; name a run of 'notus eval judges', or a file")
        yield from _of_run(read_records(place, JudgedPair), reader)
        return
    try:
        for _, found in reader.read(place, read_rows(place), lambda payload: _decode(parse_row(payload), place.name)):
            yield from found
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _of_run(rulings: Iterable[JudgedPair], reader: RowReader) -> Iterator[Said]:
    for each in rulings:
        reader.tally.count_all(1)
        if each.probe or not each.id:
            continue
        for key, label in (((each.id, "A", "B"), each.forward), ((each.id, "B", "A"), each.backward)):
            yield each.judge, "", key, _made(label, each.reason or _READ)


def _made(label: Any, reason: str) -> PairVerdict:
    return PairVerdict(label) if label is not None else PairVerdict(None, reason)


def _decode(row: Row, file: str) -> list[Said]:
    if "judgments" in row and "pair_id" in row:
        return list(_judgebench(row, file))
    if set(_CROWD) <= row.keys():
        return list(_crowd(row, file))
    raise RowError("", "other-form", None, "a verdict needs pair_id and judgments, or query_id and two responses")


def _judgebench(row: Row, file: str) -> Iterator[Said]:
    pair = read_as(required(row, "pair_id"), str, "pair_id")
    named = row.get("judge") or row.get("judge_name") or ""
    model = _MODEL.search(file)
    name = ":".join(filter(None, (read_as(named, str, "judge"), model[1] if model else ""))) or file
    judgments = read_as(required(row, "judgments"), list[Row | None], "judgments")
    if len(judgments) not in (1, 2):
        raise RowError("judgments", "length-mismatch", len(judgments), "one, or one in each order of the answers")
    for index, (item, key) in enumerate(zip(judgments, ((pair, "A", "B"), (pair, "B", "A")), strict=False)):
        decision = None if item is None else item.get("decision")
        label = None
        if decision is not None:
            label = _DECISIONS.get(decision.replace(" ", "")) if isinstance(decision, str) else None
            if label is None:
                at = f"judgments[{index}].decision"
                raise RowError(at, "unknown-vote", decision, f"one of {', '.join(_DECISIONS)}")
        yield name, "", key, _made(label, _READ)


def _crowd(row: Row, file: str) -> Iterator[Said]:
    query, first, second = (read_as(required(row, name), str, name) for name in _CROWD)
    name = ":".join(str(row[each]) for each in _NAMES if row.get(each)) or file
    questions: Mapping[str, Any] = {key: value for key, value in row.items() if key not in (*_CROWD, *_NAMES)}
    if not questions:
        raise RowError("", "missing-field", None, "the row has no verdict on any question")
    for question, value in questions.items():
        label = _LETTERS.get(value.lower()) if isinstance(value, str) else None
        if label is None and value is not None:
            raise RowError(question, "unknown-vote", value, "known: a, b, n")
        yield name, question, (query, first, second), _made(label, _READ)
