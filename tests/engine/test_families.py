"""Models of thirty families: log-probabilities of every engine are those of plain transformers with eager attention."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from notus.engine.attention import obstacle
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.logps import all_completion_logps
from notus.engine.pack import PromptGroup
from notus.engine.padded import answer_token_logps, pad
from tests.helpers.tiny_families import FAMILIES, VOCABULARY, tiny

DRAWN = random.Random(1)


def ids(length):
    return [DRAWN.randrange(3, VOCABULARY) for _ in range(length)]


GROUPS = [
    PromptGroup(ids(9), (ids(14), ids(4))),
    PromptGroup(ids(20), (ids(30),)),
    PromptGroup(ids(1), (ids(2), ids(40))),
]
ROWS = [(group.prompt, completion) for group in GROUPS for completion in group.completions]


def plainly(model):
    """Each row alone through transformers, with eager attention; one tensor for each row."""
    model.set_attn_implementation("eager")
    found = []
    with torch.no_grad():
        for prompt, answer in ROWS:
            scores = torch.log_softmax(model(torch.tensor([prompt + answer]), use_cache=False).logits[0].float(), -1)
            found.append(scores[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_plain_transformers(family):
    model = tiny(family)
    used = model.config._attn_implementation
    with torch.no_grad():
        padded = answer_token_logps(model, pad(ROWS, 0))[0]
    sums = [value for of in all_completion_logps(model, GROUPS, 64) for value in of]
    assert model.config._attn_implementation == used
    want = plainly(model)
    assert float(torch.cat(want).std()) > 0.05
    torch.testing.assert_close(padded, torch.cat(want), rtol=0, atol=1e-5)
    for got, tokens in zip(sums, want, strict=True):
        assert abs(got - float(tokens.double().sum())) < 1e-5 * len(tokens)


def test_which_families_are_packed():
    packed = {family for family in FAMILIES if obstacle(tiny(family), 64) is None}
    assert packed == {
        *("GPT-NeoX", "OLMo", "OLMo2", "Phi3", "Qwen3", "SmolLM3", "GLM", "Mixtral", "Qwen2-MoE", "Qwen3-MoE"),
    }


@pytest.mark.parametrize("family", ["Gemma2", "GPT-OSS", "Bloom", "Mamba"])
def test_a_model_with_eager_attention_only_is_loaded(family, tokenizer, tmp_path):
    save_model(tiny(family), tokenizer, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    assert load_tokenizer(str(tmp_path / "model")).chat_template
    assert model.config._attn_implementation == "eager"
    with torch.no_grad():
        got = answer_token_logps(model, pad(ROWS, 0))[0]
    want = plainly(AutoModelForCausalLM.from_pretrained(tmp_path / "model", attn_implementation="eager").eval())
    torch.testing.assert_close(got, torch.cat(want), rtol=0, atol=1e-5)
