"""Per-token log-probabilities are the same to 1e-5 in whatever way they are computed, against one answer at a time."""

from itertools import combinations

import pytest
import torch

from notus.core.records import Message, Preference
from notus.core.run import Run
from notus.engine.adapters import add_adapter, base_model
from notus.engine.attention import packed
from notus.engine.load import load_model, save_model
from notus.engine.logps import token_logps
from notus.engine.pack import PackedRow
from notus.engine.padded import answer_token_logps, pad
from notus.engine.settings import Limits, Lora
from notus.engine.text.encoder import Encoder
from notus.train.batches import Collator, all_sums, encode_pairs
from notus.train.reference import kept_sums
from notus.train.settings import Training

AGREES = 1e-5
ANSWERS = ("cold, I hope", "hot", "The opposite is small. I hope this helps!", "no")
PAIRS = [
    Preference(
        prompt=(Message(role="user", content=f"{word}?"),),
        chosen=(Message(role="assistant", content=a),),
        rejected=(Message(role="assistant", content=b),),
    )
    for word in ("hot", "big and old", "up")
    for a, b in combinations(ANSWERS, 2)
]

# Name → settings of the batch, and chunk and kept bytes of the language-model head.
WAYS = {
    "padded": (Training(engine="padded"), {}),
    "padded, accumulated": (Training(engine="padded", micro_batch_size=4), {}),
    "packed": (Training(share_prompts=False), {}),
    "packed, accumulated": (Training(share_prompts=False, max_tokens=64), {}),
    "packed, chunked": (Training(share_prompts=False), {"chunk": 7}),
    "shared": (Training(), {}),
    "shared, accumulated": (Training(max_tokens=100), {}),
    "shared, split and chunked": (Training(max_tokens=48), {"chunk": 5}),
}
MODELS = ("as it is", "saved and loaded", "LoRA with zero B", "LoRA saved and loaded", "with a backward pass")


@pytest.fixture(scope="module")
def items(tokenizer):
    return encode_pairs(Encoder(tokenizer, Limits(max_length=96, max_prompt_length=48)), PAIRS)


@pytest.fixture(scope="module")
def base(model, tokenizer, tmp_path_factory):
    """A model whose log-probabilities are far from each other, and its folder."""
    folder = tmp_path_factory.mktemp("equality") / "base"
    save_model(model, tokenizer, folder)
    moved = load_model(str(folder))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    save_model(moved, tokenizer, folder)
    return moved, folder


@pytest.fixture(scope="module")
def expected(base, items):
    """For each item and completion the log-probabilities of its tokens, one row at a time, without padding, in fp64."""
    model, _ = base
    found = []
    for item in items:
        for completion in item.group.completions:
            ids = item.group.prompt + completion
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
            start = len(item.group.prompt)
            found.append([float(logits[place - 1, ids[place]]) for place in range(start, len(ids))])
    return found


@pytest.fixture(scope="module")
def models(base, tokenizer, tmp_path_factory):
    model, folder = base
    adapted = add_adapter(load_model(str(folder)), Lora(rank=4, dropout=0.0, targets="all-linear"), 0)
    saved = tmp_path_factory.mktemp("equality") / "adapter"
    save_model(adapted, tokenizer, saved)
    found = (model, load_model(str(folder)), adapted, load_model(str(saved)), load_model(str(folder)).train())
    return dict(zip(MODELS, found, strict=True))


def by_completion(model, items, settings, head):
    """Log-probabilities of each item's completions, token by token, in the order of the items."""
    found = {}
    for forward in Collator(settings, 3)(items)["batch"].forwards:
        if isinstance(forward.row, PackedRow):
            with packed(base_model(model)):
                logps = token_logps(base_model(model), forward.row, **head)
            completion_of = forward.row.completion_of
        else:
            logps, completion_of = answer_token_logps(model, forward.row)
        numbers = iter(forward.numbers.tolist())
        for item in forward.items:
            of = [logps[completion_of == number].tolist() for number in (next(numbers), next(numbers))]
            found[id(item)] = of
    return [logps for item in items for logps in found[id(item)]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_way_gives_the_same_to_1e_5(models, items, expected, kind, way):
    settings, head = WAYS[way]
    with torch.set_grad_enabled(kind == "with a backward pass"):
        ours = by_completion(models[kind], items, settings, head)
    assert max(abs(logp) for of in expected for logp in of) > 5
    for found, plainly in zip(ours, expected, strict=True):
        assert found == pytest.approx(plainly, abs=AGREES)


@pytest.mark.parametrize("way", [name for name in WAYS if "chunked" not in name])
def test_a_kept_reference_is_the_same_before_and_after_reading(base, items, expected, tmp_path, way):
    """Sums instead of tokens, so each may differ by 1e-5 for each of its tokens; a file gives the bits back."""
    model, folder = base
    settings, _ = WAYS[way]
    groups = [item.group for item in items]
    with Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        computed = kept_sums(run, str(folder), groups, settings, lambda of: all_sums(model, of, settings, 3))
        read = kept_sums(run, str(folder), groups, settings, lambda _: pytest.fail("computed again"))
    assert read == computed
    sums = [value for of in read for value in of]
    for found, plainly in zip(sums, expected, strict=True):
        assert found == pytest.approx(sum(plainly), abs=AGREES * len(plainly))


def test_shared_references_are_computed_once_for_each_answer(base, items, tmp_path):
    model, folder = base
    counted = []

    def compute(groups):
        counted.append(sum(len(group.completions) for group in groups))
        return all_sums(model, groups, Training(), 3)

    for share in (True, False):
        with Run(tmp_path / str(share), stage="dpo", config={}, inputs={}) as run:
            kept_sums(run, str(folder), [item.group for item in items], Training(share_prompts=share), compute)
    assert counted == [3 * 4, 3 * 6 * 2]


def test_one_row_at_a_time_is_what_padding_gives(base, items, expected):
    model, _ = base
    for item, plainly in zip(items, expected[0::2], strict=True):
        with torch.no_grad():
            logps, _ = answer_token_logps(model, pad([(item.group.prompt, item.group.completions[0])], 3))
        assert logps.tolist() == pytest.approx(plainly, abs=AGREES)
