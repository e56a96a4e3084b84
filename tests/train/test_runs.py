import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from notus.core.errors import ConfigError, DataError, RunError
from notus.core.records import Message, Preference
from notus.core.run import Run, read_manifest
from notus.models.local import load_model, load_tokenizer, save_model
from notus.models.padded import pad
from notus.models.settings import Limits
from notus.models.tokens import Encoder
from notus.train.runs import encode_pairs, train_dpo, train_sft
from notus.train.settings import Training

LIMITS = Limits(max_length=96, max_prompt_length=48)
WORDS = [("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("up", "down")]


def turn(role, text):
    return (Message(role=role, content=text),)


DIALOGUES = [(*turn("user", f"{a}?"), *turn("assistant", f"{b}." * n)) for n, (a, b) in enumerate(WORDS * 4, 1)]
PREFERENCES = [
    Preference(prompt=turn("user", f"{a}?"), chosen=turn("assistant", f"{b}."), rejected=turn("assistant", "no idea!"))
    for a, b in WORDS
] * 4


@pytest.fixture
def start(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "start")
    return str(tmp_path / "start")


def settings(**changes):
    return Training(**{"batch_size": 8, "learning_rate": 3e-3, "log_every": 1, "limits": LIMITS, **changes})


def dpo(path, start, preferences=PREFERENCES, held_out=(), beta=0.1, seed=0, **changes):
    with Run(path, stage="dpo", config={}, inputs={}) as run:
        train_dpo(
            run,
            settings(**changes),
            beta=beta,
            start=start,
            preferences=preferences,
            held_out=held_out,
            seed=seed,
        )
    return load_file(path / "model" / "model.safetensors")


def sft(path, start, **changes):
    with Run(path, stage="sft", config={}, inputs={}) as run:
        train_sft(run, settings(**changes), start=start, dialogues=DIALOGUES, held_out=DIALOGUES[:5], seed=0)
    return load_file(path / "model" / "model.safetensors")


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_sft_learns_and_tells_how(start, tmp_path):
    sft(tmp_path / "run", start, epochs=8, learning_rate=1e-2)
    logged = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert logged[-1]["loss"] < logged[0]["loss"] / 2
    summary = read_manifest(tmp_path / "run")["summary"]
    assert (summary["rows"], summary["held_out_rows"], summary["updates"]) == (20, 5, 24)
    assert summary["eval_loss"] < logged[0]["loss"] / 2
    assert logged[-1]["steps"] == 24


def test_the_sft_loss_is_the_mean_over_answer_tokens(start, tmp_path):
    model, encoder = load_model(start), Encoder(load_tokenizer(start), LIMITS)
    examples = encoder.examples((dialogue[:-1], dialogue[-1].content) for dialogue in DIALOGUES)
    batch = pad(examples, encoder.tokenizer.pad_token_id)
    with torch.no_grad():
        by_transformers = model(**batch).loss
    sft(tmp_path / "run", start, batch_size=20, warmup=0.0)
    assert lines(tmp_path / "run")[0]["loss"] == pytest.approx(float(by_transformers), abs=1e-5)


def test_dpo_starts_at_ln_2_and_widens_the_margin(start, tmp_path):
    dpo(tmp_path / "run", start, held_out=PREFERENCES[:5], epochs=4)
    first, *rest = lines(tmp_path / "run")
    assert first["step"] == 0
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)
    last = [line for line in rest if "rewards/margins" in line][-1]
    assert last["rewards/margins"] > 0.05
    assert last["rewards/accuracies"] == 1
    assert last["lengths/chosen"] < last["lengths/rejected"]
    summary = read_manifest(tmp_path / "run")["summary"]
    assert summary["eval_rewards/accuracies"] == 1
    assert summary["held_out_rows"] == 5


def test_the_same_seed_gives_the_same_bits(start, tmp_path):
    first, again, other = (dpo(tmp_path / name, start, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("train", [dpo, sft])
@pytest.mark.parametrize("micro", [1, 3, 4])
def test_the_split_into_micro_batches_changes_nothing(start, tmp_path, train, micro):
    """One update over all rows, whose answers differ in length; 3 leaves a smaller last micro-batch."""
    rows = {"batch_size": 21 if micro == 3 else 20, "warmup": 0.0, "learning_rate": 1e-3}
    whole = train(tmp_path / "whole", start, **rows)
    split = train(tmp_path / "split", start, **rows, micro_batch_size=micro)
    before = load_file(Path(start) / "model.safetensors")
    assert max(float((whole[key] - before[key]).abs().max()) for key in whole) > 5e-4
    assert all(torch.allclose(whole[key], split[key], atol=2e-5) for key in whole)


@pytest.mark.parametrize("train", [dpo, sft])
def test_bfloat16_is_another_precision_and_starts_at_ln_2(start, tmp_path, train):
    full = train(tmp_path / "full", start)
    half = train(tmp_path / "half", start, precision="bfloat16")
    assert any(not torch.equal(full[key], half[key]) for key in full)
    if train is dpo:
        assert lines(tmp_path / "half")[0]["loss"] == pytest.approx(math.log(2), abs=2e-3)


def test_an_update_that_would_do_nothing_is_refused(start, tmp_path):
    with pytest.raises(ConfigError, match="warmup 0.1 of 1 update leaves none"):
        dpo(tmp_path / "run", start, batch_size=20)


def test_an_unknown_tracker_is_named(start, tmp_path):
    with pytest.raises(ConfigError, match="'wandbx'"):
        dpo(tmp_path / "run", start, report_to=("wandbx",))


def test_a_tie_counts_half(start, tmp_path):
    same = [Preference(prompt=p.prompt, chosen=p.chosen, rejected=p.chosen) for p in PREFERENCES]
    dpo(tmp_path / "run", start, preferences=same)
    assert {line["rewards/accuracies"] for line in lines(tmp_path / "run") if "rewards/accuracies" in line} == {0.5}


def test_encode_pairs_shares_the_prompt(start):
    encoder = Encoder(load_tokenizer(start), LIMITS)
    pair = encode_pairs(encoder, PREFERENCES[:1])[0]
    assert pair.chosen[0] == pair.rejected[0]
    assert pair.chosen[1] != pair.rejected[1]


def test_nothing_to_train_on_is_said(start, tmp_path):
    with pytest.raises(DataError, match="no preference"):
        dpo(tmp_path / "run", start, preferences=[])


def test_too_long_for_the_model_is_said(start, tmp_path):
    with pytest.raises(DataError, match="above the 128 positions"):
        dpo(tmp_path / "run", start, limits=Limits(max_length=256, max_prompt_length=64))


def test_a_loss_that_breaks_is_an_error_not_a_model(start, tmp_path):
    with pytest.raises(RunError, match="lower learning_rate"):
        dpo(tmp_path / "run", start, learning_rate=1e9, epochs=3, beta=5)
    assert not (tmp_path / "run" / "manifest.json").exists()
