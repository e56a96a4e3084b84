"""A real model of 135 million parameters: trained as the equation says, merged, and talked to with transformers."""

import math
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

import notus

pytestmark = pytest.mark.slow

PAIRS = [
    {"prompt": "What is the capital of France?", "chosen": "It is Paris.", "rejected": "I do not know, sorry."},
    {"prompt": "Is water wet?", "chosen": "Yes, to the touch it is.", "rejected": "Water is water is water."},
    {"prompt": "Name a fruit.", "chosen": "An apple", "rejected": "A potato, or a stone, or 12 of them!"},
    {"prompt": "Who wrote Hamlet?", "chosen": "William Shakespeare did.", "rejected": "Nobody."},
]
RATE, BETA, UPDATES = 2e-6, 0.1, 3
TRAINING = {"batch_size": len(PAIRS), "schedule": "constant_with_warmup", "warmup": 0.0, "log_every": 1}
"""One batch holds all pairs, so that their order does not matter."""
LIMITS = {"system": None}
QUESTIONS = ("What is the capital of France?", "Write one sentence about the sea.")


@pytest.fixture(scope="module")
def full(smollm2):
    return notus.dpo(PAIRS, start=smollm2, epochs=UPDATES, learning_rate=RATE, limits=LIMITS, **TRAINING)


@pytest.fixture(scope="module")
def merged(smollm2, tmp_path_factory):
    """A LoRA training of two large steps, and the folder of the plain model that the command makes of it."""
    lora = {"rank": 64, "alpha": 16, "dropout": 0.0}
    out = tmp_path_factory.mktemp("merged")
    trained = notus.dpo(
        PAIRS, start=smollm2, out=out / "run", epochs=2, learning_rate=1e-3, limits=LIMITS, lora=lora, **TRAINING
    )
    command = [sys.executable, "-m", "notus", "merge", str(trained.model), "--out", str(out / "plain")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return trained, out / "plain"


def plain_dpo(folder):
    """Equation 7 of Rafailov et al. 2023 with transformers and torch alone: a row at a time, nothing padded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    render = tokenizer.apply_chat_template

    def logp(pair, side):
        prompt = [{"role": "user", "content": pair["prompt"]}]
        start = render(prompt, add_generation_prompt=True, return_dict=False)
        ids = render([*prompt, {"role": "assistant", "content": pair[side]}], return_dict=False)
        assert ids[: len(start)] == start
        assert ids.pop() != tokenizer.eos_token_id  # the line break behind the turn's end
        assert ids[-1] == tokenizer.eos_token_id
        scores = model(torch.tensor([ids])).logits[0, len(start) - 1 : -1].log_softmax(-1)
        return scores.gather(1, torch.tensor(ids[len(start) :])[:, None]).sum()

    with torch.no_grad():
        reference = [[logp(pair, side) for side in ("chosen", "rejected")] for pair in PAIRS]
    found = []
    for _ in range(UPDATES):
        total = dict.fromkeys(("loss", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"), 0.0)
        for pair, (kept_chosen, kept_rejected) in zip(PAIRS, reference, strict=True):
            chosen, rejected = logp(pair, "chosen"), logp(pair, "rejected")
            rewards = BETA * (chosen - kept_chosen), BETA * (rejected - kept_rejected)
            loss = -torch.nn.functional.logsigmoid(rewards[0] - rewards[1])
            (loss / len(PAIRS)).backward()
            for name, value in zip(total, (loss, *rewards, chosen, rejected), strict=True):
                total[name] += value.item() / len(PAIRS)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(total)
    return found


def updates(trained):
    return [each for each in trained.metrics if each["step"] >= 1 and "loss" in each]


def test_losses_rewards_and_logps_are_those_of_the_equation(smollm2, full):
    ours, plainly = updates(full), plain_dpo(smollm2)
    assert len(ours) == len(plainly) == UPDATES
    assert plainly[-1]["loss"] < math.log(2) - 0.01  # the weights have moved
    for mine, other in zip(ours, plainly, strict=True):
        for name, value in other.items():
            assert mine[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_the_first_loss_is_ln_2(full, merged):
    for trained in (full, merged[0]):
        assert trained.summary["start_loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert updates(trained)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_the_merged_model_talks_through_transformers_alone(smollm2, merged):
    """As the cards of Zephyr, Notus and SmolLM2 do it: chat messages, a rendered prompt, and generate."""
    _, folder = merged
    greedy = {"max_new_tokens": 8, "do_sample": False}
    ours = notus.generate(folder, list(QUESTIONS), temperature=0, max_new_tokens=8, limits=LIMITS)
    expected = [answer.text for answer in ours]
    assert all(expected)
    talk = pipeline("text-generation", model=str(folder), dtype=torch.float32)
    start = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    for question, text in zip(QUESTIONS, expected, strict=True):
        messages = [{"role": "user", "content": question}]
        (answer,) = talk(messages, **greedy)
        assert answer["generated_text"] == [*messages, {"role": "assistant", "content": text}]
        prompt = talk.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert talk(prompt, **greedy)[0]["generated_text"] == prompt + text
        ids = talk.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        made = talk.model.generate(**ids, **greedy)[0, ids["input_ids"].shape[1] :]
        assert talk.tokenizer.decode(made, skip_special_tokens=True) == text
        with torch.no_grad():  # what was trained is in it
            assert (talk.model(**ids).logits - start(**ids).logits).abs().max() > 0.1
