"""The language of a text, by langdetect (Nakatani 2010), which IFEval's verdicts are made with.

langdetect draws at random and its answer on a short or mixed text may differ from call to call; nobody can repeat such
a verdict. Here a text is read with fixed seeds, so that its verdict is the same in every run, and where one draw leaves
a doubt, with several, of which the language that most draws name counts: the one that the reference names most often.

Owns the detection. Needs the extra ``checks``. No torch.
"""

from collections import Counter
from functools import cache, lru_cache
from typing import Any

from notus.core.errors import require

__all__ = ["language_of"]

_DRAWS = 15
"""Of a text in doubt; odd, and each with a seed of its own."""
_SURE = 0.999
"""Probability of the first draw from which on there is no doubt."""
_READ = 100_000
"""Characters that are looked at. langdetect itself keeps 10,000 of a text, without addresses and double spaces."""


@lru_cache(maxsize=256)  # the strict and the loose verdict, and several checks of a prompt, ask for the same text
def language_of(text: str) -> str | None:
    """The code of a text's language, such as ``en``, ``pt`` or ``zh-cn``; None where there is nothing to tell it by."""
    language, probability = _draw(text, 0)
    if language is None or probability >= _SURE:
        return language
    named = Counter([language, *(_draw(text, seed)[0] for seed in range(1, _DRAWS))])
    return named.most_common(1)[0][0]


def _draw(text: str, seed: int) -> tuple[str | None, float]:
    """What langdetect says with a seed, and how sure it is; None and 0 where the text has no letters."""
    module = require("langdetect", extra="checks")
    factory = _factory()
    factory.seed = seed
    detector = factory.create()
    detector.append(text[:_READ])
    try:
        found = detector.get_probabilities()
    except module.LangDetectException:
        return None, 0.0
    return (str(found[0].lang), float(found[0].prob)) if found else (None, 0.0)


@cache
def _factory() -> Any:
    module = require("langdetect.detector_factory", extra="checks")
    factory = module.DetectorFactory()
    factory.load_profile(module.PROFILES_DIRECTORY)
    return factory
