"""Which patches a subspace is held against: its parts, random and full vectors, readout and gradient
directions; it judges none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from das.diagnostics.patches import energy_tolerance, patches
from das.diagnostics.readers import Reader, next_readers
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import random_columns
from das.methods.common.base import NotApplicableError
from das.methods.common.contrast import ContrastPair
from das.sites import Site
from evaluation.validity.diagnosis.gradients import gradient_rows, leading_rows
from ravel.common.seeds import derive_seed

READER_ENERGY = 0.01
"""Share of a reader's squared singular values that counts as unseen. Readers of real models have full rank,
so that nothing at all would be in the null space."""
GRADIENT = "gradient"
"""Name of the reader that is made of the answers' gradients: all that is read of a site downstream, to first
order, as Makelov, Lange, Nanda 2024 take it where no single matrix reads a site."""


@dataclass(frozen=True, slots=True)
class PlannedPatch:
    """A patch to be judged, or the reason why there is none."""

    name: str
    """As in the diagnosis."""
    about: str
    """The reader or the site."""
    featurizer: Featurizer | None
    """What swaps; None with a reason."""
    at: Site | None = None
    """Where, if not at the diagnosed site."""
    reason: str = ""
    """Why there is no patch."""
    same_as_nothing: bool = False
    """True for a part that has no direction."""


@dataclass(frozen=True, slots=True)
class SiteReaders:
    """What reads a site."""

    readers: tuple[Reader, ...]
    """The modules that read it next, and the gradients last."""
    gradients: Tensor
    """Of the answers' logit difference, [n_pairs, width] in float64."""
    missing: str
    """Why no module is known to read it; empty where one is."""


def readers_of(pairs: Sequence[ContrastPair], engine: Engine, site: Site) -> SiteReaders:
    """Return the readers of a site; gradients are those of the pairs."""
    rows = gradient_rows(pairs, engine, site)
    reason = ""
    found: tuple[Reader, ...] = ()
    try:
        found = next_readers(engine.target, site)
    except NotApplicableError as refusal:
        reason = str(refusal)
    if len(rows) and bool(rows.abs().sum() > 0):
        found = (*found, Reader(GRADIENT, leading_rows(rows, 1 - READER_ENERGY)))
    return SiteReaders(found, rows, reason)


def parts_of(basis: Tensor, site_readers: SiteReaders) -> Iterator[PlannedPatch]:
    """Yield the patches of each reader's parts of a basis [width, k]."""
    for reader in site_readers.readers:
        tolerance = (
            {} if reader.name == GRADIENT else {"tolerance": energy_tolerance(reader.matrix, READER_ENERGY)}
        )
        made = patches(basis, reader.matrix, **tolerance)
        for name, featurizer in made.items():
            part = made["null" if name.startswith("null") or name == "cross" else "row"]
            empty = part.size == 0 or (name == "cross" and made["row"].size == 0)
            yield PlannedPatch(name, reader.name, featurizer, same_as_nothing=empty)
    if site_readers.missing:
        for name in ("row", "null"):
            yield PlannedPatch(name, "", None, reason=site_readers.missing)


def orthogonal(featurizer: Featurizer, basis: Tensor) -> Iterator[PlannedPatch]:
    """Yield the orthogonal swap of the same directions where the featurizer's own is another one.

    An oblique subspace reads along other columns than it writes, a soft mask swaps coordinates in part; the
    parts against readers are those of the orthogonal swap and have to be compared with it.
    """
    oblique = isinstance(featurizer, Subspace) and featurizer.reader is not None
    soft = isinstance(featurizer, MaskedBasis) and bool(
        ((featurizer.weights > 0) & (featurizer.weights < 1)).any()
    )
    if oblique or soft:
        yield PlannedPatch("orthogonal", "", Subspace(basis.float()))


def random_parts(width: int, size: int, draws: int, seed: int) -> list[Featurizer]:
    """Return random subspaces of one size, uniform over all."""
    return [
        Subspace(retract(random_columns(width, size, derive_seed(seed, "diagnosis", "random", str(draw)))))
        for draw in range(draws)
    ]


def beside(site: Site, engine: Engine) -> Iterator[PlannedPatch]:
    """Yield the whole vector at the site, and at the same stream a layer before and after it."""
    for layer in (site.layer, site.layer - 1, site.layer + 1):
        if 0 <= layer < engine.target.n_layers:
            at = replace(site, layer=layer)
            whole = MaskedBasis(torch.ones(engine.target.width(at)), None)
            name = "full_vector" if at == site else "full_vector_beside"
            yield PlannedPatch(name, str(at), whole, at)


def directions_of(rows: Tensor, size: int) -> Subspace | None:
    """Return the first `size` principal directions of rows [n, width], fewer where there are fewer; None if
    the rows are all zero."""
    if not rows.numel() or not bool(rows.abs().sum() > 0):
        return None
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    rank = int((values > 1e-6 * values[0]).sum())
    return Subspace(directions[: min(size, rank)].mT.contiguous().float())
