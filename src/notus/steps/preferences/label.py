"""The step that lets functions vote on answers: feedback or pairs in, feedback with their votes out, and figures.

What is written is feedback with votes, as any other; ``binarize --consensus`` makes pairs of it, each function weighed
by what the others show of it. Owns what is read and written. The votes and their figures are owned by
``preferences.labelling``, what functions say together by ``preferences.annotators``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, cast

import pydantic

from notus.core.artifacts import FEEDBACK, FINDINGS, Artifact
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Preference
from notus.formats.source import read_counted
from notus.llm.protocol import Ranker
from notus.preferences.annotators import Annotators, VoteLabels
from notus.preferences.labelling import GIVEN, KnownLabels, VoteTable, as_feedback, likeliest, with_votes
from notus.preferences.votes import Method
from notus.rankers.ref import RankerRef, RankerText
from notus.rankers.settings import Ranking
from notus.report.audits.labelling import label_sections
from notus.steps.base import HELD, Context, OptionalRef, Reads, Refs, SourceRef
from notus.steps.evaluate.ranked import by_kind, models_named, rankers_of
from notus.steps.evaluate.scores import note_estimate

__all__ = ["Label"]


class Label(Reads):
    """Let functions of yours vote on answers, and tell how far they cover, differ, and are right."""

    step_type: ClassVar[str] = "label"
    leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, FINDINGS)
    draws: ClassVar[bool] = False
    data: SourceRef = "data"
    """Feedback, or preference pairs, whose own label then is a vote of the rater ``given``."""
    by: tuple[RankerText, ...] = ()
    """Labelling functions: ``python:FILE.py:NAME`` is code, which runs; it takes (prompt, answers) and gives as many
    numbers, the higher the better, None where it cannot tell. Other rankers vote too, such as ``length``."""
    truth: OptionalRef = None
    """Pairs whose chosen answer is known to be the better one: a sample against which the functions are measured."""
    question: str | None = None
    """Of votes on several questions that the data have, such as ``better`` and ``safer``, the one that is meant."""
    method: Method = "dawid-skene"
    """How the votes are made one for the figures; ``binarize --consensus`` makes pairs by the same."""

    ranking: Ranking = Ranking()
    """How rankers among them work."""
    models: Refs = pydantic.Field(default_factory=lambda given: models_named(given.get("by", ())), exclude=True)
    """What the functions are read from; it is filled in."""

    @pydantic.model_validator(mode="after")
    def _each_votes_once(self) -> Self:
        if not self.by:
            raise ValueError("nobody votes: name labelling functions (by: python:FILE.py:NAME, --by)")
        if asked := next((text for text in self.by if RankerRef.read(text).about.asks), None):
            raise ValueError(f"'{asked}' is a judge that is asked; collect its votes (notus collect), or rank by it")
        if twice := next((text for text in self.by if self.by.count(text) > 1), None):
            raise ValueError(f"'{twice}' votes twice; once is enough")
        return self

    @pydantic.field_serializer("by")
    def _by_kind(self, by: tuple[str, ...]) -> list[str]:
        return [by_kind(text) for text in by]

    @property
    def computes(self) -> bool:  # type: ignore[override]
        """Whether a function is a model of ours, whose last bits depend on the number of threads."""
        return any(RankerRef.read(text).about.computes for text in self.by)

    def run(self, context: Context) -> None:
        """Have each function score all answers, and write what it votes."""
        rows = list(_rows_of(context))
        rankers = [
            (_name(text, name), each)
            for text, (name, each) in zip(self.by, rankers_of(context, self.by, self.ranking, None), strict=True)
        ]
        _refuse_namesakes([name for name, _ in rankers], rows)
        scores = {name: _scores(context, ranker, rows) for name, ranker in rankers}
        table = VoteTable(_known(context, self))
        held = VoteLabels(self.question)
        voters = [*scores, *([GIVEN] if any(each.rater == GIVEN for row in rows for each in row.rankings) else [])]
        tally = context.tally("label")
        found = []
        for number, row in enumerate(rows):
            tally.taken += 1
            tally.given += 1
            labelled = with_votes(row, {name: own[number] for name, own in scores.items()}, self.question)
            tally.count("no-vote", labelled.rankings == row.rankings)
            table.add(labelled, voters)
            held.add(labelled)
            found.append(labelled)
        context.write(FEEDBACK, found)
        _tell(context, table, _together(held, self.method, table))


def _name(text: str, name: str) -> str:
    """What a function is called as a rater: its own name."""
    ref = RankerRef.read(text)
    return str(ref.model).rpartition(":")[2] if ref.kind == "python" else name


def _refuse_namesakes(names: Sequence[str], rows: Sequence[Feedback]) -> None:
    """Refuse functions of one name, or of that of a rater who is there: their votes would be taken for one's."""
    raters = {each.rater for row in rows for each in row.rankings}
    for name in names:
        if names.count(name) > 1 or name in raters:
            other = "two functions are" if names.count(name) > 1 else "a function and a rater of the data are"
            raise ConfigError(f"{other} called '{name}'; give the function another name")


def _scores(context: Context, ranker: Ranker, rows: Sequence[Feedback]) -> list[list[float | None]]:
    """A number for each answer; None too where it is more than one turn, which a ranker does not read."""
    single = [[len(item.answer) == 1 and not item.answer[0].tool_calls for item in row.completions] for row in rows]
    texts = [
        [item.text for item, reads in zip(row.completions, own, strict=True) if reads]
        for row, own in zip(rows, single, strict=True)
    ]
    found = map(iter, ranker.rank([row.prompt for row in rows], texts))
    if unread := sum(not reads for own in single for reads in own):
        context.note(not_read=f"{unread:,} answers of several turns")
    return [[next(given) if reads else None for reads in own] for own, given in zip(single, found, strict=True)]


def _rows_of(context: Context) -> Iterator[Feedback]:
    source = context.source("data")
    if source.record not in (Feedback, Preference):
        raise DataError(f"{source.name} holds {HELD[source.record]}; functions vote on feedback or on preference pairs")
    context.note(layout=source.format)
    for record in context.records(source):
        yield as_feedback(record) if isinstance(record, Preference) else record


def _known(context: Context, config: Label) -> KnownLabels | None:
    if not context.has("truth"):
        return None
    source = context.open(
        config.model_copy(update={"layout": None, "map": None, "limit": None}), context.inputs["truth"]
    )
    if source.record is not Preference:
        raise DataError(
            f"{source.name} holds {HELD[source.record]}; a labelled sample is of pairs, whose chosen answer is right"
        )
    known = KnownLabels.of(cast("Iterator[Preference]", read_counted(context.run, source, "read-truth")))
    if known.contrary:
        context.note(contrary_labels=known.contrary)
        context.log(f"{known.contrary:,} pairs of {source.name} say the contrary of another one; none of them counts")
    return known


def _together(held: VoteLabels, method: Method, table: VoteTable) -> Annotators | None:
    """What all say together; None where no two vote on the same answers."""
    several = sum(bool(own) for own in table.votes.values()) > 1
    met = any(sum(item in own for own in table.votes.values()) > 1 for item in table.items)
    return held.fit(method) if several and met else None


def _tell(context: Context, table: VoteTable, together: Annotators | None) -> None:
    figures = table.figures()
    majority = table.accuracy(table.majority()) if table.known is not None else None
    joint = table.accuracy(likeliest(together)) if table.known is not None and together is not None else None
    context.write_findings(label_sections(table, figures, together, majority, joint))
    told: dict[str, Any] = {each.name: {"votes": each.votes} for each in figures}
    for each in figures:
        told[each.name] |= {"coverage": note_estimate(each.coverage), "conflicts": note_estimate(each.conflicts)}
        if each.accuracy is not None:
            told[each.name] |= {"accuracy": note_estimate(each.accuracy.right)}
    context.note(pairs_of_answers=len(table.items), functions=told)
    if table.known is not None:
        context.note(labelled=len(table.truth))
        if not table.truth:
            raise DataError(
                f"{context.inputs['truth']} labels none of these answers: prompt and both texts must be the same"
            )
    if together is not None:
        context.note(together=together.as_json())
        if joint is not None and majority is not None:
            context.note(accuracy=note_estimate(joint.right), accuracy_of_majority=note_estimate(majority.right))
    else:
        context.log("no two functions vote on the same answers: nothing is said of them together")
