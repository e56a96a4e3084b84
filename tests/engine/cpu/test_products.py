"""Matrix products equal PyTorch's, whichever library computes them."""

import pytest
import torch

from notus.engine.cpu import layers as products
from notus.engine.cpu.layers import add_transposed, one_dnn_is_faster, product, round_up, transposed

LARGE = (1024, 192, 320)


def matrices(tokens, inner, outer, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(s, generator=generator, dtype=dtype) for s in ((tokens, inner), (outer, inner), (tokens, outer))
    ]


@pytest.fixture(params=[True, False], ids=["onednn", "without"])
def _library(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch was built without oneDNN")
    monkeypatch.setattr(products, "_has_one_dnn", lambda: request.param)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("shape", [LARGE, (1023, 192, 320), (128, 16, 8)])
def test_products_are_those_of_fp64(shape):
    x, w, g = matrices(*shape)
    bias = torch.linspace(-1, 1, shape[2])
    exact = {"atol": 2e-4, "rtol": 1e-5}
    torch.testing.assert_close(product(x, w, bias), (x.double() @ w.double().t() + bias).float(), **exact)
    torch.testing.assert_close(product(x[None], w), (x.double() @ w.double().t()).float()[None], **exact)
    torch.testing.assert_close(product(g, w.t()), (g.double() @ w.double()).float(), **exact)
    torch.testing.assert_close(transposed(g, x), (g.double().t() @ x.double()).float(), **exact)
    torch.testing.assert_close(transposed(x, g), (x.double().t() @ g.double()).float(), **exact)


@pytest.mark.usefixtures("_library")
def test_a_total_is_added_to_or_begun():
    x, _, g = matrices(*LARGE)
    total = torch.full((LARGE[2], LARGE[1]), float("nan"))
    add_transposed(total, g, x, fresh=True)
    add_transposed(total, g, x, fresh=False)
    torch.testing.assert_close(total, 2 * g.t() @ x, atol=5e-4, rtol=1e-5)


def test_what_onednn_is_given_is_large_round_and_fp32(monkeypatch):
    monkeypatch.setattr(products, "_has_one_dnn", lambda: True)
    x, w, _ = matrices(*LARGE)
    assert one_dnn_is_faster(x, w)
    assert one_dnn_is_faster(x[None], w)
    assert not one_dnn_is_faster(x[:1023], w)
    assert not one_dnn_is_faster(x[:128], w[:8])
    assert not one_dnn_is_faster(x.double(), w.double())
    assert not one_dnn_is_faster(x.bfloat16(), w.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not one_dnn_is_faster(x, w)
    monkeypatch.setattr(products, "_has_one_dnn", lambda: False)
    assert not one_dnn_is_faster(x, w)


def test_rows_are_rounded_up_to_few_lengths(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(products, "_has_one_dnn", lambda: True)
    for tokens in range(1, 9000, 7):
        assert tokens <= round_up(tokens, cpu) < tokens + max(128, tokens / 4)
        assert round_up(tokens, cpu) % 128 == 0
    assert len({round_up(tokens, cpu) for tokens in range(4097, 8193)}) <= 9
    assert round_up(1000, torch.device("meta")) == 1000
    monkeypatch.setattr(products, "_has_one_dnn", lambda: False)
    assert round_up(1000, cpu) == 1000
