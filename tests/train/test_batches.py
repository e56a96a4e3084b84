"""Batches whose items share prompts and answers, against the same items each for itself."""

from itertools import combinations

import pytest
import torch

from notus.engine.attention import use_packed
from notus.engine.load import load_model, save_model
from notus.engine.pack import PromptGroup
from notus.train.batches import Collator, Item, completion_sums
from notus.train.settings import Training

PROMPTS = ([5, 6, 7], [8, 9])
ANSWERS = ([10, 11, 2], [12, 2], [13, 14, 15, 16, 2], [17, 2])
ITEMS = [Item(PromptGroup(prompt, pair)) for prompt in PROMPTS for pair in combinations(ANSWERS, 2)]
ITEMS += [Item(PromptGroup([9], (ANSWERS[0], ANSWERS[0]))), ITEMS[3]]  # two answers that are the same, and a pair twice
PADDED = {"engine": "padded"}
WAYS = [
    {},
    {"max_tokens": 16},
    {"share_prompts": False},
    {"share_prompts": False, "max_tokens": 16},
    {"engine": "padded", "micro_batch_size": 3},
]


def collated(items, **settings):
    return Collator(Training(**settings), 3)(items)["batch"]


@pytest.fixture
def policy(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "policy")
    return load_model(str(tmp_path / "policy"))


def computed(policy, items, **settings):
    """By item: sums, tokens and sums over the common length; and the slope of a total in which each counts apart."""
    if settings.get("engine") != "padded":
        use_packed(policy)
    number = {id(item): n for n, item in enumerate(items)}
    found, total = {}, 0.0
    for forward in collated(items, **settings).forwards:
        prefix = [min(map(len, item.group.completions)) for item in forward.items for _ in item.group.completions]
        sums = completion_sums(policy, forward, prefix=prefix)
        by_item = [values.view(-1, 2) for values in (sums.sums, sums.tokens, sums.prefixes)]
        for item, sums, tokens, seconds in zip(forward.items, *by_item, strict=True):
            found[id(item)] = [*sums.tolist(), *tokens.tolist(), *seconds.tolist()]
            weight = 1 + number[id(item)] / 10
            total = total + weight * (sums[0] - 0.7 * sums[1] + 0.3 * seconds[0] - 0.1 * seconds[1])
    policy.zero_grad()
    total.backward()
    policy.set_attn_implementation("sdpa")
    return [found[id(item)] for item in items], {name: p.grad.clone() for name, p in policy.named_parameters()}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_shared_answers_give_what_each_pair_gives_alone(policy, way):
    plainly, slope = computed(policy, ITEMS, **PADDED)
    shared, other = computed(policy, ITEMS, **way)
    for ours, theirs in zip(shared, plainly, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    scale = max(float(value.abs().max()) for value in slope.values())
    assert all(torch.allclose(slope[name], other[name], atol=1e-5 * scale) for name in slope)


def test_a_prompt_and_each_of_its_answers_are_computed_once():
    (forward,) = collated(ITEMS).forwards
    assert [(span.prompt, span.completions) for span in forward.row.spans] == [
        (3, (3, 2, 5, 2)),
        (2, (3, 2, 5, 2)),
        (1, (3,)),
    ]
    assert len(forward.items) == len(ITEMS)
    assert forward.completions == 9
    assert forward.numbers.tolist()[:12] == [0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3]


def test_pairs_of_different_prompts_are_packed_as_they_are():
    items = [Item(PromptGroup([5, n], (ANSWERS[0], ANSWERS[1]))) for n in range(6, 10)]
    ours, plainly = (collated(items, share_prompts=share).forwards for share in (True, False))
    assert len(ours) == len(plainly) == 1
    assert torch.equal(ours[0].row.input_ids, plainly[0].row.input_ids)
    assert ours[0].numbers.tolist() == plainly[0].numbers.tolist() == list(range(8))


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_only_marked_tokens_count(policy, engine):
    marks = ([True, False, True],)
    items = [Item(PromptGroup([5, 6], ([10, 11, 2],), marks)), Item(PromptGroup([5, 6], ([12, 2],)))]
    assert [item.answered for item in items] == [2, 2]
    (forward,) = collated(items, engine=engine).forwards
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[5, 6, 10, 11, 2]])).logits[0].double().log_softmax(-1)
        if engine == "packed":
            use_packed(policy)
        found = completion_sums(policy, forward)
    order = [forward.items.index(item) for item in items]
    assert found.tokens.tolist() == [2, 2]
    assert float(found.sums[order[0]]) == pytest.approx(float(logits[1, 10] + logits[3, 2]), abs=1e-5)
