"""What plots of a finished run show: which attributes change together, which subspaces overlap."""

from __future__ import annotations

from dataclasses import dataclass

from ravel.common.typed import Record
from ravel.terms.schema import Generalisation, Partition


@dataclass(frozen=True, slots=True)
class EntanglementRecord(Record):
    """What the pairs of one attribute said after the featurizer of another (or its own) was swapped."""

    method: str
    """The method that made the featurizer."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    site: str
    """Where the featurizer acts."""
    size: int
    """Number of swapped coordinates."""
    seed: int
    """Root of the fit's random streams."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    swapped: str
    """The target attribute of the featurizer."""
    asked: str
    """The attribute that the pairs ask for."""
    kept: float
    """Share that gave the base's answer, macro over templates; isolate of `swapped` from `asked`."""
    took: float
    """Share that gave the source's answer, macro over templates; cause where both attributes are one."""
    other: float
    """Share that gave neither."""
    n: int
    """Number of pairs."""


@dataclass(frozen=True, slots=True)
class AngleRecord(Record):
    """The principal angles between two swapped parts of one method at one site."""

    method: str
    """The method that made both."""
    site: str
    """Where both act."""
    first: str
    """Target attribute of one."""
    first_seed: int
    """Its seed."""
    first_size: int
    """Its number of coordinates."""
    second: str
    """Target attribute of the other."""
    second_seed: int
    """Its seed."""
    second_size: int
    """Its number of coordinates."""
    width: int
    """Length of the vectors."""
    cosines: tuple[float, ...]
    """Cosines of the principal angles, largest first."""
    overlap: float
    """Mean squared cosine: the share of the smaller part that lies in the larger."""
    chance: float
    """What two random subspaces of these sizes have on average."""
