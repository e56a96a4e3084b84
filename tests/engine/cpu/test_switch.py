"""With the kernels, without them, and without the operators that they call: the same numbers, and no error."""

import copy
import logging

import pytest
import torch
from torch import nn

from notus.core.errors import ConfigError
from notus.engine.attention import layout, packed
from notus.engine.cpu import layers
from notus.engine.cpu import switch as switched
from notus.engine.cpu.layers import use_fast_layers
from notus.engine.cpu.switch import VARIABLE, find_reason, kernels_on
from notus.engine.load import load_model, save_model
from notus.engine.logps import token_logps
from notus.engine.pack import pack
from tests.engine.test_logps import group, make, padded_token_logps

OPERATORS = (
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    "aten::silu_backward",
    "mkldnn::_linear_pointwise",
)
SHAPES = [(7, 5), (4, 3, 6), (6, 3, 17, 1, 5), (12, 1), (20, 9, 14)]


class Without:
    """A namespace of operators that lacks one."""

    def __init__(self, namespace, name):
        self._namespace, self._name = namespace, name

    def __getattr__(self, name):
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._namespace, name)


def remove(operator, monkeypatch):
    library, _, name = operator.partition("::")
    monkeypatch.setattr(torch.ops, library, Without(getattr(torch.ops, library), name))
    with pytest.raises(AttributeError):
        getattr(getattr(torch.ops, library), name)


@pytest.fixture
def switch(monkeypatch):
    """Turns the kernels on or off, or takes an operator away, for one test."""

    def turn(way):
        if way in ("0", "1"):
            monkeypatch.setenv(VARIABLE, way)
        else:
            remove(way, monkeypatch)
        kernels_on.cache_clear()
        layers._has_one_dnn.cache_clear()

    monkeypatch.delenv(VARIABLE, raising=False)
    # Everything is long and large, so that each kernel has its part wherever it may.
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(layers, "_LARGE", 1)
    monkeypatch.setattr("notus.engine.cpu.attention._QUERIES", 5)
    monkeypatch.setattr("notus.engine.attention._SHORT", 12)
    yield turn
    monkeypatch.undo()
    kernels_on.cache_clear()
    layers._has_one_dnn.cache_clear()


def logps_and_gradients(model, compute):
    model.zero_grad()
    found = compute(model)
    (found * torch.linspace(-1, 1, len(found), dtype=found.dtype)).sum().backward()
    return found.detach(), {key: weight.grad.clone() for key, weight in model.named_parameters()}


@pytest.mark.parametrize("way", ["1", "0", *OPERATORS])
@pytest.mark.parametrize("name", ["mistral, tied", "qwen3"])
def test_every_way_gives_the_numbers_of_fp64(name, way, switch):
    generator = torch.Generator().manual_seed(3)
    groups = [group(generator, *shape) for shape in SHAPES]
    plain = make(name)
    wanted, slopes = logps_and_gradients(copy.deepcopy(plain).double(), lambda model: padded_token_logps(model, groups))
    if way.startswith("mkldnn") and not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch was built without oneDNN")
    switch(way)
    assert kernels_on() is (way == "1")
    model = use_fast_layers(copy.deepcopy(plain))
    kinds = {type(module) for module in model.modules()}
    assert (layers.Linear in kinds) is (way == "1")
    assert (nn.Linear in kinds) is (way != "1")
    row = pack(groups)
    assert any(type(block).__name__ == "_Long" for block in layout(row).blocks) is (way == "1")
    with packed(model):
        found, gradients = logps_and_gradients(model, lambda model: token_logps(model, row, chunk=128))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5)
    for key, slope in slopes.items():
        torch.testing.assert_close(
            gradients[key].double(), slope, rtol=1e-3, atol=2e-4 * float(slope.abs().max()), msg=key
        )


def test_a_missing_operator_is_said_once_and_what_was_asked_for_is_no_warning(switch, caplog):
    caplog.set_level(logging.INFO, "notus.engine")
    switch(OPERATORS[0])
    for _ in range(3):
        assert not kernels_on()
    ((_, level, line),) = caplog.record_tuples
    assert level == logging.WARNING
    assert OPERATORS[0] in line
    assert torch.__version__ in line
    caplog.clear()
    switch("0")
    assert not kernels_on()
    ((_, level, line),) = caplog.record_tuples
    assert (level, VARIABLE in line) == (logging.INFO, True)


@pytest.mark.usefixtures("switch")
def test_an_operator_with_other_arguments_is_none_of_ours(monkeypatch):
    monkeypatch.setattr("notus.engine.cpu.switch._PRIVATE", {"aten::silu_backward": "grad_output self beta"})
    assert "silu_backward" in find_reason()


def test_a_model_is_loaded_without_kernels(switch, model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    switch("0")
    loaded = load_model(str(tmp_path))
    assert not any(type(module).__module__ == layers.__name__ for module in loaded.modules())
    ids = torch.tensor([[5, 6, 7]], device=loaded.device)
    torch.testing.assert_close(loaded(input_ids=ids).logits.cpu(), model(input_ids=ids.cpu()).logits)


@pytest.mark.usefixtures("switch")
def test_the_switch_is_0_or_1(monkeypatch):
    monkeypatch.setenv(VARIABLE, "off")
    with pytest.raises(ConfigError, match="'off'; set 0"):
        find_reason()


def test_all_operators_are_known_to_the_switch():
    assert set(OPERATORS) == {*switched._PRIVATE, *switched._ONE_DNN}
