import pytest

from notus.core.wording import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 prompts"), (1, "1 prompt"), (2, "2 prompts"), (2000, "2,000 prompts")]
)
def test_a_count_has_its_noun(count: int, said: str) -> None:
    assert counted(count, "prompt") == said


def test_a_plural_of_its_own() -> None:
    assert counted(1, "pair is", "pairs are") == "1 pair is"
    assert counted(3, "pair is", "pairs are") == "3 pairs are"
