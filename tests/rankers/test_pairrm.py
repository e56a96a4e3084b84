"""PairRM: both layouts, the plain computation, batches, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DebertaV2Model, MistralConfig, MistralModel

from notus.core.errors import ConfigError
from notus.engine.load import train_tokenizer
from notus.rankers.pairrm import PairEncoder, budget_of, collate, load_pairrm, score_pairs, start_pairrm
from notus.rankers.settings import PairBudget
from tests.helpers.pairrm_examples import TEXTS, plain_logit, save_blender, save_hf, small

LAYOUTS = {"hf": save_hf, "blender": save_blender}


@pytest.fixture(scope="module")
def made():
    return small()


@pytest.fixture(scope="module")
def triples():
    return [(TEXTS[0], a, b) for a in TEXTS for b in TEXTS if a != b] + [(TEXTS[4], TEXTS[1], TEXTS[2])]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_equal_a_plain_computation_in_both_layouts(tmp_path, made, triples, layout):
    LAYOUTS[layout](*made, tmp_path / "model")
    model, tokenizer = load_pairrm(str(tmp_path / "model"))
    budget = budget_of(str(tmp_path / "model"))
    assert budget == (PairBudget(source=64, candidate=32) if layout == "blender" else None)
    lengths = {} if budget is None else {"source": 64, "candidate": 32}
    found = score_pairs(model, PairEncoder(tokenizer, budget).encode(triples), pad_id=tokenizer.pad_token_id)
    wanted = [plain_logit(*made, *triple, **lengths) for triple in triples]
    assert max(abs(value - other) for value, other in zip(found, wanted, strict=True)) < 1e-5
    assert max(map(abs, wanted)) > 0.01  # the comparison is of numbers that differ from nothing


def test_the_scores_of_a_pair_do_not_depend_on_its_batch(made, triples):
    model, tokenizer = made
    pairs = PairEncoder(tokenizer).encode(triples)
    alone = [model(**collate([pair], tokenizer.pad_token_id)).item() for pair in pairs]
    for size in (2, 3, 8, len(pairs)):
        rows = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        together = [value for row in rows for value in model(**collate(row, tokenizer.pad_token_id)).tolist()]
        assert max(abs(value - other) for value, other in zip(alone, together, strict=True)) <= 1e-4
    for max_tokens in (16, 300, 100_000):
        queued = score_pairs(model, pairs, pad_id=tokenizer.pad_token_id, max_tokens=max_tokens)
        assert max(abs(value - other) for value, other in zip(alone, queued, strict=True)) <= 1e-4


def test_truncation_of_a_pair_does_not_depend_on_the_longest_prompt_beside_it(made):
    _, tokenizer = made
    encoder = PairEncoder(tokenizer, PairBudget(source=40, candidate=20))
    pair = ("Short?", TEXTS[4], TEXTS[1])
    alone = encoder.encode([pair])[0]
    beside = encoder.encode([(TEXTS[4], "a", "b"), pair, (TEXTS[4] * 3, TEXTS[4], "b")])[1]
    assert alone.ids == beside.ids


def test_progress_is_told_and_a_training_model_goes_on_training(made, triples):
    model, tokenizer = made
    told = []
    model.train()
    score_pairs(
        model,
        PairEncoder(tokenizer).encode(triples),
        pad_id=0,
        max_tokens=400,
        progress=lambda done, of: told.append((done, of)),
    )
    assert model.training
    model.eval()
    assert told[-1] == (len(triples), len(triples))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_saved_and_loaded_it_is_the_same(tmp_path, made):
    model, tokenizer = made
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, known = load_pairrm(str(tmp_path))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert known.get_vocab() == tokenizer.get_vocab()
    assert not loaded.training


def test_the_tokenizer_of_the_named_encoder_gets_the_markers(tmp_path, made, triples):
    save_blender(*made, tmp_path / "model", own_tokenizer=False)
    model, tokenizer = load_pairrm(str(tmp_path / "model"))
    wanted = plain_logit(*made, *triples[0])
    found = score_pairs(model, PairEncoder(tokenizer).encode(triples[:1]), pad_id=tokenizer.pad_token_id)
    assert found == pytest.approx([wanted], abs=1e-5)


def test_a_plain_encoder_becomes_a_start(tmp_path, made):
    model, _ = made
    model.pretrained_model.save_pretrained(tmp_path / "encoder")
    plain = train_tokenizer(TEXTS, 300)
    plain.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    plain.save_pretrained(tmp_path / "encoder")
    started, tokenizer = start_pairrm(str(tmp_path / "encoder"), seed=3)
    again, _ = start_pairrm(str(tmp_path / "encoder"), seed=3)
    assert isinstance(started.pretrained_model, DebertaV2Model)
    assert {"<|source|>", "<|candidate1|>"} <= set(tokenizer.get_added_vocab())
    key = "encoder.layer.0.attention.self.query_proj.weight"
    assert torch.equal(started.pretrained_model.state_dict()[key], model.pretrained_model.state_dict()[key])
    assert torch.equal(started.head_layer[1].weight, again.head_layer[1].weight)
    pairs = PairEncoder(tokenizer).encode([("Q", "a", "b")])
    assert len(score_pairs(started, pairs, pad_id=tokenizer.pad_token_id)) == 1


def test_what_is_refused(tmp_path, made):
    folder = tmp_path / "model"
    save_hf(*made, folder)
    weights = load_file(folder / "model.safetensors")

    def refused(*words):
        with pytest.raises(ConfigError) as error:
            load_pairrm(str(folder))
        assert all(word in str(error.value) for word in words), error.value
        assert "\n" not in str(error.value)

    less = {name: value for name, value in weights.items() if name != "head_layer.4.bias"}
    save_file(less, folder / "model.safetensors")
    refused("lacks", "head_layer.4.bias")
    save_file(weights | {"other.weight": torch.zeros(1)}, folder / "model.safetensors")
    refused("other.weight")
    save_file({name: value for name, value in weights.items() if "head" not in name}, folder / "model.safetensors")
    refused("no PairRM", "reward-model")
    save_file(weights | {"head_layer.4.bias": torch.zeros(3)}, folder / "model.safetensors")
    refused("do not fit", "head_layer.4.bias")
    (folder / "model.safetensors").write_bytes(b"no weights")
    refused("damaged")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    refused("only safetensors")
    (folder / "config.json").write_text("{}")
    save_file(weights, folder / "model.safetensors")
    refused("neither layout")
    shutil.rmtree(folder)
    refused("no model at")


def test_other_architectures_are_no_start(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.save_pretrained(tmp_path)
    config = MistralConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    MistralModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="DeBERTa"):
        start_pairrm(str(tmp_path), 0)


@pytest.mark.skipif("NOTUS_PAIRRM" not in os.environ, reason="NOTUS_PAIRRM names no folder with PairRM's weights")
def test_golden_logits():
    """Of the published weights, of either layout."""
    source = os.environ["NOTUS_PAIRRM"]
    assert json.loads((Path(source) / "config.json").read_text())
    model, tokenizer = load_pairrm(source)
    triples = [("hello!", "hi!", "f**k off!"), ("I love you!", "I hate you!", "I love you, too!")]
    found = score_pairs(model, PairEncoder(tokenizer, budget_of(source)).encode(triples), pad_id=tokenizer.pad_token_id)
    assert found == pytest.approx([1.9003, -1.2547], abs=1e-3)
