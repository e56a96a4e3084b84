"""The folder of an adapter and the base that it names, read without torch: what an adapter computes hangs on both.

An adapter folder names its base in ``adapter_config.json``, as peft wants it: a hub id or an absolute path.
``notus_base.json`` beside it says where the base lies as seen from the folder, so that a tree of runs can be moved or
copied as a whole.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notus.core.errors import ConfigError
from notus.core.text import HubId, one_line
from notus.engine.files.folder import is_there, read_settings

__all__ = ["CONFIG", "PLACE", "base_of", "is_adapter", "read_adapter_settings"]

CONFIG = "adapter_config.json"
"""What makes a folder an adapter."""
PLACE = "notus_base.json"
"""Where its base lies as seen from the folder."""
_READABLE: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    # PiSSA and OLoRA take a part of the base into the adapter; peft takes the same part again when it reads one.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "pissa", "olora"),
    "alora_invocation_tokens": (None,),
    "layer_replication": (None,),
}
"""Settings of adapters that come back from their folder as they were: other beginnings draw, or read data, anew."""


def is_adapter(source: str | Path) -> bool:
    """Whether a source is the folder of an adapter."""
    return (Path(source) / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The base of an adapter: a folder that is there, or a hub id.

    Where it lies as seen from the adapter folder comes first, and then the path that peft reads. A path in
    ``adapter_config.json`` that begins with a dot is taken from the adapter folder.

    Raises:
        ConfigError: if the adapter cannot be read, or its base is not there.
    """
    name = read_adapter_settings(folder).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{folder / CONFIG} names no base in 'base_model_name_or_path'; write its path there")
    beside = folder / str(_place(folder).get("base", "")) if _place(folder).get("peft") == name else folder
    if beside != folder and is_there(beside):
        return str(beside.resolve())
    source = str((folder / name).resolve()) if name.startswith(".") else name
    if not is_there(source) and HubId.parse(source) is None:
        raise ConfigError(
            f"the adapter {folder} needs its base {one_line(name, 200)!r}, which is not at "
            f"{one_line(source, 200)}; move it back there, or write where it is into "
            f"'base_model_name_or_path' of {folder / CONFIG}"
        )
    return source


def read_adapter_settings(folder: Path) -> Mapping[str, Any]:
    """What ``adapter_config.json`` says.

    Raises:
        ConfigError: if it cannot be read, or the adapter is of a kind that does not come back as it was.
    """
    path = folder / CONFIG
    settings = read_settings(path)
    for key, allowed in _READABLE.items():
        if settings.get(key, allowed[0]) not in allowed:
            raise ConfigError(
                f"{path}: '{key}' is {one_line(repr(settings[key]), 80)}; only {' or '.join(map(repr, allowed))} can "
                "be used, because an adapter of another kind does not come back as it was; merge it into its base with "
                "peft"
            )
    return settings


def _place(folder: Path) -> Mapping[str, Any]:
    return read_settings(folder / PLACE) if (folder / PLACE).is_file() else {}
