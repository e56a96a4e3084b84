from dataclasses import fields, replace

import pytest
import torch

from notus.train.losses.inputs import LogpSums, PairLogps, RunningMean, UnpairedLogps, kl_estimate
from tests.helpers.loss_examples import pairs_of, tensor


def test_the_kl_estimate_is_a_mean_above_zero_without_gradient():
    policy = torch.tensor([-4.0, -6.0], requires_grad=True)
    estimate = kl_estimate(policy, torch.tensor([-5.0, -6.5]))
    assert estimate.item() == pytest.approx(0.75)
    assert not estimate.requires_grad
    assert kl_estimate(torch.tensor([-9.0]), torch.tensor([-5.0])).item() == 0


def test_a_running_mean_is_the_mean_of_all():
    chunks = [torch.tensor([1.0, 2.0]), torch.tensor([]), torch.tensor([[6.0], [-3.0], [8.0]])]
    mean = RunningMean()
    for chunk in chunks:
        mean = mean.including(chunk)
    assert mean.count == 5
    assert mean.value == pytest.approx(14 / 5)
    assert RunningMean().including(torch.tensor([])) == RunningMean()


def test_shapes_that_would_broadcast_are_refused():
    column = tensor([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"the shape \[n\]"):
        LogpSums(column, column, column, column)
    good = pairs_of([-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0])
    for field in fields(PairLogps):
        if field.name not in ("policy_chosen", "prefix", "shift", "update", "mean_chosen_tokens"):
            with pytest.raises(ValueError, match=f"{field.name} has the shape"):
                replace(good, **{field.name: tensor([1.0])})
    with pytest.raises(ValueError, match="desirable has the shape"):
        UnpairedLogps(tensor([1.0, 2.0]), tensor([1.0, 2.0]), torch.tensor([True]))
