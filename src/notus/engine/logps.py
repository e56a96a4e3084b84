"""Log-probabilities of the answers in a packed row: the one kernel of policy, reference and evaluation.

The decoder runs once over the row. The language-model head runs on the positions before answer tokens only, in chunks,
and a backward pass makes their softmax again, chunk by chunk.
Log-probabilities are fp32, sums of them fp64, because a sum of −2,400 is spaced 2.4e-4 apart in fp32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from notus.core.errors import RunError
from notus.engine.adapters import base_model
from notus.engine.attention import LAYOUT, NAME, check_supported, layout, obstacle, packed
from notus.engine.cpu.layers import Linear, add_transposed, has_hooks, product, round_up
from notus.engine.pack import PackedRow, PromptGroup, choose_rows, pack
from notus.engine.padded import all_logps

__all__ = ["all_completion_logps", "completion_logps", "token_logps", "token_logps_and_collisions"]


def token_logps(model: PreTrainedModel, row: PackedRow, *, chunk: int = 256) -> torch.Tensor:
    """Log-probability of each answer token, log π(y_t | x, y_<t).

    Args:
        model: a causal language model inside ``packed`` or after ``use_packed``.
        row: on the model's device.
        chunk: answer tokens whose logits live at once. It changes memory and time, not the numbers.

    Returns:
        [A] in fp32, natural logarithm, in the order of ``row.targets``.

    Raises:
        ConfigError: if packed attention is not right for the model.
        RunError: if the model has not been switched to packed attention.
    """
    return _token_logps(model, row, chunk, collide=False)[0]


def token_logps_and_collisions(
    model: PreTrainedModel, row: PackedRow, *, chunk: int = 256
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each answer token, and that two draws in its place are the same token, log Σ_v π(v|x, y_<t)².

    Arguments and errors are those of ``token_logps``.

    Returns:
        Both [A] in fp32, natural logarithm; no gradient flows through the second.
    """
    logps, collisions = _token_logps(model, row, chunk, collide=True)
    assert collisions is not None, "they were asked for"
    return logps, collisions


def _token_logps(
    model: PreTrainedModel, row: PackedRow, chunk: int, *, collide: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    check_supported(model, row.longest)
    if model.config._attn_implementation != NAME:
        raise RunError("packed log-probabilities need packed attention: call this inside 'packed(model)'")
    # Tokens after the row's end belong to nobody, and nothing sees them.
    more = (0, round_up(row.tokens, row.input_ids.device) - row.tokens)
    hidden = model.get_decoder()(
        input_ids=pad(row.input_ids, more),
        position_ids=pad(row.position_ids, more),
        use_cache=False,
        **{LAYOUT: layout(row)},
    ).last_hidden_state
    count = len(row.targets)
    spare = (0, round_up(count, row.targets.device) - count)
    states = hidden[0].index_select(0, pad(row.sources, spare))
    head = model.get_output_embeddings()
    logps, collisions = _head_logps(head, states, pad(row.targets, spare), chunk, collide)
    return logps[:count], None if collisions is None else collisions[:count]


def completion_logps(model: PreTrainedModel, row: PackedRow, *, chunk: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each completion: Σ_t log π(y_t | x, y_<t) over its tokens that count.

    Arguments and errors are those of ``token_logps``.

    Returns:
        Sums [completions] in fp64 and numbers of tokens [completions].
    """
    logps = token_logps(model, row, chunk=chunk)
    sums = torch.zeros(row.completions, dtype=torch.float64, device=logps.device)
    return sums.index_add(0, row.completion_of, logps.double()), torch.bincount(
        row.completion_of, minlength=row.completions
    )


def all_completion_logps(
    model: PreTrainedModel | PeftModel, groups: Sequence[PromptGroup], max_tokens: int
) -> list[list[float]]:
    """Log-probabilities of all completions under a model that is not being trained, for references and evaluation.

    The model is put into evaluation mode and packed attention, and left as it was. A model that packed attention is not
    right for is computed in padded batches.

    Args:
        model: a causal language model, with an adapter or without.
        groups: prompts with their completions.
        max_tokens: tokens of a forward pass; a longer group makes a longer one.

    Returns:
        For each group, in their order, the sum of each completion.
    """
    logps: list[list[float]] = [[] for _ in groups]
    model = base_model(model)
    if groups and obstacle(model, max(group.longest for group in groups)):
        return _all_padded(model, groups, max_tokens)
    training = model.training
    model.eval()
    try:
        with packed(model), torch.inference_mode():
            for indices in choose_rows(groups, max_tokens):
                row = pack([groups[index] for index in indices]).to(model.device)
                sums = iter(completion_logps(model, row)[0].tolist())
                for index in indices:
                    logps[index] = [next(sums) for _ in groups[index].completions]
    finally:
        model.train(training)
    return logps


def _all_padded(model: PreTrainedModel, groups: Sequence[PromptGroup], max_tokens: int) -> list[list[float]]:
    examples = [(group.prompt, completion) for group in groups for completion in group.completions]
    trained = [marks for group in groups for marks in group.trained or [None] * len(group.completions)]
    training = model.training
    try:
        sums = iter(all_logps(model, examples, 0, max_tokens=max_tokens, trained=trained))
    finally:
        model.train(training)
    return [[next(sums) for _ in group.completions] for group in groups]


def _head_logps(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, chunk: int, collide: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """log softmax(head(hidden))[target] in fp32, for hidden [A, width], and log Σ softmax² where it is asked for."""
    if isinstance(head, nn.Linear) and type(head) in (nn.Linear, Linear) and not has_hooks(head):
        # Hooks mean that someone gathers or moves the weight; then, as with adapters, the module itself must run.
        return _plain_head_logps(head, hidden, targets, chunk, collide)
    pieces = [
        checkpoint(_chunk_logps, head, states, wanted, collide, use_reentrant=False)
        if torch.is_grad_enabled()
        else _chunk_logps(head, states, wanted, collide)
        for states, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    logps, collisions = zip(*pieces, strict=True)
    return torch.cat(logps), torch.cat(collisions) if collide else None


def _chunk_logps(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, collide: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    scores = torch.log_softmax(head(hidden).float(), dim=-1)
    collisions = torch.logsumexp(2 * scores.detach(), dim=-1) if collide else None
    return scores.gather(1, targets.unsqueeze(1)).squeeze(1), collisions


def _plain_head_logps(
    head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int, collide: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight, bias, kind = head.weight, head.bias, hidden.device.type
    if torch.is_autocast_enabled(kind):
        # The backward pass knows nothing of autocast, so it is done here, where it can be differentiated.
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    with torch.autocast(kind, enabled=False):
        found: tuple[torch.Tensor, torch.Tensor | None] = _LinearLogps.apply(
            hidden, weight, bias, targets, chunk, collide
        )
    return found


class _LinearLogps(torch.autograd.Function):
    """log softmax(W h + b)[y], with the derivative written out.

    With p = softmax(W h + b) and e_y the unit vector of the target, the derivative with respect to the logits is
    e_y − p, so g·(e_y − p) goes to W h + b for a gradient g. Where W and b are frozen, (e_y − p) W is all that the
    backward pass needs, and it is worked out in the forward pass, while the logits are there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        chunk: int,
        collide: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        frozen = not any(ctx.needs_input_grad[1:3])
        slopes = torch.empty_like(hidden) if frozen and ctx.needs_input_grad[0] else None
        logps = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        norms = torch.empty_like(logps)
        collisions = torch.empty_like(logps) if collide else None
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            logits = product(hidden[part], weight, bias).float()
            logps[part] = logits.gather(1, targets[part].unsqueeze(1)).squeeze(1)
            # In place, as torch.logsumexp would make two more matrices of the logits' size.
            highest = logits.amax(1)
            spread = logits.sub_(highest.unsqueeze(1)).exp_().sum(1).log_()
            norms[part] = highest + spread
            if collisions is not None:
                # Σ (e/Σe)² by a norm, which makes no further matrix of the logits' size.
                collisions[part] = 2 * (torch.linalg.vector_norm(logits, dim=1).log_() - spread)
            if slopes is not None:
                shares = logits.mul_((highest - norms[part]).exp_().unsqueeze(1))
                slope = _slope(shares, targets[part], torch.ones_like(highest)).to(weight.dtype)
                slopes[part] = product(slope, weight.t())
        logps -= norms
        ctx.chunk = chunk
        ctx.save_for_backward(hidden, weight, bias, targets, norms, slopes)
        if collisions is not None:
            ctx.mark_non_differentiable(collisions)
        return logps, collisions

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets, norms, slopes = ctx.saved_tensors
        if slopes is not None:
            return (gradient.unsqueeze(1) * slopes).to(hidden.dtype), None, None, None, None, None
        wanted = ctx.needs_input_grad
        to_hidden = torch.empty_like(hidden) if wanted[0] else None
        to_weight = torch.empty_like(weight) if wanted[1] else None
        to_bias = torch.zeros_like(bias) if wanted[2] else None
        for number, start in enumerate(range(0, len(targets), ctx.chunk)):
            part = slice(start, start + ctx.chunk)
            shares = product(hidden[part], weight, bias).float().sub_(norms[part].unsqueeze(1)).exp_()
            slope = _slope(shares, targets[part], gradient[part]).to(weight.dtype)
            if to_hidden is not None:
                to_hidden[part] = product(slope, weight.t())
            if to_weight is not None:
                add_transposed(to_weight, slope, hidden[part], fresh=number == 0)
            if to_bias is not None:
                to_bias += slope.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None


def _slope(shares: torch.Tensor, targets: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """g·(e_y − p) in place of p."""
    return shares.mul_(-gradient.unsqueeze(1)).scatter_add_(1, targets.unsqueeze(1), gradient.unsqueeze(1))
