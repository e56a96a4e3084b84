import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from notus.train.losses import implicit_rewards, sigmoid_loss

GOLDEN = Path(__file__).parents[3] / "shared" / "facts" / "dpo_golden.json"
log_probability = st.floats(-300, 0)


@given(log_probability, log_probability, log_probability, log_probability, st.floats(0.01, 5))
def test_the_loss_is_the_equation(pc, pr, rc, rr, beta):
    rewards = implicit_rewards(torch.tensor([pc, pr]).double(), torch.tensor([rc, rr]).double(), beta)
    h = beta * (pc - rc) - beta * (pr - rr)
    softplus = max(-h, 0.0) + math.log1p(math.exp(-abs(h)))  # −log σ(h) without overflow
    assert float(sigmoid_loss(rewards[:1], rewards[1:])) == pytest.approx(softplus, abs=1e-4, rel=1e-5)


def test_step_zero():
    """Policy equals reference: loss ln 2, and the gradient by the chosen log-probability is −β/2."""
    policy = torch.tensor([-10.0, -12.0], dtype=torch.float64, requires_grad=True)
    rewards = implicit_rewards(policy, policy.detach(), beta=0.1)
    loss = sigmoid_loss(rewards[:1], rewards[1:]).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-12)
    assert policy.grad.tolist() == pytest.approx([-0.05, 0.05], abs=1e-12)


def test_golden_values():
    if not GOLDEN.is_file():
        pytest.skip("the golden values are not here")
    for vector in json.loads(GOLDEN.read_text()).values():
        if not isinstance(vector, dict) or "sigmoid" not in vector.get("losses", {}):
            continue
        pc, pr, rc, rr = (torch.tensor(vector["inputs"][key], dtype=torch.float64) for key in ("pc", "pr", "rc", "rr"))
        beta = vector["beta"]
        losses = sigmoid_loss(implicit_rewards(pc, rc, beta), implicit_rewards(pr, rr, beta))
        assert losses.tolist() == pytest.approx(vector["losses"]["sigmoid"], abs=2e-8)
