"""Open what is to be reviewed: feedback, pairs, unpaired answers or dialogues, of a source or of a run."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import ConfigError, InputError
from notus.core.records import Dialogue, Feedback, Message, Preference, Unpaired, format_turns
from notus.core.stage import Tally
from notus.core.text import one_line
from notus.decisions.ruling import ACTIONS, Ruling, in_force
from notus.decisions.store import Store
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.review.filter import NUMBERS, Filter, Range
from notus.review.records import (
    Around,
    Bar,
    Cell,
    Choice,
    Facet,
    Facts,
    Grid,
    Histogram,
    Neighbour,
    Page,
    Progress,
    RecordView,
    Row,
    Shown,
    State,
    Target,
)

__all__ = ["open_review"]

_LABELS = {
    **{"source": "Source", "model": "Model", "rejected": "Model rejected", "aspect": "Aspect", "rater": "Rater"},
    **{"reason": "Reason", "desirable": "Wanted", "decided": "Decided", "who": "Decided by"},
    **{"score": "Overall score", "rating": "Mean rating", "margin": "Margin", "length": "Length of the answer"},
    **{"suspicion": "Place by suspicion", "q": "q"},
}


def open_review(
    given: str | Path,
    *,
    opened: Callable[[str], Source] = open_source,
    feedback: str | Path | None = None,
    audit: str | Path | None = None,
    decisions: Store | None = None,
    cache: Path | None = None,
    workers: int | None = None,
) -> "_Plain":
    """Open a source or a run for review; the tables are built where they are not there yet.

    Args:
        given: a file, a folder, a hub id, or a run directory: of an audit, or one that left records.
        opened: how a path or a hub id becomes a source; the command line gives what reads its settings.
        feedback: the feedback that pairs came from, where it is not found by the run's inputs.
        audit: an audit of this source, for suspicion and reasons.
        decisions: the store that decisions are read from; it is not closed here.
        cache: folder for the tables; None takes ``.notus/review`` beside what is read.
        workers: number of processes of the build; None takes the cores that may be used.

    Raises:
        InputError: if there is nothing to read, or what is given does not belong together.
    """
    return _Plain(list(opened(str(given)).records(Tally("read"), Quarantine())), str(given), decisions)


class _Plain:
    def __init__(self, records: list[Any], name: str, store: Store | None) -> None:
        self.rows: list[tuple[Row, Any, dict[str, Any]]] = []
        for record in records:
            self.rows += self._rows_of(record)
        self.store, self.rulings = store, list[Ruling]()
        self.refresh()
        self.facts = Facts(
            name,
            self.rows[0][0].of,
            len(self.rows),
            len({row.prompt_id for row, *_ in self.rows}),
            (),
            tuple(key for key in NUMBERS if any(getattr(row, key) is not None for row, *_ in self.rows)),
            (*NUMBERS, "file", "random"),
            ("source", "model", "reason", "decided", "who"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _rows_of(self, record: Any) -> Iterable[tuple[Row, Any, dict[str, Any]]]:
        def row(id_: str, of: Any, text: str, **more: Any) -> Row:
            values: dict[str, Any] = {
                **dict.fromkeys(("model", "model_rejected", "answer", "feedback_id", "evidence"), ""),
                **dict.fromkeys(("index", "score", "rating", "margin", "suspicion", "q")),
                **{"reasons": (), "state": State(), "source": record.source, "file": record.file, "line": record.line},
                **{"excerpt": one_line(text, 160), "length": len(text), **more},
            }
            prompt = record.messages if isinstance(record, Dialogue) else record.prompt
            title = one_line(prompt[-1].content, 160) if prompt else ""
            pid = record.id if isinstance(record, Dialogue) else record.prompt_id
            return Row(number=self._next(), id=id_, of=of, prompt_id=pid, title=title, **values)

        if isinstance(record, Feedback):
            for place, each in enumerate(record.completions):
                scores = [item.overall_score for at, item in enumerate(record.completions) if at != place]
                best = max((one for one in scores if one is not None), default=None)
                yield (
                    row(
                        record.completion_id(place),
                        "completion",
                        each.text,
                        answer=answer_digest(each.text),
                        feedback_id=record.id,
                        index=place,
                        model=each.model,
                        score=each.overall_score,
                        rating=each.mean_rating,
                        margin=None if best is None or each.overall_score is None else each.overall_score - best,
                    ),
                    record,
                    {"aspect": [one.aspect for one in each.ratings if one.value is not None]},
                )
        elif isinstance(record, Preference):
            margin = record.margin
            if record.score_chosen is not None and record.score_rejected is not None:
                margin = record.score_chosen - record.score_rejected
            yield (
                row(
                    record.id,
                    "pair",
                    format_turns(record.chosen),
                    feedback_id=record.feedback_id,
                    score=record.score_chosen,
                    margin=margin,
                    model=record.model_chosen,
                    model_rejected=record.model_rejected,
                ),
                record,
                {},
            )
        elif isinstance(record, Unpaired):
            yield row(record.id, "row", format_turns(record.answer), score=record.score, model=record.model), record, {}
        else:
            yield row(record.id, "dialogue", ""), record, {}

    def _next(self) -> int:
        self.number = getattr(self, "number", -1) + 1
        return self.number

    def refresh(self) -> int:
        new = list(self.store.rulings(self.rulings[-1].number if self.rulings else 0)) if self.store else []
        self.rulings += new
        self.force = in_force(self.rulings)
        return len(new)

    def _state(self, row: Row) -> State:
        own = [each for each in self.force if each.target in (row.id, row.feedback_id)]
        verdicts = {each.what for each in own if each.what in ("keep", "drop", "swap", "cannot-tell")}
        what = {each.what for each in own}
        return State(
            verdict=next(iter(verdicts)) if len(verdicts) == 1 else "",
            conflict=len(verdicts) > 1,
            who=tuple(dict.fromkeys(each.who for each in own)),
            what=tuple(each for each in ACTIONS if each in what),
        )

    def _has(self, key: str, row: Row, more: dict[str, Any]) -> list[str]:
        if key == "decided":
            state = self._state(row)
            return [*state.what, "yes" if state.decided else "no", *(["conflict"] if state.conflict else [])]
        if key == "who":
            return list(self._state(row).who)
        found = {
            **{"source": [row.source], "model": [row.model], "rejected": [row.model_rejected]},
            **{"reason": list(row.reasons)},
        }
        return [each or "-" for each in (found | more).get(key, [])]

    def _lets(self, wanted: Filter, row: Row, more: dict[str, Any]) -> bool:
        for key in ("source", "model", "rejected", "aspect", "rater", "reason", "decided", "who"):
            values = getattr(wanted, key)
            if values and not set(values) & set(self._has(key, row, more)):
                return False
        if wanted.not_who and set(wanted.not_who) & set(self._state(row).who):
            return False
        for key in NUMBERS:
            if (range_ := getattr(wanted, key)) is not None and not _inside(range_, getattr(row, key)):
                return False
        ids = (row.id, row.prompt_id, row.feedback_id)
        if wanted.id and not any(one.startswith(each) for one in ids for each in wanted.id):
            return False
        return wanted.text.casefold() in f"{row.title} {row.excerpt}".casefold()

    def _list(self, wanted: Filter) -> list[Row]:
        from dataclasses import replace

        found = [replace(row, state=self._state(row)) for row, _, more in self.rows if self._lets(wanted, row, more)]
        key, down = (wanted.sort or "file").removeprefix("-"), wanted.sort.startswith("-")
        if key == "random":
            random.Random(wanted.seed).shuffle(found)
        elif key == "file":
            found = found[::-1] if down else found
        else:
            known = [row for row in found if getattr(row, key) is not None]
            known.sort(key=lambda row: (-1 if down else 1) * getattr(row, key))
            found = known + [row for row in found if getattr(row, key) is None]
        return found

    def page(self, filter: Filter, start: int = 0, count: int = 25) -> Page:  # noqa: A002
        found = self._list(filter)
        return Page(tuple(found[start : start + count]), start, len(found))

    def count(self, filter: Filter) -> int:  # noqa: A002
        return len(self._list(filter))

    def facets(self, filter: Filter, keys: Sequence[str] | None = None, most: int = 12) -> tuple[Facet, ...]:  # noqa: A002
        found = []
        for key in keys or self.facts.facets:
            other = filter.without(key)
            counts = Counter(
                v for row, _, more in self.rows if self._lets(other, row, more) for v in self._has(key, row, more)
            )
            chosen = getattr(filter, key)
            choices = tuple(Choice(v, "none" if v == "-" else v, n, v in chosen) for v, n in counts.most_common(most))
            found.append(Facet(key, _LABELS[key], choices, max(0, len(counts) - most)))
        return tuple(found)

    def histogram(self, filter: Filter, key: str, bars: int = 20) -> Histogram:  # noqa: A002, ARG002
        if key not in self.facts.numbers:
            raise ConfigError(f"there is no {key} here")
        every = sorted({getattr(row, key) for row, *_ in self.rows} - {None})
        values = [getattr(row, key) for row in self._list(filter.without(key))]
        known = [each for each in values if each is not None]
        counts = Counter(known)
        return Histogram(
            key,
            _LABELS[key],
            tuple(Bar(each, each, counts[each], str(Range(each, each))) for each in every[:40]),
            len(values) - len(known),
            len(values),
            log=key == "length",
        )

    def grid(self, filter: Filter, x: str = "rating", y: str = "score") -> Grid:  # noqa: A002
        found = self._list(filter.without(x, y))
        hx, hy = self.histogram(filter.without(y), x), self.histogram(filter.without(x), y)
        px, py = {bar.low: n for n, bar in enumerate(hx.bars)}, {bar.low: n for n, bar in enumerate(hy.bars)}
        counts = Counter((px.get(getattr(r, x)), py.get(getattr(r, y))) for r in found)
        cells = tuple(Cell(a, b, n) for (a, b), n in counts.items() if a is not None and b is not None)
        none = len(found) - sum(each.count for each in cells)
        return Grid(x, y, hx.label, hy.label, hx.bars, hy.bars, cells, none)

    def record(self, id: str) -> RecordView:  # noqa: A002
        row, record, _ = next((each for each in self.rows if each[0].id == id), (None, None, None))
        if row is None or record is None:
            raise InputError(f"there is no record {id}")
        answers: tuple[Shown, ...] = ()
        if isinstance(record, Feedback):
            answers = tuple(
                self._shown(
                    each.answer, record.completion_id(n), "", n, each.model, each.overall_score, each.mean_rating, each
                )
                for n, each in enumerate(record.completions)
            )
        elif isinstance(record, Preference):
            answers = (
                self._shown(record.chosen, "", "chosen", None, record.model_chosen, record.score_chosen),
                self._shown(record.rejected, "", "rejected", None, record.model_rejected, record.score_rejected),
            )
        elif isinstance(record, Unpaired):
            answers = (self._shown(record.answer, "", "answer", None, record.model, record.score),)
        own = [each for each in self.force if each.target in (row.id, row.feedback_id)]
        from dataclasses import replace

        return RecordView(
            replace(row, state=self._state(row)),
            record.messages if isinstance(record, Dialogue) else record.prompt,
            answers,
            row.index,
            getattr(record, "rankings", ()),
            record.extra,
            False,
            getattr(record, "desirable", None),
            tuple(own),
            tuple(each for each in self.rulings if each.target == id),
        )

    def _shown(
        self,
        turns: tuple[Message, ...],
        id_: str,
        role: str,
        index: int | None,
        model: str,
        score: float | None,
        rating: float | None = None,
        item: Any = None,
    ) -> Shown:
        text = item.text if item else turns[-1].content
        critique = item.critique if item else None
        return Shown(
            *(id_, answer_digest(text), role, index, model, text, turns, score, rating),
            *(item.ratings if item else (), critique.text if critique else "", critique.rater if critique else ""),
            *(item.principle if item else "", item.system_prompt if item else "", None, None, (), ""),
            *(item.extra if item else {}, tuple(each for each in self.force if id_ and each.target == id_)),
        )

    def around(self, filter: Filter, id: str) -> Around:  # noqa: A002
        ids = [row.id for row in self._list(filter)]
        place = ids.index(id) if id in ids else None
        if place is None:
            return Around(None, len(ids), "", ids[0] if ids else "")
        return Around(
            place, len(ids), ids[place - 1] if place else "", ids[place + 1] if place + 1 < len(ids) else ""
        )

    def neighbours(self, id: str, count: int = 8) -> tuple[Neighbour, ...]:  # noqa: A002
        own = self.record(id).row
        words = set(own.title.casefold().split())
        found = []
        for row, *_ in self.rows:
            other = set(row.title.casefold().split())
            if row.prompt_id != own.prompt_id and words & other:
                found.append(Neighbour(row, len(words & other) / len(words | other), "prompt"))
        return tuple(sorted(found, key=lambda each: -each.similarity)[:count])

    def sample(self, filter: Filter, count: int, seed: int = 0) -> Page:  # noqa: A002
        return self.page(filter.put("sort", "random").put("seed", str(seed)), 0, count)

    def targets(self, filter: Filter) -> tuple[Target, ...]:  # noqa: A002
        return tuple(Target(r.id, r.of, r.prompt_id, r.answer, r.reasons) for r in self._list(filter))

    def progress(self, filter: Filter) -> Progress:  # noqa: A002
        found = self._list(filter.without("decided", "who", "not-who"))
        people = Counter(who for row in found for who in row.state.who)
        return Progress(
            sum(row.state.decided for row in found),
            len(found),
            sum(row.state.conflict for row in found),
            tuple(sorted(people.items())),
        )


def _inside(wanted: Range, value: float | None) -> bool:
    if wanted.none or value is None:
        return wanted.none and value is None
    low = -math.inf if wanted.low is None else wanted.low
    high = math.inf if wanted.high is None else wanted.high
    return low <= value < high if wanted.without_high else low <= value <= high
