import copy
import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.engine.adapters import add_adapter, base_model
from notus.engine.bases import base_of, is_adapter
from notus.engine.generate import sample
from notus.engine.load import load_adapter, load_model, load_tokenizer, merge, save_model
from notus.engine.padded import all_logps, answer_logps, pad
from notus.engine.settings import Limits, Lora, Sampling
from notus.engine.text.encoder import Encoder

EXAMPLES = [([5, 6, 7], [8, 9, 2]), ([5], [10, 2]), ([11, 12, 13, 14, 15], [16, 17, 18, 2])]
BATCH = pad(EXAMPLES, 3)
SMALL = Lora(rank=4, alpha=8.0, dropout=0.0)
KINDS = {
    "LoRA": SMALL,
    "DoRA": SMALL.model_copy(update={"dora": True}),
    "all linear layers": SMALL.model_copy(update={"targets": "all-linear"}),
    "dropout": SMALL.model_copy(update={"dropout": 0.3}),
    "DoRA with dropout": SMALL.model_copy(update={"dora": True, "dropout": 0.3}),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture
def base(model, tokenizer, tmp_path):
    """A folder with a plain model; an adapter changes the model in memory, so none is put on the shared one."""
    save_model(model, tokenizer, tmp_path / "runs" / "sft" / "model")
    return tmp_path / "runs" / "sft" / "model"


@pytest.fixture
def adapter(base, tokenizer):
    """A folder with a trained adapter on that base."""
    policy = add_adapter(load_model(str(base)), KINDS["dropout"], 0)
    train(policy)
    save_model(policy, tokenizer, base.parents[1] / "lora" / "model")
    return base.parents[1] / "lora" / "model"


def logps(model):
    with torch.no_grad():
        return answer_logps(model, BATCH)[0]


def train(model, steps=3):
    """A few updates towards the examples; returns the losses."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        model.train()
        loss = -answer_logps(model, BATCH)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def trainable(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def _fail_inside(reference):
    assert not any(module.training for module in reference.modules())
    raise KeyError


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@kinds
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_fresh_adapter_changes_no_number(base, kind, training):
    before = logps(load_model(str(base)))
    policy = add_adapter(load_model(str(base)), kind, 0)
    # Before the first update B is zero, so that dropout, too, changes nothing: the loss at the start is exactly ln 2.
    assert torch.equal(logps(policy.train(training)), before)


def test_the_adapter_alone_can_be_trained(base):
    policy = add_adapter(load_model(str(base)), SMALL, 0)
    names = trainable(policy)
    assert not any(module.training for module in policy.modules())
    assert names == {name for name, _ in policy.named_parameters() if "lora_" in name}
    layers, width, kv = 2, 32, 16
    by_hand = layers * SMALL.rank * (2 * (width + width) + 2 * (width + kv))
    assert sum(weight.numel() for weight in policy.parameters() if weight.requires_grad) == by_hand


def test_a_seed_gives_the_adapter_and_leaves_the_random_state(base):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, same, other = (weights(add_adapter(load_model(str(base)), SMALL, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_adapted_layer_computes_the_equation(base):
    """W x + (α/r) B A (mask ⊙ x) / (1 − p), with the mask that the dropout draws."""
    policy = add_adapter(load_model(str(base)), KINDS["dropout"], 0)
    train(policy)
    layer = base_model(policy).get_decoder().layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))

    def by_hand(x_dropped):
        return x @ layer.base_layer.weight.T + (8.0 / 4) * x_dropped @ a.T @ b.T

    with torch.no_grad():
        torch.manual_seed(3)
        mask = torch.nn.functional.dropout(torch.ones_like(x), 0.3)
        torch.manual_seed(3)
        in_training = layer.train()(x)
        in_evaluation = layer.eval()(x)
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(in_training, by_hand(mask * x), rtol=0, atol=1e-5)
    torch.testing.assert_close(in_evaluation, by_hand(x), rtol=0, atol=1e-5)
    assert float((in_training - in_evaluation).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["dropout", "DoRA with dropout"])
def test_dropout_is_on_for_the_policy_and_off_for_the_reference(base, kind):
    before = logps(load_model(str(base)))
    policy = add_adapter(load_model(str(base)), KINDS[kind], 0)
    train(policy)
    assert torch.equal(logps(policy), logps(policy))
    policy.train()
    assert not torch.equal(logps(policy), logps(policy))
    policy.eval()
    with policy.disable_adapter():
        assert torch.equal(logps(policy), before)


def test_without_dropout_training_and_evaluation_agree(base):
    policy = add_adapter(load_model(str(base)), SMALL, 0)
    train(policy)
    assert torch.equal(logps(policy.train()), logps(policy.eval()))


@kinds
def test_training_moves_the_policy_and_not_the_reference(base, kind):
    plain = load_model(str(base))
    before, start = logps(plain), weights(plain)
    policy = add_adapter(plain, kind, 0)
    train(policy)
    assert float((logps(policy) - before).abs().min()) > 1e-2
    with policy.disable_adapter():
        assert torch.equal(logps(base_model(policy)), before)
    kept = {name.replace(".base_layer", ""): weight for name, weight in base_model(policy).named_parameters()}
    assert all(torch.equal(kept[name], weight) for name, weight in start.items())


def test_the_base_model_is_the_model_that_the_kernels_call(adapter, model):
    policy = load_adapter(adapter, trainable=False)
    plain = base_model(policy)
    assert type(plain) is type(model)
    assert base_model(model) is model
    assert torch.equal(logps(plain), logps(policy))
    assert not torch.equal(logps(plain), logps(model))
    assert plain.get_output_embeddings() is policy.get_output_embeddings()


def test_gradients_reach_the_adapter_through_the_plain_model(base):
    policy = add_adapter(load_model(str(base)), SMALL, 0)
    answer_logps(base_model(policy), BATCH)[0].sum().backward()
    assert {name for name, weight in policy.named_parameters() if weight.grad is not None} == trainable(policy)
    assert any(float(weight.grad.abs().max()) > 0 for weight in policy.parameters() if weight.grad is not None)


def test_the_padded_kernel_and_sampling_work_with_an_adapter(adapter, tmp_path):
    policy, tokenizer = load_model(str(adapter)), load_tokenizer(str(adapter))
    with torch.no_grad():
        alone = [float(answer_logps(policy, pad([example], 3))[0]) for example in EXAMPLES]
    assert all_logps(policy, EXAMPLES, 3, batch_size=2) == pytest.approx(alone, abs=1e-5)
    encoder = Encoder(tokenizer, Limits(max_length=64, max_prompt_length=32))
    prompts = [(Message("user", "hot?"),), (Message("user", "the opposite of big"),)]
    drawn = Sampling(max_new_tokens=4, temperature=0)
    texts = [output.text for output in sample(policy, encoder, prompts, drawn, name="x", seed=0)]
    merged = load_model(str(merge(adapter, tmp_path / "merged")))
    assert texts == [output.text for output in sample(merged, encoder, prompts, drawn, name="x", seed=0)]


@kinds
def test_a_saved_adapter_comes_back(base, tokenizer, tmp_path, kind):
    policy = add_adapter(load_model(str(base)), kind, 0)
    train(policy)
    out = tmp_path / "out"
    save_model(policy, tokenizer, out)
    assert is_adapter(out)
    assert not is_adapter(base)
    assert not (out / "model.safetensors").exists()
    assert not (out / "README.md").exists()
    again = load_model(str(out))
    assert not any(module.training for module in again.modules())
    assert torch.equal(logps(again), logps(policy))
    assert load_tokenizer(str(out)).chat_template == tokenizer.chat_template


def test_equal_adapters_give_equal_bytes(base, tokenizer, tmp_path):
    for name in ("a", "b"):
        save_model(
            add_adapter(load_model(str(base)), KINDS["all linear layers"], 0), tokenizer, tmp_path / name / "model"
        )
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        first, second = ((tmp_path / side / "model" / name).read_bytes() for side in "ab")
        assert first == second
    targets = json.loads((tmp_path / "a" / "model" / "adapter_config.json").read_text())["target_modules"]
    # peft keeps them as a set, whose order differs between processes.
    assert targets == sorted(targets)
    assert {name.rpartition(".")[2] for name in targets} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }


def test_an_adapter_of_a_base_in_memory_cannot_be_saved(model, tokenizer, tmp_path):
    policy = add_adapter(copy.deepcopy(model), SMALL, 0)
    with pytest.raises(ConfigError, match="was never saved"):
        save_model(policy, tokenizer, tmp_path)
    with pytest.raises(AssertionError, match="not the one below it"):
        save_model(base_model(policy), tokenizer, tmp_path)


def test_a_tokenizer_that_does_not_lie_with_the_adapter_is_that_of_the_base(adapter, tokenizer):
    for path in adapter.glob("token*"):
        path.unlink()
    assert load_tokenizer(str(adapter)).chat_template == tokenizer.chat_template


def test_training_goes_on_from_an_adapter(adapter, tokenizer, tmp_path):
    policy = load_model(str(adapter))
    before, names = logps(policy), trainable(policy)
    assert names == {name for name, _ in policy.named_parameters() if "lora_" in name}
    losses = train(policy, steps=10)
    assert losses[-1] < losses[0] - 0.1
    save_model(policy, tokenizer, tmp_path / "elsewhere" / "deep" / "model")
    again = load_model(str(tmp_path / "elsewhere" / "deep" / "model"))
    assert torch.equal(logps(again), logps(policy))
    assert float((logps(again) - before).abs().min()) > 1e-2
    assert base_of(tmp_path / "elsewhere" / "deep" / "model") == base_of(adapter)


def test_an_adapter_on_an_adapter_is_refused(adapter):
    with pytest.raises(ConfigError, match=r"has an adapter already.*notus merge"):
        add_adapter(load_model(str(adapter)), SMALL, 0)


@kinds
def test_a_merged_model_equals_the_adapter(base, tokenizer, tmp_path, kind):
    policy = add_adapter(load_model(str(base)), kind, 0)
    train(policy)
    save_model(policy, tokenizer, tmp_path / "adapter")
    assert merge(tmp_path / "adapter", tmp_path / "merged") == tmp_path / "merged"
    merged = load_model(str(tmp_path / "merged"))
    assert not is_adapter(tmp_path / "merged")
    assert set(merged.state_dict()) == set(load_model(str(base)).state_dict())
    counts = answer_logps(merged, BATCH)[1]
    assert float(((logps(merged) - logps(policy)) / counts).abs().max()) < 1e-5
    assert load_tokenizer(str(tmp_path / "merged")).chat_template == tokenizer.chat_template
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", use_safetensors=True)
    torch.testing.assert_close(logps(plain), logps(policy), rtol=0, atol=1e-4)


def test_a_merged_model_keeps_the_precision_of_its_base(model, tokenizer, tmp_path):
    save_model(copy.deepcopy(model).to(torch.bfloat16), tokenizer, tmp_path / "base")
    policy = add_adapter(load_model(str(tmp_path / "base"), precision="bfloat16"), SMALL, 0)
    assert {w.dtype for name, w in policy.named_parameters() if "lora_" in name} == {torch.float32}
    train(policy)
    save_model(policy, tokenizer, tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}
    # Of bf16 the weights keep 8 bits.
    torch.testing.assert_close(logps(stored), logps(policy), rtol=0, atol=0.3)


def test_a_merge_overwrites_nothing(adapter, base, tmp_path):
    with pytest.raises(ConfigError, match="there already and not empty"):
        merge(adapter, base)
    with pytest.raises(ConfigError, match="is no adapter folder"):
        merge(base, tmp_path / "merged")


def test_a_tree_of_runs_can_be_moved(adapter, tmp_path, monkeypatch):
    before = logps(load_model(str(adapter)))
    moved = tmp_path / "moved"
    shutil.move(adapter.parents[1], moved)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(logps(load_model("moved/lora/model")), before)


def test_a_copy_of_a_tree_takes_the_base_in_the_copy(adapter, base, tmp_path):
    shutil.copytree(adapter.parents[1], tmp_path / "copy")
    assert base_of(tmp_path / "copy/lora/model") == str(tmp_path / "copy/sft/model")
    assert base_of(adapter) == str(base)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_plain_peft_loads_an_adapter_from_anywhere(adapter, tmp_path, monkeypatch):
    want = logps(load_model(str(adapter)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    torch.testing.assert_close(logps(AutoPeftModelForCausalLM.from_pretrained(adapter)), want, rtol=0, atol=1e-5)
    # An adapter that is moved alone finds its base where that stayed.
    shutil.move(adapter, tmp_path / "alone")
    torch.testing.assert_close(logps(load_model(str(tmp_path / "alone"))), want, rtol=0, atol=0)
    torch.testing.assert_close(logps(AutoPeftModelForCausalLM.from_pretrained("../alone")), want, rtol=0, atol=1e-5)


def test_an_adapter_without_its_base_names_it(adapter, base, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(adapter, moved)
    shutil.move(base, tmp_path / "gone")
    words = r"needs its base '/.*/sft/model', which is not at .*move it back"
    with pytest.raises(ConfigError, match=words):
        load_model(str(moved))
    with pytest.raises(ConfigError, match=words):
        merge(moved, tmp_path / "merged")


def test_a_hub_id_and_an_absolute_path_stay_what_they_are(adapter, base):
    path = adapter / "adapter_config.json"
    written = json.loads(path.read_text())
    for name in ("owner/name", str(base)):
        path.write_text(json.dumps({**written, "base_model_name_or_path": name}))
        assert base_of(adapter) == name
    path.write_text(json.dumps({**written, "base_model_name_or_path": None}))
    with pytest.raises(ConfigError, match="names no base"):
        base_of(adapter)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # Weights that peft would leave at their start value, or skip, without an error.
        ({"num_hidden_layers": 3}, "8 weights are in one of them only"),
        ({"num_hidden_layers": 1}, "8 weights are in one of them only"),
        ({"num_key_value_heads": 4}, "size mismatch"),
    ],
)
def test_another_base_is_refused(adapter, base, model, tokenizer, change, words):
    config = type(model.config).from_pretrained(base)
    config.update(change)
    shutil.rmtree(base)
    save_model(type(model)(config), tokenizer, base)
    with pytest.raises(ConfigError, match=f"does not fit its base .*{words}") as caught:
        load_model(str(adapter))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": "all"}, "'bias' is 'all'"),
        ({"init_lora_weights": "eva"}, "'init_lora_weights' is 'eva'"),
        ({"peft_type": "PROMPT_TUNING"}, "'peft_type' is 'PROMPT_TUNING'"),
    ],
)
def test_an_adapter_that_does_not_come_back_is_refused(adapter, change, words):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=words):
        load_model(str(adapter))


def test_damaged_adapters_are_named(adapter):
    weights_file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    weights_file.write_bytes(weights_file.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"cannot use .*adapter_model"):
        load_model(str(adapter))
    weights_file.unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(ConfigError, match="only safetensors are read"):
        load_model(str(adapter))
    for text in ("{", "[]"):
        config.write_text(text)
        with pytest.raises(ConfigError, match=r"adapter_config\.json.*copy the adapter again"):
            load_model(str(adapter))


def test_weights_that_are_not_finite_are_not_merged(base, tokenizer, tmp_path):
    policy = add_adapter(load_model(str(base)), SMALL, 0)
    with torch.no_grad():
        next(weight for name, weight in policy.named_parameters() if "lora_B" in name).fill_(float("nan"))
    save_model(policy, tokenizer, tmp_path / "adapter")
    with pytest.raises(ConfigError, match="cannot merge"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("q_porj",), "'q_porj' .*did you mean 'q_proj'"),
        # peft itself is content as soon as one of the names is found.
        (("q_proj", "query"), "'query' .*known: down_proj, .*, q_proj, up_proj, v_proj"),
        (("input_layernorm",), "'input_layernorm' is no layer .* that can have an adapter"),
    ],
)
def test_a_target_that_is_not_there_is_named(base, targets, words):
    with pytest.raises(ConfigError, match=words) as caught:
        add_adapter(load_model(str(base)), Lora(targets=targets), 0)
    assert "\n" not in str(caught.value)


def test_targets_can_be_named_by_their_path(base):
    policy = add_adapter(load_model(str(base)), Lora(rank=2, targets=("layers.1.self_attn.q_proj",)), 0)
    assert {name.split(".self_attn")[0].rpartition(".")[2] for name in trainable(policy)} == {"1"}


def test_the_head_can_be_adapted_where_it_has_its_own_weights(model, tokenizer, tmp_path):
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    save_model(type(model)(config), tokenizer, tmp_path / "base")
    policy = add_adapter(load_model(str(tmp_path / "base")), Lora(rank=2, dropout=0.0, targets=("lm_head",)), 0)
    before = logps(policy)
    train(policy)
    assert float((logps(policy) - before).abs().min()) > 1e-3
    save_model(policy, tokenizer, tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    torch.testing.assert_close(logps(load_model(str(tmp_path / "merged"))), logps(policy), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"rank": 0}, "'rank' is 0"),
        ({"alpha": 0.0}, "'alpha' is 0"),
        ({"dropout": 1.0}, "'dropout' is 1"),
        ({"targets": []}, "targets"),
        ({"targets": "linear"}, "'targets' is 'linear'.*all-linear"),
        ({"r": 8, "rank": 8}, "'rank' and 'r' are two names of one setting"),
        ({"init_lora_weights": "eva"}, "it is true or pissa"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data, words):
    with pytest.raises(ConfigError, match=words):
        Lora.parse(data, where="lora")


@given(
    rank=st.integers(1, 8),
    alpha=st.floats(0.5, 64),
    dropout=st.sampled_from([0.0, 0.5]),
    dora=st.booleans(),
    targets=st.sets(st.sampled_from(["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]), min_size=1),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=15, deadline=None)
def test_settings_come_back_from_the_configuration(model, rank, alpha, dropout, dora, targets, seed):
    wanted = Lora(rank=rank, alpha=alpha, dropout=dropout, targets=tuple(sorted(targets)), dora=dora)
    plain = copy.deepcopy(model)
    before = logps(plain)
    policy = add_adapter(plain, Lora.parse(wanted.resolved(), where="lora"), seed)
    config = policy.active_peft_config
    assert (config.r, config.lora_alpha, config.lora_dropout, config.use_dora) == (rank, alpha, dropout, dora)
    assert config.target_modules == targets
    assert torch.equal(logps(policy), before)
