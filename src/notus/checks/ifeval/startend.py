"""IFEval's kinds on how an answer begins and ends."""

from notus.checks.settings import text

__all__ = ["end_checker", "quotation"]


def end_checker(answer: str, *, end_phrase: str) -> bool:
    """Whether the answer ends with a phrase. Case, space around it and quotation marks behind it do not count."""
    return answer.strip().strip('"').lower().endswith(text("end_phrase", end_phrase).strip().lower())


def quotation(answer: str) -> bool:
    """Whether the whole answer stands between straight double quotation marks."""
    answer = answer.strip()
    return len(answer) > 1 and answer.startswith('"') and answer.endswith('"')
