"""A form as flat rows: which columns there are, what stands in them, and how they are read back.

    decision  score  why  reasons  evidence  prompt  answer  critique_answer  scores  new_answer  …  id  key

The first three are filled in, and ``new_…`` where a text shall be another; all else is shown. Owns the columns, which
spreadsheets, JSON lines and the page share. The tools for annotation have shapes of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notus.core.text import one_line
from notus.decisions.forms.answers import DECISIONS, Answer
from notus.decisions.forms.item import ALL_TEXTS, TEXTS, Item, encode_key, target_text

__all__ = ["NEW", "answer_of_row", "asked_of", "columns_of", "row_of", "shown_of", "texts_of", "verdicts_of"]

NEW = "new_"
"""Begins the name of a column that takes a text in the place of another."""
_BEHIND = ("models", "source", "place", "q", "feedback_id", "file", "line", "id", "key")


def verdicts_of(items: Iterable[Item]) -> list[str]:
    """The decisions that there are on some items."""
    return list(dict.fromkeys(name for item in items for name in DECISIONS[item.of]))


def texts_of(items: Iterable[Item]) -> list[str]:
    """Names of the texts that some items have, in their order."""
    there = {name for item in items for name in TEXTS[item.of]}
    return [name for name in ALL_TEXTS if name in there]


def shown_of(items: Sequence[Item]) -> list[str]:
    """What is looked at: reasons, texts, what was written of them, scores; where any item has it."""
    texts = texts_of(items)
    flags = [name for name in ("reasons", "evidence") if any(getattr(item, name) for item in items)]
    critiques = [f"critique_{name}" for name in texts if any(name in item.critiques for item in items)]
    return [*flags, *texts, *critiques, *(["scores"] if any(item.scores for item in items) else [])]


def asked_of(items: Sequence[Item]) -> list[str]:
    """What may be filled in beside the decision."""
    scored = ["score"] if any(item.of == "completion" for item in items) else []
    edits = [f"{NEW}{name}" for name in texts_of(items) if any(name in item.editable for item in items)]
    return [*scored, "why", *edits]


def columns_of(items: Sequence[Item]) -> list[str]:
    """The columns of some items: those to be filled in first, then what is looked at, then what it is known by."""
    asked = asked_of(items)
    edits = [name for name in asked if name.startswith(NEW)]
    behind = [name for name in _BEHIND if name in ("id", "key") or any(getattr(item, name) for item in items)]
    return ["decision", *(name for name in asked if name not in edits), *shown_of(items), *edits, *behind]


def row_of(item: Item, columns: Sequence[str], shown: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The row of an item: column → text, number or None; lists and objects as one text.

    Args:
        item: what is shown.
        columns: see ``columns_of``.
        shown: its texts as the form shows them, where it cannot show them whole.
    """
    texts = item.texts if shown is None else shown
    known: dict[str, Any] = {
        "reasons": ", ".join(item.reasons),
        "evidence": item.evidence,
        "scores": _format_scores(item),
        "models": " · ".join(f"{name}: {model}" for name, model in item.models.items()),
        "source": item.source,
        "place": item.place,
        "q": item.q,
        "feedback_id": f"feedback:{item.feedback_id}" if item.feedback_id else "",
        "file": item.file,
        "line": item.line,
        "id": target_text(item),
        "key": encode_key(item, texts),
    }
    known |= dict(texts) | {f"critique_{name}": text for name, text in item.critiques.items()}
    return {name: known.get(name) or None for name in columns}


def _format_scores(item: Item) -> str:
    """The scores in one line."""
    said = ((name, "none" if value is None else f"{value:.4g}") for name, value in item.scores.items())
    return " · ".join(f"{name} {value}" for name, value in said)


def answer_of_row(row: Mapping[str, Any], where: str) -> Answer | str:
    """A row as it came back; in place of one that is none, what is wrong with it."""
    texts = [name for name in ("decision", "why", "id", "key", "who", "when") if not _is_text(row.get(name))]
    texts += [name for name in row if name.startswith(NEW) and not _is_text(row[name])]
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, str | float | int | None):
        texts.append("score")
    if texts:
        return f"{where}: '{texts[0]}' is {one_line(repr(row[texts[0]]), 40)}; a text is needed"
    reasons = row.get("reasons") or ()
    return Answer(
        where=where,
        target=row.get("id") or "",
        key=row.get("key") or "",
        who=row.get("who") or "",
        when=row.get("when") or "",
        decision=row.get("decision") or "",
        score=score,
        why=row.get("why") or "",
        edits={name.removeprefix(NEW): text for name, text in row.items() if name.startswith(NEW) and text},
        texts={name: row[name] for name in ALL_TEXTS if name in row and _is_text(row[name])},
        reasons=tuple(reasons.split(", ") if isinstance(reasons, str) else map(str, reasons)),
    )


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)
