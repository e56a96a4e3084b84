"""IFEval's kinds that are made of several."""

from notus.checks.settings import text

__all__ = ["repeat_prompt", "two_responses"]

_BETWEEN = "*" * 6


def repeat_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """Whether the answer begins with a text, as a rule the request. Case and space around it do not count."""
    return answer.strip().lower().startswith(text("prompt_to_repeat", prompt_to_repeat).strip().lower())


def two_responses(answer: str) -> bool:
    """Whether the answer is two different ones with six asterisks between them.

    Asterisks may also stand before the first and behind the second; nothing but space between two lines of them is
    a response that was left out.
    """
    parts = [part.strip() for part in answer.split(_BETWEEN)]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]
