"""What the steps share that put rankers and judges to the test: whom they ask, and which pairs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from notus.collect.settings import EndpointSettings
from notus.core.artifacts import (
    HELD_OUT,
    SCORES,
    find_model,
)
from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.tables import read_records, table_exists
from notus.llm.protocol import Generator, Ranker
from notus.rankers.make import make_ranker
from notus.rankers.ref import RankerRef
from notus.rankers.settings import Ranking
from notus.steps.base import (
    HELD,
    Context,
    Reads,
    Serving,
)
from notus.steps.collect.asking import open_asking

__all__ = [
    "PairPlace",
    "Ranked",
    "ScoreRow",
    "by_kind",
    "models_named",
    "open_asking_if",
    "pairs_of",
    "rankers_of",
    "write_pair_scores",
]


ScoreRow = tuple[str, int, float | None, str]
"""Prompt, number of the pair, value, reason."""


class PairPlace(Protocol):
    """What a row of scores says of its pair."""

    @property
    def id(self) -> str:
        """Of the pair."""
        ...

    @property
    def file(self) -> str:
        """Where it stood."""
        ...

    @property
    def line(self) -> int:
        """Its line there."""
        ...


class Ranked(Reads, Serving, EndpointSettings):
    """What both steps share: how rankers work, and who is asked."""

    ranking: Ranking = Ranking()
    """How rankers work."""


def models_named(texts: tuple[str, ...]) -> tuple[str, ...]:
    """What rankers name; a text that was refused names nothing."""
    return tuple(model for text in texts if text for model in RankerRef.read(text).references)


def by_kind(text: str) -> str:
    """A ranker without the places of its models, which count by their content, among the inputs."""
    ref = RankerRef.read(text)
    return str(ref.with_references([f"<{number}>" for number in range(len(ref.references))]))


@contextmanager
def open_asking_if(context: Context, config: Any, *, needed: bool, total: int) -> Iterator[Generator | None]:
    """Who can be asked, where somebody is to be, and about how often."""
    if not needed:
        yield None
        return
    with open_asking(context, config) as asked:
        asked.progress.total = total
        yield asked.judge


def rankers_of(
    context: Context, texts: Sequence[str], ranking: Ranking, generator: Generator | None
) -> list[tuple[str, Ranker]]:
    """The rankers, of the models that the context.inputs name, each with what it is called here."""
    made: list[tuple[str, Ranker]] = []
    given = iter(map(str, context.places("models")))
    for text in texts:
        ref = RankerRef.read(text)
        places = [next(given) for _ in ref.references]
        counted = bool(places) or ref.about.asks  # the others cut nothing and ask nobody
        ref = ref.with_references([find_model(place) for place in places])
        ranker = make_ranker(
            ref, ranking, generator=generator, tally=context.tally("rank", "parts") if counted else None
        )
        # A ranker calls itself by its folder, which in a run directory is "model" and tells nothing.
        inside = bool(places) and find_model(places[0]) != places[0]
        label = f"#{ref.label}" if ref.label else ""
        made.append((f"{ref.kind}:{Path(places[0]).name}{label}" if inside else ranker.name, ranker))
    names = [name for name, _ in made]
    return [
        (name if names.count(name) == 1 else f"{name} ({number})", ranker)
        for number, (name, ranker) in enumerate(made, start=1)
    ]


def pairs_of(context: Context, config: Reads, given: str) -> list[Preference]:
    """The pairs of a source; of a run directory those held out, where there are some."""
    aside = HELD_OUT.at(Path(given))
    if table_exists(aside) and (held_out := list(read_records(aside, Preference))):
        context.note(read="the held-out pairs")
        kept = held_out[: config.limit]
        context.tally("read", "rows").count_all(len(kept))
        return kept
    source = context.open(config, given)
    if source.record is not Preference:
        raise DataError(f"{source.name} holds {HELD[source.record]} (layout {source.format}); this needs pairs")
    context.note(layout=source.format)
    return list(context.records(source))


def write_pair_scores(context: Context, pairs: Sequence[PairPlace], rows: Sequence[ScoreRow]) -> None:
    """The table that runs are compared by: the pair, its prompt and number, value, reason, where it stood."""
    names = ("prompt_id", "sample", "value", "reason")
    context.write_rows(
        SCORES,
        [
            {"id": pair.id, **dict(zip(names, row, strict=True)), "file": pair.file, "line": pair.line}
            for pair, row in zip(pairs, rows, strict=True)
        ],
    )
