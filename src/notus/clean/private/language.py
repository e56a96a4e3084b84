"""The language of a text, and how toxic it is, each by a library of the extra ``privacy``.

Language: py3langid (Lui and Baldwin 2012, langid.py, https://aclanthology.org/P12-3005), a naive Bayes model of byte
n-grams over 140 languages. Code, quotes and links aside, the beginning of a text is read; below a probability of 0.9,
below 20 letters, and where the library says that there is no language in it, the answer is ``und``, ISO 639-2's word
for "undetermined".

Toxicity: alt-profanity-check, a linear model of words, trained on English comments of Twitter and Wikipedia. A text is
as toxic as its most toxic sentence, for in the whole of a long answer one insult would drown. It knows English only.

Owns the two figures of one text. What is done with them is owned by ``clean.private.guard``.
"""

import re
from functools import lru_cache
from typing import Any

from notus.clean.chat import without_quotes
from notus.core.errors import ConfigError, nearest, require

__all__ = ["UNDETERMINED", "check_languages", "language_of", "toxicity_of"]

UNDETERMINED = "und"
_NO_LANGUAGE = "zxx"
_SURE = 0.9
_LEAST_LETTERS = 20
_READ = 600
"""Characters that are read; the answer does not change for more, and the time does."""
_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


def language_of(text: str) -> str:
    """The language of a text, by ISO 639-1, or 639-3 where there is no shorter one; ``und`` where it is not clear.

    Raises:
        MissingExtraError: if py3langid is not installed.
    """
    own = _LINK.sub(" ", without_quotes(text[: 4 * _READ]))[:_READ]
    if sum(map(str.isalpha, own)) < _LEAST_LETTERS:
        return UNDETERMINED
    code, chance = _identifier().classify(" ".join(own.split()))
    return UNDETERMINED if chance < _SURE or code == _NO_LANGUAGE else str(code)


def check_languages(codes: tuple[str, ...]) -> None:
    """Refuse a language that the library does not tell apart.

    Raises:
        ConfigError: that names it.
        MissingExtraError: if py3langid is not installed.
    """
    known = set(_identifier().labels) - {_NO_LANGUAGE}
    for code in codes:
        if code not in known:
            raise ConfigError(f"languages: there is no language '{code}'; {nearest(code, known)}")


def toxicity_of(text: str) -> float:
    """How likely the most toxic sentence of an English text is toxic, 0 to 1.

    Raises:
        MissingExtraError: if alt-profanity-check is not installed.
    """
    sentences = [each for each in _SENTENCE.findall(text) if any(map(str.isalpha, each))]
    if not sentences:
        return 0.0
    return float(max(require("profanity_check", extra="privacy").predict_prob(sentences)))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    library = require("py3langid.langid", extra="privacy")
    return library.LanguageIdentifier.from_model_file(library.MODEL_FILE, norm_probs=True)
