"""Counts in words: ``1 prompt``, ``2,000 prompts``. Owns the number and its noun, and no sentence."""

__all__ = ["counted"]


def counted(count: int, noun: str, several: str | None = None) -> str:
    """A count with its noun; ``several`` is the plural where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"
