"""Which conversations PairRM can read. No torch: pairs are put aside before a model is loaded."""

from collections.abc import Sequence

from notus.core.records import Message

__all__ = ["INSTRUCTING", "roles_fault"]

INSTRUCTING = ("system", "developer")
"""Roles of those who say how to answer, and ask nothing."""


def roles_fault(prompt: Sequence[Message]) -> str:
    """Why PairRM cannot read a prompt, in words; empty where it can: user and assistant alternate, the user is last.

    Turns of the system and of a developer stand before all others, wherever they are.
    """
    roles = [turn.role for turn in prompt if turn.role not in INSTRUCTING]
    if roles and len(roles) % 2 and all(role == ("user", "assistant")[n % 2] for n, role in enumerate(roles)):
        return ""
    told = ", ".join(turn.role for turn in prompt)
    return f"a prompt must alternate between user and assistant and end with the user; it has: {told}"
