"""The formats of other tools by name, and what is theirs alone; it reads and writes none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImportFormat:
    """What `ravel import` reads under one name."""

    path: str
    """What a user's path holds."""
    settings: tuple[str, ...] = ()
    """Settings of an `ImportRequest` that are refused with any other format."""


IMPORT_FORMATS: Mapping[str, ImportFormat] = {
    "pyvene": ImportFormat("a folder that pyvene saved"),
    "ravel-reference": ImportFormat("a `.pt` file of RAVEL's reference code", ("orientation",)),
    "loreft": ImportFormat("a folder that pyreft saved, or one file of it"),
    "mib": ImportFormat("a folder of units, or one file of a unit"),
    "saelens": ImportFormat(
        "a folder with `cfg.json` and `sae_weights.safetensors`", ("latents", "keeps_error", "accept_unfit")
    ),
}
"""What `ravel import` reads."""

SAEBENCH = "saebench"
DATASET = "dataset"
EXPORT_FORMATS: Mapping[str, str] = {
    "pyvene": "a featurizer",
    "mib": "a featurizer",
    SAEBENCH: "a run's rows with autoencoders",
    DATASET: "an instance",
}
"""What `ravel export` writes, and of what."""
