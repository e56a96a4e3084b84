"""Presets: the published binarizations of AI feedback, each a named and seeded set of settings.

| preset | published as | pairs there |
|---|---|---|
| h4-legacy | HuggingFaceH4/ultrafeedback_binarized, first revision (Zephyr-7B-β) | 61,966 + 2,000 |
| h4-fixed | the same, repaired and without TruthfulQA | 61,135 + 2,000 |
| argilla-mean | argilla/ultrafeedback-binarized-preferences (Notus) | 63,619 |
| argilla-cleaned | argilla/ultrafeedback-binarized-preferences-cleaned | 60,917 |
| tulu3 | the selection of Tulu 3's preference mixtures | |
| snorkel | snorkelai/Snorkel-Mistral-PairRM-DPO-Dataset | about 20,000 in each of 3 rounds |

Which rows are drawn at random cannot be had again where the publisher's generator ran on through the set, over several
processes: ours is seeded with each prompt, and the preset says so. Owns the settings. What a setting does is owned
by ``preferences.selection``, the test split by ``core.splits``.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, nearest
from notus.core.records import Feedback
from notus.core.stage import Stage, Tally
from notus.preferences.selection import Selection

__all__ = ["PRESETS", "Preset", "excluding", "preset_named"]


class Preset(Config):
    """A published binarization."""

    about: str
    """What it is, and where it departs from what was published."""
    selection: Selection
    without_sources: tuple[str, ...] = ()
    """Sources whose prompts are left out."""
    without_questions: bool = False
    """Whether prompts that equal a question of a benchmark are left out; the file is given with ``questions``."""
    test_size: int = pydantic.Field(default=0, ge=0)
    """Pairs in the test part, drawn as the publishers drew them: see ``core.splits``."""
    drawn: str = "per prompt"
    """How rejected is drawn: ``per prompt`` by our seed, ``as published``, or ``nothing`` is drawn."""


def _preset(about: str, selection: dict[str, Any], **more: Any) -> Preset:
    return Preset(about=about, selection=Selection(**selection), **more)


PRESETS: dict[str, Preset] = {
    "h4-legacy": _preset(
        "Zephyr-7B-β's pairs, to be made from the revision before the repair: first maximum of the overall score "
        "against a completion that one and the same draw chose in every row, 0 or, where 0 was chosen, 2. Pairs may "
        "tie, and may have the same text.",
        {"strategy": "critique", "rejected": "h4-legacy", "same_text": True},
        test_size=2000,
        drawn="as published",
    ),
    "h4-fixed": _preset(
        "First maximum of the repaired overall score against a random other one, which may tie; without TruthfulQA. "
        "The published draw depended on eight processes; ours is seeded with each prompt. A 10 that the published rule "
        "leaves in doubt has no score here; to take such 10s of the repaired revision as they are, set the strategy to "
        "critique.",
        {"strategy": "repaired-critique", "rejected": "random-other", "same_text": True},
        without_sources=("truthful_qa",),
        without_questions=True,
        test_size=2000,
    ),
    "argilla-mean": _preset(
        "Notus's pairs: best mean rating against a random one with a lower mean; prompts in which all tie are left "
        "out. The draw is ours, seeded with each prompt.",
        {"strategy": "mean-rating", "rejected": "random-lower", "same_text": True},
    ),
    "argilla-cleaned": _preset(
        "An approximation, because the exact filter was not published: as argilla-mean, without the source TruthfulQA "
        "and without ties.",
        {"strategy": "mean-rating", "rejected": "random-lower", "same_text": True},
        without_sources=("truthful_qa",),
    ),
    "tulu3": _preset(
        "Best mean rating, in which a rating that cannot be read counts −1, against a random other one, which may tie. "
        "The draw is ours, seeded with each prompt.",
        {"strategy": "mean-rating", "missing": -1.0, "rejected": "random-other", "same_text": True},
    ),
    "snorkel": _preset(
        "The best against the worst by a ranker's scores, such as PairRM's.",
        {"strategy": "ranker", "rejected": "worst", "same_text": True},
        drawn="nothing",
    ),
}
"""Name → preset."""


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: if there is none, with the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset '{name}'; {nearest(name, PRESETS)}")
    return PRESETS[name]


def excluding(sources: Iterable[str], questions: Iterable[str]) -> Stage[Feedback, Feedback]:
    """A stage that leaves out the prompts of some sources, and those that equal a question but for outer white space.

    Dropped with a reason: ``source-left-out``, ``benchmark-question``.
    """
    return partial(_exclude, frozenset(sources), frozenset(question.strip() for question in questions))


def _exclude(
    sources: frozenset[str], questions: frozenset[str], records: Iterable[Feedback], tally: Tally
) -> Iterator[Feedback]:
    for feedback in records:
        text = feedback.prompt[-1].content
        if feedback.source in sources:
            tally.drop(
                feedback.id, "source-left-out", f"the source is {feedback.source}", at=feedback, asked_by="preset"
            )
        elif text.strip() in questions:
            found = f"the prompt is the question {text.strip()[:120]!r}"
            tally.drop(feedback.id, "benchmark-question", found, at=feedback, asked_by="questions")
        else:
            yield feedback
