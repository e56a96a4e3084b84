"""Real trainings that are watched: what their metrics say of the machine, and that each warning comes where it should
and not where it should not."""

import json
import random

import pytest
import torch

from notus.core.records import Dialogue, Message, Preference
from notus.core.run import Run, observed_by, read_manifest
from notus.engine.load import build_model, load_model, save_model
from notus.engine.settings import Limits, Lora, Shape
from notus.train.losses.margin import Sigmoid
from notus.train.ranker import train_ranker
from notus.train.ranker_settings import RankerTraining
from notus.train.run import watch
from notus.train.run.policy import train_dpo, train_sft
from notus.train.run.watch import flops_per_token, matmul_peak
from notus.train.settings import Training

LIMITS = Limits(max_length=96, max_prompt_length=48)
WORDS = ["hot", "cold", "big", "small", "old", "young", "wet", "dry", "up", "down", "opposite", "this", "number"]
WORDS += ["hope", "helps"]


def turn(role, text):
    return (Message(role=role, content=text),)


def pair(prompt, chosen, rejected):
    sides = (turn("assistant", text) for text in (chosen, rejected))
    return Preference(prompt=turn("user", f"{prompt}?"), chosen=next(sides), rejected=next(sides))


def words(drawn, fewest, most=None):
    return " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(fewest, most or fewest)))


def noisy_pairs(count=160):
    """Pairs of which four in five can be told apart by a word, and length says nothing."""
    drawn = random.Random(0)
    return [
        pair(words(drawn, 4), "hope " * (drawn.random() > 0.2) + words(drawn, 2, 8), words(drawn, 2, 8))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def start(model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    save_model(model, tokenizer, folder / "start")
    return str(folder / "start")


@pytest.fixture
def dpo(start, tmp_path):
    def train(preferences, *, reference=None, beta=0.1, start=start, out="run", **changes):
        settings = {"batch_size": 8, "learning_rate": 1e-3, "log_every": 1, "limits": LIMITS, **changes}
        with Run(tmp_path / out, stage="dpo", config={}, inputs={}) as run:
            objective = Sigmoid(beta=beta)
            common = {"start": start, "reference": reference, "held_out": (), "seed": 0}
            train_dpo(run, Training(**settings), objective=objective, preferences=preferences, **common)
        return found(run.path)

    return train


def found(path):
    return {each["check"]: each for each in read_manifest(path)["summary"].get("health", ())}


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_healthy_training_is_told_nothing_and_its_speed_is(dpo, tmp_path):
    moments = []
    with observed_by(moments.append):
        assert dpo(noisy_pairs(), learning_rate=3e-3, epochs=2) == {}
    rates = [line for line in lines(tmp_path / "run") if "loss" in line and line["step"]]
    assert all(line["pairs_per_second"] > 0 for line in rates)
    assert all(line["tokens_per_second"] > 8 * line["pairs_per_second"] for line in rates)
    assert all(2**26 < line["memory_bytes"] < 2**36 for line in rates)
    assert "peak_share" not in rates[-1]  # so short a run does not wait for the peak to be measured
    assert (moments[-1].done, moments[-1].of, moments[-1].unit) == (40, 40, "pairs")
    assert moments[-1].loss == pytest.approx(rates[-1]["loss"], rel=1e-4)


def test_the_share_of_peak_is_that_of_a_product_of_matrices(dpo, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "_PEAK_AFTER", 0.0)
    dpo(noisy_pairs(16), warmup=0.0)
    shares = [line["peak_share"] for line in lines(tmp_path / "run") if line.get("peak_share")]
    assert len(shares) == 2
    assert all(0 < share < 1 for share in shares)
    state = torch.random.get_rng_state()
    assert matmul_peak("cpu", torch.float64, 99) > 1e7
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing was drawn


def test_the_work_of_a_token_is_six_or_four_times_the_weights(model, start):
    from notus.engine.adapters import add_adapter

    layers = sum(each.numel() for name, each in model.named_parameters() if "proj" in name)
    head = model.get_output_embeddings().weight.numel()
    assert flops_per_token(model) == (6 * layers, 6 * head, 2 * layers)
    adapted = add_adapter(load_model(start), Lora(rank=2), 0)
    extra = sum(each.numel() for name, each in adapted.named_parameters() if "lora" in name)
    assert flops_per_token(adapted) == (4 * (layers + extra), 4 * head, 2 * (layers + extra))
    adapted.get_base_model().config.num_local_experts = 8
    assert flops_per_token(adapted) is None


def test_a_learning_rate_that_is_too_small(dpo):
    health = dpo(noisy_pairs(), learning_rate=1e-6)
    assert list(health) == ["hardly-moved"]
    assert "1e-06" in health["hardly-moved"]["means"]


def test_a_reference_that_is_not_the_start(dpo, tokenizer, tmp_path):
    shape = Shape(vocabulary=400, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=512)
    save_model(build_model(shape, tokenizer, 1), tokenizer, tmp_path / "other")
    health = dpo(noisy_pairs(16), reference=str(tmp_path / "other"), warmup=0.0)
    assert list(health) == ["reference-differs"]
    assert "reference is not the policy" in (tmp_path / "run" / "log.txt").read_text()


def test_prompts_that_do_not_fit(dpo):
    health = dpo(noisy_pairs(16), limits=Limits(max_length=96, max_prompt_length=8), warmup=0.0)
    assert list(health) == ["mostly-cut"]
    assert "32 of 32 prompts" in health["mostly-cut"]["said"]


@pytest.mark.slow
def test_gradients_that_are_always_clipped(dpo):
    assert list(dpo(noisy_pairs(), learning_rate=3e-3, epochs=2, max_grad_norm=1e-3)) == ["always-clipped"]


@pytest.mark.slow
def test_pairs_that_a_word_tells_apart(dpo):
    drawn = random.Random(0)
    easy = [pair(words(drawn, 4), "hot " * drawn.randint(2, 5), "young " * drawn.randint(2, 5)) for _ in range(400)]
    assert "solved-early" in dpo(easy, learning_rate=3e-3, warmup=0.02)


@pytest.mark.slow
def test_pairs_of_which_the_longer_one_is_chosen(dpo):
    drawn = random.Random(0)
    longer = [pair(words(drawn, 4), words(drawn, 6, 16), words(drawn, 1, 5)) for _ in range(80)]
    mixed = [pair(one.prompt[0].content, one.rejected[0].content, one.chosen[0].content) for one in longer[::4]]
    health = dpo([*mixed, *longer[1::4], *longer[2::4], *longer[3::4]], epochs=2, learning_rate=3e-3)
    assert "longer" in health["length"]["means"]


@pytest.mark.slow
def test_rows_that_only_memory_can_tell(dpo, tokenizer, tmp_path):
    """Each answer is a token that stands in no other pair: what is learnt on one pair helps no other."""
    shape = Shape(vocabulary=400, width=128, layers=2, heads=4, kv_heads=2, ffn=256, positions=512)
    save_model(build_model(shape, tokenizer, 0), tokenizer, tmp_path / "wide")
    texts = (tokenizer.decode([token]) for token in range(len(tokenizer)))
    single = [
        text for text in texts if text.isalnum() and len(tokenizer(text, add_special_tokens=False).input_ids) == 1
    ]
    unlike = [pair("hot", *both) for both in zip(single[::2], single[1::2], strict=False)]
    assert len(unlike) > 40
    settings = {"batch_size": 2, "beta": 0.5, "schedule": "constant_with_warmup", "warmup": 0.02}
    health = dpo(unlike, start=str(tmp_path / "wide"), epochs=3, **settings)
    assert "at the start of epoch 2" in health["memorises"]["said"]
    alike = [pair("hot", *both) for both in zip(["cold"] * len(unlike), ["big"] * len(unlike), strict=True)]
    assert "memorises" not in dpo(alike, start=str(tmp_path / "wide"), out="alike", epochs=3, **settings)


@pytest.mark.slow
def test_answers_that_become_less_likely(dpo, start, tmp_path):
    """A model that writes words well is pushed hard by labels of chance: it loses both answers."""
    drawn = random.Random(0)
    talks = [
        Dialogue(messages=(*turn("user", words(drawn, 4)), *turn("assistant", words(drawn, 8)))) for _ in range(160)
    ]
    with Run(tmp_path / "sft", stage="sft", config={}, inputs={}) as run:
        settings = Training(batch_size=8, learning_rate=1e-2, epochs=4, log_every=1, limits=LIMITS)
        train_sft(run, settings, start=start, dialogues=talks, held_out=(), seed=0)
    assert found(run.path) == {}
    chance = [pair(words(drawn, 4), words(drawn, 8), words(drawn, 8)) for _ in range(80)]
    health = dpo(chance, start=str(tmp_path / "sft" / "model"), epochs=2, learning_rate=1e-2, warmup=0.02)
    assert "both rewards fall" in health["rewards-fall"]["said"]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "expected"), [(1e-5, ["hardly-moved"]), (3e-3, [])])
def test_a_ranker_of_random_weights(tmp_path, rate, expected):
    shape = Shape(vocabulary=400, width=32, layers=1, heads=4, kv_heads=2, ffn=64, positions=96)
    settings = RankerTraining(
        batch_size=8, learning_rate=rate, log_every=1, max_grad_norm=10.0, limits=LIMITS, shape=shape
    )
    with Run(tmp_path / "ranker", stage="train-ranker", config={}, inputs={}) as run:
        train_ranker(run, settings, start=None, preferences=noisy_pairs(), held_out=(), seed=0)
    assert list(found(run.path)) == expected
