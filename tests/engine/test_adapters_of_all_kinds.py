"""Adapters on heads, embeddings, experts and grown vocabularies: saved, read by peft, merged, each the same model."""

import copy
import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from notus.core.errors import ConfigError
from notus.engine.adapters import add_adapter, base_model
from notus.engine.load import fit_vocabulary, load_model, load_tokenizer, merge, save_model
from notus.engine.settings import Lora
from tests.helpers.tiny_families import tiny

IDS = torch.arange(5, 40)[None]
SMALL = Lora(rank=4, alpha=8.0, dropout=0.0)
HEADS = ("q_proj", "lm_head")
EMBEDDINGS = ("q_proj", "embed_tokens")
KINDS = {
    "head": {"targets": HEADS},
    "embeddings": {"targets": EMBEDDINGS},
    "head and embeddings": {"targets": ("lm_head", "embed_tokens")},
    "embeddings as a whole": {"modules_to_save": ("embed_tokens",)},
    "both as a whole": {"modules_to_save": ("embed_tokens", "lm_head")},
    "rsLoRA": {"rslora": True},
    "DoRA": {"dora": True},
    "PiSSA": {"init": "pissa"},
    "PiSSA, rsLoRA": {"init": "pissa", "rslora": True},
    "PiSSA, DoRA": {"init": "pissa", "dora": True},
}
# peft asks transformers for activation checkpointing by its older name, and warns of what the tests are about.
quiet = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:(?s).*tie_word_embeddings=True",
    "ignore:.*ensure_weight_tying",
    "ignore:Setting `save_embedding_layers`",
)
pytestmark = quiet


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def base(request, model, tokenizer, tmp_path):
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = request.param
    torch.manual_seed(0)
    save_model(type(model)(config), tokenizer, tmp_path / "base")
    return tmp_path / "base"


def logits(model, ids=IDS):
    with torch.no_grad():
        return model.eval()(ids, use_cache=False).logits


def train(policy, steps=3):
    optimizer = torch.optim.AdamW([w for w in policy.parameters() if w.requires_grad], lr=1e-2)
    for _ in range(steps):
        policy.train()(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    policy.eval()


def alike(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_saved_read_by_peft_and_merged_it_is_the_same_model(base, tokenizer, tmp_path, kind):
    before = logits(load_model(str(base)))
    policy = add_adapter(load_model(str(base)), SMALL.model_copy(update=kind), 0)
    alike(logits(policy), before)
    train(policy)
    want = logits(policy)
    assert float((want - before).abs().max()) > 1e-2
    save_model(policy, tokenizer, tmp_path / "adapter")
    alike(logits(load_model(str(tmp_path / "adapter"))), want)
    alike(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")), want)
    merge(tmp_path / "adapter", tmp_path / "merged")
    alike(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), want)
    alike(logits(load_model(str(tmp_path / "merged"))), want)
    alike(logits(load_model(str(base))), before)


def test_what_is_saved_of_pissa_is_an_adapter_of_twice_the_rank(base, tokenizer, tmp_path):
    policy = add_adapter(load_model(str(base)), SMALL.model_copy(update={"init": "pissa"}), 0)
    save_model(policy, tokenizer, tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["init_lora_weights"]) == (8, 16, True)
    half = load_model(str(base), precision="bfloat16")
    with pytest.raises(ConfigError, match="dtype: float32"):
        add_adapter(half, SMALL.model_copy(update={"init": "pissa"}), 0)


def foreign(base, path, tokens=0, **settings):
    """What somebody else's peft leaves: trained a little, saved by its own way."""
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    if tokens:
        tokenizer.add_tokens([f"<|new{number}|>" for number in range(tokens)])
        plain.resize_token_embeddings(len(tokenizer))
    policy = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings))
    train(policy)
    policy.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return policy


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens": 3, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        {"tokens": 3, "target_modules": ["q_proj"]},
        {"tokens": 3, "target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [400, 401, 402]}},
        {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
        {"target_modules": ["q_proj"], "init_lora_weights": "olora"},
        {"target_modules": ["embed_tokens"]},
    ],
    ids=["added tokens, trained", "added tokens", "added tokens alone", "PiSSA", "OLoRA", "embeddings"],
)
def test_an_adapter_of_peft_is_read_and_merged(base, tmp_path, settings):
    policy = foreign(base, tmp_path / "adapter", **settings)
    ids = torch.cat([IDS, torch.tensor([[400, 401, 402]])], 1) if "tokens" in settings else IDS
    want = logits(policy, ids)
    found = load_model(str(tmp_path / "adapter"))
    alike(logits(found, ids), want)
    merge(tmp_path / "adapter", tmp_path / "merged")
    alike(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), ids), want)
    assert len(load_tokenizer(str(tmp_path / "merged"))) == len(load_tokenizer(str(tmp_path / "adapter")))
    # And it is saved again as it is.
    save_model(found, load_tokenizer(str(tmp_path / "adapter")), tmp_path / "again")
    alike(logits(load_model(str(tmp_path / "again")), ids), want)


def test_embeddings_that_were_added_are_saved_with_the_adapter(base, tokenizer, tmp_path):
    more = copy.deepcopy(tokenizer)
    more.add_tokens(["<|new|>"])
    plain = load_model(str(base))
    rows = plain.get_input_embeddings().weight.detach().clone()
    assert fit_vocabulary(plain, more) == 1
    weight = plain.get_input_embeddings().weight.detach()
    torch.testing.assert_close(weight, torch.cat([rows, rows.mean(0, keepdim=True)]))
    assert fit_vocabulary(plain, more) == 0
    policy = add_adapter(plain, SMALL, 0)
    train(policy)
    save_model(policy, more, tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 400, 7]])
    for found in (
        load_model(str(tmp_path / "adapter")),
        AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"),
    ):
        alike(logits(found, ids), logits(policy, ids))
    merge(tmp_path / "adapter", tmp_path / "merged")
    alike(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), ids), logits(policy, ids))


def test_experts_are_adapted_by_the_names_of_their_parameters(tokenizer, tmp_path):
    save_model(tiny("Mixtral"), tokenizer, tmp_path / "base")
    experts = SMALL.model_copy(update={"target_parameters": ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")})
    policy = add_adapter(load_model(str(tmp_path / "base")), experts, 0)
    assert any("experts" in name for name, weight in policy.named_parameters() if weight.requires_grad)
    train(policy)
    save_model(policy, tokenizer, tmp_path / "adapter")
    alike(logits(load_model(str(tmp_path / "adapter"))), logits(policy))
    merge(tmp_path / "adapter", tmp_path / "merged")
    alike(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), logits(policy))
    with pytest.raises(ConfigError, match=r"'experts\.up' is no parameter of the model"):
        add_adapter(
            load_model(str(tmp_path / "base")), SMALL.model_copy(update={"target_parameters": ("experts.up",)}), 0
        )
    dropping = experts.model_copy(update={"dropout": 0.1})
    with pytest.raises(ConfigError, match=r"peft cannot put the adapter on this model: .*dropout"):
        add_adapter(load_model(str(tmp_path / "base")), dropping, 0)


@pytest.mark.parametrize(
    ("family", "target"), [("GPT-2", "c_attn"), ("Bloom", "query_key_value"), ("Mamba", "in_proj")]
)
def test_layers_of_other_names_and_kinds_are_adapted(family, target, tokenizer, tmp_path):
    save_model(tiny(family), tokenizer, tmp_path / "base")
    plain = load_model(str(tmp_path / "base"))
    with pytest.raises(ConfigError, match="'q_proj' is no layer of the model"):
        add_adapter(plain, SMALL, 0)
    policy = add_adapter(plain, SMALL.model_copy(update={"targets": (target,)}), 0)
    train(policy)
    save_model(policy, tokenizer, tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    alike(logits(load_model(str(tmp_path / "merged"))), logits(policy))


def test_names_of_peft_are_read():
    theirs = {"r": 8, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"], "use_rslora": True}
    ours = Lora.parse(theirs | {"use_dora": True, "init_lora_weights": "pissa"}, where="x")
    wanted = Lora(rank=8, alpha=4.0, dropout=0.0, targets=("q_proj",), rslora=True, dora=True, init="pissa")
    assert ours == wanted


def test_an_adapter_on_a_commit_of_the_hub_names_the_commit(base, tokenizer, tmp_path):
    plain = load_model(str(base))
    plain.name_or_path = "owner/name@" + "a" * 40
    policy = add_adapter(plain, SMALL, 0)
    assert isinstance(policy, PeftModel)
    assert base_model(policy) is plain
    save_model(policy, tokenizer, tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("owner/name", "a" * 40)
