"""Training a ranker: the loss written out, any split into forward passes, both forms learning a planted rule."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from notus.core.errors import ConfigError, DataError
from notus.core.run import Run
from notus.core.stage import Tally
from notus.engine.load import save_model
from notus.rankers.make import make_ranker
from notus.rankers.pairrm import budget_of, load_pairrm
from notus.rankers.reward import load_reward_model
from notus.rankers.settings import Ranking
from notus.train.ranker import (
    ComparedCollator,
    ComparedItems,
    RankerTrainer,
    encode_compared,
    judge_pairs,
    preference_loss,
    start_ranker,
    train_ranker,
)
from notus.train.ranker_quality import Judged, quality_of
from notus.train.ranker_settings import RankerTraining
from notus.train.run.fit import training_arguments
from tests.helpers.families import save_family_model
from tests.helpers.ranker_examples import THINGS, pair, polite_pairs, training

FORMS = ("reward-model", "pairrm")
ALIKE = polite_pairs(12)


def run_in(path):
    return Run(path, stage="train-ranker", config={"seed": 0}, inputs={})


def trainer_of(path, config, pairs, margin=0.0):
    model, tokenizer = start_ranker(config, None, list(THINGS), 0)
    items = encode_compared(config, tokenizer, Tally("encode"), 0)(pairs, True)
    return RankerTrainer(
        margin=margin,
        model=model,
        args=training_arguments(run_in(path), config, 0),
        train_dataset=ComparedItems(items),
        data_collator=ComparedCollator(config.max_tokens, tokenizer.pad_token_id),
        processing_class=tokenizer,
    )


def plain_logit(model, item):
    """The logit of one example alone: nothing is padded and nothing is batched."""
    if "marks" in (row := _alone(item)):
        return item.sign * float(model(**row))
    rewards = [float(model(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in item.rows]
    return rewards[0] - rewards[1]


def _alone(item):
    if isinstance(item.rows, tuple):
        return {}
    ids = torch.tensor([item.rows.ids])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "marks": torch.tensor([item.rows.marks])}


def test_the_loss_is_that_of_bradley_and_terry():
    logits, scores = [-3.0, 0.0, 0.7, 12.0], [1.0, 0.0, 2.5, 4.0]
    for weight in (0.0, 0.3):
        found = preference_loss(torch.tensor(logits), torch.tensor(scores), weight).tolist()
        wanted = [-math.log(1 / (1 + math.exp(-(d - weight * m)))) for d, m in zip(logits, scores, strict=True)]
        assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_loss_and_metrics_of_a_batch_are_those_of_its_examples_alone(tmp_path, form, margin):
    trainer = trainer_of(tmp_path, training(form), ALIKE, margin)
    items = trainer.train_dataset.items
    found = trainer.measured(items)
    with torch.no_grad():
        logits = [plain_logit(trainer.model, item) for item in items]
    losses = [-math.log(1 / (1 + math.exp(-(logit - margin * 3.0)))) for logit in logits]
    assert found["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert found["margins"] == pytest.approx(sum(logits) / len(logits), abs=1e-5)
    assert found["accuracies"] == pytest.approx(sum(logit > 0 for logit in logits) / len(logits))


@pytest.mark.parametrize("form", FORMS)
def test_the_split_into_forward_passes_changes_no_gradient(tmp_path, form):
    gradients = []
    for name, max_tokens in (("whole", 8192), ("split", 96)):
        trainer = trainer_of(tmp_path / name, training(form, max_tokens=max_tokens), ALIKE)
        batch = trainer.data_collator(trainer.train_dataset.items)
        assert (len(batch["batch"].forwards) == 1) is (name == "whole")
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer.model.train()
        trainer.model.zero_grad()
        trainer.training_step(trainer.model, batch)
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_pairs_are_learnt_in_both_orders_or_in_one_that_the_seed_draws():
    config = training("pairrm")
    _, tokenizer = start_ranker(config, None, list(THINGS), 0)
    both = encode_compared(config, tokenizer, Tally("encode"), 0)(ALIKE, True)
    assert [item.sign for item in both] == [1.0, -1.0] * len(ALIKE)
    assert (both[0].rows.first[2:], both[0].rows.second[2:]) == (both[1].rows.second[2:], both[1].rows.first[2:])
    one = training("pairrm", both_orders=False)
    drawn = [
        [item.sign for item in encode_compared(one, tokenizer, Tally("encode"), seed)(ALIKE, True)]
        for seed in (0, 0, 1)
    ]
    assert len(drawn[0]) == len(ALIKE)
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == {1.0, -1.0}
    held = encode_compared(one, tokenizer, Tally("encode"), 0)(ALIKE, False)
    assert len(held) == 2 * len(ALIKE)


@pytest.mark.parametrize("form", FORMS)
def test_a_rule_is_learnt_and_the_folder_is_a_ranker(tmp_path, form):
    config, held_out = training(form), polite_pairs(40, seed=1)
    run = run_in(tmp_path)
    path = train_ranker(run, config, start=None, preferences=polite_pairs(160), held_out=held_out, seed=0)
    judged = judge_pairs(config, path, held_out, Tally("rank"))
    quality = quality_of(judged)
    assert quality.accuracy.mean >= 0.95
    assert run.summary["eval_accuracies"] >= 0.95
    ranker = make_ranker(f"{form}:{tmp_path}/model", Ranking(limits=config.limits))
    scores = ranker.rank([ALIKE[0].prompt], [["no hot", "please hot", "no cold up"]])[0]
    assert max(scores) == scores[1]


def test_the_logit_is_that_of_the_model_for_either_form(tmp_path):
    pairs = ALIKE[:3]
    for form in FORMS:
        config = training(form, epochs=0.5, batch_size=4)
        run = run_in(tmp_path / form)
        path = train_ranker(run, config, start=None, preferences=ALIKE, held_out=(), seed=0)
        load = load_reward_model if form == "reward-model" else load_pairrm
        model, tokenizer = load(str(path))
        items = encode_compared(config, tokenizer, Tally("encode"), 0)(pairs, False)
        with torch.no_grad():
            logits = [plain_logit(model, item) for item in items]
        if form == "pairrm":
            logits = [(a + b) / 2 for a, b in zip(logits[::2], logits[1::2], strict=True)]
        found = [item.logit for item in judge_pairs(config, path, pairs, Tally("rank"))]
        assert found == pytest.approx(logits, abs=1e-5)


def test_the_lengths_of_a_pairrm_lie_beside_its_weights(tmp_path):
    config = training("pairrm", epochs=0.5, batch_size=4)
    path = train_ranker(run_in(tmp_path), config, start=None, preferences=ALIKE, held_out=(), seed=0)
    assert budget_of(str(path)) == config.budget


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_gives_the_same_ranker_and_another_seed_another(tmp_path, form):
    config = training(form, epochs=1, batch_size=4)
    judged = [
        judge_pairs(
            config,
            train_ranker(run_in(tmp_path / name), config, start=None, preferences=ALIKE, held_out=(), seed=seed),
            ALIKE,
            Tally("rank"),
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert judged[0] == judged[1]
    assert judged[0] != judged[2]


def test_a_language_model_becomes_a_reward_model_and_goes_on_from_there(tmp_path, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "base")
    config = training(shape=None)
    first, _ = start_ranker(config, str(tmp_path / "base"), (), 0)
    again, _ = start_ranker(config, str(tmp_path / "base"), (), 0)
    other, _ = start_ranker(config, str(tmp_path / "base"), (), 1)
    assert torch.equal(first.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert torch.equal(first.score.weight, again.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    save_model(first, tokenizer, tmp_path / "ranker")
    on, _ = start_ranker(config, str(tmp_path / "ranker"), (), 5)
    assert torch.equal(on.score.weight, first.score.weight)


def test_an_encoder_and_a_pairrm_can_be_started_from(tmp_path):
    config = training("pairrm")
    model, tokenizer = start_ranker(config, None, list(THINGS), 0)
    bare = training("pairrm", encoder=None, vocabulary=None)
    for name, saved in (("pairrm", model), ("encoder", model.pretrained_model)):
        save_model(saved, tokenizer, tmp_path / name)
        found, _ = start_ranker(bare, str(tmp_path / name), (), 1)
        weights = found.pretrained_model.embeddings.word_embeddings.weight
        assert torch.equal(weights, model.pretrained_model.embeddings.word_embeddings.weight)
        assert torch.equal(found.head_layer[1].weight, model.head_layer[1].weight) is (name == "pairrm")


def test_a_margin_counts_and_needs_scores(tmp_path):
    config = training(margin=0.5, epochs=1)
    train_ranker(run_in(tmp_path / "a"), config, start=None, preferences=polite_pairs(40), held_out=(), seed=0)
    without = [*ALIKE, pair("hot?", "please", "no")]
    with pytest.raises(DataError, match="1 of 13 pairs have none; set margin to 0"):
        train_ranker(run_in(tmp_path / "b"), config, start=None, preferences=without, held_out=(), seed=0)


def test_what_cannot_be_trained_is_refused(tmp_path, lora_run, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "base")
    config = training(shape=None)
    with pytest.raises(DataError, match="no preference"):
        train_ranker(run_in(tmp_path / "a"), config, start=None, preferences=(), held_out=(), seed=0)
    with pytest.raises(ConfigError, match=r"is an adapter.*merge it first"):
        start_ranker(config, str(lora_run / "lora" / "model"), (), 0)
    with pytest.raises(ConfigError, match="DeBERTa"):
        start_ranker(training("pairrm", encoder=None, vocabulary=None), str(tmp_path / "base"), (), 0)
    with pytest.raises(ConfigError, match="neither a folder nor a hub id"):
        start_ranker(config, "no/such/model/here", (), 0)
    with pytest.raises(ConfigError, match=r"max_length 1024 is above shape.positions 128"):
        start_ranker(training(limits={"max_length": 1024}), None, list(THINGS), 0)


def test_a_damaged_language_model_is_named(tmp_path, model, tokenizer):
    config = deepcopy(model.config)
    config.num_labels = 1
    broken = AutoModelForSequenceClassification.from_config(config)
    weights = {key: value for key, value in broken.state_dict().items() if "layers.1" not in key}
    broken.save_pretrained(tmp_path / "broken", state_dict=weights)
    tokenizer.save_pretrained(tmp_path / "broken")
    with pytest.raises(ConfigError, match=r"lacks \d+ weights, the first is .*layers\.1"):
        start_ranker(training(shape=None), str(tmp_path / "broken"), (), 0)


def test_a_classifier_of_several_labels_is_no_reward_model(tmp_path, model, tokenizer):
    save_model(AutoModelForSequenceClassification.from_config(model.config), tokenizer, tmp_path / "two")
    with pytest.raises(ConfigError, match="which has one label"):
        start_ranker(training(shape=None), str(tmp_path / "two"), (), 0)


def test_starting_from_a_language_model_prints_nothing(tmp_path, model, tokenizer, capfd):
    save_model(model, tokenizer, tmp_path / "base")
    capfd.readouterr()
    start_ranker(training(shape=None), str(tmp_path / "base"), (), 0)
    assert capfd.readouterr() == ("", "")


def test_ties_count_half():
    item = quality_of([replace(j, logit=0.0) for j in _two()])
    assert item.accuracy.mean == 0.5
    assert item.ties == 2


def _two():
    return [Judged("a", 1.0, 4, 2), Judged("b", -1.0, 3, 9)]


@pytest.mark.parametrize("name", ["llama3", "phi3", "r1"])
def test_a_reward_model_is_scored_at_the_end_of_a_text_by_transformers_too(name, tmp_path):
    """Of a start whose padding token ends a text, or that has none: another one pads the ranker that is made of it."""
    save_family_model(name, tmp_path / "start")
    limits = {"max_length": 128, "max_prompt_length": 64}
    config = RankerTraining.parse({"form": "reward-model", "batch_size": 8, "limits": limits}, where="x")
    path = train_ranker(
        run_in(tmp_path / "run"),
        config,
        start=str(tmp_path / "start"),
        preferences=polite_pairs(16),
        held_out=(),
        seed=0,
    )
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    prompt, answers = polite_pairs(1)[0].prompt, ["Certainly.", "No, and please go away."]
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
    texts = [[*turns, {"role": "assistant", "content": answer}] for answer in answers]
    (scores,) = make_ranker(f"reward-model:{path}", Ranking(limits=config.limits)).rank([prompt], [answers])
    batch = tokenizer.apply_chat_template(texts, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        together = model(**batch).logits[:, 0].tolist()
        rows = [tokenizer.apply_chat_template(text, return_tensors="pt", return_dict=False) for text in texts]
        apart = [float(model.score.weight[0] @ model.model(row)[0][0, -1]) for row in rows]
    assert scores == pytest.approx(together, abs=1e-5)
    assert scores == pytest.approx(apart, abs=1e-5)
