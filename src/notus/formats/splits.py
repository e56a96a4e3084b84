"""Splits and configurations: which files of a set belong together, and which of them are read.

    tables = list_tables(names, read)              # names of the files of a folder or of a set on the hub
    chosen = choose_tables(tables, "owner/name", split=None, config=None)
    chosen.tables, chosen.not_read                 # what is read, and in words what is not

What a file belongs to is said, in this order, by ``save_to_disk`` of datasets (``dataset_dict.json``, ``state.json``),
by ``configs`` in the head of README.md (https://huggingface.co/docs/hub/datasets-manual-configuration), and by its name
(https://huggingface.co/docs/hub/datasets-file-names-and-splits): ``data/NAME-00000-of-00001``, a name that begins with
train, validation or test, such a word in it, such a folder. Sheets of a workbook and lists of a JSON object are chosen
like splits.

Several splits are never mixed in silence: ``train`` is read where there is one, and what is not read is said; otherwise
one must be named. Owns names and the choice; opening files is the business of ``formats.source``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import msgspec
import yaml

from notus.core.config import read_yaml
from notus.core.errors import ConfigError, DataError, nearest
from notus.core.text import DATA_SUFFIXES, counted, format_list

__all__ = [
    "ALL",
    "DESCRIPTIONS",
    "Choice",
    "Table",
    "choose_tables",
    "is_data",
    "is_description",
    "list_tables",
    "split_of",
    "with_members",
]

ALL = "all"
"""The split that is all of them together."""
_CARD = "README.md"
_DICTIONARY = "dataset_dict.json"
_STATE = "state.json"
DESCRIPTIONS = (_CARD, _DICTIONARY, _STATE)
"""Names of files that say what others of a set are."""
_UNLISTED = "files of no configuration"
_SHARDED = re.compile(r"(?:.*/)?data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.[^/]*", re.ASCII)
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Word in a name → the split that it means."""
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![a-z])")
_NO_DATA = (
    *("config", "dataset_dict", "dataset_info", "dataset_infos", "dropped", "inputs"),
    *("manifest", "metrics", "quarantine", "state", "tally"),
)
"""Names, without their suffix, of files that stand beside data and hold none."""
_SHOWN = 20


@dataclass(frozen=True)
class Table:
    """A file, or a sheet or list in it, with what it belongs to."""

    file: str
    """Its name, seen from the folder."""
    split: str = ""
    """Empty: its name says nothing of a split."""
    config: str = ""
    member: str = ""
    default: bool = False
    """Whether the set says that its configuration is the usual one."""


@dataclass(frozen=True)
class Choice:
    """What is read, and what is not."""

    tables: tuple[Table, ...]
    not_read: str = ""
    """In words, empty where all is read."""


def list_tables(names: Sequence[str], read: Callable[[str], bytes]) -> list[Table]:
    """The tables of a set with their splits and configurations, in the order of their names.

    Args:
        names: all files, seen from the folder, with ``/`` between the parts.
        read: gives the bytes of a small one of them.

    Raises:
        DataError: if a file that describes the set is no JSON or YAML, or names a file that is missing.
    """
    there = set(names)
    saved = [table for name in names if PurePosixPath(name).name == _STATE for table in _saved(name, there, read)]
    folders = {str(PurePosixPath(table.file).parent) for table in saved}
    data = [name for name in names if is_data(name) and str(PurePosixPath(name).parent) not in folders]
    listed = _listed(data, read(_CARD)) if _CARD in names else []
    if listed:
        known = {table.file for table in listed}
        return saved + listed + [Table(name, config=_UNLISTED) for name in data if name not in known]
    return saved + [Table(name, split_of(name)) for name in data]


def is_data(name: str) -> bool:
    """Whether the name of a file is that of data: by its suffix, but for those that stand beside data and hold none."""
    *folders, file = name.split("/")
    suffix = next((each for each in DATA_SUFFIXES if file.lower().endswith(each)), None)
    hidden = any(part.startswith(".") for part in (*folders, file))
    return suffix is not None and not hidden and file[: -len(suffix)] not in _NO_DATA


def is_description(name: str) -> bool:
    """Whether a file says what others of a set are: a card, or a description of ``save_to_disk``."""
    return PurePosixPath(name).name in DESCRIPTIONS


def split_of(name: str) -> str:
    """The split that the name of a file says that it belongs to, or an empty text."""
    if sharded := _SHARDED.fullmatch(name):
        return sharded[1]
    *folders, file = name.lower().split("/")
    stem = re.split(r"[.-]", PurePosixPath(name).name)[0]
    begin = _WORD.match(stem.lower())
    if begin and not re.fullmatch(r"[_\d]*", stem[begin.end() :]):
        return stem  # train_prefs, test_iteration_1
    found = next((word for part in (file, *reversed(folders)) if (word := _WORD.search(part))), None)
    return _WORDS[found[1]] if found else ""


def choose_tables(tables: Sequence[Table], source: str, split: str | None, config: str | None) -> Choice:
    """The tables of one configuration and one split.

    Args:
        tables: of the set, at least one.
        source: what it is called in messages.
        split: the name, several with ``+`` between them, or ``all``; None: the only one, or ``train``.
        config: the name, or a folder; None: the only one, or the one that the set calls its default.

    Raises:
        ConfigError: if there is no such split or configuration.
        DataError: if one must be named.
    """
    of_config = _of_config(tables, source, config)
    chosen = dict.fromkeys(_of_split(of_config, source, split))
    others = Counter(table.split for table in of_config if table not in chosen)
    said = [_said(name, count) for name, count in others.items()]
    kept = set(of_config)
    left = Counter(table.config for table in tables if table not in kept)
    unlisted = left.pop(_UNLISTED, 0)
    said += [f"configuration {name} ({counted(count, 'table')})" for name, count in left.items() if name]
    said += [f"{counted(left[''], 'file')} outside {config}"] if left[""] else []
    said += [f"{counted(unlisted, 'file')} of no configuration"] if unlisted else []
    return Choice(tuple(chosen), ", ".join(said))


def with_members(table: Table, members: Iterable[str]) -> list[Table]:
    """The tables that a file holds under names, such as sheets; each is a split where the file is of none."""
    return [replace(table, member=name, split=table.split or name) for name in members] or [table]


def _of_config(tables: Sequence[Table], source: str, config: str | None) -> list[Table]:
    names = list(dict.fromkeys(table.config for table in tables if table.config != _UNLISTED))
    if config is not None:
        found = [table for table in tables if table.config == config and config != _UNLISTED]
        found = found or [table for table in tables if table.file.startswith(f"{config.rstrip('/')}/")]
        if not found:
            folders = sorted({str(PurePosixPath(table.file).parent) for table in tables} - {"."})
            known = [name for name in names if name] or folders
            there = nearest(config, known) if known else "it has none: leave --config out"
            raise ConfigError(f"{source} has no configuration '{config}'; {there}")
        return found
    default = next((table.config for table in tables if table.default), "default" if "default" in names else None)
    if default is None and len(names) > 1:
        raise DataError(
            f"{source} has several configurations: {format_list([name or '(none)' for name in names], _SHOWN)}; "
            "choose one with --config NAME"
        )
    wanted = names[0] if default is None else default
    return [table for table in tables if table.config == wanted]


def _of_split(tables: list[Table], source: str, split: str | None) -> list[Table]:
    names = list(dict.fromkeys(table.split for table in tables))
    if split == ALL:
        return tables
    if split is None:
        if len(names) == 1:
            return tables
        if "train" in names:
            return [table for table in tables if table.split == "train"]
        counts = Counter(table.split for table in tables)
        shown = [_said(name, counts[name]) for name in names]
        raise DataError(
            f"{source} has several splits and none is named train: {format_list(shown, _SHOWN)}; choose with --split "
            f"NAME, or take all of them together with --split {ALL}"
        )
    found: dict[Table, None] = {}
    for name in split.split("+"):
        wanted = name.strip()
        of_split = next((few for few in _called(tables, wanted) if few), None)
        if of_split is None:
            begins = (re.split(r"[.-]", PurePosixPath(table.file).name)[0] for table in tables if not table.member)
            known = sorted({*names, *begins} - {""})
            raise ConfigError(f"{source} has no split '{wanted}'; {nearest(wanted, known)}")
        found |= dict.fromkeys(of_split)
    return list(found)


def _called(tables: Iterable[Table], wanted: str) -> Iterator[list[Table]]:
    """What a name of a split can mean, the nearest first."""
    every = list(tables)
    yield [table for table in every if table.split == wanted]
    yield [table for table in every if table.split.lower() == _WORDS.get(wanted.lower(), wanted.lower())]
    yield [table for table in every if re.match(rf"{re.escape(wanted)}[.-]", PurePosixPath(table.file).name)]


def _said(split: str, tables: int) -> str:
    return f"split {split} ({counted(tables, 'table')})" if split else f"{counted(tables, 'table')} of no split"


def _saved(state: str, names: Set[str], read: Callable[[str], bytes]) -> Iterator[Table]:
    """The tables of a folder that ``save_to_disk`` left."""
    described = _parse_json(state, read(state))
    if not isinstance(described, dict) or "_data_files" not in described:
        return
    folder = PurePosixPath(state).parent
    above = folder.parent
    divided = str(above / _DICTIONARY) in names or f"{above}/{_DICTIONARY}".removeprefix("./") in names
    split = folder.name if divided else str(described.get("_split") or "")
    config = str(above if divided else folder).removeprefix(".")
    for each in described["_data_files"]:
        file = str(folder / each["filename"])
        if file not in names:
            raise DataError(f"{state} names {each['filename']}, which is missing; save the set again")
        yield Table(file, split, config)


def _listed(data: Sequence[str], card: bytes) -> list[Table]:
    """The tables that the head of a card lists under ``configs``; empty where it lists none."""
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card.decode("utf-8", "replace"), re.DOTALL)
    try:
        fields = read_yaml(head[1], standard=True) if head else None
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise DataError(f"the head of {_CARD} is no YAML: {where}; correct it, or name one file") from None
    configs = fields.get("configs") if isinstance(fields, dict) else None
    found: list[Table] = []
    for config in configs if isinstance(configs, list) else []:
        if not isinstance(config, dict):
            continue
        name, default = str(config.get("config_name", "default")), config.get("default") is True
        folder = str(config.get("data_dir") or "").strip("/")
        for split, pattern in _patterns(config.get("data_files")):
            matches = _matcher("/".join(part for part in (folder, pattern) if part))
            found += [Table(file, split or split_of(file), name, "", default) for file in data if matches(file)]
    return list(dict.fromkeys(found))


def _patterns(files: Any) -> Iterator[tuple[str, str]]:
    """Split and pattern of files, of all forms in which a card can give them; without any, all files."""
    if not isinstance(files, list):
        yield ("", "**") if files is None else ("train", str(files))
        return
    for each in files:
        paths = each.get("path") if isinstance(each, dict) else each
        split = str(each.get("split", "train")) if isinstance(each, dict) else "train"
        yield from ((split, str(path)) for path in (paths if isinstance(paths, list) else [paths]))


def _matcher(pattern: str) -> Callable[[str], bool]:
    """A glob over names: ``**`` goes over folders; the name of a folder means all that is in it."""
    tokens = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern.removeprefix("./").rstrip("/"))
    meaning = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    parts = (meaning.get(token) or (token if token.startswith("[") else re.escape(token)) for token in tokens if token)
    compiled = re.compile("".join(parts) + "(?:/.*)?")
    return lambda name: compiled.fullmatch(name) is not None


def _parse_json(name: str, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except ValueError as error:
        raise DataError(f"{name} is no JSON: {error}") from None
