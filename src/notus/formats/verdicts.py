"""Verdicts: the columns in which a row says of the answer beside them whether it is any good.

    kto_tag, label                         true or false, 1 or 0
    score, rating, reward                  a number; null or "N/A" where there is none
    rejected_response, rejected_messages   the answer that is worse
    chosen, rejected                       both

Owns which columns these are, and that a plain dialogue has none of them: its answer is one to imitate. What a verdict
makes of a row is owned by ``formats.families.trainers``.
"""

from notus.formats.fields import read_score
from notus.formats.format import Row
from notus.formats.quarantine import RowError

__all__ = ["LABELS", "PAIR", "REJECTED", "SCORES", "flag_of", "label_of", "refuse_verdict", "rejected_of", "scores_of"]

LABELS = ("kto_tag", "label")
SCORES = ("score", "rating", "reward")
REJECTED = ("rejected_response", "rejected_messages")
PAIR = ("chosen", "rejected")
_TRUTHS = {"true": True, "false": False}
_UNWANTED = frozenset({"bad", "dislike", "rejected", "thumbs_down", "thumbs down", "undesirable", "unwanted", "-1"})


def rejected_of(row: Row) -> str | None:
    """The column of the rejected answer alone."""
    return next((name for name in REJECTED if row.get(name) is not None), None)


def label_of(row: Row) -> str | None:
    """The column of a label that says whether the answer is wanted. Any other label, such as a topic, is none."""
    if row.get("kto_tag") is not None:
        return "kto_tag"
    flag = flag_of(row.get("label"))
    return "label" if isinstance(flag, (bool, int)) and flag in (0, 1) else None


def flag_of(value: object) -> object:
    """The value; a text "true" or "false", as tables have it, as the truth that it names."""
    return _TRUTHS.get(value.strip().lower(), value) if isinstance(value, str) else value


def scores_of(row: Row) -> list[str]:
    """The columns of scores, also of those that say that there is none."""
    return [name for name in SCORES if name in row and _is_score(row[name])]


def refuse_verdict(row: Row) -> None:
    """Refuse a row as a plain dialogue where somebody judged its answer, be it as a label in a word.

    Raises:
        RowError: ``has-verdict``, with the column.
    """
    label = "label" if str(row.get("label")).strip().lower() in _UNWANTED else label_of(row)
    names = (rejected_of(row), label, *scores_of(row), *PAIR)
    if (name := next((name for name in names if name and row.get(name) is not None), None)) is not None:
        raise RowError(name, "has-verdict", row[name])


def _is_score(value: object) -> bool:
    try:
        read_score(value, "")
    except RowError:
        return False
    return True
