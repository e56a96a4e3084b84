"""Data sets on the Hugging Face hub: bring the data files to this machine.

Owns the download and its errors in one line. Reading what came is the business of ``data.sources``.
"""

from pathlib import Path

from notus.core.errors import DataError, MissingExtraError, require
from notus.core.hub_id import DATA_SUFFIXES, HubId

__all__ = ["fetch"]


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
