"""Losses by name: TRL's names, the nearest by meaning, and losses of the user's."""

import json
import math
from importlib import metadata

import pytest
import torch

from notus.core.config import Config
from notus.core.errors import ConfigError, DataError
from notus.train.losses.base import PairLoss
from notus.train.losses.inputs import UnpairedLogps
from notus.train.losses.lengths import IpoMean
from notus.train.losses.margin import Sigmoid
from notus.train.losses.objective import AnyObjective, pair_losses, read_loss, row_losses
from notus.train.losses.registry import ALIASES, FAMILIES, class_of, losses_of
from tests.helpers.loss_examples import CONFIGS, pairs_of, tensor

TRL = {
    "sigmoid": {"name": "sigmoid"},
    "hinge": {"name": "hinge"},
    "ipo": {"name": "ipo_mean"},
    "exo_pair": {"name": "exo"},
    "nca_pair": {"name": "nca"},
    "robust": {"name": "robust"},
    "bco_pair": {"name": "bco", "shifted": False},
    "sppo_hard": {"name": "sppo_hard"},
    "aot": {"name": "aot"},
    "aot_unpaired": {"name": "aot_unpaired"},
    "aot_pair": {"name": "aot_unpaired"},
    "apo_zero": {"name": "apo_zero"},
    "apo_down": {"name": "apo_down"},
    "discopop": {"name": "discopop"},
    "sft": {"name": "nll", "mean_over": "tokens"},
    "sigmoid_norm": {"name": "sigmoid_norm"},
    "kto": {"name": "kto"},
}
"""The names of TRL 1.16's ``loss_type``, and the older one of ``aot_unpaired`` → what they mean here."""


class Recipe(Config):
    loss: AnyObjective = Sigmoid()


def parse(loss):
    return Recipe.parse({"loss": loss}, where="r.yaml")


@pytest.mark.parametrize("name", TRL)
def test_the_names_of_trl_are_read_and_ours_are_written(name):
    meant = {**CONFIGS[TRL[name]["name"]]().resolved(), **TRL[name]}
    assert parse(name).resolved() == {"loss": meant}
    assert parse({"name": name}).resolved() == {"loss": meant}
    assert parse(meant) == parse(name)


def test_an_alias_is_no_name_of_a_loss_and_its_options_are_the_loss_own():
    assert not set(ALIASES) & set(CONFIGS)
    for name, options in ALIASES.values():
        assert set(options) <= set(CONFIGS[name]().options())


def test_an_option_beside_an_alias_takes_the_place_of_what_it_means():
    assert parse({"name": "bco_pair", "shifted": True}).loss == CONFIGS["bco"]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ipoo", "did you mean 'ipo_mean'?"),
        ("ipo_pair", "did you mean 'ipo_mean'?"),
        ("IPO-mean", "did you mean 'ipo_mean'?"),
        ("dpo", "did you mean 'sigmoid'?"),
        ("slic", "did you mean 'hinge'?"),
        ("kto_pair", "did you mean 'kto'?"),
        ("exo_pairs", "did you mean 'exo'?"),
        ("simp", "did you mean 'simpo'?"),
        ("ppo", "rounds"),
        ("GRPO", "rounds"),
        ("mpo", "weighted sum"),
        ("cpo", "without a reference"),
    ],
)
def test_a_wrong_name_is_answered_by_its_meaning_first(name, words):
    with pytest.raises(ConfigError) as caught:
        parse(name)
    assert f"there is no loss '{name}'; " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ipo_is_never_answered_with_simpo():
    assert type(parse("ipo").loss) is IpoMean
    for name in ("ip", "IPO", "ipo1", "ipo_", "i_po", "dpo", "po"):
        with pytest.raises(ConfigError) as caught:
            parse(name)
        assert "did you mean 'simpo'" not in str(caught.value), name


def test_every_loss_of_a_family_is_found_without_a_list_of_names():
    defined = {
        found
        for family in FAMILIES
        for found in vars(family).values()
        if isinstance(found, type) and issubclass(found, Config) and found.__module__ == family.__name__
    }
    named = {found for found in defined if found.model_fields["name"].default}
    assert named == set(CONFIGS.values())
    assert all(class_of(name).model_fields["name"].default == name for name in losses_of(PairLoss))


# ---------------------------------------------------------------------------------------------- the user's own

MINE = '''
from pydantic import Field

from notus.train.losses.base import PairLoss, minus_log_sigmoid


class Halved(PairLoss):
    """DPO of half the margin."""

    beta: float = Field(default=0.1, gt=0)
    powers: tuple[int, ...] = (1,)

    def losses(self, pairs):
        return minus_log_sigmoid(0.5 * self.beta * pairs.ratio_gaps)
'''
"""The ten lines of CONTRIBUTING: a loss in one file of the user's."""

FUNCTIONS = """
import torch


def softplus(pairs, *, beta=0.1, sharp=2):
    return torch.nn.functional.softplus(-beta * pairs.ratio_gaps * sharp)


def fails(pairs):
    return pairs.no_such_thing


def single(pairs):
    return pairs.ratio_gaps.mean()


def number(pairs):
    return 3.0


def cut(pairs):
    return pairs.ratio_gaps.detach()


def takes_nothing():
    return 0


class Thing:
    pass


value = 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "more.py").write_text(FUNCTIONS)
    return tmp_path


@pytest.mark.usefixtures("place")
def test_a_class_of_the_users_is_a_loss_like_any_other():
    recipe = parse({"name": "python:mine.py:Halved", "beta": 0.2, "powers": [1, 2]})
    written = {"name": "python:mine.py:Halved", "beta": 0.2, "powers": [1, 2]}
    assert recipe.resolved() == {"loss": written}
    assert parse(json.loads(json.dumps(written))).resolved() == recipe.resolved()
    pairs = pairs_of([-5.0], [-9.0], [-6.0], [-7.0])
    assert pair_losses(recipe.loss, pairs).tolist() == pytest.approx([math.log1p(math.exp(-0.1 * 3.0))])
    with pytest.raises(ConfigError, match=r"'loss\.beta' is 0"):
        parse({"name": "python:mine.py:Halved", "beta": 0})
    with pytest.raises(ConfigError, match=r"the loss 'python:mine.py:Halved' has no option 'bta'; did you mean 'beta'"):
        parse({"name": "python:mine.py:Halved", "bta": 0.1})
    assert parse([{"weight": 2, "loss": "python:mine.py:Halved"}]).loss[0].loss.beta == 0.1


@pytest.mark.usefixtures("place")
def test_a_function_of_the_users_is_a_loss_and_its_parameters_are_its_options():
    recipe = parse({"name": "python:more.py:softplus", "sharp": 3})
    assert recipe.resolved()["loss"] == {"name": "python:more.py:softplus", "beta": 0.1, "sharp": 3}
    pairs = pairs_of([-5.0], [-9.0], [-6.0], [-7.0])
    assert pair_losses(recipe.loss, pairs).tolist() == pytest.approx([math.log1p(math.exp(-0.1 * 3.0 * 3))])
    with pytest.raises(ConfigError, match="has no option 'shrp'; did you mean 'sharp'"):
        parse({"name": "python:more.py:softplus", "shrp": 3})
    with pytest.raises(ConfigError, match="has no option at all"):
        parse({"name": "python:more.py:single", "beta": 3})


def test_in_python_a_class_an_instance_or_a_function_is_taken_and_recorded_by_its_file(place, monkeypatch):
    monkeypatch.syspath_prepend(place)
    import mine
    import more

    assert read_loss(mine.Halved).resolved()["name"] == f"python:{place}/mine.py:Halved"
    assert mine.Halved().resolved()["name"] == f"python:{place}/mine.py:Halved"
    config = Recipe(loss=mine.Halved(beta=0.3))
    assert config.resolved()["loss"] == {"name": f"python:{place}/mine.py:Halved", "beta": 0.3, "powers": [1]}
    assert parse(config.resolved()["loss"]).resolved() == config.resolved()
    assert read_loss(more.softplus).resolved() == {
        "name": f"python:{place}/more.py:softplus",
        "beta": 0.1,
        "sharp": 2,
    }
    assert parse(mine.Halved(beta=0.3)).resolved() == config.resolved()
    assert parse(Sigmoid(beta=0.3)).loss == Sigmoid(beta=0.3)
    space = {}
    exec("def typed(pairs):\n    return pairs.ratio_gaps.square()\n", space)  # as in a notebook: no file
    pairs = pairs_of([-5.0], [-9.0], [-6.0], [-7.0])
    loss = read_loss(space["typed"])
    assert pair_losses(loss, pairs).tolist() == [9.0]
    assert pair_losses(parse(loss.resolved()).loss, pairs).tolist() == [9.0]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("python:more.py:value", "has no function or class 'value'"),
        ("python:more.py:Thing", "no loss"),
        ("python:more.py:takes_nothing", "must take pairs"),
        ("python:gone.py:x", "no file gone.py"),
    ],
)
def test_what_is_no_loss_is_refused_when_it_is_read(name, words):
    with pytest.raises(ConfigError) as caught:
        parse(name)
    assert words in str(caught.value)
    assert str(caught.value).startswith("r.yaml: 'loss' is 'python:")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fails", "more.py:10: AttributeError"),
        ("single", r"a tensor of the shape \[\] for 2"),
        ("number", "a float for 2"),
        ("cut", "without a gradient"),
    ],
)
def test_a_loss_that_fails_is_told_in_one_line_with_its_place(name, words):
    policy = torch.tensor([[-5.0, -4.0], [-9.0, -8.0]], dtype=torch.float64, requires_grad=True)
    pairs = pairs_of([0.0] * 2, [0.0] * 2, [-6.0] * 2, [-7.0] * 2)
    pairs = type(pairs)(**{**vars(pairs), "policy_chosen": policy[0], "policy_rejected": policy[1]})
    with pytest.raises(DataError, match=words) as caught:
        pair_losses(parse(f"python:more.py:{name}").loss, pairs)
    assert f"python:more.py:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_of_single_rows_of_the_users(tmp_path):
    (tmp_path / "rows.py").write_text(
        "from notus.train.losses.base import UnpairedLoss\n\n\n"
        "class Linear(UnpairedLoss):\n"
        "    def losses(self, rows):\n"
        "        return rows.ratios.where(~rows.desirable, -rows.ratios)\n"
    )
    loss = parse(f"python:{tmp_path}/rows.py:Linear").loss
    rows = UnpairedLogps(tensor([-1.0, -2.0]), tensor([-3.0, -3.0]), torch.tensor([True, False]))
    assert row_losses(loss, rows).tolist() == [-2.0, 1.0]


def test_an_installed_package_registers_a_loss(place, monkeypatch):
    monkeypatch.syspath_prepend(place)
    point = metadata.EntryPoint("halved", "mine:Halved", "notus.losses")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "notus.losses" else [])
    loss = parse({"name": "halved", "beta": 0.4})
    assert loss.resolved() == {"loss": {"name": "halved", "beta": 0.4, "powers": [1]}}
    with pytest.raises(ConfigError, match="did you mean 'halved'"):
        parse("halve")
