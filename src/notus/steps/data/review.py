"""The step that reviews in a person's place, where the truth is known: decisions by a reviewer that errs at a set rate.

Owns who is shown what, and what such a reviewer decides. What decisions do is owned by ``decisions.apply``.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import pydantic
from msgspec.structs import replace

from notus.audit.feedback import Suspicion
from notus.core.artifacts import RULINGS, TRUTH, Artifact
from notus.core.errors import DataError
from notus.core.tables import read_records
from notus.decisions.read import write_rulings
from notus.decisions.ruling import Ruling
from notus.steps.base import Context, Ref, Seed, Step
from notus.steps.data.audit import COMPLETIONS
from notus.toy.world import Truth

__all__ = ["SimulatedReview"]

_LAST = 2**62
"""The place of what no place was given: after all others."""


class SimulatedReview(Step):
    """Decide on the first completions of a queue by the toy world's truth, as a reviewer who errs at a set rate."""

    step_type: ClassVar[str] = "simulated-review"
    leaves: ClassVar[tuple[Artifact, ...]] = (RULINGS,)
    audit: Ref = "audit"
    """The audit whose completions are shown."""
    truth: Ref = "data"
    """The toy world that was audited."""
    order: Literal["suspicion", "random"] = "suspicion"
    """What is shown first: the most suspicious, or a random draw."""
    first: int = pydantic.Field(default=50, ge=1)
    """Completions that are decided on."""
    wrong: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05
    """How often the reviewer errs: a faulty score is kept, an answer with a sound one is dropped."""
    seed: Seed | None = None
    """Decides the random draw and the errors, which are the same for a completion in whatever order it is shown; null
    takes the replicate's."""

    def run(self, context: Context) -> None:
        """Leave the decisions, as JSON lines: a faulty score is set to what was deserved, a sound one kept."""
        rows = list(read_records(COMPLETIONS.at(context.place("audit")), Suspicion))
        truths = {each.completion_id: each for each in read_records(TRUTH.at(context.place("truth")), Truth)}
        if missing := sum(row.id not in truths for row in rows):
            raise DataError(
                f"{missing:,} of the {len(rows):,} completions in {context.inputs['audit']} are not of the toy world "
                f"{context.inputs['truth']}; 'audit' and 'truth' are to be of the same data"
            )
        shown = _queue(rows, self.order, context.seed)[: self.first]
        rulings = list(_decide(shown, truths, self, context.seed))
        write_rulings(RULINGS.at(context.path), rulings)
        faulty = sum(truths[row.id].faulty for row in shown)
        right = sum(each.what == "set-score" for each in rulings)
        lost = sum(each.what == "drop" for each in rulings)
        context.note(
            order=self.order, shown=len(shown), faulty_shown=faulty, set_right=right, overlooked=faulty - right
        )
        context.note(dropped_in_error=lost, faulty=sum(each.faulty for each in truths.values()))


def _queue(rows: Sequence[Suspicion], order: str, seed: int) -> list[Suspicion]:
    """The completions in the order of their showing, equal places in the order of their ids."""
    by_id = sorted(rows, key=lambda row: row.id)
    if order == "random":
        random.Random(f"{seed}:review").shuffle(by_id)
        return by_id
    return sorted(by_id, key=lambda row: _LAST if row.suspicion is None else row.suspicion)


def _decide(
    shown: Sequence[Suspicion], truths: dict[str, Truth], config: SimulatedReview, seed: int
) -> Iterator[Ruling]:
    for number, row in enumerate(shown, 1):
        truth = truths[row.id]
        errs = random.Random(f"{seed}:review:{row.id}").random() < config.wrong
        ruling = Ruling(
            target=row.id,
            of="completion",
            what="keep",
            who="simulated",
            queue=config.order,
            reasons=row.reasons,
            prompt=row.prompt_id,
            number=number,
        )
        if truth.faulty and not errs:
            yield replace(ruling, what="set-score", field="overall_score", value=truth.deserved)
        else:
            yield replace(ruling, what="drop") if errs and not truth.faulty else ruling
