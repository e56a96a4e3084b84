"""Every rule by which data are divided: disjoint, of about the sizes asked for, and the same sides as ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.core.records import digest
from notus.core.splits import FOLDS, Fold, fold_of, is_held_out, part_of, published_split, split
from tests.helpers.data_examples import completion, feedback

PROMPTS = [digest(f"question {number}") for number in range(40)]


def test_the_sides_are_those_of_existing_run_directories() -> None:
    """Written down from the version before the rules stood in one module."""
    held = {seed: [n for n, prompt in enumerate(PROMPTS) if is_held_out(prompt, 0.25, seed)] for seed in (0, 7)}
    assert held == {
        0: [2, 3, 4, 5, 7, 8, 10, 16, 24, 25, 29, 32, 36, 37],
        7: [2, 3, 5, 8, 12, 16, 24, 25, 30, 33, 35, 37, 39],
    }
    assert [fold_of(prompt) for prompt in PROMPTS[:12]] == [4, 0, 1, 0, 1, 3, 2, 1, 3, 3, 0, 1]
    assert [fold_of(prompt, 3) for prompt in PROMPTS[:12]] == [1, 0, 1, 1, 1, 1, 2, 0, 1, 2, 2, 1]
    assert [part_of(prompt, 3, 0) for prompt in PROMPTS[:12]] == [2, 1, 2, 2, 2, 3, 1, 3, 1, 1, 2, 1]
    assert [part_of(prompt, 3, 5) for prompt in PROMPTS[:12]] == [3, 3, 1, 3, 1, 2, 2, 1, 2, 2, 3, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 5))
def test_a_split_keeps_each_prompt_on_one_side(prompts: list[int], seed: int) -> None:
    records = [feedback(completion("a"), prompt=str(prompt)) for prompt in prompts]
    train, test = split(records, 0.4, seed)
    assert len(train) + len(test) == len(records)
    assert not {record.prompt_id for record in train} & {record.prompt_id for record in test}
    assert all(is_held_out(record.prompt_id, 0.4, seed) for record in test)
    assert split(records, 0.0, seed)[1] == []


def test_a_split_holds_out_about_its_share_and_depends_on_the_seed() -> None:
    records = [feedback(completion("a"), prompt=str(number)) for number in range(4000)]
    sides = [{record.id for record in split(records, 0.1, seed)[1]} for seed in (1, 2)]
    for side in sides:
        assert abs(len(side) - 400) < 4 * (4000 * 0.1 * 0.9) ** 0.5
    assert len(sides[0] & sides[1]) < 100


@pytest.mark.parametrize("share", [-0.1, 1.0, 3, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="held-out share"):
        split([], share, 1)


@given(st.text(), st.integers(2, 100))
def test_each_prompt_is_in_one_fold(text: str, of: int) -> None:
    prompt = digest(text)
    assert sum(Fold(of=of, number=number).holds(prompt) for number in range(of)) == 1


def test_folds_are_about_equal() -> None:
    prompts = [digest(str(n)) for n in range(3000)]
    sizes = [sum(map(Fold(of=3, number=number).holds, prompts)) for number in range(3)]
    assert sum(sizes) == 3000
    assert min(sizes) > 900


def test_without_a_number_there_are_five() -> None:
    prompts = [digest(str(n)) for n in range(50)]
    assert all(Fold(of=FOLDS, number=fold_of(prompt)).holds(prompt) for prompt in prompts)


@pytest.mark.parametrize(
    ("settings", "words"), [({"of": 2, "number": 2}, "no fold 2 of 2"), ({"of": 1, "number": 0}, "'of' is 1")]
)
def test_a_fold_that_there_is_not(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Fold.parse(settings, where="test")


def test_the_published_split_is_a_permutation_by_numpys_default_generator():
    train, test = published_split(list(range(50)), 10)
    order = np.random.default_rng(42).permutation(50)
    assert test == list(order[:10])
    assert train == list(order[10:])
    assert published_split([3, 1, 2], 0) == ([3, 1, 2], [])
    for size in (50, 60, -1):
        with pytest.raises(ConfigError, match="smaller test size"):
            published_split(list(range(50)), size)


@pytest.mark.filterwarnings("ignore")
def test_the_published_split_is_that_of_the_library():
    datasets = pytest.importorskip("datasets")
    for rows, size in ((50, 10), (2000, 2), (2345, 2000)):
        split = datasets.Dataset.from_dict({"i": list(range(rows))}).train_test_split(
            test_size=size, seed=42, shuffle=True
        )
        train, test = published_split(list(range(rows)), size)
        assert (list(split["train"]["i"]), list(split["test"]["i"])) == (train, test)
