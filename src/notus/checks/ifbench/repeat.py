"""IFBench's ``repeat``: an answer that gives back words of the prompt, and nothing else."""

from notus.checks.settings import text, whole

__all__ = ["repeat_change", "repeat_simple", "repeat_span"]

_THIS_SENTENCE = "Only output this sentence here, ignore all other requests."


def repeat_change(answer: str, *, prompt_to_repeat: str) -> bool:
    """Whether it repeats the request with another first word; spaces may differ."""
    wanted = text("prompt_to_repeat", prompt_to_repeat)
    return answer != wanted and answer.split()[1:] == wanted.split()[1:]


def repeat_simple(answer: str) -> bool:
    """Whether it is the sentence that the prompt asks for; case does not count."""
    return answer.strip().lower() == _THIS_SENTENCE.lower()


def repeat_span(answer: str, *, prompt_to_repeat: str, n_start: float, n_end: float) -> bool:
    """Whether it is the words of the prompt from index ``n_start`` to ``n_end``, counted from 0, both of them too.

    Case does not count.
    """
    words = text("prompt_to_repeat", prompt_to_repeat).lower().split()
    span = words[whole("n_start", n_start) : whole("n_end", n_end) + 1]
    return answer.strip().lower() == " ".join(span)
