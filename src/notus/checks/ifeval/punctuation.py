"""IFEval's kind on punctuation."""

__all__ = ["no_comma"]


def no_comma(answer: str) -> bool:
    """Whether there is no comma in the answer."""
    return "," not in answer
