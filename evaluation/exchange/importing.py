"""Foreign weights as featurizer folders of the suite, which are scored and verified as fitted ones are; it
knows formats by name and nothing of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from das.engine.base.protocol import Engine
from das.featurizers.storage import FeaturizerHeader, save_featurizer
from das.interop import (
    Imported,
    Orientation,
    check_place,
    first_columns,
    read_loreft,
    read_mib,
    read_pyvene,
    read_ravel_reference,
)
from das.methods.common.labelled import plain_vectors
from das.methods.dictionaries._dictionaries import chosen
from das.methods.dictionaries._pretrained_sae import load_pretrained
from das.methods.dictionaries._sae_fit import check_fit, measured
from das.models.base import TargetModel
from das.sites import Site
from evaluation.config.target import TargetConfig
from evaluation.exchange.formats import IMPORT_FORMATS
from evaluation.judging.recognition import check_gave_labels, known_by
from ravel.common.errors import SuiteError, one_of
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import sha256_file, write_json
from ravel.instance import Instance

NOTE_FILE = "imported.json"
"""Where a featurizer came from, beside it."""
_MEASURED_VECTORS = 512
"""Training vectors on which an autoencoder is measured, at most."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is imported, as a user asks for it."""

    path: Path
    """A file or folder of another tool."""
    style: str
    """One of `IMPORT_FORMATS`."""
    site: str
    """Where it acts; the file often says the layer, never the token."""
    attribute: str
    """The target attribute it was made for."""
    part: str | None = None
    """Which of several interventions of the file."""
    size: int | None = None
    """Take the first of a subspace's columns only; None takes all."""
    orientation: Orientation = "auto"
    """Which way round a bare matrix is stored (ravel-reference)."""
    latents: tuple[int, ...] = ()
    """Latents that are swapped (saelens)."""
    keeps_error: bool = True
    """Whether what an autoencoder loses stays with the base (saelens)."""
    other_model: bool = False
    """Take an autoencoder although its file names another model (saelens)."""
    accept_unfit: bool = False
    """Take an autoencoder although it does not hold on this model's vectors (saelens)."""


def read_saelens(request: ImportRequest, site: Site, engine: Engine, instance: Instance) -> Imported:
    """Return a local sae-lens autoencoder that swaps the given latents whole.

    The folder holds `cfg.json` and `sae_weights.safetensors`; the autoencoder is measured on vectors of the
    instance's prompts. Raises SuiteError for files that are absent or damaged, an autoencoder that does not
    fit the site or, unless `accept_unfit`, does not hold on the vectors, no latents, and latents that it does
    not have.
    """
    folder, latents = request.path, request.latents
    if not folder.is_dir():
        raise SuiteError(
            expected=f"a folder with cfg.json and sae_weights.safetensors at {folder}",
            came="a file" if folder.exists() else "nothing there",
            todo="save the autoencoder with sae-lens's save_model",
        )
    loaded = load_pretrained(str(folder.absolute()), site, engine.target, other_model=request.other_model)
    dictionary = loaded.dictionary
    wrong = [place for place in latents if not 0 <= place < dictionary.n_features]
    if not latents or wrong or len(set(latents)) != len(latents):
        raise SuiteError(
            expected=f"latents from 0 to {dictionary.n_features - 1}, each once, to swap in {folder}",
            came=", ".join(map(str, wrong or latents)) or "none",
            todo="name them with --latents 3,17,200; the method `sae` of ravel fit chooses them by itself",
        )
    own = plain_vectors(instance, engine, site, limit=_MEASURED_VECTORS)
    notes = check_fit(loaded, measured(loaded, own), own, accept_unfit=request.accept_unfit)
    made = chosen(dictionary, torch.tensor(latents), keeps_error=request.keeps_error)
    note = f"Latents {', '.join(map(str, latents))} of {dictionary.n_features} are swapped."
    return Imported(made, f"a {dictionary.activation} autoencoder of sae-lens", notes=(note, *notes))


def import_folder(
    request: ImportRequest, instance_folder: Path, target: TargetConfig, out: Path
) -> tuple[FeaturizerHeader, Imported]:
    """Read a foreign file and save its featurizer in the new folder `out`; return header and what was read.

    The instance gives entity type and fingerprints, so that the folder is scored with it as a fitted one is;
    it was not fitted on it. Raises SuiteError for an unknown format, site or attribute, a model that did not
    give the instance's labels, and whatever reading the file does; nothing is written then.
    """
    check_new_folder(out)
    site = Site.parse(request.site)
    instance = Instance.load(instance_folder)
    one_of("target attribute of the instance", request.attribute, instance.attributes)
    said: list[str] = []
    engine = target.open()
    model = known_by(engine.target, instance.model_fingerprint, said.append)
    todo = "name that model with --model, and its --dtype, or build an instance for this one"
    check_gave_labels(model, instance, todo)
    model.check(site)
    imported = first_columns(_read(request, site, engine, instance), request.size)
    imported = replace(imported, notes=(*imported.notes, *said))
    check_place(imported.place, site, request.path)
    _check_width(imported, site, model, request.path)
    header = FeaturizerHeader(
        method=f"imported_{request.style.replace('-', '_')}",
        attribute=request.attribute,
        entity_type=instance.entity_type,
        site=site,
        seed=0,
        model=model.name,
        target_fingerprint=model.fingerprint,
        instance_fingerprint=instance.fingerprint,
    )
    with new_folder(out) as staging:
        save_featurizer(imported.featurizer, staging, header)
        write_json(staging / NOTE_FILE, _noted(request, imported))
    return header, imported


Reader = Callable[[ImportRequest, Site, Engine, Instance], Imported]


_READERS: Mapping[str, Reader] = {
    "pyvene": lambda asked, site, engine, _: read_pyvene(
        asked.path,
        width=engine.target.width(site),
        layer=site.layer,
        part=asked.part,
        target=engine.target,
    ),
    "ravel-reference": lambda asked, site, _engine, _: read_ravel_reference(
        asked.path, layer=site.layer, part=asked.part, orientation=asked.orientation
    ),
    "loreft": lambda asked, site, engine, _: read_loreft(
        asked.path, layer=site.layer, part=asked.part, target=engine.target
    ),
    "mib": lambda asked, site, engine, _: read_mib(
        asked.path, width=engine.target.width(site), layer=site.layer, part=asked.part
    ),
    "saelens": read_saelens,
}
"""How each of `IMPORT_FORMATS` is read."""


def _read(request: ImportRequest, site: Site, engine: Engine, instance: Instance) -> Imported:
    one_of("import format", request.style, _READERS)
    plain = {field.name: field.default for field in fields(request)}
    for style, form in IMPORT_FORMATS.items():
        for setting in form.settings if style != request.style else ():
            if getattr(request, setting) != plain[setting]:
                raise SuiteError(
                    expected=f"the setting {setting} with --format {style} only",
                    came=f"--format {request.style}",
                    todo="leave it out",
                )
    return _READERS[request.style](request, site, engine, instance)


def _check_width(imported: Imported, site: Site, target: TargetModel, path: Path) -> None:
    found, wanted = imported.featurizer.width, target.width(site)
    if found != wanted:
        raise SuiteError(
            expected=f"vectors of length {wanted} in {path}, those of {target.name} at {site}",
            came=f"length {found}",
            todo="name the model and site that the file was made for; of a matrix stored the other way round "
            "say so with --orientation",
        )


def _noted(request: ImportRequest, imported: Imported) -> dict[str, object]:
    return {
        "format": request.style,
        "path": str(request.path),
        "sha256": {file.name: sha256_file(file) for file in _files_of(request.path)},
        "form": imported.form,
        "part": request.part,
        "notes": list(imported.notes),
    }


def _files_of(path: Path) -> list[Path]:
    """Return the files that a path names: those in a folder, or those whose name begins as it does."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    if path.is_file():
        return [path]
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}_"))
