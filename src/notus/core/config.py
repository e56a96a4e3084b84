"""Configs: strict, frozen, read from YAML written by hand, kept as resolved JSON.

Owns the parsing, the field's other names for a setting, the overrides (``a.b=c``), the digest and the difference of two
configs. What a config *means* is owned by the module that defines it.
"""

import ast
import hashlib
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias, TypeGuard

import pydantic
import yaml
from pydantic_core import CoreSchema, core_schema

from notus.core.errors import ConfigError, nearest

__all__ = [
    "Alias",
    "Config",
    "difference",
    "digest_of",
    "field_docs",
    "load_yaml",
    "merge",
    "parse_override",
    "read_yaml",
    "set_path",
]

_MOST_BYTES = 1 << 19
"""Of a YAML file: what is written by hand has some thousands."""
_DEEPEST = 100
"""Levels of a YAML text, and parts of a dotted key."""
_MOST_VALUES = 100_000
"""Values that a YAML text holds, each alias counted as what it stands for."""
_MOST_DIGITS = 18
"""Of a whole number: so many fit into 64 bits."""


Alias: TypeAlias = str | Callable[[Any], Mapping[str, Any]]
"""What another name of a setting means: our dotted key, or a function of the value that gives our keys and values and
raises ``ValueError`` for a value that has no meaning here."""


class Config(pydantic.BaseModel):
    """Base of all configs: frozen, no unknown key, no silent conversion of types."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    aliases: ClassVar[Mapping[str, Alias]] = {}
    """Names that others have for these settings. They are read, never written."""
    meanings: ClassVar[Mapping[str, str]] = {}
    """What a wrong key is answered with, by meaning: see ``nearest``."""

    @classmethod
    def translate(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings under our names. What is under our names already, or unknown, stays as it is.

        Raises:
            ValueError: if two names of one setting are there, or a value has no meaning here.
        """
        ours = {key: cls._translate_value(key, value) for key, value in data.items() if key not in cls.aliases}
        names: dict[str, str] = {}
        for name in data:
            for key, value in _expand_alias(cls.aliases[name], data[name]) if name in cls.aliases else ():
                other = names.get(key) or (key if _has_value(ours, key) else None)
                if other is not None:
                    raise ValueError(f"'{other}' and '{name}' are two names of one setting; leave one of them out")
                names[key] = name
                ours = set_path(ours, key, value)
        return ours

    @classmethod
    def lay(cls, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
        """One mapping of settings laid over another, whatever names each of them uses; the result is under ours.

        Raises:
            ValueError: as ``translate`` does.
        """
        return merge(cls.translate(base), cls.translate(over))

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str, typed: Mapping[str, str] | None = None) -> Self:
        """Validate a mapping.

        Args:
            data: key → plain value, or a config.
            where: its origin, for errors.
            typed: key → what the user typed for it, such as an option, where that is another name; for errors.

        Raises:
            ConfigError: with one line that names the key, its value, the rule and, for an unknown key, the nearest.
        """
        named = {key: name for name, key in _renames(cls).items() if name in data}
        try:
            # Through JSON, because only there strict mode takes a list for a tuple.
            return cls.model_validate_json(json.dumps(cls.translate(data), default=_config_as_plain))
        except pydantic.ValidationError as error:
            raise ConfigError(_explain(cls, error, where, {**named, **(typed or {})})) from None
        except (TypeError, ValueError) as error:
            plain = "" if isinstance(error, ValueError) else "; a config holds plain YAML values"
            raise ConfigError(f"{where}: {error}{plain}") from None

    def resolved(self) -> dict[str, Any]:
        """The config as plain JSON values, defaults and nulls included."""
        return self.model_dump(mode="json")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: pydantic.GetCoreSchemaHandler) -> CoreSchema:
        """Python's values are translated here. JSON's are by ``parse``: a step in front would end JSON's own rules."""
        schema = handler(source)
        if not cls.aliases:
            return schema
        python = core_schema.no_info_before_validator_function(cls._from_python, schema)
        return core_schema.json_or_python_schema(schema, python)

    @classmethod
    def _from_python(cls, data: Any) -> Any:
        return cls.translate(data) if isinstance(data, Mapping) else data

    @classmethod
    def _translate_value(cls, key: str, value: Any) -> Any:
        """A value with the keys of the config below it under our names."""
        below = _config_at(cls, [key]) if isinstance(value, Mapping) else None
        return below.translate(value) if below else value


def field_docs(cls: type[pydantic.BaseModel]) -> dict[str, str]:
    """The docstring below each field of a config, those of its bases included.

    Read from the source when help is printed: pydantic's own way would do it at every start.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, Config) or base is Config:
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):  # made at run time, or without its source
            continue
        assert isinstance(body, ast.ClassDef)
        for field, doc in itertools.pairwise(body.body):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if named and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
                found[field.target.id] = inspect.cleandoc(str(doc.value.value))  # type: ignore[attr-defined]
    return found


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
        ConfigError: if the file is missing, too large, is not UTF-8, is no YAML, repeats a key or holds no mapping.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is no file; a YAML file is needed (save what comes from a pipe to one)")
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ConfigError(f"{path} has {size:,} bytes; a YAML file of settings has at most {_MOST_BYTES:,}")
        value = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except _BoundError as error:
        raise ConfigError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {_one_line(error)}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds {_kind(value)}; a mapping of keys to values is needed")
    return value


def read_yaml(text: str, *, standard: bool = False) -> Any:
    """The value of a YAML text.

    Args:
        text: is bounded in depth, in the values that its aliases stand for, and in the digits of a number.
        standard: read it as others wrote it: YAML 1.1, any key, a repeated one too.

    Raises:
        yaml.YAMLError: if it is no YAML, or beyond the bounds.
    """
    try:
        return (_BoundedLoader if standard else _Loader)(text).get_single_data()
    except (ValueError, KeyError, AttributeError, TypeError) as error:  # PyYAML lets through what a tag comes upon
        raise yaml.YAMLError(f"a value does not fit its tag ({type(error).__name__}: {error})") from None


def parse_override(text: str, option: str = "--set", example: str = "dpo.loss.beta=0.1") -> tuple[str, Any]:
    """Read ``a.b=c`` into the dotted key and the value, which is read as YAML.

    ``option`` is where it was given, and ``example`` one of its values; both are for errors.

    Raises:
        ConfigError: if there is no ``=``, no key, or the value is no YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not all(key.split(".")):
        raise ConfigError(f"{option} {text!r} is not of the form key=value, for example {option} {example}")
    if key.count(".") >= _DEEPEST:
        raise ConfigError(f"{option} {_short(key)} has {key.count('.') + 1} parts; at most {_DEEPEST} are read")
    try:
        return key, read_yaml(value)
    except _BoundError as error:
        raise ConfigError(f"{option} {key}: {error}") from None
    except yaml.YAMLError as error:
        hint = "; a text with : , ? or # in it stands in quotes" if value.lstrip()[:1] in ("{", "[") else ""
        what = f"the value {_short(value)} is no valid YAML: {_one_line(error)}{hint}"
        raise ConfigError(f"{option} {key}: {what}") from None


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


class _BoundError(yaml.YAMLError):
    """A YAML text is larger than any that is written by hand: in depth, by its aliases, or in a number."""

    def __init__(self, node: yaml.Node, problem: str) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {problem}")


class _BoundedLoader(yaml.SafeLoader):
    """Standard YAML, refused before it is made into values where those would not end or not fit into memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _BoundError(parent, f"nested too deeply: at most {_DEEPEST} levels are read")
        found: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return found

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return self.construct_document(node)


def _count_values(node: yaml.Node, known: dict[int, int | None], key: str = "") -> int:
    """Values in a node, with all that its aliases stand for.

    Raises:
        _BoundError: if they are too many, one stands for what it is in, or a number has too many digits.
    """
    found = known.get(id(node), 0)
    if found is None:
        raise _BoundError(node, "an alias stands for what it is a part of")
    if found:
        return found
    known[id(node)] = None
    found = 1
    if isinstance(node, yaml.MappingNode):
        found += sum(_count_values(value, known, str(name.value)) for name, value in node.value)
        found += sum(_count_values(name, known) for name, _ in node.value)
    elif isinstance(node, yaml.SequenceNode):
        found += sum(_count_values(value, known, key) for value in node.value)
    elif node.tag.endswith(":int") and len(node.value.lstrip("+-0")) > _MOST_DIGITS:
        of = f"'{_short(key)[1:-1]}' is" if key else "there is"
        many = f"{_short(node.value)[1:-1]}, a number of {len(node.value):,} digits"
        raise _BoundError(node, f"{of} {many}, which is too large: whole numbers have at most {_MOST_DIGITS}")
    if found > _MOST_VALUES:
        raise _BoundError(node, f"the aliases expand too far: at most {_MOST_VALUES:,} values are read")
    known[id(node)] = found
    return found


class _Loader(_BoundedLoader):
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


def _expand_alias(alias: Alias, value: Any) -> Iterator[tuple[str, Any]]:
    yield from (alias(value) if callable(alias) else {alias: value}).items()


def _config_as_plain(value: object) -> Any:
    """A config that stands among plain values, as plain values."""
    if isinstance(value, Config):
        return value.resolved()
    raise TypeError(f"{value!r:.60} is no plain value")


def _renames(cls: type[Config]) -> dict[str, str]:
    return {name: key for name, key in cls.aliases.items() if isinstance(key, str)}


def _has_value(data: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key has a value."""
    found: Any = data
    for part in key.split("."):
        if not isinstance(found, Mapping):
            return True
        if part not in found:
            return False
        found = found[part]
    return True


def _explain(cls: type[Config], error: pydantic.ValidationError, where: str, typed: Mapping[str, str]) -> str:
    first = error.errors()[0]
    # pydantic puts the names of union members into the path; of the keys that somebody wrote only an unknown one may
    # look like that, and it stands last.
    *above, last = [str(part) for part in first["loc"]] or [""]
    unknown = first["type"] == "extra_forbidden"
    path = [part for part in above if not part.endswith("]")] + [last] * (unknown or not last.endswith("]"))
    key = ".".join(path)
    if unknown:
        at = _config_at(cls, path[:-1])
        hint = nearest(path[-1], at.model_fields, {**_renames(at), **at.meanings}) if at else "known: "
        return f"{where}: unknown key '{key}'; {hint}"
    if first["type"] == "missing":
        return f"{where}: the key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        message = nearest(first["input"], re.findall(r"'([^']*)'", first["ctx"]["expected"]))
    at_key = f"'{typed.get(key, key)}' is {_short(first['input'])}: " if key else ""
    more = len(error.errors()) - 1
    return f"{where}: {at_key}{message}" + (f" (and {more} more)" if more else "")


def _config_at(cls: type[Config], path: Iterable[str]) -> type[Config] | None:
    """The config that a setting holds; None where it holds none."""
    for part in path:
        if part.isdigit():  # a place in a list
            continue
        field = cls.model_fields.get(part)
        inner = _flatten(field.annotation) if field else []
        below = next((a for a in inner if isinstance(a, type) and issubclass(a, Config)), None)
        if below is None:
            return None
        cls = below
    return cls


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
