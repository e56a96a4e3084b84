"""The rows that an audit flags, whole: prompt, answers side by side, scores, critique, evidence, place, what to try.

Owns which texts are shown of a row, how much of them, and the commands. What is flagged is the business of ``audit``,
how a row looks that of ``report.page``.
"""

import shlex
from collections.abc import Sequence

from notus.audit.feedback import FLAGS, Suspicion
from notus.audit.pairs import CHANCE_FLAGS, NO_FACTS, PAIR_FLAGS, Pair
from notus.audit.signals import FACTS, SIGNALS, SURE
from notus.core.records import Completion, Feedback, Preference, format_turns
from notus.core.text import counted
from notus.report.page import FlaggedAnswer, FlaggedRow

__all__ = ["flagged_completion", "flagged_pair", "place_of"]

_LONGEST = 6_000
"""Characters of a text that are shown."""
_BESIDE = 3
"""Other answers to the prompt that are shown."""
_BESIDE_LONGEST = 2_000
_CLEANED = frozenset({"same-answers", "same-but-scored-apart", "score-tie", "reversed", "empty-answer", "unscored"})
"""Flags that are the names of filters of ``notus clean``."""


def place_of(file: str, line: int) -> str:
    """Where a row stands: ``feedback.jsonl:12``, or as much of it as is known."""
    if not line:
        return file
    return f"{file}:{line}" if file else f"row {line}"


def flagged_completion(row: Suspicion, feedback: Feedback, source: str, run: str = "") -> FlaggedRow:
    """A completion with those beside it.

    Args:
        row: what the audit says of it.
        feedback: its record.
        source: name of the set, for commands.
        run: the run directory of the audit, which ``notus explain`` reads; empty takes the set.
    """
    others = [place for place in range(len(feedback.completions)) if place != row.index]
    shown = sorted([row.index, *others[:_BESIDE]])
    cuts: list[str] = []
    answers = [_answer(feedback, place, place == row.index, cuts) for place in shown]
    prompt = _cut(format_turns(feedback.prompt), _LONGEST, "the prompt", cuts)
    if left := len(others) - _BESIDE:
        cuts += [f"{counted(left, 'further answer')} to the prompt"] if left > 0 else []
    return FlaggedRow(
        title=_title(row.suspicion if row.reasons else None, row.q),
        id=row.id,
        where=place_of(row.file, row.line),
        prompt=prompt,
        answers=tuple(answers),
        reasons=_meanings(row.reasons, SIGNALS, FACTS) + tuple(f"{flag}: {FLAGS[flag]}" for flag in row.flags),
        evidence=row.evidence,
        left_out=f"Not shown: {', '.join(cuts)}." if cuts else "",
        commands=_commands(row, source, run),
    )


def flagged_pair(row: Pair, pair: Preference, source: str, run: str = "") -> FlaggedRow:
    """A pair, its two answers side by side."""
    cuts: list[str] = []
    sides = (
        ("Chosen", row.model_chosen, pair.chosen, row.score_chosen),
        ("Rejected", row.model_rejected, pair.rejected, row.score_rejected),
    )
    answers = tuple(
        FlaggedAnswer(
            label=f"{name} · {model}" if model else name,
            text=_cut(format_turns(turns), _LONGEST, name.lower(), cuts),
            scores=() if score is None else (f"score {score:g}",),
        )
        for name, model, turns, score in sides
    )
    filters = [flag for flag in row.flags if flag in _CLEANED]
    commands = [f"notus explain {row.id[:8]} --run {shlex.quote(run or source)}"]
    if filters:
        chosen = " ".join(f"--filter {name}" for name in filters)
        commands.append(f"notus clean {shlex.quote(source)} {chosen} --dry-run --out runs/clean")
    return FlaggedRow(
        title=_title(row.suspicion, row.q if CHANCE_FLAGS & {*row.flags} else None),
        id=row.id,
        where=place_of(row.file, row.line),
        prompt=_cut(format_turns(pair.prompt), _LONGEST, "the prompt", cuts),
        answers=answers,
        reasons=_meanings(row.flags, PAIR_FLAGS, frozenset(PAIR_FLAGS) - NO_FACTS),
        evidence=row.evidence,
        left_out=f"Not shown: {', '.join(cuts)}." if cuts else "",
        commands=tuple(commands),
    )


def _title(place: int | None, q: float | None) -> str:
    said = [f"Place {place:,}"] if place else []
    if q is not None:
        said.append(f"q = {q:.2g}" + ("" if q <= SURE else ", may well be chance"))
    return " · ".join(said) or "Flagged"


def _meanings(slugs: Sequence[str], meanings: dict[str, str], facts: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{slug}: {meanings[slug]}" + (" (a fact)" if slug in facts else "") for slug in slugs)


def _answer(feedback: Feedback, place: int, flagged: bool, cuts: list[str]) -> FlaggedAnswer:
    item = feedback.completions[place]
    name = f"Answer {place + 1}"
    critique = item.critique.text if item.critique else ""
    longest = _LONGEST if flagged else _BESIDE_LONGEST
    return FlaggedAnswer(
        label=f"{name} · {item.model}" if item.model else name,
        text=_cut(format_turns(item.answer) if item.turns else item.text, longest, name.lower(), cuts),
        scores=tuple(_scores(item)),
        said=_cut(critique, longest, f"the critique of {name.lower()}", cuts),
        flagged=flagged,
    )


def _scores(item: Completion) -> list[str]:
    found = [] if item.overall_score is None else [f"overall score {item.overall_score:g}"]
    for each in item.ratings:
        by = f" by {each.rater}" if each.rater else ""
        found.append(f"{each.aspect} {'N/A' if each.value is None else f'{each.value:g}'}{by}")
    return found


def _cut(text: str, longest: int, what: str, cuts: list[str]) -> str:
    """The text, cut where it is too long; what was cut is counted."""
    if len(text) <= longest:
        return text
    cuts.append(f"{len(text) - longest:,} characters of {what}")
    return f"{text[:longest].rstrip()} …"


def _commands(row: Suspicion, source: str, run: str) -> tuple[str, ...]:
    name = shlex.quote(source)
    found = [f"notus explain {row.id[:8]} --run {shlex.quote(run or source)}"]
    if row.repair in ("set-to-1", "ask-again"):
        found.append(f"notus repair {name} --out runs/repaired  # the published rule says: {row.repair}")
    return tuple(found)
