"""Prompts for generated feedback: plain ones of each source, duplicates, look-alikes, and contaminated ones.

Owns the texts of prompts and how one is made from another. Which row holds which kind is decided in
``make_ultrafeedback``. Similarity is the plain Jaccard of the sets of words (``ultrafeedback_text.tokens``); an edited
prompt is made until its similarity lies where it should, and the real one is stated.
"""

from collections.abc import Callable
from random import Random

from benchmarks.ultrafeedback_benchmarks import Item
from benchmarks.ultrafeedback_text import Grammar, jaccard, sentence, tokens

__all__ = ["contaminated", "control", "copied", "edited", "lookalike", "plain"]


def plain(grammar: Grammar, random: Random, source: str) -> str:
    """A prompt of a source, about invented names and topics that stay in the grammar for its answers."""
    grammar.names()
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    if source.startswith("flan"):
        return _flan(grammar, random)
    return _PLAIN[source](grammar, random)


def copied(random: Random, text: str) -> tuple[str, str]:
    """The same prompt once more, with nothing changed but what no reader counts; and what was changed."""
    kinds: dict[str, Callable[[str], str]] = {
        "identical": lambda found: found,
        "case": lambda found: (found.lower(), found.upper(), found.title())[int(random.random() * 3)],
        "white-space": lambda found: _spaced(random, found),
        "punctuation": lambda found: _punctuated(random, found),
        "unicode": lambda found: found.replace(" ", " ").replace("'", "’"),
    }
    name = list(kinds)[int(random.random() * len(kinds))]
    changed = kinds[name](text)
    if random.random() < 0.3:
        return kinds["white-space"](changed), f"{name}+white-space"
    return changed, name


def edited(grammar: Grammar, random: Random, text: str, low: float, high: float) -> str | None:
    """A prompt that shares between ``low`` and ``high`` of its words with another one; None where none was found.

    Words are replaced, left out and put in; here and there, or side by side.
    """
    words = text.split(" ")
    base = tokens(text)
    target = low + (high - low) * random.random()
    changes = max(1, round(len(base) * (1 - target) / (1 + target)))
    for _ in range(24):
        found = _change(grammar, random, words, changes)
        similarity = jaccard(base, tokens(found))
        if low <= similarity <= high:
            return found
        changes = max(1, changes + (1 if similarity > high else -1) * max(1, changes // 8))
    return None


def lookalike(grammar: Grammar, template: Random, random: Random) -> str:
    """A long instruction that its whole group shares, with a short payload of its own.

    Args:
        grammar: the grammar.
        template: generator of the group; the same state for each member.
        random: generator of the row.
    """
    grammar.use(template)
    grammar.names()
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    parts = [sentence(grammar.expand("definition"))]
    size, wanted = 0, 60 + 75 * template.random()
    while size < wanted:
        part = sentence(grammar.expand(("lookalike", "lookalike", "constraint", "say")[grammar.pick(4)]))
        if part not in parts:
            parts.append(part)
        size = sum(len(part.split()) for part in parts)
    label = ("Input: ", "Text: ", "Sentence: ", "Q: ", "", "Here it is: ")[grammar.pick(6)]
    place = (len(parts), len(parts), 1, 0)[grammar.pick(4)]
    glue = ("\n", " ", "\n\n")[grammar.pick(3)]
    grammar.use(random)
    grammar.names()
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    return glue.join([*parts[:place], label + sentence(grammar.expand("payload_say")), *parts[place:]])


def contaminated(grammar: Grammar, random: Random, item: Item) -> tuple[str, str, int]:
    """A prompt with a benchmark's question in it; how it was altered, and how many edits were made."""
    grammar.names()
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    kind = ("exact", "embedded", "edited", "embedded-edited", "with-choices")[grammar.pick(5)]
    if kind == "with-choices" and not item.choices:
        kind = "embedded"
    text, edits = item.question, 0
    if "edited" in kind:
        text, edits = _with_slips(grammar, random, text)
    if kind == "with-choices":
        letters = "ABCDEFGHIJ"
        text += "".join(f"\n{letter}. {choice}" for letter, choice in zip(letters, item.choices, strict=False))
    if "embedded" in kind:
        text = _embedded(grammar, random, text)
    return text, kind, edits


def control(grammar: Grammar, item: Item) -> str:
    """A prompt near the topic of a benchmark's question, made of its rarer words, that does not contain it."""
    grammar.names()
    grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
    words = sorted(tokens(item.question), key=lambda word: (-len(word), word))
    grammar.rules["key"], grammar.rules["key2"] = [*words[:2]], [*words[2:4]] or ["it"]
    return f"{sentence(grammar.expand('control'))} {sentence(grammar.expand('embed_after'))}"


def _tasked(grammar: Grammar, random: Random, mean: float) -> str:
    parts = [sentence(grammar.expand("task"))]
    while random.random() < mean / (1 + mean):
        parts.append(sentence(grammar.expand("constraint")))
    return " ".join(parts)


def _passage(grammar: Grammar, random: Random, middle: float, spread: float) -> str:
    """Connected statements; about ``exp(middle)`` characters, with a long tail."""
    length = min(random.lognormvariate(middle, spread), 7000)
    parts: list[str] = []
    size = 0
    while size < length or not parts:
        parts.append(sentence(grammar.expand("say")))
        size += len(parts[-1]) + 1
    return " ".join(parts)


def _evolved(grammar: Grammar, random: Random) -> str:
    return _tasked(grammar, random, 4.5)


def _chat(grammar: Grammar, random: Random) -> str:
    return _tasked(grammar, random, 0.9)


def _false(grammar: Grammar, random: Random) -> str:  # noqa: ARG001  all of them are called alike
    return _asked(grammar.expand("false"))


def _truth(grammar: Grammar, random: Random) -> str:  # noqa: ARG001
    return _asked(grammar.expand("truth"))


def _shared(grammar: Grammar, random: Random) -> str:
    """What a person types: a task, a task with a text or code pasted in, hasty spelling now and then."""
    draw = random.random()
    text = _tasked(grammar, random, 1.0)
    if draw < 0.35:
        text += "\n\n" + _passage(grammar, random, 6.5, 1.0)
    elif draw < 0.45:
        lines = "\n".join([grammar.expand("code") for _ in range(4 + grammar.pick(24))])
        text += f"\n```\n{lines}\n```\n"
    if draw > 0.7 or draw < 0.05:
        text += " " + sentence(grammar.expand("ask_more"))
    return text.lower() if random.random() < 0.12 else text


def _flan(grammar: Grammar, random: Random) -> str:
    parts = [sentence(grammar.expand("definition"))]
    if random.random() < 0.5:
        parts.append(sentence(grammar.expand("constraint")))
    if random.random() < 0.3:
        parts.append(f"Example: {sentence(grammar.expand('say'))} Output: {grammar.expand('abstract')}")
    parts.append(("Input: ", "Text: ", "", "Q: ")[grammar.pick(4)] + _passage(grammar, random, 5.8, 0.9))
    if random.random() < 0.4:
        parts.append(("Output:", "A:", "Answer:", sentence(grammar.expand("ask_more")))[grammar.pick(4)])
    return ("\n", " ", "\n\n")[grammar.pick(3)].join(parts)


def _asked(clause: str) -> str:
    return sentence(clause + "?")


_PLAIN: dict[str, Callable[[Grammar, Random], str]] = {
    "evol_instruct": _evolved,
    "false_qa": _false,
    "truthful_qa": _truth,
    "sharegpt": _shared,
    "ultrachat": _chat,
}


def _spaced(random: Random, text: str) -> str:
    found = "".join([mark * 2 if mark == " " and random.random() < 0.15 else mark for mark in text])
    return (" ", "", "\n")[int(random.random() * 3)] + found + ("\n", "  ", "\n\n", "\t")[int(random.random() * 4)]


def _punctuated(random: Random, text: str) -> str:
    ends = text.rstrip(".?!: ")
    return (f"{ends}!!", ends, f'"{text}"', text.replace(",", ""), f"{ends} ...")[int(random.random() * 5)]


def _change(grammar: Grammar, random: Random, words: list[str], changes: int) -> str:
    found = list(words)
    together = random.random() < 0.3
    start = int(random.random() * max(1, len(found) - changes))
    for number in range(changes):
        place = (start + number if together else int(random.random() * len(found))) % len(found)
        draw = random.random()
        if draw < 0.55 or len(found) < 4:
            found[place] = _other_word(grammar)
        elif draw < 0.8:
            del found[place]
        else:
            found.insert(place, _other_word(grammar))
    return " ".join(found)


def _other_word(grammar: Grammar) -> str:
    return grammar.expand(("adj", "adv", "abstract", "role", "verb", "name", "u", "num")[grammar.pick(8)])


def _embedded(grammar: Grammar, random: Random, text: str) -> str:
    before = [sentence(grammar.expand("embed_before")) for _ in range(1 + (random.random() < 0.4))]
    after = [sentence(grammar.expand("embed_after")) for _ in range(1 + (random.random() < 0.3))]
    if random.random() < 0.3:
        before.insert(0, _passage(grammar, random, 5.5, 0.7))
    return ("\n" if random.random() < 0.4 else " ").join([*before, text, *after])


def _with_slips(grammar: Grammar, random: Random, text: str) -> tuple[str, int]:
    """Small edits, at most about one word in seven: slips of the pen, case, punctuation, other words."""
    words = text.split(" ")
    edits = 1 + int(random.random() * max(1, len(words) / 7))
    for _ in range(edits):
        place = int(random.random() * len(words))
        draw = random.random()
        if draw < 0.45:
            words[place] = _slip(random, words[place])
        elif draw < 0.6:
            words[place] = words[place].swapcase()
        elif draw < 0.7:
            words[place] = words[place].strip(".,?!") + ("", ",", "!", "?")[int(random.random() * 4)]
        elif draw < 0.85 or len(words) < 5:
            words[place] = _other_word(grammar)
        elif draw < 0.93:
            del words[place]
        else:
            words.insert(place, _other_word(grammar))
    return " ".join(words), edits


def _slip(random: Random, word: str) -> str:
    if len(word) < 3:
        return word + word[-1:]
    place = int(random.random() * (len(word) - 1))
    swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return (swapped, word[:place] + word[place + 1 :], word[:place] + word[place] + word[place:])[
        int(random.random() * 3)
    ]
