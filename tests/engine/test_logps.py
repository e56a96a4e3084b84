import pytest
import torch
import transformers

from notus.core.errors import ConfigError, RunError
from notus.engine import logps
from notus.engine.attention import packed, use_packed
from notus.engine.logps import all_completion_logps, completion_logps, token_logps
from notus.engine.pack import PromptGroup, choose_rows, pack
from notus.engine.padded import answer_logps, pad

VOCABULARY = 96
TINY = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}

CONFIGS = {
    "llama": transformers.LlamaConfig(**TINY, **GROUPED),
    "llama, all heads, wide": transformers.LlamaConfig(
        **TINY, num_attention_heads=2, num_key_value_heads=2, head_dim=24
    ),
    "mistral, tied": transformers.MistralConfig(**TINY, **GROUPED, sliding_window=None, tie_word_embeddings=True),
    "mistral, window": transformers.MistralConfig(**TINY, **GROUPED, sliding_window=64),
    "qwen2": transformers.Qwen2Config(**TINY, **GROUPED),
    "qwen2, window": transformers.Qwen2Config(
        **TINY, **GROUPED, use_sliding_window=True, sliding_window=64, max_window_layers=1
    ),
    "qwen3": transformers.Qwen3Config(**TINY, **GROUPED, head_dim=16),
    "phi": transformers.PhiConfig(**TINY, **GROUPED),
    "gemma": transformers.GemmaConfig(**TINY, num_attention_heads=4, num_key_value_heads=1, head_dim=8),
}


def make(name):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            # As they come, random weights give nearly the same probability to every token: wrong attention would pass.
            parameter.normal_(0.0, 0.3)
    return model.eval()


def group(generator, prompt, *completions):
    def draw(n):
        return torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()

    return PromptGroup(draw(prompt), tuple(draw(n) for n in completions))


@pytest.fixture(scope="module")
def groups():
    generator = torch.Generator().manual_seed(3)
    shapes = [(7, 5), (4, 3, 6), (9, 2, 1), (1, 4, 4), (6, 3, 7, 1, 5), (12, 1), (5, 5, 2), (30, 9, 14)]
    return [group(generator, *shape) for shape in shapes]


def padded_token_logps(model, some):
    """One row for each answer through the model's own forward pass."""
    out = []
    for one in some:
        for completion in one.completions:
            logits = model(input_ids=torch.tensor([one.prompt + completion]), use_cache=False).logits[0]
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            rows_ = logits[len(one.prompt) - 1 : -1].log_softmax(-1)
            out.append(rows_[torch.arange(len(completion)), torch.tensor(completion)])
    return torch.cat(out)


@pytest.mark.parametrize("short", [0, 256])
@pytest.mark.parametrize("name", CONFIGS)
def test_token_log_probabilities_and_gradients_equal_the_padded_path(name, short, groups, monkeypatch):
    monkeypatch.setattr("notus.engine.attention._SHORT", short)
    model = make(name)
    wanted = padded_token_logps(model, groups)
    weights = torch.linspace(-1, 1, len(wanted))
    (wanted * weights).sum().backward()
    gradients = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    model.zero_grad()
    with packed(model):
        got = token_logps(model, pack(groups), chunk=16)
        (got * weights).sum().backward()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    for key, parameter in model.named_parameters():
        scale = float(gradients[key].abs().max()) or 1.0
        torch.testing.assert_close(parameter.grad / scale, gradients[key] / scale, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize("max_tokens", [1, 20, 60, 1000])
def test_the_packing_changes_nothing(max_tokens, groups):
    model = make("mistral, tied")
    examples = [(one.prompt, completion) for one in groups for completion in one.completions]
    with torch.no_grad():
        wanted = answer_logps(model, pad(examples, 0))[0].tolist()
    model.train()
    got = all_completion_logps(model, groups, max_tokens)
    assert [len(one.completions) for one in groups] == [len(sums) for sums in got]
    assert [value for sums in got for value in sums] == pytest.approx(wanted, abs=1e-5 * 10)
    assert model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("chunk", [1, 7, 16, 512])
def test_the_chunk_changes_nothing(chunk, groups):
    model, row = make("phi"), pack(groups)
    with packed(model), torch.no_grad():
        torch.testing.assert_close(
            token_logps(model, row, chunk=chunk), token_logps(model, row, chunk=512), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("short", [0, 256])
def test_a_completion_never_sees_its_sibling(short, groups, monkeypatch):
    monkeypatch.setattr("notus.engine.attention._SHORT", short)
    model = make("llama")
    changed = [
        PromptGroup(one.prompt, (*one.completions[:-1], [(token + 1) % VOCABULARY for token in one.completions[-1]]))
        if len(one.completions) > 1
        else one
        for one in groups
    ]
    before, after = pack(groups), pack(changed)
    with packed(model), torch.no_grad():
        plain, other = token_logps(model, before), token_logps(model, after)
    same = before.targets == after.targets
    assert torch.equal(plain[same], other[same])
    assert not torch.equal(plain[~same], other[~same])


def test_sums_and_counts_are_those_of_the_tokens(groups):
    model, row = make("qwen3"), pack(groups)
    with packed(model), torch.no_grad():
        tokens = token_logps(model, row).double()
        sums, counts = completion_logps(model, row)
    lengths = [len(completion) for one in groups for completion in one.completions]
    assert sums.dtype == torch.float64
    assert counts.tolist() == lengths
    assert sums.tolist() == pytest.approx([float(part.sum()) for part in tokens.split(lengths)], abs=1e-12)


def test_tokens_that_are_not_trained_do_not_count(groups):
    model = make("llama")
    one = groups[1]
    marks = ([True, False, True], [False] * 6)
    with packed(model), torch.no_grad():
        every = token_logps(model, pack([one])).double()
        sums, counts = completion_logps(model, pack([PromptGroup(one.prompt, one.completions, marks)]))
    assert counts.tolist() == [2, 0]
    assert sums.tolist() == pytest.approx([float(every[0] + every[2]), 0.0], abs=1e-6)


def head_gradients(model, row, frozen):
    head = model.get_output_embeddings()
    for parameter in head.parameters():
        parameter.requires_grad_(not frozen)
    model.zero_grad()
    with packed(model):
        values = token_logps(model, row, chunk=16)
        (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return values.detach(), {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", ["phi", "llama"])
def test_the_written_out_head_equals_the_recomputed_one(name, frozen, groups, monkeypatch):
    model, row = make(name), pack(groups)
    plain, gradients = head_gradients(model, row, frozen)
    hooked = model.get_output_embeddings().register_forward_hook(lambda *_: None)
    monkeypatch.setattr(logps, "_plain_head_logps", None)
    values, wanted = head_gradients(model, row, frozen)
    hooked.remove()
    torch.testing.assert_close(plain, values, rtol=0, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    assert any("lm_head" in key for key in wanted) != frozen
    for key, value in wanted.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()), msg=key)


def test_the_gradient_of_the_head_is_that_of_autograd():
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 3), (7, 3), (7,))
    )
    targets = torch.tensor([0, 6, 3, 3, 1])
    values, _ = logps._LinearLogps.apply(hidden, weight, bias, targets, 2, False)
    plain = torch.log_softmax(hidden @ weight.T + bias, -1)[torch.arange(5), targets]
    ours = torch.autograd.grad(values.sum(), (hidden, weight, bias))
    theirs = torch.autograd.grad(plain.sum(), (hidden, weight, bias))
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_activation_checkpointing_changes_nothing(groups):
    model, row = make("mistral, tied"), pack(groups)
    _, plain = head_gradients(model, row, frozen=False)
    model.train()
    switch = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    switch()
    _, again = head_gradients(model, row, frozen=False)
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-5, atol=1e-6)


def test_bfloat16_autocast_stays_near_and_trains(groups):
    model, row = make("llama"), pack(groups)
    with packed(model):
        exact = token_logps(model, row)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = token_logps(model, row)
        near.sum().backward()
    assert near.dtype == torch.float32
    assert float((near - exact).detach().abs().mean()) < 0.1
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_the_logits_of_all_positions_never_live_at_once(groups):
    model, row = make("llama"), pack(groups)
    shapes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if (
                isinstance(out, torch.Tensor)
                and out.shape[1:] == (VOCABULARY,)
                and len(out) != model.config.hidden_size
            ):
                shapes.append(out.shape[0])
            return out

    with packed(model), Watch():
        token_logps(model, row, chunk=8).sum().backward()
    assert len(row.targets) > 8
    assert max(shapes) == 8


def test_a_model_that_was_not_switched_is_refused(groups):
    with pytest.raises(RunError, match=r"inside 'packed\(model\)'"):
        token_logps(make("llama"), pack(groups))


def test_a_model_that_is_not_supported_is_computed_in_padded_batches(groups):
    model = make("mistral, window").train()
    model.config.sliding_window = 40
    with torch.no_grad():
        tokens = iter(padded_token_logps(model, groups))
    wanted = [[sum(next(tokens) for _ in completion) for completion in one.completions] for one in groups]
    for got, want in zip(all_completion_logps(model, groups, 100), wanted, strict=True):
        assert got == pytest.approx([float(value) for value in want], abs=1e-4)
    assert model.config._attn_implementation == "sdpa"
    assert model.training
    with packed(model), pytest.raises(ConfigError, match="engine: padded"):
        token_logps(model, pack(groups))


def test_rows_of_the_groups_are_what_is_run(groups):
    model = make("llama")
    use_packed(model)
    with torch.no_grad():
        for indices in choose_rows(groups, 40):
            sums, _ = completion_logps(model, pack([groups[index] for index in indices]))
            assert len(sums) == sum(len(groups[index].completions) for index in indices)
