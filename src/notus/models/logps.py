"""Log-probabilities of the answers in a packed row: the one kernel of policy, reference and evaluation.

The decoder runs once over the row. The language-model head runs on the positions before answer tokens only, in chunks,
and a backward pass makes their softmax again, chunk by chunk.
Log-probabilities are fp32, sums of them fp64, because a sum of −2,400 is spaced 2.4e-4 apart in fp32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from notus.core.errors import RunError
from notus.models.attention import LAYOUT, NAME, check_supported, layout, packed
from notus.models.layers import Linear, has_hooks
from notus.models.pack import Group, PackedRow, pack, rows
from notus.models.products import add_transposed, product, round_up

__all__ = ["all_branch_logps", "branch_logps", "token_logps"]


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
    return _head_logps(model.get_output_embeddings(), states, pad(row.targets, spare), chunk)[:count]


def branch_logps(model: PreTrainedModel, row: PackedRow, *, chunk: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each branch: Σ_t log π(y_t | x, y_<t) over its tokens that count.

    Arguments and errors are those of ``token_logps``.

    Returns:
        Sums [branches] in fp64 and numbers of tokens [branches].
    """
    logps = token_logps(model, row, chunk=chunk)
    sums = torch.zeros(row.branches, dtype=torch.float64, device=logps.device)
    return sums.index_add(0, row.branch_of, logps.double()), torch.bincount(row.branch_of, minlength=row.branches)


def all_branch_logps(model: PreTrainedModel, groups: Sequence[Group], max_tokens: int) -> list[list[float]]:
    """Log-probabilities of all branches under a model that is not being trained, for references and evaluation.

    The model is put into evaluation mode and packed attention, and left as it was.

    Args:
        model: a causal language model.
        groups: prompts with their branches.
        max_tokens: tokens of a forward pass; a longer group makes a longer one.

    Returns:
        For each group, in their order, the sum of each branch.

    Raises:
        ConfigError: if packed attention is not right for the model.
    """
    logps: list[list[float]] = [[] for _ in groups]
    training = model.training
    model.eval()
    try:
        with packed(model), torch.inference_mode():
            for indices in rows(groups, max_tokens):
                row = pack([groups[index] for index in indices]).to(model.device)
                sums = iter(branch_logps(model, row)[0].tolist())
                for index in indices:
                    logps[index] = [next(sums) for _ in groups[index].branches]
    finally:
        model.train(training)
    return logps


def _head_logps(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """log softmax(head(hidden))[target] in fp32, for hidden [A, width]."""
    if isinstance(head, nn.Linear) and type(head) in (nn.Linear, Linear) and not has_hooks(head):
        # Hooks mean that someone gathers or moves the weight; then, as with adapters, the module itself must run.
        return _plain_head_logps(head, hidden, targets, chunk)
    pieces = [
        checkpoint(_chunk_logps, head, states, wanted, use_reentrant=False)
        if torch.is_grad_enabled()
        else _chunk_logps(head, states, wanted)
        for states, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(pieces)


def _chunk_logps(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = head(hidden).float()
    return torch.log_softmax(logits, dim=-1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _plain_head_logps(head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    weight, bias, kind = head.weight, head.bias, hidden.device.type
    if torch.is_autocast_enabled(kind):
        # The backward pass knows nothing of autocast, so it is done here, where it can be differentiated.
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    with torch.autocast(kind, enabled=False):
        logps: torch.Tensor = _LinearLogps.apply(hidden, weight, bias, targets, chunk)
    return logps


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
    ) -> torch.Tensor:
        frozen = not any(ctx.needs_input_grad[1:3])
        slopes = torch.empty_like(hidden) if frozen and ctx.needs_input_grad[0] else None
        logps = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        norms = torch.empty_like(logps)
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            logits = product(hidden[part], weight, bias).float()
            logps[part] = logits.gather(1, targets[part].unsqueeze(1)).squeeze(1)
            # In place, as torch.logsumexp would make two more matrices of the logits' size.
            highest = logits.amax(1)
            norms[part] = highest + logits.sub_(highest.unsqueeze(1)).exp_().sum(1).log_()
            if slopes is not None:
                shares = logits.mul_((highest - norms[part]).exp_().unsqueeze(1))
                slope = _slope(shares, targets[part], torch.ones_like(highest)).to(weight.dtype)
                slopes[part] = product(slope, weight.t())
        logps -= norms
        ctx.chunk = chunk
        ctx.save_for_backward(hidden, weight, bias, targets, norms, slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets, norms, slopes = ctx.saved_tensors
        if slopes is not None:
            return (gradient.unsqueeze(1) * slopes).to(hidden.dtype), None, None, None, None
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
        return to_hidden, to_weight, to_bias, None, None


def _slope(shares: torch.Tensor, targets: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """g·(e_y − p) in place of p."""
    return shares.mul_(-gradient.unsqueeze(1)).scatter_add_(1, targets.unsqueeze(1), gradient.unsqueeze(1))
