"""Rankers: whatever says which answers to a prompt are better, behind one protocol, ``protocols.Ranker``.

Owns the making of a ranker from its text form, and the one that needs nothing: length. A function of the user's is in
``ranker_function``, PairRM in ``ranker_pairs``, reward models are in ``ranker_models``, judges in ``ranker_judge``. No
torch, until a ranker is made that needs it.
"""

from collections.abc import Callable, Sequence

from notus.core.errors import ConfigError, InputError, require
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.protocols import Generator, Ranker
from notus.models.ranker_function import FunctionRanker
from notus.models.ranker_settings import RankerSpec, Ranking

__all__ = ["LengthRanker", "Progress", "best_of", "make_ranker"]

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""
Scores = list[list[float | None]]


def make_ranker(
    spec: str | RankerSpec,
    settings: Ranking | None = None,
    *,
    generator: Generator | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Ranker:
    """Make a ranker.

    Args:
        spec: which one, or its text form; see ``ranker_settings``.
        settings: how it works.
        generator: who is asked, for ``judge``.
        progress: told how the work goes on, by the rankers that compute.
        tally: receives the counts of cut texts and of judgements that could not be read.

    Raises:
        ConfigError: for an unknown ranker, a function or a model that is not there, a judge without a generator.
        MissingExtraError: if it needs a library that is not installed.
    """
    spec = RankerSpec.read(spec) if isinstance(spec, str) else spec
    settings, tally = settings or Ranking(), tally or Tally("rank")
    if spec.kind == "length":
        return LengthRanker()
    if spec.kind == "python":
        return FunctionRanker(str(spec.model))
    if spec.kind == "judge":
        from notus.models.ranker_judge import JudgeRanker

        if generator is None:
            raise ConfigError(f"ranker '{spec}' needs somebody to ask: name endpoints, or a model with 'serve'")
        return JudgeRanker(generator, str(spec.model), settings, tally)
    for library in ("torch", "transformers"):
        require(library, extra="train")
    if spec.kind == "pairrm":
        from notus.models.ranker_pairs import load_pair_ranker

        return load_pair_ranker(str(spec.model), settings, progress, tally)
    from notus.models.ranker_models import ImplicitRanker, RewardRanker

    if spec.kind == "reward-model":
        return RewardRanker(str(spec.model), settings, progress, tally)
    return ImplicitRanker(str(spec.model), str(spec.reference), settings, tally)


def best_of(scores: Sequence[float | None]) -> int | None:
    """Index of the best answer, the first of equals; None where no answer has a score."""
    scored = [(score, -index) for index, score in enumerate(scores) if score is not None]
    return -max(scored)[1] if scored else None


class LengthRanker:
    """Scores an answer by its number of characters. A control: what beats nothing but this has learnt nothing."""

    name = "length"

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        _check_alike(prompts, candidates)
        return [[float(len(text)) for text in answers] for answers in candidates]


def _check_alike(prompts: Sequence[object], candidates: Sequence[object]) -> None:
    if len(prompts) != len(candidates):
        raise InputError(f"{len(prompts)} prompts and candidates of {len(candidates)}: give a list for each prompt")
