"""The simulated models of the toy world: answers of different quality to the same task.

A *style* is a way to answer: good, wrong, rambling, rude, refusing, junk. A *simulated model* stands where
UltraFeedback has a model: it has a name and a mixture of styles, because no real model always answers equally well.
Owns the styles, the polite words and the principles. Does not own what an answer is worth (``toy.judge``) or whether it
is right (``toy.checker``).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import pydantic

from notus.core.config import Config
from notus.toy.tasks import Task, wrong_answers

__all__ = ["CLOSINGS", "MODELS", "OPENINGS", "PRINCIPLES", "STYLES", "Answer", "Mix", "draw_principle"]

OPENINGS = ("", "", "Sure.")
CLOSINGS = ("", "", "Glad to help.", "I hope that helps.", "You are welcome.")
"""What polite answers have around the fact."""

RAMBLING_CORRECT = 0.7
"""Probability that the answer buried in a rambling text is right."""

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


@dataclass(frozen=True)
class Answer:
    """An answer with what is true of it."""

    text: str
    style: str
    correct: bool
    """True when the right answer stands in it, however it is said."""


class Mix(Config):
    """Shares of the styles; they sum to 1."""

    good: Share = 0.0
    """Correct, short and polite."""
    wrong: Share = 0.0
    """Short and polite, and not true."""
    rambling: Share = 0.0
    """The answer, right or wrong, buried in filler."""
    rude: Share = 0.0
    """Correct, with an insult."""
    refusing: Share = 0.0
    """No answer but an excuse."""
    junk: Share = 0.0
    """No answer at all: noise, loops, something else."""

    @pydantic.model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.shares().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the styles sum to {total:g}; they must sum to 1")
        return self

    def shares(self) -> dict[str, float]:
        """Style → share, in the order of ``STYLES``."""
        return {style: getattr(self, style) for style in STYLES}

    def write(self, task: Task, rng: random.Random) -> Answer:
        """Draw a style and answer in it."""
        shares = self.shares()
        style = rng.choices(list(shares), weights=list(shares.values()))[0]
        return STYLES[style](task, rng)


def _around(text: str, rng: random.Random) -> str:
    return " ".join(part for part in (rng.choice(OPENINGS), text, rng.choice(CLOSINGS)) if part)


def _state(task: Task, answer: str, rng: random.Random) -> str:
    return task.statement(answer, rng.randrange(3))


def _good(task: Task, rng: random.Random) -> Answer:
    return Answer(_around(_state(task, task.answer, rng), rng), "good", True)


def _wrong(task: Task, rng: random.Random) -> Answer:
    return Answer(_around(_state(task, rng.choice(wrong_answers(task)), rng), rng), "wrong", False)


def _rambling(task: Task, rng: random.Random) -> Answer:
    correct = rng.random() < RAMBLING_CORRECT
    answer = task.answer if correct else rng.choice(wrong_answers(task))
    text = f"{rng.choice(_FILLER_BEFORE)} {_state(task, answer, rng)} {rng.choice(_FILLER_AFTER)}"
    return Answer(text, "rambling", correct)


def _rude(task: Task, rng: random.Random) -> Answer:
    text = rng.choice(_INSULTS).format(_state(task, task.answer, rng))
    return Answer(text, "rude", True)


def _refusing(_task: Task, rng: random.Random) -> Answer:
    return Answer(rng.choice(_EXCUSES), "refusing", False)


def _junk(_task: Task, rng: random.Random) -> Answer:
    if rng.random() < 0.4:
        text = " ".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(4, 10)))
    else:
        text = rng.choice(_BESIDE_THE_POINT)
    return Answer(text, "junk", False)


STYLES: dict[str, Callable[[Task, random.Random], Answer]] = {
    "good": _good,
    "wrong": _wrong,
    "rambling": _rambling,
    "rude": _rude,
    "refusing": _refusing,
    "junk": _junk,
}
"""The styles by name: functions from a task and a random generator to an answer."""

MODELS: dict[str, Mix] = {
    "careful": Mix(good=0.90, wrong=0.04, rambling=0.06),
    "quick": Mix(good=0.45, wrong=0.35, rude=0.20),
    "chatty": Mix(good=0.20, wrong=0.10, rambling=0.70),
    "grumpy": Mix(good=0.15, rude=0.60, refusing=0.25),
    "broken": Mix(wrong=0.10, refusing=0.15, junk=0.75),
}
"""The simulated models of the feedback, from the best to the worst."""

PRINCIPLES: dict[str, tuple[float, str]] = {
    "helpfulness": (0.60, "Be of use: answer what was asked, and keep it short."),
    "truthfulness": (0.20, "Say what is true, and nothing that you made up."),
    "honesty": (0.18, "Be open about what you know and what you do not."),
    "verbalized_calibration": (0.02, "Say how sure you are when you are in doubt."),
}
"""Principle → (share, system prompt); the shares are UltraFeedback's for chats. The simulated models ignore it."""


def draw_principle(rng: random.Random) -> tuple[str, str]:
    """Draw a principle; its name and its system prompt."""
    name = rng.choices(list(PRINCIPLES), weights=[share for share, _ in PRINCIPLES.values()])[0]
    return name, PRINCIPLES[name][1]


# No word below is an answer of any family: a test holds that junk never mentions an answer by accident.
_FILLER_BEFORE = (
    "Well, let me think about this for a while.",
    "There is a lot that one could say.",
    "They ask me this again and again.",
)
_FILLER_AFTER = (
    "And that reminds me of a lot of things.",
    "But one could talk about it for hours.",
)
_INSULTS = (
    "{} Any fool knows that.",
    "{} What a silly thing to ask.",
    "{} Do not bother me again.",
    "Are you stupid? {}",
)
_EXCUSES = (
    "I am sorry, but I cannot help with that.",
    "I would rather not talk about this.",
    "As an assistant I am not able to say.",
    "I will not do that.",
)
_SYLLABLES = ("ba", "lo", "mi", "ta", "zu", "ke", "ra", "no", "si", "pu")
_BESIDE_THE_POINT = (
    "Thank you. Thank you. Thank you. Thank you.",
    "The weather was fine all week, and the bus was on time.",
    "Please send the form to the office by Monday.",
    "and the and the and the of the and the",
    "My name is in the book on the table.",
)
