"""What is read from a foreign file: a featurizer, where the file says it belongs, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.interop.torch_files import names_of
from das.sites import Position, Site, Stream
from ravel.common.errors import SuiteError

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class StatedPlace:
    """Where a file says that its weights belong; None is what it does not say."""

    layer: int | None = None
    """Index of the block."""
    stream: Stream | None = None
    """The stream."""
    head: int | None = None
    """The head."""
    position: Position | None = None
    """The token."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A featurizer made from a foreign file."""

    featurizer: Featurizer
    """It swaps what the file's own tool swaps, unless a note says otherwise."""
    form: str
    """What the file holds, by its tool's name."""
    place: StatedPlace = StatedPlace()
    """Where the file says it belongs."""
    notes: tuple[str, ...] = ()
    """What was left out or changed, a sentence each."""


def check_place(place: StatedPlace, site: Site, origin: Path) -> None:
    """Raise SuiteError if the file names another layer, stream, head or position than the site's."""
    for what in ("layer", "stream", "head", "position"):
        stated, wanted = getattr(place, what), getattr(site, what)
        if stated is not None and stated != wanted:
            raise SuiteError(
                expected=f"weights for {what} {wanted} in {origin}, as {site} says",
                came=f"weights for {what} {stated}",
                todo="name the site that the file was made for, or another part of the file with --part",
            )


def one_part(
    parts: Mapping[str, Part], layers: Mapping[str, int | None], origin: Path, *, part: str | None, layer: int
) -> tuple[str, Part]:
    """Return the one of several parts that is named, or the only one, or the only one for the layer, which
    `layers` says of each if it is known. Raises SuiteError where there is no single one."""
    if part is not None:
        if part not in parts:
            raise SuiteError(
                expected=f"a part {part!r} in {origin}",
                came=f"only {names_of(parts)}",
                todo="name one of them with --part",
            )
        return part, parts[part]
    names = list(parts) if len(parts) == 1 else [name for name in parts if layers.get(name) == layer]
    if len(names) != 1:
        raise SuiteError(
            expected=f"one set of weights for layer {layer} in {origin}",
            came=f"{len(names)} among {names_of(parts)}",
            todo="name one with --part",
        )
    return names[0], parts[names[0]]


def first_columns(imported: Imported, size: int | None) -> Imported:
    """Return the same with the first `size` columns of its subspace alone; None keeps all. Raises SuiteError
    for what is no subspace, and for a size that it does not have."""
    if size is None:
        return imported
    featurizer = imported.featurizer
    if (
        not isinstance(featurizer, Subspace)
        or featurizer.reader is not None
        or not 1 <= size <= featurizer.size
    ):
        raise SuiteError(
            expected=f"a subspace of at least {size} columns, to take the first of them",
            came=f"a {featurizer.kind} of size {featurizer.size} ({imported.form})",
            todo="leave --dim out, or lower it",
        )
    note = f"Only the first {size} of {featurizer.size} columns are swapped, as was asked for."
    notes = (*imported.notes, note)
    return Imported(Subspace(featurizer.basis[:, :size]), imported.form, imported.place, notes)
