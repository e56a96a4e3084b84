"""What sampling stops at, against transformers' ``generate`` under the model's own generation config."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from notus.core.records import Message
from notus.engine.generate import LocalModel, sample
from notus.engine.load import load_model, load_tokenizer
from notus.engine.settings import Limits, Sampling
from notus.engine.text.encoder import Encoder
from notus.engine.text.stops import all_stops, name_stops, stop_ids
from tests.helpers.families import FAMILIES, save_family_model

GREEDY = Sampling(temperature=0, max_new_tokens=24)
PROMPTS = [(Message(role="user", content=text),) for text in ("Name a river.", "Why is the Oder so long?", "yes")]


@pytest.mark.parametrize("name", FAMILIES)
def test_sampling_stops_where_transformers_does(name, tmp_path):
    """A model that names several ends: the one of its template, and one that it happens to write."""
    save_family_model(name, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    end = tokenizer.convert_tokens_to_ids(FAMILIES[name].end)

    def generate(prompt, stops):
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=False)
        config = GenerationConfig(max_new_tokens=24, do_sample=False, eos_token_id=stops, pad_token_id=end)
        return model.generate(ids, generation_config=config)[0, ids.shape[1] :].tolist()

    free = generate(PROMPTS[0], [end])
    stops = [end, free[min(7, len(free) - 1)]]
    GenerationConfig(eos_token_id=stops, pad_token_id=end).save_pretrained(tmp_path)
    outputs = LocalModel.load(str(tmp_path)).sample(PROMPTS, GREEDY, name="m", seed=0)
    encoder = Encoder(load_tokenizer(str(tmp_path)), Limits())
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        ids = generate(prompt, stops)
        assert output.truncated == (ids[-1] not in stops)
        assert output.text == encoder.decode(ids)
    assert set(stops) <= set(stop_ids(load_model(str(tmp_path)), encoder.template))


def test_an_end_that_no_config_names_is_stopped_at_and_saved(tmp_path):
    """A base model whose config has the end of a text alone, with a template that ends turns by another token."""
    save_family_model("chatml", tmp_path)
    model, tokenizer = load_model(str(tmp_path)), load_tokenizer(str(tmp_path))
    template = Encoder(tokenizer, Limits()).template
    end, eos = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>"))
    assert model.generation_config.eos_token_id == eos
    assert stop_ids(model, template) == [end, eos]
    name_stops(model, tokenizer)
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "generation_config.json").read_text())["eos_token_id"] == [end, eos]
    assert all_stops([eos, end], tokenizer) == [end, eos]


def test_what_is_named_already_stays_as_it_is(tmp_path):
    save_family_model("zephyr", tmp_path)
    model, tokenizer = load_model(str(tmp_path)), load_tokenizer(str(tmp_path))
    name_stops(model, tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_a_default_of_the_family_that_is_a_word_ends_nothing(tmp_path):
    save_family_model("llama3", tmp_path, eos_token_id=400)
    model = load_model(str(tmp_path))
    model.generation_config.eos_token_id = None
    assert 400 not in stop_ids(model, Encoder(load_tokenizer(str(tmp_path)), Limits()).template)


@pytest.mark.parametrize("name", ["llama2", "mistral3", "gemma3", "qwen3"])
def test_the_text_of_an_answer_comes_back_without_what_the_template_puts_around_it(name, tmp_path):
    model = save_family_model(name, tmp_path)
    encoder = Encoder(load_tokenizer(str(tmp_path)), Limits(), None)
    (ids,) = encoder.answers(["The Oder."])
    assert encoder.decode(ids).removeprefix("<think>\n\n</think>\n\n") == "The Oder."
    assert sample(model, encoder, PROMPTS[:1], GREEDY, name="m", seed=0)
    assert torch.is_grad_enabled()


def test_where_a_template_or_generation_settings_are_missing_nothing_is_named(model, tokenizer, monkeypatch):
    before = model.generation_config.to_dict()
    monkeypatch.setattr(tokenizer, "chat_template", None)
    name_stops(model, tokenizer)
    assert model.generation_config.to_dict() == before
    monkeypatch.undo()
    monkeypatch.setattr(model, "generation_config", None)
    name_stops(model, tokenizer)
    assert model.generation_config is None
