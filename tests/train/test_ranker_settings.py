import pytest

from notus.core.errors import ConfigError
from notus.steps.train.ranker import TrainRanker
from notus.train.ranker_settings import RankerTraining


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"form": "pairrm", "limits": {"max_length": 64, "max_prompt_length": 8}}, "limits belongs to 'form: reward-"),
        ({"form": "pairrm", "shape": {}}, "shape belongs to"),
        ({"both_orders": True}, "both_orders belongs to 'form: pairrm'"),
        ({"budget": {"source": 9}}, "budget belongs to"),
        ({"vocabulary": 400}, "vocabulary belongs to"),
        ({"form": "pairm"}, "did you mean 'pairrm'"),
        ({"margin": -1}, "margin"),
        ({"engine": "packed"}, "'engine'"),
    ],
)
def test_a_setting_that_would_do_nothing_is_an_error(settings, words):
    with pytest.raises(ConfigError) as caught:
        RankerTraining.parse(settings, where="x")
    assert words in str(caught.value)


def test_the_size_of_what_is_made_excludes_a_start():
    with pytest.raises(ConfigError, match="vocabulary is the size of a model that is made"):
        TrainRanker.parse({"form": "pairrm", "start": "x", "vocabulary": 400}, where="x")
    assert TrainRanker.parse({"form": "pairrm", "start": "x"}, where="x").start == "x"
