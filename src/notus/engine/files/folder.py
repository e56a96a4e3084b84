"""What lies in the folder of a model or an adapter, looked at before any library reads it.

Owns what may be read (JSON, safetensors and templates; no pickle and no code), what belongs together (an index and its
parts), and that a file which is damaged is named. What a library says of a file that looks whole is owned by
``engine.files.pretrained``; whether a model can be computed with, by ``engine.files.sound``. No torch.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.core.errors import ConfigError
from notus.core.text import one_line

__all__ = [
    "INDEX",
    "WEIGHTS",
    "Stored",
    "bad_file",
    "check_folder",
    "is_there",
    "read_header",
    "read_headers",
    "read_settings",
    "weight_paths",
]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "adapter_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
_LARGE = ("tokenizer.json", "vocab.json", INDEX)
_TEMPLATE = "chat_template.jinja"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_MOST = {**dict.fromkeys(_SETTINGS, 16 << 20), **dict.fromkeys(_LARGE, 1 << 29), _TEMPLATE: 1 << 20}
"""Bytes that a file may have. The largest published ``tokenizer.json`` has 35 MB, the largest template 0.1."""
_DEEPEST = 200
"""Levels of lists and objects within each other in settings."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_MOST_OF_ANYTHING = 1 << 31
_FLAGS = (
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
    *("do_sample", "use_cache", "tie_word_embeddings", "attention_bias", "mlp_bias"),
)
"""Settings that are true or false; libraries take others, and fail when they use them."""
_GROWTH = 1000
"""So many times longer may the normalizer of a tokenizer make a text."""
_TYPES = frozenset(["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"])


@dataclass(frozen=True)
class Stored:
    """One weight as its file's header has it."""

    file: Path
    type: str
    """``F32``, ``BF16``, …, as safetensors names it."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes_each(self) -> float:
        """Bytes of one of its numbers."""
        bits = re.search(r"\d+", self.type)
        return int(bits.group()) / 8 if bits else 1

    @property
    def floating(self) -> bool:
        """Whether its numbers are floating-point."""
        return self.type in _TYPES


def bad_file(path: Path, why: str, remedy: str = "") -> ConfigError:
    """The error of a file of a model or an adapter that cannot be used; usually it must be got anew."""
    of_adapter = path.name.startswith(("adapter", "notus_base"))
    remedy = remedy or ("copy the adapter again" if of_adapter else "get the model anew")
    return ConfigError(f"cannot use {path}: {one_line(why, 300).rstrip('.')}; {remedy}")


def is_there(source: str | Path) -> bool:
    """Whether a name is that of a file or a folder; one that no file can have is not."""
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def check_folder(folder: Path) -> None:
    """Look at the files of a folder that have the names of a model's: settings, index, template, tokenizer.

    Raises:
        ConfigError: if one is no plain file, too large, no UTF-8, no JSON, or says what cannot be.
    """
    for name in (*_SETTINGS, *_LARGE):
        if _has(folder / name):
            found = read_settings(folder / name)
            if name == "tokenizer.json":
                _check_growth(folder / name, found)
            elif name in ("config.json", "generation_config.json"):
                _check_numbers(folder / name, found)
            elif name == "tokenizer_config.json":
                _check_tokenizer_settings(folder / name, found)
    if _has(folder / _TEMPLATE):
        _read_text(folder / _TEMPLATE)


def read_settings(path: Path) -> Mapping[str, Any]:
    """Read a JSON file of a model.

    Raises:
        ConfigError: if it cannot be read, or is no JSON object.
    """
    text = _read_text(path)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise bad_file(path, f"it is no valid JSON ({error})") from None
    except RecursionError:
        raise bad_file(path, "its lists and objects are nested too deeply") from None
    if not isinstance(found, dict):
        raise bad_file(path, f"it holds no settings but {_kind(found)}")
    if path.name not in _LARGE:
        _check_depth(path, found)
    return found


def weight_paths(folder: Path) -> list[Path]:
    """The files of weights that transformers reads of a folder: one, or those that an index names.

    Raises:
        ConfigError: if there are none, the index names what lies elsewhere, or a part is not there.
    """
    if _has(folder / WEIGHTS):
        return [folder / WEIGHTS]
    if not _has(folder / INDEX):
        raise _no_weights(folder)
    return [folder / name for name in dict.fromkeys(_indexed(folder).values())]


def read_headers(folder: Path) -> dict[str, Stored]:
    """Name → type, shape and file of all weights of a model; no weight is read.

    Raises:
        ConfigError: if a file cannot be read, is cut, or its header lies, or the index names what is not in a part.
    """
    found: dict[str, Stored] = {}
    for path in weight_paths(folder):
        found |= read_header(path)
    if not _has(folder / WEIGHTS):
        for name, part in _indexed(folder).items():
            if name not in found or found[name].file.name != part:
                raise bad_file(folder / INDEX, f"it says that {part} holds {name}, which is not there")
    return found


def read_header(path: Path) -> dict[str, Stored]:
    """Name → type, shape and file of the weights of one file of safetensors.

    Raises:
        ConfigError: if it cannot be read, is cut, or its header lies.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise bad_file(path, "it is no plain file")
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
            return {name: Stored(path, str(p.get_dtype()), tuple(p.get_shape())) for name, p in parts.items()}
    except OSError as error:
        raise bad_file(path, os.strerror(error.errno) if error.errno else str(error), "copy it again") from None
    except SafetensorError as error:
        raise bad_file(path, f"it is cut or damaged ({error})", "copy it again") from None


def _indexed(folder: Path) -> dict[str, str]:
    """Name of a weight → name of its file, from the index."""
    path = folder / INDEX
    found = read_settings(path).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(part, str) for part in found.values()):
        raise bad_file(path, "'weight_map' must name a file for each weight")
    for part in dict.fromkeys(found.values()):
        if Path(part).name != part or part in ("", ".", "..") or "\0" in part:
            raise bad_file(path, f"it names the file {part!r}, and only files of its own folder are read")
        if not part.endswith(".safetensors"):
            raise bad_file(path, f"it names the file {part!r}, and only safetensors are read")
        if not _has(folder / part):
            raise bad_file(path, f"it names {part}, which is not in the folder", "copy that file again")
    return found


def _no_weights(folder: Path) -> ConfigError:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if pickled:
        return ConfigError(
            f"{folder / pickled[0]} is not read: files of this kind can run code when they are opened; write the model "
            "as safetensors with save_pretrained of transformers, which writes nothing else, or take a copy that has "
            f"{WEIGHTS}"
        )
    return ConfigError(f"{folder} has no weights: neither {WEIGHTS} nor {INDEX}; copy the model again")


def _has(path: Path) -> bool:
    """Whether there is anything of this name, be it a pipe or a broken link."""
    return path.is_symlink() or path.exists()


def _read_text(path: Path) -> str:
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise bad_file(path, "it is no plain file")
        if kind.st_size > _MOST.get(path.name, 16 << 20):
            raise bad_file(path, f"it has {kind.st_size:,} bytes, far more than any file of this name")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise bad_file(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise bad_file(path, f"it is no UTF-8 (byte {error.start:,})") from None


def _check_numbers(path: Path, settings: Mapping[str, Any]) -> None:
    """Sizes that no model has, which libraries would begin to build, and ids of tokens that are none."""
    for key, value in _flat(settings):
        name = key.rpartition(".")[2]
        if isinstance(value, int) and abs(value) > _MOST_OF_ANYTHING and not isinstance(value, bool):
            raise bad_file(path, f"{key} is {_shown(value)}, which no model has")
        if isinstance(value, float) and math.isnan(value):
            raise bad_file(path, f"{key} is no number (NaN)")
        if name in _LAYERS and isinstance(value, int) and value > 10_000:
            raise bad_file(path, f"{key} is {value:,}; no model has so many layers")
        if name in _FLAGS and not isinstance(value, bool | None):
            raise bad_file(path, f"{key} is {_shown(value)}, and must be true or false")
        if name.endswith("_token_id") and not _is_id(value):
            raise bad_file(path, f"{key} is {_shown(value)}, and must be the id of a token")


def _check_tokenizer_settings(path: Path, settings: Mapping[str, Any]) -> None:
    for key in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        value = settings.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if value is not None and not isinstance(value, str):
            raise bad_file(path, f"{key} is {_shown(value)}, and must be a text")
    if (side := settings.get("padding_side", "left")) not in ("left", "right"):
        raise bad_file(path, f"padding_side is {_shown(side)}, and must be 'left' or 'right'")
    if (side := settings.get("truncation_side", "left")) not in ("left", "right"):
        raise bad_file(path, f"truncation_side is {_shown(side)}, and must be 'left' or 'right'")


def _is_id(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_id(part) for part in value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """All settings by their whole names, lists as they are."""
    for key, value in settings.items():
        if isinstance(value, dict) and not key.endswith("_token_id"):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _check_depth(path: Path, settings: Any) -> None:
    """Libraries copy settings by recursion, which has an end."""
    level, depth = [settings], 0
    while level:
        level = [
            part
            for each in level
            for part in (each.values() if isinstance(each, dict) else each)
            if isinstance(part, dict | list)
        ]
        if (depth := depth + 1) > _DEEPEST:
            raise bad_file(path, "its lists and objects are nested too deeply")


def _check_growth(path: Path, tokenizer: Mapping[str, Any]) -> None:
    """A chain of replacements, each by something longer, makes of a line more than any memory holds."""
    growth, pending = 1.0, [tokenizer.get("normalizer")]
    while pending:
        each = pending.pop()
        if not isinstance(each, dict):
            continue
        if isinstance(each.get("normalizers"), list):
            pending += each["normalizers"]
        elif each.get("type") == "Replace" and isinstance(each.get("content"), str):
            pattern = each.get("pattern")
            replaced = pattern.get("String") if isinstance(pattern, dict) else None
            growth *= max(1.0, len(each["content"]) / max(1, len(replaced) if isinstance(replaced, str) else 1))
    if growth > _GROWTH:
        raise bad_file(path, f"its normalizer makes a text {growth:,.0f} times as long")


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def _shown(value: Any) -> str:
    return (
        one_line(repr(value), 60) if not isinstance(value, int) or abs(value) < 1 << 62 else "a number of many digits"
    )
