import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import digest
from notus.data.critique_text import FOLDS, fold_of
from notus.data.folds import Fold


@given(st.text(), st.integers(2, 100))
def test_each_prompt_is_in_one_fold(text: str, of: int) -> None:
    prompt = digest(text)
    assert sum(Fold(of=of, number=number).holds(prompt) for number in range(of)) == 1


def test_folds_are_about_equal() -> None:
    prompts = [digest(str(n)) for n in range(3000)]
    sizes = [sum(map(Fold(of=3, number=number).holds, prompts)) for number in range(3)]
    assert sum(sizes) == 3000
    assert min(sizes) > 900


def test_five_folds_are_those_of_the_critiques() -> None:
    prompts = [digest(str(n)) for n in range(50)]
    assert all(Fold(of=FOLDS, number=fold_of(prompt)).holds(prompt) for prompt in prompts)


@pytest.mark.parametrize(
    ("settings", "words"), [({"of": 2, "number": 2}, "no fold 2 of 2"), ({"of": 1, "number": 0}, "'of' is 1")]
)
def test_a_fold_that_there_is_not(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Fold.parse(settings, where="test")
