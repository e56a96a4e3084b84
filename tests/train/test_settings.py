"""Settings of training under transformers' and TRL's names: read everywhere, written under ours, one at a time."""

import pytest
import yaml

from notus.core.config import merge
from notus.core.errors import ConfigError
from notus.engine.settings import Limits
from notus.train.losses.margin import Sigmoid
from notus.train.losses.unpaired import Kto
from notus.train.ranker_settings import RankerTraining
from notus.train.settings import PreferenceTraining, Training

TRANSFORMERS = """
num_train_epochs: 3
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
learning_rate: 1.0e-6
lr_scheduler_type: linear
warmup_ratio: 0.05
optim: adamw_torch
weight_decay: 0.01
max_grad_norm: 0.5
gradient_checkpointing: true
bf16: true
fp16: false
logging_steps: 5
report_to: none
max_length: 512
max_prompt_length: 128
"""
OURS = {
    "epochs": 3.0,
    "batch_size": 32,
    "learning_rate": 1e-6,
    "schedule": "linear",
    "warmup": 0.05,
    "optimizer": "adamw_torch",
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
    "activation_checkpointing": True,
    "precision": "bfloat16",
    "log_every": 5,
    "report_to": [],
    "limits": {"max_length": 512, "max_prompt_length": 128, "system": None, "reasoning": "drop", "tools": False}
    | {"chat_template": None, "template_options": {}},
}


def changed(config):
    plain = type(config)().resolved()
    return {key: value for key, value in config.resolved().items() if value != plain[key]}


@pytest.mark.parametrize("kind", [Training, PreferenceTraining, RankerTraining])
def test_the_names_of_transformers_are_read_and_ours_are_written(kind):
    given = yaml.safe_load(TRANSFORMERS)
    config = kind.parse(given, where="x.yaml")
    assert config == kind.parse(OURS, where="x.yaml")
    written = {key: value for key, value in OURS.items() if key != "report_to"}  # which decides no result
    assert {key: config.resolved()[key] for key in written} == written
    assert config.report_to == ()
    assert not {"num_train_epochs", "bf16", "max_length"} & set(config.resolved())


def test_in_python_they_are_keywords_too():
    config = PreferenceTraining(num_train_epochs=2.0, per_device_train_batch_size=8, loss_type="ipo", max_length=768)
    assert changed(config) == {
        "epochs": 2.0,
        "batch_size": 8,
        "loss": {"name": "ipo_mean", "beta": 0.1},
        "limits": Limits(max_length=768).resolved(),
    }


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        ({"beta": 0.3}, {"name": "sigmoid", "beta": 0.3}),
        ({"loss_type": "ipo", "beta": 0.2}, {"name": "ipo_mean", "beta": 0.2}),
        ({"loss_type": ["exo_pair"], "label_smoothing": 0.01}, {"name": "exo", "beta": 0.1, "label_smoothing": 0.01}),
        ({"loss_type": "discopop", "discopop_tau": 0.1}, {"name": "discopop", "beta": 0.1, "tau": 0.1}),
        ({"loss": "hinge", "beta": 0.2}, {"name": "hinge", "beta": 0.2}),
        ({"loss": {"name": "robust"}, "label_smoothing": 0.2}, {"name": "robust", "beta": 0.1, "label_smoothing": 0.2}),
        (
            {"loss_type": "kto", "desirable_weight": 2.0},
            {"name": "kto", "beta": 0.1, "desirable_weight": 2.0, "undesirable_weight": 1.0},
        ),
        (
            {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "beta": 0.05},
            [
                {"weight": 0.8, "loss": {"name": "sigmoid", "beta": 0.05}},
                {"weight": 0.2, "loss": {"name": "bco", "beta": 0.05, "shifted": False}},
                {"weight": 1.0, "loss": {"name": "nll", "mean_over": "tokens"}},
            ],
        ),
    ],
)
def test_trls_loss_and_its_options_are_one_setting(given, loss):
    config = PreferenceTraining.parse(given, where="x")
    assert changed(config) == ({"loss": loss} if loss != Sigmoid().resolved() else {})
    assert PreferenceTraining.parse(config.resolved(), where="x") == config


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 1, "num_train_epochs": 2}, ["'epochs'", "'num_train_epochs'"]),
        ({"batch_size": 8, "per_device_train_batch_size": 4}, ["'batch_size'", "'per_device_train_batch_size'"]),
        ({"precision": "float32", "bf16": True}, ["'precision'", "'bf16'"]),
        ({"limits": {"max_length": 64}, "max_length": 32}, ["'limits.max_length'", "'max_length'"]),
        ({"loss": "ipo", "loss_type": "ipo"}, ["'loss'", "'loss_type'"]),
        ({"loss": {"name": "ipo", "beta": 0.1}, "beta": 0.2}, ["'loss.beta'", "'beta'"]),
        ({"weighting": "wpo", "use_weighting": True}, ["'weighting'", "'use_weighting'"]),
    ],
)
def test_two_names_of_one_setting_at_once_are_an_error_that_names_both(given, words):
    with pytest.raises(ConfigError) as caught:
        PreferenceTraining.parse(given, where="x.yaml")
    assert all(word in str(caught.value) for word in ["x.yaml: ", *words, "two names of one setting"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bf16": True, "fp16": True}, "'bf16' and 'fp16' are two names of one setting"),
        ({"dtype": "float16", "precision": "bfloat16"}, "weights that are kept in float16"),
        ({"bf16": "yes"}, "'bf16' is 'yes'"),
        ({"warmup_steps": 100}, "set 'warmup'"),
        ({"gradient_accumulation_steps": 4}, "'per_device_train_batch_size', which is not given"),
        ({"logging_steps": 0.5}, "'logging_steps' is 0.5"),
        ({"optim": "adamw_torhc"}, "'optim' is 'adamw_torhc': did you mean 'adamw_torch'?"),
        ({"loss_weights": [1.0]}, "belongs to 'loss_type'"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "a list of 2 weights"),
        ({"loss_type": 3}, "'loss_type' is 3"),
        ({"loss_type": "sigmoid", "label_smoothing": 0.1}, "the loss 'sigmoid' has no option 'label_smoothing'"),
        ({"loss_type": ["sigmoid", "ipo"], "label_smoothing": 0.1}, "'label_smoothing' stands beside a weighted sum"),
        ({"loss_type": ["sigmoid", "ppo"]}, "there is no loss 'ppo'"),
        ({"lr": 1e-6}, "did you mean 'learning_rate'?"),
        ({"num_epochs": 3}, "did you mean 'epochs'?"),
        ({"lr_scheduler": "cosine"}, "did you mean 'schedule'?"),
        ({"max_seq_length": 512}, "did you mean 'limits.max_length'?"),
        ({"max_steps": 100}, "'epochs' says how long"),
        ({"ld_alpha": 0.5}, "ld_dpo"),
        ({"num_train_epoch": 3}, "did you mean 'epochs'?"),
    ],
)
def test_what_has_no_meaning_here_is_said_in_one_line(given, words):
    with pytest.raises(ConfigError) as caught:
        PreferenceTraining.parse(given, where="x.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_laid_over_another_of_the_same_setting_takes_its_place():
    base = {"loss": "ipo", "batch_size": 32, "limits": {"max_length": 512}}
    over = {"beta": 0.3, "per_device_train_batch_size": 4, "max_length": 256}
    laid = PreferenceTraining.lay(base, over)
    assert laid == {"loss": {"name": "ipo", "beta": 0.3}, "batch_size": 4, "limits": {"max_length": 256}}
    assert PreferenceTraining.lay({}, {"beta": 0.3}) == {"loss": {"name": "sigmoid", "beta": 0.3}}
    assert PreferenceTraining.lay({"loss_type": "ipo", "beta": 0.2}, {"loss": {"beta": 0.3}}) == {
        "loss": {"name": "ipo", "beta": 0.3}
    }
    # Another loss is another loss: the options of the one below are none of its.
    assert PreferenceTraining.lay({"loss_type": "exo_pair", "label_smoothing": 0.1}, {"loss_type": "ipo"}) == {
        "loss": {"name": "ipo"}
    }
    with pytest.raises(ValueError, match="'beta' stands beside a weighted sum"):
        PreferenceTraining.lay({"loss": [{"loss": "nll"}]}, {"beta": 0.3})


def test_settings_under_our_names_are_laid_as_they_always_were():
    base, over = {"loss": {"name": "robust", "beta": 0.2}, "epochs": 2}, {"loss": {"label_smoothing": 0.2}}
    assert PreferenceTraining.lay(base, over) == merge(base, over)


def test_defaults_are_dpo_with_all_pairs_alike():
    config = PreferenceTraining.parse({}, where="x")
    assert config.loss == Sigmoid(beta=0.1)
    assert config.weighting is None
    assert PreferenceTraining.parse({"loss": "kto"}, where="x").loss == Kto()
