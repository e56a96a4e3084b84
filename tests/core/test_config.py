import json
from typing import ClassVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.config import (
    Config,
    difference,
    digest_of,
    load_yaml,
    merge,
    parse_override,
    set_path,
)
from notus.core.errors import ConfigError


class Inner(Config):
    beta: float = 0.1
    rounds: tuple[int, ...] = (1,)


class Outer(Config):
    name: str
    inner: Inner = Inner()
    limit: int | None = pydantic.Field(default=None, ge=1)


class Named(Config):
    aliases: ClassVar = {
        "tries": "limit",
        "inner_beta": "inner.beta",
        "quick": lambda value: {"limit": 1} if value else {},
    }
    meanings: ClassVar = {"count": "limit", "seed": "a seed is drawn elsewhere"}
    limit: int | None = pydantic.Field(default=None, ge=1)
    inner: Inner = Inner()
    outer: Outer | None = None


def test_other_names_of_a_setting_are_read_and_ours_are_written():
    config = Named.parse({"tries": 3, "inner_beta": 0.5, "inner": {"rounds": [1, 2]}}, where="x")
    assert config == Named(limit=3, inner=Inner(beta=0.5, rounds=(1, 2)))
    assert Named(tries=3, inner_beta=0.5) == Named.parse({"limit": 3, "inner": {"beta": 0.5}}, where="x")
    assert set(config.resolved()) == {"limit", "inner", "outer"}
    assert Named.parse({"quick": True}, where="x").limit == 1
    assert Named.parse({"quick": False, "tries": 2}, where="x").limit == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"tries": 1, "limit": 2}, "'limit' and 'tries' are two names of one setting"),
        ({"tries": 1, "quick": True}, "'tries' and 'quick' are two names of one setting"),
        ({"inner": {"beta": 1.0}, "inner_beta": 1.0}, "'inner.beta' and 'inner_beta' are two names"),
        ({"tries": 0}, "'tries' is 0"),
        ({"inner_beta": "much"}, "'inner_beta' is 'much'"),
        ({"count": 1}, "unknown key 'count'; did you mean 'limit'?"),
        ({"triess": 1}, "unknown key 'triess'; did you mean 'limit'?"),
        ({"seed": 1}, "unknown key 'seed'; a seed is drawn elsewhere"),
    ],
)
def test_two_names_and_unknown_ones_are_told_in_one_line(data, words):
    with pytest.raises(ConfigError) as caught:
        Named.parse(data, where="x.yaml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")
    if "two names" in words:
        with pytest.raises(pydantic.ValidationError, match="two names"):
            Named(**data)


def test_a_config_below_has_names_of_its_own():
    class Above(Config):
        below: Named = Named()
        several: tuple[Named, ...] = ()

    config = Above.parse({"below": {"tries": 2}}, where="x")
    assert config == Above(below={"tries": 2})
    assert config.below.limit == 2


def test_a_config_may_stand_among_plain_values():
    inner = Inner(rounds=(3,))
    assert Outer.parse({"name": "a", "inner": inner}, where="x") == Outer(name="a", inner=inner)
    with pytest.raises(ConfigError, match="no plain value"):
        Outer.parse({"name": object()}, where="x")


def test_settings_are_laid_whatever_names_they_have():
    assert Named.lay({"limit": 1, "inner": {"rounds": [3]}}, {"tries": 2, "inner_beta": 0.5}) == {
        "limit": 2,
        "inner": {"rounds": [3], "beta": 0.5},
    }


def test_lists_become_tuples_and_whole_numbers_floats():
    config = Outer.parse({"name": "a", "inner": {"beta": 1, "rounds": [1, 2]}}, where="x.yaml")
    assert config.inner == Inner(beta=1.0, rounds=(1, 2))
    assert config.resolved() == {"name": "a", "inner": {"beta": 1.0, "rounds": [1, 2]}, "limit": None}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "a", "iner": {}}, ["x.yaml", "'iner'", "did you mean 'inner'?"]),
        ({"name": "a", "inner": {"bta": 1}}, ["'inner.bta'", "did you mean 'beta'?"]),
        ({"inner": {}}, ["'name'", "missing"]),
        ({"name": "a", "limit": 0}, ["'limit' is 0", "greater than or equal to 1"]),
        ({"name": "a", "limit": "3"}, ["'limit' is '3'"]),
        ({"name": 3}, ["'name' is 3"]),
        ({"name": "a", "inner": {"beta": float("nan")}}, ["inner.beta"]),
    ],
)
def test_a_bad_config_is_one_line_that_names_key_value_and_rule(data, words):
    with pytest.raises(ConfigError) as caught:
        Outer.parse(data, where="x.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_yaml_numbers_are_read_as_people_write_them(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("rate: 5e-7\nflag: true\nword: on\nzero: 010\nday: 2024-01-02\nnothing:\n")
    assert load_yaml(path) == {
        "rate": 5e-7,
        "flag": True,
        "word": "on",
        "zero": 10,
        "day": "2024-01-02",
        "nothing": None,
    }


def test_anchors_and_merges(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\n")
    assert load_yaml(path)["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: 1\na: 2\n", "stands twice"),
        (b"- 1\n", "holds a list"),
        (b"", "holds nothing"),
        (b"a: [1\n", "no valid YAML"),
        (b"a: \xff\n", "not UTF-8"),
        (b"1: 2\n", "is not a text"),
        (b"a: !!python/object/apply:os.system [true]\n", "no valid YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_yaml(path)
    assert "bad.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_yaml(tmp_path / "none.yaml")


def test_overrides():
    assert parse_override("dpo.beta=5e-2") == ("dpo.beta", 0.05)
    assert parse_override("data.path=a=b.jsonl") == ("data.path", "a=b.jsonl")
    assert parse_override("seeds=[0, 1]") == ("seeds", [0, 1])
    for bad in ("dpo.beta", "=1", "a..b=1", "a=[1"):
        with pytest.raises(ConfigError, match="--set"):
            parse_override(bad)


def test_set_path_leaves_the_original():
    data = {"a": {"b": 1, "c": 2}}
    assert set_path(data, "a.b", 3) == {"a": {"b": 3, "c": 2}}
    assert data == {"a": {"b": 1, "c": 2}}


def test_difference_names_the_keys():
    assert difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == {"a.b": (1, 3)}
    assert difference({"a": 1}, {}) == {"a": (1, None)}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_the_digest_does_not_depend_on_the_order_of_keys(data):
    turned = dict(reversed(list(data.items())))
    assert digest_of(data) == digest_of(turned)
    assert digest_of(json.loads(json.dumps(data))) == digest_of(data)
    assert difference(data, turned) == {}


@given(st.dictionaries(st.text(), plain, max_size=4), st.dictionaries(st.text(), plain, max_size=4))
def test_merge_takes_every_key_and_the_later_value(base, over):
    merged = merge(base, over)
    assert merged.keys() == base.keys() | over.keys()
    assert all(merged[key] == value for key, value in over.items() if not isinstance(value, dict))


def test_a_mapping_of_another_name_is_replaced_as_a_whole():
    base = {"loss": {"name": "sigmoid", "beta": 0.5}}
    assert merge(base, {"loss": {"beta": 0.1}}) == {"loss": {"name": "sigmoid", "beta": 0.1}}
    assert merge(base, {"loss": {"name": "simpo"}}) == {"loss": {"name": "simpo"}}
    assert set_path(base, "loss.beta", 1) == {"loss": {"name": "sigmoid", "beta": 1}}
