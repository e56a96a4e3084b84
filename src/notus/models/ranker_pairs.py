"""Ranking by pairs: from the logits of PairRM to a score for each answer.

Owns which pairs are computed and what is made of them: of all ordered pairs a score for each answer, or by selection
the best alone. The logits come from ``pairs_queue``; any function that gives them for (prompt, first, second) will do.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from notus.core.errors import InputError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.ranker_contest import Contest, Contests
from notus.models.ranker_settings import Ranking

__all__ = ["PairRanker", "load_pair_ranker", "margins", "select"]

Pair = tuple[tuple[Message, ...], str, str]
"""A prompt, a first and a second answer."""
Compare = Callable[[Sequence[Pair]], list[float]]
"""Gives the logit of each pair; above 0 where the first answer is better."""
Scores = list[list[float | None]]


class PairRanker:
    """Ranks by comparing answers two by two.

    Args:
        name: what it is called.
        compare: the logits of pairs; each pair of texts is asked for once.
        settings: ``selection`` and ``seed`` count here.
    """

    def __init__(self, name: str, compare: Compare, settings: Ranking | None = None) -> None:
        self.name = name
        self._compare = compare
        self._settings = settings or Ranking()

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says.

        With ``full``, the mean margin over the other answers, see ``margins``. With ``bubble``, 1 for the best and 0
        for the others, among which nothing is known.
        """
        if len(prompts) != len(candidates):
            raise InputError(f"{len(prompts)} prompts and candidates of {len(candidates)}: give a list for each prompt")
        if self._settings.selection == "bubble":
            return select(prompts, candidates, self._compare, self._settings.seed)
        return margins(prompts, candidates, self._compare)


def load_pair_ranker(
    source: str, settings: Ranking, progress: Callable[[int, int], None] | None, tally: Tally
) -> PairRanker:
    """A ranker by a PairRM.

    Args:
        source: folder or hub id of the model.
        settings: how it works; the lengths that the checkpoint names are taken where it names some.
        progress: told how many of the pairs at hand are done.
        tally: receives the counts of cut texts.

    Raises:
        ConfigError: if there is no such model.
    """
    from notus.models.pairrm import budget_of, load_pairrm
    from notus.models.pairrm_text import PairEncoder
    from notus.models.pairs_queue import score_pairs

    model, tokenizer = load_pairrm(source, precision=settings.precision)
    encoder = PairEncoder(tokenizer, budget_of(source) or settings.budget, tally)

    def compare(pairs: Sequence[Pair]) -> list[float]:
        return score_pairs(
            model,
            encoder.encode(pairs),
            pad_id=tokenizer.pad_token_id,
            max_tokens=settings.max_tokens,
            progress=progress,
        )

    return PairRanker(f"pairrm:{Path(source).name}", compare, settings)


def margins(prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]], compare: Compare) -> Scores:
    """Score each answer by its mean margin over the others, from all n(n − 1) ordered pairs.

    With M_ij the logit of the pair that has answer i first and answer j second::

        score_i = (1/n) · Σ_j (M_ij − M_ji)

    j runs over all n answers; i itself and its equals add 0 and are not computed. A single answer scores 0.
    """
    wanted = dict.fromkeys(
        (prompt, first, second)
        for prompt, answers in zip(prompts, candidates, strict=True)
        for first in answers
        for second in answers
        if first != second
    )
    logits = _logits(compare, list(wanted))
    return [
        [
            sum(logits[prompt, own, other] - logits[prompt, other, own] for other in answers if other != own)
            / len(answers)
            for own in answers
        ]
        for prompt, answers in zip(prompts, candidates, strict=True)
    ]


def select(
    prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]], compare: Compare, seed: int
) -> Scores:
    """Find the best answer of each prompt by a contest of duels, see ``ranker_contest``.

    A duel takes two ordered pairs, and its margin is M_ij − M_ji. Up to twelve answers take 2(n − 1) pairs, more of
    them at most a sixth of all; this is a mean over the prompts, and the ones in doubt take more than the clear ones.
    So the best of a prompt may depend on the other prompts of the call, and not on its place among them. Who meets
    first is decided by the prompt's text and the seed; all prompts take their steps together, so that batches are
    full.

    Returns:
        1 for the best answer of each prompt, 0 for the others.
    """
    texts = [list(dict.fromkeys(answers)) for answers in candidates]
    contests = [Contest(_order(prompt, len(of), seed)) for prompt, of in zip(prompts, texts, strict=True)]
    shared = Contests(contests)
    logits: dict[Pair, float] = {}

    def pair(index: int, first: int, second: int) -> Pair:
        return prompts[index], texts[index][first], texts[index][second]

    while duels := shared.duels():
        both = [order for index, of in duels.items() for a, b in of for order in (pair(index, a, b), pair(index, b, a))]
        logits |= _logits(compare, list(dict.fromkeys(both)))
        shared.tell(
            {
                index: {(a, b): logits[pair(index, a, b)] - logits[pair(index, b, a)] for a, b in of}
                for index, of in duels.items()
            }
        )
    found: Scores = [[0.0] * len(answers) for answers in candidates]
    for scores, answers, distinct, contest in zip(found, candidates, texts, contests, strict=True):
        if answers:
            scores[answers.index(distinct[contest.best])] = 1.0
    return found


def _logits(compare: Compare, pairs: list[Pair]) -> dict[Pair, float]:
    return dict(zip(pairs, compare(pairs), strict=True)) if pairs else {}


def _order(prompt: tuple[Message, ...], count: int, seed: int) -> list[int]:
    """A seeded order that depends on the prompt and not on where it stands."""
    order = list(range(count))
    text = "".join(f"{len(turn.content)}:{turn.role}:{turn.content}" for turn in prompt)
    random.Random(f"{seed}:{text}").shuffle(order)
    return order
