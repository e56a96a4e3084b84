"""Which answers are set against which prompts, and KTO and BCO of a batch against their equations written out."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments

from notus.core.errors import DataError
from notus.core.stage import Tally
from notus.engine.attention import use_packed
from notus.engine.load import load_model, save_model
from notus.engine.pack import PromptGroup
from notus.engine.padded import all_logps
from notus.train.batches import Collator, Item, Items
from notus.train.losses.unpaired import BcoUnpaired, Kto
from notus.train.settings import Training
from notus.train.unpaired import UnpairedTrainer, with_mismatches
from tests.helpers.loss_examples import minus_log_sigmoid, s


def rows(prompts):
    """Rows whose answers are all different."""
    return [
        Item(PromptGroup([1, 5 + prompt], ([30 + n, 2],)), desirable=bool(n % 2)) for n, prompt in enumerate(prompts)
    ]


def mismatched(items, batch_size, max_length=50, tally=None):
    return with_mismatches(items, batch_size, max_length, 0, tally or Tally("encode"))


def test_answer_i_goes_with_prompt_i_plus_1_of_its_batch():
    found = mismatched(rows(range(8)), 4)
    assert sorted(item.group.completions[0] for item in found) == [[30 + n, 2] for n in range(8)]
    for batch in (found[:4], found[4:]):
        for n, item in enumerate(batch):
            assert item.mismatched.group == PromptGroup(item.group.prompt, batch[n - 1].group.completions)


def test_two_rows_of_each_prompt_go_with_the_next_prompt():
    found = mismatched(rows([0, 0, 1, 1, 2, 2]), 6)
    answers = [item.group.completions for item in found]
    assert [item.mismatched.group.completions for item in found] == answers[-2:] + answers[:-2]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_no_answer_meets_its_own_prompt(prompts, batch_size):
    items = rows(prompts)
    if len(set(prompts)) == 1:
        with pytest.raises(DataError, match="all rows have the same"):
            mismatched(items, batch_size)
        return
    own = {item.group.completions[0][0]: item.group.prompt for item in items}
    found = mismatched(items, batch_size)
    assert sorted(item.group.completions for item in found) == sorted(item.group.completions for item in items)
    for start in range(0, len(found), batch_size):
        batch = found[start : start + batch_size]
        inside = {item.group.completions[0][0] for item in batch}
        most = max(sum(a.group.prompt == b.group.prompt for a in batch) for b in batch)
        given = [item.mismatched.group.completions[0][0] for item in batch]
        if 2 * most <= len(batch):
            assert sorted(given) == sorted(inside)  # the same answers, behind other prompts
        for item, answer in zip(batch, given, strict=True):
            assert item.mismatched.group.prompt == item.group.prompt != own[answer]


def test_a_mismatched_answer_that_does_not_fit_is_cut_and_counted():
    tally = Tally("encode")
    items = [
        Item(PromptGroup([1, 2, 3, 4], ([5],)), desirable=True),
        Item(PromptGroup([1], ([6, 7, 8, 2],)), desirable=False),
    ]
    found = mismatched(items, 2, max_length=6, tally=tally)
    assert {tuple(item.mismatched.group.completions[0]) for item in found} == {(5,), (6, 7)}
    assert tally.counts == {"mismatched-cut": 1}


def test_no_rows_are_no_error():
    assert mismatched([], 4) == []


SPLITS = [
    {"engine": "padded"},
    {"engine": "padded", "micro_batch_size": 3},
    {},
    {"max_tokens": 16},
    {"share_prompts": False, "max_tokens": 24},
]


@pytest.fixture
def policy(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "policy")
    return load_model(str(tmp_path / "policy"))


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("loss", [Kto(beta=0.4, desirable_weight=0.8, undesirable_weight=1.3), BcoUnpaired(beta=0.4)])
def test_a_batch_has_the_loss_of_the_equation(policy, tmp_path, split, loss):
    """Rewards away from 0, two batches with a z_0 of their own, whatever the engine and the split."""
    items = mismatched(rows([0, 0, 1, 2, 2, 3, 4, 5]), 4)

    def logps(of):
        return all_logps(policy, [(item.group.prompt, item.group.completions[0]) for item in of], 3, 1)

    own, others = logps(items), logps([item.mismatched for item in items])
    # A reference that is off by what a formula says: by more for the later rows, and in the second batch below 0.
    ratios = [0.9 * n - 2.0 for n in range(8)]
    strange = [1.5, 0.3, -0.2, 0.8, -1.0, -2.0, 0.5, 0.1]
    items = [
        replace(item, reference=(p - r,), mismatched=replace(item.mismatched, reference=(q - t,)))
        for item, p, r, q, t in zip(items, own, ratios, others, strange, strict=True)
    ]
    expected = 0.0
    for start in (0, 4):
        z = max(0.0, sum(strange[start : start + 4]) / 4)
        for item, r in list(zip(items, ratios, strict=True))[start : start + 4]:
            sign = 1 if item.desirable else -1
            if isinstance(loss, Kto):
                expected += (0.8 if item.desirable else 1.3) * s(-sign * 0.4 * (r - z)) / 8
            else:
                expected += minus_log_sigmoid(sign * 0.4 * r) / 8
    settings = Training(batch_size=4, **split)
    if settings.engine != "padded":
        use_packed(policy)
    trainer = UnpairedTrainer(
        objective=loss,
        model=policy,
        args=TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True
        ),
        train_dataset=Items(items, kept=True),
        data_collator=Collator(settings, 3),
    )
    found = trainer.measured(items)
    assert found["loss"] == pytest.approx(expected, abs=1e-5)
    for side, wanted in (("desirable", True), ("undesirable", False)):
        rewards = [0.4 * r for item, r in zip(items, ratios, strict=True) if item.desirable is wanted]
        assert found[f"rewards/{side}"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)
    if isinstance(loss, Kto):
        assert found["kl"] == pytest.approx(0.5 * 0.6, abs=1e-5)  # 0.6 in the first batch, 0 in the second
