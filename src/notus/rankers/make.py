"""Rankers: whatever says which answers to a prompt are better, behind one protocol, ``llm.protocol.Ranker``.

Owns the making of a ranker from its text form, and the choice of the best answer. How each kind works is in its module
in ``rankers.kinds``. No torch, until a ranker is made that needs it.
"""

from collections.abc import Callable, Sequence

from notus.core.errors import require
from notus.core.records import Message, prompt_id
from notus.core.stage import Tally, by_halves
from notus.llm.protocol import Generator, Ranker
from notus.rankers.ref import Progress, RankerContext, RankerRef
from notus.rankers.settings import Ranking

__all__ = ["PuttingAside", "best_of", "make_ranker"]


def make_ranker(
    ref: str | RankerRef,
    settings: Ranking | None = None,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Ranker:
    """Make a ranker.

    Args:
        ref: which one, or its text form; see ``rankers.ref``.
        settings: how it works.
        generator: who is asked, for ``judge``.
        progress: told how the work goes on, by the rankers that compute.
        tally: receives the counts of cut texts and of judgements that could not be read.

    Raises:
        ConfigError: for an unknown ranker, a function or a model that is not there, a judge without a generator.
        MissingExtraError: if it needs a library that is not installed.
    """
    ref, tally = RankerRef.read(ref), tally or Tally("rank")
    if ref.about.computes:
        for library in ("torch", "transformers"):
            require(library, extra="train")
    made = ref.about.make(ref, RankerContext(settings or Ranking(), tally, generator, progress))
    return PuttingAside(made, tally) if ref.about.computes else made


class PuttingAside:
    """A ranker that scores no answer to a prompt which its model's form cannot hold, and scores all others.

    Args:
        ranker: raises ``UnfitError`` for such a prompt.
        tally: receives these prompts with their ids and the reasons.
    """

    def __init__(self, ranker: Ranker, tally: Tally) -> None:
        self._ranker, self._tally = ranker, tally

    @property
    def name(self) -> str:
        """That of the ranker."""
        return self._ranker.name

    def rank(
        self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]
    ) -> list[list[float | None]]:
        """Score the candidates of each prompt, as ``Ranker`` says; None of a prompt that cannot be read."""
        from notus.engine.text.template import UnfitError
        from notus.rankers.ref import check_lengths

        check_lengths(prompts, candidates)

        def work(part: Sequence[tuple[tuple[Message, ...], Sequence[str]]]) -> list[list[float | None]]:
            return self._ranker.rank([prompt for prompt, _ in part], [answers for _, answers in part])

        def put_aside(one: tuple[tuple[Message, ...], Sequence[str]], error: UnfitError) -> list[list[float | None]]:
            self._tally.drop(prompt_id(one[0]), error.reason, str(error))
            return [[None] * len(one[1])]

        unfit: Callable[[tuple[Message, ...]], str] = getattr(self._ranker, "unfit", lambda _: "")
        for prompt in prompts:
            if fault := unfit(prompt):  # such a ranker gives None itself
                self._tally.drop(prompt_id(prompt), "unfit-prompt", fault)
        return by_halves(list(zip(prompts, candidates, strict=True)), work, UnfitError, put_aside, self._tally)


def best_of(scores: Sequence[float | None]) -> int | None:
    """Index of the best answer, the first of equals; None where no answer has a score."""
    scored = [(score, -index) for index, score in enumerate(scores) if score is not None]
    return -max(scored)[1] if scored else None
