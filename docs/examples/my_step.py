"""A step of your own. In a recipe: `short: {step: "python:my_step.py:Shorten", data: data, keep: 2}`."""

import msgspec

from notus.core.artifacts import FEEDBACK
from notus.steps.base import Context, FeedbackRef, Reads


class Shorten(Reads):
    step_type, leaves, draws = "shorten", (FEEDBACK,), False
    data: FeedbackRef = "data"
    keep: int = 2

    def run(self, context: Context) -> None:
        rows = context.records(context.source("data"))
        short = (msgspec.structs.replace(row, completions=row.completions[: self.keep]) for row in rows)
        context.write(FEEDBACK, short)
