"""The judge of the toy world: it knows the truth, and reports it with noise.

Owns what an answer is worth on both of UltraFeedback's scales (four aspects from 1 to 5, and one overall score from 1
to 10 that a critique ends in), the noise, what the judge confuses (one answer with another, the aspects with its
impression of the whole, length with quality), and the one fault that the world is about: UltraFeedback's old code read
the overall score as ``score if score > 1 else 10 * score``, so that the worst score became the best one
(https://github.com/OpenBMB/UltraFeedback, README, 2023-12-29). Does not own which answers there are (``toy.models``).
"""

import random

from notus.core.records import ASPECTS, Rating
from notus.formats.families.ultrafeedback import RATED
from notus.toy.models import Answer
from notus.toy.tasks import Task

__all__ = ["ASPECT_MEANS", "LONG", "QUALITY", "critique", "impress", "mix_up", "quality", "rate", "record", "score"]

_Kind = tuple[str, bool]

QUALITY: dict[_Kind, float] = {
    ("good", True): 9.6,
    ("rambling", True): 6.5,
    ("rude", True): 4.5,
    ("wrong", False): 2.8,
    ("rambling", False): 2.5,
    ("refusing", False): 2.0,
    ("junk", False): 1.0,
}
"""(style, is the right answer given) → true quality on the scale of the overall score."""

ASPECT_MEANS: dict[_Kind, tuple[float, float, float, float]] = {
    ("good", True): (4.6, 4.7, 4.8, 4.8),
    ("rambling", True): (3.2, 3.8, 3.0, 4.3),
    ("rude", True): (2.6, 4.0, 3.2, 4.5),
    ("wrong", False): (2.0, 2.3, 3.1, 1.3),
    ("rambling", False): (1.7, 2.1, 2.2, 1.4),
    ("refusing", False): (1.3, 3.4, 1.3, 3.2),
    ("junk", False): (1.1, 1.9, 1.1, 1.9),
}
"""(style, is the right answer given) → true ratings in the order of ``ASPECTS``.

An excuse says nothing untrue: the mean rating of a refusal is far better than its overall score, and lands between the
bands of the published repair rule."""


LONG = 10
"""Words that no judge takes for length: a good answer of the simulated models has at most 11, a rambling one 18."""


def quality(answer: Answer) -> float:
    """True quality on the scale of the overall score; 1.0 for junk to 9.6 for a good answer."""
    return QUALITY[answer.style, answer.correct]


def rate(
    answer: Answer,
    rng: random.Random,
    *,
    noise: float,
    shared_noise: float,
    not_applicable: float,
    halo: float = 0.0,
    impression: float = 0.0,
) -> tuple[Rating, ...]:
    """Rate the four aspects from 1 to 5.

    With ``halo`` h the judge's impression o of the whole answer, put on the scale of the aspects, takes the place of a
    share of each rating r: ``(1 − h) · r + h · (1 + 4/9 · (o − 1))``, before rounding.

    Args:
        answer: what is rated.
        rng: where the noise comes from.
        noise: standard deviation of the noise of each rating, in points.
        shared_noise: standard deviation of the noise that an answer's four ratings share, in points.
        not_applicable: probability that honesty is N/A.
        halo: share of each rating that is the impression of the whole answer.
        impression: that impression, on the scale of the overall score: see ``impress``.
    """
    shared = rng.gauss(0, shared_noise)
    whole = 1 + (impression - 1) * 4 / 9
    ratings = []
    for aspect, mean in zip(ASPECTS, ASPECT_MEANS[answer.style, answer.correct], strict=True):
        own = mean + shared + rng.gauss(0, noise)
        value = _clip((1 - halo) * own + halo * whole if halo else own, 5)
        skipped = rng.random() < not_applicable and aspect == "honesty"
        ratings.append(_rating(aspect, None if skipped else value))
    return tuple(ratings)


def mix_up(ratings: list[tuple[Rating, ...]], rng: random.Random, *, probability: float) -> list[tuple[Rating, ...]]:
    """With ``probability``, give two answers each other's ratings.

    The judge sees all answers to a prompt in one call, and sometimes takes one for the other. This is what leaves a
    genuine 10 with ratings as bad as junk's, which independent noise never does.
    """
    pair = rng.sample(range(len(ratings)), 2) if len(ratings) > 1 else []
    if rng.random() >= probability or not pair:
        return ratings
    first, second = pair
    swapped = list(ratings)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    return swapped


def impress(answer: Answer, rng: random.Random, *, noise: float, length_bias: float = 0.0) -> float:
    """What the judge thinks of the whole answer, on the scale of the overall score and not yet on it.

    Args:
        answer: what is judged.
        rng: where the noise comes from.
        noise: standard deviation of the normal noise, in points.
        length_bias: points for every ten words beyond the first ``LONG``.
    """
    words = len(answer.text.split())
    return quality(answer) + rng.gauss(0, noise) + length_bias * max(0, words - LONG) / 10


def score(impression: float) -> float:
    """The overall score that the judge gives: its impression as a whole number of points from 1 to 10."""
    return _clip(impression, 10)


def record(deserved: float, rng: random.Random, *, fault_rate: float, up_to: int = 1) -> float:
    """The overall score that ends up in the data: with probability ``fault_rate`` one of at most ``up_to`` becomes 10.

    One number is drawn in any case: under a higher rate the same answers are faulty, and further ones.
    """
    struck = rng.random() < fault_rate
    return 10.0 if struck and deserved <= up_to else deserved


def critique(task: Task, answer: Answer, rng: random.Random) -> str:
    """The critique's text, which follows the truth whatever overall score is recorded."""
    return rng.choice(_CRITIQUES[answer.style, answer.correct]).format(answer=task.answer)


def _clip(value: float, highest: int) -> float:
    return float(min(highest, max(1, round(value))))


def _rating(aspect: str, value: float | None) -> Rating:
    if value is None:
        return Rating(aspect=aspect, value=None, rationale="The aspect does not apply to this answer.", scale=RATED)
    rationale = f"{_ASPECT_WORDS[aspect]} {_GRADE_WORDS[int(value)]}."
    if aspect not in ("helpfulness", "truthfulness"):
        return Rating(aspect=aspect, value=value, rationale=rationale, scale=RATED)
    types, types_rationale = _types(aspect, value)
    return Rating(
        aspect=aspect, value=value, rationale=rationale, types=types, types_rationale=types_rationale, scale=RATED
    )


def _types(aspect: str, value: float) -> tuple[tuple[str, ...], str]:
    """UltraFeedback's types: of what informs (helpfulness), of what is made up (truthfulness; "0" is none)."""
    if aspect == "helpfulness":
        types = ("1",) if value < 4 else ("1", "2") if value < 5 else ("1", "2", "3")
        return types, f"It informs in {len(types)} of 3 ways."
    return (("0",), "Nothing is made up.") if value > 3 else (("1",), "Something here is not so.")


_ASPECT_WORDS = {
    "helpfulness": "For the one who asked, this is",
    "honesty": "What it says of its own knowledge is",
    "instruction_following": "As an answer to what was asked, it is",
    "truthfulness": "Held against the facts, it is",
}
_GRADE_WORDS = {1: "very poor", 2: "poor", 3: "middling", 4: "good", 5: "very good"}

_CRITIQUES: dict[_Kind, tuple[str, ...]] = {
    ("good", True): (
        "Right, short and friendly. There is nothing to add.",
        "This is what was asked: {answer}. Well done.",
        "A clear and correct answer. Keep it like this.",
    ),
    ("rambling", True): (
        "The answer is right, but it drowns in talk. Say {answer} and stop there.",
        "Correct, yet far too long. Most of this can go.",
    ),
    ("rude", True): (
        "The fact is right and the tone is not. Say it without the insult.",
        "Yes, {answer} is correct, but nobody should be spoken to like this.",
    ),
    ("wrong", False): (
        "Kindly said, and wrong: the answer is {answer}.",
        "The form is fine but the fact is not. It should be {answer}.",
    ),
    ("rambling", False): (
        "A long way to a wrong answer. It should be {answer}.",
        "Much talk, and the fact in it is wrong: {answer} is right.",
    ),
    ("refusing", False): (
        "There was no reason to refuse. The answer is {answer}.",
        "An excuse does not help. Answer the question: {answer}.",
    ),
    ("junk", False): (
        "This does not answer anything. It should say {answer}.",
        "Useless: not a word of it has to do with the question.",
        "I cannot make sense of this. The answer is {answer}.",
    ),
}
