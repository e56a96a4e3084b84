"""The part of speech of an answer's first word, by the averaged perceptron that NLTK's tagger is.

The weights are data that NLTK downloads at first use. The package textblob-aptagger carries those of the tagger that
NLTK's was made from (Honnibal 2013), as a pickle: it is read as plain containers, texts and numbers alone, and what
names any code in it is refused. A newer training of NLTK's may differ in rare words.

Owns the reading of that file. Needs the extra ``checks``. No torch.
"""

import importlib.util
import pickle
from functools import cache
from pathlib import Path
from typing import Any

from notus.core.errors import DataError, require

__all__ = ["first_tag"]

_PACKAGE, _FILE = "textblob_aptagger", "trontagger-0.1.0.pickle"
_SEEN = 3
"""Words that the tag of the first one depends on: itself and the two behind it."""


def first_tag(words: list[str]) -> str:
    """The Penn Treebank's tag of the first of these words; empty where there is none.

    Raises:
        MissingExtraError: without NLTK or the weights.
        DataError: if the file of the weights is another than it should be.
    """
    return str(_tagger().tag(words[:_SEEN])[0][1]) if words else ""


class _Plain(pickle.Unpickler):
    """Reads containers, texts and numbers; sets are all that the file needs by a name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("__builtin__", "set"), ("builtins", "set")):
            return set
        raise DataError(f"{_FILE} of {_PACKAGE} names {module}.{name}, which no weights need; install the package anew")


@cache
def _tagger() -> Any:
    tagger = require("nltk.tag.perceptron", extra="checks").PerceptronTagger(load=False)
    with _weights().open("rb") as file:
        # Written by Python 2, whose texts were bytes.
        weights, tagdict, classes = _Plain(file, encoding="latin1").load()
    tagger.model.weights, tagger.tagdict = weights, tagdict
    tagger.classes = tagger.model.classes = classes
    return tagger


def _weights() -> Path:
    """Where the package lies; it is found and not imported, for its code is not needed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        require(_PACKAGE, extra="checks")
        raise DataError(f"the package {_PACKAGE} has no folder; install it anew")
    return Path(found.origin).parent / _FILE
