"""Scalar reward models and implicit rewards, against plain computations."""

import io
import json
import shutil
from logging import StreamHandler

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralForSequenceClassification,
)
from transformers.utils import logging

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Limits, Shape
from notus.rankers.make import make_ranker
from notus.rankers.reward import ImplicitRanker, RewardEncoder
from notus.rankers.settings import Ranking
from tests.helpers.families import FAMILIES, save_family_model
from tests.helpers.pairrm_examples import TEXTS, user

SHAPE = Shape(vocabulary=300, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=512)
PROMPTS = [user("Name a river."), user("Why?"), user("None of these.")]
CANDIDATES = [["The Tana.", "No.", TEXTS[4]], ["", "Because it is so."], []]
LIMITS = Limits(max_length=400, max_prompt_length=200, system="")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


@pytest.fixture(scope="module")
def policies(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("policies")
    for seed, name in enumerate(("policy", "reference")):
        save_model(build_model(SHAPE, tokenizer, seed), tokenizer, folder / name)
    return folder


@pytest.fixture(scope="module")
def reward(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("rewards") / "reward"
    config = build_model(SHAPE, tokenizer, 0).config
    config.num_labels = 1
    torch.manual_seed(4)
    model = MistralForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=1.0)
    save_model(model, tokenizer, folder)
    return folder


def rendered(tokenizer, prompt, answer):
    turns = [{"role": "system", "content": ""}, *({"role": m.role, "content": m.content} for m in prompt)]
    turns.append({"role": "assistant", "content": answer})
    return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)


def test_a_reward_model_scores_each_answer_at_its_end(reward, tokenizer):
    model = MistralForSequenceClassification.from_pretrained(reward).eval()
    told = []
    ranker = make_ranker(
        f"reward-model:{reward}", Ranking(limits=LIMITS, max_tokens=200), progress=lambda *done: told.append(done)
    )
    scores = ranker.rank(PROMPTS, CANDIDATES)
    assert [len(own) for own in scores] == [3, 2, 0]
    for prompt, answers, own in zip(PROMPTS, CANDIDATES, scores, strict=True):
        for answer, score in zip(answers, own, strict=True):
            row = torch.tensor([rendered(tokenizer, prompt, answer)])
            with torch.no_grad():
                hidden = model.model(row).last_hidden_state[0, -1]
                wanted = model.score.weight[0] @ hidden
            assert score == pytest.approx(float(wanted), abs=1e-5)
    assert told[-1] == (5, 5)
    assert len({round(score, 4) for own in scores for score in own}) == 5


def test_long_examples_keep_their_end_and_typed_control_tokens_are_text(tokenizer):
    tally = Tally("encode")
    encoder = RewardEncoder(tokenizer, Limits(max_length=16, max_prompt_length=8, system=""), tally)
    (ids,) = encoder.examples([(user("word " * 40), "The end.")])
    assert ids == rendered(tokenizer, user("word " * 40), "The end.")[-16:]
    assert tally.counts["example-cut"] == 1
    free = RewardEncoder(tokenizer, LIMITS)
    odd, usual = free.examples([(user("a</s><|user|>b"), "x"), (user("a"), "x")])
    ends = tokenizer.eos_token_id
    assert odd.count(ends) == usual.count(ends) == 3


def test_what_is_no_reward_model_is_refused(policies, reward, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match=r"no reward model.*score"):
        make_ranker(f"reward-model:{policies / 'policy'}")
    shutil.copytree(reward, tmp_path / "wider")
    config = json.loads((reward / "config.json").read_text())
    (tmp_path / "wider" / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
    with pytest.raises(ConfigError, match=r"do not fit its config"):
        make_ranker(f"reward-model:{tmp_path / 'wider'}")
    shutil.copytree(reward, tmp_path / "cut")
    whole = (reward / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"is not read|cannot use|has no weights"):
        make_ranker(f"reward-model:{tmp_path / 'cut'}")
    config = build_model(SHAPE, tokenizer, 0).config
    config.num_labels = 3
    save_model(MistralForSequenceClassification(config), tokenizer, tmp_path / "three")
    with pytest.raises(ConfigError, match="3 labels"):
        make_ranker(f"reward-model:{tmp_path / 'three'}")
    with pytest.raises(ConfigError, match="no model at"):
        make_ranker(f"reward-model:{tmp_path / 'nowhere' / 'at all'}")


def test_transformers_reports_nothing_beside_our_line(policies):
    said, before = io.StringIO(), logging.get_verbosity()
    handler = StreamHandler(said)
    logging.add_handler(handler)
    logging.set_verbosity_warning()
    try:
        with pytest.raises(ConfigError, match="no reward model"):
            make_ranker(f"reward-model:{policies / 'policy'}")
        assert said.getvalue() == ""
        assert logging.get_verbosity() == logging.WARNING
    finally:
        logging.set_verbosity(before)
        logging.remove_handler(handler)


def test_the_implicit_reward_is_the_difference_of_log_probabilities(policies, tokenizer):
    policy, reference = (build_model(SHAPE, tokenizer, seed).eval() for seed in (0, 1))
    source = f"implicit:{policies / 'policy'}@{policies / 'reference'}"
    scores = make_ranker(source, Ranking(limits=LIMITS)).rank(PROMPTS, CANDIDATES)

    def logp(model, prompt, answer):
        turns = [{"role": "system", "content": ""}, *({"role": m.role, "content": m.content} for m in prompt)]
        head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
        tail = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
        return sum(float(logits[len(head) + t - 1, token]) for t, token in enumerate(tail))

    assert [len(own) for own in scores] == [3, 2, 0]
    for prompt, answers, own in zip(PROMPTS, CANDIDATES, scores, strict=True):
        wanted = [logp(policy, prompt, answer) - logp(reference, prompt, answer) for answer in answers]
        assert own == pytest.approx(wanted, abs=2e-4)


def test_the_padded_way_gives_the_same_implicit_reward(policies):
    places = str(policies / "policy"), str(policies / "reference")
    packed, padded = (
        ImplicitRanker(*places, Ranking(limits=LIMITS), Tally("t"), padded=way).rank(PROMPTS, CANDIDATES)
        for way in (False, True)
    )
    assert [len(own) for own in padded] == [3, 2, 0]
    for one, other in zip(packed, padded, strict=True):
        assert one == pytest.approx(other, abs=2e-4)


def test_a_policy_against_itself_prefers_nothing(policies):
    source = f"implicit:{policies / 'policy'}@{policies / 'policy'}"
    assert make_ranker(source, Ranking(limits=LIMITS)).rank(PROMPTS, CANDIDATES) == [[0.0] * 3, [0.0] * 2, []]


def test_prompts_of_several_turns(reward, tokenizer):
    talk = tuple(
        Message(role=role, content=text) for role, text in [("user", "Hi"), ("assistant", "Hello."), ("user", "So?")]
    )
    (ids,) = RewardEncoder(tokenizer, LIMITS).examples([(talk, "So.")])
    assert ids == rendered(tokenizer, talk, "So.")
    assert len(make_ranker(f"reward-model:{reward}").rank([talk], [["So."]])[0]) == 1


FAMILY_REWARDS = {
    "zephyr": {},
    "llama3": {"pad_token_id": None},
    "mistral2": {"pad_token_id": None},
    "phi3": {},
    "qwen2": {"pad_token_id": None},
    "r1": {},
    "gemma3": {},
    "command-r": {},
}
"""Families whose padding token is the end of a text, another one, or none in the model's config."""


@pytest.mark.parametrize("name", FAMILY_REWARDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_those_that_transformers_gives_each_row_alone(name, side, tmp_path):
    save_family_model(name, tmp_path, LlamaForSequenceClassification, num_labels=1, **FAMILY_REWARDS[name])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.padding_side = side
    tokenizer.save_pretrained(tmp_path)
    model = LlamaForSequenceClassification.from_pretrained(tmp_path).eval()
    scores = make_ranker(f"reward-model:{tmp_path}", Ranking(max_tokens=300)).rank(PROMPTS, CANDIDATES)
    for prompt, answers, own in zip(PROMPTS, CANDIDATES, scores, strict=True):
        for answer, score in zip(answers, own, strict=True):
            turns = [{"role": m.role, "content": m.content} for m in prompt]
            turns.append({"role": "assistant", "content": answer})
            row = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
            with torch.no_grad():
                wanted = model(row, attention_mask=torch.ones_like(row)).logits.item()
            assert score == pytest.approx(wanted, abs=1e-5)
    assert len({round(score, 4) for own in scores for score in own}) == 5
    assert model.config.pad_token_id == FAMILY_REWARDS[name].get("pad_token_id", tokenizer.pad_token_id)


@pytest.mark.parametrize("name", ["llama2", "mistral3", "gemma3", "qwen3", "llama3"])
def test_implicit_rewards_are_of_transformers_own_ids(name, tmp_path):
    for seed in (0, 1):
        save_family_model(name, tmp_path / str(seed), initializer_range=0.02 + 0.2 * seed)
    source = f"implicit:{tmp_path / '0'}@{tmp_path / '1'}"
    scores = make_ranker(source, Ranking()).rank(PROMPTS, CANDIDATES)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "0")
    models = [LlamaForCausalLM.from_pretrained(tmp_path / str(seed)).eval() for seed in (0, 1)]
    end = tokenizer.convert_tokens_to_ids(FAMILIES[name].end)

    def logp(model, prompt, answer):
        turns = [{"role": m.role, "content": m.content} for m in prompt]
        head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": answer}], return_dict=False)
        assert whole[: len(head)] == head
        whole = whole[: len(whole) - whole[::-1].index(end)]
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        return sum(float(logits[t - 1, whole[t]]) for t in range(len(head), len(whole)))

    for prompt, answers, own in zip(PROMPTS, CANDIDATES, scores, strict=True):
        wanted = [logp(models[0], prompt, answer) - logp(models[1], prompt, answer) for answer in answers]
        assert own == pytest.approx(wanted, abs=2e-4)
