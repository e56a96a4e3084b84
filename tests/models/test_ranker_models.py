"""Scalar reward models and implicit rewards, against plain computations."""

import io
import json
import shutil
from logging import StreamHandler

import pytest
import torch
from transformers import MistralForSequenceClassification
from transformers.utils import logging

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.models.local import build_model, save_model, train_tokenizer
from notus.models.ranker import make_ranker
from notus.models.ranker_models import RewardEncoder
from notus.models.ranker_settings import Ranking
from notus.models.settings import Limits, Shape
from tests.models.pairrm_examples import TEXTS, user

SHAPE = Shape(vocabulary=300, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=512)
PROMPTS = [user("Name a river."), user("Why?"), user("None of these.")]
CANDIDATES = [["The Tana.", "No.", TEXTS[4]], ["", "Because it is so."], []]
LIMITS = Limits(max_length=400, max_prompt_length=200)


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
    encoder = RewardEncoder(tokenizer, Limits(max_length=16, max_prompt_length=8), tally)
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
    with pytest.raises(ConfigError, match="cannot load a reward model"):
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
