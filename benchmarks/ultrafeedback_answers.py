"""What models answer in generated feedback, and the system prompts under which they do.

Owns how latent quality shows in an answer: bad ones wander off, repeat themselves, break off, refuse or echo the
question more often; good ones give reasons, lists and doubts. None of that is certain, in either direction.
"""

from random import Random

from benchmarks.ultrafeedback_text import Grammar, sentence

__all__ = ["PRINCIPLES", "answer", "principle", "system_prompt"]

_LONGEST = 4300
"""Characters at which an answer is cut, as 1,024 tokens would be."""
_FLAN = {"helpfulness": 0.5824, "verbalized_calibration": 0.302, "truthfulness": 0.1156}
_CHAT = {
    "helpfulness": 0.6,
    "truthfulness": 0.1983,
    "honesty": 0.1211,
    "verbalized_calibration": 0.02,
    "harmlessness": 0.0606,
}
_FACTS = {"truthfulness": 0.5, "honesty": 0.45, "verbalized_calibration": 0.05}
PRINCIPLES: dict[str, dict[str, float]] = {
    "evol_instruct": {"helpfulness": 1.0},
    "false_qa": _FACTS,
    "truthful_qa": _FACTS,
    "flan_v2_niv2": _FLAN,
    "flan_v2_cot": _FLAN,
    "flan_v2_p3": _FLAN,
    "flan_v2_flan2021": _FLAN,
    "sharegpt": _CHAT,
    "ultrachat": _CHAT,
}
"""Shares of the principles per source. Neither the paper's table nor the released code gives the counts of the set;
these keep the code's where they can and are solved for the real counts elsewhere."""


def principle(random: Random, source: str) -> str:
    """The principle under which one completion is asked for."""
    draw = random.random()
    *first, last = PRINCIPLES[source].items()
    for name, share in first:
        draw -= share
        if draw < 0:
            return name
    return last[0]


def system_prompt(grammar: Grammar, name: str) -> str:
    """One of the system prompts of a principle."""
    return f"{sentence(grammar.expand('system_' + name))} {sentence(grammar.expand('system_addition'))}"


def answer(grammar: Grammar, random: Random, quality: float, source: str, prompt: str, expected: str) -> str:
    """An answer of a quality, 1–10; median about 1,200 characters, and short ones to FLAN's tasks.

    Args:
        grammar: with the topics of the prompt put in; what puts others in puts them back.
        random: the generator of the row.
        quality: true quality.
        source: where the prompt is from.
        prompt: the prompt, which a bad answer may echo.
        expected: a correct answer, or "".
    """
    bad = max(0.0, (7.5 - quality) / 6.5)
    length = _length(random, source)
    parts = []
    if random.random() < 0.5:
        parts.append(sentence(grammar.expand("refuse" if random.random() < 0.3 * bad else "opener")))
    if expected and random.random() < quality / 11:
        parts.append(sentence(expected))
    if random.random() < 0.12 * bad:
        parts.append(prompt[:400])
    if random.random() < 0.25 * bad:
        length *= 0.3
    text = " ".join(parts)
    text += _body(grammar, random, length - len(text), quality, bad)
    if random.random() < 0.35:
        text += " " + sentence(grammar.expand("doubt" if random.random() < 0.4 else "closer"))
    if random.random() < 0.1 * bad:
        text = text[: max(20, int(len(text) * random.random()))]
    return text[:_LONGEST].strip()


def _length(random: Random, source: str) -> float:
    if source.startswith("flan") and random.random() < 0.55:
        return random.lognormvariate(5.2, 1.0)
    return min(random.lognormvariate(7.28, 0.56), _LONGEST * 1.1)


def _body(grammar: Grammar, random: Random, length: float, quality: float, bad: float) -> str:
    """Paragraphs, lists and code, up to a length."""
    stray = 0.6 * bad * random.random()
    looping = random.random() < 0.08 * bad
    listed = random.random() < 0.25 + 0.03 * quality
    parts: list[str] = []
    size, number = 0, 0
    while size < length or not parts:
        if looping and parts:
            part = parts[-1 - grammar.pick(min(2, len(parts)))]
        elif random.random() < stray:
            part = " " + _elsewhere(grammar)
        elif listed and random.random() > 0.2:
            number += 1
            part = f"\n{number}. {sentence(grammar.expand('item'))}"
        elif random.random() < 0.02:
            lines = "\n".join([grammar.expand("code") for _ in range(4 + grammar.pick(8))])
            part = f"\n```\n{lines}\n```\n"
        else:
            part = " " + _statement(grammar, random, quality)
        parts.append(part)
        size += len(part)
        if random.random() < 0.06:
            parts.append("\n\n")
    return "".join(parts)


def _statement(grammar: Grammar, random: Random, quality: float) -> str:
    text = grammar.expand("say")
    if random.random() < 0.03 * quality:
        text += ", " + grammar.expand("why")
    return sentence(text)


def _elsewhere(grammar: Grammar) -> str:
    """A statement about something that the prompt did not ask for."""
    symbols = [symbol + form for symbol in "tuw" for form in ("", "|s", "|a", "|id")]
    kept = {symbol: grammar.rules[symbol] for symbol in symbols}
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    text = sentence(grammar.expand("say"))
    grammar.rules.update(kept)
    return text
