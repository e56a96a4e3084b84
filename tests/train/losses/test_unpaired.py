"""The losses of single rows against their equations written out by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.train.losses.inputs import UnpairedLogps
from notus.train.losses.objective import row_losses
from tests.helpers.loss_examples import CONFIGS, UNPAIRED, compute, pairs_of, s, tensor

logp = st.floats(-60, -0.5)
beta = st.floats(0.02, 1)


@pytest.mark.parametrize("name", UNPAIRED)
def test_gradients_of_rows(name):
    policy = torch.tensor([-7.0, -9.5, -2.0, -3.0], dtype=torch.float64, requires_grad=True)
    mark = torch.tensor([True, False, True, False])

    def value(policy):
        rows = UnpairedLogps(policy, tensor([-7.5, -9.0, -2.5, -2.0]), mark, kl=0.7, shift=0.2)
        return compute(name, rows, **CONFIGS[name]().options())

    assert torch.autograd.gradcheck(value, (policy,))


@settings(max_examples=60, deadline=None)
@given(logp, logp, beta, st.floats(0, 5), st.booleans(), st.floats(0.1, 3), st.floats(0.1, 3))
def test_kto_is_its_equation(policy, reference, b, kl, desirable, good, bad):
    rows = UnpairedLogps(tensor([policy]), tensor([reference]), torch.tensor([desirable]), kl=kl)
    r = policy - reference
    value = good * s(b * (r - kl)) if desirable else bad * s(b * (kl - r))  # v(x, y) of the paper
    loss = compute("kto", rows, beta=b, desirable_weight=good, undesirable_weight=bad)
    assert loss.tolist() == pytest.approx([(good if desirable else bad) - value], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(logp, logp, logp, logp, beta, st.floats(-3, 3))
def test_bco_of_two_rows_is_bco_of_their_pair(pw, pl, rw, rl, b, shift):
    rows = UnpairedLogps(tensor([pw, pl]), tensor([rw, rl]), torch.tensor([True, False]), shift=shift)
    pair = compute("bco", pairs_of([pw], [pl], [rw], [rl], shift=shift), beta=b)
    assert compute("bco_unpaired", rows, beta=b).sum().item() == pytest.approx(pair.item(), rel=1e-9)


@pytest.mark.parametrize("name", UNPAIRED)
def test_rows_far_from_the_start(name):
    policy = torch.tensor([-1500.0, -500.0, -1500.0, -500.0], dtype=torch.float32, requires_grad=True)
    rows = UnpairedLogps(policy, torch.full((4,), -1000.0), torch.tensor([True, True, False, False]), kl=0.0, shift=0.0)
    values = compute(name, rows, **(CONFIGS[name]().options() | {"beta": 1.0}))
    bad = 1.0 if name == "kto" else 500.0
    assert values.tolist() == pytest.approx([bad, 0, 0, bad], abs=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), policy)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "what"), [("kto", "KL"), ("bco_unpaired", "mean")])
def test_a_loss_of_rows_says_what_it_misses(name, what):
    rows = UnpairedLogps(tensor([-1.0]), tensor([-1.0]), torch.tensor([True]))
    with pytest.raises(ValueError, match=f"'{name}' needs .*{what}"):
        row_losses(CONFIGS[name](), rows)
