"""Text for generated feedback: a grammar with large lexicons, invented names, tokens and edits of words.

Owns how a symbol becomes text, and what "the same words" means (``tokens``, ``jaccard``). What a prompt, an answer or
a critique consists of is the business of ``ultrafeedback_prompts`` and ``ultrafeedback_judge``. All productions lie in
the three ``ultrafeedback_*.txt`` files beside this module.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

__all__ = ["Grammar", "jaccard", "load_rules", "seeded", "sentence", "tokens"]

FOLDER = Path(__file__).parent
FILES = ("ultrafeedback_lexicon.txt", "ultrafeedback_judge.txt", "ultrafeedback_topics.txt")
CONTEXT = ("t", "u", "w", "name", "name2", "town", "num", "year", "x", "y", "key", "key2")
"""Symbols that no file defines: topics, invented names, numbers, and clauses that a caller puts in."""

Production = str | tuple[str, tuple[str, ...]]

_WORD = re.compile(r"\w+")
_SLOT = re.compile(r"\{([a-z0-9_]+(?:\|[a-z]+)?)\}")
_DOUBLED = {"plan", "transfer", "label", "control", "wrap"}
_PLURALS = {
    "shelf": "shelves", "wolf": "wolves", "calf": "calves", "loaf": "loaves", "thief": "thieves", "goose": "geese",
    "bacterium": "bacteria", "nucleus": "nuclei", "quiz": "quizzes", "salmon": "salmon", "series": "series",
    "thesis": "theses", "diagnosis": "diagnoses", "vertex": "vertices", "stuntman": "stuntmen", "man": "men",
    "statesman": "statesmen", "larva": "larvae", "person who asked": "people who asked",
}  # fmt: skip


def tokens(text: str) -> frozenset[str]:
    """The set of words of a text: NFKC, case folded, runs of letters, digits and underscores."""
    return frozenset(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared words over all words, 0–1; two empty sets are equal."""
    union = len(left | right)
    return len(left & right) / union if union else 1.0


def seeded(*parts: int) -> Random:
    """A generator of its own for whatever the numbers name; nearby numbers give unrelated streams."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = ((state ^ part) * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & (2**64 - 1)
        state ^= state >> 29
    return Random(state)


def sentence(clause: str) -> str:
    """A clause with a capital and a full stop, where it has none yet."""
    text = clause[:1].upper() + clause[1:]
    return text if text.endswith((".", "?", "!", ":")) else text + "."


class Grammar:
    """The rules with a context of topics and names. One object serves one text after the other."""

    def __init__(self) -> None:
        self.rules = dict(load_rules())
        self.domains = [name.strip() for name in _texts(self.rules["domains"])]
        self._syllables = _texts(self.rules["syllable"])
        self.rules["num"] = [str(number) for number in range(2, 480)]
        self.rules["year"] = [str(year) for year in range(1504, 2024)]
        self.random: Callable[[], float] = Random(0).random

    def use(self, random: Random) -> None:
        """Draw from this generator from now on."""
        self.random = random.random

    def expand(self, symbol: str) -> str:
        """One text of a symbol, by a form of it where ``symbol`` is ``name|form``."""
        options = self.rules[symbol]
        found = options[int(self.random() * len(options))]
        if isinstance(found, str):
            return found
        pattern, symbols = found
        return pattern % tuple([self.expand(part) for part in symbols])

    def pick(self, number: int) -> int:
        """A whole number below ``number``, each alike."""
        return int(self.random() * number)

    def invented(self) -> str:
        """A name that nobody bears, of two or three syllables."""
        syllables = self._syllables
        count = 2 + (self.random() < 0.6)
        return "".join([syllables[int(self.random() * len(syllables))] for _ in range(count)]).capitalize()

    def names(self) -> None:
        """Put new invented names in."""
        self.rules["name"] = [self.invented() for _ in range(4)]
        self.rules["name2"] = [f"{self.invented()} {self.invented()}" for _ in range(3)]
        self.rules["town"] = [self.invented() for _ in range(4)]

    def topics(self, domain: str, count: int = 6) -> None:
        """Put topics of a domain in: ``t`` the main ones, ``u`` further ones, ``w`` of any domain."""
        other = self.domains[self.pick(len(self.domains))]
        for symbol, source, share in (("t", domain, count), ("u", domain, count + 4), ("w", other, count + 4)):
            nouns = self.rules[source]
            chosen = [self.pick(len(nouns)) for _ in range(share)]
            for form in ("", "|s", "|a", "|id"):
                options = self.rules[source + form]
                self.rules[symbol + form] = [options[index] for index in chosen]


@cache
def load_rules() -> dict[str, list[Production]]:
    """The productions of the three files, with every form that one of them asks for.

    Raises:
        ValueError: if a production names a symbol that nobody defines.
    """
    raw: dict[str, list[str]] = {}
    for file in FILES:
        _read(FOLDER / file, raw)
    forms = {slot for options in raw.values() for option in options for slot in _SLOT.findall(option)}
    forms |= {f"{domain}|{form}" for domain in raw["domains"] for form in ("s", "a", "id")}
    rules: dict[str, list[Production]] = {
        name: [_compiled(option) for option in options] for name, options in raw.items()
    }
    for slot in sorted(forms):
        name, _, form = slot.partition("|")
        if name not in rules and name not in CONTEXT:
            raise ValueError(f"the grammar asks for '{name}', which no file defines")
        if form and name in raw:
            rules[slot] = [_FORMS[form](option) for option in raw[name]]
    return rules


def _read(path: Path, raw: dict[str, list[str]]) -> None:
    """Lines ``name = word, word``, or ``[name]`` with a production in each line below it; ``%`` begins a remark."""
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("%"):
            continue
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1]
            raw[current] = []
        elif not current and " = " in line:
            name, _, words = line.partition(" = ")
            raw.setdefault(name, []).extend(word.strip() for word in words.split(","))
        else:
            raw[current].append(line)


def _compiled(option: str) -> Production:
    symbols = tuple(_SLOT.findall(option))
    return (_SLOT.sub("%s", option.replace("%", "%%")), symbols) if symbols else option


def _texts(options: list[Production]) -> list[str]:
    return [option for option in options if isinstance(option, str)]


def _plural(word: str) -> str:
    """The plural of a noun, and the third person of a verb."""
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ies"
    return word + "es" if word.endswith("ato") or word in ("hero", "volcano", "tornado", "buffalo") else word + "s"


def _past(word: str) -> str:
    """The past of a regular verb."""
    if word in _DOUBLED:
        return word + word[-1] + "ed"
    if word.endswith("e"):
        return word + "d"
    return word[:-1] + "ied" if word.endswith("y") and word[-2] not in "aeou" else word + "ed"


def _with_article(word: str) -> str:
    vowel = word[0] in "aeiouAEIOU" and not word.startswith(("use", "usa", "uni", "one", "eu"))
    return f"{'an' if vowel or word.startswith(('hour', 'heir', 'honest')) else 'a'} {word}"


_FORMS: dict[str, Callable[[str], str]] = {
    "s": _plural,
    "ed": _past,
    "a": _with_article,
    "id": lambda word: word.replace(" ", "_").replace("-", "_"),
}
