import subprocess
import sys

import pytest

from notus.core.config import Config
from notus.core.errors import ConfigError
from notus.train import loss_settings
from notus.train.loss_settings import (
    Bco,
    Kto,
    LdDpo,
    Margin,
    Nll,
    Orpo,
    PairObjective,
    Robust,
    Sigmoid,
    Simpo,
    UnpairedObjective,
    Weighted,
    needs_common_prefix,
    needs_kl,
    needs_reference,
    needs_score_margins,
    needs_shift,
    reward_beta,
    terms,
)


class Recipe(Config):
    loss: PairObjective = Sigmoid()
    rows: UnpairedObjective = Kto()


def parse(loss):
    return Recipe.parse({"loss": loss}, where="r.yaml")


@pytest.mark.parametrize("cls", [*loss_settings._PAIRED, *loss_settings._UNPAIRED])
def test_each_loss_is_read_back_as_it_was(cls):
    loss = cls()
    recipe = Recipe(rows=loss) if cls in loss_settings._UNPAIRED else Recipe(loss=loss)
    again = Recipe.parse(recipe.resolved(), where="r.yaml")
    assert again == recipe
    assert type(again.rows if cls in loss_settings._UNPAIRED else again.loss) is cls
    assert hash(again) == hash(recipe)


def test_a_list_is_a_weighted_sum():
    recipe = parse([{"weight": 0.8, "loss": {"name": "robust", "label_smoothing": 0.2}}, {"loss": {"name": "nll"}}])
    assert recipe.loss == (Weighted(weight=0.8, loss=Robust(label_smoothing=0.2)), Weighted(weight=1.0, loss=Nll()))
    assert terms(recipe.loss) == [(0.8, Robust(label_smoothing=0.2)), (1.0, Nll())]
    assert terms(Sigmoid()) == [(1.0, Sigmoid())]
    assert Recipe.parse(recipe.resolved(), where="r.yaml") == recipe


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            {"name": "sigmoid", "label_smoothing": 0.1},
            "no option 'label_smoothing' (it is one of cdpo, exo, robust); kn",
        ),
        ({"name": "cdpo", "label_smoothng": 0.1}, "no option 'label_smoothng'; did you mean 'label_smoothing'?"),
        ({"name": "nll", "beta": 0.1}, "the loss 'nll' has no option 'beta'; it has no option at all"),
        ({"name": "orpo", "beta": 0.1}, "the loss 'orpo' has no option 'beta'; known: odds_weight"),
        ({"name": "sigmod"}, "there is no loss 'sigmod'; did you mean 'sigmoid'?"),
        ({"name": "kto"}, "'kto' is no loss of pairs; known: apo_down"),
        ({"beta": 0.1}, "a loss is a mapping with a name"),
        ("sigmoid", "a loss is a mapping with a name"),
        ({"name": "robust", "label_smoothing": 0.5}, "'loss.label_smoothing' is 0.5: "),
        ({"name": "exo", "label_smoothing": 0.0}, "'loss.label_smoothing' is 0.0: "),
        ({"name": "discopop", "tau": 1.5}, "'loss.tau' is 1.5: "),
        ({"name": "sigmoid", "beta": 0.0}, "'loss.beta' is 0.0: "),
        ({"name": "sigmoid", "beta": "0.1"}, "'loss.beta' is '0.1': "),
        ([], "'loss' is []"),
        ([{"weight": 0.0, "loss": {"name": "nll"}}], "'loss.0.weight' is 0.0: "),
        ([{"weigth": 2.0, "loss": {"name": "nll"}}], "no key 'weigth'; did you mean 'weight'?"),
        ([{"loss": {"name": "simpo", "gama": 1.0}}], "the loss 'simpo' has no option 'gama'; did you mean 'gamma'?"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(loss, said):
    with pytest.raises(ConfigError) as caught:
        parse(loss)
    assert said in str(caught.value)
    assert str(caught.value).startswith("r.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_loss_of_pairs_is_none_of_rows():
    with pytest.raises(ConfigError, match="'sigmoid' is no loss of single rows; known: bco_unpaired, kto"):
        Recipe.parse({"rows": {"name": "sigmoid"}}, where="r.yaml")


def test_what_a_sum_needs_is_what_any_of_its_terms_needs():
    free = (Weighted(loss=Simpo()), Weighted(loss=Nll()))
    assert not needs_reference(free)
    assert needs_reference((*free, Weighted(loss=Sigmoid())))
    every = (Weighted(loss=LdDpo()), Weighted(loss=Margin()), Weighted(loss=Bco()))
    for needs in (needs_common_prefix, needs_score_margins, needs_shift):
        assert needs(every)
        assert not needs(free)
    assert needs_kl(Kto())
    assert not needs_kl(every)


def test_rewards_are_reported_by_the_first_beta():
    assert reward_beta(Sigmoid(beta=0.3)) == 0.3
    assert reward_beta((Weighted(loss=Nll()), Weighted(loss=Simpo(beta=2.5)), Weighted(loss=Sigmoid()))) == 2.5
    assert reward_beta(Orpo()) == 1.0


def test_settings_need_no_torch():
    code = "import sys, notus.train.loss_settings\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
