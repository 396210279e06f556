"""Vectors of an instance's prompts, collected once at every site for all methods that need no pairs.

It knows prompts and sites; no method, no attribute. The test splits stay closed: it is given an instance
without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from das.engine.base.protocol import Engine
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, sha256_text, write_with
from ravel.instance import Instance, prompt_ids
from ravel.terms.schema import Prompt

_CHUNK = 2048
"""Prompts per call of the engine: what is between two reports of progress, and what is in memory at once."""


class StoredVectors:
    """An engine that has read some prompts already: it looks those up and passes everything else on."""

    def __init__(self, engine: Engine, prompts: Sequence[Prompt], vectors: Mapping[Site, Tensor]) -> None:
        """`vectors` holds [n_prompts, width] per site, in the order of `prompts`; results are its rows."""
        self._engine = engine
        self._vectors = dict(vectors)
        self._rows = {prompt: row for row, prompt in enumerate(prompts)}

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the stored vectors, or the engine's where a prompt or a site is not stored."""
        rows = [self._rows.get(prompt, -1) for prompt in prompts]
        if -1 in rows or any(site not in self._vectors for site in sites):
            return self._engine.collect(prompts, sites)
        return {site: self._vectors[site][rows] for site in sites}

    def __getattr__(self, name: str) -> Any:
        """Return what the engine has of this name."""
        return getattr(self._engine, name)


def collect_vectors(
    instance: Instance,
    engine: Engine,
    sites: Sequence[Site],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Engine:
    """Return the engine with every training and validation prompt read at every site, in as few passes as the
    engine needs; a site that `folder` has already is not read again.

    One file per site, mapped into memory rather than loaded. Raises SuiteError if the instance still holds
    its test splits, or the folder can't be written to.
    """
    _refuse_test(instance)
    prompts = _prompts(instance)
    paths = {site: folder / f"{_key(instance, engine, site, prompts)}.safetensors" for site in sites}
    shapes = {site: (len(prompts), engine.target.width(site)) for site in sites}
    missing = [site for site in sites if _mapped(paths[site], shapes[site]) is None]
    if missing:
        for site, vectors in _collected(engine, prompts, missing, progress).items():
            _write(paths[site], vectors)
    found = {site: _required(path, shapes[site]) for site, path in paths.items()}
    return cast("Engine", StoredVectors(engine, prompts, found))


def _prompts(instance: Instance) -> list[Prompt]:
    ids = sorted(prompt_ids(pair for split in instance.splits() for pair in instance.pairs(split)))
    return list(dict.fromkeys(instance.prompt(prompt_id).prompt for prompt_id in ids))


def _refuse_test(instance: Instance) -> None:
    open_tests = [split for split in instance.splits() if split.endswith("_test")]
    if open_tests:
        raise SuiteError(
            expected="an instance whose test splits are withheld where vectors are collected for fits",
            came=f"one with {', '.join(open_tests)}",
            todo="pass Instance.without_test()",
        )


def _collected(
    engine: Engine,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    progress: Callable[[int, int], None] | None,
) -> dict[Site, Tensor]:
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for start in range(0, len(prompts), _CHUNK):
        for site, vectors in engine.collect(prompts[start : start + _CHUNK], sites).items():
            parts[site].append(vectors.cpu())
        if progress is not None:
            progress(min(start + _CHUNK, len(prompts)), len(prompts))
    return {
        site: torch.cat(found) if found else torch.zeros(0, engine.target.width(site))
        for site, found in parts.items()
    }


def _key(instance: Instance, engine: Engine, site: Site, prompts: Sequence[Prompt]) -> str:
    parts = {
        "model": engine.target.fingerprint,
        "engine": engine.name,
        "instance": instance.fingerprint,
        "site": str(site),
        "prompts": sha256_text("\x1f".join(prompt.text for prompt in prompts)),
    }
    return f"activations-{sha256_text(canonical_json(parts))[:16]}"


def _write(path: Path, vectors: Tensor) -> None:
    # Later runs take what they find without a checksum, so it has to outlast a power cut whole.
    try:
        write_with(path, lambda part: save_file({"vectors": vectors.contiguous()}, part))
    except SafetensorError as error:
        # What its library makes of a full disk.
        raise SuiteError(
            expected=f"room for {vectors.numel() * vectors.element_size()} bytes at {path.parent}",
            came=" ".join(str(error).split()),
            todo="free space there, or choose another --out",
        ) from None


def _mapped(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """Return the vectors of this shape [n_prompts, width]; None where no whole file holds them."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            vectors: Tensor = stored.get_tensor("vectors")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError):
        return None
    return vectors if vectors.shape == shape and vectors.is_floating_point() else None


def _required(path: Path, shape: tuple[int, int]) -> Tensor:
    found = _mapped(path, shape)
    if found is None:
        raise SuiteError(
            expected=f"the vectors that were just written to {path}",
            came="no readable file",
            todo="check the disk and run again",
        )
    return found
