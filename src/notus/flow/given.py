"""What a setting of a step means on disk, where it names a model: a run directory, a folder, a hub id."""

from pathlib import Path

from notus.core.errors import DataError
from notus.core.run import MANIFEST, read_manifest

__all__ = ["find_model"]


def find_model(source: str) -> str:
    """The model that a setting means: that of a run directory, a folder as it is, or a hub id as it is.

    Raises:
        DataError: if it is a run directory without a model.
    """
    inside = Path(source) / "model"
    if (Path(source) / MANIFEST).is_file() and not inside.is_dir():
        stage = read_manifest(Path(source))["stage"]
        raise DataError(f"{source} is a run of '{stage}', which leaves no model; name one that trains or makes a model")
    return str(inside) if inside.is_dir() else source
