"""How answers follow their checks: accuracies of prompts and instructions with intervals, and stored verdicts beside.

A prompt is followed where all its instructions are. Instructions of one prompt are answered by one text, so that they
are no independent cases: their intervals are over prompts as clusters. Source of the four accuracies: Zhou et al. 2023,
https://arxiv.org/abs/2311.07911, section 3.

Owns the counting. What is followed is owned by ``checks.protocol``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from notus.checks.protocol import Followed
from notus.evaluate.checks.files import StoredAnswer
from notus.stats.intervals import Estimate, share

__all__ = ["CheckAccuracy", "CheckedAnswer", "VerdictDifference", "find_differences", "measure_checks"]

Level = Literal["prompt", "instruction", "kind"]


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer and what its checks say."""

    answer: StoredAnswer
    followed: Followed

    @property
    def prompt_id(self) -> str:
        """Of its prompt."""
        return self.answer.prompt.prompt_id


@dataclass(frozen=True)
class CheckAccuracy:
    """The share of prompts or instructions of one model that are followed."""

    model: str
    level: Level
    name: str
    """``prompts``, ``instructions``, or the id of the kind."""
    n: int
    """Answers, or instructions of all answers."""
    strict_followed: int
    loose_followed: int
    strict: Estimate | None
    """None with fewer than two prompts."""
    loose: Estimate | None


@dataclass(frozen=True)
class VerdictDifference:
    """An instruction on which a stored verdict says otherwise; None where none was stored."""

    model: str
    key: str
    check: str
    strict: bool
    stored_strict: bool | None
    loose: bool
    stored_loose: bool | None
    file: str
    line: int


def measure_checks(answers: Sequence[CheckedAnswer]) -> list[CheckAccuracy]:
    """The accuracies of each model: of prompts, of instructions, and of each kind in the order of the alphabet."""
    found: list[CheckAccuracy] = []
    for model in dict.fromkeys(each.answer.model for each in answers):
        own = [each for each in answers if each.answer.model == model]
        found.append(_accuracy(model, "prompt", "prompts", own, lambda _: True, whole=True))
        found.append(_accuracy(model, "instruction", "instructions", own, lambda _: True))
        kinds = sorted({check.id for each in own for check in each.answer.prompt.checks})
        found += [_accuracy(model, "kind", kind, own, kind.__eq__) for kind in kinds]
    return found


def find_differences(answers: Iterable[CheckedAnswer]) -> list[VerdictDifference]:
    """The instructions on which stored verdicts differ from these."""
    found = []
    for each in answers:
        stored, own = each.answer, each.followed
        for number, check in enumerate(stored.prompt.checks):
            strict = None if stored.strict is None else stored.strict[number]
            loose = None if stored.loose is None else stored.loose[number]
            if strict in (None, own.strict[number]) and loose in (None, own.loose[number]):
                continue
            ours = (own.strict[number], own.loose[number])
            place = (stored.file, stored.line)
            found.append(
                VerdictDifference(stored.model, stored.prompt.key, check.id, ours[0], strict, ours[1], loose, *place)
            )
    return found


def _accuracy(
    model: str,
    level: Level,
    name: str,
    answers: Sequence[CheckedAnswer],
    wanted: Callable[[str], bool],
    *,
    whole: bool = False,
) -> CheckAccuracy:
    """The accuracy over the instructions whose id is wanted, or over whole answers."""
    strict: list[bool] = []
    loose: list[bool] = []
    clusters: list[str] = []
    for each in answers:
        if whole:
            cases = [(each.followed.all_strict, each.followed.all_loose)]
        else:
            ids = (check.id for check in each.answer.prompt.checks)
            both = zip(ids, each.followed.strict, each.followed.loose, strict=True)
            cases = [(one, other) for id_, one, other in both if wanted(id_)]
        strict += [one for one, _ in cases]
        loose += [other for _, other in cases]
        clusters += [each.prompt_id] * len(cases)
    return CheckAccuracy(
        model, level, name, len(strict), sum(strict), sum(loose), share(strict, clusters), share(loose, clusters)
    )
