import pytest
import torch
from safetensors.torch import load_file, save_file

from notus.core.errors import ConfigError, InputError
from notus.engine.files import folder
from notus.engine.load import build_model, load_model, load_tokenizer, save_model, train_tokenizer
from notus.engine.settings import Shape


def test_a_saved_model_comes_back_whole(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    again, its_tokenizer = load_model(str(tmp_path)), load_tokenizer(str(tmp_path))
    assert (tmp_path / "model.safetensors").is_file()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert its_tokenizer.chat_template == tokenizer.chat_template
    text = "88 opposites, naïve 漢字 and </s>"
    assert its_tokenizer.decode(its_tokenizer(text)["input_ids"]) == text


def test_a_seed_gives_the_weights(tokenizer):
    shape = Shape(width=16, layers=1, heads=2, kv_heads=1, ffn=16, positions=64)
    first, same, other = (build_model(shape, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_corpus_gives_the_tokenizer():
    texts = ["what is the opposite of hot"] * 5
    assert train_tokenizer(texts, 300).get_vocab() == train_tokenizer(iter(texts), 300).get_vocab()


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "a/b/c", "word"])
def test_no_model_is_named(source):
    with pytest.raises(ConfigError, match="no model at"):
        load_model(source)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(str(tmp_path))


def test_a_damaged_model_is_named(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(ConfigError, match=r"cannot use .*config\.json"):
        load_model(str(tmp_path))


def test_cut_weights_are_named(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors: it is cut"):
        load_model(str(tmp_path))


def test_a_missing_weight_is_not_filled_at_random(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights.*up_proj"):
        load_model(str(tmp_path))


def test_pickled_weights_are_not_read(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin is not read"):
        load_model(str(tmp_path))


def test_a_shape_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="must be a multiple"):
        Shape.parse({"width": 190, "heads": 4}, where="x")


def test_sizes_that_no_model_has_are_named(tmp_path):
    """Up to 2³¹, which is one more than the largest whole number of 32 bits."""
    path = tmp_path / "config.json"
    for value in (1 << 31, -(1 << 31), True, 0.5):
        folder._check_numbers(path, {"text": {"width": value}})
    for value in ((1 << 31) + 1, -(1 << 31) - 1):
        with pytest.raises(ConfigError, match=r"config\.json.*text\.width is .*, which no model has"):
            folder._check_numbers(path, {"text": {"width": value}})
