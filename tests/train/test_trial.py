"""Models that lose their end: each stops before the first update with one line, or trains and is saved as it is."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from notus.core.errors import ConfigError, InputError, RunError
from notus.core.run import Run, read_manifest
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.settings import Lora, Shape
from notus.train.run import policy, trial
from notus.train.run.trial import try_backward, try_targets
from tests.train.test_run import DIALOGUES, dpo, settings, sft, talks, unpaired

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model with .tie_word_embeddings=True:UserWarning"),
]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "tie_word_embeddings": True,
}


def saved(folder, tokenizer, **changes):
    """A tiny Llama with a tokenizer, written by transformers."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{"vocab_size": len(tokenizer), **SHAPE, **changes}))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def with_added_tokens(folder, tokenizer):
    """The tokenizer with two tokens more, one of which ends an answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    return tokenizer


def generation_settings(folder, tokenizer):
    saved(folder, tokenizer)
    # The Trainer takes the tokenizer's pad token over, and transformers refuses to write settings that were changed.
    edit(folder / "generation_config.json", temperature=0.6, top_p=0.95, do_sample=False, pad_token_id=0)


def generation_settings_in_the_config(folder, tokenizer):
    saved(folder, tokenizer)
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", temperature=0.6, do_sample=False, pad_token_id=0)


def generation_settings_out_of_range(folder, tokenizer):
    saved(folder, tokenizer)
    edit(folder / "generation_config.json", max_new_tokens=-5)


def tied_without_a_head(folder, tokenizer):
    saved(folder, tokenizer)
    edit(folder / "config.json", tie_word_embeddings=False)


def called_tied_with_a_head_of_its_own(folder, tokenizer):
    saved(folder, tokenizer, tie_word_embeddings=False)
    edit(folder / "config.json", tie_word_embeddings=True)


def resized(folder, tokenizer):
    saved(folder, tokenizer)
    more = with_added_tokens(folder, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(more))
    model.save_pretrained(folder)


def resized_in_one_place(folder, tokenizer):
    saved(folder, tokenizer, tie_word_embeddings=False)
    name = "model.embed_tokens.weight"
    edit_weights(folder, lambda weights: weights.update({name: torch.cat([weights[name], torch.zeros(2, 32)])}))


def added_tokens_without_embeddings(folder, tokenizer):
    saved(folder, tokenizer)
    with_added_tokens(folder, tokenizer)


def vocabulary_larger_than_the_embeddings(folder, tokenizer):
    saved(folder, tokenizer, vocab_size=300)


def vocabulary_smaller_than_the_embeddings(folder, tokenizer):
    saved(folder, tokenizer, vocab_size=512)


def config_of_another_size(folder, tokenizer):
    saved(folder, tokenizer)
    edit(folder / "config.json", vocab_size=450)


def not_finite(folder, tokenizer):
    saved(folder, tokenizer)
    edit_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan")))


def stored_in_bfloat16(folder, tokenizer):
    saved(folder, tokenizer)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)


def adapter_with_embeddings(folder, tokenizer):
    base = folder.with_name("base")
    resized(base, tokenizer)
    made = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), made).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def adapter_with_added_tokens(folder, tokenizer):
    base = saved(folder.with_name("base"), tokenizer, vocab_size=512)
    made = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], trainable_token_indices=[5, 6])
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), made).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def adapter_of_a_base_that_was_resized(folder, tokenizer):
    base = saved(folder.with_name("base"), tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(402)
    made = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    get_peft_model(model, made).save_pretrained(folder, save_embedding_layers=True)
    with_added_tokens(base, tokenizer).save_pretrained(folder)


STOPS = {
    generation_settings_out_of_range: "max_new_tokens",
    tied_without_a_head: "lm_head.weight",
    resized_in_one_place: "do not fit",
    added_tokens_without_embeddings: "embedding",
    vocabulary_larger_than_the_embeddings: "embedding",
    config_of_another_size: "do not fit",
    not_finite: "no finite number",
}
"""What cannot train → a word of the line that says so."""
TRAINS = (resized, vocabulary_smaller_than_the_embeddings, called_tied_with_a_head_of_its_own, stored_in_bfloat16)
EITHER = (generation_settings, generation_settings_in_the_config)
ADAPTERS = (adapter_with_embeddings, adapter_with_added_tokens, adapter_of_a_base_that_was_resized)


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 40, 9, 300, 2]]), use_cache=False).logits.float()


@pytest.fixture
def ends(monkeypatch):
    """What the trained model computed when it was saved at the end."""
    found = []

    def save(model, *args, **options):
        found.append(logits(model.eval()))
        return save_model(model, *args, **options)

    monkeypatch.setattr(policy, "save_model", save)
    return found


def stopped_in_time(path, error, exit_code=2):
    assert isinstance(error.value, InputError if exit_code == 2 else RunError)
    assert error.value.exit_code == exit_code
    assert "\n" not in str(error.value)
    assert not (path / "metrics.jsonl").exists()
    assert not (path / "model").exists()
    assert not (path / ".trial").exists()


def saved_as_trained(path, ends):
    """Plain transformers and peft read what was trained."""
    if (path / "model" / "adapter_config.json").is_file():
        again = AutoPeftModelForCausalLM.from_pretrained(path / "model")
    else:
        again = AutoModelForCausalLM.from_pretrained(path / "model", dtype=torch.float32)
    torch.testing.assert_close(logits(again.float().eval()), ends[-1], atol=2e-5, rtol=1e-4)
    assert not (path / ".trial").exists()


@pytest.mark.parametrize("make", STOPS, ids=lambda make: make.__name__)
def test_a_model_that_cannot_be_trained_stops_before_the_first_update(make, tokenizer, tmp_path):
    make(tmp_path / "start", tokenizer)
    with pytest.raises(InputError, match=STOPS[make]) as error:
        dpo(tmp_path / "run", str(tmp_path / "start"))
    stopped_in_time(tmp_path / "run", error)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("make", [*TRAINS, *EITHER], ids=lambda make: make.__name__)
def test_a_model_that_is_odd_is_saved_as_it_was_trained_or_stops(make, lora, tokenizer, tmp_path, ends):
    make(tmp_path / "start", tokenizer)
    try:
        # In the type of the start, which is the default, what is trained is rounded.
        dpo(tmp_path / "run", str(tmp_path / "start"), lora=lora, save_precision="float32")
    except InputError:
        assert make in EITHER
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        return
    saved_as_trained(tmp_path / "run", ends)
    assert read_manifest(tmp_path / "run")["summary"]["tried"] == "saved and loaded again"


@pytest.mark.parametrize("make", ADAPTERS, ids=lambda make: make.__name__)
def test_an_adapter_with_tokens_of_its_own_is_saved_or_stops(make, tokenizer, tmp_path, ends):
    make(tmp_path / "start", tokenizer)
    try:
        dpo(tmp_path / "run", str(tmp_path / "start"))
    except InputError:
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        return
    saved_as_trained(tmp_path / "run", ends)


@pytest.mark.parametrize("way", [sft, unpaired], ids=["sft", "unpaired"])
def test_every_way_of_training_is_tried(way, tokenizer, tmp_path):
    not_finite(tmp_path / "start", tokenizer)
    with pytest.raises(InputError, match="no finite number") as error:
        way(tmp_path / "run", str(tmp_path / "start"))
    stopped_in_time(tmp_path / "run", error)


def test_a_disk_that_is_too_full_is_said_before(tokenizer, tmp_path, monkeypatch):
    saved(tmp_path / "start", tokenizer)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match="no space") as error:
        dpo(tmp_path / "run", str(tmp_path / "start"))
    stopped_in_time(tmp_path / "run", error, exit_code=1)


FULL = """
import resource, sys
from pathlib import Path
from tests.train.test_run import dpo
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
dpo(Path(sys.argv[1]) / "run", str(Path(sys.argv[1]) / "start"))
"""


@pytest.mark.slow
def test_a_write_that_fails_is_said_before(tokenizer, tmp_path):
    """The system refuses to write more, as a full disk or a quota does."""
    saved(tmp_path / "start", tokenizer)
    assert (tmp_path / "start" / "model.safetensors").stat().st_size > 60_000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=root)
    assert "cannot be saved" in done.stderr.splitlines()[-1]
    assert "RunError" in done.stderr.splitlines()[-1]  # what the user gave is fine
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not (tmp_path / "run" / ".trial").exists()


@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
def test_what_comes_back_as_another_model_is_found(lora, tokenizer, tmp_path, monkeypatch):
    """A saving that loses a weight, as one that forgets an untied head or a part of an adapter would."""
    saved(tmp_path / "start", tokenizer)

    def lossy(model, tokenizer, path, **options):
        save_model(model, tokenizer, path, **options)
        file = next(path.glob("*model.safetensors"))
        weights = load_file(file)
        name = next(name for name in weights if "q_proj" in name)
        save_file(weights | {name: torch.zeros_like(weights[name])}, file, {"format": "pt"})

    monkeypatch.setattr(policy, "save_model", lossy)
    with pytest.raises(InputError, match="another model") as error:
        dpo(tmp_path / "run", str(tmp_path / "start"), lora=lora)
    stopped_in_time(tmp_path / "run", error)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
def test_a_large_model_is_saved_in_part(lora, tokenizer, tmp_path, monkeypatch, ends):
    saved(tmp_path / "start", tokenizer, tie_word_embeddings=False)
    monkeypatch.setattr(trial, "WHOLE", 20_000)
    dpo(tmp_path / "run", str(tmp_path / "start"), lora=lora)
    assert read_manifest(tmp_path / "run")["summary"]["tried"].startswith("saved in part")
    saved_as_trained(tmp_path / "run", ends)


def test_the_trial_changes_nothing(tokenizer, tmp_path, monkeypatch):
    """Dropout draws what it draws, an adapter begins as it begins, and the base stays what it is."""
    saved(tmp_path / "start", tokenizer)
    options = {"lora": Lora(rank=2, dropout=0.5), "epochs": 2}
    tried = dpo(tmp_path / "tried", str(tmp_path / "start"), **options)
    monkeypatch.setattr(policy, "try_policy", lambda *_, **__: None)
    plain = dpo(tmp_path / "plain", str(tmp_path / "start"), **options)
    assert tried.keys() == plain.keys()
    assert all(torch.equal(tried[name], plain[name]) for name in plain)


def test_a_model_of_which_nothing_learns_is_refused(tokenizer, tmp_path):
    model = load_model(str(saved(tmp_path / "start", tokenizer)))
    frozen = model.requires_grad_(False)
    with pytest.raises(ConfigError, match="frozen"):
        try_backward(frozen, lambda tried: logits(tried).sum(), "start")
    frozen.get_input_embeddings().requires_grad_(True)
    with pytest.raises(ConfigError, match="no weight"):
        try_backward(frozen, lambda _: torch.ones((), requires_grad=True), "start")


def test_targets_are_looked_up_without_weights(tokenizer, tmp_path):
    folder = saved(tmp_path / "start", tokenizer)
    (folder / "model.safetensors").unlink()
    try_targets(str(folder), Lora(targets=("q_proj", "down_proj")))
    for start in (str(folder), Shape()):
        with pytest.raises(ConfigError, match=r"lora\.targets: 'qkv_proj'.*did you mean '[qkv]_proj'"):
            try_targets(start, Lora(targets=("qkv_proj",)))
    edit(folder / "config.json", model_type="nothing")
    with pytest.raises(ConfigError, match=r"config\.json"):
        try_targets(str(folder), Lora())


def test_tokenizers_come_back_as_they_were(tokenizer, tmp_path, monkeypatch):
    saved(tmp_path / "start", tokenizer)

    def other(folder):
        found = load_tokenizer(folder)
        if Path(folder).name == ".trial":
            found.chat_template = "{{ messages }}"
        return found

    monkeypatch.setattr(trial, "load_tokenizer", other)
    with (
        pytest.raises(InputError, match="chat template"),
        Run(tmp_path / "r", stage="sft", config={}, inputs={}) as run,
    ):
        policy.train_sft(
            run, settings(), start=str(tmp_path / "start"), dialogues=talks(DIALOGUES), held_out=[], seed=0
        )
