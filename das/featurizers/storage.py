"""Featurizers on disk: `featurizer.safetensors` and `featurizer.json`; not how they were found. Whatever else
a method finds is written alike, and read with its own builders (`das/edits/storage.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as write_tensors
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.complement import Complement
from das.featurizers.coordinate_maps import MAPS
from das.featurizers.dictionary import DICTIONARY_TENSORS, Activation, Dictionary
from das.featurizers.masked import MaskedBasis
from das.featurizers.reversible import ReversibleMap
from das.featurizers.subspace import Subspace
from das.finding import Finding
from das.sites import Site
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.facts_table import facts_table
from ravel.common.io import read_bytes, read_json, write_bytes, write_json
from ravel.common.typed import check_version, typed_values

FEATURIZER_SCHEMA_VERSION = 1

Builder = Callable[[dict[str, Tensor], dict[str, Any]], Finding]
"""Makes a finding of tensors and settings; raises TypeError or KeyError for settings that it has not."""

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TENSORS = "featurizer.safetensors"
_HEADER = "featurizer.json"
_DESCRIBED = {"schema_version", "kind", "size", "width", "settings", "tensors", "tensors_sha256"}
_MEND = "restore the file from the run that wrote it"


@dataclass(frozen=True, slots=True)
class FeaturizerHeader:
    """Where a featurizer comes from and what it may be used with."""

    method: str
    """Name of the method that found it."""
    attribute: str
    """The target attribute."""
    entity_type: str
    """The instance's entity type."""
    site: Site
    """Where its vectors are taken."""
    seed: int
    """Root seed of the fit."""
    model: str
    """The target model's name as the user gave it."""
    target_fingerprint: str
    """The target model's fingerprint."""
    instance_fingerprint: str
    """The instance's fingerprint."""

    def _repr_html_(self) -> str:
        """Return what a notebook shows: every field."""
        return facts_table(f"{self.method} for {self.attribute}", {**asdict(self), "site": self.site})


def save_featurizer(featurizer: Finding, folder: Path, header: FeaturizerHeader) -> None:
    """Write the two files of a featurizer, or other finding, into `folder`; equal ones give equal bytes.
    The header is written last. Raises SuiteError for a `Complement`, where the folder can't be written to, or
    a number is not finite."""
    if isinstance(featurizer, Complement):
        raise SuiteError(
            expected="a featurizer that was found, to be saved",
            came=f"the complement of a {featurizer.inner.kind}",
            todo="save the one it is the complement of",
        )
    # Two buffers may be one tensor, as where an autoencoder's centre is its decoder's bias; both are kept.
    buffers = sorted(featurizer.named_buffers(remove_duplicate=False))
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in buffers}
    for name, value in tensors.items():
        _check_finite(name, value, "the featurizer to be saved")
    content = write_tensors(tensors)
    write_bytes(folder / _TENSORS, content)
    write_json(folder / _HEADER, _described(featurizer, header, tensors, content))


def load_featurizer(
    folder: Path,
    *,
    target_fingerprint: str | None = None,
    instance_fingerprint: str | None = None,
    allow_foreign: bool = False,
) -> tuple[Featurizer, FeaturizerHeader]:
    """Read a featurizer and its header, on the CPU. A fingerprint that is given must be the header's, unless
    `allow_foreign`. Raises SuiteError for absent, truncated or foreign files, another schema, tensors that
    are not those of the header, and numbers that are not finite or not orthonormal."""
    found, header = read_finding(
        folder,
        BUILDERS,
        target_fingerprint=target_fingerprint,
        instance_fingerprint=instance_fingerprint,
        allow_foreign=allow_foreign,
    )
    # Nothing else is built by these.
    assert isinstance(found, Featurizer)
    return found, header


def read_finding(
    folder: Path,
    builders: Mapping[str, Builder],
    *,
    target_fingerprint: str | None = None,
    instance_fingerprint: str | None = None,
    allow_foreign: bool = False,
) -> tuple[Finding, FeaturizerHeader]:
    """Read what a method found, of the kinds that have builders; all else as `load_featurizer`."""
    origin = folder / _HEADER
    described = _read_described(origin)
    header = _header_of(described, origin)
    if not allow_foreign:
        _check_fingerprint("target model", header.target_fingerprint, target_fingerprint, folder)
        _check_fingerprint("instance", header.instance_fingerprint, instance_fingerprint, folder)
    tensors = _read_checked_tensors(folder / _TENSORS, described)
    return _built(described, tensors, builders, origin), header


def _described(
    featurizer: Finding, header: FeaturizerHeader, tensors: dict[str, Tensor], content: bytes
) -> dict[str, Any]:
    return {
        **asdict(header),
        "site": str(header.site),
        "schema_version": FEATURIZER_SCHEMA_VERSION,
        "kind": featurizer.kind,
        "size": featurizer.size,
        "width": featurizer.width,
        "settings": featurizer.settings(),
        "tensors": _shapes_of(tensors),
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
    }


def _shapes_of(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in tensors.items()
    }


def _read_described(origin: Path) -> dict[str, Any]:
    content = read_json(origin)
    described: dict[str, Any] = content if isinstance(content, dict) else {}
    if "schema_version" in described:
        version = described["schema_version"]
        check_version(version, FEATURIZER_SCHEMA_VERSION, what="a featurizer", origin=str(origin))
    missing = _DESCRIBED.union(f.name for f in fields(FeaturizerHeader)) - described.keys()
    if missing:
        raise SuiteError(
            expected=f"a featurizer's header in {origin}",
            came=f"a file without {', '.join(sorted(missing))}",
            todo="name a folder that `ravel fit` wrote",
        )
    return described


def _header_of(described: dict[str, Any], origin: Path) -> FeaturizerHeader:
    values = {f.name: described[f.name] for f in fields(FeaturizerHeader)}
    if not isinstance(values["site"], str):
        raise _unfit(origin, "a site as text", values["site"])
    typed = typed_values(FeaturizerHeader, values, origin=str(origin), todo=_MEND, but=("site",))
    return FeaturizerHeader(**{**typed, "site": Site.parse(values["site"])})


def _unfit(origin: Path, expected: str, came: Any) -> SuiteError:
    return SuiteError(expected=f"{expected} in {origin}", came=repr(came), todo=_MEND)


def _check_fingerprint(what: str, written: str, given: str | None, folder: Path) -> None:
    if given is not None and given != written:
        raise SuiteError(
            expected=f"the featurizer in {folder} to belong to this {what} ({given[:12]})",
            came=f"one made with another {what} ({written[:12]})",
            todo=f"use the {what} it was made with, or allow it with --allow-foreign",
        )


def _read_checked_tensors(path: Path, described: dict[str, Any]) -> dict[str, Tensor]:
    content = read_bytes(path)
    try:
        tensors = parse_tensors(content)
    except TensorFileError as error:
        raise _damaged(path, f"{len(content)} bytes that are not ({error})") from None
    if hashlib.sha256(content).hexdigest() != described["tensors_sha256"]:
        raise _damaged(path, "other bytes than its header's hash says")
    if _shapes_of(dict(sorted(tensors.items()))) != described["tensors"]:
        raise _damaged(path, "other tensors than its header lists")
    for name, value in tensors.items():
        if value.dtype not in _DTYPES:
            raise _damaged(path, f"a tensor {name!r} of {value.dtype}")
        # In float32, as it will be used: what is finite in more bits may not be.
        _check_finite(name, value.float(), str(path))
    # A copy is aligned as any other tensor, so that no kernel rounds differently for where the file put it.
    return {name: value.clone() for name, value in tensors.items()}


def _damaged(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"the complete safetensors file of a featurizer at {path}",
        came=came,
        todo="copy both files again from the run, or fit again",
    )


def _check_finite(name: str, value: Tensor, origin: str) -> None:
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise SuiteError(
            expected=f"finite numbers in {name!r} of {origin}",
            came=f"{bad} that are infinite or not a number",
            todo="fit again, with a smaller learning rate if the loss went up",
        )


def _built(
    described: dict[str, Any], tensors: dict[str, Tensor], builders: Mapping[str, Builder], origin: Path
) -> Finding:
    if not isinstance(described["kind"], str) or described["kind"] not in builders:
        raise SuiteError(
            expected=f"a featurizer of a known kind in {origin}: {', '.join(builders)}",
            came=repr(described["kind"]),
            todo="use the version of ravel-bench that wrote the file; a detector is scored, not swapped",
        )
    if not isinstance(described["settings"], dict):
        raise _unfit(origin, "settings as an object", described["settings"])
    try:
        featurizer = builders[described["kind"]](tensors, described["settings"])
    except (KeyError, TypeError, IndexError, RuntimeError) as error:
        raise _damaged(origin, f"a {described['kind']} without {error}") from None
    if (featurizer.size, featurizer.width) != (described["size"], described["width"]):
        raise _damaged(
            origin, f"a {described['kind']} of size {featurizer.size} and width {featurizer.width}"
        )
    return featurizer


def _dictionary(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Dictionary:
    kind, k, keeps_error = settings["activation"], settings["k"], settings.get("keeps_error", True)
    if not isinstance(kind, str) or type(k) not in (int, type(None)) or not isinstance(keeps_error, bool):
        raise TypeError(f"an activation, k and keeps_error of their types, but {settings}")
    activation = Activation(kind, k=k, threshold=tensors.get("threshold"))  # type: ignore[arg-type]
    return Dictionary(
        **{name: tensors[name] for name in DICTIONARY_TENSORS},
        mask=tensors["weights"],
        activation=activation,
        # Files from before this setting have none; all of them kept the error.
        keeps_error=keeps_error,
    )


def _reversible_map(tensors: dict[str, Tensor], settings: dict[str, Any]) -> ReversibleMap:
    if settings["form"] not in MAPS:
        raise TypeError(f"a form among {', '.join(MAPS)}, but {settings['form']!r}")
    weights, prefix = tensors.pop("weights"), "coordinates."
    parts = {name.removeprefix(prefix): value for name, value in tensors.items()}
    found = ReversibleMap(MAPS[settings["form"]](parts), int(weights.sum()))
    if not torch.equal(found.weights, weights):
        raise TypeError("leading coordinates as those that are swapped, but others")
    return found


BUILDERS: Mapping[str, Builder] = {
    Subspace.kind: lambda t, settings: Subspace(t["basis"], t.get("reader")),
    MaskedBasis.kind: lambda t, settings: MaskedBasis(t["weights"], t.get("basis")),
    Dictionary.kind: _dictionary,
    ReversibleMap.kind: _reversible_map,
}
"""What makes each kind of featurizer of its tensors and settings."""
