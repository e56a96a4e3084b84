"""Configs: strict, frozen, read from YAML written by hand, kept as resolved JSON.

Owns the parsing, the overrides (``a.b=c``), the digest and the difference of two configs. What a config *means* is
owned by the module that defines it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeGuard

import pydantic
import yaml

from notus.core.errors import ConfigError, nearest

__all__ = [
    "Config",
    "difference",
    "digest_of",
    "load_yaml",
    "merge",
    "parse_override",
    "set_path",
]


class Config(pydantic.BaseModel):
    """Base of all configs: frozen, no unknown key, no silent conversion of types."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str, typed: Mapping[str, str] | None = None) -> Self:
        """Validate a mapping.

        Args:
            data: key → plain value.
            where: its origin, for errors.
            typed: key → what the user typed for it, such as an option, where that is another name; for errors.

        Raises:
            ConfigError: with one line that names the key, its value, the rule and, for an unknown key, the nearest.
        """
        try:
            # Through JSON, because only there strict mode takes a list for a tuple.
            return cls.model_validate_json(json.dumps(data))
        except pydantic.ValidationError as error:
            raise ConfigError(_explain(cls, error, where, typed or {})) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {error}; a config holds plain YAML values") from None

    def resolved(self) -> dict[str, Any]:
        """The config as plain JSON values, defaults and nulls included."""
        return self.model_dump(mode="json")


def digest_of(value: object) -> str:
    """Hash plain JSON values to 16 hexadecimal digits; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def difference(old: object, new: object, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The keys in which two resolved configs differ: dotted key → (old value, new value)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: dict[str, tuple[Any, Any]] = {}
        for key in sorted({*old, *new}):
            found |= difference(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    return {} if old == new else {prefix: (old, new)}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; neither is changed, and null overwrites.

    A mapping below that has another ``name`` is replaced as a whole: the options of one loss are none of another's.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if _goes_on(below, value) else value
    return merged


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: if the file is missing, is not UTF-8, is no YAML, repeats a key or holds no mapping.
    """
    try:
        value = _read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {_one_line(error)}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds {_kind(value)}; a mapping of keys to values is needed")
    return value


def parse_override(text: str, option: str = "--set", example: str = "dpo.loss.beta=0.1") -> tuple[str, Any]:
    """Read ``a.b=c`` into the dotted key and the value, which is read as YAML.

    ``option`` is where it was given, and ``example`` one of its values; both are for errors.

    Raises:
        ConfigError: if there is no ``=``, no key, or the value is no YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not all(key.split(".")):
        raise ConfigError(f"{option} {text!r} is not of the form key=value, for example {option} {example}")
    try:
        return key, _read_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {key}: the value {value!r} is no valid YAML: {_one_line(error)}") from None


def set_path(data: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy of ``data`` in which the dotted ``key`` holds ``value``."""
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return merge(data, nested)


def _goes_on(below: Any, value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is laid into the one below it, and not put in its place."""
    if not isinstance(below, Mapping) or not isinstance(value, Mapping):
        return False
    return bool(value.get("name", below.get("name")) == below.get("name"))


class _Loader(yaml.SafeLoader):
    """YAML with numbers as YAML 1.2 has them (``5e-7`` is a number, ``on`` is a text) and no repeated key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_TAGS = {
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "tag:yaml.org,2002:int": (r"^[-+]?[0-9]+$", "-+0123456789"),
    "tag:yaml.org,2002:float": (r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
}
_REPLACED = {*_TAGS, "tag:yaml.org,2002:timestamp"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, (_pattern, _first) in _TAGS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
# PyYAML reads "0755" as octal and "1_000" as a thousand; here digits are decimal.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def _explain(
    cls: type[pydantic.BaseModel], error: pydantic.ValidationError, where: str, typed: Mapping[str, str]
) -> str:
    first = error.errors()[0]
    # pydantic puts the names of union members into the path; keys that the user can write hold no brackets.
    path = [str(part) for part in first["loc"] if not str(part).endswith("]")]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}'; {nearest(path[-1], _fields_at(cls, path[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: the key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        message = nearest(first["input"], re.findall(r"'([^']*)'", first["ctx"]["expected"]))
    at = f"'{typed.get(key, key)}' is {_short(first['input'])}: " if key else ""
    more = len(error.errors()) - 1
    return f"{where}: {at}{message}" + (f" (and {more} more)" if more else "")


def _fields_at(cls: type[pydantic.BaseModel], path: Iterable[str]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(part)
        inner = [a for a in _flatten(field.annotation) if field is not None] if field else []
        models = [a for a in inner if isinstance(a, type) and issubclass(a, pydantic.BaseModel)]
        if not models:
            return []
        cls = models[0]
    return list(cls.model_fields)


def _flatten(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(inner for argument in arguments for inner in _flatten(argument))]


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _one_line(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _read_yaml(text: str) -> Any:
    return _Loader(text).get_single_data()
