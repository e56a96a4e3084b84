"""An update has the loss and the gradient of its whole batch in one graph, however it is split and in either engine."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import TrainingArguments

from notus.engine.adapters import add_adapter, base_model
from notus.engine.attention import use_packed
from notus.engine.load import load_model, save_model
from notus.engine.pack import PromptGroup
from notus.engine.padded import IGNORED, pad
from notus.engine.settings import Lora
from notus.train.batches import Collator, Item, Items
from notus.train.losses.margin import Sigmoid
from notus.train.losses.objective import read_loss
from notus.train.losses.reference_free import Nll
from notus.train.losses.transport import Aot, AotUnpaired
from notus.train.losses.weighting import Wpo
from notus.train.settings import Training
from notus.train.trainer import DpoTrainer

SPLITS = [
    {"engine": "padded"},
    {"engine": "padded", "micro_batch_size": 3},
    {},
    {"max_tokens": 24},
    {"share_prompts": False, "max_tokens": 24},
]


@pytest.fixture
def policy(model, tokenizer, tmp_path):
    """A model whose log-probabilities are far from each other."""
    save_model(model, tokenizer, tmp_path / "policy")
    moved = load_model(str(tmp_path / "policy"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return moved


def pairs():
    """Seven pairs of answers of different lengths, three of one prompt, against a reference that ranks otherwise."""
    generator = torch.Generator().manual_seed(2)

    def answer():
        length = int(torch.randint(1, 7, (1,), generator=generator))
        return [*torch.randint(10, 300, (length,), generator=generator).tolist(), 2]

    prompts = [[1, 5], [1, 5], [1, 5], [1, 6, 7], [1, 8], [1, 9, 9, 9], [1, 4]]
    groups = [PromptGroup(prompt, (answer(), answer())) for prompt in prompts]
    noise = 3 * torch.randn(7, 2, generator=generator)
    found = []
    for group, (chosen, rejected) in zip(groups, noise.tolist(), strict=True):
        lengths = [len(completion) for completion in group.completions]
        found.append(Item(group, reference=(-6.0 * lengths[0] + chosen, -6.0 * lengths[1] + rejected)))
    return found


def values(policy, items):
    """The plain way, one padded batch in one graph: sums [7, 2], lengths [7, 2] and WPO's log-weights [7, 2]."""
    batch = pad([(item.group.prompt, completion) for item in items for completion in item.group.completions], 3)
    logits = policy(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    mask = labels != IGNORED
    scores = logits.double().log_softmax(-1)
    logps = scores.gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2) * mask
    twice = scores.detach().exp().square().sum(-1).log() * mask
    tokens = mask.sum(1)
    weights = (logps.detach() - twice).sum(1) / tokens
    return (found.view(-1, 2) for found in (logps.sum(1), tokens, weights))


def expected(name, policy, items):
    """The mean loss of the batch by its equation."""
    sums, tokens, weights = values(policy, items)
    reference = torch.tensor([item.reference for item in items], dtype=torch.float64)
    ratios = sums - reference
    if name == "aot":
        h = (sums[:, 0] - sums[:, 1]).sort().values - (reference[:, 0] - reference[:, 1]).sort().values
    elif name == "aot_unpaired":
        h = ratios[:, 0].sort().values - ratios[:, 1].sort().values
    elif name == "sft":
        return -sums[:, 0].sum() / tokens[:, 0].sum()
    else:
        h = ratios[:, 0] - ratios[:, 1]
    losses = -logsigmoid(0.3 * h)
    if name.startswith("wpo"):
        weighed = weights.sum(1).exp()
        losses = losses * (weighed if name == "wpo" else weighed.clamp(max=0.05))
    return losses.mean()


CASES = {
    "aot": (Aot(beta=0.3), None),
    "aot_unpaired": (AotUnpaired(beta=0.3), None),
    "sft": (Nll(mean_over="tokens"), None),
    "wpo": (Sigmoid(beta=0.3), Wpo(limit=None)),
    "wpo, limited": (Sigmoid(beta=0.3), Wpo(limit=0.05)),
}


def trainer_of(policy, items, tmp_path, objective, weighting=None, **split):
    settings = Training(batch_size=len(items), **split)
    if settings.engine != "padded":
        use_packed(base_model(policy))
    return DpoTrainer(
        objective=objective,
        weighting=weighting,
        model=policy,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(items),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Items(items),
        data_collator=Collator(settings, 3),
    )


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_an_update_is_its_equation_and_so_is_its_gradient(policy, tmp_path, name, split):
    items = pairs()
    plainly = expected(name, policy, items)
    plainly.backward()
    slope = {key: weight.grad.clone() for key, weight in policy.named_parameters()}
    policy.zero_grad()
    trainer = trainer_of(policy, items, tmp_path, *CASES[name], **split)
    batch = trainer.data_collator(items)
    assert (len(batch["batch"].forwards) > 1) == (len(split) > 1 or "max_tokens" in split)
    loss = trainer.training_step(policy, batch)
    assert float(loss) == pytest.approx(plainly.item(), abs=1e-5)
    scale = max(float(value.abs().max()) for value in slope.values())
    for key, weight in policy.named_parameters():
        torch.testing.assert_close(weight.grad, slope[key], rtol=0, atol=2e-5 * scale, msg=key)
    assert trainer.measured(items)["loss"] == pytest.approx(plainly.item(), abs=1e-5)


@pytest.mark.parametrize("hooked", [False, True])
def test_both_engines_weigh_alike_whatever_computes_the_head(policy, tmp_path, hooked):
    """Where something hooks into the head, the head itself is called, and not our product."""
    items = pairs()
    padded = trainer_of(policy, items, tmp_path, Sigmoid(), Wpo(), engine="padded").measured(items)["weights"]
    if hooked:
        policy.get_output_embeddings().register_forward_hook(lambda *_: None)
    packed = trainer_of(policy, items, tmp_path, Sigmoid(), Wpo(), max_tokens=24).measured(items)["weights"]
    assert 0 < padded < 1
    assert packed == pytest.approx(padded, rel=1e-5)


@pytest.mark.parametrize("engine", [{"engine": "padded", "micro_batch_size": 2}, {"max_tokens": 24}], ids=str)
def test_dropout_leaves_out_the_same_before_and_in_the_passes_with_a_gradient(policy, tmp_path, engine, monkeypatch):
    adapted = add_adapter(policy, Lora(rank=4, dropout=0.5, targets="all-linear"), 0)
    with torch.no_grad():
        for key, weight in adapted.named_parameters():
            if "lora_B" in key:
                weight.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    items = pairs()
    trainer = trainer_of(adapted, items, tmp_path, Aot(), **engine)
    seen = []
    make = trainer._pairs

    def watch(forward, found):
        made = make(forward, found)
        seen.append(made)
        return made

    monkeypatch.setattr(trainer, "_pairs", watch)
    trainer.training_step(adapted, trainer.data_collator(items))
    before, after = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(before) == len(after) > 1
    for first, second in zip(before, after, strict=True):
        assert torch.equal(first.policy_chosen, second.policy_chosen.detach())
    places = torch.cat([made.update.places for made in after])
    assert places.tolist() == list(range(len(items)))
    dropped = float(torch.cat([made.policy_chosen for made in before]).mean())
    assert trainer.measured(items)["logps/chosen"] != pytest.approx(dropped, abs=1e-3)


def test_a_loss_that_sets_no_pairs_against_others_is_computed_once(policy, tmp_path, monkeypatch):
    from notus.train import trainer as trainers

    items, counted = pairs(), []
    computed = trainers.completion_sums
    monkeypatch.setattr(trainers, "completion_sums", lambda *a, **k: counted.append(1) or computed(*a, **k))
    for objective, times in ((Sigmoid(), 1), (Aot(), 2), (read_loss("sft"), 1)):
        trainer = trainer_of(policy, items, tmp_path, objective, max_tokens=24)
        batch = trainer.data_collator(items)
        counted.clear()
        trainer.training_step(policy, batch)
        assert len(counted) == times * len(batch["batch"].forwards)
    one = trainer_of(policy, items, tmp_path, Aot())
    counted.clear()
    one.training_step(policy, one.data_collator(items))
    assert len(counted) == 1


def test_an_update_knows_its_mean_length_in_evaluation_too(policy, tmp_path):
    items = pairs()
    others = [replace(item, group=PromptGroup(item.group.prompt, item.group.completions[::-1])) for item in items]
    wanted = [expected("sft", policy, of).item() for of in (items, others)]
    trainer = trainer_of(policy, items, tmp_path, Nll(mean_over="tokens"), max_tokens=24)
    found = [trainer.measured(of)["loss"] for of in (items, others)]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert abs(wanted[0] - wanted[1]) > 1e-2
