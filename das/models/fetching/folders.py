"""A GGUF file's folder in the cache or elsewhere: made once, whole or not at all; no hub is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from das.models.fetching.cached import gguf_name, in_cache
from das.models.fetching.convert import BYTES_OF_A_VALUE, convert, made_with
from das.models.fetching.gguf import GgufHead, read_head
from das.models.fetching.places import CACHE_VARIABLE, downloads_folder, model_folder, need_room
from das.models.fetching.provenance import Provenance
from ravel.common.errors import StorageError, SuiteError
from ravel.common.folders import new_folder
from ravel.common.io import make_folder, remove_folder, sha256_file
from ravel.common.progress import Note, Progress, silent


def converted(
    path: Path,
    out: Path | None = None,
    *,
    source: str | None = None,
    licence: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Return the folder that a GGUF file was made into: the cache's, by the file's hash, or the new `out`.

    Raises SuiteError for a file that can't be read, and for too little disk; then no folder is made.
    """
    sha256 = sha256_file(path)
    cached = in_cache(gguf_name(sha256), sha256)
    if cached is not None:
        return cached if out is None else copied(cached, out)
    head = read_head(path)
    provenance = Provenance(
        source=source or path.name,
        file=path.name,
        sha256=sha256,
        quantisation=head.quantisation,
        licence=licence or head.licence,
        made_with=made_with(),
    )
    progress(Note(f"{path.name}. Licence: {provenance.licence}"))
    if out is not None:
        return make_folder_of(head, out, provenance, progress)
    folder = model_folder(gguf_name(sha256))
    with alone(folder.name):
        if in_cache(folder.name, sha256) is None:
            remove_folder(folder)
            make_folder_of(head, folder, provenance, progress)
    return folder


def make_folder_of(
    head: GgufHead,
    folder: Path,
    provenance: Provenance,
    progress: Progress,
    more: Callable[[Path], None] | None = None,
) -> Path:
    """Make a GGUF file into the new folder, in which `more` then writes, and return it. Raises SuiteError as
    `converted` does."""
    need_room(folder, head.values * BYTES_OF_A_VALUE)
    with new_folder(folder) as staging:
        convert(head, staging, provenance, progress)
        if more is not None:
            more(staging)
    return folder


def alone(name: str) -> FileLock:
    """Return what keeps two commands from making one folder of the cache at once. Raises SuiteError for a
    cache that can't be written to."""
    place = downloads_folder(f"{name}.lock")
    try:
        make_folder(place.parent)
    except SuiteError as error:
        raise StorageError(
            expected=error.expected, came=error.came, todo=f"name another cache with {CACHE_VARIABLE}"
        ) from None
    return FileLock(place)


def copied(folder: Path, out: Path) -> Path:
    """Copy a model's folder to the new folder `out`, links followed, and return that. Raises SuiteError for
    too little disk."""
    need_room(out, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    with new_folder(out) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    return out
