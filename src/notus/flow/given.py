"""What a setting of a step means on disk, where it names a model: a run directory, a folder, a hub id."""

from pathlib import Path

__all__ = ["find_model"]


def find_model(source: str) -> str:
    """The model that a setting means: that of a run directory, a folder as it is, or a hub id as it is."""
    inside = Path(source) / "model"
    return str(inside) if inside.is_dir() else source
