"""Rewards on trial: how often a ranker, a reward model or a policy's own reward prefers the chosen answer.

Owns the scoring of preference pairs and what follows from it for each pair. Subsets, sections, length and calibration
are the business of ``evaluate.rewardbench``.

The reward of a DPO policy is log π(y|x) − log π_ref(y|x) (Rafailov et al. 2023, equation 5); β scales it and changes no
sign, so it is left out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from notus.core.errors import RunError
from notus.core.records import Preference, Record, Verdict
from notus.core.run import Run
from notus.core.stage import Tally
from notus.core.statistics import Estimate, p_value
from notus.evaluate.compare import spoken
from notus.models.protocols import Ranker
from notus.models.settings import Limits

__all__ = ["PairScore", "against_chance", "checked", "implicit_accuracy", "score_pairs"]

_PADDED_ROWS = 64


class PairScore(Record, frozen=True):
    """A preference pair with the scores that a ranker gave its answers."""

    id: str
    """Of the pair, see ``core.records.Preference``."""
    prompt_id: str
    sample: int
    """Number of the pair among those of its prompt."""
    subset: str
    """Part of the set that the pair belongs to; empty where the rows name none."""
    section: str
    score_chosen: float | None
    score_rejected: float | None
    value: float | None
    """1: the chosen answer has the higher score, 0: the rejected one; a tie counts what was asked for. None: the ranker
    gave no score to one of them."""
    reason: str
    """``chosen``, ``rejected``, ``tie`` or ``unscored``."""
    length_chosen: int
    """Characters, as is ``length_rejected``."""
    length_rejected: int

    @property
    def margin(self) -> float | None:
        """Score of the chosen answer minus that of the rejected one."""
        if self.score_chosen is None or self.score_rejected is None:
            return None
        return self.score_chosen - self.score_rejected


def score_pairs(
    ranker: Ranker, preferences: Iterable[Preference], tally: Tally, *, tie: float = 0.0, subset: str = "subset"
) -> list[PairScore]:
    """Score both answers of each pair.

    A pair whose answers are not single turns of the assistant is dropped as ``several-turns``.

    Args:
        ranker: scores the answers.
        preferences: the pairs.
        tally: receives the drops and the count ``unscored``.
        tie: what two equal scores count: 0 as in RewardBench, which asks for score(chosen) > score(rejected) (Lambert
            et al. 2024, https://arxiv.org/abs/2403.13787), or ½.
        subset: column that names the part of the set; ``source`` takes the pair's source.

    Raises:
        RunError: if the ranker gives too few scores, or one that is no finite number.
    """
    kept = [item for item in preferences if _single_turns(item, tally)]
    tally.given += len(kept)
    prompts, candidates = [item.prompt for item in kept], [_texts(item) for item in kept]
    scores = checked(ranker.name, ranker.rank(prompts, candidates), candidates)
    seen: dict[str, int] = {}
    found = []
    for item, texts, (chosen, rejected) in zip(kept, candidates, scores, strict=True):
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        value, reason = _value(chosen, rejected, tie)
        tally.count(reason)
        found.append(
            PairScore(
                id=item.id,
                prompt_id=item.prompt_id,
                sample=number,
                subset=item.source if subset == "source" else _named(item, subset),
                section=_named(item, "section"),
                score_chosen=chosen,
                score_rejected=rejected,
                value=value,
                reason=reason,
                length_chosen=len(texts[0]),
                length_rejected=len(texts[1]),
            )
        )
    return found


def checked(
    name: str, scores: Sequence[Sequence[float | None]], candidates: Sequence[Sequence[str]]
) -> Sequence[Sequence[float | None]]:
    """The scores of a ranker, if there is one for each candidate and all are finite.

    Raises:
        RunError: if not.
    """
    if [len(of_prompt) for of_prompt in scores] != [len(of_prompt) for of_prompt in candidates]:
        raise RunError(f"the ranker '{name}' did not give one score for each candidate; each needs one, or None")
    if bad := [value for of_prompt in scores for value in of_prompt if value is not None and not math.isfinite(value)]:
        raise RunError(f"the ranker '{name}' gave the score {bad[0]}; a finite number is needed, or None for unscored")
    return scores


def against_chance(arm: str, accuracy: Estimate) -> str:
    """Whether an accuracy can be told from that of a policy that prefers nothing, in a sentence."""
    above = replace(accuracy, mean=accuracy.mean - 0.5, low=accuracy.low - 0.5, high=accuracy.high - 0.5)
    # The p-value and not the interval: one of no width, from two equal values, proves nothing.
    if p_value(above) >= 0.05:
        return f"{arm} and chance (0.5) are not distinguishable: {spoken(accuracy)}"
    side = "above" if accuracy.mean > 0.5 else "below"
    return f"{arm} is {side} chance (0.5): {spoken(accuracy)}"


def implicit_accuracy(
    run: Run,
    preferences: Sequence[Preference],
    *,
    name: str,
    policy: str,
    reference: str,
    limits: Limits,
    max_tokens: int | None,
) -> list[Verdict]:
    """Score each preference 1 where the chosen answer has the higher implicit reward, ½ at a tie, 0 otherwise.

    Args:
        run: receives the counts of cut texts.
        name: what the policy is called in the verdicts.
        policy: folder or hub id of the trained model.
        reference: folder or hub id of the model that it was trained from.
        limits: lengths in tokens.
        max_tokens: tokens of a forward pass in the packed form; None computes padded, for models it refuses.

    Returns:
        One verdict for each preference; ``sample`` numbers the pairs of a prompt.
    """
    from notus.models.local import load_tokenizer
    from notus.models.tokens import Encoder, answer_text

    encoder = Encoder(load_tokenizer(policy), limits, run.tally("encode"))
    texts = [(item.prompt, answer_text(side)) for item in preferences for side in (item.chosen, item.rejected)]
    examples = encoder.examples(texts)
    pad_id = encoder.tokenizer.pad_token_id
    trained, before = (_logps(source, examples, pad_id, max_tokens) for source in (policy, reference))
    rewards = [after - start for after, start in zip(trained, before, strict=True)]
    seen: dict[str, int] = {}
    verdicts = []
    for index, item in enumerate(preferences):
        margin = rewards[2 * index] - rewards[2 * index + 1]
        number = seen[item.prompt_id] = seen.get(item.prompt_id, -1) + 1
        score, reason = (0.5, "tie") if margin == 0 else (1.0, "chosen") if margin > 0 else (0.0, "rejected")
        verdicts.append(
            Verdict(
                prompt_id=item.prompt_id,
                model=name,
                judge="implicit-reward",
                score=score,
                sample=number,
                reason=reason,
            )
        )
    return verdicts


def _logps(
    source: str, examples: Sequence[tuple[list[int], list[int]]], pad_id: int, max_tokens: int | None
) -> list[float]:
    """Log-probabilities of the answers, two neighbours of which share a prompt."""
    from notus.models.local import load_model
    from notus.models.logps import all_branch_logps
    from notus.models.pack import Group
    from notus.models.padded import all_logps

    model = load_model(source)
    if max_tokens is None:
        return all_logps(model, examples, pad_id, _PADDED_ROWS)
    groups = [
        Group(prompt, (chosen, rejected))
        for (prompt, chosen), (_, rejected) in zip(examples[::2], examples[1::2], strict=True)
    ]
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return [value for sums in all_branch_logps(plain, groups, max_tokens) for value in sums]


def _single_turns(item: Preference, tally: Tally) -> bool:
    tally.taken += 1
    sides = (item.chosen, item.rejected)
    if all(len(side) == 1 and side[0].role == "assistant" for side in sides):
        return True
    tally.drop(item.id, "several-turns", f"{len(item.chosen)} and {len(item.rejected)} turns; each side must be one")
    return False


def _texts(item: Preference) -> tuple[str, str]:
    return item.chosen[0].content, item.rejected[0].content


def _named(item: Preference, column: str) -> str:
    value = item.extra.get(column)
    return value if isinstance(value, str) else ""


def _value(chosen: float | None, rejected: float | None, tie: float) -> tuple[float | None, str]:
    if chosen is None or rejected is None:
        return None, "unscored"
    if chosen == rejected:
        return tie, "tie"
    return (1.0, "chosen") if chosen > rejected else (0.0, "rejected")
