import pytest

from notus.core.hub_id import HubId


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1", None),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None),
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("openbmb/UltraFeedback@40b4", "openbmb/UltraFeedback", "40b4"),
    ],
)
def test_ids_of_the_hub(text, name, revision):
    found = HubId.parse(text)
    assert found == HubId(name, revision)
    assert str(found) == text


@pytest.mark.parametrize(
    "text", ["a", "a/b/c", "./a/b", "/a/b", "a/b.jsonl", "data/pairs.parquet", "a/b@", "", "a b/c", "a/c.csv"]
)
def test_what_is_none(text):
    assert HubId.parse(text) is None
