"""Featurizer folders of the suite in the form of other tools; each format is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from das.featurizers.base import Featurizer
from das.featurizers.storage import FeaturizerHeader, load_featurizer
from das.interop import export_mib
from das.interop.pyvene_export import export_pyvene
from das.models.base import TargetModel
from evaluation.config.target import TargetConfig
from evaluation.judging.recognition import known_by
from ravel.common.errors import SuiteError, one_of
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import write_json

_NOTE = "ravel_export.json"
_MIB_VARIABLES = ("Country", "Continent", "Language")
_MIB_MODELS = ("Gemma2ForCausalLM", "LlamaForCausalLM")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    header: FeaturizerHeader
    """The featurizer's own header."""
    written: str
    """The other tool's name of it."""
    notes: tuple[str, ...]
    """What the other tool has to be told, a sentence each."""


def export_folder(
    path: Path, style: str, target: TargetConfig, out: Path, *, allow_foreign: bool = False
) -> Exported:
    """Write the featurizer in `path` in another tool's form into the new folder `out`.

    The model is opened, for its class and its parts decide names. Raises SuiteError for an unknown form, a
    damaged folder, a model that the featurizer was not made with (unless `allow_foreign`), and what the form
    can't express.
    """
    one_of("export format", style, _WRITERS)
    check_new_folder(out)
    stated = load_featurizer(path)[1].target_fingerprint
    model = known_by(target.open().target, stated)
    featurizer, header = load_featurizer(
        path, target_fingerprint=model.fingerprint, allow_foreign=allow_foreign
    )
    model.check(header.site)
    with new_folder(out) as staging:
        return _WRITERS[style](featurizer, header, model, staging)


def _to_pyvene(
    featurizer: Featurizer, header: FeaturizerHeader, model: TargetModel, staging: Path
) -> Exported:
    kind = export_pyvene(featurizer, header.site, model, staging)
    token = "last token of the name" if header.site.position == "entity_last" else "last token of the prompt"
    head = "" if header.site.head is None else f" and head {header.site.head}"
    note = (
        f"Where to swap is an argument of pyvene's call: give the {token}{head} of source and base as "
        "unit_locations, one list per row."
    )
    described = {
        "intervention": kind,
        "method": header.method,
        "attribute": header.attribute,
        "entity_type": header.entity_type,
        "site": str(header.site),
        "model": header.model,
        "target_fingerprint": header.target_fingerprint,
        "note": note,
    }
    write_json(staging / _NOTE, described)
    return Exported(header, kind, (note,))


def _to_mib(featurizer: Featurizer, header: FeaturizerHeader, model: TargetModel, staging: Path) -> Exported:
    if header.attribute == "*" or "/" in header.attribute:
        raise SuiteError(
            expected="a featurizer of one target attribute, for MIB names its folder after it",
            came=repr(header.attribute),
            todo="export the featurizer of a method that has a target",
        )
    family = type(model.model).__name__
    folder = f"ravel_task_{family}_{header.attribute}"
    name = export_mib(featurizer, header.site, staging / folder)
    notes: tuple[str, ...] = ()
    if header.entity_type != "city" or header.attribute not in _MIB_VARIABLES or family not in _MIB_MODELS:
        notes = (
            f"The track scores {', '.join(_MIB_VARIABLES)} of cities on {' and '.join(_MIB_MODELS)} only, "
            "and its verifier passes over this folder.",
        )
    return Exported(header, f"{folder}/{name}", notes)


_WRITERS: Mapping[str, Callable[[Featurizer, FeaturizerHeader, TargetModel, Path], Exported]] = {
    "pyvene": _to_pyvene,
    "mib": _to_mib,
}
"""How each of `EXPORT_FORMATS` is written whose source is a featurizer."""
