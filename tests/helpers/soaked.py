"""Imported once by the process that soaked commands are forked from, so that each starts at once."""

from importlib import import_module

import torch

for name in ("cli.main", "cli.live", "cli.experiments", "cli.terminal", "recipes.report", "steps.registry"):
    import_module(f"notus.{name}")
import_module("tests.helpers.going_on")
torch.set_num_threads(1)
