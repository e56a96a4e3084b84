"""``checks:FILE``: answers by the share of their prompt's checks that they follow, strictly.

FILE has prompts with their checks in the published layout of IFEval, your own among them. A prompt is found by its
text, without space around it; that of a conversation by its last turn of the user. Of a prompt that is not in the file
no answer is scored, and it is counted. No torch.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from notus.checks.prompts import by_text, checked_prompt
from notus.core.records import Message, prompt_id
from notus.core.stage import Tally
from notus.formats.quarantine import RowReader
from notus.formats.rows import parse_row, read_rows
from notus.llm.protocol import Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef, Scores, check_lengths

__all__ = ["KIND", "ChecksRanker"]


class ChecksRanker:
    """Scores an answer by the share of its prompt's checks that it follows.

    Args:
        path: the file of prompts with their checks.
        tally: receives the prompts that are not in it.
        own: the checks of the user's own that it may name.

    Raises:
        ConfigError: if a check is not known, or one of the user's own is not allowed.
        DataError: if the file cannot be read, or a row is bad.
    """

    name = "checks"

    def __init__(self, path: Path, tally: Tally, own: Collection[str] = ()) -> None:
        rows = RowReader().read(path, read_rows(path), lambda payload: checked_prompt(parse_row(payload), own))
        self._prompts = by_text(prompt for _, prompt in rows)
        self._path, self._tally = path, tally

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        check_lengths(prompts, candidates)
        return [self._score(prompt, answers) for prompt, answers in zip(prompts, candidates, strict=True)]

    def _score(self, prompt: tuple[Message, ...], answers: Sequence[str]) -> list[float | None]:
        asked = next((turn.content for turn in reversed(prompt) if turn.role == "user"), "")
        known = self._prompts.get(asked.strip())
        if known is None:
            self._tally.drop(prompt_id(prompt), "no-checks", f"the prompt {asked!r:.60} is not in {self._path}")
            return [None] * len(answers)
        return [known.share(answer) for answer in answers]


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    return ChecksRanker(Path(str(ref.model)), context.tally, context.settings.own_checks)


KIND = RankerKind("checks:FILE", _make, pointwise=True)
