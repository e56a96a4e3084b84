"""What people have decided on the rows of a review, kept up with the store of decisions while it grows.

New rulings are read by their numbers, and only the rows that they are on are worked out again; the tables know nothing
of decisions and are never built for them. A ruling finds its rows by its target; one on a completion that stands at
another place now, by its prompt and its text; one on feedback as a whole is on each of its answers. Owns which rows a
ruling is on and the state of each row; what counts of several rulings is owned by ``decisions.settle``.
"""

import threading
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from notus.decisions.ruling import ACTIONS, Ruling, in_force
from notus.decisions.settle import settle_target
from notus.decisions.store import Store
from notus.review.records import State
from notus.review.tables.columns import Columns, Mask, Places
from notus.review.tables.parts import number_of

__all__ = ["Decided", "values_of"]

_Target = tuple[str, str]
_MANY = 256


class Decided:
    """The state of each row. It may be asked and brought up to date from several threads."""

    def __init__(self, columns: Columns, store: Store | None, beside: Columns | None = None) -> None:
        self._columns, self._store, self._beside = columns, store, beside
        self._lock = threading.Lock()
        self._last = 0
        self._rulings: dict[str, list[Ruling]] = {}
        self._rows: dict[_Target, tuple[int, ...]] = {}
        self._targets: dict[int, dict[str, None]] = {}
        self._missing: dict[str, None] = {}
        self._states: dict[State, int] = {State(): 0}
        self.states: tuple[State, ...] = (State(),)
        """The states that there are."""
        self.codes: NDArray[np.int32] = np.zeros(len(columns), np.int32)
        """Of each row the number of its state."""
        self.version = 0
        """Raised whenever a state changes."""
        self.people: tuple[str, ...] = ()
        """All who decided anything here that stands."""
        self.elsewhere = 0
        """Targets of rulings in force that are on none of the rows, nor on what stands beside them."""

    def refresh(self) -> int:
        """Take up what was decided since; the number of new rulings."""
        if self._store is None:
            return 0
        with self._lock:
            new = list(self._store.rulings(after=self._last))
            if not new:
                return 0
            touched: dict[int, None] = {}
            self._find_at_once(new)
            for each in new:
                self._rulings.setdefault(each.target, []).append(each)
                rows = self._rows_of(each)
                if not rows and not self._is_beside(each):
                    self._missing[each.target] = None
                for row in rows:
                    self._targets.setdefault(row, {})[each.target] = None
                    touched[row] = None
            self._last = new[-1].number
            self._update(touched)
            self.people = tuple(sorted({who for state in self.counts(None) for who in state.who}))
            self.elsewhere = sum(1 for target in self._missing if in_force(self._rulings[target]))
            return len(new)

    def rows_in(self, wanted: Iterable[bool]) -> Mask:
        """The rows whose state is wanted, of ``states`` each said."""
        table = np.fromiter(wanted, bool)
        codes = self.codes
        found: Mask = table[np.minimum(codes, len(table) - 1)]
        return found

    def counts(self, places: Places | None) -> dict[State, int]:
        """State → rows at these places (None: all) that are in it."""
        codes, states = self.codes, self.states
        if len(states) == 1:  # nothing is decided
            return {states[0]: len(codes) if places is None else len(places)}
        counts = np.bincount(codes if places is None else codes[places], minlength=len(states)).tolist()
        return {state: count for state, count in zip(states, counts, strict=False) if count}

    def state(self, row: int) -> State:
        """The state of a row."""
        state: State = self.states[int(self.codes[row])]
        return state

    def on(self, *targets: str) -> tuple[Ruling, ...]:
        """The rulings in force on some targets, in their order."""
        every = self.history(*targets)
        return every if len(every) == 1 and every[0].what != "undo" else tuple(in_force(every))

    def on_row(self, row: int) -> tuple[Ruling, ...]:
        """The rulings in force that are on a row, whatever target they name."""
        return self.on(*self._targets.get(row, ()))

    def history(self, *targets: str) -> tuple[Ruling, ...]:
        """All rulings on some targets, with what was undone, in their order."""
        found = [each for target in dict.fromkeys(targets) for each in self._rulings.get(target, ())]
        return tuple(sorted(found, key=lambda each: each.number))

    def targets_of(self, row: int) -> tuple[str, ...]:
        """The targets of all rulings on a row."""
        return tuple(self._targets.get(row, ()))

    def _rows_of(self, ruling: Ruling) -> tuple[int, ...]:
        known = (ruling.target, ruling.of)
        if not self._rows.get(known):
            self._rows[known] = self._find(ruling)
        return self._rows[known]

    def _find_at_once(self, rulings: list[Ruling]) -> None:
        """Find the rows of many rulings whose targets are rows' own ids, which nearly all are."""
        own = [
            each for each in rulings if each.of == self._columns.built.of and (each.target, each.of) not in self._rows
        ]
        if len(own) < _MANY:
            return
        ids = np.array([number_of(each.target) for each in own], np.uint64)
        order = self._columns.by_id
        starts = np.searchsorted(self._columns.id, ids, side="left", sorter=order).tolist()
        stops = np.searchsorted(self._columns.id, ids, side="right", sorter=order).tolist()
        for each, start, stop in zip(own, starts, stops, strict=True):
            if start < stop:
                self._rows[each.target, each.of] = tuple(order[start:stop].tolist())

    def _find(self, ruling: Ruling) -> tuple[int, ...]:
        columns, of = self._columns, self._columns.built.of
        target = number_of(ruling.target)
        if ruling.of == "feedback" and of == "completion":
            return tuple(columns.rows_of_feedback(target).tolist())
        if ruling.of != of:
            return ()
        rows = columns.rows_of_id(target)
        if not len(rows) and of == "completion" and ruling.prompt and ruling.answer:
            rows = columns.rows_of_prompt(number_of(ruling.prompt))
            rows = rows[columns.answer[rows] == np.uint64(number_of(ruling.answer))]
        return tuple(rows.tolist())

    def _is_beside(self, ruling: Ruling) -> bool:
        """Whether it is on the feedback that stands beside the rows: it is shown there, and no row's own."""
        if self._beside is None or ruling.of not in ("completion", "feedback"):
            return False
        find = self._beside.rows_of_id if ruling.of == "completion" else self._beside.rows_of_feedback
        return len(find(number_of(ruling.target))) > 0

    def _update(self, rows: Iterable[int]) -> None:
        codes = self.codes.copy()
        for row in rows:
            targets = self._targets[row]
            own = self._rulings[next(iter(targets))]
            if len(targets) == len(own) == 1 and own[0].what != "undo":  # as nearly always
                state = _state_of((own[0],))
            else:
                state = _state_of(self.on(*targets))
            codes[row] = self._states.setdefault(state, len(self._states))
        # In this order, so that no reader meets a code without its state.
        self.states = tuple(self._states)
        self.codes = codes
        self.version += 1


def values_of(state: State) -> tuple[str, ...]:
    """The values of ``decided`` that a state has."""
    return (*state.what, "yes" if state.decided else "no", *(("conflict",) if state.conflict else ()))


def _state_of(rulings: tuple[Ruling, ...]) -> State:
    """The state of a row by the rulings in force on it."""
    if not rulings:
        return State()
    if len(rulings) == 1 and rulings[0].what in ("keep", "drop", "swap", "cannot-tell"):  # as nearly always
        return State(verdict=rulings[0].what, who=(rulings[0].who,), what=(rulings[0].what,))
    what = Counter(each.what for each in rulings)
    own = [each for each in rulings if each.of != "feedback"]
    settled = [settle_target(each) for each in (own, [each for each in rulings if each.of == "feedback"]) if each]
    verdict = next((str(each.verdict.value) for each in settled if each.verdict), "")
    if not verdict and any(each.cannot_tell for each in settled):
        verdict = "cannot-tell"
    scores = {name: word.value for each in reversed(settled) for name, word in each.scores.items()}
    return State(
        verdict=verdict,
        conflict=any(each.conflicts for each in settled),
        who=tuple(dict.fromkeys(each.who for each in rulings if each.what != "note")),
        what=tuple(each for each in ACTIONS if what[each]),
        scores=tuple((name, None if value is None else float(value)) for name, value in sorted(scores.items())),
    )
