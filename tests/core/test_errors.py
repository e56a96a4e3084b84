import re

import pytest

from notus.core import errors
from notus.core.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    NotusError,
    RunError,
    nearest,
    require,
)


def test_exit_codes():
    assert (ConfigError.exit_code, DataError.exit_code, MissingExtraError.exit_code) == (2, 2, 2)
    assert (RunError.exit_code, NotusError.exit_code) == (1, 1)


def test_nearest():
    assert nearest("bianrize", ["binarize", "audit"]) == "did you mean 'binarize'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_name_of_the_same_meaning_comes_before_one_of_like_spelling():
    losses = ["ipo_mean", "simpo", "sigmoid", "hinge"]
    meanings = {"ipo": "ipo_mean", "dpo": "sigmoid", "slic-hf": "hinge", "ppo": "PPO is done in rounds"}
    assert nearest("ipo", losses, meanings) == "did you mean 'ipo_mean'?"
    assert nearest("IPO", losses, meanings) == "did you mean 'ipo_mean'?"
    assert nearest("dpo", losses, meanings) == "did you mean 'sigmoid'?"
    assert nearest("SLiC_HF", losses, meanings) == "did you mean 'hinge'?"
    assert nearest("ppo", losses, meanings) == "PPO is done in rounds"
    assert nearest("ipoo", losses, meanings) == "did you mean 'ipo_mean'?"  # another name's misspelling
    assert nearest("Sigmoid", losses, meanings) == "did you mean 'sigmoid'?"
    assert nearest("ipo", losses).startswith("known: ")  # and not 'simpo'
    assert nearest("dop", ["dpo", "sft"]) == "did you mean 'dpo'?"
    assert nearest("an arm", ["an arm of ours"], meanings) == "did you mean 'an arm of ours'?"


def test_a_missing_extra_names_the_line_that_installs_it():
    with pytest.raises(MissingExtraError, match=r"pip install 'notus\[train\]'"):
        require("no_such_library.part", extra="train")
    assert require("json", extra="train").loads("1") == 1


def test_a_library_that_breaks_inside_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import another_missing_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_thing"):
        require("broken_inside", extra="train")


def test_just_enough_room_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "_free", lambda _: 2_000)
    errors.check_space(tmp_path, 2_000, "the model")
    with pytest.raises(RunError, match=rf"no space for the model: about .* in {re.escape(str(tmp_path))}"):
        errors.check_space(tmp_path, 2_001, "the model")
