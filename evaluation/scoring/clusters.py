"""Cases counted by entity and template, the clusters within which they succeed and fail together; it knows no
score and no method.

Entities are clusters over the whole split, templates within their attribute. The source entity is no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ravel.common.errors import SuiteError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_CLUSTERS = attrgetter("base_entity", "attribute", "base_template")


class Clustered(Protocol):
    """What tells a pair's clusters: an outcome has it, and so has the pair itself."""

    @property
    def attribute(self) -> str:
        """What the base template asks for."""

    @property
    def base_template(self) -> str:
        """A cluster within its attribute."""

    @property
    def base_entity(self) -> str:
        """A cluster over the whole split."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of one split: rows and columns of all that is counted on it."""

    entities: tuple[str, ...]
    """Base entities, sorted."""
    templates: tuple[tuple[str, str], ...]
    """(attribute, base template), sorted."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of entities and templates."""
        return len(self.entities), len(self.templates)

    def columns(self) -> dict[str, IntArray]:
        """Return the columns of each attribute's templates, attributes sorted."""
        return dict(_columns(self))

    def used(self, pairs: FloatArray) -> Mapping[str, IntArray]:
        """Return the columns of each attribute's templates that have pairs, of which there are so many,
        [n_templates]; only attributes that have one, sorted."""
        return _used(self, np.ascontiguousarray(pairs).tobytes())

    def cells(self, pairs: Sequence[Clustered]) -> IntArray:
        """Return where each pair is counted, `row * n_templates + column`, [n_pairs].

        Raises SuiteError for a pair of another cluster.
        """
        places = _places(self)
        try:
            return np.fromiter(map(places.__getitem__, map(_CLUSTERS, pairs)), np.int64, len(pairs))
        except KeyError as error:
            raise SuiteError(
                expected="outcomes of the pairs whose clusters are known",
                came=f"an outcome with {error.args[0]!r}, which is in none of them",
                todo="compare outcomes of one split of one instance",
            ) from None

    def counted(self, cells: IntArray, weights: FloatArray | None = None) -> FloatArray:
        """Return the number of pairs, or the sum of their weights, [n_entities, n_templates]."""
        size = self.shape[0] * self.shape[1]
        return np.bincount(cells, weights, minlength=size).astype(np.float64).reshape(self.shape)


# The scores of a whole grid are counted on the clusters of a few splits.
@lru_cache(maxsize=64)
def _columns(clusters: Clusters) -> dict[str, IntArray]:
    columns: dict[str, list[int]] = {}
    for column, (attribute, _) in enumerate(clusters.templates):
        columns.setdefault(attribute, []).append(column)
    found = {name: np.array(columns[name]) for name in sorted(columns)}
    for places in found.values():
        places.setflags(write=False)
    return found


@lru_cache(maxsize=256)
def _used(clusters: Clusters, pairs: bytes) -> Mapping[str, IntArray]:
    some = np.frombuffer(pairs) > 0
    found = {attribute: columns[some[columns]] for attribute, columns in _columns(clusters).items()}
    for columns in found.values():
        columns.setflags(write=False)
    return MappingProxyType({attribute: columns for attribute, columns in found.items() if len(columns)})


class _Places(dict[tuple[str, str, str], int]):
    """Where pairs are counted, by base entity, attribute and base template; each is found once."""

    def __init__(self, clusters: Clusters) -> None:
        super().__init__()
        self._row = {entity: row for row, entity in enumerate(clusters.entities)}
        self._column = {template: column for column, template in enumerate(clusters.templates)}

    def __missing__(self, key: tuple[str, str, str]) -> int:
        entity, *template = key
        place = self._row[entity] * len(self._column) + self._column[template[0], template[1]]
        self[key] = place
        return place


@lru_cache(maxsize=64)
def _places(clusters: Clusters) -> _Places:
    return _Places(clusters)


@dataclass(frozen=True, slots=True)
class Counts:
    """Outcomes counted by entity and template, in the order of some clusters."""

    pairs: FloatArray
    """Number of pairs, [n_entities, n_templates]."""
    right: FloatArray
    """Number of pairs answered as the target asks for, [n_entities, n_templates]."""


def clusters_of(pairs: Sequence[Clustered]) -> Clusters:
    """Return the clusters of pairs or of their outcomes; the same pairs give equal clusters in any order."""
    return Clusters(
        entities=tuple(sorted({p.base_entity for p in pairs})),
        templates=tuple(sorted({(p.attribute, p.base_template) for p in pairs})),
    )
