import json
import os

import pytest

from notus.core.errors import ConfigError
from notus.train.run.checkpoints import Checkpoints, DamagedError, check


def write(checkpoints, step, **files):
    def write_files(folder):
        for name, content in ({"a.bin": bytes(1000), "b.jsonl": b"{}\n"} | files).items():
            (folder / name).write_bytes(content)

    return checkpoints.write({"step": step, "note": "x"}, write_files)


def test_the_newest_whole_one_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest(print) is None
    for step in (5, 120, 30):
        write(checkpoints, step)
    assert checkpoints.steps() == [5, 30, 120]
    assert checkpoints.newest(pytest.fail).step == 120


@pytest.mark.parametrize("name", ["a.bin", "b.jsonl", "manifest.json"])
def test_every_flipped_byte_is_found_and_its_file_named(tmp_path, name):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)
    file = write(checkpoints, 2) / name
    before = file.read_bytes()
    for place in range(0, len(before), max(1, len(before) // 150)):
        file.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        with pytest.raises(DamagedError, match=name.replace(".", r"\.")):
            check(file.parent)
    said = []
    assert checkpoints.newest(said.append).step == 1
    assert name in said[0]


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: os.truncate(file, 10)])
def test_a_missing_or_a_shorter_file_is_found(tmp_path, spoil):
    place = write(Checkpoints(tmp_path), 2)
    spoil(place / "a.bin")
    with pytest.raises(DamagedError, match=r"a\.bin"):
        check(place)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)

    def fail(folder):
        (folder / "a.bin").write_bytes(bytes(10))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.write({"step": 2}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_newest_and_the_best_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3, 4, 5, 9):
        write(checkpoints, step)
    (tmp_path / ".step-00000007.part").mkdir()
    checkpoints.prune(1, of=5, spared=[2])  # 9 is of a course that was given up
    assert checkpoints.steps() == [2, 4, 5]
    checkpoints.prune(1, of=5, at_least=0)
    assert checkpoints.steps() == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    checkpoints.prune(0, of=5, at_least=0)
    assert checkpoints.steps() == []


def test_one_is_written_again_in_the_place_of_a_damaged_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (write(checkpoints, 3) / "a.bin").unlink()
    write(checkpoints, 3)
    assert checkpoints.newest(pytest.fail).step == 3
    assert json.loads((checkpoints.at(3) / "manifest.json").read_text())["files"]["a.bin"]["size"] == 1000


def test_what_another_run_is_gone_on_from(tmp_path):
    one = write(Checkpoints(tmp_path / "run" / "checkpoints"), 3)
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints", one):
        assert Checkpoints.found_at(place, pytest.fail).path == one
    with pytest.raises(ConfigError, match="no checkpoint"):
        Checkpoints.found_at(tmp_path, print)
    (one / "a.bin").unlink()
    with pytest.raises(ConfigError, match=r"a\.bin is missing"):
        Checkpoints.found_at(one, print)
