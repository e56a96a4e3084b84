from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.run import MANIFEST, write_json
from notus.core.stage import Tally
from notus.engine import generate
from notus.engine.generate import LocalModel, sample, sample_model
from notus.engine.load import save_model
from notus.engine.settings import Limits, Sampling
from notus.engine.text.encoder import Encoder

PROMPTS = [(Message(role="user", content=text),) for text in ("hot", "the opposite of big and old", "up?")]


def draw(model, tokenizer, seed=0, **settings):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    return sample(model, encoder, PROMPTS, Sampling(max_new_tokens=8, **settings), name="m", seed=seed)


def test_one_output_for_each_prompt_and_sample_in_order(model, tokenizer):
    outputs = draw(model, tokenizer, samples=3)
    assert [(o.prompt, o.sample) for o in outputs] == [(p, s) for p in PROMPTS for s in range(3)]
    assert {(o.model, o.seed) for o in outputs} == {("m", 0)}


def test_the_seed_decides_and_nothing_else_does(model, tokenizer):
    first = draw(model, tokenizer, samples=2)
    torch.rand(100)
    before = torch.get_rng_state()
    assert draw(model, tokenizer, samples=2) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert [o.text for o in draw(model, tokenizer, samples=2, seed=1)] != [o.text for o in first]


def test_greedy_takes_the_likeliest_token_whatever_the_batch(model, tokenizer):
    together = draw(model, tokenizer, temperature=0)
    assert [o.text for o in draw(model, tokenizer, temperature=0, batch_size=1)] == [o.text for o in together]
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    ids = encoder.prompt(PROMPTS[1])
    answer = []
    for _ in range(8):
        answer.append(int(model(input_ids=torch.tensor([ids + answer])).logits[0, -1].argmax()))
        if answer[-1] == tokenizer.eos_token_id:
            break
    assert together[1].text == encoder.decode(answer)


def test_an_answer_that_does_not_end_is_marked(model, tokenizer):
    outputs = draw(model, tokenizer, samples=4)
    assert any(o.truncated for o in outputs)


def test_the_prompt_computed_once_gives_what_plain_sampling_gives(model, tokenizer):
    """At temperature 0 each of n answers is the one that transformers itself gives to the prompt alone."""
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    plain = []
    for prompt in PROMPTS:
        ids = torch.tensor([encoder.prompt(prompt)])
        config = GenerationConfig(max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        config.eos_token_id = tokenizer.eos_token_id
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        plain.append(encoder.decode(out[0, ids.shape[1] :].tolist()))
    for samples, batch_size in ((3, 64), (3, 2), (5, 1), (4, 4)):
        found = draw(model, tokenizer, samples=samples, temperature=0, batch_size=batch_size)
        assert [o.text for o in found] == [text for text in plain for _ in range(samples)]
        assert [o.sample for o in found] == list(range(samples)) * len(PROMPTS)


def test_the_prompt_goes_through_the_model_once_for_all_answers(model, tokenizer):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    longest = max(len(encoder.prompt(prompt)) for prompt in PROMPTS)
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    try:
        draw(model, tokenizer, samples=6)
    finally:
        hook.remove()
    assert seen[0] == (3, longest - 1)
    # Behind it each of the answers is computed token by token, the prompt's last one first.
    assert set(seen[1:]) == {(18, 1)}


def test_each_token_of_a_prompt_has_its_place_in_it_as_position(model, tokenizer):
    """Shorter prompts are padded on the left, which moves no token: the first one has position 0, in the prompt that is
    computed once too; the last one of each is computed with the answers, and has the place behind."""
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    lengths = sorted(len(encoder.prompt(prompt)) for prompt in PROMPTS)
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, __, given: seen.append(sorted(given["position_ids"].tolist(), key=max)), with_kwargs=True
    )
    try:
        draw(model, tokenizer, samples=2)
    finally:
        hook.remove()
    assert lengths[0] < lengths[-1]
    assert [row[1 - length :] for row, length in zip(seen[0], lengths, strict=True)] == [
        list(range(length - 1)) for length in lengths
    ]
    assert seen[1] == [[length - 1] for length in lengths for _ in range(2)]
    assert seen[2] == [[length] for length in lengths for _ in range(2)]


def test_draws_with_the_prompt_computed_once_follow_the_models_probabilities(model, tokenizer):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    n = 4000
    settings = Sampling(samples=n, max_new_tokens=1, top_k=3, batch_size=1000)
    outputs = sample(model, encoder, PROMPTS[1:2], settings, name="m", seed=1)
    logits = model(input_ids=torch.tensor([encoder.prompt(PROMPTS[1])])).logits[0, -1].topk(3)
    shares = torch.softmax(logits.values, 0).tolist()
    for token, share in zip(logits.indices.tolist(), shares, strict=True):
        seen = sum(o.text == encoder.decode([token]) for o in outputs) / n
        assert abs(seen - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_an_answer_that_would_leave_the_models_positions_is_refused(model, tokenizer):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    longest, positions = max(map(len, encoder.prompts(PROMPTS))), model.config.max_position_embeddings
    settings = Sampling(max_new_tokens=positions - longest + 1)
    with pytest.raises(ConfigError, match=rf"the model has {positions} positions; take at most {positions - longest}"):
        sample(model, encoder, PROMPTS, settings, name="m", seed=0)


def test_a_model_is_asked_by_its_name_and_gives_what_it_gives_when_loaded(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "run" / "model")
    write_json(tmp_path / "run" / MANIFEST, {"stage": "sft"})
    limits, settings = Limits(max_length=128, max_prompt_length=4), Sampling(max_new_tokens=8, samples=2)
    tally = Tally("encode")
    wanted = sample(model, Encoder(tokenizer, limits), PROMPTS, settings, name="m", seed=3)
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        found = sample_model(str(source), PROMPTS, settings, limits=limits, name="m", seed=3, tally=tally)
        assert found == wanted
    assert tally.counts["prompt-cut"] == 2 * len(PROMPTS)
    local = LocalModel.load(str(tmp_path / "run"))
    assert local.encoder.limits.max_length == model.config.max_position_embeddings
    assert local.encoder.limits.system is None
    assert len(local.sample(PROMPTS, settings, name="m", seed=0)) == 2 * len(PROMPTS)


def test_a_run_without_a_model_and_a_wrong_name_are_refused(tmp_path):
    write_json(tmp_path / MANIFEST, {"stage": "audit"})
    with pytest.raises(DataError, match="run of 'audit'"):
        sample_model(str(tmp_path), PROMPTS, Sampling(), name="m", seed=0)
    with pytest.raises(ConfigError, match="neither a folder nor a hub id"):
        sample_model(str(tmp_path / "nowhere" / "at" / "all"), PROMPTS, Sampling(), name="m", seed=0)


def test_keys_and_values_go_by_the_name_that_the_model_has():
    """transformers 5.24 has ``cache``, and what came before ``past_key_values``; the other one warns or fails."""

    def named(forward):
        decoder = SimpleNamespace(forward=forward)
        return generate._as_cache(SimpleNamespace(get_decoder=lambda: decoder), computed)

    computed = object()
    assert named(lambda cache=None: cache) == {"cache": computed}
    assert named(lambda past_key_values=None: past_key_values) == {"past_key_values": computed}
