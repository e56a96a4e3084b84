"""IFBench's ``ratio``: shares and proportions of what an answer is made of."""

from notus.checks.ifbench.text import bare, listed, percent, runs, sentences
from notus.checks.settings import text

__all__ = ["overlap", "sentence_balance", "sentence_type", "sentence_words", "stop_words"]

_STOP_WORDS = frozenset(
    listed(
        "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers "
        "herself it its itself they them their theirs themselves what which who whom this that these those am is are "
        "was were be been being have has had having do does did doing a an the and but if or because as until while "
        "of at by for with about against between into through during before after above below to from up down in out "
        "on off over under again further then once here there when where why how all any both each few more most "
        "other some such no nor not only own same so than too very can will just should now s t d ll m o re ve y ma "
        "ain aren couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won wouldn"
    )
)
"""NLTK's English list, as runs of letters: "don't" is the two words "don" and "t"."""
_TOLERATED = 2.0
"""Points of per cent by which an overlap may differ."""
_GRAM = 3


def overlap(answer: str, *, reference_text: str, percentage: float) -> bool:
    """Whether the share of its different trigrams of characters that the reference has too is as wanted, ± 2 points."""
    own, theirs = _trigrams(answer), _trigrams(text("reference_text", reference_text))
    wanted = percent("percentage", percentage)
    return bool(own) and abs(100 * len(own & theirs) / len(own) - wanted) <= _TOLERATED


def sentence_balance(answer: str) -> bool:
    """Whether as many sentences end in a full stop as in a question mark and in an exclamation mark."""
    statements, questions, exclamations = _ends(answer)
    return statements == questions == exclamations


def sentence_type(answer: str) -> bool:
    """Whether twice as many sentences end in a full stop as in a question mark."""
    statements, questions, _ = _ends(answer)
    return statements == 2 * questions


def sentence_words(answer: str) -> bool:
    """Whether it has three sentences of equally many characters, and no word twice; case does not count."""
    found = sentences(answer)
    if len(found) != 3 or len({len(sentence) for sentence in found}) > 1:
        return False
    words = [word for part in answer.casefold().split() if (word := bare(part))]
    return len(set(words)) == len(words)


def stop_words(answer: str, *, percentage: float) -> bool:
    """Whether at most this percentage of its words are English stop words."""
    words, most = runs(answer), percent("percentage", percentage)
    stopped = sum(word.lower() in _STOP_WORDS for word in words)
    return bool(words) and 100 * stopped / len(words) <= most


def _trigrams(content: str) -> set[str]:
    return {content[start : start + _GRAM] for start in range(len(content) - _GRAM + 1)}


def _ends(answer: str) -> tuple[int, int, int]:
    found = sentences(answer)
    statements, questions, exclamations = (sum(each.endswith(mark) for each in found) for mark in ".?!")
    return statements, questions, exclamations
