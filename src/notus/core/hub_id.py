"""Names on the Hugging Face hub: tell an id from a path. Downloading is the business of who needs the thing."""

import re
from dataclasses import dataclass
from typing import Self

__all__ = ["DATA_SUFFIXES", "HubId"]

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".jsonl.gz", ".ndjson.gz", ".json.gz")
"""Suffixes of the files that are read as data."""
_OTHER_SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".zst", ".zip", ".arrow", ".xlsx", ".yaml", ".yml", ".safetensors")
_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True)
class HubId:
    """``owner/name`` on the hub, with a revision: a branch, a tag or a commit."""

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``owner/name[@revision]``; None if the text is no such id or has the suffix of a file."""
        match = _ID.fullmatch(text)
        if match is None or match["name"].lower().endswith((*DATA_SUFFIXES, *_OTHER_SUFFIXES)):
            return None
        return cls(match["name"], match["revision"])

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name
