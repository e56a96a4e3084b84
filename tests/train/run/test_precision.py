"""Half precision: what passes compute, that small updates are kept, where a reward starts, and what is saved."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention.flex_attention import flex_attention

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Message, Preference
from notus.core.run import Run, read_manifest
from notus.engine import attention, logps
from notus.engine.adapters import add_adapter
from notus.engine.attention import FlexLayout, packed
from notus.engine.load import fit_vocabulary, load_model, load_tokenizer, merge, save_model
from notus.engine.logps import token_logps
from notus.engine.pack import PromptGroup, pack
from notus.engine.settings import Limits, Lora
from notus.train.losses.objective import read_loss
from notus.train.run.policy import train_dpo, train_sft, train_unpaired
from notus.train.run.precision import RoundingAdamW
from notus.train.settings import PreferenceTraining, Training
from tests.helpers.tiny_families import tiny

LIMITS = Limits(max_length=448, max_prompt_length=128)
ANSWERS = [
    f"I hope this helps, number {n}! The opposite of old is young. " * (1 + n % 5) + "Down is up. " * (n % 3)
    for n in range(12)
]
PAIRS = [
    Preference(
        prompt=(Message("user", f"The opposite of hot, number {n}?"),),
        chosen=(Message("assistant", ANSWERS[n]),),
        rejected=(Message("assistant", ANSWERS[(n + 7) % 12] + " Wet, dry."),),
    )
    for n in range(12)
]
SMALL = Lora(rank=4, dropout=0.0)


@pytest.fixture
def start(model, tokenizer, tmp_path):
    """A model in bf16, as models are published."""
    save_model(model, tokenizer, tmp_path / "start", dtype=torch.bfloat16)
    return tmp_path / "start"


@pytest.fixture
def group():
    """More than 256 tokens, which go through the kernel for long groups."""
    generator = torch.Generator().manual_seed(0)
    prompt, *answers = (torch.randint(5, 400, (n,), generator=generator).tolist() for n in (150, 90, 120))
    return PromptGroup(prompt, tuple(answers))


def train(path, start, objective=None, pairs=PAIRS, **changes):
    values = {"batch_size": 4, "warmup": 0.0, "log_every": 1, "limits": LIMITS, "learning_rate": 1e-3, **changes}
    config = PreferenceTraining(**values)
    loss = objective or read_loss("sigmoid")
    kind = "rows" if loss.name in ("kto", "bco_unpaired") else "preferences"
    step = train_unpaired if kind == "rows" else train_dpo
    with Run(path, stage="dpo", config={}, inputs={}) as run:
        step(run, config, objective=loss, start=str(start), **{kind: pairs}, held_out=pairs[:3], seed=0)
    return read_manifest(path)["summary"]


def first(path):
    return json.loads((path / "metrics.jsonl").read_text().splitlines()[0])


def gradients(model, row):
    with packed(model):
        found = token_logps(model, row)
        found.sum().backward()
    return found.detach(), torch.cat([weight.grad.float().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16], ids=["autocast", "bf16 weights"])
def test_long_groups_are_computed_in_bf16(model, group, kept, kernels, monkeypatch):
    monkeypatch.setattr(attention, "kernels_on", lambda: kernels)
    plain = type(model)(model.config).eval()
    plain.load_state_dict(model.state_dict())
    row = pack([group])
    want, slopes = gradients(plain, row)
    plain.zero_grad()
    plain.to(kept)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, found = gradients(plain, row)
    assert got.dtype == torch.float32
    assert float((got - want).abs().max()) < 0.05
    assert float(torch.cosine_similarity(slopes, found, dim=0)) > 0.99


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_given_one_type(model, group, monkeypatch):
    """The branch for CUDA, uncompiled on the CPU."""
    row = pack([group])
    with torch.no_grad(), packed(model):
        want = token_logps(model, row)
        monkeypatch.setattr(attention, "_flex", lambda: flex_attention)
        ends = torch.cat([span.start + attention._ends(span) for span in row.spans])
        monkeypatch.setattr(logps, "layout", lambda _: FlexLayout.of(torch.nn.functional.pad(ends, (0, more))))
        more = logps.round_up(row.tokens, ends.device) - row.tokens
        torch.testing.assert_close(token_logps(model, row), want, rtol=0, atol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert float((token_logps(model, row) - want).abs().max()) < 0.05


slow = pytest.mark.slow


@pytest.mark.parametrize("loss", ["sigmoid", *(pytest.param(name, marks=slow) for name in ("kto", "ld_dpo", "aot"))])
@pytest.mark.parametrize(
    "values",
    [
        {"precision": "bfloat16"},
        {"dtype": "bfloat16"},
        {"dtype": "bfloat16", "lora": SMALL},
        {"dtype": "bfloat16", "engine": "padded", "micro_batch_size": 1},
    ],
    ids=["autocast", "bf16 weights", "LoRA", "padded"],
)
def test_in_bf16_the_policy_starts_at_the_reference(start, tmp_path, values, loss):
    objective = read_loss(loss)
    summary = train(tmp_path / "run", start, objective, **values, max_tokens=None if "engine" in values else 512)
    begun = first(tmp_path / "run")
    rewards = [value for name, value in begun.items() if name.startswith("rewards/") and name != "rewards/accuracies"]
    assert rewards == pytest.approx([0.0] * len(rewards), abs=1e-6)
    if loss == "sigmoid":
        assert summary["start_loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_what_was_held_out_starts_at_the_reference_too(start, tmp_path):
    summary = train(tmp_path / "run", start, dtype="bfloat16", learning_rate=1e-30)
    assert summary["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    again = train(tmp_path / "run2", start, dtype="bfloat16", learning_rate=1e-30, epochs=2)
    assert again["train_loss"] == pytest.approx(math.log(2), abs=2e-3)


def stepped(optimizer, weight, steps):
    """Equal gradients, so that each update of Adam is −lr."""
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return weight.detach().float()


def test_small_updates_are_lost_in_plain_bf16_and_kept_by_rounding_at_random():
    begin = torch.full((40_000,), 0.05)
    plain = torch.nn.Parameter(begin.to(torch.bfloat16))
    at = plain.detach().float()
    assert torch.equal(stepped(torch.optim.AdamW([plain], lr=5e-7, weight_decay=0.0), plain, 200), at)
    rounded = torch.nn.Parameter(begin.to(torch.bfloat16))
    moved = stepped(RoundingAdamW([rounded], lr=5e-7), rounded, 200) - at
    # The standard error of the mean: single steps between neighbours 2.4e-4 apart.
    spacing = 2.0**-12
    error = math.sqrt(200 * 5e-7 * spacing / len(begin))
    assert float(moved.mean()) == pytest.approx(-200 * 5e-7, abs=5 * error)
    assert 5 * error < 1e-5
    master = torch.nn.Parameter(begin.clone())
    kept = stepped(torch.optim.AdamW([master], lr=5e-7, weight_decay=0.0), master, 200) - begin
    assert float(kept.mean()) == pytest.approx(-200 * 5e-7, rel=1e-2)


def test_of_weights_in_fp32_it_is_adamw():
    torch.manual_seed(0)
    values = torch.randn(5_000_000)[::1000].clone()
    ours, theirs = torch.nn.Parameter(values.clone()), torch.nn.Parameter(values.clone())
    options = {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    first, second = RoundingAdamW([ours], **options), torch.optim.AdamW([theirs], **options)
    for _ in range(20):
        gradient = torch.randn_like(values)
        for weight, optimizer in ((ours, first), (theirs, second)):
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_its_state_comes_back_bit_for_bit():
    def make():
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 999).to(torch.bfloat16))
        return weight, RoundingAdamW([weight], lr=1e-4, seed=7)

    whole, optimizer = make()
    stepped(optimizer, whole, 6)
    half, before = make()
    stepped(before, half, 3)
    again, after = make()
    again.data.copy_(half.data)
    after.load_state_dict(json_free(before.state_dict()))
    torch.manual_seed(99)  # the bits drawn do not depend on the process
    assert after.state[again]["exp_avg"].dtype == torch.float32
    assert torch.equal(stepped(after, again, 3), whole.detach().float())


def json_free(state):
    """As it comes from a file: new tensors."""
    return {
        "state": {key: {name: value.clone() for name, value in of.items()} for key, of in state["state"].items()},
        "param_groups": state["param_groups"],
    }


def test_training_in_bf16_weights_moves_them_at_a_small_rate(start, tmp_path):
    before = load_file(start / "model.safetensors")
    assert "lm_head.weight" not in before  # it is that of the embeddings
    summary = train(tmp_path / "run", start, dtype="bfloat16", learning_rate=5e-7, epochs=2)
    after = load_file(tmp_path / "run/model/model.safetensors")
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    moved = sum(int((after[name] != before[name]).sum()) for name in before)
    assert moved > 0
    assert (summary["dtype"], summary["precision"], summary["stored"]) == ("bfloat16", "bfloat16", "bfloat16")


def test_what_is_trained_in_fp32_is_saved_as_the_start_is_and_what_that_loses_is_said(start, tmp_path):
    summary = train(tmp_path / "run", start, learning_rate=5e-7)
    after = load_file(tmp_path / "run/model/model.safetensors")
    before = load_file(start / "model.safetensors")
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "run/model/config.json").read_text())["dtype"] == "bfloat16"
    count = sum(weight.numel() for weight in before.values())
    left = sum(int((after[name] != before[name]).sum()) for name in before)
    assert summary["weights_moved_as_saved"] == pytest.approx(left / count)
    assert summary["weights_moved"] > 0.9 > 0.5 > summary["weights_moved_as_saved"]
    log = (tmp_path / "run/log.txt").read_text()
    assert "saved in bfloat16, as the start is" in log
    assert "save_precision: float32" in log
    train(tmp_path / "whole", start, learning_rate=5e-7, save_precision="float32")
    whole = load_file(tmp_path / "whole/model/model.safetensors")
    assert {weight.dtype for weight in whole.values()} == {torch.float32}


def test_an_adapter_on_a_bf16_base_merges_to_what_it_computes(start, tmp_path):
    train(tmp_path / "run", start, dtype="auto", lora=SMALL, learning_rate=1e-2)
    adapter = load_file(tmp_path / "run/model/adapter_model.safetensors")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    merged = load_model(str(merge(tmp_path / "run/model", tmp_path / "merged")), precision="auto")
    assert merged.dtype == torch.bfloat16
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        got, want = (model(ids).logits for model in (merged, load_model(str(tmp_path / "run/model"))))
    assert float((got.float() - want).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dtype": "4bit", "lora": SMALL}, r"4bit need CUDA and bitsandbytes.*no CUDA device"),
        ({"dtype": "float16", "lora": SMALL}, "float16 are for accelerators.*the CPU has bfloat16"),
        ({"precision": "float16"}, "precision float16 is for CUDA.*precision: bfloat16"),
        ({"dtype": "bfloat16", "optimizer": "rmsprop"}, "rmsprop loses small updates"),
        ({"dtype": "auto", "optimizer": "rmsprop"}, "rmsprop loses small updates"),
    ],
)
def test_types_that_do_not_work_are_refused(start, tmp_path, values, words):
    if torch.cuda.is_available():
        pytest.skip("here they work")
    with pytest.raises(ConfigError, match=words):
        train(tmp_path / "run", start, **values)


@pytest.mark.parametrize(
    ("family", "target"),
    [("Gemma2", None), *(pytest.param(*case, marks=slow) for case in (("GPT-OSS", "q_proj"), ("Mamba", "in_proj")))],
)
def test_what_the_packed_engine_refuses_is_trained_by_the_padded_one(family, target, tokenizer, tmp_path):
    values = {} if target is None else {"lora": Lora(rank=2, dropout=0.0, targets=(target,))}
    plain = tiny(family)
    fit_vocabulary(plain, tokenizer)
    save_model(plain, tokenizer, tmp_path / "start")
    limits = Limits(max_length=96, max_prompt_length=48)
    summary = train(tmp_path / "run", tmp_path / "start", pairs=PAIRS[:4], limits=limits, **values)
    assert summary["start_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert (summary["engine"], summary["attention"]) == ("padded", "eager")
    assert "its architecture" in summary["engine_reason"]
    assert summary["tokens_padded"] > summary["tokens_packed"] > 0
    assert "engine: padded, as its architecture" in (tmp_path / "run/log.txt").read_text()
    load_model(str(tmp_path / "run/model"))
    with pytest.raises(ConfigError, match=r"the packed engine cannot run this model.*engine: padded"):
        train(tmp_path / "refused", tmp_path / "start", pairs=PAIRS[:4], limits=limits, engine="packed", **values)


def test_a_vocabulary_that_is_too_large_is_told_or_the_embeddings_grow(start, tmp_path):
    more = load_tokenizer(str(start))
    more.add_tokens(["opposite", "<|two|>"])
    more.save_pretrained(start)
    with pytest.raises(ConfigError, match=r"no embedding for: 1 .*400; set resize_embeddings: true.*402"):
        train(tmp_path / "refused", start)
    summary = train(tmp_path / "run", start, resize_embeddings=True)
    assert summary["embeddings_added"] == 2
    assert load_model(str(tmp_path / "run/model")).get_input_embeddings().weight.shape[0] == 402
    train(tmp_path / "lora", start, resize_embeddings=True, lora=SMALL)
    assert "name them in lora.modules_to_save" in (tmp_path / "lora/log.txt").read_text()
    found = load_model(str(tmp_path / "lora/model"))
    assert found.get_base_model().get_input_embeddings().weight.shape[0] == 402


def test_the_rate_that_was_not_set_is_the_usual_one_and_said(start, tmp_path):
    usual = [(Training, None, 2e-5), (Training, SMALL, 2e-4), (PreferenceTraining, None, 5e-7)]
    for kind, lora, rate in [*usual, (PreferenceTraining, SMALL, 5e-6)]:
        assert kind(lora=lora).learning_rate == rate
        assert kind(lora=lora).resolved()["learning_rate"] == rate
        assert kind(lora=lora, learning_rate=1e-3).rate == 1e-3
    talks = [Dialogue(messages=(*pair.prompt, *pair.chosen)) for pair in PAIRS[:4]]
    config = Training(batch_size=2, warmup=0.0, limits=LIMITS)
    with Run(tmp_path / "run", stage="sft", config={}, inputs={}) as run:
        train_sft(run, config, start=str(start), dialogues=talks, held_out=[], seed=0)
    assert read_manifest(tmp_path / "run")["summary"]["learning_rate"] == 2e-5
    assert "learning_rate is 2e-05" in (tmp_path / "run/log.txt").read_text()


def test_settings_for_generating_that_transformers_refuses_do_not_lose_the_model(start, tmp_path):
    path = start / "generation_config.json"
    asked = json.loads(path.read_text()) | {"do_sample": False, "temperature": 0.6, "top_p": 0.9}
    path.write_text(json.dumps(asked))
    train(tmp_path / "run", start, pairs=PAIRS[:4])
    written = json.loads((tmp_path / "run/model/generation_config.json").read_text())
    assert {name: written.get(name) for name in ("temperature", "top_p")} == {"temperature": 0.6, "top_p": 0.9}
    assert written.get("do_sample", False) is False
    load_model(str(tmp_path / "run/model"))


def test_a_fresh_adapter_on_bf16_changes_no_bit(start):
    plain = load_model(str(start), precision="bfloat16")
    ids = torch.arange(5, 40)[None]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = plain(ids).logits
        assert torch.equal(add_adapter(plain, SMALL, 0)(ids).logits, before)
