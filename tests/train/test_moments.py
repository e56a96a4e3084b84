import pytest

from notus.core.errors import ConfigError
from notus.train.moments import Every
from notus.train.settings import Training


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("100", "updates", 100),
        ("100 steps", "updates", 100),
        ("1 epoch", "epochs", 1),
        ("10 min", "seconds", 600),
        ("1.5h", "seconds", 5400),
        ("30 seconds", "seconds", 30),
        ("auto", "auto", 0),
        ("never", "never", 0),
    ],
)
def test_what_a_setting_says(text, unit, number):
    assert Every.read(text) == Every(unit, number)


@pytest.mark.parametrize("text", ["", "often", "-3", "1.5", "0.5 epochs", "10 fortnights", "0 min"])
def test_what_says_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="save_every"):
        Training.parse({"save_every": text}, where="x")


def test_updates_and_epochs_fall_on_updates():
    assert [n for n in range(1, 13) if Every.read("5").falls_on(n, 4)] == [5, 10]
    assert [n for n in range(1, 13) if Every.read("2 epochs").falls_on(n, 3)] == [6, 12]
    assert not any(Every.read("1 s").falls_on(n, 3) for n in range(9))


def test_a_number_is_one_of_updates():
    parsed = Training.parse({"save_every": 50, "evaluate_every": 20}, where="x")
    assert (parsed.save_every, parsed.evaluate_every) == ("50", "20")


def test_the_names_of_transformers_are_read():
    given = {
        "save_steps": 10,
        "save_total_limit": 3,
        "eval_steps": 5,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_rewards/accuracies",
        "early_stopping_patience": 2,
    }
    parsed = Training.parse(given, where="x")
    assert (parsed.save_every, parsed.keep, parsed.evaluate_every, parsed.patience) == ("10", 3, "5", 2)
    assert (parsed.load_best, parsed.best_by) == (True, "accuracy")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"patience": 3}, "evaluate_every"),
        ({"load_best": True}, "evaluate_every"),
        ({"best_by": "accuracy"}, "evaluate_every"),
        ({"evaluate_every": "10 min"}, "evaluate_every"),
        ({"evaluate_every": 5, "load_best": True, "save_every": "never"}, "save_every"),
        ({"metric_for_best_model": "eval_bleu"}, "eval_bleu"),
        ({"save_strategy": "steps"}, "save_every"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(given, named):
    with pytest.raises(ConfigError, match=named):
        Training.parse(given, where="x")


def test_how_often_is_saved_is_no_part_of_what_a_run_is_compared_by():
    assert {"save_every", "keep"}.isdisjoint(Training(save_every="5", keep=2).resolved())
