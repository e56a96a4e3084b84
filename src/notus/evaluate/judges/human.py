"""Pairs that people have judged: PandaLM's, LLMBar's and CrowdRAG-25's rows, votes of many, any preference pairs.

Owns what such a row means and the majority of its votes. Files and formats of feedback and of preference pairs are the
business of ``formats.source``: a ranking is a vote of its rater, and the chosen answer of a pair is its one vote.

**CrowdRAG-25** (Gienapp et al. 2025, https://arxiv.org/abs/2504.15689): ``query_id``, ``response_a``, ``response_b``,
``worker[]`` and for each question ``<question>_vote[]`` of A, B or N (neither), one for each worker. The rows name the
answers and do not hold them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from msgspec import structs

from notus.core.errors import DataError
from notus.core.records import Feedback, Message, Messages, Preference, Record
from notus.core.stage import Place, Tally
from notus.evaluate.judges.present import PresentedPair
from notus.formats.fields import read_as, required
from notus.formats.quarantine import REPEATED, Quarantine, RowError, entry_of, repeats_key
from notus.formats.rows import excerpt, parse_row, read_rows

__all__ = ["JUDGMENT", "HumanPair", "Key", "from_feedback", "from_preferences", "read_human_pairs", "vote_format"]

Row = dict[str, Any]
Key = tuple[str, str, str]
"""How its source names a pair as it is shown: what was asked, the answer shown first, the one shown second."""
JUDGMENT = "judgment"
"""The question under which a format keeps what a judge said, which is no vote of people."""
_LOOKED_AT = 20
"""Rows in which the format is looked for: the first may be a bad one."""
_ANNOTATOR = re.compile(r"annotator_?\d+")
_VOTES = "_vote"
_CROWD = ("query_id", "response_a", "response_b")


class HumanPair(Record, frozen=True):
    """Two answers to a prompt with the votes of people, and where they stood."""

    prompt: Messages
    first: str
    second: str
    votes: tuple[str, ...]
    """One for each annotator, in the order of the columns. A: the first is better, B: the second, C: neither."""
    raters: tuple[str, ...] = ()
    """Who gave each vote, where the source names them: others for each pair. Empty: the same annotators throughout."""
    question: str = ""
    """What was asked, where the source asks more than one thing."""
    key: Key | None = None
    """Its name in the source, by which stored verdicts are found."""
    part: str = ""
    """Part of the set that it belongs to."""
    texts: bool = True
    """Whether prompt and answers are there; otherwise their names stand in their place."""
    file: str = ""
    line: int = 0
    id: str = ""
    """Of the pair as it was read: see ``core.records.Preference``, the first answer taken for the chosen one."""

    @property
    def presented(self) -> PresentedPair:
        """The pair as it is put before a judge."""
        return PresentedPair(self.prompt, self.first, self.second)

    @property
    def majority(self) -> str | None:
        """The verdict with more votes than any other, or None when two share the first place."""
        ranked = Counter(self.votes).most_common(2)
        return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def vote_format(path: Path) -> str | None:
    """Name of the format of votes that one of the first rows of a file has (``pandalm``, ``llmbar``, ``crowdrag``).

    None where they have none of these.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        for _, payload in islice(read_rows(path), _LOOKED_AT):
            with suppress(RowError):
                row = parse_row(payload)
                if name := next((name for name, (matches, _) in _FORMATS.items() if matches(row)), None):
                    return name
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return None


def read_human_pairs(
    path: Path, name: str, tally: Tally, quarantine: Quarantine, *, strict: bool = False, limit: int | None = None
) -> Iterator[HumanPair]:
    """Read rows with votes, one after another; a bad row goes to the quarantine, or is an error in strict mode.

    ``name`` is that of their format, from ``vote_format``.

    Raises:
        DataError: if the file cannot be read, a row is bad in strict mode, or the number of annotators changes.
    """
    matches, decode = _FORMATS[name]
    named, voters = matches is _is_crowd, 0
    for line, payload in read_rows(path):
        if limit is not None and tally.taken >= limit:
            return
        tally.taken += 1
        try:
            found = decode(parse_row(payload))
            voters = voters or len(found[0].votes)
            if len(found[0].votes) != voters and not named:
                raise RowError("votes", "other-votes", found[0].votes, f"{voters} annotators in the rows before")
        except RowError as error:
            if strict:
                raise DataError(f"{path}:{line}: {error}") from None
            quarantine.add(entry_of(Place(path.name, line), error, excerpt(payload)))
            tally.drop("", error.rule, f"{error.field or 'row'}: {error.value}", at=Place(path.name, line))
            continue
        tally.given += 1
        if isinstance(payload, bytes) and repeats_key(payload):
            tally.count(REPEATED)
        for pair in found:
            yield _placed(pair, path.name, line)


def from_preferences(preferences: Iterable[Preference], tally: Tally) -> Iterator[HumanPair]:
    """Preference pairs as pairs with one vote. The chosen answer stands first in every other pair, so that a judge
    that has a favourite place gains nothing. One with several turns is dropped as ``several-turns``."""
    for number, item in enumerate(preferences):
        tally.taken += 1
        if len(item.chosen) != 1 or len(item.rejected) != 1:
            found = f"{len(item.chosen)} and {len(item.rejected)} turns; each must be one"
            tally.drop(item.id, "several-turns", found, at=item)
            continue
        tally.given += 1
        chosen, rejected = item.chosen[0].content, item.rejected[0].content
        first, second, vote = (rejected, chosen, "B") if number % 2 else (chosen, rejected, "A")
        place: dict[str, Any] = {"id": item.id, "file": item.file, "line": item.line}
        yield HumanPair(prompt=item.prompt, first=first, second=second, votes=(vote,), **place)


def from_feedback(records: Iterable[Feedback], tally: Tally) -> Iterator[HumanPair]:
    """Each two answers that somebody ranked, with the votes on them: a pair for each question.

    A vote without a rater's name is a rater of its own. Of a rater who votes anew on the same answers the last vote
    counts. What a judge said (``JUDGMENT``) is no vote. Feedback on which nobody voted is dropped as ``no-votes``.
    """
    for record in records:
        tally.taken += 1
        votes = _votes_of(record, tally)
        if not votes:
            tally.drop(record.id, "no-votes", f"{len(record.rankings)} rankings, none of two answers", at=record)
            continue
        tally.given += 1
        for (question, a, b), of in votes.items():
            first, second = record.completions[a].text, record.completions[b].text
            said = [(Message(role="assistant", content=text),) for text in (first, second)]
            yield HumanPair(
                prompt=record.prompt,
                first=first,
                second=second,
                votes=tuple(of.values()),
                raters=tuple(of),
                question=question,
                key=(str(record.extra.get("pair_id") or record.id), _letter(a), _letter(b)),
                part=record.source,
                id=Preference(prompt=record.prompt, chosen=said[0], rejected=said[1]).id,
                file=record.file,
                line=record.line,
            )


def _letter(place: int) -> str:
    return "AB"[place] if place < 2 else str(place + 1)


def _votes_of(record: Feedback, tally: Tally) -> dict[tuple[str, int, int], dict[str, str]]:
    """Question and the places of two answers → rater → vote."""
    found: dict[tuple[str, int, int], dict[str, str]] = defaultdict(dict)
    for number, each in enumerate(record.rankings):
        if each.question == JUDGMENT:
            continue
        ranked = [(place, rank) for place, rank in enumerate(each.ranks) if rank is not None]
        for (a, rank), (b, other) in combinations(ranked, 2):
            of = found[each.question, a, b]
            rater = each.rater or f"vote {number + 1}"
            if rater in of:
                tally.count("voted-anew")
            of[rater] = "C" if rank == other else "A" if rank < other else "B"
    return found


def _placed(pair: HumanPair, file: str, line: int) -> HumanPair:
    first, second = ((Message(role="assistant", content=text),) for text in (pair.first, pair.second))
    own = Preference(prompt=pair.prompt, chosen=first, rejected=second).id
    return structs.replace(pair, file=file, line=line, id=own)


def _is_pandalm(row: Row) -> bool:
    return {"instruction", "response1", "response2"} <= row.keys() and any(map(_ANNOTATOR.fullmatch, row))


def _is_llmbar(row: Row) -> bool:
    return {"input", "output_1", "output_2", "label"} <= row.keys()


def _is_crowd(row: Row) -> bool:
    return {*_CROWD, "worker"} <= row.keys() and any(name.endswith(_VOTES) for name in row)


def _crowd(row: Row) -> Sequence[HumanPair]:
    """https://arxiv.org/abs/2504.15689: a pair for each question, with a vote of each worker."""
    query, first, second = (read_as(required(row, name), str, name) for name in _CROWD)
    workers = read_as(required(row, "worker"), list[str], "worker")
    if twice := next((name for name in workers if workers.count(name) > 1), None):
        raise RowError("worker", "repeated-name", twice, "each votes once")
    found = []
    for name in (name for name in row if name.endswith(_VOTES)):
        votes = read_as(row[name], list[str], name)
        if len(votes) != len(workers):
            raise RowError(name, "length-mismatch", votes, f"{len(workers)} workers are named")
        if odd := next((vote for vote in votes if vote.upper() not in _LETTERS), None):
            raise RowError(name, "unknown-vote", odd, "known: A, B, N")
        found.append(
            HumanPair(
                prompt=(Message(role="user", content=query),),
                first=first,
                second=second,
                votes=tuple(_LETTERS[vote.upper()] for vote in votes),
                raters=tuple(workers),
                question=name.removesuffix(_VOTES),
                key=(query, first, second),
                texts=False,
            )
        )
    if not workers or not found:
        raise RowError("worker", "missing-field", workers, "a pair needs a worker and a vote")
    return found


def _pandalm(row: Row) -> Sequence[HumanPair]:
    """https://github.com/WeOpenML/PandaLM, ``testset-v1.json``: 0 is a tie, 1 and 2 name the better response."""
    text, further = (
        read_as(required(row, "instruction"), str, "instruction"),
        read_as(row.get("input") or "", str, "input"),
    )
    columns = sorted((name for name in row if _ANNOTATOR.fullmatch(name)), key=lambda name: (len(name), name))
    votes = tuple(_vote(row[name], name, tie=True) for name in columns)
    return _pair(f"{text}\n\n{further}" if further else text, row, ("response1", "response2"), votes)


def _llmbar(row: Row) -> Sequence[HumanPair]:
    """https://github.com/princeton-nlp/LLMBar, ``dataset.json``: the label names the better output; there is no tie."""
    text = read_as(required(row, "input"), str, "input")
    return _pair(text, row, ("output_1", "output_2"), (_vote(required(row, "label"), "label", tie=False),))


def _pair(prompt: str, row: Row, names: tuple[str, str], votes: tuple[str, ...]) -> Sequence[HumanPair]:
    first, second = (read_as(required(row, name), str, name) for name in names)
    return [HumanPair(prompt=(Message(role="user", content=prompt),), first=first, second=second, votes=votes)]


def _vote(value: object, at: str, *, tie: bool) -> str:
    votes = {1: "A", 2: "B"} | ({0: "C"} if tie else {})
    number = read_as(value, int, at)
    if number not in votes:
        raise RowError(at, "unknown-vote", value, f"known: {', '.join(map(str, sorted(votes)))}")
    return votes[number]


_LETTERS = {"A": "A", "B": "B", "N": "C"}
_FORMATS: dict[str, tuple[Callable[[Row], bool], Callable[[Row], Sequence[HumanPair]]]] = {
    "pandalm": (_is_pandalm, _pandalm),
    "llmbar": (_is_llmbar, _llmbar),
    "crowdrag": (_is_crowd, _crowd),
}
