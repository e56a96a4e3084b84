"""Reads wandb's offline files, which recent releases of wandb have no reader in Python for.

A file is LevelDB's log (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind a header of seven bytes
(":W&B", 0xBEE1, a version): blocks of 32 KiB, each piece with a masked CRC, its length and whether it is whole, the
first, a middle or the last part of a record. A record is a message of wandb's own protocol buffer.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024
_HEADER = 7


def records(path: Path) -> Iterator[Any]:
    """The records of a ``run-….wandb`` file, each checked by its sum."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert struct.unpack("<4sHB", data[:_HEADER]) == (b":W&B", 0xBEE1, 0)
    place, whole = _HEADER, b""
    while place + _HEADER <= len(data):
        if _BLOCK - place % _BLOCK < _HEADER:  # too little of the block is left for a piece
            place += _BLOCK - place % _BLOCK
            continue
        checksum, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        piece = data[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        assert checksum == zlib.crc32(bytes([kind]) + piece), "a damaged record"
        whole += piece
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""
