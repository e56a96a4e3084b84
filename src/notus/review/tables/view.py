"""One row of the list, and one record whole, as the page shows them: with what judges, an audit and people said."""

import math
from dataclasses import replace

from notus.core.disk.withdrawn import answer_digest
from notus.core.records import Completion, Dialogue, Feedback, Message, Preference, Ranking, Unpaired, format_turns
from notus.formats.format import Data
from notus.review.records import RecordView, Row, Shown
from notus.review.tables.columns import Columns
from notus.review.tables.decided import Decided
from notus.review.tables.join import Beside
from notus.review.tables.parts import MISSING
from notus.review.tables.whole import Records

__all__ = ["Views"]

_Answers = tuple[tuple[Shown, ...], tuple[Ranking, ...]]


class Views:
    """Makes rows and records to be shown, of the tables of one review."""

    def __init__(
        self, columns: Columns, records: Records, decided: Decided, beside: Beside | None, others: Records | None
    ) -> None:
        self._columns, self._records, self._decided = columns, records, decided
        self._beside, self._others = beside, others

    def row(self, number: int) -> Row:
        """A line of the list."""
        columns = self._columns
        suspicion, q, reasons, evidence = _audited(columns, number)
        identifier, copy = f"{int(columns.id[number]):016x}", int(columns.copy[number])
        index = int(columns.index[number])
        answer = int(columns.answer[number])
        feedback = int(columns.feedback[number])
        return Row(
            number=number,
            id=identifier,
            key=f"{identifier}.{copy}" if copy else identifier,
            of=columns.built.of,
            prompt_id=f"{int(columns.prompt[number]):016x}",
            feedback_id=f"{feedback:016x}" if feedback else "",
            answer=f"{answer:016x}" if answer and columns.built.of == "completion" else "",
            file=_word(columns, "file", number),
            line=int(columns.line[number]),
            index=None if index == MISSING else index,
            source=_word(columns, "source", number),
            model=_word(columns, "model", number),
            model_rejected=_word(columns, "rejected", number),
            title=columns.title[int(columns.group[number])].as_py(),
            excerpt=columns.excerpt[number].as_py(),
            score=_number(columns, "score", number),
            rating=_number(columns, "rating", number),
            margin=_number(columns, "margin", number),
            length=int(columns.numbers["length"][number]),
            suspicion=suspicion,
            q=q,
            reasons=reasons,
            evidence=evidence,
            state=self._decided.state(number),
        )

    def view(self, number: int) -> RecordView:
        """A record whole, of one of its rows."""
        row, record = self.row(number), self.record(number)
        answers, rankings = self._answers(number, record)
        # A ruling on a prompt with all its answers stands beside those on the record itself.
        whole = [row.feedback_id] if isinstance(record, Feedback) else []
        targets = dict.fromkeys((*self._decided.targets_of(number), row.id, *whole))
        return RecordView(
            row=row,
            prompt=record.messages if isinstance(record, Dialogue) else record.prompt,
            answers=answers,
            asked=row.index,
            rankings=rankings,
            extra=record.extra,
            joined=self._beside is not None and bool(self._beside.chosen[number] >= 0),
            desirable=record.desirable if isinstance(record, Unpaired) else None,
            rulings=self._decided.on(*targets),
            history=self._decided.history(*targets),
        )

    def record(self, number: int) -> Data:
        """The record of a row."""
        return self._records[int(self._columns.group[number])]

    def texts(self, numbers: list[int]) -> dict[int, tuple[str, str]]:
        """Prompt and answer of some rows."""
        columns = self._columns
        records = self._records.at({int(columns.group[number]) for number in numbers})
        return {
            number: _texts_of(records[int(columns.group[number])], int(columns.index[number])) for number in numbers
        }

    def _answers(self, number: int, record: Data) -> _Answers:
        if isinstance(record, Feedback):
            first = int(self._columns.first_rows[self._columns.group[number]])
            return self._completions(self._columns, first, record), record.rankings
        if isinstance(record, Preference):
            chosen = _side("chosen", record.chosen, record.model_chosen, record.score_chosen)
            rejected = _side("rejected", record.rejected, record.model_rejected, record.score_rejected)
            return self._joined(number, [chosen, rejected])
        if isinstance(record, Unpaired):
            return self._joined(number, [_side("answer", record.answer, record.model, record.score)])
        return (), ()

    def _joined(self, number: int, own: list[Shown]) -> _Answers:
        """Answers with what their feedback says of them, and the other answers of the feedback behind."""
        beside, others = self._beside, self._others
        if beside is None or others is None or beside.record[number] < 0:
            return tuple(own), ()
        group = int(beside.record[number])
        feedback = others[group]
        assert isinstance(feedback, Feedback), "pairs stand beside feedback"
        first = int(beside.columns.first_rows[group])
        every = self._completions(beside.columns, first, feedback)
        places = [int(beside.chosen[number]) - first, int(beside.rejected[number]) - first][: len(own)]
        shown = [
            replace(every[place], role=side.role, turns=side.turns, text=side.text) if 0 <= place < len(every) else side
            for side, place in zip(own, places, strict=True)
        ]
        return (*shown, *(each for at, each in enumerate(every) if at not in places)), feedback.rankings

    def _completions(self, columns: Columns, first: int, record: Feedback) -> tuple[Shown, ...]:
        """The answers of a feedback record, whose rows begin at ``first``."""
        found = []
        for place, each in enumerate(record.completions):
            suspicion, q, reasons, evidence = _audited(columns, first + place)
            identifier = record.completion_id(place)
            targets: tuple[str, ...] = (identifier,)
            if columns is self._columns:
                targets = (*self._decided.targets_of(first + place), identifier)
            rulings = [one for one in self._decided.on(*targets) if one.of == "completion"]
            shown = _shown(each, identifier, place)
            found.append(
                replace(shown, suspicion=suspicion, q=q, reasons=reasons, evidence=evidence, rulings=tuple(rulings))
            )
        return tuple(found)


def _shown(completion: Completion, identifier: str, place: int | None) -> Shown:
    critique = completion.critique
    return Shown(
        id=identifier,
        answer=answer_digest(completion.text),
        role="",
        index=place,
        model=completion.model,
        text=completion.text,
        turns=completion.answer,
        score=completion.overall_score,
        rating=completion.mean_rating,
        ratings=completion.ratings,
        critique=critique.text if critique else "",
        rater=critique.rater if critique else "",
        principle=completion.principle,
        system_prompt=completion.system_prompt,
        suspicion=None,
        q=None,
        reasons=(),
        evidence="",
        extra=completion.extra,
        rulings=(),
        scale=critique.scale if critique else None,
    )


def _side(role: str, turns: tuple[Message, ...], model: str, score: float | None) -> Shown:
    """An answer of which only the pair tells."""
    shown = _shown(Completion(text=_last(turns), model=model), "", None)
    return replace(shown, role=role, turns=turns, score=score)


def _last(turns: tuple[Message, ...]) -> str:
    return next((turn.content for turn in reversed(turns) if turn.role == "assistant"), turns[-1].content)


def _texts_of(record: Data, index: int) -> tuple[str, str]:
    if isinstance(record, Feedback):
        return format_turns(record.prompt), format_turns(record.completions[index].answer)
    if isinstance(record, Preference):
        return format_turns(record.prompt), format_turns(record.chosen)
    if isinstance(record, Unpaired):
        return format_turns(record.prompt), format_turns(record.answer)
    answers = [turn.content for turn in record.messages if turn.role == "assistant"]
    return format_turns(record.messages), "\n".join(answers)


def _audited(columns: Columns, number: int) -> tuple[int | None, float | None, tuple[str, ...], str]:
    """Suspicion, q, reasons and evidence of a row."""
    suspicion = _number(columns, "suspicion", number)
    words = columns.words.get("reason")
    evidence = columns.evidence[number].as_py() if columns.evidence is not None else None
    return (
        None if suspicion is None else int(suspicion),
        _number(columns, "q", number),
        words.patterns[words.codes[number]] if words else (),
        evidence or "",
    )


def _number(columns: Columns, key: str, number: int) -> float | None:
    if key not in columns.numbers:
        return None
    value = float(columns.numbers[key][number])
    return None if math.isnan(value) else value


def _word(columns: Columns, key: str, number: int) -> str:
    words = columns.words[key]
    return next(iter(words.patterns[words.codes[number]]), "")
