"""WPO's weights against their equation on a whole vocabulary, and on the loss."""

import math
from dataclasses import replace

import pytest
import torch

from notus.core.errors import ConfigError
from notus.train.losses.margin import Sigmoid
from notus.train.losses.objective import Weighted, pair_losses
from notus.train.losses.reference_free import Nll
from notus.train.losses.weighting import Wpo
from notus.train.settings import PreferenceTraining
from tests.helpers.loss_examples import pairs_of, tensor


def example():
    """Two pairs of three and two tokens over a vocabulary of five, with their weights written out."""
    generator = torch.Generator().manual_seed(0)
    answers = [
        torch.randn(length, 5, generator=generator, dtype=torch.float64).log_softmax(-1) for length in (3, 2, 3, 2)
    ]
    tokens = [torch.tensor([0, 3, 1]), torch.tensor([4, 4]), torch.tensor([2, 2, 0]), torch.tensor([1, 3])]
    logps = [float(scores[range(len(ids)), ids].sum()) for scores, ids in zip(answers, tokens, strict=True)]
    collisions = [sum(math.log(sum(math.exp(p) ** 2 for p in at)) for at in of.tolist()) for of in answers]
    alone = [math.exp((logp - twice) / len(ids)) for logp, twice, ids in zip(logps, collisions, tokens, strict=True)]
    pairs = pairs_of(logps[0::2], logps[1::2], [-3.0, -5.0], [-4.0, -4.5], tokens=(3, 2))
    pairs = replace(pairs, chosen_collisions=tensor(collisions[0::2]), rejected_collisions=tensor(collisions[1::2]))
    return pairs, [alone[0] * alone[1], alone[2] * alone[3]]


def test_the_weight_of_a_pair_is_the_product_of_both_answers():
    pairs, expected = example()
    assert Wpo(limit=None).weights(pairs).tolist() == pytest.approx(expected, rel=1e-12)
    assert Wpo(limit=0.3).weights(pairs).tolist() == pytest.approx([min(0.3, value) for value in expected])
    assert len({value < 0.3 for value in expected}) == 2


def test_an_answer_as_likely_as_two_equal_draws_counts_one():
    """A uniform policy: each token has the probability that two draws are the same, whatever the vocabulary."""
    log = -math.log(1000)
    pairs = pairs_of([3 * log], [2 * log], [-1.0], [-1.0], tokens=(3, 2))
    pairs = replace(pairs, chosen_collisions=tensor([3 * log]), rejected_collisions=tensor([2 * log]))
    assert Wpo().weights(pairs).tolist() == pytest.approx([1.0], abs=1e-12)


def test_each_term_of_a_loss_is_weighed_and_no_gradient_goes_through_the_weights():
    pairs, expected = example()
    policy = pairs.policy_chosen.clone().requires_grad_()
    pairs = replace(pairs, policy_chosen=policy)
    objective = (Weighted(loss=Sigmoid()), Weighted(weight=0.5, loss=Nll()))
    plain, weighed = pair_losses(objective, pairs), pair_losses(objective, pairs, Wpo(limit=None))
    assert weighed.tolist() == pytest.approx([w * v for w, v in zip(expected, plain.tolist(), strict=True)])
    gradients = [torch.autograd.grad(values.sum(), policy)[0].tolist() for values in (plain, weighed)]
    assert gradients[1] == pytest.approx([w * g for w, g in zip(expected, gradients[0], strict=True)])


def test_without_the_probabilities_it_says_what_it_misses():
    with pytest.raises(ValueError, match="'wpo' needs"):
        Wpo().weights(pairs_of([-7.0], [-9.0], [-7.0], [-8.0]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weighting": "wpo", "loss": "aot"}, "leave the weighting out"),
        ({"use_weighting": True, "loss": [{"loss": "nll"}, {"loss": "aot_unpaired"}]}, "leave the weighting out"),
        ({"weighting": "wpo", "loss": "kto"}, "'kto' is a loss of single rows"),
        ({"weighting": "wpO"}, "did you mean 'wpo'"),
        ({"weighting": {"name": "wpo", "limit": 0}}, "'weighting.limit' is 0"),
        ({"loss": "wpo"}, "weighting: wpo"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(settings, words):
    with pytest.raises(ConfigError) as caught:
        PreferenceTraining.parse(settings, where="x")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_weighting_is_read_by_name_or_with_its_options():
    read = PreferenceTraining.parse
    assert read({}, where="x").weighting is None
    assert read({"weighting": "wpo"}, where="x").weighting == Wpo(limit=1.0)
    assert read({"weighting": {"name": "wpo", "limit": None}}, where="x").weighting == Wpo(limit=None)
    # TRL's has no limit since version 1.0.
    assert read({"use_weighting": True}, where="x").weighting == Wpo(limit=None)
    assert read({"use_weighting": False}, where="x").weighting is None
    for settings in ({"weighting": "wpo"}, {"use_weighting": True}):
        config = read(settings, where="x")
        assert read(config.resolved(), where="x") == config
