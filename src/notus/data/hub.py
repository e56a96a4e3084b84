"""Data sets on the Hugging Face hub: tell an id from a path, and bring the data files to this machine.

Owns the download and its errors in one line. Reading what came is the business of ``data.sources``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from notus.core.errors import DataError, MissingExtraError, require

__all__ = ["DATA_SUFFIXES", "HubId", "fetch"]

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
"""Suffixes of the files that are read out of a folder."""
_OTHER_SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".zst", ".zip", ".arrow", ".xlsx", ".yaml", ".yml")
_ID = re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True)
class HubId:
    """``owner/name`` of a data set on the hub, with a revision: a branch, a tag or a commit."""

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


def fetch(hub_id: HubId) -> Path:
    """Download the data files of a set, or find them in the hub's cache, and return the folder of that revision.

    Raises:
        MissingExtraError: if huggingface_hub is not installed.
        DataError: if the set or the revision is unknown, closed, or the hub cannot be reached.
    """
    try:
        hub = require("huggingface_hub", extra="hub")
    except MissingExtraError as error:
        raise MissingExtraError(f"'{hub_id}' is no path here, and to read it as an id on the hub: {error}") from None
    errors = require("huggingface_hub.errors", extra="hub")
    reading = f"'{hub_id}' is no path here, and as a data set on the hub"
    try:
        folder = hub.snapshot_download(
            hub_id.name,
            repo_type="dataset",
            revision=hub_id.revision,
            allow_patterns=[f"*{suffix}" for suffix in DATA_SUFFIXES],
        )
    except errors.GatedRepoError:
        raise DataError(f"{reading} it is gated: accept its terms on its page, then run 'hf auth login'") from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{reading} it has no revision '{hub_id.revision}'") from None
    except errors.RepositoryNotFoundError:
        raise DataError(f"{reading} it is unknown or private: check the spelling, or run 'hf auth login'") from None
    except errors.LocalEntryNotFoundError:
        raise DataError(f"{reading} it is not in the cache and the hub cannot be reached: check the network") from None
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise DataError(f"{reading} it cannot be read: {str(error).strip().partition(chr(10))[0]}") from None
    return Path(folder)
