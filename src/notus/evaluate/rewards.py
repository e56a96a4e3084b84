"""Implicit rewards on trial: how often a policy's own reward prefers the chosen answer.

The reward of a DPO policy is log π(y|x) − log π_ref(y|x) (Rafailov et al. 2023, equation 5); β scales it and changes no
sign, so it is left out.
"""

from collections.abc import Sequence
from dataclasses import replace

from notus.core.records import Preference, Verdict
from notus.core.run import Run
from notus.core.statistics import Estimate, p_value
from notus.evaluate.compare import spoken
from notus.models.settings import Limits

__all__ = ["against_chance", "implicit_accuracy"]

_PADDED_ROWS = 64


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
