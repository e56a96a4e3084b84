import pytest

from notus.models.local import build_model, train_tokenizer
from notus.models.settings import Shape

TEXTS = [
    f"The opposite of {a} is {b}. I hope this helps, number {n}!"
    for n, (a, b) in enumerate(
        [("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("up", "down")] * 20
    )
]


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="session")
def model(tokenizer):
    return build_model(
        Shape(vocabulary=400, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=128), tokenizer, 0
    )
