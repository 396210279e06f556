"""Models that were fetched earlier, found again in the cache; it fetches none."""

from __future__ import annotations

from pathlib import Path

from das.models.fetching.catalogue import NAMED
from das.models.fetching.places import model_folder
from das.models.fetching.provenance import provenance_of
from ravel.common.errors import SuiteError


def in_cache(name: str, sha256: str) -> Path | None:
    """Return the cache's folder of a model made of a file with this hash, or None if it is not there or
    damaged, so that it is made anew."""
    folder = model_folder(name)
    try:
        known = provenance_of(folder)
    except SuiteError:
        return None
    return folder if known is not None and known.sha256 == sha256 else None


def gguf_name(sha256: str) -> str:
    """Return the name in the cache of what a GGUF file with this hash was made into."""
    return f"gguf-{sha256[:16]}"


def cached_model(name: str) -> Path | None:
    """Return the folder of a model with a short name; None for a name that is none. Raises SuiteError if it
    was not fetched yet, for nothing is downloaded unasked."""
    if name not in NAMED:
        return None
    folder = in_cache(name, NAMED[name].sha256)
    if folder is None:
        raise SuiteError(
            expected=f"the model {name} in the cache, at {model_folder(name)}",
            came="no folder made of its file",
            todo=f"fetch it with: ravel model fetch {name}",
        )
    return folder
