"""A power cut leaves no manifest without what it speaks for: the order of the calls of whole commands, by strace."""

import sys

import pytest

from tests.helpers.asked import Asked
from tests.helpers.power import can_trace, lost_by_a_power_cut, trace
from tests.helpers.soak import COMMANDS, Place

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_trace(), reason="there is no strace, or it may not trace")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with Asked() as server:
        yield Place(tmp_path_factory.mktemp("power"), server, prompts=40)


@pytest.mark.parametrize("name", ["audit", "clean", "binarize", "collect", "train sft"])
def test_all_of_a_run_is_on_the_disk_before_its_manifest_is(name, place, tmp_path):
    place.forget()
    command = [sys.executable, "-m", "notus", *COMMANDS[name].options(place), "--out", str(tmp_path / "out")]
    done = trace(command, tmp_path / "calls")
    assert done.returncode == 0, done.stderr
    runs = [file.parent for file in (tmp_path / "out").rglob("manifest.json") if "checkpoints" not in file.parts]
    assert runs
    for run in runs:
        assert len(list(run.iterdir())) > 5
        assert lost_by_a_power_cut(tmp_path / "calls", run) == []


UNSYNCED = """
import os, sys
os.{call} = lambda _: None
from notus.cli.main import main
main()
"""


def test_what_is_not_synced_is_found(place, tmp_path):
    """The same without a single sync: all files and their names would be lost."""
    command = [sys.executable, "-c", UNSYNCED.format(call="fsync"), *COMMANDS["binarize"].options(place)]
    done = trace([*command, "--out", str(tmp_path / "out")], tmp_path / "calls")
    assert done.returncode == 0, done.stderr
    lost = lost_by_a_power_cut(tmp_path / "calls", tmp_path / "out")
    for file in ("config.json", "inputs.json", "preferences.parquet", "tally.json", "manifest.json"):
        assert f"out/{file}: its bytes" in lost
        assert f"out/{file}: its name" in lost
