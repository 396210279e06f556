"""What sae-lens's own table says of the autoencoders that it lists, where that package is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAME_MODEL = {"gpt2-small": "gpt2", "pythia-70m-v0": "pythia-70m"}
"""TransformerLens's names of models that the hub calls otherwise."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is said of one autoencoder by those who published it."""

    release: str
    """The release's name in sae-lens's table, or `` where the autoencoder's own config says it."""
    explained_variance: float | None = None
    """On the vectors of its own evaluation; None if it is not stated."""
    l0: float | None = None
    """Mean number of latents that fire there; None if it is not stated."""
    mean_free: bool = False
    """Whether it was trained on vectors without their mean over coordinates."""


def plain_name(model: str) -> str:
    """Return a model's name without its owner or folder, in small letters, as the hub has it."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    return _SAME_MODEL.get(last, last)


def published_as(release: str, sae_id: str) -> Published | None:
    """Return what the table says of an entry, or None if it is not in it or sae-lens is not installed."""
    entry = _table().get(release)
    return None if entry is None or sae_id not in entry.saes_map else _entry(entry, sae_id)


def published_in(folder: Path, model: str, hook: str) -> Published | None:
    """Return what the table says of the autoencoder in a local folder: that of entries with the name under
    which it was published, the same model and hook; None where there is none, or they differ."""
    matching = {
        _entry(entry, sae_id)
        for entry in _table().values()
        if entry is not None and plain_name(entry.model) == plain_name(model)
        for sae_id, path in entry.saes_map.items()
        if Path(path).name == folder.name and (sae_id == hook or sae_id.startswith(f"{hook}_"))
    }
    return matching.pop() if len(matching) == 1 else None


def _table() -> Mapping[str, Any]:
    try:
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError:
        return {}
    table: Mapping[str, Any] = get_pretrained_saes_directory()
    return table


def _entry(entry: Any, sae_id: str) -> Published:
    overrides = (entry.config_overrides or {}).get("model_from_pretrained_kwargs") or {}
    explained, l0 = entry.expected_var_explained.get(sae_id), entry.expected_l0.get(sae_id)
    return Published(
        release=entry.release,
        # The table has 1 and 0 where nothing is stated.
        explained_variance=explained if explained is not None and 0 < explained < 1 else None,
        l0=l0 or None,
        mean_free=bool(overrides.get("center_writing_weights")),
    )
