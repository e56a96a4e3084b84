"""Pairs whose better answer a program knows: checks as the truth that a judge is measured by.

Of two answers to a prompt with checks, the one that follows all of them is the better one where the other does not: no
judge can spoil that. A judge who prefers the other prefers what the checks refute. Where both follow all, or neither
does, the checks say nothing of the two, and the pair is counted and left out.

Owns which answers a program tells apart, and the verdicts that stored scores amount to. What a check tells is owned by
``checks``, the figures by ``figures``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from notus.checks.protocol import Check, check_answer, make_checks
from notus.core.errors import ConfigError, DataError
from notus.core.records import Feedback, Message, Preference, format_turns, prompt_id
from notus.core.stage import Tally
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import PairVerdict, PresentedPair
from notus.stats.intervals import Estimate, share

__all__ = ["Refuted", "StoredScores", "from_checked", "refuted_share", "stored_scores"]

_IDS, _SETTINGS = "instruction_id_list", "kwargs"
_PREFERRED = "chosen"
_SCORES: dict[str, Callable[[Any], float | None]] = {
    "critique": lambda item: item.overall_score,
    "mean-rating": lambda item: item.mean_rating,
}
"""Scores that a row of feedback holds: name → the score of a completion, the higher the better."""
