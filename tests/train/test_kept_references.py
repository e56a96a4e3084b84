"""A kept reference belongs to the model that it was computed with: all that decides it is in its name."""

import json
import shutil
from pathlib import Path

import pytest

from notus.train.reference import identity_of_model


@pytest.fixture
def folder(lora_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lora_run, tmp_path / "runs"))


def _change(path: Path, key: str, value: object) -> None:
    settings = json.loads(path.read_text())
    assert settings[key] != value
    path.write_text(json.dumps(settings | {key: value}))


def test_the_configuration_decides_as_the_weights_do(folder: Path) -> None:
    base = folder / "base"
    first = identity_of_model(str(base))
    assert {"config.json", "model.safetensors"} == first.keys()
    _change(base / "config.json", "rms_norm_eps", 0.5)
    assert identity_of_model(str(base)) != first


def test_an_adapter_counts_by_its_settings_and_its_base_not_by_where_that_lies(folder: Path) -> None:
    adapter = folder / "lora" / "model"
    first = identity_of_model(str(adapter))
    assert {"adapter_config.json", "base/config.json"} <= first.keys()
    _change(adapter / "adapter_config.json", "lora_alpha", 99)
    scaled = identity_of_model(str(adapter))
    assert scaled != first
    _change(folder / "base" / "config.json", "rms_norm_eps", 0.5)
    assert identity_of_model(str(adapter)) not in (first, scaled)


def test_a_tree_of_runs_that_was_moved_keeps_its_references(folder: Path, tmp_path: Path) -> None:
    first = identity_of_model(str(folder / "lora" / "model"))
    folder.rename(tmp_path / "elsewhere")
    assert identity_of_model(str(tmp_path / "elsewhere" / "lora" / "model")) == first
