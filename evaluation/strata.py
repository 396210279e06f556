"""Shares of pairs, class by class, in every resample of a split; it knows no target, label or file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.records import Outcome
from evaluation.uncertainty import Clustered, FloatArray, IntArray, Resamples
from ravel.common.errors import SuiteError

__all__ = ["BoolArray", "Strata", "Verdicts", "mean_draws", "verdicts_of"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Both verdicts on every pair of a split, in the order of the pairs."""

    swapped: BoolArray
    """Whether the model gave the source's answer, [n_pairs]."""
    unchanged: BoolArray
    """Whether it kept the base's, [n_pairs]."""


def verdicts_of(outcomes: Sequence[Outcome], ids: Sequence[str]) -> Verdicts:
    """Return the verdicts in the order of the pairs' ids. Raises SuiteError unless there is one for each."""
    by_id = {outcome.pair_id: outcome for outcome in outcomes}
    if by_id.keys() != set(ids) or len(outcomes) != len(ids):
        raise SuiteError(
            expected=f"an outcome for each of the {len(ids)} pairs of the split",
            came=f"{len(outcomes)} outcomes, of {len(by_id.keys() & set(ids))} of these pairs",
            todo="remove the outcomes file that differs and run the suite again",
        )
    return Verdicts(
        np.array([by_id[i].said_swapped for i in ids], dtype=bool),
        np.array([by_id[i].said_unchanged for i in ids], dtype=bool),
    )


def mean_draws(parts: Sequence[FloatArray], n_resamples: int) -> FloatArray:
    """Return the mean in each resample, NaN where a part is or where there are no parts."""
    return np.asarray(np.mean(parts, axis=0)) if parts else np.full(n_resamples, np.nan)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The pairs of one attribute, sorted by template and class."""

    order: IntArray
    """Their positions among all pairs, [n]."""
    weights: FloatArray
    """How often each pair's base entity was drawn, [n_resamples, n]."""
    pairs: FloatArray
    """How many pairs each class of a template then has, [n_resamples, n_strata]."""
    strata: IntArray
    """Where each class of a template begins among them, [n_strata]."""
    templates: IntArray
    """Where each template begins among the strata, [n_templates]."""
    template_counts: FloatArray
    """How often each template was drawn, [n_resamples, n_templates]."""


class Strata:
    """Pairs of a split sorted into classes, with what each resample makes of them.

    A share is the mean over classes of the share within a class, then over templates; classes and templates
    that a resample leaves without pairs are passed over in it. With one class per template it is the share
    that scores average.
    """

    def __init__(self, pairs: Sequence[Clustered], classes: Sequence[str], resamples: Resamples) -> None:
        """Sort the pairs; `classes` has each one's class, and their clusters must be in `resamples`."""
        self._n_resamples = len(resamples.entity_counts)
        row = {entity: i for i, entity in enumerate(resamples.clusters.entities)}
        column = {template: i for i, template in enumerate(resamples.clusters.templates)}
        keys = [(p.attribute, p.base_template, c) for p, c in zip(pairs, classes, strict=True)]
        entities = np.array([row[p.base_entity] for p in pairs], dtype=np.int64)
        self._grids: dict[str, _Grid] = {}
        for attribute in sorted({key[0] for key in keys}):
            own = sorted((i for i, key in enumerate(keys) if key[0] == attribute), key=keys.__getitem__)
            strata, templates = _beginnings([keys[i] for i in own])
            columns = [column[attribute, keys[own[strata[t]]][1]] for t in templates]
            order = np.array(own, dtype=np.int64)
            weights = resamples.entity_counts[:, entities[order]]
            self._grids[attribute] = _Grid(
                order=order,
                weights=weights,
                pairs=np.add.reduceat(weights, strata, axis=1),
                strata=np.array(strata, dtype=np.int64),
                templates=np.array(templates, dtype=np.int64),
                template_counts=resamples.template_counts[:, columns],
            )

    @property
    def attributes(self) -> tuple[str, ...]:
        """What the pairs ask for, sorted."""
        return tuple(self._grids)

    def draws(self, attribute: str, right: BoolArray) -> FloatArray:
        """Return the share of right answers on the attribute's pairs in every resample, [n_resamples].

        `right` says of each pair, in the order they were given, whether it was answered right. NaN where a
        resample holds no pair of the attribute.
        """
        if attribute not in self._grids:
            return np.full(self._n_resamples, np.nan)
        grid = self._grids[attribute]
        hits = np.add.reduceat(grid.weights * right[grid.order], grid.strata, axis=1)
        there = grid.pairs > 0
        share = np.divide(hits, grid.pairs, out=np.zeros_like(hits), where=there)
        return _mean(*_by_template(share, there.astype(np.float64), grid))


def _beginnings(keys: Sequence[tuple[str, str, str]]) -> tuple[list[int], list[int]]:
    """Return where strata begin among sorted keys, and where templates begin among strata."""
    strata = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    templates = [s for s, i in enumerate(strata) if s == 0 or keys[i][1] != keys[strata[s - 1]][1]]
    return strata, templates


def _by_template(share: FloatArray, there: FloatArray, grid: _Grid) -> tuple[FloatArray, FloatArray]:
    """Return each template's mean over the classes that are there, and its weight in each resample."""
    classes = np.add.reduceat(there, grid.templates, axis=1)
    total = np.add.reduceat(share, grid.templates, axis=1)
    mean = np.divide(total, classes, out=np.zeros_like(total), where=classes > 0)
    return mean, grid.template_counts * (classes > 0)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1)
    mean: FloatArray = np.full_like(total, np.nan)
    np.divide((values * weights).sum(axis=1), total, out=mean, where=total > 0)
    return mean
