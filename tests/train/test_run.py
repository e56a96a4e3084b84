import json
import math
from itertools import combinations, pairwise
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from notus.core.errors import ConfigError, DataError, RunError
from notus.core.records import Dialogue, Message, Preference, Unpaired
from notus.core.run import Run, read_manifest
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.padded import pad
from notus.engine.settings import Limits, Lora
from notus.engine.text.encoder import Encoder
from notus.train.batches import all_sums
from notus.train.losses.margin import Sigmoid
from notus.train.losses.objective import read_loss
from notus.train.losses.unpaired import BcoUnpaired, Kto
from notus.train.losses.weighting import Wpo
from notus.train.run import policy as runs
from notus.train.run.policy import encode_pairs, train_dpo, train_sft, train_unpaired
from notus.train.settings import PreferenceTraining, Training

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


def dpo(path, start, preferences=PREFERENCES, held_out=(), loss=None, seed=0, weighting=None, **changes):
    with Run(path, stage="dpo", config={}, inputs={}) as run:
        train_dpo(
            run,
            settings(**changes),
            objective=loss or Sigmoid(beta=0.1),
            start=start,
            preferences=preferences,
            held_out=held_out,
            seed=seed,
            weighting=weighting,
        )
    return weights(path)


def unpaired(path, start, rows=PREFERENCES, held_out=(), loss=None, seed=0, **changes):
    with Run(path, stage="dpo", config={}, inputs={}) as run:
        train_unpaired(
            run, settings(**changes), objective=loss or Kto(), start=start, rows=rows, held_out=held_out, seed=seed
        )
    return weights(path)


def weights(path):
    name = "adapter_model" if (path / "model" / "adapter_config.json").is_file() else "model"
    return load_file(path / "model" / f"{name}.safetensors")


def sft(path, start, **changes):
    with Run(path, stage="sft", config={}, inputs={}) as run:
        train_sft(
            run, settings(**changes), start=start, dialogues=talks(DIALOGUES), held_out=talks(DIALOGUES[:5]), seed=0
        )
    return load_file(path / "model" / "model.safetensors")


def talks(conversations):
    return [Dialogue(messages=messages) for messages in conversations]


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


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        # Ten updates, two of them warm-up. Linear: down by an eighth each. Cosine: (1 + cos(π k/8))/2.
        ("linear", [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0, 0.5, 1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]),
        ("constant_with_warmup", [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule, shares, start, tmp_path):
    sft(tmp_path / "run", start, batch_size=4, epochs=2, warmup=0.2, learning_rate=1e-3, schedule=schedule)
    rates = [line["learning_rate"] for line in lines(tmp_path / "run") if "learning_rate" in line]
    assert rates == pytest.approx([1e-3 * share for share in shares], abs=1e-9)


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


SPLITS = [
    {"engine": "padded", "micro_batch_size": 1},
    {"engine": "padded", "micro_batch_size": 3},  # which leaves a smaller last one
    {"max_tokens": 64},
    {"max_tokens": 200},
    {"share_prompts": False},
    {"activation_checkpointing": True},
]


@pytest.mark.parametrize("train", [dpo, sft, unpaired])
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_engines_and_splits_compute_the_same(start, tmp_path, train, split):
    """One update over all rows, whose answers differ in length, in one padded forward pass and in many of each kind."""
    rows = {"batch_size": 40, "warmup": 0.0, "learning_rate": 1e-3}
    whole = train(tmp_path / "whole", start, **rows, engine="padded")
    split = train(tmp_path / "split", start, **rows, **split)
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
    with pytest.raises(ConfigError, match=r"warmup 0\.1 of 1 update leaves none"):
        dpo(tmp_path / "run", start, batch_size=20)


@pytest.mark.parametrize("engine", ["packed", "padded"])
@pytest.mark.parametrize(
    "loss",
    [
        {"name": "ipo_mean"},
        {"name": "simpo"},
        {"name": "ld_dpo"},
        {"name": "bco"},
        {"name": "margin"},
        {"name": "aot"},
        {"name": "nll", "mean_over": "tokens"},
        [{"weight": 1.0, "loss": {"name": "sigmoid"}}, {"weight": 0.5, "loss": {"name": "nll"}}],
    ],
    ids=str,
)
def test_losses_train_the_same_in_both_engines(start, tmp_path, engine, loss):
    """Several updates on both engines end near each other, and away from the start."""
    objective = PreferenceTraining.parse({"loss": loss}, where="x").loss
    scored = [
        msgspec.structs.replace(p, score_chosen=5.0, score_rejected=float(n % 3)) for n, p in enumerate(PREFERENCES)
    ]
    found = dpo(tmp_path / "run", start, preferences=scored, loss=objective, engine=engine, learning_rate=1e-3)
    other = "padded" if engine == "packed" else "packed"
    twin = dpo(tmp_path / "twin", start, preferences=scored, loss=objective, engine=other, learning_rate=1e-3)
    before = load_file(Path(start) / "model.safetensors")
    assert max(float((found[key] - before[key]).abs().max()) for key in found) > 5e-4
    assert all(torch.allclose(found[key], twin[key], atol=3e-4) for key in found)


def test_wpo_trains_the_same_in_both_engines_and_logs_its_weights(start, tmp_path):
    fixed = {"weighting": Wpo(), "learning_rate": 1e-3, "held_out": PREFERENCES[:5]}
    packed = dpo(tmp_path / "packed", start, **fixed)
    padded = dpo(tmp_path / "padded", start, engine="padded", **fixed)
    plain = dpo(tmp_path / "plain", start, learning_rate=1e-3)
    assert all(torch.allclose(packed[key], padded[key], atol=3e-4) for key in packed)
    assert any(not torch.equal(packed[key], plain[key]) for key in packed)
    logged = [line["weights"] for line in lines(tmp_path / "packed") if "weights" in line]
    assert len(logged) > 1
    assert all(0 < weight <= 1 for weight in logged)
    assert 0 < read_manifest(tmp_path / "packed")["summary"]["eval_weights"] <= 1


def test_a_loss_of_the_users_trains(start, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\ndef mine(pairs, *, beta=0.1):\n"
        "    return torch.nn.functional.softplus(-beta * pairs.ratio_gaps)\n"
    )
    config = PreferenceTraining.parse({"loss": f"python:{tmp_path}/mine.py:mine"}, where="x")
    mine = dpo(tmp_path / "mine", start, loss=config.loss)
    ours = dpo(tmp_path / "ours", start, loss=Sigmoid(beta=0.1))
    assert all(torch.allclose(mine[key], ours[key], atol=1e-6) for key in mine)


def test_a_loss_that_needs_scores_says_so(start, tmp_path):
    with pytest.raises(DataError, match="needs the scores"):
        dpo(tmp_path / "run", start, loss=read_loss("margin"))


def test_an_option_that_a_loss_does_not_use_is_an_error():
    with pytest.raises(ConfigError, match="has no option 'label_smoothing'"):
        PreferenceTraining.parse({"loss": {"name": "sigmoid", "label_smoothing": 0.1}}, where="x")


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_lora_starts_at_ln_2_learns_and_is_small(start, tmp_path, engine):
    found = dpo(tmp_path / "run", start, engine=engine, epochs=4, lora=Lora(rank=4, dropout=0.0), learning_rate=1e-2)
    first, *rest = lines(tmp_path / "run")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert [line for line in rest if "rewards/margins" in line][-1]["rewards/margins"] > 0.05
    assert all("lora" in key for key in found)
    again = dpo(tmp_path / "on", str(tmp_path / "run" / "model"), engine=engine)
    assert lines(tmp_path / "on")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert again.keys() == found.keys()


def test_the_reference_is_computed_once_for_all_that_share_it(start, tmp_path, monkeypatch):
    computed = []
    monkeypatch.setattr(runs, "all_sums", lambda *a, **k: computed.append(1) or all_sums(*a, **k))
    for name in ("a", "b"):
        dpo(tmp_path / "steps" / name, start, seed=len(computed))
    assert len(computed) == 1
    assert len(list((tmp_path / "references").iterdir())) == 1
    dpo(tmp_path / "steps" / "c", start, preferences=PREFERENCES[:3] * 3)
    assert len(computed) == 2


def test_a_reference_of_something_else_is_refused(start, tmp_path):
    dpo(tmp_path / "steps" / "a", start)
    dpo(tmp_path / "steps" / "b", start, preferences=PREFERENCES[:3] * 3)
    kept = {path.stat().st_size: path for path in (tmp_path / "references").iterdir()}
    smaller, larger = kept[min(kept)], kept[max(kept)]
    larger.write_bytes(smaller.read_bytes())
    with pytest.raises(RunError, match="reference of another"):
        dpo(tmp_path / "steps" / "c", start)


def test_the_self_check_passes_and_can_fail(start, tmp_path, monkeypatch):
    dpo(tmp_path / "run", start, self_check=True)
    shifted = lambda model, groups, settings, pad_id: [  # noqa: E731
        tuple(v + (settings.engine == "packed") * 0.5 for v in of) for of in all_sums(model, groups, settings, pad_id)
    ]
    monkeypatch.setattr(runs, "all_sums", shifted)
    with pytest.raises(RunError, match="set engine: padded"):
        dpo(
            tmp_path / "again",
            start,
            self_check=True,
            loss=read_loss("simpo"),
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"micro_batch_size": 2}, "micro_batch_size belongs to"),
        ({"engine": "padded", "max_tokens": 100, "micro_batch_size": 2}, "both say how a batch is split"),
        ({"engine": "padded", "self_check": True}, "self_check belongs to"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Training.parse(settings, where="x")


def test_a_tie_counts_half(start, tmp_path):
    same = [Preference(prompt=p.prompt, chosen=p.chosen, rejected=p.chosen) for p in PREFERENCES]
    dpo(tmp_path / "run", start, preferences=same)
    assert {line["rewards/accuracies"] for line in lines(tmp_path / "run") if "rewards/accuracies" in line} == {0.5}


def test_encode_pairs_shares_the_prompt(start):
    encoder = Encoder(load_tokenizer(start), LIMITS)
    pair = encode_pairs(encoder, PREFERENCES[:1])[0]
    assert len(pair.group.completions) == 2
    assert pair.group.completions[0] != pair.group.completions[1]
    assert pair.score_margin is None


def test_nothing_to_train_on_is_said(start, tmp_path):
    with pytest.raises(DataError, match="no preference"):
        dpo(tmp_path / "run", start, preferences=[])


def test_too_long_for_the_model_is_said(start, tmp_path):
    with pytest.raises(DataError, match="above the 512 positions"):
        dpo(tmp_path / "run", start, limits=Limits(max_length=1024, max_prompt_length=64))


def test_a_loss_that_breaks_is_an_error_not_a_model(start, tmp_path):
    with pytest.raises(RunError, match="lower learning_rate"):
        dpo(tmp_path / "run", start, learning_rate=1e9, epochs=3, loss=Sigmoid(beta=5.0))
    assert not (tmp_path / "run" / "manifest.json").exists()


MANY = [
    Preference(prompt=turn("user", f"{a}?"), chosen=turn("assistant", better), rejected=turn("assistant", worse))
    for a, b in WORDS
    for better, worse in combinations((f"{b}.", f"I think {b}!", "no idea!", f"{a}"), 2)
]


@pytest.mark.parametrize(
    "loss", [{"name": "sigmoid"}, {"name": "ld_dpo"}, {"name": "simpo"}, {"name": "rpo"}], ids=lambda loss: loss["name"]
)
def test_all_pairs_of_a_prompt_train_as_if_each_were_alone(start, tmp_path, loss):
    """Two updates of 15 pairs of four answers, so that one prompt's pairs are divided between them."""
    objective = PreferenceTraining.parse({"loss": loss}, where="x").loss
    fixed = {"batch_size": 15, "warmup": 0.0, "learning_rate": 1e-3, "loss": objective, "preferences": MANY}
    plainly = dpo(tmp_path / "padded", start, engine="padded", **fixed)
    for name, way in (("shared", {}), ("split", {"max_tokens": 64})):
        shared = dpo(tmp_path / name, start, **fixed, **way)
        assert all(torch.allclose(plainly[key], shared[key], atol=2e-5) for key in plainly)
        for ours, theirs in zip(lines(tmp_path / name)[:2], lines(tmp_path / "padded")[:2], strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)


def test_sft_counts_every_answer_of_a_dialogue(start, tmp_path):
    said = [(*first, *second, *turn("user", "and?")) for first, second in pairwise(DIALOGUES[:9])]
    model, encoder = load_model(start), Encoder(load_tokenizer(start), LIMITS)
    examples = encoder.examples((talk[:n], talk[n].content) for talk in said for n in (1, 3))
    with torch.no_grad():
        by_transformers = model(**pad(examples, encoder.tokenizer.pad_token_id)).loss
    for engine in ("packed", "padded"):
        with Run(tmp_path / engine, stage="sft", config={}, inputs={}) as run:
            rule = settings(batch_size=8, warmup=0.0, engine=engine, self_check=engine == "packed")
            train_sft(run, rule, start=start, dialogues=talks(said), held_out=talks(said[:2]), seed=0)
        assert lines(tmp_path / engine)[0]["loss"] == pytest.approx(float(by_transformers), abs=1e-5)
        counts = {
            tally["stage"]: tally["counts"] for tally in json.loads((tmp_path / engine / "tally.json").read_text())
        }
        assert counts["encode"] == {"trailing-turns-dropped": 10}


@pytest.mark.parametrize("loss", [Kto(), BcoUnpaired()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_unpaired_rows_are_told_apart(start, tmp_path, loss, engine):
    unpaired(tmp_path / "run", start, loss=loss, engine=engine, epochs=4, held_out=PREFERENCES[:5])
    first, *rest = lines(tmp_path / "run")
    assert first["loss"] == pytest.approx(0.5 if loss.name == "kto" else math.log(2), abs=1e-5)
    assert first["rewards/desirable"] == pytest.approx(0, abs=1e-5)
    assert first.get("kl", 0.0) == pytest.approx(0, abs=1e-5)
    last = [line for line in rest if "rewards/desirable" in line][-1]
    assert last["rewards/desirable"] - last["rewards/undesirable"] > 0.05
    summary = read_manifest(tmp_path / "run")["summary"]
    assert (summary["rows"], summary["held_out_rows"]) == (40, 10)
    assert (summary["desirable_rows"], summary["undesirable_rows"]) == (20, 20)
    assert summary["eval_rewards/desirable"] > summary["eval_rewards/undesirable"]


def test_pairs_train_like_their_rows(start, tmp_path):
    rows = [
        Unpaired(prompt=pair.prompt, answer=answer, desirable=answer is pair.chosen)
        for pair in PREFERENCES
        for answer in (pair.chosen, pair.rejected)
    ]
    of_pairs, of_rows = unpaired(tmp_path / "pairs", start), unpaired(tmp_path / "rows", start, rows=rows)
    assert all(torch.equal(of_pairs[key], of_rows[key]) for key in of_pairs)


def test_a_pair_of_equal_answers_is_dropped_from_the_rows(start, tmp_path):
    same = Preference(prompt=turn("user", "x?"), chosen=turn("assistant", "y"), rejected=turn("assistant", "y"))
    unpaired(tmp_path / "run", start, rows=[*PREFERENCES, same])
    assert read_manifest(tmp_path / "run")["summary"]["rows"] == 40


def test_a_loss_of_pairs_refuses_unpaired_rows(start, tmp_path):
    row = Unpaired(prompt=turn("user", "hot?"), answer=turn("assistant", "cold"), desirable=True)
    with pytest.raises(DataError, match="set the loss to kto or bco_unpaired"):
        dpo(tmp_path / "run", start, preferences=[row])


def test_nothing_unpaired_to_train_on_is_said(start, tmp_path):
    with pytest.raises(DataError, match="no unpaired row"):
        unpaired(tmp_path / "run", start, rows=[])


@pytest.mark.parametrize(("weight", "said"), [(1.0, True), (2.2, False)])
def test_kto_tells_what_the_paper_advises_on_balance(start, tmp_path, weight, said):
    rows = [
        Unpaired(prompt=turn("user", f"{a}?"), answer=turn("assistant", b), desirable=n % 4 != 0)
        for n, (a, b) in enumerate(WORDS * 8)
    ]
    unpaired(tmp_path / "run", start, rows=rows, loss=Kto(undesirable_weight=weight))
    log = tmp_path / "run" / "log.txt"
    assert ("an undesirable_weight of 2 to 3 would do it" in (log.read_text() if log.is_file() else "")) is said
    assert read_manifest(tmp_path / "run")["summary"]["desirable_to_undesirable"] == pytest.approx(3 / weight)


@pytest.mark.parametrize("name", ["kto", "bco_unpaired"])
def test_a_recipe_names_a_loss_of_rows_like_any_other(name):
    assert PreferenceTraining.parse({"loss": {"name": name, "beta": 0.2}}, where="x").loss.beta == 0.2
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        PreferenceTraining.parse({"loss": {"name": name + "x"}}, where="x")
