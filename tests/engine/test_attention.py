import pytest
import torch
import transformers
from torch.nn.attention.flex_attention import create_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from notus.core.errors import ConfigError, RunError
from notus.engine import attention
from notus.engine.attention import NAME, FlexLayout, check_supported, layout, packed, use_packed
from notus.engine.pack import PromptGroup, pack


def group(prompt, *completions):
    return PromptGroup(list(range(prompt)), tuple(list(range(n)) for n in completions))


ROWS = {
    "one answer": [group(5, 4)],
    "pairs, alike": [group(7, 4, 3), group(6, 5, 3), group(7, 4, 2)],
    "pairs, equal": [group(7, 4, 3), group(7, 3, 4)],
    "four answers": [group(9, 4, 3, 6, 1), group(3, 1, 1, 2, 1)],
    "one token each": [group(1, 1, 1)],
    "answers alone, alike": [group(5, 4), group(4, 4)],
    "long and short": [group(150, 90, 60), group(3, 2), group(200, 70, 1, 30), group(4, 2, 2)],
}


def by_hand(row):
    """Which query sees which key, token by token."""
    place = []
    for number, span in enumerate(row.spans):
        place += [(number, 0)] * span.prompt
        for completion, length in enumerate(span.completions, start=1):
            place += [(number, completion)] * length
    return torch.tensor(
        [
            [k <= q and place[k][0] == place[q][0] and place[k][1] in (0, place[q][1]) for k in range(len(place))]
            for q in range(len(place))
        ]
    )


def states(tokens, heads=4, kv_heads=2, size=8):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, n, tokens, size, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (heads, kv_heads, kv_heads)
    ]


def attend(row, query, key, value, where=None):
    options = {attention.LAYOUT: layout(row) if where is None else where}
    return attention._attend(torch.nn.Identity(), query, key, value, None, scaling=0.3, **options)[0]


def flex(row):
    """The layout that a row on CUDA has."""
    return FlexLayout.of(torch.cat([span.start + attention._ends(span) for span in row.spans]))


@pytest.mark.parametrize("short", [0, 8, 256, 10_000])
@pytest.mark.parametrize("name", ROWS)
def test_blocks_and_stacks_equal_one_masked_call(name, short, monkeypatch):
    monkeypatch.setattr(attention, "_SHORT", short)
    row = pack(ROWS[name])
    ours, plain = states(row.tokens), states(row.tokens)
    out = attend(row, *ours)
    masked = scaled_dot_product_attention(*plain, attn_mask=by_hand(row), scale=0.3, enable_gqa=True).transpose(1, 2)
    assert out.shape == (1, row.tokens, 4, 8)
    torch.testing.assert_close(out, masked, rtol=0, atol=1e-12)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    (masked * weights).sum().backward()
    for got, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(got.grad, wanted.grad, rtol=0, atol=1e-11)


def test_short_groups_share_calls_and_long_ones_do_not(monkeypatch):
    monkeypatch.setattr(attention, "kernels_on", lambda: True)
    blocks = layout(pack([group(200, 100, 100), *[group(30, 15, 15)] * 5, group(10, 2, 2)])).blocks
    assert [type(block).__name__ for block in blocks] == ["_Long", "_Stack", "_Stack"]
    assert (blocks[1].groups, blocks[1].gather, blocks[2].groups) == (5, None, 1)


@pytest.mark.parametrize("name", ROWS)
def test_the_flex_mask_is_the_plain_mask(name):
    row = pack(ROWS[name])
    mask = create_mask(flex(row).mask.mask_mod, 1, 1, row.tokens, row.tokens, device="cpu")
    assert torch.equal(mask[0, 0], by_hand(row))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_the_same(monkeypatch):
    monkeypatch.setattr(attention, "_flex", lambda: flex_attention)
    row = pack(ROWS["pairs, alike"])
    ours = [state.detach().float() for state in states(row.tokens)]
    out = attend(row, *ours, where=flex(row))
    torch.testing.assert_close(out, attend(row, *ours), rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_flex_attention_on_a_gpu_gives_the_same_with_its_gradient():
    row = pack(ROWS["long and short"])
    ours = [state.detach().float().cuda().requires_grad_() for state in states(row.tokens, size=32)]
    plain = [state.detach().requires_grad_() for state in ours]
    out = attend(row.to("cuda"), *ours)
    mask = by_hand(row).cuda()
    masked = scaled_dot_product_attention(*plain, attn_mask=mask, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(out, masked, rtol=2e-2, atol=2e-2)
    out.square().sum().backward()
    masked.square().sum().backward()
    for got, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(got.grad, wanted.grad, rtol=5e-2, atol=5e-2)


def test_the_model_gets_its_own_attention_back(model):
    before = model.config._attn_implementation
    with pytest.raises(RunError), packed(model):
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert model.config._attn_implementation == before
    assert use_packed(model) == before
    assert model.config._attn_implementation == NAME
    model.set_attn_implementation(before)


def test_a_batch_without_a_layout_is_refused(model):
    with packed(model), pytest.raises(RunError, match="without a packed row"):
        model(input_ids=torch.tensor([[5, 6, 7]]))


def a_model(config):
    return transformers.AutoModelForCausalLM.from_config(config)


TINY = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def test_a_window_that_is_long_enough_is_fine():
    mistral = a_model(transformers.MistralConfig(**TINY, sliding_window=32))
    check_supported(mistral, 32)
    with pytest.raises(ConfigError, match=r"sliding window of 32 tokens .* 33; set 'engine: padded'"):
        check_supported(mistral, 33)


@pytest.mark.parametrize("config", [transformers.Qwen2Config, transformers.Qwen3Config])
def test_a_window_counts_only_where_a_layer_uses_it(config):
    check_supported(a_model(config(**TINY, sliding_window=8)), 100)
    sliding = config(**TINY, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    check_supported(a_model(sliding), 8)
    with pytest.raises(ConfigError, match="sliding window of 8"):
        check_supported(a_model(sliding), 9)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (transformers.Gemma2Config(**TINY, head_dim=8), "architecture 'gemma2'"),
        (transformers.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1), "architecture 'mamba'"),
        (transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2), "architecture 'gpt2'"),
        (transformers.CohereConfig(**TINY), "architecture 'cohere'"),
        (transformers.LlamaConfig(**TINY, final_logit_softcapping=30.0), "sets final_logit_softcapping to 30"),
        (transformers.LlamaConfig(**TINY, attn_logit_softcapping=50.0), "sets attn_logit_softcapping to 50"),
        (transformers.GemmaConfig(**TINY, head_dim=8, use_bidirectional_attention=True), "both ways"),
        (transformers.LlamaConfig(**TINY, attention_dropout=0.1), "attention_dropout is 0.1"),
    ],
)
def test_what_cannot_work_is_refused(config, reason):
    with pytest.raises(ConfigError, match=rf"{reason}.*set 'engine: padded'"):
        check_supported(a_model(config), 8)
