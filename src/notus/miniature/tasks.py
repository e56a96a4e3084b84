"""The tasks of the miniature world: short prompts, each with one right answer.

Owns the families, their phrasings, and the split: of each fact two of six phrasings are held out, and of the lists to
be counted about a fifth. The split depends on the text of a prompt alone: it is the same under every seed and config.
Does not own the facts (``facts``), the answers of the writers (``writers``) or the marking of answers (``checker``).
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from notus.core.records import digest
from notus.miniature.facts import CAPITALS, GROUPS, LIST_WORDS, NUMBERS, OPPOSITES, PASTS, PLURALS

__all__ = ["COUNTING", "FAMILIES", "Family", "Task", "accepted", "fact_tasks", "find", "list_task", "wrong_answers"]

COUNTING = "counting"
"""Name of the one family whose prompts are not a closed list."""

LISTS_HELD_OUT = 5
"""One list in so many is held out."""


@dataclass(frozen=True)
class Family:
    """Tasks of one kind: how they are asked and answered, and which answers there are."""

    name: str
    phrasings: tuple[str, ...]
    """Prompts with a place ``{s}`` for the subject."""
    statements: tuple[str, ...]
    """Sentences that give an answer ``{a}``. None repeats the subject: so small a model does not learn to copy."""
    facts: Mapping[str, str]
    """Subject → right answer. Empty for counting, where the subject is a list of words."""
    options: Mapping[str, str]
    """Every form of every answer, in lower case → the answer as it is written in statements."""


@dataclass(frozen=True)
class Task:
    """A prompt whose right answer is known."""

    family: str
    subject: str
    prompt: str
    answer: str
    held_out: bool
    """True: the prompt is for evaluation, and no training data holds it."""

    def statement(self, answer: str, form: int) -> str:
        """A sentence that gives ``answer``, right or wrong, in one of the family's forms."""
        statements = FAMILIES[self.family].statements
        return statements[form % len(statements)].format(a=answer)


def fact_tasks(facts: int) -> tuple[Task, ...]:
    """All prompts, train and held-out, of the first ``facts`` facts of each family."""
    return tuple(
        _fact_task(family, subject, phrasing)
        for family in FAMILIES.values()
        for subject in list(family.facts)[:facts]
        for phrasing in range(len(family.phrasings))
    )


def list_task(rng: random.Random, *, held_out: bool) -> Task:
    """Draw a list to be counted from the train or from the held-out side; lengths are uniform."""
    length = rng.choice(list(NUMBERS))
    while True:
        words = tuple(rng.sample(LIST_WORDS, length))
        if _list_held_out(words) == held_out:
            return _list_task(words, rng.randrange(len(FAMILIES[COUNTING].phrasings)))


def find(prompt: str) -> Task | None:
    """The task that a prompt asks, or None for a text that is no prompt of this world."""
    return _known().get(prompt) or _find_list(prompt)


def accepted(task: Task) -> frozenset[str]:
    """The forms, in lower case, in which the right answer may be given."""
    options = FAMILIES[task.family].options
    return frozenset(form for form, answer in options.items() if answer == task.answer)


def wrong_answers(task: Task) -> tuple[str, ...]:
    """Plausible wrong answers: the other answers of the family."""
    family = FAMILIES[task.family]
    answers = family.facts.values() if family.facts else NUMBERS.values()
    return tuple(dict.fromkeys(answer for answer in answers if answer not in (task.answer, task.subject)))


def _fact_task(family: Family, subject: str, phrasing: int) -> Task:
    held_out = phrasing in _phrasings_held_out(family, subject)
    prompt = family.phrasings[phrasing].format(s=subject)
    return Task(family.name, subject, prompt, family.facts[subject], held_out)


def _phrasings_held_out(family: Family, subject: str) -> tuple[int, int]:
    """Two of the family's phrasings, others for other subjects."""
    n = len(family.phrasings)
    further, first = divmod(int(digest(family.name, subject), 16), n)
    return first, (first + 1 + further % (n - 1)) % n


def _list_task(words: tuple[str, ...], phrasing: int) -> Task:
    subject = ", ".join(words)
    prompt = FAMILIES[COUNTING].phrasings[phrasing].format(s=subject)
    return Task(COUNTING, subject, prompt, NUMBERS[len(words)], _list_held_out(words))


def _list_held_out(words: tuple[str, ...]) -> bool:
    return int(digest(*words), 16) % LISTS_HELD_OUT == 0


@cache
def _known() -> dict[str, Task]:
    return {task.prompt: task for task in fact_tasks(max(len(family.facts) for family in FAMILIES.values()))}


def _find_list(prompt: str) -> Task | None:
    for phrasing, form in enumerate(FAMILIES[COUNTING].phrasings):
        before, _, after = form.partition("{s}")
        match = re.fullmatch(f"{re.escape(before)}([a-z, ]+){re.escape(after)}", prompt)
        words = tuple(match[1].split(", ")) if match else ()
        if len(words) in NUMBERS and set(words) <= set(LIST_WORDS):
            return _list_task(words, phrasing)
    return None


def _closed(
    name: str,
    facts: tuple[tuple[str, str], ...],
    phrasings: tuple[str, ...],
    statements: tuple[str, ...],
    ending: str = "",
) -> Family:
    """A family whose options are the right answers of its facts, with and without ``ending`` ("tool" for "tools")."""
    answers = {answer for _, answer in facts}
    options = {form.lower(): answer for answer in sorted(answers) for form in (answer, answer.removesuffix(ending))}
    return Family(name, phrasings, statements, dict(facts), options)


_NUMERALS = dict(enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1))

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _closed(
            "opposite",
            OPPOSITES,
            (
                "What is the opposite of {s}?",
                "Give me the opposite of {s}.",
                "Which word means the opposite of {s}?",
                "Find a word that is opposite to {s}.",
                "Name the word that is the opposite of {s}.",
                "Tell me the opposite of the word {s}.",
            ),
            ("The opposite is {a}.", "It is {a}.", "The word is {a}."),
        ),
        _closed(
            "capital",
            CAPITALS,
            (
                "What is the capital of {s}?",
                "Name the capital of {s}.",
                "Which city is the capital of {s}?",
                "Tell me the capital city of {s}.",
                "I want to know the capital of {s}.",
                "{s} has which city as its capital?",
            ),
            ("The capital is {a}.", "It is {a}.", "The city is {a}."),
        ),
        _closed(
            "group",
            GROUPS,
            (
                "Which group does the word {s} belong to?",
                "What kind of thing is meant by {s}?",
                "Name the group of the word {s}.",
                "In which group would you put {s}?",
                "Tell me what kind of thing {s} is.",
                "Where does {s} belong?",
            ),
            ("It is one of the {a}.", "The group is {a}.", "It belongs to the {a}."),
            ending="s",
        ),
        _closed(
            "plural",
            PLURALS,
            (
                "What is the plural of {s}?",
                "Write the plural form of {s}.",
                "Give me the plural of the word {s}.",
                "Which word stands for many of {s}?",
                "What do you call many of the thing {s}?",
                "Put the noun {s} into the plural.",
            ),
            ("The plural is {a}.", "It is {a}.", "The plural form is {a}."),
        ),
        _closed(
            "past",
            PASTS,
            (
                "What is the past tense of {s}?",
                "Put the verb {s} into the past tense.",
                "Give me the past form of {s}.",
                "How do you say {s} for yesterday?",
                "Write the past tense of the verb {s}.",
                "Tell me the past of {s}.",
            ),
            ("The past tense is {a}.", "It is {a}.", "The past form is {a}."),
        ),
        Family(
            COUNTING,
            (
                "How many words are in this list: {s}?",
                "Count the words: {s}.",
                "Give me the number of words in {s}.",
                "What is the length of the list {s}?",
                "How long is the list {s}?",
                "Here is a list: {s}. How many words?",
            ),
            ("There are {a} words.", "The list has {a} words.", "It is {a}."),
            {},
            {form: word for number, word in _NUMERALS.items() for form in (word, str(number))},
        ),
    )
}
"""The families by name."""
