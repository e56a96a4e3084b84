"""Notus turns AI feedback into an aligned model, data first."""

from importlib import metadata

__all__ = ["__version__"]

__version__ = metadata.version("notus")
