"""AOT against its equation over a whole update: as one forward pass, as several, and with equal values among them."""

import math
from dataclasses import fields, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from notus.train.losses.inputs import LogpSums, PairLogps, Update
from tests.helpers.loss_examples import compute, minus_log_sigmoid, pairs_of

logps = st.lists(st.tuples(*[st.integers(-60, -1)] * 4), min_size=1, max_size=9)
"""Whole numbers, so that some are equal."""


def by_hand(name, rows, beta, epsilon):
    """Σ_k ℓ(β (k-th smallest − k-th smallest)) in plain Python."""
    if name == "aot":
        above, below = [pw - pl for pw, pl, _, _ in rows], [rw - rl for _, _, rw, rl in rows]
    else:
        above, below = [pw - rw for pw, _, rw, _ in rows], [pl - rl for _, pl, _, rl in rows]
    gaps = [beta * (a - b) for a, b in zip(sorted(above), sorted(below), strict=True)]
    return sum((1 - epsilon) * minus_log_sigmoid(h) + epsilon * minus_log_sigmoid(-h) for h in gaps)


def by_autograd(name, policy, reference, beta, epsilon):
    """The whole update in one graph, sorted by torch, for policy and reference [2, m]."""
    if name == "aot":
        above, below = policy[0] - policy[1], reference[0] - reference[1]
    else:
        above, below = policy[0] - reference[0], policy[1] - reference[1]
    h = beta * (above.sort(stable=True).values - below.sort(stable=True).values)
    return -(1 - epsilon) * logsigmoid(h) - epsilon * logsigmoid(-h)


def split(policy, reference, cuts):
    """The forward passes of an update that is cut at these places."""
    whole = LogpSums(*policy.detach(), *reference)
    tokens = torch.ones(policy.shape[1])
    edges = [0, *cuts, policy.shape[1]]
    for start, end in pairwise(edges):
        part = slice(start, end)
        sums = (policy[0, part], policy[1, part], reference[0, part], reference[1, part])
        update = Update(whole, torch.arange(start, end))
        yield PairLogps(*sums, chosen_tokens=tokens[part], rejected_tokens=tokens[part], update=update)


@settings(max_examples=100, deadline=None)
@given(logps, st.floats(0.02, 1), st.floats(0, 0.5), st.sampled_from(["aot", "aot_unpaired"]))
def test_the_sum_over_an_update_is_that_of_the_equation(rows, beta, epsilon, name):
    pairs = pairs_of(*map(list, zip(*rows, strict=True)))
    found = compute(name, pairs, beta=beta, label_smoothing=epsilon)
    assert found.shape == (len(rows),)
    assert float(found.sum()) == pytest.approx(by_hand(name, rows, beta, epsilon), rel=1e-9)


@pytest.mark.parametrize("cuts", [[], [1], [3, 4], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_split_as_it_may_be_the_loss_and_its_gradient_are_those_of_one_graph(name, epsilon, cuts):
    generator = torch.Generator().manual_seed(0)
    policy = (20 * torch.randn(2, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    reference = 20 * torch.randn(2, 7, generator=generator, dtype=torch.float64)
    plain = by_autograd(name, policy, reference, 0.1, epsilon).sum()
    wanted = torch.autograd.grad(plain, policy)[0]
    parts = [compute(name, pairs, beta=0.1, label_smoothing=epsilon).sum() for pairs in split(policy, reference, cuts)]
    found = torch.autograd.grad(sum(parts), policy)[0]
    assert sum(parts).item() == pytest.approx(plain.item(), rel=1e-12)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_within_a_forward_pass_alone_it_would_be_another_loss(name):
    """What the sums of the whole update are for."""
    generator = torch.Generator().manual_seed(1)
    policy, reference = 20 * torch.randn(2, 2, 6, generator=generator, dtype=torch.float64)
    passes = list(split(policy, reference, [3]))
    whole = sum(float(compute(name, pairs).sum()) for pairs in passes)
    alone = sum(float(compute(name, replace(pairs, update=None)).sum()) for pairs in passes)
    assert abs(whole - alone) > 1e-2


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_equal_values_have_one_partner_each(name):
    """At the start policy and reference are the same, and pairs are repeated: ln 2, whatever the order of the equal."""
    row = [-10.0, -12.0, -10.0, -12.0, -10.0]
    pairs = pairs_of(row, row[::-1], row, row[::-1])
    assert compute(name, pairs, beta=0.3).tolist() == pytest.approx([math.log(2)] * 5, abs=1e-12)


def test_what_is_known_of_an_update_passes_no_gradient():
    policy = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    (pairs,) = split(policy, torch.zeros(2, 4, dtype=torch.float64), [])
    assert not any(getattr(pairs.update.sums, field.name).requires_grad for field in fields(LogpSums))
