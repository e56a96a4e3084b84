"""The hash of a file's beginning, which is made of what was hashed before, and never of what has changed since."""

import hashlib
import os

import pytest

from notus.core.disk import hashes
from notus.core.disk.hashes import hash_file, hash_prefix


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file of 1,000 bytes, where 64 are much."""
    monkeypatch.setattr(hashes, "_EVERY", 64)
    monkeypatch.setattr(hashes, "_READ", 16)
    path = tmp_path / "data"
    path.write_bytes(os.urandom(1000))
    return path


def plain(path, size):
    return hashlib.sha256(path.read_bytes()[:size]).hexdigest()


def test_beginnings_of_all_lengths_are_hashed_right(large):
    assert hash_file(large) == plain(large, 1000)
    for size in (0, 1, 63, 64, 65, 640, 999, 1000, 5000):
        assert hash_prefix(large, size) == plain(large, size)
    assert hash_file(large) == plain(large, 1000)


def test_what_was_hashed_is_not_read_again(large, monkeypatch):
    hash_file(large)
    read = []
    opened = type(large).open

    def count(self, *args, **options):
        file = opened(self, *args, **options)
        read.append(file)
        return file

    monkeypatch.setattr(type(large), "open", count)
    assert hash_prefix(large, 650) == plain(large, 650)
    begun = read[0]
    assert begun.closed
    reached = next(at for at, _ in hashes._REMEMBERED[str(large)][1] if at == 640)
    assert reached == 640  # ten bytes were left to hash


def test_a_file_that_changed_is_hashed_anew(large):
    hash_file(large)
    large.write_bytes(b"x" * 1000)
    assert hash_prefix(large, 100) == plain(large, 100)
    with large.open("ab") as file:
        file.write(b"y" * 1000)
    assert hash_prefix(large, 1000) == plain(large, 1000)
    assert hash_file(large) == plain(large, 2000)


def test_only_so_many_files_are_remembered(large, tmp_path):
    for number in range(40):
        path = tmp_path / str(number)
        path.write_bytes(bytes(200))
        hash_file(path)
    assert len(hashes._REMEMBERED) == hashes._REMEMBERED_FILES
    assert hash_prefix(large, 500) == plain(large, 500)
