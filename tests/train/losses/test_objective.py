import subprocess
import sys

import pytest

from notus.core.config import Config
from notus.core.errors import ConfigError
from notus.train.losses.answers import Bco
from notus.train.losses.base import UnpairedLoss
from notus.train.losses.lengths import LdDpo
from notus.train.losses.margin import Margin, Robust, Sigmoid
from notus.train.losses.objective import (
    PairObjective,
    UnpairedObjective,
    Weighted,
    needs,
    reward_beta,
    terms,
)
from notus.train.losses.reference_free import Nll, Orpo, Simpo
from notus.train.losses.unpaired import Kto
from tests.helpers.loss_examples import CONFIGS


class Recipe(Config):
    loss: PairObjective = Sigmoid()
    rows: UnpairedObjective = Kto()


def parse(loss):
    return Recipe.parse({"loss": loss}, where="r.yaml")


@pytest.mark.parametrize("cls", CONFIGS.values())
def test_each_loss_is_read_back_as_it_was(cls):
    key = "rows" if issubclass(cls, UnpairedLoss) else "loss"
    recipe = Recipe(**{key: cls()})
    assert next(iter(recipe.resolved()[key])) == "name"
    again = Recipe.parse(recipe.resolved(), where="r.yaml")
    assert again == recipe
    assert type(getattr(again, key)) is cls
    assert hash(again) == hash(recipe)
    assert Recipe.parse({key: cls().name}, where="r.yaml") == recipe  # the name alone


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
            "no option 'label_smoothing' (it is one of aot, aot_unpaired, cdpo, exo, robust); kn",
        ),
        ({"name": "cdpo", "label_smoothng": 0.1}, "no option 'label_smoothng'; did you mean 'label_smoothing'?"),
        ({"name": "nll", "beta": 0.1}, "the loss 'nll' has no option 'beta'; known: mean_over"),
        ({"name": "orpo", "beta": 0.1}, "the loss 'orpo' has no option 'beta'; known: odds_weight"),
        ({"name": "sigmod"}, "there is no loss 'sigmod'; did you mean 'sigmoid'?"),
        ({"name": "kto"}, "'kto' is no loss of pairs; known: aot, aot_unpaired, apo_down"),
        ({"name": "ipo_mean", "gama": 0.1}, "the loss 'ipo_mean' has no option 'gama'"),
        ({"beta": 0.1}, "a mapping with a name"),
        (3, "a mapping with a name"),
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
    assert needs(free) == set()
    assert needs((*free, Weighted(loss=Sigmoid()))) == {"reference"}
    every = (Weighted(loss=LdDpo()), Weighted(loss=Margin()), Weighted(loss=Bco()))
    assert needs(every) == {"reference", "prefix", "scores", "shift"}
    assert needs(Kto()) == {"reference", "kl"}


def test_rewards_are_reported_by_the_first_beta():
    assert reward_beta(Sigmoid(beta=0.3)) == 0.3
    assert reward_beta((Weighted(loss=Nll()), Weighted(loss=Simpo(beta=2.5)), Weighted(loss=Sigmoid()))) == 2.5
    assert reward_beta(Orpo()) == 1.0


def test_settings_need_no_torch():
    code = "import sys, notus.train.settings\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
