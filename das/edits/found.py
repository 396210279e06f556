"""What a method found as an edit: directions are added or nulled, coordinates are brought from the mean of
the vectors with a value, or without."""

from __future__ import annotations

import torch
from torch import Tensor

from das.detectors.directions import Directions
from das.detectors.reading import means_of
from das.edits.base import Edit
from das.edits.forms import Addition, FixedSource, Null, Replacement, Reversed
from das.featurizers.base import Featurizer
from das.finding import Finding


def edit_of(
    finding: Finding, attribute: str, values: tuple[str, ...], known: Tensor, has: Tensor
) -> Edit | None:
    """Return the edit that steers values of an attribute by what a method found; None where it steers none.

    An `Edit` is itself. Of `Directions` the unit vector along which a value is written is added, by as much
    as the means of training vectors `known` [n, d_model] with and without the value, bool `has`
    [n, n_values], are apart along it: strength 1 takes the one mean to the level of the other. Of directions
    to scale that vector itself is added. A featurizer brings its coordinates from the mean of the vectors
    with the value.
    """
    if isinstance(finding, Edit):
        return finding if finding.attribute == attribute else None
    if isinstance(finding, Directions):
        return _addition(finding, known, has) if finding.attribute == attribute else None
    if isinstance(finding, Featurizer):
        return FixedSource(attribute, values, finding, means_of(known, has))
    return None


def erasing_edit_of(
    finding: Finding, attribute: str, values: tuple[str, ...], known: Tensor, has: Tensor
) -> Edit | None:
    """Return the edit that erases values of an attribute by what a method found; None where it erases none.

    Of `Directions` that along which a value is written is nulled, down to the mean of the training vectors
    `known` [n, d_model] without the value, bool `has` [n, n_values]; of directions to scale down to where
    their score is 0. A featurizer brings its coordinates from that mean: of `leace` that is its projection.
    The whole vector is replaced by it, at no other strength. An `Edit` that has other strengths than 1 is
    turned round.
    """
    if isinstance(finding, Directions):
        return _null(finding, known, has) if finding.attribute == attribute else None
    if isinstance(finding, Featurizer):
        means = means_of(known, ~has)
        if finding.size == finding.width:
            return Replacement(attribute, values, means)
        return FixedSource(attribute, values, finding, means)
    if isinstance(finding, Edit) and finding.attribute == attribute and finding.scales:
        return Reversed(finding)
    return None


def _null(directions: Directions, known: Tensor, has: Tensor) -> Null:
    if directions.to_scale:
        lengths = directions.readers.norm(dim=0).clamp_min(1e-12)
        return Null(directions.attribute, directions.values, directions.readers, -directions.bias / lengths)
    without = means_of(known, ~has)
    apart = ((means_of(known, has) - without) * directions.writers).sum(dim=0)
    # Towards the value, whichever way the direction was found.
    towards = directions.writers * torch.where(apart < 0, -1.0, 1.0)
    units = towards / towards.norm(dim=0).clamp_min(1e-12)
    return Null(directions.attribute, directions.values, units, (without * units).sum(dim=0))


def _addition(directions: Directions, known: Tensor, has: Tensor) -> Addition:
    if directions.to_scale:
        return Addition(directions.attribute, directions.values, directions.writers)
    writers = directions.writers
    units = writers / writers.norm(dim=0).clamp_min(1e-12)
    apart = ((means_of(known, has) - means_of(known, ~has)) * units).sum(dim=0)
    return Addition(directions.attribute, directions.values, units * apart)


def row_nearest_mean(vectors: Tensor, has: Tensor, place: int) -> int:
    """Return which of the vectors [n, d] with a value lies nearest to their mean; of several the first."""
    rows = has[:, place].nonzero()[:, 0]
    mean = vectors[rows].double().mean(dim=0)
    away = (vectors[rows].double() - mean).norm(dim=1)
    return int(rows[int(torch.argmin(away))])
