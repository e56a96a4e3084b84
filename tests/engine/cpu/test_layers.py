"""Layers with their derivatives written out compute what transformers' modules compute."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.configuration_mistral import MistralConfig

from notus.engine.attention import packed
from notus.engine.cpu import layers as products
from notus.engine.cpu.layers import GatedMlp, Linear, RmsNorm, use_fast_layers
from notus.engine.logps import token_logps
from notus.engine.pack import pack
from tests.engine.test_logps import CONFIGS, group, make, padded_token_logps

SHAPE = (2, 128, 192)


def config(act="silu"):
    return MistralConfig(hidden_size=192, intermediate_size=320, hidden_act=act, mlp_bias=False)


def made(kind):
    torch.manual_seed(0)
    if kind == "norm":
        norm = LlamaRMSNorm(192, eps=1e-5)
        nn.init.normal_(norm.weight)
        return norm
    return {"linear": lambda: nn.Linear(192, 896), "mlp": lambda: LlamaMLP(config())}[kind]()


def gradients(module, inputs, slope):
    inputs = inputs.clone().requires_grad_()
    module.zero_grad()
    out = module(inputs)
    (out * slope).sum().backward()
    return [out.detach(), inputs.grad, *(p.grad for p in module.parameters() if p.requires_grad)]


@pytest.mark.parametrize("one_dnn", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", ["linear", "norm", "mlp"])
def test_a_quick_layer_has_the_values_and_gradients_of_the_plain_one(kind, frozen, one_dnn, monkeypatch):
    monkeypatch.setattr(products, "_has_one_dnn", lambda: one_dnn and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(products, "_LARGE", 1)
    plain = made(kind).requires_grad_(not frozen)
    quick = use_fast_layers(copy.deepcopy(plain))
    assert type(quick) in (Linear, RmsNorm, GatedMlp)
    assert quick.state_dict().keys() == plain.state_dict().keys()
    inputs = torch.randn(SHAPE)
    slope = torch.randn_like(plain(inputs))
    # The plain one in fp64 is what both round.
    exact = gradients(copy.deepcopy(plain).double(), inputs.double(), slope.double())
    for ours, wanted in zip(gradients(quick, inputs, slope), exact, strict=True):
        torch.testing.assert_close(ours, wanted.float(), rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    with torch.inference_mode():
        torch.testing.assert_close(quick(inputs), exact[0].float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "norm", "mlp"])
def test_other_types_go_the_plain_way(kind):
    plain = made(kind)
    quick = use_fast_layers(copy.deepcopy(plain))
    inputs = torch.randn(SHAPE)
    assert torch.equal(quick.double()(inputs.double()), plain.double()(inputs.double()))


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16], ids=["autocast", "bf16 weights"])
@pytest.mark.parametrize("kind", ["linear", "norm", "mlp"])
def test_in_bf16_a_quick_layer_is_as_near_as_the_plain_one_and_keeps_no_more(kind, kept):
    plain = made(kind)
    inputs = torch.randn(SHAPE).to(kept)
    slope = torch.randn_like(plain(inputs.float())).to(kept)
    exact = gradients(copy.deepcopy(plain).double(), inputs.double(), slope.double())
    errors, sizes = [], []
    for module in (plain.to(kept), use_fast_layers(copy.deepcopy(plain).to(kept))):
        held = {}
        keep = torch.autograd.graph.saved_tensors_hooks(lambda of, held=held: held.setdefault(of.data_ptr(), of), _same)
        with keep, torch.autocast("cpu", dtype=torch.bfloat16):
            found = gradients(module, inputs, slope)
        errors.append([float((ours - wanted).norm()) for ours, wanted in zip(found, exact, strict=True)])
        sizes.append(sum(of.nbytes for of in held.values() if of.shape[:2] == SHAPE[:2]))
    for ours, theirs, wanted in zip(errors[1], errors[0], exact, strict=True):
        assert ours <= 1.1 * theirs + 1e-3 * float(wanted.norm())
    assert sizes[1] <= sizes[0] * (1.0 if kind == "linear" else 0.8)


def _same(tensor):
    return tensor


def test_what_cannot_be_made_quick_stays():
    class Own(nn.Linear):
        pass

    modules = nn.ModuleList([Own(4, 4), nn.LayerNorm(4), LlamaMLP(config("gelu"))])
    kinds = [type(module) for module in use_fast_layers(modules)]
    assert kinds == [Own, nn.LayerNorm, LlamaMLP]


def test_a_hook_on_the_last_projection_is_told():
    mlp, told = use_fast_layers(made("mlp")), []
    mlp.down_proj.register_forward_hook(lambda *_: told.append(1))
    mlp(torch.randn(SHAPE))
    assert told == [1]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_quick_model_has_the_log_probabilities_of_the_plain_one(name, monkeypatch):
    monkeypatch.setattr(products, "_has_one_dnn", torch.backends.mkldnn.is_available)
    monkeypatch.setattr(products, "_LARGE", 1)
    monkeypatch.setattr("notus.engine.cpu.attention._QUERIES", 5)
    monkeypatch.setattr("notus.engine.attention._SHORT", 12)
    generator = torch.Generator().manual_seed(3)
    groups = [group(generator, *shape) for shape in [(7, 5), (4, 3, 6), (6, 3, 17, 1, 5), (12, 1), (20, 9, 14)]]
    plain = make(name)
    quick = use_fast_layers(copy.deepcopy(plain))
    wanted = padded_token_logps(plain, groups)
    weights = torch.linspace(-1, 1, len(wanted))
    (wanted * weights).sum().backward()
    with packed(quick):
        found = token_logps(quick, pack(groups), chunk=128)
        (found * weights).sum().backward()
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    for (key, ours), theirs in zip(quick.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-3, atol=2e-4 * float(theirs.grad.abs().max()), msg=key
        )
