"""What judges write about a generated completion: critiques, rationales and types.

Owns how a quality becomes words. A critique is a string of remarks, each about one of twelve sides of an answer and
each at a level of its own around the quality that the judge saw: a temper that belongs to the critique, and a noise
that belongs to the remark, are added, and some judges are diplomats. So bad answers are praised for something, good
ones are blamed for something, and critiques of neighbouring scores cannot be told apart for certain. Some critiques
give advice and no opinion.
"""

from random import Random

from benchmarks.ultrafeedback_text import Grammar, sentence

__all__ = ["critique", "rationale", "types"]

_LEVELS = (2.8, 4.9, 6.5, 8.2)
"""Borders between the five levels of wording, on the scale of the overall score."""
_TEMPER, _NOISE = 1.3, 1.9
_RESERVED = 0.08
"""Share of critiques that hold advice and description only."""
_DIPLOMATS = 0.12
"""Share of critiques by a judge who puts everything mildly: praise and blame shrink towards the middle."""
_SIDES = {
    "instruction_following": ("instruction", "relevance", "completeness"),
    "honesty": ("confidence", "reasoning", "tone"),
    "truthfulness": ("accuracy", "reasoning", "examples"),
    "helpfulness": ("depth", "clarity", "examples", "completeness", "structure"),
}


def critique(grammar: Grammar, random: Random, seen: float) -> str:
    """A critique of an answer of quality ``seen``, 1–10; about 850 characters in the median."""
    length = min(max(random.lognormvariate(6.68, 0.45), 120), 2600)
    centre = (6 + 0.45 * (seen - 6) if random.random() < _DIPLOMATS else seen) + random.gauss(0, _TEMPER)
    reserved = random.random() < _RESERVED
    parts = [_opening(grammar, random, centre, reserved)]
    size, level = len(parts[0]), 0
    while size < length:
        text, level = _remark(grammar, random, centre, level, reserved)
        if text in parts:
            continue
        parts.append(text)
        size += len(text) + 1
    if random.random() < 0.6:
        parts.append(_closing(grammar, random, centre, reserved))
    return _paragraphs(random, [part for part in parts if part])


def rationale(grammar: Grammar, random: Random, aspect: str, rating: int | None) -> str:
    """Why an aspect was rated so; 3 or 4 sentences. ``rating`` None: the aspect does not apply."""
    if rating is None:
        return sentence(f"the task calls for {grammar.expand('form|a')}, so that {aspect} does not apply to it")
    sides = _SIDES[aspect]
    parts: list[str] = []
    for _ in range(3 + (random.random() < 0.4)):
        level = min(max(round(max(rating, 1) + random.gauss(0, 0.7)), 1), 5)
        parts.append(sentence(_clause(grammar, sides[int(random.random() * len(sides))], level)))
    return " ".join(parts).replace("Your", "The").replace(" your ", " the ")


def types(grammar: Grammar, random: Random, aspect: str, rating: int) -> tuple[list[str], str]:
    """The types of an aspect that has them, now and then outside the rubric, and the rationale for them."""
    if aspect == "helpfulness":
        chance = 0.25 + 0.17 * rating
        found = [name for name in ("1", "2", "3") if random.random() < chance]
        text = sentence(grammar.expand("type_h"))
        return found or [("1", "None", "N/A")[grammar.pick(3)]], text
    if random.random() < (rating - 1) / 4:
        return ["None" if random.random() < 0.97 else "0"], sentence(grammar.expand("type_none"))
    found = [name for name in ("1", "2", "3") if random.random() < 0.5]
    text = sentence(grammar.expand("type_t"))
    if random.random() < 0.4:
        text += " " + sentence(grammar.expand("type_t"))
    return found or ["3"], text


def _level(random: Random, centre: float) -> int:
    value = centre + random.gauss(0, _NOISE)
    return 1 + sum([value > border for border in _LEVELS])


def _opening(grammar: Grammar, random: Random, centre: float, reserved: bool) -> str:
    draw = random.random()
    if draw < 0.35 or reserved:
        return sentence(grammar.expand("openpol" if draw < 0.25 else "neutral"))
    return sentence(grammar.expand(f"open{_level(random, centre)}")) if draw < 0.8 else ""


def _closing(grammar: Grammar, random: Random, centre: float, reserved: bool) -> str:
    if reserved or random.random() < 0.4:
        return sentence(grammar.expand("closepol"))
    return sentence(grammar.expand(f"close{_level(random, centre)}"))


def _remark(grammar: Grammar, random: Random, centre: float, before: int, reserved: bool) -> tuple[str, int]:
    """One sentence and its level; ``before`` is the level of the one before it, 0 where there was none."""
    draw = random.random()
    if draw < 0.15 or (reserved and draw < 0.55):
        return sentence(grammar.expand("neutral")), before
    if draw < 0.38 or reserved:
        return sentence(grammar.expand(f"fix{_level(random, centre)}")), before
    if draw < 0.44:
        return sentence(grammar.expand("had")), before
    level = _level(random, centre)
    text = _opinion(grammar, random, centre, level)
    if before and random.random() < 0.3:
        text = f"{grammar.expand('turn' if abs(level - before) > 1 else 'same')} {text}"
    return sentence(text), level


def _opinion(grammar: Grammar, random: Random, centre: float, level: int) -> str:
    sides = grammar.expand("dims"), grammar.expand("dims")
    first = _clause(grammar, sides[0], level)
    draw = random.random()
    if draw > 0.3:
        grammar.rules["x"] = [first]
        return grammar.expand("frame")
    other = _level(random, centre)
    grammar.rules["x"], grammar.rules["y"] = [first], [_clause(grammar, sides[1], other)]
    return grammar.expand("concede" if abs(other - level) > 1 or draw < 0.1 else "pair")


def _clause(grammar: Grammar, side: str, level: int) -> str:
    """What is said of one side of the answer: a remark made for that side, or a general one."""
    if grammar.random() < 0.35:
        return grammar.expand(f"{side}{level}")
    return f"{grammar.expand('np_' + side)} {grammar.expand(f'pred{level}')}"


def _paragraphs(random: Random, parts: list[str]) -> str:
    """Most critiques are one paragraph, some break after a few sentences."""
    if random.random() < 0.6:
        return " ".join(parts)
    text = parts[0]
    for part in parts[1:]:
        text += ("\n\n" if random.random() < 0.25 else " ") + part
    return text
