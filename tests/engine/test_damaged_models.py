"""Folders of models that are damaged or hostile: one line that names the file, exit code 2; none of their code runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from notus.core.errors import InputError, RunError
from notus.engine.files import memory
from notus.engine.files.folder import read_headers
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.settings import Limits
from notus.engine.text import sandbox
from notus.engine.text.encoder import Encoder
from notus.rankers.reward import load_reward_model
from tests.helpers.model_mutants import GOOD, HARMLESS, KINDS, TEMPLATES, judge, make_mutant, make_seeds

MUTANTS = 60
"""Judged in the fast tests."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "model")
    return tmp_path / "model"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, *words, load=load_model):
    """The line with which a folder is refused."""
    with pytest.raises(InputError) as error:
        load(str(folder))
    line = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in line
    assert all(word in line for word in words), line
    return line


def _judge_all(seeds, numbers, folder):
    wrong = []
    for number in numbers:
        kind, changes, must = make_mutant(number, seeds, folder)
        ending, line = judge(kind, folder, must)
        if ending not in GOOD:
            wrong.append((number, kind, changes, ending, line[-500:]))
    return wrong


def test_mutants_end_in_one_line(seeds, tmp_path):
    assert _judge_all(seeds, range(MUTANTS), tmp_path / "mutant") == []


@pytest.mark.slow
def test_more_mutants_end_in_one_line(seeds, tmp_path):
    assert _judge_all(seeds, range(1000, 1140), tmp_path / "mutant") == []


def test_whole_models_are_no_mutants(seeds):
    """What is judged loads before it is changed: else every refusal would be for another reason."""
    assert {kind: judge(kind, seeds[kind], must=False)[0] for kind in KINDS} == dict.fromkeys(KINDS, "loaded")


# Foreign code


EVIL = "open('ran', 'w').close()\nraise SystemExit('foreign code ran')\n"


@pytest.mark.parametrize("load", [load_model, load_tokenizer, load_reward_model])
def test_code_of_a_model_is_not_run_and_nobody_is_asked(folder, load, monkeypatch):
    (folder / "evil.py").write_text(EVIL)
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    own = dict.fromkeys(names, "evil.Evil") | {"AutoTokenizer": ["evil.Evil", None]}
    edit(folder / "config.json", model_type="evil", architectures=["Evil"], auto_map=own)
    edit(folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map=own)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    monkeypatch.chdir(folder)
    refused(folder, "auto_map", "runs no code", load=load)
    assert not (folder / "ran").exists()


def test_the_command_asks_nothing_on_standard_input(folder, tmp_path):
    (folder / "evil.py").write_text(EVIL)
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil"})
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "hot?"}]}) + "\n")
    command = [sys.executable, "-m", "notus", "generate", str(folder), "prompts.jsonl", "--out", "answers"]
    done = subprocess.run(command, input="y\n", capture_output=True, text=True, cwd=tmp_path, timeout=120)
    told = [line for line in done.stderr.splitlines() if line.startswith("notus:")]
    assert done.returncode == 2, done.stderr
    assert len(told) == 1
    assert "auto_map" in told[0]
    assert "[y/N]" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("ran"))


def test_an_architecture_of_transformers_is_read_in_spite_of_auto_map(folder, model):
    """Many published models name code of their own beside an architecture that transformers has."""
    (folder / "evil.py").write_text(EVIL)
    edit(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    again = load_model(str(folder)).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


def test_pickled_weights_say_the_way_out(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin", "safetensors", "save_pretrained")


# Weights


def test_a_layer_less_is_no_silent_other_model(folder):
    edit(folder / "config.json", num_hidden_layers=1)
    refused(folder, "model.safetensors", "layers.1", "leaves out")


def test_a_bias_that_is_stored_is_not_left_out(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.ones(32)
    save_file(weights, path, {"format": "pt"})
    refused(folder, "model.safetensors", "q_proj.bias")


def test_what_stands_beside_the_model_is_left_out(folder):
    """The encoder of pictures of a model that sees, a head for further tokens, buffers of older versions."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    beside = ("vision_tower.layers.0.weight", "mtp.layers.0.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")
    weights |= {name: torch.ones(4, 4) for name in beside}
    save_file(weights, path, {"format": "pt"})
    load_model(str(folder))


def test_a_number_that_is_none_is_named_with_its_weight(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"][399, 31] = float("nan")  # of a token that no trial would take
    save_file(weights, path, {"format": "pt"})
    refused(folder, "model.safetensors", "model.embed_tokens.weight", "NaN")


def _in_parts(folder, **changes):
    weights = load_file(folder / "model.safetensors")
    index = {name: f"{'ab'[number % 2]}.safetensors" for number, name in enumerate(sorted(weights))}
    for part in ("a.safetensors", "b.safetensors"):
        save_file({n: w for n, w in weights.items() if index[n] == part}, folder / part, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    found = json.dumps({"metadata": {}, "weight_map": index | changes})
    (folder / "model.safetensors.index.json").write_text(found)


def test_parts_are_read_and_a_lost_one_is_named(folder, model):
    _in_parts(folder)
    assert len(read_headers(folder)) >= 18
    assert torch.equal(load_model(str(folder)).lm_head.weight, model.lm_head.weight)
    (folder / "b.safetensors").unlink()
    refused(folder, "model.safetensors.index.json", "b.safetensors", "not in the folder")


@pytest.mark.parametrize("place", ["../model/a.safetensors", "/etc/passwd", "a/../b.safetensors", "..", "x.bin", 3])
def test_an_index_names_files_of_its_folder_alone(folder, place):
    _in_parts(folder, **{"model.norm.weight": place})
    refused(folder, "model.safetensors.index.json")


def test_settings_of_far_more_numbers_are_refused_before_room_is_made(folder):
    edit(folder / "config.json", hidden_size=1 << 22, head_dim=16)
    refused(folder, "config.json", "numbers")


def test_many_layers_are_refused_before_they_are_made(folder):
    edit(folder / "config.json", num_hidden_layers=9_999)
    refused(folder, "config.json", "num_hidden_layers is 9,999")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder):
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(folder / "kept")
        os.mkfifo(folder / name)
        refused(folder, name)
        (folder / name).unlink()
        (folder / "kept").rename(folder / name)


def test_ids_without_an_embedding_are_named_before_sampling(seeds, tmp_path):
    shutil.copytree(seeds["MPT"], tmp_path / "mutant")
    edit(tmp_path / "mutant" / "tokenizer_config.json", eos_token="<a token of its own>")
    ending, line = judge("model", tmp_path / "mutant", must=True)
    assert (ending, "no embedding" in line) == ("refused", True), line


# Tokenizers


def test_a_normalizer_that_makes_texts_grow_without_bound_is_refused(folder):
    doubled = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa" * 8}
    edit(folder / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [doubled] * 20})
    refused(folder, "tokenizer.json", "normalizer", load=load_tokenizer)


def test_the_file_at_fault_is_the_one_that_is_named(folder):
    whole = (folder / "tokenizer.json").read_text()
    edit(folder / "tokenizer.json", model={"type": "BPE", "vocab": {}, "merges": [["no", "such"]]})
    refused(folder, f"{folder}/tokenizer.json", load=load_tokenizer)
    (folder / "tokenizer.json").write_text(whole)
    edit(folder / "config.json", num_hidden_layers="two")
    refused(folder, f"{folder}/config.json", load=load_tokenizer)
    refused(folder, f"{folder}/config.json")


# Memory


def test_a_model_that_cannot_fit_is_refused_before_it_is_read(folder, monkeypatch):
    held = sum(weight.numbers * 4 for weight in read_headers(folder).values())
    monkeypatch.setattr(memory, "available_memory", lambda: held - 1)
    with pytest.raises(RunError, match=r"not enough memory for the weights of .*dtype: bfloat16") as error:
        load_model(str(folder))
    assert error.value.exit_code == 1
    monkeypatch.setattr(memory, "available_memory", lambda: held)
    load_model(str(folder))


def test_the_limit_of_a_group_counts_without_what_it_can_give_back(tmp_path, monkeypatch):
    group = tmp_path / "cgroup" / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/a/b\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:  8000 kB\n")
    for name, path in (("_GROUPS", "cgroup"), ("_OWN", "own"), ("_MEMINFO", "meminfo")):
        monkeypatch.setattr(memory, name, tmp_path / path)
    assert memory.available_memory() == 8000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("900000\n")
    assert memory.available_memory() == 8000 * 1024
    (group.parent / "memory.max").write_text("1000000\n")
    (group.parent / "memory.current").write_text("900000\n")
    (group.parent / "memory.stat").write_text("anon 1\nactive_file 100\ninactive_file 200\nfile 9\n")
    assert memory.available_memory() == 1_000_000 - (900_000 - 300)


# Templates


@pytest.mark.parametrize("text", TEMPLATES, ids=range(len(TEMPLATES)))
def test_templates_end(tokenizer, text, monkeypatch):
    """Each is refused with its reason; none takes all time or memory, none reaches the interpreter."""
    monkeypatch.setattr(sandbox, "STEPS", sandbox.STEPS // 10)  # that none goes on is seen sooner
    monkeypatch.setattr(tokenizer, "chat_template", text)
    if text in HARMLESS:
        Encoder(tokenizer, Limits())
        return
    with pytest.raises(InputError, match="chat template of"):
        Encoder(tokenizer, Limits())


def test_a_template_may_go_over_many_turns(tokenizer, monkeypatch):
    """The steps that are counted are far above what conversations take."""
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% set ns = namespace(all='') %}{% for m in messages %}{% for n in messages[:3] %}"
        "{% if n['role'] == m['role'] %}{% endif %}{% endfor %}"
        "{% set ns.all = ns.all + m['role'] + ': ' + m['content'] | trim + eos_token %}{% endfor %}{{ ns.all }}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
    )
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n} " + "word " * 50} for n in range(2000)]
    want = "".join(f"{turn['role']}: {turn['content'].strip()}</s>" for turn in turns)
    assert tokenizer.apply_chat_template(turns, tokenize=False) == want


def test_the_names_of_settings_that_are_read_exist(folder):
    """What is looked at by name is what transformers writes."""
    names = {path.name for path in Path(folder).iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= names
