"""A collection by batch files: what the step ``collect`` would ask is written down, and results are entered.

Nothing is asked and no run is made: the ledger alone changes. How lines look is owned by ``llm.wire.batch``, what of a
collection can be asked already by ``collect.collect``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydantic

from notus.collect.batch import BatchWriter, Entered, Written, enter_results
from notus.collect.collect import ask_what_is_known
from notus.core.errors import ConfigError
from notus.core.stage import Tally
from notus.llm.ledger import Ledger
from notus.steps.base import Context
from notus.steps.collect.asking import ledger_of
from notus.steps.collect.feedback import Collect, check_demands, drafts_of
from notus.steps.perform import PlannedStep, do_step

__all__ = ["Batch", "Batched", "batch_step"]


@dataclass(frozen=True)
class Batch:
    """What is done with batch files."""

    folder: Path | None
    """Where requests go; None writes none."""
    results: Sequence[Path]
    """Files of results."""


@dataclass
class Batched:
    """What became of it."""

    ledger: Path
    entered: Entered | None = None
    """None where there were no results."""
    written: Written | None = None
    """What is still to be asked, written down or only counted."""
    prompts: int = 0

    def as_json(self) -> dict[str, Any]:
        """For machines: what was entered and what is still to be asked, with all ids."""
        parts = {"entered": self.entered, "written": self.written}
        found = {name: None if part is None else vars(part) for name, part in parts.items()}
        return {"ledger": str(self.ledger), "prompts": self.prompts, **found}


class _Batch(Collect):
    """The step ``collect`` with its requests in files; no step of recipes."""

    _asked: Any = pydantic.PrivateAttr(None)
    """What is to be done, and where it is told what became of it: a config holds settings alone."""

    def run(self, context: Context) -> None:
        """Read the prompts, enter results, and write down what is still to be asked."""
        batch: Batch
        found: Batched
        batch, found = self._asked
        drafts = list(drafts_of(context, self, context.inputs["data"]))
        found.prompts = len(drafts)
        check_demands(self, drafts)
        with Ledger(found.ledger) as ledger:
            if batch.results:
                with BatchWriter(self.endpoints, ledger) as wanted:
                    ask_what_is_known(drafts, Tally("collect"), settings=self, seed=context.seed, generator=wanted)
                found.entered = enter_results(batch.results, wanted, ledger)
            with BatchWriter(self.endpoints, ledger, batch.folder, self.max_cost) as writer:
                ask_what_is_known(drafts, Tally("collect"), settings=self, seed=context.seed, generator=writer)
            found.written = writer.written


def batch_step(step: PlannedStep, path: Path, inputs: dict[str, str], batch: Batch) -> Batched:
    """Enter results for a step that collects feedback, and write down what it would still ask.

    Args:
        step: of a plan.
        path: its run directory, beside which the ledger lies; nothing is written there.
        inputs: setting → run directory, path or hub id.
        batch: what is to be done.

    Raises:
        ConfigError: if it is no collection of feedback, or a server of its own would be asked.
        InputError, RunError: if a file cannot be read or written.
    """
    config = step.config
    if not isinstance(config, Collect):
        raise ConfigError(f"the step '{step.name}' is '{config.step_type}'; batch files are for steps 'collect' alone")
    for setting in ("serve", "toy_judge"):
        if getattr(config, setting) is not None:
            raise ConfigError(
                f"the step '{step.name}' asks a server of its own ('{setting}'), which takes no batch files"
            )
    found = Batched(ledger_of(path, config.ledger))
    own = _Batch.model_construct(config.model_fields_set, **dict(config))
    own._asked = (batch, found)
    with TemporaryDirectory(prefix="notus-batch-") as folder:
        do_step(replace(step, config=own), Path(folder) / "run", inputs)
    return found
