"""Models that were fetched earlier, found again in the cache; it fetches none."""

from __future__ import annotations

from pathlib import Path

from das.models.fetching.catalogue import NAMED
from das.models.fetching.places import model_folder
from das.models.fetching.provenance import provenance_of
from ravel.common.errors import SuiteError

__all__ = ["cached_model", "in_cache"]


def in_cache(name: str, sha256: str) -> Path | None:
    """Return the cache's folder of a model made of a file with this hash, or None if it is not there."""
    folder = model_folder(name)
    known = provenance_of(folder)
    return folder if known is not None and known.sha256 == sha256 else None


def cached_model(name: str) -> Path | None:
    """Return the folder of a model with a short name; None for a name that is none. Raises SuiteError if it
    was not fetched yet, for nothing is downloaded unasked."""
    if name not in NAMED:
        return None
    folder = in_cache(name, NAMED[name].sha256)
    if folder is None:
        raise SuiteError(
            expected=f"the model {name} in the cache, at {model_folder(name)}",
            came="nothing there",
            todo=f"fetch it with: ravel model fetch {name}",
        )
    return folder
