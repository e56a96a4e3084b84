"""What a setting means where it names a model."""

import pytest

from notus.core.errors import DataError
from notus.core.run import MANIFEST, write_json
from notus.flow.given import find_model


def test_a_run_a_folder_and_a_hub_id(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    write_json(tmp_path / "run" / MANIFEST, {"stage": "sft"})
    assert find_model(str(tmp_path / "run")) == str(tmp_path / "run" / "model")
    assert find_model(str(tmp_path)) == str(tmp_path)
    assert find_model("owner/name") == "owner/name"


def test_a_run_without_a_model_says_what_it_is(tmp_path):
    write_json(tmp_path / MANIFEST, {"stage": "alpaca"})
    with pytest.raises(DataError, match="is a run of 'alpaca', which leaves no model"):
        find_model(str(tmp_path))
